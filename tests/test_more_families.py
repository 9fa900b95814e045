"""Families of models beyond those of `test_families`, end to end on pixels whose right answer numpy computes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
import rasterio
from onnx import TensorProto
from pyproj import Transformer
from typer.testing import CliRunner

from flows.cli import app
from models.refusal import CardError
from tests.graphs import Draft, pointwise, window_vector
from tests.worlds import COL, CRS, ROW, World, area, layer, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 160
ROWS, COLS = (9, 147), (13, 139)
HERE = slice(*ROWS), slice(*COLS)
FLOAT = TensorProto.FLOAT
PAIR = {"period": {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}}


def noise(seed, *, low=0.02, high=0.6, side=SIDE):
    return np.random.default_rng(seed).uniform(low, high, (side, side)).astype(np.float32)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


@pytest.fixture
def produce(world, tmp_path):
    def run_card(card, name="out", **wish):
        outcome = run(pixel_job(world, card, tmp_path / name, rows=ROWS, cols=COLS, **wish))
        return {entry["name"]: layer(outcome.output, entry["name"]) for entry in outcome.report["layers"]}

    return run_card


def with_external_weights(folder):
    """The card's graph with its weights moved to a file of their own, and both checksums in the card."""
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save_model(
        model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    card = json.loads((folder / "card.json").read_text())
    sums = {name: "1220" + hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    card["assets"]["model"]["file:checksum"] = sums["model.onnx"]
    weights = {"href": "./weights.bin", "roles": ["mlm:weights"], "file:checksum": sums["weights.bin"]}
    card["assets"]["weights"] = weights
    (folder / "card.json").write_text(json.dumps(card))
    return folder


FILES = ("model.onnx", "weights.bin")


def test_f02_a_backbone_with_free_axes_and_weights_in_a_file_beside_it(world, produce, tmp_path):
    bands = [noise(seed) for seed in range(2)]
    for band, values in zip(("red", "nir"), bands, strict=True):
        world.add(values, band, unit="reflectance")
    model = pointwise(2, 3)
    weight, bias = (onnx.numpy_helper.to_array(each).astype(np.float64) for each in model.graph.initializer)
    head = {"name": "y", "tw:layers": ["a", "b", "c"]}
    card = write_card(tmp_path / "card", model, inputs=[{"name": "x", "bands": ["red", "nir"]}], outputs=[head])
    made = produce(with_external_weights(card))
    expected = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], np.stack(bands)) + bias[:, None, None]
    for number, name in enumerate("abc"):
        np.testing.assert_allclose(made[name], expected[number][HERE], rtol=1e-5, atol=1e-6)
    content = bytearray((card / "weights.bin").read_bytes())
    content[0] ^= 1
    (card / "weights.bin").write_bytes(bytes(content))
    with pytest.raises(CardError, match=r"weights.*checksum"):
        produce(card, "again")


