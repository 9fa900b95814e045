"""The charts of an evaluation's page as the template draws them: table of confusion, bars, plot of calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.audit.shown.words import f1_by_design
from tilewright.tasks.compare.words import short
from tilewright.tasks.report.format import ABSENT, count, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_CLASSES = 24
"""Classes of which the page shows the table of confusion and bars, at most: those with the most labels."""

MOST_GROUPS = 60
"""Groups that the page lists, at most."""

LARGEST_DOT = 9.0
"""Radius of the dot of the bin with most pairs, in the plot's units of which its side has 300."""

SIDE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCell:
    """A cell of the table of confusion: count and share of the row; ``strength`` (0-1) is that of its colour."""

    count: str
    share: str
    strength: float
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """A row of the table: labels of a class."""

    name: str
    colour: str
    cells: tuple[ShareCell, ...]
    total: str
    recall: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A share as a bar: in percent of its length, the ends of its interval, None where there is none, and in words."""

    width: float
    ends: tuple[float, float] | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBars:
    """A class's bars of precision and recall, with its F1 and IoU in words."""

    name: str
    colour: str
    precision: Bar
    recall: Bar
    f1: str
    iou: str
    n_labels: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A bin in the plot of calibration: its centre and radius in units of the plot; its mean confidence, the share that
    is right, and the number of pairs, in words.
    """

    x: float
    y: float
    radius: float
    sure: str
    right: str
    pairs: str


def kept_classes(told: Mapping[str, Any]) -> list[int]:
    """The numbers of the classes that the page shows, in their order: those with the most pairs."""
    often = [row["n_labels"] + row["n_product"] for row in told["per_class"].values()]
    order = sorted((i for i, n in enumerate(often) if n), key=lambda i: (-often[i], i))
    return sorted(order[:MOST_CLASSES])


def matrix(told: Mapping[str, Any], colours: Sequence[str], kept: Sequence[int]) -> list[LabelRow]:
    """The table of confusion: labels down, the map across; shares are of the row."""
    rows = []
    for i in kept:
        found = told["confusion"][i]
        total = sum(found)
        rows.append(
            LabelRow(
                name=short(told["classes"][i]),
                colour=colours[i],
                cells=tuple(
                    ShareCell(
                        count=count(found[j]) if found[j] else "",
                        share=_percent(found[j] / total) if total and found[j] else "",
                        strength=found[j] / total if total else 0.0,
                        same=i == j,
                    )
                    for j in kept
                ),
                total=count(total),
                recall=_percent(found[i] / total) if total else ABSENT,
            )
        )
    return rows


def class_bars(told: Mapping[str, Any], colours: Sequence[str], kept: Sequence[int]) -> list[ClassBars]:
    """Precision and recall of each class, with intervals: of the design where there is one, Wilson's of labels."""
    designed = (told.get("design") or {}).get("classes") or {}
    bars = []
    for i in kept:
        name = told["classes"][i]
        row, right = told["per_class"][name], told["confusion"][i][i]
        plan = designed.get(name) or {}
        independent = told["unit"] == "label"
        f1 = f1_by_design(plan) if plan else row["f1"]
        # TP / (TP + FP + FN) of the same shares as 2 TP / (2 TP + FP + FN).
        iou = None if f1 is None else f1 / (2 - f1)
        bars.append(
            ClassBars(
                name=short(name),
                colour=colours[i],
                precision=_bar(row["precision"], right, row["n_product"], plan.get("precision"), independent),
                recall=_bar(row["recall"], right, row["n_labels"], plan.get("recall"), independent),
                f1=ABSENT if f1 is None else f"{f1:.3f}",
                iou=ABSENT if iou is None else f"{iou:.3f}",
                n_labels=count(row["n_labels"]),
            )
        )
    return bars


def _bar(share: float | None, right: int, n: int, plan: Mapping[str, Any] | None, independent: bool) -> Bar:
    ends: tuple[float, float] | None = None
    if plan and plan.get("estimate") is not None:
        share = float(plan["estimate"])
        low, high = plan.get("low"), plan.get("high")
        ends = (max(0.0, low), min(1.0, high)) if low is not None and high is not None else None
    elif independent:
        ends = wilson(right, n)
    if share is None:
        return Bar(width=0.0, ends=None, words=ABSENT)
    between = f" ({ends[0] * 100:.0f}–{ends[1] * 100:.0f})" if ends else ""
    return Bar(
        width=round(share * 100, 2),
        ends=(round(ends[0] * 100, 2), round(ends[1] * 100, 2)) if ends else None,
        words=f"{_percent(share)}{between}",
    )


def reliability(told: Mapping[str, Any] | None) -> list[Dot]:
    """The bins of a calibration that hold pairs, as dots; the area of a dot is that of its pairs."""
    if not told:
        return []
    most = max(row["n"] for row in told["bins"])
    return [
        Dot(
            x=round(row["confidence"] * SIDE, 1),
            y=round((1 - row["accuracy"]) * SIDE, 1),
            radius=round(max(2.5, LARGEST_DOT * (row["n"] / most) ** 0.5), 1),
            sure=_percent(row["confidence"]),
            right=_percent(row["accuracy"]),
            pairs=count(row["n"]),
        )
        for row in told["bins"]
        if row["n"]
    ]


def group_rows(told: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The headings and rows of the table of groups."""
    groups = list(told["groups"].items())[:MOST_GROUPS]
    if told["kind"] == "value":
        values: list[tuple[str, ...]] = [
            (short(name), count(row["n"]), *(figure(row[key]) for key in ("rmse", "mae", "bias")))
            for name, row in groups
        ]
        return ("Group", told["unit"] + "s", "RMSE", "MAE", "Bias"), values
    found: list[tuple[str, ...]] = []
    for name, row in groups:
        right = sum(row["confusion"][i][i] for i in range(len(row["classes"])))
        ends = wilson(right, row["n"]) if told["unit"] == "label" and "design" not in told else None
        kappa = ABSENT if row["kappa"] is None else f"{row['kappa']:.2f}"
        between = f"{ends[0] * 100:.1f} – {ends[1] * 100:.1f}" if ends else ABSENT
        found.append((short(name), count(row["n"]), _percent(right / row["n"]), between, kappa))
    accuracy = "Agree, without the design's weights" if "design" in told else "Overall accuracy"
    return ("Group", told["unit"] + "s", accuracy, "95 % interval", "Kappa"), found


def _percent(share: float) -> str:
    return f"{share * 100:.1f}\u00a0%"
