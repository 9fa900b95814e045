"""Scenes on a geobox as a lazy cube of passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401 - gives a cube its .rio
import xarray as xr
from odc.geo.xr import xr_coords

from tilewright.catalogs.passes import Pass, group_passes, seeing_order
from tilewright.tasks.cube.engines import ENGINES, chunk_shape
from tilewright.tasks.cube.read_pass import FileReads, PassRequest, read_pass
from tilewright.tasks.cube.scene_band import CATEGORIES, BandRequest
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.reader import check_resampling
from tilewright.tasks.read.resample.cells import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import BandAsset, Scene


def load_cube(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    engine: str = "direct",
    resampling: str = "bilinear",
    chunks: int | None = None,
    as_numbers: Sequence[str] = (),
    access: Access | None = None,
) -> xr.Dataset:
    """The bands of the scenes on the geobox as a lazy dataset: nothing is read before it is computed.

    One variable per band, dims (time, y, x), in Dask chunks of one pass and `chunks` pixels a side (None: the whole
    geobox). `time` holds the moment of each pass (UTC), ascending; scenes of a pass that have other bands are a pass of
    their own. In a pass of several scenes a pixel takes all bands from the first scene that has them all there.
    Measured bands are float32 in the unit of their attribute `units`, NaN = no value. Categories keep their integers,
    are resampled by nearest neighbour and are their attribute `nodata` where there is no value; those in `as_numbers`
    are float32 with NaN too, so that 0 differs from no value. Coordinates along `time`: `solar_day`, `cloud_cover`
    (percent, mean of the pass, NaN = unknown) and, per band, `<band>_present` (bool: the pass has the band).

    `engine` lays the reads out: "direct", or one of the libraries "odc" and "stackstac"; all give the same pixels. All
    given scenes are read: one that cannot touch the geobox (`tasks/cube/coverage.py`) costs an open file. Failed reads
    raise ReadError when computed, unless `access.failures` tolerates them.

    Raises ValueError for an unknown engine or resampling, a rotated geobox, or a band whose scenes disagree in unit.
    """
    if engine not in {"direct", *ENGINES}:
        known = ", ".join(sorted({"direct", *ENGINES}))
        raise ValueError(f"engine {engine!r} is not known: give one of {known}")
    locate(geobox)
    check_resampling(resampling)
    plans = [_plan_band(band, scenes, resampling, as_number=band in as_numbers) for band in bands]
    looks = [one for whole in group_passes(scenes) for one in _by_bands(whole, bands)]
    layout = _Layout(geobox=geobox, chunks=chunks, access=access or Access())
    arrays = _direct(looks, plans, layout) if engine == "direct" else _engine_arrays(engine, looks, plans, layout)
    return _wrap(arrays, plans, looks, geobox)


@dataclass(frozen=True, slots=True, kw_only=True)
class _BandPlan:
    """A band of a cube: how it is read, and the dtype and fill value of its variable."""

    request: BandRequest
    dtype: np.dtype
    fill: float

    @property
    def band(self) -> str:
        return self.request.band


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    geobox: GeoBox
    chunks: int | None
    access: Access


def _by_bands(whole: Pass, bands: Sequence[str]) -> list[Pass]:
    """The scenes of a pass, parted by which of the bands they have: those with most of them first."""

    def has(scene: Scene) -> list[bool]:
        return [scene.asset(band) is None for band in bands]

    ordered = sorted(seeing_order(whole.scenes, bands), key=lambda scene: (sum(has(scene)), has(scene)))
    return [Pass(tuple(members)) for _, members in groupby(ordered, key=has)]


def _plan_band(band: str, scenes: Sequence[Scene], resampling: str, *, as_number: bool) -> _BandPlan:
    assets = [asset for scene in scenes if (asset := scene.asset(band)) is not None]
    unit = _common_unit(band, {asset.unit for asset in assets})
    request = BandRequest(band=band, unit=unit, resampling=resampling)
    if unit != "class" or as_number:
        return _BandPlan(request=request, dtype=np.dtype("float32"), fill=float("nan"))
    dtype = np.result_type(*(asset.dtype for asset in assets)) if assets else np.dtype("uint8")
    return _BandPlan(request=request, dtype=dtype, fill=_fill_of(assets, dtype))


def _fill_of(assets: Sequence[BandAsset], dtype: np.dtype) -> float:
    """The first nodata value of the assets that the dtype can hold, else 0."""
    limits = np.iinfo(dtype)
    markers = (marker for asset in assets for marker in (asset.nodata, asset.usual_nodata))
    fitting = (marker for marker in markers if marker is not None and np.isfinite(marker))
    return next((value for value in fitting if limits.min <= value <= limits.max), 0.0)


def _common_unit(band: str, units: set[str]) -> str:
    """The unit of a band in the cube: the common unit of its scenes; linear if only some are in decibels."""
    if not units:
        return "class" if band in CATEGORIES else "1"
    if units == {"linear", "db"}:
        return "linear"
    if len(units) > 1:
        raise ValueError(f"band {band} is in {' and '.join(sorted(units))} in one request: search them apart")
    return next(iter(units))


def _direct(looks: Sequence[Pass], plans: Sequence[_BandPlan], layout: _Layout) -> dict[str, Any]:
    """The bands (time, y, x): a pass of one scene has a task per band, a pass of several is read as one."""
    parts = [
        _read_alone(one, plans, layout) if len(one.scenes) == 1 else _read_joined(one, plans, layout) for one in looks
    ]
    if not parts:
        height, width = layout.geobox.shape.yx
        return {plan.band: da.zeros((0, height, width), dtype=np.float32) for plan in plans}
    return {plan.band: da.concatenate([part[number] for part in parts]) for number, plan in enumerate(plans)}


def _read_alone(one: Pass, plans: Sequence[_BandPlan], layout: _Layout) -> list[Any]:
    """Each band of the only scene of a pass, (1, y, x)."""
    return [_mapped(partial(_read_chunk, scenes=one.scenes, requests=(plan.request,)), 1, layout)[0] for plan in plans]


def _read_joined(one: Pass, plans: Sequence[_BandPlan], layout: _Layout) -> list[Any]:
    """Each band of a pass, (1, y, x), from one array of all of them."""
    requests = tuple(plan.request for plan in plans)
    joined = _mapped(partial(_read_chunk, scenes=one.scenes, requests=requests), len(plans), layout)
    return [joined[number] for number in range(len(plans))]


def _mapped(read: Any, n_bands: int, layout: _Layout) -> Any:
    """The array (band, 1, y, x) of a function that reads a window of the geobox."""
    side = chunk_shape(layout.geobox, layout.chunks)
    rows, cols = da.core.normalize_chunks(side, layout.geobox.shape.yx, dtype=np.float32)
    return da.map_blocks(
        read,
        chunks=((n_bands,), (1,), rows, cols),
        dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), dtype=np.float32),
        layout=_Opaque(layout),
    )


class _Opaque:
    """A layout that Dask passes on as it is."""

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout


def _read_chunk(
    *, scenes: tuple[Scene, ...], requests: tuple[BandRequest, ...], layout: _Opaque, block_info: Any = None
) -> np.ndarray:
    """One chunk (band, 1, y, x) of a pass."""
    (_, _), _, (top, bottom), (left, right) = block_info[None]["array-location"]
    out = np.empty((len(requests), bottom - top, right - left), dtype=np.float32)
    reads = FileReads(layout.layout.geobox[top:bottom, left:right], layout.layout.access)
    read_pass(scenes, reads, PassRequest(bands=requests), out=out)
    return out[:, np.newaxis]


def _engine_arrays(engine: str, looks: Sequence[Pass], plans: Sequence[_BandPlan], layout: _Layout) -> dict[str, Any]:
    """The bands (time, y, x), joined from the scenes as a library lays them out."""
    scenes = [scene for one in looks for scene in one.scenes]
    laid_out = ENGINES[engine](
        scenes, [plan.request for plan in plans], layout.geobox, chunks=layout.chunks, access=layout.access
    )
    first = 0
    joined: dict[str, list[Any]] = {plan.band: [] for plan in plans}
    for one in looks:
        members = slice(first, first := first + len(one.scenes))
        stacks = [laid_out[plan.band][members].rechunk({0: -1}, method="tasks") for plan in plans]
        if len(one.scenes) > 1:
            present = [plan.band for plan in plans if one.scenes[0].asset(plan.band) is not None]
            seen = [stack for plan, stack in zip(plans, stacks, strict=True) if plan.band in present]
            chosen = da.map_blocks(_first_seen, *seen, dtype=np.intp, chunks=((1,), *stacks[0].chunks[1:]))
            stacks = [
                da.map_blocks(_taken, stack, chosen, dtype=np.float32, chunks=((1,), *stack.chunks[1:]))
                for stack in stacks
            ]
        for plan, stack in zip(plans, stacks, strict=True):
            joined[plan.band].append(stack)
    return {plan.band: da.concatenate(joined[plan.band]) if looks else laid_out[plan.band] for plan in plans}


def _first_seen(*bands: np.ndarray) -> np.ndarray:
    """The index per pixel of the first scene with a value in every band, (scene, y, x) -> (1, y, x); -1 for none."""
    seen = ~np.isnan(bands[0])
    for band in bands[1:]:
        seen &= ~np.isnan(band)
    return np.where(seen.any(axis=0), np.argmax(seen, axis=0), -1)[np.newaxis]


def _taken(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The values of the chosen scenes, (1, y, x) float32, NaN for index -1."""
    taken = np.take_along_axis(values, np.maximum(chosen, 0), axis=0)
    return np.where(chosen < 0, np.float32(np.nan), taken)