def test_f04_elevation_whatever_its_date_place_and_day_beside_the_pixels(world, produce, tmp_path):
    red, metres = noise(1), noise(2, low=100, high=900, side=SIDE // 2)
    world.add(red, "red", unit="reflectance")
    world.add(metres, "height", collection="terrain", day="2011-01-01", size=20.0, unit="m")
    draft = Draft()
    hills = draft.up("dem", 2)
    place = draft.node("ReduceSum", "place", draft.constant(np.array([1])), keepdims=1)
    day = draft.node("Unsqueeze", "day", draft.constant(np.array([2, 3])))
    total = draft.node("Add", draft.node("Add", "x", hills), draft.node("Add", place, day))
    model = draft.model_many(
        [
            ("x", FLOAT, ["batch", 1, "h", "w"]),
            ("dem", FLOAT, ["batch", 1, "dh", "dw"]),
            ("place", FLOAT, ["batch", 2, "h", "w"]),
            ("day", FLOAT, ["batch", 1]),
        ],
        [(total, "y", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    terrain = {"tw:collection": "terrain", "tw:unit": "m", "tw:resolution": 20, "tw:dates": {"kind": "static"}}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {"name": "x", "bands": ["red"]},
            {"name": "dem", "bands": ["height"], **terrain},
            {"name": "place", "dims": ("batch", "features", "height", "width"), "tw:extra": "lonlat"},
            {"name": "day", "dims": ("batch", "features"), "tw:extra": "day_of_year"},
        ],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    made = produce(card)["value"]
    x, y = (COL + np.arange(SIDE) + 0.5) * 10, -(ROW + np.arange(SIDE) + 0.5) * 10
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    expected = red + metres.repeat(2, 0).repeat(2, 1) + lon + lat + 161
    np.testing.assert_allclose(made, expected[HERE], rtol=1e-6)


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


def test_f09_a_cloud_model_is_a_job_before_and_its_map_the_next_jobs_mask(world, produce, tmp_path):
    clear, cloudy = noise(1, high=0.4), noise(2, high=0.4)
    cloudy[30:70, 40:110] = 0.9
    for day, values in (("2023-06-05", clear), ("2023-06-15", cloudy)):
        world.add(values, "red", day=day, unit="reflectance", scene=f"scene-{day}")
    draft = Draft()
    bright = draft.node("Cast", draft.node("Greater", "x", draft.constant([0.8])), to=TensorProto.INT64)
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])], [(bright, "y", TensorProto.INT64, ["batch", 1, "oh", "ow"])]
    )
    clouds = write_card(
        tmp_path / "clouds",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["clear", "cloud"], "tw:layers": ["cloud"]}],
    )
    for day in ("2023-06-05", "2023-06-15"):
        outcome = run(pixel_job(world, clouds, tmp_path / day, rows=ROWS, cols=COLS, period=day))
        stored = {"collection": "optics", "unit": "class", "datetime": f"{day}T10:00:00Z", "band": "cloud"}
        world.files.append({"href": f"{outcome.output}/cloud.tif", "scene": f"scene-{day}", **stored})
    mean = write_card(
        tmp_path / "mean",
        pointwise(1, 1),
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": "composite", "reducer": "mean"}}],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    weight, bias = (onnx.numpy_helper.to_array(each).item() for each in pointwise(1, 1).graph.initializer)
    made = produce(mean, mask={"kind": "values", "band": "cloud", "drop": [1]})["value"]
    expected = np.where(cloudy > 0.8, clear, (clear.astype(np.float64) + cloudy) / 2) * weight + bias
    np.testing.assert_allclose(made, expected[HERE], rtol=1e-5, atol=1e-7)


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


def test_f15_an_embedding_per_window_becomes_layers_of_a_grid_of_tiles(world, tmp_path):
    import onnxruntime

    bands = [noise(seed) for seed in range(3)]
    for band, values in zip(("blue", "green", "red"), bands, strict=True):
        world.add(values, band, unit="reflectance")
    card = write_card(
        tmp_path / "card",
        window_vector(),
        inputs=[{"name": "x", "bands": ["blue", "green", "red"]}],
        outputs=[{"name": "y", "dims": ["batch", "features"], "tw:layers": [f"e{i}" for i in range(5)]}],
        tile={"step": 32},
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=(32, 128), cols=(0, 128)))
    session = onnxruntime.InferenceSession(window_vector().SerializeToString(), providers=["CPUExecutionProvider"])
    tiles = np.stack(bands).reshape(3, 5, 32, 5, 32).transpose(1, 3, 0, 2, 4)[1:4, :4]
    vectors = np.array([[session.run(None, {"x": tile[None]})[0][0] for tile in row] for row in tiles])
    for number in range(5):
        np.testing.assert_allclose(layer(outcome.output, f"e{number}"), vectors[..., number], rtol=1e-5)
    with rasterio.open(f"{outcome.output}/e0.tif") as dataset:
        assert (dataset.res, dataset.shape) == ((320.0, 320.0), (3, 4))


