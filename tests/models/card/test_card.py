from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.cards import good_card, load, put, write_graph
from tests.support.paths import ROOT
from tilewright.models.card.card import load_card
from tilewright.models.card.schema import check_schemas
from tilewright.models.errors import CardError

EXAMPLE = ROOT.parent / "shared/design/examples/card.json"


def test_the_good_card_says_everything_it_was_written_with(tmp_path: Path) -> None:
    card = load(tmp_path, good_card())
    optical, radar = card.inputs
    assert (card.name, card.id, card.tasks) == ("fusion", "fusion", ("semantic-segmentation", "regression"))
    assert optical.bands == ("green", "red", "nir", "wet")
    assert optical.source_bands == ("green", "red", "nir")
    assert optical.derived == {"wet": "green - nir"}
    assert (optical.unit, radar.unit) == ("reflectance", "db")
    assert (optical.dates.kind, optical.dates.steps, optical.dates.every) == ("series", 3, "month")
    assert len(optical.value_scaling) == 4
    assert radar.missing.fill == (-20.0, "mean")
    assert radar.optional
    assert (card.resolution, card.ratio(radar), card.read_size(radar, 32)) == (10.0, 2.0, 16)
    assert (card.tile.window, card.tile.trim, card.tile.merge) == (32, 4, "auto")
    assert [layer.name for layer in card.layer_specs()] == ["class", "confidence", "canopy"]
    assert card.outputs[1].valid_range == (0.0, 60.0)
    assert card.sha256 == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()


def test_the_digest_changes_with_any_field_though_the_model_stays(tmp_path: Path) -> None:
    card = good_card()
    first = load(tmp_path, card)
    put(card, "mlm:input/0/value_scaling/0/mean", 0.11)
    second = load(tmp_path, card)
    assert first.sha256 == second.sha256
    assert first.digest != second.digest


def test_the_example_card_of_the_design_validates_and_loads() -> None:
    if not EXAMPLE.exists():
        pytest.skip("the design's example card is not beside the checkout (../shared/design/examples)")
    card = load_card(EXAMPLE, verify=False)
    assert [spec.name for spec in card.inputs] == ["optical", "radar"]
    assert card.inputs[0].dates.steps == 3
    assert [layer.name for layer in card.layer_specs()] == ["class", "confidence"]
    assert card.tile.window == 256


