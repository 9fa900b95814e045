"""Label files and samples as nobody means them: what is refused, what is told apart, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

import tilewright as tw
from tests.support.finished import finished, some_map
from tests.support.layers import write_layers
from tilewright.flows.ask.sample_page import check_page

NAMES = ("land", "water", "forest")
X, Y = 400_000.0, 5_400_000.0
MAP = some_map(1)
ROWS, COLS = (each[::200] for each in np.nonzero(MAP != 255))
SAID = [NAMES[value] for value in MAP[ROWS, COLS]]
N = len(ROWS)


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    layers = {"class": MAP, "confidence": np.where(MAP == 255, 255, 80).astype(np.uint8)}
    return write_layers(tmp_path_factory.mktemp("variants") / "p", layers, classes={"class": NAMES})


def points() -> Any:
    return shapely.points(X + COLS * 10 + 5, Y - ROWS * 10 - 5)


def written(folder: Path, geometries: Any = None, **columns: Any) -> Path:
    geometry = list(points() if geometries is None else geometries)
    frame = geopandas.GeoDataFrame({"class": SAID[: len(geometry)], **columns}, geometry=geometry, crs="EPSG:32633")
    frame.to_parquet(folder / "labels.parquet")
    return folder / "labels.parquet"


@pytest.mark.parametrize(("word", "label"), [("--5", "--5"), ("9" * 5000, "land"), ("²", "²"), ("7", 7)])
def test_any_word_of_a_mapping_is_a_label(product, tmp_path, word, label):
    told = tw.evaluate(product, written(tmp_path, **{"class": [label] * N}), maps={"land": [word]})
    assert told["per_class"]["land"]["n_labels"] == N
    with pytest.raises(ValueError, match="No label in"):
        tw.evaluate(product, written(tmp_path, **{"class": ["=7"] * N}), maps={"land": ["7"]})


GROUPS = {
    "large numbers": ([1234567.0 + i % 3 for i in range(N)], ["1234567", "1234568", "1234569"]),
    "fractions": ([0.1 + i % 2 * 1e-9 for i in range(N)], ["0.1", "0.100000001"]),
    "texts like numbers": ([("nan", "b", "inf", "10", "9")[i % 5] for i in range(N)], ["9", "10", "b", "inf", "nan"]),
    "no number": ([(1.0, np.nan)[i % 2] for i in range(N)], ["1", "(none)"]),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_groups_of_a_column_stay_apart_and_in_one_order(product, tmp_path, kind):
    values, names = GROUPS[kind]
    assert [*tw.evaluate(product, written(tmp_path, by=values), by="by")["groups"]] == names


@pytest.mark.parametrize(
    ("told", "season"), [("2024-06", "JJA"), (" 2024-12-01", "DJF"), ("", "(none)"), (None, "(none)")]
)
def test_months_and_empty_texts_have_a_season(product, tmp_path, told, season):
    assert [*tw.evaluate(product, written(tmp_path, date=[told] * N), by="season")["groups"]] == [season]


def test_a_centre_on_the_border_of_two_zones_is_in_the_first(product, tmp_path):
    east = X + 10 * int(COLS[0]) + 5
    shapes = [shapely.box(X, Y - 1500, east, Y), shapely.box(east, Y - 1500, X + 2100, Y)]
    geopandas.GeoDataFrame({"name": ["w", "e"]}, geometry=shapes, crs="EPSG:32633").to_file(tmp_path / "z.gpkg")
    told = tw.evaluate(product, written(tmp_path, points()[:1]), by=str(tmp_path / "z.gpkg"))
    assert {name: row["n"] for name, row in told["groups"].items()} == {"w": 1}


def test_values_whose_errors_no_number_holds_are_refused(product, tmp_path):
    with pytest.raises(ValueError, match="values beyond 1e"):
        tw.evaluate(product, written(tmp_path, v=[1e300] * N), column="v", layer="confidence")
    values = np.full((2, 2), np.inf, np.float64)
    values[0] = 80, 70
    place = rasterio.transform.from_origin(X + 10 * COLS[0], Y - 10 * ROWS[0], 10, 10)
    facts = {"driver": "GTiff", "height": 2, "width": 2, "count": 1, "dtype": "float64", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "v.tif", "w", transform=place, **facts) as raster:
        raster.write(values[None])
    assert np.isfinite(tw.evaluate(product, tmp_path / "v.tif", layer="confidence")["rmse"])


@pytest.mark.parametrize("value", [1e200, -1e200, 1e308])
def test_a_layer_whose_errors_no_number_holds_is_refused(tmp_path, value):
    heights = np.full(MAP.shape, 5.0)
    heights[:, ::2] = value
    product = write_layers(tmp_path / "p", {"height": heights})
    with pytest.raises(ValueError, match="The layer height holds values beyond 1e"):
        tw.evaluate(product, written(tmp_path, height=np.arange(N) / 2), to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_layer_with_infinities_has_scores_and_a_picture_of_the_others(tmp_path):
    heights = np.random.default_rng(0).normal(5, 1, MAP.shape).astype(np.float32)
    heights[::2] = np.inf
    heights[::4] = -np.inf
    product = write_layers(tmp_path / "p", {"height": heights})
    told = tw.evaluate(product, written(tmp_path, height=np.full(N, 5.0)), to=tmp_path / "out")
    assert told["n"] == (ROWS % 2 == 1).sum()
    assert told["n_nodata"] == N - told["n"] > 0
    assert told["rmse"] < 2


@pytest.mark.parametrize("name", ["=land", "-1 m", "+x", "@me", "'quoted", "land"])
def test_the_csv_of_the_labelling_page_names_classes_that_begin_like_formulas(tmp_path, name):
    product = write_layers(tmp_path / "p", {"class": MAP}, classes={"class": (name, "water", "forest")})
    told = {}
    for kind, said in (("plain", name), ("csv", f"'{name}" if name[0] in "=-+@" else name)):
        labels = written(tmp_path, **{"class": [said if each == "land" else each for each in SAID]})
        told[kind] = tw.evaluate(product, labels, to=tmp_path / kind)
        assert (told[kind]["overall_accuracy"], told[kind]["n_unknown"]) == (1.0, 0)
    cells = [line.split(",")[4] for line in (tmp_path / "csv" / "pairs.csv").read_text().splitlines()[1:]]
    assert not any(cell.startswith(("=", "-", "+", "@")) for cell in cells)


def test_polygons_between_centres_are_not_said_to_lie_outside(product, tmp_path):
    shapes = [shapely.box(each.x + 1, each.y + 1, each.x + 2, each.y + 2) for each in points()]
    told = tw.evaluate(product, written(tmp_path, shapes))
    assert (told["n"], told["n_outside"]) == (0, N)
    assert "between the centres of its pixels" in " ".join(told["summary"])


@pytest.fixture
def sample(product) -> geopandas.GeoDataFrame:
    """A sample of 40 places whose every fifth label is wrong."""
    table = tw.sample(product, n=40).to_pandas()
    frame = geopandas.GeoDataFrame(
        table.drop(columns="geometry"), geometry=shapely.from_wkb(table["geometry"]), crs="EPSG:32633"
    )
    rows, cols = ((Y - frame.geometry.y) // 10).astype(int), ((frame.geometry.x - X) // 10).astype(int)
    values = MAP[rows, cols].astype(int)
    values[::5] = (values[::5] + 1) % 3
    frame["class"] = [NAMES[value] for value in values]
    return frame


def design(product: Path, frame: geopandas.GeoDataFrame, folder: Path) -> Any:
    frame.to_parquet(folder / "s.parquet")
    return tw.evaluate(product, folder / "s.parquet")


def test_no_order_of_rows_shows(product, sample, tmp_path):
    plain = design(product, sample, tmp_path)["design"]
    assert (plain["whole_map"], plain["notes"]) == (True, [])
    for seed in range(3):
        assert design(product, sample.sample(frac=1, random_state=seed), tmp_path)["design"] == plain


PARTS = {
    "a stratum that is gone": (lambda frame: frame[frame["stratum"] != "water"], "hold 65.9% of the map's observed"),
    "a stratum without labels": (
        lambda frame: frame.assign(**{"class": frame["class"].where(frame["stratum"] != "water")}),
        "Without a label are the strata water",
    ),
    "sizes that were changed": (
        lambda frame: frame.assign(stratum_pixels=frame["stratum_pixels"] * 3),
        "3.00 times as",
    ),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_sample_of_another_size_than_the_map_says_so(product, sample, tmp_path, kind):
    change, words = PARTS[kind]
    told = design(product, change(sample), tmp_path)
    assert not told["design"]["whole_map"]
    assert words in told["design"]["notes"][0]
    assert "of what was sampled is right" in " ".join(told["summary"])


REFUSED = {
    "a place twice": (
        lambda frame: pd.concat([frame, frame.iloc[:3]]),
        "Rows 1 and 41 of s.parquet are the same place",
    ),
    "no end of pixels": (lambda frame: frame.assign(stratum_pixels=np.inf), "no counts"),
    "too many pixels": (lambda frame: frame.assign(stratum_pixels=1e300), "no counts"),
    "too small a probability": (lambda frame: frame.assign(inclusion_probability=5e-324), "no probabilities"),
    "more ground than there is": (lambda frame: frame.assign(pixel_m2=1e300), "no areas"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_sample_that_cannot_be_is_refused(product, sample, tmp_path, kind):
    change, words = REFUSED[kind]
    with pytest.raises(ValueError, match=words):
        design(product, change(sample), tmp_path)


def test_names_of_any_number_and_length_leave_sentences_short(product, sample, tmp_path):
    names = [f"\x1b[31m{'x' * 500}\n{number}" for number in range(len(sample))]
    told = design(product, sample.assign(stratum=names, design="y" * 5000), tmp_path)
    assert max(map(len, told["summary"])) < 1000
    assert "\n" not in "".join(told["summary"])


NUMBERS = [
    {"n": 10.5}, {"n": "9"}, {"n": True}, {"n": 9, "seed": 1.5}, {"n": 9, "seed": None}, {"n": 9, "least": 1.5},
    {"n": 9, "expect": {"land": "x"}}, {"n": 9, "min_distance": "3"}, {"n": 9, "min_distance": 1e200},
    {"n": 9, "min_distance": 1e-300},
]  # fmt: skip


@pytest.mark.parametrize("words", NUMBERS, ids=str)
def test_numbers_that_mean_nothing_are_refused(product, words):
    with pytest.raises(ValueError, match="give"):
        tw.sample(product, **words)


def test_a_comparison_is_not_written_over_its_labels(whole, tmp_path):
    a = finished(whole, tmp_path / "a", MAP)
    to = tmp_path / "to"
    to.mkdir()
    file = to / "comparison.json"
    geopandas.read_parquet(written(tmp_path)).to_crs(4326).to_file(file, driver="GeoJSON")
    before = file.read_bytes()
    with pytest.raises(ValueError, match="could be written over"):
        tw.compare(a, a, labels=file, to=to)
    assert file.read_bytes() == before
    assert json.loads(before)["features"]


def test_a_class_may_be_called_as_what_is_none(tmp_path):
    names = ("no class", "water")
    layers = {"class": np.where(MAP == 255, 255, MAP).astype(np.uint8)}
    product = write_layers(tmp_path / "p", layers, classes={"class": names})
    told = tw.evaluate(product, written(tmp_path, **{"class": ["no class"] * N}))
    assert told["classes"] == ["no class", "water", "no class (2)"]
    assert told["per_class"]["no class"]["n_labels"] == N


def test_a_page_replaces_pages_of_samples_alone(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<p>somebody's own</p>")
    with pytest.raises(ValueError, match="is no page of a sample"):
        check_page(page, product=str(tmp_path / "p"), n=9)
    page.write_text('{"key": "tilewright-labels-00"}')
    check_page(page, product=str(tmp_path / "p"), n=9)
