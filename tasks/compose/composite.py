"""Composites: a cube's days reduced to one value per pixel and band, with the number of valid days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from tilewright.tasks.compose import reducers, selection
from tilewright.tasks.compose.reducers import AVERAGING_REDUCERS, SELECTING_REDUCERS, parse_reducer, reducer_radius_px
from tilewright.tasks.read.pixels import convert_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date


def composite(
    cube: xr.Dataset,
    valid: xr.DataArray,
    *,
    reducer: str = "median",
    unit: str | None = None,
    bands: Sequence[str] | None = None,
    order: Sequence[str] | None = None,
    middle: date | None = None,
) -> xr.Dataset:
    """The lazy composite of a cube's days: each of `bands` (y, x) float32, NaN = no value, and `observations`.

    `bands` are the cube's measured ones by default. `observations` (y, x) uint16 counts the valid days of a pixel.
    Backscatter is averaged as linear power; `unit` ("linear" or "db") is the unit of the result, None keeps the cube's.
    `least-cloudy` takes days in `order` (ISO dates, the preferred first), which a plan fixes for the whole area; by
    default the cube's `cloud_cover` orders them. `best-pixel` prefers dates close to `middle`, which a plan fixes
    too; by default it is the middle of the cube's days, which may differ between blocks.

    Raises ValueError for an unknown reducer or unit.
    """
    kind, percent = parse_reducer(reducer)
    measured = [name for name in cube.data_vars if np.issubdtype(cube[name].dtype, np.floating)]
    names = [str(name) for name in bands or measured]
    indices = _date_order(cube, kind, order)
    # Variables, not labelled arrays: every block builds this graph, and labels took a third of that time.
    flags = valid.variable
    if kind in SELECTING_REDUCERS:
        masked = {name: _masked(cube.variables[name], flags, kind) for name in names}
        reduced = _select_dates(cube, masked, flags, kind, middle=middle)
    else:
        kernel = _kernel(kind, percent, indices)
        reduced = {name: _reduce(cube.variables[name], flags, kind, kernel) for name in names}
    finished = {}
    for name, array in reduced.items():
        band = cube.variables[name]
        source = _working_unit(band, kind)
        target = unit if unit is not None and source in {"linear", "db"} else band.attrs.get("units", "1")
        finished[name] = _finished(array, source, target)
    observations = xr.Variable(("y", "x"), _observations(flags), {"units": "1", "grid_mapping": "spatial_ref"})
    coords = {name: cube.variables[name] for name in ("y", "x", "spatial_ref") if name in cube.coords}
    return xr.Dataset({**finished, "observations": observations}, coords=coords)


def _working_unit(band: xr.Variable, kind: str) -> str:
    """The unit a band is reduced in."""
    unit = str(band.attrs.get("units", "1"))
    return "linear" if unit == "db" and kind in AVERAGING_REDUCERS else unit


def _masked(band: xr.Variable, valid: xr.Variable, kind: str) -> Any:
    """The band's valid values (time, y, x) float32 in the unit in which they are reduced, NaN elsewhere."""
    unit = str(band.attrs.get("units", "1"))
    target = _working_unit(band, kind)
    return da.map_blocks(_mask_block, _lazy(band), _lazy(valid), dtype=np.float32, source=unit, target=target)


def _mask_block(values: np.ndarray, valid: np.ndarray, *, source: str, target: str) -> np.ndarray:
    kept = values if valid.all() else np.where(valid, values, np.float32(np.nan))
    return convert_unit(kept.astype(np.float32, copy=False), source=source, target=target)


def _lazy(array: xr.Variable) -> Any:
    """The array as Dask array (time, y, x)."""
    order = ("time", "y", "x")
    ordered = array.data if array.dims == order else array.transpose(*order).data
    return ordered if isinstance(ordered, da.Array) else da.from_array(ordered)


def _date_order(cube: xr.Dataset, kind: str, order: Sequence[str] | None) -> list[int]:
    """The indices of the days, the preferred first."""
    n_days = cube.sizes["time"]
    if kind == "last":
        return list(range(n_days))[::-1]
    if kind != "least-cloudy":
        return list(range(n_days))
    days = [str(day)[:10] for day in cube["time"].to_numpy().astype("datetime64[D]")]
    if order is not None:
        rank = {day: position for position, day in enumerate(order)}
        return sorted(range(n_days), key=lambda index: (rank.get(days[index], len(rank)), days[index]))
    covers = cube["cloud_cover"].to_numpy() if "cloud_cover" in cube.coords else np.full(n_days, np.nan)
    return [int(index) for index in np.argsort(covers, kind="stable")]


def _kernel(kind: str, percent: float, order: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    kernels: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mean": reducers.mean,
        "median": reducers.median,
        "min": reducers.minimum,
        "max": reducers.maximum,
        "percentile": lambda values: reducers.percentile(values, percent),
        # The order of the days is what tells these apart.
        **dict.fromkeys(("first", "last", "least-cloudy"), lambda values: reducers.first_valid(values, order)),
    }
    return kernels[kind]


