"""Prompts: a job's words become the tokens that a card's graphs take, one layer or table for each."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.card.graph import graph_facts, graph_inputs, graph_outputs, read_graph, refuse_drawing
from tilewright.models.card.parse_outputs import LAYER_NAME, RESERVED
from tilewright.models.errors import CardError
from tilewright.models.fields import shorten
from tilewright.models.run.ensemble import joint_card, joint_output
from tilewright.models.spec.embedding import IDS
from tilewright.models.spec.instances import TABLES
from tilewright.models.spec.outputs import CLASS_LAYERS
from tilewright.models.spec.words import KINDS, LONGEST_PROMPT, MOST_TOKENS, PAST, PRESENT, TAKEN, Prompt, is_prompt
from tilewright.models.transforms.postprocess import scores
from tilewright.models.transforms.tokens import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.spec.words import GenerateSpec, WordsFile
    from tilewright.models.transforms.tokens import Tokenizer

MOST_PROMPTS: Final = 64
"""Prompts of a job: the graph runs once for each."""

ROLE: Final = "prompts"
"""The role of a card that runs its member once for each prompt."""

LONGEST_SLUG: Final = 60


def prompted_card(card: ModelCard, texts: Sequence[str]) -> ModelCard:
    """The card with the tokens of a job's prompts, or of its own where the job has none; any other card as it is.

    Of one prompt the layers have the names that the card gives them. Of several each has a layer, or a table, which is
    called as the prompt is (`slug`); where a card writes several layers, that is the first part of their names.

    Raises CardError for prompts that a card does not take, lacks, or that cannot be told apart.
    """
    if card.words is None:
        if texts:
            raise CardError(f"prompt: {card.name} takes no words: leave prompt out")
        return card
    if len(texts) > MOST_PROMPTS:
        raise CardError(f"prompt: {len(texts)} prompts are given, at most {MOST_PROMPTS} are asked: leave some out")
    wanted = list(texts) or ([] if card.words.prompt is None else [card.words.prompt])
    if not wanted and card.words.generate is None:
        raise CardError(f"prompt: {card.name} needs words to look for, and its card has none: give a prompt")
    if texts and not all(is_prompt(each) for each in texts):
        bad = next(each for each in texts if not is_prompt(each))
        raise CardError(f"prompt: it is {shorten(bad)}; give a line of 1 to {LONGEST_PROMPT:,} letters")
    if card.words.generate is not None:
        check_decoders(card.words.generate)
    tokenizer = open_tokenizer(card.words.tokenizer.path, name=card.name)
    names = _names(wanted) if len(wanted) > 1 else [""]
    prompts = tuple(_prompt(card, tokenizer, text, name) for text, name in zip(wanted or [""], names, strict=True))
    if card.words.generate is not None or len(prompts) == 1:
        return _with_tokens(card, prompts)
    return _card_of_each(card, prompts)


def slug(text: str) -> str:
    """A prompt as the name of a layer: its letters a-z and digits, with underscores between its words."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:LONGEST_SLUG].rstrip("_")


def _names(texts: Sequence[str]) -> list[str]:
    names = [slug(text) for text in texts]
    for text, name in zip(texts, names, strict=True):
        if not LAYER_NAME.fullmatch(name) or name in {*RESERVED, *TABLES, *CLASS_LAYERS}:
            raise CardError(f"prompt: {shorten(text)} would be called {name!r}, which no layer may: write it otherwise")
        if names.count(name) > 1:
            same = [shorten(each) for each, other in zip(texts, names, strict=True) if other == name]
            raise CardError(f"prompt: {' and '.join(same[:2])} would both be called {name}: write one otherwise")
    return names


def _prompt(card: ModelCard, tokenizer: Tokenizer, text: str, name: str) -> Prompt:
    words, fixed = card.words, next((extra.shape[1] for extra in card.extras if extra.kind == KINDS[0]), -1)
    assert words is not None, "prompts are of a card with words"
    tokens, mask = tokenizer.encode(text)
    if words.generate is not None:
        ends = {token_number(each, tokenizer, "end") for each in words.generate.ends}
        # Tokenizers of encoders put an end behind any text, after which nothing would follow.
        while tokens and (tokens[-1] in ends or not mask[-1]):
            tokens, mask = tokens[:-1], mask[:-1]
        tokens = [*(token_number(each, tokenizer, "start") for each in words.generate.start), *tokens]
        mask = [1] * len(tokens)
        if not tokens:
            raise CardError(f"prompt: {card.name} has neither a prompt nor tw:generate.start: give a prompt")
    if not 1 <= len(tokens) <= MOST_TOKENS:
        raise CardError(f"prompt: {shorten(text)} has {len(tokens)} tokens: give words of 1 to {MOST_TOKENS:,}")
    if fixed > 0 and len(tokens) != fixed:
        advice = "give fewer words" if len(tokens) > fixed else "write its padding into the tokenizer's file"
        raise CardError(f"prompt: {shorten(text)} has {len(tokens)} tokens, and {card.name} takes {fixed}: {advice}")
    return Prompt(text=text, tokens=tuple(tokens), mask=tuple(mask), name=name)


def token_number(token: str | int, tokenizer: Tokenizer, key: str) -> int:
    """The number of a token that `tw:generate` names under a key. Raises CardError for one that is not there."""
    found = tokenizer.number(token)
    if found is None:
        raise CardError(f"properties.tw:generate.{key} is {token!r}, which is no token of the tokenizer")
    return found


