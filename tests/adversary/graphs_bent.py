"""ONNX files that were bent: sizes, names, types, nests and outside weights that no exporter writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from onnx import helper

from tests.adversary.mutations import TEXTS, bent_bytes

SIZES = (0, -1, -2, 1, 2**31, 2**40, 2**62, -(2**63), 7)

PLACES = (
    "",
    "..",
    "../../x",
    "/etc/passwd",
    "/dev/zero",
    "model.onnx",
    "weights.bin",
    ".",
    "a\\b",
    "x" * 5000,
    "a\0b",
    "card.json",
)

NUMERALS = ("", "0", "-1", "1e3", "abc", "9" * 30, "9" * 5000, "\u0663", "0x10", " 1 ", "1_0")


def nested(depth: int) -> onnx.GraphProto:
    """A graph with a condition within a condition within a condition."""
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(depth):
        graph = helper.make_graph(
            [helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=onnx.GraphProto())], "g", [], []
        )
    return graph


def _dims(draw: Any, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    tensor.dims[:] = draw(st.lists(st.sampled_from(SIZES), max_size=6))


def _port(draw: Any, model: onnx.ModelProto) -> None:
    port = draw(st.sampled_from([*model.graph.input, *model.graph.output]))
    shape = port.type.tensor_type.shape
    how = draw(st.sampled_from(("size", "rank", "none", "type", "kind", "name", "many")))
    if how == "size" and shape.dim:
        draw(st.sampled_from(list(shape.dim))).dim_value = draw(st.sampled_from(SIZES))
    elif how == "rank":
        shape.dim.add().dim_param = draw(st.sampled_from(TEXTS)).encode("utf-8", "replace").decode()
    elif how == "none":
        port.type.tensor_type.ClearField("shape")
    elif how == "type":
        port.type.tensor_type.elem_type = draw(st.sampled_from((0, 7, 8, 16, 17, 999, 2**31 - 1, -1)))
    elif how == "kind":
        port.type.sequence_type.elem_type.tensor_type.elem_type = 1
    elif how == "name":
        port.name = draw(st.sampled_from(TEXTS)).encode("utf-8", "replace").decode()
    else:
        for _ in range(3000):
            shape.dim.add().dim_value = 1


def _node(draw: Any, model: onnx.ModelProto) -> None:
    node = draw(st.sampled_from(list(model.graph.node)))
    how = draw(st.sampled_from(("type", "domain", "inputs", "outputs", "deep", "dropout", "copies", "cycle")))
    text = draw(st.sampled_from(TEXTS)).encode("utf-8", "replace").decode()
    if how == "type":
        node.op_type = draw(st.sampled_from((text, "RandomNormal", "Dropout", "Loop", "If", "Scan", "Nothing")))
    elif how == "domain":
        node.domain = draw(st.sampled_from((text, "ai.onnx", "ai.onnx.ml", "com.microsoft", "pytorch")))
    elif how == "inputs":
        node.input[:] = draw(st.sampled_from(([], ["x"] * 3000, [text], ["missing"])))
    elif how == "outputs":
        node.output[:] = draw(st.sampled_from(([], ["x"] * 3000, [text])))
    elif how == "deep":
        node.attribute.append(helper.make_attribute("body", nested(draw(st.sampled_from((1, 30, 90))))))
    elif how == "dropout":
        node.op_type, node.input[:] = (
            "Dropout",
            ["x", "r", draw(st.sampled_from(["", "missing", *(t.name for t in model.graph.initializer)]))],
        )
        node.output[:] = []
    elif how == "copies":
        model.graph.node.extend([node] * 3000)
    else:
        node.input[:] = list(node.output)


def _outside(draw: Any, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    facts = {
        "location": draw(st.sampled_from(PLACES)),
        "offset": draw(st.sampled_from(NUMERALS)),
        "length": draw(st.sampled_from(NUMERALS)),
    }
    for key in draw(st.lists(st.sampled_from(sorted(facts)), max_size=4)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, facts[key]


def _frame(draw: Any, model: onnx.ModelProto) -> None:
    how = draw(st.sampled_from(("opset", "opsets", "ir", "function", "no outputs", "sparse", "meta", "kind")))
    if how == "opset":
        model.opset_import[0].version = draw(st.sampled_from((0, -1, 6, 7, 99, 2**62)))
    elif how == "opsets":
        model.opset_import.extend([helper.make_opsetid("ai.onnx", 3), helper.make_opsetid("", 99)])
    elif how == "ir":
        model.ir_version = draw(st.sampled_from((0, -1, 3, 99, 2**62)))
    elif how == "function":
        model.functions.add().node.extend(model.graph.node)
    elif how == "no outputs":
        del model.graph.output[:]
    elif how == "sparse":
        model.graph.sparse_initializer.add().values.name = model.graph.input[0].name
    elif how == "meta":
        entry = model.metadata_props.add()
        entry.key, entry.value = "x" * 100_000, "\x1b[2J"
    else:
        model.graph.initializer[0].data_type = draw(st.sampled_from((0, 8, 16, 99, -1)))


@st.composite
def bent_graphs(draw: Callable[..., Any], valid: bytes) -> bytes:
    """A hostile ONNX file grown from a valid one."""
    if draw(st.sampled_from((False, False, False, True))):
        return draw(bent_bytes(valid))
    model = onnx.load_model_from_string(valid)
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        with suppress(DecodeError):  # protobuf copies no nest deeper than it reads
            draw(st.sampled_from((_dims, _port, _node, _outside, _frame)))(draw, model)
        if not (model.graph.node and model.graph.initializer and model.graph.output):
            break
    return model.SerializeToString(deterministic=True)
