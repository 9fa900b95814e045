"""The boxes in a detector's answers: whatever form they are exported in, as one array for each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.errors import InferenceError
from tilewright.models.spec.boxes import BOX, OF_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.spec.boxes import BoxesSpec, BoxOutput

SIDES = (2.0**-20, 2.0**30)
"""Pixels of the least and the largest width and height: what is smaller has no outline in the numbers of a map, and no
map is larger."""


def found_boxes(
    spec: BoxesSpec, raw: Mapping[str, NDArray[Any]], *, windows: int, window: int
) -> list[NDArray[np.void]]:
    """The boxes of each of `windows` windows of `window` pixels, as BOX, in the order of the graph's outputs `raw`.

    Left out are boxes below the least score, of a class that the card does not list, of a width or height that is none
    (SIDES), and with a number that is not finite: exporters fill their arrays with such. Coordinates are pixels of the
    window; 0 is the left edge of its first pixel.

    Raises InferenceError for arrays of another size than the card says, or of unlike numbers of boxes.
    """
    columns = box_columns(spec, raw, windows)
    # What is no number, or none that can be, is left out.
    with np.errstate(over="ignore", invalid="ignore"):
        return [boxes_of_window(spec, of_one(columns, number), window)[0] for number in range(windows)]


def of_one(columns: Mapping[str, NDArray[np.float64]], number: int) -> dict[str, NDArray[np.float64]]:
    """The columns of one window."""
    return {name: column[number] for name, column in columns.items()}


def box_columns(spec: BoxesSpec, raw: Mapping[str, NDArray[Any]], windows: int) -> dict[str, NDArray[np.float64]]:
    """The channels of all outputs of boxes by name, each (window, box), after their activation.

    Raises InferenceError as `found_boxes` does.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for output in spec.outputs:
        columns |= _columns(output, raw[output.name], windows)
    counts = {column.shape for column in columns.values()}
    if len(counts) != 1:
        raise InferenceError(
            f"the outputs of {spec.name} tell of {', '.join(str(shape[1]) for shape in sorted(counts))} boxes in a "
            "window: they must be of the same boxes, in the same order"
        )
    return columns


def _columns(output: BoxOutput, raw: NDArray[Any], windows: int) -> dict[str, NDArray[np.float64]]:
    """The channels of one output by name, each (window, box), after its activation."""
    axes = output.axes
    if raw.ndim != len(axes):
        raise InferenceError(f"{output.name} has {raw.ndim} dimensions; the card names {len(axes)}")
    present = [axis for axis in ("batch", "channel", "box") if axis in axes]
    array = raw.transpose([axes.index(axis) for axis in present])
    array = array.reshape(
        array.shape[0] if "batch" in axes else 1,
        array.shape[present.index("channel")] if "channel" in axes else 1,
        array.shape[-1],
    )
    if array.shape[:2] != (windows, len(output.channels)):
        raise InferenceError(
            f"{output.name} is {list(raw.shape)}; the card says {len(output.channels)} channels, for {windows} windows"
        )
    numbers = dict(zip(output.channels, array.transpose(1, 0, 2).astype(np.float64), strict=True))
    numbers.pop("ignored", None)
    if output.activation == "sigmoid":
        numbers |= {name: 0.5 * (np.tanh(0.5 * each) + 1) for name, each in numbers.items() if _is_score(name)}
    elif output.activation == "softmax":
        scores = [name for name in numbers if _is_score(name)]
        stacked = np.stack([numbers[name] for name in scores])
        with np.errstate(invalid="ignore"):
            powers = np.exp(stacked - stacked.max(axis=0))
            numbers |= dict(zip(scores, powers / powers.sum(axis=0), strict=True))
    return numbers


def _is_score(name: str) -> bool:
    return name in {"objectness", "score", "nothing"} or name.startswith(OF_CLASS)


def boxes_of_window(
    spec: BoxesSpec, columns: Mapping[str, NDArray[np.float64]], window: int
) -> tuple[NDArray[np.void], NDArray[np.intp]]:
    """The boxes of one window that count, from its columns, one number per box; and which of these they are."""
    boxes = np.zeros(len(next(iter(columns.values()))), dtype=BOX)
    unit = float(window) if spec.unit == "window" else 1.0
    if "cx" in columns:
        boxes["x"], boxes["y"], boxes["w"], boxes["h"] = (columns[name] * unit for name in ("cx", "cy", "w", "h"))
    else:
        left, top, right, bottom = (columns[name] * unit for name in ("x1", "y1", "x2", "y2"))
        boxes["x"], boxes["y"] = (left + right) / 2, (top + bottom) / 2
        boxes["w"], boxes["h"] = right - left, bottom - top
    if "angle" in columns:
        boxes["angle"] = np.deg2rad(columns["angle"]) if spec.degrees else columns["angle"]
    known, boxes["value"], score = _classes(spec, columns)
    boxes["score"] = score * columns["objectness"] if "objectness" in columns else score
    numbers = np.stack([boxes[name] for name in ("x", "y", "w", "h", "angle", "score")])
    sides = np.stack([boxes["w"], boxes["h"]])
    good = np.isfinite(numbers).all(axis=0) & known & ((sides >= SIDES[0]) & (sides <= SIDES[1])).all(axis=0)
    which = np.flatnonzero(good & (boxes["score"] >= spec.least_score))
    return boxes[which], which


def _classes(
    spec: BoxesSpec, columns: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.float64]]:
    """Per box: whether its class is one of the card's, the class's value, and its score."""
    n_boxes = len(next(iter(columns.values())))
    everywhere = np.ones(n_boxes)
    if f"{OF_CLASS}{spec.classes[0].name}" in columns:
        scores = np.stack([columns[f"{OF_CLASS}{each.name}"] for each in spec.classes])
        # A number that is none would hide the others from the comparison.
        finite = np.isfinite(scores).all(axis=0)
        best = scores.argmax(axis=0)
        values = np.array([each.value for each in spec.classes], dtype=np.uint8)[best]
        highest: NDArray[np.float64] = scores.max(axis=0)
        known: NDArray[np.bool_] = np.asarray(finite & (highest > columns.get("nothing", -np.inf)))
        return known, values, highest
    score = columns.get("score", everywhere)
    if "class" not in columns:
        return everywhere > 0, np.full(n_boxes, spec.classes[0].value, dtype=np.uint8), score
    given = columns["class"]
    listed = np.isin(given, [float(each.value) for each in spec.classes])
    return listed, np.where(listed, given, 0).astype(np.uint8), score
