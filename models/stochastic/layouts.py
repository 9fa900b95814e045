"""Where the numbers lie that an operator of a graph draws: on the window's pixels, or the same for the whole window.

The graph's sizes are inferred for windows of several sizes: an axis that grows with the rows of a window lies along
them, and one that does not is a channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod
from typing import TYPE_CHECKING, Any, Final

import onnx
from onnx import TensorProto

from tilewright.models.errors import CardError
from tilewright.models.optimise.concat import fix_sizes
from tilewright.models.run.smoke_run import synthetic_inputs
from tilewright.models.spec.arrays import input_axes
from tilewright.models.stochastic.sites import FLOATS, refuse_site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.stochastic.sites import Site


SIDE: Final = 64
"""Side in pixels of the smallest window of a free graph whose sizes are inferred; all strides up to it divide it."""

WINDOWS: Final = 3
"""Windows a call for which sizes are inferred, so that their axis is known from axes of one."""

LARGEST_CONSTANT: Final = 64
"""Numbers of a stored tensor up to which it may hold sizes."""

MOST_NUMBERS: Final = 2**26
"""Numbers that one operator may draw for a whole window."""

OTHERS: Final = ("bands", "time")
"""Names of axes that are neither windows nor pixels; more of them have no name."""

UNKNOWN: Final = "its size does not follow from the window's: export the graph with sizes that shape inference can tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The array that a site draws: its axes, its lengths (-1 for windows and for pixels that are free), its type, and
    its pixels per pixel of the card's grid; None where it has no pixels.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    data_type: str
    ratio: Fraction | None


def site_layouts(model: onnx.ModelProto, card: ModelCard, sites: Sequence[Site]) -> list[Layout]:
    """The layout of each site of a card's graph. Raises CardError naming an operator that has none."""
    light = _without_weights(model)
    side = _fixed_side(card)
    base = side or SIDE * lcm(*(Fraction(card.ratio(spec)).limit_denominator(64).numerator for spec in card.inputs))
    single = synthetic_inputs(card, side=base)
    shapes = {name: feed.shape for name, feed in single.items()}
    # What is drawn has the shape of the operator's result.
    names = {site.index: str(model.graph.node[site.index].output[0]) for site in sites}
    growths = ((1, 1), (2, 1), (1, 2)) if side is None and not card.pixelwise else ((1, 1),)
    seen = []
    for rows, cols in growths:
        fed = {name: _grown(card, name, shape, rows, cols, windows=WINDOWS) for name, shape in shapes.items()}
        seen.append(_inferred(light, fed, card.name))
    n_rows = card.batch or WINDOWS * (base**2 if card.pixelwise else 1)
    layouts = []
    for site in sites:
        found = [each.get(names[site.index]) for each in seen]
        node = model.graph.node[site.index]
        data_type = _data_type(node, seen[0].get(names[site.index]))
        if not data_type:
            raise refuse_site(
                card.name, site.label, "it draws numbers of another type than float32, float16 or float64"
            )
        sizes = [_sizes(each) for each in found]
        if any(each is None for each in sizes):
            raise refuse_site(card.name, site.label, UNKNOWN)
        layouts.append(
            _layout(card, site, [each for each in sizes if each], base=base, n_rows=n_rows, data_type=data_type)
        )
    return layouts


def _fixed_side(card: ModelCard) -> int | None:
    """The side of the only window that the card's shapes allow, in pixels of its grid; None where it is free."""
    if any(spec.resize for spec in card.inputs):
        return card.tile.window
    for spec in card.inputs:
        if (height := spec.size("height")) is not None and height > 0:
            return round(height * card.ratio(spec))
    return None


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the numbers of its weights: sizes hang on small whole ones alone."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        if tensor.data_type in FLOATS and prod(tensor.dims) > LARGEST_CONSTANT:
            for field in ("raw_data", "float_data", "double_data", "int32_data", "external_data", "data_location"):
                tensor.ClearField(field)
    return light


def _grown(card: ModelCard, name: str, shape: Sequence[int], rows: int, cols: int, *, windows: int) -> tuple[int, ...]:
    """The shape of an input for windows of so many times the rows and columns."""
    axes = {spec.name: spec.axes for spec in card.inputs}
    axes |= {extra.name: input_axes(extra.dim_order) or () for extra in card.extras}
    fixed = {spec.name: spec.shape for spec in card.inputs}
    fixed |= {extra.name: extra.shape for extra in card.extras}
    times = {"height": rows, "width": cols, "batch": windows}
    return tuple(
        given if given > 0 and axis == "batch" else length if given > 0 else length * times.get(axis, 1)
        for axis, length, given in zip(axes[name], shape, fixed[name], strict=True)
    )


