"""Graphs whose outputs are of every type that a map may come in: the pixels are right, whatever the type."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE = 96
RED = np.random.default_rng(4).random((SIDE, SIDE), dtype=np.float32)
RED[10:14, 20:30] = np.nan

WHOLE = {
    "bool": TensorProto.BOOL,
    **{name: TensorProto.DataType.Value(name.upper()) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{name: TensorProto.DataType.Value(name.upper()) for name in ("int8", "int16", "int32", "int64")},
}
FLOATS = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def graph(kind: int, *, threshold: bool) -> onnx.ModelProto:
    """Whether a pixel is above a half, or three times its value, as a number of a type."""
    draft = Draft()
    number = np.array(0.5 if threshold else 3.0, np.float32)
    made = draft.node("Greater" if threshold else "Mul", "x", draft.constant(number))
    if not (threshold and kind == TensorProto.BOOL):
        made = draft.node("Cast", made, to=kind)
    return draft.model(made, n_in=1, n_out=1, out_type=kind)


def card_of(folder, model, dtype, **output):
    said = {"name": "y", **output}
    if dtype is not None:
        kind = model.graph.output[0].type.tensor_type
        said["result"] = {
            "shape": [each.dim_value or -1 for each in kind.shape.dim],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": dtype,
        }
    return write_card(folder, model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[said])


def mapped(tmp_path, card, name, **keys):
    world = World(tmp_path / "world")
    world.add(RED, "red", unit="reflectance")
    job = pixel_job(
        world, card, tmp_path / "out", rows=(0, SIDE), cols=(0, SIDE), tile={"block": 64, "step": 64}, **keys
    )
    return layer(run(job).output, name)


CLASSES = {"classes": ("low", "high"), "tw:layers": ["class"]}


@pytest.mark.parametrize("name", WHOLE)
def test_class_values_of_every_whole_type_are_the_classes(tmp_path, name):
    model = graph(WHOLE[name], threshold=True)
    card = card_of(tmp_path / "card", model, "uint8" if name == "bool" else None, **CLASSES)
    assert check_card(load_card(card)).runs
    expected = np.where(np.isnan(RED), 255, RED > 0.5)
    assert np.array_equal(mapped(tmp_path, card, "class"), expected)


@pytest.mark.parametrize(("name", "values"), [("bool", False), ("bool", True), ("int64", False), ("float16", True)])
def test_a_fused_graph_maps_the_same_whatever_the_type(tmp_path, name, values):
    model = graph({**WHOLE, **FLOATS}[name], threshold=True)
    said = {"tw:layers": ["value"]} if values else CLASSES
    card = card_of(tmp_path / "card", model, "uint8" if name == "bool" else None, **said)
    found = mapped(tmp_path, card, "value" if values else "class", fuse="yes")
    # Fused, pixels are rounded to 0.00005 before the graph sees them.
    sure = np.isnan(RED) | (np.abs(RED - 0.5) > 1e-4)
    expected = np.where(np.isnan(RED), np.nan if values else 255, RED > 0.5)
    assert np.array_equal(found[sure], expected[sure].astype(found.dtype), equal_nan=True)


@pytest.mark.parametrize("name", FLOATS)
def test_scores_of_every_floating_type_are_the_classes(tmp_path, name):
    card = card_of(tmp_path / "card", graph(FLOATS[name], threshold=True), None, **CLASSES)
    assert check_card(load_card(card)).runs
    expected = np.where(np.isnan(RED), 255, RED > 0.5)
    assert np.array_equal(mapped(tmp_path, card, "class"), expected)


@pytest.mark.parametrize("name", [*WHOLE, *FLOATS])
def test_values_of_every_type_are_the_numbers(tmp_path, name):
    kind = {**WHOLE, **FLOATS}[name]
    model = graph(kind, threshold=name == "bool")
    card = card_of(tmp_path / "card", model, "uint8" if name == "bool" else None, **{"tw:layers": ["value"]})
    assert check_card(load_card(card)).runs
    numbers = (RED > 0.5) if name == "bool" else (RED * np.float32(3)).astype(np.nan_to_num(RED).astype(name).dtype)
    expected = np.where(np.isnan(RED), np.nan, numbers.astype(np.float32))
    found = mapped(tmp_path, card, "value")
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_truths_under_another_name_than_uint8_are_refused_with_that_name(tmp_path, dtype):
    card = card_of(tmp_path / "card", graph(TensorProto.BOOL, threshold=True), dtype, **CLASSES)
    with pytest.raises(CardError, match="uint8"):
        load_card(card)


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.STRING, TensorProto.FLOAT8E4M3FN])
def test_a_type_that_holds_no_pixels_is_refused_in_a_sentence(tmp_path, kind):
    draft = Draft()
    model = draft.model(draft.node("Cast", "x", to=kind), n_in=1, n_out=1, out_type=kind)
    with pytest.raises(CardError, match="data_type"):
        load_card(card_of(tmp_path / "card", model, "float32", **{"tw:layers": ["value"]}))
