"""Host memory a card's model takes per pixel of a window: measured once in a process of its own, and kept."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tilewright.models.cache import find, keep
from tilewright.models.measure.memory_probe import bytes_per_pixel
from tilewright.models.run.smoke_run import check_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard


VERSION: Final = 1
"""Raised when it is measured in another way."""

SMALL_SIDE, LARGE_SIDE = 64, 512
"""Pixels of the two windows that are compared, before rounding to the stride."""


def card_memory(card: ModelCard, *, stride: int, cache: Path | None = None, window: int | None = None) -> float | None:
    """Bytes the CPU session needs for each further pixel of a window of the card's grid, inputs and outputs included.

    Of a card that stands for several runs, the most any of them needs: they run one after another. None where it could
    not be measured. `cache` is the folder where it is kept; a failure is not. `window`: the only size that the graph
    takes, where that is not the card's own doing (`models/optimise/tune.py`).
    """
    if card.members:
        found = [card_memory(member, stride=stride, cache=cache, window=window) for member in card.members]
        known = [each for each in found if each is not None]
        return max(known) if len(known) == len(found) else None
    made_of = hashlib.sha256(f"{VERSION} {card.digest} {card.sha256} {stride} {window}".encode()).hexdigest()
    path = cache / f"{made_of[:32]}.json" if cache else None
    if path is not None and (kept := _kept(path)) is not None:
        return kept
    measured = _measured(card, stride, window or card.tile.window)
    if path is not None and measured is not None:
        with suppress(OSError):
            keep(path, json.dumps({"model": card.name, "bytes_per_pixel": measured}).encode())
    return measured


def _kept(path: Path) -> float | None:
    try:
        return float(json.loads((find(path) or path).read_text())["bytes_per_pixel"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measured(card: ModelCard, stride: int, window: int | None) -> float | None:
    side = window or -(-SMALL_SIDE // stride) * stride
    if window is not None or card.pixelwise:
        return bytes_per_pixel(card.model_path, [{}, check_inputs(card, side=side)], areas=[0, side**2])
    sides = [side, -(-LARGE_SIDE // stride) * stride]
    feeds = [check_inputs(card, side=each) for each in sides]
    return bytes_per_pixel(card.model_path, feeds, areas=[each**2 for each in sides])
