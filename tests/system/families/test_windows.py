"""Families of models by the windows they see, end to end on pixels of known values; numpy says what must come out."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from tests.support.families import (
    FLOAT,
    HERE,
    IMAGE,
    INT64,
    VALUE,
    blocky,
    noise,
)
from tests.support.graphs import Draft, window_vector
from tests.support.worlds import layer, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")


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
    # The world's corner lies on a multiple of 32, so each window covers one value.
    np.testing.assert_allclose(made, 2 * red[HERE], rtol=1e-6)


@pytest.mark.parametrize("pad", ["mirror", "fill"])
def test_a_rim_without_pixels_is_mirrored_or_filled_inside_the_window(world, tmp_path, pad):
    """The archive ends at the world's edge; the model looks four pixels up, so row 2 depends on invented pixels."""
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
