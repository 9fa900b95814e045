"""Values at a place are the raster's own numbers; series are what the project's own cube reads there."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import warnings

import numpy as np
import pytest
import rasterio
import zarr
from pyproj import Transformer

import tilewright as tw
from tests.support.graphs import conv_stack
from tests.support.products import OUTPUT
from tests.support.viewed import CLASSES, UTM, page_of, patches, put_layer, put_product, tile_centres, tile_of
from tests.support.worlds import World, area, bounds, write_card
from tilewright.tasks.report.picture import true_colour

TO_DEGREES = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)


def place(row: float, col: float) -> tuple[float, float]:
    return TO_DEGREES.transform(*(UTM * (col, row)))


def test_values_are_those_of_the_pixel_with_names_and_units(tmp_path):
    classes = patches((300, 400))
    heights = np.random.default_rng(1).normal(0, 1e3, (300, 400)).astype(np.float32)
    heights[::3] = np.nan
    put_product(tmp_path, [put_layer(tmp_path, "class", classes), put_layer(tmp_path, "height", heights)])
    names = {each["value"]: each["name"] for each in CLASSES}
    with page_of(tmp_path) as page:
        for row, col in np.random.default_rng(2).integers(0, (300, 400), (60, 2)).tolist():
            (of_class, of_height), *_ = page.values(*place(row + 0.5, col + 0.5))
            assert of_class["pixel"] == [row, col]
            if classes[row, col] == 255:
                assert of_class["state"] == "nodata"
            else:
                assert (of_class["value"], of_class["class"]) == (classes[row, col], names[int(classes[row, col])])
            if np.isnan(heights[row, col]):
                assert of_height["state"] == "nodata"
                assert "value" not in of_height
            else:
                assert np.float64(of_height["value"]) == np.float64(heights[row, col])
                assert np.float32(of_height["text"]) == heights[row, col]
                assert of_height["unit"] == "m"


def test_a_border_belongs_to_the_pixel_right_and_below_and_beyond_is_outside(tmp_path):
    classes = (np.arange(12, dtype=np.uint8) % 3).reshape(3, 4)
    put_product(tmp_path, [put_layer(tmp_path, "class", classes)])
    with page_of(tmp_path) as page:
        for row, col in ((0, 0), (1, 2), (2, 3)):
            assert page.values(*place(row + 1e-6, col + 1e-6))[0][0]["pixel"] == [row, col]
        for row, col in ((-0.01, 1), (1, -0.01), (3.01, 1), (1, 4.01)):
            assert page.values(*place(row, col))[0][0]["state"] == "outside"
        lon, lat = place(1.5, 1.5)
        assert page.values(lon + 720, lat) == page.values(lon, lat)
        assert page.values(lon - 360, lat) == page.values(lon, lat)


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory, small_pictures):
    """A product of four days, some pixels of which a mask drops, and its job."""
    folder = tmp_path_factory.mktemp("cloudy")
    world, random = World(folder / "scenes"), np.random.default_rng(5)
    for number in range(4):
        day = f"2023-06-1{number}"
        for band in ("green", "nir", "red", "blue"):
            world.add(random.random((64, 64), dtype=np.float32), band, day=day, unit="reflectance", scene=day)
        flags = np.where(random.random((64, 64)) < 0.4, 9, 4).astype(np.uint8)
        world.add(flags, "scl", day=day, unit="class", scene=day, nodata=0)
    card = write_card(folder / "card", conv_stack(n_in=2), inputs=[{"name": "x", "bands": ("green", "nir")}],
                      outputs=[{**OUTPUT}], tile={"step": 32})  # fmt: skip
    job = {
        "name": "cloudy",
        "area": area((2, 60), (2, 60)),
        "grid": {"crs": "EPSG:32633", "bounds": bounds((0, 64), (0, 64))},
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "mask": {"kind": "scl", "drop": [9], "dilation": 0},
        "tile": {"block": 32, "step": 32},
        "output": str(folder / "out"),
    }
    tw.run(job)
    return job


def test_a_series_is_what_the_cube_reads_with_what_the_mask_drops(cloudy):
    cube = tw.cube(cloudy).compute()
    flags = [
        np.asarray(rasterio.open(each["href"]).read(1)) for each in cloudy["source"]["files"] if each["band"] == "scl"
    ]
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    with page_of(cloudy["output"]) as page:
        for row, col in ((5, 7), (30, 31), (32, 32), (63, 0)):
            lon, lat = to_degrees.transform(float(cube.x[col]), float(cube.y[row]))
            (told,) = page.json(f"series/0.json?lon={lon!r}&lat={lat!r}")
            assert told["bands"] == ["green", "nir"]
            assert told["unit"] == "reflectance"
            assert len(told["passes"]) == 4
            for number, one in enumerate(told["passes"]):
                assert dt.datetime.fromisoformat(one["time"]).day == 10 + number
                assert np.array_equal(np.float32(one["values"]), cube.isel(time=number, y=row, x=col).to_numpy())
                assert one["kept"] is bool(flags[number][row, col] != 9)
        assert page.status("series/0.json?lon=10&lat=10") == 422


def test_observations_are_those_of_the_cube(cloudy):
    counts = zarr.open_array(f"{cloudy['output']}/data.zarr/observations", mode="r")[...]
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    with page_of(cloudy["output"]) as page:
        for row, col in ((5, 7), (30, 31), (63, 0)):
            x, y = rasterio.open(f"{cloudy['output']}/class.tif").xy(row, col)
            told = page.values(*to_degrees.transform(x, y))[0][-1]
            assert (told["name"], told["value"], told["pixel"]) == ("observations", counts[row, col], [row, col])


STRANGE_CUBES = {
    "no place": {"proj:code": "EPSG:4326"},
    "no extent": {"proj:code": "EPSG:4326", "proj:transform": [0] * 6},
    "no CRS": {"proj:transform": [1, 0, 0, 0, -1, 90]},
    "endless": {"proj:code": "EPSG:4326", "proj:transform": [1, 0, 0, 0, -1, 90]},
}


@pytest.mark.parametrize("kind", STRANGE_CUBES)
def test_a_strange_cube_tells_no_observations_and_the_layers_go_on(cloudy, tmp_path, kind):
    shutil.copytree(cloudy["output"], tmp_path / "strange")
    cube = tmp_path / "strange" / "data.zarr"
    shutil.rmtree(cube)
    numbers = np.full((90, 90), np.inf if kind == "endless" else 3, "float32" if kind == "endless" else "int16")
    array = zarr.create_array(cube / "observations", shape=numbers.shape, chunks=(90, 90), dtype=numbers.dtype)
    array[...] = numbers
    array.attrs.update(STRANGE_CUBES[kind])
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    with page_of(tmp_path / "strange") as page:
        told = page.values(*to_degrees.transform(400_905, 5_400_005))[0]
        assert told
        assert "observations" not in [each["name"] for each in told]


def test_the_scenes_beneath_are_their_true_colours(cloudy):
    bands = ("red", "green", "blue")
    clear, flags = {band: [] for band in bands}, []
    for each in cloudy["source"]["files"]:
        if each["band"] in {*bands, "scl"}:
            pixels = rasterio.open(each["href"]).read(1)
            (flags if each["band"] == "scl" else clear[each["band"]]).append(pixels)
    seen = np.where(np.array(flags)[:, None] != 9, np.array([clear[band] for band in bands]).swapaxes(0, 1), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = true_colour(*np.nanmedian(seen, axis=0).astype(np.float32))
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    with page_of(cloudy["output"]) as page:
        told = page.json("ground/0.json")
        assert (told["kind"], told["name"]) == ("image", "scenes in true colour")
        for row, col in ((5, 7), (30, 31), (40, 20)):
            if np.isnan(seen[:, :, row, col]).all():
                continue
            lon, lat = to_degrees.transform(*rasterio.open(f"{cloudy['output']}/class.tif").xy(row, col))
            tile = tile_of(lon, lat, 18)
            apart = [np.abs(each - of) for each, of in zip(tile_centres(18, *tile), (lon, lat), strict=True)]
            y, x = np.unravel_index(np.argmin(apart[0] + apart[1]), apart[0].shape)
            assert page.tile(0, "ground", 18, *tile)[y, x].tolist() == [*wanted[row, col].tolist(), 255]
        assert page.status("tiles/0/ground/99/0/0.png") == 404


def test_a_product_without_its_plan_or_scenes_says_so_and_the_page_goes_on(cloudy, tmp_path):
    shutil.copytree(cloudy["output"], tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / ".tilewright")
    moved = tmp_path / "moved"
    shutil.copytree(cloudy["output"], moved)
    plan = json.loads((moved / ".tilewright" / "plan.json").read_text())
    text = json.dumps(plan).replace(str(cloudy["source"]["files"][0]["href"]).rpartition("/")[0], "/nowhere")
    (moved / ".tilewright" / "plan.json").write_text(text)
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(400_905, 5_400_005)
    with page_of(tmp_path / "bare", moved) as page:
        assert page.status(f"series/0.json?lon={lon}&lat={lat}") == 422
        (told,) = page.json(f"series/1.json?lon={lon}&lat={lat}")
        assert told["n_failed"] > 0
        assert [one["values"] for one in told["passes"]] == [[None, None]] * 4
        assert [each["state"] for each in page.values(lon, lat)[0]] == ["value", "value", "value"]
        assert page.status("ground/0.json") == 422
        assert page.status("ground/1.json") == 422
