"""A product's Zarr in other people's readers: the place, the shape, the pixels and the time of its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr

import tilewright as tw
from tests.support.graphs import echo
from tests.support.scenes import write_raster
from tests.support.worlds import World, area, pixel_job, run, write_card
from tilewright.catalogs.publish.validate import validate_item
from tilewright.flows.job.job import make_job

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 700
RED = np.random.default_rng(8).uniform(0, 1, (SIDE, SIDE)).astype(np.float32)
RED[100:110] = np.nan


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    made.add(RED, "red", unit="reflectance")
    return made


def card(folder, scale=1.0):
    """The card of a model that answers with its input, at another pixel size if the scale says so."""
    output = {"name": "y", "tw:layers": ["value"], **({"tw:scale": scale} if scale != 1 else {})}
    return write_card(folder, echo(scale), inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])


def at_180(world, model, output):
    """A job over an area on both sides of 180 degrees, in the zone to the east."""
    del world
    path = output.parent / "far.tif"
    write_raster(path, RED, left=169_000, top=1_107_000, size=10, nodata=float("nan"), crs="EPSG:32601", block=256)
    sides = [
        [(179.995, 9.99), (180, 9.99), (180, 10), (179.995, 10)],
        [(-180, 9.99), (-179.995, 9.99), (-179.995, 10), (-180, 10)],
    ]
    rings = [[[*map(list, side), list(side[0])]] for side in sides]
    file = {"href": str(path), "band": "red", "datetime": "2023-06-10T10:00:00Z", "collection": "optics"}
    plain = {
        "name": "far",
        "area": {"type": "MultiPolygon", "coordinates": rings},
        "period": "2023-06",
        "source": {"files": [{**file, "unit": "reflectance"}]},
        "grid": {"crs": "EPSG:32601"},
        "model": str(model),
        "tile": {"block": 64, "step": 32},
    }
    return make_job(plain, base=output.parent, output=str(output))


def elsewhere(crs, **grid):
    def job(world, model, output):
        plain = {
            "name": "elsewhere",
            "area": area((60, 260), (50, 190)),
            "period": "2023-06",
            "source": world.source,
            "grid": {"crs": crs, **grid},
            "model": str(model),
            "tile": {"block": 64, "step": 32},
        }
        return make_job(plain, base=output.parent, output=str(output))

    return job


def box(rows, cols, **tile):
    def job(world, model, output):
        return pixel_job(world, model, output, rows=rows, cols=cols, tile={"block": 64, "step": 32, **tile})

    job.cut = np.s_[slice(*rows), slice(*cols)]
    return job


# The world's corner is the corner of a block.
PLACES = {
    "from a block's edge": (1, box((64, 192), (0, 128))),
    "from the middle of a block": (1, box((10, 141), (14, 142))),
    "one pixel before an edge": (1, box((63, 130), (127, 300))),
    "inside one block": (1, box((70, 99), (66, 69))),
    "one whole block": (1, box((64, 128), (128, 192))),
    "with smaller levels": (1, box((3, 690), (5, 698))),
    "half as many pixels": (0.5, box((10, 130), (14, 142))),
    "twice as many pixels": (2, box((11, 130), (15, 142))),
    "west of the origin": (1, elsewhere("EPSG:32635", resolution=10)),
    "in degrees": (1, elsewhere("EPSG:4326", resolution=0.0001)),
    "on the equal-area grid of Europe": (1, elsewhere("EPSG:3035", resolution=10)),
    "across 180 degrees": (1, at_180),
}


@pytest.fixture(scope="module", params=[(place, 3) for place in PLACES] + [(place, 2) for place in list(PLACES)[1:8]])
def made(request, world, tmp_path_factory):
    """(name of the place, its output), in one of both formats."""
    place, zarr_format = request.param
    scale, job = PLACES[place]
    folder = tmp_path_factory.mktemp("made")
    asked = job(world, card(folder / "card", scale), folder / "out")
    return place, Path(run(asked.model_copy(update={"zarr_format": zarr_format})).output), zarr_format


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_reader_sees_the_file_and_the_zarr_in_one_place(made):
    place, output, zarr_format = made
    with rasterio.open(output / "value.tif") as file, rioxarray.open_rasterio(output / "value.tif") as cog:
        pixels, transform, crs, shape = file.read(1), file.transform, file.crs, file.shape
        with xr.open_zarr(output / "data.zarr") as opened:
            value = opened["value"]
            assert value.dims == ("y", "x")
            assert value.shape == shape
            assert value.rio.crs == crs
            assert value.rio.transform(recalc=False).almost_equals(transform, 1e-9)
            assert value.rio.transform(recalc=True).almost_equals(transform, 1e-7)
            assert np.array_equal(value, pixels, equal_nan=True)
            for axis in "xy":
                np.testing.assert_allclose(opened[axis], cog[axis], rtol=0, atol=1e-6 * abs(transform.a))
    assert np.array_equal(tw.open(output)["value"], pixels, equal_nan=True)
    scale, job = PLACES[place]
    if scale == 1 and hasattr(job, "cut"):
        assert np.array_equal(pixels, RED[job.cut], equal_nan=True), "the world's own pixels"
    if zarr_format == 2:
        with rasterio.open(f'ZARR:"{output}/data.zarr":/value') as dataset:
            assert (dataset.crs, dataset.shape) == (crs, shape)
            assert dataset.transform.almost_equals(transform, 1e-9)
            assert np.array_equal(dataset.read(1), pixels, equal_nan=True)


def test_the_store_is_a_tree_of_levels(made):
    place, output, _ = made
    with rasterio.open(output / "value.tif") as file, xr.open_datatree(output / "data.zarr", engine="zarr") as tree:
        assert tree["value"].shape == file.shape
        levels = [int(name) for name in tree["overviews"].children] if "overviews" in tree.children else []
        assert sorted(levels) == ([2] if place == "with smaller levels" else [])
        for factor in levels:
            level = tree[f"overviews/{factor}"]["value"]
            assert level.shape == tuple(-(-side // factor) for side in file.shape)
            assert level.rio.crs == file.crs
            assert level.rio.transform(recalc=True).almost_equals(file.transform * file.transform.scale(factor), 1e-7)
            whole = tree["value"].to_numpy()[:2, :2]
            np.testing.assert_allclose(level.to_numpy()[0, 0], whole.mean(), rtol=1e-6)
            assert level.time.to_numpy() == tree["time"].to_numpy()


def test_the_item_says_where_and_when(made):
    _, output, _ = made
    item = strict((output / "item.json").read_text())
    validate_item(item)
    fields = item["properties"]
    with rasterio.open(output / "value.tif") as file:
        assert (tuple(fields["proj:shape"]), fields["proj:transform"]) == (file.shape, list(file.transform)[:6])
        assert fields["proj:code"] == f"EPSG:{fields['proj:epsg']}" == file.crs.to_string()
    assert fields["datetime"] == fields["start_datetime"] == "2023-06-01T00:00:00Z"
    assert fields["end_datetime"] == "2023-06-30T23:59:59.999999Z"
    read = pystac.Item.from_file(output / "item.json")
    assert read.common_metadata.start_datetime.isoformat() == "2023-06-01T00:00:00+00:00"
    assert read.ext.proj.epsg == fields["proj:epsg"]


def test_every_json_is_strict(made):
    _, output, _ = made
    names = {"zarr.json", ".zattrs", ".zmetadata", ".zarray", ".zgroup"}
    found = [path for path in output.rglob("*") if path.is_file() and (path.suffix == ".json" or path.name in names)]
    assert len(found) > 8
    for path in found:
        strict(path.read_text())
