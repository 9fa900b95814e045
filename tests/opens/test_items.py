"""The Item alone opens the product's pixels: in servers of tiles, and in what makes cubes of Items."""

from __future__ import annotations

import io

import morecantile
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import stackstac
import xarray as xr
from fastapi import FastAPI
from rio_tiler.io import STACReader
from starlette.testclient import TestClient
from titiler.core.factory import MultiBaseTilerFactory

from tests.opens.asked import words_of


@pytest.fixture(scope="module")
def get(product):
    """An answer of titiler about the Item."""
    app = FastAPI()
    app.include_router(MultiBaseTilerFactory(reader=STACReader).router, prefix="/stac")
    client = TestClient(app)

    def asked(path, **words):
        answer = client.get(f"/stac/{path}", params={"url": str(product / "item.json"), **words})
        assert answer.status_code == 200, answer.text
        return answer

    return asked


@pytest.fixture
def read_item(product):
    """The Item as pystac reads it, with absolute hrefs as from a catalog."""
    return pystac.Item.from_file(str(product / "item.json")).make_asset_hrefs_absolute()


def test_titiler_gives_the_pixels_of_the_item(get, pixels):
    assert get("assets").json() == ["class", "confidence"]
    values, mask = np.load(io.BytesIO(get("preview.npy", assets="class").content))
    assert np.array_equal(np.where(mask > 0, values, 255), pixels)
    (figures,) = get("statistics", assets="class").json().values()
    assert figures["count"] == (pixels != 255).sum()
    assert figures["mean"] == pytest.approx(pixels[pixels != 255].mean())


def test_titiler_draws_each_render_of_the_item(get, item, pixels):
    renders = item["properties"]["renders"]
    assert set(renders) == {"class", "confidence"}
    for name, render in renders.items():
        answer = get("preview.png", **words_of(render))
        with rasterio.open(io.BytesIO(answer.content)) as drawn:
            picture = drawn.read()
        assert picture.shape == (4, *pixels.shape), name
        assert np.array_equal(picture[3] > 0, pixels != 255), name
        if name == "class":
            for value in (0, 1):
                colour = render["colormap"][str(value)]
                assert (colour == picture[:, pixels == value].T).all(), value


def test_the_colours_of_the_item_are_those_of_the_file(product, item):
    """The class with a colour in the card has it; the other has the default that pictures, styles and files show."""
    classes = {each["value"]: each["color_hint"] for each in item["assets"]["class"]["classification:classes"]}
    assert classes[1] == "2E86DE"
    with rasterio.open(product / "class.tif") as dataset:
        table = dataset.colormap(1)
    for value, hint in classes.items():
        assert table[value][:3] == tuple(bytes.fromhex(hint))
        assert item["properties"]["renders"]["class"]["colormap"][str(value)] == [*table[value][:3], 255]


def test_titiler_gives_tiles_from_the_item(get, item):
    told = get("WebMercatorQuad/tilejson.json", assets="class").json()
    west, south, east, north = told["bounds"]
    assert (west, south, east, north) == pytest.approx(item["bbox"], abs=1e-3)
    tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, told["maxzoom"])
    address = f"tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy"
    values, mask = np.load(io.BytesIO(get(address, assets="class").content))
    assert set(np.unique(values[mask > 0])) == {0, 1}


def test_rio_tiler_reads_the_item(product, pixels):
    with STACReader(str(product / "item.json")) as reader:
        assert list(reader.assets) == ["class", "confidence"]
        image = reader.preview(assets=["class"], max_size=None)
        assert np.array_equal(np.where(image.mask > 0, image.data[0], 255), pixels)
        assert reader.crs.to_epsg() == 32633


def test_odc_stac_loads_the_item(read_item, pixels):
    loaded = odc.stac.load([read_item])
    assert set(loaded.data_vars) == {"class", "confidence"}
    assert loaded.odc.crs.epsg == 32633
    assert loaded["class"].nodata == 255
    assert np.array_equal(loaded["class"].to_numpy()[0], pixels)
    assert str(loaded.time.to_numpy()[0]).startswith("2023-06-01")


def test_stackstac_stacks_the_item(item, read_item, pixels):
    """An Item of pystac has lost `proj:epsg`, which is all that stackstac 0.5 knows: there the grid must be given."""
    plain = {**item, "assets": {key: each.to_dict() for key, each in read_item.assets.items()}}
    grid = {"epsg": 32633, "bounds": item["properties"]["proj:bbox"], "resolution": 10}
    for given, more in ((plain, {}), (read_item, grid)):
        stack = stackstac.stack([given], assets=["class"], rescale=False, **more)
        values = stack.to_numpy()[0, 0]
        assert np.array_equal(np.where(np.isnan(values), 255, values), pixels)
        assert str(stack.time.to_numpy()[0]).startswith("2023-06-01")
    with pytest.raises(ValueError, match="epsg"):
        stackstac.stack([read_item], assets=["class"])


def test_xpystac_opens_files_and_the_store(read_item, pixels):
    """Its 0.5 knows the media type of Zarr without a version, which STAC's best practices ask for."""
    with xr.open_dataset(read_item.assets["class"], engine="stac") as file:
        values = file["band_data"].to_numpy()[0]
        assert np.array_equal(np.where(np.isnan(values), 255, values), pixels)
    store = read_item.assets["data"]
    assert store.media_type == "application/vnd.zarr; version=3"
    store.media_type = "application/vnd.zarr"
    with xr.open_dataset(store, engine="stac") as layers:
        values = layers["class"].to_numpy()
        assert np.array_equal(np.where(np.isnan(values), 255, values), pixels)
