"""Words -> tokens and back, by a tokenizer's file that a stranger wrote: what it may do is bounded before it is run."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.spec.words import LARGEST_VOCABULARY, MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LARGEST_TOKENIZER: Final = 64 * 2**20
"""Bytes of a tokenizer's file: those of published ones have up to 34 MB."""

MOST_GROWTH: Final = 1000
"""How many times longer the rules of a tokenizer may make a text: published ones replace blanks, one by one or three
characters."""

LONGEST_TOKEN: Final = 4096
"""Characters of a token: the longest of published vocabularies have some hundreds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """The tokenizer in a file of the card called `name`; `own` is the library's."""

    own: Any
    file: str
    name: str

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """The numbers of a text's tokens, with the file's own special tokens, and which count (1 or 0).

        Raises CardError for a text that the file has no tokens for, or whose tokens no vocabulary has.
        """
        with self._put_into_words("make tokens of words"):
            encoding = self.own.encode(text, add_special_tokens=True)
            ids, mask = list(encoding.ids), list(encoding.attention_mask)
        if strange := next((number for number in ids if number >= LARGEST_VOCABULARY), None):
            raise CardError(
                f"the tokenizer {self.file} of {self.name} has a token {strange}: a vocabulary has at most "
                f"{LARGEST_VOCABULARY:,}"
            )
        return ids, mask

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones. Raises CardError where the file has none for them."""
        with self._put_into_words("make words of tokens"):
            return str(self.own.decode(list(tokens), skip_special_tokens=True))

    def number(self, token: str | int) -> int | None:
        """The number of a token, given as its text or its number; None for one that is not there."""
        found = self.own.token_to_id(token) if isinstance(token, str) else token
        return None if found is None or self.own.id_to_token(found) is None else int(found)

    @contextmanager
    def _put_into_words(self, task: str) -> Iterator[None]:
        with _library_errors(f"the tokenizer {self.file} of {self.name} cannot {task}"):
            yield


def open_tokenizer(path: Path, *, name: str) -> Tokenizer:
    """The tokenizer in a file of the card called `name`. Raises CardError where it cannot be read, draws random
    numbers, or might make a text or its tokens endless, or the library for it is not installed.
    """
    try:
        tokenizers = import_module("tokenizers")
    except ImportError as error:
        raise CardError(
            "words need the library tokenizers: pip install -c constraints.txt -e '.[find]' in Tilewright's folder"
        ) from error
    with _library_errors(f"the tokenizer {path.name} of {name} cannot be read"):
        if path.stat().st_size > LARGEST_TOKENIZER:
            raise ValueError(f"it has over {LARGEST_TOKENIZER // 2**20} MiB")
        own = tokenizers.Tokenizer.from_str(path.read_text("utf-8"))
        fault = _fault(own)
    if fault is not None:
        raise CardError(f"the tokenizer {path.name} of {name} {fault}")
    return Tokenizer(own=own, file=path.name, name=name)


@contextmanager
def _library_errors(words: str) -> Iterator[None]:
    """Raise a CardError for the library's own errors: they, and its panics, are of no class that can be named."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)):
            raise
        raise CardError(f"{words}: {' '.join(str(error).split())[:120]}") from error


def _fault(own: Any) -> str | None:
    """What is wrong with a tokenizer as the library understood it; None for nothing."""
    padding = own.padding or {}
    if (longest := max(padding.get("length") or 0, padding.get("pad_to_multiple_of") or 0)) > MOST_TOKENS:
        return f"pads to {longest:,} tokens: write a padding of at most {MOST_TOKENS:,}"
    if getattr(own.model, "dropout", None):
        return "leaves merges out at random (dropout), so that words would have other tokens each time: write null"
    rules = {name: _rules(getattr(own, name)) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}
    if (n := _template_tokens(rules["post_processor"])) > MOST_TOKENS:
        return f"puts {n:,} special tokens beside each text: write at most {MOST_TOKENS:,}"
    for parts in (("normalizer", "pre_tokenizer"), ("decoder",)):
        grown = 1
        for name in parts:
            for rule in _each(rules[name]):
                grown *= _growth(rule)
        if grown > MOST_GROWTH:
            return f"may make a text over {MOST_GROWTH:,} times longer ({', '.join(parts)}): write shorter replacements"
    if max(map(len, own.get_vocab(with_added_tokens=True)), default=0) > LONGEST_TOKEN:
        return f"has a token of over {LONGEST_TOKEN:,} characters: leave it out"
    return None


def _rules(part: Any) -> Any:
    """A part of a tokenizer as JSON values, as the library writes it; None for none."""
    return None if part is None else json.loads(part.__getstate__())


def _each(rules: Any) -> Iterator[dict[str, Any]]:
    """The rules of a part one by one, those of its sequences too."""
    waiting = [rules]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            yield one
            waiting.extend(value for value in one.values() if isinstance(value, list))


def _growth(rule: dict[str, Any]) -> int:
    """How many times longer a rule may make a text of one character or more."""
    if rule.get("type") == "Prepend":
        return 1 + len(str(rule.get("prepend", "")))
    if rule.get("type") == "Precompiled":
        return _longest_of_map(base64.b64decode(rule.get("precompiled_charsmap") or ""))
    if rule.get("type") != "Replace":
        return 1
    content, pattern = len(str(rule.get("content", ""))), rule.get("pattern")
    fixed = len(pattern["String"]) if isinstance(pattern, dict) and "String" in pattern else 0
    # A regular expression may match a single character, or between all of them.
    return max(1, ceil(content / fixed)) if fixed else 1 + content


def _longest_of_map(characters: bytes) -> int:
    """The bytes of the longest text that SentencePiece's map of characters puts for one.

    Source: sentencepiece, normalizer.cc: the size of a trie in four bytes, the trie, and texts that end with NUL.
    """
    size = int.from_bytes(characters[:4], "little")
    return max(map(len, characters[4 + size :].split(b"\0")), default=1) or 1


def _template_tokens(rules: Any) -> int:
    """The special tokens that templates put beside a text."""
    total = 0
    for rule in _each(rules):
        if rule.get("type") == "TemplateProcessing":
            sizes = {key: len(value["ids"]) for key, value in rule["special_tokens"].items()}
            total += sum(
                sizes.get(piece["SpecialToken"]["id"], 0) for piece in rule["single"] if "SpecialToken" in piece
            )
    return total
