"""Graphs made to be called exact and to be wrong: each does something far away, or elsewhere, where nothing is tried.

Every builder returns a model from one band `x` to one value `y`, both (batch, 1, height, width) float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.models.measure.test_proof import above, below, gated, shifted, texture
from tests.support.graphs import Draft, Pair

END = 2**31 - 1
Build = Callable[[Draft], str]


def finished(build: Build, *, size: Pair | None = None, opset: int | None = None) -> onnx.ModelProto:
    draft = Draft()
    model = draft.model(build(draft), n_in=1, n_out=1, size=size)
    if opset:
        model.opset_import[0].version = opset
    return model


def ints(draft: Draft, *numbers: int) -> str:
    return draft.constant(np.array(numbers, np.int64))


def number(draft: Draft, value: float) -> str:
    return draft.constant(np.array(value, np.float32))


def where_smooth(draft: Draft, value: str) -> str:
    """`value` on smooth ground, else the pixel itself."""
    return gated(draft, below(draft, texture(draft), 0.02), value)


def where_rare(draft: Draft, value: str) -> str:
    """`value` where the pixel lies in a range that noise seldom meets."""
    return gated(draft, draft.node("And", above(draft, "x", 0.42), below(draft, "x", 0.4203)), value)


def cut(draft: Draft, x: str, starts: tuple[int, int], ends: tuple[int, int]) -> str:
    return draft.node("Slice", x, ints(draft, *starts), ints(draft, *ends), ints(draft, 2, 3))


def row_sum(draft: Draft) -> str:
    return draft.node("Add", "x", draft.node("Mul", draft.node("CumSum", "x", ints(draft, 3)), number(draft, 1e-8)))


def row_maximum(draft: Draft) -> str:
    return where_rare(draft, draft.node("ReduceMax", "x", axes=[2], keepdims=1))


def resampled_grid(draft: Draft) -> str:
    """GridSample that moves a window of 64 px by 20 px where values are rare."""
    rows, cols = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    grid = draft.constant(np.stack([cols + 0.6, rows], -1)[None].astype(np.float32))
    return where_rare(draft, draft.node("GridSample", "x", grid, align_corners=1))


def fixed_resize(draft: Draft) -> str:
    """To 32 x 32 and back to the window's size."""
    shape = draft.node("Shape", "x")
    first = draft.node("Slice", shape, ints(draft, 0), ints(draft, 2))
    small = draft.node("Concat", first, ints(draft, 32, 32), axis=0)
    coarse = draft.node("Resize", "x", "", "", small, mode="linear")
    return where_smooth(draft, draft.node("Resize", coarse, "", "", shape, mode="linear"))


def top_pixels(draft: Draft) -> str:
    flat = draft.node("Reshape", "x", ints(draft, 0, 1, -1))
    draft.nodes.append(helper.make_node("TopK", [flat, ints(draft, 3)], ["top", "places"], axis=2))
    third = draft.node("Unsqueeze", draft.node("Slice", "top", ints(draft, 2), ints(draft, 3), ints(draft, 2)),
                       ints(draft, 3))  # fmt: skip
    return where_smooth(draft, third)


