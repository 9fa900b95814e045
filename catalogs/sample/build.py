"""The embedded sample: a simulated Sentinel-1/-2 catalog with known truth, built once into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sample.calendar import CHANGE_DATE
from tilewright.catalogs.sample.jobs import share_work
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

# Raise it whenever what the folder holds changes: older folders are then built anew.
SAMPLE_VERSION = "1.0"

# minx, miny, maxx, maxy in EPSG:4326: reservoir, clear-cuts, town and both granules lie in it.
SAMPLE_AREA = (14.948, 48.668, 15.072, 48.742)

# Periods hold both ends. The reservoir is full in the first; the other two are the same season of two years.
SAMPLE_WATER_PERIOD = "2022-06-10/2022-07-31"

SAMPLE_CHANGE_BEFORE = "2021-06-10/2021-07-31"

SAMPLE_CHANGE_AFTER = "2022-06-10/2022-07-31"

MARKER = "sample.json"

# One process beside this one: the sample is meant for two cores.
HELPERS = 1


def build_sample(folder: Path, *, seed: int = 7, progress: Progress | None = None) -> Path:
    """Path of the catalog.json of a complete sample in the folder; one of the same version and seed is used as it is.

    ``progress`` hears of the work (jobs done, jobs in all) where there is any.
    The sample is built beside the folder and moved into place when complete: a folder holds all of it or nothing.

    Raises:
        CatalogError: the folder holds something that is not a sample.
    """
    if _marked(folder) == _mark(seed):
        return folder / "catalog.json"
    if folder.exists() and _marked(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise CatalogError(f"{folder} holds something that is not a sample; give an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        items = share_work(workplace, seed, helpers=HELPERS, progress=progress or (lambda _done, _all: None))
        save_catalog(workplace / "new", items)
        (workplace / "new" / MARKER).write_text(json.dumps(_mark(seed), indent=2) + "\n")
        _move_into_place(workplace, folder, seed)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder / "catalog.json"


def _mark(seed: int) -> dict[str, object]:
    return {"sample": "tilewright-sample", "version": SAMPLE_VERSION, "seed": seed, "simulated": True}


def _marked(folder: Path) -> dict[str, object] | None:
    """What the folder's marker says; None where there is none of ours."""
    try:
        mark = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("sample") == "tilewright-sample" else None


def _move_into_place(workplace: Path, folder: Path, seed: int) -> None:
    """Makes the new sample the folder; an older one goes, one finished meanwhile by somebody else stays."""
    if folder.exists():
        if _marked(folder) == _mark(seed):
            return
        folder.rename(workplace / "old")
    (workplace / "new").rename(folder)