CLASSES = "mlm:output/0/classification:classes"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("not MLM", {"/stac_extensions": ["https://stac-extensions.github.io/mlm/v1.3.0/schema.json"]}, "stac_extensions"),
    ("old STAC", {"/stac_version": "1.0.0"}, "stac_version"),
    ("no architecture", {"mlm:architecture": ...}, "mlm:architecture"),
    ("task unknown to MLM", {"mlm:tasks": ["mapping"]}, r"mlm:tasks\[0\]"),
    ("unknown field in properties", {"tw:tiles": {}}, "did you mean 'tw:tile'"),
    ("unknown field in input", {"mlm:input/0/tw:date": {}}, "did you mean 'tw:dates'"),
    ("unknown field in output", {"mlm:output/0/tw:activate": "softmax"}, "did you mean 'tw:activation'"),
    ("no inputs", {"mlm:input": []}, "mlm:input"),
    ("only optional inputs", {"mlm:input/0/tw:optional": True}, "tw:optional"),
    ("two inputs of one name", {"mlm:input/1/name": "optical"}, r"mlm:input\[1\].name"),
    ("no collection", {"mlm:input/0/tw:collection": ...}, r"mlm:input\[0\].tw:collection"),
    ("band not declared", {"mlm:input/0/bands/0": "gren"}, "did you mean 'green'"),
    ("bands too many", {"mlm:input/0/bands/4": "vv"}, r"mlm:input\[0\].input.shape .* must be 5"),
    ("expression language", {"mlm:input/0/bands/3/format": "rio-calc"}, r"bands\[3\].format"),
    (
        "expression as code",
        {"mlm:input/0/bands/3/expression": "__import__('os').system('ls')"},
        r"bands\[3\].expression",
    ),
    (
        "expression over unknown band",
        {"mlm:input/0/bands/3/expression": "green - swir16"},
        "'swir16'.*properties.bands",
    ),
    ("unit", {"mlm:input/1/tw:unit": "decibel"}, r"mlm:input\[1\].tw:unit"),
    ("resolution", {"mlm:input/0/tw:resolution": -10}, r"mlm:input\[0\].tw:resolution"),
    ("resampling", {"mlm:input/0/tw:resampling": "linear"}, r"mlm:input\[0\].tw:resampling"),
    ("dates kind", {"mlm:input/0/tw:dates/kind": "serie"}, "did you mean 'series'"),
    ("dates reducer", {"mlm:input/0/tw:dates/reducer": "mode"}, "tw:dates.reducer"),
    ("dates steps against shape", {"mlm:input/0/tw:dates/steps": 4}, r"input.shape .* time axis must be 4"),
    ("pair with three steps", {"mlm:input/0/tw:dates": {"kind": "pair", "steps": 3}}, "tw:dates.steps"),
    ("dates every", {"mlm:input/0/tw:dates/every": "fortnight"}, "tw:dates.every"),
    ("each without time axis", {"mlm:input/1/tw:dates": {"kind": "each"}}, r"mlm:input\[1\].tw:dates.kind"),
    ("dim_order length", {"mlm:input/1/input/dim_order": ["batch", "bands"]}, r"mlm:input\[1\].input.dim_order"),
    ("dim_order name", {"mlm:input/1/input/dim_order/1": "depth"}, r"mlm:input\[1\].input.dim_order"),
    ("shape with zero", {"mlm:input/1/input/shape": [-1, 2, 0, 0]}, r"mlm:input\[1\].input.shape"),
    ("window not square", {"mlm:input/1/input/shape": [-1, 2, 16, 32]}, "square"),
    ("data type", {"mlm:input/1/input/data_type": "complex64"}, r"mlm:input\[1\].input.data_type"),
    ("data type against graph", {"mlm:input/1/input/data_type": "float64"}, "the graph has float32"),
    ("scalings of wrong number", {"mlm:input/0/value_scaling/1": {"type": "offset", "value": 1}}, "value_scaling"),
    ("scaling without deviation", {"mlm:input/0/value_scaling/0": {"type": "z-score", "mean": 1}}, "value_scaling"),
    ("scaling by zero deviation", {"mlm:input/0/value_scaling/0/stddev": 0}, r"value_scaling\[0\].stddev"),
    (
        "scaling with reversed range",
        {"mlm:input/0/value_scaling/0": {"type": "min-max", "minimum": 1, "maximum": 0}},
        r"value_scaling\[0\].maximum",
    ),
    (
        "pre-processing function",
        {"mlm:input/0/pre_processing_function": {"format": "python", "expression": "f"}},
        "pre_proc",
    ),
    ("filter key", {"mlm:input/0/tw:filter": {"cloud": 10}}, "tw:filter.cloud"),
    ("filter value", {"mlm:input/0/tw:filter": {"max_cloud": "low"}}, "tw:filter.max_cloud"),
    ("fill rule", {"mlm:input/1/tw:missing/fill": "median"}, "tw:missing.fill"),
    ("fills of wrong number", {"mlm:input/1/tw:missing/fill": [0]}, "tw:missing.fill"),
    ("pad rule", {"mlm:input/1/tw:missing/pad": "zero"}, "tw:missing.pad"),
    ("resize without window", {"mlm:input/0/resize_type": "crop"}, "resize_type"),
    ("window against resolution", {"mlm:input/1/tw:resolution": 10}, "tw:resolution"),
    ("window against shape", {"tw:tile/window": 64}, "tw:tile.window"),
    ("trim eats the window", {"tw:tile": {"window": 32, "trim": 16}}, "tw:tile.trim"),
    ("trim word", {"tw:tile/trim": "auto"}, "tw:tile.trim"),
    ("merge", {"tw:tile/merge": "average"}, "tw:tile.merge"),
    ("input name against graph", {"mlm:input/0/name": "image"}, "the graph has optical, radar"),
    ("graph input without entry", {"mlm:input/1": ...}, "mlm:input has no entry for the graph's input 'radar'"),
    ("output name against graph", {"mlm:output/0/name": "scores"}, "the graph has logits, height"),
    (
        "output rank against graph",
        {
            "mlm:output/1/result": {
                "shape": [-1, 32, 32],
                "dim_order": ["batch", "height", "width"],
                "data_type": "float32",
            }
        },
        "with 4",
    ),
    ("classes of wrong number", {f"{CLASSES}/2": ...}, "classification:classes"),
    ("class 255", {f"{CLASSES}/2/value": 255}, "255 is nodata"),
    ("class value twice", {f"{CLASSES}/2/value": 1}, "own value"),
    ("class colour", {f"{CLASSES}/2/color_hint": "#2E86DE"}, "color_hint"),
    ("activation", {"mlm:output/0/tw:activation": "logsoftmax"}, r"mlm:output\[0\].tw:activation"),
    ("softmax of one channel", {"mlm:output/1/tw:activation": "softmax"}, r"mlm:output\[1\].tw:activation"),
    ("misspelt layer", {"mlm:output/0/tw:layers": ["class", "confidense"]}, r"mlm:output\[0\].tw:layers"),
    ("layers of wrong number", {"mlm:output/1/tw:layers": ["a", "b"]}, r"mlm:output\[1\].tw:layers"),
    ("layer name leaves the folder", {"mlm:output/1/tw:layers": ["../canopy"]}, "no file name"),
    ("layer name of the product", {"mlm:output/1/tw:layers": ["observations"]}, "observations"),
    ("scale against shape", {"mlm:output/0/tw:scale": 2}, "tw:scale"),
    ("valid range reversed", {"mlm:output/1/tw:valid_range": [60, 0]}, "tw:valid_range"),
    ("threshold of three classes", {"mlm:output/0/tw:threshold": 0.5}, "tw:threshold"),
    ("boxes", {"mlm:output/0/tasks": ["object-detection"]}, r"mlm:output\[0\].tasks"),
    ("absolute href", {"/assets/model/href": "/etc/passwd"}, "assets.model.href"),
    ("href above the folder", {"/assets/model/href": "../model.onnx"}, "assets.model.href"),
    ("file href", {"/assets/model/href": "file:///tmp/model.onnx"}, "assets.model.href"),
    ("http href", {"/assets/model/href": "http://127.0.0.1/model.onnx"}, "assets.model.href"),
    ("absent file", {"/assets/model/href": "./other.onnx"}, "assets.model.href"),
    ("checksum of another file", {"/assets/model/file:checksum": "1220" + "0" * 64}, "assets.model.file:checksum"),
    ("checksum in another hash", {"/assets/model/file:checksum": "1114" + "0" * 40}, "assets.model.file:checksum"),
    ("no model role", {"/assets/model/roles": ["data"]}, "assets.model.roles"),
]


