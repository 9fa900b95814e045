"""Families of models by what they are fed, end to end on pixels of known values; numpy says what must come out."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.families import (
    FLOAT,
    HERE,
    IMAGE,
    INT64,
    VALUE,
    close,
    entropy,
    noise,
    onnx_array,
    softmax,
)
from tests.support.graphs import Draft, pointwise
from tests.support.worlds import bounds, write_card
from tilewright.models.errors import CardError

pytestmark = pytest.mark.usefixtures("small_pictures")


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


def test_bounds_and_area_of_a_world_agree():
    assert bounds((0, 1), (0, 1))[2] - bounds((0, 1), (0, 1))[0] == 10.0


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
