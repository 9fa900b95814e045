from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.graphs import (
    Draft,
    aligned_resize,
    attention,
    conv_stack,
    down_up,
    fading,
    finer,
    fusion,
    global_pool,
    instance_norm,
    max_pool,
    pointwise,
    save,
    unet,
    unet_radius,
    window_vector,
)
from tests.support.paths import ROOT
from tilewright.models.cache import read_kept, write_kept
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.probe import Port
from tilewright.models.measure.reach.field import ReceptiveField
from tilewright.models.measure.receptive import measure_graph, measure_receptive_field
from tilewright.models.measure.structure import mixing_operators, structural_reach
from tilewright.models.run.session import open_graph

AXES = {4: ("batch", "bands", "height", "width"), 3: ("batch", "height", "width"), 2: ("batch", "class")}


def _port(value: onnx.ValueInfoProto, ratio: Fraction) -> Port:
    kind = value.type.tensor_type
    shape = tuple(each.dim_value or -1 for each in kind.shape.dim)
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return Port(name=value.name, dims=AXES[len(shape)], shape=shape, dtype=dtype, ratio=ratio)


def measured_field(model: onnx.ModelProto, folder: Path, **ratios: Fraction) -> ReceptiveField:
    path = save(model, folder)
    one = Fraction(1)
    return measure_graph(
        path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        inputs=tuple(_port(each, ratios.get(each.name, one)) for each in model.graph.input),
        outputs=tuple(_port(each, ratios.get(each.name, one)) for each in model.graph.output),
    )


@pytest.mark.parametrize(
    ("model", "radius", "stride"),
    [
        pytest.param(pointwise(), 0, 1, id="1x1"),
        pytest.param(conv_stack((1, 1)), 2, 1, id="two 3x3"),
        pytest.param(conv_stack((1,) * 8), 8, 1, id="eight 3x3"),
        pytest.param(conv_stack((1, 2, 4)), 7, 1, id="dilations 1, 2, 4"),
        pytest.param(conv_stack((8,)), 8, 1, id="one dilation, with holes in the field"),
        pytest.param(conv_stack((1, 1), kernel=(1, 5)), 4, 1, id="wide only"),
        pytest.param(conv_stack((1, 1), kernel=(7, 1)), 6, 1, id="high only"),
        pytest.param(conv_stack((1,), kernel=(4, 4)), 2, 1, id="even kernel"),
        pytest.param(conv_stack((1,), kernel=(4, 4), pads=(3, 3, 0, 0)), 3, 1, id="one-sided kernel"),
        pytest.param(max_pool(5), 2, 1, id="max pooling"),
        pytest.param(down_up(), 2, 2, id="stride 2 and back"),
        pytest.param(unet(depth=1), unet_radius(1), 2, id="U-Net of stride 2"),
        pytest.param(unet(depth=2), unet_radius(2), 4, id="U-Net of stride 4"),
        pytest.param(unet(depth=3), unet_radius(3), 8, id="U-Net of stride 8"),
        pytest.param(unet(depth=3, size=(128, 128)), unet_radius(3), 8, id="U-Net of a fixed window"),
        pytest.param(unet(depth=2, scores=False), unet_radius(2), 4, id="U-Net with argmax inside"),
    ],
)
def test_radius_and_stride_are_those_of_arithmetic(
    model: onnx.ModelProto, radius: int, stride: int, tmp_path: Path
) -> None:
    field = measured_field(model, tmp_path)
    assert (field.verdict, field.radius, field.stride) == ("bounded", radius, stride), field.reason
    assert field.trim is not None
    assert field.trim % stride == 0
    assert field.trim <= -(-radius // stride) * stride
    assert field.difference is not None
    assert field.difference <= 1e-5


def test_trim_is_enough_and_one_stride_less_is_not(tmp_path: Path) -> None:
    model = unet(depth=2)
    field = measured_field(model, tmp_path)
    assert field.trim is not None
    session = open_graph(tmp_path / "model.onnx", sha256="trim", provider="cpu")
    image = np.random.default_rng(0).normal(0, 1, (1, 4, 192, 192)).astype(np.float32)
    whole = session.run({"x": image})["y"]

    def error(trim: int) -> float:
        window = image[:, :, 64 - trim : 128 + trim, 64 - trim : 128 + trim]
        made = session.run({"x": np.ascontiguousarray(window)})["y"][:, :, trim : trim + 64, trim : trim + 64]
        return float(np.abs(made - whole[:, :, 64:128, 64:128]).max())

    assert error(field.trim) <= 1e-5
    assert error(field.trim - field.stride) > 1e-4


@pytest.mark.parametrize(
    ("model", "why"),
    [
        pytest.param(global_pool(), "GlobalAveragePool", id="squeeze and excite"),
        pytest.param(global_pool(0.01), "GlobalAveragePool", id="a weak one"),
        pytest.param(instance_norm(), "InstanceNormalization", id="instance norm"),
        pytest.param(attention(), "attention", id="attention"),
        pytest.param(aligned_resize(), "align_corners", id="stretched to the corners"),
        pytest.param(window_vector(), "one answer for the whole window", id="a vector per window"),
    ],
)
def test_unbounded_models_are_reported_with_the_operator_that_makes_them_so(
    model: onnx.ModelProto, why: str, tmp_path: Path
) -> None:
    field = measured_field(model, tmp_path)
    assert (field.verdict, field.radius, field.trim) == ("unbounded", None, None)
    assert why in field.reason


def test_an_effect_below_the_tolerance_is_called_effectively_bounded(tmp_path: Path) -> None:
    field = measured_field(global_pool(1e-6), tmp_path)
    assert (field.verdict, field.radius) == ("effectively-bounded", 1)
    assert field.difference is not None
    assert 0 < field.difference <= field.tolerance


def test_reach_that_rounding_swallows_is_trimmed_all_the_same(tmp_path: Path) -> None:
    field = measured_field(fading(40), tmp_path)
    assert (field.verdict, field.radius, field.trim) == ("bounded", 40, 40)
    assert field.measured is not None
    assert field.measured < 40
    assert field.difference is not None
    assert field.difference <= 1e-6


def test_a_constant_output_is_not_called_bounded(tmp_path: Path) -> None:
    draft = Draft()
    # The threshold is above every noise: nothing ever changes, and nothing may be concluded from that.
    high = draft.constant(np.full((1, 1, 1, 1), 1e30, np.float32))
    answer = draft.node("Cast", draft.node("Greater", draft.conv("x", 2, 1), high), to=onnx.TensorProto.FLOAT)
    field = measured_field(draft.model(answer, n_in=2, n_out=1), tmp_path)
    assert field.verdict == "unbounded"
    assert "no noise tried changed" in field.reason


def test_a_finer_output_is_counted_in_pixels_of_the_input(tmp_path: Path) -> None:
    field = measured_field(finer(2), tmp_path, y=Fraction(2))
    assert (field.verdict, field.radius, field.stride) == ("bounded", 2, 1)


def test_a_coarse_second_input_counts_in_pixels_of_the_fine_one(tmp_path: Path) -> None:
    # 3x3 on the coarse grid: its neighbour's far side is 3 fine pixels from a fine pixel's cell border; 3x3 after that.
    field = measured_field(fusion(2), tmp_path, coarse=Fraction(1, 2))
    assert (field.verdict, field.stride) == ("bounded", 2)
    assert field.radius in {3, 4}
    assert field.trim == 4


def test_an_output_of_another_size_than_stated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="tw:scale"):
        measured_field(finer(2), tmp_path)


