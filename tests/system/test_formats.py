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
import zarr
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
OLDER = ("red.jp2", "red.zarr", "many.zarr/red")
HREFS = (*OLDER, "many3.zarr/red", "sharded.zarr/red")
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
    many.to_zarr(place / "many3.zarr", zarr_format=3)
    for name in bands:
        many[name].encoding.update(chunks=(50, 100), shards=(200, 300))
    many.to_zarr(place / "sharded.zarr", zarr_format=3)
    return place


def read(folder: Path, href: str, geobox: GeoBox, *, resampling: str = "nearest") -> np.ndarray:
    asset = replace(asset_of(folder / "red.tif"), href=href)
    return read_asset(asset, geobox, resampling=resampling, reading=ONE_TRY, sign=lambda: href).values


@pytest.mark.parametrize("name", HREFS)
def test_aligned_pixels_are_rasterios_from_disk_and_over_http(folder: Path, values: np.ndarray, name: str) -> None:
    if name in OLDER:
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
    found = read(folder, str(folder / name), europe, resampling=resampling)
    if name in OLDER:
        assert np.array_equal(found, expected)
        return
    # GDAL warps from memory here: where a pixel lies between two, or a value between two numbers, it takes another one.
    apart = np.abs(found.astype(int) - expected)
    assert (apart > (resampling == "bilinear")).sum() <= 2
    assert (apart > 0).mean() < 0.003
    assert np.array_equal(found == 0, expected == 0)


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
    for name in OLDER:
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


@pytest.mark.parametrize("store", ["many.zarr", "sharded.zarr"])
@pytest.mark.usefixtures("small_pictures")
def test_a_job_maps_jpeg_2000_and_zarr_from_a_catalog(
    folder: Path, values: np.ndarray, tmp_path: Path, store: str
) -> None:
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
            "nir": {"href": str(folder / store / "nir"), "type": "application/vnd+zarr", **grid, **numbers},
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


def _esas_product(folder: Path, version: int, values: np.ndarray) -> Path:
    """A Sentinel-2 product as EOPF lays it out: groups by resolution, DN with scale and offset, coordinates, no CRS."""
    store = folder / "S2B_MSIL2A_20260721T100559_N0512_R022_T33UWQ_20260721T143508.zarr"
    root = zarr.open_group(store, mode="w", zarr_format=version)
    told = {"scale_factor": 0.0001, "add_offset": -0.1, "fill_value": 0, "dtype": "<u2", "units": "digital_counts"}
    classes = {"flag_values": [0, 4, 9], "long_name": "scene classification map"}
    places: dict[str, tuple[int, dict[str, np.ndarray], dict[str, object]]] = {
        "measurements/reflectance/r10m": (1, {"b03": values, "b08": values[::-1]}, told),
        "conditions/mask/l2a_classification/r20m": (2, {"scl": np.full((300, 350), 4, np.uint8)}, classes),
    }
    for name, (coarse, arrays, attributes) in places.items():
        group = root.create_group(name)
        for axis, first, step, n in (("y", 5_400_000, -10 * coarse, HEIGHT), ("x", 400_000, 10 * coarse, WIDTH)):
            centres = first + step / 2 + step * np.arange(n // coarse)
            how = {"dimension_names": (axis,)} if version == 3 else {}
            made = group.create_array(axis, shape=centres.shape, dtype="float32", **how)
            made[:] = centres
            made.attrs["_ARRAY_DIMENSIONS"] = [axis]
        for band, numbers in arrays.items():
            how = {"shards": (200, 200), "dimension_names": ("y", "x")} if version == 3 else {}
            made = group.create_array(
                band, shape=numbers.shape, chunks=(100, 100), dtype=numbers.dtype, fill_value=0, **how
            )
            made[...] = numbers
            made.attrs.update({"_ARRAY_DIMENSIONS": ["y", "x"], **attributes})
    if version == 2:
        zarr.consolidate_metadata(store, zarr_format=2)
    return store


@pytest.mark.parametrize(("version", "grouped"), [(2, False), (3, False), (3, True)])
@pytest.mark.usefixtures("small_pictures")
def test_a_job_maps_esas_own_products(values: np.ndarray, tmp_path: Path, version: int, grouped: bool) -> None:
    values = np.where(values > 0, 1100 + values // 4, values).astype(np.uint16)
    store = _esas_product(tmp_path, version, values)
    west, south, east, north = NATIVE.extent.to_crs("EPSG:4326").boundingbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    media = {"type": "application/vnd.zarr; version=3" if version == 3 else "application/vnd+zarr", "roles": ["data"]}
    place = f"{store}/measurements/reflectance/r10m"
    numbers = {"data_type": "uint16", "nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1, "gsd": 10}
    bands = {f"B{band}_10m": {"href": f"{place}/b{band}", **media, **numbers} for band in ("03", "08")}
    group = {"SR_10m": {"href": place, **media, **numbers, "bands": [{"name": "b03"}, {"name": "b08"}]}}
    scl = {"href": f"{store}/conditions/mask/l2a_classification/r20m/scl", **media, "gsd": 20, "data_type": "uint8"}
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": store.stem,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": "2026-07-21T10:05:59Z", "proj:code": UTM, "processing:version": "05.12"},
        "links": [],
        "assets": {**(group if grouped else bands), "SCL_20m": scl},
    }
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    plain = {
        "area": [west + 0.01, south + 0.01, east - 0.01, north - 0.01],
        "period": "2026-07-21",
        "source": str(tmp_path / "items.json"),
        "model": "ndwi-water",
        "grid": {"crs": UTM, "bounds": [401_000, 5_395_000, 405_000, 5_399_000]},
    }
    output = run_job(make_job(plain, base=tmp_path, output=str(tmp_path / "out")), RunOptions(workers=1)).output
    found = layer(output, "class")
    green, nir = (each[100:500, 100:500] * np.float32(1e-4) - np.float32(0.1) for each in (values, values[::-1]))
    there = (values[100:500, 100:500] > 0) & (values[::-1][100:500, 100:500] > 0) & (found != 255)
    sure = there & (np.abs(green - nir) > 0.01) & (green + nir > 0.02)
    assert sure.mean() > 0.3
    assert np.array_equal(found[sure] == 1, (green > nir)[sure])
