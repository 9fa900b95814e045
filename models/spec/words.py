"""Words that a model takes and gives: the prompt, whose tokens are an input, and answers, written token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.fields import LARGEST_WHOLE
from tilewright.models.spec.arrays import read_shape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tilewright.models.fields import CardField
    from tilewright.models.spec.inputs import ExtraInput, InputSpec

TASK: Final = "image-captioning"

KEY: Final = "tw:generate"

KINDS: Final = ("tokens", "token_mask")
"""Extra inputs of tokens: their ids, and 1 for each that counts."""

LONGEST_PROMPT: Final = 2000
"""Characters of a prompt."""

MOST_TOKENS: Final = 4096
"""Tokens of a prompt, and of an answer."""

MOST_BEAMS: Final = 16

LARGEST_VOCABULARY: Final = 1 << 20
"""Tokens of a vocabulary: those of published tokenizers have up to 262 144."""

LONGEST_ANSWER: Final = 4096
"""Bytes of an answer in UTF-8; what follows is cut off."""

STATES, STATES_MASK, CACHED, POSITIONS = (
    *("encoder_hidden_states", "encoder_attention_mask", "use_cache_branch", "position_ids"),
)
PAST, PRESENT, OF_ENCODER = "past_key_values.", "present.", ".encoder."
"""Names of a decoder's inputs and outputs beside its tokens.

Source: Optimum, exporters for ONNX: `decoder_model.onnx`, `decoder_with_past_model.onnx` and
`decoder_model_merged.onnx`, whose `use_cache_branch` says which of the two it is.
"""

TOKEN_MASKS: Final = ("attention_mask", "decoder_attention_mask")

TAKEN: Final = {*TOKEN_MASKS, STATES, STATES_MASK, CACHED, POSITIONS}
"""What a decoder may take beside its tokens and the past."""

FILES: Final = {"tokenizer": "tw:tokenizer", "decoder": "tw:decoder", "decoder_with_past": "tw:decoder_with_past"}
"""The files of a model of words by their keys in `tw:generate`, and the roles of their assets."""

FIELDS: Final = (*FILES, "prompt", "max_tokens", "end", "start", "num_beams")


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsFile:
    """A file of a model of words, with its sha256 in hex."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that a job asks: its text, its tokens, which of them count (0 or 1), and the name of what is made of it.

    The name is empty where a job asks one prompt: its layers keep the names that the card gives them.
    """

    text: str
    tokens: tuple[int, ...]
    mask: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSpec:
    """How a model answers in words: `table` is the name of the answers, the rest one output of the card's graph.

    That are the logits (batch, token, vocabulary), or the states (batch, token, channel) that a `decoder` takes, which
    gives the logits then; `decoder_with_past` is the decoder for all tokens but the first. `most` tokens are written,
    until one of `ends`: tokens, or their numbers. `start` are those before the prompt. With one of `beams` each token
    is the most likely one, with more the likeliest of so many beginnings are followed.
    """

    table: str
    name: str
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    most: int
    ends: tuple[str | int, ...]
    start: tuple[str | int, ...] = ()
    beams: int = 1
    decoder: WordsFile | None = None
    decoder_with_past: WordsFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsSpec:
    """The words of a card: its tokenizer, its own prompt (None if the job must give one), and how it answers, if it
    does. `prompts` are those of a job.
    """

    tokenizer: WordsFile
    prompt: str | None
    generate: GenerateSpec | None = None
    prompts: tuple[Prompt, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the answers: one for each prompt, or the card's own."""
        own = self.generate.table if self.generate else ""
        return tuple(each.name or own for each in self.prompts) or (own,) if own else ()

    @property
    def decoders(self) -> tuple[Path, ...]:
        """The files of the decoders."""
        files = (self.generate.decoder, self.generate.decoder_with_past) if self.generate else ()
        return tuple(file.path for file in files if file is not None)


def is_answer(entry: CardField, properties: CardField) -> bool:
    """Whether an output of a card is that of its answers in words."""
    return properties.has(KEY) and TASK in entry.texts("tasks")


def read_words(
    properties: CardField, inputs: Sequence[InputSpec], extras: Sequence[ExtraInput], files: dict[str, WordsFile]
) -> WordsSpec | None:
    """The words of a card with these inputs and `files` by their keys; None if it has none.

    Raises CardError naming the field.
    """
    tokens = [extra for extra in extras if extra.kind == KINDS[0]]
    masks = [extra for extra in extras if extra.kind == KINDS[1]]
    if len(tokens) > 1 or len(masks) > len(tokens):
        fault = "two inputs of tokens" if len(tokens) > 1 else "a token_mask for each input of tokens, and no more"
        raise properties.refuse("mlm:input", f"a card has one prompt: describe not {fault}")
    told = told_words(properties)
    if told is None:
        return None
    prompt = told.content.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or not is_prompt(prompt, empty=properties.has(KEY))):
        raise told.refuse("prompt", f"write a line of 1 to {LONGEST_PROMPT:,} letters")
    generate = None
    if properties.has(KEY):
        generate = _read_generate(properties, told, inputs, tokens, files)
    return WordsSpec(tokenizer=files["tokenizer"], prompt=prompt, generate=generate)


