"""Cards of words: which are prompts, which answers, and wrong ones refused by their field."""

from __future__ import annotations

import json

import pytest

from tests.support.speakers import DECODERS, pair, seeker, speaker
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError


@pytest.mark.parametrize("kind", DECODERS)
def test_an_encoder_has_its_decoders(tmp_path, kind):
    card = load_card(pair(tmp_path, kind))
    assert card.answers == ("caption",)
    assert [path.name for path in card.words.decoders] == ["decoder.onnx", "then.onnx"][: 1 + kind.startswith("with")]
    assert (card.only_boxes, card.layer_specs(), card.detects) == (True, (), "answers in words")


def test_a_prompt_alone_makes_layers(tmp_path):
    card = load_card(seeker(tmp_path, told={"prompt": "red"}))
    assert (card.answers, card.words.prompt, [spec.name for spec in card.layer_specs()]) == ((), "red", ["found"])


def changed(card, change):
    plain = json.loads((card / "card.json").read_text())
    change(plain["properties"], plain["assets"])
    (card / "card.json").write_text(json.dumps(plain))
    return card


def _generate(**told):
    return lambda properties, assets: properties["tw:generate"].update(told)


def _output(**told):
    return lambda properties, assets: properties["mlm:output"][0].update(told)


def _extra(**told):
    return lambda properties, assets: properties["mlm:input"][1].update(told)


def _result(**told):
    return lambda properties, assets: properties["mlm:output"][0]["result"].update(told)


WRONG = {
    "no such tokenizer": (_generate(tokenizer="nothing"), "tw:generate.tokenizer is 'nothing'"),
    "another role": (lambda _, assets: assets["words"].update(roles=["data"]), "tw:generate.tokenizer is"),
    "another file": (
        lambda _, assets: assets["words"].update({"file:checksum": "1220" + "0" * 64}), "words.file:checksum",
    ),
    "misspelt": (_generate(max_token=3), "tw:generate.max_token is not"),
    "no end": (_generate(end=None), "tw:generate.end is"),
    "a strange end": (_generate(end=[2, -1]), "tw:generate.end is"),
    "no length": (_generate(max_tokens=None), "tw:generate.max_tokens is"),
    "too long": (_generate(max_tokens=10**6), "tw:generate.max_tokens is"),
    "many beams": (_generate(num_beams=17), "tw:generate.num_beams is"),
    "no beams": (_generate(num_beams=0), "tw:generate.num_beams is"),
    "a prompt of lines": (_generate(prompt="a\nb"), "tw:generate.prompt is"),
    "the past alone": (_generate(decoder_with_past="words"), "tw:generate.decoder_with_past is"),
    "another task": (_output(tasks=["regression"]), "mlm:output is"),
    "pixels": (_result(dim_order=["batch", "height", "width"]), "dim_order is"),
    "whole numbers": (_result(data_type="int64"), "data_type is"),
    "classes": (_output(**{"tw:activation": "softmax"}), "tw:activation is not"),
    "two names": (_output(**{"tw:layers": ["a", "b"]}), "tw:layers is"),
    "a name of others": (_output(**{"tw:layers": ["places"]}), "mlm:output is"),
    "no tokens": (lambda properties, _: properties["mlm:input"].pop(1), "mlm:input"),
    "fixed tokens": (
        lambda properties, _: properties["mlm:input"][1]["input"].update(shape=[-1, 8]), "mlm:input is",
    ),
    "no axis of tokens": (
        lambda properties, _: properties["mlm:input"][1]["input"].update(dim_order=["batch", "bands"]),
        "dim_order is",
    ),
    "values": (_extra(**{"tw:extra": {"kind": "tokens", "values": [1]}}), "tw:extra.values is not"),
    "told twice": (_extra(**{"tw:extra": {"kind": "tokens", "tokenizer": "words"}}), r"mlm:input\[1\].tw:extra is"),
    "no words": (lambda properties, _: properties.pop("tw:generate"), "told by tw:generate"),
    "tokens as pixels": (lambda properties, _: properties["mlm:input"][1].pop("tw:extra"), r"mlm:input\[1\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_card_is_refused_by_its_field(tmp_path, name):
    change, said = WRONG[name]
    card = changed(speaker(tmp_path / "card"), change)
    with pytest.raises(CardError, match=said):
        load_card(card)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("tokens", r"mlm:input\[1\].tw:extra is 'tokens'"),
        ({"kind": "tokens"}, "tw:extra.tokenizer is missing"),
        ({"kind": "tokens", "tokenizer": "model"}, "tw:extra.tokenizer is 'model'"),
        ({"kind": "tokens", "tokenizer": "words", "prompt": ""}, "tw:extra.prompt is ''"),
        ({"kind": "tokens", "tokenizer": "words", "promt": "red"}, "tw:extra.promt is not"),
    ],
)
def test_a_card_of_a_wrong_prompt_is_refused_by_its_field(tmp_path, told, said):
    card = changed(seeker(tmp_path / "card"), _extra(**{"tw:extra": told}))
    with pytest.raises(CardError, match=said):
        load_card(card)
