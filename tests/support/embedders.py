"""Encoders whose vectors are computable: sums of bands, of their means over a window or of each pixel."""

from __future__ import annotations

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
    folder: Path, *, told: dict[str, Any] | None = None, name: str = "vectors", tile: dict[str, Any] | None = None
) -> Path:
    """The same with a vector for each pixel."""
    draft = Draft()
    result = draft.node("Conv", "x", draft.constant(WEIGHTS[:, :, None, None].copy()), kernel_shape=[1, 1])
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [(result, "y", TensorProto.FLOAT, ["batch", LENGTH, "h", "w"])],
    )
    dims = ["batch", "channel", "height", "width"]
    return _card(folder, model, tile or {"step": 64}, told, dims=dims, name=name)


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
