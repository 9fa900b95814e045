"""The colour of a class and of a value, the same in pictures, legends and the report."""

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

# Source: Okabe and Ito, Color Universal Design (2008), without black;
# then Paul Tol, Colour Schemes (SRON/EPS/TN/09-002), "muted".
CLASS_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip

# Source: viridis by S. van der Walt and N. Smith (CC0), every 9th part of it; perceptually even and colour-blind safe.
RAMP_STOPS = (
    "#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def class_colours(given: Sequence[str | None]) -> tuple[str, ...]:
    """One "#rrggbb" per class: the given one where it is a colour, else the next free default.

    The first 16 defaults are colour-blind-safe; beyond that they are spread over the hues, and no palette is safe.
    """
    kept = [_HEX.fullmatch(text.strip()) if text else None for text in given]
    taken = {match[1].lower() for match in kept if match}
    free = (colour for colour in _endless() if colour[1:] not in taken)
    return tuple(f"#{match[1].lower()}" if match else next(free) for match in kept)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green, blue (0-255) of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ramp_table() -> NDArray[np.uint8]:
    """(256, 3) colours of the value ramp, from the lowest value to the highest."""
    stops = np.array([rgb(stop) for stop in RAMP_STOPS], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _endless() -> Sequence[str]:
    # 512 is twice what a uint8 class layer can hold, so the list cannot run out however many colours are taken.
    spread = [_spread(number) for number in range(512)]
    return (*CLASS_COLOURS, *dict.fromkeys(spread))


def _spread(number: int) -> str:
    # The golden angle keeps neighbours in the list far apart in hue; lightness changes in three steps.
    hue = (0.07 + number * 0.61803398875) % 1
    channels = colorsys.hls_to_rgb(hue, (0.42, 0.62, 0.30)[number % 3], 0.45 + 0.2 * (number % 2))
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in channels)
