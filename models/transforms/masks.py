"""Converts raw outputs of a detector with masks to the objects that it found, each with its pixels in the window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.errors import InferenceError
from tilewright.models.transforms.boxes import box_columns, boxes_of_window, of_one
from tilewright.models.transforms.resize import resize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.spec.boxes import BoxOutput, MasksSpec


MOST_PIXELS = 2**30
"""Pixels of the objects of one window, a byte each while it is held: a small graph may ask for any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """An object of a window: its `box` (one of BOX), and its `pixels` (y, x) from a row and a column of the window on.

    The outermost rows and columns of its pixels hold one of it each.
    """

    box: NDArray[np.void]
    row: int
    col: int
    pixels: NDArray[np.bool_]


def found_masks(
    spec: MasksSpec, raw: Mapping[str, NDArray[Any]], *, windows: int, window: int
) -> list[list[FoundMask]]:
    """The objects of each of `windows` windows of `window` pixels, in the order of the graph's outputs `raw`.

    A mask of other pixels than the window's is resized to them, linearly, or by areas where it is larger; then it is
    where its probability is that of the card or more. One from prototypes is cut to its box. Left out are objects below
    the least score and of a class that the card does not list, as for boxes, and those without a pixel. Without a place
    in the outputs a box is that around the mask.

    Source: D. Bolya et al., YOLACT, 2019, 3.2, for prototypes: the sigmoid of their sum by an object's coefficients.

    Raises InferenceError for arrays of another size than the card says, of unlike numbers of boxes and masks, and for
    objects of over MOST_PIXELS in one window.
    """
    columns = _columns(spec, raw, windows)
    n_boxes = next(iter(columns.values())).shape[1]
    planes = _planes(spec.masks, raw[spec.masks.name], windows)
    if not spec.n_coefficients and planes.shape[1] != n_boxes:
        raise InferenceError(f"{spec.masks.name} has {planes.shape[1]} masks in a window of {n_boxes} boxes")
    if spec.n_coefficients and planes.shape[1] != spec.n_coefficients:
        raise InferenceError(f"{spec.masks.name} has {planes.shape[1]} prototypes, the card {spec.n_coefficients}")
    with np.errstate(over="ignore", invalid="ignore"):
        return [_of_window(spec, of_one(columns, number), planes[number], window) for number in range(windows)]


def mask_scores(spec: MasksSpec, raw: Mapping[str, NDArray[Any]], *, window: int) -> NDArray[np.float64]:
    """The scores of all objects of one window that are complete, whatever their score. Raises as `found_masks` does."""
    everything = replace(spec.boxes, least_score=0)
    return boxes_of_window(everything, of_one(_columns(spec, raw, 1), 0), window)[0]["score"]


def _columns(spec: MasksSpec, raw: Mapping[str, NDArray[Any]], windows: int) -> dict[str, NDArray[np.float64]]:
    """The columns of boxes; those without a place lie anywhere until masks are looked at."""
    columns = box_columns(spec.boxes, raw, windows)
    if spec.has_places:
        return columns
    shape, corners = next(iter(columns.values())).shape, {"x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0}
    return columns | {name: np.full(shape, value) for name, value in corners.items()}


def _planes(output: BoxOutput, raw: NDArray[Any], windows: int) -> NDArray[Any]:
    """The masks, or prototypes, of each window: (window, number, height, width)."""
    axes = output.axes
    if raw.ndim != len(axes):
        raise InferenceError(f"{output.name} has {raw.ndim} dimensions; the card names {len(axes)}")
    present = [axis for axis in ("batch", "box", "channel", "height", "width") if axis in axes]
    array = raw.transpose([axes.index(axis) for axis in present])
    n_first = array.shape[0] if "batch" in axes else 1
    n_channels = array.shape[present.index("channel")] if "channel" in axes and "box" in axes else 1
    if n_first != windows or n_channels != 1:
        raise InferenceError(f"{output.name} is {list(raw.shape)}, for {windows} windows and one mask of each box")
    height, width = array.shape[-2:]
    return (
        array.reshape(windows, -1, height, width) if array.size else np.zeros((windows, 0, height, width), array.dtype)
    )


def _of_window(
    spec: MasksSpec, columns: Mapping[str, NDArray[np.float64]], planes: NDArray[Any], window: int
) -> list[FoundMask]:
    """The objects of one window from the columns of its boxes and its masks or prototypes."""
    boxes, which = boxes_of_window(spec.boxes, columns, window)
    found: list[FoundMask] = []
    n_pixels = 0
    for box, number in zip(boxes, which.tolist(), strict=True):
        factors = [float(columns[f"coefficient:{each}"][number]) for each in range(spec.n_coefficients)]
        inside = _inside(spec, planes if factors else planes[number], factors, window)
        if factors:
            _cut(inside, box)
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            continue
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        n_pixels += (bottom - top) * (right - left)
        if n_pixels > MOST_PIXELS:
            raise InferenceError(
                f"{spec.masks.name}: of {len(boxes):,} objects in one window the first {len(found):,} take over "
                f"{MOST_PIXELS:,} pixels; raise least_score in the card's tw:instances"
            )
        own = np.array(box)
        if not spec.has_places:
            own["x"], own["y"], own["w"], own["h"] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        found.append(FoundMask(box=own, row=top, col=left, pixels=inside[top:bottom, left:right].copy()))
    return found


def _inside(spec: MasksSpec, planes: NDArray[Any], factors: list[float], window: int) -> NDArray[np.bool_]:
    """True where an object is, (window, window): of its mask, or of prototypes by its factors."""
    if factors:
        total = np.zeros(planes.shape[1:], dtype=np.float64)
        # One after another: a sum in an order of the library's choosing would hang on the machine.
        for factor, plane in zip(factors, planes, strict=True):
            total += factor * plane
        exact = _sigmoid(total)
    else:
        exact = planes.astype(np.float64)
        exact = _sigmoid(exact) if spec.masks.activation == "sigmoid" else exact
    probability, size = exact.astype(np.float32), (window, window)
    if probability.shape != size:
        method = "area" if probability.shape[0] > window else "linear"
        probability = resize(probability, size=size, method=f"interpolation-{method}")
    return probability >= np.float32(spec.least_probability)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (np.tanh(0.5 * values) + 1)


def _cut(inside: NDArray[np.bool_], box: NDArray[np.void]) -> None:
    """Clear the pixels whose centres lie outside a box."""
    for axis, (at, size) in enumerate((("y", "h"), ("x", "w"))):
        centres = np.arange(inside.shape[axis]) + 0.5
        outside = (centres < box[at] - box[size] / 2) | (centres >= box[at] + box[size] / 2)
        inside[outside if axis == 0 else (slice(None), outside)] = False