@pytest.mark.parametrize(("changes", "sentence"), [pytest.param(c, s, id=name) for name, c, s in WRONG])
def test_a_wrong_card_is_refused_by_the_name_of_its_field(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    card = good_card()
    for path, value in changes.items():
        put(card, path, copy.deepcopy(value))
    with pytest.raises(CardError, match=sentence) as refusal:
        load(tmp_path, card)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "does not parse"), ("[]", "an object"), ("[" * 100_000, "parse")]
)
def test_what_is_no_card_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(CardError, match=sentence):
        load_card(tmp_path)


def test_a_card_of_many_megabytes_is_not_even_parsed(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(CardError, match="at most"):
        load_card(tmp_path)


def test_extra_inputs_are_read_beside_the_pixels(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", extra_input=True)
    card = good_card()
    with pytest.raises(CardError, match=r"graph's input 'doy'.*tw:extra"):
        load(tmp_path, card)
    card = good_card()
    put(
        card,
        "mlm:input/2",
        {
            "name": "doy",
            "bands": [],
            "tw:extra": "day_of_year",
            "input": {"shape": [-1, 3], "dim_order": ["batch", "time"], "data_type": "float32"},
            "value_scaling": [{"type": "scale", "value": 365}],
        },
    )
    (extra,) = load(tmp_path, card).extras
    assert (extra.kind, extra.of, extra.parts, extra.gain) == ("day_of_year", "optical", ("day_of_year",), 1 / 365)
    put(card, "mlm:input/2/tw:extra", {"kind": "day_of_year", "of": "radar"})
    with pytest.raises(CardError, match=r"mlm:input\[2\].input.shape.*must be 1"):
        load(tmp_path, card)
    put(card, "mlm:input/2/tw:extra", "dayofyear")
    with pytest.raises(CardError, match="did you mean 'day_of_year'"):
        load(tmp_path, card)


def test_layers_of_two_outputs_get_their_names_in_front(tmp_path: Path) -> None:
    card = good_card()
    second = copy.deepcopy(card["properties"]["mlm:output"][0])
    second |= {"name": "height", "result": second["result"] | {"shape": [-1, 1, 32, 32]}, "tw:activation": "sigmoid"}
    second["classification:classes"] = [{"value": 0, "name": "low"}, {"value": 1, "name": "tall"}]
    second["tw:layers"] = ["class", "probabilities"]
    put(card, "mlm:output/1", second)
    names = [layer.name for layer in load(tmp_path, card).layer_specs()]
    assert names == [
        "logits_class",
        "logits_confidence",
        "height_class",
        "height_probability_low",
        "height_probability_tall",
    ]


def test_nothing_is_fetched_while_schemas_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a schema was fetched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    card = good_card()
    card["stac_extensions"].append("https://example.com/unknown/v1.0.0/schema.json")
    card["assets"]["model"]["file:checksum"] = "1220" + "0" * 64
    check_schemas(card)


@pytest.mark.parametrize(
    ("declared", "asked", "source"),
    [
        ([("B04", "red"), ("B03", "green")], ["red", "green"], ("red", "green")),
        ([("B04", "red"), ("B03", "green")], ["B04", "green"], ("B04", "green")),
        ([("green_i", "green"), ("green", "green")], ["green", "green_i"], ("green", "green_i")),
        ([("B05", "rededge"), ("B06", "rededge")], ["B05", "B06"], ("B05", "B06")),
        ([("B05", "rededge"), ("B06", "rededge")], ["B05", "rededge"], None),
        ([("B04", "red"), ("B03", None)], ["red", "green"], None),
    ],
)
def test_a_band_is_declared_by_its_name_or_by_a_common_name_of_its_own(
    declared: list[tuple[str, str | None]], asked: list[str], source: tuple[str, ...] | None, tmp_path: Path
) -> None:
    card = good_card()
    optical = [{"name": name, **({"eo:common_name": common} if common else {})} for name, common in declared]
    card["properties"]["bands"] = [*optical, *({"name": name} for name in ("nir", "vv", "vh"))]
    wet = {"name": "wet", "format": "tilewright", "expression": f"{asked[0]} - nir"}
    card["properties"]["mlm:input"][0]["bands"] = [*asked, "nir", wet]
    if source is None:
        with pytest.raises(CardError, match=f"needs the band '{asked[1]}', which properties.bands does not declare"):
            load(tmp_path, card)
    else:
        assert load(tmp_path, card).inputs[0].source_bands == (*source, "nir")