def scanned(draft: Draft) -> str:
    """A Scan that hands a share of each row to the next."""
    carried, row = "carried", "row"
    kind = TensorProto.FLOAT
    nodes = [
        helper.make_node("Mul", [carried, "share"], ["faded"]),
        helper.make_node("Add", ["faded", row], ["sum"]),
        helper.make_node("Identity", ["sum"], ["shown"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info(name, kind, None) for name in (carried, row)],
        [helper.make_tensor_value_info(name, kind, None) for name in ("sum", "shown")],
        [numpy_helper.from_array(np.array(0.01, np.float32), "share")],
    )
    begin = draft.node("ReduceMin", draft.node("Mul", "x", number(draft, 0.0)), axes=[2], keepdims=0)
    draft.nodes.append(
        helper.make_node(
            "Scan", [begin, "x"], ["last", "rows"], body=body, num_scan_inputs=1,
            scan_input_axes=[2], scan_output_axes=[2],
        )
    )  # fmt: skip
    return where_smooth(draft, "rows")


def looped(draft: Draft) -> str:
    """A Loop of as many turns as the window has rows: each adds the window's first pixel."""
    turns = draft.node("Gather", draft.node("Shape", "x"), draft.constant(np.array(2)), axis=0)
    first = draft.node("Slice", "x", ints(draft, 0, 0), ints(draft, 1, 1), ints(draft, 2, 3))
    kind = TensorProto.FLOAT
    body = helper.make_graph(
        [
            helper.make_node("Mul", [first, "tiny"], ["little"]),
            helper.make_node("Add", ["state", "little"], ["next"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", kind, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", kind, None),
        ],
        [numpy_helper.from_array(np.array(1e-9, np.float32), "tiny")],
    )
    return draft.node("Loop", turns, draft.constant(np.array(True)), "x", body=body)


def instance_norm(draft: Draft) -> str:
    norm = draft.node("InstanceNormalization", "x", draft.constant([1.0]), draft.constant([0.0]))
    return where_rare(draft, norm)


def layer_norm(draft: Draft) -> str:
    """A norm along the columns of a window of 64 px."""
    scale = draft.constant(np.ones(64, np.float32))
    return where_rare(draft, draft.node("LayerNormalization", "x", scale, axis=-1))


def masked_attention(draft: Draft) -> str:
    """Attention over the pixels of a window of 32 px, all but a few masked by a huge finite number."""
    flat = draft.node("Reshape", "x", ints(draft, 0, 1, 1024))
    rows = draft.node("Transpose", flat, perm=[0, 2, 1])
    score = draft.node("MatMul", rows, flat)
    seen = draft.node("Greater", score, number(draft, 0.9))
    masked = draft.node("Where", seen, score, number(draft, -1e30))
    mixed = draft.node("MatMul", draft.node("Softmax", masked, axis=-1), rows)
    back = draft.node("Reshape", draft.node("Transpose", mixed, perm=[0, 2, 1]), ints(draft, 0, 1, 32, 32))
    return where_smooth(draft, back)


def rolled(draft: Draft) -> str:
    """The window's last 16 rows before its first."""
    last = cut(draft, "x", (-16, 0), (END, END))
    first = cut(draft, "x", (0, 0), (-16, END))
    return where_smooth(draft, draft.node("Concat", last, first, axis=2))


def padded_by_size(draft: Draft) -> str:
    """Moved by half of the window's height: a Pad whose numbers come from the shape."""
    height = draft.node("Slice", draft.node("Shape", "x"), ints(draft, 2), ints(draft, 3))
    half = draft.node("Div", height, ints(draft, 2))
    pads = draft.node("Concat", ints(draft, 0, 0), half, ints(draft, 0, 0, 0), draft.node("Neg", half), ints(draft, 0),
                      axis=0)  # fmt: skip
    return where_smooth(draft, draft.node("Pad", "x", pads))


def odd_deconvolution(draft: Draft) -> str:
    """A stride of 2 and back by a transposed convolution with an odd kernel, pads and output padding."""
    weight = draft.constant(draft.random.normal(0, 0.4, (1, 1, 5, 5)).astype(np.float32))
    coarse = draft.node("Conv", "x", weight, kernel_shape=[5, 5], strides=[2, 2], pads=[2, 2, 2, 2])
    return draft.node(
        "ConvTranspose", coarse, weight, kernel_shape=[5, 5], strides=[2, 2], pads=[2, 2, 2, 2],
        output_padding=[1, 1],
    )  # fmt: skip


def dilated_pools(draft: Draft) -> str:
    """A dilated maximum, and one that rounds its size up."""
    wide = draft.node("Pad", "x", ints(draft, 0, 0, 17, 17, 0, 0, 17, 17), mode="edge")
    far = draft.node("MaxPool", wide, kernel_shape=[3, 3], dilations=[17, 17])
    coarse = draft.node("MaxPool", far, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return where_smooth(draft, draft.up(coarse, 2))


def counted_rims(draft: Draft) -> str:
    return draft.node("AveragePool", "x", kernel_shape=[9, 9], pads=[4] * 4, count_include_pad=1)


def offset_cells(draft: Draft) -> str:
    """Cells of 4 px that begin 3 px late, joined and split again."""
    moved = draft.node("Pad", cut(draft, "x", (3, 1), (END, END)), ints(draft, 0, 0, 0, 0, 0, 0, 3, 1))
    cells = draft.node("SpaceToDepth", moved, blocksize=4)
    mixed = draft.conv(cells, 16, 16, (1, 1))
    return draft.node("DepthToSpace", mixed, blocksize=4)


def counted_pixels(draft: Draft) -> str:
    """How many pixels are rare: NonZero gives as many places."""
    rare = draft.node("And", above(draft, "x", 0.42), below(draft, "x", 0.4203))
    found = draft.node("Gather", draft.node("Shape", draft.node("NonZero", rare)), draft.constant(np.array(1)), axis=0)
    return draft.node("Add", "x", draft.node("Cast", found, to=TensorProto.FLOAT))


def summed_columns(draft: Draft) -> str:
    """An Einsum over the columns of a window of 64 px."""
    matrix = np.eye(64, dtype=np.float32)
    matrix[0, 40:] = 1e-7
    return draft.node("Einsum", "x", draft.constant(matrix), equation="nchw,wv->nchv")


def gathered_columns(draft: Draft) -> str:
    """Columns by places that are computed from the pixels."""
    place = draft.node("ArgMax", draft.node("ReduceMax", "x", axes=[0, 1, 2], keepdims=0), axis=0, keepdims=1)
    return where_smooth(draft, draft.node("Gather", "x", place, axis=3))


def brightest_column(draft: Draft) -> str:
    place = draft.node("Cast", draft.node("ArgMax", "x", axis=3), to=TensorProto.FLOAT)
    return where_rare(draft, place)


def computed_weights(draft: Draft) -> str:
    mean = draft.node("ReduceMean", "x", keepdims=1)
    weight = draft.node("Add", draft.node("Mul", mean, number(draft, 1e-8)), number(draft, 1.0))
    return draft.node("Conv", "x", weight, kernel_shape=[1, 1])


def lopsided_groups(draft: Draft) -> str:
    """Two groups of convolutions whose pads lie on one side alone."""
    wide = draft.node("Concat", "x", draft.node("Neg", "x"), axis=1)
    weight = draft.constant(draft.random.normal(0, 0.3, (2, 1, 7, 5)).astype(np.float32))
    moved = draft.node("Conv", wide, weight, kernel_shape=[7, 5], pads=[6, 0, 0, 4], group=2)
    return draft.conv(draft.node("Relu", moved), 2, 1, (1, 1))


def branches(draft: Draft) -> str:
    """An If whose branches reach 1 and 60 px."""
    graphs = {}
    for name, far in (("then_branch", 60), ("else_branch", 1)):
        weight = numpy_helper.from_array(np.eye(3, dtype=np.float32)[None, None] / 3, f"w{name}")
        node = helper.make_node("Conv", ["x", f"w{name}"], [f"y{name}"], dilations=[far, far], pads=[far] * 4)
        shown = helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, None)
        graphs[name] = helper.make_graph([node], name, [], [shown], [weight])
    return draft.node("If", above(draft, draft.node("ReduceMax", "x", keepdims=0), 1e30), **graphs)


def quantised_corners(draft: Draft) -> str:
    """A quantised convolution of dilation 50 with corner taps alone."""
    scale, zero = number(draft, 0.01), draft.constant(np.array(128, np.uint8))
    small = draft.node("QuantizeLinear", "x", scale, zero)
    weight = np.full((1, 1, 3, 3), 128, np.uint8)
    weight[0, 0, 0, 0] = weight[0, 0, 2, 2] = 178
    taps = draft.constant(weight)
    far = draft.node(
        "QLinearConv", small, scale, zero, taps, scale, zero, scale, zero,
        kernel_shape=[3, 3], dilations=[50, 50], pads=[50] * 4,
    )  # fmt: skip
    return draft.node("DequantizeLinear", far, scale, zero)


def masked_softmax(draft: Draft) -> str:
    """A softmax along the rows of all but a few pixels, which a huge finite number masks."""
    masked = draft.node("Where", above(draft, "x", 0.9999), "x", number(draft, -1e30))
    return draft.node("Add", "x", draft.node("Mul", draft.node("Softmax", masked, axis=2), number(draft, 1e-3)))


def drifting_scale(draft: Draft) -> str:
    """Halved, then doubled by a scale that is a little off: weights drift along the window."""
    coarse = draft.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    scales = draft.constant(np.array([1, 1, 2.0000012, 2.0000012], np.float32))
    return draft.node("Resize", coarse, "", scales, mode="linear")


def old_nearest(draft: Draft) -> str:
    """A nearest resize of opset 10 to three quarters, which rounds up, then back by way of four times that."""
    smaller, larger = (draft.constant(np.array([1, 1, scale, scale], np.float32)) for scale in (0.75, 4))
    many = draft.node("Resize", draft.node("Resize", "x", smaller), larger)
    return draft.node("AveragePool", many, kernel_shape=[3, 3], strides=[3, 3])


def evened(draft: Draft) -> str:
    """Cut to an even size and stretched back: an odd window is another picture."""
    shape = draft.node("Shape", "x")
    sides = draft.node("Slice", shape, ints(draft, 2), ints(draft, 4))
    even = draft.node("Mul", draft.node("Div", sides, ints(draft, 2)), ints(draft, 2))
    kept = draft.node("Slice", "x", ints(draft, 0, 0), even, ints(draft, 2, 3))
    return draft.node("Resize", kept, "", "", shape, mode="linear")


def dynamic_quantisation(draft: Draft) -> str:
    """Rounded by the window's own range of values."""
    draft.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    return draft.node("DequantizeLinear", "q", "scale", "zero")


def own_variance(draft: Draft) -> str:
    return where_smooth(draft, draft.node("MeanVarianceNormalization", "x", axes=[2, 3]))


def wrapped(draft: Draft) -> str:
    """Reflected at its rim, moved by 9 px."""
    return where_smooth(draft, cut(draft, draft.node("Pad", "x", ints(draft, 0, 0, 9, 9, 0, 0, 0, 0), mode="reflect"),
                                   (0, 0), (-9, -9)))  # fmt: skip


def counted_places(draft: Draft) -> str:
    """The number of each column, from Range, as a faint ramp."""
    width = draft.node("Gather", draft.node("Shape", "x"), draft.constant(np.array(3)), axis=0)
    places = draft.node("Range", draft.constant(np.array(0)), width, draft.constant(np.array(1)))
    return draft.node(
        "Add", "x", draft.node("Mul", draft.node("Cast", places, to=TensorProto.FLOAT), number(draft, 1e-7))
    )


def stored_places(draft: Draft) -> str:
    """A faint ramp stored for a window of 64 px."""
    ramp: NDArray[np.float32] = np.linspace(0, 1e-6, 64, dtype=np.float32)
    return draft.node("Add", "x", draft.constant(ramp[None, None, None]))


def columns_as_channels(draft: Draft) -> str:
    """A 1x1 convolution over the columns of a window of 64 px, which were made channels."""
    turned = draft.node("Transpose", "x", perm=[0, 3, 2, 1])
    weight = np.eye(64, dtype=np.float32)
    weight[0, 50] = 1e-7
    mixed = draft.node("Conv", turned, draft.constant(weight[:, :, None, None]), kernel_shape=[1, 1])
    return draft.node("Transpose", mixed, perm=[0, 3, 2, 1])


def multiplied_columns(draft: Draft) -> str:
    matrix = np.eye(64, dtype=np.float32)
    matrix[50, 0] = 1e-7
    return draft.node("MatMul", "x", draft.constant(matrix))


def folded_rows(draft: Draft) -> str:
    """A window of 64 px with its halves made channels, mixed, and put back."""
    halves = draft.node("Reshape", "x", ints(draft, 0, 2, 32, 64))
    swapped = draft.node("Concat", draft.node("Gather", halves, ints(draft, 1), axis=1),
                         draft.node("Gather", halves, ints(draft, 0), axis=1), axis=1)  # fmt: skip
    return where_rare(draft, draft.node("Reshape", swapped, ints(draft, 0, 1, 64, 64)))


def brightest_anywhere(draft: Draft) -> str:
    """The brightest pixel of the window, if it is rarely bright."""
    highest = draft.node("GlobalMaxPool", "x")
    return gated(draft, above(draft, highest, 1e20), highest)


def moved_by_places(draft: Draft) -> str:
    """ScatterND that writes a window's last pixel over its first."""
    shape = draft.node("Shape", "x")
    last = cut(draft, "x", (-1, -1), (END, END))
    last = draft.node("Slice", last, ints(draft, 0), ints(draft, 1), ints(draft, 0))
    written = draft.node(
        "ScatterND", "x", draft.constant(np.zeros((1, 4), np.int64)), draft.node("Reshape", last, ints(draft, -1))
    )
    return draft.node("Reshape", written, shape)


def own_function(far: int = 60) -> onnx.ModelProto:
    """A function of the graph's own with a convolution of dilation 60 in it, behind a gate."""
    draft = Draft()
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32)[None, None] / 3)
    body = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Conv", ["a", "w"], ["b"], dilations=[far, far], pads=[far] * 4),
    ]
    opset = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Near", ["a"], ["b"], body, opset)
    draft.nodes.append(helper.make_node("Near", ["x"], ["near"], domain="own"))
    nodes = [*draft.nodes]
    draft.nodes[:] = []
    shown = where_smooth(draft, "near")
    graph = helper.make_graph(
        [*nodes, *draft.nodes, helper.make_node("Identity", [shown], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "oh", "ow"])],
        draft.weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], functions=[function]
    )
    model.ir_version = 9
    return model


