"""Disturbances of a graph's noise windows, and how far each is felt: on all sides, wherever the border lies."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.measure.probe import Probe, Reach, read_reach

if TYPE_CHECKING:
    from tilewright.models.measure.probe import Arrays


# A disturbance this many times the input's range makes far, weak paths through many layers visible.
HUGE = 1e4

# Ranges above and below for the disturbances whose effect is weighed: far outside what the model was made for.
OUTSIDE = 2.0

START_SIZES = (64, 96, 80, 112, 128, 160, 192, 224, 256, 320, 384, 512)

SIDES = tuple(product((0, 1), (1, -1)))


class Perturbation:
    """A probe with the form of its windows: fixed by the graph, or free, then short across and long along the axis
    that is measured (`slim`), or square.
    """

    def __init__(self, probe: Probe, *, tolerance: float, slim: bool) -> None:
        self.probe = probe
        self.tolerance = tolerance
        fixed = [port.fixed for port in (*probe.inputs, *probe.outputs) if port.spatial and port.fixed]
        self.fixed = fixed[0] if fixed else None
        self.slim = slim and self.fixed is None
        self.start = self._start()
        self._fields: dict[tuple[int, int], tuple[Arrays, Arrays, list[Arrays]]] = {}

    def _start(self) -> int:
        if self.fixed:
            if self.probe.accepts(self.fixed):
                return min(self.fixed)
            raise CardError(
                f"the graph does not run on its own window of {self.fixed[0]} x {self.fixed[1]} pixels, or gives "
                "outputs of another size; correct the card's shapes, or tw:scale"
            )
        for side in START_SIZES:
            if self.probe.accepts((side, side)):
                return side
        raise CardError(
            f"the graph runs on none of the window sizes tried ({', '.join(map(str, START_SIZES))}), or gives outputs "
            "of another size than its input; fix height and width in the card's shapes, or correct tw:scale"
        )

    def multiple(self) -> int:
        """The smallest number whose multiples the graph takes as window sizes; 1 for a fixed window."""
        if self.fixed:
            return 1
        extra = (each for each in range(self.probe.unit, self.start + 1, self.probe.unit) if self.start % each == 0)
        longer = ((each, self.start + each) for each in extra)
        return next((each for each, side in longer if self.probe.accepts((side, side))), self.start)

    def size(self, length: int, axis: int) -> tuple[int, int]:
        """Height and width of a window of `length` along `axis`."""
        if self.fixed:
            return self.fixed
        short = self.start if self.slim else length
        return (length, short) if axis == 0 else (short, length)

    def middle(self, length: int, multiple: int) -> int:
        """The border near the middle of `length` that lies on a multiple."""
        return (self.fixed[0] if self.fixed else length) // 2 // multiple * multiple

    def reach(self, length: int, edge: int, axis: int, side: int) -> Reach:
        """The worst reach over all disturbances beyond the border `edge`."""
        base, calm, disturbed = self._disturbances(self.size(length, axis))
        profiles = [self.probe.felt(base, calm, changed, edge=edge, axis=axis, side=side) for changed in disturbed]
        anyhow = read_reach(np.max(profiles, axis=0), edge=edge, side=side, tolerance=self.tolerance)
        weighed = read_reach(np.max(profiles[1:], axis=0), edge=edge, side=side, tolerance=self.tolerance)
        return Reach(exact=anyhow.exact, effective=weighed.effective, strength=weighed.strength, heard=anyhow.heard)

    def _disturbances(self, size: tuple[int, int]) -> tuple[Arrays, Arrays, list[Arrays]]:
        """Calm noise of `size`, its outputs, and the disturbed noises: huge, upwards, downwards, each input alone.

        The huge one has random signs, so that sums do not cancel and rectifiers let half of it through; its effect is
        seen, not weighed.
        """
        if size not in self._fields:
            base = self.probe.noise(size, seed=1)
            huge = self.probe.noise(size, seed=2, stretch=HUGE)
            above = self.probe.noise(size, seed=3, stretch=OUTSIDE, sign=1)
            below = self.probe.noise(size, seed=4, stretch=OUTSIDE, sign=-1)
            spatial = [port.name for port in self.probe.inputs if port.spatial]
            alone = [{**base, name: above[name]} for name in spatial] if len(spatial) > 1 else []
            self._fields[size] = base, self.probe.run(base), [huge, above, below, *alone]
        return self._fields[size]


class Edge:
    """Reaches for borders at a multiple of the stride and the pixels after it, each measured once."""

    def __init__(self, trial: Perturbation, *, length: int, middle: int, axis: int, side: int, exact: bool) -> None:
        self._trial, self._length, self._middle = trial, length, middle
        self._axis, self._side, self._exact = axis, side, exact
        self._known: dict[int, int] = {}

    def reach(self, offset: int) -> int:
        """The reach, exact or effective, for the border `offset` pixels beyond the multiple."""
        if offset not in self._known:
            edge = self._middle + offset * self._side
            found = self._trial.reach(self._length, edge, self._axis, self._side)
            reach = found.exact if self._exact else found.effective
            # Felt up to the window's edge from a border nearer to it than the first: at least that far.
            self._known[offset] = edge if reach is None else reach
        return self._known[offset]

    def worst(self, stride: int) -> int:
        """The largest reach over all borders modulo the stride.

        The farthest pixel that feels a border only moves with it, so borders between two with the same farthest pixel
        need no run: halving finds every jump.
        """
        unit = self._trial.probe.unit
        self._halve(0, stride // unit, unit)
        return max(self._known.values())

    def _halve(self, first: int, last: int, unit: int) -> None:
        farthest = [self.reach(each * unit) - each * unit for each in (first, last)]
        if last - first > 1 and farthest[0] != farthest[1]:
            middle = (first + last) // 2
            self._halve(first, middle, unit)
            self._halve(middle, last, unit)


def worst_reaches(trial: Perturbation, *, length: int, stride: int, exact: bool) -> tuple[int, int]:
    """The largest reach over all borders, and over those on multiples of the stride, all four sides, in pixels."""
    middle = trial.middle(length, stride)
    borders = [Edge(trial, length=length, middle=middle, axis=axis, side=side, exact=exact) for axis, side in SIDES]
    return max(border.worst(stride) for border in borders), max(border.reach(0) for border in borders)
