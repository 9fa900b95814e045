"""The key of a block: a digest of everything that makes its pixels. Blocks whose key has changed are redone."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Any

from tilewright.tasks.compose.composite import pass_ranks, scene_ranks
from tilewright.tasks.compose.reducers import DATE_SCORING_REDUCERS
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.align import measured_around
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry


def block_key(plan: Plan, block: Block) -> str:
    """SHA-256 in hex over the plan's settings and the scenes that touch the block, with their radiometric state.

    Only passes with such a scene are included, so that a scene elsewhere does not change the key.
    """
    inputs = []
    for entry in plan.inputs:
        touching = entry.touching_indices(plan.raster.grid, _deciding_box(plan, entry, block))
        scenes = {entry.scenes[index].id: entry.scenes[index] for index in touching}
        passes = [entry.passes_of(number, scenes) for number in range(len(entry.steps))]
        inputs.append(
            {
                "scenes": [entry.scene_digest(index) for index in touching],
                "steps": [_passes([*of_step.values()], scenes, reducer=entry.reducer) for of_step in passes],
                "middles": entry.middles() if _tells_days(entry) else [],
                **_shared_facts(entry, passes),
                **entry.choice_facts(entry.box(block.outer), scenes),
            }
        )
    facts = {"settings": plan.settings_key(), "inputs": inputs, "block": block.name}
    return json_digest({**facts, **({"screen": _screen_keys(plan, block)} if plan.screen is not None else {})})


def _deciding_box(plan: Plan, entry: InputPlan, block: Block) -> PixelBox:
    """The pixels of an input whose scenes decide about a block, those by which its dates are moved included."""
    box = entry.box(block.outer)
    if plan.align is None or plan.align.reference(entry) is None:
        return box
    return box.pad(measured_around(entry, entry.grid(plan.raster.grid).resolution))


def screen_box(plan: Plan, block: Block) -> PixelBox:
    """The pixels of the screen's map, in its product's pixels, under a block with its halo."""
    assert plan.screen is not None, "the plan has a screen"
    left, bottom, right, top = plan.raster.grid.bounds_of(block.outer)
    size = plan.screen.raster.product_grid.resolution
    return PixelBox(
        row_start=floor(-top / size),
        row_stop=ceil(-bottom / size),
        col_start=floor(left / size),
        col_stop=ceil(right / size),
    )


def _screen_keys(plan: Plan, block: Block) -> list[str]:
    """The keys of the blocks of the screen's map under a block."""
    of_screen = plan.of_screen()
    inside = screen_box(plan, block).intersect(of_screen.raster.product_grid.extent)
    if inside.empty:
        return []
    rows, cols = block_range(inside, block=of_screen.raster.product_block)
    return [block_key(of_screen, of_screen.raster.block(row, col)) for row in rows for col in cols]


def _tells_days(entry: InputPlan) -> bool:
    """True if the middle days of the steps decide pixels: they weigh gaps, or the model is told them."""
    return entry.gaps != "leave" or entry.dated


def _passes(kept: list[list[str]], scenes: Mapping[str, Scene], *, reducer: str) -> list[list[str]]:
    """A step's passes with the scenes of a block alone, ``kept``, in the order in which the reducer asks them.

    Where passes have that order only pixel by pixel, they are in order of time and their scenes' order comes last.
    """
    ranks = scene_ranks([scenes[scene] for members in kept for scene in members], reducer)
    places = pass_ranks(kept, ranks) if ranks else None
    if ranks and places is None:
        return [*kept, sorted(ranks, key=lambda scene: ranks[scene])]
    if places is None or reducer == "last":
        return kept
    return [kept[number] for number in sorted(range(len(kept)), key=lambda number: places[number])]


def _shared_facts(entry: InputPlan, passes: Sequence[Mapping[int, list[str]]]) -> dict[str, Any]:
    """Facts that scenes beyond it decide too, where its pixels depend on them; ``passes`` of each step, by number.

    The day of a pass is that of its first scene, and the unit of a rule is that of the band in all scenes.
    """
    facts: dict[str, Any] = {}
    if entry.reducer in DATE_SCORING_REDUCERS:
        looks = zip(entry.steps, passes, strict=True)
        facts["centres"] = [step.centre.isoformat() for step in entry.steps]
        facts["days"] = [[step.days[number] for number in of_step] for step, of_step in looks]
    if entry.mask.kind == "rule":
        facts["units"] = [entry.stored_unit(band) for band in entry.mask.bands]
    return facts


def is_current(plan: Plan, block: Block, entry: BlockEntry | None) -> bool:
    """True if a ledger entry exists and has the block's key under this plan."""
    return entry is not None and entry.key == block_key(plan, block)
