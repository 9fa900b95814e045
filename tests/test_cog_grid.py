from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_validate

from tasks.cog_grid import MAX_PIXELS, CogGridFacts, cog_parts, write_cog_grid
from tasks.cogspec import CogClass, CogSpec

TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_400_000)
CLASSES = (CogClass(value=0, name="other", color="#BDBDBD"), CogClass(value=2, name="water", color="#2E86DE"))
CLASS = CogSpec(name="class", dtype="uint8", nodata=255, kind="class", classes=CLASSES)
VALUE = CogSpec(name="height", dtype="float32", nodata=math.nan, kind="value", unit="m", scale=0.5)


def write(folder: Path, pixels: np.ndarray, spec: CogSpec, side: int, origin: tuple[int, int] = (0, 0)) -> CogGridFacts:
    return write_cog_grid(
        folder,
        cog_parts(pixels.shape, origin=origin, max_pixels=side * side, side=side),
        read=lambda r0, r1, c0, c1: pixels[r0:r1, c0:c1],
        transform=TRANSFORM,
        crs="EPSG:32633",
        spec=spec,
    )


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
def test_parts_cover_each_pixel_once_and_end_on_the_lattice(shape: tuple[int, int], origin: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    for part in cog_parts(shape, origin=origin, max_pixels=0, side=16):
        covered[part.row_start : part.row_stop, part.col_start : part.col_stop] += 1
        assert (origin[0] + part.row_stop) % 16 == 0 or part.row_stop == shape[0]
        assert (origin[1] + part.col_start) % 16 == 0 or part.col_start == 0
    assert (covered == 1).all()


def test_what_fits_in_one_file_is_one_part() -> None:
    assert [part.shape for part in cog_parts((40_000, 40_000), origin=(7, 7))] == [(40_000, 40_000)]
    assert len(cog_parts((40_000, 40_001))) == 4
    assert MAX_PIXELS == 40_000 * 40_000


@pytest.mark.parametrize("spec", [CLASS, VALUE], ids=lambda spec: spec.name)
def test_the_vrt_shows_all_parts_as_one(tmp_path: Path, spec: CogSpec) -> None:
    random = np.random.default_rng(1)
    pixels = random.choice([0, 2, 255 if spec is CLASS else np.nan], size=(700, 900)).astype(spec.dtype)
    facts = write(tmp_path, pixels, spec, side=512, origin=(100, 200))
    assert [part.suffix for part, _ in facts.parts] == ["r00c00", "r00c01", "r00c02", "r01c00", "r01c01", "r01c02"]
    moved = tmp_path.rename(tmp_path.with_name(f"moved-{spec.name}"))
    for _, cog in facts.parts:
        assert cog_validate(moved / cog.path.name, strict=True, quiet=True)[0]
    with rasterio.open(moved / facts.vrt.name) as source:
        assert np.array_equal(source.read(1), pixels, equal_nan=True)
        assert (source.transform, source.crs.to_epsg()) == (TRANSFORM, 32633)
        assert source.nodata == 255 if spec is CLASS else math.isnan(source.nodata)
        assert (source.descriptions, source.scales, source.units[0] or "") == ((spec.name,), (spec.scale,), spec.unit)
        if spec is CLASS:
            assert source.colormap(1)[2] == (0x2E, 0x86, 0xDE, 255)
    assert "<Category>water</Category>" in (moved / facts.vrt.name).read_text() or spec is VALUE


def test_sums_over_the_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).normal(50, 3, (600, 700)).astype(np.float32)
    pixels[:300, :400] = np.nan
    facts = write(tmp_path, pixels, VALUE, side=256)
    valid = pixels[~np.isnan(pixels)].astype(np.float64)
    assert facts.statistics is not None
    assert facts.statistics.mean == pytest.approx(valid.mean(), rel=1e-12)
    assert facts.statistics.stddev == pytest.approx(valid.std(), rel=1e-9)
    assert facts.statistics.valid_percent == pytest.approx(100 * valid.size / pixels.size)
    assert (facts.pixels, facts.valid_pixels) == (pixels.size, valid.size)


def test_class_counts_add_up_and_an_empty_part_is_no_trouble(tmp_path: Path) -> None:
    pixels = np.full((600, 700), 255, np.uint8)
    pixels[300:, 300:] = 2
    facts = write(tmp_path, pixels, CLASS, side=256)
    assert facts.counts == {2: 300 * 400, 255: pixels.size - 300 * 400}
    assert facts.statistics is not None
    assert (facts.statistics.mean, facts.statistics.stddev) == (2, 0)


def test_a_geographic_crs_keeps_its_place(tmp_path: Path) -> None:
    pixels = np.zeros((300, 300), np.uint8)
    facts = write_cog_grid(
        tmp_path,
        cog_parts(pixels.shape, max_pixels=1, side=256),
        read=lambda r0, r1, c0, c1: pixels[r0:r1, c0:c1],
        transform=Affine(0.001, 0, 13, 0, -0.001, 48),
        crs="EPSG:4326",
        spec=CLASS,
    )
    with rasterio.open(facts.vrt) as whole, rasterio.open(facts.parts[0][1].path) as part:
        assert whole.crs == part.crs
        assert whole.bounds == pytest.approx((13, 47.7, 13.3, 48))
