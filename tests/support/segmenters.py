"""Detectors with masks whose answer is computable, in six export forms, on windows of WINDOW pixels.

Of the MOST brightest pixels of a window each is an object, its value the score. Its mask is two blocks left and right
of that pixel, which is not part of it: columns 2 to 6 away, rows up to 2 away, or up to 4 for one above SPLIT, which is
of class "large".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.support.detectors import CLASSES, LEAST, SPLIT, TRIM, WINDOW
from tests.support.graphs import Draft
from tests.support.worlds import write_card

MOST = 96

NEAR, FAR, HALF = 2, 6, {3: 2, 7: 4}
"""Columns from the pixel to the first and the last of the mask; rows to the last by the value of the class."""

RULE: dict[str, Any] = {"least_score": LEAST, "iou": 0.3}

FORMS = ("torchvision", "logits", "no boxes", "prototypes", "boxes as such", "transposed")

FLOAT = TensorProto.FLOAT


class _Segmenter:
    """A graph around the brightest pixels of a window; columns are (1, box, 1)."""

    def __init__(self) -> None:
        self.draft = Draft()
        flat = self.draft.node("Reshape", "x", self.draft.constant(np.array([1, WINDOW * WINDOW])))
        self.draft.nodes.append(
            _two_results("TopK", [flat, self.draft.constant(np.array([MOST]))], ["best", "places"], axis=1)
        )
        self.score = self.flat("best", 1, MOST, 1)
        place = self.draft.node("Cast", self.flat("places", 1, MOST, 1), to=FLOAT)
        side = self.number(WINDOW)
        self.row = self.draft.node("Floor", self.draft.node("Div", place, side))
        self.col = self.draft.node("Sub", place, self.draft.node("Mul", self.row, side))
        large = self.draft.node("Greater", self.score, self.number(SPLIT))
        self.large = self.draft.node("Cast", large, to=FLOAT)
        self.half = self.line(self.large, HALF[7] - HALF[3], HALF[3])

    def number(self, value: float) -> str:
        return self.draft.constant(np.array([value], np.float32))

    def line(self, name: str, factor: float, shift: float) -> str:
        return self.draft.node("Add", self.draft.node("Mul", name, self.number(factor)), self.number(shift))

    def flat(self, name: str, *shape: int) -> str:
        return self.draft.node("Reshape", name, self.draft.constant(np.array(shape)))

    def joined(self, *columns: str) -> str:
        return self.draft.node("Concat", *columns, axis=2)

    def corners(self) -> list[str]:
        down = self.draft.node("Add", self.row, self.half)
        return [
            self.line(self.col, 1, -FAR), self.draft.node("Sub", self.row, self.half),
            self.line(self.col, 1, FAR + 1), self.line(down, 1, 1),
        ]  # fmt: skip

    def masks(self) -> str:
        """True inside, (1, box, WINDOW, WINDOW)."""
        along = self.draft.constant(np.arange(WINDOW, dtype=np.float32).reshape(1, 1, WINDOW))
        right, down = (self.draft.node("Abs", self.draft.node("Sub", along, column)) for column in (self.col, self.row))
        beside = self.draft.node(
            "And",
            self.draft.node("GreaterOrEqual", right, self.number(NEAR)),
            self.draft.node("LessOrEqual", right, self.number(FAR)),
        )
        near = self.draft.node("LessOrEqual", down, self.half)
        return self.draft.node("And", self.flat(beside, 1, MOST, 1, WINDOW), self.flat(near, 1, MOST, WINDOW, 1))

    def of_classes(self) -> tuple[str, str]:
        large = self.draft.node("Mul", self.score, self.large)
        return self.draft.node("Sub", self.score, large), large

    def values(self) -> str:
        return self.line(self.large, 4, 3)

    def as_numbers(self, inside: float, outside: float) -> str:
        return self.line(self.draft.node("Cast", self.masks(), to=FLOAT), inside - outside, outside)


def _two_results(op: str, inputs: list[str], results: list[str], **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, results, name=f"{op}-two", **attributes)


def segmenter(folder: Path, form: str, *, rule: dict[str, Any] | None = None, classes: bool = False) -> Path:
    """The folder of a card of such a detector in one of FORMS; `classes`: with a map of bright pixels beside it."""
    made = _Segmenter()
    outputs, entries = _outputs(made, form, {**RULE, **(rule or {})})
    if classes:
        both = made.draft.node("Concat", "x", made.line("x", 0, LEAST), axis=1)
        outputs.append((both, "z", FLOAT, [1, 2, WINDOW, WINDOW]))
    model = made.draft.model_many([("x", FLOAT, [1, 1, WINDOW, WINDOW])], outputs)
    return write_card(
        folder, model, inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[
            *({"tw:layers": ["things"], "tasks": ["instance-segmentation"], **entry} for entry in entries),
            *([{"name": "z", "classes": ("bright", "dim"), "tw:layers": ["class"]}] if classes else []),
        ],
        tile={"window": WINDOW, "trim": TRIM, "step": None},
    )  # fmt: skip


def of_masks(*channels: str, **rule: Any) -> dict[str, Any]:
    """The `tw:instances` of one output."""
    return {"tw:instances": {"from": "masks", "channels": [*channels], **rule}}


def _outputs(made: _Segmenter, form: str, rule: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The graph's outputs (result, name, type, shape), and their entries in the card."""
    corners, each = ("x1", "y1", "x2", "y2"), ("score:small", "score:large")
    listed = {"classification:classes": CLASSES}
    in_rows = {"dims": ["batch", "box", "channel"]}
    whole = [1, MOST, WINDOW, WINDOW]
    if form in {"torchvision", "boxes as such"}:
        labels = made.draft.node("Cast", made.flat(made.values(), MOST), to=TensorProto.INT64)
        masks = made.flat(made.as_numbers(0.9, 0.1), MOST, 1, WINDOW, WINDOW)
        told = [of_masks(*corners), {**of_masks("class"), **listed}, of_masks("score")]
        if form == "boxes as such":
            told = [{key.replace("instances", "boxes"): value for key, value in entry.items()} for entry in told]
            for entry in told:
                del entry["tw:boxes"]["from"]
        return [
            (made.flat(made.joined(*made.corners()), MOST, 4), "boxes", FLOAT, [MOST, 4]),
            (labels, "labels", TensorProto.INT64, [MOST]),
            (made.flat(made.score, MOST), "scores", FLOAT, [MOST]),
            (masks, "masks", FLOAT, [MOST, 1, WINDOW, WINDOW]),
        ], [
            {"name": "boxes", "dims": ["box", "channel"], **told[0]},
            {"name": "labels", "dims": ["box"], **told[1]},
            {"name": "scores", "dims": ["box"], **told[2]},
            {"name": "masks", "dims": ["box", "channel", "height", "width"], **of_masks("mask", **rule)},
        ]  # fmt: skip
    if form == "logits":
        rows = made.joined(*made.corners(), made.score, made.values())
        return [(rows, "y", FLOAT, [1, MOST, 6]), (made.as_numbers(3, -3), "masks", FLOAT, whole)], [
            {"name": "y", **in_rows, **of_masks(*corners, "score", "class"), **listed},
            {"name": "masks", "dims": ["batch", "box", "height", "width"], "tw:activation": "sigmoid",
             **of_masks("mask", **rule)},
        ]  # fmt: skip
    if form == "no boxes":
        rows = made.joined(*made.of_classes())
        return [(rows, "y", FLOAT, [1, MOST, 2]), (made.masks(), "masks", TensorProto.BOOL, whole)], [
            {"name": "y", **in_rows, **of_masks(*each, **rule), **listed},
            {"name": "masks", **of_masks("mask"),
             "result": {"shape": whole, "dim_order": ["batch", "box", "height", "width"], "data_type": "uint8"}},
        ]  # fmt: skip
    # Inside its box an object is where (col - its own)^2 is above 2: a sum of three prototypes.
    squared = made.draft.node("Mul", made.col, made.col)
    factors = made.joined(made.line(squared, 1, -2), made.line(made.col, -2, 0), made.line(made.col, 0, 1))
    along = np.broadcast_to(np.arange(WINDOW, dtype=np.float32), (WINDOW, WINDOW))
    planes = made.draft.constant(np.stack([np.ones_like(along), along, along * along])[None])
    prototypes = made.draft.node("Add", planes, made.draft.node("Mul", "x", made.number(0)))
    rows = made.joined(*made.corners(), *made.of_classes(), factors)
    channels = (*corners, *each, "coefficient:*")
    if form == "transposed":
        planes = made.draft.node("Transpose", rows, perm=[0, 2, 1])
        result, shape, dims = planes, [1, 9, MOST], ["batch", "channel", "box"]
    else:
        assert form == "prototypes"
        result, shape, dims = rows, [1, MOST, 9], ["batch", "box", "channel"]
    return [(result, "y", FLOAT, shape), (prototypes, "prototypes", FLOAT, [1, 3, WINDOW, WINDOW])], [
        {"name": "y", "dims": dims, **of_masks(*channels, **rule), **listed},
        {"name": "prototypes", "dims": ["batch", "channel", "height", "width"], **of_masks("prototype:*")},
    ]
