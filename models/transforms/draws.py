"""What a graph draws as it runs (`tw:stochastic`): numbers of absolute pixels, or the same for all windows."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.transforms.noise import kept_places, normal_noise, uniform_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.spec.inputs import ExtraInput


ONE_PLACE = range(1)


def drawn_numbers(extra: ExtraInput, places: NDArray[np.int64] | None, *, n: int, step: int) -> NDArray[Any]:
    """The array of an input of the kind `drawn` in one pass, the `step`, for `n` windows (or rows that are pixels).

    `places` (n, 4): the absolute row and column of each window's first pixel on the card's grid, its height and width;
    None where the input has no pixels. Windows begin at whole pixels of it wherever a bound of the reach is claimed,
    since it is part of the graph's stride; one that does not (around a place) has the numbers of the pixel that holds
    its first one.
    """
    axes = extra.dim_order
    if "height" not in axes:
        own = prod(extra.shape[-1:])
        numbers = _numbers(extra, channels=own, step=step, rows=ONE_PLACE, cols=ONE_PLACE).reshape(own)
        if "batch" not in axes:
            return np.ascontiguousarray(numbers)
        return np.tile(numbers, (n if extra.shape[0] < 1 else extra.shape[0], 1))
    assert places is not None, f"{extra.name} needs the place of each window"
    others = [axis for axis in axes if axis not in {"batch", "height", "width"}]
    lengths = [extra.shape[axes.index(axis)] for axis in others]
    drawn = []
    for row, col, height, width in _own_pixels(places, extra.scale):
        rows, cols = range(row, row + height), range(col, col + width)
        drawn.append(_numbers(extra, channels=prod(lengths), step=step, rows=rows, cols=cols))
    stacked = np.stack(drawn).reshape(len(drawn), *lengths, *drawn[0].shape[1:])
    ordered = ["batch", *others, "height", "width"]
    return np.ascontiguousarray(stacked.transpose([ordered.index(axis) for axis in axes]))


def _own_pixels(places: NDArray[np.int64], scale: float) -> list[list[int]]:
    """Places on pixels of which there are `scale` per pixel of the card's grid."""
    ratio = Fraction(scale).limit_denominator(1000)
    own: list[list[int]] = (places * ratio.numerator // ratio.denominator).tolist()
    return own


def _numbers(extra: ExtraInput, *, channels: int, step: int, rows: range, cols: range) -> NDArray[Any]:
    draw = extra.draw
    assert draw is not None, f"{extra.name} draws nothing"
    if draw.law == "kept":
        (share,) = draw.numbers
        return kept_places(seed=extra.seed, step=step, share=share, channels=channels, rows=rows, cols=cols)
    noise = normal_noise if draw.law == "normal" else uniform_noise
    first, second = draw.numbers
    span = second if draw.law == "normal" else second - first
    numbers = noise(seed=extra.seed, step=step, channels=channels, rows=rows, cols=cols)
    return (np.float32(first) + np.float32(span) * numbers).astype(extra.data_type, copy=False)
