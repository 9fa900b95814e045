"""Detectors whose answer is computable: every pixel is a thing of 6 x 6 px, its value the score, in nine export forms.

Windows are fixed to WINDOW pixels. A pixel above SPLIT is of class "large", else of class "small".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import write_card

WINDOW, TRIM, SIDE_PX, SPLIT, LEAST = 96, 16, 6.0, 0.55, 0.5

N = WINDOW * WINDOW

CLASSES = [{"value": 3, "name": "small"}, {"value": 7, "name": "large", "color_hint": "FF0000"}]

RULE = {"least_score": LEAST, "iou": 0.3}

FORMS = (
    "rows of six", "torchvision", "objectness and classes", "classes by channel", "corners by channel",
    "logits and shares", "softmax with nothing", "turned", "scores and numbers apart",
)  # fmt: skip


class _Detector:
    """A graph around the values of a window, as columns (1, box, 1)."""

    def __init__(self) -> None:
        self.draft = Draft()
        self.score = self.draft.node("Reshape", "x", self.draft.constant(np.array([1, N, 1])))
        split = self.draft.constant(np.array([SPLIT], np.float32))
        self.large = self.draft.node("Cast", self.draft.node("Greater", self.score, split), to=TensorProto.FLOAT)
        rows, cols = np.divmod(np.arange(N, dtype=np.float32), np.float32(WINDOW))
        self.x, self.y = cols + np.float32(0.5), rows + np.float32(0.5)

    def column(self, values: np.ndarray | float) -> str:
        return self.draft.constant(np.broadcast_to(np.float32(values), (N,)).astype(np.float32).reshape(1, N, 1))

    def values(self) -> str:
        """3 or 7, the value of a box's class."""
        return self.affine(self.large, 4, 3)

    def affine(self, name: str, factor: float, shift: float) -> str:
        scaled = self.draft.node("Mul", name, self.draft.constant(np.array([factor], np.float32)))
        return self.draft.node("Add", scaled, self.draft.constant(np.array([shift], np.float32)))

    def of_classes(self, score: str) -> tuple[str, str]:
        """The score as that of small and of large; 0 for the other."""
        large = self.draft.node("Mul", score, self.large)
        return self.draft.node("Sub", score, large), large

    def centre(self, unit: float = 1) -> list[str]:
        return [self.column(each / np.float32(unit)) for each in (self.x, self.y, SIDE_PX, SIDE_PX)]

    def corners(self) -> list[str]:
        half = np.float32(SIDE_PX / 2)
        return [self.column(each) for each in (self.x - half, self.y - half, self.x + half, self.y + half)]

    def joined(self, columns: list[str]) -> str:
        return self.draft.node("Concat", *columns, axis=2)

    def flat(self, name: str, *shape: int) -> str:
        return self.draft.node("Reshape", name, self.draft.constant(np.array(shape)))


def detector(folder: Path, form: str, *, rule: dict[str, Any] | None = None) -> Path:
    """The folder of a card of such a detector in one of FORMS."""
    made = _Detector()
    outputs, entries = _outputs(made, form, {**RULE, **(rule or {})})
    model = made.draft.model_many([("x", TensorProto.FLOAT, [1, 1, WINDOW, WINDOW])], outputs)
    return write_card(
        folder, model, inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"tw:layers": ["things"], "tasks": ["object-detection"], **entry} for entry in entries],
        tile={"window": WINDOW, "trim": TRIM, "step": None},
    )  # fmt: skip


