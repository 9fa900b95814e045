from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from tilewright.models.errors import InferenceError
from tilewright.models.spec.outputs import ClassSpec, OutputSpec
from tilewright.models.transforms.postprocess import check_probabilities, layers_from_scores, scores

THREE = tuple(ClassSpec(value=value, name=name) for value, name in ((0, "other"), (3, "crop"), (9, "open water")))
NCHW = ("batch", "class", "height", "width")


def output_of(classes: tuple[ClassSpec, ...] = THREE, dim_order: tuple[str, ...] = NCHW, **given: Any) -> OutputSpec:
    given = {"channels": len(classes), "layers": ("class",), "data_type": "float32", "tasks": ()} | given
    return OutputSpec(name="out", shape=(-1,) * len(dim_order), dim_order=dim_order, classes=classes, **given)


def logits(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(3).normal(0, 3, shape).astype(np.float32)


def column(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def test_softmax_and_sigmoid_are_scipys() -> None:
    raw = logits(2, 3, 4, 5)
    np.testing.assert_allclose(scores(output_of(activation="softmax"), raw), softmax(raw, axis=1), atol=1e-6)
    np.testing.assert_allclose(scores(output_of(activation="sigmoid"), raw), expit(raw), atol=1e-6)
    np.testing.assert_array_equal(scores(output_of(), raw), raw)


def test_extreme_logits_neither_overflow_nor_warn() -> None:
    raw = np.array([1e4, -1e4, 0], dtype=np.float32).reshape(1, 3, 1, 1)
    with np.errstate(all="raise", under="ignore"):
        assert scores(output_of(activation="softmax"), raw).ravel().tolist() == [1, 0, 0]
        assert scores(output_of(activation="sigmoid"), raw).ravel().tolist() == [1, 0, 0.5]


def test_any_order_of_dimensions_gives_the_same_scores() -> None:
    raw = logits(2, 3, 4, 5)
    last = scores(output_of(dim_order=("batch", "height", "width", "class")), raw.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(last, raw)


def test_one_channel_of_two_classes_is_opened_into_both() -> None:
    two = output_of(THREE[:2], channels=1, activation="sigmoid", layers=("class", "confidence"))
    planes = scores(two, np.array([2.0, -2.0], dtype=np.float32).reshape(1, 1, 1, 2))
    np.testing.assert_allclose(planes.sum(axis=1), 1)
    layers = layers_from_scores(two, planes[0])
    assert layers["class"].tolist() == [[3, 0]]
    assert layers["confidence"].tolist() == [[88, 88]]


@pytest.mark.parametrize(
    ("values", "activation", "refused"),
    [
        ((0.0, 1.0), "none", False),
        ((-0.4, 1.3, np.nan, np.inf), "none", False),
        ((-15.3, 16.3), "none", True),
        ((0.2, 2.5), "none", True),
        ((*[0.3] * 9, 9.9), "none", False),
        ((np.nan,), "none", False),
        ((-15.3, 16.3), "sigmoid", False),
    ],
)
def test_a_logit_that_a_card_calls_a_probability_is_refused(values: Any, activation: str, refused: bool) -> None:
    spec = output_of(THREE[:2], channels=1, activation=activation)
    raw = np.array(values, np.float32).reshape(1, 1, 1, -1)
    planes = scores(spec, raw)
    if refused:
        with pytest.raises(InferenceError, match="write tw:activation sigmoid for a logit"):
            check_probabilities(spec, planes)
    else:
        check_probabilities(spec, planes)


def test_rows_of_pixels_are_laid_out_as_the_window() -> None:
    raw = logits(24, 3)
    planes = scores(output_of(dim_order=("batch", "class")), raw, size=(3, 4))
    assert planes.shape == (2, 3, 3, 4)
    np.testing.assert_array_equal(planes[1, :, 2, 1], raw[12 + 2 * 4 + 1])


def test_a_vector_per_window_is_one_pixel() -> None:
    assert scores(output_of(dim_order=("batch", "class")), logits(5, 3)).shape == (5, 3, 1, 1)


def test_class_values_pass_through_and_can_vote() -> None:
    labels = output_of(dim_order=("batch", "height", "width"), labels=True, data_type="int64", channels=1)
    raw = np.array([[[0, 3], [9, 4]]])
    planes = scores(labels, raw)
    assert planes.shape == (1, 1, 2, 2)
    assert layers_from_scores(labels, planes[0])["class"].tolist() == [[0, 3], [9, 255]]
    votes = scores(labels, raw, votes=True)
    assert votes[0, :, 0, 1].tolist() == [0, 1, 0]
    assert layers_from_scores(labels, votes[0] * np.float32(0.5))["class"][0].tolist() == [0, 3]


def test_a_result_of_the_training_size_is_brought_back_to_the_window() -> None:
    flat = np.full((1, 3, 8, 8), 2, dtype=np.float32)
    assert scores(output_of(), flat, size=(4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("layer", "expected"), [("confidence", 60), ("margin", 30), ("probabilities", None), ("entropy", 82)]
)
def test_percent_layers_are_rounded_percent(layer: str, expected: int | None) -> None:
    made = layers_from_scores(output_of(layers=("class", layer)), column(0.1, 0.6, 0.3))
    assert made.pop("class").item() == 3
    if expected is None:
        assert {name: int(plane.item()) for name, plane in made.items()} == {
            "probability_other": 10,
            "probability_crop": 60,
            "probability_open_water": 30,
        }
    else:
        assert made[layer].dtype == np.uint8
        assert made[layer].item() == expected


def test_percent_is_rounded_half_to_even() -> None:
    two = output_of(THREE[:2], layers=("probabilities",))
    made = layers_from_scores(two, np.array([[[0.125, 0.375]], [[0.875, 0.625]]], dtype=np.float32))
    assert made["probability_other"].tolist() == [[12, 38]]


def test_nodata_is_never_a_class() -> None:
    spec = output_of(layers=("class", "confidence", "entropy", "margin", "probabilities"))
    for plane in layers_from_scores(spec, column(np.nan, 0.6, 0.3)).values():
        assert plane.tolist() == [[255]]


def test_a_tie_goes_to_the_first_class_and_a_threshold_to_the_second() -> None:
    assert layers_from_scores(output_of(), column(0.4, 0.4, 0.2))["class"].item() == 0
    strict = output_of(THREE[:2], threshold=0.8, layers=("class", "confidence"))
    low, high = column(0.25, 0.75), column(0.2, 0.8)
    assert layers_from_scores(strict, low)["class"].item() == 0
    assert layers_from_scores(strict, low)["confidence"].item() == 25
    assert layers_from_scores(strict, high)["class"].item() == 3


def test_the_class_layer_can_have_a_name_of_its_own() -> None:
    assert list(layers_from_scores(output_of(layers=("change",), prefix="a_"), column(1, 0, 0))) == ["a_change"]


@pytest.mark.parametrize(("outside", "expected"), [("nodata", [np.nan, 5, np.nan]), ("clip", [0, 5, 60])])
def test_values_outside_their_range_are_nodata_or_clipped(outside: Any, expected: list[float]) -> None:
    spec = output_of((), channels=1, layers=("height",), units=("m",), valid_range=(0, 60), outside=outside)
    made = layers_from_scores(spec, np.array([[[-1, 5, 61]]], dtype=np.float32))["height"]
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.array([expected], dtype=np.float32))


def test_several_channels_are_several_layers_with_their_units() -> None:
    spec = output_of((), channels=2, layers=("biomass", "share"), units=("t/ha", "1"))
    assert [(layer.name, layer.unit, layer.dtype) for layer in spec.layer_specs()] == [
        ("biomass", "t/ha", "float32"),
        ("share", "1", "float32"),
    ]
    made = layers_from_scores(spec, column(7, 0.5))
    assert (made["biomass"].item(), made["share"].item()) == (7, 0.5)
