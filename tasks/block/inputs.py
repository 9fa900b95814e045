"""The model inputs of a block: each input's steps, read, masked and composited over the block with its halo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from tilewright.catalogs.passes import seeing_order
from tilewright.tasks.compose.composite import count_passes, pass_ranks, reduce_passes, scene_ranks
from tilewright.tasks.compose.gap_fill import fill_gaps
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.reducers import reducer_radius_px
from tilewright.tasks.cube.read_pass import ArrayReads, FileReads, PassRequest, SceneReads, read_pass
from tilewright.tasks.cube.scene_band import BACKSCATTER, BandRequest
from tilewright.tasks.read.pixels import convert_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


STACK_BYTES = 512e6
"""Bytes of the observations of a step that are held at a time; a block with more is composited in strips of rows."""

CLASS_KINDS = frozenset({"scl", "bits", "values"})
"""Kinds of masks that judge stored integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInputs:
    """A block's pixels, ready for windows.

    ``steps`` per input (step, band, y, x) float32 in the input's unit on its own grid over ``block.outer``, NaN = none.
    ``step_counts`` per input (step, y, x) uint16: observations behind each pixel of each step, those of its least
    observed band. ``valid`` (y, x) bool
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

    @property
    def request(self) -> PassRequest:
        """The bands and the mask that are read of each scene."""
        entry, rule, resolution = self.entry, self.entry.mask, float(self.geobox.affine.a)
        bands = [BandRequest(band=band, unit=entry.working_unit, resampling=entry.resampling) for band in entry.bands]
        if rule.kind == "none":
            return PassRequest(bands=tuple(bands))
        units = ["class" if rule.kind in CLASS_KINDS else entry.stored_unit(band) for band in rule.bands]
        return PassRequest(
            bands=tuple(bands),
            quality=tuple(
                BandRequest(band=band, unit=unit, resampling=entry.resampling)
                for band, unit in zip(rule.bands, units, strict=True)
            ),
            judge=partial(dropped_pixels, rule=rule, resolution=resolution),
            reach=rule.radius_px(resolution),
        )


def _read_steps(block_input: _BlockInput, scenes: Sequence[Scene], access: Access) -> tuple[np.ndarray, np.ndarray]:
    entry, shape = block_input.entry, block_input.geobox.shape.yx
    values = np.full((len(entry.steps), len(entry.bands), *shape), np.nan, dtype=np.float32)
    step_counts = np.zeros((len(entry.steps), *shape), dtype=np.uint16)
    by_id = {scene.id: scene for scene in scenes}
    # One step at a time, so that memory holds one step's observations and the finished steps.
    for index, step in enumerate(entry.steps):
        looks = [
            (number, seeing_order([by_id[scene] for scene in ids if scene in by_id], entry.bands))
            for number, ids in enumerate(step.passes)
        ]
        seen = _SeenPasses(step=step, looks=tuple((number, members) for number, members in looks if members))
        if seen.looks:
            _composite_step(block_input, seen, access, values=values[index], counts=step_counts[index])
    return fill_gaps(values, [step.middle for step in entry.steps], rule=entry.gaps, unit=entry.unit), step_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeenPasses:
    """The passes of a step that have scenes on a block: (position in the step, scenes in the order they are asked)."""

    step: StepPlan
    looks: tuple[tuple[int, tuple[Scene, ...]], ...]

    @property
    def scenes(self) -> list[Scene]:
        return [scene for _, members in self.looks for scene in members]


def _composite_step(
    block_input: _BlockInput, seen: _SeenPasses, access: Access, *, values: np.ndarray, counts: np.ndarray
) -> None:
    """Write a step's composite to `values` (band, y, x) and its observations to `counts` (y, x), strip by strip."""
    entry, (height, width) = block_input.entry, block_input.geobox.shape.yx
    resolution = float(block_input.geobox.affine.a)
    # Of the mask and of reducers that look at neighbours.
    reach = entry.mask.radius_px(resolution) + reducer_radius_px(entry.reducer, resolution)
    n_strips = ceil(4 * values.size * len(seen.looks) / STACK_BYTES)
    rows = ceil(height / max(n_strips, 1))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(0, top - reach), min(height, bottom + reach)
        strip = replace(block_input, geobox=block_input.geobox[first:last, 0:width])
        stack, ranks = _read_stack(strip, seen, access)
        inner = slice(top - first, bottom - first)
        reduced = reduce_passes(
            stack,
            entry.reducer,
            ranks=ranks,
            days=[seen.step.days[number] for number, _ in seen.looks],
            middle=seen.step.centre,
            resolution=resolution,
        )[:, inner]
        if {entry.working_unit, entry.unit} <= BACKSCATTER:
            reduced = convert_unit(reduced, source=entry.working_unit, target=entry.unit)
        values[:, top:bottom] = reduced
        # Where every scene has every band, one band tells for all.
        alike = all(scene.asset(band) is not None for scene in seen.scenes for band in entry.bands)
        counted = count_passes(stack[:1] if alike else stack)[inner]
        # Passes that together give no value are no observation: those without a band where one pass is taken for all
        # bands, and power without a logarithm.
        counts[top:bottom] = np.where(np.isfinite(reduced).all(axis=0), counted, 0)


