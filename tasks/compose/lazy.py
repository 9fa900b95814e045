"""Masks and composites of a lazy cube, over the same functions that a run calls on arrays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from tilewright.tasks.compose.composite import count_true, reduce_passes, working_unit
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.reducers import SELECTING_REDUCERS, parse_reducer, reducer_radius_px
from tilewright.tasks.read.resample.pixels import Pixels, convert_unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tilewright.tasks.compose.mask_rule import MaskRule


def valid_mask(cube: xr.Dataset, *, rule: MaskRule, bands: Sequence[str] | None = None) -> xr.DataArray:
    """The valid mask of a cube, (time, y, x) bool, lazy: True = usable.

    A usable pixel has a value in each of `bands` (default: the cube's measured ones) that its pass has, and is not
    dropped by the rule. On passes without the rule's bands, values are enough.

    Raises ValueError if the cube has no measured band.
    """
    names = [str(name) for name in bands or cube.data_vars if np.issubdtype(cube[name].dtype, np.floating)]
    names = [name for name in names if rule.kind == "rule" or name not in rule.bands] or names
    if not names:
        raise ValueError(f"the cube has the bands {', '.join(map(str, cube.data_vars))}: a mask needs a measured one")
    valid = cube[names[0]].copy(data=_present_values(cube, names[0]))
    for name in names[1:]:
        valid = valid & cube[name].copy(data=_present_values(cube, name))
    if rule.bands and all(name in cube for name in rule.bands):
        valid = valid & ~_dropped(cube, rule)
    valid.attrs = {}
    return valid.rename("valid")


def _present_values(cube: xr.Dataset, name: str) -> da.Array:
    """True where a band has a value, and on every pixel of a pass that does not have the band."""
    has_value = ~da.isnan(cube[name].data)
    if f"{name}_present" not in cube.coords:
        return has_value
    return has_value | ~cube[f"{name}_present"].to_numpy()[:, np.newaxis, np.newaxis]


def _dropped(cube: xr.Dataset, rule: MaskRule) -> xr.DataArray:
    """True where the rule drops the pixel, (time, y, x) bool; never on a pass that lacks one of the rule's bands."""
    resolution = _resolution(cube)
    quality = [cube[name].data for name in rule.bands]
    nodata = [cube[name].attrs.get("nodata") for name in rule.bands]
    reach = rule.radius_px(resolution)
    dropped = da.map_overlap(
        _dropped_chunk,
        *quality,
        depth={0: 0, 1: reach, 2: reach},
        boundary="none",
        dtype=bool,
        rule=rule,
        resolution=resolution,
        nodata=nodata,
    )
    labelled = cube[rule.bands[0]].copy(data=dropped)
    for name in rule.bands:
        if f"{name}_present" in cube.coords:
            labelled = labelled & cube[f"{name}_present"]
    return labelled


def _dropped_chunk(
    *quality: np.ndarray, rule: MaskRule, resolution: float, nodata: Sequence[float | None]
) -> np.ndarray:
    pixels = {
        name: Pixels(values=np.ascontiguousarray(values), nodata=marker, valid=None)
        for name, values, marker in zip(rule.bands, quality, nodata, strict=True)
    }
    return dropped_pixels(pixels, rule=rule, resolution=resolution)


def _resolution(cube: xr.Dataset) -> float:
    """The side of a pixel in CRS units."""
    x = cube["x"].to_numpy()
    return float(abs(x[-1] - x[0]) / (x.size - 1)) if x.size > 1 else float(abs(cube.odc.geobox.affine.a))


def composite(
    cube: xr.Dataset,
    valid: xr.DataArray,
    *,
    reducer: str = "median",
    unit: str | None = None,
    bands: Sequence[str] | None = None,
    middle: date | None = None,
) -> xr.Dataset:
    """The lazy composite of a cube's passes: each of `bands` (y, x) float32, NaN = no value, and `observations`.

    `bands` are the cube's measured ones by default. `observations` (y, x) uint16 counts the valid passes of a pixel.
    Backscatter is averaged as linear power; `unit` ("linear" or "db") is the unit of the result, None keeps the cube's.
    `least-cloudy` takes passes by the cube's `cloud_cover`, the mean of their scenes in the cube; a run takes scenes by
    their own. `best-pixel` prefers passes close to `middle`, by default
    the middle of the cube's days.

    Raises ValueError for an unknown reducer or unit.
    """
    kind, _ = parse_reducer(reducer)
    measured = [str(name) for name in cube.data_vars if np.issubdtype(cube[name].dtype, np.floating)]
    names = [str(name) for name in bands or measured]
    units = [str(cube[name].attrs.get("units", "1")) for name in names]
    masked = [
        _masked(cube[name].variable, valid.variable, each, reducer) for name, each in zip(names, units, strict=True)
    ]
    # Passes chosen for all bands at once need them in one chunk; every other reducer takes band by band.
    groups = [masked] if kind in SELECTING_REDUCERS else [[one] for one in masked]
    reduced = [band for group in groups for band in _reduced(group, cube, reducer, middle)]
    finished = {}
    for name, source, array in zip(names, units, reduced, strict=True):
        target = unit if unit is not None and source in {"linear", "db"} else source
        finished[name] = _finished(array, working_unit(source, reducer), target)
    flags = _lazy(valid.variable)
    counted = da.zeros(flags.shape[1:], dtype=np.uint16, chunks=flags.chunks[1:])
    if flags.shape[0]:
        whole = flags.rechunk({0: -1}, method="tasks")
        counted = whole.map_blocks(count_true, drop_axis=0, dtype=np.uint16, meta=np.empty((0, 0), dtype=np.uint16))
    observations = xr.Variable(("y", "x"), counted, {"units": "1", "grid_mapping": "spatial_ref"})
    coords = {name: cube.variables[name] for name in ("y", "x", "spatial_ref") if name in cube.coords}
    return xr.Dataset({**finished, "observations": observations}, coords=coords)


def _masked(band: xr.Variable, valid: xr.Variable, unit: str, reducer: str) -> Any:
    """The band's valid values (time, y, x) float32 in the working unit, NaN elsewhere."""
    target = working_unit(unit, reducer)
    return da.map_blocks(_mask_block, _lazy(band), _lazy(valid), dtype=np.float32, source=unit, target=target)


def _mask_block(values: np.ndarray, valid: np.ndarray, *, source: str, target: str) -> np.ndarray:
    kept = values if valid.all() else np.where(valid, values, np.float32(np.nan))
    return convert_unit(kept.astype(np.float32, copy=False), source=source, target=target)


def _lazy(array: xr.Variable) -> Any:
    """The array as Dask array (time, y, x)."""
    data = array.transpose("time", "y", "x").data
    return data if isinstance(data, da.Array) else da.from_array(data)


def _reduced(group: list[Any], cube: xr.Dataset, reducer: str, middle: date | None) -> list[Any]:
    """The composites (y, x) of bands (time, y, x) that are reduced together."""
    # Every rechunk names its method: to choose one, Dask would import distributed and look for a client.
    stack = da.stack(group).rechunk({0: -1, 1: -1}, method="tasks")
    if stack.shape[1] == 0:
        return [da.full(stack.shape[2:], np.nan, dtype=np.float32, chunks=stack.chunks[2:]) for _ in group]
    resolution = float(abs(cube.odc.geobox.affine.a))
    reach = min(reducer_radius_px(reducer, resolution), *stack.shape[2:])
    options: dict[str, Any] = {
        "ranks": _order(cube, reducer),
        "days": [str(day) for day in _days(cube)],
        "middle": middle,
        "resolution": resolution,
    }
    whole = stack
    if stack.numblocks[2:] != (1, 1) and reach:
        whole = da.overlap.overlap(stack, depth={0: 0, 1: 0, 2: reach, 3: reach}, boundary="none")
    reduced = whole.map_blocks(
        partial(reduce_passes, reducer=reducer, **options),
        drop_axis=1,
        dtype=np.float32,
        meta=np.empty((0, 0, 0), dtype=np.float32),
    )
    if whole is not stack:
        reduced = da.overlap.trim_overlap(reduced, depth={0: 0, 1: reach, 2: reach}, boundary="none")
        # Dask has joined chunks that are smaller than the reach.
        reduced = reduced.rechunk({1: stack.chunks[2], 2: stack.chunks[3]}, method="tasks")
    return [reduced[number] for number in range(len(group))]


def _order(cube: xr.Dataset, reducer: str) -> list[int] | None:
    """The ranks of a cube's passes by their cloud cover, for `least-cloudy` alone."""
    if reducer != "least-cloudy" or "cloud_cover" not in cube.coords:
        return None
    covers = cube["cloud_cover"].to_numpy()
    return [int(rank) for rank in np.argsort(np.argsort(covers, kind="stable"), kind="stable")]


def _days(cube: xr.Dataset) -> np.ndarray:
    """The solar days of a cube's passes."""
    source = cube["solar_day"] if "solar_day" in cube.coords else cube["time"]
    return np.asarray(source.to_numpy().astype("datetime64[D]"))


def _finished(array: Any, source: str, target: str) -> xr.Variable:
    """The reduced band (y, x) in the target unit, with the attributes of a raster."""
    if source != target:
        array = array.map_blocks(convert_unit, source=source, target=target, dtype=np.float32)
    attributes = {"units": target, "nodata": float("nan"), "grid_mapping": "spatial_ref"}
    return xr.Variable(("y", "x"), array, attributes)
