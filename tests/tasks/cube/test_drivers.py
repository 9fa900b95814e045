"""Our reading inside odc-stac and stackstac as their users call them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import stackstac
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from tests.support.file_server import serve
from tests.support.scenes import UTM, asset_of, scene_of, write_raster
from tilewright.tasks.cube.drivers import FileDriver, FileReader
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError

SIDE = 700
LEFT, TOP = 400_000.0, 5_400_000.0
NATIVE = GeoBox((SIDE, SIDE), Affine(10, 0, LEFT, 0, -10, TOP), UTM)
PATIENT = Reading(retry=RetryPolicy(first_wait_s=0.01))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(3)
    ground = np.add.outer(np.linspace(500, 3000, SIDE), np.linspace(0, 2000, SIDE))
    values = (ground + random.normal(0, 300, ground.shape)).clip(1).astype(np.uint16)
    values[300:330, 200:260] = 0
    return write_raster(tmp_path_factory.mktemp("drivers") / "red.tif", values, block=256)


@pytest.fixture(scope="module")
def europe() -> GeoBox:
    """A grid of 10 m in EPSG:3035 inside the file."""
    return GeoBox.from_bbox(tuple(NATIVE.to_crs("EPSG:3035").boundingbox), "EPSG:3035", resolution=10)[90:600, 100:600]


def item_of(path: Path, href: str | None = None) -> pystac.Item:
    scene = scene_of(asset_of(path))
    outline = {"type": "Polygon", "coordinates": [[[12, 48], [15, 48], [15, 50], [12, 50], [12, 48]]]}
    properties = {"proj:epsg": 32633, "proj:shape": [SIDE, SIDE], "proj:transform": list(NATIVE.affine)[:6]}
    item = pystac.Item(scene.id, outline, list(scene.bbox), scene.datetime, properties)
    item.stac_extensions.append("https://stac-extensions.github.io/projection/v1.1.0/schema.json")
    bands = [{"data_type": "uint16", "nodata": 0}]
    asset = pystac.Asset(href or str(path), media_type="image/tiff", extra_fields={"raster:bands": bands})
    item.add_asset("red", asset)
    return item


def by_odc(item, geobox, *, chunks, resampling="nearest", driver=None, **how):
    side = {"x": chunks, "y": chunks}
    loaded = odc.stac.load(
        [item], bands=["red"], geobox=geobox, chunks=side, resampling=resampling, driver=driver or FileDriver(), **how
    )
    return loaded.red.isel(time=0).compute(scheduler="threads").to_numpy()


def by_stackstac(item, geobox, *, chunks, resampling="nearest", **how):
    stack = stackstac.stack(
        [item.to_dict()],
        assets=["red"],
        bounds=tuple(geobox.boundingbox),
        epsg=geobox.crs.to_epsg(),
        resolution=10,
        resampling=Resampling[resampling],
        chunksize=chunks,
        reader=FileReader,
        **{"dtype": "uint16", "fill_value": np.uint16(0), "rescale": False, **how},
    )
    return stack[0, 0].compute(scheduler="threads").to_numpy()


WAYS = {"odc-stac": by_odc, "stackstac": by_stackstac}


@pytest.mark.parametrize("way", WAYS)
def test_aligned_pixels_are_rasterios(red: Path, way: str) -> None:
    with rasterio.open(red) as source:
        expected = source.read(1)
    for chunks in (100, 2048):
        assert np.array_equal(WAYS[way](item_of(red), NATIVE, chunks=chunks), expected)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_a_warp_has_the_same_pixels_whatever_the_chunks_and_whoever_asks(
    red: Path, europe: GeoBox, resampling: str
) -> None:
    cube = load_cube([scene_of(asset_of(red))], europe, ["red"], resampling=resampling).red[0].to_numpy()
    expected = np.nan_to_num(cube).astype(np.uint16)
    assert (expected > 0).mean() > 0.9
    for way in WAYS.values():
        for chunks in (128, 2048):
            assert np.array_equal(way(item_of(red), europe, chunks=chunks, resampling=resampling), expected)


def test_nodata_and_overviews_requested_by_odc_stac_are_honoured(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1
    path = write_raster(tmp_path / "red.tif", values, nodata=0, overviews=[2, 4])
    with rasterio.open(path) as source:
        geobox = GeoBox((80, 80), source.transform, UTM)
    made = by_odc(item_of(path), geobox, chunks=80, nodata=7)
    assert (made[:64, :64] == values).all()
    assert (made[64:] == 7).all()
    coarse = geobox.zoom_out(4)[:16, :16]
    from_overview = by_odc(item_of(path), coarse, chunks=80, resampling="bilinear")
    from_full = by_odc(item_of(path), coarse, chunks=80, resampling="nearest", use_overviews=False)
    with rasterio.open(path, OVERVIEW_LEVEL=1) as source:
        assert np.array_equal(from_overview, source.read(1))
    assert set(from_full.ravel()) <= set(values.ravel())
    assert not np.array_equal(from_full, from_overview)


def test_stackstac_may_rescale(red: Path) -> None:
    item = item_of(red)
    item.assets["red"].extra_fields["raster:bands"][0].update(scale=1e-4, offset=-0.1)
    made = by_stackstac(item, NATIVE, chunks=512, dtype="float64", fill_value=np.nan, rescale=True)
    with rasterio.open(red) as source:
        dn = source.read(1).astype(np.float64)
    assert np.array_equal(made, np.where(dn == 0, np.nan, dn * 1e-4 - 0.1), equal_nan=True)


def test_hrefs_are_signed_late_and_renewed_on_403(red: Path) -> None:
    signed: list[str] = []

    def sign(href: str) -> str:
        signed.append(f"{href}?token={len(signed)}")
        return signed[-1]

    with serve(red.parent) as proxy:
        # Each signature is good until the next: the first has run out by the time of the read.
        proxy.fault = lambda number: "403" if proxy.requests[number].endswith("token=0") else None
        driver = FileDriver(sign=sign, reading=PATIENT)
        item = item_of(red, proxy.href("red.tif"))
        assert not signed
        made = by_odc(item, NATIVE, chunks=2048, driver=driver)
    with rasterio.open(red) as source:
        assert np.array_equal(made, source.read(1))
    assert len(signed) == 2


def test_a_file_that_cannot_be_read_fails_or_is_nodata_as_asked(red: Path) -> None:
    with serve(red.parent) as proxy:
        item = item_of(red, proxy.href("gone.tif"))
        with pytest.raises(UnreadableError, match="the server answers 404"):
            by_odc(item, NATIVE, chunks=512)
        with pytest.raises(UnreadableError, match="the server answers 404"):
            by_stackstac(item, NATIVE, chunks=512, errors_as_nodata=())
        assert not by_odc(item, NATIVE, chunks=512, fail_on_error=False).any()
        # A missing file is what stackstac forgives by default.
        assert not by_stackstac(item, NATIVE, chunks=512).any()


def test_settings_for_another_reader_are_refused(red: Path) -> None:
    with pytest.raises(ValueError, match="leave it out"):
        by_stackstac(item_of(red), NATIVE, chunks=512, gdal_env=stackstac.DEFAULT_GDAL_ENV)


def test_a_driver_travels_to_other_processes(red: Path) -> None:
    driver = pickle.loads(pickle.dumps(FileDriver(reading=PATIENT)))  # noqa: S301 - written a moment ago
    assert driver.reading == PATIENT
    assert by_odc(item_of(red), NATIVE, chunks=512, driver=driver).any()
