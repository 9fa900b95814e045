"""Which pixels of a cube can be used: clouds, shadows and gaps told from a band beside the measured ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import dask.array as da
import numpy as np

from tasks.condition import parse_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

SCL_DROPPED = (0, 1, 3, 8, 9, 10)
"""No data, saturated or defective, cloud shadow, cloud of medium and of high probability, thin cirrus.

Source: Sentinel-2 Products Specification Document, issue 14.9, section 3.7.10 (scene classification).
"""

QA_PIXEL_DROPPED = (1, 2, 3, 4)
"""Bits of dilated cloud, cirrus, cloud, cloud shadow.

Source: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), version 5.0, table 6-2.
"""

NOT_CLOUD = frozenset({0, 1})
"""SCL classes that are dropped but not grown by a dilation: they say nothing of the sky."""

DEFAULT_BAND = {"scl": "scl", "probability": "cloud", "bits": "qa_pixel", "values": "", "rule": "", "none": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """What makes a pixel unusable.

    `kind` "scl" and "values" drop the classes in `drop`; "probability" drops values above `threshold`; "bits" drops
    pixels that have any of the bits numbered in `drop`; "rule" drops where any of the `conditions` over bands in their
    physical units is true, or cannot be answered; "none" drops nothing. `band` is the band that tells, each kind's
    usual one if empty. `dilation` in metres grows what is dropped for clouds and shadows (not missing pixels).
    """

    kind: Literal["none", "scl", "probability", "bits", "values", "rule"] = "scl"
    band: str = ""
    drop: tuple[int, ...] = SCL_DROPPED
    threshold: float = 50.0
    conditions: tuple[str, ...] = ()
    dilation: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in DEFAULT_BAND:
            raise ValueError(f"mask kind {self.kind!r} is not known: give one of {', '.join(sorted(DEFAULT_BAND))}")
        if not (math.isfinite(self.dilation) and self.dilation >= 0):
            raise ValueError(f"mask dilation is {self.dilation}: give metres, 0 or more")
        if self.kind == "bits" and not all(0 <= bit < 64 for bit in self.drop):
            raise ValueError(f"mask bits are {self.drop}: give bit numbers from 0 on")
        if self.kind == "values" and not self.band:
            raise ValueError("mask kind 'values' needs the band whose values tell")
        if (self.kind == "rule") != bool(self.conditions):
            raise ValueError("conditions belong to mask kind 'rule', and that kind needs at least one")
        for text in self.conditions:
            parse_condition(text, field="mask condition")

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands the rule needs, some of which may be measured ones."""
        if self.kind == "none":
            return ()
        if self.kind == "rule":
            parsed = [parse_condition(text, field="mask condition") for text in self.conditions]
            return tuple(dict.fromkeys(name for condition in parsed for name in condition.difference.names))
        return (self.band or DEFAULT_BAND[self.kind],)

    def radius_px(self, resolution: float) -> int:
        """Pixels by which the mask reaches beyond a pixel: to be added to the halo of a block."""
        return math.ceil(self.dilation / resolution) if self.kind != "none" else 0


def valid_mask(cube: xr.Dataset, *, rule: MaskRule, bands: Sequence[str] | None = None) -> xr.DataArray:
    """True where a pixel of a day can be used, (time, y, x) bool, lazy.

    A usable pixel has a value in at least one of `bands` (default: the cube's measured ones) and is not dropped by the
    rule. On days without the rule's bands, having a value is enough.
    """
    names = [str(name) for name in bands or cube.data_vars if np.issubdtype(cube[name].dtype, np.floating)]
    names = [name for name in names if rule.kind == "rule" or name not in rule.bands] or names
    if not names:
        raise ValueError(f"the cube has the bands {', '.join(map(str, cube.data_vars))}: a mask needs a measured one")
    there = da.map_blocks(_has_value, *(cube[name].data for name in names), dtype=bool)
    valid = cube[names[0]].copy(data=there)
    if rule.bands and all(name in cube for name in rule.bands):
        valid = valid & ~_dropped(cube, rule)
    valid.attrs = {}
    return valid.rename("valid")


