"""Windows: the pixels of each model call, and those of its output pixels that are kept.

All sizes are pixels of the model grid. The core of a window starts at a multiple of ``step`` from the CRS origin, the
window ``trim`` pixels before it: ``window = step + 2 * trim``. A fixed window may hold a few pixels more to the right
and below. Block sizes are multiples of the step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.measure.window import WindowChoice


Merge = Literal["trim", "blend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """The sizes of windows and blocks in model-grid pixels; ``stride`` is the model's total stride."""

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
    def half_step(self) -> int:
        """About half a step in whole strides: how far a window is moved to be compared with itself."""
        return max(self.stride, self.step // 2 // self.stride * self.stride)

    @property
    def reach(self) -> int:
        """Steps beyond a block whose windows contribute to it: 0 for trim, ``ceil(rim / step)`` for blend."""
        return math.ceil(self.rim / self.step) if self.merge == "blend" else 0

    @property
    def rim(self) -> int:
        """Pixels of a window beyond its core on its wider side (a fixed window may be wider on the right)."""
        return self.window - self.step - self.trim

    @property
    def halo(self) -> int:
        """Pixels to read beyond a block on each side."""
        return self.reach * self.step + self.rim

    @property
    def passes(self) -> float:
        """Pixels that the model computes per pixel kept, for a block in the interior of a large area."""
        n_kept = self.block**2
        return ((self.block // self.step + 2 * self.reach) * self.window) ** 2 / n_kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One model call: ``outer`` is the input; ``kept`` holds the output pixels that are used."""

    row: int
    col: int
    outer: PixelBox
    kept: PixelBox


def lattice_of(windows: WindowChoice, *, block: int) -> Lattice:
    """The lattice of a model's windows; ``block`` (pixels) is rounded up to a multiple of the step.

    Raises GridError for a step that is not a multiple of the stride.
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
    """The windows that contribute to a block, in row-major order of the lattice."""
    rows, cols = _places(inner, lattice)
    for row in rows:
        for col in cols:
            core = block_at(row=row, col=col, block=lattice.step, halo=0).inner
            outer = _outer(core, lattice)
            kept = core if lattice.merge == "trim" else outer
            yield Window(row=row, col=col, outer=outer, kept=kept)


def n_block_windows(inner: PixelBox, lattice: Lattice) -> int:
    """The number of windows that contribute to a block."""
    rows, cols = _places(inner, lattice)
    return len(rows) * len(cols)


def _places(inner: PixelBox, lattice: Lattice) -> tuple[range, range]:
    """(rows, columns) in the lattice of the windows that contribute to a block."""
    return block_range(inner.pad(lattice.reach * lattice.step), block=lattice.step)


def _outer(core: PixelBox, lattice: Lattice) -> PixelBox:
    row_start, col_start = core.row_start - lattice.trim, core.col_start - lattice.trim
    return PixelBox(
        row_start=row_start,
        row_stop=row_start + lattice.window,
        col_start=col_start,
        col_stop=col_start + lattice.window,
    )
