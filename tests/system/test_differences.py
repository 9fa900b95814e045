"""Maps of difference, and whether one product is the same as another: by brute force, in any cut, refused in a word."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import zarr

import tilewright as tw
from tests.support.detectors import FORMS, detector
from tests.support.finished import CLASSES, finished, some_map
from tests.support.output_places import open_place
from tests.support.products import read, tilewright
from tests.support.worlds import pixel_job, run
from tilewright.flows.run.predict import run_job
from tilewright.tasks.tables.geoparquet import Rows, write_geoparquet

MAPS = ("difference_class", "difference_height", "difference_share")


@pytest.fixture
def make(whole: Path, tmp_path: Path) -> Any:
    """Makes finished products of maps."""

    def make_one(name: str, values: np.ndarray, /, **how: Any) -> Path:
        return finished(whole, tmp_path / name, values, **how)

    return make_one


def heights(seed: int, shape: tuple[int, int] = (150, 210)) -> np.ndarray:
    """Values with holes of NaN."""
    random = np.random.default_rng(seed)
    values = random.normal(100, 10, shape).astype(np.float32)
    values[random.random(shape) < 0.05] = np.nan
    return values


def shares(seed: int, shape: tuple[int, int] = (150, 210)) -> np.ndarray:
    """Percentages as bytes, with holes of nodata."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 101, shape).astype(np.uint8)
    values[random.random(shape) < 0.05] = 255
    return values


def numbers(seed: int) -> dict[str, np.ndarray]:
    return {"height": heights(seed), "share": shares(seed)}


def pixels(folder: Path, name: str) -> Any:
    with rasterio.open(folder / f"{name}.tif") as source:
        return source.read(1), source.nodata, source.tags(1), source.bounds


def test_maps_of_difference_are_those_of_each_pixel(make, tmp_path):
    maps, values = [some_map(1), some_map(2)], [numbers(1), numbers(2)]
    maps[0][3, 4] = 77
    a, b = (make(name, each, numbers=of) for name, each, of in zip("ab", maps, values, strict=True))
    told = tw.compare(a, b, to=tmp_path / "cmp")
    assert json.loads((tmp_path / "cmp" / "comparison.json").read_text()) == told
    found, nodata, tags, _ = pixels(tmp_path / "cmp", "difference_class")
    both = (maps[0] != 255) & (maps[1] != 255)
    codes = {(0, 1): 1, (0, 2): 2, (1, 0): 3, (1, 2): 4, (2, 0): 5, (2, 1): 6}
    wanted = np.full(maps[0].shape, 255, dtype=np.uint8)
    for row, col in zip(*np.nonzero(both), strict=True):
        pair = int(maps[0][row, col]), int(maps[1][row, col])
        wanted[row, col] = 0 if pair[0] == pair[1] else codes.get(pair, 254)
    assert nodata == 255
    assert np.array_equal(found, wanted)
    assert (tags["CLASS_0"], tags["CLASS_1"]) == ("the same in both", "land → water")
    assert tags.get("CLASS_254") == ("another change" if maps[1][3, 4] not in {77, 255} else None)
    assert {each["value"] for each in told["map_classes"]} == {*np.unique(wanted).tolist()} - {255} | {0}
    for name in ("height", "share"):
        one, other = (each[name].astype(np.float64) for each in values)
        seen = [np.isfinite(each) & (each != 255) for each in (one, other)]
        both = seen[0] & seen[1]
        found, nodata, tags, _ = pixels(tmp_path / "cmp", f"difference_{name}")
        assert np.isnan(nodata)
        assert np.array_equal(found, np.where(both, other - one, np.nan).astype(np.float32), equal_nan=True)
        figures = next(each for each in told["value_layers"] if each["layer"] == name)
        difference = (other - one)[both]
        assert (figures["n"], figures["n_equal"]) == (both.sum(), (difference == 0).sum())
        assert figures["n_only_a"] == (seen[0] & ~both).sum()
        assert figures["n_only_b"] == (seen[1] & ~both).sum()
        assert figures["mean_difference"] == pytest.approx(difference.mean(), rel=1e-9)
        assert figures["mean_absolute_difference"] == pytest.approx(np.abs(difference).mean(), rel=1e-9)
        assert figures["root_mean_square_difference"] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-9)
        assert (figures["least_difference"], figures["greatest_difference"]) == (difference.min(), difference.max())
        assert abs(figures["largest"]["difference"]) == np.abs(difference).max()
    style = (tmp_path / "cmp" / "difference_height.qml").read_text()
    assert "#f7f7f7" in style
    page = (tmp_path / "cmp" / "comparison.html").read_text()
    assert page.count("data:image/png") >= 3
    assert all(f"{name}.tif" in page for name in MAPS)


