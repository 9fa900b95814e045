"""Resampling gives what was asked for, whatever overviews a file brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from tests.support.scenes import LEFT, TOP, asset_of, grid
from tilewright.catalogs.scene import BandAsset
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.resample.pixels import Conversion, to_physical

RANDOM = np.random.default_rng(11)


def write(
    path: Path,
    values: np.ndarray,
    *,
    nodata: float | None = None,
    overviews: tuple[int, ...] = (),
    how: str = "average",
    transform: Affine | None = None,
) -> Path:
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=values.dtype,
        crs="EPSG:32633",
        transform=transform or grid(1, 1).affine,
        nodata=nodata,
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as file:
        file.write(values, 1)
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews), Resampling[how])
    return path


def read(asset: BandAsset, geobox: GeoBox, resampling: str, stats: ReadStats | None = None) -> np.ndarray:
    """Stored numbers as float32, NaN where missing."""
    pixels = read_asset(asset, geobox, resampling=resampling, reading=Reading(), sign=lambda: asset.href, stats=stats)
    return to_physical(pixels, Conversion(scale=1.0, offset=0.0))


def squares(values: np.ndarray, side: int) -> np.ndarray:
    """Squares of side x side pixels, (row, col, pixel)."""
    rows, cols = values.shape[0] // side, values.shape[1] // side
    cut = values[: rows * side, : cols * side].reshape(rows, side, cols, side)
    return cut.transpose(0, 2, 1, 3).reshape(rows, cols, -1)


def mode(numbers: np.ndarray) -> float:
    found, counts = np.unique(numbers, return_counts=True)
    return float(found[counts.argmax()]) if (counts == counts.max()).sum() == 1 else np.nan


RULES: dict[str, Callable[[np.ndarray], float]] = {
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "average": np.mean,
    "rms": lambda numbers: float(np.sqrt(np.mean(numbers**2))),
    "mode": mode,
}


@pytest.mark.parametrize("how", ["nearest", "average", "mode"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint16", 0), ("int16", -9999), ("float32", np.nan)])
def test_a_rule_over_an_area_is_of_the_full_pixels(
    tmp_path: Path, how: str, rule: str, dtype: str, nodata: float
) -> None:
    # Few numbers, so that a mode exists; large ones, whose sum no byte holds.
    values = (RANDOM.integers(1, 5, (90, 90)) * 60).astype(dtype)
    values[RANDOM.random((90, 90)) < 0.3] = nodata
    values[30:36, 30:36] = nodata
    path = write(tmp_path / "a.tif", values, nodata=nodata, overviews=(3, 6), how=how)
    found = read(asset_of(path), grid(30, 30, size=30), rule)
    there = squares(~(np.isnan(values) if dtype == "float32" else values == nodata), 3)
    numbers = squares(values.astype(float), 3)
    expected = np.array(
        [
            [RULES[rule](v[t]) if t.any() else np.nan for v, t in zip(*row, strict=True)]
            for row in zip(numbers, there, strict=True)
        ]
    )
    assert np.array_equal(np.isnan(found), ~there.any(axis=-1))
    clear = ~np.isnan(expected)
    assert clear.mean() > 0.5
    tolerance = 0.51 if dtype != "float32" and rule in {"average", "rms"} else 1e-3
    assert np.abs(found - expected)[clear].max() <= tolerance


@pytest.mark.parametrize(("rule", "share"), [("q1", 0.25), ("med", 0.5), ("q3", 0.75)])
def test_quantiles_are_of_the_full_pixels(tmp_path: Path, rule: str, share: float) -> None:
    values = RANDOM.integers(1, 60_000, (80, 80), dtype=np.uint16)
    path = write(tmp_path / "a.tif", values, nodata=0, overviews=(2, 4), how="average")
    found = read(asset_of(path), grid(20, 20, size=40), rule)
    ordered = np.sort(squares(values, 4), axis=-1)
    place = share * 16
    low, high = ordered[..., int(place) - 1], ordered[..., min(int(place) + 1, 15)]
    assert ((found >= low) & (found <= high)).all()


@pytest.mark.parametrize("how", ["nearest", "average", "cubic"])
def test_nearest_takes_the_pixel_at_the_centre(tmp_path: Path, how: str) -> None:
    values = np.arange(1, 96 * 96 + 1, dtype=np.uint16).reshape(96, 96)
    path = write(tmp_path / "a.tif", values, nodata=0, overviews=(3,), how=how)
    assert np.array_equal(read(asset_of(path), grid(32, 32, size=30), "nearest"), values[1::3, 1::3])


@pytest.mark.parametrize("side", [120, 121, 122, 123])
@pytest.mark.parametrize("holes", [False, True])
def test_an_average_with_averaged_overviews_is_of_the_full_pixels(tmp_path: Path, side: int, holes: bool) -> None:
    values = RANDOM.integers(1, 60_000, (side, side), dtype=np.uint16)
    if holes:
        values[RANDOM.random((side, side)) < 0.4] = 0
    path = write(tmp_path / "a.tif", values, nodata=0 if holes else None, overviews=(2, 4), how="average")
    asset = asset_of(path)
    for step in (2, 4, 8):
        found = read(asset, grid(side // step, side // step, size=10 * step), "average")
        numbers = squares(values.astype(float), step)
        there = numbers > 0
        count = there.sum(axis=-1)
        assert np.array_equal(np.isnan(found), count == 0)
        off = np.abs(found - numbers.sum(axis=-1) / count.clip(1))[count > 0]
        # One rounding to whole numbers per overview.
        assert off.max() <= (0.51 if holes else 1.6)


def test_an_average_without_holes_reads_its_overview_and_no_more(tmp_path: Path) -> None:
    values = RANDOM.integers(1, 60_000, (512, 512), dtype=np.uint16)
    path = write(tmp_path / "a.tif", values, overviews=(2, 4), how="average")
    stats = ReadStats()
    read(asset_of(path), grid(128, 128, size=40), "average", stats)
    assert stats.decoded_pixels == 128 * 128
    shifted, other = ReadStats(), ReadStats()
    read(asset_of(path), grid(100, 100, size=40, left=LEFT + 10), "average", shifted)
    # An overview of the same size by another rule is left alone.
    path = write(tmp_path / "b.tif", values, overviews=(2, 4), how="nearest")
    read(asset_of(path), grid(128, 128, size=40), "average", other)
    assert min(shifted.decoded_pixels, other.decoded_pixels) >= 400 * 400


@pytest.mark.parametrize(
    ("header", "stated", "how", "n_read"),
    [
        (0, 0.0, "average", 128 * 128),
        (0, None, "average", 128 * 128),
        (None, None, "average", 128 * 128),
        (None, None, "cubic", 128 * 128),
        (0, None, "cubic", 512 * 512),
        (None, None, "nearest", 512 * 512),
        (None, None, "mode", 512 * 512),
        (None, 0.0, "average", 512 * 512),
        (0, 65535.0, "average", 512 * 512),
        (0, -1.0, "average", 128 * 128),
    ],
)
def test_smooth_rules_take_overviews_made_with_the_markers_in_force(
    tmp_path: Path, header: float | None, stated: float | None, how: str, n_read: int
) -> None:
    values = RANDOM.integers(1, 60_000, (512, 512), dtype=np.uint16)
    path = write(tmp_path / "a.tif", values, nodata=header, overviews=(2, 4), how=how)
    for rule in ("bilinear", "cubic"):
        stats = ReadStats()
        close_files()
        read(replace(asset_of(path), nodata=stated), grid(128, 128, size=40), rule, stats)
        assert stats.decoded_pixels == n_read


@pytest.mark.parametrize("nodata", [None, 0])
def test_a_rim_of_a_marker_that_overviews_mixed_in_is_not_read_from_them(tmp_path: Path, nodata: int | None) -> None:
    rows, cols = np.mgrid[:203, :203]
    values = np.where(rows + cols < 201, 0, 3000).astype(np.uint16)
    path = write(tmp_path / "a.tif", values, nodata=nodata, overviews=(2, 4), how="average")
    for step in (2, 4):
        found = read(replace(asset_of(path), nodata=0.0), grid(200 // step, 200 // step, size=10 * step), "bilinear")
        assert set(np.unique(found[~np.isnan(found)])) == {3000.0}


@pytest.mark.parametrize("side", [200, 201, 202, 203, 299, 301])
@pytest.mark.parametrize("size", [20, 40, 41])
@pytest.mark.parametrize("nodata", [None, 0])
def test_a_ramp_keeps_its_place_in_overviews_of_any_size(
    tmp_path: Path, side: int, size: int, nodata: float | None
) -> None:
    # A pixel further right is 100 more, a pixel further down 10 more: 5 is a twentieth of a pixel.
    rows, cols = np.mgrid[:side, :side]
    values = (1000 + 100 * cols + 10 * rows).astype(np.uint16)
    path = write(tmp_path / "a.tif", values, nodata=nodata, overviews=(2, 4), how="average")
    count = side * 10 // size - 2
    found = read(asset_of(path), grid(count, count, size=size, left=LEFT + size, top=TOP - size), "bilinear")
    centre = (np.arange(count) + 1.5) * size / 10 - 0.5
    assert np.abs(found - (1000 + 100 * centre[None] + 10 * centre[:, None])).max() <= 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nodata", [None, -9999, np.nan])
@pytest.mark.parametrize("rule", ["bilinear", "cubic", "lanczos", "nearest"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_holes_of_floats_do_not_grow(tmp_path: Path, dtype: str, nodata: float | None, rule: str, bad: float) -> None:
    values = np.full((60, 60), 100, dtype)
    holes = RANDOM.random((60, 60)) < 0.05
    values[holes] = bad
    path = write(tmp_path / "a.tif", values, nodata=nodata)
    found = read(asset_of(path), grid(50, 50, left=LEFT + 33, top=TOP - 33), rule)
    assert np.array_equal(np.isnan(found), holes[3:53, 3:53])
    assert np.allclose(found[~np.isnan(found)], 100, atol=1e-3)


@pytest.mark.parametrize("nodata", [None, -9999, np.nan])
@pytest.mark.parametrize("how", ["average", "bilinear"])
@pytest.mark.parametrize("shift", [0, 7])
def test_holes_of_floats_do_not_grow_in_overviews(tmp_path: Path, nodata: float | None, how: str, shift: int) -> None:
    values = np.full((600, 600), 100, np.float32)
    places = RANDOM.integers(20, 580, (40, 2))
    values[tuple(places.T)] = np.nan
    path = write(tmp_path / "a.tif", values, nodata=nodata, overviews=(2, 4), how=how)
    found = read(asset_of(path), grid(140, 140, size=40, left=LEFT + shift, top=TOP - shift), "bilinear")
    # At most the pixel whose centre lies in a hole is missing, never its neighbours.
    assert np.isnan(found).sum() <= 40
    centre = np.floor((np.arange(140) + 0.5) * 4 + shift / 10).astype(int)
    at_centre = np.isnan(values[np.ix_(centre, centre)])
    assert not (np.isnan(found) & ~at_centre).any()
    assert np.allclose(found[~np.isnan(found)], 100, atol=1e-3)


def test_a_cell_is_the_same_however_the_read_is_cut(tmp_path: Path) -> None:
    values = RANDOM.normal(100, 20, (700, 700)).astype(np.float32)
    values[RANDOM.integers(0, 700, 60), RANDOM.integers(0, 700, 60)] = np.nan
    values[400:, :250] = -9999
    path = write(tmp_path / "a.tif", values, nodata=-9999, overviews=(2, 4))
    for size in (9.0, 47.0):
        whole = GeoBox.from_bbox(tuple(grid(700, 700).to_crs("EPSG:3035").boundingbox), "EPSG:3035", resolution=size)
        full = read(asset_of(path), whole, "cubic")
        for top, left in ((0, 0), (31, 17), (60, 64), (100, 90)):
            part = whole[top : top + 50, left : left + 60]
            assert np.array_equal(
                read(asset_of(path), part, "cubic"), full[top : top + 50, left : left + 60], equal_nan=True
            )


TURNS: dict[str, Callable[[np.ndarray, float], tuple[np.ndarray, Affine]]] = {
    "south up": lambda v, s: (v[::-1], Affine(10, 0, LEFT, 0, 10, TOP - s)),
    "mirrored": lambda v, s: (v[:, ::-1], Affine(-10, 0, LEFT + s, 0, -10, TOP)),
    "transposed": lambda v, s: (v.T, Affine(0, 10, LEFT, -10, 0, TOP)),
    "a quarter": lambda v, s: (np.rot90(v), Affine(0, -10, LEFT + s, -10, 0, TOP)),
    "a half": lambda v, s: (np.rot90(v, 2), Affine(-10, 0, LEFT + s, 0, 10, TOP - s)),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("rule", "size", "unit"), [("nearest", 10, "class"), ("bilinear", 40, "1"), ("max", 30, "1")])
def test_a_turned_file_gives_what_the_upright_one_gives(
    tmp_path: Path, turn: str, rule: str, size: int, unit: str
) -> None:
    values = RANDOM.integers(1, 200, (121, 121), dtype=np.uint8)
    values[40:60, 10:50] = 0
    turned, transform = TURNS[turn](values, 1210.0)
    geobox = grid(800 // size, 800 // size, size=size, left=LEFT + 120, top=TOP - 160)
    upright = write(tmp_path / "up.tif", values, nodata=0, overviews=(2, 4))
    other = write(
        tmp_path / "turned.tif", np.ascontiguousarray(turned), nodata=0, overviews=(2, 4), transform=transform
    )
    expected = read(asset_of(upright, unit=unit), geobox, rule)
    found = read(asset_of(other, unit=unit), geobox, rule)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) <= (0 if rule != "bilinear" else 1)
    if unit == "class":
        assert np.array_equal(np.nan_to_num(found), values[16:96, 12:92])


def test_a_sheared_file_lies_where_its_transform_says(tmp_path: Path) -> None:
    values = RANDOM.integers(1, 60_000, (80, 80), dtype=np.uint16)
    transform = Affine(9, 3, LEFT, 2, -10, TOP)
    path = write(tmp_path / "a.tif", values, nodata=0, transform=transform)
    geobox = grid(40, 40, left=LEFT + 250, top=TOP - 150)
    found = read(asset_of(path), geobox, "nearest")
    xs, ys = np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    cols, rows = ~transform * (xs, ys)
    inside = (np.abs(cols % 1 - 0.5) < 0.499) & (np.abs(rows % 1 - 0.5) < 0.499)
    expected = values[np.floor(rows).astype(int), np.floor(cols).astype(int)]
    assert np.array_equal(found[inside], expected[inside])
