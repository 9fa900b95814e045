"""A folder for files on their way to storage."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.ledger import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.storage import Storage


@contextmanager
def staging_folder(storage: Storage) -> Iterator[Path]:
    """An empty folder, gone afterwards: beside a local product, so that they share its disk; else the system's."""
    home = None
    if storage.folder is not None:
        home = storage.folder / HOME / "staging"
        home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        yield Path(folder)