def test_any_cut_of_either_product_gives_the_same_bytes(make, tmp_path):
    cuts = {"one": (64, 64), "two": (50, 128), "three": (256, 33)}
    told = {}
    for name, (first, second) in cuts.items():
        a = make(f"{name}_a", some_map(1), numbers=numbers(1), chunk=first)
        b = make(f"{name}_b", some_map(2), numbers=numbers(2), chunk=second)
        told[name] = {**tw.compare(a, b, to=tmp_path / name, same=True, atol=0.5), "a": 0, "b": 0}
    for name in cuts:
        assert told[name] == told["one"]
        for path in sorted((tmp_path / "one").iterdir()):
            if path.name not in {"comparison.json", "comparison.html"}:
                assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path.name


def test_three_cuts_of_one_job_are_the_same_and_one_pixel_tells(whole, job, tmp_path):
    for block in (32, 128):
        cut = run_job(read(job, tmp_path / f"cut{block}", tile={"block": block, "step": 32})).output
        told = tw.compare(whole, cut, same=True)
        assert told["same"]["same"], told["same"]
        assert told["same"]["sentence"] == "The same: nothing differs."
        assert [each["name"] for each in told["same"]["checks"]] == ["grid", "only_a", "only_b", "class", "confidence"]
    array = zarr.open_group(Path(cut) / "data.zarr", mode="r+", use_consolidated=False)["confidence"]
    assert isinstance(array, zarr.Array)
    array[100, 100] = int(np.asarray(array[100, 100])) - 1
    told = tw.compare(whole, cut, same=True)["same"]
    assert [each["n_differ"] for each in told["checks"]] == [0, 0, 0, 0, 1]
    assert tw.compare(whole, cut, same=True, atol=1)["same"]["same"]


def test_moved_grids_are_subtracted_on_their_common_rectangle(make, tmp_path):
    whole_a, whole_b, one, other = some_map(1, (220, 260)), some_map(2, (220, 260)), heights(1, (220, 260)), heights(
        2, (220, 260)
    )  # fmt: skip
    a = make("a", whole_a[:180, :200], numbers={"height": one[:180, :200]})
    moved = (-540_000 + 30, 40_000 + 50)
    b = make("b", whole_b[30:, 50:], corner=moved, numbers={"height": other[30:, 50:]})
    told = tw.compare(a, b, to=tmp_path / "cmp", same=True, differ=1, atol=1e9)
    found, _, _, bounds = pixels(tmp_path / "cmp", "difference_height")
    wanted = (other.astype(np.float64) - one)[30:180, 50:200].astype(np.float32)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert tuple(bounds) == tuple(told["grid"]["bounds"])
    assert not told["same"]["same"], "another rectangle is another product"
    assert told["same"]["sentence"].startswith("Not the same: A covers another rectangle (200 x 180 px) than B (210 x")


def flat(value: float = 0, shape: tuple[int, int] = (100, 100), kind: Any = np.uint8) -> np.ndarray:
    return np.full(shape, value, dtype=kind)


def one_in(values: np.ndarray, *values_at: tuple[int, int, float]) -> np.ndarray:
    changed = values.copy()
    for row, col, value in values_at:
        changed[row, col] = value
    return changed


