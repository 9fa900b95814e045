"""The command `sample`: drawn, labelled and evaluated; what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from typer.testing import CliRunner

import tilewright as tw
from tests.support.finished import CLASSES, finished, some_map, with_confidence
from tests.support.output_places import open_place
from tests.support.seen import seen_product
from tilewright.flows.cli.main import app

CORNER = (400_000.0, 5_400_000.0)  # of the pixel (-540_000, 40_000)


@pytest.fixture(scope="module")
def mapped() -> np.ndarray:
    return some_map(2)


@pytest.fixture
def product(whole, tmp_path, mapped) -> Path:
    return with_confidence(finished(whole, tmp_path / "product", mapped), mapped)


@pytest.fixture(scope="module")
def seen(tmp_path_factory, small_pictures) -> Path:
    return seen_product(tmp_path_factory.mktemp("seen"))


def command(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


def labelled(file: Path, mapped: np.ndarray, *, n: int | None = None, wrong: int = 7) -> Path:
    """The sample with labels that say what the map says, but for every ``wrong``-th."""
    frame = geopandas.read_parquet(file).to_crs("EPSG:32633")
    rows = ((CORNER[1] - frame.geometry.y) // 10).astype(int)
    cols = ((frame.geometry.x - CORNER[0]) // 10).astype(int)
    values = mapped[rows, cols].astype(int)
    values[::wrong] = (values[::wrong] + 1) % 3
    frame["class"] = [CLASSES[value]["name"] for value in values]
    frame.loc[n or len(frame) :, "class"] = None
    target = file.with_name("labelled.parquet")
    frame.to_parquet(target)
    return target


def test_a_sample_is_drawn_labelled_and_evaluated(product, tmp_path, mapped):
    said = command("sample", product, "--n", 90, "--least-per-stratum", 20, "--to", tmp_path / "sample.parquet")
    assert said.exit_code == 0, said.output
    assert "90 places to label (stratified random, seed 1)" in said.output
    table = pq.read_table(tmp_path / "sample.parquet")
    assert table.column_names[:8] == [
        "id", "stratum", "inclusion_probability", "weight", "stratum_pixels", "pixel_m2", "design", "class",
    ]  # fmt: skip
    assert table["id"].to_pylist() == list(range(1, 91))
    assert table["class"].null_count == 90
    points = shapely.from_wkb(table["geometry"].to_pylist())
    assert {(point.x % 10, point.y % 10) for point in points} == {(5.0, 5.0)}
    sizes = {CLASSES[value]["name"]: int((mapped == value).sum()) for value in range(3)}
    for name, n in sizes.items():
        mine = [row for row in table.to_pylist() if row["stratum"] == name]
        assert {row["stratum_pixels"] for row in mine} == {n}
        assert {row["inclusion_probability"] for row in mine} == {len(mine) / n}
        assert sum(row["weight"] for row in mine) == pytest.approx(n)
    # As the report of a run has them.
    told = {name: n * 1e-4 for name, n in sizes.items()}
    report = json.loads((product / "report.json").read_text())
    layer = next(each for each in report["layers"] if each["name"] == "class")
    layer["classes"] = [{**each, "area_km2": told[each["name"]]} for each in layer["classes"]]
    layer["nodata_percent"] = 100 * float((mapped == 255).mean())
    (product / "report.json").write_text(json.dumps(report))
    scored = command("evaluate", product, labelled(tmp_path / "sample.parquet", mapped), "--to", tmp_path / "to")
    assert scored.exit_code == 0, scored.output
    assert "By the sample's design (stratified random)" in scored.output
    assert "km² on the map   estimated  95 % interval" in scored.output
    areas = [line.split() for line in scored.output.splitlines() if line.startswith(("  land", "  water", "  forest"))]
    assert [words[0] for words in areas] == [CLASSES[value]["name"] for value in range(3)]
    assert all(words[4] == "to" and float(words[3]) <= float(words[2]) <= float(words[5]) for words in areas)
    design = json.loads((tmp_path / "to" / "evaluation.json").read_text())["design"]
    assert design["kind"] == "stratified random"
    assert design["n"] == 90
    assert sum(each["area_km2"]["estimate"] for each in design["classes"].values()) == pytest.approx(
        sum(sizes.values()) * 1e-4, rel=1e-3
    )
    page = (tmp_path / "to" / "evaluation.html").read_text()
    assert "How much there is" in page
    # The map's own areas stand beside what is estimated, and what neither covers is said.
    assert {name: row["mapped_km2"] for name, row in design["classes"].items()} == told
    assert design["without_value"] == pytest.approx(float((mapped == 255).mean()), abs=1e-6)
    assert "of the area asked for has no value" in page
    accuracy = design["overall_accuracy"]
    assert 0 < accuracy["low"] < accuracy["estimate"] < accuracy["high"] < 1


def test_stopping_early_leaves_a_sample_that_is_evaluated(product, tmp_path, mapped):
    command("sample", product, "--n", 90, "--to", tmp_path / "sample.parquet")
    scores = tw.evaluate(product, labelled(tmp_path / "sample.parquet", mapped, n=45))
    assert scores["design"]["n"] == 45
    assert {each["n"] for each in scores["design"]["strata"].values()} <= {14, 15, 16}
    assert sum(each["n_pixels"] for each in scores["design"]["strata"].values()) == (mapped != 255).sum()


def test_a_random_sample_is_weighted_by_mapped_classes(product, tmp_path, mapped):
    command("sample", product, "--n", 60, "--scheme", "random", "--to", tmp_path / "sample.parquet")
    scores = tw.evaluate(product, labelled(tmp_path / "sample.parquet", mapped))
    assert scores["design"]["kind"] == "simple random, post-stratified"
    assert scores["design"]["strata"]["water"]["n_pixels"] == (mapped == 1).sum()


def test_a_sample_of_one_zone_is_weighted_by_its_own_pixels(product, tmp_path, mapped):
    x, y = CORNER
    zone = shapely.box(x, y - 800, x + 900, y)
    geopandas.GeoDataFrame({"name": ["west"]}, geometry=[zone], crs="EPSG:32633").to_file(tmp_path / "zones.gpkg")
    said = command(
        "sample", product, "--n", 40, "--strata", tmp_path / "zones.gpkg", "--to", tmp_path / "sample.parquet"
    )
    assert said.exit_code == 0, said.output
    inside = int((mapped[:80, :90] != 255).sum())
    assert f"{int((mapped != 255).sum()) - inside:,} observed pixels" in said.output
    scores = tw.evaluate(product, labelled(tmp_path / "sample.parquet", mapped))
    assert scores["design"]["kind"] == "simple random"
    assert scores["design"]["strata"] == {"west": {"n": 40, "n_pixels": inside}}


def test_the_size_comes_from_a_standard_error_and_is_told(product, tmp_path):
    words = ("--standard-error", 0.05, "--expect", 0.8, "--expect", "water=0.6", "--allocation", "neyman")
    said = command("sample", product, *words, "--to", tmp_path / "sample.geojson", "--json")
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["expected_standard_error"] == pytest.approx(0.05, abs=0.001)
    assert told["n"] == len(json.loads((tmp_path / "sample.geojson").read_text())["features"])
    water, land = (next(each for each in told["strata"] if each["name"] == name) for name in ("water", "land"))
    assert water["n"] / water["n_pixels"] > land["n"] / land["n_pixels"]
    shown = command("sample", product, *words, "--to", tmp_path / "again.geojson")
    assert "If so many are right, the overall accuracy has a standard error of 5 points." in shown.output
    assert any(line.split()[:1] == ["water"] and line.endswith("60.0 %") for line in shown.output.splitlines())


@pytest.mark.parametrize("ending", ["parquet", "geojson", "csv", "gpkg"])
def test_every_format_comes_back_as_the_same_sample(product, tmp_path, ending):
    """What a program does with the file, its labels in, is read as the design again."""
    file = tmp_path / f"sample.{ending}"
    command("sample", product, "--n", 30, "--to", file)
    if ending == "csv":
        file.write_text(file.read_text("utf-8-sig").replace('stratified random",', 'stratified random","water"'))
    else:
        frame = geopandas.read_parquet(file) if ending == "parquet" else geopandas.read_file(file)
        frame["class"] = "water"
        frame.to_parquet(file) if ending == "parquet" else frame.to_file(file)
    scores = tw.evaluate(product, file)
    assert (scores["design"]["kind"], scores["design"]["n"]) == ("stratified random", 30)


def test_the_same_sample_comes_from_a_bucket_and_from_python(product, tmp_path, monkeypatch, moto):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    for path in sorted(product.rglob("*")):
        if path.is_file():
            storage.write(path.relative_to(product).as_posix(), path.read_bytes())
    table = tw.sample(product, n=30)
    assert tw.sample(storage.uri, n=30).equals(table)
    said = command("sample", storage.uri, "--n", 30, "--to", tmp_path / "a.parquet", "--page", tmp_path / "a.html")
    assert said.exit_code == 0, said.output
    assert "add --trusted if it is your own" in " ".join(said.stderr.split())
    assert tw.sample(tw.open(product), n=30, expect=0.7, allocation="neyman").num_rows == 30


@pytest.mark.parametrize("kind", ["points", "polygons", "raster"])
def test_the_worst_places_are_shown_in_the_scenes(seen, tmp_path, kind):
    """The page of an evaluation whose labels are all wrong."""
    with rasterio.open(seen / "class.tif") as file:
        profile, values = file.profile, file.read(1)
        west, north = file.bounds.left, file.bounds.top
    names = [int(value) for value in np.unique(values[values != 255])]
    wrong = np.where(values == names[0], names[-1], names[0]).astype(np.uint8)
    assert len(names) > 1
    if kind == "raster":
        given = tmp_path / "labels.tif"
        with rasterio.open(given, "w", **{**profile, "nodata": 255, "driver": "GTiff"}) as file:
            file.write(wrong, 1)
    else:
        at = shapely.points(west + 205, north - 205)
        place = at if kind == "points" else at.buffer(3, cap_style="square")
        given = tmp_path / "labels.parquet"
        geopandas.GeoDataFrame({"class": [int(wrong[20, 20])]}, geometry=[place], crs="EPSG:32633").to_parquet(given)
    shots = {}
    for words in ((), ("--imagery",)):
        said = command("evaluate", seen, given, "--to", tmp_path / "to", *words)
        assert said.exit_code == 0, said.output
        page = (tmp_path / "to" / "evaluation.html").read_text("utf-8")
        shots[words] = page.count("<figure><img"), page.count("<figcaption>scenes</figcaption>")
    n = shots[()][0]
    assert n > 0
    assert shots == {(): (n, 0), ("--imagery",): (2 * n, n)}


def test_a_product_without_scenes_in_colour_is_evaluated_without_imagery(product, tmp_path, mapped):
    command("sample", product, "--n", 9, "--to", tmp_path / "sample.parquet")
    file = labelled(tmp_path / "sample.parquet", mapped)
    said = command("evaluate", product, file, "--imagery", "--to", tmp_path / "to")
    assert said.exit_code == 0, said.output
    assert "no pictures: the product has no scenes with red, green and blue" in " ".join(said.stderr.split())


def test_a_page_without_pictures_says_so(seen, product, tmp_path):
    """Of a product without scenes in colour, and of one whose scenes are gone."""
    said = command("sample", product, "--n", 12, "--to", tmp_path / "a.parquet", "--page", tmp_path / "a.html")
    assert said.exit_code == 0, said.output
    assert "no pictures: the product has no scenes with red, green and blue" in " ".join(said.stderr.split())
    moved = tmp_path / "moved"
    shutil.copytree(seen, moved)
    plan = moved / ".tilewright" / "plan.json"
    plan.write_text(plan.read_text().replace("/scenes/", "/gone/"))
    said = command("sample", moved, "--n", 12, "--to", tmp_path / "b.parquet", "--page", tmp_path / "b.html")
    assert said.exit_code == 0, said.output
    assert "places have no picture: no scene could be read there" in " ".join(said.stderr.split())
    assert "No picture of the places could be made" in (tmp_path / "b.html").read_text()


def test_names_of_others_are_texts_in_the_page(whole, tmp_path):
    hostile = "</script><script>alert(1)</script>"
    classes = [{"value": 0, "name": hostile, "color": "D9D4C7"}, {"value": 1, "name": "=1+1", "color": "2E86DE"}]
    values = np.minimum(some_map(3), 1)
    product = finished(whole, tmp_path / "product", values, classes=classes, name=hostile)
    said = command("sample", product, "--n", 8, "--to", tmp_path / "a.csv", "--page", tmp_path / "a.html")
    assert said.exit_code == 0, said.output
    assert "<script>alert" not in (tmp_path / "a.html").read_text()
    assert "'=1+1" in (tmp_path / "a.csv").read_text("utf-8-sig")


REFUSED = {
    "--n 1": "1 places are too few for 3 strata (land, water, forest)",
    "": "Give either --n, the number of places, or --standard-error",
    "--n 9 --standard-error 0.1": "Give either --n",
    "--n 0": "--n 0: give 1 to 100,000 places",
    "--n 9 --scheme ramdom": "--scheme 'ramdom' is none of stratified, random, systematic (did you mean 'random'?)",
    "--n 9 --allocation neymann": "(did you mean 'neyman'?)",
    "--n 9 --strata foo": "--strata 'foo' is neither class, confidence, none nor a file of zones",
    "--n 9 --strata no.gpkg": "The file no.gpkg cannot be read",
    "--n 9 --layer height": "--layer 'height' is no layer of",
    "--n 9 --expect wter=0.8": "no stratum is called so (did you mean 'water'?)",
    "--n 9 --expect water=1.8": "an accuracy is a share from 0 to 1",
    "--n 9 --expect water=nan": "an accuracy is a share from 0 to 1",
    "--n 9 --expect water=": "write NAME=SHARE of a stratum",
    "--n 9 --expect 0.7 --expect 0.8": "name each stratum once",
    "--standard-error 0": "give a share between 0 and 1",
    "--n 90000": "pixels, fewer than the 90,000 asked for",
    "--n 9 --min-distance 9000": "give a smaller --min-distance",
    "--n 9 --min-distance nan": "give metres, 0 or more",
    "--n 9 --scheme systematic --min-distance 3": "places of a systematic one lie on a grid already",
    "--n 9 --scheme random --strata class": "--scheme random has no strata",
    "--n 9 --scheme random --allocation equal": "--scheme random has no strata to allocate to",
    "--n 9 --page there.pdf": "end it in .html",
    "--n 9 --page none/there.html": "give a folder that is there",
    "--n 2001 --page there.html": "A page takes at most 2,000 places",
    "--n 9 --to there.txt": "names no format of a table",
    "--n 9 --to product/there.csv": "lies in the product",
    "--n 9 --to held.csv": "held.csv is there and may hold labels",
    "--n 9 --seed 99999999999999999999": "--seed is a whole number of at most 63 bits",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(product, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held.csv").write_text("labels")
    before = sorted(tmp_path.iterdir())
    said = command("sample", product, *words.split())
    assert said.exit_code == 2, said.output
    assert REFUSED[words] in " ".join(said.stderr.split())
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_product_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    said = command("sample", tmp_path / "empty", "--n", 9, "--to", tmp_path / "there.parquet")
    assert (said.exit_code, "holds no finished product" in said.stderr) == (2, True)


def test_areas_are_those_of_the_product_that_was_drawn_from(whole, product, tmp_path, mapped):
    """A map of pixels four times as large is held against the sample of the finer one."""
    command("sample", product, "--n", 60, "--to", tmp_path / "sample.parquet")
    row, col = -270_000, 20_000
    coarse = finished(whole, tmp_path / "coarse", mapped[::2, ::2], corner=(row, col), resolution=20.0)
    with_confidence(coarse, mapped[::2, ::2])
    file = labelled(tmp_path / "sample.parquet", mapped)
    fine, other = (tw.evaluate(each, file)["design"]["classes"] for each in (product, coarse))
    assert other["water"]["area_km2"]["estimate"] == pytest.approx(fine["water"]["area_km2"]["estimate"], rel=0.2)


COLUMNS = {
    "stratum": [None, "Rows of the sample have no stratum"],
    "inclusion_probability": [1.5, "no probabilities above 0 to 1"],
    "stratum_pixels": [2.5, "no counts"],
    "pixel_m2": [-1.0, "no areas"],
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_sample_that_was_changed_is_refused(product, tmp_path, mapped, column):
    command("sample", product, "--n", 30, "--to", tmp_path / "sample.parquet")
    file = labelled(tmp_path / "sample.parquet", mapped)
    frame = geopandas.read_parquet(file)
    frame[column] = frame[column].astype(object if column == "stratum" else float)
    frame.loc[3, column] = COLUMNS[column][0]
    frame.to_parquet(file)
    said = command("evaluate", product, file, "--to", tmp_path / "to")
    assert said.exit_code == 2, said.output
    assert COLUMNS[column][1] in " ".join(said.stderr.split())


def test_a_sample_of_others_is_read_by_its_probabilities_alone(product, tmp_path, mapped):
    command("sample", product, "--n", 30, "--to", tmp_path / "sample.parquet")
    file = labelled(tmp_path / "sample.parquet", mapped)
    whole_one = tw.evaluate(product, file)["design"]
    geopandas.read_parquet(file).drop(columns=["stratum_pixels", "pixel_m2", "design", "weight"]).to_parquet(file)
    assert tw.evaluate(product, file)["design"] == whole_one


def test_of_several_layers_one_is_named_and_of_none_nothing_is_drawn(product, tmp_path):
    report = product / "report.json"
    told = json.loads(report.read_text())
    for layers, words in (([{**told["layers"][0], "name": n} for n in "ab"], "has the layers a, b"), ([], "no layer")):
        report.write_text(json.dumps({**told, "layers": layers}))
        said = command("sample", product, "--n", 9, "--to", tmp_path / "there.parquet")
        assert (said.exit_code, words in " ".join(said.stderr.split())) == (2, True)
