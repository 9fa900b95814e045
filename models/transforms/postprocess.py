"""Converts raw outputs of a graph to scores, and scores to the layers of a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import InferenceError
from tilewright.models.spec.embedding import encoded
from tilewright.models.spec.outputs import NODATA_BYTE, NODATA_ID
from tilewright.models.transforms.resize import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.outputs import OutputSpec


LOGITS: Final = np.float32(100)
"""Of the scores of words by the cosine. Source: CLIP, whose factor ends at 100."""


BEYOND, MOST_BEYOND = 1.0, 0.2
"""By how much a probability may miss 0 to 1, and the share of pixels that may miss them by more: a regression of 0 and
1 reaches a little beyond them, most logits far."""


def scores(
    spec: OutputSpec, raw: NDArray[Any], *, size: tuple[int, int] | None = None, votes: bool = False
) -> NDArray[Any]:
    """The scores (N, K, height, width) float32 of one raw output, after activation and in class order.

    K is `spec.n_scores`: class probabilities, values, or the class values themselves if the graph gives those (K = 1).
    `votes` turns class values into one plane per class (1 = that class), which can be averaged. `size` is the
    (height, width) of the window's result: rows of pixels are reshaped to it, and a result of another size is resized
    to it. A vector per window becomes (N, K, 1, 1). NaN stays NaN. If the graph gives the layers themselves
    (`spec.layered`), `raw` is returned unchanged.
    """
    if spec.layered:
        return raw
    planes = _planes(spec, raw, size)
    if spec.scored:
        return planes
    if spec.labels and votes:
        return np.concatenate([(planes == cls.value).astype(np.float32) for cls in spec.classes], axis=1)
    if spec.labels:
        return planes
    if spec.words:
        planes = _word_scores(planes, np.array(spec.words, dtype=np.float32))
        if spec.usual:
            means, deviations = np.array(spec.usual, dtype=np.float32).T[:, :, np.newaxis, np.newaxis]
            planes = (planes - means) / deviations
    planes = activate(spec, planes)
    return np.concatenate([1 - planes, planes], axis=1) if len(spec.classes) == 2 and spec.channels == 1 else planes


def check_probabilities(spec: OutputSpec, planes: NDArray[np.float32], *, seen: Sequence[float] | None = None) -> None:
    """Raise InferenceError for logits that a card takes for probabilities: they are cut at 0.5, or at its threshold.

    `planes` are the scores (N, 2, height, width) of windows, of which these shares of the pixels were `seen`, all
    without it: what fills the others may be any number.
    """
    opened = len(spec.classes) == 2 and (spec.channels == 1 or spec.threshold is not None)
    if spec.activation != "none" or not opened or spec.labels or spec.layered or spec.scored:
        return
    second = np.where(np.isfinite(planes[:, 1]), planes[:, 1], np.float32(0))
    beyond = ((second < -BEYOND) | (second > 1 + BEYOND)).mean(axis=(1, 2))
    if (beyond <= MOST_BEYOND + 1 - np.asarray(1.0 if seen is None else seen)).all():
        return
    raise InferenceError(
        f"output {spec.name} gives {second.min():.3g} to {second.max():.3g} where its card says the probability of "
        f"{spec.classes[1].name}: write tw:activation {'softmax' if spec.channels > 1 else 'sigmoid for a logit'}"
    )


def _planes(spec: OutputSpec, raw: NDArray[Any], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """The raw output as (N, channels, height, width) float32."""
    axes = spec.axes
    channels = [i for i, axis in enumerate(axes) if axis == "channel"]
    if spec.rows:
        rows = np.moveaxis(raw, axes.index("batch"), 0).reshape(raw.shape[axes.index("batch")], -1)
        height, width = size or (1, 1)
        planes = rows.reshape(-1, height, width, rows.shape[1]).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(planes, dtype=np.float32)
    order = [axes.index("batch"), *channels, axes.index("height"), axes.index("width")]
    moved = raw.transpose(order)
    planes = moved.reshape(moved.shape[0], -1, *moved.shape[-2:])
    planes = np.ascontiguousarray(planes, dtype=np.float32)
    if size is None or planes.shape[-2:] == size:
        return planes
    smaller = size[0] < planes.shape[-2]
    method = "nearest" if spec.labels else "area" if smaller else "linear"
    return resize(planes, size=size, method=f"interpolation-{method}")


def _word_scores(planes: NDArray[np.float32], words: NDArray[np.float32]) -> NDArray[np.float32]:
    """A hundred times the cosines (N, word, height, width) of vectors (N, number, height, width) with those of words.

    0 for a vector of zeros.
    """
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    sizes = np.sqrt(np.einsum("nkhw,nkhw->nhw", planes, planes))[:, np.newaxis]
    products = np.einsum("ck,nkhw->nchw", unit, planes)
    return np.divide(LOGITS * products, sizes, out=np.zeros_like(products), where=sizes != 0)


def activate(spec: OutputSpec, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The planes (N, K, height, width) after the card's activation: softmax over K, sigmoid or none.

    For softmax a score of -inf has probability 0: graphs use it to exclude classes. Where a score is +inf or NaN, or
    all are -inf, all probabilities are NaN, hence nodata.
    """
    if spec.activation == "softmax":
        with np.errstate(invalid="ignore"):
            # Infinity minus infinity is NaN, as intended.
            shifted = planes - planes.max(axis=1, keepdims=True)
        np.exp(shifted, out=shifted)
        shifted /= shifted.sum(axis=1, keepdims=True)
        return shifted
    if spec.activation == "sigmoid":
        # tanh saturates where exp would overflow, and the result at 0 is exactly 0.5.
        return np.float32(0.5) * (np.tanh(np.float32(0.5) * planes) + np.float32(1))
    return planes


