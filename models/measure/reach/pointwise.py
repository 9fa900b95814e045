"""Operators that read one place: elementwise, over channels, or by a new order of the axes."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Final

from tilewright.models.measure.reach.flat import refuse_hidden
from tilewright.models.measure.reach.lines import UnprovenError
from tilewright.models.measure.reach.sizes import refuse_elsewhere
from tilewright.models.measure.reach.values import Constant, Extent, PixelTensor, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.models.measure.reach.call import Call
    from tilewright.models.measure.reach.values import Value

SINGLE_AXIS: Final = 13
"""The opset from which a softmax runs over one axis; before, over all from its axis on. Source: ONNX, Softmax-13."""

ELEMENTWISE: Final = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf",
    "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)  # fmt: skip

REDUCTIONS: Final = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip


def elementwise(call: Call) -> PixelTensor:
    """After an operator that joins the same place of all its inputs."""
    pixels = [each for each in call.inputs if isinstance(each, PixelTensor)]
    joined = reduce(PixelTensor.joined, pixels)
    for index, each in enumerate(call.inputs):
        if isinstance(each, Sizes):
            raise UnprovenError(f"{call.op} computes with the window's size")
        if isinstance(each, Constant):
            _refuse_table(call, joined, each)
            joined = replace(joined, rank=max(joined.rank, len(each.shape)))
        elif each is not None:
            # An input without height and width, broadcast over them, could still vary along them.
            refuse_hidden(call, joined, index)
    return joined


def _refuse_table(call: Call, pixels: PixelTensor, constant: Constant) -> None:
    for place in pixels.places.values():
        length = constant.shape[place] if -place <= len(constant.shape) else 1
        if length != 1:
            raise UnprovenError(f"{call.op} adds a stored table of {length} places along the window")


def over_axis(call: Call) -> PixelTensor:
    """After an operator over one axis that keeps it: softmax, a norm over channels, a running sum."""
    pixels = call.pixels()
    old = call.opset < SINGLE_AXIS and call.op in {"Softmax", "LogSoftmax", "Hardmax"}
    default = 1 if old else -1
    axis = (call.numbers(1) or [default])[0] if call.op == "CumSum" else call.attributes.get("axis", default)
    first = pixels.from_end(int(axis))
    axes = range(first, 0) if old or call.op == "LayerNormalization" else [first]
    _refuse_spatial(call, pixels, axes)
    call.constants(range(1, len(call.inputs)))
    return pixels


def over_channels(call: Call) -> PixelTensor:
    """After an operator over the second axis by stored numbers: batch normalisation, local response."""
    pixels = call.pixels()
    older = call.op == "BatchNormalization" and call.opset < 14 and call.n_outputs > 1
    if older or call.attributes.get("training_mode"):
        raise UnprovenError("BatchNormalization in training mode")
    call.constants(range(1, len(call.inputs)))
    _refuse_spatial(call, pixels, [1 - pixels.rank])
    return pixels


def quantised(call: Call) -> PixelTensor:
    """After a change to or from quantised numbers, by stored scales along an axis."""
    pixels = call.pixels()
    scales = call.constants(range(1, len(call.inputs)))
    if any(len(each.shape) == 1 and each.shape[0] > 1 for each in scales):
        _refuse_spatial(call, pixels, [pixels.from_end(call.attributes.get("axis", 1))])
    if any(len(each.shape) > 1 for each in scales):
        raise UnprovenError(f"{call.op} has scales in blocks")
    return pixels


def reduced(call: Call) -> PixelTensor:
    """After a reduction over axes that are not in space."""
    pixels = call.pixels()
    if call.op in {"ArgMax", "ArgMin"}:
        axes = [call.attributes.get("axis", 0)]
    else:
        axes = call.numbers(1, "axes") or []
        if not axes and call.attributes.get("noop_with_empty_axes"):
            return pixels
        axes = axes or list(range(pixels.rank))
    _refuse_spatial(call, pixels, axes)
    return pixels if call.attributes.get("keepdims", 1) else pixels.without([int(axis) for axis in axes])


def top(call: Call) -> PixelTensor:
    """After TopK over an axis that is not in space."""
    pixels = call.pixels()
    _refuse_spatial(call, pixels, [call.attributes.get("axis", -1)])
    call.constants(range(1, len(call.inputs)))
    return pixels


def _refuse_spatial(call: Call, pixels: PixelTensor, axes: object) -> None:
    assert isinstance(axes, list | range), "axes are numbers"
    if any(pixels.is_spatial(int(axis)) for axis in axes):
        raise UnprovenError(f"{call.op} mixes the window along height or width")


def concatenated(call: Call) -> PixelTensor:
    """After Concat along an axis that is not in space."""
    pixels = [each for each in call.inputs if isinstance(each, PixelTensor)]
    _refuse_spatial(call, pixels[0], [call.attributes["axis"]])
    if len({each.rank for each in pixels}) > 1 or any(isinstance(each, Sizes) for each in call.inputs):
        raise UnprovenError("Concat joins unlike layers")
    joined = reduce(PixelTensor.joined, pixels)
    for index, each in enumerate(call.inputs):
        if isinstance(each, Constant):
            _refuse_table(call, joined, each)
        elif isinstance(each, PixelTensor) and not each.lines and joined.lines:
            refuse_hidden(call, joined, index)
    return joined


def split(call: Call) -> PixelTensor:
    """After Split along an axis that is not in space."""
    pixels = call.pixels()
    _refuse_spatial(call, pixels, [call.attributes.get("axis", 0)])
    call.constants(range(1, len(call.inputs)))
    return pixels


def gathered(call: Call) -> PixelTensor:
    """After Gather of stored places along an axis that is not in space."""
    pixels = call.pixels()
    axis = pixels.from_end(call.attributes.get("axis", 0))
    _refuse_spatial(call, pixels, [axis])
    (indices,) = call.constants(range(1, 2))
    if not indices.shape:
        return pixels.without([axis])
    if len(indices.shape) > 1:
        raise UnprovenError("Gather by a table of places")
    return pixels


def transposed(call: Call) -> PixelTensor:
    """After Transpose."""
    pixels = call.pixels()
    order = call.attributes.get("perm") or list(reversed(range(pixels.rank)))
    places = {name: order.index(place + pixels.rank) - pixels.rank for name, place in pixels.places.items()}
    return replace(pixels, places=places)


def squeezed(call: Call) -> PixelTensor:
    """After Squeeze of stored axes."""
    pixels = call.pixels()
    axes = call.numbers(1, "axes")
    if not axes:
        raise UnprovenError("Squeeze of axes that are not known")
    _refuse_spatial(call, pixels, axes)
    return pixels.without([int(axis) for axis in axes])


def unsqueezed(call: Call) -> PixelTensor:
    """After Unsqueeze at stored axes."""
    pixels = call.pixels()
    axes = call.numbers(1, "axes") or []
    rank = pixels.rank + len(axes)
    new = {int(axis) % rank for axis in axes}
    kept = [axis for axis in range(rank) if axis not in new]
    places = {name: kept[place + pixels.rank] - rank for name, place in pixels.places.items()}
    return replace(pixels, rank=rank, places=places)


def reshaped(call: Call) -> PixelTensor:
    """After a Reshape that keeps height and width as the last two axes and their sizes."""
    pixels, target = call.pixels(), call.extents(1) or ()
    if not pixels.lines:
        return replace(pixels, rank=len(target))
    if any(place < -len(pixels.places) for place in pixels.places.values()) or len(target) < len(pixels.places):
        raise UnprovenError("Reshape moves height and width")
    for name, place in pixels.places.items():
        if not _keeps(call, pixels, name, target, len(target) + place):
            raise UnprovenError("Reshape mixes height and width with other axes")
    result = replace(pixels, rank=len(target))
    refuse_elsewhere(call, result, enumerate(target))
    return result


def _keeps(call: Call, pixels: PixelTensor, name: str, target: tuple[Extent, ...], at: int) -> bool:
    """True if the number at `at` of a target shape is the length of an axis in space."""
    given, line = target[at], pixels.lines[name]
    if given == Extent(axis=name, ratio=line.ratio, extra=line.extra):
        return True
    if given.axis:
        return False
    if given.extra == 0 and not call.attributes.get("allowzero"):
        return at - pixels.rank == pixels.places[name]
    return bool(call.window) and given.extra == line.ratio * _side(call, name) + line.extra


def _side(call: Call, name: str) -> int:
    assert call.window, "only a graph with a window has its side"
    return call.window["hw".index(name)]


def expanded(call: Call) -> PixelTensor:
    """After Expand or Tile that repeats nothing along height and width."""
    pixels, target = call.pixels(), call.extents(1) or ()
    for name, place in pixels.places.items():
        if -place > len(target) or target[place] == Extent(axis="", extra=1):
            continue
        if call.op == "Tile" or not _keeps(call, pixels, name, target, len(target) + place):
            raise UnprovenError(f"{call.op} repeats the window")
    refuse_elsewhere(call, pixels, ((at - len(target), each) for at, each in enumerate(target)))
    return replace(pixels, rank=max(pixels.rank, len(target)))


def multiplied(call: Call) -> PixelTensor:
    """After a product with a stored matrix over an axis that is not in space."""
    left, right = call.input(0), call.input(1)
    pixels, other, summed = (left, right, -1) if isinstance(left, PixelTensor) else (right, left, -2)
    if not isinstance(pixels, PixelTensor) or (call.op == "Gemm" and pixels.lines and call.attributes.get("transA")):
        raise UnprovenError(f"{call.op} is a product that is not known")
    if isinstance(other, PixelTensor) and not (_plain(pixels) and _plain(other)):
        raise UnprovenError(f"{call.op} multiplies computed layers over the window")
    if not isinstance(other, PixelTensor | Constant) or (isinstance(other, Constant) and len(other.shape) != 2):
        raise UnprovenError(f"{call.op} takes a matrix that is not known")
    if pixels.rank < 2:
        raise UnprovenError(f"{call.op} is a product that is not known")
    _refuse_spatial(call, pixels, [summed])
    if call.op == "Gemm" and isinstance(left, PixelTensor):
        for bias in call.constants(range(2, len(call.inputs))):
            _refuse_table(call, pixels, bias)
    elif call.op == "Gemm":
        raise UnprovenError("Gemm is a product that is not known")
    return pixels


def _plain(pixels: PixelTensor) -> bool:
    return not pixels.lines


def rowwise(call: Call) -> PixelTensor:
    """After a predictor of trees or of a table: each row alone."""
    pixels = call.pixels()
    if pixels.rank != 2 or list(pixels.places.values()) not in ([], [-2]):
        raise UnprovenError(f"{call.op} takes rows, not windows")
    call.constants(range(1, len(call.inputs)))
    return pixels


POINTWISE: Final[dict[str, Callable[[Call], Value]]] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", "CumSum"), over_axis),
    **dict.fromkeys(("BatchNormalization", "LRN"), over_channels),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), quantised),
    **dict.fromkeys((*REDUCTIONS, "ArgMax", "ArgMin"), reduced),
    "TopK": top,
    "Concat": concatenated,
    "Split": split,
    "Gather": gathered,
    "Transpose": transposed,
    "Squeeze": squeezed,
    "Unsqueeze": unsqueezed,
    "Reshape": reshaped,
    **dict.fromkeys(("Expand", "Tile"), expanded),
    **dict.fromkeys(("MatMul", "Gemm"), multiplied),
}
"""What each operator that reads one place makes of the reach."""

ROWWISE: Final = (
    "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "LinearClassifier", "LinearRegressor",
    "SVMClassifier", "SVMRegressor", "Scaler", "Normalizer", "Imputer", "ArrayFeatureExtractor",
)  # fmt: skip
"""Operators of ai.onnx.ml that answer each row alone."""