def _with_tokens(card: ModelCard, prompts: tuple[Prompt, ...]) -> ModelCard:
    """The card whose inputs of tokens hold the first prompt; answers are written for all of them."""
    assert card.words is not None, "prompts are of a card with words"
    held = {KINDS[0]: prompts[0].tokens, KINDS[1]: prompts[0].mask}
    extras = tuple(
        replace(extra, values=tuple(map(float, held[extra.kind]))) if extra.kind in held else extra
        for extra in card.extras
    )
    told = json.dumps([card.digest, [[each.tokens, each.mask, each.name] for each in prompts]])
    digest = hashlib.sha256(told.encode()).hexdigest()
    return replace(card, extras=extras, words=replace(card.words, prompts=prompts), digest=digest)


def _card_of_each(card: ModelCard, prompts: tuple[Prompt, ...]) -> ModelCard:
    """The card that runs the graph once for each prompt; its outputs are those of the first prompt, then the next."""
    if card.detects or card.embedding or any(output.instances for output in card.outputs):
        raise CardError(f"prompt: {card.name} makes no map of a prompt, of which several could be made: give one")
    member = _with_tokens(card, prompts)
    outputs = tuple(_named(output, prompt) for prompt in prompts for output in card.outputs)
    names = [spec.name for output in outputs for spec in output.layer_specs()]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CardError(f"prompt: two prompts would both make the layer {twice}: write one otherwise")
    return joint_card((member,), role=ROLE, name=card.name, inputs=card.inputs, extras=member.extras, outputs=outputs)


def _named(output: OutputSpec, prompt: Prompt) -> OutputSpec:
    """An output of the joint card, whose layers are those of one prompt."""
    joint = replace(joint_output(output, (), crop=output.crop), name=f"{output.name} {prompt.name}")
    joint = replace(joint, description=prompt.text)
    single = len(output.layers) == 1 and not output.prefix and output.layers[0] not in CLASS_LAYERS[1:]
    return replace(joint, layers=(prompt.name,)) if single else replace(joint, prefix=f"{prompt.name}_{output.prefix}")


def check_decoders(spec: GenerateSpec) -> None:
    """Refuse decoders whose inputs and outputs are not those of exporters. Raises CardError naming the field."""
    first = then = None
    if spec.decoder is not None:
        first = _check_decoder("decoder", spec.decoder, made=set())
    if spec.decoder_with_past is not None and first is not None:
        then = _check_decoder("decoder_with_past", spec.decoder_with_past, made=first)
        if not then:
            raise CardError(f"properties.tw:generate.decoder_with_past gives no {PRESENT}*, the keys of the next step")


def _check_decoder(key: str, file: WordsFile, *, made: set[str]) -> set[str]:
    """The keys and values that a decoder gives, without their first word; `made` are those of the step before."""
    at, model = f"properties.tw:generate.{key}", read_graph(file.path)
    refuse_drawing(model, file.path)
    if graph_facts(model, file.path).external:
        raise CardError(f"{at} has weights in other files; write them into {file.path.name}")
    inputs, outputs = graph_inputs(model), graph_outputs(model)
    given = {name.removeprefix(PRESENT) for name in outputs if name.startswith(PRESENT)}
    past = {name.removeprefix(PAST) for name in inputs if name.startswith(PAST)}
    unknown = sorted(name for name in inputs if name not in {IDS, *TAKEN} and not name.startswith(PAST))
    if unknown or IDS not in inputs:
        raise CardError(
            f"{at} takes {', '.join(inputs) or 'nothing'}; export it with {IDS}, and of others with "
            f"{', '.join(sorted(TAKEN))}, {PAST}* alone"
        )
    if lacking := sorted(past - (made or given)):
        raise CardError(f"{at} takes {PAST}{lacking[0]}, and the step before gives no {PRESENT}{lacking[0]}")
    shape = outputs[logits_name([*outputs])].shape
    if shape is not None and len(shape) != 3:
        raise CardError(f"{at} gives {' x '.join(map(str, shape))}; export it with logits (batch, token, vocabulary)")
    return given


def logits_name(names: Sequence[str]) -> str:
    """The output of the logits: the one of that name, else the first."""
    return "logits" if "logits" in names else names[0]


class PromptsRunner:
    """Runs a graph once for each prompt and gives the scores of each."""

    def __init__(self, card: ModelCard, inner: Runner) -> None:
        self._card, (self._member,), self._inner = card, card.members, inner

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores by output, (N, K, height, width) float32, or (N, K) for one vector per window."""
        assert self._member.words is not None, "prompts are of a card with words"
        joint, found = iter(self._card.outputs), {}
        for prompt in self._member.words.prompts:
            held = {KINDS[0]: prompt.tokens, KINDS[1]: prompt.mask}
            tokens = {
                extra.name: np.tile(np.array(held[extra.kind], feeds[extra.name].dtype), (len(feeds[extra.name]), 1))
                for extra in self._member.extras
                if extra.kind in held
            }
            outputs = self._inner.run({**feeds, **tokens})
            for output in self._member.outputs:
                planes = scores(output, outputs[output.name], votes=True)
                found[next(joint).name] = planes[:, :, 0, 0] if output.rows else planes
        return found
