"""Valid observations behind pixels: in all per pixel, and in all per step of each input."""

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
"""Per step (pixels of the model grid with at least one valid observation, those observations in all)."""


def count_observed(plan: Plan, inputs: BlockInputs) -> dict[str, Observed]:
    """What each input's steps saw of the block's own pixels inside the area; halos count nowhere.

    An input finer than the model grid has seen a pixel as often as the least seen of the pixels it is made of, as in
    the layer ``observations``.
    """
    asked = plan.raster.touched_steps(inputs.block)
    mine = asked.slices_in(inputs.block.outer)
    inside = area_mask(plan.raster.grid, asked, plan.raster.aoi_geometry)
    counted: dict[int, Observed] = {}
    found: dict[str, Observed] = {}
    for entry in plan.inputs:
        seen = inputs.seen[entry.name]
        # Inputs that read alike share one array.
        if id(seen) not in counted:
            counted[id(seen)] = tuple(_count(on_model_grid(step, entry)[mine], inside) for step in seen)
        found[entry.name] = counted[id(seen)]
    return found


def add_observed(parts: Iterable[Mapping[str, Observed]]) -> dict[str, Observed]:
    """The counts of parts of an area added up; all of them have the same inputs and steps."""
    total: dict[str, Observed] = {}
    for part in parts:
        for name, steps in part.items():
            known = total.get(name, ((0, 0),) * len(steps))
            total[name] = tuple((a + c, b + d) for (a, b), (c, d) in zip(known, steps, strict=True))
    return total


def _count(seen: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    here = seen if inside.all() else np.where(inside, seen, 0)
    return int(np.count_nonzero(here)), int(here.sum(dtype=np.int64))
