from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import rioxarray  # noqa: F401 -- registers .rio
import xarray as xr
import zarr

from tilewright.tasks.grid.blocks import block_at, covered_box
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.declare import STORE, StoredLayer, declare_store
from tilewright.tasks.zarr.downsample import halve
from tilewright.tasks.zarr.georeference import MULTISCALES, PROJ, SPATIAL
from tilewright.tasks.zarr.pyramid import Level, pyramid_levels, write_pyramid
from tilewright.tasks.zarr.store import open_store, remove_waiting
from tilewright.tasks.zarr.thumbnail import read_thumbnail

NAN = float("nan")
GRID = Grid(
    crs="EPSG:32633",
    resolution=10,
    extent=PixelBox(row_start=-1030, row_stop=-5, col_start=3, col_stop=1100),
)
BLOCK = 256
LAYERS = (
    StoredLayer(name="class", dtype="uint8", nodata=255),
    StoredLayer(name="depth", dtype="float32", nodata=NAN, unit="m"),
)


@pytest.mark.parametrize(
    ("four", "made"),
    [
        ([[1, 1], [2, 3]], 1),
        ([[2, 3], [3, 1]], 3),
        ([[2, 1], [1, 2]], 2),
        ([[255, 255], [255, 7]], 7),
        ([[255, 0], [9, 9]], 9),
        ([[255, 255], [255, 255]], 255),
    ],
)
def test_classes_by_the_most_frequent_the_first_met_wins_and_nodata_has_no_vote(four, made):
    assert halve(np.array(four, dtype=np.uint8), kind="class", nodata=255).tolist() == [[made]]


@pytest.mark.parametrize(
    ("four", "nodata", "made"),
    [
        ([[1, 2], [3, 4]], 255, 3),
        ([[10, 255], [255, 20]], 255, 15),
        ([[255, 255], [255, 255]], 255, 255),
        ([[1.0, 2.0], [NAN, 6.0]], NAN, 3.0),
        ([[NAN, NAN], [NAN, NAN]], NAN, NAN),
    ],
)
def test_values_by_the_mean_of_what_is_valid(four, nodata, made):
    dtype = np.uint8 if nodata == 255 else np.float32
    answer = halve(np.array(four, dtype=dtype), kind="value", nodata=nodata)
    assert answer.dtype == dtype
    np.testing.assert_array_equal(answer, np.array([[made]], dtype=dtype))


def test_an_odd_edge_is_made_of_its_existing_pixels():
    assert halve(np.array([[1, 1, 5]], dtype=np.uint8), kind="class", nodata=255).tolist() == [[1, 5]]


def test_levels_end_at_the_size_of_a_screen():
    assert pyramid_levels((512, 300)) == (Level(factor=1, shape=(512, 300)),)
    assert [level.shape for level in pyramid_levels((1025, 600))] == [(1025, 600), (513, 300), (257, 150)]
    assert [level.path_of("class") for level in pyramid_levels((600, 600))] == ["class", "overviews/2/class"]


def noise(shape):
    random = np.random.default_rng(1)
    full = {"class": random.integers(0, 4, shape).astype(np.uint8), "depth": random.random(shape, dtype=np.float32)}
    full["class"][:300, :300] = 255
    full["depth"][:300, :300] = NAN
    return full


def write_blocks(store, full):
    """Write the blocks of arrays that cover the product; outside it a block is nodata, as a run leaves it."""
    for row, col in product(*block_range(store.extent, block=store.block)):
        inner = block_at(row=row, col=col, block=store.block, halo=0).inner
        inside = inner.intersect(store.extent)
        arrays = {}
        for name, pixels in full.items():
            arrays[name] = np.full(inner.shape, store.waiting[name].fill_value, dtype=pixels.dtype)
            arrays[name][inside.slices_in(inner)] = pixels[inside.slices_in(store.extent)]
        store.write_block(inner, arrays)


def declared(folder, extent, block, *, layers=LAYERS, **more):
    """A declared store of a product of that extent, opened."""
    storage = open_storage(str(folder), create=True)
    grid = Grid(crs="EPSG:32633", resolution=10, extent=extent)
    box = covered_box(grid, block=block)
    declare_store(storage, grid=grid, box=box, block=block, layers=layers, attributes={"title": "t"}, **more)
    return open_store(storage, box=box, extent=extent, block=block), grid


@pytest.fixture(params=[3, 2])
def filled(tmp_path, request):
    store, grid = declared(tmp_path, GRID.extent, BLOCK, zarr_format=request.param)
    full = noise(GRID.extent.shape)
    write_blocks(store, full)
    for _ in range(2):  # twice: a run that was killed here writes them again
        write_pyramid(store, grid=grid, kinds={"class": "class", "depth": "value"})
    return store.storage, full


def test_every_level_is_half_of_the_one_above_whatever_the_blocks(filled):
    storage, full = filled
    group = zarr.open_group(storage.zarr(STORE, read_only=True), mode="r")
    for name, kind, nodata in (("class", "class", 255), ("depth", "value", NAN)):
        expected = full[name]
        np.testing.assert_array_equal(group[name][:], expected)
        for factor in (2, 4):
            expected = halve(expected, kind=kind, nodata=nodata)
            np.testing.assert_array_equal(group[f"overviews/{factor}/{name}"][:], expected)
    assert "8" not in group["overviews"]


