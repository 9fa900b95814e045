"""Models that never answer, or ask for more memory than there is: the check ends them within its bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from tests.support.products import tilewright
from tests.support.worlds import write_card
from tilewright.flows.cli.bounded import Bounds, run_bounded
from tilewright.models.measure.memory_probe import bytes_per_pixel

SECONDS, MEGABYTES = 8, 900

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def numbers(name: str, *values: float, kind: int = INT64, shape: tuple[int, ...] | None = None) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, shape if shape is not None else (len(values),), values)


def model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A graph from two bands `x` to two scores `y`; `extra` is a scalar of the nodes that is added to them."""
    ports = [helper.make_tensor_value_info(name, FLOAT, ["batch", 2, "height", "width"]) for name in ("x", "y")]
    added = helper.make_node("Add", ["x", "extra"], ["y"])
    graph = helper.make_graph([*nodes, added], "g", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def loop(trips: int, body: onnx.GraphProto | None = None) -> onnx.ModelProto:
    """A loop of so many trips that each add one."""
    body = body or _adding([helper.make_node("Add", ["v", "one"], ["w"])])
    nodes = [helper.make_node("Loop", ["trips", "go", "zero"], ["extra"], body=body)]
    floats = [numbers(name, value, kind=FLOAT, shape=()) for name, value in (("zero", 0.0), ("one", 1e-20))]
    return model(nodes, [numbers("trips", trips, shape=()), numbers("go", True, kind=BOOL, shape=()), *floats])


def _adding(nodes: list[onnx.NodeProto], *, mark: str = "") -> onnx.GraphProto:
    """The body of a loop, from the number `v` to `w`; `mark` tells its names from those around it."""
    ports = [("i", INT64), ("go_in", BOOL), ("v", FLOAT)]
    inputs = [helper.make_tensor_value_info(name + mark, kind, []) for name, kind in ports]
    outputs = [helper.make_tensor_value_info(name + mark, kind, []) for name, kind in (("go_out", BOOL), ("w", FLOAT))]
    go_on = helper.make_node("Identity", [f"go_in{mark}"], [f"go_out{mark}"])
    return helper.make_graph([go_on, *nodes], f"body{mark}", inputs, outputs)


def nested() -> onnx.ModelProto:
    inner = _adding([helper.make_node("Add", ["v2", "one"], ["w2"])], mark="2")
    return loop(10**6, _adding([helper.make_node("Loop", ["trips", "go", "v"], ["w"], body=inner)]))


def grown(kind: str) -> onnx.ModelProto:
    """A scalar that is grown to a million millions before it is averaged."""
    side = 10**12
    grow = {
        "fill": [helper.make_node("ConstantOfShape", ["side"], ["big"])],
        "tile": [helper.make_node("Tile", ["one", "side"], ["big"])],
        "resize": [helper.make_node("Resize", ["x", "", "scales"], ["big"], mode="nearest")],
        "twofold": [helper.make_node("Concat", [f"t{i}" if i else "one"] * 2, [f"t{i + 1}"], axis=0) for i in range(40)]
        + [helper.make_node("Identity", ["t40"], ["big"])],
    }[kind]
    scales = numbers("scales", 1, 1, 1e6, 1e6, kind=FLOAT)
    constants = [numbers("side", side), numbers("one", 1.0, kind=FLOAT), scales]
    return model([*grow, helper.make_node("ReduceMean", ["big"], ["extra"], keepdims=0)], constants)


GREEDY: dict[str, Callable[[], onnx.ModelProto]] = {
    "an endless loop": lambda: loop(2**62),
    "a loop within a loop": nested,
    **{f"terabytes by {kind}": partial(grown, kind) for kind in ("fill", "tile", "resize", "twofold")},
}


@pytest.mark.parametrize("kind", GREEDY)
def test_a_greedy_model_ends_in_one_sentence_and_leaves_no_process(kind, tmp_path):
    card = write_card(
        tmp_path / "card",
        GREEDY[kind](),
        inputs=[{"name": "x", "bands": ("green", "nir")}],
        outputs=[{"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}],
        tile={"step": 32},
    )
    began = time.monotonic()
    answer = tilewright("models", "check", card, "--seconds", SECONDS, "--memory-mb", MEGABYTES)
    assert answer.returncode == 2, answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    assert time.monotonic() - began < SECONDS + 15
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(card) in (each.info["cmdline"] or [])]


def test_a_plain_model_is_checked_apart_as_it_is_in_this_process(tmp_path):
    apart, here = (tilewright("models", "check", "ndwi-water", "--json", *more) for more in ((), ("--trusted",)))
    assert (apart.returncode, here.returncode) == (0, 0), apart.stderr
    one, other = json.loads(apart.stdout), json.loads(here.stdout)
    assert one["sha256"] == other["sha256"]
    assert one["window"] == other["window"]


@pytest.mark.parametrize("name", ["onnx", "psutil", "numpy", "onnxruntime", "json", "tilewright"])
def test_no_program_that_lies_beside_a_model_is_run(name, tmp_path, monkeypatch):
    """Whoever checks a model they were given may do so in its folder."""
    card = write_card(
        tmp_path / "card",
        model([helper.make_node("Identity", ["zero"], ["extra"])], [numbers("zero", 0.0, kind=FLOAT, shape=())]),
        inputs=[{"name": "x", "bands": ("green", "nir")}],
        outputs=[{"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}],
    )
    folder = tmp_path / "card"
    (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.chdir(folder)
    run_bounded(["models", "show", str(card)], Bounds(seconds=60, megabytes=MEGABYTES), columns=80)
    feeds = {"x": np.ones((1, 2, 8, 8), np.float32)}
    assert bytes_per_pixel(folder / "model.onnx", [{}, feeds], areas=[0, 64]) is not None
    assert not (tmp_path / "ran").exists()


def test_what_a_program_prints_without_end_is_not_kept(monkeypatch):
    words, bounds = ["models", "list"], Bounds(seconds=60, megabytes=2000)
    whole = run_bounded(words, bounds, columns=80)
    assert (whole.code, whole.beyond) == (0, "")
    monkeypatch.setattr("tilewright.flows.cli.bounded.MOST_PRINTED", 100)
    cut = run_bounded(words, bounds, columns=80)
    assert "printed more than" in cut.beyond
    assert cut.out == whole.out[:100]
