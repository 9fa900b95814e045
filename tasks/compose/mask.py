"""The valid mask of a cube: clouds, shadows and gaps, from a quality band."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from tilewright.tasks.compose.mask_rule import NOT_CLOUD, parse_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from tilewright.tasks.compose.mask_rule import MaskRule


def valid_mask(cube: xr.Dataset, *, rule: MaskRule, bands: Sequence[str] | None = None) -> xr.DataArray:
    """The valid mask, (time, y, x) bool, lazy: True = usable.

    A usable pixel has a value in at least one of `bands` (default: the cube's measured ones) and is not dropped by the
    rule. On days without the rule's bands, a value is enough.

    Raises ValueError if the cube has no measured band.
    """
    names = [str(name) for name in bands or cube.data_vars if np.issubdtype(cube[name].dtype, np.floating)]
    names = [name for name in names if rule.kind == "rule" or name not in rule.bands] or names
    if not names:
        raise ValueError(f"the cube has the bands {', '.join(map(str, cube.data_vars))}: a mask needs a measured one")
    has_value = da.map_blocks(_has_value, *(cube.variables[name].data for name in names), dtype=bool)
    valid = cube[names[0]].copy(data=has_value)
    if rule.bands and all(name in cube for name in rule.bands):
        valid = valid & ~_dropped(cube, rule)
    valid.attrs = {}
    return valid.rename("valid")


def _has_value(*bands: np.ndarray) -> np.ndarray:
    """True where any band has a value."""
    has_value = ~np.isnan(bands[0]) if bands[0].dtype.kind == "f" else np.ones(bands[0].shape, dtype=bool)
    for band in bands[1:]:
        if has_value.all():
            break
        has_value |= ~np.isnan(band) if band.dtype.kind == "f" else True
    return has_value


def _dropped(cube: xr.Dataset, rule: MaskRule) -> xr.DataArray:
    """True where the rule drops the pixel, (time, y, x) bool; never on a day that lacks one of the rule's bands."""
    quality = [cube[name].data for name in rule.bands]
    clouds = da.map_blocks(_drop, *quality, dtype=bool, rule=rule, dilated=True)
    missing = da.map_blocks(_drop, *quality, dtype=bool, rule=rule, dilated=False)
    radius = rule.dilation / _resolution(cube)
    if radius > 0:
        depth = {0: 0, 1: rule.radius_px(_resolution(cube)), 2: rule.radius_px(_resolution(cube))}
        clouds = da.map_overlap(_dilate, clouds, depth=depth, boundary="none", dtype=bool, radius=radius)
    dropped = cube[rule.bands[0]].copy(data=clouds | missing)
    for name in rule.bands:
        if f"{name}_present" in cube.coords:
            dropped = dropped & cube[f"{name}_present"]
    return dropped


def _drop(*quality: np.ndarray, rule: MaskRule, dilated: bool) -> np.ndarray:
    """True where the rule drops a pixel: for clouds and shadows (`dilated`), or for a missing value (not `dilated`)."""
    if rule.kind == "rule":
        return _drop_by_conditions(dict(zip(rule.bands, quality, strict=True)), rule.conditions, dilated=dilated)
    values = quality[0]
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if rule.kind == "probability":
        return values > rule.threshold if dilated else missing
    if rule.kind == "bits":
        bits = np.bitwise_or.reduce([1 << bit for bit in rule.drop], dtype=np.uint64) if rule.drop else np.uint64(0)
        return (np.where(missing, 0, values).astype(np.uint64) & bits) != 0 if dilated else missing
    undilated = NOT_CLOUD if rule.kind == "scl" else frozenset({0})
    classes = [value for value in rule.drop if (value not in undilated) == dilated]
    return np.isin(values, classes) if dilated else np.isin(values, classes) | missing


def _drop_by_conditions(bands: dict[str, np.ndarray], conditions: Sequence[str], *, dilated: bool) -> np.ndarray:
    """True where any condition holds (`dilated`), or where any is undefined (not `dilated`)."""
    # Classes are small unsigned integers, which would wrap around below 0.
    bands = {name: values.astype(np.float32, copy=False) for name, values in bands.items()}
    results = [parse_condition(text, field="mask condition")(bands) for text in conditions]
    return np.asarray(np.logical_or.reduce([true if dilated else unknown for true, unknown in results]))


def _resolution(cube: xr.Dataset) -> float:
    """The side of a pixel in CRS units."""
    x = cube["x"].to_numpy()
    return float(abs(x[-1] - x[0]) / (x.size - 1)) if x.size > 1 else float(abs(cube.odc.geobox.affine.a))


def _dilate(cloudy: np.ndarray, *, radius: float) -> np.ndarray:
    """The mask dilated by a disc, (time, y, x) bool: True within `radius` pixels (centre to centre) of a True.

    The disc is the union of its rows: each row of the mask is widened by the disc's half-width at that distance.
    """
    dilated = np.zeros_like(cloudy)
    reach = math.floor(radius + 1e-9)
    for distance in range(min(reach, cloudy.shape[1] - 1) + 1):
        half = math.floor(math.sqrt(max(radius * radius - distance * distance, 0.0)) + 1e-9)
        wide = _widen(cloudy, half)
        dilated[:, distance:] |= wide[:, : cloudy.shape[1] - distance]
        if distance:
            dilated[:, :-distance] |= wide[:, distance:]
    return dilated


def _widen(cloudy: np.ndarray, half: int) -> np.ndarray:
    """The mask widened along x: True within `half` pixels of a True."""
    if half == 0:
        return cloudy
    width = cloudy.shape[-1]
    n_before = np.zeros((*cloudy.shape[:-1], width + 1), dtype=np.int32)
    np.cumsum(cloudy, axis=-1, out=n_before[..., 1:])
    columns = np.arange(width)
    stop, start = np.minimum(columns + half + 1, width), np.maximum(columns - half, 0)
    widened: np.ndarray = n_before[..., stop] > n_before[..., start]
    return widened
