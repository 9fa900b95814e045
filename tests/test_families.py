"""One card per family of models, run end to end on pixels of known values; what must come out is said by numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from onnx import TensorProto
from typer.testing import CliRunner

from flows.cli import app
from flows.job import JobError
from tests.graphs import Draft, finer, pointwise, window_vector
from tests.worlds import World, area, bounds, layer, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 160
ROWS, COLS = (9, 147), (13, 139)
HERE = slice(*ROWS), slice(*COLS)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
IMAGE = ["batch", "height", "width"]
SERIES = ("batch", "time", "bands", "height", "width")


def noise(seed, *, low=0.02, high=0.6, side=SIDE):
    return np.random.default_rng(seed).uniform(low, high, (side, side)).astype(np.float32)


def blocky(seed, *, size=1, low=0.02, high=0.6):
    """Noise in squares of `size` pixels, on the world's full side."""
    return noise(seed, low=low, high=high, side=SIDE // size).repeat(size, 0).repeat(size, 1)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


@pytest.fixture
def produce(world, tmp_path):
    """A job over rows 9-147 and columns 13-139 of the world with that card; its layers by name."""

    def run_card(card, **wish):
        outcome = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **wish))
        names = [entry["name"] for entry in outcome.report["layers"]]
        return {name: layer(outcome.output, name) for name in names}

    return run_card


def values_of(draft, result, *, inputs, shape):
    return draft.model_many(inputs, [(result, "y", FLOAT, shape)])


def softmax(scores):
    made = np.exp(scores - scores.max(axis=0))
    return made / made.sum(axis=0)


def entropy(shares):
    return -(shares * np.log(shares)).sum(axis=0) / np.log(len(shares))


def test_f01_bands_and_a_derived_one_become_classes_probabilities_entropy_and_margin(world, produce, tmp_path):
    numbers = {band: (noise(seed) * 10000).astype(np.uint16) for seed, band in enumerate(("red", "nir"))}
    for band, stored in numbers.items():
        world.add(stored, band, nodata=0, scale=0.0001, offset=-0.01, unit="reflectance")
    model = pointwise(3, 3)
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {
                "name": "x",
                "bands": ["nir", "red", "ndvi"],
                "value_scaling": [
                    {"type": "z-score", "mean": 0.3, "stddev": 0.1},
                    {"type": "min-max", "minimum": 0.0, "maximum": 0.6},
                    {"type": "clip", "minimum": -0.5, "maximum": 0.5},
                ],
            }
        ],
        outputs=[
            {
                "name": "y",
                "classes": ["water", "crop", "built-up"],
                "tw:activation": "softmax",
                "tw:layers": ["class", "confidence", "probabilities", "entropy", "margin"],
            }
        ],
    )
    made = produce(card)
    red, nir = (numbers[band].astype(np.float64) * 0.0001 - 0.01 for band in ("red", "nir"))
    given = np.stack([(nir - 0.3) / 0.1, red / 0.6, np.clip((nir - red) / (nir + red), -0.5, 0.5)])
    weight, bias = (onnx_array(model, i) for i in range(2))
    shares = softmax(np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], given) + bias[:, None, None])[(slice(None), *HERE)]
    ranked = np.sort(shares, axis=0)
    assert (made["class"] == shares.argmax(axis=0)).mean() > 0.9999
    close(made["confidence"], shares.max(axis=0) * 100)
    close(made["probability_built-up"], shares[2] * 100)
    close(made["entropy"], entropy(shares) * 100)
    close(made["margin"], (ranked[-1] - ranked[-2]) * 100)


def onnx_array(model, index):
    from onnx import numpy_helper

    return numpy_helper.to_array(model.graph.initializer[index]).astype(np.float64)


def close(percent, expected):
    assert np.abs(percent - expected).max() <= 0.51


