"""Encoders whose vectors are computable: sums of bands, of their means over a window or of each pixel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import write_card

BANDS = ("blue", "green", "red")

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [0, 1, -1], [2, 1, -1]], np.float32)
"""The numbers of a vector, each by the three bands."""

LENGTH = len(WEIGHTS)


def window_encoder(
    folder: Path, *, step: int = 32, size: float = 1.0, told: dict[str, Any] | None = None, name: str = "vectors"
) -> Path:
    """The folder of a card whose vector of a window is WEIGHTS times the mean of its bands, times ``size``."""
    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[2, 3], keepdims=0)
    result = draft.node("MatMul", mean, draft.constant((WEIGHTS * np.float32(size)).T.copy()))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])], [(result, "y", TensorProto.FLOAT, ["batch", LENGTH])]
    )
    return _card(folder, model, {"step": step}, told, dims=["batch", "channel"], name=name)


def pixel_encoder(
    folder: Path,
    *,
    told: dict[str, Any] | None = None,
    name: str = "vectors",
    tile: dict[str, Any] | None = None,
    patch: int = 1,
) -> Path:
    """The same with a vector for each pixel, or each patch of so many pixels a side."""
    draft = Draft()
    result = draft.node("Conv", "x", draft.constant(WEIGHTS[:, :, None, None].copy()), kernel_shape=[1, 1])
    if patch > 1:
        result = draft.node("AveragePool", result, kernel_shape=[patch] * 2, strides=[patch] * 2)
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [(result, "y", TensorProto.FLOAT, ["batch", LENGTH, "oh", "ow"])],
    )
    dims = ["batch", "channel", "height", "width"]
    card = _card(folder, model, tile or {"step": 64}, told, dims=dims, name=name)
    if patch > 1:
        plain = json.loads((card / "card.json").read_text())
        plain["properties"]["mlm:output"][0]["tw:scale"] = 1 / patch
        (card / "card.json").write_text(json.dumps(plain))
    return card


def _card(
    folder: Path, model: Any, tile: dict[str, Any], told: dict[str, Any] | None, *, dims: list[str], name: str
) -> Path:
    output = {"name": "y", "dims": dims, "tasks": ["similarity-search"], "tw:layers": [name]}
    return write_card(
        folder,
        model,
        inputs=[{"name": "x", "bands": list(BANDS)}],
        outputs=[{**output, "tw:embedding": told if told is not None else {}}],
        tile=tile,
    )


VOCABULARY = {"[UNK]": 0, "blue": 1, "green": 2, "red": 3, "[CLS]": 4, "[PAD]": 5}

MEANINGS = np.array([[0.1] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [9, 9, 9]], np.float32) @ WEIGHTS.T
"""The vector of each token: that of ground which has this band alone."""


def with_text(folder: Path, *, padded: int = 0, mask: bool = True, told: dict[str, Any] | None = None) -> Path:
    """The card in a folder with a text tower whose vector of words is the sum of MEANINGS of its tokens.

    ``padded``: to so many tokens, which the graph then takes alone.
    """
    draft = Draft()
    rows = draft.node("Gather", draft.constant(MEANINGS), "input_ids", axis=0)
    if mask:
        weight = draft.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        rows = draft.node("Mul", rows, draft.node("Unsqueeze", weight, draft.constant(np.array([2]))))
    result = draft.node("ReduceSum", rows, draft.constant(np.array([1])), keepdims=0)
    size = padded or "tokens"
    ports = [(name, TensorProto.INT64, ["batch", size]) for name in ("input_ids", "attention_mask")[: 1 + mask]]
    model = draft.model_many(ports, [(result, "v", TensorProto.FLOAT, ["batch", LENGTH])])
    files = {"text.onnx": model.SerializeToString(deterministic=True), "tokenizer.json": tokenizer(padded).encode()}
    plain = json.loads((folder / "card.json").read_text())
    for key, (name, content) in zip(("words", "tokens"), files.items(), strict=True):
        (folder / name).write_bytes(content)
        role = {"words": "tw:text", "tokens": "tw:tokenizer"}[key]
        checksum = "1220" + hashlib.sha256(content).hexdigest()
        plain["assets"][key] = {"href": f"./{name}", "roles": [role], "file:checksum": checksum}
    plain["properties"]["tw:text"] = told if told is not None else {"model": "words", "tokenizer": "tokens"}
    (folder / "card.json").write_text(json.dumps(plain))
    return folder


def tokenizer(padded: int = 0) -> str:
    """The file of a tokenizer of whole words, which puts [CLS] before them."""
    template = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    padding = {
        "strategy": {"Fixed": padded}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 5, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": padding if padded else None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": template,
                "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [4], "tokens": ["[CLS]"]}},
            },
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
        }
    )
