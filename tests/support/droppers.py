"""Graphs with dropout left on, whose answers numpy computes from the masks that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.support.graphs import Draft
from tests.support.worlds import write_card

SHARE = 0.3

BANDS = ("red", "nir")

NAMES = ("low", "middle", "high")

CLASSES = {"name": "y", "classes": NAMES, "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}

VALUES = {"name": "y", "tw:layers": list(NAMES)}


def dropout(draft: Draft, x: str, share: float = SHARE, *, on: bool | None = True) -> str:
    """A dropout whose switch is on or off, or left out."""
    ratio = draft.constant(np.array(share, np.float32))
    return draft.node("Dropout", x, ratio, *([] if on is None else [draft.constant(np.array(on))]))


def dropped(draft: Draft | None = None, *, on: bool | None = True, width: int = 8) -> onnx.ModelProto:
    """A convolution of 3 x 3, a rectifier, a dropout, and a sum of its channels for each class."""
    draft = draft or Draft(1)
    hidden = draft.node("Relu", draft.conv("x", 2, width))
    return draft.model(draft.conv(dropout(draft, hidden, on=on), width, 3, (1, 1)), n_in=2, n_out=3)


def deep(depth: int = 2, width: int = 4, share: float = SHARE) -> onnx.ModelProto:
    """A U-Net with dropout after each convolution, so at strides 1, 2, 4; and one of whole channels at the bottom."""
    draft, skips, x, n = Draft(3), [], "x", 2
    for level in range(depth):
        x = dropout(draft, draft.node("Relu", draft.conv(x, n, width)), share)
        skips.append(x)
        x, n = draft.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), width
        assert level < depth, "levels are counted"
    x = dropout(draft, draft.node("Relu", draft.conv(x, n, width)), share)
    x = draft.node("Mul", x, channelwise(draft, x, width, share))
    for skip in reversed(skips):
        x = draft.node("Concat", draft.up(x), skip, axis=1)
        x = draft.node("Relu", draft.conv(x, 2 * width, width))
    return draft.model(draft.conv(x, width, 3, (1, 1)), n_in=2, n_out=3)


def channelwise(draft: Draft, x: str, width: int, share: float = SHARE) -> str:
    """The factor of each channel, as torch's exporter writes Dropout2d: ones for each window and channel, some dropped.

    Source: torch.onnx.export(..., dynamo=True) of torch 2.13.
    """
    windows = draft.node("Shape", x, start=0, end=1)
    shape = draft.node("Concat", windows, draft.constant(np.array([width, 1, 1])), axis=0)
    noise = draft.node("RandomUniformLike", draft.node("ConstantOfShape", shape))
    kept = draft.node("Less", noise, draft.constant(np.array(1 - share, np.float32)))
    return draft.node("Div", draft.node("Cast", kept, to=1), draft.constant(np.array(1 - share, np.float32)))


def dropping_card(
    folder: Path,
    model: onnx.ModelProto,
    stochastic: dict[str, Any] | None,
    *,
    head: dict[str, Any] | None = None,
    tile: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
) -> Path:
    """The folder of a card around a graph that drops."""
    return write_card(
        folder,
        model,
        inputs=[{"name": "x", "bands": BANDS, **(image or {})}],
        outputs=[head or CLASSES],
        tile=tile,
        properties={} if stochastic is None else {"tw:stochastic": stochastic},
    )
