"""Counts of valid observations for each step of each input, over a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.block.inputs import on_model_grid
from tilewright.tasks.grid.area_mask import area_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.block.inputs import BlockInputs
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
