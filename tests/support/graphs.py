"""Small ONNX graphs whose reach is known by arithmetic, for tests.

Every builder returns a checked `ModelProto` with one input `x` and one output `y`, both (batch, channel, height, width)
float32 unless it says otherwise, weights seeded. `save` writes one to a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Pair = tuple[int, int]


class Draft:
    """A graph being built: each call adds one node and returns the name of its result."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(seed)

    def constant(self, values: NDArray[np.generic] | Sequence[float] | Sequence[int]) -> str:
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self,
        x: str,
        n_in: int,
        n_out: int,
        kernel: Pair = (3, 3),
        *,
        stride: int = 1,
        dilation: int = 1,
        pads: Sequence[int] | None = None,
    ) -> str:
        """Same-size convolution (before its stride) with He-scaled seeded weights and a small bias."""
        height, width = kernel
        if pads is None:
            top, left = (height - 1) * dilation // 2, (width - 1) * dilation // 2
            pads = (top, left, (height - 1) * dilation - top, (width - 1) * dilation - left)
        scale = np.sqrt(2.0 / (n_in * height * width))
        weight = self.random.normal(0, scale, (n_out, n_in, height, width)).astype(np.float32)
        bias = self.random.normal(0, 0.05, n_out).astype(np.float32)
        return self.node(
            "Conv", x, self.constant(weight), self.constant(bias),
            kernel_shape=[height, width], strides=[stride, stride], dilations=[dilation, dilation], pads=list(pads),
        )  # fmt: skip

    def up(self, x: str, factor: int = 2, mode: str = "nearest") -> str:
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        transform = "asymmetric" if mode == "nearest" else "half_pixel"
        extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
        return self.node("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=transform, **extra)

    def model(
        self,
        result: str,
        *,
        n_in: int,
        n_out: int,
        size: Pair | None = None,
        out_type: int = TensorProto.FLOAT,
        out_shape: Sequence[int | str] | None = None,
        in_type: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        """The finished model: `result` renamed to `y`; `size` fixes height and width, else they are free."""
        return self.model_many(
            [("x", in_type, ["batch", n_in, *(size or ("height", "width"))])],
            [(result, "y", out_type, out_shape or ["batch", n_out, *(size or ("oh", "ow"))])],
        )

    def model_many(
        self,
        inputs: Sequence[tuple[str, int, Sequence[int | str]]],
        outputs: Sequence[tuple[str, str, int, Sequence[int | str]]],
    ) -> onnx.ModelProto:
        """The finished model with inputs (name, type, shape) and outputs (result, name, type, shape)."""
        nodes = [*self.nodes, *(helper.make_node("Identity", [made], [name]) for made, name, _, _ in outputs)]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info(name, kind, shape) for _, name, kind, shape in outputs],
            self.weights,
        )
        model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 9
        onnx.checker.check_model(model)
        return model


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def pointwise(n_in: int = 2, n_out: int = 2) -> onnx.ModelProto:
    draft = Draft()
    return draft.model(draft.conv("x", n_in, n_out, (1, 1)), n_in=n_in, n_out=n_out)


def conv_stack(
    dilations: Sequence[int] = (1, 1), *, kernel: Pair = (3, 3), n_in: int = 3, width: int = 8, relu: bool = True,
    pads: Sequence[int] | None = None, size: Pair | None = None, seed: int = 0,
) -> onnx.ModelProto:  # fmt: skip
    """Convolutions of stride 1; the radius along an axis is the sum over layers of dilation * (kernel - 1) / 2."""
    draft = Draft(seed)
    x, channels = "x", n_in
    for number, dilation in enumerate(dilations):
        n_out = 2 if number == len(dilations) - 1 else width
        x = draft.conv(x, channels, n_out, kernel, dilation=dilation, pads=pads)
        if relu and n_out != 2:
            x = draft.node("Relu", x)
        channels = n_out
    return draft.model(x, n_in=n_in, n_out=2, size=size)