def mirrored_kernel(draft: Draft) -> str:
    """Corner taps of dilation 30 at a quarter of the size."""
    coarse = draft.node("AveragePool", "x", kernel_shape=[4, 4], strides=[4, 4])
    return where_rare(draft, draft.up(shifted(draft, coarse, far=30), 4))


def mates_mean(draft: Draft) -> str:
    """The mean over the windows of a batch, where a pixel is rarely bright."""
    return _gated_above(draft, draft.node("ReduceMean", "x", axes=[0], keepdims=1))


def mates_moved(draft: Draft) -> str:
    """The window before it in the batch, where a pixel is rarely bright."""
    last = draft.node("Slice", "x", ints(draft, -1), ints(draft, END), ints(draft, 0))
    first = draft.node("Slice", "x", ints(draft, 0), ints(draft, -1), ints(draft, 0))
    return _gated_above(draft, draft.node("Concat", last, first, axis=0))


def mates_flattened(draft: Draft) -> str:
    """The largest pixel of all windows: a Reshape makes one row of them."""
    flat = draft.node("Reshape", "x", ints(draft, 1, 1, 1, -1))
    return _gated_above(draft, draft.node("ReduceMax", flat, axes=[3], keepdims=1))


def mates_counted(draft: Draft) -> str:
    """The number of windows in the batch."""
    count = draft.node("Gather", draft.node("Shape", "x"), draft.constant(np.array(0)), axis=0)
    return _gated_above(draft, draft.node("Cast", count, to=TensorProto.FLOAT))