HEIGHT = flat(10, kind=np.float32)
SAME = {
    # name: (map of B, heights of B, tolerances, same)
    "nothing": (flat(), HEIGHT, {}, True),
    "a class": (one_in(flat(), (5, 5, 1)), HEIGHT, {}, False),
    "a class that may": (one_in(flat(), (5, 5, 1)), HEIGHT, {"differ": 1e-4}, True),
    "a class too many": (one_in(flat(), (5, 5, 1), (5, 6, 1)), HEIGHT, {"differ": 1e-4}, False),
    "a class of the layer that may": (one_in(flat(), (5, 5, 1)), HEIGHT, {"differ": {"class": 1e-4}}, True),
    "a class of another layer that may": (one_in(flat(), (5, 5, 1)), HEIGHT, {"differ": {"height": 1}}, False),
    "a class that one lacks": (one_in(flat(), (5, 5, 255)), HEIGHT, {}, False),
    "a value": (flat(), one_in(HEIGHT, (7, 8, 10.25)), {}, False),
    "a value at the tolerance": (flat(), one_in(HEIGHT, (7, 8, 10.25)), {"atol": 0.25}, True),
    "a value beyond the tolerance": (flat(), one_in(HEIGHT, (7, 8, 10.5)), {"atol": 0.25}, False),
    "a value in parts": (flat(), one_in(HEIGHT, (7, 8, 10.5)), {"rtol": 0.05}, True),
    "a value in parts and amount": (flat(), one_in(HEIGHT, (7, 8, 11)), {"rtol": 0.05, "atol": 0.5}, True),
    "a value that is NaN": (flat(), one_in(HEIGHT, (7, 8, np.nan)), {"atol": 1e9}, False),
    "a value that is infinite": (flat(), one_in(HEIGHT, (7, 8, np.inf)), {"atol": 1e9}, False),
    "a value that may be NaN": (flat(), one_in(HEIGHT, (7, 8, np.nan)), {"differ": {"height": 1e-4}}, True),
    "all lacking": (flat(255), HEIGHT, {"differ": 0.999}, False),
}


@pytest.mark.parametrize("case", SAME)
def test_what_may_differ_and_what_may_not(make, case):
    classes, values, tolerances, same = SAME[case]
    a = make("a", flat(), numbers={"height": HEIGHT}, units={"height": "m"})
    b = make("b", classes, numbers={"height": values}, units={"height": "m"})
    told = tw.compare(a, b, same=True, **tolerances)
    assert told["same"]["same"] is same, told["same"]
    assert told["summary"][0] == told["same"]["sentence"]
    turned = tw.compare(b, a, same=True, **tolerances)["same"]
    if "rtol" not in tolerances:
        assert turned["same"] is same
    if "value" in case and not same:
        check = next(each for each in told["same"]["checks"] if each["name"] == "height")
        assert (check["n_differ"], check["within"], check["most_different"]["n"]) == (1, False, 32 * 64)
        assert re.search(r"in height 0.01 % .* around \d+\.\d+° N", told["same"]["sentence"])


ENDS = {"NaN": np.nan, "above": np.inf, "below": -np.inf, "a number": 3.0}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_no_number_is_the_same_as_itself_alone(make, kind):
    a = {name: make(name, flat(), numbers={"height": one_in(flat(10, kind=kind), (7, 8, at))})
         for name, at in ENDS.items()}  # fmt: skip
    for one, other in product(ENDS, ENDS):
        for tolerances in ({}, {"atol": 1e30, "rtol": 5}):
            told = tw.compare(a[one], a[other], same=True, **tolerances)["same"]
            check = next(each for each in told["checks"] if each["name"] == "height")
            assert told["same"] is (one == other), (one, other)
            assert check["n_differ"] == (one != other)
            assert check["n"] == 10_000 - (one == other == "NaN")


def test_what_differs_by_no_more_than_may_is_not_said_to_be_nothing(make):
    values = [HEIGHT, one_in(HEIGHT, (7, 8, 10.25))]
    a, b = (make(name, flat(), numbers={"height": each}) for name, each in zip("ab", values, strict=True))
    assert tw.compare(a, a, same=True, atol=1)["same"]["sentence"] == "The same: nothing differs."
    told = tw.compare(a, b, same=True, atol=1)["same"]
    assert told["sentence"] == "The same: nothing differs by more than may (height by less)."
    boxes = [(*BOXES[0][:2], BOXES[0][2] * 1.01, BOXES[0][3]), *BOXES[1:]]
    a, b = (with_objects(make(name, flat(), numbers={}), each) for name, each in (("c", BOXES), ("d", boxes)))
    told = tw.compare(a, b, same=True, iou=0.5)["same"]
    assert told["sentence"] == "The same: nothing differs by more than may (boats by less)."


