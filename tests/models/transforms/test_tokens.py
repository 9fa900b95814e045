"""Tokenizers of strangers: what would fail, panic, draw random numbers or grow without end is refused in words."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.speakers import tokenizer
from tilewright.models.errors import CardError
from tilewright.models.transforms.tokens import LARGEST_TOKENIZER, open_tokenizer

pytest.importorskip("tokenizers", reason="the extra `find` is not installed")

LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


def replacing(content, *, times=1, pattern=None):
    rule = {"type": "Replace", "pattern": pattern or {"String": "e"}, "content": content}
    return {"type": "Sequence", "normalizers": [rule] * times}


def padding(**changes):
    usual = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1,
             "pad_type_id": 0, "pad_token": "x"}  # fmt: skip
    return {**usual, **changes}


def truncation(**changes):
    return {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0, **changes}


def template(*, times=1, ids=(1,), name="<s>"):
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    single = [{"SpecialToken": {"id": name, "type_id": 0}}] * times + sequence
    special = {"<s>": {"id": "<s>", "ids": list(ids), "tokens": ["x"] * len(ids)}}
    return {"type": "TemplateProcessing", "single": single, "pair": sequence, "special_tokens": special}


def words(vocabulary, unknown="[UNK]"):
    return {"type": "WordLevel", "vocab": vocabulary, "unk_token": unknown}


def merges(**more):
    return {"type": "BPE", "vocab": {**LETTERS, "re": 26}, "merges": [["r", "e"]], **more}


# SentencePiece's map of characters: an empty trie, and a text of 5000 bytes.
MAP = base64.b64encode((0).to_bytes(4, "little") + b"x" * 5000 + b"\0").decode()

WRONG = {
    "no token for the unknown": ({"model": words({"red": 1}, "[NONE]")}, "cannot make tokens of words: WordLevel"),
    "an empty vocabulary": ({"model": words({}, "")}, "cannot make tokens of words"),
    "pieces without the unknown": (
        {"model": {"type": "WordPiece", "unk_token": "[NO]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": {"a": 0}}}, "cannot make tokens of words",
    ),
    "a table without the unknown": (
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}}, "cannot make tokens of words",
    ),
    "merges at random": ({"model": merges(dropout=0.5)}, r"leaves merges out at random \(dropout\)"),
    "a special token of another name": ({"post_processor": template(name="<no>")}, "cannot make tokens of words"),
    "special tokens without end": ({"post_processor": template(times=9000)}, "puts 9,000 special tokens"),
    "a special token of many": ({"post_processor": template(ids=[1] * 5000)}, "puts 5,000 special tokens"),
    "many of many": (
        {"post_processor": {"type": "Sequence", "processors": [template(times=80, ids=[1] * 80)]}}, "puts 6,400",
    ),
    "a truncation of pairs": ({"truncation": truncation(strategy="OnlySecond")}, "cannot make tokens of words"),
    "padding without end": ({"padding": padding(strategy={"Fixed": 10**12})}, "pads to 1,000,000,000,000 tokens"),
    "padding to a multiple": ({"padding": padding(pad_to_multiple_of=10**12)}, "pads to 1,000,000,000,000 tokens"),
    "padding by a token of none": ({"padding": padding(strategy={"Fixed": 9}, pad_id=2**32 - 1)}, "token 4294967295"),
    "a vocabulary beyond all": ({"model": words({"[UNK]": 2**31})}, "has a token 2147483648: a vocabulary has at most"),
    "doubled again and again": ({"normalizer": replacing("ee", times=40)}, "over 1,000 times longer"),
    "a long replacement": ({"normalizer": replacing("e" * 5000)}, "over 1,000 times longer"),
    "between all characters": (
        {"normalizer": replacing("e" * 40, pattern={"Regex": ""}, times=2)}, "over 1,000 times longer",
    ),
    "a map of characters": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": MAP}}, "cannot be read|over 1,000 times longer",
    ),
    "answers that grow": (
        {"decoder": {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 5000}}, r"longer \(decoder\)",
    ),
    "a token of a book": ({"model": words({"[UNK]": 0, "x" * 5000: 1})}, "token of over 4,096 characters"),
    "a broken pattern": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": False}},
        "cannot be read",
    ),
    "a part that is none": ({"normalizer": {"type": "Upside"}}, "cannot be read"),
    "a number": ({"model": 5}, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_tokenizer_that_cannot_be_is_refused(tmp_path, name):
    change, said = WRONG[name]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(tokenizer()), **change}))
    with pytest.raises(CardError, match=said):
        open_tokenizer(path, name="small").encode("red tree")


RIGHT = {
    "as SentencePiece's": {
        "normalizer": replacing("\u2581", pattern={"String": " "}),
        "decoder": {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    },
    "blanks joined": {"normalizer": replacing("\u2581", pattern={"Regex": " {2,}"})},
    "merges": {"model": merges(), "post_processor": None},
    "padded": {"padding": padding(strategy={"Fixed": 77}, pad_to_multiple_of=8)},
    "cut": {"truncation": truncation(max_length=77)},
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_published_tokenizers_do_is_taken(tmp_path, name):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(tokenizer()), **RIGHT[name]}))
    opened = open_tokenizer(path, name="small")
    ids, mask = opened.encode("red tree")
    assert len(ids) == len(mask) >= sum(mask) > 0
    assert opened.encode("red tree") == (ids, mask)
    assert isinstance(opened.decode(ids), str)


def test_a_token_is_known_by_its_text_or_number(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer())
    opened = open_tokenizer(path, name="small")
    number = opened.number("red")
    assert opened.number(number) == number
    assert opened.number("stop") is None
    assert opened.number(999) is None


def test_a_file_larger_than_any_tokenizer_is_not_read(tmp_path):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_TOKENIZER + 1)
    with pytest.raises(CardError, match="cannot be read: it has over 64 MiB"):
        open_tokenizer(path, name="small")
