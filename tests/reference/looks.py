"""Sections 1 and 2 of docs/observed.md in plain numpy: which pixels of a file are there, and which a scene sees.

Whole files are read with rasterio, pixels are found with pyproj; there are no windows, no warping, no blocks, and
nothing of Tilewright. `nearest` alone is known. Where the centre of a target pixel lies so near the edge of a source
pixel that two right programs may differ, a look says so (`unsure`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.enums import ColorInterp, MaskFlags

EDGE = 0.01
"""Source pixels within which a target pixel's centre is on the edge between two of them: either is right there."""

TABLE = {("sentinel-2-l2a", band): (0,) for band in ("blue", "red", "nir", "swir16", "scl")}
"""What is missing in well known collections where neither the item nor the file names a value."""

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The band that tells clouds: by its classes, or by all values above one. ``named``: asked for, not found out."""

    band: str
    named: bool = False
    drop: frozenset[int] = frozenset()
    above: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the items: bands, steps (first and last moment), how dropped, on which grid."""

    items: Sequence[Item]
    bands: tuple[str, ...]
    steps: tuple[tuple[datetime, datetime], ...]
    every_step: bool = False
    reducer: str = "median"
    mask: Mask | None = None
    dilation: float = 0.0
    crs: str
    bounds: tuple[float, float, float, float]
    resolution: float = 10.0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the grid."""
        left, bottom, right, top = self.bounds
        return round((top - bottom) / self.resolution), round((right - left) / self.resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one scene says on the grid: values by band, and where it sees; (height, width) each."""

    item: Item
    values: dict[str, np.ndarray]
    seen: np.ndarray
    there: np.ndarray
    unsure: np.ndarray

    @property
    def moment(self) -> datetime:
        """The scene's moment, the first one of an interval."""
        return span_of(self.item)[0]


def span_of(item: Item) -> tuple[datetime, datetime]:
    """First and last moment of an item: the same for one that states its moment."""
    properties = item["properties"]
    words = [properties["datetime"]] * 2
    if words[0] is None:
        words = [properties["start_datetime"], properties["end_datetime"]]
    return datetime.fromisoformat(words[0]), datetime.fromisoformat(words[1])


# ------------------------------------------------------------------------------------ section 1: pixels of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A band's file: its numbers and which of them are there."""

    numbers: np.ndarray
    there: np.ndarray
    transform: Affine
    crs: str


def stored_of(item: Item, band: str) -> Stored:
    """The band's file, whole."""
    asset = item["assets"][band]
    said = asset.get("raster:bands", [{}])[0].get("nodata")
    with rasterio.open(asset["href"]) as file:
        numbers = file.read(1)
        there = np.ones(numbers.shape, bool)
        header = file.nodatavals[0]
        flags = file.mask_flag_enums[0]
        if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
            there &= file.read_masks(1) > 0
        for index, colour in enumerate(file.colorinterp, start=1):
            if colour == ColorInterp.alpha:
                there &= file.read(index) > 0
        transform, crs = file.transform, file.crs.to_string()
    named = [float(value) for value in (header, said) if value is not None and _can_hold(numbers.dtype, float(value))]
    if band == "cloud":
        # A cloud probability of 0 is clear, whoever calls it nodata.
        named = [value for value in named if value != 0]
    for value in named or TABLE.get((item["collection"], band), ()):
        there &= numbers != value
    if numbers.dtype.kind == "f":
        there &= np.isfinite(numbers)
    return Stored(numbers=numbers, there=there, transform=transform, crs=crs)


def _can_hold(dtype: np.dtype, value: float) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max


