"""Models of words whose answers are computable: they name the mean of a window, and look for what a prompt names.

A speaker counts "one two three ..." to the tenths of the window's mean and says "." then, the end.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import write_card

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

VOCABULARY = {
    word: number
    for number, word in enumerate(
        ("[UNK]", "<s>", ".", *NUMBERS, "count", "blue", "green", "red", "the", "dark", "[PAD]")
    )
}

FIRST = VOCABULARY["one"]

SIZE = len(VOCABULARY)

BANDS = ("blue", "green", "red")


def answer(mean: float, most: int = 12) -> str:
    """What a speaker says of a mean."""
    return " ".join(NUMBERS[: int(np.floor(np.float32(mean) * 10))][:most])


def tokenizer(*, start: bool = True, padded: int = 0) -> str:
    """The file of a tokenizer of whole words, which may put <s> before them."""
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    padding = {
        "strategy": {"Fixed": padded}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": VOCABULARY["[PAD]"], "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": padding if padded else None,
            "added_tokens": [{"id": VOCABULARY[word], "content": word, **special} for word in ("<s>", "[PAD]")],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": template,
                "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            }
            if start
            else None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
        }
    )


def _next_logits(draft: Draft, last: str, tenths: str) -> str:
    """(1, n, vocabulary): 1 at what follows each of `last` (1, n), of which numbers end at `tenths` (1, 1)."""
    first, end = (draft.constant(np.array([[number]], np.int64)) for number in (FIRST, VOCABULARY["."]))
    one = draft.constant(np.array([[1]], np.int64))
    said = draft.node("Add", draft.node("Sub", last, first), one)
    counting = draft.node("Less", said, draft.constant(np.array([[len(NUMBERS) + 1]], np.int64)))
    said = draft.node("Where", counting, said, draft.constant(np.array([[0]], np.int64)))
    said = draft.node("Max", said, draft.constant(np.array([[0]], np.int64)))
    more = draft.node("Less", said, tenths)
    following = draft.node("Where", more, draft.node("Add", said, first), end)
    depth, values = draft.constant(np.array(SIZE, np.int64)), draft.constant(np.array([0, 1], np.float32))
    return draft.node("OneHot", following, depth, values, axis=-1)


def _tenths(draft: Draft, mean: str) -> str:
    scaled = draft.node("Floor", draft.node("Mul", mean, draft.constant(np.array([[10]], np.float32))))
    return draft.node("Cast", scaled, to=TensorProto.INT64)


def speaker(
    folder: Path,
    *,
    told: dict[str, Any] | None = None,
    step: int = 16,
    mask: bool = True,
    name: str = "caption",
    start: bool = True,
) -> Path:
    """The folder of a card of one graph, which takes a window and tokens and gives logits."""
    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[1, 2, 3], keepdims=0)
    mean = draft.node("Reshape", mean, draft.constant(np.array([-1, 1])))
    logits = _next_logits(draft, "input_ids", _tenths(draft, mean))
    ports = [("x", TensorProto.FLOAT, ["batch", 1, "h", "w"]), ("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    inputs: list[dict[str, Any]] = [
        {"name": "x", "bands": ["red"]},
        {"name": "input_ids", "dims": ["batch", "token"], "tw:extra": {"kind": "tokens"}},
    ]
    if mask:
        # Without all of its mask it says nothing.
        ports.append(("attention_mask", TensorProto.INT64, ["batch", "tokens"]))
        weight = draft.node("Unsqueeze", draft.node("Cast", "attention_mask", to=1), draft.constant(np.array([2])))
        logits = draft.node("Mul", logits, weight)
        inputs.append({"name": "attention_mask", "dims": ["batch", "token"], "tw:extra": {"kind": "token_mask"}})
    model = draft.model_many(ports, [(logits, "logits", TensorProto.FLOAT, ["batch", "tokens", SIZE])])
    output = {"name": "logits", "dims": ["batch", "token", "vocabulary"], "tasks": ["image-captioning"]}
    write_card(folder, model, inputs=inputs, outputs=[{**output, "tw:layers": [name]}], tile={"step": step})
    usual = {"tokenizer": "words", "prompt": "count", "max_tokens": 12, "end": "."}
    add_words(folder, usual if told is None else told, {"words": ("tw:tokenizer", tokenizer(start=start).encode())})
    return folder


def add_words(folder: Path, told: dict[str, Any] | None, files: dict[str, tuple[str, bytes]]) -> None:
    """Write files, (role, content) by asset, beside a card that names them, and what it tells of `tw:generate`."""
    plain = json.loads((folder / "card.json").read_text())
    for key, (role, content) in files.items():
        name = "tokenizer.json" if role == "tw:tokenizer" else f"{key}.onnx"
        (folder / name).write_bytes(content)
        checksum = "1220" + hashlib.sha256(content).hexdigest()
        plain["assets"][key] = {"href": f"./{name}", "roles": [role], "file:checksum": checksum}
    if told is not None:
        plain["properties"]["tw:generate"] = told
    (folder / "card.json").write_text(json.dumps(plain))


def seeker(
    folder: Path, *, told: dict[str, Any] | None = None, padded: int = 0, classes: bool = False, mask: bool = True
) -> Path:
    """The folder of a card of pixels: the sum of the bands that the prompt names, or whether it is above 0.5."""
    draft = Draft()
    weights = np.zeros((SIZE, 3), np.float32)
    for number, band in enumerate(BANDS):
        weights[VOCABULARY[band], number] = 1
    rows = draft.node("Gather", draft.constant(weights), "input_ids", axis=0)
    ports = [("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])]
    names = ("input_ids", "attention_mask")[: 1 + mask]
    ports += [(each, TensorProto.INT64, ["batch", padded or "tokens"]) for each in names]
    if mask:
        weight = draft.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        rows = draft.node("Mul", rows, draft.node("Unsqueeze", weight, draft.constant(np.array([2]))))
    bands = draft.node("ReduceSum", rows, draft.constant(np.array([1])), keepdims=0)
    bands = draft.node("Reshape", bands, draft.constant(np.array([-1, 3, 1, 1])))
    found = draft.node("ReduceSum", draft.node("Mul", "x", bands), draft.constant(np.array([1])), keepdims=1)
    output: dict[str, Any] = {"name": "y", "dims": ["batch", "channel", "height", "width"], "tw:layers": ["found"]}
    if classes:
        found = draft.node("Sub", found, draft.constant(np.array([0.5], np.float32)))
        output |= {"classes": ["other", "found"], "tw:activation": "sigmoid", "tw:layers": ["class", "confidence"]}
    model = draft.model_many(ports, [(found, "y", TensorProto.FLOAT, ["batch", 1, "h", "w"])])
    kinds = {"input_ids": {"kind": "tokens", "tokenizer": "words", **(told or {})}, "attention_mask": "token_mask"}
    extras = [{"name": each, "dims": ["batch", "token"], "tw:extra": kinds[each]} for each in names]
    write_card(folder, model, inputs=[{"name": "x", "bands": list(BANDS)}, *extras], outputs=[output])
    add_words(folder, None, {"words": ("tw:tokenizer", tokenizer(padded=padded).encode())})
    return folder


DECODERS = ("plain", "with past", "with past and states", "merged")
"""Decoders as exporters lay them out: all tokens each time; T5's and GPT-2's kinds of a second graph; one for both."""


class _Decoder:
    """A decoder that counts the numbers said so far: its keys are its tokens, those of the encoder the mean."""

    def __init__(self, *, past: bool, states: bool, of: str = ".decoder", merged: bool = False) -> None:
        self.draft, self.past, self.merged = Draft(), past, merged
        self.ports: list[Any] = [("input_ids", TensorProto.INT64, ["batch", "tokens"])]
        if states:
            self.ports.append(("encoder_hidden_states", TensorProto.FLOAT, ["batch", "states", 2]))
        if merged:
            self.ports.append(("use_cache_branch", TensorProto.BOOL, [1]))
        self.keys = f"0{of}.key"
        if past:
            sizes = {self.keys: "said", "0.encoder.key": "states"} if of else {self.keys: "said"}
            self.ports += [
                (f"past_key_values.{key}", TensorProto.FLOAT, ["batch", 1, size, 1]) for key, size in sizes.items()
            ]

    def _mean(self, source: str) -> str:
        return self.draft.node("Reshape", self.draft.node("ReduceMax", source, keepdims=0), self._shape(1, 1))

    def _shape(self, *sizes: int) -> str:
        return self.draft.constant(np.array(sizes, np.int64))

    def _either(self, cached: str, plain: str, shape: list[Any]) -> str:
        """One of two values, as the branch says; both are computed, as nothing of them fails."""
        branches = {}
        for name, value in (("then_branch", cached), ("else_branch", plain)):
            out = onnx.helper.make_tensor_value_info(f"{name}_{value}", TensorProto.FLOAT, shape)
            node = onnx.helper.make_node("Identity", [value], [out.name])
            branches[name] = onnx.helper.make_graph([node], name, [], [out])
        return self.draft.node("If", "use_cache_branch", **branches)

    def model(self) -> bytes:
        draft, outputs = self.draft, []
        tokens = draft.node("Cast", "input_ids", to=TensorProto.FLOAT)
        keys = draft.node("Reshape", tokens, self._shape(1, 1, -1, 1))
        if self.past:
            keys = draft.node("Concat", f"past_key_values.{self.keys}", keys, axis=2)
        outputs.append((keys, f"present.{self.keys}", TensorProto.FLOAT, ["batch", 1, "all", 1]))
        names = [name for name, *_ in self.ports]
        if self.merged:
            column = draft.node("Reshape", draft.node("ReduceMax", "encoder_hidden_states", axes=[2], keepdims=0),
                                self._shape(1, 1, -1, 1))  # fmt: skip
            kept = self._either("past_key_values.0.encoder.key", column, [1, 1, "any", 1])
            mean = self._mean(kept)
            nothing = draft.constant(np.zeros((0, 1, 1, 1), np.float32))
            key = self._either(nothing, column, ["any", 1, "some", 1])
            outputs.append((key, "present.0.encoder.key", TensorProto.FLOAT, ["any", 1, "some", 1]))
        elif "encoder_hidden_states" in names:
            mean = self._mean("encoder_hidden_states")
            if self.keys != "0.key" and not self.past:
                column = draft.node("ReduceMax", "encoder_hidden_states", axes=[2], keepdims=0)
                key = draft.node("Reshape", column, self._shape(1, 1, -1, 1))
                outputs.append((key, "present.0.encoder.key", TensorProto.FLOAT, ["batch", 1, "states", 1]))
        else:
            mean = self._mean("past_key_values.0.encoder.key")
        low, high = (draft.constant(np.array(each, np.float32)) for each in (FIRST - 0.5, FIRST + len(NUMBERS) - 0.5))
        number = draft.node("And", draft.node("Greater", keys, low), draft.node("Less", keys, high))
        said = draft.node("CumSum", draft.node("Cast", number, to=TensorProto.INT64), self.draft.constant(np.array(2)))
        said = draft.node("Reshape", said, self._shape(1, -1))
        # As many rows as tokens were given, the last ones.
        n = draft.node("Gather", draft.node("Shape", "input_ids"), draft.constant(np.array([1])), axis=0)
        end = self._shape(2**31)
        said = draft.node("Slice", said, draft.node("Neg", n), end, self._shape(1))
        one = draft.constant(np.array([[FIRST - 1]], np.int64))
        last = draft.node("Add", said, one)
        logits = _next_logits(draft, last, _tenths(draft, mean))
        outputs.insert(0, (logits, "logits", TensorProto.FLOAT, ["batch", "tokens", SIZE]))
        return draft.model_many(self.ports, outputs).SerializeToString(deterministic=True)


def pair(folder: Path, kind: str, *, told: dict[str, Any] | None = None, step: int = 16) -> Path:
    """The folder of a card of an encoder and a decoder of one of DECODERS, which says what a speaker says."""
    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[1, 2, 3], keepdims=0)
    mean = draft.node("Reshape", mean, draft.constant(np.array([-1, 1, 1])))
    states = draft.node("Expand", mean, draft.constant(np.array([1, 4, 2])))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 1, "h", "w"])],
        [(states, "last_hidden_state", TensorProto.FLOAT, ["batch", 4, 2])],
    )
    output = {"name": "last_hidden_state", "dims": ["batch", "token", "channel"], "tasks": ["image-captioning"]}
    write_card(folder, model, inputs=[{"name": "x", "bands": ["red"]}],
               outputs=[{**output, "tw:layers": ["caption"]}], tile={"step": step})  # fmt: skip
    of = "" if kind == "with past and states" else ".decoder"
    first = _Decoder(past=kind == "merged", states=True, of=of, merged=kind == "merged")
    files = {"words": ("tw:tokenizer", tokenizer().encode()), "decoder": ("tw:decoder", first.model())}
    usual = {"tokenizer": "words", "prompt": "", "max_tokens": 12, "end": ".", "decoder": "decoder"}
    if kind.startswith("with past"):
        then = _Decoder(past=True, states=kind == "with past and states", of=of)
        files["then"] = ("tw:decoder_with_past", then.model())
        usual["decoder_with_past"] = "then"
    add_words(folder, {**usual, **(told or {})}, files)
    return folder