def test_the_place_that_is_named_has_most_of_what_differs(make):
    """Not the one pixel of a whole cell, beside hundreds in cells at the rim of which little is on the grid."""
    other = flat()
    other[50, 50] = 1
    other[:32, 96:] = 1
    told = tw.compare(make("a", flat(), numbers={}), make("b", other, numbers={}), same=True)["same"]
    check = next(each for each in told["checks"] if each["name"] == "class")
    assert (check["n_differ"], check["most_different"]["n"]) == (129, 32 * 36)
    assert "most of them around" in told["sentence"]


def test_objects_with_and_without_scores_are_not_the_same(make):
    a = with_objects(make("a", flat(), numbers={}), BOXES)
    b = with_objects(make("b", flat(), numbers={}), BOXES, scores=False)
    assert not tw.compare(a, b, same=True)["same"]["same"]
    assert tw.compare(b, b, same=True)["same"]["same"]


def test_numbers_beyond_what_floats_tell_apart_and_hold(make, tmp_path):
    large = flat(2**60, kind=np.int64)
    a, b = (make(name, flat(), numbers={"n": each}) for name, each in zip("ab", (large, large + 1), strict=True))
    told = tw.compare(a, b, to=tmp_path / "cmp", same=True)
    assert (told["same"]["same"], told["value_layers"][0]["n_equal"]) == (False, 0)
    assert tw.compare(a, b, same=True, atol=1)["same"]["same"]
    for number, kind in enumerate((np.float32, np.float64)):
        most = np.finfo(kind).max
        one, other = flat(most, kind=kind), one_in(flat(most, kind=kind), (3, 3, -most))
        a, b = (
            make(f"{name}{number}", flat(), numbers={"n": each}) for name, each in zip("cd", (one, other), strict=True)
        )
        told = tw.compare(a, b, to=tmp_path / f"cmp{number}", same=True)
        assert told["same"]["checks"][-1]["n_differ"] == 1
        assert "Infinity" not in (tmp_path / f"cmp{number}" / "comparison.json").read_text()
        found = pixels(tmp_path / f"cmp{number}", "difference_n")[0]
        assert (found[3, 3], np.count_nonzero(found)) == (-min(float(most), 1e150), 1)


def test_polygons_of_a_layer_follow_its_pixels_and_other_tables_are_their_files(make):
    def with_tables(product: Path, **sums: str) -> Path:
        report = json.loads((product / "report.json").read_text())
        report["tables"] = [{"name": name, "checksum": each} for name, each in sums.items()]
        (product / "report.json").write_text(json.dumps(report))
        return product

    a = with_tables(make("a", flat(), numbers={}), class_polygons="1", words="1")
    changed = with_tables(make("b", one_in(flat(), (5, 5, 1)), numbers={}), class_polygons="2", words="1")
    assert tw.compare(a, changed, same=True, differ=0.01)["same"]["same"]
    alike = with_tables(make("c", flat(), numbers={}), class_polygons="2", words="1")
    assert "class_polygons has other rows" in tw.compare(a, alike, same=True, differ=0.01)["same"]["sentence"]
    said = with_tables(make("d", flat(), numbers={}), class_polygons="1", words="2")
    assert "the table words has other rows" in tw.compare(a, said, same=True, differ=0.01)["same"]["sentence"]


def test_what_differs_in_kind_is_not_the_same(make, tmp_path):
    a = make("a", flat(), numbers={"height": HEIGHT})
    told = tw.compare(a, make("b", flat(), numbers={"height": HEIGHT, "depth": HEIGHT}), same=True, differ=1)
    assert told["same"]["sentence"] == "Not the same: only B has depth as such a layer or table."
    named = make("c", flat(), layers=("class", "height"), numbers={})
    sentence = tw.compare(a, named, same=True)["same"]["sentence"]
    assert sentence.startswith("Not the same: only A has height as such a layer or table; also")


def test_a_product_of_values_alone_is_compared(make, tmp_path):
    a, b = (make(name, flat(), layers=(), numbers={"height": HEIGHT + n}) for n, name in enumerate("ab"))
    told = tw.compare(a, b, to=tmp_path / "cmp")
    assert (told["layer"], told["others"], told["table"]) == (None, [], None)
    assert told["value_layers"][0]["mean_difference"] == 1
    assert "Layer height: B is 1 higher than A on average" in told["summary"][0]
    assert sorted(path.name for path in (tmp_path / "cmp").iterdir()) == [
        *("comparison.html", "comparison.json", "difference_height.qml", "difference_height.tif"),
    ]
    done = tilewright("compare", a, b, "--to", tmp_path / "cmp")
    assert done.returncode == 0, done.stderr
    assert "difference_height.tif" in done.stdout
    other = {"layers": (), "numbers": {"height": HEIGHT}}
    two = [make(name, flat(), units={"height": unit}, **other) for name, unit in (("c", "m"), ("d", "km"))]
    with pytest.raises(ValueError, match="in m in A and in km in B"):
        tw.compare(*two)


