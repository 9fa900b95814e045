"""The bound that operators prove: windows trimmed by it equal the whole, for graphs drawn at random."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.graphs import Draft, save, unet
from tilewright.models.measure.reach.bound import Bound, reach_bound
from tilewright.models.measure.reach.values import Plane
from tilewright.models.run.session import open_graph

PLACES = {"h": -2, "w": -1}
END = 2**31 - 1


def bound_of(path: Path, *, stride: int = 1) -> Bound:
    x, y = (Plane(name=name, rank=4, places=PLACES, ratio=Fraction(1)) for name in "xy")
    bound = reach_bound(path, inputs=[x], outputs=[y], stride=stride)
    assert isinstance(bound, Bound), bound
    return bound


def _conv(draft: Draft, x: str, random: np.random.Generator) -> str:
    kernel = (int(random.integers(1, 5)), int(random.integers(1, 5)))
    dilation = int(random.integers(1, 5))
    spare = [(side - 1) * dilation for side in kernel]
    first = [int(random.integers(0, each + 1)) for each in spare]
    pads = [*first, *(each - before for each, before in zip(spare, first, strict=True))]
    return draft.node("Tanh", draft.conv(x, 2, 2, kernel, dilation=dilation, pads=pads))


def _moved(draft: Draft, x: str, random: np.random.Generator) -> str:
    """Cut at the one end and padded at the other: moved by some pixels."""
    down, right = (int(each) for each in random.integers(0, 6, 2))
    if random.random() < 0.5:
        ends = ([down, right], [END, END], [2, 3])
        x = draft.node("Slice", x, *(draft.constant(np.array(each)) for each in ends))
        return draft.node("Pad", x, draft.constant(np.array([0, 0, 0, 0, 0, 0, down, right])))
    x = draft.node("Pad", x, draft.constant(np.array([0, 0, down, right, 0, 0, 0, 0])), mode="reflect")
    ends = ([0, 0], [-down if down else END, -right if right else END], [2, 3])
    return draft.node("Slice", x, *(draft.constant(np.array(each)) for each in ends))


def _cropped_and_padded(draft: Draft, x: str, random: np.random.Generator) -> str:
    """A convolution without padding, then padding by one's own edge."""
    size = int(random.integers(2, 5))
    first = int(random.integers(0, size))
    x = draft.conv(x, 2, 2, (size, size), pads=[0] * 4)
    pads = [0, 0, first, first, 0, 0, size - 1 - first, size - 1 - first]
    return draft.node("Pad", x, draft.constant(np.array(pads)), mode="edge")


def _down_up(draft: Draft, x: str, random: np.random.Generator) -> str:
    """Coarser by a factor, some layers there, and back; joined with the layer before."""
    factor = int(random.choice([2, 3, 4]))
    down = int(random.integers(0, 4))
    if down == 0:
        coarse = draft.node("AveragePool", x, kernel_shape=[factor] * 2, strides=[factor] * 2)
    elif down == 1:
        weight = draft.random.normal(0, 0.4, (2, 2, factor + 1, factor + 1)).astype(np.float32)
        coarse = draft.node("Conv", x, draft.constant(weight), strides=[factor] * 2, auto_pad="SAME_UPPER")
    elif down == 2:
        pads = [1, 0, factor - 1, factor]
        coarse = draft.node("MaxPool", x, kernel_shape=[2 * factor] * 2, strides=[factor] * 2, pads=pads)
    else:
        deep = draft.node("SpaceToDepth", x, blocksize=factor)
        coarse = draft.conv(deep, 2 * factor**2, 2, (1, 1))
    for _ in range(int(random.integers(0, 3))):
        coarse = _conv(draft, coarse, random)
    return draft.node("Add", x, _finer(draft, coarse, factor, int(random.integers(0, 5)), skip=x))


def _finer(draft: Draft, x: str, factor: int, kind: int, *, skip: str) -> str:
    if kind == 0:
        return draft.up(x, factor, mode="linear")
    if kind == 1:
        size = factor + 2
        weight = draft.random.normal(0, 0.4, (2, 2, size, size)).astype(np.float32)
        pads = [1, 2, 1, 0]
        return draft.node(
            "ConvTranspose", x, draft.constant(weight), strides=[factor] * 2, pads=pads, output_padding=[0, 0]
        )  # fmt: skip
    if kind == 2:
        return draft.node("DepthToSpace", draft.conv(x, 2, 2 * factor**2, (1, 1)), blocksize=factor)
    if kind == 3:
        shapes = [draft.node("Shape", each) for each in (x, skip)]
        cuts = [([0], [2]), ([2], [4])]
        ends = [
            draft.node("Slice", shape, draft.constant(np.array(first)), draft.constant(np.array(last)))
            for shape, (first, last) in zip(shapes, cuts, strict=True)
        ]
        sizes = draft.node("Concat", *ends, axis=0)
        return draft.node("Resize", x, "", "", sizes, mode="nearest", nearest_mode="round_prefer_ceil")
    return draft.up(x, factor)


def drawn(seed: int) -> onnx.ModelProto:
    """A graph of two channels drawn from kernels, moves, crops and levels."""
    random, draft = np.random.default_rng(seed), Draft(seed)
    x = "x"
    for make in random.choice([_conv, _moved, _cropped_and_padded, _down_up, _down_up], 3):
        x = make(draft, x, random)
    return draft.model(x, n_in=2, n_out=2)


@pytest.mark.parametrize("seed", range(60))
def test_windows_trimmed_by_the_bound_equal_the_whole(seed: int, tmp_path: Path) -> None:
    path = save(drawn(seed), tmp_path)
    bound = bound_of(path)
    step = -(-24 // bound.stride) * bound.stride
    side = step + 2 * bound.trim
    whole = side + 3 * bound.stride
    image = np.random.default_rng(seed).normal(0, 1, (1, 2, whole, whole)).astype(np.float32)
    session = open_graph(path, sha256=str(path), provider="cpu")
    answer = session.run({"x": image})["y"]
    for row, col in ((0, bound.stride), (bound.stride * 2, 0), (bound.stride, bound.stride * 3)):
        window = np.ascontiguousarray(image[:, :, row : row + side, col : col + side])
        kept = slice(bound.trim, bound.trim + step)
        made = session.run({"x": window})["y"][:, :, kept, kept]
        there = answer[:, :, row + bound.trim : row + bound.trim + step, col + bound.trim : col + bound.trim + step]
        assert np.abs(made - there).max() <= 1e-4 * max(1.0, float(np.abs(there).max()))


def test_the_bound_is_no_wider_than_a_u_net_needs(tmp_path: Path) -> None:
    assert bound_of(save(unet(depth=3), tmp_path)) == Bound(radius=51, trim=48, stride=8)
