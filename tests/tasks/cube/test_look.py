"""Where a scene is clear, from an overview of its mask, inside its footprint."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import rasterio
from shapely.geometry import box, mapping

from tests.support.scenes import asset_of, grid, scene_of, write_raster
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import CLASS_KINDS, MaskRule
from tilewright.tasks.cube.look import clear_samples
from tilewright.tasks.cube.scene_band import BandRequest
from tilewright.tasks.read.access import Access, Reading
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.failures import FailureLog, ReadError
from tilewright.tasks.read.retry import RetryPolicy

SIDE, SAMPLE = 256, 16
N = SIDE // SAMPLE


def scene_with(path, values, *, band="scl", unit="class", nodata=0, overviews=(2, 4, 8, 16)):
    """A scene with one mask of 10 m pixels, and overviews that say something else than its pixels."""
    write_raster(path, values, nodata=nodata)
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews), rasterio.enums.Resampling.nearest)
    scene = scene_of(asset_of(path, band, unit=unit))
    return replace(scene, geometry=mapping(box(*scene.bbox).buffer(0.01)))


def look(scene, rule, *, access=None, unit="class"):
    return clear_samples(
        scene,
        grid(N, N, size=10.0 * SAMPLE),
        access or Access(),
        quality=[BandRequest(band=band, unit=unit, resampling="nearest", coarse=True) for band in rule.bands],
        judge=partial(dropped_pixels, rule=rule, resolution=10.0 * SAMPLE),
        reach=rule.radius_px(10.0 * SAMPLE),
    )


def halves(left, right, dtype=np.uint8):
    values = np.full((SIDE, SIDE), left, dtype)
    values[:, SIDE // 2 :] = right
    return values


WEST = np.broadcast_to(np.arange(N) < N // 2, (N, N))


@pytest.mark.parametrize(
    ("values", "rule", "clear"),
    [
        (halves(4, 9), MaskRule(kind="scl"), WEST),
        (halves(0, 4), MaskRule(kind="scl"), ~WEST),
        (halves(1 << 6, 1 << 3), MaskRule(kind="bits", drop=(3,)), WEST),
        (halves(3, 7), MaskRule(kind="values", band="classes", drop=(3,)), ~WEST),
        (halves(10, 80), MaskRule(kind="probability", drop=()), WEST),
        (halves(10, 80), MaskRule(kind="rule", drop=(), conditions=("cloud < 50",)), ~WEST),
        (halves(4, 9), MaskRule(kind="scl", dilation=330.0), np.roll(WEST, -2) & WEST),
    ],
    ids=["scl", "scl without data", "bits", "values", "probability", "rule", "dilation"],
)
def test_each_kind_of_mask_is_looked_at(tmp_path, values, rule, clear):
    band, unit = rule.bands[0], "class" if rule.kind in CLASS_KINDS else "1"
    scene = scene_with(tmp_path / "mask.tif", values, band=band, unit=unit, nodata=0 if band == "scl" else None)
    assert np.array_equal(look(scene, rule, unit=unit), clear)


def test_an_overview_is_read_and_the_full_pixels_where_there_is_none(tmp_path):
    costs = []
    for name, overviews in (("coarse", (2, 4, 8, 16, 32)), ("full", ())):
        stats = ReadStats()
        scene = scene_with(tmp_path / f"{name}.tif", halves(4, 9), overviews=overviews)
        assert np.array_equal(look(scene, MaskRule(kind="scl"), access=Access(stats=stats)), WEST)
        costs.append(stats.decoded_bytes)
    # The overview of 16 pixels fills one block of 64; one of 32 would be coarser than the samples.
    assert costs == [64 * 64, SIDE * SIDE]


def test_nothing_is_clear_beyond_the_footprint(tmp_path):
    scene = scene_with(tmp_path / "mask.tif", halves(10, 10), band="cloud", unit="1", nodata=None)
    west, south, east, north = scene.bbox
    half = replace(scene, geometry=mapping(box(west - 0.01, south - 0.01, (west + east) / 2, north + 0.01)))
    rule = MaskRule(kind="probability", drop=())
    assert look(scene, rule, unit="1").all()
    seen = look(half, rule, unit="1")
    assert seen[:, : N // 2 - 1].all()
    assert not seen[:, N // 2 + 1 :].any()


def test_a_scene_without_the_mask_and_one_that_cannot_be_read_are_clear_nowhere(tmp_path):
    scene = scene_with(tmp_path / "mask.tif", halves(4, 9))
    assert not look(scene, MaskRule(kind="bits", drop=(3,))).any()
    gone = replace(scene, assets=(replace(scene.assets[0], href=str(tmp_path / "gone.tif")),))
    reading = Reading(retry=RetryPolicy(attempts=1, first_wait_s=0.0, longest_wait_s=0.0))
    with pytest.raises(ReadError, match=r"band scl could not be read from .*gone\.tif"):
        look(gone, MaskRule(kind="scl"), access=Access(reading=reading))
    failures = FailureLog(tolerance=1)
    assert not look(gone, MaskRule(kind="scl"), access=Access(reading=reading, failures=failures)).any()
    assert [failure.band for failure in failures.failures] == ["scl"]
