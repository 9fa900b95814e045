"""The text tower of a card: words -> tokens -> the vector that is compared with those of pixels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import CardError, InferenceError
from tilewright.models.run.session import open_graph
from tilewright.models.spec.embedding import IDS, MASK
from tilewright.models.spec.outputs import ClassSpec
from tilewright.models.spec.words import MOST_TOKENS
from tilewright.models.transforms.tokens import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.transforms.tokens import Tokenizer

LONGEST_TEXT: Final = 2000
"""Characters of words that are looked for."""

MOST_WORDS: Final = 254
"""Classes of a map by words: a byte has one value for nodata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTower:
    """The text tower of a card, opened; ``length`` numbers make a vector."""

    session: ModelSession
    tokenizer: Tokenizer
    length: int
    name: str

    def vector(self, words: str) -> NDArray[np.float32]:
        """The vector (number,) of a text. Raises CardError for one that cannot be, or whose vector is none."""
        if not words.strip() or len(words) > LONGEST_TEXT or not words.isprintable():
            raise CardError(f"words are a line of 1 to {LONGEST_TEXT:,} letters, not {words[:40]!r}")
        tokens = dict(zip((IDS, MASK), self.tokenizer.encode(words), strict=True))
        feeds = {port.name: self._tokens(tokens[port.name], port, words) for port in self.session.inputs}
        try:
            raw = self.session.run(feeds)[self.session.outputs[0].name]
            found = np.asarray(raw, dtype=np.float32).reshape(-1)
        except (InferenceError, ValueError, TypeError) as error:
            raise CardError(
                f"the text model of {self.name} gives no vector of the tokens of {words[:40]!r}; does its tokenizer "
                f"belong to it? {' '.join(str(error).split())[:160]}"
            ) from error
        if found.shape != (self.length,) or not np.isfinite(found).all() or not found.any():
            shape = " x ".join(map(str, np.shape(raw)))
            raise CardError(
                f"the text model of {self.name} gives {shape} numbers of {words[:40]!r}, and a vector has "
                f"{self.length} that are finite and not all 0: export it again"
            )
        return found

    def _tokens(self, tokens: list[int], port: Any, words: str) -> NDArray[Any]:
        fixed = port.shape[-1] if port.shape else -1
        if not tokens or len(tokens) > MOST_TOKENS:
            raise CardError(f"{words[:40]!r} has {len(tokens)} tokens: give words of 1 to {MOST_TOKENS:,}")
        if fixed > 0 and len(tokens) != fixed:
            advice = "give fewer words" if len(tokens) > fixed else "write its padding into the tokenizer's file"
            raise CardError(
                f"{words[:40]!r} has {len(tokens)} tokens, and the text model of {self.name} takes {fixed}: {advice}"
            )
        return np.array([tokens], dtype=port.dtype)


def open_text(card: ModelCard) -> TextTower:
    """The text tower of a card with an embedding. Raises CardError where it has none or its files cannot be read."""
    if card.text is None or card.embedding is None:
        raise CardError(f"{card.name} has no text model (tw:text), so that words cannot be compared with its vectors")
    tokenizer = open_tokenizer(card.text.tokenizer, name=card.name)
    session = open_graph(card.text.model, sha256=card.text.sha256[0], provider="cpu")
    return TextTower(session=session, tokenizer=tokenizer, length=card.embedding.channels, name=card.name)


def classified_card(card: ModelCard, words: Sequence[str], *, least: float = 0.0) -> ModelCard:
    """The card whose embedding becomes a class map by words: of each, the word whose vector has the greatest cosine.

    Vectors of words are rounded to float16, so that they are the same on every machine. The confidence is the softmax
    of a hundred times the cosines; where it is below ``least`` there is no class.

    Source: A. Radford et al., Learning transferable visual models from natural language supervision, 2021: zero-shot
    classes, and the factor by which such models are trained.

    Raises CardError for a card without text model or with other outputs, and for words that are not 2 to 254 of their
    own, each with another vector.
    """
    if not 2 <= len(words) <= MOST_WORDS or len({*words}) < len(words):
        raise CardError(f"classify: give 2 to {MOST_WORDS} words, each once")
    try:
        tower = open_text(card)
        vectors = [tower.vector(each).astype(np.float16).astype(np.float32) for each in words]
    except CardError as error:
        raise CardError(f"classify: {error}") from error
    _check_unlike(words, vectors)
    embedding = card.embedding
    assert embedding is not None, "a card with a text tower has an embedding"
    classes = tuple(ClassSpec(value=value, name=each) for value, each in enumerate(words))
    output = replace(
        embedding,
        classes=classes,
        layers=("class", "confidence"),
        units=(),
        activation="softmax",
        embedding=None,
        words=tuple(tuple(each.tolist()) for each in vectors),
        least=least,
    )
    outputs = tuple(output if each is embedding else each for each in card.outputs)
    names = [spec.name for each in outputs for spec in each.layer_specs()]
    if len({*names}) < len(names):
        raise CardError(f"classify: {card.name} has a layer called class or confidence already; leave classify out")
    told = json.dumps([card.digest, list(words), [each.tolist() for each in vectors], least])
    return replace(card, outputs=outputs, digest=hashlib.sha256(told.encode()).hexdigest())


def _check_unlike(words: Sequence[str], vectors: Sequence[NDArray[np.float32]]) -> None:
    """Refuse words that the text model cannot tell apart: the later of them would never be anywhere."""
    first: dict[bytes, str] = {}
    for word, vector in zip(words, vectors, strict=True):
        # A sum, so that both zeros are one.
        other = first.setdefault((vector + np.float32(0)).tobytes(), word)
        if other is not word:
            raise CardError(
                f"classify: {other[:40]!r} and {word[:40]!r} are the same to the text model (or it knows neither), so "
                "that the second would be nowhere: leave one out"
            )


def scored_card(card: ModelCard) -> ModelCard:
    """The card of a map by words whose layers are the scores of its words themselves, in their order."""
    layers = tuple(f"word_{place}" for place, _ in enumerate(_by_words(card).words))
    plain = replace(
        _by_words(card), classes=(), layers=layers, units=("1",) * len(layers), activation="none", least=0.0
    )
    return replace(card, outputs=(plain,))


def calibrated_card(card: ModelCard, usual: Mapping[str, Sequence[float]]) -> ModelCard:
    """The card of a map by words whose scores are told in deviations from each word's mean: (mean, deviation) by word.

    A word that is like everything, or unlike it, no longer wins or loses everywhere: what counts is where it is more so
    than usual.

    Source: R. Auckenthaler, M. Carey and H. Lloyd-Thomas, Score normalization for text-independent speaker verification
    systems, 2000 (zero normalization).

    Raises CardError where they are not finite numbers of the card's own words, or no deviation is above 0.
    """
    output = _by_words(card)
    found = [tuple(map(float, usual.get(each.name, ()))) for each in output.classes]
    if len(usual) != len(found) or not all(
        len(pair) == 2 and np.isfinite(pair).all() and pair[1] > 0 for pair in found
    ):
        raise CardError(f"classify: the plan's means and deviations are none of the words of {card.name}")
    told = replace(output, usual=tuple((mean, deviation) for mean, deviation in found))
    return replace(card, outputs=tuple(told if each is output else each for each in card.outputs))


def _by_words(card: ModelCard) -> OutputSpec:
    return next(output for output in card.outputs if output.words)