def test_the_layout_names_existing_arrays_and_their_georeference(filled):
    storage, _full = filled
    group = zarr.open_group(storage.zarr(STORE, read_only=True), mode="r")
    attributes = dict(group.attrs)
    assert attributes["zarr_conventions"] == [PROJ, SPATIAL, MULTISCALES]
    assert attributes["proj:code"] == "EPSG:32633"
    assert attributes["spatial:bbox"] == [30.0, 50.0, 11000.0, 10300.0]
    layout = attributes["multiscales"]["layout"]
    assert [entry["asset"] for entry in layout[:3]] == ["class", "overviews/2/class", "overviews/4/class"]
    for entry in layout:
        array = group[entry["asset"]]
        factor = round(entry["spatial:transform"][0] / 10)
        assert entry["spatial:shape"] == list(array.shape) == [-(-1025 // factor), -(-1097 // factor)]
        assert entry["spatial:transform"][2::3] == [30.0, 10300.0]
        if "derived_from" in entry:
            above = group[entry["derived_from"]]
            assert [-(-size // 2) for size in above.shape] == list(array.shape)
            assert entry["transform"]["scale"] == [2.0, 2.0]
            assert entry["resampling_method"] == ("mode" if entry["asset"].endswith("class") else "average")


def test_a_level_opens_in_xarray_with_its_georeference(filled):
    storage, _full = filled
    with xr.open_zarr(f"{storage.uri}/{STORE}", group="overviews/4", mask_and_scale=False) as level:
        assert level.rio.crs.to_epsg() == 32633
        assert level["class"].shape == (257, 275)
        assert level["class"].rio.bounds() == (30.0, 10300.0 - 257 * 40, 30.0 + 275 * 40, 10300.0)
    with xr.open_zarr(f"{storage.uri}/{STORE}", mask_and_scale=False) as store:
        assert set(store.data_vars) == {"class", "depth"}


def small(storage, name, max_size, kind):
    return read_thumbnail(storage, name, shape=GRID.extent.shape, max_size=max_size, kind=kind)


def test_a_small_picture_keeps_classes_and_averages_values_within_a_pixel(filled):
    storage, full = filled
    classes, depth = small(storage, "class", 128, "class"), small(storage, "depth", 128, "value")
    assert classes.shape == depth.shape == (round(1025 * 128 / 1097), 128)
    assert set(np.unique(classes)) <= set(np.unique(full["class"]))
    assert (classes[:4, :8] == 255).all(), "nodata stays where it is"
    assert np.isnan(depth[:4, :8]).all()
    np.testing.assert_allclose(np.nanmean(depth), np.nanmean(full["depth"]), rtol=0.01)
    np.testing.assert_allclose(depth[-1, -1], full["depth"][-9:, -9:].mean(), atol=0.15)
    assert np.array_equal(small(storage, "class", 5000, "class"), full["class"])


def test_levels_of_the_same_blocks_are_kept_and_of_others_made_again(tmp_path):
    block, side = 256, 4096
    extent = PixelBox(row_start=7, row_stop=7 + side, col_start=-300, col_stop=-300 + side)
    store, grid = declared(tmp_path, extent, block, layers=LAYERS[:1])
    pixels = np.random.default_rng(4).integers(0, 4, extent.shape).astype(np.uint8)
    write_blocks(store, {"class": pixels})
    places = list(product(*block_range(extent, block=block)))
    prints = {
        (row, col): store.block_checksum(block_at(row=row, col=col, block=block, halo=0).inner, ["class"])["class"]
        for row, col in places
    }
    again = {**prints, places[0]: "another"}
    write_pyramid(store, grid=grid, kinds={"class": "class"}, checksums={"class": prints}, threads=2)
    remove_waiting(store.storage)
    store, grid = declared(tmp_path, extent, block, layers=LAYERS[:1])
    levels = {}
    for number, checksums in enumerate((prints, prints, again)):
        # What nobody says has changed is not looked at.
        full = store.group["class"]
        full[:block, :block] = number
        full[-block:, -block:] = number
        write_pyramid(store, grid=grid, kinds={"class": "class"}, checksums={"class": checksums}, threads=2)
        levels[number] = store.group["overviews/2/class"][:]
    assert np.array_equal(levels[1], levels[0])
    assert (levels[2][: block // 2, : block // 2] == 2).all()
    assert np.array_equal(levels[2][-block // 2 :, -block // 2 :], levels[0][-block // 2 :, -block // 2 :])


@pytest.mark.parametrize("block", [33, 50, 64])
@pytest.mark.parametrize("corner", [(-7, 11), (-33 * 25, 33 * 64)])
def test_blocks_of_any_side_and_products_from_any_pixel_make_the_same_levels(tmp_path, block, corner):
    extent = PixelBox.at(*corner, shape=(block * 19 + 5, block * 20))
    store, grid = declared(tmp_path, extent, block, layers=LAYERS[:1])
    expected = np.random.default_rng(4).integers(0, 4, extent.shape).astype(np.uint8)
    write_blocks(store, {"class": expected})
    write_pyramid(store, grid=grid, kinds={"class": "class"}, threads=2)
    for level in pyramid_levels(extent.shape):
        assert np.array_equal(store.group[level.path_of("class")][:], expected)
        expected = halve(expected, kind="class", nodata=255)
