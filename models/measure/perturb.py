"""Perturbs one part of a noise window and measures how far from its edge the outputs change, on all sides and for all
positions of the edge.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.probe import Probe, Reach, read_reach

if TYPE_CHECKING:
    from tilewright.models.measure.probe import Arrays
    from tilewright.models.measure.shapes import WindowSizes


# A perturbation of this many input ranges reveals weak paths through many layers.
HUGE_RANGES = 1e4

# Input ranges above and below for the perturbations whose strength is measured: far outside the trained values.
OUTSIDE_RANGES = 2.0

SIDES = tuple(product((0, 1), (1, -1)))


class Perturbation:
    """A probe with the shape of its windows: fixed by the graph; or free, then long along the measured axis and short
    across it (`narrow`), or square.
    """

    def __init__(self, probe: Probe, *, sizes: WindowSizes, tolerance: float, narrow: bool) -> None:
        self.probe = probe
        self.tolerance = tolerance
        self.fixed, self.start = sizes.fixed, sizes.start
        self.narrow = narrow and self.fixed is None
        self._fields: dict[tuple[int, int], tuple[Arrays, Arrays, list[Arrays]]] = {}

    def multiple(self) -> int:
        """The smallest number whose multiples the graph accepts as window sizes; 1 for a fixed window."""
        if self.fixed:
            return 1
        divisors = (each for each in range(self.probe.unit, self.start + 1, self.probe.unit) if self.start % each == 0)
        sides = ((each, self.start + each) for each in divisors)
        return next((each for each, side in sides if self.probe.accepts((side, side))), self.start)

    def size(self, length: int, axis: int) -> tuple[int, int]:
        """Height and width of a window of `length` along `axis`."""
        if self.fixed:
            return self.fixed
        short = self.start if self.narrow else length
        return (length, short) if axis == 0 else (short, length)

    def middle(self, length: int, multiple: int) -> int:
        """The multiple of `multiple` closest below the middle of `length`."""
        return (self.fixed[0] if self.fixed else length) // 2 // multiple * multiple

    def reach(self, length: int, edge: int, axis: int, side: int) -> Reach:
        """The largest reach across `edge` over all perturbations."""
        base, baseline, perturbed = self._perturbed(self.size(length, axis))
        profiles = [
            self.probe.change_profile(base, baseline, noise, edge=edge, axis=axis, side=side) for noise in perturbed
        ]
        with_huge = read_reach(np.max(profiles, axis=0), edge=edge, side=side, tolerance=self.tolerance)
        without_huge = read_reach(np.max(profiles[1:], axis=0), edge=edge, side=side, tolerance=self.tolerance)
        return replace(without_huge, exact=with_huge.exact, any_change=with_huge.any_change)

    def _perturbed(self, size: tuple[int, int]) -> tuple[Arrays, Arrays, list[Arrays]]:
        """Unperturbed noise of `size`, its outputs, and the perturbations: huge, upwards, downwards, each input alone.

        The huge one has random signs, so that sums do not cancel and rectifiers pass half of it. Whether it changes an
        output counts, the strength of the change does not.
        """
        if size not in self._fields:
            base = self.probe.noise(size, seed=1)
            huge = self.probe.noise(size, seed=2, stretch=HUGE_RANGES)
            above = self.probe.noise(size, seed=3, stretch=OUTSIDE_RANGES, sign=1)
            below = self.probe.noise(size, seed=4, stretch=OUTSIDE_RANGES, sign=-1)
            spatial = [port.name for port in self.probe.inputs if port.spatial]
            alone = [{**base, name: above[name]} for name in spatial] if len(spatial) > 1 else []
            self._fields[size] = base, self.probe.run(base), [huge, above, below, *alone]
        return self._fields[size]


class Edge:
    """Reaches for edges at a multiple of the stride and at the pixels after it, each measured once."""

    def __init__(
        self, perturbation: Perturbation, *, length: int, middle: int, axis: int, side: int, exact: bool
    ) -> None:
        self._perturbation, self._length, self._middle = perturbation, length, middle
        self._axis, self._side, self._exact = axis, side, exact
        self._known: dict[int, int] = {}

    def reach(self, offset: int) -> int:
        """The reach, exact or effective, for the edge `offset` pixels beyond the multiple."""
        if offset not in self._known:
            edge = self._middle + offset * self._side
            measured = self._perturbation.reach(self._length, edge, self._axis, self._side)
            reach = measured.exact if self._exact else measured.effective
            # The change extends to the window's border, so the reach is at least the distance to it.
            self._known[offset] = edge if reach is None else reach
        return self._known[offset]

    def worst(self, stride: int) -> int:
        """The largest reach over all edge positions modulo the stride.

        The farthest changed pixel moves monotonically with the edge. Edges between two with the same farthest pixel
        therefore need no run: bisection finds every jump.
        """
        unit = self._perturbation.probe.unit
        self._bisect(0, stride // unit, unit)
        return max(self._known.values())

    def _bisect(self, first: int, last: int, unit: int) -> None:
        farthest = [self.reach(each * unit) - each * unit for each in (first, last)]
        if last - first > 1 and farthest[0] != farthest[1]:
            middle = (first + last) // 2
            self._bisect(first, middle, unit)
            self._bisect(middle, last, unit)


def worst_reaches(perturbation: Perturbation, *, length: int, stride: int, exact: bool) -> tuple[int, int]:
    """The largest reach in pixels over all edges, and over edges on multiples of the stride; over all four sides."""
    middle = perturbation.middle(length, stride)
    edges = [
        Edge(perturbation, length=length, middle=middle, axis=axis, side=side, exact=exact) for axis, side in SIDES
    ]
    return max(edge.worst(stride) for edge in edges), max(edge.reach(0) for edge in edges)
