"""evaluation.html of objects: what was found, missed and too many, class by class and on a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.tasks.audit.shown.maps import RIGHT, WRONG
from tilewright.tasks.colours import UNSEEN
from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.report.format import ABSENT, count
from tilewright.tasks.report.render import page_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from tilewright.tasks.audit.objects.objects import ObjectEvaluation
    from tilewright.tasks.grid.grid import Grid

MISSED = "#882255"
"""The colour of labels that were not found. Source: Paul Tol, "muted"."""

MOST_DRAWN = 4000
"""Shapes of a kind that are drawn, at most."""

FINEST = 1500
"""Steps along the longer side of the map in which outlines are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnShapes:
    """Shapes of one kind: their ``colour``, what they are, how many, and the path that draws them."""

    colour: str
    words: str
    n: str
    path: str


def render_objects(
    document: Mapping[str, Any], evaluation: ObjectEvaluation, grid: Grid, *, files: Sequence[str]
) -> str:
    """The page of objects held against labels as one HTML text that loads no other file."""
    told = evaluation.told
    height, width = grid.extent.shape
    kinds = (
        (RIGHT, "found", evaluation.table.shapes[evaluation.right]),
        (WRONG, "on the map, no label", evaluation.table.shapes[~evaluation.right]),
        (MISSED, "labelled, not found", evaluation.shapes[~evaluation.found]),
    )
    return page_environment().get_template("evaluation_objects.html.j2").render(
        document=document,
        figures=_figures(told),
        steps=[*told["by_iou"]],
        rows=[_row(name, row) for name, row in told["per_class"].items()],
        shapes=[_drawn(colour, words, shapes, grid) for colour, words, shapes in kinds],
        n_left_out=sum(max(0, len(shapes) - MOST_DRAWN) for _, _, shapes in kinds),
        width=width,
        height=height,
        stroke=max(width, height) / 500,
        files=files,
        unseen_css=UNSEEN,
    )  # fmt: skip


def _figures(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    at = f"at an IoU of {told['iou']:g}"
    return [
        ("Precision", _share(told["precision"]), at),
        ("Recall", _share(told["recall"]), at),
        ("F1", _number(told["f1"]), at),
        ("Average precision", _number(told["average_precision"]), "mean over IoUs" if told["by_iou"] else "no scores"),
        ("Counted", count(told["n_product"]), f"labelled {count(told['n_labels'])}"),
    ]


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    ends = (
        _number(row["average_precision"]),
        _number(row["mean_iou"]),
        count(row["n_product"]),
        count(row["n_labels"]),
    )
    return (short(name), _share(row["precision"]), _share(row["recall"]), _number(row["f1"]), *ends)


def _drawn(colour: str, words: str, shapes: np.ndarray, grid: Grid) -> DrawnShapes:
    """Outlines in pixels from the upper left corner of the product, on a raster as fine as the page shows."""
    extent = grid.extent
    step = max(*extent.shape) / FINEST
    rings = shapely.get_rings(shapely.simplify(shapes[:MOST_DRAWN], step / 2))
    parts = []
    for ring in rings:
        at = shapely.get_coordinates(ring) * [1, -1] - [extent.col_start, extent.row_start]
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at[:-1].tolist()) + "Z")
    return DrawnShapes(colour=colour, words=words, n=count(len(shapes)), path="".join(parts))


def _share(value: float | None) -> str:
    return ABSENT if value is None else percent_words(value)


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"
