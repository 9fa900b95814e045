"""Models made to be called exact and to be wrong: the word is not said, or windows are trimmed and equal the whole."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.adversary import graphs as made
from tests.adversary import graphs_sized as sized
from tests.adversary.graphs import Build, finished
from tests.models.measure import test_proof as six
from tests.support.graphs import Draft, Pair, save
from tests.support.worlds import write_card
from tilewright.flows.plan.exactness import judge_exactness
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.facts import ModelFacts, measure_model
from tilewright.models.measure.reach.bound import Bound, reach_bound
from tilewright.models.measure.reach.graph import read_structure
from tilewright.models.measure.reach.values import Plane, Unproven
from tilewright.models.run.session import open_graph
from tilewright.tasks.grid.windows import lattice_of

IMAGE = {"name": "x", "bands": ["red"], "value_scaling": [{"type": "offset", "value": 0}]}
VALUE = {"name": "y", "tw:layers": ["value"]}
ROUNDING = 1e-5
"""The difference that float32 may make, as README says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trick:
    """A model, the sides of its only windows if it has them, and the step that its card asks for."""

    model: onnx.ModelProto
    step: int = 64


def trick(build: Build, *, size: Pair | None = None, step: int = 64, opset: int | None = None) -> Trick:
    return Trick(model=finished(build, size=size, opset=opset), step=step)


SIX = {
    "corner taps": Trick(model=six.corner_taps()),
    "texture gate": Trick(model=six.texture_gate()),
    "rare value gate": Trick(model=six.rare_value_gate()),
    "gated global pool": Trick(model=six.gated_pool()),
    "otherwise above 300 px": Trick(model=six.otherwise_when_large(), step=320),
    "cropped positions": Trick(model=six.cropped_positions()),
}
OTHERS = {
    "running sum": trick(made.row_sum),
    "maximum of a column": trick(made.row_maximum),
    "moved by GridSample": trick(made.resampled_grid, size=(64, 64)),
    "resized to 32 px": trick(made.fixed_resize),
    "third brightest pixel": trick(made.top_pixels),
    "Scan over rows": trick(made.scanned),
    "Loop over rows": trick(made.looped),
    "instance norm": trick(made.instance_norm),
    "layer norm along rows": trick(made.layer_norm, size=(64, 64)),
    "attention masked by a huge number": trick(made.masked_attention, size=(32, 32)),
    "rolled": trick(made.rolled),
    "padded by the size": trick(made.padded_by_size),
    "odd transposed convolution": trick(made.odd_deconvolution),
    "dilated and rounded-up pools": trick(made.dilated_pools),
    "average that counts the rim": trick(made.counted_rims),
    "cells with an offset": trick(made.offset_cells),
    "counted pixels": trick(made.counted_pixels),
    "Einsum over columns": trick(made.summed_columns, size=(64, 64)),
    "gathered by computed places": trick(made.gathered_columns),
    "brightest column": trick(made.brightest_column),
    "computed weights": trick(made.computed_weights),
    "lopsided groups": trick(made.lopsided_groups),
    "If with unlike reach": trick(made.branches),
    "quantised corner taps": trick(made.quantised_corners),
    "softmax masked by a huge number": trick(made.masked_softmax),
    "scale that drifts": trick(made.drifting_scale),
    "nearest of opset 10": trick(made.old_nearest, opset=10),
    "evened sides": trick(made.evened, step=65),
    "quantised by the window": trick(made.dynamic_quantisation),
    "own variance": trick(made.own_variance),
    "reflected and moved": trick(made.wrapped),
    "counted places": trick(made.counted_places),
    "stored places": trick(made.stored_places, size=(64, 64)),
    "columns as channels": trick(made.columns_as_channels, size=(64, 64)),
    "multiplied columns": trick(made.multiplied_columns, size=(64, 64)),
    "folded rows": trick(made.folded_rows, size=(64, 64)),
    "brightest anywhere": trick(made.brightest_anywhere),
    "written by places": trick(made.moved_by_places),
    "function of its own": Trick(model=made.own_function()),
    "far at a coarse level": trick(made.mirrored_kernel),
}
PROVEN = {
    "corner taps": 100,
    "texture gate": 100,
    "rare value gate": 100,
    "odd transposed convolution": 4,
    "dilated and rounded-up pools": 17,
    "average that counts the rim": 4,
    "cells with an offset": 3,
    "lopsided groups": 6,
    "quantised corner taps": 50,
    "nearest of opset 10": 1,
    "evened sides": 0,
    "reflected and moved": 9,
    "function of its own": 60,
    "far at a coarse level": 120,
}
"""Pixels that the windows of those called exact must lose at least; no other is called so."""
REFUSED = {
    "resized to 32 px": "has a size built in (Resize to 32 x 32)",
    "counted pixels": "mixes its batch mates",
    "quantised by the window": "mixes its batch mates",
}
"""Those that are refused, and a part of the reason."""


