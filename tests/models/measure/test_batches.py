"""Windows that change their batch mates, found by running unlike windows together; and those that do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.support.cards import value_card
from tests.support.graphs import Draft, instance_norm
from tests.support.worlds import write_card
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.facts import measure_model


def over_axes(op: str, *axes: int) -> Callable[[Draft], str]:
    """`x` less a reduction of itself over `axes`."""

    def build(draft: Draft) -> str:
        of = (draft.constant(np.array(axes)),) if op == "ReduceSum" else ()
        named = {} if of else {"axes": list(axes)}
        return draft.node("Sub", "x", draft.node(op, "x", *of, keepdims=1, **named))

    return build


def norm(training: int) -> Callable[[Draft], str]:
    def build(draft: Draft) -> str:
        one, zero = (draft.constant(np.full(3, value, np.float32)) for value in (1, 0))
        named = f"n{len(draft.nodes)}"
        outputs = [named, "mean", "variance"] if training else [named]
        draft.nodes.append(
            onnx.helper.make_node(
                "BatchNormalization", ["x", one, zero, zero, one], outputs, name=named, training_mode=training
            )
        )
        return named

    return build


def rolled(draft: Draft) -> str:
    """The last window before the first: each is given its neighbour's values."""
    first, last, end, axis = (draft.constant(np.array([value])) for value in (0, -1, 2**40, 0))
    back = draft.node("Slice", "x", last, end, axis)
    front = draft.node("Slice", "x", first, last, axis)
    return draft.node("Add", "x", draft.node("Concat", back, front, axis=0))


def attended(draft: Draft) -> str:
    """Attention among the windows of a batch: their pixels are one row of a matrix."""
    rows = draft.node("Reshape", "x", draft.constant(np.array([0, -1])))
    weights = draft.node("Softmax", draft.node("MatMul", rows, draft.node("Transpose", rows)), axis=-1)
    return draft.node("Reshape", draft.node("MatMul", weights, rows), draft.node("Shape", "x"))


MIXED = {
    "batch norm in training": (norm(1), "training mode"),
    "mean over batch and pixels": (over_axes("ReduceMean", 0, 2, 3), "ReduceMean over the batch axis"),
    "mean over the batch alone": (over_axes("ReduceMean", 0), "ReduceMean over the batch axis"),
    "sum by an input of axes": (over_axes("ReduceSum", 0, 2, 3), "ReduceSum over the batch axis"),
    "largest of the batch": (over_axes("ReduceMax", 0), "ReduceMax over the batch axis"),
    "softmax over the batch": (lambda draft: draft.node("Softmax", "x", axis=0), "Softmax over the batch axis"),
    "running sum": (
        lambda draft: draft.node("CumSum", "x", draft.constant(np.array(0, np.int64))),
        "CumSum over the batch axis",
    ),
    "neighbours change places": (rolled, "batch mates"),
    "attention among windows": (attended, "batch mates"),
}


@pytest.mark.parametrize(("build", "words"), MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("batch", ["batch", 4])
def test_windows_that_change_their_batch_mates_are_refused_by_name(build, words, batch, tmp_path):
    draft = Draft()
    y = draft.conv(build(draft), 3, 1, (1, 1))
    model = draft.model_many(
        [("x", onnx.TensorProto.FLOAT, [batch, 3, "h", "w"])],
        [(y, "y", onnx.TensorProto.FLOAT, [batch, 1, "oh", "ow"])],
    )
    with pytest.raises(CardError, match="batch mates") as refusal:
        check_card(value_card(tmp_path, model))
    assert words in str(refusal.value)


def grouped(draft: Draft) -> str:
    """Group normalisation as exporters write it: one group per window, through instance normalisation."""
    flat = draft.node("Reshape", "x", draft.constant(np.array([0, 1, -1])))
    one, zero = draft.constant(np.array([1], np.float32)), draft.constant(np.array([0], np.float32))
    return draft.node("Reshape", draft.node("InstanceNormalization", flat, one, zero), draft.node("Shape", "x"))


OWN = {
    "batch norm as learned": norm(0),
    "group norm": grouped,
    "mean over the pixels of a window": over_axes("ReduceMean", 2, 3),
    "mean over bands": over_axes("ReduceMean", 1),
    "softmax over bands": lambda draft: draft.node("Softmax", "x", axis=1),
    "running sum along a row": lambda draft: draft.node("CumSum", "x", draft.constant(np.array(3, np.int64))),
}


@pytest.mark.parametrize("build", OWN.values(), ids=OWN.keys())
def test_what_stays_within_a_window_is_not_called_mixing(build, tmp_path):
    draft = Draft()
    report = check_card(value_card(tmp_path, draft.model(draft.conv(build(draft), 3, 1, (1, 1)), n_in=3, n_out=1)))
    assert not any("batch" in words for words in report.warnings)


def test_instance_normalisation_is_named_as_what_makes_a_map_depend_on_its_windows(tmp_path):
    warnings = check_card(value_card(tmp_path, instance_norm())).warnings
    assert any("InstanceNormalization" in words for words in warnings)


def test_rows_and_vectors_that_change_their_batch_mates_are_refused_too(tmp_path):
    draft = Draft()
    pooled = draft.node("Flatten", draft.node("GlobalAveragePool", "x"))
    mixed = draft.node("Softmax", pooled, axis=0)
    vectors = draft.model(mixed, n_in=3, n_out=3, out_shape=["batch", 3])
    inputs = [{"name": "x", "bands": ["red", "nir", "green"]}]
    output = {"name": "y", "tw:layers": ["a", "b", "c"], "dims": ("batch", "channel")}
    per_window = load_card(write_card(tmp_path / "window", vectors, inputs=inputs, outputs=[output]))
    draft = Draft()
    kind = onnx.TensorProto.FLOAT
    rows = draft.model_many(
        [("x", kind, ["batch", 3])], [(draft.node("Softmax", "x", axis=0), "y", kind, ["batch", 3])]
    )
    pixels = [inputs[0] | {"dims": ("batch", "bands")}]
    per_pixel = load_card(write_card(tmp_path / "pixel", rows, inputs=pixels, outputs=[output]))
    for card, kind_of_mate in ((per_window, "windows"), (per_pixel, "pixels")):
        with pytest.raises(CardError, match=f"beside other {kind_of_mate}"):
            check_card(card)


def test_a_batch_of_one_that_is_built_in_is_warned_of_and_a_larger_one_refused(tmp_path):
    draft = Draft()
    x = draft.node("Reshape", "x", draft.constant(np.array([1, 1, 64, 64])))
    card = value_card(tmp_path / "card", draft.model(draft.conv(x, 1, 1), n_in=1, n_out=1))
    assert any("write 1 for batch" in words for words in check_card(card).warnings)
    measure_model(card, provider="cpu", cache=tmp_path)
    with pytest.raises(CardError, match=r"a batch of 4 was to run.*one window a call"):
        measure_model(card, provider="cpu", cache=tmp_path, batch=4)
