"""Cards that are begun from a graph: what is missing is named by its place, refused until filled, and then enough."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from tests.models.imports.test_importing import DEEPNESS, graph
from tests.support.paths import ROOT
from tilewright.flows.cli.main import app
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError

FILLED = {
    "tw:collection": "sentinel-2-l2a",
    "tw:unit": "reflectance",
    "tw:resolution": 10,
    "value_scaling": [{"type": "scale", "value": 1}],
    "tw:layers": ["class"],
    "tw:activation": "softmax",
    "tasks": ["semantic-segmentation"],
}


def begun(path, *words, to):
    answer = CliRunner().invoke(app, ["models", "new", str(path), "--to", str(to), *words])
    return answer.exit_code, answer.output


def filled(place, text):
    """Fill the gap at a place such as ``properties.mlm:input[0].bands`` of a card, as a person would."""
    card = json.loads(text)
    *way, last = re.findall(r"[^.\[\]]+", place)
    inside = card
    for key in way:
        inside = inside[int(key) if key.isdigit() else key]
    if last == "bands":
        names = ["green", "nir", "red"][: len(inside.get("bands", [0]))]
        inside["bands"] = names if way[-1] != "properties" else [{"name": "green"}, {"name": "nir"}, {"name": "red"}]
    else:
        inside[last] = FILLED[last]
    if last == "tw:layers":
        classes = [{"value": 0, "name": "land"}, {"value": 1, "name": "water"}, {"value": 2, "name": "ice"}]
        inside["classification:classes"] = classes[: inside["result"]["shape"][1]]
        del inside["tw:layers"]
    if last == "tasks":
        card["properties"]["mlm:tasks"] = FILLED["tasks"]
    return json.dumps(card)


def test_each_place_that_is_named_is_refused_until_it_is_filled_and_then_the_card_is_whole(tmp_path):
    model = ROOT / "models" / "builtin" / "ndwi-water" / "model.onnx"
    code, said = begun(model, to=tmp_path / "lake")
    assert code == 0, said
    path = tmp_path / "lake" / "card.json"
    places = re.findall(r"fill in ([^ ]+):", said)
    assert len(places) == 8
    plain = json.loads(path.read_text())
    assert plain["properties"]["mlm:input"][0]["input"]["shape"] == [-1, 2, -1, -1]
    schema = Draft7Validator(json.loads((tmp_path / "lake" / "card.schema.json").read_text()))
    for place in places:
        with pytest.raises(CardError):
            load_card(tmp_path / "lake")
        assert not schema.is_valid(json.loads(path.read_text()))
        path.write_text(filled(place, path.read_text()))
    card = load_card(tmp_path / "lake")
    assert [layer.name for layer in card.layer_specs()] == ["class", "confidence"]
    assert schema.is_valid(json.loads(path.read_text()))


def test_what_the_file_says_is_filled_in_and_nothing_is_written_over(tmp_path):
    graph(tmp_path / "lake.onnx", metadata=DEEPNESS)
    code, said = begun(tmp_path / "lake.onnx", "--set", "collection=optics", "--json", to=tmp_path / "lake")
    assert code == 0, said
    missing = json.loads(said)["missing"]
    assert not any("tw:collection" in line or "classification:classes" in line for line in missing)
    assert any("mlm:output[0].tw:activation" in line for line in missing)
    code, said = begun(tmp_path / "lake.onnx", to=tmp_path / "lake")
    assert code == 2
    assert "is there already" in said
    code, said = begun(tmp_path / "none.onnx", to=tmp_path / "other")
    assert (code, (tmp_path / "other").exists()) == (2, False)
