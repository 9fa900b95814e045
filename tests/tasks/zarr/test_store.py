from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 -- registers .rio
import xarray as xr

from tilewright.tasks.grid.blocks import covered_box
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.declare import StoredLayer, declare_store
from tilewright.tasks.zarr.store import array_sha256, open_store

BLOCK = 64
GRID = Grid(
    crs="EPSG:32633",
    resolution=10,
    extent=PixelBox(row_start=-100, row_stop=20, col_start=70, col_stop=190),
)
BOX = covered_box(GRID, block=BLOCK)
LAYERS = (
    StoredLayer(name="class", dtype="uint8", nodata=255, description="land cover"),
    StoredLayer(name="depth", dtype="float32", nodata=float("nan"), unit="m"),
)


@pytest.fixture(params=[3, 2])
def storage(tmp_path, request):
    storage = open_storage(str(tmp_path / "product"), create=True)
    declare_store(
        storage, grid=GRID, box=BOX, block=BLOCK, layers=LAYERS, attributes={"title": "t"}, zarr_format=request.param
    )
    return storage


def inner(row, col):
    return PixelBox(
        row_start=row * BLOCK, row_stop=(row + 1) * BLOCK, col_start=col * BLOCK, col_stop=(col + 1) * BLOCK
    )


def test_a_declared_store_holds_no_pixel_and_reads_as_nodata_everywhere(storage):
    assert not [key for key in storage.keys("data.zarr/class") if key[-1].isdigit()]
    store = open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK, read_only=True)
    assert (store.read_box("class", BOX) == 255).all()
    assert np.isnan(store.read_box("depth", BOX)).all()


def test_a_block_comes_back_where_it_was_written_and_nowhere_else(storage):
    store = open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK)
    block = np.arange(BLOCK * BLOCK, dtype=np.uint8).reshape(BLOCK, BLOCK)
    store.write_block(inner(-1, 2), {"class": block})
    expected = np.full(BOX.shape, 255, dtype=np.uint8)
    expected[inner(-1, 2).slices_in(BOX)] = block
    assert np.array_equal(open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK).read_box("class", BOX), expected)
    assert store.block_checksum(inner(-1, 2), ["class"]) == {"class": array_sha256(block)}


def test_declaring_twice_keeps_what_was_written(storage):
    store = open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK)
    store.write_block(inner(0, 1), {"class": np.zeros((BLOCK, BLOCK), dtype=np.uint8)})
    version = store.group.metadata.zarr_format
    declare_store(storage, grid=GRID, box=BOX, block=BLOCK, layers=LAYERS, attributes={}, zarr_format=version)
    assert (open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK).read_box("class", inner(0, 1)) == 0).all()


def test_a_write_that_is_not_one_whole_shard_is_refused(storage):
    store = open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK)
    half = PixelBox(row_start=0, row_stop=32, col_start=64, col_stop=128)
    shifted = PixelBox(row_start=-8, row_stop=56, col_start=64, col_stop=128)
    for box in (half, shifted):
        with pytest.raises(ValueError, match="not one whole shard"):
            store.write_block(box, {"class": np.zeros(box.shape, dtype=np.uint8)})
    with pytest.raises(ValueError, match="stores uint8"):
        store.write_block(inner(0, 1), {"class": np.zeros((BLOCK, BLOCK), dtype=np.float32)})


def test_xarray_opens_it_with_its_crs_its_coordinates_and_its_nodata(storage):
    with xr.open_zarr(storage.uri + "/data.zarr", mask_and_scale=False) as opened:
        assert opened.rio.crs.to_epsg() == 32633
        assert opened["class"].rio.transform() == GRID.transform_of(BOX)
        assert float(opened.x[0]) == BOX.col_start * 10 + 5
        assert opened["class"].dims == ("y", "x")
        assert opened["class"].attrs["_FillValue"] == 255


def test_gdal_reads_the_second_format_in_the_right_place(tmp_path):
    storage = open_storage(str(tmp_path / "old"), create=True)
    declare_store(storage, grid=GRID, box=BOX, block=BLOCK, layers=LAYERS, attributes={}, zarr_format=2)
    block = np.full((BLOCK, BLOCK), 7, dtype=np.uint8)
    open_store(storage, box=BOX, extent=GRID.extent, block=BLOCK).write_block(inner(0, 2), {"class": block})
    with rasterio.open(f'ZARR:"{storage.uri}/data.zarr":/class') as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == GRID.transform_of(BOX)
        assert (dataset.read(1)[inner(0, 2).slices_in(BOX)] == 7).all()


def test_a_conditional_put_has_one_winner(tmp_path):
    storage = open_storage(str(tmp_path), create=True)
    assert storage.create_json("a/b.json", {"who": 1})
    assert not storage.create_json("a/b.json", {"who": 2})
    assert storage.read_json("a/b.json") == {"who": 1}
    assert storage.read("a/none.json") is None
    assert list(storage.keys("a")) == ["a/b.json"]
    storage.delete(["a/b.json", "a/gone.json"])
    assert list(storage.keys("a")) == []


def test_an_output_that_is_a_file_or_has_an_unknown_scheme_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        open_storage(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="unknown scheme"):
        open_storage("ftp://somewhere/else")
