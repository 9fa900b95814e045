"""Tunes a card's graph for the CPU: fixed to one window size, with its concatenations split.

Results equal those of the original graph except for the order of additions, which changes the last digits of float32.
Whether a product was made with a tuned graph is part of its plan and of its key; `fuse: no` in a job runs the original.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from tilewright.models.cache import find_cached, write_cached
from tilewright.models.optimise.concat import fix_sizes, split_concats
from tilewright.models.run.providers import create_session, import_onnxruntime
from tilewright.models.run.smoke_run import synthetic_inputs
from tilewright.models.spec.arrays import input_axes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard


VERSION: Final = 1
"""Increased when the same model would yield another graph."""

LARGEST_TUNED: Final = 256 * 1024**2
"""Bytes of a graph above which a second copy on disk costs more than it saves."""

CHECK_SIDE: Final = 64
"""Side in pixels of the window on which both graphs must agree, before rounding up to the stride."""

TOLERANCE: Final = 1e-4
"""Largest difference of two results that counts as rounding, as a share of the largest result. Source: float32 sums of
some thousand terms lose four digits at worst."""

OUTLIER_SHARE: Final = 1e-3
"""Share of values that may differ by more: classes where two scores are almost equal."""


NO_GAIN: Final = b"no graph is faster here, or none answers as the card's own does"
"""What is kept in place of a graph."""

_digests: dict[str, str] = {}
"""The sha256 of the graphs that this process has rewritten, by the keys of their files."""


def tuned_card(card: ModelCard, *, window: int, stride: int, cache: Path, batch: int = 1) -> ModelCard:
    """The card with its graph, or those of its members, tuned for `batch` windows of `window` grid pixels per call.

    The card itself if nothing is gained, if the tuned graph fails or its results differ, or if no disk has room for it.
    Graphs are kept in the folder `cache`; digest and name stay those of the original card.
    """
    if card.members:
        tuned = tuple(tuned_card(each, window=window, stride=stride, cache=cache, batch=batch) for each in card.members)
        return card if tuned == card.members else replace(card, members=tuned)
    if card.weights or card.pixelwise or card.model_path.stat().st_size > LARGEST_TUNED:
        return card
    if any(spec.dates.steps is None for spec in card.inputs):
        # The card leaves the number of steps free, and a tuned graph takes only one.
        return card
    runtime = import_onnxruntime().__version__
    cache_key = f"{VERSION} {runtime} {card.digest} {card.sha256} {window} {batch}"
    path = cache / f"tuned-{hashlib.sha256(cache_key.encode()).hexdigest()[:32]}.onnx"
    try:
        kept = find_cached(path)
        content = kept.read_bytes() if kept else b""
        if kept is None or not (content == NO_GAIN or _is_whole(content, cache_key, card, window, batch)):
            content = _try_tune(card, window, stride, batch)
            kept = write_cached(path, content or NO_GAIN)
            _digests[cache_key] = hashlib.sha256(content).hexdigest()
    except OSError:
        # No disk has room: running the original graph is better than not running at all.
        return card
    if content in {b"", NO_GAIN}:
        return card
    return replace(card, model_path=kept, sha256=_digests[cache_key])


def _is_whole(content: bytes, cache_key: str, card: ModelCard, window: int, batch: int) -> bool:
    """True if a kept graph is the one that the card's own is rewritten to, which each process does once to know.

    Whoever may write the cache could else decide pixels, and a disk that loses a bit.
    """
    if not content:
        return False
    if cache_key not in _digests:
        try:
            _digests[cache_key] = hashlib.sha256(_rewritten(card, window, batch)).hexdigest()
        except MemoryError:
            raise
        except Exception:
            # A graph that cannot be rewritten has no other one that was kept.
            return False
    return hashlib.sha256(content).hexdigest() == _digests[cache_key]


def _rewritten(card: ModelCard, window: int, batch: int) -> bytes:
    """The bytes of the graph fixed to its windows, with its concatenations split; empty if there are none to split."""
    model = onnx.load(str(card.model_path))
    tuned = _split(model, _feeds(card, model, side=window, batch=batch))
    return b"" if tuned is None else bytes(tuned.SerializeToString(deterministic=True))


def _try_tune(card: ModelCard, window: int, stride: int, batch: int) -> bytes:
    """The bytes of the tuned graph; empty if nothing is gained, tuning fails or the results differ."""
    try:
        return _tune(card, window, stride, batch)
    except MemoryError:
        raise
    except Exception:
        # A graph from an unknown exporter that cannot be rewritten or tried here may still run unchanged.
        return b""


def _tune(card: ModelCard, window: int, stride: int, batch: int) -> bytes:
    model = onnx.load(str(card.model_path))
    small = card.tile.window or -(-CHECK_SIDE // stride) * stride
    feeds = _feeds(card, model, side=small, batch=card.batch or 1)
    candidate = _split(model, feeds)
    if candidate is None or not _agree(model, candidate, feeds):
        return b""
    content = _rewritten(card, window, batch)
    if not content:
        return b""
    # Sizes that contradict constants in the graph are refused here, not in a run.
    create_session(content, provider="cpu", threads=1)
    return content


def _feeds(card: ModelCard, model: onnx.ModelProto, *, side: int, batch: int) -> dict[str, NDArray[Any]]:
    """Noise for `batch` windows; an input without a leading batch axis, or with a fixed one, is not repeated."""
    fixed = {value.name: _first_size(value) for value in model.graph.input}
    axes = {spec.name: spec.axes for spec in card.inputs}
    axes |= {extra.name: input_axes(extra.dim_order) or ("",) for extra in card.extras}
    single = synthetic_inputs(card, side=side)
    unbatched = {name for name, feed in single.items() if axes[name][0] != "batch" or len(feed) == fixed[name]}
    return {name: feed if name in unbatched else np.concatenate([feed] * batch) for name, feed in single.items()}


def _split(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> onnx.ModelProto | None:
    """The graph fixed to the sizes of `feeds`, with its concatenations split; None if there are none to split."""
    return split_concats(fix_sizes(model, {name: feed.shape for name, feed in feeds.items()}))


def _first_size(value: onnx.ValueInfoProto) -> int:
    """The first size of an input, 0 where it is free."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def _agree(model: onnx.ModelProto, other: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> bool:
    """Whether two graphs give the same results for `feeds`, except for rounding."""
    first, second = (_answers(each, feeds) for each in (model, other))
    return all(_close(one, two) for one, two in zip(first, second, strict=True))


def _answers(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session, _, _ = create_session(model.SerializeToString(), provider="cpu", threads=1)
    answers: list[NDArray[Any]] = session.run(None, dict(feeds))
    return answers


def _close(one: NDArray[Any], two: NDArray[Any]) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    first, second = one.astype(np.float64), two.astype(np.float64)
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)):
        return False
    limit = TOLERANCE * np.abs(first, where=finite, out=np.zeros_like(first)).max(initial=0.0)
    outliers = np.abs(np.subtract(first, second, where=finite, out=np.zeros_like(first))) > limit
    return float(outliers.mean()) <= OUTLIER_SHARE if outliers.size else True
