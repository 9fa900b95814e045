"""pyarrow, which reads and writes the Parquet tables of sources and products."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def pyarrow() -> Any:
    """The module pyarrow with `compute` and `parquet`.

    It is imported here because it takes a quarter of a second; its type stubs are not usable yet.
    """
    import_module("pyarrow.compute")
    import_module("pyarrow.parquet")
    return import_module("pyarrow")