def unet(
    n_in: int = 4, n_out: int = 3, *, width: int = 8, depth: int = 3, seed: int = 0, size: Pair | None = None,
    up: str = "nearest", scores: bool = True,
) -> onnx.ModelProto:  # fmt: skip
    """A U-Net with `depth` halvings by max pooling (total stride 2 ** depth) and two 3x3 convolutions a level.

    `scores=False` ends in an argmax: `y` is (batch, height, width) int64.
    """
    draft = Draft(seed)

    def double(x: str, a: int, b: int) -> str:
        x = draft.node("Relu", draft.conv(x, a, b))
        return draft.node("Relu", draft.conv(x, b, b))

    x, skips, channels = double("x", n_in, width), [], width
    for _ in range(depth):
        skips.append((x, channels))
        x = draft.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = double(x, channels, channels * 2)
        channels *= 2
    for skip, n_skip in reversed(skips):
        x = draft.node("Concat", draft.up(x, mode=up), skip, axis=1)
        x = double(x, channels + n_skip, n_skip)
        channels = n_skip
    x = draft.conv(x, channels, n_out, (1, 1))
    if scores:
        return draft.model(x, n_in=n_in, n_out=n_out, size=size)
    top = draft.node("ArgMax", x, axis=1, keepdims=0)
    return draft.model(top, n_in=n_in, n_out=1, size=size, out_type=TensorProto.INT64,
                       out_shape=["batch", *(size or ("oh", "ow"))])  # fmt: skip


def unet_radius(depth: int = 3) -> int:
    """Radius of `unet` with nearest upsampling, by hand: one pixel followed back to the input, worst phase."""
    worst = 0
    for pixel in range(2**depth):
        first, last = pixel, pixel
        for _ in range(depth):  # decoder: two convolutions at a level, then into the coarser cells
            first, last = (first - 2) // 2, (last + 2) // 2
        first, last = first - 2, last + 2  # the bottom's two convolutions
        for _ in range(depth):  # encoder: out of the pooled cells, then two convolutions
            first, last = first * 2 - 2, last * 2 + 1 + 2
        worst = max(worst, pixel - first, last - pixel)
    return worst


def echo(scale: float = 1.0) -> onnx.ModelProto:
    """One band as it is; halved (0.5, means of four) or repeated (2 and more) by a scale."""
    draft = Draft()
    if scale < 1:
        answer = draft.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    else:
        answer = draft.up("x", int(scale)) if scale > 1 else draft.node("Identity", "x")
    return draft.model_many(
        [("x", TensorProto.FLOAT, ["n", 1, "h", "w"])], [(answer, "y", TensorProto.FLOAT, ["n", 1, "oh", "ow"])]
    )


def down_up(kernel: int = 3) -> onnx.ModelProto:
    """A stride-2 convolution and a stride-2 transposed convolution: total stride 2."""
    draft = Draft()
    x = draft.node("Relu", draft.conv("x", 3, 6, (kernel, kernel), stride=2))
    weight = draft.random.normal(0, 0.4, (6, 2, 2, 2)).astype(np.float32)
    x = draft.node("ConvTranspose", x, draft.constant(weight), kernel_shape=[2, 2], strides=[2, 2])
    return draft.model(x, n_in=3, n_out=2)


def max_pool(size: int = 5) -> onnx.ModelProto:
    draft = Draft()
    before = size // 2
    pads = [before, before, size - 1 - before, size - 1 - before]
    return draft.model(draft.node("MaxPool", "x", kernel_shape=[size, size], pads=pads), n_in=2, n_out=2)


def global_pool(strength: float = 1.0) -> onnx.ModelProto:
    """A squeeze-and-excite block: every pixel depends on the window's mean."""
    draft = Draft()
    x = draft.node("Relu", draft.conv("x", 3, 8))
    gate = draft.node("Sigmoid", draft.conv(draft.node("GlobalAveragePool", x), 8, 8, (1, 1)))
    gate = draft.node("Mul", gate, draft.constant(np.array(strength, np.float32)))
    gated = draft.node("Add", x, draft.node("Mul", x, gate))
    return draft.model(draft.conv(gated, 8, 2, (1, 1)), n_in=3, n_out=2)


