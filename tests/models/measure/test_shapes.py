"""Crops, scales and built-in sizes, as found by running graphs whose shapes are known by arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.support.cards import value_card
from tests.support.graphs import Draft, conv_stack
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.receptive import measure_receptive_field

NO_PADS = (0, 0, 0, 0)


def valid(size: int, *, stride: int = 1, dilation: int = 1, pads=NO_PADS, fixed: int | None = None) -> onnx.ModelProto:
    """One convolution with those pads; `fixed` is the side of its only window."""
    draft = Draft()
    y = draft.conv("x", 1, 1, (size, size), stride=stride, dilation=dilation, pads=pads)
    if fixed is None:
        return draft.model(y, n_in=1, n_out=1)
    made = (fixed + pads[0] + pads[2] - dilation * (size - 1) - 1) // stride + 1
    return draft.model(y, n_in=1, n_out=1, size=(fixed, fixed), out_shape=["batch", 1, made, made])


def stretched(fixed: int, made: int) -> onnx.ModelProto:
    """A window resized to another side: no crop, though its sizes are those of one."""
    draft = Draft()
    sizes = draft.constant(np.array([1, 1, made, made]))
    y = draft.node("Resize", draft.conv("x", 1, 1), "", "", sizes, mode="linear")
    return draft.model(y, n_in=1, n_out=1, size=(fixed, fixed), out_shape=["batch", 1, made, made])


REFUSED = {
    "9 x 9, no crop said": (valid(9), {}, ["tw:crop 4", "56 for a window of 64", "4 px"]),
    "3 x 3 of dilation 5": (valid(3, dilation=5), {}, ["tw:crop 5"]),
    "two valid layers": (conv_stack((1, 2), n_in=1, pads=NO_PADS), {}, ["tw:crop 3"]),
    "too small a crop said": (valid(9), {"tw:crop": 3}, ["by tw:crop 3", "write tw:crop 4"]),
    "too large a crop said": (valid(9), {"tw:crop": 5}, ["write tw:crop 4"]),
    "a crop said of a padded one": (
        valid(9, pads=(4, 4, 4, 4)),
        {"tw:crop": 4},
        ["crops nothing", "leave tw:crop out"],
    ),
    "an even kernel": (valid(8), {}, ["7 px", "not the same on both sides", "[3, 4]"]),
    "an even kernel, half its crop said": (valid(8), {"tw:crop": 3}, ["[3, 4]"]),
    "a side is added": (valid(3, pads=(4, 4, 4, 4)), {}, ["adds 6 pixels"]),
    "an even kernel padded alike": (valid(2, pads=(1, 1, 1, 1)), {}, ["adds 1 pixels"]),
    "a scale that is none": (valid(9), {"tw:scale": 0.875}, ["the true one is 1", "tw:crop 4"]),
    "a scale that is none, of fixed shapes": (
        valid(9, fixed=64),
        {"tw:scale": 0.875},
        ["tw:scale is 0.875", "tw:crop 4"],
    ),
    "stride 2 and a crop, neither said": (valid(5, stride=2), {}, ["the true one is 0.5", "tw:crop 2"]),
    "stride 2 said, its crop not": (valid(5, stride=2), {"tw:scale": 0.5}, ["tw:crop 2"]),
    "stride 2, a padded side too many": (valid(4, stride=2, pads=(0, 0, 1, 1)), {"tw:scale": 0.5}, ["[0, 2]"]),
    "stride 2, no crop": (valid(3, stride=2, pads=(1, 1, 1, 1)), {}, ["write tw:scale 0.5"]),
    "sizes that look like a crop, and are a stretch": (stretched(64, 56), {}, ["could not be shown", "tw:scale"]),
    "a fixed odd difference": (valid(8, fixed=64), {}, ["[3, 4]"]),
}


@pytest.mark.parametrize(("model", "output", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_another_size_than_the_card_says_is_refused_with_the_crop_or_scale_it_has(model, output, words, tmp_path):
    with pytest.raises(CardError) as refusal:
        check_card(value_card(tmp_path, model, **output))
    assert "properties.mlm:output" in str(refusal.value)
    for each in words:
        assert each in str(refusal.value)


FIELDS = {
    "half an output pixel": ({"tw:crop": 1, "tw:scale": 0.5}, {}, r"tw:crop is 1; .*multiple of 2"),
    "negative": ({"tw:crop": -4}, {}, r"tw:crop is -4"),
    "three numbers": ({"tw:crop": [1, 2, 3]}, {}, r"tw:crop is \[1, 2, 3\]"),
    "a word": ({"tw:crop": "4 px"}, {}, r"tw:crop is '4 px'"),
    "true": ({"tw:crop": True}, {}, r"tw:crop is True"),
    "an empty list": ({"tw:crop": []}, {}, r"tw:crop is \[\]"),
    "a trim below it": ({"tw:crop": 4}, {"trim": 3}, r"tw:tile.trim is 3.*at least 4"),
    "a trim below its wider side": ({"tw:crop": [3, 4]}, {"trim": 3}, r"tw:tile.trim is 3.*at least 4"),
    "a step wider than what is left": ({"tw:crop": 4}, {"window": 64, "step": 64, "trim": 4}, r"tw:tile.trim is 4"),
}


@pytest.mark.parametrize(("output", "tile", "words"), FIELDS.values(), ids=FIELDS.keys())
def test_a_crop_that_cannot_be_is_refused_by_its_field(output, tile, words, tmp_path):
    with pytest.raises(CardError, match=words):
        value_card(tmp_path, valid(9), tile=tile, **output)


@pytest.mark.parametrize(
    ("model", "output", "trim", "stride"),
    [
        (valid(9), {"tw:crop": 4}, 4, 1),
        (valid(9, fixed=48), {}, 4, 1),
        (valid(8), {"tw:crop": [3, 4]}, 4, 1),
        (valid(8), {"tw:crop": [7, 0]}, 7, 1),
        (valid(5, stride=2), {"tw:scale": 0.5, "tw:crop": 2}, 2, 2),
        (valid(5, stride=2, fixed=64), {"tw:scale": 0.5}, 2, 2),
        (conv_stack((1, 2, 4), n_in=1, pads=NO_PADS), {"tw:crop": 7}, 7, 1),
    ],
)
def test_windows_lose_the_crop_and_the_reach_is_still_measured(model, output, trim, stride, tmp_path):
    report = check_card(value_card(tmp_path, model, **output))
    field = report.receptive_field
    assert (field.trim, field.stride, field.radius) == (trim, stride, trim)
    assert field.difference is not None
    assert field.difference < 1e-5
    assert report.warnings == ()
    assert report.window.window - report.window.step >= 2 * trim


@pytest.mark.parametrize("fixed", [None, 76])
def test_a_u_net_without_padding_whose_skip_is_cut_is_exact(fixed, tmp_path):
    """Two valid convolutions, halved, two more, doubled, the skip cut by 4, two more: 2 + 4 + 2 px on each side."""
    draft = Draft()

    def pair(x: str, n_in: int, n_out: int) -> str:
        return draft.conv(draft.node("Relu", draft.conv(x, n_in, n_out, pads=NO_PADS)), n_out, n_out, pads=NO_PADS)

    skip = pair("x", 1, 4)
    deep = draft.up(pair(draft.node("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2]), 4, 8))
    first, last, axes = (draft.constant(np.array(pair)) for pair in ((4, 4), (-4, -4), (2, 3)))
    y = draft.conv(pair(draft.node("Concat", deep, draft.node("Slice", skip, first, last, axes), axis=1), 12, 4), 4, 1)
    size = {"size": (fixed, fixed), "out_shape": ["batch", 1, fixed - 16, fixed - 16]} if fixed else {}
    card = value_card(tmp_path, draft.model(y, n_in=1, n_out=1, **size), **({} if fixed else {"tw:crop": 8}))
    field = check_card(card).receptive_field
    assert (field.verdict, field.stride, field.trim) == ("bounded", 2, 10)
    assert field.difference == pytest.approx(0, abs=1e-5)
    assert card.crop == (8, 8)


def test_a_crop_does_not_hide_that_a_model_sees_its_whole_window(tmp_path):
    draft = Draft()
    x = draft.conv("x", 1, 2, (9, 9), pads=NO_PADS)
    y = draft.conv(draft.node("Add", x, draft.node("GlobalAveragePool", x)), 2, 1, (1, 1))
    field = measure_receptive_field(value_card(tmp_path, draft.model(y, n_in=1, n_out=1), **{"tw:crop": 4}))
    assert field.verdict == "unbounded"
    assert "GlobalAveragePool" in field.reason


def reshaped(*shape: int) -> Callable[[Draft], str]:
    return lambda draft: draft.node("Reshape", "x", draft.constant(np.array(shape)))


def positions(draft: Draft) -> str:
    """Patches of 16 pixels with a table of 14 x 14 places, as vision transformers have: 224 pixels."""
    x = draft.conv("x", 1, 3, (16, 16), stride=16, pads=NO_PADS)
    tokens = draft.node("Reshape", x, draft.constant(np.array([0, 3, -1])))
    tokens = draft.node("Add", tokens, draft.constant(np.random.default_rng(0).normal(0, 1, (1, 3, 196)).astype("f4")))
    x = draft.node("Reshape", tokens, draft.constant(np.array([0, 3, 14, 14])))
    return draft.up(draft.conv(x, 3, 1, (1, 1)), 16)


def skipped(draft: Draft) -> str:
    """Halved, brought to 48 pixels by numbers built in, and added to the window: 48 pixels alone."""
    half = draft.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    return draft.node("Add", "x", draft.node("Resize", half, "", "", draft.constant(np.array([1, 1, 48, 48]))))


def multiplied(draft: Draft) -> str:
    """Times a picture of weights of 40 x 40 pixels."""
    return draft.node("Mul", "x", draft.constant(np.random.default_rng(0).uniform(1, 2, (1, 1, 40, 40)).astype("f4")))


BUILT_IN = {
    "reshape to 40 x 40": (reshaped(-1, 1, 40, 40), 40),
    "reshape to 200 x 200": (reshaped(1, 1, 200, 200), 200),
    "a table of positions": (positions, 224),
    "a skip beside a resize": (skipped, 48),
    "a picture of weights": (multiplied, 40),
}


@pytest.mark.parametrize(("build", "side"), BUILT_IN.values(), ids=BUILT_IN.keys())
def test_the_only_window_that_a_graph_takes_is_found(build, side, tmp_path):
    draft = Draft()
    model = draft.model(draft.conv(build(draft), 1, 1, (1, 1)), n_in=1, n_out=1)
    assert measure_receptive_field(value_card(tmp_path / "free", model)).window == side
    other = value_card(tmp_path / "other", model, tile={"window": 128})
    with pytest.raises(CardError, match=rf"tw:tile.window is 128.*{side} alone: write {side}"):
        check_card(other)


def squeezed(draft: Draft, *, computed: bool) -> str:
    """Brought to 32 pixels by numbers built in, and back to the window's own size, which is computed."""
    shape = draft.node("Shape", "x")
    if computed:
        first = draft.node("Slice", shape, draft.constant(np.array([0])), draft.constant(np.array([2])))
        sizes = draft.node("Concat", first, draft.constant(np.array([32, 32])), axis=0)
    else:
        sizes = draft.constant(np.array([1, 1, 32, 32]))
    small = draft.node("Resize", "x", "", "", sizes, mode="linear")
    return draft.node("Resize", draft.conv(small, 1, 1), "", "", shape, mode="linear")


@pytest.mark.parametrize("computed", [False, True])
def test_a_graph_that_stretches_windows_of_any_size_must_say_which_one(computed, tmp_path):
    draft = Draft()
    model = draft.model(squeezed(draft, computed=computed), n_in=1, n_out=1)
    with pytest.raises(CardError, match=r"Resize to 32 x 32.*tw:tile.window"):
        check_card(value_card(tmp_path / "free", model))
    field = measure_receptive_field(value_card(tmp_path / "said", model, tile={"window": 128}))
    assert field.window == 128
    assert field.stride % 4 == 0
