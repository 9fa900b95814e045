"""The graph of `phase-shift`: how far one picture of a window lies from another, by phase correlation.

Source: Kuglin and Hines (1975), "The phase correlation image alignment method". Each frequency counts by its phase
alone, weighted by a Gaussian, so that the correlation of a picture and its shifted copy is a Gaussian around the shift.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from tilewright.models.builtin.graphs import model_bytes, weight

if TYPE_CHECKING:
    import onnx

WINDOW = 256
"""Pixels a side of the windows that are compared."""

FARTHEST = 64
"""Pixels along an axis up to which a shift is looked for: a quarter of the window, so that half of it is on both."""

SPREAD = 1.25
"""Standard deviation in pixels of the peak around the shift. Narrower ones suffer from what resampling does to the
finest detail, wider ones from noise."""

HIGHEST = 96
"""Cycles per window up to which frequencies are used; beyond, their weight is below 2 %."""

LEAST_SCORE = 0.1
"""Height of a peak, as a share of that of a pure shift, below which there is no shift. Noise alone gives up to 0.07."""

LEAST_TEXTURE = 1e-6
"""Power of a frequency, as a share of the picture's mean power with its mean, that counts half: less is rounding."""


class _Nodes:
    """Nodes and constants as they are added, each named by its number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(weight(name, values, dtype))
        return name

    def __call__(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def whole(self, *values: int) -> str:
        return self.constant(values if len(values) > 1 else values[0], np.int64)

    def waves(self, first: tuple[int, int], second: tuple[int, int]) -> tuple[str, str]:
        """Cosines and sines of whole numbers of two ranges times each other, in parts of a window.

        They are computed in the graph, since tables of a processor's own cosines would not be the same bytes anywhere.
        """
        rows, cols = (
            self("Range", self.whole(start), self.whole(stop), self.whole(1)) for start, stop in (first, second)
        )
        column = self("Unsqueeze", rows, self.constant([1], np.int64))
        # Whole turns are taken off while the numbers are exact.
        turns = self("Mod", self("Mul", column, cols), self.whole(WINDOW))
        angles = self("Mul", self("Cast", turns, to=1), self.constant(2 * math.pi / WINDOW))
        return self("Cos", angles), self("Sin", angles)


def phase_shift_graph() -> bytes:
    """The ONNX bytes of `phase-shift`.

    `pair` (batch, 2 [before, after], 1, 256, 256) in any unit, `seen` (batch, 2, 1, 256, 256) 1 = observed, else 0, and
    `pixel` (batch, 2 [width, height]) in metres -> `shift` (batch, 3): metres by which what `after` shows lies east and
    north of where `before` shows it, NaN where the score is below LEAST_SCORE; and the score, 0 to 1: the height of the
    peak as a share of that of a pure shift, times the share of pixels that were seen at both.
    """
    add = _Nodes()
    correlation, pure = _correlation(add)
    height, places = _peak(add, correlation)
    seen = add("ReduceMean", add("ReduceMin", "seen", axes=[1, 2], keepdims=0), axes=[1, 2], keepdims=0)
    share = add("Clip", add("Mul", height, pure), add.constant(0.0), add.constant(1.0))
    kept = add("Unsqueeze", add("Mul", share, seen), add.constant([1], np.int64))
    moved = add("Mul", add("Mul", places, add.constant([1.0, -1.0])), "pixel")
    known = add("GreaterOrEqual", kept, add.constant(LEAST_SCORE))
    add("Concat", add("Where", known, moved, add.constant(np.nan)), kept, axis=1, name="shift")
    picture = ["batch", 2, 1, WINDOW, WINDOW]
    return model_bytes(
        "phase-shift",
        add.nodes,
        add.weights,
        {"pair": picture, "seen": picture, "pixel": ["batch", 2]},
        {"shift": ["batch", 3]},
    )


def _correlation(add: _Nodes) -> tuple[str, str]:
    """The correlation (batch, 129, 129), no shift in its middle; and by what it is multiplied to make a pure shift's 1.

    The transforms are products with matrices: only the frequencies and the shifts that are used are computed.
    """
    # Hann windows, so that borders do not correlate with themselves; symmetric about the middle.
    ramp = add("Cast", add("Range", add.whole(0), add.whole(WINDOW), add.whole(1)), to=1)
    turned = add("Mul", add("Add", ramp, add.constant(0.5)), add.constant(2 * math.pi / WINDOW))
    along = add("Mul", add("Sub", add.constant(1.0), add("Cos", turned)), add.constant(0.5))
    hann = add("Mul", add("Unsqueeze", along, add.constant([1], np.int64)), along)
    picture = add("Squeeze", "pair", add.constant([2], np.int64))
    total = add("ReduceSum", hann, keepdims=1)
    planes = add.constant([2, 3], np.int64)
    mean = add("Div", add("ReduceSum", add("Mul", picture, hann), planes, keepdims=1), total)
    texture = add("Mul", add("Sub", picture, mean), hann)
    spectrum = _transform(add, texture)
    (re_1, im_1), (re_2, im_2) = (
        [add("Gather", part, add.whole(date), axis=1) for part in spectrum] for date in (0, 1)
    )
    re = add("Add", add("Mul", re_2, re_1), add("Mul", im_2, im_1))
    im = add("Sub", add("Mul", im_2, re_1), add("Mul", re_2, im_1))
    power = add("Sqrt", add("Add", add("Mul", re, re), add("Mul", im, im)))
    energy = add("Sqrt", add("ReduceSumSquare", add("Mul", picture, hann), axes=[2, 3], keepdims=1))
    both = add("ReduceProd", energy, axes=[1], keepdims=0)
    floor = add("Add", add("Mul", both, add.constant(LEAST_TEXTURE)), add.constant(1e-30))
    weights = _weights(add)
    divided = add("Div", weights, add("Add", power, floor))
    pure = add("Div", add.constant(1.0), add("ReduceSum", weights, keepdims=0))
    return _back(add, add("Mul", re, divided), add("Mul", im, divided)), pure


def _transform(add: _Nodes, picture: str) -> tuple[str, str]:
    """Real and imaginary part of the spectrum (..., 193 [-96 to 96 down], 97 [0 to 96 across]) of (..., 256, 256)."""
    cos_x, sin_x = add.waves((0, WINDOW), (0, HIGHEST + 1))
    cos_y, sin_y = add.waves((-HIGHEST, HIGHEST + 1), (0, WINDOW))
    even, odd = add("MatMul", picture, cos_x), add("MatMul", picture, sin_x)
    re = add("Sub", add("MatMul", cos_y, even), add("MatMul", sin_y, odd))
    im = add("Neg", add("Add", add("MatMul", cos_y, odd), add("MatMul", sin_y, even)))
    return re, im


def _weights(add: _Nodes) -> str:
    """The Gaussian of the frequencies (193, 97); those across count twice, but for none, for their mirror images."""
    rate = -2 * (math.pi * SPREAD / WINDOW) ** 2
    parts = []
    for start in (-HIGHEST, 0):
        ramp = add("Cast", add("Range", add.whole(start), add.whole(HIGHEST + 1), add.whole(1)), to=1)
        parts.append(add("Exp", add("Mul", add("Mul", ramp, ramp), add.constant(rate))))
    twice = add.constant([1.0] + [2.0] * HIGHEST)
    return add("Mul", add("Unsqueeze", parts[0], add.constant([1], np.int64)), add("Mul", parts[1], twice))


def _back(add: _Nodes, re: str, im: str) -> str:
    """The real inverse (batch, 129, 129) of a spectrum as `_transform` gives it, over the shifts looked for."""
    cos_y, sin_y = add.waves((-FARTHEST, FARTHEST + 1), (-HIGHEST, HIGHEST + 1))
    cos_x, sin_x = add.waves((0, HIGHEST + 1), (-FARTHEST, FARTHEST + 1))
    even = add("Sub", add("MatMul", cos_y, re), add("MatMul", sin_y, im))
    odd = add("Add", add("MatMul", cos_y, im), add("MatMul", sin_y, re))
    return add("Sub", add("MatMul", even, cos_x), add("MatMul", odd, sin_x))


def _peak(add: _Nodes, correlation: str) -> tuple[str, str]:
    """The height (batch) of the highest peak, and its place (batch, 2 [columns, rows]) in pixels from no shift.

    Between pixels the place is that of the Gaussian through the peak and its neighbours along each axis.
    """
    side, inner = 2 * FARTHEST + 1, 2 * FARTHEST - 1
    ones, ends = add.constant([1, 1], np.int64), add.constant([side - 1, side - 1], np.int64)
    middle = add("Slice", correlation, ones, ends, add.constant([1, 2], np.int64))
    flat = add("Reshape", middle, add.constant([-1, inner * inner], np.int64))
    best = add("ArgMax", flat, axis=1, keepdims=1)
    row, col = add("Div", best, add.whole(inner)), add("Mod", best, add.whole(inner))
    whole = add("Reshape", correlation, add.constant([-1, side * side], np.int64))
    at = add("Add", add("Mul", add("Add", row, add.whole(1)), add.whole(side)), add("Add", col, add.whole(1)))
    around = add("Add", at, add.constant([[0, -1, 1, -side, side]], np.int64))
    values = add("GatherElements", whole, around, axis=1)
    logs = add("Log", add("Max", values, add.constant(1e-20)))
    centre, before, after = (
        add("Gather", logs, add.constant(which, np.int64), axis=1) for which in ([0, 0], [1, 3], [2, 4])
    )
    bend = add("Sub", add("Add", before, after), add("Add", centre, centre))
    rest = add("Div", add("Sub", before, after), add("Mul", add("Min", bend, add.constant(-1e-6)), add.constant(2.0)))
    rest = add("Clip", rest, add.constant(-0.5), add.constant(0.5))
    places = add("Cast", add("Concat", col, row, axis=1), to=1)
    places = add("Add", add("Sub", places, add.constant(float(FARTHEST - 1))), rest)
    return add("Gather", values, add.whole(0), axis=1), places
