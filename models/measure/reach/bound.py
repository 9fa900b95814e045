"""The bound of a graph's reach from its operators alone, whatever the pixels: a proof, or the reason for none.

Every tensor is followed from the inputs to the outputs, phase by phase. An operator that is not known here, mixes the
window, computes with its size or adds a stored table to it leaves no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from tilewright.models.measure.reach.call import Call
from tilewright.models.measure.reach.flat import ones_after
from tilewright.models.measure.reach.graph import folded, holds_values, inlined, read_structure, stored
from tilewright.models.measure.reach.kernels import KERNELS
from tilewright.models.measure.reach.lines import PeriodError, UnprovenError, input_line
from tilewright.models.measure.reach.mates import FOR_EACH, MATES, stored_for_each
from tilewright.models.measure.reach.pointwise import ELEMENTWISE, POINTWISE, ROWWISE, rowwise
from tilewright.models.measure.reach.sizes import computed_sizes, shape_of
from tilewright.models.measure.reach.values import Constant, PixelTensor, Unproven

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tilewright.models.measure.reach.lines import Line
    from tilewright.models.measure.reach.values import Plane, Value


MOST_WORK = 2**26
"""Places of all tensors and kernels together beyond which nothing is proven: some seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """No output pixel depends on an input pixel farther away than `radius`; windows at multiples of `stride`, whose
    sides are multiples of it too, lose at most `trim` pixels to their borders. In reference pixels.
    """

    radius: int
    trim: int
    stride: int


def reach_bound(
    path: Path,
    *,
    inputs: Sequence[Plane],
    outputs: Sequence[Plane],
    stride: int,
    window: tuple[int, int] | None = None,
    mates: bool = False,
) -> Bound | Unproven:
    """The bound of the graph at `path` for windows at multiples of `stride` or, if it repeats less often, of a multiple
    of that; `window` is its only height and width, if it has them.

    `mates`: the planes name the batch axis instead of height and width, and the bound is how far the windows of a batch
    see each other along it.
    """
    try:
        model = inlined(read_structure(path))
    except UnprovenError as error:
        return Unproven(reason=str(error))
    unit = lcm(*(plane.ratio.denominator for plane in (*inputs, *outputs)))
    while True:
        try:
            values = _Flow(model, inputs, period=stride, window=window, mates=mates).values()
            return _bound(values, outputs, stride=stride, window=window, unit=unit)
        except PeriodError as error:
            stride = lcm(stride, error.period)
        except UnprovenError as error:
            return Unproven(reason=str(error))


def _bound(
    values: dict[str, Value], outputs: Sequence[Plane], *, stride: int, window: tuple[int, int] | None, unit: int
) -> Bound:
    if window and any(side % stride for side in window):
        raise UnprovenError(f"its window of {window[0]} px is no multiple of its stride of {stride}")
    radius, trim = 0, 0
    for plane in outputs:
        value = values.get(plane.name, Unproven(reason=f"output {plane.name} is not found"))
        if isinstance(value, Unproven):
            raise UnprovenError(value.reason)
        if not isinstance(value, PixelTensor) or value.places != plane.places:
            raise UnprovenError(f"output {plane.name} does not lie on the grid")
        for line in value.lines.values():
            if line.ratio != plane.ratio or line.extra != -sum(plane.crop):
                raise UnprovenError(f"output {plane.name} has another size than the card says")
            radius = max(radius, _radius(line, plane.crop[0], unit))
            trim = max(trim, _trim(line, plane.crop[0]))
    return Bound(radius=radius, trim=ceil(trim / stride) * stride, stride=stride)