def sampled(stored: Stored, question: Question, *, margin: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """(numbers, there) at the grid's pixel centres with a margin of pixels around, then four times a hair beside."""
    height, width = question.shape
    left, _, _, top = question.bounds
    rows, cols = np.mgrid[-margin : height + margin, -margin : width + margin]
    x, y = left + (cols + 0.5) * question.resolution, top - (rows + 0.5) * question.resolution
    if stored.crs != question.crs:
        x, y = Transformer.from_crs(question.crs, stored.crs, always_xy=True).transform(x, y)
    inverse = ~stored.transform
    at_col = inverse.a * x + inverse.b * y + inverse.c
    at_row = inverse.d * x + inverse.e * y + inverse.f
    beside = [(0.0, 0.0), (-EDGE, -EDGE), (-EDGE, EDGE), (EDGE, -EDGE), (EDGE, EDGE)]
    return [_taken(stored, np.floor(at_row + down), np.floor(at_col + right)) for down, right in beside]


def _taken(stored: Stored, row: np.ndarray, col: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = stored.numbers.shape
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    at = np.where(inside, row, 0).astype(int), np.where(inside, col, 0).astype(int)
    there = inside & stored.there[at]
    return np.where(there, stored.numbers[at].astype(np.float64), np.nan), there


# -------------------------------------------------------------------------------------------- section 2: a scene


def look_of(item: Item, question: Question) -> Look:
    """What the scene says on the grid, and where it sees."""
    there = np.ones(question.shape, bool)
    unsure = np.zeros(question.shape, bool)
    values = {}
    for band in question.bands:
        if band not in item["assets"]:
            continue
        (numbers, is_there), *beside = sampled(stored_of(item, band), question)
        for other, _ in beside:
            unsure |= (other != numbers) & ~(np.isnan(other) & np.isnan(numbers))
        there &= is_there
        values[band] = physical(numbers, item, band)
    dropped, dropped_perhaps = dropped_of(item, question)
    unsure |= dropped ^ dropped_perhaps
    return Look(item=item, values=values, seen=there & ~dropped, there=there, unsure=unsure)


def physical(numbers: np.ndarray, item: Item, band: str) -> np.ndarray:
    """Stored numbers in the band's unit: no offset below baseline 04.00, whatever the item advertises."""
    said = item["assets"][band]["raster:bands"][0]
    is_old = float(item["properties"].get("s2:processing_baseline", "inf")) < 4
    return numbers * said.get("scale", 1) + (0 if is_old else said.get("offset", 0))


def dropped_of(item: Item, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """Where the scene's own mask drops it: surely (by every reading of pixels on an edge), and perhaps (by any)."""
    nowhere = np.zeros(question.shape, bool)
    mask = question.mask
    if mask is None or mask.band not in item["assets"]:
        return nowhere, nowhere
    margin = math.ceil(question.dilation / question.resolution)
    readings = sampled(stored_of(item, mask.band), question, margin=margin)
    told = [_told(mask, numbers, there, item) for numbers, there in readings]
    clouds, others = [cloud for cloud, _ in told], [other for _, other in told]
    surely = grown(np.all(clouds, axis=0), question) | np.all(others, axis=0)
    perhaps = grown(np.any(clouds, axis=0), question) | np.any(others, axis=0)
    inner = slice(margin, margin + question.shape[0]), slice(margin, margin + question.shape[1])
    return surely[inner], perhaps[inner]


def _told(mask: Mask, numbers: np.ndarray, there: np.ndarray, item: Item) -> tuple[np.ndarray, np.ndarray]:
    """(dropped and growing, dropped as it is): scene classes 0 and 1, `no data` and `defective`, are no clouds."""
    if mask.above is not None:
        return physical(numbers, item, mask.band) > mask.above, ~there
    still = {0, 1} if mask.band == "scl" else set()
    return np.isin(numbers, list(mask.drop - still)), np.isin(numbers, list(mask.drop & still)) | ~there


def grown(clouds: np.ndarray, question: Question) -> np.ndarray:
    """The clouds and every pixel whose centre lies within the dilation of one of theirs."""
    result = clouds.copy()
    reach = math.ceil(question.dilation / question.resolution)
    steps = [
        (down, right)
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
        if math.hypot(down, right) * question.resolution <= question.dilation
    ]
    height, width = clouds.shape
    for row, col in np.argwhere(clouds):
        for down, right in steps:
            if 0 <= row + down < height and 0 <= col + right < width:
                result[row + down, col + right] = True
    return result
