"""The pixels of a scene on ESA's offset: with it in the DN, hardly a pixel of a visible band is below 1000.

If the DN contain the offset, a value below 1000 is a negative reflectance: over dark water and shadow the noise of a
true scene goes a little below. Without the offset every dark surface lies far below, in all visible bands. A scene
without a dark surface (cloud, snow, bright sand) says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tilewright.catalogs.sensors import ESA_OFFSET_DN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Word = Literal["agree", "contradict", "undecided"]

DARK_SHARE = 0.01
"""The share of dark pixels that contradicts: a cloudy scene shows it if a hundredth of it is clear."""

PLAIN_SHARE = 0.5
"""The share of dark pixels that needs no other band: no true scene is mostly below zero reflectance."""

LEAST_PIXELS = 25

NOISE_DN = 850
"""The noise of a true scene hardly goes below this (reflectance -0.015); without the offset every dark surface does."""

DARK_DN = 900
"""Water and shadow of a true scene are on average above this (reflectance -0.01), without the offset below 0.09."""

SEEN_DN, BRIGHT_DN = 1500, 1800
"""With the offset in the DN the values of dark surfaces are below these (reflectance 0.05, 0.08)."""

NO_SURFACE = (0, 1)
"""Scene classes of no data and of defective pixels. Source: Sentinel-2 Products Specification Document, SCL."""

DARK_CLASSES = (2, 3, 6)
"""Scene classes of dark areas, cloud shadow and water: dark in all visible bands."""

FLOOR_DN = 1
"""The number that processors write at rims and for reflectance below 0: no measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandLook:
    """The DN (y, x) of one visible band, decimated, and its nodata."""

    band: str
    dn: NDArray[np.generic]
    nodata: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The word of the pixels on the offset in the DN, and the reason as a clause."""

    word: Word
    reason: str


def judge(looks: Sequence[BandLook], classes: NDArray[np.generic] | None = None) -> Verdict:
    """The verdict of the visible bands together; `classes` are the scene classes (y, x) of the same extent.

    They contradict if every band that sees something dark does; a single band that agrees outweighs the others, since
    without the offset all of them are dark at once.
    """
    verdicts = [_judge_band(look, classes) for look in looks]
    told = [verdict for verdict in verdicts if verdict.word != "undecided"]
    agreeing = [verdict for verdict in told if verdict.word == "agree"]
    return next(iter(agreeing or told or verdicts), Verdict(word="undecided", reason="no visible band to look at"))


def dark_share(dn: NDArray[np.generic], nodata: float | None) -> float:
    """The share (0-1) of valid DN below 1000 in an overview (y, x); 0 if fewer than 25 pixels count.

    Pixels next to nodata or at the edge do not count, because an averaged overview may mix nodata into them; neither do
    DN of 1, which rims have.
    """
    values = dn[_counted(dn, nodata, None)]
    return float(np.less(values, ESA_OFFSET_DN).sum()) / values.size if values.size >= LEAST_PIXELS else 0.0


def _judge_band(look: BandLook, classes: NDArray[np.generic] | None) -> Verdict:
    fitted = None if classes is None else _fitted(classes, look.dn.shape)
    counted = _counted(look.dn, look.nodata, fitted)
    values = look.dn[counted]
    if values.size < LEAST_PIXELS:
        return Verdict(word="undecided", reason=f"too few pixels of {look.band} to look at")
    if fitted is not None:
        dark = look.dn[counted & np.isin(fitted, DARK_CLASSES)]
        if dark.size >= LEAST_PIXELS:
            return _judge_dark(look.band, dark, values)
    return _judge_all(look.band, values)


def _judge_dark(band: str, dark: NDArray[np.generic], values: NDArray[np.generic]) -> Verdict:
    """The verdict of water and shadow as the scene classes know them."""
    middle = float(np.median(dark.astype(float)))
    if middle < DARK_DN:
        below = f"{_share_below(values):.0%} of the valid DN of {band} lie below 1000"
        return Verdict(
            word="contradict", reason=f"{below}, and those of water and shadow are {middle:.0f} in the middle"
        )
    if middle < BRIGHT_DN:
        return Verdict(word="agree", reason=f"water and shadow have DN of {middle:.0f} in the middle in {band}")
    return Verdict(word="undecided", reason=f"nothing dark was seen in {band}")


def _judge_all(band: str, values: NDArray[np.generic]) -> Verdict:
    """The verdict of the valid DN where no class tells which of them are dark."""
    share = _share_below(values)
    if share > DARK_SHARE:
        said = f"{share:.0%} of the valid DN of {band} lie below 1000"
        if float(np.less(values, NOISE_DN).sum()) / values.size > DARK_SHARE:
            return Verdict(word="contradict", reason=said)
        return Verdict(word="agree", reason=f"{said}, but only just, as the noise over dark surfaces does")
    seen = float(np.less(values, SEEN_DN).sum()) / values.size
    if seen > DARK_SHARE:
        return Verdict(word="agree", reason=f"the dark surfaces in {band} have DN above 1000")
    return Verdict(word="undecided", reason=f"nothing dark was seen in {band}")


def _share_below(values: NDArray[np.generic]) -> float:
    return float(np.less(values, ESA_OFFSET_DN).sum()) / values.size


def _counted(dn: NDArray[np.generic], nodata: float | None, classes: NDArray[np.generic] | None) -> NDArray[np.bool_]:
    """True for measured pixels whose eight neighbours are measured too."""
    valid = np.ones(dn.shape, bool) if nodata is None else dn != nodata
    valid &= np.greater(dn, FLOOR_DN)
    if classes is not None:
        valid &= ~np.isin(classes, NO_SURFACE)
    return _eroded(valid)


def _eroded(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True for pixels whose eight neighbours are all valid; False at the edges of the array."""
    padded = np.pad(valid, 1, constant_values=False)
    height, width = valid.shape
    result = valid.copy()
    for row in range(3):
        for col in range(3):
            result &= padded[row : row + height, col : col + width]
    return result


def _fitted(classes: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The classes on another shape (height, width) over the same extent, by nearest neighbour."""
    rows, cols = (
        np.minimum((np.arange(n) + 0.5) * have // n, have - 1).astype(int)
        for n, have in zip(shape, classes.shape, strict=True)
    )
    return classes[np.ix_(rows, cols)]
