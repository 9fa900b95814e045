"""Trained models exported: the card loads, the graph gives the model's outputs, an unfaithful graph is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.paths import ROOT
from tilewright.models.card.tile import TileSpec
from tilewright.models.errors import CardError
from tilewright.models.export.export import draft_card, export_estimator, export_torch
from tilewright.models.export.facts import ExportError, ExportFacts, InputFacts, OutputFacts
from tilewright.models.export.from_trees import rounded_thresholds
from tilewright.models.export.parity import compare
from tilewright.models.measure.check import check_card
from tilewright.models.run.open import open_session
from tilewright.models.spec.embedding import EmbeddingSpec
from tilewright.models.spec.inputs import DatesSpec, MissingSpec
from tilewright.models.spec.outputs import ClassSpec
from tilewright.models.spec.statistics import BandStatistics
from tilewright.models.transforms.preprocess import prepare_input

SCALING = ({"type": "z-score", "mean": 0.1, "stddev": 0.05},)
THREE = tuple(ClassSpec(value=value, name=name) for value, name in ((2, "bare"), (5, "grass"), (9, "trees")))

TWO = tuple(ClassSpec(value=value, name=name) for value, name in ((0, "other"), (1, "maize")))


def row_facts(**changes: Any) -> ExportFacts:
    """Two steps of two bands: four features a row."""
    entry = InputFacts(name="features", bands=("red", "nir"), dates=DatesSpec(kind="series", steps=2))
    given: dict[str, Any] = {
        "name": "rows-model",
        "title": "Rows",
        "description": "For tests",
        "architecture": "trees",
        "rows": True,
        "inputs": (entry,),
        "outputs": (OutputFacts(name="probabilities", classes=THREE, layers=("class",)),),
    }
    return ExportFacts(**{**given, **changes})


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    features = random.uniform(0, 0.5, (3000, 4)).astype(np.float32)
    kinds = np.array([2, 5, 9])[(features[:, 1] > 0.2).astype(int) + (features[:, 3] > features[:, 0])]
    return features, kinds


def forest() -> Any:
    sklearn = pytest.importorskip("sklearn.ensemble", reason="the extra `export` is not installed")
    pytest.importorskip("skl2onnx", reason="the extra `export` is not installed")
    return sklearn.RandomForestClassifier(5, max_leaf_nodes=40, random_state=0)


def forest_regressor() -> Any:
    forest()
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(4, max_leaf_nodes=20, random_state=0)


def boosting(kind: str = "LGBMClassifier") -> Any:
    lightgbm = pytest.importorskip("lightgbm", reason="the extra `export` is not installed")
    pytest.importorskip("onnxmltools", reason="the extra `export` is not installed")
    return getattr(lightgbm, kind)(n_estimators=6, num_leaves=15, n_jobs=1, verbose=-1)


@pytest.mark.parametrize("make", [forest, boosting])
def test_an_estimator_becomes_a_card_that_checks_and_answers_alike(make, rows, tmp_path):
    estimator = make().fit(*rows)
    report = export_estimator(estimator, row_facts(), tmp_path / "made", examples=[{"features": rows[0]}])
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["card.json", "model.onnx"]
    assert report.card.pixelwise
    assert [layer.name for layer in report.card.layer_specs()] == ["class"]
    assert report.parity[0].difference < 1e-6
    assert report.parity[0].unlike == 0
    assert {"on thresholds", "below thresholds", "above thresholds", "example 1"} <= set(report.parity[0].tried)
    assert check_card(report.card).receptive_field.radius == 0
    ours = open_session(report.card).run({"features": rows[0]})["probabilities"]
    assert np.abs(ours - estimator.predict_proba(rows[0])).max() < 1e-6
    assert "0.0" in report.words()


def test_the_graph_gives_scores_and_nothing_else(rows, tmp_path):
    export_estimator(forest().fit(*rows), row_facts(), tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [each.name for each in graph.input] == ["features"]
    assert [each.name for each in graph.output] == ["probabilities"]


@pytest.mark.parametrize("make", [lambda: boosting("LGBMRegressor"), forest_regressor])
def test_values_are_exported_too(make, rows, tmp_path):
    features, _ = rows
    facts = row_facts(outputs=(OutputFacts(name="biomass", values=("biomass",), units=("t/ha",)),))
    report = export_estimator(make().fit(features, features[:, 0] * 100), facts, tmp_path)
    (layer,) = report.card.layer_specs()
    assert (layer.name, layer.unit, layer.kind) == ("biomass", "t/ha", "value")


def test_thresholds_are_rounded_down_and_never_up():
    text = "tree_sizes=10 20\nthreshold=0.1 0.2 -0.1\nleaf_value=0.1\n"
    lines = rounded_thresholds(text).splitlines()
    assert [line.partition("=")[0] for line in lines] == ["threshold", "leaf_value"]
    rounded = [float(word) for word in lines[0].partition("=")[2].split()]
    for value, made in zip((0.1, 0.2, -0.1), rounded, strict=True):
        assert made <= value < float(np.nextafter(np.float32(made), np.float32(np.inf)))
        assert made == float(np.float32(made))


def test_features_that_do_not_fit_the_facts_are_refused(rows, tmp_path):
    entry = InputFacts(name="features", bands=("red", "nir", "swir16"))
    with pytest.raises(ExportError, match=r"fitted on 4 features, the facts name 3 bands of 1 steps: 3"):
        export_estimator(forest().fit(*rows), row_facts(inputs=(entry,)), tmp_path)


def test_classes_in_another_order_are_refused(rows, tmp_path):
    facts = row_facts(outputs=(OutputFacts(name="probabilities", classes=THREE[::-1]),))
    with pytest.raises(ExportError, match=r"fitted on classes \[2, 5, 9\], the facts list \[9, 5, 2\]"):
        export_estimator(forest().fit(*rows), facts, tmp_path)


def test_a_converter_that_fails_is_reported_in_one_sentence(rows, tmp_path):
    forest()
    from sklearn.neighbors import LocalOutlierFactor

    facts = row_facts(outputs=(OutputFacts(name="oddness", values=("oddness",)),))
    with pytest.raises(ExportError, match="cannot be converted to ONNX") as refusal:
        export_estimator(LocalOutlierFactor().fit(rows[0]), facts, tmp_path)
    assert len(str(refusal.value)) < 400


def test_a_missing_converter_names_the_extra(rows, tmp_path, monkeypatch):
    estimator = forest().fit(*rows)
    monkeypatch.setitem(sys.modules, "skl2onnx.convert", None)
    with pytest.raises(ExportError, match=r"not installed here; pip install .* -e .\.\[export\]"):
        export_estimator(estimator, row_facts(), tmp_path)


def test_an_unfaithful_graph_is_refused_and_leaves_nothing(rows, tmp_path, monkeypatch):
    estimator = forest().fit(*rows)
    monkeypatch.setattr(
        "tilewright.models.export.export.tree_outputs", lambda *_: [estimator.predict_proba(_[2]) + 0.01]
    )
    with pytest.raises(ExportError, match="differs from the model's by 0.01 on .*not faithful"):
        export_estimator(estimator, row_facts(), tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


def test_an_answer_that_is_no_number_is_never_parity(rows, tmp_path):
    report = export_estimator(forest().fit(*rows), row_facts(), tmp_path)
    with pytest.raises(ExportError, match="differs from the model's by nan"):
        compare(report.card, row_facts(), lambda feeds: [np.full((len(feeds["features"]), 3), np.nan)], tolerance=1e-4)


def test_facts_that_make_no_valid_card_name_the_field(rows, tmp_path):
    entry = InputFacts(name="features", bands=("red", "nir"), unit="kelvin", dates=DatesSpec(kind="series", steps=2))
    with pytest.raises(CardError, match="tw:unit"):
        export_estimator(forest().fit(*rows), row_facts(inputs=(entry,)), tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: InputFacts(bands=()), "bands is empty"),
        (lambda: InputFacts(bands=("red", "nir"), scaling=SCALING * 3), "3 entries for 2 bands"),
        (lambda: InputFacts(bands=("red", "nir"), statistics=({"mean": 0.1, "stddev": 0.1},)), "1 entries for 2 bands"),
        (OutputFacts, "classes, or names of values"),
        (lambda: OutputFacts(classes=THREE, one_channel=True), "for two classes, here are 3"),
        (lambda: OutputFacts(values=("a",), threshold=0.4), "for two classes, here are 0"),
        (lambda: OutputFacts(values=("a",), embedding=EmbeddingSpec()), "whose numbers are counted"),
        (lambda: OutputFacts(values=("a", "b"), embedding=EmbeddingSpec(), length=4), "is one layer of values"),
        (lambda: OutputFacts(classes=THREE, valid_range=(0, 1)), "classes have none"),
        (lambda: row_facts(outputs=()), "at least one input and one output"),
        (lambda: row_facts(outputs=(OutputFacts(name="features", values=("a",)),)), "a name of its own"),
    ],
)
def test_facts_that_contradict_themselves_are_refused(wrong, words):
    with pytest.raises(ExportError, match=words):
        wrong()


def test_a_draft_card_prepares_pixels_before_there_is_a_graph():
    entry = InputFacts(
        bands=("red", "ndvi"),
        scaling=SCALING,
        missing=MissingSpec(fill="mean", pad="fill"),
        statistics=({"mean": 0.1, "stddev": 0.05}, {"minimum": -1.0, "maximum": 1.0}),
    )
    card = draft_card(row_facts(inputs=(entry,), rows=False, outputs=(OutputFacts(name="made", values=("made",)),)))
    (spec,) = card.inputs
    assert spec.source_bands == ("red", "nir")
    pixels = np.full((1, 1, 2, 8, 8), 0.1, np.float32)
    pixels[0, 0, 1] = 0.3
    made = prepare_input(spec, pixels)
    assert made.shape == (1, 2, 8, 8)
    assert made[0, :, 0, 0] == pytest.approx([0.0, (0.5 - 0.1) / 0.05], abs=1e-5)
    assert (spec.missing.fill, spec.missing.pad) == ("mean", "fill")
    assert spec.statistics == (BandStatistics(mean=0.1, stddev=0.05), BandStatistics(minimum=-1.0, maximum=1.0))


def image_facts(**changes: Any) -> ExportFacts:
    given: dict[str, Any] = {
        "name": "image-model",
        "title": "Image",
        "description": "For tests",
        "architecture": "convolutions",
        "inputs": (InputFacts(bands=("red", "nir"), scaling=SCALING),),
        "outputs": (OutputFacts(name="logits", classes=THREE, activation="softmax"),),
        "multiple": 16,
    }
    return ExportFacts(**{**given, **changes})


@pytest.mark.parametrize(
    ("crop", "scale", "window", "side", "cropped"),
    [
        ((4, 4), 1.0, 64, 56, (4, 4)),
        ((3, 4), 1.0, 64, 57, (3, 4)),
        ((2, 2), 0.5, 64, 30, (1, 1)),
        ((1, 1), 2.0, 32, 60, (2, 2)),
        ((4, 4), 1.0, None, -1, (4, 4)),
    ],
)
def test_a_crop_is_written_to_the_card(crop, scale, window, side, cropped):
    output = OutputFacts(name="logits", classes=THREE, activation="softmax", crop=crop, scale=scale)
    (made,) = draft_card(image_facts(outputs=(output,), tile=TileSpec(window=window))).outputs
    assert (made.shape[-1], made.crop, made.cropped) == (side, crop, cropped)


HEADS = {
    "one logit": OutputFacts(name="made", classes=TWO, one_channel=True, activation="sigmoid", threshold=0.3),
    "one probability": OutputFacts(name="made", classes=TWO, one_channel=True),
    "labels of windows": OutputFacts(name="made", classes=THREE, per_window=True, activation="softmax"),
    "values of windows": OutputFacts(name="made", values=("yield", "loss"), per_window=True),
    "vectors of windows": OutputFacts(
        name="made",
        values=("vectors",),
        per_window=True,
        embedding=EmbeddingSpec(metric="dot", storage="int8"),
        length=5,
    ),
    "vectors of pixels": OutputFacts(name="made", values=("vectors",), embedding=EmbeddingSpec(), length=5),
    "values in a range": OutputFacts(name="made", values=("biomass",), valid_range=(0, 600), outside="clip"),
}


@pytest.mark.parametrize("head", HEADS)
def test_heads_of_every_kind_are_written_to_the_card(head):
    facts = HEADS[head]
    card = draft_card(image_facts(outputs=(facts,), tile=TileSpec(window=32)))
    (made,) = card.outputs
    assert (made.channels, made.n_scores) == (facts.n_channels, len(facts.classes) or facts.n_channels)
    assert made.shape == (-1, facts.n_channels, *(() if facts.per_window else (32, 32)))
    assert (made.threshold, made.valid_range, made.outside) == (facts.threshold, facts.valid_range, facts.outside)
    assert made.embedding == facts.embedding
    assert made.scale == (1 / 32 if facts.per_window else 1)


@pytest.mark.parametrize("head", HEADS)
def test_heads_of_every_kind_are_exported_as_they_answer(torch, head, tmp_path):
    facts, nn = HEADS[head], torch.nn
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if facts.per_window else []
    net = nn.Sequential(nn.Conv2d(2, facts.n_channels, 3, padding=1), *pooled)
    report = export_torch(net, image_facts(outputs=(facts,), tile=TileSpec(window=32)), tmp_path)
    assert report.parity[0].unlike == 0
    assert report.parity[0].difference < 1e-5
    check_card(report.card)


def test_missing_torch_is_reported_readably(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExportError, match="torch is not installed here; `pip install torch`"):
        export_torch(object(), image_facts(), tmp_path)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed; it is needed only to export torch modules")


def small_net(torch: Any) -> Any:
    torch.manual_seed(1)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(6, 3, 1),
    )
    for _ in range(3):
        net(torch.rand(4, 2, 16, 16))
    return net


def test_a_torch_module_becomes_a_card_with_free_windows(torch, tmp_path):
    net = small_net(torch)
    report = export_torch(net, image_facts(), tmp_path)
    assert net.training, "the module comes back in the mode it was given in"
    assert report.parity[0].difference < 1e-5
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert "BatchNormalization" not in operators
    checked = check_card(report.card)
    assert (checked.receptive_field.verdict, checked.receptive_field.stride) == ("bounded", 2)
    assert checked.graph.opset == 17


def test_a_fixed_window_is_exported_fixed(torch, tmp_path):
    report = export_torch(small_net(torch), image_facts(tile=TileSpec(window=32, trim=4)), tmp_path)
    assert report.card.inputs[0].shape == (-1, 2, 32, 32)
    assert report.card.tile.trim == 4


def test_a_pair_has_a_time_axis_and_sensors_of_unlike_resolution_their_own_size(torch, tmp_path):
    class Net(torch.nn.Module):
        def forward(self, pair, radar):
            coarse = torch.nn.functional.interpolate(radar, scale_factor=2.0, mode="nearest")
            return (pair[:, 1] - pair[:, 0]).sum(1, keepdim=True) + coarse, radar * 2

    facts = image_facts(
        inputs=(
            InputFacts(name="pair", bands=("red", "nir"), dates=DatesSpec(kind="pair", steps=2)),
            InputFacts(name="radar", bands=("vv",), collection="sentinel-1-rtc", unit="db", resolution=20.0),
        ),
        outputs=(
            OutputFacts(name="change", values=("change",)),
            OutputFacts(name="double", values=("double",), scale=0.5),
        ),
    )
    report = export_torch(Net(), facts, tmp_path)
    assert [spec.shape for spec in report.card.inputs] == [(-1, 2, 2, -1, -1), (-1, 1, -1, -1)]
    assert report.card.ratio(report.card.inputs[1]) == 2
    assert max(each.difference for each in report.parity) < 1e-6


def test_a_module_that_does_not_run_on_its_facts_is_refused(torch, tmp_path):
    facts = image_facts(inputs=(InputFacts(bands=("red", "nir", "green")),))
    with pytest.raises(ExportError, match=r"does not run on image \[1, 3, 16, 16\], as the facts of image-model say"):
        export_torch(small_net(torch), facts, tmp_path)


def test_a_trace_that_depends_on_its_size_is_refused(torch, tmp_path):
    class Net(torch.nn.Module):
        def forward(self, image):
            return image.sum(1, keepdim=True) / int(image.shape[2])

    with pytest.raises(ExportError, match="made of the graph differs from the model's by .* on random 2"):
        export_torch(Net(), image_facts(outputs=(OutputFacts(name="made", values=("made",)),)), tmp_path)


def test_the_package_loads_without_torch_or_converters():
    import subprocess

    probe = (
        "import sys, models.export; print(sorted({'torch', 'skl2onnx', 'sklearn', 'lightgbm', 'onnxmltools'}"
        " & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"
