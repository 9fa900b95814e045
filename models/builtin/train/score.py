"""The scores of the sample models as `tilewright evaluate` gives them, and the table of `models/README.md` of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.windows import Window

from tilewright.models.builtin.train.pictures import command
from tilewright.models.builtin.train.recipes import RECIPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADINGS = ("model", "takes", "kind", "gives", "accuracy", "mean IoU", "weakest class, by IoU", "MB")


def evaluated(product: Path, truth: Path, *, layer: str, to: Path, maps: Sequence[str] = ()) -> dict[str, Any]:
    """What the command `evaluate` says of a layer of a product held against a raster of truth.

    Its files come ``to`` a folder; ``maps`` are its --map.
    """
    mapped = [word for each in maps for word in ("--map", each)]
    command("evaluate", str(product), str(truth), "--layer", layer, "--to", str(to), *mapped)
    told: dict[str, Any] = json.loads((to / "evaluation.json").read_text())
    return told


def score_json(told: dict[str, Any], n_pixels: int) -> dict[str, Any]:
    """The scores of an evaluation rounded to four digits, as `score.json` holds them.

    ``iou`` (intersection over union), ``precision`` and ``recall`` are by the name of a class that occurs, ``mean_iou``
    is the mean of the first, ``known`` the share of ``n_pixels`` that both the map and the truth know.
    """
    rows = {name: told["per_class"][name] for name in told["classes"]}
    classes = {name: row for name, row in rows.items() if row["iou"] is not None}
    return {
        "mean_iou": round(sum(row["iou"] for row in classes.values()) / len(classes), 4),
        "accuracy": round(told["overall_accuracy"], 4),
        "known": round(told["n"] / n_pixels, 4),
        **{
            figure: {name: round(row[figure], 4) for name, row in classes.items() if row[figure] is not None}
            for figure in ("iou", "precision", "recall")
        },
    }


def cut_truth(truth: Path, rows: slice, columns: slice, to: Path) -> Path:
    """A window of a raster of truth, written to a file."""
    window = Window.from_slices(rows, columns)
    with rasterio.open(truth) as file:
        facts = {**file.profile, "height": window.height, "width": window.width}
        to.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(to, "w", **{**facts, "transform": file.window_transform(window)}) as cut:
            cut.write(file.read(window=window))
    return to


def readme_table(models: Path) -> str:
    """The table of the sample models in `models/README.md`, from the `score.json` of each in a folder of models."""
    lines: list[tuple[str, ...]] = []
    for name, recipe in RECIPES.items():
        score = json.loads((models / name / "score.json").read_text())["score"]
        weakest = min(score["iou"], key=lambda each: score["iou"][each])
        figures = (f"{score['accuracy']:.3f}", f"{score['mean_iou']:.2f}", f"{weakest} {score['iou'][weakest]:.2f}")
        size = (models / name / "model.onnx").stat().st_size
        lines.append((f"`{name}`", *recipe.words, *figures, f"{size / 1e6:.2f}"))
    head = f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n"
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)
