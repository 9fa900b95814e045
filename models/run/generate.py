"""Answers in words: the most likely token, again and again, by one graph or by an encoder and a decoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilewright.models.errors import CardError, InferenceError
from tilewright.models.run.prompt import logits_name, token_number
from tilewright.models.run.session import open_graph
from tilewright.models.spec.embedding import IDS
from tilewright.models.spec.words import (
    CACHED,
    KINDS,
    LONGEST_ANSWER,
    OF_ENCODER,
    PAST,
    POSITIONS,
    PRESENT,
    STATES,
    STATES_MASK,
    TOKEN_MASKS,
)
from tilewright.models.transforms.tokens import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession, Runner, Tensor
    from tilewright.models.spec.words import GenerateSpec
    from tilewright.models.transforms.tokens import Tokenizer

    Arrays = Mapping[str, NDArray[Any]]


class Steps(Protocol):
    """Something that gives the logits of the next token of an answer that grows."""

    def logits(self, tokens: Sequence[int]) -> NDArray[Any]:
        """The logits (vocabulary,) after all `tokens`, of which each call has one more than the call before."""

    def fork(self) -> Steps:
        """The same steps after the tokens so far, which go on by themselves."""


@dataclass(slots=True, kw_only=True)
class OneGraph:
    """The steps of a graph that takes a window and all tokens so far."""

    runner: Runner
    feeds: dict[str, NDArray[Any]]
    held: Mapping[str, str]
    output: str

    def logits(self, tokens: Sequence[int]) -> NDArray[Any]:
        """As `Steps` says."""
        for name, kind in self.held.items():
            values = tokens if kind == KINDS[0] else [1] * len(tokens)
            self.feeds[name] = np.array([values], dtype=self.feeds[name].dtype)
        return last_row(self.runner.run(self.feeds)[self.output], len(tokens))

    def fork(self) -> OneGraph:
        """As `Steps` says."""
        return replace(self, feeds=dict(self.feeds))


@dataclass(slots=True, kw_only=True)
class Decoding:
    """The steps of a decoder over the `states` (1, token, channel) of an encoder.

    `first` takes all tokens. With `then` (the same session if it has an input for the past) each further step takes the
    last token and the keys and values of those before; without, each step takes all tokens again.
    """

    first: ModelSession
    then: ModelSession | None
    states: NDArray[Any]
    past: dict[str, NDArray[Any]] = field(default_factory=dict)

    def logits(self, tokens: Sequence[int]) -> NDArray[Any]:
        """As `Steps` says."""
        cached = self.then is not None and bool(self.past)
        session = self.then if self.then is not None and cached else self.first
        given = tokens[-1:] if cached else tokens
        feeds = {port.name: self._feed(port, given, len(tokens), cached=cached) for port in session.inputs}
        found = session.run(feeds)
        for name, array in found.items():
            key = name.removeprefix(PRESENT)
            # Those over the encoder's states are made once: later steps give none, or empty ones.
            if key != name and self.then is not None and not (cached and OF_ENCODER in name):
                self.past[key] = array
        return last_row(found[logits_name([output.name for output in session.outputs])], len(given))

    def fork(self) -> Decoding:
        """As `Steps` says. Keys and values are shared, as no step changes them."""
        return replace(self, past=dict(self.past))

    def _feed(self, port: Tensor, given: Sequence[int], n: int, *, cached: bool) -> NDArray[Any]:
        """What an input takes for the `given` tokens, the last of n. The first axis is that of windows."""
        if port.name.startswith(PAST):
            # Nothing is past before the first token.
            empty = [1 if axis == 0 else max(size, 0) for axis, size in enumerate(port.shape)]
            return self.past[port.name.removeprefix(PAST)] if cached else np.zeros(empty, dtype=port.dtype)
        known: dict[str, Any] = {
            IDS: [given],
            POSITIONS: [range(n - len(given), n)],
            STATES: self.states,
            STATES_MASK: np.ones(self.states.shape[:2]),
            CACHED: [cached],
            **dict.fromkeys(TOKEN_MASKS, np.ones((1, n))),
        }
        return np.asarray(known[port.name], dtype=port.dtype)


def last_row(logits: NDArray[Any], n: int) -> NDArray[Any]:
    """The logits (vocabulary,) of the last of n tokens. Raises InferenceError for an array of another shape, or whose
    largest number is none.
    """
    if logits.ndim != 3 or logits.shape[:2] != (1, n) or not logits.shape[2]:
        raise InferenceError(f"the logits of {n} tokens are {list(logits.shape)}: 1 x {n} x vocabulary was expected")
    row: NDArray[Any] = logits[0, -1]
    if not np.isfinite(row.max()):
        raise InferenceError("the logits of the next token are no numbers (NaN), so that none is the most likely one")
    return row


def written(steps: Steps, prompt: Sequence[int], *, ends: frozenset[int], most: int) -> list[int]:
    """The tokens of the answer after a prompt: each the most likely one, of equal ones that of the lowest number.

    It ends before one of `ends`, or after `most` tokens.
    """
    tokens = list(prompt)
    while len(tokens) < len(prompt) + most:
        found = int(steps.logits(tokens).argmax())
        if found in ends:
            break
        tokens.append(found)
    return tokens[len(prompt) :]


def searched(steps: Steps, prompt: Sequence[int], *, ends: frozenset[int], most: int, beams: int) -> list[int]:
    """The tokens of the answer after a prompt whose mean log-probability, its end included, is the highest found.

    After each token the `beams` likeliest beginnings go on; of equal ones that of the earlier beginning, then the lower
    number. It is over when as many answers have ended, and none that goes on is better so far, or after `most` tokens.

    Source: A. Graves, Sequence transduction with recurrent neural networks, 2012 (beam search); the mean as by the
    length penalty 1 of Transformers, `BeamSearchScorer`.
    """
    going: list[tuple[float, list[int], Steps]] = [(0.0, [], steps)]
    ended: list[tuple[float, list[int]]] = []
    for n in range(1, most + 1):
        found = []
        for place, (score, tokens, own) in enumerate(going):
            row = own.logits([*prompt, *tokens]).astype(np.float64)
            row -= row.max()
            row -= np.log(np.exp(row).sum())
            likely = np.argsort(-row, kind="stable")[: beams + len(ends)]
            found += [(-score - row[token], place, int(token)) for token in likely if np.isfinite(row[token])]
        following: list[tuple[float, list[int], Steps]] = []
        for loss, place, token in sorted(found):
            if len(following) == beams:
                break
            _, tokens, own = going[place]
            if token in ends:
                ended.append((-loss / n, tokens))
            else:
                following.append((-loss, [*tokens, token], own.fork()))
        going = following
        if not going or (len(ended) >= beams and max(score for score, _ in ended) >= going[0][0] / n):
            break
    else:
        ended += [(score / most, tokens) for score, tokens, _ in going]
    return max(ended, key=lambda answer: answer[0])[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes the answers of a card, window by window: no answer depends on other windows."""

    card: ModelCard
    runner: Runner
    tokenizer: Tokenizer
    spec: GenerateSpec
    ends: frozenset[int]
    decoders: tuple[ModelSession, ...] = ()

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """The answers (N,) of each prompt by the name of its table, as texts."""
        assert self.card.words is not None, "a writer is of a card with words"
        batched = {spec.name for spec in self.card.inputs}
        n = len(feeds[self.card.inputs[0].name])
        found: dict[str, list[str]] = {name: [] for name in self.card.answers}
        for number in range(n):
            one = {
                name: feed[number : number + 1] if name in batched or len(feed) == n else feed
                for name, feed in feeds.items()
            }
            states = self.runner.run(one)[self.spec.name] if self.decoders else None
            for name, prompt in zip(self.card.answers, self.card.words.prompts, strict=True):
                tokens = self._written(self._steps(one, states), prompt.tokens)
                found[name].append(bounded(self.tokenizer.decode(tokens)))
        return {name: np.array(texts, dtype=object) for name, texts in found.items()}

    def _written(self, steps: Steps, prompt: Sequence[int]) -> list[int]:
        if self.spec.beams == 1:
            return written(steps, prompt, ends=self.ends, most=self.spec.most)
        return searched(steps, prompt, ends=self.ends, most=self.spec.most, beams=self.spec.beams)

    def _steps(self, feeds: Arrays, states: NDArray[Any] | None) -> Steps:
        if states is None:
            held = {extra.name: extra.kind for extra in self.card.extras if extra.kind in KINDS}
            return OneGraph(runner=self.runner, feeds=dict(feeds), held=held, output=self.spec.name)
        first, *others = self.decoders
        return Decoding(first=first, then=others[0] if others else first if _takes_past(first) else None, states=states)


