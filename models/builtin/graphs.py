"""The graphs of built-in models that work pixel by pixel: arithmetic, not learned.

Their bytes depend on this file alone: names and producer are fixed, the protobuf is serialised deterministically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


OPSET = 17

IR_VERSION = 8

# Source: McFeeters (1996), "The use of the Normalized Difference Water Index", IJRS 17(7): open water is above zero.
NDWI_THRESHOLD = 0.0

# Logits per unit of NDWI: +-0.2 around the threshold goes from 2 % to 98 % water.
NDWI_SLOPE = 20.0

# Denominators below this reflectance are noise around zero; they are raised to it, so that the ratio stays bounded.
NDWI_FLOOR = 1e-3

# Euclidean length over blue, green, red, nir, in reflectance. Source: Malila (1980), change vector analysis.
CVA_THRESHOLD = 0.14

# Logits per unit of reflectance: +-0.04 around the threshold goes from 2 % to 98 % changed.
CVA_SLOPE = 100.0

# Side of the square of pixels that vote: single noisy pixels vanish, straight edges keep their position.
CVA_VOTERS = 3


def weight(name: str, values: Any, dtype: type = np.float32) -> onnx.TensorProto:
    """A constant of a graph."""
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def model_bytes(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
) -> bytes:
    """The bytes of a model whose inputs and outputs are float32, by their names and shapes."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each, shape in inputs.items()],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each, shape in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, producer_name="tilewright", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def ndwi_water_graph() -> bytes:
    """The ONNX bytes of `ndwi-water`, which computes each pixel alone.

    `image` (batch, 2 [green, nir], h, w) reflectance -> `logits` (batch, 2 [other, water], h, w).
    """
    weights = [
        weight("difference_and_sum", np.reshape([1, -1, 1, 1], (2, 2, 1, 1))),
        weight("floor", NDWI_FLOOR),
        weight("least", -1.0),
        weight("most", 1.0),
        weight("to_logits", np.reshape([-NDWI_SLOPE / 2, NDWI_SLOPE / 2], (2, 1, 1, 1))),
        weight("offset", [NDWI_SLOPE * NDWI_THRESHOLD / 2, -NDWI_SLOPE * NDWI_THRESHOLD / 2]),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "difference_and_sum"], ["both"], kernel_shape=[1, 1]),
        helper.make_node("Split", ["both"], ["difference", "sum"], axis=1),
        helper.make_node("Max", ["sum", "floor"], ["held"]),
        helper.make_node("Div", ["difference", "held"], ["ratio"]),
        helper.make_node("Clip", ["ratio", "least", "most"], ["ndwi"]),
        helper.make_node("Conv", ["ndwi", "to_logits", "offset"], ["logits"], kernel_shape=[1, 1]),
    ]
    shape = ["batch", 2, "height", "width"]
    return model_bytes("ndwi-water", nodes, weights, {"image": shape}, {"logits": shape})


def cva_change_graph() -> bytes:
    """The ONNX bytes of `cva-change`.

    `pair` (batch, 2 [before, after], 4 [blue, green, red, nir], h, w) reflectance -> `magnitude` (batch, 1, h, w),
    the length of the change vector, and `change` (batch, 2 [unchanged, changed], h, w), probabilities: the mean of
    the single pixels' probabilities over 3 x 3 pixels.
    """
    radius = CVA_VOTERS // 2
    weights = [
        weight("first", 0, np.int64),
        weight("second", 1, np.int64),
        weight("slope", [[[[CVA_SLOPE]]]]),
        weight("offset", [-CVA_SLOPE * CVA_THRESHOLD]),
        weight("one", 1.0),
    ]
    nodes = [
        helper.make_node("Gather", ["pair", "first"], ["before"], axis=1),
        helper.make_node("Gather", ["pair", "second"], ["after"], axis=1),
        helper.make_node("Sub", ["after", "before"], ["vector"]),
        helper.make_node("ReduceL2", ["vector"], ["magnitude"], axes=[1], keepdims=1),
        helper.make_node("Conv", ["magnitude", "slope", "offset"], ["logit"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["logit"], ["alone"]),
        helper.make_node(
            "AveragePool", ["alone"], ["changed"], kernel_shape=[CVA_VOTERS] * 2, pads=[radius] * 4, count_include_pad=0
        ),
        helper.make_node("Sub", ["one", "changed"], ["unchanged"]),
        helper.make_node("Concat", ["unchanged", "changed"], ["change"], axis=1),
    ]
    return model_bytes(
        "cva-change",
        nodes,
        weights,
        {"pair": ["batch", 2, 4, "height", "width"]},
        {"magnitude": ["batch", 1, "height", "width"], "change": ["batch", 2, "height", "width"]},
    )