def _outputs(made: _Detector, form: str, rule: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The graph's outputs (result, name, type, shape), and their entries in the card."""
    float_ = TensorProto.FLOAT
    small, large = made.of_classes(made.score)
    centre, corners = ["cx", "cy", "w", "h"], ["x1", "y1", "x2", "y2"]
    each = ["score:small", "score:large"]
    listed = {"classification:classes": CLASSES}
    if form == "rows of six":
        rows = made.flat(made.joined([*made.corners(), made.score, made.values()]), N, 6)
        channels = [*corners, "score", "class"]
        return [(rows, "y", float_, [N, 6])], [
            {"name": "y", "dims": ["box", "channel"], "tw:boxes": {"channels": channels, **rule}, **listed}
        ]
    if form == "torchvision":
        labels = made.draft.node("Cast", made.flat(made.values(), N), to=TensorProto.INT64)
        return [
            (made.flat(made.joined(made.corners()), N, 4), "boxes", float_, [N, 4]),
            (labels, "labels", TensorProto.INT64, [N]),
            (made.flat(made.score, N), "scores", float_, [N]),
        ], [
            {"name": "boxes", "dims": ["box", "channel"], "tw:boxes": {"channels": corners, **rule}},
            {"name": "labels", "dims": ["box"], "tw:boxes": {"channels": ["class"]}, **listed},
            {"name": "scores", "dims": ["box"], "tw:boxes": {"channels": ["score"]}},
        ]
    if form in {"objectness and classes", "turned"}:
        certain = [made.draft.node("Sub", made.column(1), made.large), made.large]
        angle = [made.column(0)] if form == "turned" else []
        channels = [*centre, "objectness", *each, *(["angle"] if angle else [])]
        rows = made.joined([*made.centre(), made.score, *certain, *angle])
        return [(rows, "y", float_, [1, N, len(channels)])], [
            {"name": "y", "dims": ["batch", "box", "channel"], "tw:boxes": {"channels": channels, **rule}, **listed}
        ]
    if form in {"classes by channel", "corners by channel"}:
        places, names = (made.centre(), centre) if form.startswith("classes") else (made.corners(), corners)
        planes = made.draft.node("Transpose", made.joined([*places, small, large]), perm=[0, 2, 1])
        return [(planes, "y", float_, [1, 6, N])], [
            {"name": "y", "dims": ["batch", "channel", "box"],
             "tw:boxes": {"channels": [*names, *each], **rule}, **listed}
        ]  # fmt: skip
    if form in {"logits and shares", "softmax with nothing"}:
        nothing = form.startswith("softmax")
        logits, channels = _logits(made, small, large, nothing=nothing)
        activation = "softmax" if nothing else "sigmoid"
        return [
            (made.joined(made.centre(WINDOW)), "places", float_, [1, N, 4]),
            (logits, "logits", float_, [1, N, len(channels)]),
        ], [
            {"name": "places", "dims": ["batch", "box", "channel"], "tw:boxes": {"channels": centre, "unit": "window"}},
            {"name": "logits", "dims": ["batch", "box", "channel"], "tw:activation": activation,
             "tw:boxes": {"channels": channels, **rule}, **listed},
        ]  # fmt: skip
    assert form == "scores and numbers apart"
    labels = made.draft.node("Cast", made.flat(made.values(), 1, N), to=TensorProto.INT32)
    rows = made.joined([made.column(9), *made.centre(), made.score])
    return [(rows, "y", float_, [1, N, 6]), (labels, "labels", TensorProto.INT32, [1, N])], [
        {"name": "y", "dims": ["batch", "box", "channel"],
         "tw:boxes": {"channels": ["ignored", *centre, "score"], **rule}},
        {"name": "labels", "dims": ["batch", "box"], "tw:boxes": {"channels": ["class"]}, **listed},
    ]  # fmt: skip


def _logits(made: _Detector, small: str, large: str, *, nothing: bool) -> tuple[str, list[str]]:
    """The scores before their activation."""
    tiny = made.draft.constant(np.array([1e-6], np.float32))
    draft = made.draft
    if nothing:
        rest = draft.node("Sub", made.column(1), made.score)
        logs = [draft.node("Log", draft.node("Max", each, tiny)) for each in (small, large, rest)]
        return made.joined(logs), ["score:small", "score:large", "nothing"]
    logs = []
    for each in (small, large):
        bounded = draft.node("Max", each, tiny)
        logs.append(draft.node("Log", draft.node("Div", bounded, draft.node("Sub", made.column(1), bounded))))
    return made.joined(logs), ["score:small", "score:large"]
