"""The built-in model of shifts against pictures that were shifted by hand, by a spline through every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.support.shifted import ground, shifted
from tests.support.worlds import World, layer, pixel_job, run
from tilewright.models.builtin.build import FOLDER
from tilewright.models.builtin.shifts import LEAST_SCORE, WINDOW
from tilewright.models.card.card import load_card
from tilewright.models.run.open import open_session

SHIFTS = [(0, 0), (1, 0), (0, -1), (3, 2), (-12, 7), (0.5, 0), (0.5, -0.5), (0.25, 0.3), (-2.5, 4.75), (20.5, -15)]
"""Pixels east and north."""

GROUND = ground(7, size=WINDOW + 200)


@pytest.fixture(scope="module")
def shift_of():
    """Makes (pixels east, pixels north, score) of two pictures; NaN = missing, filled with the pixels' mean here."""
    session = open_session(load_card(FOLDER / "phase-shift"), provider="cpu")

    def make(before, after, *, pixel=(1.0, 1.0)):
        pair = np.stack([before, after]).astype(np.float32)[None, :, None]
        seen = np.isfinite(pair)
        filled = np.where(seen, pair, np.nanmean(pair))
        feeds = {"pair": filled, "seen": seen.astype(np.float32), "pixel": np.array([pixel], np.float32)}
        return session.run(feeds)["shift"][0]

    return make


def window(east=0.0, north=0.0):
    return shifted(GROUND, east, north)[100 : 100 + WINDOW, 100 : 100 + WINDOW]


@pytest.mark.parametrize(("east", "north"), SHIFTS)
def test_a_shift_is_found_to_a_few_hundredths_of_a_pixel(shift_of, east, north):
    x, y, score = shift_of(window(), window(east, north))
    assert (x, y) == pytest.approx((east, north), abs=0.03)
    assert score > 0.5


@pytest.mark.parametrize(("east", "north"), SHIFTS)
def test_a_shift_is_found_under_noise_other_light_and_clouds(shift_of, east, north):
    random = np.random.default_rng(1)
    before = window() + random.normal(0, 0.004, (WINDOW, WINDOW))
    after = 1.4 * window(east, north) + 0.05 + random.normal(0, 0.004, (WINDOW, WINDOW))
    before[30:90, 40:100] = np.nan
    after[150:220, 100:190] = np.nan
    x, y, score = shift_of(before, after)
    assert (x, y) == pytest.approx((east, north), abs=0.2)
    assert LEAST_SCORE < score < 0.9


def test_metres_are_those_of_the_pixels(shift_of):
    x, y, _ = shift_of(window(), window(3, 2), pixel=(10.0, 20.0))
    assert (x, y) == pytest.approx((30, 40), abs=0.5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_what_has_no_texture_or_no_likeness_has_no_shift(shift_of, scale):
    random = np.random.default_rng(2)
    flat = np.full((WINDOW, WINDOW), 0.1)
    tried = {
        "flat": (flat, flat),
        "flat but for rounding": (flat + random.normal(0, 1e-6, flat.shape), flat + random.normal(0, 1e-6, flat.shape)),
        "nothing": (flat * 0, flat * 0),
        "one flat": (window(), flat),
        "noise": (random.normal(0.1, 0.02, flat.shape), random.normal(0.1, 0.02, flat.shape)),
        "other ground": (window(), ground(8, size=WINDOW)),
    }
    for before, after in tried.values():
        x, y, score = shift_of(scale * before, scale * after)
        assert np.isnan([x, y]).all()
        assert 0 <= score < LEAST_SCORE


def test_a_window_that_is_hardly_seen_has_a_low_score(shift_of):
    half, few = window(2, 0), window(2, 0)
    half[:, :100] = np.nan
    few[:, :240] = np.nan
    assert shift_of(window(), window(2, 0))[2] > shift_of(window(), half)[2] > shift_of(window(), few)[2]
    assert shift_of(window(), few)[2] < LEAST_SCORE


def test_it_agrees_with_scikit_image(shift_of):
    registration = pytest.importorskip("skimage.registration")
    before, after = ndimage.gaussian_filter(window(), 1), ndimage.gaussian_filter(window(3.25, -1.5), 1)
    (rows, cols), _, _ = registration.phase_cross_correlation(before, after, upsample_factor=50)
    x, y, _ = shift_of(before, after)
    assert (x, y) == pytest.approx((-cols, rows), abs=0.1)


def test_a_job_maps_the_shifts_of_a_pair_in_metres(tmp_path):
    """Five by five windows; the second date lies 25 m east and 10 m south, but for a corner that is another ground."""
    side = 5 * 128 + 128
    before = ground(3, size=side)
    after = shifted(before, 2.5, -1)
    after[:256, :256] = ground(4, size=256)
    world = World(tmp_path / "scenes")
    for values, day in ((before, "2023-06-10"), (after, "2023-09-10")):
        world.add(values, "red", day=day, collection="sentinel-2-l2a", scale=1.0, offset=0.0, unit="reflectance")
    period = {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}
    where = {"rows": (64, side - 64), "cols": (64, side - 64)}
    outcome = run(pixel_job(world, "phase-shift", tmp_path / "out", period=period, **where))
    assert outcome.report["grid"]["resolution"] == 1280
    x, y, score = (layer(outcome.output, name) for name in ("shift_x", "shift_y", "score"))
    good = score > 0.4
    assert 10 < good.sum() < good.size
    assert x[good] == pytest.approx(25, abs=1)
    assert y[good] == pytest.approx(-10, abs=1)
    assert {entry["name"]: entry["unit"] for entry in outcome.report["layers"] if "unit" in entry}["shift_x"] == "m"
