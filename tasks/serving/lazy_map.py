"""The map of a model over a grid of its own, made block by block where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.seams import SampledPlaces
from tilewright.tasks.grid.cells import block_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.tasks.block.infer import LoadedModel
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.serving.kept_blocks import KeptBlocks


class NoPlaces(SampledPlaces):
    """No windows that are compared with shifted ones: that is the business of the job's own model."""

    def of(self, plan: Plan, *, windows_per_call: int, told: bool) -> frozenset[tuple[int, int]]:
        """None of them."""
        del plan, windows_per_call, told
        return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPixels:
    """Pixels of a map, (height, width) uint8 classes, 255 = nothing seen; how many blocks were made and were kept."""

    values: NDArray[np.uint8]
    n_made: int
    n_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyMap:
    """The classes of ``layer`` that a model gives under ``plan``, whose blocks no list limits."""

    plan: Plan
    model: LoadedModel
    layer: str
    blocks: KeptBlocks

    def pixels(self, box: PixelBox, access: Access) -> MapPixels:
        """The classes over a box of the product's pixels; 255 outside the plan's grid.

        Raises ReadError for a file that cannot be read, InferenceError where the model fails.
        """
        raster = self.plan.raster
        values = np.full(box.shape, NODATA_BYTE, np.uint8)
        inside = box.intersect(raster.product_grid.extent)
        n_made = n_kept = 0
        rows, cols = block_range(inside, block=raster.product_block) if not inside.empty else (range(0), range(0))
        for row in rows:
            for col in cols:
                block = raster.block(row, col)
                covered = raster.product_box_of(block.inner)
                found, made = self._block(block, covered.shape, access)
                n_made, n_kept = n_made + made, n_kept + (not made)
                shared = covered.intersect(inside)
                values[shared.slices_in(box)] = found[shared.slices_in(covered)]
        return MapPixels(values=values, n_made=n_made, n_kept=n_kept)

    def _block(self, block: Block, shape: tuple[int, int], access: Access) -> tuple[NDArray[np.uint8], bool]:
        def make() -> NDArray[np.uint8]:
            made: NDArray[np.uint8] = infer_block(self.plan, self.model, read_inputs(self.plan, block, access)).layers[
                self.layer
            ]
            return made

        return self.blocks.block(block_key(self.plan, block), shape=shape, make=make)
