"""A pixel of a pass takes all its bands from the first scene that sees it, judged by that scene's own mask alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.support.scenes import asset_of, grid, scene_of, write_raster
from tilewright.catalogs.passes import seeing_order
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.cube.read_pass import FileReads, PassRequest, read_pass
from tilewright.tasks.cube.scene_band import BandRequest
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.failures import FailureLog, ReadError

nan = np.nan
BANDS = ("red", "nir")


def request_of(*, scl: bool = True, dilation: float = 0.0, bands: tuple[str, ...] = BANDS) -> PassRequest:
    rule = MaskRule(dilation=dilation)
    wanted = tuple(BandRequest(band=band, unit="reflectance", resampling="bilinear") for band in bands)
    if not scl:
        return PassRequest(bands=wanted)
    return PassRequest(
        bands=wanted,
        quality=(BandRequest(band="scl", unit="class", resampling="bilinear"),),
        judge=partial(dropped_pixels, rule=rule, resolution=10.0),
        reach=rule.radius_px(10.0),
    )


def made(folder, name, **bands):
    """A scene of small rasters by band name: lists of rows; scl is of bytes, all others of DN with nodata 0."""
    assets = []
    for band, rows in bands.items():
        values = np.array(rows, np.uint8 if band == "scl" else np.uint16)
        path = write_raster(folder / f"{name}_{band}.tif", values)
        assets.append(asset_of(path, band, unit="class" if band == "scl" else "reflectance"))
    return scene_of(*assets, name=name)


def read(scenes, request, shape=(1, 4), *, access=None, threads=1):
    out = np.full((len(request.bands), *shape), 99, np.float32)
    ordered = seeing_order(scenes, [band.band for band in request.bands])
    read_pass(ordered, FileReads(grid(*shape), access or Access()), request, out=out, threads=threads)
    return out.tolist()


CASES = {
    "each scene where it alone is clear": (
        {"red": [[1, 1, 1, 1]], "nir": [[2, 2, 2, 2]], "scl": [[4, 9, 9, 4]]},
        {"red": [[5, 5, 5, 5]], "nir": [[6, 6, 6, 6]], "scl": [[4, 4, 9, 4]]},
        [[[1, 5, nan, 1]], [[2, 6, nan, 2]]],
    ),
    "red of one and nir of the other never meet": (
        {"red": [[1, 0, 1, 0]], "nir": [[0, 2, 2, 0]], "scl": [[4, 4, 4, 4]]},
        {"red": [[5, 5, 5, 0]], "nir": [[6, 6, 6, 6]], "scl": [[4, 4, 4, 4]]},
        [[[5, 5, 1, nan]], [[6, 6, 2, nan]]],
    ),
    "the mask of one does not judge the other": (
        {"red": [[1, 1, 0, 0]], "nir": [[2, 2, 0, 0]], "scl": [[4, 4, 9, 9]]},
        {"red": [[0, 5, 5, 5]], "nir": [[0, 6, 6, 6]], "scl": [[9, 9, 4, 4]]},
        [[[1, 1, 5, 5]], [[2, 2, 6, 6]]],
    ),
    "a scene without a mask sees what is there": (
        {"red": [[1, 1, 1, 1]], "nir": [[2, 2, 2, 2]], "scl": [[9, 4, 9, 9]]},
        {"red": [[5, 5, 0, 5]], "nir": [[6, 6, 6, 6]]},
        [[[5, 1, nan, 5]], [[6, 2, nan, 6]]],
    ),
    "a scene with both bands comes before one with red alone": (
        {"red": [[1, 1, 1, 1]], "scl": [[4, 4, 4, 4]]},
        {"red": [[5, 5, 0, 5]], "nir": [[6, 6, 6, 6]], "scl": [[4, 9, 4, 4]]},
        [[[5, 1, 1, 5]], [[6, nan, nan, 6]]],
    ),
    "no classification is no clear sky": (
        {"red": [[1, 1, 1, 1]], "nir": [[2, 2, 2, 2]], "scl": [[0, 0, 4, 4]]},
        {"red": [[5, 5, 5, 5]], "nir": [[6, 6, 6, 6]], "scl": [[4, 1, 4, 4]]},
        [[[5, nan, 1, 1]], [[6, nan, 2, 2]]],
    ),
}


@pytest.mark.parametrize(("first", "second", "expected"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_each_pixel_is_of_one_scene(tmp_path, first, second, expected, threads):
    scenes = [made(tmp_path, "a", **first), made(tmp_path, "b", **second)]
    assert np.array_equal(read(scenes, request_of(), threads=threads), expected, equal_nan=True)


def test_a_cloud_grows_inside_its_own_scene_alone(tmp_path):
    one = made(tmp_path, "a", red=[[1] * 6], scl=[[9, 4, 4, 4, 4, 4]])
    other = made(tmp_path, "b", red=[[5] * 6], scl=[[4, 4, 4, 4, 9, 4]])
    request = request_of(dilation=20.0, bands=("red",))
    assert np.array_equal(read([one, other], request, (1, 6)), [[[5, 5, nan, 1, 1, 1]]], equal_nan=True)
    # The other scene is asked around the holes alone, and its cloud beyond them still counts.
    assert np.array_equal(read([other, one], request, (1, 6)), [[[5, 5, nan, 1, 1, 1]]], equal_nan=True)


def test_a_later_scene_is_read_only_around_the_holes(tmp_path):
    whole, holed = np.full((256, 256), 1, np.uint16), np.full((256, 256), 2, np.uint16)
    holed[:64, :64] = 0
    paths = [write_raster(tmp_path / f"{name}.tif", values) for name, values in (("whole", whole), ("holed", holed))]
    scenes = [scene_of(asset_of(path), name=path.stem) for path in paths]
    for order, needed in ((scenes, 16), (scenes[::-1], 17)):
        stats, out = ReadStats(), np.empty((1, 256, 256), np.float32)
        read_pass(order, FileReads(grid(256, 256), Access(stats=stats)), request_of(scl=False, bands=("red",)), out=out)
        assert stats.needed_pixels == needed * 64 * 64
        assert out[0, 0, 0] == 1


def test_a_scene_that_is_cloudy_everywhere_costs_its_mask_alone(tmp_path):
    scene = made(tmp_path, "a", red=[[1] * 4], nir=[[2] * 4], scl=[[9] * 4])
    stats = ReadStats()
    assert np.isnan(read([scene], request_of(), access=Access(stats=stats))).all()
    assert stats.reads == 1


def test_a_side_that_the_mask_drops_is_not_read(tmp_path):
    classes = np.full((256, 256), 9, np.uint8)
    classes[:60, 130:190] = 4
    paths = [
        write_raster(tmp_path / f"{name}.tif", values) for name, values in (("scl", classes), ("red", classes + 1))
    ]
    scene = scene_of(asset_of(paths[1]), asset_of(paths[0], "scl", unit="class"), name="a")
    stats, out = ReadStats(), np.empty((1, 256, 256), np.float32)
    read_pass([scene], FileReads(grid(256, 256), Access(stats=stats)), request_of(bands=("red",)), out=out)
    assert stats.needed_pixels == (16 + 1) * 64 * 64, "the whole mask and one block of red"
    assert np.array_equal(out[0], np.where(classes == 4, 5, nan), equal_nan=True)


def test_a_scene_with_a_band_that_cannot_be_read_sees_nothing(tmp_path):
    broken = made(tmp_path, "broken", red=[[1] * 4], nir=[[2] * 4])
    good = made(tmp_path, "good", red=[[5] * 4], nir=[[0, 6, 6, 6]])
    (tmp_path / "broken_nir.tif").unlink()
    log = FailureLog(tolerance=1)
    expected = [[[nan, 5, 5, 5]], [[nan, 6, 6, 6]]]
    got = read([broken, good], request_of(), access=Access(failures=log, block="0_0"))
    assert np.array_equal(got, expected, equal_nan=True)
    assert [(failure.item, failure.band) for failure in log.failures] == [("broken", "nir")]
    with pytest.raises(ReadError, match="item broken, band nir"):
        read([broken, good], request_of())


def test_no_scene_at_all_sees_nothing():
    assert np.isnan(read([], request_of())).all()