def test_over_sixteen_classes_those_that_occur_are_numbered(make, tmp_path):
    classes = [{"value": n, "name": f"c{n}"} for n in range(40)]
    random = np.random.default_rng(3)
    one, other = (random.integers(0, 40, (150, 160)).astype(np.uint8) for _ in "ab")
    other[:100] = np.where(one[:100] == 0, 1, one[:100])
    told = tw.compare(make("a", one, classes=classes), make("b", other, classes=classes), to=tmp_path / "cmp")
    found, _, tags, _ = pixels(tmp_path / "cmp", "difference_class")
    assert tags["CLASS_1"] == "c0 → c1"
    assert (found[:100][one[:100] == 0] == 1).all()
    assert (found == 254).sum() > 0
    assert ((found == 0) == (one == other)).all()
    assert len(told["map_classes"]) == 255


REFUSED = {
    "no share": ({"differ": 2}, "differ 2: expected a share"),
    "less than nothing": ({"atol": -1}, "atol -1: expected a number"),
    "no number": ({"rtol": float("nan")}, "rtol nan: expected a number"),
    "an overlap of nothing": ({"iou": 0}, "iou 0: expected a share above 0"),
    "an unknown layer": ({"differ": {"clas": 0.1}}, "no clas in common"),
    "an amount of classes": ({"atol": {"class": 1}}, "class is a layer of classes"),
    "an overlap of values": ({"iou": {"height": 1}}, "height is a layer of values"),
    "tolerances of nothing": ({"same": False, "differ": 0.1}, "are the tolerances of --same"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_tolerances_that_cannot_be_are_refused_in_one_sentence(make, tmp_path, case):
    how, words = REFUSED[case]
    a = make("a", flat(), numbers={"height": HEIGHT})
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        tw.compare(a, a, to=tmp_path / "cmp", **{"same": True, **how})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "cmp").exists()


def test_the_exit_codes_of_the_command(make, tmp_path):
    a = make("a", flat(), numbers={"height": HEIGHT})
    b = make("b", one_in(flat(), (5, 5, 1)), numbers={"height": one_in(HEIGHT, (70, 80, 12))})
    apart = tilewright("compare", a, b, "--same", "--differ", "class=0.1", "--json")
    assert (apart.returncode, apart.stderr) == (3, "")
    told = json.loads(apart.stdout)["same"]
    assert (told["same"], [each["name"] for each in told["checks"] if not each["within"]]) == (False, ["height"])
    words = ("--same", "--differ", "0.001", "--differ", "height=0", "--atol", "height=2")
    same = tilewright("compare", a, b, *words)
    assert same.returncode == 0, same.stderr
    assert "The same within what may differ: in class 0.01 % of the 10 000 pixels" in " ".join(same.stdout.split())
    for wrong in (("--differ", "0.1"), ("--same", "--differ", "x=y=z"), ("--same", "--atol", "class=1")):
        refused = tilewright("compare", a, b, *wrong)
        assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 1)
    plain = tilewright("compare", a, b)
    assert plain.returncode == 0, "without --same what differs is told, and no failure"


def test_a_layer_that_nothing_can_tell_of_is_refused(make):
    a = make("a", flat())
    with pytest.raises(ValueError, match="--same cannot tell for the layer confidence"):
        tw.compare(a, a, same=True)


