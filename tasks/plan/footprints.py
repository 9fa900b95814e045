"""How much of the area the footprints of each step's scenes cover, foretold from their outlines alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from tilewright.tasks.grid.areas import covered_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.plan.inputs import InputPlan


def step_shares(area: BaseGeometry, inputs: Sequence[InputPlan]) -> tuple[dict[str, Any], ...]:
    """Per input and step that has scenes the share (0-1) of the area that their footprints cover, as JSON values.

    ``area`` is in EPSG:4326.
    """
    rows = []
    for entry in inputs:
        outlines = {scene.id: shape(scene.geometry) for scene in entry.scenes}
        for step in entry.steps:
            of_step = step.scenes
            if footprints := [outlines[scene.id] for scene in entry.scenes if scene.id in of_step]:
                rows.append({"input": entry.name, "step": step.label, "share": covered_share(area, footprints)})
    return tuple(rows)


def share_warnings(shares: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One sentence per input whose scenes leave part of the area without a footprint."""
    rows = list(shares)
    for name in dict.fromkeys(row["input"] for row in rows):
        mine = [row for row in rows if row["input"] == name]
        short = [row for row in mine if row["share"] < 1]
        least = min(short, key=lambda row: row["share"], default=None)
        if least is not None:
            steps = f" in {len(short)} of {len(mine)} steps, least in {least['step']}" if len(mine) > 1 else ""
            yield (
                f"Input {name}: the footprints of its scenes cover {percent_below(least['share'])} of the area{steps}; "
                "the rest stays without a value."
            )


def coverage_words(shares: Sequence[Mapping[str, Any]]) -> str:
    """How much of the area the footprints cover at least, in words; empty for a plan that does not say it."""
    if not shares:
        return ""
    least = min(row["share"] for row in shares)
    steps = f" in each of {len(shares)} steps" if len(shares) > 1 else ""
    if least == 1:
        return f"the whole area{steps}"
    return f"{percent_below(least)} of the area{' at least' if steps else ''}{steps}"


def percent_below(share: float) -> str:
    """A share below 1 in percent, never rounded up to 100 %."""
    return f"{min(share, 0.999):.1%}".replace(".0%", "%").replace("%", " %")
