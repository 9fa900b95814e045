"""A graph as its structure is read: without the numbers of its large weights, its functions inlined, within bounds."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import inliner

from tilewright.models.measure.reach.lines import UnprovenError
from tilewright.models.measure.reach.values import Constant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilewright.models.measure.reach.call import Call

STORED: Final = 2**20
"""The most values of a stored tensor that are read; only the shape of a larger one counts."""

MOST_NODES: Final = 50_000
"""Operators of a graph, with its functions inlined, beyond which nothing is proven: every one takes its time."""

PATH_TO_WEIGHTS: Final = (7, 5)
"""Fields of a model that lead to its weights: graph, initializer. Source: onnx.proto3."""

VALUES: Final = frozenset((4, 5, 6, 7, 9, 10, 11))
"""Fields of a tensor that hold its values: as numbers of some type, as text, raw. Source: onnx.proto3."""

LARGE: Final = 4 * STORED
"""Bytes of values beyond which they are left out."""

SAME_SIZE: Final = frozenset(("Identity", "Cast", "Neg", "Abs", "Not", "Floor", "Ceil", "Reshape", "Squeeze",
                               "Unsqueeze", "Transpose", "Flatten"))  # fmt: skip
"""Operators whose result has as many values as their first input."""

SMALLER: Final = frozenset(("Gather", "Slice", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin", "Shape", "Size"))
"""Operators of which no result is larger than all inputs together, or a row of one of them for each of another."""

BROADCAST: Final = frozenset(("Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Less", "Greater", "LessOrEqual",
                               "GreaterOrEqual", "And", "Or", "Where"))  # fmt: skip
"""Operators whose result has the shape that all inputs are broadcast to."""

ONLY_SHAPES: Final = frozenset(("DequantizeLinear", "QuantizeLinear"))
"""Operators on weights, of whose results only the shape counts."""

ARITHMETIC: Final = BROADCAST | {"Cast", "Range", "Neg", "Abs", "Floor", "Ceil", "ReduceProd", "ReduceSum"}
"""Operators whose numbers two runtimes may compute otherwise where they are large, negative or broken."""

EXACT: Final = 2**31
"""Whole numbers up to which all runtimes agree on arithmetic and casts."""


def read_structure(path: Path) -> onnx.ModelProto:
    """The graph at ``path`` without the values of its large weights, whose shapes stay. It is shared: do not change it.

    Only what is kept is read into memory, however large the file is; external weights are not read.
    Raises UnprovenError for a file that is no graph.
    """
    stat = path.stat()
    return _read(str(path), (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)
def _read(path: str, _stamp: tuple[int, int]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            model.ParseFromString(b"".join(_kept(content, 0, len(content), PATH_TO_WEIGHTS)))
    except (ValueError, IndexError, DecodeError) as error:
        raise UnprovenError("the file cannot be read as a graph") from error
    return model


def _kept(content: mmap.mmap, at: int, end: int, path: tuple[int, ...]) -> Iterator[bytes]:
    """The fields of the Protobuf message between two places, without the large values of the weights that lie down the
    fields of ``path``.
    """
    while at < end:
        begin = at
        key, at = _varint(content, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, inner = _varint(content, at)
            head, at = content[begin:at], inner + size
            if path and field == path[0]:
                kept = b"".join(_kept(content, inner, min(at, end), path[1:]))
                yield head + _as_varint(len(kept)) + kept
                continue
            if not path and field in VALUES and size > LARGE:
                continue
        else:
            raise ValueError("the file has a field of a kind that is not known")
        if at > end:
            raise ValueError("the file is cut off")
        yield content[begin:at]


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A whole number written in groups of seven bits, and the place after it."""
    value, shift = 0, 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _as_varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def holds_values(tensor: onnx.TensorProto) -> bool:
    """True unless the values of a tensor are stored elsewhere or were left out."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or math.prod(tensor.dims) > LARGE:
        return False
    fields = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data,
              tensor.uint64_data, tensor.string_data)  # fmt: skip
    return math.prod(tensor.dims) == 0 or any(len(each) for each in fields)


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions written out.

    Raises UnprovenError for more operators than are followed, and for functions that call themselves, stand in for an
    operator of ONNX or are left over.
    """
    sizes: dict[tuple[str, str], int] = {}
    bodies = {_key(each.domain, each.name): list(each.node) for each in model.functions}

    def n_nodes(nodes: Sequence[onnx.NodeProto], depth: int) -> int:
        total = 0
        if depth > len(bodies):
            raise UnprovenError("a function of the graph calls itself")
        for node in _all_nodes(nodes):
            key = _key(node.domain, node.op_type)
            if key in bodies and key not in sizes:
                sizes[key] = n_nodes(bodies[key], depth + 1)
            total += sizes.get(key, 1)
            if total > MOST_NODES:
                raise UnprovenError(f"the graph has more than {MOST_NODES:,} operators")
        return total

    _refuse_ambiguous(model)
    n_nodes(list(model.graph.node), 0)
    if not bodies:
        return model
    if any(domain == "ai.onnx" for domain, _ in bodies):
        raise UnprovenError("a function of the graph stands in for an operator of ONNX")
    flat = inliner.inline_local_functions(model)
    if any(_key(node.domain, node.op_type) in bodies for node in _all_nodes(list(flat.graph.node))):
        raise UnprovenError("a function of the graph could not be followed")
    return flat


