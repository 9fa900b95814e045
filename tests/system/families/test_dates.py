"""Families of models by the dates they take, end to end on pixels of known values; numpy says what must come out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from tests.support.families import (
    COLS,
    FLOAT,
    HERE,
    IMAGE,
    INT64,
    PAIR,
    ROWS,
    SERIES,
    SIDE,
    VALUE,
    close,
    noise,
    pair_scenes,
    values_of,
)
from tests.support.graphs import Draft, pointwise
from tests.support.worlds import area, write_card
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import JobError

pytestmark = pytest.mark.usefixtures("small_pictures")


def series_card(folder, **missing):
    """y = sum over three months of (1, 10, 100) x red, plus the mean day of the year."""
    draft = Draft()
    weights = draft.constant(np.array([1, 10, 100], np.float32).reshape(1, 3, 1, 1, 1))
    summed = draft.node("ReduceSum", draft.node("Mul", "x", weights), draft.constant(np.array([1, 2])), keepdims=0)
    days = draft.node("ReduceMean", "days", axes=[1], keepdims=1)
    days = draft.node("Unsqueeze", days, draft.constant(np.array([2])))
    model = values_of(
        draft,
        draft.node("Add", summed, days),
        inputs=[("x", FLOAT, ["batch", 3, 1, "h", "w"]), ("days", FLOAT, ["batch", 3])],
        shape=["batch", "oh", "ow"],
    )
    dates = {"tw:dates": {"kind": "series", "steps": 3, "every": "month"}, "tw:missing": missing}
    inputs = [
        {"name": "x", "bands": ["red"], "dims": SERIES, **dates},
        {"name": "days", "dims": ("batch", "time"), "tw:extra": "day_of_year"},
    ]
    return write_card(folder, model, inputs=inputs, outputs=[{**VALUE, "dims": IMAGE}])


SUMMER = {"period": "2023-06-01/2023-08-31"}


def test_f05_a_series_of_months_with_one_missing_is_filled_from_the_nearest_date(world, produce, tmp_path):
    first, second, august = noise(1), noise(2), noise(3)
    cloudy = august.copy()
    cloudy[40:60, 50:70] = np.nan
    for values, day in ((first, "2023-06-05"), (second, "2023-06-25"), (cloudy, "2023-08-10")):
        world.add(values, "red", day=day, unit="reflectance")
    made = produce(series_card(tmp_path / "card", fill="nearest-date"), **SUMMER)["value"]
    june = (first.astype(np.float64) + second) / 2
    last = np.where(np.isnan(cloudy), june, cloudy)
    # June's step stands for the 15th, July's for the middle of the month, August's for its only scene.
    days = np.mean([166, 197, 222])
    assert np.abs(made - (june + 10 * june + 100 * last + days)[HERE]).max() < 1e-3


def test_f05_a_month_without_scene_is_refused_where_the_card_says_so(world, produce, tmp_path):
    for day in ("2023-06-05", "2023-08-10"):
        world.add(noise(1), "red", day=day, unit="reflectance")
    with pytest.raises(JobError, match="No scenes for 2023-07 of input x, and the model's card refuses"):
        produce(series_card(tmp_path / "card", steps="refuse"), **SUMMER)


def test_f06_a_pair_with_time_folded_into_bands_becomes_a_change_map(world, produce, tmp_path):
    before, after = pair_scenes(world)
    draft = Draft()
    weight = draft.constant(np.array([-8, 8], np.float32).reshape(1, 2, 1, 1))
    model = draft.model(draft.node("Conv", "x", weight, kernel_shape=[1, 1]), n_in=2, n_out=1)
    head = {"name": "y", "classes": ["same", "changed"], "tw:activation": "sigmoid", "tw:threshold": 0.9}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": "pair"}}],
        outputs=[{**head, "tw:layers": ["change", "probabilities"]}],
    )
    made = produce(card, **PAIR)
    share = (1 / (1 + np.exp(-8 * (after.astype(np.float64) - before))))[HERE]
    assert ((made["change"] == 1) == (share >= 0.9)).mean() > 0.9999
    close(made["probability_changed"], share * 100)


def test_f06_a_pair_without_its_second_date_is_refused(world, tmp_path):
    """Through the command: exit code 2, one sentence."""
    world.add(noise(1), "red", day="2023-06-05", unit="reflectance")
    card = write_card(
        tmp_path / "card",
        pointwise(2, 1),
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": "pair"}}],
        outputs=[VALUE],
    )
    job = {"area": area(ROWS, COLS), "source": world.source, "model": str(card), **PAIR}
    (tmp_path / "job.json").write_text(json.dumps(job))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2, answer.output
    assert "No scenes for after of input x" in answer.stderr


def test_f07_three_heads_give_class_before_class_after_and_change(world, produce, tmp_path):
    before, after = pair_scenes(world)
    draft = Draft()
    heads = []
    for step in (0, 1):
        index = draft.constant(np.array(step))
        image = draft.node("Gather", "x", index, axis=1)
        heads.append(draft.node("Concat", draft.node("Sub", draft.constant([0.5]), image), image, axis=1))
    gap = draft.node("Abs", draft.node("Sub", *heads))
    change = draft.node("Greater", draft.node("ReduceMax", gap, axes=[1], keepdims=0), draft.constant([0.3]))
    model = draft.model_many(
        [("x", FLOAT, ["batch", 2, 1, "h", "w"])],
        [
            (heads[0], "before", FLOAT, ["batch", 2, "h", "w"]),
            (heads[1], "after", FLOAT, ["batch", 2, "h", "w"]),
            (draft.node("Cast", change, to=INT64), "difference", INT64, ["batch", "h", "w"]),
        ],
    )
    classes = {"classes": ["dark", "bright"], "tw:activation": "softmax", "tw:layers": ["class"]}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"], "dims": SERIES, "tw:dates": {"kind": "pair"}}],
        outputs=[
            {"name": "before", **classes},
            {"name": "after", **classes},
            {"name": "difference", "dims": IMAGE, "classes": ["same", "changed"], "tw:layers": ["change"]},
        ],
    )
    made = produce(card, **PAIR)
    assert np.array_equal(made["before_class"], (before > 0.25)[HERE])
    assert np.array_equal(made["after_class"], (after > 0.25)[HERE])
    assert (made["change"] == (np.abs(after - before) > 0.3)[HERE]).mean() > 0.9999


def prior_card(folder):
    """Changed: another class than the old map's, or where there is a picture from before, brighter by 0.2 since."""
    draft = Draft()
    before, after = (draft.node("Gather", "pair", draft.constant(np.array(step)), axis=1) for step in (0, 1))
    brighter = draft.node("Greater", draft.node("Sub", after, before), draft.constant([0.2]))
    known = draft.node("Greater", before, draft.constant([-0.5]))
    bright = draft.node("Cast", draft.node("Greater", after, draft.constant([0.3])), to=FLOAT)
    unlike = draft.node("Not", draft.node("Equal", bright, "old"))
    changed = draft.node("Or", unlike, draft.node("And", known, brighter))
    model = draft.model_many(
        [("pair", FLOAT, ["batch", 2, 1, "h", "w"]), ("old", FLOAT, ["batch", 1, "h", "w"])],
        [(draft.node("Cast", changed, to=TensorProto.INT64), "y", TensorProto.INT64, ["batch", 1, "oh", "ow"])],
    )
    series = {"dims": ("batch", "time", "bands", "height", "width")}
    pictures = {"tw:dates": {"kind": "pair"}, "tw:optional": True, "tw:missing": {"fill": -1}}
    old = {"tw:collection": "maps", "tw:unit": "class", "tw:dates": {"kind": "static"}, "tw:resampling": "nearest"}
    return write_card(
        folder,
        model,
        inputs=[{"name": "pair", "bands": ["red"], **series, **pictures}, {"name": "old", "bands": ["cover"], **old}],
        outputs=[{"name": "y", "classes": ["same", "changed"], "tw:layers": ["change"]}],
    )


