"""Files, items and grids whose pixels are not where, or not what, they seem to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rio_cogeo.cogeo import cog_translate
from rio_cogeo.profiles import cog_profiles

from tests.support.scenes import asset_of, grid
from tilewright.models.transforms.postprocess import layers_from_scores
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.overviews import OVERVIEW_OFFSET
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.resample.pixels import Conversion, Pixels, convert_unit, to_physical

STEP = 16
"""Difference between neighbouring columns, so that rounding to integers moves a pixel by 1/32 of a pixel at most."""

LEVELS = (2, 4, 8, 16)


def ramp(size: int) -> np.ndarray:
    """Pixels (size, size) uint16 whose number says their column."""
    return np.broadcast_to(np.arange(size) * STEP, (size, size)).astype(np.uint16)


def plain(path: Path, values: np.ndarray, *, driver: str = "GTiff", scale: float = 1.0) -> Path:
    """A file of 10 m pixels, or of `scale` times that, without overviews."""
    height, width = values.shape
    form = {"driver": driver, "height": height, "width": width, "count": 1, "dtype": values.dtype, "crs": "EPSG:32633"}
    transform = grid(1, 1).affine * rasterio.Affine.scale(scale)
    with rasterio.open(path, "w", transform=transform, tiled=True, blockxsize=64, blockysize=64, **form) as file:
        file.write(values, 1)
    return path


def by_gdaladdo(how: str) -> Callable[[Path, int], Path]:
    def make(folder: Path, size: int) -> Path:
        path = plain(folder / "a.tif", ramp(size))
        with rasterio.open(path, "r+") as file:
            file.build_overviews(LEVELS, Resampling[how])
        return path

    return make


def without_word(make: Callable[[Path, int], Path]) -> Callable[[Path, int], Path]:
    """The same file as GDAL before 3.9 wrote it."""

    def silent(folder: Path, size: int) -> Path:
        path = make(folder, size)
        path.write_bytes(path.read_bytes().replace(b'name="RESAMPLING"', b'name="SOMETHINGX"'))
        return path

    return silent


def by_cog_driver(how: str) -> Callable[[Path, int], Path]:
    def make(folder: Path, size: int) -> Path:
        path = plain(folder / "plain.tif", ramp(size))
        rasterio.shutil.copy(path, folder / "a.tif", driver="COG", OVERVIEW_RESAMPLING=how, BLOCKSIZE=128)
        return folder / "a.tif"

    return make


def by_rio_cogeo(how: str) -> Callable[[Path, int], Path]:
    def make(folder: Path, size: int) -> Path:
        path, profile = plain(folder / "plain.tif", ramp(size)), {**cog_profiles.get("deflate"), "blockxsize": 128}
        cog_translate(
            path,
            folder / "a.tif",
            {**profile, "blockysize": 128},
            overview_level=4,
            overview_resampling=how,
            quiet=True,
            config={},
        )
        return folder / "a.tif"

    return make


def by_others(cut: bool) -> Callable[[Path, int], Path]:
    """Means of squares of whole pixels, as tifffile and most programs make them; `cut`: the rest is left out."""

    def make(folder: Path, size: int) -> Path:
        path, values = plain(folder / "a.tif", ramp(size)), ramp(size).astype(np.float64)
        name = folder / "a.tif.ovr"
        for level in LEVELS:
            count = size // level if cut else -(-size // level)
            whole = np.pad(values, [(0, max(0, count * level - size))] * 2, mode="edge")[: count * level]
            means = whole[:, : count * level].reshape(count, level, count, level).mean((1, 3))
            plain(name, np.round(means).astype(np.uint16), scale=level)
            name = Path(f"{name}.ovr")
        return path

    return make


def by_wavelets(folder: Path, size: int) -> Path:
    path = plain(folder / "plain.tif", ramp(size))
    rasterio.shutil.copy(path, folder / "a.jp2", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", RESOLUTIONS=5)
    return folder / "a.jp2"


RIGHT = {
    **{f"gdaladdo {how}": by_gdaladdo(how) for how in ("average", "bilinear", "cubic", "cubic_spline", "lanczos")},
    **{f"COG driver {how}": by_cog_driver(how) for how in ("AVERAGE", "BILINEAR", "CUBIC", "LANCZOS")},
    "rio-cogeo average": by_rio_cogeo("average"),
}
"""Writers whose overviews lie where GDAL reads them, at every size."""

WRONG = {
    **{f"gdaladdo {how}": by_gdaladdo(how) for how in ("nearest", "gauss", "mode", "rms")},
    "rio-cogeo nearest": by_rio_cogeo("nearest"),
    "GDAL before 3.9": without_word(by_gdaladdo("average")),
    "whole pixels": by_others(cut=False),
    "whole pixels, cut": by_others(cut=True),
    "JPEG 2000": by_wavelets,
}
"""Writers whose overviews may lie elsewhere, or are made by a rule that does not fit."""

SIZES = (1024, 1025, 1098, 1099)


def offset(path: Path, size: int, factor: int) -> tuple[float, int]:
    """(the most grid pixels by which a column is read beside its place, decoded pixels) on a grid `factor` as coarse.

    The columns next to the file's edges, where a kernel sees one side alone, are left out.
    """
    close_files()
    asset, stats = asset_of(path, unit="1"), ReadStats()
    count = size // factor
    pixels = read_asset(
        asset,
        grid(64, count, size=10 * factor),
        resampling="bilinear",
        reading=Reading(),
        sign=lambda: asset.href,
        stats=stats,
    )
    columns = pixels.values[32].astype(np.float64) / STEP + 0.5
    wanted = (np.arange(count) + 0.5) * factor
    return float(np.abs(columns - wanted)[3:-3].max()) / factor, stats.decoded_pixels


@pytest.mark.parametrize(("writer", "size"), product([*RIGHT, *WRONG], SIZES))
def test_overviews_are_read_with_the_scale_they_have_or_not_at_all(tmp_path, writer, size):
    path = (RIGHT | WRONG)[writer](tmp_path, size)
    found = {factor: offset(path, size, factor)[0] for factor in LEVELS}
    assert max(found.values()) <= OVERVIEW_OFFSET, found


@pytest.mark.parametrize(("writer", "size"), product(RIGHT, SIZES))
def test_overviews_that_lie_where_gdal_reads_them_are_read(tmp_path, writer, size):
    path = RIGHT[writer](tmp_path, size)
    assert offset(path, size, 8)[1] < offset(plain(tmp_path / "b.tif", ramp(size)), size, 8)[1] / 8


@pytest.mark.parametrize("cut", [False, True])
def test_overviews_of_any_writer_are_read_where_its_pixels_fill_the_file(tmp_path, cut):
    path = by_others(cut)(tmp_path, 1024)
    assert offset(path, 1024, 16)[1] < offset(plain(tmp_path / "b.tif", ramp(1024)), 1024, 16)[1] / 64


INFINITE = {
    "infinity in a file of floats": (np.float32, [np.inf, -np.inf, np.nan, 1.0], 1.0, 0.0),
    "doubles beyond float32": (np.float64, [1e39, -1e300, np.inf, 1.0], 1.0, 0.0),
    "a scale that makes it infinite": (np.float32, [3e38, -3e38, np.nan, 0.1], 10.0, 0.0),
    "an offset that makes it infinite": (np.float32, [3e38, 3e38, 3e38, -3e38 + 0.0], 1.0, 3e38),
    "whole numbers and a vast scale": (np.int32, [2**31 - 1, -(2**31), 2**30, 0], 1e30, 1.0),
    "bytes and a vast scale": (np.uint8, [255, 200, 100, 1], 1e37, 1.0),
}


@pytest.mark.parametrize("name", INFINITE)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
def test_what_is_infinite_is_missing(tmp_path, name, resampling):
    dtype, numbers, scale, shift = INFINITE[name]
    path = plain(tmp_path / "a.tif", np.repeat(np.array([numbers], dtype), 4, axis=0))
    asset = asset_of(path, unit="1")
    pixels = read_asset(asset, grid(4, 4), resampling=resampling, reading=Reading(), sign=lambda: asset.href)
    with np.errstate(over="ignore"):
        values = to_physical(pixels, Conversion(scale=scale, offset=shift))
    assert np.isnan(values[:, :3]).all(), values
    assert np.isfinite(values[:, 3]).all(), values


@pytest.mark.parametrize("decibels", [385.4, 400.0, 5000.0, np.inf, np.nan])
def test_power_that_no_float_holds_is_missing(decibels):
    assert np.isnan(convert_unit(np.array([decibels], np.float32), source="db", target="linear")).all()


@pytest.mark.parametrize("power", [0.0, -1.0, np.nan])
def test_power_without_a_logarithm_is_missing(power):
    assert np.isnan(convert_unit(np.array([power], np.float32), source="linear", target="db")).all()


CLASSES = {
    "scl": MaskRule(kind="scl", drop=(8, 9)),
    "values": MaskRule(kind="values", band="scl", drop=(8,)),
    "bits": MaskRule(kind="bits", band="scl", drop=(3,)),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("number", [7.5, 8.4, 3.999, np.inf, -np.inf, np.nan])
def test_a_class_that_is_no_whole_number_is_judged_by_none(kind, number):
    values = np.array([[number, 4.0, 8.0]], np.float32)
    quality = {"scl": Pixels(values=values, nodata=None, valid=None)}
    assert dropped_pixels(quality, rule=CLASSES[kind], resolution=10).tolist() == [[True, False, True]]


@pytest.mark.parametrize("condition", ["blue / red > 1", "blue / red < 1", "log(red) > 1", "red ** -40 > 1"])
def test_a_condition_that_is_infinite_is_undefined(condition):
    bands = {
        name: Pixels(values=np.array([[value]], np.float32), nodata=None, valid=None)
        for name, value in {"blue": 1.0, "red": 0.0}.items()
    }
    rule = MaskRule(kind="rule", conditions=(condition,), dilation=30)
    padded = {name: replace(each, values=np.pad(each.values, 3, constant_values=0.5)) for name, each in bands.items()}
    found = dropped_pixels({name: padded[name] for name in rule.bands}, rule=rule, resolution=10)
    assert found[3, 3]
    assert found[3, 4] == ("red **" in condition), "what is undefined is not dilated"


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_that_a_graph_gives_hold_no_infinity(number, dtype):
    planes = np.array([[[1.0, number]]], dtype)
    spec = SimpleNamespace(layered=True, layer_specs=lambda: [SimpleNamespace(name="value")])
    found = layers_from_scores(spec, planes)["value"]
    assert found[0, 0] == 1
    assert np.isnan(found[0, 1])
