from __future__ import annotations

import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from tests.support.scenes import LEFT, TOP, asset_of, grid, write_raster
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.counters import DecodedBlocks, FileBlock, ReadStats, stored_bytes
from tilewright.tasks.read.gdal import gdal_path
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError

RANDOM = np.random.default_rng(3)


def read(path: Path, geobox: GeoBox, *, resampling: str = "nearest", unit: str = "reflectance", **options: object):
    asset = asset_of(path, unit=unit)
    return read_asset(asset, geobox, resampling=resampling, reading=Reading(), sign=lambda: asset.href, **options)


def test_an_aligned_read_is_what_rasterio_reads(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    pixels = read(path, grid(100, 120, left=LEFT + 200, top=TOP - 300), resampling="bilinear")
    assert np.array_equal(pixels.values, values[30:130, 20:140])
    assert pixels.values.dtype == np.uint16


def test_pixels_beyond_the_file_are_missing_on_every_side(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    pixels = read(path, grid(320, 420, left=LEFT - 100, top=TOP + 100))
    assert np.array_equal(pixels.values[10:310, 10:410], values)
    assert pixels.missing[:10].all()
    assert pixels.missing[310:].all()
    assert pixels.missing[:, :10].all()
    assert pixels.missing[:, 410:].all()
    assert read(path, grid(10, 10, left=LEFT + 1e6)).missing.all()


def test_a_file_without_nodata_carries_a_mask(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "plain.tif", np.zeros((20, 20), np.uint16), nodata=None)
    for geobox in (grid(24, 24, left=LEFT - 20, top=TOP + 20), grid(24, 24, left=LEFT - 23, top=TOP + 23)):
        missing = read(path, geobox, resampling="bilinear").missing
        assert not missing[4:20, 4:20].any()
        assert missing[0].all()
        assert missing[:, 0].all()


def test_coarse_pixels_are_repeated_and_fine_ones_picked(tmp_path: Path) -> None:
    values = np.arange(1, 65, dtype=np.uint16).reshape(8, 8)
    path = write_raster(tmp_path / "twenty.tif", values, size=20)
    shifted = read(path, grid(6, 6, left=LEFT + 10, top=TOP - 10))
    assert np.array_equal(shifted.values, values.repeat(2, 0).repeat(2, 1)[1:7, 1:7])
    picked = read(path, grid(4, 4, size=40))
    assert np.array_equal(picked.values, values[1::2, 1::2])
    thirds = read(path, grid(3, 3, size=60))
    assert np.array_equal(thirds.values[:2, :2], values[1::3, 1::3][:2, :2])


def test_a_shift_of_half_a_pixel_is_not_pasted(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    halfway = read(path, grid(40, 40, left=LEFT + 5, top=TOP - 5), resampling="bilinear").values
    between = (values[:40, :40].astype(float) + values[1:41, :40] + values[:40, 1:41] + values[1:41, 1:41]) / 4
    assert np.abs(halfway - between).max() <= 0.51


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "lanczos", "average"])
@pytest.mark.parametrize("size", [10.0, 27.0])
def test_a_warp_does_not_depend_on_the_cut(noise: tuple[Path, np.ndarray], resampling: str, size: float) -> None:
    path, _ = noise
    bounds = grid(300, 400).to_crs("EPSG:3035").boundingbox
    whole = GeoBox.from_bbox(tuple(bounds), "EPSG:3035", resolution=size)
    full = read(path, whole, resampling=resampling).values
    assert (full > 0).mean() > 0.5
    for top, left in ((0, 0), (7, 33), (61, 64), (30, 1)):
        rows, cols = slice(top, top + 50), slice(left, left + 70)
        part = read(path, whole[rows, cols], resampling=resampling).values
        assert np.array_equal(part, full[rows, cols])


def test_nearest_warp_agrees_with_the_projection(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    geobox = GeoBox.from_bbox(tuple(grid(300, 400).to_crs("EPSG:3035").boundingbox), "EPSG:3035", resolution=10)
    pixels = read(path, geobox)
    xs, ys = np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    east, north = Transformer.from_crs(3035, 32633, always_xy=True).transform(xs, ys)
    cols, rows = (east - LEFT) / 10, (TOP - north) / 10
    near_edge = (np.abs(cols - np.round(cols)) < 1e-3) | (np.abs(rows - np.round(rows)) < 1e-3)
    inside = (rows > 0) & (rows < 300) & (cols > 0) & (cols < 400) & ~near_edge
    expected = values[np.floor(rows[inside]).astype(int), np.floor(cols[inside]).astype(int)]
    assert np.array_equal(pixels.values[inside], expected)


@pytest.mark.parametrize(("crs", "size"), [("EPSG:3035", 10.0), ("EPSG:3995", 9.0), ("EPSG:3857", 15.0)])
def test_a_warp_is_right_to_a_thousandth_of_a_pixel(tmp_path: Path, crs: str, size: float) -> None:
    rows, cols = np.mgrid[0.5:700, 0.5:700]
    geobox = GeoBox.from_bbox(tuple(grid(700, 700).to_crs(crs).boundingbox), crs, resolution=size)
    east, north = Transformer.from_crs(crs, 32633, always_xy=True).transform(
        *np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    )
    places = {"rows": (rows, (TOP - north) / 10), "cols": (cols, (east - LEFT) / 10)}
    inside = np.logical_and.reduce([(place > 2) & (place < 698) for _, place in places.values()])
    assert inside.mean() > 0.4
    for name, (ramp, place) in places.items():
        path = write_raster(tmp_path / f"{name}.tif", ramp, nodata=None)
        found = read(path, geobox, resampling="bilinear").values
        assert np.abs(found - place)[inside].max() < 1.1e-3


def test_coarser_grids_take_the_overview_and_categories_never(tmp_path: Path) -> None:
    values = RANDOM.integers(1, 9, (256, 256), dtype=np.uint16) * 1000
    path = write_raster(tmp_path / "levels.tif", values, overviews=(2, 4))
    mean = values.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    stats = ReadStats()
    coarse = read(path, grid(64, 64, size=40), resampling="bilinear", stats=stats)
    assert np.abs(coarse.values - mean).max() <= 1
    assert stats.decoded_pixels == 64 * 64
    classes = read(path, grid(64, 64, size=40), unit="class")
    assert np.array_equal(classes.values, values[2::4, 2::4])


def test_an_overview_of_an_odd_size_keeps_its_place(tmp_path: Path) -> None:
    values = np.repeat(np.arange(1, 302, dtype=np.uint16)[None], 301, axis=0)
    path = write_raster(tmp_path / "odd.tif", values, overviews=(2,))
    coarse = read(path, grid(150, 150, size=20), resampling="bilinear").values
    assert np.abs(coarse[10] - (np.arange(150) * 2 + 1.5)).max() <= 0.5


def test_only_listed_drivers_open_a_file(tmp_path: Path, noise: tuple[Path, np.ndarray]) -> None:
    path = tmp_path / "trap.tif"
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{noise[0]}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    asset = asset_of(noise[0], href=str(path))
    quick = Reading(retry=RetryPolicy(attempts=1))
    with pytest.raises(UnreadableError):
        read_asset(asset, grid(4, 4), resampling="nearest", reading=quick, sign=lambda: asset.href)


@pytest.mark.parametrize("href", ["/vsicurl/http://a/b.tif", "ftp://a/b.tif", "gs://a/b", "", " /vsizip/x.zip"])
def test_paths_of_gdals_own_are_refused(href: str) -> None:
    with pytest.raises(ValueError, match=r"readable are|path of GDAL"):
        gdal_path(href)


def test_an_unknown_resampling_is_refused(noise: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="resampling 'sharp' is not known"):
        read(noise[0], grid(4, 4), resampling="sharp")


def test_threads_share_files_without_harm(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise

    def row(number: int) -> bool:
        found = read(path, grid(40, 400, top=TOP - 10 * number)).values
        return np.array_equal(found, values[number : number + 40])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(row, [number % 260 for number in range(200)]))


def test_a_rewritten_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "twice.tif"
    for value in (3, 5000):
        write_raster(path, np.full((64 * value % 97 + 20, 30), value, np.uint16))
        assert (read(path, grid(10, 10)).values == value).all()


def test_the_stats_count_each_block_decoded_and_needed(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "counted.tif", np.ones((256, 256), np.uint16), block=64)
    stats = ReadStats()
    read(path, grid(64, 64), stats=stats)
    assert (stats.decoded_pixels, stats.needed_pixels, stats.reads) == (64 * 64, 64 * 64, 1)
    read(path, grid(65, 64), stats=stats)
    assert (stats.decoded_pixels, stats.needed_pixels) == (2 * 64 * 64, 2 * 64 * 64)
    assert stats.read_factor == 1.0
    assert pickle.loads(pickle.dumps(stats)).needed_pixels == stats.needed_pixels  # noqa: S301


def test_a_block_that_left_the_cache_counts_again() -> None:
    cache = DecodedBlocks(capacity_bytes=20)
    first, second, third = (FileBlock(1, 0, col) for col in range(3))
    assert len(cache.touch([first, second], size=10)) == 2
    assert len(cache.touch([first], size=10)) == 0
    assert len(cache.touch([third], size=10)) == 1
    assert len(cache.touch([first, third], size=10)) == 0
    assert len(cache.touch([second], size=10)) == 1


def test_aligned_reads_of_the_danube_are_rasterios(real: Path) -> None:
    for path in sorted(real.glob("sentinel-2-l2a/S2B_33UUP_*/*.tif")):
        with rasterio.open(path) as source:
            geobox = GeoBox(source.shape, source.transform, str(source.crs))
            assert np.array_equal(read(path, geobox, resampling="cubic").values, source.read(1))


@pytest.mark.parametrize("overview", [None, 0], ids=["full", "overview"])
def test_bytes_of_blocks_are_those_of_the_files_tiles(tmp_path, overview):
    """All blocks of a band together take what the file is larger than one without them; a block of zeros takes less."""
    values = np.random.default_rng(0).integers(0, 9000, (256, 256)).astype(np.uint16)
    values[:64, :64] = 0
    path = write_raster(tmp_path / "a.tif", values, overviews=[2])
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    with rasterio.open(path) as whole:
        table = {(row, col): int(whole.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1, ovr=overview))
                 for row in range(2) for col in range(2)}  # fmt: skip
    with rasterio.open(path, **options) as dataset:
        every = [(row, col) for row in range(4 >> (overview is not None)) for col in range(4 >> (overview is not None))]
        total = stored_bytes(dataset, 1, every)
        assert {place: stored_bytes(dataset, 1, [place]) for place in table} == table
    packed = sum(len(zlib.compress(tile)) for tile in [values.tobytes()]) >> 2 * (overview is not None)
    assert 0.8 * packed < total < 1.2 * packed
    assert table[0, 0] < 0.9 * table[1, 1]


def test_bytes_of_blocks_that_are_not_stored_or_told(tmp_path):
    """A sparse tile has none; a format without a table shares its file out."""
    profile = {"height": 128, "width": 128, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    place = {"transform": Affine(10, 0, 0, 0, -10, 0)}
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64, "SPARSE_OK": True}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **profile, **place, **tiled) as target:
        target.write(np.ones((1, 64, 64), np.uint8), window=((0, 64), (64, 128)))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert [stored_bytes(dataset, 1, [each]) for each in ((0, 0), (0, 1), (1, 1))] == [0, 64 * 64, 0]
    noise = np.random.default_rng(0).integers(0, 255, (1, 128, 128)).astype(np.uint8)
    with rasterio.open(tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", **profile, **place) as target:
        target.write(noise)
    with rasterio.open(tmp_path / "a.jp2") as dataset:
        height, width = dataset.block_shapes[0]
        every = [(row, col) for row in range(-(-128 // height)) for col in range(-(-128 // width))]
        assert stored_bytes(dataset, 1, every) == (tmp_path / "a.jp2").stat().st_size
