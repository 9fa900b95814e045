"""The water job over the real windows at the Danube, which tests of runners, flows and commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tilewright.flows.job.job import Job, make_job

DANUBE = (13.10, 48.27, 13.17, 48.30)
"""Bounds in degrees (EPSG:4326): the river and its banks, all within the real windows."""

WATER = {"name": "water", "area": list(DANUBE), "period": "2021-06-01/2021-06-30", "model": "ndwi-water"}

SCENE = "S2B_33UUP_20210617_1_L2A"
"""The one scene of that job."""


def water_fields(real: Path, **changes: Any) -> dict[str, Any]:
    """The fields of the job, its source the catalog of the real windows."""
    return {**WATER, "source": str(real / "catalog.json"), **changes}


def water_job(real: Path, output: Path | str, **changes: Any) -> Job:
    """The job, to be run in this process."""
    return make_job(water_fields(real, **changes), base=Path(), output=str(output))


def write_water_job(folder: Path, real: Path, **changes: Any) -> Path:
    """A job file in the folder."""
    path = folder / "job.json"
    path.write_text(json.dumps(water_fields(real, **changes)))
    return path


def region_fields(real: Path, **changes: Any) -> dict[str, Any]:
    """The fields of a job over a grid of 8 by 8 blocks of 64 pixels around the real windows."""
    grid = {"crs": "EPSG:32633", "bounds": [359_680, 5_347_840, 364_800, 5_352_960]}
    tile = {"block": 64, "step": 64}
    return water_fields(real, name="region", area=[13.10, 48.27, 13.17, 48.31], tile=tile, grid=grid, **changes)


def region_job(real: Path, output: Path | str) -> Job:
    """That job, to be run in this process."""
    return make_job(region_fields(real), base=Path(), output=str(output))