def _inferred(light: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], name: str) -> dict[str, Any]:
    """The type of every tensor by name that follows from the shapes of the inputs."""
    try:
        known = fix_sizes(light, shapes)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"the sizes of the graph of {name} cannot be inferred: {reason}") from error
    ports = (*known.graph.value_info, *known.graph.input, *known.graph.output)
    return {each.name: each.type.tensor_type for each in ports}


def _data_type(node: onnx.NodeProto, tensor: Any) -> str:
    """The type of what is drawn, empty for one that cannot be. A Bernoulli's is held against a chance, in float32."""
    if node.op_type == "Bernoulli":
        return "float32"
    element = int(tensor.elem_type) if tensor is not None else TensorProto.UNDEFINED
    return next((name for each, name in FLOATS.items() if each == element), "")


def _sizes(tensor: Any) -> tuple[int, ...] | None:
    if tensor is None or not tensor.HasField("shape"):
        return None
    sizes = tuple(int(dim.dim_value) if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim)
    return sizes if all(each > 0 for each in sizes) else None


def _layout(
    card: ModelCard, site: Site, sizes: list[tuple[int, ...]], *, base: int, n_rows: int, data_type: str
) -> Layout:
    """The layout of what has these sizes in windows of `base` pixels, in windows of twice the rows, and of twice the
    columns; the first alone where windows have one size.
    """
    first = sizes[0]
    if len({len(each) for each in sizes}) > 1:
        raise refuse_site(card.name, site.label, UNKNOWN)
    places = _grown_axes(sizes) if len(sizes) > 1 else () if card.pixelwise else _square_axes(first, base)
    if places is None:
        raise refuse_site(
            card.name,
            site.label,
            f"its numbers ({' x '.join(map(str, first))} for windows of {base} px) grow with the window and do not lie "
            "on its rows and columns, as those of tokens: fix the window's size in graph and card, or drop elsewhere",
        )
    batched = bool(first) and first[0] == n_rows
    if not places:
        if first and not batched and first[0] != 1:
            raise refuse_site(card.name, site.label, "its first axis is not that of the windows")
        return _same_everywhere(card, site, first, batched=batched, data_type=data_type)
    others = [axis for axis in range(len(first)) if axis not in {0, *places}]
    if not batched or 0 in places:
        raise refuse_site(card.name, site.label, "it lies on pixels, and its first axis is not that of the windows")
    ratios = {Fraction(first[axis], base) for axis in places}
    ratio = ratios.pop()
    if ratios or 1 not in {ratio.numerator, ratio.denominator} or ratio.denominator > SIDE or len(others) > len(OTHERS):
        raise refuse_site(card.name, site.label, "its pixels do not lie on those of the card's grid in one ratio")
    names = dict(zip(others, OTHERS, strict=False)) | {0: "batch", places[0]: "height", places[1]: "width"}
    kept = card.batch or -1
    shape = tuple(
        kept if axis == 0 else -1 if axis in places and len(sizes) > 1 else length for axis, length in enumerate(first)
    )
    return Layout(axes=tuple(names[axis] for axis in range(len(first))), shape=shape, data_type=data_type, ratio=ratio)


def _same_everywhere(card: ModelCard, site: Site, sizes: tuple[int, ...], *, batched: bool, data_type: str) -> Layout:
    """The layout of what has no pixels: one draw serves all windows of a pass."""
    own = sizes[1:]
    if not own or prod(own) > MOST_NUMBERS:
        raise refuse_site(card.name, site.label, f"it draws {prod(own):,} numbers for each window")
    first = (card.batch or -1) if batched and not site.broadcast else 1
    return Layout(axes=("batch", *("own" for _ in own)), shape=(first, *own), data_type=data_type, ratio=None)


def _grown_axes(sizes: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The axes of rows and columns, none where nothing grows; None where something else does."""
    first, taller, wider = sizes
    rows = [axis for axis, length in enumerate(first) if taller[axis] != length]
    cols = [axis for axis, length in enumerate(first) if wider[axis] != length]
    if not rows and not cols:
        return ()
    if len(rows) != 1 or len(cols) != 1 or rows == cols:
        return None
    (row,), (col,) = rows, cols
    return (row, col) if taller[row] == 2 * first[row] and wider[col] == 2 * first[col] else None


def _square_axes(sizes: tuple[int, ...], base: int) -> tuple[int, ...]:
    """The two axes that lie along the only window of a graph: the last, or those before the last, of one length that
    divides the window or is a multiple of it.
    """
    for axes in ((len(sizes) - 2, len(sizes) - 1), (len(sizes) - 3, len(sizes) - 2)):
        if axes[0] < 1 or len(sizes) < 4:
            continue
        height, width = sizes[axes[0]], sizes[axes[1]]
        if height == width and height > 1 and (base % height == 0 or height % base == 0):
            return axes
    return ()