def with_objects(product: Path, boxes: list[tuple[float, float, float, float]], *, scores: Any = None) -> Path:
    """The product with a table of boxes (west, north, width, height in pixels of its rectangle) of two classes.

    ``scores`` False: the table has none.
    """
    report = json.loads((product / "report.json").read_text())
    west, _, _, north = report["grid"]["bounds"]
    size = report["grid"]["resolution"]
    shapes = [
        shapely.box(west + x * size, north - (y + h) * size, west + (x + w) * size, north - y * size)
        for x, y, w, h in boxes
    ]
    values = np.arange(len(boxes)) % 2
    columns = {
        "value": values,
        "name": [("boat", "buoy")[value] for value in values],
        "score": np.asarray(scores if scores is not None else np.full(len(boxes), 0.5)),
    }
    if scores is False:
        del columns["score"]
    bounds = shapely.bounds(np.array(shapes, dtype=object)).reshape(-1, 4)
    whole = [*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)] if len(boxes) else [np.nan] * 4
    kinds = {name: kind for name, kind in (("value", "int64"), ("name", "string"), ("score", "double"))
             if name in columns}  # fmt: skip
    rows = [Rows(geometry=[shapely.to_wkb(each) for each in shapes], bounds=bounds, columns=columns)]
    write_geoparquet(
        product / "boats.parquet",
        rows,
        columns=kinds,
        crs=report["grid"]["crs"],
        kinds=("Polygon",),
        bounds=np.array(whole),
    )
    classes = [{"value": 0, "name": "boat"}, {"value": 1, "name": "buoy"}]
    report["tables"] = [{"name": "boats", "file": "boats.parquet", "rows": len(boxes), "classes": classes}]
    (product / "report.json").write_text(json.dumps(report))
    return product


