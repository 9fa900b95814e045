"""Converts between the grids of a block: the model's grid, the grid of each output, and the product's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.window import answers_per_window, output_scale
from tilewright.tasks.grid.area_mask import area_mask

if TYPE_CHECKING:
    from fractions import Fraction

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan.plan import Plan


def output_box(box: PixelBox, output: OutputSpec, card: ModelCard, lattice: Lattice) -> PixelBox:
    """A box of model-grid pixels as a box of the output's pixels."""
    scale = output_scale(output, card, step=lattice.step)
    return box.rescale(numerator=scale.numerator, denominator=scale.denominator)


def result_size(output: OutputSpec, card: ModelCard, lattice: Lattice) -> tuple[int, int] | None:
    """(height, width) in pixels of an output for one window, None if it is one vector."""
    if answers_per_window(output, card):
        return None
    scale = output_scale(output, card, step=lattice.step)
    side = lattice.window * scale.numerator // scale.denominator
    return side, side


def at_product(array: np.ndarray, plan: Plan) -> np.ndarray:
    """An array (y, x) on the model grid brought to product pixels.

    Smaller product pixels repeat the model pixel; larger ones take the maximum of their model pixels (any, for bool).
    """
    if plan.raster.down > 1:
        height, width = array.shape
        array = array.reshape(
            height // plan.raster.down, plan.raster.down, width // plan.raster.down, plan.raster.down
        ).max(axis=(1, 3))
    return array.repeat(plan.raster.up, axis=0).repeat(plan.raster.up, axis=1) if plan.raster.up > 1 else array


def product_area_mask(plan: Plan, box: PixelBox) -> np.ndarray:
    """The pixels (y, x) of a box of absolute product pixels that lie in the area asked for, as layers are cut."""
    raster = plan.raster
    whole = box.cover(numerator=1, denominator=raster.up).rescale(numerator=raster.up, denominator=1)
    model = whole.rescale(numerator=raster.down, denominator=raster.up)
    return at_product(area_mask(raster.grid, model, raster.area), plan)[box.slices_in(whole)]


def at_output(mask: np.ndarray, scale: Fraction) -> np.ndarray:
    """A mask (y, x) on the model grid brought to an output's pixels: any of its model pixels counts."""
    up, down = scale.numerator, scale.denominator
    if down > 1:
        height, width = mask.shape
        mask = np.asarray(mask.reshape(height // down, down, width // down, down).any(axis=(1, 3)))
    return repeat_to(mask, (mask.shape[0] * up, mask.shape[1] * up))


def repeat_to(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An array (y, x, ...) with its pixels repeated to ``shape`` (y, x), a whole multiple of the array's own."""
    if array.shape[:2] == shape:
        return array
    rows, cols = shape[0] // array.shape[0], shape[1] // array.shape[1]
    return array.repeat(rows, axis=0).repeat(cols, axis=1)