def _read_stack(
    block_input: _BlockInput, seen: _SeenPasses, access: Access
) -> tuple[np.ndarray, list[int] | np.ndarray | None]:
    """The observations of a step on a geobox, and the ranks of its passes as `reduce_passes` takes them.

    Observations are (band, pass, y, x) float32 in the working unit, NaN = not seen.
    """
    request, shape = block_input.request, block_input.geobox.shape.yx
    stack = np.empty((len(request.bands), len(seen.looks), *shape), dtype=np.float32)
    reads = _scene_reads(block_input, request, seen.scenes, access)
    at_once = min(access.threads, len(seen.looks))
    of_scenes = scene_ranks(seen.scenes, block_input.entry.reducer)
    ranks = pass_ranks([[scene.id for scene in members] for _, members in seen.looks], of_scenes) if of_scenes else None
    # Passes whose scenes alternate in the order have one only pixel by pixel.
    taken = np.zeros(stack.shape[1:], dtype=np.uint16) if of_scenes and ranks is None else None

    def read(number: int) -> None:
        members = seen.looks[number][1]
        here = None if taken is None else taken[number]
        read_pass(members, reads, request, out=stack[:, number], taken=here, threads=access.threads // at_once)
        if here is not None:
            here[...] = np.array([of_scenes[scene.id] for scene in members], dtype=np.uint16)[here]

    if at_once == 1:
        for number in range(len(seen.looks)):
            read(number)
    else:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(read, range(len(seen.looks))))
    return stack, ranks if taken is None else taken


def _scene_reads(block_input: _BlockInput, request: PassRequest, scenes: Sequence[Scene], access: Access) -> SceneReads:
    """The pixels of the scenes: read from their files, or laid out by the library that the plan names."""
    files = FileReads(block_input.geobox, access)
    if block_input.engine == "direct":
        return files
    return ArrayReads(_laid_out(block_input, request.bands, scenes, access), files)


def _laid_out(
    block_input: _BlockInput, bands: Sequence[BandRequest], scenes: Sequence[Scene], access: Access
) -> Mapping[tuple[str, BandRequest], np.ndarray]:
    """The bands of the scenes that have them, by scene id and request, as a library of another maker lays them out."""
    # Half a second of imports that only their users pay.
    from dask import threaded  # noqa: PLC0415
    from dask.base import compute  # noqa: PLC0415

    from tilewright.tasks.cube.engines import ENGINES  # noqa: PLC0415

    lazy = ENGINES[block_input.engine](scenes, bands, block_input.geobox, chunks=None, access=access)
    # The scheduler itself, not its name: with a name Dask imports its distributed part to look for a client.
    (made,) = compute(lazy, scheduler=threaded.get, num_workers=access.threads)
    return {
        (scene.id, band): made[band.band][number]
        for band in bands
        for number, scene in enumerate(scenes)
        if scene.asset(band.band) is not None
    }


def _is_observed(entry: InputPlan, step_counts: np.ndarray) -> np.ndarray:
    """True where the input has enough observations: one in every step for a pair, one in any step otherwise."""
    observed = step_counts > 0
    return np.asarray(observed.all(axis=0) if entry.every_step else observed.any(axis=0))


def observations_of(plan: Plan, step_counts: dict[str, np.ndarray]) -> np.ndarray:
    """Observations per pixel of the model grid, (y, x) uint16: the sum over the steps, and over unlike collections.

    Of several required inputs of the same collections the least number counts; other inputs count where none is
    required.
    """
    by_collections: dict[tuple[str, ...], list[InputPlan]] = {}
    for entry in plan.inputs:
        collections = tuple(sorted({scene.collection for scene in entry.scenes})) or (entry.name,)
        by_collections.setdefault(collections, []).append(entry)
    total: np.ndarray | int = 0
    for same in by_collections.values():
        counts = [_total_count(entry, step_counts[entry.name]) for entry in same if entry.required]
        if counts:
            total = total + np.minimum.reduce(counts)
        else:
            total = total + np.maximum.reduce([_total_count(entry, step_counts[entry.name]) for entry in same])
    return np.minimum(total, np.iinfo(np.uint16).max).astype(np.uint16, copy=False)


def _total_count(entry: InputPlan, steps: np.ndarray) -> np.ndarray:
    """The observations of all steps of an input on the model grid, (y, x) uint32."""
    return on_model_grid(steps.sum(axis=0, dtype=np.uint32), entry)


def on_model_grid(array: np.ndarray, entry: InputPlan) -> np.ndarray:
    """An array (y, x) of the input's grid on the model grid: coarser pixels repeated, the minimum of finer ones."""
    if entry.coarser > 1:
        array = array.repeat(entry.coarser, axis=0).repeat(entry.coarser, axis=1)
    if entry.finer > 1:
        height, width = array.shape
        array = array.reshape(height // entry.finer, entry.finer, width // entry.finer, entry.finer).min(axis=(1, 3))
    return array
