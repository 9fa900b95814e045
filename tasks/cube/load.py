"""Scenes on a geobox as a lazy cube, with the Dask graph of either engine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401 - gives a cube its .rio
import xarray as xr
from odc.geo.xr import xr_coords

from tilewright.tasks.cube.engines import ENGINES, BandPlan
from tilewright.tasks.cube.mosaic import DayMosaic
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.cells import locate
from tilewright.tasks.read.reader import check_resampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene


MASK_BANDS = frozenset({"scl", "cloud", "snow", "qa", "qa_pixel", "qa_radsat"})
"""Bands that describe how usable a pixel is: always resampled by nearest neighbour."""

CATEGORIES = frozenset({"scl", "qa", "qa_pixel", "qa_radsat"})
"""Bands that are categories even if no scene has them."""


def load_cube(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    engine: str = "odc",
    resampling: str = "bilinear",
    chunks: int | None = None,
    days_per_chunk: int = 1,
    apart: Sequence[str] = (),
    as_numbers: Sequence[str] = (),
    access: Access | None = None,
) -> xr.Dataset:
    """The bands of the scenes on the geobox as a lazy dataset: nothing is read before it is computed.

    One variable per band, dims (time, y, x), in Dask chunks of `days_per_chunk` days, read one after another, and
    `chunks` pixels a side (None: the whole geobox). `time` holds the scenes' solar days, ascending. The scenes of a day
    are joined: per pixel the first with a value, in the given order, wins. Measured bands are float32 in the unit of
    their attribute `units`, NaN = no value. Categories keep their integers, are resampled by nearest neighbour and are
    their attribute `nodata` where there is no value; those in `as_numbers` are float32 with NaN too, so that 0 differs
    from no value. Coordinates along `time`: `cloud_cover` (percent, mean of the day's scenes, NaN = unknown) and, per
    band, `<band>_present` (bool: a scene of that day has the band).

    Scenes of a day that have all bands in `apart` and scenes that lack one are not joined: that day is in `time` twice.
    Masks need this; otherwise a pixel could be masked by the band of another scene, if the same block reads that scene.

    `engine` is "odc" or "stackstac"; both give the same pixels. All given scenes are read: one that cannot touch the
    geobox (`tasks/cube/coverage.py`) costs an open file. Failed reads raise ReadError when computed, unless
    `access.failures` tolerates them.

    Raises ValueError for an unknown engine or resampling, a rotated geobox, or a band whose scenes disagree in unit.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known: give one of {', '.join(sorted(ENGINES))}")
    locate(geobox)
    days = _days(scenes, apart)
    method = check_resampling(resampling)
    plans = [_plan_band(band, days, method, as_number=band in as_numbers) for band in bands]
    arrays = ENGINES[engine](plans, geobox, chunks=chunks, days=days_per_chunk, access=access or Access())
    return _wrap(arrays, plans, days, geobox)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    date: str
    scenes: tuple[Scene, ...]

    @property
    def cloud_cover(self) -> float:
        known = [scene.cloud_cover for scene in self.scenes if scene.cloud_cover is not None]
        return float(np.mean(known)) if known else float("nan")


def _days(scenes: Sequence[Scene], apart: Sequence[str]) -> list[_Day]:
    """The scenes by solar day, ascending; within a day first those with all of `apart`, then in the given order."""

    def day_and_group(scene: Scene) -> tuple[str, bool]:
        return scene.solar_day, any(scene.asset(band) is None for band in apart)

    grouped = groupby(sorted(scenes, key=day_and_group), key=day_and_group)
    return [_Day(date=date, scenes=tuple(group)) for (date, _), group in grouped]


def _plan_band(band: str, days: list[_Day], resampling: str, *, as_number: bool) -> BandPlan:
    assets = [asset for day in days for scene in day.scenes if (asset := scene.asset(band)) is not None]
    unit = _common_unit(band, {asset.unit for asset in assets})
    if unit == "class" and not as_number:
        dtype = np.result_type(*(asset.dtype for asset in assets)) if assets else np.dtype("uint8")
        fill = next((asset.nodata for asset in assets if asset.nodata is not None), 0.0)
    else:
        dtype, fill = np.dtype("float32"), float("nan")
    method = "nearest" if unit == "class" or band in MASK_BANDS else resampling
    mosaics = tuple(_day_mosaic(band, day, method, unit) for day in days)
    return BandPlan(band=band, unit=unit, dtype=dtype, fill=fill, mosaics=mosaics)


def _day_mosaic(band: str, day: _Day, resampling: str, unit: str) -> DayMosaic | None:
    """The mosaic of the day's scenes that have the band; None if there is none."""
    found = tuple(scene for scene in day.scenes if scene.asset(band) is not None)
    return DayMosaic(band=band, scenes=found, resampling=resampling, unit=unit) if found else None


def _common_unit(band: str, units: set[str]) -> str:
    """The unit of a band in the cube: the common unit of its scenes; linear if only some are in decibels."""
    if not units:
        return "class" if band in CATEGORIES else "1"
    if units == {"linear", "db"}:
        return "linear"
    if len(units) > 1:
        raise ValueError(f"band {band} is in {' and '.join(sorted(units))} in one request: search them apart")
    return next(iter(units))


def _wrap(arrays: dict[str, Any], plans: list[BandPlan], days: list[_Day], geobox: GeoBox) -> xr.Dataset:
    times = np.array([day.date for day in days], dtype="datetime64[ns]")
    coords: dict[Any, Any] = {"time": times, **xr_coords(geobox, crs_coord_name="spatial_ref", dims=("y", "x"))}
    coords["cloud_cover"] = ("time", np.array([day.cloud_cover for day in days], dtype=np.float32))
    for plan in plans:
        present = [any(scene.asset(plan.band) is not None for scene in day.scenes) for day in days]
        coords[f"{plan.band}_present"] = ("time", np.array(present, dtype=bool))
    dims = ("time", "y", "x")
    variables = {}
    for plan in plans:
        nodata = plan.dtype.type(plan.fill).item()
        attributes = {"units": plan.unit, "nodata": nodata, "grid_mapping": "spatial_ref"}
        variables[plan.band] = (dims, arrays[plan.band], attributes)
    cube = xr.Dataset(variables, coords=coords)
    for variable in cube.data_vars.values():
        variable.encoding["grid_mapping"] = "spatial_ref"
    return cube
