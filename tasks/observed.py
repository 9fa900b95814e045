"""Valid observations behind pixels: in all per pixel, and in all per step of each input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.area import area_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tasks.inputs import BlockInputs
    from tasks.plan import InputPlan, Plan

Observed = tuple[tuple[int, int], ...]
"""Per step (pixels of the model grid with at least one valid observation, those observations in all)."""


def observations_of(plan: Plan, seen: dict[str, np.ndarray]) -> np.ndarray:
    """Scenes behind each pixel of the model grid (y, x) uint16: inputs that read the same scenes count them once."""
    counts: dict[tuple[str, ...], np.ndarray] = {}
    for entry in plan.inputs:
        steps = seen[entry.name]
        count = on_model_grid(steps[0] if len(steps) == 1 else steps.sum(axis=0, dtype=np.uint32), entry)
        collections = tuple(sorted({scene.collection for scene in entry.scenes})) or (entry.name,)
        counts[collections] = np.maximum(count, counts[collections]) if collections in counts else count
    total = next(iter(counts.values())) if len(counts) == 1 else np.sum(list(counts.values()), axis=0, dtype=np.uint32)
    return np.minimum(total, np.iinfo(np.uint16).max).astype(np.uint16, copy=False)


def count_observed(plan: Plan, inputs: BlockInputs) -> dict[str, Observed]:
    """What each input's steps saw of the block's own pixels inside the area; halos count nowhere.

    An input finer than the model grid has seen a pixel as often as the least seen of the pixels it is made of, as in
    the layer ``observations``.
    """
    asked = plan.asked_of(inputs.block)
    mine = asked.slices_in(inputs.block.outer)
    inside = area_mask(plan.grid, asked, plan.area_geometry)
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


def on_model_grid(array: np.ndarray, entry: InputPlan) -> np.ndarray:
    """An array on the input's grid brought to the model grid: repeated where coarser, the least where finer."""
    if entry.coarser > 1:
        array = array.repeat(entry.coarser, axis=0).repeat(entry.coarser, axis=1)
    if entry.finer > 1:
        height, width = array.shape
        array = array.reshape(height // entry.finer, entry.finer, width // entry.finer, entry.finer).min(axis=(1, 3))
    return array


def _count(seen: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    here = seen if inside.all() else np.where(inside, seen, 0)
    return int(np.count_nonzero(here)), int(here.sum(dtype=np.int64))