def _radius(line: Line, crop: int, unit: int) -> int:
    """The distance from an edge of changed pixels, at a multiple of `unit`, to the farthest pixel that they change."""
    first, last = line.span(np.arange(line.n) - crop)
    near = np.array([floor(each / line.ratio) for each in range(line.n)])
    far = np.array([ceil((each + 1) / line.ratio) - 1 for each in range(line.n)])
    before, after = far + 1 - (first // unit + 1) * unit, last // unit * unit - near
    return int(max(before.max(), after.max(), 0))


def _trim(line: Line, crop: int) -> int:
    """Pixels that windows must lose so that what the next period depends on lies inside of them, on either side."""
    first, last = line.span(np.arange(line.n) - crop)
    return int(max(-first.min(), last.max() - line.period + 1, 0))


class _Flow:
    """The values of a graph's tensors, from its inputs on."""

    def __init__(
        self,
        model: onnx.ModelProto,
        inputs: Sequence[Plane],
        *,
        period: int,
        window: tuple[int, int] | None,
        mates: bool,
    ) -> None:
        self._graph, self._window, self._period, self._mates = model.graph, window, period, mates
        self._opsets = {each.domain or "ai.onnx": each.version for each in model.opset_import}
        self._ones: dict[str, frozenset[int]] = {}
        self._known: dict[str, Value] = {each.name: _constant(each) for each in model.graph.initializer}
        for plane in inputs:
            lines = {name: input_line(plane.ratio, period) for name in plane.places}
            self._known[plane.name] = PixelTensor(rank=plane.rank, places=plane.places, lines=lines)

    def values(self) -> dict[str, Value]:
        """Every tensor by name. Raises PeriodError if the graph repeats less often than was assumed."""
        work = 0
        for node in self._graph.node:
            results = self._after(node)
            work += max((_work(each, node) for each in results), default=0)
            if work > MOST_WORK:
                return {name: Unproven(reason="the graph is too large to be followed") for name in self._names()}
            self._known.update({name: result for name, result in zip(node.output, results, strict=False) if name})
        return self._known

    def _names(self) -> Iterator[str]:
        return (each.name for each in self._graph.output)

    def _after(self, node: onnx.NodeProto) -> Sequence[Value]:
        inputs = tuple(self._known.get(name, _missing(name)) if name else None for name in node.input)
        domain = node.domain or "ai.onnx"
        attributes = {each.name: _attribute(each) for each in node.attribute}
        call = Call(
            op=node.op_type,
            inputs=inputs,
            attributes=attributes,
            opset=self._opsets.get(domain, 0),
            n_outputs=len(node.output),
            window=self._window,
            period=self._period,
            mates=self._mates,
            ones=tuple(self._ones.get(name, frozenset()) for name in node.input),
        )
        unproven = next((each for each in inputs if isinstance(each, Unproven)), None)
        if unproven:
            return [unproven] * len(node.output)
        try:
            results = _results(call, node, domain)
            elementwise = call.op in ELEMENTWISE
            flat = {
                name: ones_after(call, each, elementwise=elementwise)
                for name, each in zip(node.output, results, strict=False)
                if name
            }
        except UnprovenError as error:
            return [Unproven(reason=str(error))] * len(node.output)
        except (KeyError, IndexError, ValueError, TypeError):
            # An operator written otherwise than its specification says proves nothing.
            return [Unproven(reason=f"the reach of {call.op} cannot be followed")] * len(node.output)
        self._ones.update(flat)
        return results


def _work(value: Value, node: onnx.NodeProto) -> int:
    """The places that were followed to a tensor, at most."""
    kernel = next((each.ints for each in node.attribute if each.name == "kernel_shape"), ())
    lines = value.lines.values() if isinstance(value, PixelTensor) else ()
    return sum(line.n for line in lines) * max(kernel, default=4)


def _results(call: Call, node: onnx.NodeProto, domain: str) -> Sequence[Value]:
    """The values that an operator gives."""
    if any(each.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for each in node.attribute):
        raise UnprovenError(f"{call.op} decides as it runs")
    if all(each is None or isinstance(each, Constant) for each in call.inputs):
        if call.op.startswith(("Random", "Bernoulli", "Multinomial", "Dropout")):
            raise UnprovenError(f"{call.op} draws noise")
        return folded(call, node)
    if domain == "ai.onnx.ml" and call.op in ROWWISE:
        pixels = rowwise(call)
        return [pixels.without([1]), pixels] if call.op.endswith("Classifier") else [pixels]
    if domain != "ai.onnx":
        raise UnprovenError(f"the reach of {call.op} ({domain}) is not known")
    if call.op == "Shape":
        return [shape_of(call)]
    if any(isinstance(each, PixelTensor) for each in call.inputs):
        return _after_pixels(call)
    return [stored_for_each(call)] if call.mates and call.op in FOR_EACH else [computed_sizes(call)]


def _after_pixels(call: Call) -> Sequence[Value]:
    """The values that an operator of ONNX makes of pixels."""
    if call.op == "Dropout":
        return _after_dropout(call)
    if call.mates and call.op in MATES:
        return [MATES[call.op](call)] * call.n_outputs
    if call.op in KERNELS:
        if any(isinstance(each, PixelTensor) for each in call.inputs[1:]):
            raise UnprovenError(f"{call.op} takes numbers that are computed from pixels")
        hidden = [Unproven(reason=f"{call.op} gives places in its window")] * (call.n_outputs - 1)
        return [KERNELS[call.op](call), *hidden]
    if call.op not in POINTWISE:
        raise UnprovenError(f"{call.op} may mix the window")
    return [POINTWISE[call.op](call)] * call.n_outputs


def _after_dropout(call: Call) -> Sequence[Value]:
    training = call.input(2)
    if training is not None and any(call.numbers(2) or []):
        raise UnprovenError("Dropout in training mode draws noise")
    return [call.pixels()] * call.n_outputs


def _constant(tensor: onnx.TensorProto) -> Constant:
    shape = tuple(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or not holds_values(tensor):
        return Constant(shape=shape)
    try:
        return stored(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError):
        # Numbers of a type or length that cannot be read: the shape is what the tensor says.
        return Constant(shape=shape)


def _missing(name: str) -> Unproven:
    return Unproven(reason=f"{name} is not found")


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, int | float | str | onnx.TensorProto | onnx.GraphProto) else list(value)