def told_words(properties: CardField) -> CardField | None:
    """Where a card tells of its words: `tw:generate`, or the `tw:extra` of its tokens; None if it has none."""
    if properties.has(KEY):
        properties.child(KEY).only(FIELDS)
    for entry in properties.children("mlm:input"):
        extra = entry.content.get("tw:extra")
        if properties.has(KEY):
            if isinstance(extra, dict) and {"tokenizer", "prompt"} & {*extra}:
                raise entry.refuse("tw:extra", f"write its tokenizer and prompt in {KEY}, and {KINDS[0]} alone here")
            continue
        if isinstance(extra, dict) and extra.get("kind") == KINDS[0]:
            return entry.child("tw:extra")
        if extra == KINDS[0]:
            raise entry.refuse("tw:extra", "write {kind: tokens, tokenizer: ASSET, prompt: WORDS}, or tw:generate")
    return properties.child(KEY) if properties.has(KEY) else None


def is_prompt(text: str, *, empty: bool = False) -> bool:
    """Whether a text is a line of letters, as prompts are; `empty` ones may be allowed."""
    return len(text) <= LONGEST_PROMPT and text.isprintable() and (empty or bool(text.strip()))


def _read_generate(
    properties: CardField,
    told: CardField,
    inputs: Sequence[InputSpec],
    tokens: Sequence[ExtraInput],
    files: dict[str, WordsFile],
) -> GenerateSpec:
    field, decoder = _answer(properties), files.get("decoder")
    array, last = read_shape(field, "result", largest=LARGEST_VOCABULARY), "channel" if decoder else "vocabulary"
    if array.dim_order[:2] != ("batch", "token") or len(array.dim_order) != 3:
        raise field.child("result").refuse("dim_order", f"write batch, token, {last}")
    if not array.data_type.startswith("float"):
        raise field.child("result").refuse("data_type", "logits and states are float")
    _refuse_inputs(properties, inputs, tokens, decoder)
    if "decoder_with_past" in files and decoder is None:
        raise told.refuse("decoder", "name the asset of the decoder of the first token")
    names = field.texts("tw:layers") or (field.text("name"),)
    if len(names) != 1:
        raise field.refuse("tw:layers", "write the one name of the table of answers, e.g. ['caption']")
    most, beams = told.integer("max_tokens"), told.integer("num_beams", 1)
    for key, number, limit in (("max_tokens", most, MOST_TOKENS), ("num_beams", beams, MOST_BEAMS)):
        if number > limit:
            raise told.refuse(key, f"write at most {limit:,}")
    return GenerateSpec(
        table=names[0],
        name=field.text("name"),
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        most=most,
        beams=beams,
        ends=_tokens(told, "end"),
        start=_tokens(told, "start") if told.has("start") else (),
        decoder=decoder,
        decoder_with_past=files.get("decoder_with_past"),
    )


def _answer(properties: CardField) -> CardField:
    """The one output of a card that answers."""
    outputs = properties.children("mlm:output")
    if len(outputs) != 1 or not is_answer(outputs[0], properties):
        raise properties.refuse("mlm:output", f"beside {KEY} describe one output, of the task {TASK}, and no other")
    outputs[0].only(("tw:layers",), prefix="tw:")
    return outputs[0]


def _refuse_inputs(
    properties: CardField, inputs: Sequence[InputSpec], tokens: Sequence[ExtraInput], decoder: WordsFile | None
) -> None:
    if decoder is None and not tokens:
        raise properties.refuse("mlm:input", "an input with tw:extra {kind: tokens} is missing, or a decoder")
    if decoder is not None and tokens:
        raise properties.refuse("mlm:input", "tokens are those of the decoder: the encoder has no input of them")
    if any(extra.shape[1] > 0 for extra in tokens):
        raise properties.refuse("mlm:input", "an answer grows: export the graph with a free number of tokens, -1")
    if any(spec.pixelwise or (spec.size("batch") or 1) > 1 for spec in inputs):
        raise properties.refuse("mlm:input", "answers are written window by window: write a batch of 1, or -1")


def _tokens(told: CardField, key: str) -> tuple[str | int, ...]:
    """Tokens by their text or their number; one alone is a list of one."""
    given: Any = told.content.get(key)
    entries = given if isinstance(given, list) else [given]
    for each in entries:
        number = type(each) is int and 0 <= each <= min(LARGEST_WHOLE, LARGEST_VOCABULARY)
        if not (number or (isinstance(each, str) and 0 < len(each) <= LONGEST_PROMPT)):
            raise told.refuse(key, "write a token of the tokenizer, or its number")
    if not 1 <= len(entries) <= MOST_TOKENS:
        raise told.refuse(key, "write a token of the tokenizer, or its number")
    return tuple(entries)
