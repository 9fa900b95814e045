"""Counts of valid observations for each step of each input, and sums of the values seen, over a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.transforms.preprocess import derive_bands
from tilewright.tasks.audit.drift.sums import BandSums, sums_of
from tilewright.tasks.block.inputs import on_model_grid
from tilewright.tasks.grid.area_mask import area_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.audit.drift.sums import InputSums
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


Observed = tuple[tuple[int, int], ...]
"""Per step (pixels of the model grid with at least one valid observation, number of their observations)."""


def count_observed(plan: Plan, inputs: BlockInputs) -> dict[str, Observed]:
    """The counts of each input's steps, by input name, over the block's inner pixels inside the area, without halos.

    A model-grid pixel of a finer input has the least count of the input's pixels in it, as in the layer
    ``observations``.
    """
    touched = plan.raster.touched_steps(inputs.block)
    inner = touched.slices_in(inputs.block.outer)
    inside = area_mask(plan.raster.grid, touched, plan.raster.area)
    counted: dict[int, Observed] = {}
    found: dict[str, Observed] = {}
    for entry in plan.inputs:
        step_counts = inputs.step_counts[entry.name]
        # Inputs that differ in name only share one array.
        if id(step_counts) not in counted:
            counted[id(step_counts)] = tuple(
                _count_step(on_model_grid(step, entry)[inner], inside) for step in step_counts
            )
        found[entry.name] = counted[id(step_counts)]
    return found


def sum_block(plan: Plan, card: ModelCard, inputs: BlockInputs) -> InputSums:
    """The sums of the values that the model gets of a block's inner pixels inside the area (``sum_values``)."""
    if not any(spec.told for spec in card.inputs):
        return {}
    touched = plan.raster.touched_steps(inputs.block)
    return sum_values(plan, card, inputs, touched, area_mask(plan.raster.grid, touched, plan.raster.area))


def sum_values(
    plan: Plan, card: ModelCard, inputs: BlockInputs, box: PixelBox, inside: np.ndarray | None = None
) -> InputSums:
    """The sums of the values that were seen in a box of model-grid pixels, by input, if the card tells its statistics.

    Values are those that are scaled, in the card's unit and bands, of all steps; what was filled in is none.
    ``inside`` (y, x) bool over the box: only these; a larger pixel of an input counts if one of them is in it.
    """
    found: InputSums = {}
    for spec, entry in zip(card.inputs, plan.inputs, strict=True):
        if not spec.told:
            continue
        place = (..., *entry.box(box).slices_in(entry.box(inputs.block.outer)))
        seen = np.asarray(inputs.step_counts[spec.name][place] > 0)
        if inside is not None and not inside.all():
            seen &= _on_input_grid(inside, entry)
        sums = [BandSums() for _ in spec.bands]
        for step, here in zip(inputs.steps[spec.name][place], seen, strict=True):
            bands = derive_bands(spec, step[np.newaxis, np.newaxis])[0, 0]
            for number, statistics in enumerate(spec.statistics):
                if statistics is not None:
                    sums[number] += sums_of(bands[number][here], statistics)
        told = zip(sums, spec.statistics, strict=True)
        found[spec.name] = [[] if statistics is None else each.to_json() for each, statistics in told]
    return found


def _on_input_grid(mask: np.ndarray, entry: InputPlan) -> np.ndarray:
    """A mask (y, x) of the model grid on an input's: finer pixels repeated, a coarser one True if a pixel in it is."""
    if entry.finer > 1:
        mask = mask.repeat(entry.finer, axis=0).repeat(entry.finer, axis=1)
    if entry.coarser > 1:
        height, width = mask.shape
        side = entry.coarser
        mask = np.asarray(mask.reshape(height // side, side, width // side, side).any(axis=(1, 3)))
    return mask


def add_observed(parts: Iterable[Mapping[str, Observed]]) -> dict[str, Observed]:
    """The sums of counts over several parts of an area, which have the same inputs and steps."""
    total: dict[str, Observed] = {}
    for part in parts:
        for name, steps in part.items():
            known = total.get(name, ((0, 0),) * len(steps))
            total[name] = tuple((a + c, b + d) for (a, b), (c, d) in zip(known, steps, strict=True))
    return total


def _count_step(counts: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    here = counts if inside.all() else np.where(inside, counts, 0)
    return int(np.count_nonzero(here)), int(here.sum(dtype=np.int64))
