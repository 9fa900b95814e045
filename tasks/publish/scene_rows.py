"""The scenes and steps of a finished run, as rows of its report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tilewright.tasks.block.observed import add_observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry


def scene_rows(plan: Plan, blocks: Sequence[BlockEntry]) -> list[dict[str, Any]]:
    """One row per scene, oldest first: its state, the steps that have it, the number of blocks that read it."""
    used = Counter(scene_id for entry in blocks for scene_id in entry.scenes)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for planned in plan.inputs:
        labels: dict[str, list[str]] = {}
        for step in planned.steps:
            for scene_id in step.scenes:
                labels.setdefault(scene_id, []).append(step.label)
        for scene in planned.scenes:
            steps = labels.get(scene.id, [])
            row = rows.setdefault(
                (scene.collection, scene.id),
                {
                    "id": scene.id,
                    "collection": scene.collection,
                    "datetime": scene.datetime.isoformat(),
                    "cloud_cover": scene.cloud_cover,
                    "baseline": scene.baseline,
                    "state": scene.state,
                    "state_reason": scene.state_reason,
                    "used_in_blocks": used[scene.id],
                    "steps": [],
                },
            )
            row["steps"] = list(dict.fromkeys([*row["steps"], *steps]))
    return sorted(rows.values(), key=lambda row: (row["datetime"], row["id"]))


def step_rows(plan: Plan, blocks: Sequence[BlockEntry], *, n_inside: int) -> list[dict[str, Any]]:
    """One row per step label: its period, the solar days that any input uses for it, each input's observations.

    ``n_inside`` is the number of pixels of the model grid inside the area. Per input ``observed_percent`` is the
    percentage of them with a valid observation, ``mean_observations`` the mean number of valid observations over all of
    them. Both are None if a block comes from an older Tilewright, which did not count observations.
    """
    n_steps = {planned.name: len(planned.steps) for planned in plan.inputs}
    counted = all({name: len(counts) for name, counts in entry.observed.items()} == n_steps for entry in blocks)
    total = add_observed(entry.observed for entry in blocks) if counted else {}
    rows: dict[str, dict[str, Any]] = {}
    for planned in plan.inputs:
        counts = total.get(planned.name) or (None,) * len(planned.steps)
        for step, count in zip(planned.steps, counts, strict=True):
            period = {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}
            row = rows.setdefault(step.label, {**period, "days": [], "inputs": []})
            # The row's period is that of an input which has days in the step.
            row.update(period if step.days else {})
            row["days"] = sorted({*row["days"], *step.days})
            row["inputs"].append(_observed(planned, step, count, n_inside=n_inside))
    return list(rows.values())


def _observed(planned: InputPlan, step: StepPlan, count: tuple[int, int] | None, *, n_inside: int) -> dict[str, Any]:
    """The observations of one input in one step; ``count`` is (pixels with an observation, observations), or None."""
    known = count is not None and n_inside > 0
    n_pixels, n_observations = count or (0, 0)
    return {
        "name": planned.name,
        "collections": sorted({scene.collection for scene in planned.scenes}),
        "days": sorted(set(step.days)),
        "passes": len(step.passes),
        "lacking": [lacking.to_json() for lacking in planned.lacking_bands(step)],
        "middle": step.middle.isoformat() if step.days else None,
        "observed_percent": 100.0 * n_pixels / n_inside if known else None,
        "mean_observations": n_observations / n_inside if known else None,
    }
