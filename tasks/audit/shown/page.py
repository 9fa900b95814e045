"""evaluation.html: one page that opens offline, with charts and pictures of where the map errs inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.audit.shown.charts import (
    SIDE,
    ClassBars,
    Dot,
    LabelRow,
    class_bars,
    group_rows,
    kept_classes,
    matrix,
    reliability,
)
from tilewright.tasks.audit.shown.maps import LOW, RIGHT, WRONG, ErrorMap, error_map, layer_colours, worst_places
from tilewright.tasks.audit.shown.trust_table import TrustView, trust_view
from tilewright.tasks.audit.shown.words import f1_by_design
from tilewright.tasks.colours import UNLISTED, UNSEEN
from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.report.format import ABSENT, count, figure
from tilewright.tasks.report.render import page_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.audit.shown.maps import Imagery
    from tilewright.tasks.compare.page import PlaceView


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedLayerPage:
    """All that the page shows of one layer. ``figures`` are (name, value, note); ``legend`` (colour, words);
    ``areas`` (name, colour, km2 of the map, estimated km2, interval) by the design of a sample, and what they leave
    out, ``without_value``.
    """

    title: str
    column: str
    kind: str
    unit: str
    figures: tuple[tuple[str, str, str], ...]
    names: tuple[tuple[str, str], ...]
    matrix: tuple[LabelRow, ...]
    bars: tuple[ClassBars, ...]
    n_more: int
    interval: str
    areas: tuple[tuple[str, str, str, str, str], ...]
    without_value: str
    dots: tuple[Dot, ...]
    ece: str
    scaled: tuple[Dot, ...]
    scaling: str
    trust: TrustView | None
    headings: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    n_more_groups: int
    map: ErrorMap
    legend: tuple[tuple[str, str], ...]
    places: tuple[PlaceView, ...]


def render_evaluation(
    document: Mapping[str, Any],
    layers: Sequence[LayerEvaluation],
    *,
    files: Sequence[str],
    imagery: Imagery | None = None,
) -> str:
    """The page of an evaluation as one HTML text that loads no other file; every text in it is treated as hostile.

    ``imagery`` are the pictures of scenes beside those of the worst places.

    Raises StorageError or ChangedStoreError where the pixels of a picture cannot be read.
    """
    documents = [document, *document["others"]]
    return page_environment().get_template("evaluation.html.j2").render(
        document=document,
        layers=[_layer_page(told, each, imagery) for told, each in zip(documents, layers, strict=True)],
        files=files,
        side=SIDE,
        unseen_css=UNSEEN,
    )  # fmt: skip


def _layer_page(told: Mapping[str, Any], evaluation: LayerEvaluation, imagery: Imagery | None) -> EvaluatedLayerPage:
    classes = told["kind"] == "class"
    colours = layer_colours(evaluation)
    kept = kept_classes(told) if classes else []
    headings, groups = group_rows(told)
    calibration = told.get("calibration")
    return EvaluatedLayerPage(
        title=short(told["layer"]).replace("_", " "),
        column=told["column"] or "",
        kind=told["kind"],
        unit=told["unit"],
        figures=tuple(_class_figures(told) if classes else _value_figures(told)),
        names=tuple((short(told["classes"][i]), colours[i]) for i in kept),
        matrix=tuple(matrix(told, colours, kept)),
        bars=tuple(class_bars(told, colours, kept)),
        n_more=len(told["classes"]) - len(kept) if classes else 0,
        interval=_interval_words(told),
        areas=tuple(_areas(told, list(zip(told["classes"], colours, strict=False)) if classes else [])),
        without_value=_without_value(told.get("design") or {}),
        dots=tuple(reliability(calibration)),
        ece=figure(calibration["ece"]) if calibration else "",
        scaled=tuple(reliability((told.get("temperature") or {}).get("after"))),
        scaling=_scaling_words(told.get("temperature")),
        trust=trust_view(told, colours),
        headings=headings,
        groups=tuple(groups),
        n_more_groups=len(told["groups"]) - len(groups),
        map=error_map(evaluation),
        legend=tuple(_legend(evaluation)),
        places=tuple(worst_places(evaluation, imagery)),
    )


def _class_figures(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    n = told["n"]
    design = (told.get("design") or {}).get("overall_accuracy")
    if design and design.get("estimate") is not None:
        low, high = design.get("low"), design.get("high")
        note = (
            f"95 %: {low * 100:.1f} to {high * 100:.1f} %, by the sample's design" if low is not None else "by design"
        )
        accuracy = ("Overall accuracy", percent_words(design["estimate"]), note)
    else:
        right = sum(told["confusion"][i][i] for i in range(len(told["classes"])))
        ends = wilson(right, n) if told["unit"] == "label" else None
        note = f"95 %: {ends[0] * 100:.1f} to {ends[1] * 100:.1f} %" if ends else ""
        accuracy = ("Overall accuracy", percent_words(right / n) if n else ABSENT, note)
    kappa = ABSENT if told["kappa"] is None else f"{told['kappa']:.3f}"
    f1s = [f1 for f1 in _f1s(told) if f1 is not None]
    ious = [f1 / (2 - f1) for f1 in f1s]
    of_which = "of classes that occur, by the design" if design else "of classes that occur"
    return [
        accuracy,
        ("Kappa", kappa, "of the labels, not weighted" if design else "agreement beyond chance"),
        ("Mean F1", f"{sum(f1s) / len(f1s):.3f}" if f1s else ABSENT, of_which),
        ("Mean IoU", f"{sum(ious) / len(ious):.3f}" if ious else ABSENT, of_which),
        ("Compared", count(n), f"{told['unit']}s"),
    ]


def _f1s(told: Mapping[str, Any]) -> list[float | None]:
    """The F1 of each class, as the design estimates it where there is one."""
    if "design" in told:
        return [f1_by_design(row) for row in told["design"]["classes"].values()]
    return [row["f1"] for row in told["per_class"].values()]


def _value_figures(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        ("RMSE", figure(told["rmse"]), "root of the mean squared error"),
        ("Mean absolute error", figure(told["mae"]), ""),
        ("Bias", figure(told["bias"]), "mean of map less label"),
        ("R²", ABSENT if told["r2"] is None else f"{told['r2']:.3f}", ""),
        ("Compared", count(told["n"]), f"{told['unit']}s"),
    ]


def _interval_words(told: Mapping[str, Any]) -> str:
    if told["kind"] != "class":
        return ""
    if (told.get("design") or {}).get("classes"):
        return "Shares and their 95 % intervals are estimated for the whole map by the design of the sample."
    if told["unit"] == "label":
        return "Intervals are 95 % (Wilson), as if labels had been drawn by chance and each by itself."
    return "Pixels of one polygon or raster are not independent, so no intervals are given."


def _scaling_words(told: Mapping[str, Any] | None) -> str:
    """What a temperature mends, or why there is none; empty where none was asked of the labels."""
    if told is None:
        return ""
    if told["temperature"] is None:
        return str(told["note"])
    before, after = (f"{told[key]['ece']:.3f}" for key in ("before", "after"))
    weighted = ", each by the pixels it stands for" if told["weighted"] else ""
    return (
        f"Temperature scaling: logarithms of {told['of']} divided by {told['temperature']:.3f}, fitted by maximum "
        f"likelihood to {count(told['n'])} labels{weighted}. The calibration error is {before} before, and {after} "
        f"after on labels held out, in {told['folds']} parts."
    )


def _areas(told: Mapping[str, Any], kept: Sequence[tuple[str, str]]) -> list[tuple[str, str, str, str, str]]:
    """The areas of classes on the map and as a sample estimates them, with their intervals; of those that neither
    shows none.
    """
    classes = (told.get("design") or {}).get("classes") or {}
    rows = []
    # Labelled classes that the map does not have are ground too.
    beyond = [(name, UNLISTED) for name in classes if name not in told["classes"]]
    for name, colour in [*kept, *beyond]:
        row = classes.get(name, {})
        area, mapped = row.get("area_km2"), row.get("mapped_km2")
        if area is not None and (area["estimate"] or mapped):
            known = area["low"] is not None
            between = f"{figure(area['low'])} to {figure(area['high'])}" if known else "not known"
            on_map = ABSENT if mapped is None else figure(mapped)
            rows.append((short(name), colour, on_map, figure(area["estimate"]), between))
    return rows


def _without_value(design: Mapping[str, Any]) -> str:
    """The clause on ground that was asked for and has no value; empty where there is none."""
    share = design.get("without_value")
    return f"; {percent_words(share)} of the area asked for has no value and is in none of them" if share else ""


def _legend(evaluation: LayerEvaluation) -> list[tuple[str, str]]:
    if evaluation.target.classes is None:
        if evaluation.pairs is None:
            return [(WRONG, "larger mean errors are stronger"), (RIGHT, "no error")]
        return [(WRONG, "map above label"), (LOW, "map below label")]
    if evaluation.pairs is None:
        return [(WRONG, "cells of 64 pixels, stronger where more is wrong"), (RIGHT, "cells without an error")]
    return [(WRONG, "wrong"), (RIGHT, "right")]
