"""bfloat16 and int8 in a whole run: near single precision or refused, the same however it is cut, and reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import World, area, layer, pixel_job, run, write_card
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.precision.choice import plan_provider
from tilewright.flows.precision.windows import calibration_windows, compared_windows
from tilewright.flows.run.precision import PrecisionError
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.run import openvino
from tilewright.models.run.session import ProviderError
from tilewright.tasks.storage.errors import StoreError

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
needs_bf16 = pytest.mark.skipif(not openvino.computes_bf16(), reason="this processor computes no bfloat16")
pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE = 320
ROWS, COLS = (17, 310), (23, 300)
BANDS = ("red", "nir")
LAYERS = ("class", "confidence")
SCALING = [{"type": "z-score", "mean": 0.3, "stddev": 0.15}]
INPUT = {"name": "x", "bands": list(BANDS), "value_scaling": SCALING}
HEAD = {"name": "y", "classes": ["a", "b", "c"], "tw:activation": "softmax", "tw:layers": list(LAYERS)}
WAYS = [pytest.param({"precision": "bf16"}, marks=needs_bf16), {"precision": "int8"},
        {"precision": "int8", "provider": "openvino"}]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two bands of fields of one value each, 32 px wide, with a little noise."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(3)
    for band in BANDS:
        fields = random.integers(100, 6000, (SIDE // 32, SIDE // 32)).repeat(32, axis=0).repeat(32, axis=1)
        stored = (fields + random.integers(0, 40, (SIDE, SIDE))).astype(np.uint16)
        made.add(stored, band, nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """A U-Net of seeded weights, whose scores are small enough that a percentage hangs on no tenth of them."""
    model = unet(2, 3, depth=2, width=8)
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    for tensor in model.graph.initializer:
        if tensor.name in last.input:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.25), tensor.name))
    return write_card(tmp_path_factory.mktemp("card"), model, inputs=[INPUT], outputs=[HEAD], tile={"step": 64})


@pytest.fixture(scope="module")
def close(tmp_path_factory):
    """A model of numbers of eleven bits: in eight, the second class no longer stands back."""
    draft = Draft()
    hidden = draft.node("Relu", draft.node("Add", draft.conv("x", 2, 2, (1, 1)), draft.constant([1000.0])))
    weights = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)
    scores = draft.node("Conv", hidden, draft.constant(weights), kernel_shape=[1, 1])
    model = draft.model(scores, n_in=2, n_out=2)
    outputs = [{**HEAD, "classes": ["a", "b"]}]
    return write_card(tmp_path_factory.mktemp("close"), model, inputs=[INPUT], outputs=outputs, tile={"step": 64})


def job_of(world, card, output, **changes):
    return pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes)


def produce(world, card, output, workers=1, **changes):
    return run(job_of(world, card, output, **changes), workers=workers)


@pytest.fixture(scope="module")
def plain(world, card, tmp_path_factory):
    return produce(world, card, tmp_path_factory.mktemp("plain") / "out", tile={"block": 128})


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_precision_agrees_is_reported_and_does_not_depend_on_the_cut(world, card, plain, tmp_path, way):
    made = produce(world, card, tmp_path / "one", tile={"block": 128}, **way)
    report = made.report
    on = way.get("provider", "openvino" if way["precision"] == "bf16" else "cpu")
    assert (report["precision"], report["provider"], report["fused"]) == (way["precision"], on, False)
    check = report["precision_check"]
    assert min(check["agreement"].values()) >= check["gate"] == 0.995
    assert check["windows"] == 4
    assert min(check["seconds_per_window"], check["fp32_seconds_per_window"]) > 0
    assert check["fp32_provider"] == "cpu"
    assert f"Agreement of {way['precision']}" in (Path(made.output) / "report.html").read_text()
    assert report["key"] != plain.report["key"]
    assert (layer(made.output, "class") == layer(plain.output, "class")).mean() > 0.99
    assert not np.array_equal(layer(made.output, "confidence"), layer(plain.output, "confidence"))
    again = produce(world, card, tmp_path / "two", workers=3, tile={"block": 64}, **way)
    for name in LAYERS:
        assert np.array_equal(layer(again.output, name), layer(made.output, name)), name


def test_single_precision_on_openvino_is_that_of_onnxruntime(world, card, plain, tmp_path):
    made = produce(world, card, tmp_path / "out", provider="openvino", tile={"block": 128})
    assert made.report["provider"] == "openvino"
    assert "precision_check" not in made.report
    assert made.report["key"] != plain.report["key"]
    assert (layer(made.output, "class") == layer(plain.output, "class")).mean() > 0.9999
    gap = np.abs(layer(made.output, "confidence").astype(int) - layer(plain.output, "confidence"))
    assert gap.max() <= 1


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_model_of_tiny_margins_is_refused_before_anything_is_written(world, close, tmp_path, way):
    precision = way["precision"]
    with pytest.raises(PrecisionError, match=rf"{precision} gives the \w+ of fp32 on \d.*% .* 99\.500% is needed"):
        produce(world, close, tmp_path / "out", **way)
    assert not (tmp_path / "out").exists()


def test_a_job_may_ask_for_more_but_not_for_less(world, card, tmp_path):
    with pytest.raises(PrecisionError, match=r"100\.000% is needed \(precision_gate\)\. Run with"):
        produce(world, card, tmp_path / "out", precision="int8", precision_gate=1)
    with pytest.raises(JobError, match=r"precision_gate: expected a number of at least 0\.995 \(given: 0\.9\)"):
        job_of(world, card, tmp_path / "out", precision="int8", precision_gate=0.9)


def test_a_finished_product_does_not_pass_for_a_job_that_asks_for_more(world, card, tmp_path):
    produce(world, card, tmp_path / "out", precision="int8", precision_gate=0.996)
    assert produce(world, card, tmp_path / "out", precision="int8").already_complete
    with pytest.raises(StoreError, match=r"100\.000% of the pixels .* the \w+ of .*out tells of 99\.\d+%"):
        produce(world, card, tmp_path / "out", precision="int8", precision_gate=1)
    # A report that somebody damaged tells of no more than every product has.
    report = json.loads((tmp_path / "out/report.json").read_text())
    for damaged in (7, {"agreement": [1]}, {"agreement": {"class": "all"}}):
        (tmp_path / "out/report.json").write_text(json.dumps({**report, "precision_check": damaged}))
        assert produce(world, card, tmp_path / "out", precision="int8").already_complete
        with pytest.raises(StoreError, match=r"the report of .*out tells of 99\.50%"):
            produce(world, card, tmp_path / "out", precision="int8", precision_gate=0.999)


def test_a_quantised_graph_is_made_again_from_the_plan_alone(world, card, tmp_path, monkeypatch):
    made = produce(world, card, tmp_path / "out", precision="int8", tile={"block": 128})
    plan = json.loads((tmp_path / "out/.tilewright/plan.json").read_text())
    assert len(plan["quantised"]) == 64
    assert all(low <= 0 <= high for low, high in plan["ranges"].values())
    # Elsewhere: an empty cache, and the Item alone.
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    again = rerun_item(str(tmp_path / "out/item.json"), output=str(tmp_path / "again"))
    assert again["identical"], again["sentence"]
    assert list((tmp_path / "cache/quantised").glob("int8-*.onnx"))
    assert made.report["precision_check"]["agreement"]


def test_ranges_that_make_another_graph_than_the_plans_are_refused(world, card, tmp_path):
    plan = plan_job(job_of(world, card, tmp_path / "out", precision="int8"))
    for name, (low, high) in plan.model.ranges.items():
        plan.model.ranges[name] = [low, 2 * high + 1]
    with pytest.raises(JobError, match="make another one of the same ranges"):
        load_model(plan, load_card(card), provider="auto")


def test_windows_that_were_calibrated_on_are_not_compared(world, card, tmp_path):
    plan = plan_job(job_of(world, card, tmp_path / "out", precision="int8"))
    used, compared = ([(each.block.row, each.block.col) for each in draw(plan)]
                      for draw in (calibration_windows, compared_windows))  # fmt: skip
    assert (len(used), len(compared)) == (4, 4)
    assert not set(used) & set(compared)


def test_a_product_goes_on_with_the_runtime_that_it_was_begun_with(world, card, tmp_path):
    begun = {name: plan_job(job_of(world, card, tmp_path / name, provider=name)) for name in ("cpu", "openvino")}
    assert [plan_provider(begun["openvino"], asked) for asked in ("auto", "openvino")] == ["openvino"] * 2
    assert plan_provider(begun["cpu"], "auto") == "auto"
    for plan, asked in (("cpu", "openvino"), ("openvino", "cpu"), ("openvino", "cuda")):
        with pytest.raises(JobError, match=f"would be of two makes with {asked}"):
            plan_provider(begun[plan], asked)
    assert "openvino" in begun["openvino"].versions
    assert "openvino" not in begun["cpu"].versions


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            ["precision=bf16", "provider=cpu"],
            "precision: bf16 does not run on provider cpu. Take provider auto",
        ),
        (["precision=bf16", "provider=cuda"], "precision: bf16 does not run on provider cuda"),
        (
            ["precision=fp16", "provider=openvino"],
            "precision: fp16 does not run on provider openvino",
        ),
        (
            ["precision=fp16", "provider=cpu"],
            "precision: fp16 does not run on provider cpu. Take provider auto or cuda or tensorrt.",
        ),
        (["precision=int8", "provider=cuda"], "precision: int8 does not run on provider cuda"),
        (["precision=int8", "fuse=yes"], "fuse: precision int8 runs the model's own graph"),
        (
            ["precision=int8", "augment=flips"],
            "precision: int8 cannot be: small stands for several runs",
        ),
        (["precision=int4"], "precision: expected 'fp32', 'fp16', 'bf16' or 'int8'"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused_by_the_command(world, card, tmp_path, changes, words):
    job = {"area": area(ROWS, COLS), "period": "2023-06", "source": world.source, "model": str(card)}
    (tmp_path / "job.json").write_text(json.dumps(job))
    base = ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, [*base, *(part for change in changes for part in ("--set", change))])
    assert answer.exit_code == 2, answer.output
    assert words in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_processor_without_bfloat16_is_refused_before_pixels_are_read(world, card, tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "computes_bf16", lambda: False)
    with pytest.raises(ProviderError, match="precision bf16 was asked for, and this processor computes no bfloat16"):
        plan_job(job_of(world, card, tmp_path / "out", precision="bf16"))


def test_a_model_that_openvino_does_not_run_or_nothing_quantises_is_refused(world, tmp_path):
    draft = Draft()
    bare = draft.model(draft.node("Mul", "x", draft.constant([2.0])), n_in=2, n_out=2)
    sums = write_card(tmp_path / "sums", bare, inputs=[INPUT], outputs=[{**HEAD, "classes": ["a", "b"]}])
    old = pointwise(2, 3)
    old.opset_import[0].version = 12
    aged = write_card(tmp_path / "old", old, inputs=[INPUT], outputs=[HEAD])
    for place, words in ((sums, "has no layer with weights"), (aged, "uses opset 12, and 13 is needed")):
        with pytest.raises(CardError, match=f"int8 cannot be: small {words}"):
            plan_job(job_of(world, place, tmp_path / "out", precision="int8"))