def bounded(text: str) -> str:
    """An answer without blanks around it and without NUL, cut to the longest that is kept."""
    plain = text.replace("\0", "").strip()
    return plain.encode("utf-8", "replace")[:LONGEST_ANSWER].decode("utf-8", "ignore")


def open_writer(card: ModelCard, session: ModelSession, **options: Any) -> Writer:
    """The writer of a card with prompts, whose graph runs in `session`; `options` as for `open_graph`.

    Raises CardError where a file cannot be read, or a decoder is none.
    """
    words = card.words
    assert words is not None, "a writer is of a card with words"
    assert words.generate is not None, "a writer is of a card that answers"
    spec = words.generate
    if not words.prompts:
        raise CardError(f"prompt: {card.name} was opened without the tokens of a prompt")
    tokenizer = open_tokenizer(words.tokenizer.path, name=card.name)
    files = [file for file in (spec.decoder, spec.decoder_with_past) if file is not None]
    decoders = [open_graph(file.path, sha256=file.sha256, **options, growing=True) for file in files]
    merged = any(port.name == CACHED for decoder in decoders for port in decoder.inputs)
    if merged and session.provider == "openvino":
        raise CardError(
            f"provider: OpenVINO does not run the merged decoder of {card.name}; export it as decoder_model.onnx and "
            "decoder_with_past_model.onnx, or choose another provider"
        )
    return Writer(
        card=card,
        runner=session.runner,
        tokenizer=tokenizer,
        spec=spec,
        ends=frozenset(token_number(each, tokenizer, "end") for each in spec.ends),
        decoders=tuple(decoders),
    )


def _takes_past(session: ModelSession) -> bool:
    return any(port.name.startswith(PAST) for port in session.inputs)