def fusion_card(folder):
    """y = optical (10 m) + the radar's dB (20 m, brought to 10 m by repeating)."""
    draft = Draft()
    total = draft.node("Add", "optical", draft.up("radar", 2))
    model = draft.model_many(
        [("optical", FLOAT, ["batch", 1, "h", "w"]), ("radar", FLOAT, ["batch", 1, "rh", "rw"])],
        [(total, "y", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    radar = {"tw:collection": "sentinel-1-rtc", "tw:unit": "db", "tw:resolution": 20}
    missing = {"tw:optional": True, "tw:missing": {"fill": -20}}
    inputs = [{"name": "optical", "bands": ["red"]}, {"name": "radar", "bands": ["vv"], **radar, **missing}]
    return write_card(folder, model, inputs=inputs, outputs=[{"name": "y", "tw:layers": ["total"]}])


def test_f03_optical_at_10_m_and_radar_at_20_m_meet_and_power_becomes_decibel(world, produce, tmp_path):
    red, power = noise(1), noise(2, low=0.001, high=0.3, side=SIDE // 2)
    world.add(red, "red", unit="reflectance")
    world.add(power, "vv", collection="sentinel-1-rtc", size=20.0, unit="linear")
    made = produce(fusion_card(tmp_path / "card"))["total"]
    decibel = (10 * np.log10(power.astype(np.float64))).repeat(2, 0).repeat(2, 1)
    assert np.abs(made - (red + decibel)[HERE]).max() < 1e-5


def test_f03_a_source_without_radar_is_enough_where_radar_is_optional(world, produce, tmp_path):
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    made = produce(fusion_card(tmp_path / "card"))["total"]
    assert np.abs(made - (red - 20)[HERE]).max() < 1e-5


def test_f03_power_of_no_known_unit_is_refused_for_a_card_that_takes_decibel(world, produce, tmp_path):
    world.add(noise(1), "red", unit="reflectance")
    world.add(noise(2, side=SIDE // 2), "vv", collection="sentinel-1-grd", size=20.0)
    folder = fusion_card(tmp_path / "card")
    text = (folder / "card.json").read_text().replace("sentinel-1-rtc", "sentinel-1-grd")
    (folder / "card.json").write_text(text)
    with pytest.raises(JobError, match=r"takes vv in db .* has it in 1"):
        produce(folder)


def test_a_unit_that_does_not_fit_is_refused(world, produce, tmp_path):
    world.add(noise(1), "red", unit="m")
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[{"name": "x", "bands": ["red"]}], outputs=[VALUE])
    with pytest.raises(JobError, match=r"takes red in reflectance .* has it in m"):
        produce(card)


VALUE = {"name": "y", "tw:layers": ["value"]}


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


PAIR = {"period": {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}}


def pair_scenes(world):
    before, after = noise(1), noise(2)
    world.add(before, "red", day="2023-06-05", unit="reflectance")
    world.add(after, "red", day="2023-09-05", unit="reflectance")
    return before, after


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


def test_f12_values_have_a_unit_and_a_range_and_outputs_may_differ_in_scale(world, produce, tmp_path):
    red = blocky(1, size=4)
    red[28:48, 32:60] = np.nan
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    tonnes = draft.node("Mul", "x", draft.constant([500.0]))
    coarse = draft.node("AveragePool", tonnes, kernel_shape=[4, 4], strides=[4, 4])
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])],
        [(tonnes, "fine", FLOAT, ["batch", 1, "h", "w"]), (coarse, "coarse", FLOAT, ["batch", 1, "ch", "cw"])],
    )
    common = {"tw:unit": "t/ha", "tw:valid_range": [50, 200]}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[
            {"name": "fine", "tw:layers": ["biomass"], **common},
            {"name": "coarse", "tw:layers": ["stock"], "tw:scale": 0.25, **common, "tw:outside": "clip"},
        ],
    )
    made = produce(card)
    expected = (red * 500)[HERE]
    inside = np.where((expected >= 50) & (expected <= 200), expected, np.nan)
    np.testing.assert_allclose(made["biomass"], inside, rtol=1e-5)
    np.testing.assert_allclose(made["stock"], np.clip(expected, 50, 200), rtol=1e-5)
    with rasterio.open(tmp_path / "out" / "biomass.tif") as dataset:
        assert (dataset.units[0], np.isnan(dataset.nodata)) == ("t/ha", True)


