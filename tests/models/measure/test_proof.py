"""What is called bounded holds whatever the pixels: graphs made to look local on the pixels that are tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.models.measure.test_receptive import measured_field
from tests.support.graphs import Draft, unet
from tilewright.models.measure.reach.field import ReceptiveField
from tilewright.models.run.session import open_graph

FAR = 100


def shifted(draft: Draft, x: str, far: int = FAR, places: tuple[tuple[int, int], ...] = ((0, 0), (2, 2))) -> str:
    """The sum of pixels `far` away, along the corners of a dilated 3x3 kernel."""
    weight = np.zeros((1, 1, 3, 3), np.float32)
    for row, col in places:
        weight[0, 0, row, col] = 0.5
    return draft.node(
        "Conv", x, draft.constant(weight), kernel_shape=[3, 3], dilations=[far, far], pads=[far] * 4
    )  # fmt: skip


def gated(draft: Draft, gate: str, value: str, base: str = "x") -> str:
    """`value` if `gate` (bool), else `base`."""
    return draft.node("Where", gate, value, base)


def texture(draft: Draft, x: str = "x") -> str:
    """The local range of values: none on smooth ground."""
    highest = draft.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
    lowest = draft.node("Neg", draft.node("MaxPool", draft.node("Neg", x), kernel_shape=[3, 3], pads=[1] * 4))
    return draft.node("Sub", highest, lowest)


def below(draft: Draft, x: str, limit: float) -> str:
    return draft.node("Less", x, draft.constant(np.array(limit, np.float32)))


def above(draft: Draft, x: str, limit: float) -> str:
    return draft.node("Greater", x, draft.constant(np.array(limit, np.float32)))


def corner_taps() -> onnx.ModelProto:
    """A 3x3 convolution of dilation 100 with taps in its corners alone: in a narrow window all of them are padding."""
    draft = Draft()
    return draft.model(draft.node("Add", "x", shifted(draft, "x")), n_in=1, n_out=1)


def texture_gate() -> onnx.ModelProto:
    """Pixels 100 px away count where the ground is smooth."""
    draft = Draft()
    return draft.model(gated(draft, below(draft, texture(draft), 0.05), shifted(draft, "x")), n_in=1, n_out=1)


def rare_value_gate() -> onnx.ModelProto:
    """Pixels 100 px away count where an index lies in a narrow range."""
    draft = Draft()
    rare = draft.node("And", above(draft, "x", 0.42), below(draft, "x", 0.4203))
    return draft.model(gated(draft, rare, shifted(draft, "x")), n_in=1, n_out=1)


def gated_pool() -> onnx.ModelProto:
    """The window's mean counts where the ground is smooth."""
    draft = Draft()
    mean = draft.node("GlobalAveragePool", "x")
    return draft.model(gated(draft, below(draft, texture(draft), 0.01), mean), n_in=1, n_out=1)


def otherwise_when_large() -> onnx.ModelProto:
    """The window's mean is added in windows above 300 px."""
    draft = Draft()
    height = draft.node("Gather", draft.node("Shape", "x"), draft.constant(np.array(2)), axis=0)
    large = draft.node("Greater", height, draft.constant(np.array(300)))
    return draft.model(gated(draft, large, draft.node("GlobalAveragePool", "x")), n_in=1, n_out=1)


def cropped_positions() -> onnx.ModelProto:
    """A table of places, stored for 2048 px and cut to the window."""
    draft = Draft()
    table = draft.constant(np.linspace(0, 1e-5, 2048**2, dtype=np.float32).reshape(1, 1, 2048, 2048))
    size = draft.node("Slice", draft.node("Shape", "x"), draft.constant(np.array([2])), draft.constant(np.array([4])))
    cut = draft.node("Slice", table, draft.constant(np.array([0, 0])), size, draft.constant(np.array([2, 3])))
    return draft.model(draft.node("Add", "x", cut), n_in=1, n_out=1)


def brightest_pixel() -> onnx.ModelProto:
    """The window's maximum counts once it is above every value tried."""
    draft = Draft()
    highest = draft.node("ReduceMax", "x", axes=[2, 3])
    return draft.model(gated(draft, above(draft, highest, 1e30), highest), n_in=1, n_out=1)


def one_row() -> onnx.ModelProto:
    """A softmax over the columns that counts only where neighbours are alike to the last digits."""
    draft = Draft()
    share = draft.node("Softmax", draft.node("Mul", "x", draft.constant(np.array(1e-6, np.float32))), axis=3)
    return draft.model(gated(draft, below(draft, texture(draft), 1e-7), share), n_in=1, n_out=1)


def branch() -> onnx.ModelProto:
    """An If that moves the picture by 100 px once a pixel exceeds what is tried."""
    draft = Draft()
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, FAR, 0, 0, 0, -FAR, 0])
    branches = {
        "then_branch": ([helper.make_node("Pad", ["x", "pads"], ["moved"])], "moved", [pads]),
        "else_branch": ([helper.make_node("Identity", ["x"], ["kept"])], "kept", []),
    }
    graphs = {
        name: helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], weights
        )
        for name, (nodes, output, weights) in branches.items()
    }
    limit = above(draft, draft.node("ReduceMax", "x", keepdims=0), 1e30)
    return draft.model(draft.node("If", limit, **graphs), n_in=1, n_out=1)


def scan_line() -> onnx.ModelProto:
    """A running sum along the rows, of rare values alone."""
    draft = Draft()
    rare = draft.node("Cast", above(draft, "x", 1e30), to=TensorProto.FLOAT)
    summed = draft.node("CumSum", rare, draft.constant(np.array(3)))
    return draft.model(draft.node("Add", "x", summed), n_in=1, n_out=1)


