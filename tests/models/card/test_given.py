"""What is given as a card and is none: it is said what is missing, and what to give."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.models.card.files import parse_json
from tilewright.models.card.registry import find_card
from tilewright.models.errors import CardError


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("card/nope.json", "no such file or folder, .*card/nope.json"),
        ("nope/", "no such file or folder"),
        ("./nope", "no such file or folder"),
        ("nope.json", "no such file or folder"),
        ("empty", "a folder without a card.json"),
        ("card/model.onnx", "is no card; give the card.json beside it"),
        ("card/model.pt", "is no card; give the card.json beside it"),
        ("card/card.yaml", "is no card; give the card.json beside it"),
        ("card/broken.json", "does not parse as JSON"),
        ("card/twice.json", "twice.json: id is written twice, in lines 2 and 3: keep one of them"),
        ("ndwi-watre", "did you mean 'ndwi-water'"),
        ("forest9", "no such folder in /.*; write a built-in name"),
        (
            "gone/x.onnx",
            "is no card; no card.json lies beside it: make one with tilewright models import .*gone/x.onnx",
        ),
        (
            "gone",
            "a folder without a card.json: make one with tilewright models import .*gone/x.onnx; write a built-in",
        ),
        ("a\0b", "write a built-in name"),
    ],
)
def test_what_is_no_card_is_refused_with_what_to_give(tmp_path: Path, reference: str, sentence: str) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "card.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "x.onnx").write_bytes(b"\x08\x08\xff\xfe")
    for name, content in {
        "model.onnx": b"\x08\x08\xff\xfe",
        "model.pt": b"PK\x03\x04",
        "card.yaml": b"id: x\n",
        "broken.json": b'{"a": ',
        "twice.json": b'{\n"id": "a",\n"id": "b"}',
    }.items():
        (tmp_path / "card" / name).write_bytes(content)
    with pytest.raises(CardError, match=sentence):
        find_card(reference, base=tmp_path)


def test_a_key_twice_in_a_card_from_elsewhere_is_refused() -> None:
    with pytest.raises(CardError, match="https://h.org/card: a is written twice"):
        parse_json(b'{"a": {"b": 1}, "a": 2}', origin="https://h.org/card")
