"""Pixels that are made finer by a whole number are those of GDAL's warp, and the same in every cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from tests.support.scenes import asset_of, grid
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.resample import enlarge
from tilewright.tasks.read.resample.pixels import Pixels

SIZE, HEIGHT, WIDTH = 10.0, 37, 53


def make(path: Path, dtype: str, *, holes: float, sign: str, seed: int = 0) -> Path:
    close_files()
    random = np.random.default_rng(seed)
    if dtype.startswith("float"):
        values = random.normal(0, 30, (HEIGHT, WIDTH)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        values = random.integers(max(limits.min, -(2**31)), min(limits.max, 2**31), (HEIGHT, WIDTH)).astype(dtype)
    lost = random.random(values.shape) < holes
    nodata = {"marker": 0.0, "high": float(np.iinfo(dtype).max) if "int" in dtype else -9999.0}.get(sign)
    if nodata is not None:
        values[values == values.dtype.type(nodata)] = nodata - 1 if sign == "high" else nodata + 1
        values[lost] = nodata
    elif sign == "nan":
        values[lost] = np.nan
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=1, dtype=dtype, crs="EPSG:32633",
            transform=grid(1, 1, size=SIZE).affine, nodata=nodata, tiled=True, blockxsize=16, blockysize=16,
        ) as file,
    ):  # fmt: skip
        file.write(values, 1)
        if sign == "mask":
            file.write_mask(~lost)
    return path


def finer(grow: int, *, rows: tuple[int, int], cols: tuple[int, int]) -> GeoBox:
    """Rows and columns of a grid with `grow` pixels by one of the file, counted from its corner."""
    whole = grid(rows[1] - rows[0], cols[1] - cols[0], size=SIZE / grow)
    return GeoBox(whole.shape, whole.affine * whole.affine.translation(cols[0], rows[0]), whole.crs)


def read(path: Path, geobox: GeoBox, stats: ReadStats | None = None) -> Pixels:
    asset = asset_of(path)
    return read_asset(asset, geobox, resampling="bilinear", reading=Reading(), sign=lambda: asset.href, stats=stats)


def numbers(pixels: Pixels) -> np.ndarray:
    """Stored numbers as float64, NaN where missing."""
    return np.where(pixels.missing, np.nan, pixels.values.astype(np.float64))


def by_gdal(path: Path, geobox: GeoBox, *, sign: str) -> np.ndarray:
    """The same by GDAL's warp of the whole file."""
    with rasterio.open(path) as file:
        options = {"src_nodata": file.nodata, "nodata": file.nodata} if file.nodata is not None else {}
        if file.nodata is None and file.dtypes[0].startswith("float"):
            options = {"src_nodata": np.nan, "nodata": np.nan}
        if sign == "mask":
            options = {"add_alpha": True}
        with WarpedVRT(
            file, crs=str(geobox.crs), transform=geobox.affine, height=geobox.shape.y, width=geobox.shape.x,
            resampling=Resampling.bilinear, tolerance=0.001, XSCALE=1.0, YSCALE=1.0, **options,
        ) as warped:  # fmt: skip
            values = warped.read(1).astype(np.float64)
            if sign == "mask":
                values[warped.read(2) < 128] = np.nan
            elif warped.nodata is not None:
                values[values == warped.nodata] = np.nan
    return values


def cases(*dtypes: str) -> list[tuple[str, str]]:
    """(type, how missing pixels are told): an integer is never NaN."""
    signs = ("none", "marker", "high", "mask", "nan")
    return [(dtype, sign) for dtype in dtypes for sign in signs if sign != "nan" or dtype.startswith("float")]


@pytest.mark.parametrize("holes", [0.0, 0.03, 0.6])
@pytest.mark.parametrize(("dtype", "sign"), cases("uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"))
@pytest.mark.parametrize("grow", [2, 3, 6])
def test_it_is_what_gdal_makes_of_them(tmp_path: Path, grow: int, dtype: str, sign: str, holes: float) -> None:
    path = make(tmp_path / "file.tif", dtype, holes=holes, sign=sign)
    geobox = finer(grow, rows=(0, HEIGHT * grow), cols=(0, WIDTH * grow))
    found, wanted = numbers(read(path, geobox)), by_gdal(path, geobox, sign=sign)
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    if dtype.startswith("float"):
        assert np.allclose(found, wanted, rtol=2e-6, atol=2e-5, equal_nan=True)
    else:
        # GDAL takes a coordinate for a little less than it is: halves may go either way.
        assert np.nanmax(np.abs(found - wanted)) <= 1
        assert np.mean(found[~np.isnan(found)] == wanted[~np.isnan(found)]) > 0.8


