"""A card's model as a CPU runs it fastest: its graph for one size of window, with its joins split.

The numbers are the card's own model's but for the order of additions: rounding, in the last digits of float32. Whether
a product was made this way is part of its plan and of its key, and `fuse: no` in a job runs the graph as it came.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from tilewright.models.cache import find, keep
from tilewright.models.optimise.concat import fix_sizes, split_joins
from tilewright.models.run.providers import create_session, import_onnxruntime
from tilewright.models.run.smoke_run import check_inputs
from tilewright.models.spec.arrays import input_axes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard


VERSION: Final = 1
"""Raised when another graph would be made of the same model."""

LARGEST: Final = 256 * 1024**2
"""Bytes of a graph beyond which a second copy on disk costs more than it saves."""

CHECK_SIDE: Final = 64
"""Pixels of the window on which both graphs must agree, before rounding to the stride."""

TOLERANCE: Final = 1e-4
"""Largest difference of two answers that is rounding, as a share of the largest answer. Source: float32 sums of some
thousand terms lose four digits at worst."""

ODD: Final = 1e-3
"""Share of an answer that may differ more: classes where two scores are as good as equal."""


def tuned_card(card: ModelCard, *, window: int, stride: int, cache: Path, batch: int = 1) -> ModelCard:
    """The card with its graph, or those of its members, made for windows of `window` grid pixels, `batch` in a call.

    The card itself where nothing can be won, where the graph made cannot be tried or does not answer as its own does,
    and where no disk has room for it. Graphs are kept in the folder `cache`; digest and name stay those of the model it
    stands for.
    """
    if card.members:
        made = tuple(tuned_card(each, window=window, stride=stride, cache=cache, batch=batch) for each in card.members)
        return card if made == card.members else replace(card, members=made)
    if card.weights or card.pixelwise or card.model_path.stat().st_size > LARGEST:
        return card
    if any(spec.dates.steps is None for spec in card.inputs):
        # How many dates a window has is told by no card, and a tuned graph takes one number only.
        return card
    runtime = import_onnxruntime().__version__
    made_of = f"{VERSION} {runtime} {card.digest} {card.sha256} {window} {batch}"
    path = cache / f"tuned-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.onnx"
    try:
        path = find(path) or keep(path, _made(card, window, stride, batch))
    except OSError:
        # No disk has room: the same numbers but for rounding are worth more than a run that does not begin.
        return card
    if not path.stat().st_size:
        return card
    return replace(card, model_path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _made(card: ModelCard, window: int, stride: int, batch: int) -> bytes:
    """The bytes of the graph; none where nothing can be won, where it cannot be told or it does not agree."""
    try:
        return _tuned(card, window, stride, batch)
    except MemoryError:
        raise
    except Exception:
        # Graphs come from anywhere: what cannot be rewritten or tried out here may still run as it came.
        return b""


def _tuned(card: ModelCard, window: int, stride: int, batch: int) -> bytes:
    model = onnx.load(str(card.model_path))
    small = card.tile.window or -(-CHECK_SIDE // stride) * stride
    feeds = _feeds(card, model, side=small, batch=card.batch or 1)
    trial = _rewritten(model, feeds)
    if trial is None or not _agree(model, trial, feeds):
        return b""
    made = _rewritten(model, _feeds(card, model, side=window, batch=batch))
    if made is None:
        return b""
    content: bytes = made.SerializeToString(deterministic=True)
    # Sizes that contradict what is written in the graph are refused here, not in a run.
    create_session(content, provider="cpu", threads=1)
    return content


def _feeds(card: ModelCard, model: onnx.ModelProto, *, side: int, batch: int) -> dict[str, NDArray[Any]]:
    """Noise for `batch` windows; what has no batch first, or is fixed to what one window has, is the same for all."""
    fixed = {value.name: _first_size(value) for value in model.graph.input}
    axes = {spec.name: spec.axes for spec in card.inputs}
    axes |= {extra.name: input_axes(extra.dim_order) or ("",) for extra in card.extras}
    one = check_inputs(card, side=side)
    alone = {name for name, feed in one.items() if axes[name][0] != "batch" or len(feed) == fixed[name]}
    return {name: feed if name in alone else np.concatenate([feed] * batch) for name, feed in one.items()}


def _rewritten(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> onnx.ModelProto | None:
    """The graph for inputs as large as `feeds`."""
    return split_joins(fix_sizes(model, {name: feed.shape for name, feed in feeds.items()}))


def _first_size(value: onnx.ValueInfoProto) -> int:
    """The first size of an input, 0 where it is free."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def _agree(model: onnx.ModelProto, other: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> bool:
    """Whether two graphs give the same answers to `feeds`, but for rounding."""
    first, second = (_answers(each, feeds) for each in (model, other))
    return all(_near(one, two) for one, two in zip(first, second, strict=True))


def _answers(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session, _, _ = create_session(model.SerializeToString(), provider="cpu", threads=1)
    answers: list[NDArray[Any]] = session.run(None, dict(feeds))
    return answers


def _near(one: NDArray[Any], two: NDArray[Any]) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    first, second = one.astype(np.float64), two.astype(np.float64)
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)):
        return False
    limit = TOLERANCE * np.abs(first, where=finite, out=np.zeros_like(first)).max(initial=0.0)
    apart = np.abs(np.subtract(first, second, where=finite, out=np.zeros_like(first))) > limit
    return float(apart.mean()) <= ODD if apart.size else True