def _reduce(band: xr.Variable, valid: xr.Variable, kind: str, kernel: Callable[[np.ndarray], np.ndarray]) -> Any:
    """A band's valid values (time, y, x) reduced to (y, x) float32 by a kernel; all NaN for a cube without a day."""
    values, flags = _lazy(band), _lazy(valid)
    # Every rechunk names its method: to choose one, Dask would import distributed and look for a client.
    if values.shape[0] == 0:
        return da.full(values.shape[1:], np.nan, dtype=np.float32, chunks=values.chunks[1:])
    return _flattened(
        _reduce_block,
        values.rechunk({0: -1}, method="tasks"),
        flags.rechunk({0: -1}, method="tasks"),
        dtype=np.float32,
        kernel=kernel,
        source=str(band.attrs.get("units", "1")),
        target=_working_unit(band, kind),
    )


def _flattened(function: Callable[..., np.ndarray], *arrays: Any, dtype: type, **options: Any) -> Any:
    """The result (y, x) of a function from (time, y, x) to (y, x), over arrays whose days are in one chunk.

    The chunks keep a time axis of length one until the end: Dask copies chunks whose axis `map_blocks` drops.
    """
    chunks = ((1,), *arrays[0].chunks[1:])
    reduced = da.map_blocks(_as_one_day, *arrays, dtype=dtype, chunks=chunks, function=function, **options)
    return reduced[0]


def _as_one_day(*arrays: np.ndarray, function: Callable[..., np.ndarray], **options: Any) -> np.ndarray:
    return function(*arrays, **options)[np.newaxis]


def _reduce_block(
    values: np.ndarray,
    valid: np.ndarray,
    *,
    kernel: Callable[[np.ndarray], np.ndarray],
    source: str,
    target: str,
) -> np.ndarray:
    return kernel(_mask_block(values, valid, source=source, target=target))


def _observations(valid: xr.Variable) -> Any:
    flags = _lazy(valid)
    if flags.shape[0] == 0:
        return da.zeros(flags.shape[1:], dtype=np.uint16, chunks=flags.chunks[1:])
    return _flattened(_count, flags.rechunk({0: -1}, method="tasks"), dtype=np.uint16)


def _count(flags: np.ndarray) -> np.ndarray:
    """The number of days that are True, (time, y, x) -> (y, x) uint16."""
    total = np.zeros(flags.shape[1:], dtype=np.uint16)
    for day in flags:
        total += day
    return total


def _select_dates(
    cube: xr.Dataset, masked: dict[str, Any], valid: xr.Variable, kind: str, *, middle: date | None
) -> dict[str, Any]:
    """Every band at the date that is chosen per pixel, (y, x) float32."""
    names = list(masked)
    if cube.sizes["time"] == 0:
        return {name: _reduce(cube.variables[name], valid, kind, reducers.median) for name in names}
    if kind == "medoid":
        stack = da.stack([masked[name] for name in names]).rechunk({0: -1, 1: -1}, method="tasks")
        empty = np.empty((0, 0), dtype=np.intp)
        chosen = stack.map_blocks(selection.medoid, drop_axis=[0, 1], dtype=np.intp, meta=empty)
    else:
        chosen = _best_dates(cube, masked, valid, middle)
    return {
        name: da.map_blocks(
            selection.take_date, array.rechunk({0: -1}, method="tasks"), chosen, drop_axis=0, dtype=np.float32
        )
        for name, array in masked.items()
    }


def _best_dates(cube: xr.Dataset, masked: dict[str, Any], valid: xr.Variable, middle: date | None) -> Any:
    """The index of the best date per pixel, (y, x) intp; distances to clouds are measured across chunk borders."""
    usable = _lazy(valid)
    for array in masked.values():
        usable = usable & ~da.isnan(array)
    resolution = float(abs(cube.odc.geobox.affine.a))
    days = cube["time"].to_numpy().astype("datetime64[D]").astype(np.float64)
    reach = min(reducer_radius_px("best-pixel", resolution), *cube.odc.geobox.shape)
    centre = float((days[0] + days[-1]) / 2) if middle is None else float(np.datetime64(middle, "D").astype(np.int64))
    options = {"days": days, "middle": centre, "resolution": resolution}
    whole = usable.rechunk({0: -1}, method="tasks")
    if whole.numblocks != (1, 1, 1):
        whole = da.overlap.overlap(whole, depth={0: 0, 1: reach, 2: reach}, boundary="none")
    empty = np.empty((0, 0), dtype=np.intp)
    chosen = whole.map_blocks(selection.best_pixel, drop_axis=0, dtype=np.intp, meta=empty, **options)
    if whole.numblocks != (1, 1, 1):
        chosen = da.overlap.trim_overlap(chosen, depth={0: reach, 1: reach}, boundary="none")
    # Dask has joined chunks that are smaller than the reach.
    return chosen.rechunk(usable.chunks[1:], method="tasks")


def _finished(array: Any, source: str, target: str) -> xr.Variable:
    """The reduced band (y, x) in the target unit, with the attributes of a raster."""
    if source != target:
        array = array.map_blocks(convert_unit, source=source, target=target, dtype=np.float32)
    attributes = {"units": target, "nodata": float("nan"), "grid_mapping": "spatial_ref"}
    return xr.Variable(("y", "x"), array, attributes)
