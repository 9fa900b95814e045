"""Where the job's model looks: the windows in which a cheap model sees enough of some classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.block.block_key import screen_box
from tilewright.tasks.block.inputs import Screened
from tilewright.tasks.block.seams import core_of
from tilewright.tasks.grid.windows import block_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.serving.lazy_map import LazyMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The screen of a plan: a map of classes on a lattice of its own, so that no cut of the work shows in it.

    A pixel of it belongs to the core of a window that holds its centre.
    """

    plan: Plan
    map: LazyMap

    def of_block(self, block: Block, access: Access) -> Screened:
        """The windows of a block that the screen leaves out, and where it saw something.

        Raises ReadError for a file that cannot be read, however many failures are tolerated: the map would depend on
        them. Raises InferenceError.
        """
        screen, raster = self.plan.screen, self.plan.raster
        assert screen is not None, "the plan has a screen"
        box = screen_box(self.plan, block)
        found = self.map.pixels(box, replace(access, failures=None, moves=None)).values
        grid = self.map.plan.raster.product_grid
        wanted, known = np.isin(found, screen.classes), found != NODATA_BYTE
        skipped = []
        for window in block_windows(raster.touched_steps(block), raster.lattice):
            there = _centres_in(raster.grid, core_of(window, raster.lattice), grid, box)
            n_known = int(np.count_nonzero(known[there]))
            if not n_known or np.count_nonzero(wanted[there] & known[there]) < screen.least_share * n_known:
                skipped.append((window.row, window.col))
        rows, cols = _pixels_under(raster.product_grid, raster.product_box_of(block.inner), grid, box)
        return Screened(skipped=frozenset(skipped), seen=known[np.ix_(rows, cols)])


def _centres_in(model_grid: Grid, core: PixelBox, grid: Grid, box: PixelBox) -> tuple[slice, slice]:
    """The rows and columns of ``box``, pixels of ``grid``, whose centres lie in a core of the model's pixels."""
    left, bottom, right, top = model_grid.bounds_of(core)
    size = grid.resolution

    def span(first: float, last: float, start: int, stop: int) -> slice:
        # Half open: a centre on a border belongs to the core right of and below it.
        low, high = (int(np.ceil(edge / size - 0.5)) - start for edge in (first, last))
        return slice(max(0, low), min(stop - start, max(low, high)))

    return span(-top, -bottom, box.row_start, box.row_stop), span(left, right, box.col_start, box.col_stop)


def _pixels_under(
    product: Grid, inner: PixelBox, grid: Grid, box: PixelBox
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns of ``box``, pixels of ``grid``, under the centres of a block's product pixels."""
    ratio = product.resolution / grid.resolution
    rows = np.floor((np.arange(inner.row_start, inner.row_stop) + 0.5) * ratio).astype(np.int64) - box.row_start
    cols = np.floor((np.arange(inner.col_start, inner.col_stop) + 0.5) * ratio).astype(np.int64) - box.col_start
    return np.clip(rows, 0, box.shape[0] - 1), np.clip(cols, 0, box.shape[1] - 1)
