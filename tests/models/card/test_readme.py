from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tilewright.models.card.card import load_card
from tilewright.models.card.parse_inputs import PIXEL_FIELDS
from tilewright.models.card.parse_outputs import FIELDS
from tilewright.models.spec.draws.stochastic import KEYS as OF_PASSES
from tilewright.models.spec.inputs import PARTS
from tilewright.models.spec.sampler_fields import KEYS

README = (ROOT / "models/README.md").read_text("utf-8")
EXAMPLES = [block.split("```")[0] for block in README.split("```json\n")[1:]]


@pytest.mark.parametrize("text", EXAMPLES, ids=[json.loads(text)["id"] for text in EXAMPLES])
def test_every_example_of_the_readme_is_a_card(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    card = load_card(tmp_path, verify=False)
    names = [*(layer.name for layer in card.layer_specs()), *card.answers]
    assert len(set(names)) == len(names) > 0


def test_the_readme_has_every_field_there_is() -> None:
    assert all(f"`{key}`" in README for key in (*KEYS, *OF_PASSES))
    for field in (
        *PIXEL_FIELDS,
        *FIELDS,
        "tw:extra",
        "tw:tile",
        "tw:sampler",
        "tw:stochastic",
        "tw:text",
        "tw:generate",
    ):
        assert f"`{field}" in README, field
    assert all(f"`{part}`" in README for parts in PARTS.values() for part in parts)


def test_examples_of_the_readme_give_what_the_readme_says(tmp_path: Path) -> None:
    cards = {}
    for text in EXAMPLES:
        (tmp_path / "card.json").write_text(text)
        cards[json.loads(text)["id"]] = load_card(tmp_path, verify=False)
    assert [layer.name for layer in cards["what-changed"].layer_specs()] == [
        "before_class",
        "after_class",
        "change",
        "confidence",
    ]
    flood = cards["flood-map"]
    assert [flood.read_size(spec, 256) for spec in flood.inputs] == [256, 128, 128]
    assert flood.outputs[0].labels
    assert flood.inputs[0].source_bands == ("green", "nir")
    assert cards["random-forest"].pixelwise
    assert cards["random-forest"].inputs[0].folded
    labels = cards["scene-labels"]
    assert (labels.per_window, labels.outputs[0].scale, labels.batch, labels.tile.window) == (
        ("labels",),
        1 / 64,
        1,
        64,
    )
    assert cards["cloud-filler"].inputs[0].dates.steps is None
    assert cards["crop-yield"].outputs[0].units == ("t/ha", "t/ha")