def facts_of(each: Trick, folder: Path, *, batch: int | None = None) -> tuple[str, str, ModelFacts]:
    """What a plan would say of the model, why, and its facts."""
    fixed = each.model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    tile = {"step": None, "trim": 8} if fixed else {"step": each.step}
    card = load_card(write_card(folder / "card", each.model, inputs=[IMAGE], outputs=[VALUE], tile=tile))
    facts = measure_model(card, provider="cpu", cache=folder / "cache", batch=batch)
    word, reason = judge_exactness(card, facts, lattice_of(facts.windows, block=facts.windows.step))
    return word, reason, facts


def grounds(side: int) -> list[NDArray[np.float32]]:
    """Images (1, 1, side, side) on which gates open: noise, a slope, plateaus, one value, rare ones, filled areas."""
    images = six.grounds(-(-side // 16) * 16)
    random = np.random.default_rng(11)
    filled = np.where(np.kron(random.random((side // 8 + 1,) * 2), np.ones((8, 8)))[:side, :side] < 0.4, 0.0, 0.42)
    return [image[:, :, :side, :side] for image in images] + [filled.astype(np.float32)[None, None]]


def worst_difference(each: Trick, facts: ModelFacts, path: Path) -> float:
    """The largest difference between tiles of the plan's windows and the whole image."""
    windows = facts.windows
    trim, step, stride = windows.trim, windows.step, windows.stride
    side = -(-(2 * step + 2 * trim + stride) // stride) * stride
    session = open_graph(path, sha256=str(path), provider="cpu")
    worst = 0.0
    for image in grounds(side):
        whole = session.run({"x": image})["y"]
        for row, col in ((0, 0), (step, 0), (0, step), (stride, stride), (step, step)):
            outer = slice(row, row + windows.window), slice(col, col + windows.window)
            answer = session.run({"x": np.ascontiguousarray(image[:, :, outer[0], outer[1]])})["y"]
            kept = answer[:, :, trim : trim + step, trim : trim + step]
            there = whole[:, :, row + trim : row + trim + step, col + trim : col + trim + step]
            worst = max(worst, float(np.abs(kept - there).max()) / max(1.0, float(np.abs(there).max())))
    return worst


@pytest.mark.parametrize("name", [*SIX, *OTHERS])
def test_exact_is_proven_and_true_or_not_said(name: str, tmp_path: Path) -> None:
    each = (SIX | OTHERS)[name]
    if name in REFUSED:
        with pytest.raises(CardError) as refusal:
            facts_of(each, tmp_path)
        assert REFUSED[name] in str(refusal.value)
        return
    word, reason, facts = facts_of(each, tmp_path)
    assert (word == "proven") == (name in PROVEN), reason
    if word == "proven":
        assert facts.windows.trim >= PROVEN[name]
        assert worst_difference(each, facts, tmp_path / "card" / "model.onnx") <= ROUNDING
    else:
        assert len(reason) > 20


MIXING = {
    "mean of the batch": made.mates_mean,
    "moved by one": made.mates_moved,
    "largest of all": made.mates_flattened,
    "counted windows": made.mates_counted,
    "running sum": made.mates_summed,
    "windows as channels": made.mates_as_channels,
    "summed products": made.mates_multiplied,
}


@pytest.mark.parametrize("build", [*MIXING.values(), made.mates_softmax], ids=[*MIXING, "old softmax"])
def test_windows_that_see_their_batch_mates_where_nothing_is_tried_are_not_called_exact(
    build: Build, tmp_path: Path
) -> None:
    """The gate opens at values that are never tried, so no run shows it: one window a call is exact, four are not."""
    each = trick(build, opset=12) if build is made.mates_softmax else trick(build)
    word, reason, facts = facts_of(each, tmp_path / "four", batch=4)
    assert facts.mates, "the operators that join windows are found"
    assert word != "proven", reason
    alone = facts_of(each, tmp_path / "one", batch=1)
    assert alone[2].mates == ""


ALONE = {
    "convolutions": lambda draft: draft.conv(draft.node("Relu", draft.conv("x", 1, 4)), 4, 1),
    "U-Net parts": lambda draft: draft.up(draft.node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])),
    "instance norm": made.instance_norm,
    "global pool": lambda draft: draft.node("Add", "x", draft.node("GlobalAveragePool", "x")),
    "attention among rows": made.own_attention,
    "odd deconvolution": made.odd_deconvolution,
}


@pytest.mark.parametrize("build", ALONE.values(), ids=ALONE)
def test_windows_that_cannot_see_their_batch_mates_are_proven_alone(build: Build, tmp_path: Path) -> None:
    size = (64, 64) if build is made.own_attention else None
    _, _, facts = facts_of(trick(build, size=size), tmp_path, batch=4)
    assert facts.mates == ""


HEAVY = {
    "functions that call each other": (made.laughing(), "operators"),
    **{
        f"a table by {op}": (finished(made.large_table(op)), "")
        for op in ("ConstantOfShape", "Expand", "Tile", "Range", "Mul", "MatMul", "Pad")
    },
    "a kernel of the whole earth": (finished(made.wide_kernel), "too wide"),
    "unlike strides": (finished(made.long_repeat), "repeat only every"),
    "a million numbers in a shape": (finished(made.large_shape_table), "computes with the window's size"),
}


@pytest.mark.parametrize(("model", "words"), HEAVY.values(), ids=HEAVY)
def test_no_graph_makes_the_proof_long_or_large(model: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    path = save(model, tmp_path)
    tracemalloc.start()
    began = time.monotonic()
    found = [bound_of(path), bound_of(path, mates=True)]
    taken, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found[0], Unproven)
    assert words in found[0].reason
    assert taken < 5
    assert peak < 300e6


def bound_of(path: Path, *, mates: bool = False) -> Bound | Unproven:
    places = {"h": -4} if mates else {"h": -2, "w": -1}
    x, y = (Plane(name=name, rank=4, places=places, ratio=Fraction(1)) for name in "xy")
    return reach_bound(path, inputs=[x], outputs=[y], stride=1, mates=mates)


LARGE = {
    "2000 operators": (finished(made.deep(2000)), Bound),
    "a transformer": (finished(made.transformer(width=96), size=(224, 224)), Unproven),
}


@pytest.mark.parametrize(("model", "kind"), LARGE.values(), ids=LARGE)
def test_a_large_graph_is_followed_within_a_second(model: onnx.ModelProto, kind: type, tmp_path: Path) -> None:
    path = save(model, tmp_path)
    began = time.process_time()
    assert isinstance(bound_of(path), kind)
    alone = bound_of(path, mates=True)
    assert isinstance(alone, Bound)
    assert alone.radius == 0
    assert time.process_time() - began < 2


def test_only_the_shapes_of_large_weights_are_read(tmp_path: Path) -> None:
    draft = Draft()
    weight = draft.constant(np.full((8, 1, 800, 800), 1e-6, np.float32))
    pooled = draft.node("Conv", "x", weight, kernel_shape=[800, 800], pads=[400, 400, 399, 399])
    path = save(draft.model(draft.conv(pooled, 8, 1, (1, 1)), n_in=1, n_out=1), tmp_path)
    read = read_structure(path)
    assert read.ByteSize() < 1e5 < path.stat().st_size
    whole = onnx.load(str(path))
    assert [list(each.dims) for each in read.graph.initializer] == [list(each.dims) for each in whole.graph.initializer]
    assert read.graph.node == whole.graph.node
    assert bound_of(path) == Bound(radius=400, trim=400, stride=1)


SIZED = {
    "Tile of channels": sized.tiled_by_size("Tile"),
    "Expand of channels": sized.tiled_by_size("Expand"),
    "channels times rows": sized.laundered_size,
    "TopK of channels": sized.top_by_size,
    "Split of channels": sized.split_by_size,
    "Slice of channels": sized.sliced_by_size,
    "Resize of channels": sized.channels_resized_by_size,
    "Reshape of channels": sized.grouped_by_size,
    "a scale of a norm": sized.normed_by_size,
    "a scale from far away": sized.normed_by_far,
    "a scale of a quantised convolution": sized.quantised_by_size,
}
"""What an operator makes of the window's size, or of other pixels, in an input or axis where none is looked for."""


@pytest.mark.parametrize("build", SIZED.values(), ids=SIZED)
def test_what_follows_the_size_of_a_window_proves_nothing(build: Build, tmp_path: Path) -> None:
    assert isinstance(bound_of(save(finished(build), tmp_path)), Unproven)


def test_rows_that_are_picked_by_other_rows_prove_nothing(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["places"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("ArrayFeatureExtractor", ["x", "places"], ["picked"], domain="ai.onnx.ml"),
        onnx.helper.make_node("ReduceMax", ["picked"], ["y"], axes=[1], keepdims=1),
    ]
    ports = [onnx.helper.make_tensor_value_info(name, 1, ["rows", 1]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "graph", ports[:1], ports[1:])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    path = save(onnx.helper.make_model(graph, opset_imports=opsets), tmp_path)
    x, y = (Plane(name=name, rank=2, places={"h": -2}, ratio=Fraction(1)) for name in "xy")
    assert isinstance(reach_bound(path, inputs=[x], outputs=[y], stride=1), Unproven)


AMBIGUOUS = {
    "a division rounded either way": (finished(made.floored_pad), "Div"),
    "a number cast out of its range": (finished(made.broken_cast), "Cast"),
    "a number that wraps": (finished(made.wrapped_number), "Mul"),
    "two versions of ONNX": (made.doubled_opset(), "stands for two things"),
    "an attribute twice": (made.doubled_attribute(), "an attribute twice"),
    "a tensor twice": (made.doubled_weight(), "stands for two things"),
    "a function named as an operator": (made.own_relu(), "stands in for an operator"),
}


@pytest.mark.parametrize(("model", "words"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_two_runtimes_may_read_otherwise_proves_nothing(
    model: onnx.ModelProto, words: str, tmp_path: Path
) -> None:
    for mates in (False, True):
        found = bound_of(save(model, tmp_path), mates=mates)
        assert isinstance(found, Unproven)
        assert words in found.reason


def test_two_names_for_one_version_of_onnx_are_one(tmp_path: Path) -> None:
    model = six.corner_taps()
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx", model.opset_import[0].version))
    assert bound_of(save(model, tmp_path)) == Bound(radius=100, trim=100, stride=1)


def test_shapes_that_exporters_compute_from_constants_are_still_followed(tmp_path: Path) -> None:
    def build(draft: Draft) -> str:
        half = draft.node("Div", draft.node("Cast", draft.constant(np.array([9.0])), to=7), made.ints(draft, 2))
        many = draft.node("ConstantOfShape", made.ints(draft, 3))
        zeros = draft.node("Cast", draft.node("Slice", many, made.ints(draft, 0), made.ints(draft, 2)), to=7)
        zero = draft.node("Gather", zeros, made.ints(draft, 0), axis=0)
        pads = draft.node("Concat", zeros, half, zero, zeros, draft.node("Sub", zero, half), zero, axis=0)
        return draft.node("Pad", "x", pads)

    assert bound_of(save(finished(build), tmp_path)) == Bound(radius=4, trim=4, stride=1)


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"\xff" * 40, lambda b: b"\x0b" + b])
def test_a_file_that_is_no_graph_proves_nothing(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = save(six.corner_taps(), tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    assert isinstance(bound_of(path), Unproven)
