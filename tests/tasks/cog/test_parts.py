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

from tilewright.tasks.cog.parts import MAX_SIDE, CogPart, cog_parts, join_parts
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.vrt import write_vrt
from tilewright.tasks.cog.write import CogFacts, write_cog
from tilewright.tasks.grid.pixel_box import PixelBox

TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_400_000)
CLASSES = (CogClass(value=0, name="other", color="#BDBDBD"), CogClass(value=2, name="water", color="#2E86DE"))
CLASS = CogSpec(name="class", dtype="uint8", nodata=255, kind="class", classes=CLASSES)
VALUE = CogSpec(name="height", dtype="float32", nodata=math.nan, kind="value", unit="m", scale=0.5)


def box(shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> PixelBox:
    row, col = origin
    return PixelBox(row_start=row, row_stop=row + shape[0], col_start=col, col_stop=col + shape[1])


def write(
    folder: Path,
    pixels: np.ndarray,
    spec: CogSpec,
    side: int,
    *,
    origin: tuple[int, int] = (0, 0),
    transform: Affine = TRANSFORM,
    crs: str = "EPSG:32633",
) -> tuple[CogFacts, tuple[tuple[CogPart, CogFacts], ...]]:
    """The layer as a whole and its parts."""
    parts = []
    for part in cog_parts(box(pixels.shape, origin), side=side):
        piece = pixels[part.row_start : part.row_stop, part.col_start : part.col_stop]
        facts = write_cog(
            folder / f"{spec.name}_{part.suffix}.tif",
            rows=lambda r0, r1, piece=piece: piece[r0:r1],
            shape=part.shape,
            transform=transform * Affine.translation(part.col_start, part.row_start),
            crs=crs,
            spec=spec,
        )
        parts.append((part, facts))
    vrt = write_vrt(folder / f"{spec.name}.vrt", parts, transform=transform, crs=crs, spec=spec)
    return join_parts(tuple(parts), vrt=vrt), tuple(parts)


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
def test_parts_cover_each_pixel_once_and_end_on_the_lattice(shape: tuple[int, int], origin: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    parts = cog_parts(box(shape, origin), side=16)
    for part in parts:
        covered[part.row_start : part.row_stop, part.col_start : part.col_stop] += 1
        assert part.box_in(box(shape, origin)).col_stop == origin[1] + part.col_stop
        if len(parts) == 1:
            continue
        assert (origin[0] + part.row_stop) % 16 == 0 or part.row_stop == shape[0]
        assert (origin[1] + part.col_start) % 16 == 0 or part.col_start == 0
    assert (covered == 1).all()


def test_a_layer_that_fits_in_one_file_is_one_part() -> None:
    side = MAX_SIDE
    assert [part.shape for part in cog_parts(box((side, side), (7, 7)))] == [(side, side)]
    assert [part.shape for part in cog_parts(box((side // 2, 2 * side), (7, 7)))] == [(side // 2, 2 * side)]
    assert len(cog_parts(box((side, side + 1)))) == 2


@pytest.mark.parametrize("spec", [CLASS, VALUE], ids=lambda spec: spec.name)
def test_the_vrt_shows_all_parts_as_one(tmp_path: Path, spec: CogSpec) -> None:
    random = np.random.default_rng(1)
    pixels = random.choice([0, 2, 255 if spec is CLASS else np.nan], size=(700, 900)).astype(spec.dtype)
    facts, parts = write(tmp_path, pixels, spec, side=512, origin=(100, 200))
    assert [part.suffix for part, _ in parts] == ["r00c00", "r00c01", "r00c02", "r01c00", "r01c01", "r01c02"]
    moved = tmp_path.rename(tmp_path.with_name(f"moved-{spec.name}"))
    for _, cog in parts:
        assert cog_validate(moved / cog.path.name, strict=True, quiet=True)[0]
    with rasterio.open(moved / facts.path.name) as source:
        assert np.array_equal(source.read(1), pixels, equal_nan=True)
        assert (source.transform, source.crs.to_epsg()) == (TRANSFORM, 32633)
        assert source.nodata == 255 if spec is CLASS else math.isnan(source.nodata)
        assert (source.descriptions, source.scales, source.units[0] or "") == ((spec.name,), (spec.scale,), spec.unit)
        if spec is CLASS:
            assert source.colormap(1)[2] == (0x2E, 0x86, 0xDE, 255)
    assert "<Category>water</Category>" in (moved / facts.path.name).read_text() or spec is VALUE


def test_sums_over_the_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).normal(50, 3, (600, 700)).astype(np.float32)
    pixels[:300, :400] = np.nan
    facts, _ = write(tmp_path, pixels, VALUE, side=256)
    valid = pixels[~np.isnan(pixels)].astype(np.float64)
    assert facts.statistics is not None
    assert facts.statistics.mean == pytest.approx(valid.mean(), rel=1e-12)
    assert facts.statistics.stddev == pytest.approx(valid.std(), rel=1e-9)
    assert facts.statistics.valid_percent == pytest.approx(100 * valid.size / pixels.size)
    assert (facts.pixels, facts.valid_pixels) == (pixels.size, valid.size)


def test_class_counts_add_up_also_with_an_empty_part(tmp_path: Path) -> None:
    pixels = np.full((600, 700), 255, np.uint8)
    pixels[300:, 300:] = 2
    facts, _ = write(tmp_path, pixels, CLASS, side=256)
    assert facts.counts == {2: 300 * 400, 255: pixels.size - 300 * 400}
    assert facts.statistics is not None
    assert (facts.statistics.mean, facts.statistics.stddev) == (2, 0)


def test_a_geographic_crs_keeps_its_place(tmp_path: Path) -> None:
    pixels = np.zeros((300, 300), np.uint8)
    transform = Affine(0.001, 0, 13, 0, -0.001, 48)
    facts, parts = write(tmp_path, pixels, CLASS, side=256, transform=transform, crs="EPSG:4326")
    with rasterio.open(facts.path) as whole, rasterio.open(parts[0][1].path) as part:
        assert whole.crs == part.crs
        assert whole.bounds == pytest.approx((13, 47.7, 13.3, 48))
