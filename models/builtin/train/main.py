"""The sample models trained, exported and scored: `python -m tilewright.models.builtin.train --work FOLDER [NAME ...]`.

Each is trained on one simulated sample and scored on another seed's by a whole run of `tilewright`, whose product
`tilewright evaluate` holds against that sample's truth. At the end the table of models/README.md is printed. Rebuilding
gives a model as good on another machine, not the same bytes: sums of floats depend on the processor.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.models.builtin.train.model_facts import read_classes
from tilewright.models.builtin.train.pictures import make_product, open_sample
from tilewright.models.builtin.train.recipes import RECIPES, SEED
from tilewright.models.builtin.train.score import cut_truth, evaluated, readme_table, score_json
from tilewright.models.card.card import load_card
from tilewright.models.export.card import card_json
from tilewright.models.export.export import export_estimator, export_torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.builtin.train.pictures import Sample
    from tilewright.models.export.facts import ExportFacts


BUILTIN = Path(__file__).parents[1]

SCORE_SEED = 7

# Rows and columns of the sample for which the tests repeat the score: they hold every class of both truths.
WINDOW = (slice(320, 640), slice(680, 1000))

CHANGED = "changed=reservoir,clear-cut,houses"

# Properties of a card that only training can know.
LEARNED = ("mlm:pretrained", "mlm:pretrained_source", "mlm:total_parameters")


def main(arguments: Sequence[str]) -> int:
    """The exit status of the command: 0 if every requested model is written."""
    parser = argparse.ArgumentParser(prog="python -m tilewright.models.builtin.train", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and jobs; it is reused")
    parser.add_argument("--output", type=Path, default=BUILTIN, help="where the models' folders go")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the sample to train on")
    parser.add_argument("--score-seed", type=int, default=SCORE_SEED, help="seed of the sample to score on")
    parser.add_argument("--score-only", action="store_true", help="score the models that are there, train none")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(RECIPES))
    if unknown or options.seed == options.score_seed:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--seed and --score-seed must differ")
    training, scoring = open_sample(options.work, options.seed), open_sample(options.work, options.score_seed)
    for name in options.names:
        (score_again if options.score_only else make_model)(name, training, scoring, options.output)
    if all((options.output / name / "score.json").is_file() for name in RECIPES):
        sys.stdout.write(readme_table(options.output))
    return 0


def make_model(name: str, training: Sample, scoring: Sample, output: Path) -> None:
    """Trains the model and writes model.onnx, card.json and score.json to `output/name`."""
    recipe, began = RECIPES[name], time.monotonic()
    facts = recipe.facts(read_classes(training, recipe.truth_table))
    model = recipe.train(training, facts, lambda text: log(f"{name}: {text}"))
    facts = replace(facts, properties=_properties(model))
    trained = time.monotonic() - began
    report = (export_torch if recipe.torch else export_estimator)(model, facts, output / name)
    log(f"{report.words()}; trained in {trained:.0f} s")
    parity = {each.output: float(f"{each.difference:.2g}") for each in report.parity}
    score_model(name, facts, parity=parity, training=training, scoring=scoring, output=output)


def score_again(name: str, training: Sample, scoring: Sample, output: Path) -> None:
    """Rewrites card.json and score.json of an existing model; its graph stays unchanged."""
    recipe, card = RECIPES[name], load_card(output / name)
    learned = {key: card.raw["properties"][key] for key in LEARNED if key in card.raw["properties"]}
    facts = replace(recipe.facts(read_classes(training, recipe.truth_table)), properties=learned)
    parity = json.loads((output / name / "score.json").read_text())["parity"]
    score_model(name, facts, parity=parity, training=training, scoring=scoring, output=output)


def score_model(
    name: str, facts: ExportFacts, *, parity: dict[str, float], training: Sample, scoring: Sample, output: Path
) -> None:
    """Scores the model on the whole scoring sample and in the tests' window; writes card.json and score.json."""
    recipe, card = RECIPES[name], load_card(output / name)
    product = scoring.jobs / f"{name}-{card.digest[:12]}"
    make_product(scoring, model=str(card.folder.resolve()), period=recipe.period, output=product)
    truth, beside = scoring.folder / "truth" / f"{recipe.truth}.tif", product.with_name(f"{product.name}-scores")
    whole = evaluated(product, truth, layer=recipe.layer, to=beside / "whole")
    window = cut_truth(truth, *WINDOW, beside / "window.tif")
    inside = evaluated(product, window, layer=recipe.layer, to=beside / "window")
    scores: dict[str, Any] = {
        "simulated": True,
        "trained_on": {"sample": training.version, "seed": training.seed},
        "scored_on": {"sample": scoring.version, "seed": scoring.seed, "period": recipe.period, "truth": recipe.truth},
        "score": score_json(whole, math.prod(whole["product"]["shape"])),
        "window": {
            "rows": [WINDOW[0].start, WINDOW[0].stop],
            "columns": [WINDOW[1].start, WINDOW[1].stop],
            **score_json(inside, math.prod(part.stop - part.start for part in WINDOW)),
        },
        "parity": parity,
    }
    if recipe.truth == "change":
        joined = evaluated(product, truth, layer=recipe.layer, to=beside / "changed", maps=[CHANGED])
        scores["changed_iou"] = round(joined["per_class"]["changed"]["iou"], 4)
    described = replace(facts, description=f"{facts.description} {_score_sentence(scores)}")
    _write_json(output / name / "card.json", card_json(described, card.model_path.read_bytes()))
    _write_json(output / name / "score.json", scores)
    log(f"{name}: {json.dumps(scores['score'])}")


def log(text: str) -> None:
    """Writes the text to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _properties(model: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {"mlm:pretrained": True, "mlm:pretrained_source": "simulated sample of Tilewright"}
    if hasattr(model, "parameters"):
        properties["mlm:total_parameters"] = sum(each.numel() for each in model.parameters())
    return properties


def _score_sentence(scores: dict[str, Any]) -> str:
    by_class = ", ".join(f"{name} {value:.2f}" for name, value in scores["score"]["iou"].items())
    return (
        f"Trained on the sample of seed {scores['trained_on']['seed']}; on that of seed {scores['scored_on']['seed']}, "
        f"which it never saw, mean intersection over union {scores['score']['mean_iou']:.2f} ({by_class})."
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
