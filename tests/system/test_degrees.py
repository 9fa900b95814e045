"""A product in degrees, asked for in degrees: the pixels that the cube and numpy give, and areas on the ground."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pystac
import pytest
import rasterio
from pyproj import Geod, Transformer
from rio_cogeo.cogeo import cog_validate
from shapely import box, segmentize

from tests.support.graphs import pointwise
from tests.support.worlds import World, area, layer, run, write_card
from tilewright.catalogs.publish.validate import validate_item
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.grid.grid import GridError

pytestmark = pytest.mark.usefixtures("small_pictures")

DEGREES = {"crs": "EPSG:4326", "resolution": 0.0001}
INPUT = {"name": "x", "bands": ("red", "nir")}
HEAD = {"name": "y", "classes": ("dry", "wet"), "tw:layers": ["class"]}
DAYS = ("2023-06-10", "2023-06-12")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(3)
    for day in DAYS:
        for band in INPUT["bands"]:
            made.add(random.normal(0, 5, (512, 512)).astype(np.float32), band, day=day, unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(tmp_path_factory.mktemp("card"), pointwise(), inputs=[INPUT], outputs=[HEAD])


def job_in_degrees(world, card, output, **changes):
    plain = {
        "name": "degrees",
        "area": area((60, 460), (50, 450)),
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "grid": DEGREES,
        **changes,
    }
    return make_job(plain, base=output.parent, output=str(output))


@pytest.fixture(scope="module")
def product(world, card, tmp_path_factory):
    return run(job_in_degrees(world, card, tmp_path_factory.mktemp("product") / "out", tile={"block": 256}))


def test_the_map_is_what_the_cube_and_numpy_give(world, card, product, tmp_path):
    plan = plan_job(job_in_degrees(world, card, tmp_path / "out"))
    cube = load_cube(plan.inputs[0].scenes, plan.raster.grid.geobox, INPUT["bands"]).compute()
    bands = np.stack([np.median(cube[band], axis=0) for band in INPUT["bands"]])
    weights, bias = (onnx.numpy_helper.to_array(each) for each in pointwise().graph.initializer)
    scores = np.einsum("oi,iyx->oyx", weights[:, :, 0, 0], bands) + bias[:, None, None]
    made = layer(product.output, "class")
    inside = made != 255
    sure = inside & (np.abs(scores[0] - scores[1]) > 1e-5)
    assert made.shape == plan.raster.grid.extent.shape == cube["red"].shape[1:]
    assert sure.sum() > 0.95 * inside.sum() > 0.9 * 0.95 * made.size
    assert np.array_equal(made[sure], scores.argmax(axis=0)[sure])
    assert set(np.unique(made[inside])) == {0, 1}


def test_neither_block_nor_workers_change_a_pixel(world, card, product, tmp_path):
    made = run(job_in_degrees(world, card, tmp_path / "out", tile={"block": 1024}), workers=2)
    assert (product.report["blocks"], made.report["blocks"]) != (1, 1)
    assert np.array_equal(layer(made.output, "class"), layer(product.output, "class"))


def test_areas_are_those_on_the_ground(product):
    with rasterio.open(Path(product.output) / "class.tif") as dataset:
        values, affine = dataset.read(1), dataset.transform
    geod = Geod(ellps="WGS84")
    rows = np.array([_pixel_km2(geod, affine, row) for row in range(values.shape[0])])
    for entry in product.report["layers"][0]["classes"]:
        truth = (values == entry["value"]).sum(axis=1) @ rows
        assert entry["area_km2"] == pytest.approx(truth, rel=1e-6)
    assert product.report["area_km2"] == pytest.approx((values != 255).sum(axis=1) @ rows, rel=1e-6)
    # 400 x 400 pixels of 10 m, on a map whose scale is within 0.1 % there.
    assert product.report["area_km2"] == pytest.approx(16.0, rel=2e-3)
    assert product.report["area_asked_km2"] == pytest.approx(16.0, rel=2e-3)


@pytest.mark.parametrize(
    ("crs", "layers"), [("EPSG:3857", ["class"]), ("EPSG:3857", ["confidence"]), ("EPSG:32633", ["class"])]
)
def test_areas_of_a_map_that_is_not_true_to_size_are_those_on_the_ground(world, tmp_path, crs, layers):
    head = {**HEAD, "tw:layers": layers}
    card = write_card(tmp_path, pointwise(), inputs=[INPUT], outputs=[head])
    advances = []
    job = job_in_degrees(world, card, tmp_path / "out", grid={"crs": crs, "resolution": 10}, tile={"block": 256})
    made = run_job(job, RunOptions(workers=1), listener=lambda event: advances.append(getattr(event, "km2", 0.0)))
    with rasterio.open(Path(made.output) / f"{layers[0]}.tif") as dataset:
        valid = dataset.read(1) != 255
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    outline = segmentize(box(*dataset.bounds), 100).exterior
    whole = abs(Geod(ellps="WGS84").polygon_area_perimeter(*to_degrees.transform(*np.asarray(outline.coords).T))[0])
    truth = whole / 1e6 * valid.sum() / valid.size
    assert made.report["area_km2"] == pytest.approx(truth, rel=1e-3)
    assert made.report["area_km2"] == pytest.approx(16.0, rel=5e-3)
    assert made.report["area_asked_km2"] == pytest.approx(16.0, rel=5e-3)
    assert sum(advances) == pytest.approx(truth, rel=1e-3)
    for entry in made.report["layers"][0].get("classes", []):
        assert entry["area_km2"] == pytest.approx(truth * entry["pixels"] / valid.sum(), rel=1e-3)
        assert entry["percent"] == pytest.approx(100 * entry["pixels"] / valid.sum(), rel=1e-3)
    (item,) = (json.loads(path.read_text()) for path in Path(made.output).glob("item.json"))
    assert item["properties"]["gsd"] == pytest.approx(10 if crs == "EPSG:32633" else 6.7, rel=0.02)


def _pixel_km2(geod, affine, row):
    west, north = affine * (0, row)
    east, south = affine * (1, row + 1)
    return abs(geod.polygon_area_perimeter([west, west, east, east], [north, south, south, north])[0]) / 1e6


def test_file_and_item_are_valid(product):
    assert cog_validate(Path(product.output) / "class.tif", strict=True, quiet=True) == (True, [], [])
    item = pystac.Item.from_file(str(Path(product.output) / "item.json"))
    validate_item(item.to_dict())
    assert item.properties["proj:code"] == "EPSG:4326"
    assert 8 < item.properties["gsd"] < 11.2
    assert any("0.0001 degrees" in said for said in product.report["warnings"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": {"crs": "EPSG:4326"}}, (GridError, "geographic")),
        ({"grid": {"crs": "EPSG:4326", "resolution": 10}}, (GridError, "not in degrees")),
        ({"mask": {"kind": "scl", "dilation": 20}}, (JobError, "mask.dilation is in metres")),
        ({"area": [179.9, -17, -179.9, -16.9]}, (GridError, "crosses 180 degrees")),
        ({"grid": {**DEGREES, "bounds": [10, 48, 190, 49]}}, (GridError, "leave the globe")),
    ],
)
def test_what_has_no_meaning_in_degrees_is_refused(world, card, tmp_path, changes, sentence):
    error, words = sentence
    with pytest.raises(error, match=words):
        plan_job(job_in_degrees(world, card, tmp_path / "out", **changes))


def test_a_card_that_counts_in_metres_is_refused(world, tmp_path):
    composite = {**INPUT, "tw:dates": {"kind": "composite", "reducer": "best-pixel"}}
    card = write_card(tmp_path / "card", pointwise(), inputs=[composite], outputs=[HEAD])
    with pytest.raises(JobError, match="best-pixel"):
        plan_job(job_in_degrees(world, card, tmp_path / "out"))


def test_a_card_of_fine_pixels_is_not_taken_for_degrees(world, tmp_path):
    fine = {**INPUT, "tw:resolution": 0.5}
    card = write_card(tmp_path / "card", pointwise(), inputs=[fine], outputs=[HEAD])
    with pytest.raises(JobError, match="give grid.resolution in degrees"):
        plan_job(job_in_degrees(world, card, tmp_path / "out", grid={"crs": "EPSG:4326"}))


def test_the_zarr_says_longitude_and_latitude(product):
    names = {}
    for axis in "xy":
        attributes = json.loads((Path(product.output) / "data.zarr" / axis / "zarr.json").read_text())["attributes"]
        names[axis] = attributes["standard_name"], attributes["units"]
    assert names == {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}
