"""Checks an ONNX file against its card: names, ranks, sizes, types, operators, weight files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tilewright.models.card.files import path_inside
from tilewright.models.errors import CardError
from tilewright.models.fields import shorten
from tilewright.models.spec.arrays import DATA_TYPES, refuse_misplaced_channels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tilewright.models.spec.boxes import BoxOutput
    from tilewright.models.spec.inputs import ExtraInput, InputSpec
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.spec.words import GenerateSpec

LARGEST_GRAPH: Final = 2 * 1024**3 - 1
"""Largest size of a protobuf message in bytes. Source: protocol buffers, "Total Size of the Message"."""

OLDEST_OPSET: Final = 7
"""Source: ONNX Runtime compatibility: graphs of opset 7 and above are supported."""

DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operator domains that every build of ONNX Runtime supports."""

DRAWING: Final = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
)  # fmt: skip
"""Operators that draw random numbers."""

DROPOUTS: Final = {"Dropout": 2, "BiasDropout": 4, "BitmaskDropout": 2, "BitmaskBiasDropout": 4}
"""Index of the input that sets a dropout to training. Source: ONNX, Dropout-13; ONNX Runtime, contrib operators."""

PICKLES: Final = (b"\x80", b"PK\x03\x04")
"""First bytes of a Python pickle and of the zip archive that torch.save writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """Facts read from the file: opset of ai.onnx, operators as `domain::type`, size in bytes, external weight files."""

    opset: int
    operators: tuple[str, ...]
    n_bytes: int
    external: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPort:
    """One input or output of the graph: numpy type name, sizes with -1 where free, None where the rank is unknown."""

    data_type: str
    shape: tuple[int, ...] | None


def check_graph(
    path: Path,
    inputs: Sequence[InputSpec],
    extras: Sequence[ExtraInput],
    outputs: Sequence[OutputSpec | BoxOutput | GenerateSpec],
    *,
    weights: Sequence[Path] = (),
    draws: bool = False,
) -> GraphFacts:
    """The facts of the graph at `path`, whose inputs and outputs must be those of the card.

    `weights` are the external weight files for which the card has checksums; no weight is loaded, nothing is run.
    `draws`: the card gives places to what the graph draws.
    Raises CardError naming the field of the card to change, or the content that the file must not hold.
    """
    model = read_graph(path)
    facts = graph_facts(model, path)
    if not draws:
        refuse_drawing(model, path)
    _refuse_external(facts, path, weights)
    _refuse_short_weights(model, path)
    _refuse_inputs(graph_inputs(model), (*inputs, *extras))
    ports = graph_outputs(model)
    for spec in outputs:
        _refuse_port(f"properties.mlm:output ({spec.name})", "result", ports.get(spec.name), spec, tuple(ports))
    return facts


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph in an ONNX file, without its external weights. Raises CardError if the file holds no ONNX graph."""
    n_bytes = path.stat().st_size
    if n_bytes > LARGEST_GRAPH:
        raise CardError(f"{path.name} has {n_bytes} bytes; move weights above 2 GiB to an external file beside it")
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(PICKLES):
        raise CardError(
            f"{path.name} is a pickle or an archive of one, which is never opened; export the model to ONNX"
        )
    try:
        model = onnx.load_model(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise CardError(f"{path.name} does not parse as ONNX; export the model to ONNX") from error
    if not model.graph.output:
        raise CardError(f"{path.name} holds no graph with outputs; export the model to ONNX")
    # Protobuf hands on as bytes what should be UTF-8 and is not.
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise CardError(f"{path.name} has names that are no UTF-8; export the model to ONNX")
    return model


def graph_inputs(model: onnx.ModelProto) -> dict[str, GraphPort]:
    """The inputs that must be fed, by name (initialisers left out)."""
    fixed = {tensor.name for tensor in model.graph.initializer}
    fixed |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return {port.name: _port(port, f"input {port.name!r}") for port in model.graph.input if port.name not in fixed}


def graph_outputs(model: onnx.ModelProto) -> dict[str, GraphPort]:
    """The outputs, by name."""
    return {port.name: _port(port, f"output {port.name!r}") for port in model.graph.output}


def _port(value: onnx.ValueInfoProto, label: str) -> GraphPort:
    if value.type.WhichOneof("value") != "tensor_type":
        raise CardError(
            f"the graph's {label} is no tensor (a sequence or map); export it as one (skl2onnx: zipmap=False)"
        )
    tensor = value.type.tensor_type
    try:
        data_type = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        data_type = "unknown"
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return GraphPort(data_type=data_type, shape=sizes if tensor.HasField("shape") else None)


def graph_facts(model: onnx.ModelProto, path: Path) -> GraphFacts:
    """The facts of a graph read from a path. Raises CardError for an opset or an operator that cannot be run."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise CardError(f"{path.name} is of opset {opset}; export it with an opset from {OLDEST_OPSET} to {newest}")
    local = {(function.domain, function.name) for function in model.functions}
    nodes = {(node.domain, node.op_type) for graph in _graphs(model) for node in graph.node}
    for domain, kind in sorted(nodes - local):
        if domain not in DOMAINS:
            raise CardError(
                f"{path.name} uses the operator {kind} of the domain {domain!r}; export it with operators of ONNX alone"
            )
    operators = tuple(sorted(f"{domain}::{kind}" if domain else kind for domain, kind in nodes))
    external = tuple(sorted({each for tensor in _tensors(model) if (each := _external_location(tensor)) is not None}))
    return GraphFacts(opset=opset, operators=operators, n_bytes=path.stat().st_size, external=external)


def _graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """The main graph, the bodies of local functions, and every graph in an attribute of their nodes."""
    pending: list[Any] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _texts(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Every name in the file that is looked at."""
    yield from (entry.domain for entry in model.opset_import)
    yield from (name for function in model.functions for name in (function.domain, function.name))
    for graph in _graphs(model):
        yield from (text for node in graph.node for text in (node.op_type, node.domain, node.name))
        yield from (name for node in graph.node for name in (*node.input, *node.output))
        yield from (attribute.name for node in graph.node for attribute in node.attribute)
    yield from (port.name for port in (*model.graph.input, *model.graph.output))
    for tensor in _tensors(model):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that could refer to an external file."""
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)


def _external_location(tensor: onnx.TensorProto) -> str | None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def refuse_drawing(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a graph that draws random numbers, with a seed too: a session's threads draw from it in any order."""
    for node in (node for graph in _graphs(model) for node in graph.node):
        if node.domain in DOMAINS and (node.op_type in DRAWING or _is_training(node, model)):
            seeded = " with a seed" if any(each.name == "seed" for each in node.attribute) else ""
            name = shorten(node.name or ", ".join(node.output))
            raise CardError(
                f"{path.name} draws random numbers{seeded} ({node.op_type} {name}), so a pixel would differ from "
                "run to run and from window to window, and no seed changes that; export the model in evaluation "
                "mode (model.eval()), or say in how many passes it is to draw (tw:stochastic)"
            )


def _is_training(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """True if a dropout may drop values: its switch is set, or computed."""
    place = DROPOUTS.get(node.op_type)
    if place is None or place >= len(node.input) or not node.input[place]:
        return False
    switch = next((each for each in _named_tensors(model) if each[0] == node.input[place]), None)
    try:
        return switch is None or bool(onnx.numpy_helper.to_array(switch[1]).any())
    except (ValueError, TypeError, OSError, onnx.checker.ValidationError):
        # A switch that cannot be read (other sizes than its values, no type, in a file of its own) may be set.
        return True


def _named_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """The stored constants of all graphs by name."""
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant":
                yield from ((name, each.t) for name in node.output[:1] for each in node.attribute if each.HasField("t"))


def _refuse_external(facts: GraphFacts, path: Path, weights: Sequence[Path]) -> None:
    """Refuse weight files that lie outside the model's folder or have no checksum in the card."""
    known = {file.resolve() for file in weights}
    for location in facts.external:
        file = path_inside(path.parent, location, field=f"the external weight file of {path.name}")
        if file.resolve() not in known:
            raise CardError(
                f"assets lists no file {location!r}, which {path.name} takes weights from; "
                "add it with the role mlm:weights and its file:checksum"
            )


def _refuse_short_weights(model: onnx.ModelProto, path: Path) -> None:
    """Refuse weight files that end before the weights that the graph takes from them."""
    needed: dict[str, int] = {}
    for tensor in _tensors(model):
        location = _external_location(tensor)
        if location is not None:
            place = {entry.key: entry.value for entry in tensor.external_data}
            end = _whole(place.get("offset", "0"), path) + _whole(place.get("length", "0"), path)
            needed[location] = max(needed.get(location, 0), end)
    for location, n_bytes in needed.items():
        size = (path.parent / location).stat().st_size
        if size < n_bytes:
            raise CardError(
                f"{location} has {size} bytes; {path.name} takes weights from its first {n_bytes}: it is too short; "
                "copy it again, and write its file:checksum"
            )


def _whole(written: str, path: Path) -> int:
    """The whole number of an offset or length in an external file."""
    if not (written.isascii() and written.isdigit() and len(written) < 20):
        raise CardError(f"{path.name} has weights at {shorten(written)} of a file; export it with whole numbers there")
    return int(written)


def _refuse_inputs(ports: Mapping[str, GraphPort], specs: Sequence[InputSpec | ExtraInput]) -> None:
    for spec in specs:
        _refuse_port(f"properties.mlm:input ({spec.name})", "input", ports.get(spec.name), spec, tuple(ports))
    missing = sorted(set(ports) - {spec.name for spec in specs})
    if missing:
        raise CardError(
            f"properties.mlm:input has no entry for the graph's input {missing[0]!r} {ports[missing[0]].shape}; "
            "add an entry with that name (tw:extra for what is not pixels)"
        )


def _refuse_port(
    at: str,
    key: str,
    port: GraphPort | None,
    spec: InputSpec | ExtraInput | OutputSpec | BoxOutput | GenerateSpec,
    names: tuple[str, ...],
) -> None:
    """Refuse an array of the card that differs from the graph's in name, type, rank or size."""
    if port is None:
        raise CardError(f"{at}.name is {spec.name!r}; the graph has {', '.join(names) or 'none'}: write one of these")
    # The card's schema has no truth values; an output of them holds 0 and 1.
    known = "uint8" if port.data_type == "bool" and key == "result" else port.data_type
    if known not in DATA_TYPES:
        raise CardError(
            f"{at}.{key}.data_type is {spec.data_type!r}; the graph has {port.data_type}, which is none of "
            f"{', '.join(DATA_TYPES)}: cast it to one of these inside the graph"
        )
    if known != spec.data_type:
        said = port.data_type if known == port.data_type else f"{port.data_type}, which a card calls {known}"
        raise CardError(f"{at}.{key}.data_type is {spec.data_type!r}; the graph has {said}: write that")
    if port.shape is None:
        return
    if len(port.shape) != len(spec.shape):
        raise CardError(
            f"{at}.{key}.shape is {list(spec.shape)} with {len(spec.shape)} dimensions; "
            f"the graph has {list(port.shape)} with {len(port.shape)}: write these, and a dim_order for them"
        )
    n_channels = len(getattr(spec, "bands", ()) or getattr(spec, "classes", ()))
    refuse_misplaced_channels(f"{at}.{key}", spec.dim_order, port.shape, n_channels)
    for given, real, name in zip(spec.shape, port.shape, spec.dim_order, strict=True):
        if real > 0 and given != real:
            raise CardError(
                f"{at}.{key}.shape has {given} for {name!r}; the graph is fixed to {real}: write {real} there"
            )
