from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.cards import card_around
from tests.support.graphs import Draft, conv_stack, global_pool, pointwise, unet
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.memory_probe import bytes_per_pixel
from tilewright.models.run.providers import ProviderError


def test_a_good_card_is_proven_and_its_cost_said(tmp_path: Path) -> None:
    report = check_card(card_around(tmp_path, unet(depth=2)), cache=tmp_path / "cache")
    assert report.warnings == ()
    assert report.receptive_field.radius == 23
    assert (report.window.window, report.window.step, report.window.trim) == (560, 512, 24)
    execution = report.execution
    assert (execution.batch, execution.provider, execution.cpu_fallback) == (1, "cpu", "")
    assert [run.name for run in report.runs] == ["zeros", "ones", "noise"]
    assert execution.bytes_per_pixel is not None
    # At the least the graph holds its input, one layer of eight channels and the output.
    assert 4 * (4 + 8 + 3) < execution.bytes_per_pixel < 2000
    assert execution.seconds_per_megapixel > 0
    assert list((tmp_path / "cache/receptive").iterdir())


def test_the_report_is_json_and_lines_that_name_window_and_reason(tmp_path: Path) -> None:
    report = check_card(card_around(tmp_path, conv_stack()))
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert list(plain) == [
        *("name", "folder", "sha256", "inputs", "outputs", "weights", "graph", "operators"),
        *("runs", "receptive_field", "window"),
        *("proof", "provider", "beside", "batch", "batch_why", "not_fused", "bytes_per_pixel", "seconds_per_megapixel"),
        "warnings",
    ]
    lines = dict(report.lines())
    assert "trim 2 as the model needs" in lines["window"]
    assert lines["total stride"] == "1 px"
    assert "half a step" not in lines["as planned"]
    assert lines["as planned"].startswith("windows of 516 px, 256 px apart, of noise")
    assert "bounded, radius 2 px" in lines["receptive field"]
    assert lines["graph"].startswith("opset 17, ")
    assert lines["operators"] == "4 nodes of 3 operators; cpu, cuda, tensorrt and openvino have all"
    assert lines["weights"] == "all inside the graph"
    assert lines["provider"] == "cpu; it runs every operator"
    assert lines["fuse"].startswith("yes")
    assert {"run on zeros", "run on ones", "run on noise", "batch", "memory", "time"} <= lines.keys()


def test_weight_files_and_what_cannot_be_fused_are_reported(tmp_path: Path) -> None:
    card = card_around(tmp_path, pointwise(4, 3))
    (tmp_path / "weights.bin").write_bytes(bytes(12_000))
    lines = dict(check_card(replace(card, weights=(tmp_path / "weights.bin",))).lines())
    assert lines["weights"] == "weights.bin 0.012 MB"
    assert lines["fuse"] == "no: ndwi-water has external weight files"


@pytest.mark.parametrize("name", ["ndwi-water", "cva-change"])
def test_the_built_in_models_pass_without_a_warning(name: str) -> None:
    assert check_card(load_card(FOLDER / name)).warnings == ()


def test_an_unbounded_model_is_warned_of_and_gets_overlapping_windows(tmp_path: Path) -> None:
    report = check_card(card_around(tmp_path, global_pool()))
    assert report.window.merge == "blend"
    assert any("depend on where windows lie" in each and "GlobalAveragePool" in each for each in report.warnings)


def test_a_trim_smaller_than_the_reach_is_warned_of(tmp_path: Path) -> None:
    report = check_card(card_around(tmp_path, conv_stack((1, 1, 1)), tile={"trim": 1}))
    assert report.window.trim == 1
    assert any("the model needs 3" in each for each in report.warnings)


def test_scores_that_are_no_probabilities_are_warned_of(tmp_path: Path) -> None:
    report = check_card(card_around(tmp_path, conv_stack(), **{"tw:activation": "none"}))
    assert any("write tw:activation" in each for each in report.warnings)


def test_answers_that_never_vary_or_are_not_finite_are_warned_of(tmp_path: Path) -> None:
    draft = Draft()
    none = draft.constant(np.zeros((1, 1, 1, 1), np.float32))
    root = draft.node("Log", draft.node("Mul", draft.conv("x", 2, 2, (1, 1)), none))
    report = check_card(card_around(tmp_path, draft.model(root, n_in=2, n_out=2)))
    assert any("not finite" in each for each in report.warnings)
    assert any("no noise tried changed" in each for each in report.warnings)


def test_what_is_measured_and_not_proven_is_warned_of(tmp_path: Path) -> None:
    draft = Draft()
    rare = draft.node("Greater", draft.conv("x", 2, 2), draft.constant(np.array(1e30, np.float32)))
    summed = draft.node("CumSum", draft.node("Cast", rare, to=1), draft.constant(np.array(3)))
    report = check_card(card_around(tmp_path, draft.model(draft.node("Add", "x", summed), n_in=2, n_out=2)))
    assert any("measured, not proven" in each and "CumSum" in each for each in report.warnings)
    assert any("plateaus" in words for label, words in report.lines() if label == "compared")


def test_an_output_smaller_than_its_window_is_refused_by_its_scale(tmp_path: Path) -> None:
    draft = Draft()
    card = card_around(tmp_path, draft.model(draft.conv("x", 2, 2, stride=2), n_in=2, n_out=2))
    with pytest.raises(CardError, match=r"tw:scale"):
        check_card(card)


def test_a_provider_that_cannot_run_is_refused_before_anything_else() -> None:
    with pytest.raises(ProviderError, match="tensorrt"):
        check_card(load_card(FOLDER / "ndwi-water"), provider="tensorrt")


def test_memory_that_cannot_be_measured_is_none(tmp_path: Path) -> None:
    assert bytes_per_pixel(tmp_path / "absent.onnx", [{}, {}], areas=[0, 1]) is None