def mates_summed(draft: Draft) -> str:
    """A running sum over the windows of a batch."""
    return _gated_above(draft, draft.node("CumSum", "x", ints(draft, 0)))


def mates_softmax(draft: Draft) -> str:
    """A softmax of opset 12 over all axes from the first on."""
    return _gated_above(draft, draft.node("Softmax", "x", axis=0))


def mates_as_channels(draft: Draft) -> str:
    """The windows made channels of one picture, and a norm over those."""
    turned = draft.node("Transpose", "x", perm=[1, 0, 2, 3])
    return _gated_above(
        draft, draft.node("Transpose", draft.node("LpNormalization", turned, axis=1), perm=[1, 0, 2, 3])
    )


def mates_multiplied(draft: Draft) -> str:
    """A product that sums over the windows of a batch."""
    rows = draft.node("Reshape", "x", ints(draft, 0, -1))
    crossed = draft.node("MatMul", rows, draft.node("Transpose", rows))
    total = draft.node("ReduceSum", crossed, ints(draft, 1), keepdims=1)
    return _gated_above(draft, draft.node("Unsqueeze", total, ints(draft, 2, 3)))


def _gated_above(draft: Draft, value: str) -> str:
    return gated(draft, above(draft, "x", 1e20), value)


def own_attention(draft: Draft) -> str:
    """Attention among the rows of each window alone, with the batch read from the shape."""
    batch = draft.node("Slice", draft.node("Shape", "x"), ints(draft, 0), ints(draft, 1))
    shape = draft.node("Concat", batch, ints(draft, 64, 64), axis=0)
    rows = draft.node("Reshape", "x", shape)
    score = draft.node("MatMul", rows, draft.node("Transpose", rows, perm=[0, 2, 1]))
    mixed = draft.node("MatMul", draft.node("Softmax", score, axis=-1), rows)
    return draft.node("Reshape", mixed, draft.node("Concat", batch, ints(draft, 1, 64, 64), axis=0))