def test_local_reductions_and_softmax_over_classes_are_not_suspected(tmp_path: Path) -> None:
    assert mixing_operators(save(unet(), tmp_path)) == ()


def test_a_measurement_is_kept_by_the_hash_of_the_model_and_taken_again_when_broken(tmp_path: Path) -> None:
    card = load_card(ROOT / "models/builtin/cva-change")
    cache = tmp_path / "cache"
    first = measure_receptive_field(card, cache=cache)
    assert (first.verdict, first.radius, first.stride) == ("bounded", 1, 1)
    (kept,) = cache.iterdir()
    write_kept(kept, {**read_kept(kept), "radius": 7})
    assert measure_receptive_field(card, cache=cache).radius == 7
    # Damage that leaves a number: the halo would be another one.
    for content in (kept.read_text().replace('"radius": 7', '"radius": 5'), "{"):
        kept.write_text(content)
        assert measure_receptive_field(card, cache=cache) == first


@pytest.mark.parametrize(
    ("dilations", "radius"), [((50, 1), 51), ((199, 1), 200), ((1, 150, 199), 350), ((576,), 576)], ids=str
)
def test_taps_that_lie_far_apart_are_felt(dilations: tuple[int, ...], radius: int, tmp_path: Path) -> None:
    """Atrous convolutions: in a window shorter than their reach nothing of them is felt but the padding."""
    field = measured_field(conv_stack(dilations, n_in=1, width=2), tmp_path)
    assert (field.radius, field.verdict, field.stride) == (radius, "bounded", 1)
    assert field.difference is not None
    assert field.difference < 1e-4


def test_atrous_taps_at_a_coarser_level_count_in_its_pixels(tmp_path: Path) -> None:
    draft = Draft()
    x = draft.node("Relu", draft.conv("x", 1, 2, stride=8))
    x = draft.up(draft.conv(x, 2, 2, dilation=36), 8)
    field = measured_field(draft.model(x, n_in=1, n_out=2), tmp_path)
    assert field.radius is not None
    assert 36 * 8 <= field.radius <= 36 * 8 + 9
    assert field.stride == 8


@pytest.mark.parametrize("model", [unet(depth=3), conv_stack(), down_up(), finer(), max_pool()], ids=range(5))
def test_the_arithmetic_of_kernels_is_never_short_of_what_is_measured(model: onnx.ModelProto, tmp_path: Path) -> None:
    ratios = {"y": Fraction(2)} if model.graph.node[-2].op_type == "DepthToSpace" else {}
    field = measured_field(model, tmp_path, **ratios)
    assert field.radius is not None
    assert field.radius <= structural_reach(tmp_path / "model.onnx", jumps={"x": 1.0}) <= 3 * field.radius + 16


def test_kernels_farther_than_can_be_measured_are_not_called_bounded(tmp_path: Path) -> None:
    field = measured_field(conv_stack((5000,), n_in=1, width=2), tmp_path)
    assert field.verdict == "unbounded"
    assert "could reach 5000 px" in field.reason


@pytest.mark.parametrize(
    ("name", "key"),
    [("cva-change", "02c725fc543997fe5f7e1037e98b15a8"), ("ndwi-water", "3fcbb938671ff4d6225f09ad3e83f805")],
)
def test_a_measurement_is_found_again_by_a_later_version(tmp_path, name, key):
    """A cached measurement of VERSION 6: a new key would measure every model of every user once more."""
    measure_receptive_field(load_card(ROOT / "models/builtin" / name), cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"receptive-{key}.json"]