def _has_value(*bands: np.ndarray) -> np.ndarray:
    """True where any band has a value."""
    there = ~np.isnan(bands[0]) if bands[0].dtype.kind == "f" else np.ones(bands[0].shape, dtype=bool)
    for band in bands[1:]:
        if there.all():
            break
        there |= ~np.isnan(band) if band.dtype.kind == "f" else True
    return there


def _dropped(cube: xr.Dataset, rule: MaskRule) -> xr.DataArray:
    """True where the rule's bands tell to drop the pixel; never on a day that lacks one of them."""
    told = [cube[name].data for name in rule.bands]
    seen = da.map_blocks(_drop, *told, dtype=bool, rule=rule, grown=True)
    unknown = da.map_blocks(_drop, *told, dtype=bool, rule=rule, grown=False)
    radius = rule.dilation / _resolution(cube)
    if radius > 0:
        depth = {0: 0, 1: rule.radius_px(_resolution(cube)), 2: rule.radius_px(_resolution(cube))}
        seen = da.map_overlap(_dilate, seen, depth=depth, boundary="none", dtype=bool, radius=radius)
    dropped = cube[rule.bands[0]].copy(data=seen | unknown)
    for name in rule.bands:
        if f"{name}_present" in cube.coords:
            dropped = dropped & cube[f"{name}_present"]
    return dropped


def _drop(*told: np.ndarray, rule: MaskRule, grown: bool) -> np.ndarray:
    """Where the rule drops: for what is seen in the sky (`grown`), or for want of a value."""
    if rule.kind == "rule":
        return _drop_by_conditions(dict(zip(rule.bands, told, strict=True)), rule.conditions, grown=grown)
    values = told[0]
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if rule.kind == "probability":
        return values > rule.threshold if grown else missing
    if rule.kind == "bits":
        bits = np.bitwise_or.reduce([1 << bit for bit in rule.drop], dtype=np.uint64) if rule.drop else np.uint64(0)
        return (np.where(missing, 0, values).astype(np.uint64) & bits) != 0 if grown else missing
    sky = NOT_CLOUD if rule.kind == "scl" else frozenset({0})
    classes = [value for value in rule.drop if (value not in sky) == grown]
    return np.isin(values, classes) if grown else np.isin(values, classes) | missing


def _drop_by_conditions(bands: dict[str, np.ndarray], conditions: Sequence[str], *, grown: bool) -> np.ndarray:
    """Where any condition is true (`grown`), or has no answer."""
    place = 0 if grown else 1
    # Classes are small unsigned integers, which wrap around below 0.
    bands = {name: values.astype(np.float32, copy=False) for name, values in bands.items()}
    answers = [parse_condition(text, field="mask condition")(bands)[place] for text in conditions]
    return np.asarray(np.logical_or.reduce(answers))


def _resolution(cube: xr.Dataset) -> float:
    """Side of a pixel in CRS units."""
    x = cube["x"].to_numpy()
    return float(abs(x[-1] - x[0]) / (x.size - 1)) if x.size > 1 else float(abs(cube.odc.geobox.affine.a))


def _dilate(cloudy: np.ndarray, *, radius: float) -> np.ndarray:
    """True within `radius` pixels (centre to centre) of a True, (time, y, x) bool.

    A disc is the union of its rows: each row of the mask is widened by the disc's half-width at that distance.
    """
    grown = np.zeros_like(cloudy)
    reach = math.floor(radius + 1e-9)
    for distance in range(min(reach, cloudy.shape[1] - 1) + 1):
        half = math.floor(math.sqrt(max(radius * radius - distance * distance, 0.0)) + 1e-9)
        wide = _widen(cloudy, half)
        grown[:, distance:] |= wide[:, : cloudy.shape[1] - distance]
        if distance:
            grown[:, :-distance] |= wide[:, distance:]
    return grown


def _widen(cloudy: np.ndarray, half: int) -> np.ndarray:
    """True within `half` pixels along x of a True."""
    if half == 0:
        return cloudy
    width = cloudy.shape[-1]
    ahead = np.zeros((*cloudy.shape[:-1], width + 1), dtype=np.int32)
    np.cumsum(cloudy, axis=-1, out=ahead[..., 1:])
    columns = np.arange(width)
    stop, start = np.minimum(columns + half + 1, width), np.maximum(columns - half, 0)
    widened: np.ndarray = ahead[..., stop] > ahead[..., start]
    return widened
