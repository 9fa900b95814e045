"""What a choice by cells took: the figures of a plan and a report, and one sentence."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from tilewright.tasks.compose.cell_choice import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.plan.inputs import InputPlan


def chosen_json(inputs: Sequence[InputPlan]) -> list[dict[str, Any]]:
    """One row per input that takes its passes by cells, as JSON values; none for other inputs.

    `taken` and `found` are passes per cell and step in the mean, `look` the cost of looking. Each of `passes` is taken
    by so many `cells`, and `clear` is its share (0-1) of clear samples in the mean of all cells that it lies over.
    """
    rows = []
    for entry in inputs:
        choice = entry.choice
        if choice is None:
            continue
        n_all = choice.n_cells * len(entry.steps)
        rows.append(
            {
                "input": entry.name,
                "cell": choice.side,
                "cells": choice.n_cells,
                "taken": round(choice.n_chosen / n_all, 2),
                "found": round(choice.n_found / n_all, 2),
                "look": {"files": choice.cost.files, "bytes": choice.cost.n_bytes, "seconds": choice.cost.seconds},
                "passes": [
                    {"step": step.label, "day": day, "cells": _n_cells(entry, index, number), "clear": share}
                    for index, step in enumerate(entry.steps)
                    for number, (day, share) in enumerate(zip(step.days, choice.shares[index], strict=True))
                ],
            }
        )
    return rows


def chosen_words(row: Mapping[str, Any]) -> str:
    """A row in words: "3.2 of 24 passes in the mean, in each of 16 cells of 512 px; looked at ..."."""
    look = row["look"]
    cost = f"{look['files']:,} mask files read {look['bytes'] / 1e6:.1f} MB in {look['seconds']:.1f} s"
    return (
        f"{row['taken']:g} of {row['found']:g} passes in the mean, chosen in {row['cells']:,} cells of "
        f"{row['cell']} px; the look at {cost}"
    )


def _n_cells(entry: InputPlan, step: int, number: int) -> int:
    """The cells that take a pass of a step."""
    assert entry.choice is not None, "only inputs with a choice are asked"
    taking = {place for place, taken in enumerate(entry.choice.sets[step]) if number in taken}
    return sum(place in taking for place in chain.from_iterable(entry.choice.cells[step]) if place != UNSEEN)