def old_softmax() -> onnx.ModelProto:
    """A softmax of opset 12 over axis 1: it runs over channels, rows and columns together."""
    draft = Draft()
    model = draft.model(draft.node("Softmax", draft.conv("x", 1, 3, (1, 1)), axis=1), n_in=1, n_out=3)
    model.opset_import[0].version = 12
    return model


def shifted_there_and_back() -> onnx.ModelProto:
    """Moved by 40 px and back: every operator reads one pixel, and a window lacks what the move pushed out of it."""
    draft = Draft()
    ahead = draft.node(
        "Slice", "x", *(draft.constant(np.array(each)) for each in ([40, 40], [2**31 - 1] * 2, [2, 3]))
    )  # fmt: skip
    back = draft.node("Pad", ahead, draft.constant(np.array([0, 0, 40, 40, 0, 0, 0, 0])))
    return draft.model(gated(draft, below(draft, texture(draft), 0.05), back), n_in=1, n_out=1)


def far_pool_at_a_coarse_level() -> onnx.ModelProto:
    """A texture gate before which the far pixels are read at a quarter of the size."""
    draft = Draft()
    coarse = draft.node("AveragePool", "x", kernel_shape=[4, 4], strides=[4, 4])
    far = draft.up(shifted(draft, coarse, far=20), 4)
    return draft.model(gated(draft, below(draft, texture(draft), 0.05), far), n_in=1, n_out=1)


def computed_kernel() -> onnx.ModelProto:
    """Weights that are the window's own mean."""
    draft = Draft()
    weight = draft.node("ReduceMean", "x", keepdims=1)
    tiny = draft.node("Mul", weight, draft.constant(np.array(1e-9, np.float32)))
    return draft.model(
        draft.node("Add", "x", draft.node("Conv", "x", tiny, kernel_shape=[1, 1])), n_in=1, n_out=1
    )  # fmt: skip


BOUNDED = {
    "corner taps": (corner_taps, 100),
    "texture gate": (texture_gate, 100),
    "rare value gate": (rare_value_gate, 100),
    "moved and back": (shifted_there_and_back, 40),
    "far at a coarse level": (far_pool_at_a_coarse_level, 80),
}
UNPROVEN = {
    "gated pool": gated_pool,
    "otherwise when large": otherwise_when_large,
    "cropped positions": cropped_positions,
    "brightest pixel": brightest_pixel,
    "softmax over a row": one_row,
    "If": branch,
    "running sum": scan_line,
    "old softmax": old_softmax,
    "computed kernel": computed_kernel,
}


def grounds(side: int) -> list[np.ndarray]:
    """Images (1, 1, side, side) on which the gates open: noise, a slope, plateaus, one value, rare values."""
    random = np.random.default_rng(3)
    rows, cols = np.mgrid[:side, :side].astype(np.float32) / side
    patches = np.kron(random.uniform(-1, 1, (side // 16, side // 16)), np.ones((16, 16)))
    images = [random.uniform(-1, 1, (side, side)), rows * cols, patches, np.full((side, side), 0.3)]
    images.append(random.uniform(0.4199, 0.4204, (side, side)))
    return [image.astype(np.float32)[None, None] for image in images]


def tiled(path: Path, image: np.ndarray, field: ReceptiveField, step: int = 64) -> np.ndarray:
    """The answer pieced together from trimmed windows; those at the image's border are cut off by it."""
    session = open_graph(path, sha256=str(path), provider="cpu")
    trim, side = field.trim or 0, image.shape[-1]
    made = np.full(image.shape, np.nan, np.float32)
    for row in range(trim, side - trim - step + 1, step):
        for col in range(trim, side - trim - step + 1, step):
            window = image[:, :, row - trim : row + step + trim, col - trim : col + step + trim]
            answer = session.run({"x": np.ascontiguousarray(window)})["y"]
            made[:, :, row : row + step, col : col + step] = answer[:, :, trim : trim + step, trim : trim + step]
    return made


@pytest.mark.parametrize(("make", "reach"), BOUNDED.values(), ids=BOUNDED)
def test_a_far_reach_that_pixels_hide_is_trimmed_and_tiled_equals_whole(
    make: Callable[[], onnx.ModelProto], reach: int, tmp_path: Path
) -> None:
    field = measured_field(make(), tmp_path)
    assert field.verdict == "bounded", field.reason
    assert field.trim is not None
    assert reach <= field.trim <= reach + 8
    path = tmp_path / "model.onnx"
    session = open_graph(path, sha256=str(path), provider="cpu")
    for image in grounds(448):
        whole, made = session.run({"x": image})["y"], tiled(path, image, field)
        kept = ~np.isnan(made)
        assert kept.sum() >= 64 * 64
        assert np.abs(made - whole)[kept].max() <= 1e-6


@pytest.mark.parametrize("make", UNPROVEN.values(), ids=UNPROVEN)
def test_what_mixes_the_window_is_not_called_bounded(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    field = measured_field(make(), tmp_path)
    assert field.verdict in {"measured", "effectively-bounded", "unbounded"}
    if field.verdict == "measured":
        assert "not proven" in field.reason
        assert field.radius == field.measured


def test_the_field_says_which_pixels_were_seen(tmp_path: Path) -> None:
    field = measured_field(unet(depth=1), tmp_path)
    assert field.seen.endswith("of noise, smooth ground, plateaus, filled areas")
    assert "windows of" in field.seen


def test_without_a_proof_a_window_of_the_usual_step_is_run_beside_small_ones(tmp_path: Path) -> None:
    field = measured_field(otherwise_when_large(), tmp_path)
    assert (field.verdict, field.trim) == ("unbounded", None)
    assert "512 px" in field.seen
