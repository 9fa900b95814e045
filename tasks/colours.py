"""The colours of classes and values, the same in pictures, legends and the report."""

from __future__ import annotations

import colorsys
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


UNLISTED = "#7f7f7f"
"""Colour of a class value that the card does not list."""

UNSEEN = "#87898b"
"""Colour of the slanted lines over pixels that have no value: no class of a default colour is drawn so."""

# Source: Okabe and Ito, Color Universal Design (2008), without black;
# then Paul Tol, Colour Schemes (SRON/EPS/TN/09-002), "muted".
CLASS_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip

GROUND = "#edeae3"
"""The colour of what was looked at, where nothing was found."""

# Source: C. Brewer, ColorBrewer 2.0, "Set3", without its grey and its pale yellow; no two neighbours in it are alike.
OBJECT_COLOURS = (
    "#8dd3c7", "#bebada", "#fb8072", "#80b1d3", "#fdb462", "#b3de69", "#fccde5", "#bc80bd", "#ccebc5", "#ffed6f",
    "#66a6a0",
)  # fmt: skip
"""Those of objects that are told apart; a prime number of them, so that ids next to each other are never alike."""

# Source: viridis by S. van der Walt and N. Smith (CC0), every 9th part of it; perceptually even and colour-blind safe.
RAMP_STOPS = (
    "#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip

# Source: C. Brewer, ColorBrewer 2.0, "RdBu" from blue to red; colour-blind safe.
APART_STOPS = (
    "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b",
)  # fmt: skip
"""Those of a difference: blue for less, pale for none, red for more."""

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def class_colours(requested: Sequence[str | None]) -> tuple[str, ...]:
    """One "#rrggbb" per class: the requested one if it is a valid colour, else the next unused default.

    The first 16 defaults are colour-blind-safe; further ones are spread over the hues and are not.
    """
    valid = [_HEX.fullmatch(text.strip()) if text else None for text in requested]
    taken = {match[1].lower() for match in valid if match}
    unused = (colour for colour in _default_colours() if colour[1:] not in taken)
    return tuple(f"#{match[1].lower()}" if match else next(unused) for match in valid)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue (0-255) of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def slanted_lines(height: int, width: int, *, apart: int, thick: int) -> NDArray[np.bool_]:
    """Slanted lines (height, width), True on a line: ``thick`` of every ``apart`` pixels along a row."""
    rows, cols = np.ogrid[:height, :width]
    return np.asarray((rows + cols) % apart < thick)


def ramp_table(ramp: Sequence[str] = RAMP_STOPS) -> NDArray[np.uint8]:
    """The colours of a ramp, that of values if none is given, (256, 3) uint8, from the lowest value to the highest."""
    stops = np.array([rgb(stop) for stop in ramp], dtype=np.float64)
    positions = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(positions, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _default_colours() -> Sequence[str]:
    # A uint8 class layer has at most 256 classes: 512 colours suffice even if all requested ones are among them.
    return (*CLASS_COLOURS, *dict.fromkeys(_golden_angle_colour(number) for number in range(512)))


def _golden_angle_colour(number: int) -> str:
    # The golden angle keeps consecutive colours far apart in hue; lightness changes in three steps.
    hue = (0.07 + number * 0.61803398875) % 1
    channels = colorsys.hls_to_rgb(hue, (0.42, 0.62, 0.30)[number % 3], 0.45 + 0.2 * (number % 2))
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in channels)
