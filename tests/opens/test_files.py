"""The files of a product as other people's tools see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pystac
import rasterio
import rioxarray
import xarray as xr
from rio_tiler.io import Reader, STACReader

from tests.support.products import SIDE, read
from tilewright.catalogs.publish.geoparquet import read_items
from tilewright.flows.run.predict import run_job

NAMES = ["land", "water"]


def middle(product):
    """(longitude, latitude) of the product's middle."""
    west, south, east, north = json.loads((product / "item.json").read_text())["bbox"]
    return (west + east) / 2, (south + north) / 2


def test_xarray_opens_the_store_with_masks_and_coordinates(product, pixels):
    with xr.open_zarr(product / "data.zarr") as store:
        assert set(store.data_vars) == {"class", "confidence", "observations"}
        assert store.rio.crs.to_epsg() == 32633
        cut = store["class"].rio.clip_box(*rasterio.open(product / "class.tif").bounds)
        assert np.array_equal(cut.to_numpy(), np.where(pixels == 255, np.nan, pixels), equal_nan=True)
        assert store["class"].attrs["flag_meanings"].split() == NAMES
        assert float(store.y[0] - store.y[1]) == 10.0


def test_rioxarray_opens_the_file_in_its_place(product, pixels):
    with rioxarray.open_rasterio(product / "class.tif") as opened:
        assert opened.rio.crs.to_epsg() == 32633
        assert opened.rio.nodata == 255
        assert np.array_equal(opened.to_numpy()[0], pixels)


def test_gdal_sees_colours_names_statistics_and_overviews(product):
    with rasterio.open(product / "class.tif") as dataset:
        assert dataset.profile["driver"] == "GTiff"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        colours = dataset.colormap(1)
        assert len({colours[value][:3] for value in range(len(NAMES))}) == len(NAMES)
        assert [dataset.tags(1)[f"CLASS_{value}"] for value in range(len(NAMES))] == NAMES
        assert float(dataset.tags(1)["STATISTICS_MAXIMUM"]) <= 1
    sidecar = (product / "class.tif.aux.xml").read_text()
    assert [name in sidecar for name in NAMES] == [True, True]
    with rasterio.open(product / "confidence.tif") as dataset:
        assert dataset.units == ("percent",)


def test_gdal_reads_the_store_of_the_second_format(opened_job, product, pixels, tmp_path):
    output = run_job(read(opened_job, tmp_path / "out", zarr_format=2)).output
    with rasterio.open(f'ZARR:"{output}/data.zarr":/class') as dataset, rasterio.open(product / "class.tif") as file:
        assert dataset.crs.to_epsg() == 32633
        window = dataset.window(*file.bounds)
        assert np.array_equal(dataset.read(1, window=window.round_offsets().round_lengths()), pixels)
    item = json.loads(Path(output, "item.json").read_text())
    assert item["assets"]["data"]["type"] == "application/vnd.zarr; version=2"


def test_gdal_reads_the_shards_of_the_third_format_or_names_them(product, pixels):
    """Of GDAL 3.10 its driver reads the metadata; the codec of shards it lacks, and says so."""
    try:
        with rasterio.open(f'ZARR:"{product}/data.zarr":/class') as dataset:
            assert np.array_equal(dataset.read(1), pixels)
    except rasterio.errors.RasterioIOError as error:
        assert "sharding_indexed" in str(error)  # noqa: PT017 - a newer GDAL reads them


def test_rio_tiler_reads_a_tile_of_the_file_and_the_item(product):
    lon, lat = middle(product)
    with Reader(str(product / "class.tif")) as reader:
        assert reader.point(lon, lat).data[0] in {0, 1}
        found = reader.tms.tile(lon, lat, 14)
        tile = reader.tile(found.x, found.y, found.z, tilesize=256)
        assert set(np.unique(tile.data[0][tile.mask > 0])) <= {0, 1}
        assert (tile.mask > 0).any()
        assert reader.info().colormap is not None
    with STACReader(str(product / "item.json")) as reader:
        assert {"class", "confidence"} <= set(reader.assets)
        preview = reader.preview(assets=["confidence"], max_size=64)
        assert preview.array.max() <= 100
        assert max(preview.data.shape[1:]) == 64


def test_pystac_reads_the_item_its_collection_and_the_table_beside_it(product):
    item = pystac.Item.from_file(str(product / "item.json"))
    collection = pystac.Collection.from_file(str(product / "collection.json"))
    assert [link.href for link in collection.get_item_links()] == ["./item.json"] or list(collection.get_items())
    assert item.get_collection().id == collection.id
    assert {entry["id"] for entry in read_items(product / "items.parquet")} == {item.id}
    assert item.properties["renders"]["confidence"]["rescale"] == [[0, 100]]
    plan = item.assets["plan"]
    assert (product / plan.href).exists()
    assert plan.extra_fields["file:size"] == (product / plan.href).stat().st_size


def test_gdalinfo_finds_nothing_to_complain_about(product):
    probe = (
        "import sys, warnings; warnings.simplefilter('error'); import rasterio; "
        "from rio_cogeo.cogeo import cog_validate; "
        "[rasterio.open(path).checksum(1) for path in sys.argv[1:]]; "
        "assert all(cog_validate(path, strict=True, quiet=True)[0] for path in sys.argv[1:])"
    )
    paths = [str(product / f"{name}.tif") for name in ("class", "confidence")]
    answer = subprocess.run([sys.executable, "-c", probe, *paths], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_product_covers_what_was_asked_for(pixels):
    assert pixels.shape == (SIDE, SIDE)
    assert (pixels[:, -40:] == 255).all(), "where no scene is, there is no class"