def laughing(depth: int = 40) -> onnx.ModelProto:
    """Functions that each call the next one twice: 2 to the power of `depth` operators."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", f"f{depth}", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset)
    ]
    for number_of in range(depth):
        twice = [
            helper.make_node(f"f{number_of + 1}", ["a"], ["c"], domain="own"),
            helper.make_node(f"f{number_of + 1}", ["c"], ["b"], domain="own"),
        ]
        functions.append(helper.make_function("own", f"f{number_of}", ["a"], ["b"], twice, opset))
    graph = helper.make_graph(
        [helper.make_node("f0", ["x"], ["y"], domain="own")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
    )
    return helper.make_model(graph, opset_imports=opset, functions=functions)


def large_table(op: str) -> Build:
    """A table of a terabyte that an operator makes of a few constants."""

    def build(draft: Draft) -> str:
        size = ints(draft, 2**20, 2**20)
        one = draft.constant(np.ones((1, 1), np.float32))
        match op:
            case "ConstantOfShape":
                table = draft.node(op, size)
            case "Expand" | "Tile":
                table = draft.node(op, one, size)
            case "Range":
                table = draft.node(op, *(draft.constant(np.array(each)) for each in (0, 2**40, 1)))
            case "Mul":
                column, row = (draft.constant(np.ones(shape, np.float32)) for shape in ((2**18, 1), (1, 2**18)))
                table = draft.node(op, column, row)
            case "MatMul":
                column, row = (draft.constant(np.ones(shape, np.float32)) for shape in ((2**18, 1), (1, 2**18)))
                table = draft.node(op, column, row)
            case _:
                table = draft.node("Pad", one, ints(draft, 2**20, 2**20, 0, 0))
        return draft.node("Add", "x", draft.node("ReduceMax", draft.node("Cast", table, to=1), keepdims=0))

    return build


def wide_kernel(draft: Draft) -> str:
    side = 2**26
    return draft.node("AveragePool", "x", kernel_shape=[2 * side + 1] * 2, pads=[side] * 4)


def long_repeat(draft: Draft) -> str:
    """Strides of unlike primes, one after the other."""
    x = "x"
    for stride in (2, 3, 5, 7, 11, 13, 17):
        x = draft.node("MaxPool", x, kernel_shape=[stride] * 2, strides=[stride] * 2)
    return x


def large_shape_table(draft: Draft) -> str:
    """A million stored numbers joined with a shape."""
    shape = draft.node("Shape", "x")
    many = draft.node("Concat", shape, draft.constant(np.zeros(1_000_000, np.int64)), axis=0)
    return draft.node("Add", "x", draft.node("Cast", draft.node("ReduceMax", many, keepdims=0), to=1))


def deep(n: int = 2000) -> Build:
    """So many operators, one after the other, on three levels."""

    def build(draft: Draft) -> str:
        x = draft.node("MaxPool", draft.conv("x", 1, 4), kernel_shape=[8, 8], strides=[8, 8])
        for _ in range(n // 2):
            x = draft.node("Relu", draft.conv(x, 4, 4))
        return draft.conv(draft.up(x, 8), 4, 1, (1, 1))

    return build


def transformer(width: int = 768, depth: int = 12, side: int = 224, patch: int = 16) -> Build:
    """A vision transformer: patches, `depth` blocks of attention among them, patches back to pixels."""
    n = (side // patch) ** 2

    def dense(draft: Draft, x: str, n_in: int, n_out: int) -> str:
        weight = draft.constant(np.full((n_in, n_out), 0.001, np.float32))
        return draft.node("Add", draft.node("MatMul", x, weight), draft.constant(np.zeros(n_out, np.float32)))

    def heads(draft: Draft, x: str, *, turned: bool = False) -> str:
        split = draft.node("Reshape", x, ints(draft, 0, n, 12, width // 12))
        return draft.node("Transpose", split, perm=[0, 2, 3, 1] if turned else [0, 2, 1, 3])

    def normed(draft: Draft, x: str) -> str:
        one, zero = (draft.constant(np.full(width, value, np.float32)) for value in (1, 0))
        return draft.node("LayerNormalization", x, one, zero, axis=-1)

    def build(draft: Draft) -> str:
        patches = draft.node(
            "Conv", "x", draft.constant(np.full((width, 1, patch, patch), 0.001, np.float32)),
            kernel_shape=[patch] * 2, strides=[patch] * 2,
        )  # fmt: skip
        x = draft.node("Transpose", draft.node("Reshape", patches, ints(draft, 0, width, n)), perm=[0, 2, 1])
        x = draft.node("Add", x, draft.constant(np.zeros((1, n, width), np.float32)))
        for _ in range(depth):
            inner = normed(draft, x)
            query, key, value = (dense(draft, inner, width, width) for _ in range(3))
            score = draft.node("MatMul", heads(draft, query), heads(draft, key, turned=True))
            mixed = draft.node("MatMul", draft.node("Softmax", score, axis=-1), heads(draft, value))
            joined = draft.node("Reshape", draft.node("Transpose", mixed, perm=[0, 2, 1, 3]), ints(draft, 0, n, width))
            x = draft.node("Add", x, dense(draft, joined, width, width))
            wide = draft.node("Relu", dense(draft, normed(draft, x), width, 4 * width))
            x = draft.node("Add", x, dense(draft, wide, 4 * width, width))
        back = dense(draft, x, width, patch * patch)
        grid = draft.node("Reshape", draft.node("Transpose", back, perm=[0, 2, 1]),
                          ints(draft, 0, patch * patch, side // patch, side // patch))  # fmt: skip
        return draft.node("DepthToSpace", grid, blocksize=patch)

    return build


def floored_pad(draft: Draft) -> str:
    """A pad from a negative division, which is -1 where it is rounded towards zero and -2 where down, a hundredfold."""
    half = draft.node("Div", ints(draft, -3), ints(draft, 2))
    far = draft.node("Mul", draft.node("Add", half, ints(draft, 2)), ints(draft, 20))
    return where_smooth(draft, _moved_down(draft, far))


def broken_cast(draft: Draft) -> str:
    """A pad from a number that no whole number holds, cast."""
    huge = draft.node("Cast", draft.constant(np.array([1e25], np.float32)), to=TensorProto.INT64)
    sign = draft.node("Cast", draft.node("Greater", huge, ints(draft, 0)), to=TensorProto.INT64)
    return where_smooth(draft, _moved_down(draft, draft.node("Mul", sign, ints(draft, 20))))


def wrapped_number(draft: Draft) -> str:
    """A pad from a product that does not fit into 64 bits."""
    many = draft.node("Mul", ints(draft, 2**62), ints(draft, 4))
    return where_smooth(draft, _moved_down(draft, draft.node("Add", many, ints(draft, 20))))


def _moved_down(draft: Draft, far: str) -> str:
    """Moved down by a computed number of rows."""
    back = draft.node("Neg", far)
    pads = draft.node("Concat", ints(draft, 0, 0), far, ints(draft, 0, 0, 0), back, ints(draft, 0), axis=0)
    return draft.node("Pad", "x", pads)


def doubled_opset() -> onnx.ModelProto:
    """Two versions of ONNX at once, under its two names."""
    model = finished(lambda draft: draft.node("Softmax", draft.conv("x", 1, 1), axis=1))
    model.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    return model


def doubled_attribute() -> onnx.ModelProto:
    """A convolution with two dilations."""
    weight = np.full((1, 1, 3, 3), 0.1, np.float32)
    model = finished(lambda draft: draft.node("Conv", "x", draft.constant(weight), dilations=[40, 40], pads=[40] * 4))
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    conv.attribute.append(helper.make_attribute("dilations", [1, 1]))
    return model


def doubled_weight() -> onnx.ModelProto:
    """Two tensors of one name: pads of 0 and of 20."""
    model = finished(lambda draft: where_smooth(draft, _moved_down(draft, ints(draft, 20))))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), model.graph.initializer[1].name))
    return model


def own_relu() -> onnx.ModelProto:
    """A function that takes the name of an operator, and reads neighbours."""
    model = own_function()
    model.functions[0].domain = ""
    model.functions[0].name = "Relu"
    for node in model.graph.node:
        if node.op_type == "Near":
            node.op_type, node.domain = "Relu", ""
    return model