def instance_norm() -> onnx.ModelProto:
    draft = Draft()
    x = draft.conv("x", 3, 8)
    x = draft.node("InstanceNormalization", x, draft.constant([1.0] * 8), draft.constant([0.0] * 8))
    return draft.model(draft.conv(draft.node("Relu", x), 8, 2), n_in=3, n_out=2)


def attention(size: Pair = (32, 32)) -> onnx.ModelProto:
    """Self-attention over all the pixels of a fixed window."""
    draft = Draft()
    height, width = size
    flat = draft.node("Reshape", draft.conv("x", 3, 4, (1, 1)), draft.constant(np.array([0, 4, height * width])))
    rows = draft.node("Transpose", flat, perm=[0, 2, 1])
    weights = draft.node("Softmax", draft.node("MatMul", rows, flat), axis=-1)
    mixed = draft.node("Transpose", draft.node("MatMul", weights, rows), perm=[0, 2, 1])
    x = draft.node("Reshape", mixed, draft.constant(np.array([0, 4, height, width])))
    return draft.model(draft.conv(x, 4, 2, (1, 1)), n_in=3, n_out=2, size=size)


def aligned_resize() -> onnx.ModelProto:
    """Halved and brought back with `align_corners`: weights depend on the window's size, though reach is small."""
    draft = Draft()
    x = draft.conv("x", 3, 4, stride=2)
    scales = draft.constant(np.array([1, 1, 2, 2], np.float32))
    x = draft.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="align_corners")
    return draft.model(draft.conv(x, 4, 2), n_in=3, n_out=2)


def finer(factor: int = 2) -> onnx.ModelProto:
    """Super-resolution: `y` is (batch, 1, factor * height, factor * width)."""
    draft = Draft()
    x = draft.conv(draft.node("Relu", draft.conv("x", 3, 8)), 8, factor * factor)
    return draft.model(draft.node("DepthToSpace", x, blocksize=factor), n_in=3, n_out=1)


def window_vector() -> onnx.ModelProto:
    """One vector for the window: `y` is (batch, 5)."""
    draft = Draft()
    x = draft.node("Flatten", draft.node("GlobalAveragePool", draft.node("Relu", draft.conv("x", 3, 5))))
    return draft.model(x, n_in=3, n_out=5, out_shape=["batch", 5])


def fading(radius_layers: int = 40, share: float = 0.05) -> onnx.ModelProto:
    """Many blurs of tiny side weights: far by structure, narrow in effect."""
    draft = Draft()
    weight = np.zeros((1, 1, 3, 3), np.float32)
    weight[0, 0] = share / 8
    weight[0, 0, 1, 1] = 1 - share
    x = "x"
    for _ in range(radius_layers):
        x = draft.node("Conv", x, draft.constant(weight), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return draft.model(x, n_in=1, n_out=1)


def fusion(ratio: int = 2) -> onnx.ModelProto:
    """Two inputs: `fine` (batch, 2, h, w) and `coarse` (batch, 2, h / ratio, w / ratio); `y` on the fine grid."""
    draft = Draft()
    fine = draft.node("Relu", draft.conv("fine", 2, 6))
    coarse = draft.node("Relu", draft.conv("coarse", 2, 6))
    x = draft.node("Concat", fine, draft.up(coarse, ratio), axis=1)
    y = draft.conv(x, 12, 3)
    return draft.model_many(
        [("fine", TensorProto.FLOAT, ["batch", 2, "h", "w"]), ("coarse", TensorProto.FLOAT, ["batch", 2, "ch", "cw"])],
        [(y, "y", TensorProto.FLOAT, ["batch", 3, "oh", "ow"])],
    )