@pytest.mark.parametrize(("dtype", "sign"), cases("uint16", "int16", "float32"))
@pytest.mark.parametrize("grow", [2, 3, 4, 6, 64])
def test_every_cut_has_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grow: int, dtype: str, sign: str
) -> None:
    """Also one that reaches beyond the file, lies in one of its pixels, or is made in other slabs."""
    path = make(tmp_path / "file.tif", dtype, holes=0.01, sign=sign)
    top, left, height, width = -3, -5, HEIGHT * grow + 9, WIDTH * grow + 14
    whole = numbers(read(path, finer(grow, rows=(top, top + height), cols=(left, left + width))))
    beyond = np.ones(whole.shape, dtype=bool)
    beyond[-top : HEIGHT * grow - top, -left : WIDTH * grow - left] = False
    assert np.isnan(whole[beyond]).all()
    random = np.random.default_rng(grow)
    for number in range(12):
        # Every third cut is a few pixels large.
        most = (4, 4) if number % 3 == 0 else (height, width)
        size = [int(random.integers(1, each + 1)) for each in most]
        first = [int(random.integers(0, each - of + 1)) for each, of in zip((height, width), size, strict=True)]
        monkeypatch.setattr(enlarge, "SLAB_BYTES", int(random.integers(1, 1 << 16)))
        rows, cols = (slice(start, start + of) for start, of in zip(first, size, strict=True))
        box = finer(grow, rows=(top + rows.start, top + rows.stop), cols=(left + cols.start, left + cols.stop))
        assert np.array_equal(numbers(read(path, box)), whole[rows, cols], equal_nan=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_missing_neighbours_do_not_change_how_others_are_rounded(tmp_path: Path, dtype: str) -> None:
    """Windows without holes are weighed in whole numbers, others in floats: to the same bits."""
    random = np.random.default_rng(5)
    clean, holed = make(tmp_path / "a.tif", dtype, holes=0, sign="marker"), tmp_path / "b.tif"
    with rasterio.open(clean) as file:
        values, profile = file.read(1), file.profile
    holes = random.random(values.shape) < 0.02
    with rasterio.open(holed, "w", **profile) as file:
        file.write(np.where(holes, 0, values).astype(dtype), 1)
    near = holes.copy()
    for axis in (0, 1):
        near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
    for grow in (2, 3, 5, 6):
        geobox = finer(grow, rows=(0, HEIGHT * grow), cols=(0, WIDTH * grow))
        one, other = numbers(read(clean, geobox)), numbers(read(holed, geobox))
        same = ~near.repeat(grow, axis=0).repeat(grow, axis=1)
        assert same.mean() > 0.5
        assert np.array_equal(one[same], other[same])


@pytest.mark.parametrize(("dtype", "marker", "around"), [("uint16", 7, (5, 9)), ("int16", -3, (-5, -1))])
def test_a_value_that_happens_to_be_the_marker_stays_a_value(
    tmp_path: Path, dtype: str, marker: int, around: tuple[int, int]
) -> None:
    path = make(tmp_path / "file.tif", dtype, holes=0, sign="none")
    with rasterio.open(path) as file:
        profile = {**file.profile, "nodata": marker}
    values = np.where(np.arange(WIDTH) % 2, *around).astype(dtype)[np.newaxis].repeat(HEIGHT, axis=0)
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    found = numbers(read(path, finer(3, rows=(0, 30), cols=(0, 60))))
    assert not np.isnan(found).any()
    assert marker - 1 in found


def test_only_the_pixels_around_are_decoded(tmp_path: Path) -> None:
    """A warp's kernel would need four more to each side, and with them other tiles of the file."""
    path = make(tmp_path / "file.tif", "uint16", holes=0, sign="marker")
    stats = ReadStats()
    read(path, finer(2, rows=(34, 62), cols=(34, 62)), stats)
    assert stats.decoded_pixels == 16 * 16
