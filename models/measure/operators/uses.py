"""The operators that a graph uses: each with its domain, its version, its types, and how often.

Counted is what a runtime runs: the model's own functions written out where they are called, and the bodies of If, Loop
and Scan once each, however often they run.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import onnx
from onnx import inliner

from tilewright.models.measure.reach.graph import inlined, read_structure
from tilewright.models.measure.reach.lines import UnprovenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

DEEPEST: Final = 8
"""Functions of ONNX inside functions of ONNX that are followed. Those of ONNX 1.23 are two deep."""

Scope = ChainMap[str, onnx.TypeProto]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorUse:
    """An operator as a graph uses it.

    `since` is the version of the operator: the opset of the graph at which it last changed; `opset` that of the graph.
    `types` are pairs of a name of the schema (of a type, or of an input) and the type of its tensor, as far as known.
    `is_function`: ONNX defines it as a function; `body` are the operators that it is written out in, none if it cannot.
    """

    domain: str
    name: str
    since: int
    opset: int
    types: tuple[tuple[str, str], ...] = ()
    is_function: bool = field(default=False, compare=False)
    body: tuple[OperatorUse, ...] = field(default=(), compare=False)


def count_operators(path: Path) -> tuple[Counter[OperatorUse], Counter[tuple[str, str, int]]]:
    """How often the graph at `path` uses each operator, and how often it calls each of its own functions.

    Those are told by domain, name and version of the domain. Raises UnprovenError for a file that is no graph.
    """
    model = read_structure(path)
    calls = _calls(model, written_out=False)
    with suppress(UnprovenError):
        # A graph that cannot be written out (too large, say) is counted as it stands, each function once.
        flat = inlined(model)
        calls, model = _calls(model, written_out=True), flat
    opsets = _opsets(model.opset_import)
    counting = _Counting(own={_key(each.domain, each.name) for each in model.functions})
    if not model.functions:
        # Inference would follow functions of functions for ever. What it cannot follow has no types, and is told by
        # version alone; its errors share no base class but Exception.
        with suppress(Exception):
            model = onnx.shape_inference.infer_shapes(model)
    counting.add(model.graph, opsets, ChainMap())
    for function in model.functions:
        counting.add(function, opsets | _opsets(function.opset_import), ChainMap())
    return counting.uses, calls


def _calls(model: onnx.ModelProto, *, written_out: bool) -> Counter[tuple[str, str, int]]:
    """Calls of the model's own functions: as they stand, or as often as the functions around them are called."""
    bodies = {_key(each.domain, each.name): each for each in model.functions}
    opsets = _opsets(model.opset_import)
    direct = {key: Counter(_called(body, bodies)) for key, body in bodies.items()}
    pending = Counter(_called(model.graph, bodies))
    total = pending.copy()
    if not written_out:
        total = sum(direct.values(), start=total)
    while written_out and pending:
        inner: Counter[tuple[str, str]] = Counter()
        for key, n_calls in pending.items():
            inner.update({name: n * n_calls for name, n in direct[key].items()})
        total.update(inner)
        pending = inner
    return Counter({(domain, name, opsets.get(domain, 1)): n for (domain, name), n in total.items()})


def _called(graph: Any, bodies: Mapping[tuple[str, str], Any]) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        if (key := _key(node.domain, node.op_type)) in bodies:
            yield key
        for inner in _subgraphs(node):
            yield from _called(inner, bodies)


class _Counting:
    """Counts uses, and writes out the functions of ONNX among them, once for each kind of use."""

    def __init__(self, own: set[tuple[str, str]]) -> None:
        self.uses: Counter[OperatorUse] = Counter()
        self._own = own

    def add(self, graph: Any, opsets: Mapping[str, int], outer: Scope) -> None:
        """Count the operators of a graph or function, and of the graphs inside it, which see the names around them."""
        scope = outer.new_child(_typed(graph)) if isinstance(graph, onnx.GraphProto) else outer
        for node in graph.node:
            if _key(node.domain, node.op_type) not in self._own:
                use = _use(node, opsets, scope)
                if use not in self.uses:
                    use = _with_body(use, node, scope)
                self.uses[use] += 1
            for inner in _subgraphs(node):
                self.add(inner, opsets, scope)


