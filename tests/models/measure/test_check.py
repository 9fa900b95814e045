from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.graphs import Draft, conv_stack, global_pool, pointwise, save, unet
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.memory_probe import bytes_per_pixel
from tilewright.models.run.providers import ProviderError


def _write_card(folder: Path, model: onnx.ModelProto, **changes: Any) -> ModelCard:
    """A card around `model` (input x, output y), made from ndwi-water's with the given output or tile fields."""
    path = save(model, folder)
    raw = json.loads((FOLDER / "ndwi-water/card.json").read_text())
    n_in = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    bands = ["blue", "green", "red", "nir"][:n_in]
    sizes = [each.dim_value or -1 for each in model.graph.output[0].type.tensor_type.shape.dim]
    properties = raw["properties"]
    properties["bands"] = [{"name": band} for band in bands]
    given, made = properties["mlm:input"][0], properties["mlm:output"][0]
    window = changes.pop("size", -1)
    given |= {"name": "x", "bands": bands}
    given["input"]["shape"] = [-1, n_in, window, window]
    made |= {"name": "y", "classification:classes": [_class(value) for value in range(sizes[1])]}
    made["result"]["shape"] = [-1, sizes[1], window, window]
    properties["tw:tile"] = changes.pop("tile", {})
    made |= changes
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    raw["assets"]["model"] |= {"file:checksum": f"1220{digest}", "file:size": path.stat().st_size}
    (folder / "card.json").write_text(json.dumps(raw))
    return load_card(folder / "card.json")


def _class(value: int) -> dict[str, Any]:
    return {"value": value, "name": f"class{value}", "description": f"class {value}"}


def test_a_good_card_is_proven_and_its_cost_said(tmp_path: Path) -> None:
    report = check_card(_write_card(tmp_path, unet(depth=2)), cache=tmp_path / "cache")
    assert report.warnings == ()
    assert report.receptive_field.radius == 23
    assert (report.window.window, report.window.step, report.window.trim) == (560, 512, 24)
    assert (report.batch, report.provider, report.beside) == (1, "cpu", "")
    assert [run.name for run in report.runs] == ["zeros", "ones", "noise"]
    assert report.bytes_per_pixel is not None
    # At the least the graph holds its input, one layer of eight channels and the output.
    assert 4 * (4 + 8 + 3) < report.bytes_per_pixel < 2000
    assert report.seconds_per_megapixel > 0
    assert list((tmp_path / "cache/receptive").iterdir())


def test_the_report_is_json_and_lines_that_name_window_and_reason(tmp_path: Path) -> None:
    report = check_card(_write_card(tmp_path, conv_stack()))
    json.dumps(report.to_json(), allow_nan=False)
    lines = dict(report.lines())
    assert "trim 2 as measured" in lines["window"]
    assert lines["total stride"] == "1 px"
    assert "bounded, radius 2 px" in lines["receptive field"]
    assert lines["graph"].startswith("opset 17, ")
    assert lines["operators"] == "Conv, Identity, Relu"
    assert lines["weights"] == "all inside the graph"
    assert lines["provider"] == "cpu; it runs every operator"
    assert lines["fuse"].startswith("yes")
    assert {"run on zeros", "run on ones", "run on noise", "batch", "memory", "time"} <= lines.keys()


def test_weight_files_and_what_cannot_be_fused_are_said(tmp_path: Path) -> None:
    card = _write_card(tmp_path, pointwise(4, 3))
    (tmp_path / "weights.bin").write_bytes(bytes(12_000))
    lines = dict(check_card(replace(card, weights=(tmp_path / "weights.bin",))).lines())
    assert lines["weights"] == "weights.bin 0.012 MB"
    assert lines["fuse"] == "no: ndwi-water has external weight files"


@pytest.mark.parametrize("name", ["ndwi-water", "cva-change"])
def test_the_built_in_models_pass_without_a_warning(name: str) -> None:
    assert check_card(load_card(FOLDER / name)).warnings == ()


def test_an_unbounded_model_is_warned_of_and_gets_overlapping_windows(tmp_path: Path) -> None:
    report = check_card(_write_card(tmp_path, global_pool()))
    assert report.window.merge == "blend"
    assert any("depend on where windows lie" in each and "GlobalAveragePool" in each for each in report.warnings)


def test_a_trim_smaller_than_the_reach_is_warned_of(tmp_path: Path) -> None:
    report = check_card(_write_card(tmp_path, conv_stack((1, 1, 1)), tile={"trim": 1}))
    assert report.window.trim == 1
    assert any("the model needs 3" in each for each in report.warnings)


def test_scores_that_are_no_probabilities_are_warned_of(tmp_path: Path) -> None:
    report = check_card(_write_card(tmp_path, conv_stack(), **{"tw:activation": "none"}))
    assert any("write tw:activation" in each for each in report.warnings)


def test_answers_that_never_vary_or_are_not_finite_are_warned_of(tmp_path: Path) -> None:
    draft = Draft()
    none = draft.constant(np.zeros((1, 1, 1, 1), np.float32))
    root = draft.node("Log", draft.node("Mul", draft.conv("x", 2, 2, (1, 1)), none))
    report = check_card(_write_card(tmp_path, draft.model(root, n_in=2, n_out=2)))
    assert any("not finite" in each for each in report.warnings)
    assert any("no noise tried changed" in each for each in report.warnings)


def test_a_graph_that_draws_random_numbers_is_warned_of(tmp_path: Path) -> None:
    draft = Draft()
    noisy = draft.node("Add", draft.conv("x", 2, 2), draft.node("RandomNormalLike", "x", scale=1.0))
    report = check_card(_write_card(tmp_path, draft.model(noisy, n_in=2, n_out=2)))
    assert any("random numbers" in each for each in report.warnings)


def test_an_output_smaller_than_its_window_is_refused_by_its_scale(tmp_path: Path) -> None:
    draft = Draft()
    card = _write_card(tmp_path, draft.model(draft.conv("x", 2, 2, stride=2), n_in=2, n_out=2))
    with pytest.raises(CardError, match=r"tw:scale"):
        check_card(card)


def test_a_provider_that_cannot_run_is_refused_before_anything_else() -> None:
    with pytest.raises(ProviderError, match="tensorrt"):
        check_card(load_card(FOLDER / "ndwi-water"), provider="tensorrt")


def test_memory_that_cannot_be_measured_is_none(tmp_path: Path) -> None:
    assert bytes_per_pixel(tmp_path / "absent.onnx", [{}, {}], areas=[0, 1]) is None
