"""Masks as a job asks for them, run end to end; what must come out is said by numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job
from tilewright.tasks.compose.mask_rule import parse_condition

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, ROWS, COLS = 112, (9, 100), (13, 103)
HERE = slice(*ROWS), slice(*COLS)
DAYS = ("2023-06-05", "2023-06-20")
WHERE = {"rows": ROWS, "cols": COLS}


def noise(seed):
    return np.random.default_rng(seed).uniform(0, 1, (SIDE, SIDE)).astype(np.float32)


PIXELS = np.stack([noise(1), noise(2)])
SPECKS = np.random.default_rng(3).random((2, SIDE, SIDE)) < 0.004


def card_of(folder, collection="optics"):
    """A card whose one layer is the red it is given: the mean of the dates that are usable."""
    draft = Draft()
    model = draft.model(draft.node("Identity", "x"), n_in=1, n_out=1)
    entry = {"name": "x", "bands": ["red"], "tw:collection": collection, "tw:dates": {"reducer": "mean"}}
    return write_card(folder, model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["mean"]}])


def world_of(folder, band, telling, *, unit="class", collection="optics", nodata=None):
    """Two dates of red with a band beside it that tells what is usable."""
    world = World(folder)
    for day, red, told in zip(DAYS, PIXELS, telling, strict=True):
        world.add(red, "red", day=day, unit="reflectance", collection=collection)
        world.add(told, band, day=day, unit=unit, nodata=nodata, collection=collection)
    return world


def assert_masked(output, dropped):
    """The layer is the mean of what is not dropped, and nodata where everything is; observations count the dates."""
    kept = np.where(dropped, np.nan, PIXELS)[:, *HERE].astype(np.float64)
    count = (~np.isnan(kept)).sum(axis=0)
    found = layer(output, "mean")
    assert np.array_equal(np.isnan(found), count == 0)
    assert 0 < (count == 0).sum() < count.size
    expected = np.nansum(kept, axis=0)[count > 0] / count[count > 0]
    assert np.abs(found[count > 0] - expected).max() < 1e-6


def grown(specks, metres):
    return np.stack([distance_transform_edt(~day) * 10 <= metres + 1e-6 for day in specks])


def telling(clear, cloudy, dtype, specks=SPECKS):
    return np.where(specks, cloudy, clear).astype(dtype)


KINDS = {
    "scl": ("scl", telling(4, 9, np.uint8), "class", {"kind": "scl", "dilation": 30}),
    "auto": ("scl", telling(4, 3, np.uint8), "class", {"dilation": 30}),
    "probability": ("cloud", telling(10, 70, np.uint8), "1", {"kind": "probability", "threshold": 60, "dilation": 30}),
    "own probability": (
        "haze",
        telling(0.1, 0.9, np.float32),
        "1",
        {"kind": "probability", "band": "haze", "threshold": 0.5, "dilation": 30},
    ),
    "bits": ("qa_pixel", telling(0b100_0000, 0b1000, np.uint16), "class", {"kind": "bits", "dilation": 30}),
    "own bits": (
        "flags",
        telling(1, 32, np.uint8),
        "class",
        {"kind": "bits", "band": "flags", "drop": [5], "dilation": 30},
    ),
    "values": (
        "land",
        telling(1, 7, np.uint8),
        "class",
        {"kind": "values", "band": "land", "drop": [7], "dilation": 30},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_mask_runs_and_grows_by_metres_whatever_the_blocks(name, tmp_path):
    band, told, unit, options = KINDS[name]
    specks = SPECKS | np.roll(SPECKS, 1, axis=0)
    told = np.where(specks, told[SPECKS][0], told[~SPECKS][0]).astype(told.dtype)
    world = world_of(tmp_path / "world", band, told, unit=unit)
    card = card_of(tmp_path / "card")
    job = pixel_job(world, card, tmp_path / "out", mask=options, tile={"block": 64}, **WHERE)
    assert plan_job(job).raster.margin >= 3
    assert_masked(run(job).output, grown(specks, 30))


def test_a_rule_of_ones_own_compares_bands_and_is_recorded(tmp_path):
    haze = np.stack([noise(7), noise(8)])
    world = world_of(tmp_path / "world", "haze", haze, unit="1", nodata=float("nan"))
    rules = ["(red - haze) / (red + haze) > 0.5", "haze >= 0.9"]
    job = pixel_job(world, card_of(tmp_path / "card"), tmp_path / "out", mask={"kind": "rule", "rule": rules}, **WHERE)
    with np.errstate(all="ignore"):
        dropped = ((PIXELS - haze) / (PIXELS + haze) > 0.5) | (haze >= 0.9)
    assert_masked(run(job).output, dropped)
    with pytest.raises(ValueError, match="mask differ"):
        run(pixel_job(world, tmp_path / "card", tmp_path / "out", mask={"kind": "rule", "rule": rules[:1]}, **WHERE))


def test_where_a_rule_has_no_answer_the_pixel_is_not_used(tmp_path):
    haze = np.stack([noise(7), noise(8)])
    haze[:, 20:60, 20:60] = np.nan
    world = world_of(tmp_path / "world", "haze", haze, unit="1", nodata=float("nan"))
    options = {"kind": "rule", "rule": "haze > 0.9"}
    job = pixel_job(world, card_of(tmp_path / "card"), tmp_path / "out", mask=options, **WHERE)
    assert_masked(run(job).output, ~(haze <= 0.9))


def test_landsats_quality_bits_are_the_usual_mask_of_landsat(tmp_path):
    bits = telling(0b101_0000_0100_0000, 0b1_0000, np.uint16, SPECKS | np.roll(SPECKS, 1, axis=0))
    world = world_of(tmp_path / "world", "qa_pixel", bits, collection="landsat-c2-l2", nodata=1)
    card = card_of(tmp_path / "card", collection="landsat-c2-l2")
    plan = plan_job(pixel_job(world, card, tmp_path / "out", **WHERE))
    assert plan.inputs[0].mask.kind == "bits"
    assert plan.inputs[0].mask.drop == (1, 2, 3, 4)
    made = run(pixel_job(world, card, tmp_path / "out", **WHERE))
    assert_masked(made.output, SPECKS | np.roll(SPECKS, 1, axis=0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "clouds"}, "mask.kind: expected 'auto', 'none', 'scl', 'probability', 'bits'"),
        ({"kind": "scl", "drop": [12]}, "mask.drop: 12 is none of 0 to 11"),
        ({"kind": "scl", "threshold": 3}, "mask.threshold means nothing to mask.kind 'scl'"),
        ({"kind": "probability", "drop": [3]}, "mask.drop means nothing to mask.kind 'probability'"),
        ({"kind": "bits", "drop": [64]}, "mask.drop: 64 is none of 0 to 63"),
        ({"kind": "bits", "band": "flags"}, "mask.drop: list the bits of band 'flags'"),
        ({"kind": "values", "drop": [1]}, "mask.band: name the band"),
        ({"kind": "values", "band": "land"}, "mask.drop: list the values of band 'land'"),
        ({"kind": "rule"}, "mask.rule: say when a pixel is dropped"),
        ({"kind": "rule", "rule": "blue"}, "mask.rule is 'blue': compare two sides once"),
        ({"kind": "rule", "rule": "0 < blue < 1"}, "compare two sides once"),
        ({"kind": "rule", "rule": "blue) > (1"}, "does not parse"),
        ({"kind": "rule", "rule": "__import__('os') > 1"}, "not allowed there"),
        ({"kind": "scl", "dilation": -1}, "mask.dilation"),
        ({"kind": "scl"}, "mask.kind: no input's scenes have scl, by which .* They have haze, red"),
        ({"kind": "values", "band": "lnad", "drop": [1]}, "mask.band: no input's scenes have lnad"),
        ({"kind": "rule", "rule": "blue > 1"}, "mask.rule: no input's scenes have blue"),
        ({"kind": "values", "band": "haze", "drop": [1]}, "haze of scene .* is a measurement in '1'"),
    ],
)
def test_a_mask_that_cannot_be_is_refused_by_its_field(tmp_path, options, sentence):
    world = world_of(tmp_path / "world", "haze", PIXELS, unit="1", nodata=float("nan"))
    card = card_of(tmp_path / "card")
    with pytest.raises(JobError, match=sentence):
        plan_job(pixel_job(world, card, tmp_path / "out", mask=options, **WHERE))


def test_a_condition_is_true_unknown_or_neither():
    bands = {"a": np.array([1, 2, np.nan], np.float32), "b": np.array([0, 3, 1], np.float32)}
    for text, expected in (("a > b", [True, False, False]), ("a - 1 <= b / 3", [True, True, False])):
        true, unknown = parse_condition(text, field="x")(bands)
        assert true.tolist() == [*expected[:2], False]
        assert unknown.tolist() == [False, False, True]
