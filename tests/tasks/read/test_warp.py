"""Warped pixels do not show the cells in which they are computed, nor the other bands of their file."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.support.scenes import asset_of, grid
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.resample.pixels import Conversion, to_physical

SIDE = 330
FAR = [(5, 5), (5, 320), (320, 5), (320, 320), (160, 160), (5, 160), (160, 5), (160, 320), (320, 160)]
"""Holes in every cell, so that none is warped from the file itself."""


def write(
    path: Path,
    *bands: np.ndarray,
    nodata: float | None = None,
    mask: np.ndarray | None = None,
    interleave: str = "band",
) -> Path:
    close_files()
    height, width = bands[0].shape
    shape = {"height": height, "width": width, "count": len(bands), "dtype": bands[0].dtype, "interleave": interleave}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            path, "w", driver="GTiff", crs="EPSG:32633", transform=grid(1, 1).affine, nodata=nodata, **shape
        ) as file,
    ):
        file.write(np.stack(bands))
        if mask is not None:
            file.write_mask(mask)
    return path


def read(path: Path, geobox: object, resampling: str, index: int = 1) -> np.ndarray:
    """Stored numbers as float32, NaN where missing."""
    asset = asset_of(path)
    asset = type(asset)(**{**{name: getattr(asset, name) for name in asset.__slots__}, "index": index})
    pixels = read_asset(asset, geobox, resampling=resampling, reading=Reading(), sign=lambda: asset.href)  # type: ignore[arg-type]
    return to_physical(pixels, Conversion(scale=1.0, offset=0.0))


@pytest.mark.parametrize("rule", ["bilinear", "cubic", "cubic_spline", "lanczos"])
@pytest.mark.parametrize("size", [5.0, 2.5, 20.0, 25.0, 40.0])
@pytest.mark.parametrize("sign", ["mask", "nan", "second marker", "other bands"])
def test_a_ramp_has_no_seam_at_the_cells_of_a_grid_whose_edges_are_the_files(
    tmp_path: Path, sign: str, size: float, rule: str
) -> None:
    ramp = (np.add.outer(np.arange(SIDE) * 40, np.arange(SIDE) * 80) + 200).astype(
        "float32" if sign == "nan" else "uint16"
    )
    path, holed = tmp_path / "ramp.tif", ramp.copy()
    rows, cols = np.array(FAR).T
    if sign == "mask":
        mask = np.full(ramp.shape, 255, np.uint8)
        mask[rows, cols] = 0
        write(path, ramp, mask=mask)
    elif sign == "other bands":
        write(path, ramp, ramp[::-1].copy(), nodata=7)
    else:
        holed[rows, cols] = np.nan if sign == "nan" else 3
        write(path, holed, nodata=None if sign == "nan" else 3)
    n = int(280 * 10 / size)
    box = grid(n, n, size=size).translate_pix(round(200 / size), round(200 / size))
    found = read(path, box, rule)
    # The value of the plane at the centre of each pixel; every kernel here is symmetric.
    centres = (np.arange(n) + 0.5) * size / 10 + 20 - 0.5
    expected = np.add.outer(centres * 40, centres * 80) + 200
    calm = np.ones(found.shape, bool)
    for row, col in FAR:
        reach = max(10, 4 * size)
        calm &= np.hypot(centres[:, None] - row, centres[None] - col) > reach / 2
    tolerance = 1.5 if rule in {"bilinear", "cubic_spline"} else 0.02 * 120 * max(size / 10, 1) + 0.51
    assert np.isfinite(found[calm]).all()
    assert np.abs(found - expected)[calm].max() <= tolerance


@pytest.mark.parametrize(
    "how", itertools.product(["pixel", "band"], ["nearest", "bilinear", "average", "max", "mode", "med"]), ids="-".join
)
@pytest.mark.parametrize(
    ("dtype", "nodata", "where"),
    [
        ("uint8", 0, "elsewhere"),
        ("uint16", 65535, "elsewhere"),
        ("int16", -9999, "some"),
        ("float32", -1.0, "elsewhere"),
        ("float64", float("nan"), "some"),
        ("int32", 0, "nowhere"),
        ("uint32", 7, "elsewhere"),
    ],
)
def test_a_band_is_what_it_is_in_a_file_of_its_own(
    tmp_path: Path, dtype: str, nodata: float, where: str, how: tuple[str, str]
) -> None:
    interleave, rule = how
    random = np.random.default_rng(5)
    bands = random.integers(10, 100, (3, 200, 200)).astype(dtype)
    for number, band in enumerate(bands):
        start = 20 if where == "some" else 20 + 50 * number
        if number == 0 or where != "nowhere":
            band[start : start + 30, 30:90] = nodata
    many = write(tmp_path / "many.tif", *bands, nodata=nodata, interleave=interleave)
    for box in (grid(120, 120).translate_pix(10.5, 10.5), grid(60, 60, size=25.0), grid(150, 150, size=5.0)):
        for number, band in enumerate(bands, 1):
            alone = write(tmp_path / "alone.tif", band, nodata=nodata)
            found, expected = read(many, box, rule, index=number), read(alone, box, rule)
            assert (np.isnan(found) == np.isnan(expected)).all(), "holes are the band's own"
            assert np.nanmax(np.abs(found - expected)) <= (0 if rule in {"nearest", "max", "mode"} else 1)


def test_a_hole_of_one_band_is_not_averaged_as_a_number(tmp_path: Path) -> None:
    red, nir = np.full((40, 40), 100, np.uint16), np.full((40, 40), 200, np.uint16)
    red[:, 20:] = 0
    path = write(tmp_path / "two.tif", red, nir, nodata=0)
    half = grid(20, 38).translate_pix(0.5, 0.5)
    found = read(path, half, "average")
    assert (found[:, :20] == 100).all()
    assert np.isnan(found[:, 20:]).all()
    assert (read(path, half, "average", index=2) == 200).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("shift", [0.5, 0.25])
def test_a_sum_on_a_shifted_grid_has_no_seam(tmp_path: Path, dtype: str, shift: float) -> None:
    values = np.random.default_rng(3).integers(1, 200, (320, 320)).astype(dtype)
    path = write(tmp_path / "sum.tif", values)
    wide, keep = values.astype(float), 1 - shift
    rows = keep * wide[10:300] + shift * wide[11:301]
    expected = keep * rows[:, 10:300] + shift * rows[:, 11:301]
    found = read(path, grid(290, 290).translate_pix(10 + shift, 10 + shift), "sum")
    assert np.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("rule", ["nearest", "bilinear", "average", "sum", "max"])
def test_warps_silence_no_warning(tmp_path: Path, silenced: list[object], rule: str) -> None:
    # A hole of one of two interleaved bands is nothing that GDAL can be told: the stored pixels are warped.
    red, nir = np.full((40, 40), 100, np.uint16), np.full((40, 40), 200, np.uint16)
    red[:, 20:] = 0
    path = write(tmp_path / "two.tif", red, nir, nodata=0)
    silenced.clear()
    assert np.nanmax(read(path, grid(20, 38).translate_pix(0.5, 0.5), rule)) == pytest.approx(100, rel=1e-5)
    assert silenced == []