@pytest.mark.parametrize(
    ("family", "task"),
    [("F16", "object-detection"), ("F17", "instance-segmentation"), ("F17", "panoptic-segmentation"),
     ("F23", "image-captioning")],
)  # fmt: skip
def test_what_is_no_raster_is_refused_by_its_task(world, tmp_path, family, task):
    world.add(noise(1), "red", unit="reflectance")
    head = {"name": "y", "tasks": [task], "tw:layers": [family]}
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[{"name": "x", "bands": ["red"]}], outputs=[head])
    job = {"area": area(ROWS, COLS), "period": "2023-06", "source": world.source, "model": str(card)}
    (tmp_path / "job.json").write_text(json.dumps(job))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2, answer.output
    assert f"{task} gives no raster" in answer.stderr


def test_f16_centres_of_objects_as_a_map_that_can_be_said(world, produce, tmp_path):
    """A detector that ends in a heat map: peaks above all neighbours, whole across seams by the measured halo."""
    bright = noise(1)
    world.add(bright, "red", unit="reflectance")
    draft = Draft()
    best = draft.node("MaxPool", "x", kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    peak = draft.node("And", draft.node("Equal", "x", best), draft.node("Greater", "x", draft.constant([0.5])))
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])],
        [(draft.node("Cast", peak, to=TensorProto.INT64), "y", TensorProto.INT64, ["batch", 1, "oh", "ow"])],
    )
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["none", "object"], "tw:layers": ["peak"]}],
    )
    made = produce(card)["peak"]
    around = np.lib.stride_tricks.sliding_window_view(np.pad(bright, 2, constant_values=-1), (5, 5)).max(axis=(2, 3))
    peaks = (bright == around) & (bright > 0.5)
    assert made.sum() == peaks[HERE].sum() > 50
    assert np.array_equal(made, peaks[HERE])


def test_f19_the_inputs_own_uncertainty_goes_into_a_discriminants_probabilities(world, produce, tmp_path):
    """Two classes, normal about 0.2 and 0.4, each widened by the pixel's own standard deviation."""
    red, sigma = noise(1), noise(2, low=0.01, high=0.2)
    world.add(red, "red", unit="reflectance")
    world.add(sigma, "red_sigma", unit="reflectance")
    draft = Draft()
    pixel, wide = (draft.node("Gather", "x", draft.constant(np.array([i])), axis=1) for i in (0, 1))
    means, spread = (draft.constant(np.array(v, np.float32).reshape(1, 2, 1, 1)) for v in ([0.2, 0.4], [0.05, 0.1]))
    variance = draft.node("Add", draft.node("Mul", spread, spread), draft.node("Mul", wide, wide))
    gap = draft.node("Sub", pixel, means)
    distance = draft.node("Div", draft.node("Mul", gap, gap), variance)
    logit = draft.node("Mul", draft.node("Add", distance, draft.node("Log", variance)), draft.constant([-0.5]))
    model = draft.model(logit, n_in=2, n_out=2)
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red", "red_sigma"]}],
        outputs=[
            {
                "name": "y",
                "classes": ["low", "high"],
                "tw:activation": "softmax",
                "tw:layers": ["class", "probabilities", "entropy"],
            }
        ],
    )
    made = produce(card)
    widths = np.array([0.05, 0.1])[:, None, None] ** 2 + sigma.astype(np.float64) ** 2
    likely = np.exp(-((red - np.array([0.2, 0.4])[:, None, None]) ** 2) / widths / 2) / np.sqrt(widths)
    share = (likely / likely.sum(axis=0))[(slice(None), *HERE)]
    assert np.abs(made["probability_high"] - 100 * share[1]).max() <= 0.51
    assert (made["class"] == share.argmax(axis=0)).mean() > 0.9999
    spread_of = -(share * np.log(share)).sum(axis=0) / np.log(2)
    assert np.abs(made["entropy"] - 100 * spread_of).max() <= 0.51
