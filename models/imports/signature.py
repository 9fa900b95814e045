"""What the graph itself says: its inputs and outputs, the layout of their arrays, and what its last operators prove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tilewright.models.card.files import is_file
from tilewright.models.card.graph import GraphPort, graph_facts, graph_inputs, graph_outputs, read_graph
from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

ACTIVATED: Final = ("Softmax", "Sigmoid")
"""Operators after which scores are probabilities."""

PASSED: Final = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten")
"""Operators that change no value."""

LARGEST_METADATA: Final = 2**20

IMAGE: Final = {
    "channels first": ("batch", "bands", "height", "width"),
    "channels last": ("batch", "height", "width", "bands"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The ports of a graph, its metadata as texts, and for each output the operator that gave its values.

    ``external``: locations of files of weights, relative to the graph.
    """

    inputs: dict[str, GraphPort]
    outputs: dict[str, GraphPort]
    metadata: dict[str, str]
    last: dict[str, str]
    external: tuple[str, ...]

    def layout(self, name: str) -> tuple[str, ...] | None:
        """The meaning of an array's dimensions where its shape leaves no doubt, else None."""
        port = self.inputs.get(name) or self.outputs[name]
        found = _layout(port.shape)
        if name in self.inputs or found is None:
            return found
        channel = "class" if self.last.get(name) in ACTIVATED else "channel"
        return tuple(channel if axis == "bands" else axis for axis in found)


def read_signature(path: Path) -> Signature:
    """The signature of the ONNX file at a path, whose weights are not read. Raises CardError if it holds no graph."""
    # A link may lead to a device, which has no end, to a pipe, which nobody fills, or to nothing.
    if not is_file(path):
        raise CardError(f"{path.name} leads to no file; put the ONNX file itself there")
    model = read_graph(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if sum(map(len, metadata.values())) > LARGEST_METADATA:
        raise CardError(f"{path.name} has metadata of over {LARGEST_METADATA} characters; take what is no text out")
    return Signature(
        inputs=graph_inputs(model),
        outputs=graph_outputs(model),
        metadata=metadata,
        last=_last_operators(model),
        external=graph_facts(model, path).external,
    )


def _layout(shape: tuple[int, ...] | None) -> tuple[str, ...] | None:
    """Four dimensions: the channels are where one is fixed and the two others of a picture are free or of one size."""
    if shape is None or len(shape) != 4:
        return None
    first, last = shape[1:2] + shape[2:], shape[3:] + shape[1:3]
    fits = [
        axes
        for axes, (channels, height, width) in zip(IMAGE.values(), (first, last), strict=True)
        if channels > 0 and height == width and not 0 < height <= channels
    ]
    return fits[0] if len(fits) == 1 else None


def _last_operators(model: onnx.ModelProto) -> dict[str, str]:
    """By output, the operator that made its values, beyond those that only lay them out."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for port in model.graph.output:
        node, seen = made_by.get(port.name), 0
        while node is not None and node.op_type in PASSED and node.input and seen < len(made_by):
            node, seen = made_by.get(node.input[0]), seen + 1
        found[port.name] = "" if node is None else node.op_type
    return found
