"""A card's scaling, activation, argmax and rounding put into its graph: uint16 pixels go in, uint8 layers come out.

For a GPU, where every byte over the bus and every pass over a window on the CPU counts. Pixels are rounded to the step
of their unit on the way in (0.0001 reflectance, the step of Sentinel-2's own numbers), so results agree with the plain
path to that step, and only almost everywhere bit for bit: it is an option, never a silent substitute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import onnx
from onnx import compose

from models.fuse_nodes import Draft, add_layers, add_scaling, fusable_output
from models.refusal import CardError
from models.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from models.card import ModelCard
    from models.inputs import InputSpec

# Raised when another graph would be composed from the same card.
VERSION: Final = 1
PREFIX: Final = "model/"
OLDEST_OPSET: Final = 13
"""Softmax over one axis, and reductions as they are written here. Source: ONNX operator changelog."""

STEPS: Final = {"reflectance": (1e-4, -0.1), "db": (1e-3, -50.0), "class": (1.0, 0.0)}
"""Step and lowest value of a unit's uint16: reflectance -0.1 to 6.45, backscatter -50 to 15.5 dB, scene classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedGraph:
    """The composed graph: its file and hash, the inputs as they must now be prepared, and where its layers stand.

    `inputs` are the card's with data type and scaling changed, so that `prepare_input` makes what the graph takes;
    `layers` gives for each fused output its layers by the name of the graph's output, each (batch, height, width)
    uint8; outputs not named there come out as before.
    """

    path: Path
    sha256: str
    inputs: tuple[InputSpec, ...]
    layers: Mapping[str, Mapping[str, str]]

    def window_layers(self, output: str, made: Mapping[str, NDArray[Any]], window: int) -> dict[str, NDArray[Any]]:
        """The layers of one fused output for one window of the batch, (height, width) uint8 with nodata 255."""
        return {layer: made[name][window] for layer, name in self.layers[output].items()}


def fuse_graph(card: ModelCard, *, cache: Path) -> FusedGraph | None:
    """The card's graph with what stands around it inside, kept in the folder `cache` by the card's digest.

    None where nothing can be fused: an opset before 13, external weights, no linear scaling and no class layer.
    Raises CardError where the composed graph is not valid, which is a fault of the graph it was made from.
    """
    if card.weights:
        return None
    model = onnx.load(str(card.model_path))
    opset = next((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)
    inputs = tuple(_quantised(spec) or spec for spec in card.inputs)
    fused = tuple(spec for spec in card.outputs if fusable_output(spec))
    if opset < OLDEST_OPSET or (inputs == card.inputs and not fused):
        return None
    content, layers = _composed(card, model, inputs, {spec.name for spec in fused}, opset)
    path = cache / f"fused-{hashlib.sha256(f'{VERSION} {card.digest}'.encode()).hexdigest()[:32]}.onnx"
    if not path.exists() or path.read_bytes() != content:
        cache.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{id(content):x}")
        fresh.write_bytes(content)
        fresh.replace(path)
    return FusedGraph(path=path, sha256=hashlib.sha256(content).hexdigest(), inputs=inputs, layers=layers)


def _quantised(spec: InputSpec) -> InputSpec | None:
    """The input as uint16 before scaling; None where its scaling, unit or type cannot move into the graph."""
    scalings = spec.value_scaling
    float_input = spec.data_type.startswith("float")
    if spec.unit not in STEPS or not float_input or spec.derived or not all(each.linear for each in scalings):
        return None
    step, lowest = STEPS[spec.unit]
    whole = Scaling(kind="scale", shift=lowest, gain=1 / step, neutral=0.0)
    return replace(spec, data_type="uint16", value_scaling=(whole,) * len(scalings))


def _composed(
    card: ModelCard, model: onnx.ModelProto, inputs: tuple[InputSpec, ...], fused: set[str], opset: int
) -> tuple[bytes, dict[str, dict[str, str]]]:
    inner = compose.add_prefix(model, PREFIX)
    before, after = Draft(opset=opset, name="in"), Draft(opset=opset, name="out")
    given = _inputs(card, inputs, {each.name: each for each in inner.graph.input}, before)
    made: list[onnx.ValueInfoProto] = []
    layers = {}
    for output in card.outputs:
        value = next(each for each in inner.graph.output if each.name == PREFIX + output.name)
        if output.name in fused:
            layers[output.name] = add_layers(after, output, value.name)
            made.extend(_byte_plane(name) for name in layers[output.name].values())
        else:
            after.add("Identity", [value.name], out=output.name)
            made.append(_renamed(value, output.name))
    return _serialised(card, inner, before, after, given=given, made=made), layers


def _inputs(
    card: ModelCard, inputs: tuple[InputSpec, ...], inner: Mapping[str, onnx.ValueInfoProto], before: Draft
) -> list[onnx.ValueInfoProto]:
    """The composed graph's inputs, each joined to the inner graph's own by nodes added to `before`."""
    given = []
    for spec, raw in zip(card.inputs, inputs, strict=True):
        value = inner[PREFIX + spec.name]
        if raw is spec:
            before.add("Identity", [spec.name], out=value.name)
            given.append(_renamed(value, spec.name))
        else:
            step, lowest = STEPS[spec.unit]
            add_scaling(before, spec, step=step, lowest=lowest, out=value.name)
            given.append(_renamed(value, spec.name, dtype=onnx.TensorProto.UINT16))
    for extra in card.extras:
        value = inner[PREFIX + extra.name]
        before.add("Identity", [extra.name], out=value.name)
        given.append(_renamed(value, extra.name))
    return given


def _serialised(
    card: ModelCard,
    inner: onnx.ModelProto,
    *drafts: Draft,
    given: list[onnx.ValueInfoProto],
    made: list[onnx.ValueInfoProto],
) -> bytes:
    before, after = drafts
    graph = onnx.helper.make_graph(
        [*before.nodes, *inner.graph.node, *after.nodes],
        "fused",
        given,
        made,
        [*before.weights, *inner.graph.initializer, *after.weights],
        sparse_initializer=list(inner.graph.sparse_initializer),
    )
    whole = onnx.helper.make_model(
        graph, producer_name="tilewright", opset_imports=list(inner.opset_import), functions=list(inner.functions)
    )
    whole.ir_version = inner.ir_version
    try:
        onnx.checker.check_model(whole)
    except onnx.checker.ValidationError as error:
        raise CardError(f"{card.model_path.name} cannot be fused: {' '.join(str(error).split())}") from error
    content: bytes = whole.SerializeToString(deterministic=True)
    return content


def _renamed(value: onnx.ValueInfoProto, name: str, *, dtype: int | None = None) -> onnx.ValueInfoProto:
    fresh = onnx.ValueInfoProto()
    fresh.CopyFrom(value)
    fresh.name = name
    if dtype is not None:
        fresh.type.tensor_type.elem_type = dtype
    return fresh


def _byte_plane(name: str) -> onnx.ValueInfoProto:
    shape = [f"{name}/{axis}" for axis in ("batch", "height", "width")]
    plane: onnx.ValueInfoProto = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape)
    return plane
