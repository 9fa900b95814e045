"""Assets that are no GeoTIFFs: JPEG 2000 and Zarr, read as plain rasterio reads them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - writes the CRS into a Dataset
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from tests.support.file_server import serve_elsewhere
from tests.support.graphs import Draft
from tests.support.scenes import UTM, asset_of, write_raster
from tests.support.worlds import layer, write_card
from tilewright.catalogs.gdal import gdal_name, read_overview
from tilewright.catalogs.hrefs import split_store
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.gdal import gdal_path
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import RetryPolicy

HEIGHT, WIDTH = 600, 700
NATIVE = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 400_000, 0, -10, 5_400_000), UTM)
ONE_TRY = Reading(retry=RetryPolicy(attempts=1))
HREFS = ("red.jp2", "red.zarr", "many.zarr/red")
BAND = {"unit": "1", "nodata": 0}


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    made = np.random.default_rng(1).integers(1, 4000, (HEIGHT, WIDTH), dtype=np.uint16)
    made[100:140, 200:230] = 0
    return made


@pytest.fixture(scope="module")
def folder(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.tif, red.jp2 (lossless, tiled), red.zarr of one array and many.zarr of two, all with the same pixels."""
    place = tmp_path_factory.mktemp("formats")
    write_raster(place / "red.tif", values)
    profile = {"height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint16", "nodata": 0}
    placement = {"crs": UTM, "transform": NATIVE.affine}
    how = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 256, "BLOCKYSIZE": 256, "RESOLUTIONS": 3}
    with rasterio.open(place / "red.jp2", "w", driver="JP2OpenJPEG", **profile, **placement, **how) as target:
        target.write(values, 1)
    with rasterio.open(place / "red.zarr", "w", driver="Zarr", **profile, **placement) as target:
        target.write(values, 1)
    coords = {"x": NATIVE.coords["x"].values, "y": NATIVE.coords["y"].values}
    bands = {"red": (("y", "x"), values), "nir": (("y", "x"), values[::-1])}
    many = xr.Dataset(bands, coords=coords).rio.write_crs(UTM)
    for name in bands:
        many[name].encoding.update(chunks=(256, 256), _FillValue=0)
    many.to_zarr(place / "many.zarr", zarr_format=2, consolidated=True)
    return place


def read(folder: Path, href: str, geobox: GeoBox, *, resampling: str = "nearest") -> np.ndarray:
    asset = replace(asset_of(folder / "red.tif"), href=href)
    return read_asset(asset, geobox, resampling=resampling, reading=ONE_TRY, sign=lambda: href).values


@pytest.mark.parametrize("name", HREFS)
def test_aligned_pixels_are_rasterios_from_disk_and_over_http(folder: Path, values: np.ndarray, name: str) -> None:
    with rasterio.open(gdal_name(str(folder / name))) as source:
        assert np.array_equal(source.read(1), values)
    assert np.array_equal(read(folder, str(folder / name), NATIVE), values)
    assert np.array_equal(read(folder, str(folder / name), NATIVE[90:300, 33:500]), values[90:300, 33:500])
    with serve_elsewhere(folder) as url:
        assert np.array_equal(read(folder, f"{url}/{name}", NATIVE), values)


@pytest.mark.parametrize("name", HREFS)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_a_warp_is_that_of_the_same_pixels_in_a_geotiff(folder: Path, name: str, resampling: str) -> None:
    bounds = NATIVE.to_crs("EPSG:3035").boundingbox
    europe = GeoBox.from_bbox(tuple(bounds), "EPSG:3035", resolution=10)
    expected = read(folder, str(folder / "red.tif"), europe, resampling=resampling)
    assert (expected > 0).mean() > 0.5
    assert np.array_equal(read(folder, str(folder / name), europe, resampling=resampling), expected)


