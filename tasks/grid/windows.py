"""Windows: which pixels each model call sees and which of its pixels are kept.

All sizes are pixels of the model grid. The core of a window starts at a multiple of ``step`` from the CRS origin, the
window ``trim`` before it: ``window = step + 2 * trim`` (a fixed window may hold a few pixels more on the far side).
Blocks are multiples of the step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tilewright.tasks.grid.blocks import block_range
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.measure.window import WindowChoice


Merge = Literal["trim", "blend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """How windows and blocks lie: sizes in model-grid pixels, ``stride`` the model's total stride."""

    step: int
    trim: int
    window: int
    block: int
    stride: int
    merge: Merge

    def __post_init__(self) -> None:
        if self.step <= 0 or self.step % self.stride:
            raise GridError(
                f"tile.step is {self.step}: it must be a positive multiple of the model's total stride {self.stride}."
            )
        if self.block <= 0 or self.block % self.step:
            raise GridError(f"tile.block is {self.block}: it must be a positive multiple of the step {self.step}.")
        assert self.trim >= 0, "a trim is a number of pixels"
        assert self.trim % self.stride == 0, "the trim is rounded up to the total stride when it is planned"
        assert self.rim >= self.trim, "a window holds its core and the trim on both sides"

    @property
    def reach(self) -> int:
        """Steps beyond a block whose windows still touch it: 0 for trim, ``ceil(rim / step)`` for blend."""
        return math.ceil(self.rim / self.step) if self.merge == "blend" else 0

    @property
    def rim(self) -> int:
        """Pixels of a window beyond its core on its wider side (a fixed window may be wider on the right)."""
        return self.window - self.step - self.trim

    @property
    def halo(self) -> int:
        """Pixels to be read beyond a block on each side."""
        return self.reach * self.step + self.rim

    @property
    def passes(self) -> float:
        """Pixels the model computes per pixel kept, on the inside of a large area."""
        n_kept = self.block**2
        return ((self.block // self.step + 2 * self.reach) * self.window) ** 2 / n_kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One model call: ``outer`` goes in; ``kept`` is what its answer may be used for."""

    row: int
    col: int
    outer: PixelBox
    kept: PixelBox


def lattice_of(windows: WindowChoice, *, block: int) -> Lattice:
    """The lattice of a model's windows; a wish for ``block`` is rounded up to a multiple of the step.

    Raises GridError where a step that was asked for is off the stride.
    """
    return Lattice(
        step=windows.step,
        trim=windows.trim,
        window=windows.window,
        block=math.ceil(block / windows.step) * windows.step,
        stride=windows.stride,
        merge=windows.merge,
    )


def block_windows(inner: PixelBox, lattice: Lattice) -> Iterator[Window]:
    """The windows that have a say in a block, in row-major order of the lattice."""
    rows, cols = block_range(inner.pad(lattice.reach * lattice.step), block=lattice.step)
    for row in rows:
        for col in cols:
            core = _core(row, col, lattice.step)
            outer = _outer(core, lattice)
            kept = core if lattice.merge == "trim" else outer
            yield Window(row=row, col=col, outer=outer, kept=kept)


def _core(row: int, col: int, step: int) -> PixelBox:
    return PixelBox(row_start=row * step, row_stop=(row + 1) * step, col_start=col * step, col_stop=(col + 1) * step)


def _outer(core: PixelBox, lattice: Lattice) -> PixelBox:
    row_start, col_start = core.row_start - lattice.trim, core.col_start - lattice.trim
    return PixelBox(
        row_start=row_start,
        row_stop=row_start + lattice.window,
        col_start=col_start,
        col_stop=col_start + lattice.window,
    )
