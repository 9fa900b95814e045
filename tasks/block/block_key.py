"""The key of a block: a digest of everything that makes its pixels. Blocks whose key has changed are redone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.compose.composite import pass_ranks, scene_ranks
from tilewright.tasks.compose.reducers import DATE_SCORING_REDUCERS
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.compose.steps import StepPlan
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
        touching = entry.coverage(plan.raster.grid).indices(entry.box(block.outer))
        scenes = {entry.scenes[index].id: entry.scenes[index] for index in touching}
        inputs.append(
            {
                "scenes": [entry.scene_digest(index) for index in touching],
                "steps": [_passes(step, scenes, reducer=entry.reducer) for step in entry.steps],
                "middles": [step.middle.isoformat() for step in entry.steps] if _tells_days(entry) else [],
                **_shared_facts(entry, set(scenes)),
            }
        )
    return json_digest({"settings": plan.settings_key(), "inputs": inputs, "block": block.name})


def _tells_days(entry: InputPlan) -> bool:
    """True if the middle days of the steps decide pixels: they weigh gaps, or the model is told them."""
    return entry.gaps != "leave" or entry.dated


def _passes(step: StepPlan, scenes: Mapping[str, Scene], *, reducer: str) -> list[list[str]]:
    """The step's passes with the scenes of a block alone, in the order in which the reducer asks them.

    Where passes have that order only pixel by pixel, they are in order of time and their scenes' order comes last.
    """
    kept = [members for ids in step.passes if (members := [scene for scene in ids if scene in scenes])]
    ranks = scene_ranks([scenes[scene] for members in kept for scene in members], reducer)
    places = pass_ranks(kept, ranks) if ranks else None
    if ranks and places is None:
        return [*kept, sorted(ranks, key=lambda scene: ranks[scene])]
    if places is None or reducer == "last":
        return kept
    return [kept[number] for number in sorted(range(len(kept)), key=lambda number: places[number])]


def _shared_facts(entry: InputPlan, ids: set[str]) -> dict[str, Any]:
    """Facts that scenes beyond the block decide too, where its pixels depend on them.

    The day of a pass is that of its first scene, and the unit of a rule is that of the band in all scenes.
    """
    facts: dict[str, Any] = {}
    if entry.reducer in DATE_SCORING_REDUCERS:
        looks = [zip(step.passes, step.days, strict=True) for step in entry.steps]
        facts["centres"] = [step.centre.isoformat() for step in entry.steps]
        facts["days"] = [[day for members, day in each if not ids.isdisjoint(members)] for each in looks]
    if entry.mask.kind == "rule":
        facts["units"] = [entry.stored_unit(band) for band in entry.mask.bands]
    return facts


def is_current(plan: Plan, block: Block, entry: BlockEntry | None) -> bool:
    """True if a ledger entry exists and has the block's key under this plan."""
    return entry is not None and entry.key == block_key(plan, block)