def test_a_coarse_grid_takes_no_resolutions_of_a_jpeg_2000_which_lie_beside_their_place(folder: Path) -> None:
    (folder / "alone").mkdir()
    # Without the .aux.xml beside it, which names a nodata value.
    shutil.copy(folder / "red.jp2", folder / "alone")
    href, plain = str(folder / "alone" / "red.jp2"), str(folder / "alone" / "plain.tif")
    with rasterio.open(href) as source:
        assert source.overviews(1) == [2, 4]
        profile = {"width": source.width, "height": source.height, "crs": source.crs, "transform": source.transform}
        with rasterio.open(plain, "w", driver="GTiff", count=1, dtype=source.dtypes[0], **profile) as copy:
            copy.write(source.read(1), 1)
    with rasterio.open(href, OVERVIEW_LEVEL=1) as source:
        resolution = source.read(1)
    coarse = GeoBox((HEIGHT // 4, WIDTH // 4), NATIVE.affine * Affine.scale(4), UTM)
    found, full = (
        read_asset(
            replace(asset_of(folder / "red.tif"), href=name, nodata=None),
            coarse,
            resampling="bilinear",
            reading=ONE_TRY,
            sign=lambda name=name: name,
        )
        for name in (href, plain)
    )
    assert np.array_equal(found.values, full.values)
    assert not np.array_equal(found.values, resolution)
    marked = read(folder, href, coarse, resampling="bilinear")
    assert np.array_equal(marked, read(folder, str(folder / "red.tif"), coarse, resampling="bilinear"))


def test_what_a_scene_is_judged_by_can_be_seen_in_every_format(folder: Path, values: np.ndarray) -> None:
    for name in HREFS:
        asset = replace(asset_of(folder / "red.tif"), href=str(folder / name))
        seen = read_overview(asset, lambda href: href)
        assert max(seen.shape) == 512
        assert 0 < seen.max() <= values.max()


def test_paths_into_stores_and_what_is_no_store() -> None:
    assert split_store("/a/b.zarr") == ("/a/b.zarr", "")
    assert split_store("/a/b.zarr/c/d/") == ("/a/b.zarr", "c/d")
    assert split_store("/a/b.zarrow.tif") is None
    assert gdal_path("s3://bucket/b.zarr/r10m/red") == 'ZARR:"/vsis3/bucket/b.zarr":/r10m/red'
    for href in ("https://host/b.zarr/red?sig=1", "https://host/b.zarr?sig=1", 'https://host/b.zarr/r"ed'):
        with pytest.raises(ValueError, match="give it as s3 or unsigned") as refused:
            gdal_path(href)
        assert "sig" not in str(refused.value).replace("signed", "")


@pytest.mark.usefixtures("small_pictures")
def test_a_job_maps_jpeg_2000_and_zarr_from_a_catalog(folder: Path, values: np.ndarray, tmp_path: Path) -> None:
    corners = list(NATIVE.extent.to_crs("EPSG:4326").boundingbox)
    west, south, east, north = corners
    grid = {"proj:code": UTM, "proj:shape": [HEIGHT, WIDTH], "proj:transform": list(NATIVE.affine)[:6]}
    numbers = {"bands": [{"data_type": "uint16", **BAND}]}
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "scene",
        "collection": "optics",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": corners,
        "properties": {"datetime": "2023-06-10T10:00:00Z"},
        "links": [],
        "assets": {
            "red": {"href": str(folder / "red.jp2"), "type": "image/jp2", **grid, **numbers},
            "nir": {"href": str(folder / "many.zarr/nir"), "type": "application/vnd+zarr", **grid, **numbers},
        },
    }
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    draft = Draft()
    model = draft.model(draft.node("Identity", "x"), n_in=2, n_out=2)
    entry = {"name": "x", "bands": ["red", "nir"], "tw:unit": "1"}
    card = write_card(tmp_path / "card", model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["a", "b"]}])
    plain = {
        "area": [west + 0.01, south + 0.01, east - 0.01, north - 0.01],
        "period": "2023-06-10",
        "source": str(tmp_path / "items.json"),
        "model": str(card),
        "grid": {"crs": UTM, "bounds": [401_000, 5_395_000, 405_000, 5_399_000]},
    }
    output = run_job(make_job(plain, base=tmp_path, output=str(tmp_path / "out")), RunOptions(workers=1)).output
    for name, expected in (("a", values), ("b", values[::-1])):
        found, here = layer(output, name), expected[100:500, 100:500].astype(np.float32)
        assert found.shape == here.shape
        assert np.isfinite(found).mean() > 0.5
        seen = np.isfinite(found) & (here > 0)
        assert np.array_equal(found[seen], here[seen])
