"""The pixels that a mask rule drops: clouds, shadows and gaps, from quality bands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compose.mask_rule import NOT_CLOUD, parse_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilewright.tasks.compose.mask_rule import MaskRule
    from tilewright.tasks.read.resample.pixels import Pixels


TABLE_BYTES = 2
"""Stored integers of up to so many bytes are judged with a table of all their numbers."""

FEW_NUMBERS = 8
"""Numbers up to which each is compared instead of looking all up."""

SLAB_PIXELS = 1 << 16
"""Pixels judged at a time, which stay in the CPU's cache."""


def dropped_pixels(quality: Mapping[str, Pixels], *, rule: MaskRule, resolution: float) -> np.ndarray:
    """True where the rule drops a pixel, (..., y, x) bool; `quality` holds the rule's bands on pixels of `resolution`.

    Classes and bits are stored integers, all other bands physical values. Dropped are clouds and shadows, the pixels
    within `rule.dilation` of them, and pixels that the rule cannot judge because a band is missing there, or a class or
    its bits are no whole number; these are not dilated. Only for kind "values" a missing number is judged like any
    other: many masks call their class 0 nodata.
    """
    bands = [quality[name] for name in rule.judged]
    if rule.kind == "rule":
        return _grown(*_by_conditions(quality, rule.conditions), rule=rule, resolution=resolution)
    if rule.kind == "probability":
        return _grown(bands[0].values > rule.threshold, bands[0].missing, rule=rule, resolution=resolution)
    if rule.kind == "bits":
        bits = sum(1 << bit for bit in rule.drop)
        found = _looked_up(bands[0], lambda numbers: (numbers.astype(np.uint64) & np.uint64(bits)) != 0)
        return _grown(found, bands[0].missing | ~_whole(bands[0]), rule=rule, resolution=resolution)
    # A model names its classes, and where it saw nothing it gives none.
    undilated = {"scl": NOT_CLOUD, "model": frozenset[int]()}.get(rule.kind, frozenset({0}))
    clouds = [value for value in rule.drop if value not in undilated]
    others = [value for value in rule.drop if value in undilated]
    if rule.dilation == 0:
        # Nothing grows, so that all are one.
        clouds, others = [*clouds, *others], []
    found = _looked_up(bands[0], lambda numbers: np.isin(numbers, clouds))
    unjudged = bands[0].missing if rule.kind in {"scl", "model"} else _unstored(bands[0])
    if others:
        unjudged |= _looked_up(bands[0], lambda numbers: np.isin(numbers, others))
    if bands[0].values.dtype.kind == "f":
        unjudged |= ~_whole(bands[0])
    return _grown(found, unjudged, rule=rule, resolution=resolution)


def _grown(clouds: np.ndarray, unjudged: np.ndarray, *, rule: MaskRule, resolution: float) -> np.ndarray:
    """The clouds, dilated, and the pixels that are dropped without being dilated."""
    radius = rule.dilation / resolution
    if radius > 0 and clouds.any():
        clouds = _dilate(clouds.reshape(-1, *clouds.shape[-2:]), radius=radius).reshape(clouds.shape)
    return np.asarray(clouds | unjudged)


def _looked_up(pixels: Pixels, holds: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """True where a condition on stored integers holds; never where a number is no integer."""
    values = pixels.values
    if values.dtype.kind == "f":
        known = _whole(pixels)
        return holds(np.where(known, values, 0).astype(np.int64)) & known
    if values.dtype.itemsize > TABLE_BYTES:
        return holds(values)
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    numbers = np.arange(2 ** (8 * values.dtype.itemsize), dtype=unsigned).view(values.dtype)
    return _in_table(holds(numbers), values.view(unsigned))


def _in_table(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The table's truths at indices (..., y, x): by comparisons where few numbers are true or few are not, which are
    several times as fast as looking up.
    """
    few = next((truth for truth in (True, False) if np.count_nonzero(table == truth) <= FEW_NUMBERS), None)
    if few is None or indices.size == 0:
        return np.asarray(np.take(table, indices, mode="clip"))
    found = np.full(indices.shape, not few)
    flat, rows = indices.reshape(-1, indices.shape[-1]), found.reshape(-1, indices.shape[-1])
    n_rows = max(1, SLAB_PIXELS // max(indices.shape[-1], 1))
    for start in range(0, len(flat), n_rows):
        slab, judged = flat[start : start + n_rows], rows[start : start + n_rows]
        for number in np.flatnonzero(table == few):
            if few:
                judged |= slab == slab.dtype.type(number)
            else:
                judged &= slab != slab.dtype.type(number)
    return found


def _whole(pixels: Pixels) -> np.ndarray:
    """True where a number is a whole one: between two classes there is none."""
    values = pixels.values
    if values.dtype.kind != "f":
        return np.ones(values.shape, dtype=bool)
    return np.asarray(np.isfinite(values) & (values == np.rint(values)))


def _unstored(pixels: Pixels) -> np.ndarray:
    """True where there is no stored number at all."""
    if pixels.values.dtype.kind == "f":
        return np.isnan(pixels.values)
    return np.zeros(pixels.values.shape, dtype=bool) if pixels.valid is None else ~pixels.valid


def _by_conditions(quality: Mapping[str, Pixels], conditions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(true, unknown): where any condition holds, and where any is undefined."""
    bands = {name: pixels.values.astype(np.float32, copy=False) for name, pixels in quality.items()}
    results = [parse_condition(text, field="mask condition")(bands) for text in conditions]
    true = np.asarray(np.logical_or.reduce([true for true, _ in results]))
    return true, np.asarray(np.logical_or.reduce([unknown for _, unknown in results]))


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