def forest(n_rows="batch"):
    """Each pixel a row of three numbers: (rows, 3) -> class values (rows,) and probabilities (rows, 2)."""
    draft = Draft()
    weight = draft.constant(np.array([[4, -4], [-2, 2], [1, 0]], np.float32))
    shares = draft.node("Softmax", draft.node("MatMul", "x", weight), axis=1)
    label = draft.node("ArgMax", shares, axis=1, keepdims=0)
    return draft.model_many(
        [("x", FLOAT, [n_rows, 3])], [(label, "label", INT64, [n_rows]), (shares, "shares", FLOAT, [n_rows, 2])]
    )


@pytest.mark.parametrize("n_rows", ["batch", 1000])
def test_f13_pixels_are_rows_of_bands_of_any_or_of_a_fixed_number(world, produce, tmp_path, n_rows):
    red, nir = noise(1), noise(2)
    world.add(red, "red", unit="reflectance")
    world.add(nir, "nir", unit="reflectance")
    model = forest(n_rows)
    classes = {"classes": ["low", "high"]}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red", "nir", HALF], "dims": ("batch", "bands")}],
        outputs=[
            {"name": "label", "dims": ["batch"], **classes, "tw:layers": ["kind"]},
            {"name": "shares", "dims": ["batch", "class"], **classes, "tw:layers": ["probabilities"]},
        ],
    )
    made = produce(card)
    rows = np.stack([red, nir, red / 2]).astype(np.float64)
    shares = softmax(np.einsum("io,ihw->ohw", onnx_array(model, 0), rows))[(slice(None), *HERE)]
    assert (made["kind"] == shares.argmax(axis=0)).mean() > 0.9999
    close(made["probability_high"], shares[1] * 100)


HALF = {"name": "half", "format": "tilewright", "expression": "red / 2"}


def test_f20_windows_are_resized_to_the_training_size_and_back(world, produce, tmp_path):
    red = blocky(1, size=32)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    model = draft.model(draft.node("Mul", "x", draft.constant([2.0])), n_in=1, n_out=1, size=(16, 16))
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"], "resize_type": "interpolation-area"}],
        outputs=[VALUE],
        tile={"window": 32, "step": 32, "trim": 0, "merge": "trim"},
    )
    made = produce(card)["value"]
    # The world's corner lies on a multiple of 32, so each window sees one value.
    np.testing.assert_allclose(made, 2 * red[HERE], rtol=1e-6)


def test_f20_whole_numbers_in_channels_last_with_scenes_the_card_refuses_left_out(world, produce, tmp_path):
    red, nir, cloud = noise(1), noise(2), noise(3)
    for band, values in (("red", red), ("nir", nir)):
        world.add(values, band, day="2023-06-05", unit="reflectance", cloud_cover=5)
        world.add(cloud, band, day="2023-06-06", unit="reflectance", cloud_cover=60)
    draft = Draft()
    wide = draft.node("Cast", "x", to=FLOAT)
    total = draft.node("ReduceSum", wide, draft.constant(np.array([3])), keepdims=0)
    model = draft.model_many([("x", TensorProto.UINT16, [1, "h", "w", 3])], [(total, "y", FLOAT, [1, "oh", "ow"])])
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {
                "name": "x",
                "bands": ["nir", HALF, "red"],
                "dims": ("batch", "height", "width", "bands"),
                "value_scaling": [{"type": "scale", "value": 0.0001}],
                "tw:filter": {"max_cloud": 20},
            }
        ],
        outputs=[{**VALUE, "dims": IMAGE}],
    )
    made = produce(card, filter={"max_cloud": 80})["value"]
    scaled = [np.rint(part.astype(np.float32) / np.float32(0.0001)) for part in (nir, red / np.float32(2), red)]
    assert np.abs(made - sum(scaled)[HERE]).max() <= 1


