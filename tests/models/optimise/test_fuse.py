"""The fused graph against the plain path: the same layers, by the card's own rules, from whole numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.cards import card_around
from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import write_card
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse import FusedModel, fuse_model, obstacle
from tilewright.models.run.open import open_session
from tilewright.models.run.session import ModelSession, open_graph
from tilewright.models.spec.outputs import ClassSpec
from tilewright.models.spec.scaling import Scaling
from tilewright.models.transforms.postprocess import layers_from_scores, scores
from tilewright.models.transforms.preprocess import prepare_input

ALL = ["class", "confidence", "probabilities", "entropy", "margin"]


def _layers(
    card: ModelCard, session: ModelSession, steps: np.ndarray, size: int | None = None
) -> list[dict[str, np.ndarray]]:
    """The layers per window, through the same functions a run uses."""
    (spec,) = card.inputs
    raw = session.run({spec.name: prepare_input(spec, steps)})
    sides = (size, size) if size else None
    made = {output.name: scores(output, raw[output.name], size=sides) for output in card.outputs}
    return [
        {name: layer for o in card.outputs for name, layer in layers_from_scores(o, made[o.name][n]).items()}
        for n in range(len(steps))
    ]


def _plain(card: ModelCard, steps: np.ndarray, size: int | None = None) -> list[dict[str, np.ndarray]]:
    return _layers(card, open_session(card, provider="cpu"), steps, size)


def _fused(
    card: ModelCard, steps: np.ndarray, folder: Path, *, half: bool = False, size: int | None = None
) -> tuple[FusedModel, list[dict[str, np.ndarray]]]:
    fused = fuse_model(card, cache=folder, half=half)
    session = open_graph(fused.path, sha256=fused.sha256, provider="cpu")
    return fused, _layers(fused.card, session, steps, size)


def _steps(bands: int, *, dates: int = 1, size: int = 64, seed: int = 0) -> np.ndarray:
    """Reflectance in half steps of Sentinel-2's own numbers: nothing is lost by uint16."""
    numbers = np.random.default_rng(seed).integers(0, 12000, (2, dates, bands, size, size))
    return (numbers / 20000).astype(np.float32)


def _agree(plain: list[dict[str, np.ndarray]], fused: list[dict[str, np.ndarray]], *, most: float = 1.0) -> None:
    for one, other in zip(plain, fused, strict=True):
        assert one.keys() == other.keys()
        for name, layer in other.items():
            assert layer.dtype == one[name].dtype
            assert layer.shape == one[name].shape
            if name in {"class", "change"}:
                assert (layer == one[name]).mean() > 0.9999, name
            else:
                assert np.nanmax(np.abs(layer.astype(float) - one[name].astype(float))) <= most, name


def test_a_unet_with_scaling_inside_gives_the_layers_of_the_plain_path(tmp_path: Path) -> None:
    card = card_around(tmp_path, unet(depth=2), **{"tw:layers": ALL})
    scaling = tuple(Scaling(kind="z-score", shift=0.1 * k, gain=4.0 + k) for k in range(4))
    card = replace(card, inputs=(replace(card.inputs[0], value_scaling=scaling),))
    steps = _steps(4)
    fused, made = _fused(card, steps, tmp_path / "cache")
    assert set(made[0]) == {"class", "confidence", "entropy", "margin", *(f"probability_class{k}" for k in range(3))}
    _agree(_plain(card, steps), made)
    assert len({layer.tobytes() for layer in made[0].values()}) == 7
    assert fused.card.inputs[0].data_type == "uint16"
    assert (fused.card.sha256, fused.card.digest) == (card.sha256, card.digest)
    session = open_graph(fused.path, sha256=fused.sha256, provider="cpu")
    assert [(each.dtype, each.shape) for each in session.inputs] == [("uint16", (-1, 4, -1, -1))]
    assert [(each.dtype, each.shape) for each in session.outputs] == [("uint8", (-1, 7, -1, -1))]


