"""Jobs over places: each row's window is answered as numpy says, whatever the other rows and the order of work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import yaml
from pyproj import Transformer

import tilewright as tw
from tests.support.graphs import Draft, unet
from tests.support.paths import ROOT
from tests.support.places_cards import FLOAT, WINDOW, expected_label, label_card, places_job, window_of, write_points
from tests.support.worlds import COL, CRS, ROW, World, layer, pixel_job, write_card
from tests.support.worlds import run as run_world
from tilewright.flows.cli.printed.products import print_status
from tilewright.flows.maintain.status import product_status
from tilewright.flows.plan import make, raster
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.csv_points import read_points_csv

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 320


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A day of smooth noise with a hole, and another one in September with other values."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(5)
    base = random.uniform(0.1, 0.5, (SIDE // 16, SIDE // 16)).repeat(16, 0).repeat(16, 1)
    june = (base + random.uniform(-0.05, 0.05, (SIDE, SIDE))).astype(np.float32)
    june[100:130, 200:240] = np.nan
    september = (june[::-1, ::-1] * 0.5).copy()
    made.add(june, "red", unit="reflectance")
    made.add(september, "red", day="2023-09-10", unit="reflectance")
    made.june, made.september = june, september
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return label_card(tmp_path_factory.mktemp("card"))


def table(output):
    return geopandas.read_parquet(Path(output) / "places.parquet")


def scattered(n, seed=1, low=-30.0, high=SIDE + 30.0):
    return np.random.default_rng(seed).uniform(low, high, (2, n))


def check_row(found, values, row, col):
    window = window_of(values, row, col)
    observed = np.isfinite(window).mean()
    assert found["observed"] == pytest.approx(observed, abs=1e-12)
    if not observed:
        assert pd.isna(found["class"])
        assert pd.isna(found["confidence"])
        return
    if observed < 1:
        # What is missing is filled from the window; that filling is tested where it is made.
        assert not pd.isna(found["class"])
        return
    label, percent = expected_label(window.mean())
    assert abs(found["confidence"] - percent) <= 1
    assert found["class"] == label or percent <= 51


def test_ten_thousand_places_have_what_numpy_finds_over_the_whole_scene(world, card, tmp_path):
    rows, cols = scattered(10_000)
    write_points(tmp_path / "p.parquet", rows, cols, word=[f"p{number}" for number in range(10_000)])
    outcome = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"), RunOptions(workers=2))
    found = table(tmp_path / "out")
    assert found.columns.tolist() == ["id", "word", "class", "confidence", "observed", "geometry"]
    assert found.id.tolist() == list(range(1, 10_001))
    assert found.word.tolist() == [f"p{number}" for number in range(10_000)]
    assert found.crs.to_epsg() == int(CRS.split(":")[1])
    for number, row in enumerate(found.to_dict("records")):
        check_row(row, world.june, rows[number], cols[number])
    report = outcome.report
    assert report["places"]["rows"] == 10_000
    assert report["places"]["observed"] == int((found.observed > 0).sum())
    counts = {each["value"]: each["places"] for each in report["places"]["layers"][0]["classes"]}
    assert counts == {value: int((found["class"] == value).sum()) for value in (0, 1)}
    assert sum(report["places"]["layers"][1]["histogram"]["places"]) == int(found.confidence.notna().sum())
    assert report["tables"][0]["file"] == "places.parquet"
    item = json.loads((tmp_path / "out/item.json").read_text())
    assert item["assets"]["places"]["type"] == "application/vnd.apache.parquet"
    assert "data" not in item["assets"]
    assert not list((tmp_path / "out").rglob("*.tif"))
    assert not (tmp_path / "out/data.zarr").exists()
    opened = tw.open(str(tmp_path / "out"))
    assert len(opened.tables["places"]) == 10_000
    assert list(opened) == []
    page = (tmp_path / "out/report.html").read_text()
    assert "How many places" in page
    assert "km²</th>" not in page
    assert run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")).already_complete


@pytest.mark.parametrize("cut", [(7, 2, None), (64, 1, 5), (5000, 2, 3)], ids=str)
def test_units_workers_and_batches_change_no_byte(world, card, tmp_path, monkeypatch, cut):
    unit, workers, batch = cut
    rows, cols = scattered(300)
    write_points(tmp_path / "p.parquet", rows, cols)
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "one"), RunOptions(workers=1))
    for module in (make, raster):
        monkeypatch.setattr(module, "ROWS_PER_UNIT", unit)
    tile = {"tile": {"batch": batch}} if batch else {}
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "other", **tile), RunOptions(workers=workers))
    one, other = ((tmp_path / name / "places.parquet").read_bytes() for name in ("one", "other"))
    assert one == other


def test_a_row_has_the_same_answer_alone_and_beside_any_others(world, card, tmp_path):
    rows, cols = scattered(60, seed=2)
    write_points(tmp_path / "all.parquet", rows, cols)
    run_job(places_job(world, card, tmp_path / "all.parquet", tmp_path / "all"))
    whole = table(tmp_path / "all")
    picked = [41, 3, 17]
    write_points(tmp_path / "few.parquet", rows[picked], cols[picked])
    run_job(places_job(world, card, tmp_path / "few.parquet", tmp_path / "few"))
    few = table(tmp_path / "few")
    for name in ("class", "confidence", "observed"):
        assert few[name].fillna(-1).tolist() == whole[name].fillna(-1).iloc[picked].tolist()


def test_edges_duplicates_and_rows_without_a_place_stay_in_the_order_of_the_file(world, card, tmp_path):
    rows, cols = [50.5, 0.0, 50.5, 5000.0, 115.0, 50.0], [60.5, 0.0, 60.5, 60.0, 220.0, 60.0]
    path = write_points(tmp_path / "p.parquet", rows, cols, key=["a", "b", "c", "d", "e", "f"])
    given = geopandas.read_parquet(path)
    given.loc[5, "geometry"] = None
    given.to_parquet(path)
    run_job(places_job(world, card, {"file": "p.parquet", "id": "key"}, tmp_path / "out"))
    found = table(tmp_path / "out")
    assert found.columns.tolist() == ["key", "class", "confidence", "observed", "geometry"]
    assert found.key.tolist() == ["a", "b", "c", "d", "e", "f"]
    assert found.geometry.isna().tolist() == [False] * 5 + [True]
    for number in range(5):
        check_row(found.iloc[number].to_dict(), world.june, rows[number], cols[number])
    assert found.iloc[0][["class", "confidence", "observed"]].equals(found.iloc[2][["class", "confidence", "observed"]])
    assert found.observed.tolist()[1] == 0.25
    assert found.observed.tolist()[3:] == [0.0, 0.0, 0.0]
    assert found["class"].isna().tolist() == [False, False, False, True, True, True]


EMPTY = (
    shapely.Point(), shapely.Polygon(), shapely.GeometryCollection(), shapely.MultiPoint(), shapely.Point(9e307, 9e307),
    shapely.box(-1.7e308, -1.7e308, 1.7e308, 1.7e308),
)  # fmt: skip


@pytest.mark.parametrize("empty", EMPTY, ids=lambda shape: shape.wkt[:30])
def test_a_row_whose_shape_has_no_centre_gets_no_value(world, card, tmp_path, empty):
    path = write_points(tmp_path / "p.parquet", [50.5] * 2, [60.5] * 2)
    given = geopandas.read_parquet(path)
    given.loc[1, "geometry"] = empty
    given.to_parquet(path)
    run_job(places_job(world, card, path, tmp_path / "out"))
    assert table(tmp_path / "out")["class"].isna().tolist() == [False, True]


def test_rows_have_periods_of_their_own(world, card, tmp_path):
    periods = ["2023-06", "2023-09-01/2023-09-30", "", "2023-07", "2023-06/2023-09"]
    write_points(tmp_path / "p.parquet", [50.5] * 5, [60.5] * 5, when=periods)
    outcome = run_job(places_job(world, card, {"file": "p.parquet", "period": "when"}, tmp_path / "out"))
    assert outcome.report["period"]["rows"].startswith("2023-06-01T00:00:00+00:00/2023-09-30")
    job = places_job(world, card, {"file": "p.parquet", "period": "when"}, tmp_path / "out", period="2023-07")
    assert [scene.datetime.month for scene in tw.search(job)] == [6, 9]
    found = table(tmp_path / "out")
    june, september = (window_of(values, 50.5, 60.5) for values in (world.june, world.september))
    means = [june.mean(), september.mean(), june.mean(), None, ((june + september) / 2).mean()]
    for row, mean in zip(found.to_dict("records"), means, strict=True):
        assert row["observed"] == (0.0 if mean is None else 1.0)
        if mean is None:
            assert pd.isna(row["class"])
        else:
            label, percent = expected_label(mean)
            assert (row["class"], abs(row["confidence"] - percent) <= 1) == (label, True)
    item = json.loads((tmp_path / "out/item.json").read_text())
    assert item["properties"]["start_datetime"].startswith("2023-06-01")
    assert item["properties"]["end_datetime"].startswith("2023-09-30")


def test_a_series_is_cut_into_the_steps_of_each_rows_period(world, tmp_path):
    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[2, 3, 4], keepdims=0)
    model = draft.model_many([("x", FLOAT, ["batch", 2, 1, WINDOW, WINDOW])], [(mean, "y", FLOAT, ["batch", 2])])
    dims = ("batch", "time", "bands", "height", "width")
    dates = {"tw:dates": {"kind": "series", "steps": 2}, "tw:missing": {"fill": 0.0}}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"], "dims": dims, **dates}],
        outputs=[{"name": "y", "dims": ("batch", "channel"), "tw:layers": ["first", "second"]}],
        tile={"window": WINDOW, "step": None},
    )
    periods = ["2023-06-01/2023-09-30", "2023-09-01/2023-12-31"]
    write_points(tmp_path / "p.parquet", [50.5] * 2, [60.5] * 2, when=periods)
    run_job(places_job(world, card, {"file": "p.parquet", "period": "when"}, tmp_path / "out"))
    found = table(tmp_path / "out")
    june, september = (window_of(values, 50.5, 60.5).mean() for values in (world.june, world.september))
    np.testing.assert_allclose(found["first"], [june, september], rtol=1e-5)
    np.testing.assert_allclose(found["second"], [september, 0], rtol=1e-5)
    write_points(tmp_path / "bad.parquet", [50.5], [60.5], when=["2023-06"])
    dates["tw:dates"]["every"] = "month"
    card = write_card(
        tmp_path / "monthly",
        model,
        inputs=[{"name": "x", "bands": ["red"], "dims": dims, **dates}],
        outputs=[{"name": "y", "dims": ("batch", "channel"), "tw:layers": ["first", "second"]}],
        tile={"window": WINDOW, "step": None},
    )
    job = places_job(
        world, card, {"file": "bad.parquet", "period": "when"}, tmp_path / "no", period="2023-06-01/2023-07-31"
    )
    with pytest.raises(ValueError, match=r"places\.period: 2023-06-01/2023-06-30 does not fit input x of small"):
        run_job(job)


def test_a_raster_is_told_at_the_pixel_of_the_centroid_as_a_map_would_have_it(world, tmp_path):
    draft = Draft()
    blurred = draft.conv("x", 1, 1, (5, 5))
    model = draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(blurred, "y", FLOAT, ["batch", 1, "h", "w"])])
    card = write_card(
        tmp_path / "card", model,
        inputs=[{"name": "x", "bands": ["red"]}], outputs=[{"name": "y", "tw:layers": ["value"]}],
        tile={"step": None},
    )  # fmt: skip
    run_world(pixel_job(world, card, tmp_path / "map", rows=(0, SIDE), cols=(0, SIDE)))
    values = layer(tmp_path / "map", "value")
    rows, cols = scattered(200, seed=3, low=4, high=SIDE - 4)
    write_points(tmp_path / "p.parquet", rows, cols)
    outcome = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    found = table(tmp_path / "out")
    assert outcome.report["window"] == 5
    here = values[np.floor(rows).astype(int), np.floor(cols).astype(int)]
    whole = np.array(
        [np.isfinite(window_of(world.june, r, c, window=5)).all() for r, c in zip(rows, cols, strict=True)]
    )
    assert whole.sum() > 150
    np.testing.assert_allclose(found["value"][whole], here[whole], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tile", [{"step": None}, {"window": 128, "step": None}], ids=["free", "fixed"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_model_of_strides_says_at_each_place_what_its_map_says(world, tmp_path, depth, tile):
    """The answer hangs on where a pixel lies in its stride: windows of places begin where those of maps begin."""
    card = write_card(
        tmp_path / "card", unet(n_in=1, n_out=1, depth=depth), inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "tw:layers": ["value"]}], tile=tile,
    )  # fmt: skip
    made = run_world(pixel_job(world, card, tmp_path / "map", rows=(0, SIDE), cols=(0, SIDE))).report
    rows, cols = scattered(400, seed=3, low=60, high=SIDE - 60)
    write_points(tmp_path / "p.parquet", rows, cols)
    report = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")).report
    assert report["exactness"] == made["exactness"]
    # Nobody asked for the small step that places have.
    assert "as asked" not in report["windows_reason"]
    assert ("all that is kept" in report["windows_reason"]) == ("window" not in tile)
    found = table(tmp_path / "out")
    here = layer(tmp_path / "map", "value")[np.floor(rows).astype(int), np.floor(cols).astype(int)]
    seen = (found["observed"] == 1).to_numpy()
    assert seen.sum() > 60
    np.testing.assert_allclose(found["value"][seen], here[seen], rtol=1e-4, atol=1e-5)


def mask_card(folder, *, window=WINDOW):
    draft = Draft()
    inside = draft.node("ReduceSum", "place", draft.constant(np.array([1, 2, 3])), keepdims=0)
    total = draft.node("ReduceSum", draft.node("Mul", "x", "place"), draft.constant(np.array([1, 2, 3])), keepdims=0)
    both = draft.node(
        "Concat", *(draft.node("Unsqueeze", one, draft.constant(np.array([1]))) for one in (inside, total)), axis=1
    )
    shape = ["batch", 1, window, window]
    model = draft.model_many([("x", FLOAT, shape), ("place", FLOAT, shape)], [(both, "y", FLOAT, ["batch", 2])])
    return write_card(
        folder, model,
        inputs=[{"name": "x", "bands": ["red"]}, {"name": "place", "tw:extra": {"kind": "place_mask"}}],
        outputs=[{"name": "y", "dims": ("batch", "channel"), "tw:layers": ["pixels", "total"]}],
        tile={"window": window, "step": None},
    )  # fmt: skip


def shape_at(points):
    return [((COL + col) * 10.0, -(ROW + row) * 10.0) for row, col in points]


def test_the_mask_of_a_place_is_1_inside_its_geometry_and_at_its_centroid(world, tmp_path):
    shapes = [
        shapely.Polygon(shape_at([(40, 50), (46, 50), (46, 58), (40, 58)])),
        shapely.Point(shape_at([(40.5, 50.5)])[0]),
        shapely.LineString(shape_at([(40, 50), (46, 50)])),
        shapely.Polygon(shape_at([(40.1, 50.1), (40.4, 50.1), (40.4, 50.4)])),
        shapely.MultiPolygon(
            [shapely.Polygon(shape_at([(40, c), (42, c), (42, c + 2), (40, c + 2)])) for c in (50, 56)]
        ),
        shapely.Polygon(shape_at([(0, 0), (200, 0), (200, 200), (0, 200)])),
    ]
    geopandas.GeoDataFrame({"n": range(6)}, geometry=shapes, crs=CRS).to_parquet(tmp_path / "p.parquet")
    run_job(places_job(world, mask_card(tmp_path / "card"), tmp_path / "p.parquet", tmp_path / "out"))
    found = table(tmp_path / "out")
    assert found.pixels.tolist() == [48, 1, 1, 1, 9, 256]
    total = world.june[40:46, 50:58].sum()
    np.testing.assert_allclose(found.total[:2], [total, world.june[40, 50]], rtol=1e-5)
    job = pixel_job(world, tmp_path / "card", tmp_path / "map", rows=(0, 64), cols=(0, 64))
    with pytest.raises(ValueError, match=r"place_mask\): give places instead of an area"):
        run_job(job)


def test_the_table_has_a_style_by_its_classes_and_the_page_names_them(world, card, tmp_path):
    write_points(tmp_path / "p.parquet", *scattered(30), name=[f"pt {number}" for number in range(30)])
    job = places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")
    run_job(job)
    text = (tmp_path / "out/places.qml").read_text()
    assert 'attr="class"' in text
    assert 'type="marker"' in text
    assert 'value="1" type="long" label="high"' in text
    asset = json.loads((tmp_path / "out/item.json").read_text())["assets"]["places_style"]
    assert asset["href"] == "./places.qml"
    page = (tmp_path / "out/report.html").read_text()
    assert re.search(r'class="name"><span class="swatch"[^>]*></span>(low|high)</td>', page)
    assert 'data-column="1">Class</button>' in page
    assert not re.search(r"</span>pt \d+</td>", page)
    assert unfinished(open_storage(str(tmp_path / "out"))) == ()
    # A style of somebody stays, and is no part of the product.
    (tmp_path / "out/places.qml").write_text("<qgis>mine</qgis>")
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"), RunOptions(replace=True))
    assert (tmp_path / "out/places.qml").read_text() == "<qgis>mine</qgis>"


def test_values_of_places_are_coloured_along_the_ramp_and_parcels_are_areas(world, card, tmp_path):
    where = tmp_path / "p.parquet"
    write_points(where, *scattered(20))
    parcels = geopandas.read_parquet(where)
    parcels.geometry = parcels.geometry.buffer(40)
    parcels.to_parquet(where)
    run_job(places_job(world, card, where, tmp_path / "out", layers=["confidence"]))
    text = (tmp_path / "out/places.qml").read_text()
    assert 'attr="confidence"' in text
    assert 'type="fill"' in text


def test_the_report_counts_the_rows_without_an_observation_and_says_why(world, card, tmp_path):
    write_points(tmp_path / "p.parquet", [50, 115, 5000, 60], [50, 220, 5000, 60], period=[None, None, None, "2023-01"])
    places = {"file": "p.parquet", "period": "period"}
    outcome = run_job(places_job(world, card, places, tmp_path / "out"))
    assert table(tmp_path / "out").observed.gt(0).tolist() == [True, False, False, False]
    (said,) = [words for words in outcome.report["warnings"] if "usable observation" in words]
    assert said.startswith("3 places of 4 without a usable observation: 2 outside all scenes of their period")
    assert "1 within scenes that have no usable pixel there" in said
    assert "3 places of 4 without" in (tmp_path / "out/report.html").read_text()
    # The job that the page shows can be run from anywhere.
    assert outcome.report["job"]["places"]["file"] == str((tmp_path / "p.parquet").resolve())
    product = tw.open(str(tmp_path / "out"))
    with pytest.raises(KeyError, match=r"look for its columns in \.tables\['places'\]"):
        product["class"]
    assert "'places'" in repr(product.tables)
    assert "'places'" in repr(product.tables.keys())


def test_a_run_that_only_published_tells_no_rate_and_speaks_of_units(world, card, tmp_path, capsys):
    write_points(tmp_path / "p.parquet", *scattered(30))
    job = places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")
    assert run_job(job).report["places_per_s"] > 0
    (tmp_path / "out/item.json").unlink()
    again = run_job(job)
    assert (again.report["blocks_made"], again.report.get("places_per_s")) == (0, None)
    page = (tmp_path / "out/report.html").read_text()
    assert "places/s" not in page
    assert "<dt>Units</dt>" in page
    assert "Blocks" not in page
    found = json.loads((tmp_path / "out/progress.json").read_text())
    assert "km2_per_s" not in found
    assert "places_per_s" not in found
    assert any("unit stands from before" in notice or "units stand" in notice for notice in found["notices"])
    assert product_status(str(tmp_path / "out"))["unit"] == "unit of 256 rows"
    print_status(product_status(str(tmp_path / "out")))
    assert "complete, 1 of 1 unit of 256 rows" in " ".join(capsys.readouterr().out.split())


def test_a_histogram_has_no_empty_rows_at_its_ends(world, card, tmp_path):
    write_points(tmp_path / "p.parquet", *scattered(60, low=20, high=SIDE - 20))
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    layers = json.loads((tmp_path / "out/report.json").read_text())["places"]["layers"]
    counts = next(each["histogram"]["places"] for each in layers if each["name"] == "confidence")
    page = (tmp_path / "out/report.html").read_text()
    bars = re.search(r"<h3>confidence</h3>.*?</table>", page, re.DOTALL)[0]
    shown = [int(found) for found in re.findall(r'<td class="num">(\d+)</td>', bars)]
    assert shown[0] > 0
    assert shown[-1] > 0
    assert len(shown) < len(counts) == 20
    assert sum(shown) == sum(counts) > 0


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(world, card, tmp_path):
    rows, cols = scattered(6000, seed=4)
    path = write_points(tmp_path / "p.parquet", rows, cols)
    run_job(places_job(world, card, path, tmp_path / "whole"), RunOptions(workers=2))
    job = {
        "name": "world", "places": str(path), "period": "2023-06-01/2023-06-30", "source": world.source,
        "model": str(card), "grid": {"crs": CRS}, "output": str(tmp_path / "killed"),
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    command = [sys.executable, "-m", "tilewright.flows.cli", "run", str(tmp_path / "job.yaml"), "--workers", "1"]
    ledger = tmp_path / "killed/.tilewright/ledger"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until and len(list(ledger.glob("*.json"))) < 3:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    done = len(list(ledger.glob("*.json")))
    assert 3 <= done < 24
    assert not (tmp_path / "killed/item.json").exists()
    outcome = run_job(places_job(world, card, path, tmp_path / "killed"), RunOptions(workers=2))
    assert outcome.report["blocks_made"] == 24 - done
    one, other = ((tmp_path / name / "places.parquet").read_bytes() for name in ("whole", "killed"))
    assert one == other


def test_an_update_redoes_the_units_whose_rows_changed(world, card, tmp_path, monkeypatch):
    for module in (make, raster):
        monkeypatch.setattr(module, "ROWS_PER_UNIT", 50)
    rows, cols = scattered(200, seed=6, low=10, high=SIDE - 10)
    path = write_points(tmp_path / "p.parquet", rows, cols)
    run_job(places_job(world, card, path, tmp_path / "out"))
    rows[7] += 1
    write_points(path, rows, cols)
    job = places_job(world, card, path, tmp_path / "out")
    with pytest.raises(ValueError, match="places"):
        run_job(job)
    outcome = run_job(job, RunOptions(update=True))
    assert 1 <= outcome.report["blocks_made"] <= 2
    run_job(places_job(world, card, path, tmp_path / "anew"))
    assert (tmp_path / "out/places.parquet").read_bytes() == (tmp_path / "anew/places.parquet").read_bytes()


TABLES = {"fewer": slice(0, 90), "more": slice(0, 200), "elsewhere": slice(150, 200), "none of before": slice(110, 150)}


@pytest.mark.parametrize("other", TABLES)
def test_an_update_takes_a_table_of_another_extent(world, card, tmp_path, monkeypatch, other):
    for module in (make, raster):
        monkeypatch.setattr(module, "ROWS_PER_UNIT", 20)
    rows, cols = scattered(200, seed=7, low=10, high=SIDE - 10)
    rows[:110], cols[:110] = rows[:110] / 2, cols[:110] / 2
    path = write_points(tmp_path / "p.parquet", rows[:110], cols[:110])
    run_job(places_job(world, card, path, tmp_path / "out"))
    write_points(path, rows[TABLES[other]], cols[TABLES[other]])
    run_job(places_job(world, card, path, tmp_path / "out"), RunOptions(update=True))
    run_job(places_job(world, card, path, tmp_path / "anew"))
    assert (tmp_path / "out/places.parquet").read_bytes() == (tmp_path / "anew/places.parquet").read_bytes()
    records = [sorted(each.name for each in (tmp_path / name).rglob("*.bin")) for name in ("out", "anew")]
    assert records[0] == records[1]


def test_an_update_never_makes_a_table_of_a_map_nor_a_map_of_a_table(world, card, tmp_path):
    table_job = places_job(world, card, write_points(tmp_path / "p.parquet", [50.5], [60.5]), tmp_path / "out")
    run_job(table_job)
    draft = Draft()
    both = draft.node("Concat", "x", draft.node("Neg", "x"), axis=1)
    map_card = write_card(
        tmp_path / "card", draft.model(both, n_in=1, n_out=2), inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["a", "b"]}], tile={"window": WINDOW, "step": None},
    )  # fmt: skip
    map_job = pixel_job(world, map_card, tmp_path / "out", rows=(43, 59), cols=(53, 69))
    with pytest.raises(StoreError, match="--update: .* differs from this job in"):
        run_job(map_job, RunOptions(update=True))
    run_job(map_job, RunOptions(replace=True))
    assert not (tmp_path / "out/places.parquet").exists()
    with pytest.raises(StoreError, match="--update: .* differs from this job in"):
        run_job(table_job, RunOptions(update=True))


CODES = {
    "zeros": (["001", "010", "7"], ["001", "010", "7"]),
    "long": (["12345678901234567890123", "12345678901234567890124", ""], ["12345678901234567890123",
             "12345678901234567890124", None]),
    "base 16": (["0x1F", "0x20", "7"], ["0x1F", "0x20", "7"]),
    "whole": (["1", "-20", "0"], [1, -20, 0]),
    "floats": (["0.5", "1e5", "-0.25"], [0.5, 1e5, -0.25]),
    "words": (["a", "b", "c"], ["a", "b", "c"]),
    "large": (["9007199254740993", "2", "3"], [9007199254740993, 2, 3]),
    "zeros and none": (["01", "", "02"], ["01", None, "02"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CODES)
def test_codes_of_a_csv_lose_no_digit(tmp_path, name):
    written, read = CODES[name]
    rows = "".join(f"13.1,48.2,{code}\n" for code in written)
    (tmp_path / "p.csv").write_text(f"lon,lat,code\n{rows}")
    assert read_points_csv(tmp_path / "p.csv").columns["code"].to_pylist() == read


@pytest.mark.parametrize("form", ["csv", "geojson", "fgb", "gpkg", "parquet"])
def test_every_format_gives_the_same_rows(world, card, tmp_path, form):
    rows, cols = scattered(20, seed=8, low=20, high=SIDE - 20)
    given = geopandas.read_parquet(write_points(tmp_path / "p.parquet", np.floor(rows) + 0.5, np.floor(cols) + 0.5))
    given["word"] = [f"w{number}" for number in range(20)]
    lonlat = given.to_crs(4326)
    path = tmp_path / f"q.{form}"
    if form == "csv":
        pd.DataFrame({"lon": lonlat.geometry.x, "lat": lonlat.geometry.y, "word": lonlat.word}).to_csv(
            path, index=False
        )
    elif form == "parquet":
        lonlat.to_parquet(path)
    elif form == "fgb":
        given.to_file(path, SPATIAL_INDEX="NO")
    else:
        (lonlat if form == "geojson" else given).to_file(path)
    run_job(places_job(world, card, path, tmp_path / "out"))
    found = table(tmp_path / "out")
    assert found.word.tolist() == given.word.tolist()
    for number, row in enumerate(found.to_dict("records")):
        check_row(row, world.june, np.floor(rows[number]), np.floor(cols[number]))


def test_a_grid_is_chosen_amid_rows_on_both_sides_of_180_degrees(world, card, tmp_path):
    places = pd.DataFrame({"lon": [179.95, -179.95, 179.99], "lat": [-16.0, -16.0, -16.1]})
    places.to_csv(tmp_path / "p.csv", index=False)
    job = places_job(world, card, tmp_path / "p.csv", tmp_path / "out", grid={"crs": "utm"})
    rows = raster.job_rows(job, job_card(job), SimpleNamespace(window=WINDOW, stride=1))
    assert len(rows.order) == 3
    assert abs(np.diff(rows.centres[:, 1])).max() < 2000


def test_places_all_over_the_globe_make_no_raster(world, card, tmp_path):
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((COL + 60.5) * 10, -(ROW + 50.5) * 10)
    places = pd.DataFrame({"lon": [lon, -170.0, 100.0, 179.9, 0.0], "lat": [lat, -60.0, 30.0, 10.0, 89.9]})
    places.to_csv(tmp_path / "p.csv", index=False)
    outcome = run_job(places_job(world, card, tmp_path / "p.csv", tmp_path / "out"))
    found = table(tmp_path / "out")
    check_row(found.iloc[0].to_dict(), world.june, 50, 60)
    assert found.observed.tolist()[1:] == [0.0] * 4
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) < 2e6
    assert outcome.report["places"]["observed"] == 1


def test_a_file_that_changed_before_a_resume_is_read_anew(card, tmp_path):
    changing = World(tmp_path / "world")
    random = np.random.default_rng(7)
    changing.add(random.uniform(0.2, 0.4, (64, 64)).astype(np.float32), "red", unit="reflectance")
    write_points(tmp_path / "p.parquet", *scattered(40, seed=7, low=0, high=64))
    run_job(places_job(changing, card, tmp_path / "p.parquet", tmp_path / "out"))
    before = (tmp_path / "out/places.parquet").read_bytes()
    (tmp_path / "out/item.json").unlink()
    run_job(places_job(changing, card, tmp_path / "p.parquet", tmp_path / "out"))
    assert (tmp_path / "out/places.parquet").read_bytes() == before
    (tmp_path / "out/item.json").unlink()
    time.sleep(0.02)
    changing.add(random.uniform(0.2, 0.4, (64, 64)).astype(np.float32), "red", unit="reflectance")
    Path(changing.files[1]["href"]).replace(changing.files[0]["href"])
    changing.files.pop()
    notices = []
    job = places_job(changing, card, tmp_path / "p.parquet", tmp_path / "out")
    run_job(job, listener=lambda event: notices.append(getattr(event, "text", "")))
    assert any("changed since the product was begun" in text for text in notices)
    run_job(places_job(changing, card, tmp_path / "p.parquet", tmp_path / "anew"))
    found, anew = ((tmp_path / name / "places.parquet").read_bytes() for name in ("out", "anew"))
    assert found == anew != before


def test_records_that_were_damaged_are_made_again(world, card, tmp_path):
    write_points(tmp_path / "p.parquet", *scattered(40, seed=11))
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    before = (tmp_path / "out/places.parquet").read_bytes()
    (tmp_path / "out/item.json").unlink()
    (tmp_path / "out/.tilewright/places/0_0.bin").write_bytes(b"other")
    outcome = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    assert outcome.report["blocks_made"] == 1
    assert (tmp_path / "out/places.parquet").read_bytes() == before