@pytest.mark.parametrize("absent", [False, True])
def test_f08_a_pair_beside_an_old_map_and_the_first_date_may_be_absent(world, produce, tmp_path, absent):
    before, after = noise(1), noise(2)
    old = (noise(3) > 0.3).astype(np.uint8)
    world.add(old, "cover", collection="maps", day="2015-01-01", nodata=None, unit="class")
    if not absent:
        world.add(before, "red", day="2023-06-05", unit="reflectance")
    world.add(after, "red", day="2023-09-05", unit="reflectance")
    made = produce(prior_card(tmp_path / "card"), **PAIR)["change"]
    changed = (after > 0.3) != old
    if not absent:
        changed |= after - before > 0.2
    assert np.array_equal(made, changed[HERE])


def test_f10_a_cloud_free_image_comes_out_of_cloudy_ones_and_their_masks(world, produce, tmp_path):
    random = np.random.default_rng(5)
    days = ("2023-06-05", "2023-07-10", "2023-08-10")
    images = {band: [noise(10 * number + step) for step in range(3)] for number, band in enumerate(("red", "nir"))}
    seen = random.random((3, SIDE, SIDE)) > 0.4
    seen[1] |= ~seen.any(axis=0)
    for step, day in enumerate(days):
        for band, values in images.items():
            world.add(np.where(seen[step], values[step], np.nan), band, day=day, unit="reflectance")
    draft = Draft()
    lit = draft.node("ReduceSum", draft.node("Mul", "x", "mask"), draft.constant(np.array([1])), keepdims=0)
    count = draft.node("ReduceSum", "mask", draft.constant(np.array([1])), keepdims=0)
    image = draft.node("Div", lit, count)
    model = draft.model_many(
        [("x", FLOAT, ["batch", 3, 2, "h", "w"]), ("mask", FLOAT, ["batch", 3, 1, "h", "w"])],
        [(image, "y", FLOAT, ["batch", 2, "oh", "ow"])],
    )
    dims = ("batch", "time", "bands", "height", "width")
    dates = {"tw:dates": {"kind": "series", "steps": 3, "every": "month"}, "tw:missing": {"fill": 0}}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {"name": "x", "bands": ["red", "nir"], "dims": dims, **dates},
            {"name": "mask", "dims": dims, "tw:extra": "valid_mask"},
        ],
        outputs=[{"name": "y", "tw:layers": ["red", "nir"], "tw:unit": "1"}],
    )
    made = produce(card, period="2023-06-01/2023-08-31")
    for band, values in images.items():
        expected = (np.stack(values) * seen).sum(axis=0) / seen.sum(axis=0)
        np.testing.assert_allclose(made[band], expected[HERE], rtol=1e-5)
