"""Fields whose places are known, and models of their boundaries: small graphs that look at each pixel alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from tests.support.graphs import Draft
from tests.support.worlds import World, write_card

FIELD, EDGE, GROUND = 6000, 900, 3000
"""Numbers of pixels, of which the model says that they are of these classes."""

CLASSES = ("background", "field", "edge")

INSTANCES = {"from": "boundary", "interior": "field", "boundary": "edge", "least_probability": 0.5}


def field_map(side: int, n_fields: int, *, seed: int = 1) -> np.ndarray:
    """The numbers (y, x) of fields around as many random places, 1 pixel of EDGE between them, some of them GROUND."""
    random = np.random.default_rng(seed)
    places = random.choice(side * side, n_fields, replace=False)
    everywhere = np.stack(np.divmod(np.arange(side * side), side), axis=1)
    nearest = cKDTree(everywhere[places]).query(everywhere)[1].reshape(side, side)
    edge = np.zeros(nearest.shape, dtype=bool)
    edge[:-1] |= nearest[:-1] != nearest[1:]
    edge[:, :-1] |= nearest[:, :-1] != nearest[:, 1:]
    return np.where(edge, EDGE, np.where(nearest % 9 == 0, GROUND, FIELD)).astype(np.uint16)


def field_world(folder: Path, values: np.ndarray) -> World:
    """A world of one scene with these numbers; 0 was not seen."""
    made = World(folder)
    made.add(values, "red", day="2023-06-01", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return made


def field_card(
    folder: Path,
    *,
    instances: dict[str, Any] | None = None,
    layers: tuple[str, ...] = ("fields",),
    form: str = "logits",
    tile: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A card of such a model, which gives `logits`, `probabilities`, or class `values`."""
    draft = Draft()

    def line(factor: float, shift: float) -> str:
        scaled = draft.node("Mul", "x", draft.constant(np.array([factor], np.float32)))
        return draft.node("Add", scaled, draft.constant(np.array([shift], np.float32)))

    logits = draft.node("Concat", line(0, 0), line(20, -9), line(-20, 4), axis=1)
    output: dict[str, Any] = {
        "name": "y",
        "classes": CLASSES,
        "tasks": ["instance-segmentation"],
        "tw:layers": list(layers),
        "tw:instances": {**INSTANCES, **(instances or {})},
    }
    if form == "logits":
        model = draft.model(logits, n_in=1, n_out=3)
        output["tw:activation"] = "softmax"
    elif form == "probabilities":
        model = draft.model(draft.node("Softmax", logits, axis=1), n_in=1, n_out=3)
    else:
        best = draft.node("ArgMax", logits, axis=1, keepdims=0)
        model = draft.model(best, n_in=1, n_out=1, out_type=7, out_shape=["batch", "oh", "ow"])
        output["dims"] = ("batch", "height", "width")
    return write_card(
        folder, model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[{**output, **changes}],
        tile=tile or {"step": 64},
    )  # fmt: skip


def whole_fields(values: np.ndarray) -> np.ndarray:
    """The number (y, x) of each field, 0 = none: labelled over the whole map at once."""
    labelled, _ = ndimage.label(values == FIELD)
    return labelled
