"""What a block's model inputs are: each input's steps read, masked and composited over the block with its halo."""

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
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInputs:
    """A block's pixels, ready for windows.

    ``steps`` per input (step, band, y, x) float32 in the input's unit on its own grid over ``block.outer``, NaN = none.
    ``seen`` per input (step, y, x) uint16: valid scenes behind each pixel of each step. ``valid`` (y, x) bool and
    ``observations`` (y, x) uint16 lie on the model grid over ``block.outer``. ``scenes`` are the ids that were read.
    """

    block: Block
    steps: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]
    valid: np.ndarray
    observations: np.ndarray
    scenes: tuple[str, ...]


def read_inputs(plan: Plan, block: Block, access: Access) -> BlockInputs:
    """Everything the model needs of a block.

    Raises ReadError naming item, band and block where a read fails for good beyond the tolerance.
    """
    steps: dict[str, np.ndarray] = {}
    seen: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for entry in plan.inputs:
        twin = next((known for known in plan.inputs if known.name in steps and _reads_alike(known, entry)), None)
        if twin is not None:
            steps[entry.name], seen[entry.name] = steps[twin.name], seen[twin.name]
            continue
        box = entry.box(block.outer)
        touching = entry.coverage(plan.raster.grid).touching(box)
        cut = _Cut(engine=plan.engine, entry=entry, geobox=entry.grid(plan.raster.grid).geobox_of(box))
        steps[entry.name], seen[entry.name] = _read_steps(cut, touching, access)
        used |= {scene.id for scene in touching}
    total = observations_of(plan, seen)
    required = [
        on_model_grid(_is_there(entry, seen[entry.name]), entry) for entry in plan.inputs if entry.required
    ] or [total > 0]
    return BlockInputs(
        block=block,
        steps=steps,
        seen=seen,
        valid=np.all(required, axis=0),
        observations=total,
        scenes=tuple(sorted(used)),
    )


def _reads_alike(one: InputPlan, other: InputPlan) -> bool:
    """True for inputs that differ in name only, as those of an ensemble's members often do: read once."""
    return replace(one, name=other.name) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """One input over one block."""

    engine: str
    entry: InputPlan
    geobox: GeoBox


def _read_steps(cut: _Cut, scenes: Sequence[Scene], access: Access) -> tuple[np.ndarray, np.ndarray]:
    entry, shape = cut.entry, cut.geobox.shape
    values = np.full((len(entry.steps), len(entry.bands), *shape), np.nan, dtype=np.float32)
    seen = np.zeros((len(entry.steps), *shape), dtype=np.uint16)
    # One step after another: a block's memory is then one step's cube and the finished steps.
    for place, step in enumerate(entry.steps):
        taking_part = _of_step(scenes, step)
        if not taking_part:
            continue
        # The scheduler itself, not its name: Dask would load its distributed part to look for a client.
        lazy = _composited(cut, taking_part, step.middle, access)
        made = compute(lazy, scheduler=threaded.get, num_workers=access.threads)[0]
        for number, band in enumerate(entry.bands):
            values[place, number] = made[band].to_numpy()
        seen[place] = made["observations"].to_numpy()
    return fill_gaps(values, [step.middle for step in entry.steps], rule=entry.gaps, unit=entry.unit), seen


def _of_step(scenes: Sequence[Scene], step: StepPlan) -> tuple[Scene, ...]:
    days = set(step.days)
    return tuple(scene for scene in scenes if scene.solar_day in days)


def _composited(cut: _Cut, scenes: Sequence[Scene], middle: date, access: Access) -> xr.Dataset:
    entry = cut.entry
    bands = (*entry.bands, *(band for band in entry.mask.bands if band not in entry.bands))
    cube = load_cube(
        scenes,
        cut.geobox,
        bands,
        engine=cut.engine,
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
        unit=_unit(entry),
        order=entry.clearest,
        middle=middle,
    )


def _days_at_once(scenes: Sequence[Scene], *, n_bands: int, threads: int) -> int:
    """Days that one read takes one after another: all of them from a disk, which spares joining them afterwards; from
    afar so few that every thread waits for an answer of its own.
    """
    if not any("://" in asset.href for scene in scenes for asset in scene.assets):
        return len(scenes)
    return max(1, len(scenes) * n_bands // (2 * threads))


def _unit(entry: InputPlan) -> str | None:
    return entry.unit if entry.unit in {"linear", "db"} else None


def _is_there(entry: InputPlan, seen: np.ndarray) -> np.ndarray:
    """True where the input has what it needs: every step for a pair, one observation otherwise."""
    there = seen > 0
    return np.asarray(there.all(axis=0) if entry.every_step else there.any(axis=0))


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


def on_model_grid(array: np.ndarray, entry: InputPlan) -> np.ndarray:
    """An array on the input's grid brought to the model grid: repeated where coarser, the least where finer."""
    if entry.coarser > 1:
        array = array.repeat(entry.coarser, axis=0).repeat(entry.coarser, axis=1)
    if entry.finer > 1:
        height, width = array.shape
        array = array.reshape(height // entry.finer, entry.finer, width // entry.finer, entry.finer).min(axis=(1, 3))
    return array
