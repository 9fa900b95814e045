"""The embedded sample: a simulated Sentinel-1/-2 catalog with known truth, built once into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sample.calendar import CHANGE_DATE
from tilewright.catalogs.sample.jobs import run_tasks
from tilewright.catalogs.sample.stac import save_catalog

if TYPE_CHECKING:
    from tilewright.catalogs.sample.jobs import Progress


__all__ = [
    "CHANGE_DATE",
    "SAMPLE_AREA",
    "SAMPLE_CHANGE_AFTER",
    "SAMPLE_CHANGE_BEFORE",
    "SAMPLE_VERSION",
    "SAMPLE_WATER_PERIOD",
    "build_sample",
]

# Raise it whenever the content of the folder changes: older folders are then rebuilt.
SAMPLE_VERSION = "1.0"

# minx, miny, maxx, maxy in EPSG:4326. The area holds the reservoir, clear-cuts, the town, and parts of both granules.
SAMPLE_AREA = (14.948, 48.668, 15.072, 48.742)

# Both ends belong to a period. The reservoir is full in the first; the other two are the same season of two years.
SAMPLE_WATER_PERIOD = "2022-06-10/2022-07-31"

SAMPLE_CHANGE_BEFORE = "2021-06-10/2021-07-31"

SAMPLE_CHANGE_AFTER = "2022-06-10/2022-07-31"

MARKER = "sample.json"

# Processes next to this one: the sample is meant for two cores.
N_HELPERS = 1


def build_sample(folder: Path, *, seed: int = 7, progress: Progress | None = None) -> Path:
    """Path of the catalog.json of a complete sample in the folder; a sample of the same version and seed is reused.

    ``progress`` is called with (tasks done, all tasks) while the sample is built.
    The sample is built next to the folder and moved into place when complete: a folder holds all of it or nothing.

    Raises:
        CatalogError: the folder holds something that is not a sample.
    """
    if _read_marker(folder) == _marker(seed):
        return folder / "catalog.json"
    if folder.exists() and _read_marker(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise CatalogError(f"{folder} holds something that is not a sample; give an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        items = run_tasks(staging, seed, n_helpers=N_HELPERS, progress=progress or (lambda _done, _all: None))
        save_catalog(staging / "new", items)
        (staging / "new" / MARKER).write_text(json.dumps(_marker(seed), indent=2) + "\n")
        _move_into_place(staging, folder, seed)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder / "catalog.json"


def _marker(seed: int) -> dict[str, object]:
    return {"sample": "tilewright-sample", "version": SAMPLE_VERSION, "seed": seed, "simulated": True}


def _read_marker(folder: Path) -> dict[str, object] | None:
    """The content of the folder's marker file; None if the folder has no marker of a sample."""
    try:
        mark = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("sample") == "tilewright-sample" else None


def _move_into_place(staging: Path, folder: Path, seed: int) -> None:
    """Replaces the folder with the new sample, unless another process has just built the same sample there."""
    if folder.exists():
        if _read_marker(folder) == _marker(seed):
            return
        folder.rename(staging / "old")
    (staging / "new").rename(folder)
