"""Models whose result is smaller than their window, or that run on one size alone; numpy says what must come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from tests.support.families import FLOAT, HERE, IMAGE, INT64, ROWS, VALUE, noise
from tests.support.graphs import Draft
from tests.support.worlds import layer, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")

COLS = (13, 139)


def kernel(size: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1 / size, (size, size)).astype(np.float32)


def valid(draft: Draft, x: str, weights: np.ndarray, **how: Any) -> str:
    """A convolution of one channel without padding."""
    return draft.node("Conv", x, draft.constant(weights[None, None]), kernel_shape=list(weights.shape), **how)


def correlated(image: np.ndarray, weights: np.ndarray, *, at: tuple[int, int], dilation: int = 1) -> np.ndarray:
    """Every pixel's sum over the kernel, whose tap `at` (row, col) lies on the pixel; NaN where it leaves the image."""
    span = (len(weights) - 1) * dilation + 1
    windows = sliding_window_view(image.astype(np.float64), (span, span))[..., ::dilation, ::dilation]
    made = np.full(image.shape, np.nan)
    row, col = (tap * dilation for tap in at)
    rows, cols = windows.shape[:2]
    made[row : row + rows, col : col + cols] = (windows * weights).sum(axis=(2, 3))
    return made


@dataclass(frozen=True)
class Cropped:
    """A graph that crops, what its card says, and the map that numpy makes."""

    weights: np.ndarray
    at: tuple[int, int]
    crop: Any
    dilation: int = 1
    size: int | None = None
    tile: Any = None
    job: Any = None


CROPPED = {
    "3 x 3 with dilation 3": Cropped(kernel(3), (1, 1), 3, dilation=3),
    "9 x 9 in windows of 40": Cropped(kernel(9), (4, 4), 4, tile={"window": 40, "step": None}),
    "9 x 9 of fixed shapes, whose sizes say the crop": Cropped(kernel(9), (4, 4), None, size=48, tile={"step": None}),
    "8 x 8, one pixel more below and right": Cropped(kernel(8), (3, 3), [3, 4]),
    "8 x 8, one pixel more above and left": Cropped(kernel(8), (4, 4), [4, 3]),
    "2 x 2 that looks up and left": Cropped(kernel(2), (1, 1), [1, 0]),
    "5 x 5 in a trim wider than it needs": Cropped(kernel(5), (2, 2), 2, tile={"trim": 7}),
    "7 x 7 blended": Cropped(kernel(7), (3, 3), 3, tile={"step": 32, "trim": 16, "merge": "blend"}),
}


@pytest.mark.parametrize("case", CROPPED.values(), ids=CROPPED.keys())
def test_a_cropped_result_lies_where_its_pixels_were_seen(world, produce, tmp_path, case):
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    y = valid(draft, "x", case.weights, dilations=[case.dilation] * 2)
    shrunk = (len(case.weights) - 1) * case.dilation
    inside = [case.size - shrunk] * 2 if case.size else ["oh", "ow"]
    model = draft.model(
        y, n_in=1, n_out=1, size=(case.size,) * 2 if case.size else None, out_shape=["batch", 1, *inside]
    )
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[VALUE if case.crop is None else VALUE | {"tw:crop": case.crop}],
        tile=case.tile,
    )
    expected = correlated(red, case.weights, at=case.at, dilation=case.dilation)[HERE]
    np.testing.assert_allclose(produce(card)["value"], expected, atol=2e-6)


def test_flips_of_an_uneven_crop_use_the_pixels_that_all_of_them_have(world, produce, tmp_path):
    red, weights = noise(1), kernel(4)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    model = draft.model(valid(draft, "x", weights), n_in=1, n_out=1)
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[VALUE | {"tw:crop": [1, 2]}],
    )
    flips = [correlated(red[::row, ::col], weights, at=(1, 1))[::row, ::col] for row in (1, -1) for col in (1, -1)]
    made = produce(card, augment={"kind": "flips"})["value"]
    np.testing.assert_allclose(made, np.mean(flips, axis=0)[HERE], atol=2e-6)


@pytest.mark.parametrize(("merge", "step"), [("trim", 64), ("blend", 32)])
def test_a_crop_at_half_the_resolution_keeps_its_place(world, tmp_path, merge, step):
    """5 x 5 taps, every second pixel: 64 pixels become 30, 2 px of the grid are left out on each side."""
    red, weights = noise(1), kernel(5)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    model = draft.model(valid(draft, "x", weights, strides=[2, 2]), n_in=1, n_out=1)
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[VALUE | {"tw:scale": 0.5, "tw:crop": 2}],
        tile={"step": step, "merge": merge},
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=(10, 146), cols=(12, 140)))
    # Output pixel j covers pixels 2 j and 2 j + 1, its kernel is centred on the first of them.
    expected = correlated(red, weights, at=(2, 2))[10:146:2, 12:140:2]
    np.testing.assert_allclose(layer(outcome.output, "value"), expected, atol=2e-6)


