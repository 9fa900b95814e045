"""A product's Zarr in other people's readers: the place, the shape, the pixels and the time of its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr
from onnx import TensorProto

import tilewright as tw
from tests.support.graphs import Draft
from tests.support.products import assert_same_product, command, tilewright, write_job
from tests.support.scenes import write_raster
from tests.support.worlds import World, area, pixel_job, run, write_card
from tilewright.catalogs.publish.validate import validate_item
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 700
RED = np.random.default_rng(8).uniform(0, 1, (SIDE, SIDE)).astype(np.float32)
RED[100:110] = np.nan
FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    made.add(RED, "red", unit="reflectance")
    return made


def card(folder, scale=1.0):
    """A model that answers with its input, at another pixel size if the scale says so."""
    draft = Draft()
    if scale < 1:
        answer = draft.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    else:
        answer = draft.up("x", int(scale)) if scale > 1 else draft.node("Identity", "x")
    model = draft.model_many([("x", FLOAT, ["n", 1, "h", "w"])], [(answer, "y", FLOAT, ["n", 1, "oh", "ow"])])
    output = {"name": "y", "tw:layers": ["value"], **({"tw:scale": scale} if scale != 1 else {})}
    return write_card(folder, model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])


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
    assert (fields["datetime"], fields["start_datetime"]) == (None, "2023-06-01T00:00:00Z")
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


MONTHS = {"2023-04": 1, "2023-05": 2, "2023-06": 4}


@pytest.fixture(scope="module", params=[3, 2])
def months(request, tmp_path_factory):
    folder, outputs = tmp_path_factory.mktemp("months"), []
    model = card(folder / "card")
    made = World(folder / "world")
    for month, factor in MONTHS.items():
        made.add(RED * factor, "red", day=f"{month}-10", unit="reflectance")
    for month in MONTHS:
        asked = pixel_job(made, model, folder / month, rows=(40, 610), cols=(50, 120), period=month)
        outputs.append(run(asked.model_copy(update={"zarr_format": request.param})).output + "/data.zarr")
    return outputs


def assert_months(joined, *, bounds=True):
    assert joined["value"].dims[0] == "time"
    assert list(joined.time.dt.strftime("%Y-%m-%d").to_numpy()) == [f"{month}-01" for month in MONTHS]
    for number, factor in enumerate(MONTHS.values()):
        expected = RED[40:610, 50:120] * np.float32(factor)
        np.testing.assert_array_equal(joined["value"].isel(time=number), expected)
    if bounds:
        days = joined.time_bounds.to_numpy().astype("datetime64[D]").astype(str).tolist()
        assert days == [["2023-04-01", "2023-05-01"], ["2023-05-01", "2023-06-01"], ["2023-06-01", "2023-07-01"]]
    assert joined["value"].rio.crs.to_epsg() == 32633
    assert float(joined["value"].sel(time="2023-05-01", x=joined.x[3], y=joined.y[5])) == RED[45, 53] * 2


def test_months_are_joined_along_time_one_by_one(months):
    opened = [xr.open_zarr(path) for path in months]
    assert_months(xr.concat(opened, "time"))
    assert_months(xr.concat(opened, dim="time", join="exact"))


def test_months_are_joined_along_time_when_they_are_opened(months):
    with xr.open_mfdataset(months, engine="zarr", combine="nested", concat_dim="time") as joined:
        assert_months(joined)
    with (
        xr.set_options(use_new_combine_kwarg_defaults=True),
        xr.open_mfdataset(months, engine="zarr", combine="nested", concat_dim="time") as joined,
    ):
        # These keep coordinates that have no dimension `time` as the first month has them.
        assert_months(joined, bounds=False)


# What a person writes, the first and the last moment, and the second of the time bounds.
PERIODS = [
    ("2023-06-10", "2023-06-10T00:00:00", "2023-06-10T23:59:59.999999", "2023-06-11T00:00:00"),
    ("2023-06", "2023-06-01T00:00:00", "2023-06-30T23:59:59.999999", "2023-07-01T00:00:00"),
    ("2023-06-10T09:30:00/2023-06-10T12:00", "2023-06-10T09:30:00", "2023-06-10T12:00:00", "2023-06-10T12:00:01"),
    ("2023-06-01/2023-06-10T23:59:59.5", "2023-06-01T00:00:00", "2023-06-10T23:59:59.500000", "2023-06-11T00:00:00"),
    ("2023-06-01T02:00+02:00/2023-06-15", "2023-06-01T00:00:00", "2023-06-15T23:59:59.999999", "2023-06-16T00:00:00"),
]


@pytest.mark.parametrize("case", PERIODS, ids=[case[0] for case in PERIODS])
def test_the_period_is_the_one_asked_for(world, tmp_path, case):
    period, start, end, last = case
    asked = pixel_job(world, card(tmp_path / "card"), tmp_path / "out", rows=(64, 90), cols=(64, 90), period=period)
    output = Path(run(asked).output)
    fields = strict((output / "item.json").read_text())["properties"]
    assert (fields["start_datetime"], fields["end_datetime"]) == (f"{start}Z", f"{end}Z")
    with xr.open_zarr(output / "data.zarr") as opened:
        assert str(opened.time.to_numpy())[:19] == start[:19]
        assert [str(edge)[:19] for edge in opened.time_bounds.to_numpy()] == [start[:19], last]


KILLED_WHILE_IT_CUTS = """
import os
from tilewright.tasks.zarr import cut
real, done = cut.write_shard, []
def write_shard(*given, **named):
    real(*given, **named)
    done.append(1)
    if len(done) == 7:
        os._exit(9)
