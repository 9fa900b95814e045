"""The trained models that come along: small, honest, checked, and as good on the sample as their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

import tilewright as tw
from tests.support.paths import ROOT
from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.models.builtin.train.recipes import RECIPES
from tilewright.models.builtin.train.score import readme_table, score_json
from tilewright.models.card.card import load_card
from tilewright.models.card.registry import BUILTIN, builtin_names
from tilewright.models.measure.check import check_card

# Difference in intersection over union that single precision may make between processors.
ROUNDING = 0.004
LEAST = {"sample-change": 0.6}
NETWORKS = {"sample-landcover": 8, "sample-change": 8, "sample-fusion": 8}


def stored_score(name: str) -> dict:
    return json.loads((BUILTIN / name / "score.json").read_text())


def test_every_recipe_is_a_built_in_model():
    assert set(RECIPES) <= set(builtin_names())


def test_all_graphs_together_stay_under_three_megabytes():
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*.onnx")) < 3e6


@pytest.mark.parametrize("name", RECIPES)
def test_a_card_states_its_training_sample_and_its_score(name):
    card, scores = load_card(BUILTIN / name), stored_score(name)
    words = card.raw["properties"]["description"]
    assert "simulated landscape, never on a real pixel" in words
    assert f"sample of seed {scores['trained_on']['seed']}" in words
    assert f"mean intersection over union {scores['score']['mean_iou']:.2f}" in words
    assert scores["trained_on"]["seed"] != scores["scored_on"]["seed"]
    assert scores["score"]["mean_iou"] >= LEAST.get(name, 0.8)


@pytest.mark.parametrize("name", RECIPES)
def test_a_card_passes_its_check(name):
    report = check_card(load_card(BUILTIN / name), cache=cache_folder())
    assert report.receptive_field.verdict == "bounded"
    assert report.receptive_field.stride == NETWORKS.get(name, 1)
    assert report.warnings == ()
    assert report.execution.seconds_per_megapixel < 60


def window_job(sample: Path, name: str, output: Path, **options: object):
    """The job over the window of the score in score.json, on the sample of the seed of that score."""
    rows, columns = stored_score(name)["window"]["rows"], stored_score(name)["window"]["columns"]
    with rasterio.open(sample / "truth" / "change.tif") as file:
        window = rasterio.windows.Window(columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])
        bounds, crs = file.window_bounds(window), str(file.crs)
    west, south, east, north = transform_bounds(crs, "EPSG:4326", *bounds)
    job = {
        "name": name,
        "area": [west - 0.01, south - 0.01, east + 0.01, north + 0.01],
        "period": stored_score(name)["scored_on"]["period"],
        "source": str(sample / "catalog.json"),
        "model": name,
        "grid": {"crs": crs, "bounds": list(bounds)},
        # Smaller windows than those of the score: the same pixels, and less to compute around so small an area.
        "tile": {"step": 160},
        **options,
    }
    return make_job(job, base=Path(), output=str(output))


def maps(sample: Path, name: str, product: str) -> tuple[np.ndarray, np.ndarray]:
    """The product's map and the truth under it."""
    rows, columns = stored_score(name)["window"]["rows"], stored_score(name)["window"]["columns"]
    with rasterio.open(f"{product}/{RECIPES[name].layer}.tif") as file:
        found = file.read(1)
    with rasterio.open(sample / "truth" / f"{stored_score(name)['scored_on']['truth']}.tif") as file:
        return found, file.read(1)[slice(*rows), slice(*columns)]


def scored(sample: Path, name: str, product: str) -> dict:
    """The scores that `evaluate` gives a product of the window."""
    truth = sample / "truth" / f"{stored_score(name)['scored_on']['truth']}.tif"
    told = tw.evaluate(product, truth, layer=RECIPES[name].layer)
    return score_json(told, told["product"]["shape"][0] * told["product"]["shape"][1])


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_over_a_small_window_scores_as_the_whole_run_did_there(name, sample, tmp_path):
    mark = json.loads((sample / "sample.json").read_text())
    stated = stored_score(name)
    if mark["version"] != stated["scored_on"]["sample"]:
        pytest.fail("the sample has changed, run python -m tilewright.models.builtin.train --score-only")
    assert mark["seed"] == stated["scored_on"]["seed"]
    outcome = run_job(window_job(sample, name, tmp_path / "out"))
    assert outcome.report["exact"] is True
    found, truth = maps(sample, name, outcome.output)
    score = scored(sample, name, outcome.output)
    assert score["known"] == pytest.approx(stated["window"]["known"], abs=1e-3)
    assert score["mean_iou"] == pytest.approx(stated["window"]["mean_iou"], abs=ROUNDING)
    for figure in ("iou", "precision", "recall"):
        assert score[figure] == pytest.approx(stated["window"][figure], abs=3 * ROUNDING)
    # What the command says is what counting the pixels says.
    for each in load_card(BUILTIN / name).outputs[0].classes:
        mapped, true = found == each.value, truth == each.value
        assert score["iou"][each.name] == pytest.approx((mapped & true).sum() / (mapped | true).sum(), abs=1e-4)


def test_fusion_maps_without_radar_too(sample, tmp_path):
    job = window_job(sample, "sample-fusion", tmp_path / "out", filter={"platforms": ["sentinel-2a", "sentinel-2b"]})
    outcome = run_job(job)
    without = scored(sample, "sample-fusion", outcome.output)
    assert 0.6 <= without["mean_iou"] < stored_score("sample-fusion")["window"]["mean_iou"]


def test_the_table_of_the_readme_is_that_of_the_scores():
    text = (ROOT / "models/README.md").read_text("utf-8")
    table = readme_table(BUILTIN)
    assert table in text
    told = [line.split("|")[1].strip(" `") for line in table.splitlines()[2:]]
    assert told == [*RECIPES]
    assert set(told) == {name for name in builtin_names() if name.startswith("sample-")}
    change = stored_score("sample-change")["score"]
    found, right = (f"{change[figure]['houses'] * 100:.0f} %" for figure in ("recall", "precision"))
    assert f"finds {found} of their pixels, but only {right} of what it calls" in text
