"""A vision transformer of realistic size with seeded weights in an external file, and its card.

Architecture: Dosovitskiy et al., An Image is Worth 16x16 Words (2021), ViT-B/16: 12 blocks of width 768, 12 heads, 86 M
parameters, windows of 224 px with a table of positions. Smaller ones for tests have the same layers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.graphs import Draft
from tilewright.models.card.schema import CARD_EXTENSIONS

PATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """The sizes of a transformer; ``window`` in pixels, a multiple of PATCH."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 224
    bands: int = 3

    @property
    def n_patches(self) -> int:
        """Patches along a side of a window."""
        return self.window // PATCH

    @property
    def n_parameters(self) -> int:
        """Weights of the graph without those of its two outputs."""
        w = self.width
        embedding = self.bands * PATCH**2 * w + w + self.n_patches**2 * w
        return embedding + self.depth * (12 * w * w + 13 * w) + 2 * w


def transformer_graph(sizes: Transformer) -> onnx.ModelProto:
    """The graph: ``x`` (1, bands, window, window) -> ``vector`` (1, width) and ``classes`` (1, 4, window, window)."""
    draft, w, n = Draft(11), sizes.width, sizes.n_patches

    def weights(*shape: int) -> str:
        return draft.constant(draft.random.normal(0, 0.02, shape).astype(np.float32))

    def dense(x: str, n_in: int, n_out: int) -> str:
        return draft.node("Add", draft.node("MatMul", x, weights(n_in, n_out)), weights(n_out))

    def normed(x: str) -> str:
        ones, zeros = np.ones(w, np.float32), np.zeros(w, np.float32)
        return draft.node("LayerNormalization", x, draft.constant(ones), draft.constant(zeros), axis=-1, epsilon=1e-6)

    def split(x: str) -> str:
        """(1, n * n, w) as (1, heads, n * n, w / heads)."""
        shape = draft.constant(np.array([1, n * n, sizes.heads, w // sizes.heads], np.int64))
        return draft.node("Transpose", draft.node("Reshape", x, shape), perm=[0, 2, 1, 3])

    def gelu(x: str) -> str:
        half = draft.node("Mul", x, draft.constant([0.5]))
        erf = draft.node("Erf", draft.node("Mul", x, draft.constant([2**-0.5])))
        return draft.node("Mul", half, draft.node("Add", erf, draft.constant([1.0])))

    def attention(x: str) -> str:
        query, key, value = (split(dense(x, w, w)) for _ in range(3))
        likeness = draft.node("MatMul", query, draft.node("Transpose", key, perm=[0, 1, 3, 2]))
        shares = draft.node(
            "Softmax", draft.node("Mul", likeness, draft.constant([(w / sizes.heads) ** -0.5])), axis=-1
        )
        mixed = draft.node("Transpose", draft.node("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = draft.node("Reshape", mixed, draft.constant(np.array([1, n * n, w], np.int64)))
        return dense(joined, w, w)

    patches = draft.conv("x", sizes.bands, w, (PATCH, PATCH), stride=PATCH, pads=(0, 0, 0, 0))
    rows = draft.node("Reshape", patches, draft.constant(np.array([1, w, n * n], np.int64)))
    x = draft.node("Add", draft.node("Transpose", rows, perm=[0, 2, 1]), weights(1, n * n, w))
    for _ in range(sizes.depth):
        x = draft.node("Add", x, attention(normed(x)))
        x = draft.node("Add", x, dense(gelu(dense(normed(x), w, 4 * w)), 4 * w, w))
    x = normed(x)
    vector = draft.node("ReduceMean", x, axes=[1], keepdims=0)
    scores = draft.node("Transpose", dense(x, w, 4), perm=[0, 2, 1])
    coarse = draft.node("Reshape", scores, draft.constant(np.array([1, 4, n, n], np.int64)))
    side = sizes.window
    return draft.model_many(
        [("x", TensorProto.FLOAT, [1, sizes.bands, side, side])],
        [
            (vector, "vector", TensorProto.FLOAT, [1, w]),
            (draft.up(coarse, PATCH, "linear"), "classes", TensorProto.FLOAT, [1, 4, side, side]),
        ],
    )


def write_backbone(
    folder: Path, sizes: Transformer, *, bands: tuple[str, ...], trim: int, outputs: tuple[dict[str, Any], ...]
) -> Path:
    """The folder of a card around the transformer, with its weights in a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    path, weights = folder / "model.onnx", folder / "weights.bin"
    weights.unlink(missing_ok=True)
    onnx.save_model(
        transformer_graph(sizes), path, save_as_external_data=True, location=weights.name, size_threshold=1024
    )
    files = {"model": ("mlm:model", path), "weights": ("mlm:weights", weights)}
    layout = {"dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"}
    card = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": "backbone",
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "mlm:name": "backbone",
            "mlm:architecture": "ViT",
            "mlm:framework": "ONNX",
            "mlm:tasks": ["semantic-segmentation"],
            "bands": [{"name": band} for band in bands],
            "mlm:input": [
                {
                    "name": "x",
                    "bands": list(bands),
                    "input": {"shape": [1, len(bands), sizes.window, sizes.window], **layout},
                    "value_scaling": [{"type": "z-score", "mean": 0.15, "stddev": 0.08}],
                    "tw:collection": "sentinel-2-l2a",
                    "tw:unit": "reflectance",
                    "tw:resolution": 10.0,
                    "tw:dates": {"kind": "composite", "reducer": "median"},
                }
            ],
            "mlm:output": list(outputs),
            "tw:tile": {"window": sizes.window, "trim": trim},
        },
        "assets": {
            key: {
                "href": f"./{file.name}",
                "roles": [role],
                **({"mlm:artifact_type": "onnx"} if key == "model" else {}),
                "file:checksum": "1220" + hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for key, (role, file) in files.items()
        },
        "links": [],
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def class_output(sizes: Transformer) -> dict[str, Any]:
    """The card's output of four classes per pixel."""
    return {
        "name": "classes",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [1, 4, sizes.window, sizes.window],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [{"value": value, "name": f"class-{value}"} for value in range(4)],
        "tw:activation": "softmax",
        "tw:layers": ["class"],
    }
