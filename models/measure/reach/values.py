"""The values that flow through a graph when its reach is followed: pixels, constants, sizes, and the unproven."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tilewright.models.measure.reach.lines import Line, UnprovenError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """An input or output of a graph: its number of axes, and the places of height and width (`h`, `w`), from the last.

    `ratio` is its pixels per reference pixel; an output leaves out the `crop` first and the second number of last ones.
    """

    name: str
    rank: int
    places: dict[str, int]
    ratio: Fraction
    crop: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTensor:
    """A tensor that depends on the input: `rank` axes, of which some lie in space.

    `lines` holds those of height and width (`h`, `w`) by name; `places` their positions, counted from the last axis
    (-1), so that broadcasting keeps them.
    """

    rank: int
    places: dict[str, int]
    lines: dict[str, Line]

    def is_spatial(self, axis: int) -> bool:
        """True if an axis, counted from either end, is height or width."""
        return self.from_end(axis) in self.places.values()

    def from_end(self, axis: int) -> int:
        """An axis counted from the last one (-1)."""
        return axis if axis < 0 else axis - self.rank

    def without(self, axes: list[int]) -> PixelTensor:
        """The tensor after these axes, none in space, are removed."""
        gone = {self.from_end(axis) for axis in axes}
        places = {name: place + sum(each > place for each in gone) for name, place in self.places.items()}
        return PixelTensor(rank=self.rank - len(gone), places=places, lines=self.lines)

    def mapped(self, change: Callable[[str, Line], Line]) -> PixelTensor:
        """The tensor with every line changed."""
        return replace(self, lines={name: change(name, line) for name, line in self.lines.items()})

    def joined(self, other: PixelTensor) -> PixelTensor:
        """The tensor whose pixels read the same pixel of both, broadcast."""
        if not other.lines or not self.lines:
            spatial = self if self.lines else other
            return replace(spatial, rank=max(self.rank, other.rank))
        if self.places != other.places:
            raise UnprovenError("height and width of two layers are joined with other axes")
        lines = {name: line.joined(other.lines[name]) for name, line in self.lines.items()}
        return PixelTensor(rank=max(self.rank, other.rank), places=self.places, lines=lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A tensor that is the same for every window; `values` is None if they are stored elsewhere or too large."""

    shape: tuple[int, ...]
    values: NDArray[np.generic] | None = None

    def numbers(self) -> list[Any]:
        """The values, flattened; raises UnprovenError if they are not known."""
        if self.values is None:
            raise UnprovenError("a shape or axis is stored outside the graph")
        flat: list[Any] = self.values.ravel().tolist()
        return flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """One number of a shape: `ratio` times the window's height or width (`axis`) plus `extra`; a plain number if
    `axis` is empty; not known if `axis` is `?`.
    """

    axis: str = "?"
    ratio: Fraction = field(default_factory=Fraction)
    extra: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A small tensor of numbers that may follow the window's size."""

    extents: tuple[Extent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """A tensor for which no bound is known, and why."""

    reason: str


Value = PixelTensor | Constant | Sizes | Unproven