@pytest.mark.parametrize("fields", [{"tw:activation": "sigmoid"}, {"tw:threshold": 0.3}])
def test_other_activations_and_thresholds_agree_too(fields: dict[str, Any], tmp_path: Path) -> None:
    card = card_around(tmp_path, unet(depth=1, n_out=2), **fields, **{"tw:layers": ALL})
    steps = _steps(4)
    _agree(_plain(card, steps), _fused(card, steps, tmp_path / "cache")[1])


def test_clipping_per_band_and_units_without_a_step_move_in_as_floats(tmp_path: Path) -> None:
    card = card_around(tmp_path, unet(depth=1), **{"tw:layers": ALL})
    scaling = (
        Scaling(kind="clip", low=0.1, high=0.2), Scaling(kind="z-score", shift=0.3, gain=5.0),
        Scaling(kind="clip-min", low=0.25), Scaling(kind="none"),
    )  # fmt: skip
    card = replace(card, inputs=(replace(card.inputs[0], value_scaling=scaling, unit="m"),))
    steps = _steps(4)
    fused, made = _fused(card, steps, tmp_path / "cache")
    assert fused.card.inputs[0].data_type == "float32"
    _agree(_plain(card, steps), made)


def test_class_values_become_bytes_and_unknown_ones_nodata(tmp_path: Path) -> None:
    draft = Draft()
    whole = draft.node("Round", draft.node("Mul", "x", draft.constant([20000.0])))
    whole = draft.node("Cast", whole, to=TensorProto.INT64)
    label = draft.node("Sub", draft.node("Squeeze", whole, draft.constant(np.array([1]))), draft.constant(np.array(2)))
    model = draft.model(label, n_in=1, n_out=1, out_type=TensorProto.INT64, out_shape=["batch", "oh", "ow"])
    folder = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "dims": ("batch", "height", "width"), "classes": ["a", "b", "c"]}],
    )
    card = load_card(folder)
    classes = tuple(ClassSpec(value=value, name=str(value)) for value in (0, 1, 250))
    card = replace(card, outputs=(replace(card.outputs[0], classes=classes),))
    steps = (np.array([0, 2, 3, 4, 252, 700, 1, 12000]) / 20000).astype(np.float32).reshape(1, 1, 1, 2, 4)
    _, made = _fused(card, steps, tmp_path / "cache")
    assert made[0]["class"].tolist() == [[255, 0, 1, 255], [250, 255, 255, 255]]
    assert np.array_equal(made[0]["class"], _plain(card, steps)[0]["class"])


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "area"])
def test_resizing_to_the_training_size_and_back_moves_in(method: str, tmp_path: Path) -> None:
    model = unet(2, 3, depth=1, size=(32, 32))
    folder = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {
                "name": "x",
                "bands": ["red", "nir"],
                "resize_type": f"interpolation-{method}",
                "value_scaling": [{"type": "clip", "minimum": 0.1, "maximum": 0.4}],
            }
        ],
        outputs=[{"name": "y", "classes": ["a", "b", "c"], "tw:activation": "softmax", "tw:layers": ALL}],
        tile={"window": 48, "step": 32, "trim": 8, "merge": "trim"},
    )
    card = load_card(folder)
    steps = _steps(2, size=48)
    fused, made = _fused(card, steps, tmp_path / "cache", size=48)
    session = open_graph(fused.path, sha256=fused.sha256, provider="cpu")
    assert session.inputs[0].shape[2:] == (48, 48)
    assert session.outputs[0].shape[2:] == (48, 48)
    _agree(_plain(card, steps, 48), made)


def test_the_built_in_pair_model_keeps_its_values_beside_the_fused_mask(tmp_path: Path) -> None:
    card = load_card(FOLDER / "cva-change")
    steps = np.round(_steps(4, dates=2) * np.float32(0.3), 4)
    fused, made = _fused(card, steps, tmp_path)
    plain = _plain(card, steps)
    assert [output.name for output in fused.card.outputs if output.layered] == ["change"]
    assert made[1]["magnitude"] == pytest.approx(plain[1]["magnitude"], abs=1e-5)
    _agree(plain, made)


