"""One operator of a graph with the values that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.models.measure.reach.lines import UnprovenError
from tilewright.models.measure.reach.values import Constant, Extent, PixelTensor, Sizes

if TYPE_CHECKING:
    from tilewright.models.measure.reach.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operator, its inputs (None for one left out) and attributes; `opset` is that of its domain, `window` the side
    of the only windows if the graph fixes it, `period` the pixels after which it is assumed to repeat; `mates` if the
    batch axis is followed. `ones` are of each input the axes (from the last, -1) that are known to have length 1.
    """

    op: str
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    opset: int
    n_outputs: int
    window: tuple[int, int] | None
    period: int = 1
    mates: bool = False
    ones: tuple[frozenset[int], ...] = ()

    def input(self, index: int) -> Value | None:
        """One input, None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def pixels(self, index: int = 0) -> PixelTensor:
        """An input that depends on pixels."""
        value = self.input(index)
        if not isinstance(value, PixelTensor):
            raise UnprovenError(f"{self.op} computes with the window's size")
        return value

    def numbers(self, index: int, name: str = "") -> list[Any] | None:
        """Numbers of a constant input, or of the attribute `name` that older operators have; None if left out."""
        value = self.input(index)
        if value is None:
            return self.attributes.get(name)
        if not isinstance(value, Constant):
            raise UnprovenError(f"{self.op} computes its shape")
        return value.numbers()

    def extents(self, index: int) -> tuple[Extent, ...] | None:
        """Numbers of an input that may follow the window's size; None if it is left out."""
        value = self.input(index)
        if value is None:
            return None
        if isinstance(value, Sizes):
            return value.extents
        return tuple(Extent(axis="", extra=int(each)) for each in self.numbers(index) or [])

    def constants(self, indices: range) -> list[Constant]:
        """Inputs that must be constants: the weights of a kernel."""
        found = [self.input(index) for index in indices]
        if any(each is not None and not isinstance(each, Constant) for each in found):
            raise UnprovenError(f"{self.op} takes weights that are computed")
        return [each for each in found if isinstance(each, Constant)]
