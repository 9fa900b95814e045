"""Whether a pixel is there: one notion for every sign, equal for copied and for warped pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from tests.support.scenes import LEFT, TOP, asset_of, grid
from tilewright.catalogs.scene import BandAsset
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.resample.pixels import Conversion, MissingSigns, Pixels, held_marker, to_physical
from tilewright.tasks.read.retry import UnreadableError

SIDE = 40
LEAST = float(np.finfo(np.float32).min)


def write(
    path: Path,
    *bands: np.ndarray,
    nodata: float | None = None,
    mask: np.ndarray | None = None,
    beside: bool = False,
    alpha: bool = False,
    names: tuple[str, ...] = (),
) -> Path:
    """The bands as a GeoTIFF on the tests' grid; with `alpha` the last one is called alpha."""
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": len(bands), "dtype": bands[0].dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO" if beside else "YES"),
        rasterio.open(path, "w", crs="EPSG:32633", transform=grid(1, 1).affine, nodata=nodata, **profile) as file,
    ):
        for number, values in enumerate(bands, 1):
            file.write(values, number)
        if mask is not None:
            file.write_mask(mask)
        if alpha:
            file.colorinterp = [ColorInterp.gray] * (len(bands) - 1) + [ColorInterp.alpha]
        if names:
            file.descriptions = names
    return path


def pam(path: Path, *nodata: float) -> None:
    """The nodata values of the bands in a file beside it."""
    bands = "".join(
        f'<PAMRasterBand band="{number}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for number, value in enumerate(nodata, 1)
    )
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")


def read(asset: BandAsset, *, shift: float = 0.0, resampling: str = "nearest", margin: int = 2) -> Pixels:
    """The inner pixels of the file, on its own grid or on one that is moved right and down by metres."""
    side = SIDE - 2 * margin
    geobox = grid(side, side, left=LEFT + 10 * margin + shift, top=TOP - 10 * margin - shift)
    return read_asset(asset, geobox, resampling=resampling, reading=Reading(), sign=lambda: asset.href)


def ground(dtype: str, *holes: float) -> tuple[np.ndarray, np.ndarray]:
    """Values from 20 to 99, in whose squares the holes' numbers stand, and the number of the hole of each pixel or 0.

    The holes are squares of a few pixels and single pixels, side by side and apart.
    """
    values = np.random.default_rng(5).integers(20, 100, (SIDE, SIDE)).astype(dtype)
    number = np.zeros((SIDE, SIDE), int)
    for which, hole in enumerate(holes, 1):
        for rows, cols in (
            (slice(3 + 9 * which, 8 + 9 * which), slice(5, 14)),
            (slice(5, 6), slice(9 * which, 9 * which + 1)),
            (slice(20, 24), slice(18 + 4 * which, 22 + 4 * which)),
        ):
            values[rows, cols] = hole
            number[rows, cols] = which
    return values, number


@dataclass(frozen=True)
class Written:
    """A file's asset, its stored values and where they are missing."""

    asset: BandAsset
    values: np.ndarray
    missing: np.ndarray


def two_markers(path: Path) -> Written:
    values, hole = ground("int16", -9999, 0)
    return Written(replace(asset_of(write(path, values, nodata=-9999)), nodata=0.0), values, hole > 0)


def both_ends_of_a_byte(path: Path) -> Written:
    values, hole = ground("uint8", 0, 255)
    return Written(replace(asset_of(write(path, values, nodata=0)), nodata=255.0), values, hole > 0)


def three_markers_of_a_signed_byte(path: Path) -> Written:
    values, hole = ground("int8", -128, -1, 127)
    asset = replace(asset_of(write(path, values, nodata=-128)), nodata=-1.0, more_nodata=(127.0,))
    return Written(asset, values, hole > 0)


def least_float_rounded_by_the_item(path: Path) -> Written:
    values, hole = ground("float32", LEAST, -3.4e38)
    return Written(replace(asset_of(write(path, values)), nodata=-3.4e38), values, hole > 0)


def least_float_written_a_little_larger(path: Path) -> Written:
    values, hole = ground("float32", LEAST)
    return Written(replace(asset_of(write(path, values)), nodata=-3.40282347e38), values, hole > 0)