def test_a_crop_of_a_finer_output_keeps_its_place(world, tmp_path):
    red, weights = noise(1), kernel(3)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    y = valid(draft, "x", weights)
    four = draft.node("Concat", y, y, y, y, axis=1)
    model = draft.model(draft.node("DepthToSpace", four, blocksize=2), n_in=1, n_out=1)
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[VALUE | {"tw:scale": 2, "tw:crop": 1}],
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    expected = correlated(red, weights, at=(1, 1))[HERE].repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(layer(outcome.output, "value"), expected, atol=2e-6)


def _reshaped(draft: Draft, side: int) -> str:
    """Flattened and brought back to `side`, the number of pixels built in."""
    flat = draft.node("Reshape", "x", draft.constant(np.array([0, 1, side * side])))
    return draft.node("Reshape", flat, draft.constant(np.array([0, 1, side, side])))


def _resized(draft: Draft, side: int) -> str:
    """Brought to `side` by a resize whose numbers are built in."""
    return draft.node("Resize", "x", "", "", draft.constant(np.array([1, 1, side, side])), mode="nearest")


@pytest.mark.parametrize(
    ("build", "side", "window"),
    [
        *((_reshaped, 40, None), (_reshaped, 96, None), (_resized, 72, None), (_resized, 64, None)),
        *((_reshaped, 40, 40), (_resized, 64, 64)),
    ],
)
def test_a_size_built_into_the_graph_fixes_the_window(world, produce, tmp_path, build, side, window):  # noqa: PLR0917
    red, weights = noise(1), kernel(3)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    x = build(draft, side)
    y = draft.node("Conv", x, draft.constant(weights[None, None]), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    card = write_card(
        tmp_path / "card",
        draft.model(y, n_in=1, n_out=1),
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[VALUE],
        tile={"step": None, "window": window},
    )
    np.testing.assert_allclose(produce(card)["value"], correlated(red, weights, at=(1, 1))[HERE], atol=2e-6)


def test_outputs_that_crop_unlike_share_a_window_that_suits_both(world, produce, tmp_path):
    red, near, far = noise(1), kernel(3), kernel(9, seed=4)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    padded = draft.node("Conv", "x", draft.constant(near[None, None]), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    shape = ["batch", 1, "h", "w"]
    model = draft.model_many(
        [("x", FLOAT, shape)],
        [(padded, "near", FLOAT, shape), (valid(draft, "x", far), "far", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    outputs = [{"name": "near", "tw:layers": ["near"]}, {"name": "far", "tw:layers": ["far"], "tw:crop": 4}]
    card = write_card(tmp_path / "card", model, inputs=[{"name": "x", "bands": ["red"]}], outputs=outputs)
    made = produce(card)
    np.testing.assert_allclose(made["near"], correlated(red, near, at=(1, 1))[HERE], atol=2e-6)
    np.testing.assert_allclose(made["far"], correlated(red, far, at=(4, 4))[HERE], atol=2e-6)


def test_an_ensemble_of_unlike_crops_averages_what_lies_at_one_place(world, produce, tmp_path):
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    cards, maps = [], []
    for size in (3, 8):
        draft = Draft()
        weights = kernel(size, seed=size)
        before, after = (size - 1) // 2, size // 2
        cards.append(
            write_card(
                tmp_path / f"card{size}",
                draft.model(valid(draft, "x", weights), n_in=1, n_out=1),
                inputs=[{"name": "x", "bands": ["red"]}],
                outputs=[VALUE | {"tw:crop": [before, after]}],
                name=f"card{size}",
            )
        )
        maps.append(correlated(red, weights, at=(before, before)))
    made = produce(cards[0], ensemble={"models": [str(cards[1])]})["value"]
    np.testing.assert_allclose(made, np.mean(maps, axis=0)[HERE], atol=2e-6)


def test_class_values_without_a_channel_are_cropped_too(world, produce, tmp_path):
    red, weights = noise(1), kernel(5)
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    above = draft.node("Greater", valid(draft, "x", weights), draft.constant(np.array([0], np.float32)))
    labels = draft.node("Squeeze", draft.node("Cast", above, to=INT64), draft.constant(np.array([1])))
    model = draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(labels, "y", INT64, ["batch", "oh", "ow"])])
    output = {"name": "y", "classes": ("low", "high"), "dims": IMAGE, "tw:crop": 2}
    card = write_card(tmp_path / "card", model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])
    expected = correlated(red, weights, at=(2, 2))[HERE] > 0
    np.testing.assert_array_equal(produce(card)["class"], expected.astype(np.uint8))
