"""What each step of a product was made of: its days, and how much of the area they really saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.observed import add_observed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks.dates import StepPlan
    from tasks.ledger import BlockEntry
    from tasks.plan import InputPlan, Plan


def contributions(plan: Plan, blocks: Iterable[BlockEntry], *, n_inside: int) -> list[dict[str, Any]]:
    """Each step once by its label: its span, the solar days that any input takes for it, and what each input saw.

    ``n_inside`` are the pixels of the model grid inside the area. Per input ``observed_percent`` is the share of them
    with a valid observation, ``mean_observations`` how many there are on average over all of them; both are None where
    a block was made by an older Tilewright, which did not count.
    """
    entries = list(blocks)
    known = all(_is_counted(plan, entry) for entry in entries)
    total = add_observed(entry.observed for entry in entries) if known else {}
    rows: dict[str, dict[str, Any]] = {}
    for entry in plan.inputs:
        counts = total.get(entry.name) or (None,) * len(entry.steps)
        for step, count in zip(entry.steps, counts, strict=True):
            plain = {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}
            row = rows.setdefault(step.label, {**plain, "days": [], "inputs": []})
            # The span is that of an input which has something there.
            row.update(plain if step.days else {})
            row["days"] = sorted({*row["days"], *step.days})
            row["inputs"].append(_saw(entry, step, count, n_inside=n_inside))
    return list(rows.values())


def _is_counted(plan: Plan, entry: BlockEntry) -> bool:
    steps = {planned.name: len(planned.steps) for planned in plan.inputs}
    return {name: len(counts) for name, counts in entry.observed.items()} == steps


def _saw(entry: InputPlan, step: StepPlan, count: tuple[int, int] | None, *, n_inside: int) -> dict[str, Any]:
    known = count is not None and n_inside > 0
    pixels, observations = count or (0, 0)
    return {
        "name": entry.name,
        "collections": sorted({scene.collection for scene in entry.scenes}),
        "days": list(step.days),
        "middle": step.middle.isoformat() if step.days else None,
        "observed_percent": 100.0 * pixels / n_inside if known else None,
        "mean_observations": observations / n_inside if known else None,
    }