def decimal_marker(path: Path) -> Written:
    values, hole = ground("float32", -0.1)
    return Written(replace(asset_of(write(path, values)), nodata=-0.1), values, hole > 0)


def nan_of_the_item_and_a_number_of_the_header(path: Path) -> Written:
    values, hole = ground("float32", -9999, np.nan, np.inf)
    return Written(replace(asset_of(write(path, values, nodata=-9999)), nodata=np.nan), values, hole > 0)


def nan_and_infinity_without_a_word(path: Path) -> Written:
    values, hole = ground("float64", np.nan, -np.inf)
    return Written(replace(asset_of(write(path, values)), nodata=None), values, hole > 0)


def mask_marker_and_alpha_together(path: Path) -> Written:
    values, hole = ground("uint8", 7, 8, 9)
    alpha = np.where(hole == 3, 0, 1).astype(np.uint8)
    mask = np.where(hole == 2, 0, 255).astype(np.uint8)
    file = write(path, values, alpha, nodata=7, mask=mask, alpha=True)
    return Written(replace(asset_of(file), alpha=True), values, hole > 0)


def mask_over_a_type_without_a_free_number(path: Path) -> Written:
    values, hole = ground("uint16", 65535, 0)
    mask = np.where(hole == 1, 0, 255).astype(np.uint8)
    return Written(replace(asset_of(write(path, values, mask=mask)), nodata=None), values, hole == 1)


def mask_beside_the_file(path: Path) -> Written:
    values, hole = ground("uint32", 50, 60)
    file = write(path, values, mask=np.where(hole > 0, 0, 255).astype(np.uint8), beside=True)
    assert Path(f"{file}.msk").exists()
    return Written(replace(asset_of(file), nodata=None), values, hole > 0)


def mask_of_floats(path: Path) -> Written:
    values, hole = ground("float32", 30, np.nan)
    file = write(path, values, nodata=-1, mask=np.where(hole == 1, 0, 255).astype(np.uint8))
    return Written(asset_of(file), values, hole > 0)


def marker_beside_the_file(path: Path) -> Written:
    values, hole = ground("int16", -32768)
    file = write(path, values)
    pam(file, -32768)
    return Written(replace(asset_of(file), nodata=None), values, hole > 0)


def marker_per_band(path: Path) -> Written:
    values, hole = ground("int16", 5, 6)
    file = write(path, values, values)
    pam(file, 5, 6)
    return Written(replace(asset_of(file), nodata=None, index=2), values, hole == 2)


def marker_that_the_type_cannot_hold(path: Path) -> Written:
    values, hole = ground("uint16", 0)
    return Written(replace(asset_of(write(path, values, nodata=0)), nodata=-9999.0), values, hole > 0)


def marker_between_two_whole_numbers(path: Path) -> Written:
    values, hole = ground("int16", 0)
    return Written(replace(asset_of(write(path, values, nodata=0)), nodata=20.5), values, hole > 0)


def usual_marker_where_the_file_has_another(path: Path) -> Written:
    values, hole = ground("uint16", 65535, 0)
    asset = replace(asset_of(write(path, values, nodata=65535)), nodata=None, usual_nodata=0.0)
    return Written(asset, values, hole == 1)


def usual_marker_where_nobody_names_one(path: Path) -> Written:
    values, hole = ground("uint16", 0)
    return Written(replace(asset_of(write(path, values)), nodata=None, usual_nodata=0.0), values, hole > 0)


def usual_marker_where_the_item_names_an_impossible_one(path: Path) -> Written:
    values, hole = ground("uint16", 0)
    return Written(replace(asset_of(write(path, values)), nodata=-9999.0, usual_nodata=0.0), values, hole > 0)


def usual_marker_where_the_item_names_not_a_number(path: Path) -> Written:
    values, hole = ground("uint16", 0)
    return Written(replace(asset_of(write(path, values)), nodata=float("nan"), usual_nodata=0.0), values, hole > 0)


def probability_of_zero_is_a_value(path: Path) -> Written:
    values, hole = ground("uint8", 0, 255)
    asset = replace(asset_of(write(path, values, nodata=0)), nodata=255.0, zero_is_value=True)
    return Written(asset, values, hole == 2)


