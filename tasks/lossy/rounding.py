"""Values rounded under a greatest error, so that their low bits are 0 and compress away.

Each value becomes the nearest multiple of a power of two, which depends on the error asked for alone: no pixel depends
on its neighbours, its block or its file. Source of the method: R. Kouznetsov, A note on precision-preserving
compression of scientific data, Geosci. Model Dev. 14 (2021): rounding under an absolute error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.lossy.tally import tally_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.tasks.lossy.tally import LossTally
    from tilewright.tasks.plan.plan import Plan

ROWS_AT_ONCE = 256
"""Rows in double precision at a time: 8 MB for the widest block."""


def round_layers(
    plan: Plan, outputs: Iterable[OutputSpec], layers: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], dict[str, LossTally]]:
    """The layers of a block, (height, width) by name, and a tally of each that the plan stores with an error."""
    ranges = {spec.name: output.valid_range for output in outputs for spec in output.layer_specs()}
    stored, tallies = dict(layers), {}
    for name, most in plan.losses.items():
        exact = layers[name]
        stored[name] = rounded(exact, most=most, valid_range=ranges.get(name))
        tallies[name] = tally_of(exact, stored[name])
    return stored, tallies


def rounding_step(most: float) -> float:
    """The greatest power of two whose half is not above the error ``most``, which is above 0 and finite."""
    mantissa, exponent = math.frexp(most)
    # most = mantissa * 2**exponent with 0.5 <= mantissa < 1, so the greatest power not above 2 * most is 2**exponent.
    assert 0.5 <= mantissa < 1, f"{most} is no error above 0"
    return math.ldexp(1.0, exponent)


def rounded(
    values: NDArray[np.float32], *, most: float, valid_range: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """The values (height, width) with errors of at most ``most``, of the same type; NaN and infinities stay.

    A value inside ``valid_range`` is never moved out of it. Rounding what is rounded changes nothing.
    """
    step, result = rounding_step(most), np.empty_like(values)
    for top in range(0, len(values), ROWS_AT_ONCE):
        rows = values[top : top + ROWS_AT_ONCE].astype(np.float64)
        # Exact: a multiple of the step with fewer than 24 bits is a float32, and one with more bits is as it was.
        near = np.rint(rows / step) * step + 0.0
        if valid_range is not None:
            lowest, highest = valid_range
            near = np.where(rows >= lowest, np.maximum(near, lowest), near)
            near = np.where(rows <= highest, np.minimum(near, highest), near)
        result[top : top + ROWS_AT_ONCE] = near
    return result