def _use(node: onnx.NodeProto, opsets: Mapping[str, int], scope: Scope) -> OperatorUse:
    domain, name = _key(node.domain, node.op_type)
    opset = opsets.get(domain, 1)
    schema = _schema(domain, name, opset)
    return OperatorUse(
        domain=domain,
        name=name,
        since=schema.since_version if schema else 1,
        opset=opset,
        types=tuple(sorted(_types(schema, node, scope).items())) if schema else (),
    )


def _schema(domain: str, name: str, opset: int) -> Any | None:
    """The definition of an operator in ONNX; None for those of ONNX Runtime alone, all of which have version 1."""
    try:
        return onnx.defs.get_schema(name, opset, "" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return None


def _types(schema: Any, node: onnx.NodeProto, scope: Scope) -> dict[str, str]:
    """The types of a node's tensors, by the names of the schema's types and of its inputs and outputs."""
    found: dict[str, str] = {}
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for number, name in enumerate(names):
            known = scope.get(name)
            if known is None or not formal or known.WhichOneof("value") != "tensor_type":
                continue
            port = formal[min(number, len(formal) - 1)]
            kind = _type_name(known.tensor_type.elem_type)
            if kind:
                found.setdefault(port.type_str, kind)
                found.setdefault(port.name, kind)
    return {name: kind for name, kind in found.items() if "(" not in name}


def _type_name(number: int) -> str:
    known = number in onnx.TensorProto.DataType.values() and number != onnx.TensorProto.UNDEFINED
    return onnx.TensorProto.DataType.Name(number).lower() if known else ""


def _body(node: onnx.NodeProto, use: OperatorUse, scope: Scope, depth: int) -> tuple[OperatorUse, ...]:
    """The operators that ONNX writes a function out in, with their types, each once; none if it cannot be."""
    names = list(dict.fromkeys(name for name in node.input if name))
    graph = onnx.GraphProto(name="alone", node=[node])
    graph.input.extend(onnx.ValueInfoProto(name=name, type=scope.get(name)) for name in names)
    graph.output.extend(onnx.ValueInfoProto(name=name, type=scope.get(name)) for name in node.output if name)
    opset = onnx.helper.make_opsetid("", use.opset)
    alone = onnx.helper.make_model(graph, opset_imports=[opset])
    try:
        # It knows the functions that depend on types, too.
        flat = inliner.inline_selected_functions(alone, [(node.domain, node.op_type)], inline_schema_functions=True)
        flat = onnx.shape_inference.infer_shapes(flat)
    except Exception:
        # Its errors share no base class but Exception: without its types, say, a function cannot be written out.
        return ()
    opsets = _opsets(flat.opset_import)
    inside: Scope = ChainMap(_typed(flat.graph))
    found: dict[OperatorUse, onnx.NodeProto] = {}
    for inner in _all(flat.graph.node):
        found.setdefault(_use(inner, opsets, inside), inner)
    if use in found:
        return ()
    return tuple(_with_body(each, inner, inside, depth + 1) for each, inner in found.items())


def _with_body(use: OperatorUse, node: onnx.NodeProto, scope: Scope, depth: int = 0) -> OperatorUse:
    """The use with what it is written out in, if ONNX defines it as a function."""
    schema = _schema(use.domain, use.name, use.opset)
    if schema is None or not (schema.has_function or schema.has_context_dependent_function) or depth == DEEPEST:
        return use
    return replace(use, is_function=True, body=_body(node, use, scope, depth))


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for inner in _subgraphs(node):
            yield from _all(inner.node)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _typed(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """The types of a graph's tensors by name."""
    scope = {each.name: each.type for each in (*graph.input, *graph.value_info, *graph.output)}
    for tensor in (*graph.initializer, *(each.values for each in graph.sparse_initializer)):
        scope[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return scope


def _opsets(entries: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {entry.domain or "ai.onnx": entry.version for entry in entries}


def _key(domain: str, name: str) -> tuple[str, str]:
    return domain or "ai.onnx", name
