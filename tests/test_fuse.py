from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from models.builtin.build import FOLDER
from models.card import ModelCard, load_card
from models.fuse import FusedGraph, fuse_graph
from models.postprocess import layers_from_scores, scores
from models.preprocess import prepare_input
from models.scaling import Scaling
from models.session import open_graph, open_session
from tests.graphs import Draft, pointwise, unet
from tests.test_check import _write_card


def _plain(card: ModelCard, steps: np.ndarray) -> list[dict[str, np.ndarray]]:
    (spec,) = card.inputs
    raw = open_session(card, provider="cpu").run({spec.name: prepare_input(spec, steps)})
    made = {output.name: scores(output, raw[output.name]) for output in card.outputs}
    return [
        {name: layer for o in card.outputs for name, layer in layers_from_scores(o, made[o.name][n]).items()}
        for n in range(len(steps))
    ]


def _fused(card: ModelCard, steps: np.ndarray, folder: Path) -> tuple[FusedGraph, list[dict[str, np.ndarray]]]:
    fused = fuse_graph(card, cache=folder)
    assert fused is not None
    (spec,) = fused.inputs
    session = open_graph(fused.path, sha256=fused.sha256, provider="cpu")
    assert [each.dtype for each in session.inputs] == ["uint16"]
    made = session.run({spec.name: prepare_input(spec, steps)})
    return fused, [
        {name: layer for output in fused.layers for name, layer in fused.window_layers(output, made, n).items()}
        for n in range(len(steps))
    ]


def _steps(bands: int, *, dates: int = 1, size: int = 64, seed: int = 0) -> np.ndarray:
    """Reflectance on the steps of Sentinel-2's own numbers: nothing is lost by uint16."""
    numbers = np.random.default_rng(seed).integers(0, 6000, (2, dates, bands, size, size))
    return (numbers / 10000).astype(np.float32)


def _agree(plain: list[dict[str, np.ndarray]], fused: list[dict[str, np.ndarray]]) -> None:
    for one, other in zip(plain, fused, strict=True):
        for name, layer in other.items():
            assert layer.dtype == np.uint8
            assert layer.shape == one[name].shape
            if name in {"class", "change"}:
                assert (layer == one[name]).mean() > 0.9999, name
            else:
                assert np.abs(layer.astype(int) - one[name].astype(int)).max() <= 1, name


def test_a_unet_with_scaling_inside_gives_the_layers_of_the_plain_path(tmp_path: Path) -> None:
    card = _write_card(tmp_path, unet(depth=2), **{"tw:layers": ["class", "confidence", "probabilities"]})
    scaling = tuple(Scaling(kind="z-score", shift=0.1 * k, gain=4.0 + k) for k in range(4))
    card = replace(card, inputs=(replace(card.inputs[0], value_scaling=scaling),))
    steps = _steps(4)
    fused, made = _fused(card, steps, tmp_path / "cache")
    assert set(made[0]) == {"class", "confidence", *(f"probability_class{k}" for k in range(3))}
    _agree(_plain(card, steps), made)
    assert len({layer.tobytes() for layer in made[0].values()}) == 5
    assert fused.inputs[0].data_type == "uint16"


@pytest.mark.parametrize("fields", [{"tw:activation": "sigmoid"}, {"tw:threshold": 0.3}])
def test_other_activations_and_thresholds_agree_too(fields: dict[str, Any], tmp_path: Path) -> None:
    card = _write_card(tmp_path, unet(depth=1, n_out=2), **fields)
    steps = _steps(4)
    _agree(_plain(card, steps), _fused(card, steps, tmp_path / "cache")[1])


def test_the_built_in_pair_model_keeps_its_values_beside_the_fused_mask(tmp_path: Path) -> None:
    card = load_card(FOLDER / "cva-change")
    steps = _steps(4, dates=2) * np.float32(0.3)
    steps = np.round(steps, 4)
    fused, made = _fused(card, steps, tmp_path)
    _agree(_plain(card, steps), made)
    assert set(fused.layers) == {"change"}
    raw = open_graph(fused.path, sha256=fused.sha256, provider="cpu").run(
        {"pair": prepare_input(fused.inputs[0], steps)}
    )
    plain = _plain(card, steps)
    assert raw["magnitude"][1, 0] == pytest.approx(plain[1]["magnitude"], abs=1e-5)


def test_scores_that_are_not_finite_become_nodata(tmp_path: Path) -> None:
    draft = Draft()
    # 1 / (x - x(0.25)) is infinite exactly where green is 0.25.
    quarter = draft.constant(np.array(0.25, np.float32))
    score = draft.node("Div", draft.constant(np.array(1.0, np.float32)), draft.node("Sub", "x", quarter))
    card = _write_card(tmp_path, draft.model(score, n_in=2, n_out=2), **{"tw:activation": "none"})
    steps = np.full((1, 1, 2, 4, 4), 0.3, np.float32)
    steps[..., 0, 0] = 0.25
    # The step of uint16 does not meet 0.25 to the last bit: a unit without steps leaves the input as it is.
    plain = replace(card, inputs=(replace(card.inputs[0], unit="1"),))
    fused = fuse_graph(plain, cache=tmp_path / "cache")
    assert fused is not None
    made = open_graph(fused.path, sha256=fused.sha256, provider="cpu").run({"x": prepare_input(plain.inputs[0], steps)})
    layers = fused.window_layers("y", made, 0)
    assert layers["class"][0, 0] == 255
    assert layers["confidence"][0, 0] == 255
    assert (layers["class"].ravel()[1:] == 0).all()


def test_the_composed_graph_is_kept_and_the_same_each_time(tmp_path: Path) -> None:
    card = load_card(FOLDER / "ndwi-water")
    first, second = fuse_graph(card, cache=tmp_path), fuse_graph(card, cache=tmp_path)
    assert first == second
    assert first is not None
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
    first.path.write_bytes(b"broken by somebody")
    again = fuse_graph(card, cache=tmp_path)
    assert again is not None
    assert onnx.load(str(again.path)).producer_name == "tilewright"


def test_what_cannot_be_fused_is_left_alone(tmp_path: Path) -> None:
    old = pointwise()
    old.opset_import[0].version = 12
    assert fuse_graph(_write_card(tmp_path, old), cache=tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
