"""Runs a denoiser in the loop of its card: from noise to an image in some steps, for whole windows at a time.

Where the card asks, windows overlap inside the loop: in every evaluation the graph answers for windows of its own size,
and their answers are averaged before the state moves on, so that no window has an image of its own.
Source: Bar-Tal, Yariv, Lipman and Dekel, MultiDiffusion, ICML 2023, equation 5, with weights that fall towards the rim
of a window. A step is linear in the answer, so that the mean of the answers is that of the next states.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.spec.arrays import input_axes
from tilewright.models.transforms.weights import window_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.inputs import ExtraInput
    from tilewright.models.spec.sampler import LoopStep, SamplerSpec

Feeds = dict[str, "NDArray[Any]"]


class SamplerRunner:
    """Runs the loop of a card around the runner of its graph; as thread-safe as that."""

    def __init__(self, card: ModelCard, inner: Runner) -> None:
        assert card.sampler is not None, f"{card.name} has no loop"
        self._sampler: SamplerSpec = card.sampler
        self._inner = inner
        extras = {extra.name: extra for extra in card.extras}
        self._state, self._time = extras[self._sampler.state], extras[self._sampler.time]
        self._places = _places(card)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The last state, (window, channel, height, width) float32, under the name of the graph's output.

        The state in ``feeds`` is the noise of the windows, of deviation 1; the time in them is not looked at.
        """
        sampler = self._sampler
        given = {name: feed for name, feed in feeds.items() if name not in {sampler.state, sampler.time}}
        state = feeds[sampler.state].astype(np.float32) * np.float32(sampler.first)
        for step in sampler.loop_steps():
            state = self._next(given, state, step)
        return {sampler.output: state}

    def _next(self, given: Feeds, state: NDArray[np.float32], step: LoopStep) -> NDArray[np.float32]:
        """The state after a step."""
        slope = _slope(state, self._answer(given, state, step.time), step.of_state, step.of_answer)
        there = np.float32(step.keep) * state + np.float32(step.gain) * slope
        if step.corrected is None:
            return there
        time, of_state, of_answer = step.corrected
        second = _slope(there, self._answer(given, there, time), of_state, of_answer)
        return np.float32(step.keep) * state + np.float32(step.gain / 2) * (slope + second)

    def _answer(self, given: Feeds, state: NDArray[np.float32], time: float) -> NDArray[np.float32]:
        """The graph's answer for whole windows, or the mean of those for the windows inside of them."""
        average = self._sampler.average
        if average is None:
            return self._call(given, state, time)
        scale = self._places[self._sampler.state][2]
        side, (height, width) = int(average.window * scale), state.shape[2:]
        starts = [range(0, int(length / scale) - average.window + 1, average.step) for length in (height, width)]
        weights = window_weights((side, side), rims=(int((average.window - average.step) * scale),) * 2)
        total, weight = np.zeros_like(state), np.zeros((height, width), np.float32)
        # In one order from the upper left, so that a pixel adds the same numbers in every window that holds it.
        for row, col in product(*starts):
            inside = {name: self._cut(name, feed, row, col) for name, feed in given.items()}
            top, left = int(row * scale), int(col * scale)
            here = slice(top, top + side), slice(left, left + side)
            total[(..., *here)] += self._call(inside, state[(..., *here)], time) * weights
            weight[here] += weights
        mean: NDArray[np.float32] = total / weight
        return mean

    def _cut(self, name: str, feed: NDArray[Any], row: int, col: int) -> NDArray[Any]:
        """The part of an input for the window of an average at a row and column of the card's grid."""
        average = self._sampler.average
        if average is None or name not in self._places:
            return feed
        height, width, ratio = self._places[name]
        part = [slice(None)] * feed.ndim
        for axis, start in ((height, row), (width, col)):
            part[axis] = slice(int(start * ratio), int((start + average.window) * ratio))
        return np.ascontiguousarray(feed[tuple(part)])

    def _call(self, given: Feeds, state: NDArray[np.float32], time: float) -> NDArray[np.float32]:
        sampler = self._sampler
        times = _filled(self._time, time, windows=len(state))
        fed = np.ascontiguousarray(state, dtype=self._state.data_type)
        answer: NDArray[Any] = self._inner.run({**given, sampler.state: fed, sampler.time: times})[sampler.output]
        return answer.astype(np.float32, copy=False)


def _slope(
    state: NDArray[np.float32], answer: NDArray[np.float32], of_state: float, of_answer: float
) -> NDArray[np.float32]:
    if of_state == 0 and of_answer == 1:
        return answer
    return np.float32(of_state) * state + np.float32(of_answer) * answer


def _filled(extra: ExtraInput, value: float, *, windows: int) -> NDArray[Any]:
    """The array of an input that holds one number; of as many windows as it has room for."""
    axes = input_axes(extra.dim_order) or ()
    shape = [
        windows if axis == "batch" and size < 1 else max(1, size) for axis, size in zip(axes, extra.shape, strict=True)
    ]
    return np.full(shape, value, dtype=extra.data_type)


def _places(card: ModelCard) -> dict[str, tuple[int, int, Fraction]]:
    """Of each input with pixels its axes of height and width, and its pixels per pixel of the card's grid.

    A constant has none: every window has the whole of it.
    """
    ratios = {spec.name: Fraction(1 / card.ratio(spec)).limit_denominator(1000) for spec in card.inputs}
    found = {spec.name: (spec.axes, ratios[spec.name]) for spec in card.inputs}
    for extra in card.extras:
        scale = Fraction(extra.scale).limit_denominator(1000) if extra.kind == "state" else ratios[extra.of]
        if extra.kind != "constant":
            found[extra.name] = (input_axes(extra.dim_order) or (), scale)
    return {
        name: (axes.index("height"), axes.index("width"), ratio)
        for name, (axes, ratio) in found.items()
        if "height" in axes
    }
