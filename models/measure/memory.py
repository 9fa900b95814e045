"""Host memory of a card's model per pixel of a window: measured once in a separate process, then cached."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tilewright.models.cache import read_kept, write_kept
from tilewright.models.measure.memory_probe import bytes_per_pixel
from tilewright.models.run.smoke_run import synthetic_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard


VERSION: Final = 1
"""Increased when the measurement changes."""

LOOP_ARRAYS: Final = 8
"""States of a loop in memory: the noise, this one and the next one, two slopes, an answer, its copy, and a product."""

SMALL_SIDE, LARGE_SIDE = 64, 512
"""Sides in pixels of the two windows that are compared, before rounding up to the stride."""


def card_memory(
    card: ModelCard, *, stride: int, cache: Path | None = None, window: int | None = None, known_only: bool = False
) -> float | None:
    """Bytes the CPU session needs per additional pixel of a window of the card's grid, inputs and outputs included.

    For a card with members the largest of their values, because they run one after another; of a loop that of one
    evaluation. None if it could not be measured. `cache` is the folder in which the value is kept; a failure is not
    kept. `window` is the only size that the graph takes, if the card itself does not fix it
    (`models/optimise/tune.py`). `known_only`: None where the value is not in the cache.
    """
    if card.members:
        found = [
            card_memory(member, stride=stride, cache=cache, window=window, known_only=known_only)
            for member in card.members
        ]
        known = [each for each in found if each is not None]
        return max(known) if len(known) == len(found) else None
    if card.sampler:
        return card_memory(card.one_call, stride=stride, cache=cache, window=window, known_only=known_only)
    cache_key = hashlib.sha256(f"{VERSION} {card.digest} {card.sha256} {stride} {window}".encode()).hexdigest()
    path = cache / f"{cache_key[:32]}.json" if cache else None
    if path is not None and (cached := _read_cached(path)) is not None:
        return cached
    if known_only:
        return None
    measured = _measure(card, stride, window or card.tile.window)
    if path is not None and measured is not None:
        with suppress(OSError):
            write_kept(path, {"model": card.name, "bytes_per_pixel": measured})
    return measured


def loop_memory(card: ModelCard) -> float:
    """Bytes per pixel of a window of the card's grid for the states of its loop; 0 without one."""
    return max((LOOP_ARRAYS * 4 * loop.channels * loop.scale**2 for loop in card.loops), default=0.0)


def window_memory(
    card: ModelCard, *, stride: int, cache: Path | None = None, window: int | None = None
) -> float | None:
    """Bytes that grow with each pixel of a window: where a loop averages windows of one size, only its states do."""
    if any(loop.average for loop in card.loops):
        return loop_memory(card)
    return card_memory(card, stride=stride, cache=cache, window=window)


def called_pixels(card: ModelCard, *, window: int) -> int:
    """Pixels that one call of the graph sees for a window of so many pixels a side."""
    averages = [loop.average.window for loop in card.loops if loop.average]
    return max(averages) ** 2 if averages and len(averages) == len(card.loops) else window**2


def _read_cached(path: Path) -> float | None:
    try:
        return float(read_kept(path)["bytes_per_pixel"])
    except (ValueError, KeyError, TypeError):
        return None


def _measure(card: ModelCard, stride: int, window: int | None) -> float | None:
    side = window or -(-SMALL_SIDE // stride) * stride
    if window is not None or card.pixelwise:
        return bytes_per_pixel(card.model_path, [{}, synthetic_inputs(card, side=side)], areas=[0, side**2])
    sides = [side, -(-LARGE_SIDE // stride) * stride]
    feeds = [synthetic_inputs(card, side=each) for each in sides]
    return bytes_per_pixel(card.model_path, feeds, areas=[each**2 for each in sides])