def test_scores_that_have_no_answer_become_nodata_on_both_paths(tmp_path: Path) -> None:
    """A class at -inf cannot be; +inf, or every class at -inf, is no answer."""
    draft = Draft()
    y = draft.node("Log", "x")
    card = card_around(tmp_path, draft.model(y, n_in=2, n_out=2), **{"tw:layers": ["class", "confidence"]})
    card = replace(card, inputs=(replace(card.inputs[0], unit="1"),))
    # Logarithms: of 0 -inf, of a negative number NaN, of a number too large for float32's inverse still finite.
    pixels = np.array([[[0.5, 0, 0, -1], [1e30, 1, 0.5, 0.5]], [[0.25, 1, 0, 1], [1, 0, 0.5, 0.25]]], np.float32)
    steps = pixels.reshape(1, 1, 2, 2, 4)
    with np.errstate(all="raise"):
        plain = _plain(card, steps)[0]
    fused = _fused(card, steps, tmp_path / "cache")[1][0]
    assert plain["class"].tolist() == [[0, 1, 255, 255], [0, 0, 0, 0]]
    assert plain["confidence"].tolist()[0][1:3] == [100, 255]
    for name, layer in plain.items():
        assert np.array_equal(fused[name], layer), name


def test_half_precision_is_near_and_not_the_same(tmp_path: Path) -> None:
    card = card_around(tmp_path, unet(depth=2), **{"tw:layers": ALL})
    steps = _steps(4)
    plain, (fused, made) = _plain(card, steps), _fused(card, steps, tmp_path / "cache", half=True)
    kinds = {each.data_type for each in onnx.load(str(fused.path)).graph.initializer if each.name.startswith("model/")}
    assert TensorProto.FLOAT16 in kinds
    for one, other in zip(plain, made, strict=True):
        assert (one["class"] == other["class"]).mean() > 0.99
        assert np.abs(one["confidence"].astype(int) - other["confidence"]).max() <= 3
    raw = []
    for half in (False, True):
        scored = fuse_model(card, cache=tmp_path / "cache", blended=True, half=half)
        session = open_graph(scored.path, sha256=scored.sha256, provider="cpu")
        raw.append(session.run({"x": prepare_input(scored.card.inputs[0], steps)})["y"])
    assert 0 < np.abs(raw[0] - raw[1]).max() < 0.02


def test_blended_windows_keep_their_scores(tmp_path: Path) -> None:
    card = card_around(tmp_path, unet(depth=1))
    fused = fuse_model(card, cache=tmp_path / "cache", blended=True)
    assert fused.card.outputs == card.outputs
    assert fused.card.inputs[0].data_type == "uint16"


def test_the_composed_graph_is_kept_and_the_same_each_time(tmp_path: Path) -> None:
    card = load_card(FOLDER / "ndwi-water")
    first, second = fuse_model(card, cache=tmp_path), fuse_model(card, cache=tmp_path)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
    first.path.write_bytes(b"broken by somebody")
    again = fuse_model(card, cache=tmp_path)
    assert onnx.load(str(again.path)).producer_name == "tilewright"


def test_what_cannot_be_fused_says_why(tmp_path: Path) -> None:
    old = pointwise()
    old.opset_import[0].version = 12
    card = card_around(tmp_path, old)
    assert "opset 12, and 13 is needed" in obstacle(card, blended=False)
    with pytest.raises(CardError, match="opset 12, and 13 is needed; write fuse: no"):
        fuse_model(card, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert "external weight files" in obstacle(replace(card, weights=(Path("w"),)), blended=False)
    assert "several runs" in obstacle(replace(card, members=(card,)), blended=False)