def _refuse_ambiguous(model: onnx.ModelProto) -> None:
    """Raise UnprovenError for names that stand for two things: of which one counts, runtimes may disagree."""
    # Two names for one domain are common; two versions are not.
    domains = [domain for domain, _ in {(each.domain or "ai.onnx", each.version) for each in model.opset_import}]
    functions = [_key(each.domain, each.name) for each in model.functions]
    made = [name for node in model.graph.node for name in node.output if name]
    tensors = [*made, *(each.name for each in (*model.graph.initializer, *model.graph.sparse_initializer))]
    if any(len(set(names)) < len(names) for names in (domains, functions, tensors)):
        raise UnprovenError("a name in the graph stands for two things")
    for node in _all_nodes([*model.graph.node, *(node for each in model.functions for node in each.node)]):
        if len({each.name for each in node.attribute}) < len(node.attribute):
            raise UnprovenError(f"{node.op_type} has an attribute twice")


def _key(domain: str, name: str) -> tuple[str, str]:
    return domain or "ai.onnx", name


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(
            inner
            for attribute in node.attribute
            if attribute.type == onnx.AttributeProto.GRAPH
            for inner in attribute.g.node
        )


def folded(call: Call, node: onnx.NodeProto) -> list[Constant]:
    """The constants that an operator makes of constants.

    Raises UnprovenError for an operator whose result could be large, is not known, or on which two runtimes may
    disagree: a pad or a scale could come of it.
    """
    constants = [each for each in call.inputs if isinstance(each, Constant)]
    if len(constants) != len(call.inputs):
        raise UnprovenError(f"{call.op} computes with numbers stored outside the graph")
    if call.op in ONLY_SHAPES:
        return [Constant(shape=constants[0].shape)]
    if any(each.values is None for each in constants):
        raise UnprovenError(f"{call.op} computes with numbers stored outside the graph")
    if _result_size(call, constants) > STORED:
        raise UnprovenError(f"{call.op} of constants makes a large table, or one that is not known")
    # An import that a model of known facts does not need.
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

    feeds = {name: each.values for name, each in zip(node.input, constants, strict=True)}
    try:
        results = [np.asarray(each) for each in ReferenceEvaluator(node, opsets={"": call.opset}).run(None, feeds)]
    except Exception as error:
        raise UnprovenError(f"{call.op} of constants is not known") from error
    if call.op in ARITHMETIC and not all(_agreed(each) for each in (*feeds.values(), *results)):
        raise UnprovenError(f"{call.op} of constants is not known to be the same everywhere")
    if call.op == "Div" and any(_negative(each) for each in feeds.values()):
        # Whole numbers are rounded down by some and towards zero by others.
        raise UnprovenError("Div of negative constants is not known to be the same everywhere")
    if call.op == "Cast" and results[0].dtype.kind in "iu" and not _whole(feeds[node.input[0]]):
        raise UnprovenError("Cast of broken numbers is not known to be the same everywhere")
    return [stored(each) for each in results]


def _agreed(values: NDArray[Any] | None) -> bool:
    """True if all numbers are finite, of a common type, and in the range in which they are computed alike."""
    if values is None or values.dtype.kind not in "iufb" or values.dtype == np.float16:
        return False
    return bool(np.isfinite(values).all() and (np.abs(values.astype(np.float64)) < EXACT).all())


def _negative(values: NDArray[Any] | None) -> bool:
    return values is None or bool((values < 0).any())


def _whole(values: NDArray[Any] | None) -> bool:
    return values is not None and bool((values == np.floor(values.astype(np.float64))).all())


def _result_size(call: Call, constants: Sequence[Constant]) -> int:
    """Values that an operator of constants gives at most; more than are followed if it is not known."""
    sizes = [math.prod(each.shape) for each in constants]
    size = STORED + 1
    if call.op == "Constant":
        # It lies in the graph as it is.
        size = 1
    elif call.op in SAME_SIZE:
        size = sizes[0]
    elif call.op == "Gather":
        size = sizes[0] * max(sizes[1], 1)
    elif call.op in SMALLER or call.op == "Concat":
        size = sum(sizes)
    elif call.op in BROADCAST:
        with suppress(ValueError):
            size = math.prod(np.broadcast_shapes(*(each.shape for each in constants)))
    elif call.op in {"ConstantOfShape", "Expand", "Tile"}:
        own = 1 if call.op == "ConstantOfShape" else sizes[0]
        size = own * math.prod(max(abs(int(each)), 1) for each in constants[-1].numbers())
    elif call.op == "Range":
        first, last, step = (float(each.numbers()[0]) for each in constants)
        size = int(abs((last - first) / step)) + 1 if step else size
    return size


def stored(values: NDArray[Any]) -> Constant:
    """A constant with its values."""
    return Constant(shape=values.shape, values=values)
