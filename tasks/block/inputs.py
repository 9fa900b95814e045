"""The model inputs of a block: each input's steps, read, masked and composited over the block with its halo."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.catalogs.passes import seeing_order
from tilewright.tasks.block.step_composite import STACK_BYTES, BlockInput, SeenPasses, composite_step
from tilewright.tasks.compose.gap_fill import fill_gaps
from tilewright.tasks.cube.at_once import done_at_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What a screen says of a block: the windows, (row, column) of the lattice, in which nothing is looked for, and
    where it saw something, (y, x) bool over the block's inner box in product pixels.
    """

    skipped: frozenset[tuple[int, int]]
    seen: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInputs:
    """A block's pixels, ready for windows.

    ``steps`` per input (step, band, y, x) float32 in the input's unit on its own grid over ``block.outer``, NaN = none.
    ``step_counts`` per input (step, y, x) uint16: observations behind each pixel of each step, those of its least
    observed band. ``valid`` (y, x) bool
    and ``observations`` (y, x) uint16 are on the model grid over ``block.outer``. ``scenes``: the ids that were read.
    ``screened``: what a screen says, None without one.
    """

    block: Block
    steps: dict[str, np.ndarray]
    step_counts: dict[str, np.ndarray]
    valid: np.ndarray
    observations: np.ndarray
    scenes: tuple[str, ...]
    screened: Screened | None = None


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
        touching = entry.touching(plan.raster.grid, box)
        block_input = BlockInput(engine=plan.engine, entry=entry, geobox=entry.grid(plan.raster.grid).geobox_of(box))
        # Of more decoded pixels than the cache holds those read last are still there; one that holds all drops those
        # first that were read first, which are the next to be asked for in any other order.
        backwards = access.in_turns and (block.row + block.col) % 2 == 1
        steps[entry.name], step_counts[entry.name] = _read_steps(block_input, touching, access, backwards=backwards)
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


def _read_steps(
    block_input: BlockInput, scenes: Sequence[Scene], access: Access, *, backwards: bool
) -> tuple[np.ndarray, np.ndarray]:
    entry, shape = block_input.entry, block_input.geobox.shape.yx
    values = np.empty((len(entry.steps), len(entry.bands), *shape), dtype=np.float32)
    step_counts = np.empty((len(entry.steps), *shape), dtype=np.uint16)
    by_id = {scene.id: scene for scene in scenes}
    steps = [seen_passes(block_input, index, by_id) for index in range(len(entry.steps))]
    most_passes = max((len(step.looks) for step in steps), default=0) or 1
    # Memory holds the observations of one step, or of several that are as small, and the finished steps.
    fitting = int(STACK_BYTES // (values[:1].nbytes * most_passes))
    at_once = max(1, min(access.threads, len(steps), fitting))
    few = replace(access, threads=access.threads // at_once)

    def composite(index: int) -> None:
        if steps[index].looks:
            move = None if access.moves is None else access.moves.of_step(entry, index)
            moved = few if move is None else replace(few, move=move)
            composite_step(block_input, steps[index], moved, values=values[index], counts=step_counts[index])
        else:
            values[index], step_counts[index] = np.nan, 0

    order = range(len(steps))
    deque(done_at_once(composite, order[::-1] if backwards else order, threads=at_once), maxlen=0)
    return fill_gaps(values, [step.middle for step in entry.steps], rule=entry.gaps, unit=entry.unit), step_counts


def seen_passes(block_input: BlockInput, index: int, by_id: Mapping[str, Scene]) -> SeenPasses:
    """The passes of a step of which some of the scenes ``by_id`` are read on a block."""
    entry = block_input.entry
    looks = [
        (number, seeing_order([by_id[scene] for scene in ids], entry.bands))
        for number, ids in entry.passes_of(index, by_id).items()
        if entry.takes(index, number, block_input.geobox)
    ]
    return SeenPasses(index=index, step=entry.steps[index], looks=tuple(looks))


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