def probability_of_zero_that_the_file_alone_calls_nodata(path: Path) -> Written:
    values, hole = ground("uint8", 0)
    asset = replace(asset_of(write(path, values, nodata=0)), nodata=None, zero_is_value=True)
    return Written(asset, values, np.zeros_like(hole, dtype=bool))


def infrared_that_is_called_alpha(path: Path) -> Written:
    values, hole = ground("uint8", 0)
    file = write(path, values, values, np.where(hole, 0, 90).astype(np.uint8), alpha=True, names=("r", "g", "nir"))
    return Written(replace(asset_of(file), nodata=None), values, np.zeros_like(hole, bool))


def alpha_of_which_every_other_band_is_named(path: Path) -> Written:
    values, hole = ground("uint8", 0)
    file = write(path, values, values, np.where(hole, 0, 90).astype(np.uint8), alpha=True)
    return Written(replace(asset_of(file), nodata=None, band_names=("red", "green", "")), values, hole > 0)


KINDS: list[Callable[[Path], Written]] = [
    two_markers,
    both_ends_of_a_byte,
    three_markers_of_a_signed_byte,
    least_float_rounded_by_the_item,
    least_float_written_a_little_larger,
    decimal_marker,
    nan_of_the_item_and_a_number_of_the_header,
    nan_and_infinity_without_a_word,
    mask_marker_and_alpha_together,
    mask_over_a_type_without_a_free_number,
    mask_beside_the_file,
    mask_of_floats,
    marker_beside_the_file,
    marker_per_band,
    marker_that_the_type_cannot_hold,
    marker_between_two_whole_numbers,
    usual_marker_where_the_file_has_another,
    usual_marker_where_nobody_names_one,
    usual_marker_where_the_item_names_an_impossible_one,
    usual_marker_where_the_item_names_not_a_number,
    probability_of_zero_is_a_value,
    probability_of_zero_that_the_file_alone_calls_nodata,
    infrared_that_is_called_alpha,
    alpha_of_which_every_other_band_is_named,
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def written(request: Any, tmp_path: Path) -> Written:
    return request.param(tmp_path / "file.tif")


def physical(pixels: Pixels) -> np.ndarray:
    return to_physical(pixels, Conversion(scale=1.0, offset=0.0))


def truth(written: Written) -> np.ndarray:
    """The values in float64, NaN where missing."""
    return np.where(written.missing, np.nan, written.values.astype(np.float64))


def test_copied_pixels_are_missing_by_every_sign(written: Written) -> None:
    pixels = read(written.asset)
    assert np.array_equal(pixels.missing, written.missing[2:-2, 2:-2])
    assert np.array_equal(physical(pixels), truth(written)[2:-2, 2:-2].astype(np.float32), equal_nan=True)


def test_warped_pixels_are_missing_where_the_copied_ones_are(written: Written) -> None:
    # Moved by 3 m of 10: the centre of each pixel lies in the same file pixel as before.
    pixels = read(written.asset, shift=3.0)
    assert np.array_equal(pixels.missing, written.missing[2:-2, 2:-2])
    assert np.array_equal(physical(pixels), truth(written)[2:-2, 2:-2].astype(np.float32), equal_nan=True)


def test_the_file_rim_is_missing_in_both_ways(written: Written) -> None:
    for shift in (0.0, 3.0):
        missing = read(written.asset, shift=shift, margin=-3).missing
        assert missing[:3].all()
        assert missing[-3:].all()
        assert np.array_equal(missing[3:-3, 3:-3], written.missing)


def test_bilinear_weighs_what_is_there_and_holes_keep_their_size(written: Written) -> None:
    # Moved by 4 m of 10: the centre lies 0.9 of a pixel in, so that the next pixels have 0.4 of the weight each way.
    pixels = read(written.asset, shift=4.0, resampling="bilinear")
    stored = truth(written)
    parts = [(down, over) for down in (0, 1) for over in (0, 1)]
    four = np.stack([stored[2 + down : SIDE - 2 + down, 2 + over : SIDE - 2 + over] for down, over in parts])
    weight = np.array([(0.6, 0.4)[down] * (0.6, 0.4)[over] for down, over in parts])[:, None, None]
    weight = np.where(np.isnan(four), 0, weight)
    assert np.array_equal(pixels.missing, np.isnan(four[0]))
    expected = (np.nan_to_num(four) * weight).sum(axis=0) / weight.sum(axis=0).clip(1e-9)
    off = np.abs(physical(pixels) - expected)[~pixels.missing]
    assert off.max() <= (0.02 if written.values.dtype.kind == "f" else 0.52)


@pytest.mark.parametrize(
    ("number", "dtype", "held"),
    [
        (-9999.0, "uint16", None),
        (256.0, "uint8", None),
        (255.0, "uint8", 255.0),
        (-129.0, "int8", None),
        (0.5, "int32", None),
        (float("nan"), "uint8", None),
        (float("nan"), "float32", None),
        (float("inf"), "float32", None),
        (-1.7976931348623157e308, "float32", None),
        (-1.7976931348623157e308, "float64", -1.7976931348623157e308),
        (-3.40282347e38, "float32", LEAST),
        (0.1, "float32", float(np.float32(0.1))),
        (None, "uint8", None),
        (0.0, "complex64", None),
    ],
)
def test_a_marker_is_held_by_its_type_or_marks_nothing(number: float | None, dtype: str, held: float | None) -> None:
    assert held_marker(number, np.dtype(dtype)) == held


def test_a_marker_that_is_a_valid_result_is_not_missing(tmp_path: Path) -> None:
    values = np.full((SIDE, SIDE), 90, np.uint8)
    values[::2] = 110
    asset = replace(asset_of(write(tmp_path / "a.tif", values, nodata=100)), nodata=0.0)
    found = read(asset, shift=5.0, resampling="bilinear")
    alone = read(replace(asset, nodata=None), shift=5.0, resampling="bilinear")
    for pixels in (found, alone):
        assert not pixels.missing.any()
        assert np.abs(pixels.values.astype(int) - 100).max() <= 1


def test_a_file_whose_alpha_nobody_explains_is_refused_with_the_way_out(tmp_path: Path) -> None:
    values, _ = ground("uint8", 0)
    file = write(tmp_path / "four.tif", values, values, values, values, alpha=True)
    asset = replace(asset_of(file), nodata=None)
    with pytest.raises(UnreadableError, match="calls its band 4 alpha") as refused:
        read(asset)
    assert "alpha: false" in str(refused.value)
    assert refused.value.final
    for told in (replace(asset, alpha=False), replace(asset, band_names=("red", "green", "blue", "B08"))):
        assert not read(told).missing.any()


def test_signs_that_one_marker_says_are_plain() -> None:
    byte, single = np.dtype("uint8"), np.dtype("float32")
    assert MissingSigns(dtype=byte, markers=(0.0,)).plain
    assert MissingSigns(dtype=single, markers=(-9999.0,)).plain
    assert not MissingSigns(dtype=single, markers=(LEAST,)).plain
    assert not MissingSigns(dtype=byte, markers=(0.0, 255.0)).plain
    assert not MissingSigns(dtype=byte, mask=True).plain
    assert not MissingSigns(dtype=byte, alpha=4).plain


def test_overviews_and_world_files_beside_a_local_file_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 200, (256, 256), dtype=np.uint8)
    path = tmp_path / "plain.tif"
    profile = {"driver": "GTiff", "height": 256, "width": 256, "count": 1, "dtype": "uint8"}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", crs="EPSG:32633", **profile) as file,
    ):
        file.write(values, 1)
    path.with_suffix(".tfw").write_text("\n".join(map(str, (10, 0, 0, -10, LEFT + 5, TOP - 5))))
    asset = asset_of(path)
    assert np.array_equal(read(asset, margin=0).values, values[:SIDE, :SIDE])
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    assert path.with_suffix(".tif.ovr").exists()
    close_files()
    stats = ReadStats()
    read_asset(
        asset, grid(64, 64, size=40), resampling="bilinear", reading=Reading(), sign=lambda: asset.href, stats=stats
    )
    assert stats.decoded_pixels < 128 * 128 + 1