def test_f11_an_output_of_twice_the_pixels_lies_on_a_grid_of_5_m(world, tmp_path):
    import onnxruntime

    bands = [noise(seed) for seed in range(3)]
    for band, values in zip(("blue", "green", "red"), bands, strict=True):
        world.add(values, band, unit="reflectance")
    card = write_card(
        tmp_path / "card",
        finer(2),
        inputs=[{"name": "x", "bands": ["blue", "green", "red"]}],
        outputs=[{**VALUE, "tw:scale": 2}],
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    made = layer(outcome.output, "value")
    session = onnxruntime.InferenceSession(finer(2).SerializeToString(), providers=["CPUExecutionProvider"])
    whole = session.run(None, {"x": np.stack(bands)[None]})[0][0, 0]
    assert outcome.report["grid"]["resolution"] == 5
    assert outcome.report["exact"]
    assert np.abs(made - whole[2 * ROWS[0] : 2 * ROWS[1], 2 * COLS[0] : 2 * COLS[1]]).max() < 1e-5


def test_f14_one_vector_per_window_becomes_a_grid_of_labels(world, tmp_path):
    import onnxruntime

    bands = [noise(seed) for seed in range(3)]
    for band, values in zip(("blue", "green", "red"), bands, strict=True):
        world.add(values, band, unit="reflectance")
    names = [f"kind-{number}" for number in range(5)]
    card = write_card(
        tmp_path / "card",
        window_vector(),
        inputs=[{"name": "x", "bands": ["blue", "green", "red"]}],
        outputs=[{"name": "y", "dims": ["batch", "class"], "classes": names, "tw:layers": ["class"]}],
        tile={"step": 32},
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=(32, 128), cols=(0, 128)))
    made = layer(outcome.output, "class")
    session = onnxruntime.InferenceSession(window_vector().SerializeToString(), providers=["CPUExecutionProvider"])
    windows = np.stack(bands).reshape(3, 5, 32, 5, 32).transpose(1, 3, 0, 2, 4)
    expected = [
        [session.run(None, {"x": windows[row, col][None]})[0].argmax() for col in range(4)] for row in (1, 2, 3)
    ]
    assert outcome.report["grid"]["resolution"] == 320
    assert np.array_equal(made, expected)


def test_class_values_of_overlapping_windows_are_blended_by_votes(world, produce, tmp_path):
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    above = draft.node("Cast", draft.node("Greater", "x", draft.constant([0.3])), to=INT64)
    label = draft.node("Squeeze", above, draft.constant(np.array([1])))
    model = draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(label, "y", INT64, ["batch", "oh", "ow"])])
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "dims": IMAGE, "classes": ["low", "high"]}],
        tile={"step": 64, "trim": 32, "merge": "blend"},
    )
    assert np.array_equal(produce(card)["class"], (red > 0.3)[HERE])


@pytest.mark.parametrize("pad", ["mirror", "fill"])
def test_a_rim_without_pixels_is_mirrored_or_filled_inside_the_window(world, tmp_path, pad):
    """The archive ends at the world's edge; the model looks four pixels up, so that row 2 sees what is made up."""
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    weight = np.zeros((1, 1, 9, 1), np.float32)
    weight[0, 0, 0] = 1
    looked = draft.node("Conv", "x", draft.constant(weight), kernel_shape=[9, 1], pads=[4, 0, 4, 0])
    card = write_card(
        tmp_path / "card",
        draft.model(looked, n_in=1, n_out=1),
        inputs=[{"name": "x", "bands": ["red"], "tw:missing": {"pad": pad, "fill": -1}}],
        outputs=[VALUE],
    )
    made = [
        layer(run(pixel_job(world, card, tmp_path / f"out{top}", rows=(top, 40), cols=(8, 80))).output, "value")
        for top in (0, 3)
    ]
    expected = red[[4, 3, 2, 1], 8:80] if pad == "mirror" else np.full((4, 72), -1.0)
    np.testing.assert_allclose(made[0][:4], expected)
    np.testing.assert_allclose(made[0][4:], red[:36, 8:80])
    assert np.array_equal(made[0][3:], made[1])


def test_a_filter_that_contradicts_the_cards_is_refused(world, produce, tmp_path):
    world.add(noise(1), "red", unit="reflectance", orbit_state="ascending")
    entry = {"name": "x", "bands": ["red"], "tw:filter": {"orbit_state": "ascending"}}
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[entry], outputs=[VALUE])
    with pytest.raises(JobError, match=r"filter\.orbit_state is 'descending', but input x"):
        produce(card, filter={"orbit_state": "descending"})


def test_bounds_and_area_of_a_world_agree():
    assert bounds((0, 1), (0, 1))[2] - bounds((0, 1), (0, 1))[0] == 10.0
