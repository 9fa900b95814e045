"""Labels of a drawn sample of classes that the map does not have: errors of the map, by a table done by hand."""

from __future__ import annotations

import math

import geopandas
import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

import tilewright as tw
from tests.support.layers import write_layers
from tilewright.flows.cli.main import app

N = {"land": 8000, "water": 2000}
DRAWN = {
    "land": ["land"] * 45 + ["water"] * 3 + ["wetland"] * 2,
    "water": ["water"] * 18 + ["land"] + ["wetland"],
}
"""What the labels say in each stratum, which is the mapped class: 50 of 8 000 pixels, and 20 of 2 000."""


@pytest.fixture
def product(tmp_path):
    values = np.zeros((100, 100), np.uint8)
    values[:20] = 1
    return write_layers(tmp_path / "product", {"class": values}, classes={"class": [*N]})


def sample(folder, drawn=None, **changes):
    rows = [(stratum, label) for stratum, labels in (drawn or DRAWN).items() for label in labels]
    at = {"land": iter(range(2000, 10_000, 150)), "water": iter(range(0, 2000, 90))}
    pixels = [next(at[stratum]) for stratum, _ in rows]
    points = [shapely.Point(400_005 + pixel % 100 * 10, 5_399_995 - pixel // 100 * 10) for pixel in pixels]
    n = {stratum: sum(each == stratum for each, _ in rows) for stratum in N}
    columns = {
        "id": range(1, len(rows) + 1),
        "stratum": [stratum for stratum, _ in rows],
        "inclusion_probability": [n[stratum] / N[stratum] for stratum, _ in rows],
        "stratum_pixels": [N[stratum] for stratum, _ in rows],
        "pixel_m2": 100.0,
        "design": "stratified random",
        "class": [label for _, label in rows],
        **changes,
    }
    geopandas.GeoDataFrame(columns, geometry=points, crs="EPSG:32633").to_parquet(folder / "sample.parquet")
    return folder / "sample.parquet"


def error(*shares: float) -> float:
    """The standard error of a sum of shares p of the strata's n pixels. Source: Olofsson et al. (2014), equation 10,
    with the share sampled taken off as in Stehman (2014), equation 25.
    """
    parts = zip(shares, (50, 20), (0.8, 0.2), (8000, 2000), strict=True)
    return math.sqrt(sum(w**2 * (1 - n / pixels) * p * (1 - p) / (n - 1) for p, n, w, pixels in parts))


def test_a_class_without_a_map_is_a_row_of_the_table_of_errors(product, tmp_path):
    told = tw.evaluate(product, sample(tmp_path))
    # Of the map's classes alone is counted; the design takes all labels.
    assert (told["n"], told["n_unknown"], told["unknown"]) == (67, 3, {"wetland": 3})
    assert told["classes"] == ["land", "water"]
    design = told["design"]
    assert (design["n"], design["whole_map"]) == (70, True)
    overall = design["overall_accuracy"]
    assert overall["estimate"] == pytest.approx(0.8 * 45 / 50 + 0.2 * 18 / 20)
    assert overall["standard_error"] == pytest.approx(error(45 / 50, 18 / 20))
    wetland = design["classes"]["wetland"]
    assert wetland["precision"] == {"estimate": None, "standard_error": None, "low": None, "high": None}
    assert wetland["recall"]["estimate"] == 0
    assert wetland["area_km2"]["estimate"] == pytest.approx(0.8 * 2 / 50 + 0.2 * 1 / 20)
    assert wetland["area_km2"]["standard_error"] == pytest.approx(error(2 / 50, 1 / 20))
    land, water = design["classes"]["land"], design["classes"]["water"]
    assert (land["precision"]["estimate"], water["precision"]["estimate"]) == pytest.approx((45 / 50, 18 / 20))
    assert water["recall"]["estimate"] == pytest.approx(0.18 / (0.18 + 0.8 * 3 / 50))
    assert land["recall"]["estimate"] == pytest.approx(0.72 / (0.72 + 0.2 * 1 / 20))
    areas = [each["area_km2"]["estimate"] for each in design["classes"].values()]
    assert sum(areas) == pytest.approx(1.0)


def test_the_first_sentence_is_the_estimate_and_the_count_is_said_as_such(product, tmp_path):
    out = tmp_path / "out"
    said = CliRunner().invoke(app, ["evaluate", str(product), str(sample(tmp_path)), "--to", str(out)])
    assert said.exit_code == 0, said.output
    first, weakest, counted, *notes = tw.evaluate(product, tmp_path / "sample.parquet")["summary"]
    assert first.startswith("By the sample's design (stratified random) 90.0 % (95 % interval ")
    assert first.endswith(" %) of the whole map is right.")
    assert weakest == (
        "Weakest is wetland: an estimated 0 % (95 % interval 0.0 to 72.2 %) of it was found: the map does not have it."
    )
    assert counted.startswith("Counted without the design's weights 94.0 % of 67 labels agree with the map")
    assert counted.endswith("where strata are labelled unequally that is no estimate of the map.")
    assert any("3 of the sample's labels are of wetland, which the map does not have" in note for note in notes)
    page = (out / "evaluation.html").read_text("utf-8")
    assert '> wetland</td><td class="num">0</td><td class="num">0.042</td>' in page
    assert "counted without the design's weights" in page


def test_a_class_that_is_mapped_to_one_of_the_map_is_that_class(product, tmp_path):
    told = tw.evaluate(product, sample(tmp_path), maps={"water": ["wetland"]})
    assert (told["n"], told["n_unknown"]) == (70, 0)
    assert [*told["design"]["classes"]] == ["land", "water"]
    assert told["design"]["overall_accuracy"]["estimate"] == pytest.approx(0.72 + 0.2 * 19 / 20)


def test_many_classes_without_a_map_are_told_together(product, tmp_path):
    drawn = {**DRAWN, "land": ["land"] * 20 + [f"kind {n}" for n in range(30)]}
    design = tw.evaluate(product, sample(tmp_path, drawn))["design"]
    beyond = [name for name in design["classes"] if name not in N]
    assert len(beyond) == 21
    assert beyond[-1] == "other classes that the map does not have"
    assert sum(each["area_km2"]["estimate"] for each in design["classes"].values()) == pytest.approx(1.0)


def test_numbers_and_names_that_read_alike_stay_apart(tmp_path):
    """The label 7, no value of a map that has a class called "7"."""
    values = np.zeros((100, 100), np.uint8)
    values[:20] = 1
    product = write_layers(tmp_path / "product", {"class": values}, classes={"class": ["land", "7"]})
    numbers = [0] * 50 + [1] * 18 + [7] * 2
    design = tw.evaluate(product, sample(tmp_path, **{"class": numbers}))["design"]
    assert [*design["classes"]] == ["land", "7", "7 (no class)"]
    assert design["overall_accuracy"]["estimate"] == pytest.approx(0.8 + 0.2 * 18 / 20)


def test_a_place_twice_is_refused_whatever_its_label(product, tmp_path):
    file = sample(tmp_path)
    frame = geopandas.read_parquet(file)
    frame.loc[49, ["id", "geometry"]] = frame.loc[0, ["id", "geometry"]]
    frame.to_parquet(file)
    with pytest.raises(ValueError, match="Rows 1 and 50 of sample.parquet are the same place"):
        tw.evaluate(product, file)


def test_labels_of_which_none_of_the_map_lies_on_it_are_refused(product, tmp_path):
    """Only a label of a class that the map does not have lies on it."""
    frame = geopandas.read_parquet(sample(tmp_path)).loc[[0, 48], ["class", "geometry"]]
    frame.loc[0, "geometry"] = shapely.Point(390_000, 5_390_000)
    frame.to_parquet(tmp_path / "few.parquet")
    with pytest.raises(ValueError, match=r"No label in few.parquet is a class of the layer class: 'wetland'"):
        tw.evaluate(product, tmp_path / "few.parquet")