def layers_from_scores(spec: OutputSpec, planes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The layers of one output by name, (height, width) each in its stored type, from scores (K, height, width).

    Where any score of classes is not finite every layer is nodata (255). Class: the class of the highest score (ties:
    the first), or by `threshold`. Percent: whole percent, rounded half to even. Values: float32, NaN where infinite,
    outside `valid_range` nodata or clipped. Vectors: (height, width, number), as `encoded` says. `class` from class
    values: the value itself, nodata where it is none of the card's. Objects: 1 where their class has its least
    probability, else 0. Planes behind the scores are `spec.measures`.
    """
    if spec.layered:
        return {layer.name: _finite(planes[i]) for i, layer in enumerate(spec.layer_specs())}
    if spec.embedding is not None:
        stored = encoded(np.moveaxis(planes, 0, -1), spec.embedding.storage)
        return {layer.name: each for layer, each in zip(spec.layer_specs(), stored, strict=False) if each is not None}
    planes, measured = (planes[: -spec.n_measured], planes[-spec.n_measured :]) if spec.n_measured else (planes, None)
    if not spec.classes:
        return _values(spec, planes, measured)
    missing = np.asarray(~np.isfinite(planes).all(axis=0))
    is_label = spec.labels and len(planes) == 1
    layers: dict[str, NDArray[Any]] = {}
    for layer in spec.layer_specs():
        if layer.source.startswith("measure:") and measured is not None:
            layers[layer.name] = to_percent(measured[int(layer.source.removeprefix("measure:"))], missing)
        elif layer.kind == "id":
            layers[layer.name] = _object_marks(spec, planes, missing, is_label=is_label)
        elif layer.kind == "class":
            unsure = missing | (planes.max(axis=0) < np.float32(spec.least)) if spec.least else missing
            layers[layer.name] = _label_map(spec, planes[0]) if is_label else _class_map(spec, planes, unsure)
        else:
            layers[layer.name] = to_percent(_fraction(spec, layer.source, planes), missing)
    return layers


def _values(
    spec: OutputSpec, planes: NDArray[np.float32], measured: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    planes = _finite(planes)
    if spec.valid_range is not None:
        low, high = (np.float32(limit) for limit in spec.valid_range)
        if spec.outside == "clip":
            planes = np.clip(planes, low, high)
        else:
            planes = np.where((planes >= low) & (planes <= high), planes, np.float32(np.nan))
    stacked = planes if measured is None else np.concatenate([planes, measured])
    return {layer.name: stacked[i].astype(np.float32, copy=False) for i, layer in enumerate(spec.layer_specs())}


def _finite(planes: NDArray[Any]) -> NDArray[Any]:
    """The planes with NaN for infinity; bytes as they are."""
    if planes.dtype.kind != "f" or not np.isinf(planes).any():
        return planes
    return np.where(np.isinf(planes), planes.dtype.type(np.nan), planes)


def _label_map(spec: OutputSpec, labels: NDArray[np.float32]) -> NDArray[np.uint8]:
    known = np.isin(labels, np.array([cls.value for cls in spec.classes], dtype=np.float32))
    return np.where(known, labels, np.float32(NODATA_BYTE)).astype(np.uint8)


def _object_marks(
    spec: OutputSpec, planes: NDArray[np.float32], missing: NDArray[np.bool_], *, is_label: bool
) -> NDArray[np.int32]:
    """1 inside objects, 0 beside them, nodata where the classes are not known, int32."""
    assert spec.instances is not None, f"{spec.name} has a layer of objects"
    index = next(i for i, each in enumerate(spec.classes) if each.name == spec.instances.interior)
    if is_label:
        missing = _label_map(spec, planes[0]) == NODATA_BYTE
        inside = planes[0] == spec.classes[index].value
    else:
        inside = planes[index] >= np.float32(spec.instances.least_probability)
    return np.where(missing, np.int32(NODATA_ID), inside.astype(np.int32))


def _class_map(spec: OutputSpec, planes: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    table = np.array([cls.value for cls in spec.classes], dtype=np.uint8)
    classes = np.take(table, class_indices(spec, planes))
    classes[missing] = NODATA_BYTE
    return classes


def class_indices(spec: OutputSpec, planes: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
    """The index of the chosen class per pixel (height, width); ties: the first; undefined where a score is NaN."""
    if spec.threshold is not None:
        return (planes[1] >= np.float32(spec.threshold)).astype(np.uint8)
    # Plane by plane and without a branch: numpy's argmax over the first axis goes pixel by pixel, which takes four to
    # ten times as long.
    dtype = np.dtype(np.uint8 if len(planes) < 256 else np.uint16)
    best, indices = planes[0].copy(), np.zeros(planes.shape[1:], dtype=dtype)
    for number, plane in enumerate(planes[1:], start=1):
        np.maximum(indices, (plane > best).astype(dtype) * dtype.type(number), out=indices)
        np.maximum(best, plane, out=best)
    return indices


def _fraction(spec: OutputSpec, source: str, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The quantity of one percent layer, 0 to 1."""
    if source.startswith("probability:"):
        return planes[int(source.removeprefix("probability:"))]
    if source == "confidence":
        if spec.threshold is None:
            return np.asarray(planes.max(axis=0))
        return np.where(class_indices(spec, planes), planes[1], planes[0])
    if source == "margin":
        best = np.partition(planes, len(planes) - 2, axis=0)
        return best[-1] - best[-2]
    return entropy(planes, independent=spec.activation == "sigmoid" and spec.channels > 1)


def entropy(planes: NDArray[np.float32], *, independent: bool = False) -> NDArray[np.float32]:
    """Entropy of probabilities (K, height, width) as a share of its maximum, 0 to 1.

    `independent`: the classes do not exclude each other; the mean of each class's own binary entropy.
    """
    p = np.clip(planes, 0, 1).astype(np.float64)
    if independent:
        return ((_plogp(p) + _plogp(1 - p)).mean(axis=0) / np.log(2)).astype(np.float32)
    return (_plogp(p).sum(axis=0) / np.log(len(p))).astype(np.float32)


def _plogp(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return -p * np.log(np.where(p > 0, p, 1))


def to_percent(fraction: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Whole percent (0-100) as uint8, rounded half to even, 255 where missing."""
    percent = np.clip(np.rint(np.where(missing, 0, fraction) * np.float32(100)), 0, 100)
    percent[missing] = NODATA_BYTE
    return percent.astype(np.uint8)
