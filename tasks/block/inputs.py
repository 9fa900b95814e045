"""The model inputs of a block: each input's steps, read, masked and composited over the block with its halo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from dask import threaded
from dask.base import compute

from tilewright.tasks.compose.composite import composite
from tilewright.tasks.compose.gap_fill import fill_gaps
from tilewright.tasks.compose.mask import valid_mask
from tilewright.tasks.cube.load import load_cube

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInputs:
    """A block's pixels, ready for windows.

    ``steps`` per input (step, band, y, x) float32 in the input's unit on its own grid over ``block.outer``, NaN = none.
    ``step_counts`` per input (step, y, x) uint16: valid scenes behind each pixel of each step. ``valid`` (y, x) bool
    and ``observations`` (y, x) uint16 are on the model grid over ``block.outer``. ``scenes``: the ids that were read.
    """

    block: Block
    steps: dict[str, np.ndarray]
    step_counts: dict[str, np.ndarray]
    valid: np.ndarray
    observations: np.ndarray
    scenes: tuple[str, ...]


def read_inputs(plan: Plan, block: Block, access: Access) -> BlockInputs:
    """The inputs of a block.

    Raises ReadError naming item, band and block when more reads failed for good than tolerated.
    """
    steps: dict[str, np.ndarray] = {}
    step_counts: dict[str, np.ndarray] = {}
    scene_ids: set[str] = set()
    for entry in plan.inputs:
        # Inputs that differ in name only, as those of an ensemble's members often do, are read once.
        same = next((p for p in plan.inputs if p.name in steps and replace(p, name=entry.name) == entry), None)
        if same is not None:
            steps[entry.name], step_counts[entry.name] = steps[same.name], step_counts[same.name]
            continue
        box = entry.box(block.outer)
        touching = entry.coverage(plan.raster.grid).touching(box)
        block_input = _BlockInput(engine=plan.engine, entry=entry, geobox=entry.grid(plan.raster.grid).geobox_of(box))
        steps[entry.name], step_counts[entry.name] = _read_steps(block_input, touching, access)
        scene_ids |= {scene.id for scene in touching}
    observations = observations_of(plan, step_counts)
    required = [
        on_model_grid(_is_observed(entry, step_counts[entry.name]), entry) for entry in plan.inputs if entry.required
    ] or [observations > 0]
    return BlockInputs(
        block=block,
        steps=steps,
        step_counts=step_counts,
        valid=np.all(required, axis=0),
        observations=observations,
        scenes=tuple(sorted(scene_ids)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _BlockInput:
    """One input over one block: the cube engine, the input's plan, and the block's geobox on the input's grid."""

    engine: str
    entry: InputPlan
    geobox: GeoBox


def _read_steps(block_input: _BlockInput, scenes: Sequence[Scene], access: Access) -> tuple[np.ndarray, np.ndarray]:
    entry, shape = block_input.entry, block_input.geobox.shape
    values = np.full((len(entry.steps), len(entry.bands), *shape), np.nan, dtype=np.float32)
    step_counts = np.zeros((len(entry.steps), *shape), dtype=np.uint16)
    # One step at a time, so that memory holds one step's cube and the finished steps.
    for index, step in enumerate(entry.steps):
        of_step = [scene for scene in scenes if scene.solar_day in step.days]
        if not of_step:
            continue
        # The scheduler itself, not its name: with a name Dask imports its distributed part to look for a client.
        lazy = _composited(block_input, of_step, step.middle, access)
        composited = compute(lazy, scheduler=threaded.get, num_workers=access.threads)[0]
        for number, band in enumerate(entry.bands):
            values[index, number] = composited[band].to_numpy()
        step_counts[index] = composited["observations"].to_numpy()
    return fill_gaps(values, [step.middle for step in entry.steps], rule=entry.gaps, unit=entry.unit), step_counts


def _composited(block_input: _BlockInput, scenes: Sequence[Scene], middle: date, access: Access) -> xr.Dataset:
    entry = block_input.entry
    bands = (*entry.bands, *(band for band in entry.mask.bands if band not in entry.bands))
    cube = load_cube(
        scenes,
        block_input.geobox,
        bands,
        engine=block_input.engine,
        resampling=entry.resampling,
        apart=entry.mask.bands,
        days_per_chunk=_days_at_once(scenes, n_bands=len(bands), threads=access.threads),
        as_numbers=entry.bands,
        access=access,
    )
    valid = valid_mask(cube, rule=entry.mask, bands=entry.bands)
    return composite(
        cube,
        valid,
        bands=entry.bands,
        reducer=entry.reducer,
        unit=entry.unit if entry.unit in {"linear", "db"} else None,
        order=entry.clearest,
        middle=middle,
    )


def _days_at_once(scenes: Sequence[Scene], *, n_bands: int, threads: int) -> int:
    """Days that one task reads one after another: all of them from a disk, which saves joining them afterwards; over a
    network so few that every thread waits for its own request.
    """
    if not any("://" in asset.href for scene in scenes for asset in scene.assets):
        return len(scenes)
    return max(1, len(scenes) * n_bands // (2 * threads))


def _is_observed(entry: InputPlan, step_counts: np.ndarray) -> np.ndarray:
    """True where the input has enough observations: one in every step for a pair, one in any step otherwise."""
    observed = step_counts > 0
    return np.asarray(observed.all(axis=0) if entry.every_step else observed.any(axis=0))


def observations_of(plan: Plan, step_counts: dict[str, np.ndarray]) -> np.ndarray:
    """Valid scenes per pixel of the model grid, (y, x) uint16; inputs of the same collections count them once."""
    counts: dict[tuple[str, ...], np.ndarray] = {}
    for entry in plan.inputs:
        steps = step_counts[entry.name]
        count = on_model_grid(steps[0] if len(steps) == 1 else steps.sum(axis=0, dtype=np.uint32), entry)
        collections = tuple(sorted({scene.collection for scene in entry.scenes})) or (entry.name,)
        counts[collections] = np.maximum(count, counts[collections]) if collections in counts else count
    observations = (
        next(iter(counts.values())) if len(counts) == 1 else np.sum(list(counts.values()), axis=0, dtype=np.uint32)
    )
    return np.minimum(observations, np.iinfo(np.uint16).max).astype(np.uint16, copy=False)


def on_model_grid(array: np.ndarray, entry: InputPlan) -> np.ndarray:
    """An array (y, x) of the input's grid on the model grid: coarser pixels repeated, the minimum of finer ones."""
    if entry.coarser > 1:
        array = array.repeat(entry.coarser, axis=0).repeat(entry.coarser, axis=1)
    if entry.finer > 1:
        height, width = array.shape
        array = array.reshape(height // entry.finer, entry.finer, width // entry.finer, entry.finer).min(axis=(1, 3))
    return array