@pytest.mark.usefixtures("small_pictures")
def test_boxes_of_a_detector_are_the_same_in_every_cut_and_counted_where_both_looked(world, tmp_path):
    values = np.full((160, 160), 900)
    spots = np.random.default_rng(3).integers(0, 160, (200, 2))
    values[spots[:, 0], spots[:, 1]] = np.arange(4900, 5100)
    world.add(values.astype(np.uint16), "red", day="2023-06-01", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    card = detector(tmp_path / "card", FORMS[0])
    cuts = [
        run(
            pixel_job(world, card, tmp_path / f"cut{block}", rows=(0, 160), cols=(0, 160), tile={"block": block})
        ).output
        for block in (64, 128)
    ]
    told = tw.compare(*cuts, same=True)
    assert told["same"]["same"], told["same"]
    assert told["objects"][0]["n_matched"] == told["objects"][0]["n_a"] > 50
    assert told["layer"] is None
    part = run(pixel_job(world, card, tmp_path / "part", rows=(0, 160), cols=(0, 96), tile={"block": 64})).output
    told = tw.compare(cuts[0], part, to=tmp_path / "cmp", same=True)
    assert told["same"]["sentence"].startswith("Not the same: A covers another rectangle")
    found = told["objects"][0]
    # Only those with their middle on the common rectangle count, and there the area asked for changes little.
    assert 20 < found["n_a"] < 80
    assert found["n_matched"] >= found["n_a"] - 5
    assert "things" in (tmp_path / "cmp" / "comparison.html").read_text()


BOXES = [(10, 10, 4, 4), (30, 10, 4, 4), (50, 50, 10, 10), (80, 80, 2, 2)]
OBJECTS = {
    # name: (boxes of B, scores of B, tolerances, same, matched)
    "nothing": (BOXES, None, {}, True, 4),
    "moved by a pixel": ([(11, 10, 4, 4), *BOXES[1:]], None, {}, False, 3),
    "moved by a pixel that may": ([(11, 10, 4, 4), *BOXES[1:]], None, {"iou": 0.6}, True, 4),
    "one fewer": (BOXES[:3], None, {}, False, 3),
    "one fewer that may": (BOXES[:3], None, {"differ": {"boats": 0.25}}, True, 3),
    "another score": (BOXES, [0.5, 0.5, 0.5, 0.6], {}, False, 4),
    "another score that may": (BOXES, [0.5, 0.5, 0.5, 0.6], {"atol": {"boats": 0.11}}, True, 4),
    "other classes": ([BOXES[1], BOXES[0], *BOXES[2:]], None, {}, False, 2),
    "none": ([], None, {}, False, 0),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_are_matched_class_by_class(make, tmp_path, case):
    boxes, scores, tolerances, same, n_matched = OBJECTS[case]
    a = with_objects(make("a", flat(), numbers={}), BOXES)
    b = with_objects(make("b", flat(), numbers={}), boxes, scores=scores)
    told = tw.compare(a, b, to=tmp_path / "cmp", same=True, **tolerances)
    assert told["same"]["same"] is same, told["same"]
    found = told["objects"][0]
    assert (found["n_a"], found["n_b"], found["n_matched"]) == (4, len(boxes), n_matched)
    assert tw.compare(b, a, same=True, **tolerances)["same"]["same"] is same
    plain = tw.compare(a, b)
    assert (plain["objects"][0]["iou"], plain["same"]) == (0.5, None)
    if case == "one fewer":
        assert "1 of 4 objects are in one alone (IoU 1), the largest of A alone (buoy) at" in told["same"]["sentence"]


def test_maps_are_written_to_a_bucket(make, tmp_path, moto, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    a, b = (make(name, some_map(n), numbers=numbers(n)) for n, name in enumerate("ab"))
    here = tw.compare(a, b, to=tmp_path / "cmp")
    assert tw.compare(a, b, to=f"{storage.uri}/cmp") == here
    for name in MAPS:
        assert storage.read(f"cmp/{name}.tif") == (tmp_path / "cmp" / f"{name}.tif").read_bytes()
    (tmp_path / "cmp" / "difference_height.qml").write_text("<qgis>mine</qgis>")
    tw.compare(a, b, to=tmp_path / "cmp")
    assert (tmp_path / "cmp" / "difference_height.qml").read_text() == "<qgis>mine</qgis>"


def test_labels_of_a_sample_by_strata_are_weighted_and_those_left_out_are_said(make, tmp_path):
    """By rows B is better; where most of the map lies it is worse. A column of another name, classes of other names."""
    one = np.zeros((150, 210), dtype=np.uint8)
    one[:, 180:] = 1
    one[:5] = 255
    other = one.copy()
    other[10:60, :180] = 1
    a, b = make("a", one, numbers={}), make("b", other, numbers={})
    truth = one.copy()
    truth[:, 180:] = 0
    other[:, 180:] = 0
    b = make("better", other, numbers={})
    random, lines = np.random.default_rng(3), []
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    of_stratum = {"west": (180 * 145, 40, 0, 180), "east": (30 * 145, 60, 180, 210)}
    places = []
    for name, (pixels, n, first, last) in of_stratum.items():
        rows, cols = random.integers(5, 150, n), random.integers(first, last, n)
        places += [(row, col, name, n / pixels) for row, col in zip(rows, cols, strict=True)]
    places += [(2, 50, "west", 40 / 26100), (4, 60, "west", 40 / 26100)]
    for row, col, name, chance in places:
        lon, lat = to_degrees.transform((40_000 + col + 0.5) * 10, -(-540_000 + row + 0.5) * 10)
        kind = ("ground", "lake")[int(truth[row, col])] if truth[row, col] != 255 else "ground"
        lines.append(f"{lon!r},{lat!r},{name},{chance!r},{of_stratum[name][0]},{kind}")
    labels = tmp_path / "drawn.csv"
    labels.write_text("\n".join(["lon,lat,stratum,inclusion_probability,stratum_pixels,seen", *lines]) + "\n")
    told = tw.compare(a, b, labels=labels, column="seen", maps={"land": ["ground"], "water": ["lake"]})
    found, tested = told["bootstrap"], told["mcnemar"]
    assert (found["weighted"], found["n"], found["n_labels"]) == (True, 100, 102)
    in_west = sum(truth[row, col] == other[row, col] for row, col, name, _ in places[:-2] if name == "west") / 40
    assert found["overall_accuracy"]["a"] == pytest.approx(26100 / 30450)
    assert found["overall_accuracy"]["b"] == pytest.approx((26100 * in_west + 4350) / 30450)
    assert found["better"] == ("a" if found["overall_accuracy"]["high"] < 0 else None)
    assert (tested["p_value"], tested["better"]) == (None, None)
    assert tested["only_b_right"] > tested["only_a_right"]
    said = " ".join(told["summary"])
    assert "On 100 labels of the 102" in said
    assert "by the design of the sample" in said
    assert "Left out are 2 labels of drawn.csv: 2 where there is no value." in said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("west,0.01,900", "tell different sizes"),
        ("east,0.01,1", "2 rows, but 1 pixels"),
        (",0.01,1000", "no stratum"),
        ("west,0,1000", "no probabilities above 0"),
    ],
)
def test_a_sample_whose_columns_tell_no_design_is_refused(make, tmp_path, row, said):
    a = make("a", some_map(1, unseen=0), numbers={})
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    at = np.array([10, 20, 30, 40])
    lon, lat = to_degrees.transform((40_000 + at + 0.5) * 10, -(-540_000 + at + 0.5) * 10)
    east = "east,0.01,1" if row.startswith("east") else "east,0.01,500"
    told = ["west,0.01,1000", "west,0.01,1000", east, row]
    lines = [f"{x!r},{y!r},{each},land" for x, y, each in zip(lon.tolist(), lat.tolist(), told, strict=True)]
    path = tmp_path / "drawn.csv"
    path.write_text("\n".join(["lon,lat,stratum,inclusion_probability,stratum_pixels,class", *lines]) + "\n")
    with pytest.raises(ValueError, match=said):
        tw.compare(a, a, labels=path)


def test_words_on_labels_that_are_not_given_are_refused(make):
    a = make("a", some_map(1), numbers={})
    with pytest.raises(ValueError, match="speak of --labels"):
        tw.compare(a, a, column="seen")


def test_copies_of_labels_make_no_map_better(make, tmp_path):
    one, other = flat(0), flat(0)
    one[10, 10] = other[20, 20] = other[30, 30] = 1
    a, b = make("a", one, numbers={}), make("b", other, numbers={})
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    at = np.array([10, 20, 30, 40])
    lon, lat = to_degrees.transform((40_000 + at + 0.5) * 10, -(-540_000 + at + 0.5) * 10)
    lines = [f"{x!r},{y!r},land" for x, y in zip(lon.tolist(), lat.tolist(), strict=True)]
    told = {}
    for times in (1, 200):
        path = tmp_path / f"{times}.csv"
        path.write_text("\n".join(["lon,lat,class", *(lines * times)]))
        told[times] = tw.compare(a, b, labels=path)
    for key in ("mcnemar", "bootstrap"):
        apart = ("labels", "n_labels", "n_copies")
        once, often = ({name: value for name, value in told[n][key].items() if name not in apart} for n in (1, 200))
        assert once == often
        assert told[200][key]["n_copies"] == 796
        assert (told[1][key]["n"], told[1][key]["better"]) == (4, None)


def test_the_bootstrap_hangs_on_neither_the_order_of_rows_nor_that_of_the_class_table(make, tmp_path):
    one, other = some_map(1), some_map(2)
    truth = np.where(np.random.default_rng(0).random(one.shape) < 0.6, one, other)
    random = np.random.default_rng(7)
    rows, cols = random.integers(0, 150, 400), random.integers(0, 210, 400)
    kept = truth[rows, cols] != 255
    rows, cols = rows[kept], cols[kept]
    names = [("land", "water", "forest")[value] for value in truth[rows, cols]]
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((40_000 + cols + 0.5) * 10, -(-540_000 + rows + 0.5) * 10)
    lines = [f"{x!r},{y!r},{name}" for x, y, name in zip(lon.tolist(), lat.tolist(), names, strict=True)]
    told = []
    a = make("a", one, numbers={})
    for number, (order, classes) in enumerate([(lines, CLASSES), (lines[::-1], CLASSES[::-1])]):
        path = tmp_path / f"labels{number}.csv"
        path.write_text("\n".join(["lon,lat,class", *order]) + "\n")
        b = make(f"b{number}", other, classes=classes, numbers={})
        told.append(tw.compare(a, b, labels=path))
    for each in told:
        assert {each[key].pop("labels")[:6] for key in ("bootstrap", "mcnemar")} == {"labels"}
    first, second = (each["bootstrap"] for each in told)
    assert first == second
    assert told[0]["mcnemar"] == told[1]["mcnemar"]
    assert first["n"] == told[0]["mcnemar"]["n"]
    overall = first["overall_accuracy"]
    both = (one[rows, cols] != 255) & (other[rows, cols] != 255)
    labels = truth[rows, cols][both]
    right = [(each[rows, cols][both] == labels).mean() for each in (one, other)]
    assert (overall["a"], overall["b"]) == (pytest.approx(right[0]), pytest.approx(right[1]))
    assert overall["low"] < overall["difference"] < overall["high"] < 0
    assert first["better"] == told[0]["mcnemar"]["better"] == "a"
    assert list(first["per_class"]) == ["land", "water", "forest"]
    assert any("95 % interval" in sentence for sentence in told[0]["summary"])