def _wrap(arrays: dict[str, Any], plans: Sequence[_BandPlan], looks: Sequence[Pass], geobox: GeoBox) -> xr.Dataset:
    times = np.array([one.moment.replace(tzinfo=None) for one in looks], dtype="datetime64[ns]")
    coords: dict[Any, Any] = {"time": times, **xr_coords(geobox, crs_coord_name="spatial_ref", dims=("y", "x"))}
    coords["solar_day"] = ("time", np.array([one.day for one in looks], dtype="datetime64[ns]"))
    covers = [np.nan if one.cloud_cover is None else one.cloud_cover for one in looks]
    coords["cloud_cover"] = ("time", np.array(covers, dtype=np.float32))
    for plan in plans:
        present = [one.scenes[0].asset(plan.band) is not None for one in looks]
        coords[f"{plan.band}_present"] = ("time", np.array(present, dtype=bool))
    variables = {}
    for plan in plans:
        values = arrays[plan.band]
        if plan.dtype != values.dtype:
            values = values.map_blocks(_as_category, dtype=plan.dtype, fill=plan.fill)
        nodata = plan.dtype.type(plan.fill).item()
        attributes = {"units": plan.request.unit, "nodata": nodata, "grid_mapping": "spatial_ref"}
        variables[plan.band] = (("time", "y", "x"), values, attributes)
    cube = xr.Dataset(variables, coords=coords)
    for variable in cube.data_vars.values():
        variable.encoding["grid_mapping"] = "spatial_ref"
    return cube


def _as_category(values: np.ndarray, *, fill: float, dtype: Any = None) -> np.ndarray:
    """Numbers with NaN as integers with a fill value."""
    return np.where(np.isnan(values), np.float32(fill), values).astype(dtype)