cut.write_shard = write_shard
"""


@pytest.mark.parametrize("damage", ["none", "of a shard that was cut", "of a block that waits"])
def test_a_run_that_was_killed_while_it_cut_gives_the_same_bytes(tmp_path, damage):
    job = write_job(tmp_path / "job", tile={"block": 64, "step": 32})
    output, whole = tmp_path / "out", tmp_path / "whole"
    killed = command("run", job, "--output", output, before=KILLED_WHILE_IT_CUTS)
    killed.communicate(timeout=120)
    assert killed.returncode == 9
    assert not (output / "item.json").exists()
    waiting = output / ".tilewright" / "blocks.zarr"
    folder = {"none": None, "of a shard that was cut": output / "data.zarr", "of a block that waits": waiting}[damage]
    if folder is not None:
        shard = next(path for path in sorted((folder / "class" / "c").rglob("*")) if path.is_file())
        shard.write_bytes(shard.read_bytes()[:20])
    assert tilewright("run", job, "--output", output).returncode == 0
    assert not waiting.exists()
    assert tilewright("run", job, "--output", whole).returncode == 0
    assert_same_product(output, whole)


def objects(output):
    folder = output / "data.zarr"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("zarr_format", [3, 2])
@pytest.mark.parametrize(("at", "side"), [((100, 90), 40), ((0, 0), 30), ((250, 240), 60)])
def test_an_update_of_some_blocks_gives_what_a_new_run_gives(tmp_path, at, side, zarr_format):
    """Blocks are redone whose shards hold pixels of others, which wait nowhere any more."""
    made, model = World(tmp_path / "world"), card(tmp_path / "card")
    made.add(RED, "red", unit="reflectance")
    tile = {"block": 64, "step": 32}

    def asked(name):
        job = pixel_job(made, model, tmp_path / name, rows=(11, 291), cols=(7, 277), tile=tile)
        return job.model_copy(update={"zarr_format": zarr_format})

    output = Path(run(asked("out")).output)
    made.add(np.full((side, side), 0.25, np.float32), "red", day="2023-06-20", at=at, unit="reflectance")
    updated = run_job(asked("out"), RunOptions(update=True, workers=2))
    anew = Path(run(asked("anew")).output)
    assert objects(output).keys() == objects(anew).keys()
    assert [name for name, content in objects(anew).items() if objects(output)[name] != content] == []
    with rasterio.open(output / "value.tif") as ours, rasterio.open(anew / "value.tif") as theirs:
        assert np.array_equal(ours.read(1), theirs.read(1), equal_nan=True)
        assert not np.array_equal(ours.read(1), RED[11:291, 7:277], equal_nan=True)
    assert not updated.already_complete
    assert not (output / ".tilewright/blocks.zarr").exists()


def test_a_product_of_whole_blocks_is_refused_with_the_way_out(world, tmp_path):
    """As an older Tilewright left it: arrays larger than the product."""
    asked = pixel_job(world, card(tmp_path / "card"), tmp_path / "out", rows=(10, 100), cols=(10, 100))
    output = Path(run(asked).output)
    with xr.open_zarr(output / "data.zarr") as opened:
        older = opened.pad(y=(3, 3), x=(3, 3), mode="edge").load()
    for variable in older.variables.values():
        variable.encoding.clear()
    shutil.rmtree(output / "data.zarr")
    older.drop_vars("time_bounds").to_zarr(output / "data.zarr")
    with pytest.raises(StoreError, match=r"an older Tilewright made it. Run the job again with --replace"):
        tw.open(output)["value"]
    (output / "item.json").unlink()
    with pytest.raises(StoreError, match=r"begun with an older Tilewright.*Use --replace"):
        run_job(asked, RunOptions(workers=1))
    plan = output / ".tilewright" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "format": 0}))
    for options in (RunOptions(), RunOptions(update=True)):
        with pytest.raises(StoreError, match=r"--replace"):
            run_job(asked, options)
    assert np.array_equal(tw.open(run_job(asked, RunOptions(replace=True)).output)["value"], RED[10:100, 10:100])
