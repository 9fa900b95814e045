"""Polygons of a layer are published with the product: the same file in every cut, listed wherever layers are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely

import tilewright as tw
from tests.support.graphs import Draft
from tests.support.table_standards import assert_fiboa, assert_geoparquet
from tests.support.worlds import CRS, World, area, bounds, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 300
HEAD = {"name": "y", "classes": ["low", "high"], "tw:activation": "softmax"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Patches of a few pixels, some of which nobody saw."""
    made = World(tmp_path_factory.mktemp("world"))
    for number, band in enumerate(("red", "nir")):
        random = np.random.default_rng(number)
        values = random.integers(1, 6000, (SIDE // 3, SIDE // 3)).repeat(3, axis=0).repeat(3, axis=1)
        values[100:130, 200:215] = 0
        made.add(values.astype(np.uint16), band, day="2023-06-01", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return made


def brighter():
    """Class 1 where the second band is the brighter one."""
    draft = Draft()
    weights = draft.constant(np.array([[1, -1], [-1, 1]], np.float32)[:, :, None, None])
    return draft.model(draft.node("Conv", "x", weights, kernel_shape=[1, 1]), n_in=2, n_out=2)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(
        tmp_path_factory.mktemp("card"), brighter(), inputs=[{"name": "x", "bands": ["red", "nir"]}], outputs=[HEAD],
        tile={"step": 64},
    )  # fmt: skip


def job_of(world, card, output, *, rows=(7, 270), cols=(20, 290), polygons="class", **changes):
    return pixel_job(world, card, output, rows=rows, cols=cols, polygons=polygons, **changes)


def table(output, name="class_polygons"):
    return geopandas.read_parquet(Path(output) / f"{name}.parquet")


def test_they_are_those_of_the_layer(world, card, tmp_path):
    output = tmp_path / "out"
    report = run(job_of(world, card, output)).report
    found = table(output)
    with rasterio.open(output / "class.tif") as file:
        values, nodata = file.read(1), file.nodata
        wanted = [
            (int(value), shapely.normalize(shapely.geometry.shape(plain)).wkb)
            for plain, value in rasterio.features.shapes(values, mask=values != nodata, transform=file.transform)
        ]
    given = [each.wkb for each in shapely.normalize(found.geometry)]
    assert sorted(zip(found.value, given, strict=True)) == sorted(wanted)
    assert len(found) > 500
    assert set(zip(found.value, found.name, strict=True)) == {(0, "low"), (1, "high")}
    assert report["tables"] == [
        {
            "name": "class_polygons",
            "file": "class_polygons.parquet",
            "rows": len(found),
            "bytes": (output / "class_polygons.parquet").stat().st_size,
            "checksum": "1220" + hashlib.sha256((output / "class_polygons.parquet").read_bytes()).hexdigest(),
        }
    ]
    item = json.loads((output / "item.json").read_text())
    asset = item["assets"]["class_polygons"]
    assert asset["href"] == "./class_polygons.parquet"
    assert asset["type"] == "application/vnd.apache.parquet"
    assert asset["file:checksum"] == report["tables"][0]["checksum"]


def test_python_the_page_and_a_rerun_know_them(world, card, tmp_path):
    output = tmp_path / "out"
    run(job_of(world, card, output))
    product = tw.open(output)
    assert product.tables["class_polygons"].num_rows == len(table(output))
    assert set(product.tables) == {"manifest", "items", "class_polygons"}
    assert "class_polygons.parquet" in (output / "report.html").read_text()
    again = rerun_item(str(output / "item.json"), output=str(tmp_path / "again"))
    assert again["identical"] is True
    assert again["layers"] == {"class": True, "confidence": True, "class_polygons": True}
    # Rows that somebody changed since are not those that the plan makes.
    found = table(output)
    found.iloc[1:].to_parquet(output / "class_polygons.parquet")
    item = json.loads((output / "item.json").read_text())
    item["assets"]["class_polygons"]["file:checksum"] = "1220" + "0" * 64
    (output / "item.json").write_text(json.dumps(item))
    assert rerun_item(str(output / "item.json"), output=str(tmp_path / "again"))["layers"]["class_polygons"] is False


def test_a_record_that_nobody_wrote_is_none(world, card, tmp_path):
    job = job_of(world, card, tmp_path / "out")
    run(job)
    file, record = (
        tmp_path / "out/class_polygons.parquet",
        tmp_path / "out/.tilewright/tables/class_polygons.parquet.json",
    )
    content, plain = file.read_bytes(), json.loads(record.read_text())
    for changes in ({"size": "many"}, {"n_rows": -1}, {"checksum": 7}, {"key": None}, {"n_rows": True}):
        (tmp_path / "out/item.json").unlink(missing_ok=True)
        record.write_text(json.dumps({**plain, **changes}))
        run(job)
        assert file.read_bytes() == content
        assert json.loads(record.read_text())["n_rows"] == plain["n_rows"]


@pytest.mark.parametrize(
    "changes", [{"tile": {"block": 64}}, {"tile": {"block": 128}}, {"zarr_format": 2}], ids=["64", "128", "zarr 2"]
)
def test_the_file_is_the_same_in_every_cut(world, card, tmp_path, changes):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(job_of(world, card, whole, tile={"block": 512}))
    run(job_of(world, card, cut, **changes), workers=4)
    assert (whole / "class_polygons.parquet").read_bytes() == (cut / "class_polygons.parquet").read_bytes()


def test_shapes_inside_a_smaller_area_are_those_of_the_larger(world, card, tmp_path):
    run(job_of(world, card, tmp_path / "large"))
    run(job_of(world, card, tmp_path / "small", rows=(40, 200), cols=(60, 230)))
    large, small = table(tmp_path / "large"), table(tmp_path / "small")
    inner = small[~small.touches_edge]
    assert len(inner) > 100
    among = set(zip(large.value, large.geometry.to_wkb(), strict=True))
    assert all(each in among for each in zip(inner.value, inner.geometry.to_wkb(), strict=True))
    # In the same order, too.
    places = {wkb: place for place, wkb in enumerate(large.geometry.to_wkb())}
    assert (np.diff([places[wkb] for wkb in inner.geometry.to_wkb()]) > 0).all()


@pytest.mark.parametrize("polygons", ["class", {"class": {"simplify": 15}}], ids=["as they are", "simplified"])
def test_a_run_broken_off_and_one_on_a_cluster_make_the_same_file(world, card, tmp_path, polygons):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(job_of(world, card, whole, polygons=polygons, tile={"block": 64}))
    job, seen = job_of(world, card, cut, polygons=polygons, tile={"block": 64}), []

    def breaking(event):
        seen.append(event)
        if sum(isinstance(each, Advance) and bool(each.block) for each in seen) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    assert not (cut / "item.json").exists()
    outcome = run_job(job, RunOptions(runner="dask", workers=2))
    assert 0 < outcome.report["blocks_made"] < outcome.report["blocks"]
    assert (whole / "class_polygons.parquet").read_bytes() == (cut / "class_polygons.parquet").read_bytes()


def test_classes_least_area_and_connectivity_are_as_asked(world, card, tmp_path):
    asked = {"class": {"classes": ["high"], "least_area": 2000, "connectivity": 8}}
    run(job_of(world, card, tmp_path / "out", polygons=asked))
    run(job_of(world, card, tmp_path / "all", polygons={"class": {"connectivity": 8}}))
    found, every = table(tmp_path / "out"), table(tmp_path / "all")
    assert set(found.name) == {"high"}
    assert found.is_valid.all()
    assert found.area_m2.min() >= 2000
    wanted = every[(every.name == "high") & (every.area_m2 >= 2000)]
    assert found.geometry.to_wkb().tolist() == wanted.geometry.to_wkb().tolist()
    assert every.area_m2.sum() == (layer(tmp_path / "all", "class") != 255).sum() * 100


@pytest.mark.parametrize("connectivity", [4, 8])
def test_simplified_shapes_fit_together_and_are_the_same_in_every_cut(world, card, tmp_path, connectivity):
    asked = {"class": {"simplify": 15, "connectivity": connectivity}}
    run(job_of(world, card, tmp_path / "whole", polygons=asked, tile={"block": 512}))
    run(job_of(world, card, tmp_path / "cut", polygons=asked, tile={"block": 64}), workers=4)
    run(job_of(world, card, tmp_path / "own", polygons={"class": {"connectivity": connectivity}}))
    whole, cut = (tmp_path / name / "class_polygons.parquet" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    found, own = table(tmp_path / "whole"), table(tmp_path / "own")
    assert found.drop(columns="geometry").equals(own.drop(columns="geometry"))
    geometries = found.geometry.to_numpy()
    assert found.is_valid.all()
    assert shapely.coverage_is_valid(geometries)
    assert shapely.area(geometries).sum() == pytest.approx(shapely.union_all(geometries).area, rel=1e-9)
    assert len(shapely.get_coordinates(geometries)) < 0.9 * len(shapely.get_coordinates(own.geometry.to_numpy()))
    run(job_of(world, card, tmp_path / "small", polygons=asked, rows=(40, 200), cols=(60, 230)))
    small = table(tmp_path / "small")
    inner = small[~small.touches_edge]
    assert len(inner) > (100 if connectivity == 4 else 10)
    among = set(zip(found.value, found.geometry.to_wkb(), strict=True))
    assert all(each in among for each in zip(inner.value, inner.geometry.to_wkb(), strict=True))


def test_an_outline_of_the_area_is_an_edge_and_nodata_is_none(world, card, tmp_path):
    job = job_of(world, card, tmp_path / "out")
    run(job)
    found = table(tmp_path / "out")
    with rasterio.open(tmp_path / "out/class.tif") as file:
        frame = shapely.box(*file.bounds).exterior
        hole = rasterio.features.shapes((file.read(1) == file.nodata).astype(np.uint8), transform=file.transform)
        beside = [shapely.geometry.shape(plain) for plain, value in hole if value]
    expected = shapely.length(shapely.intersection(found.geometry.exterior.to_numpy(), frame)) > 0
    assert np.array_equal(found.touches_edge, expected)
    assert beside
    assert (~found.touches_edge & found.touches(shapely.union_all(beside))).any()


FULL_DISK = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
os.execve(sys.argv[1], sys.argv[1:], {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})  # cut .pyc files would stay
"""


def test_a_full_disk_ends_the_run_in_one_sentence_and_the_next_one_finishes(world, card, tmp_path):
    """No file may grow beyond 60 kB: blocks and layers are smaller, the geometries that wait are not."""
    box = {"rows": (7, 270), "cols": (20, 290)}
    plain = {
        "name": "world", "area": area((3, 274), (16, 294)), "period": "2023-06-01/2023-06-30", "source": world.source,
        "model": str(card), "grid": {"crs": CRS, "bounds": bounds(*box.values())}, "polygons": "class",
        "tile": {"block": 64},
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(plain))
    command = [sys.executable, "-X", "faulthandler", "-m", "tilewright.flows.cli", "run", str(tmp_path / "job.json")]
    command += ["--output", str(tmp_path / "out")]
    full = subprocess.run([sys.executable, "-c", FULL_DISK, *command], capture_output=True, text=True, check=False)
    assert full.returncode == 1, full.stderr
    assert "write class_polygons.parquet to" in full.stderr
    assert "the disk is full. Make room and run the same job again." in full.stderr
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "out/item.json").exists()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(table(tmp_path / "out")) > 500


def test_a_second_run_keeps_the_table_and_a_removed_one_is_made_again(world, card, tmp_path):
    job = job_of(world, card, tmp_path / "out")
    run(job)
    file = tmp_path / "out/class_polygons.parquet"
    content = file.read_bytes()
    (tmp_path / "out/item.json").unlink()
    before = file.stat().st_mtime_ns
    run(job)
    assert file.stat().st_mtime_ns == before
    (tmp_path / "out/item.json").unlink()
    file.write_bytes(content[:-1] + b"x")
    run(job)
    assert file.read_bytes() == content


def test_polygons_may_be_asked_for_later_and_no_block_is_made_again(world, card, tmp_path):
    run(pixel_job(world, card, tmp_path / "out", rows=(7, 270), cols=(20, 290)))
    outcome = run_job(job_of(world, card, tmp_path / "out"), RunOptions(workers=1, update=True))
    assert outcome.report["blocks_made"] == 0
    run(job_of(world, card, tmp_path / "new"))
    assert (tmp_path / "out/class_polygons.parquet").read_bytes() == (
        tmp_path / "new/class_polygons.parquet"
    ).read_bytes()


def test_columns_of_fiboa_are_as_asked_in_every_cut_and_by_a_rerun(world, card, tmp_path):
    asked = {"class": {"classes": ["high"], "columns": "fiboa"}}
    whole, cut, ours = tmp_path / "whole", tmp_path / "cut", tmp_path / "ours"
    run(job_of(world, card, whole, tile={"block": 512}, polygons=asked))
    run(job_of(world, card, cut, tile={"block": 64}, polygons=asked))
    assert (whole / "class_polygons.parquet").read_bytes() == (cut / "class_polygons.parquet").read_bytes()
    found = assert_fiboa(whole / "class_polygons.parquet")
    assert found["determination_datetime"].to_pylist()[0] == datetime(2023, 6, 1, 10, tzinfo=UTC)
    run(job_of(world, card, ours, polygons={"class": {"classes": ["high"]}}))
    plain = assert_geoparquet(ours / "class_polygons.parquet")
    assert found["geometry"].equals(plain["geometry"])
    np.testing.assert_allclose(found["area"], np.array(plain["area_m2"]) / 10_000, rtol=1e-6)
    page = (whole / "report.html").read_text()
    assert ">Area</button>" in page
    assert "determination" not in page
    assert rerun_item(str(whole / "item.json"), output=str(tmp_path / "again"))["identical"] is True
    outcome = run_job(job_of(world, card, ours, polygons=asked), RunOptions(workers=1, update=True))
    assert outcome.report["blocks_made"] == 0
    assert (ours / "class_polygons.parquet").read_bytes() == (whole / "class_polygons.parquet").read_bytes()


def test_a_grid_in_degrees_is_refused(world, card, tmp_path):
    grid = {"crs": "EPSG:4326", "resolution": 0.0001, "bounds": None}
    with pytest.raises(JobError, match=r"areas in square metres, and grid.crs 'EPSG:4326' is in degrees"):
        plan_job(job_of(world, card, tmp_path / "out", grid=grid))


@pytest.mark.parametrize(
    ("polygons", "said"),
    [
        ("clas", "polygons: 'clas' is no layer of the product (did you mean 'class'?)"),
        ("confidence", "polygons: the layer confidence holds values, not classes"),
        ({"class": {"classes": ["hihg"]}}, "polygons.class.classes: 'hihg' is no class (did you mean 'high'?)"),
        ({"class": {"least_area": -1}}, "polygons.class.least_area"),
        ({"class": {"simplify": -1}}, "polygons.class.simplify"),
        ({"class": {"simplify": float("nan")}}, "polygons.class.simplify"),
        ({"class": {"simplify": float("inf")}}, "polygons.class.simplify"),
        ({"class": {"simplify": True}}, "polygons.class.simplify"),
        ({"class": {"simplify": "much"}}, "polygons.class.simplify"),
        ({"class": {"connectivity": 6}}, "polygons.class.connectivity"),
        ({"class": {"smooth": 3}}, "polygons.class.smooth"),
        ({"class": {"columns": "shp"}}, "polygons.class.columns"),
        ({"class": 3}, "polygons.class"),
        ({"simplify": 10}, "simplify stands where a class layer is named; write {class: "),
        (True, "expected the name of a class layer"),
        (7, "polygons"),
    ],
)
def test_what_has_no_polygons_is_refused_in_one_sentence(world, card, tmp_path, polygons, said):
    with pytest.raises(JobError) as error:
        plan_job(job_of(world, card, tmp_path / "out", polygons=polygons))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
