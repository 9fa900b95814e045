"""Layers and scenes as colours on the screen: RGBA pictures, their legend, the true-colour background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.colours import GROUND, OBJECT_COLOURS, UNLISTED, class_colours, ramp_table, rgb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.outputs import LayerSpec


STRETCH = (2.0, 98.0)
"""Percentiles of the valid values at the two ends of the ramp; values beyond them get the colour of that end."""

MOST_NAMED = 3
"""Classes of objects that a legend names."""

DARKEST, BRIGHTEST = 0.0, 0.3
"""Reflectance shown as black and as white: land seldom exceeds 0.3 in the visible, cloud always does."""

GAMMA = 1 / 1.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Swatch:
    """One class of a legend: its name and its colour ("#rrggbb")."""

    label: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """The meaning of a picture's colours: swatches for classes, or the values at the two ends of the ramp in `unit`."""

    title: str
    swatches: tuple[Swatch, ...] = ()
    ends: tuple[float, float] | None = None
    unit: str = ""


def picture(layer: NDArray[np.generic], spec: LayerSpec) -> NDArray[np.uint8]:
    """RGBA picture of a layer, (y, x, 4) uint8.

    `layer` is (y, x) in its stored dtype. Classes have the colour of the card, or a default that is safe for colour
    blindness. Objects have colours by their ids, other ones than the next ids. The ramp covers 0-100 for percent layers
    and the 2-98 % range for value layers. Nodata and NaN are (0, 0, 0, 0); a class that the card does not list is grey.
    """
    missing = _missing_mask(layer, spec.nodata)
    if spec.ranked:
        coloured = ramp_colours(layer, value_ends(layer, spec))
    elif spec.kind == "id":
        coloured = object_colours(layer)
    else:
        colours = class_colours([entry.color for entry in spec.classes])
        values = (entry.value for entry in spec.classes)
        coloured = listed_colours(layer, dict(zip(values, colours, strict=True)))
    alpha = np.where(missing, np.uint8(0), np.uint8(255))
    coloured[missing] = 0
    return np.dstack([coloured, alpha])


def legend(layer: NDArray[np.generic], spec: LayerSpec) -> Legend:
    """The legend of `picture(layer, spec)`, titled by the layer's name."""
    title = spec.name.replace("_", " ")
    if spec.kind == "id":
        nothing = Swatch(label="nothing found", colour=GROUND)
        several = "".join(f"{each.name}, " for each in spec.classes[:MOST_NAMED])
        return Legend(
            title=title,
            swatches=(Swatch(label=f"{several}neighbours in other colours", colour=OBJECT_COLOURS[0]), nothing),
        )
    if spec.ranked:
        unit = "%" if spec.kind == "percent" else "" if spec.unit == "1" else spec.unit or ""
        return Legend(title=title, ends=value_ends(layer, spec), unit=unit)
    colours = class_colours([entry.color for entry in spec.classes])
    swatches = (Swatch(label=entry.name, colour=colour) for entry, colour in zip(spec.classes, colours, strict=True))
    return Legend(title=title, swatches=tuple(swatches))


def value_ends(layer: NDArray[np.generic], spec: LayerSpec) -> tuple[float, float] | None:
    """Values at the two ends of the ramp, in the layer's unit.

    They are 0 and 100 for percent, else the 2nd and 98th percentile of the valid values. None if no value is valid;
    two equal numbers if all values are equal.
    """
    if spec.kind == "percent":
        return 0.0, 100.0
    valid = layer[~_missing_mask(layer, spec.nodata)].astype(np.float64)
    if valid.size == 0:
        return None
    low, high = np.percentile(valid, STRETCH)
    if low == high:
        low, high = valid.min(), valid.max()
    return float(low), float(high)


def image_picture(bands: Sequence[NDArray[np.floating]], ends: tuple[float, float]) -> NDArray[np.uint8]:
    """RGBA picture (y, x, 4) uint8 of an image's red, green and blue (y, x each), NaN = none.

    ``ends`` are the values of all three that are shown as black and as white. A pixel that lacks a band is transparent.
    """
    stacked, (low, high) = np.stack(bands, axis=-1).astype(np.float64), ends
    missing = np.asarray(~np.isfinite(stacked).all(axis=-1))
    share = np.clip((np.where(missing[..., None], low, stacked) - low) / ((high - low) or 1.0), 0, 1)
    shown = np.dstack([np.rint(255 * share), np.full(missing.shape, 255)]).astype(np.uint8)
    shown[missing] = 0
    return shown


def true_colour(red: NDArray[np.float32], green: NDArray[np.float32], blue: NDArray[np.float32]) -> NDArray[np.uint8]:
    """True-colour picture (y, x, 3) uint8 of three reflectances (y, x), unitless, NaN = none.

    Reflectances 0-0.3 are stretched with gamma 1.6, the same for every scene, so that pictures of two dates can be
    compared. A pixel that lacks a band is (0, 0, 0); valid pixels are at least 1 in each band.
    """
    bands = np.stack([red, green, blue], axis=-1).astype(np.float32)
    missing = np.asarray(~np.isfinite(bands).all(axis=-1))
    share = (np.where(missing[..., None], DARKEST, bands) - DARKEST) / (BRIGHTEST - DARKEST)
    shown = np.rint(1 + 254 * np.clip(share, 0, 1) ** GAMMA).astype(np.uint8)
    shown[missing] = 0
    return shown


def _missing_mask(layer: NDArray[np.generic], nodata: float | None) -> NDArray[np.bool_]:
    missing = np.zeros(layer.shape, dtype=bool)
    if np.issubdtype(layer.dtype, np.floating):
        missing |= ~np.isfinite(layer)
    if nodata is not None and nodata == nodata:  # noqa: PLR0124 - NaN is the one number unequal to itself
        missing |= np.equal(layer, nodata)
    return missing


def listed_colours(layer: NDArray[np.generic], colours: Mapping[int, str]) -> NDArray[np.uint8]:
    """The colours (y, x, 3) uint8 of classes, from "#rrggbb" by value; grey for a value without one."""
    if layer.dtype == np.uint8:
        # One look-up per pixel, for any number of classes.
        table = np.empty((256, 3), dtype=np.uint8)
        table[:] = rgb(UNLISTED)
        for value, colour in colours.items():
            table[value] = rgb(colour)
        return table[layer]
    coloured = np.empty((*layer.shape, 3), dtype=np.uint8)
    coloured[:] = rgb(UNLISTED)
    for value, colour in colours.items():
        coloured[np.equal(layer, value)] = rgb(colour)
    return coloured


def object_colours(layer: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The colours (y, x, 3) uint8 of objects by their ids, other ones than the next ids; that of the ground for 0."""
    table = np.array([rgb(colour) for colour in (GROUND, *OBJECT_COLOURS)], dtype=np.uint8)
    ids = layer.astype(np.int64)
    # Neighbours on the ground have ids near each other, if not the next ones.
    return table[np.where(ids > 0, 1 + ids * 5 % len(OBJECT_COLOURS), 0)]


def ramp_colours(layer: NDArray[np.generic], ends: tuple[float, float] | None) -> NDArray[np.uint8]:
    """The colours (y, x, 3) uint8 of values along the ramp between two ends; black without ends."""
    if ends is None:
        return np.zeros((*layer.shape, 3), dtype=np.uint8)
    low, high = ends
    share = (np.nan_to_num(layer.astype(np.float64), posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return ramp_table()[np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)]
