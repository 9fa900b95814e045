"""A graph in half precision: weights and arithmetic in float16, inputs and outputs as they were."""

from __future__ import annotations

import importlib
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def half_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with float16 inside and its inputs and outputs float32 as before; `model` may be changed.

    Operators that lose too much in float16, or have no kernel for it, keep float32 between casts.
    Source: onnxruntime 1.31, transformers/float16.py, DEFAULT_OP_BLOCK_LIST.
    """
    # It comes with onnxruntime, which the base install has not.
    converter = importlib.import_module("onnxruntime.transformers.float16")
    made: onnx.ModelProto = converter.convert_float_to_float16(model, keep_io_types=True)
    # The casts stand at the end; ONNX wants nodes after what they use.
    maker = {name: i for i, node in enumerate(made.graph.node) for name in node.output if name}
    needs = {i: {maker[name] for name in node.input if name in maker} for i, node in enumerate(made.graph.node)}
    nodes = [made.graph.node[i] for i in TopologicalSorter(needs).static_order()]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
