"""The key of a block: a digest of everything that makes its pixels. Blocks whose key has changed are redone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.compose.reducers import DATE_SCORING_REDUCERS
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
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
        ids = {entry.scenes[index].id for index in touching}
        inputs.append(
            {
                "scenes": [entry.scene_digest(index) for index in touching],
                "steps": [_passes(step, ids, ranked=entry.reducer == "least-cloudy") for step in entry.steps],
                "middles": [step.middle.isoformat() for step in entry.steps] if entry.uses_middles else [],
                **_shared_facts(entry, ids),
            }
        )
    return json_digest({"settings": plan.settings_key(), "inputs": inputs, "block": block.name})


def _passes(step: StepPlan, ids: set[str], *, ranked: bool) -> list[list[str]]:
    """The step's passes with the scenes of a block alone, in order of time or, if `ranked`, the least cloudy first."""
    order = (
        sorted(range(len(step.passes)), key=lambda number: step.ranks[number]) if ranked else range(len(step.passes))
    )
    kept = ([scene for scene in step.passes[number] if scene in ids] for number in order)
    return [members for members in kept if members]


def _shared_facts(entry: InputPlan, ids: set[str]) -> dict[str, Any]:
    """Facts that scenes beyond the block decide too, where its pixels depend on them.

    The day of a pass is that of its first scene, and the unit of a rule is that of the band in all scenes.
    """
    facts: dict[str, Any] = {}
    if entry.reducer in DATE_SCORING_REDUCERS:
        looks = [zip(step.passes, step.days, strict=True) for step in entry.steps]
        facts["days"] = [[day for members, day in each if not ids.isdisjoint(members)] for each in looks]
    if entry.mask.kind == "rule":
        facts["units"] = [entry.stored_unit(band) for band in entry.mask.bands]
    return facts


def is_current(plan: Plan, block: Block, entry: BlockEntry | None) -> bool:
    """True if a ledger entry exists and has the block's key under this plan."""
    return entry is not None and entry.key == block_key(plan, block)
