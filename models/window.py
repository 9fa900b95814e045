"""The window, step and trim a model gets when a job says nothing else, and why."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, lcm
from typing import TYPE_CHECKING, Literal

from models.card_tile import DEFAULT_STEP
from models.refusal import CardError

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.receptive import ReceptiveField

# Pixels cut from each side where the model sees without bound and the card names no trim.
UNBOUNDED_TRIM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowChoice:
    """What one model call sees, in pixels of the card's grid; `passes` is computed pixels per kept pixel."""

    window: int
    step: int
    trim: int
    merge: Literal["trim", "blend"]
    passes: float
    why: str


def choose_window(card: ModelCard, field: ReceptiveField, *, stride: int | None = None) -> WindowChoice:
    """The windows for `card` with the measured `field`; `stride` is the field's, or a multiple that other needs add.

    Raises CardError where a fixed window has no room for its trim.
    """
    stride = lcm(field.stride, stride or 1)
    merge = _merge(card, field)
    trim, why = _trim(card, field)
    trim = ceil(trim / stride) * stride
    if card.tile.window is None:
        step = ceil((card.tile.step or DEFAULT_STEP) / stride) * stride
        if merge == "blend":
            trim = max(trim, ceil(step / 2 / stride) * stride)
        return _choice(step + 2 * trim, step, trim, merge, f"free size: step {step} and the trim on both sides; {why}")
    window = card.tile.window
    if merge == "blend":
        trim = max(trim, ceil(window / 4 / stride) * stride)
    step = (window - 2 * trim) // stride * stride
    if step < 1:
        raise CardError(
            f"properties.tw:tile.window is {window}; the model needs {trim} pixels cut from each side, so nothing "
            "would be left: export it with free height and width, or with a larger window"
        )
    return _choice(window, step, trim, merge, f"the window is fixed to {window}; {why}")


def _merge(card: ModelCard, field: ReceptiveField) -> Literal["trim", "blend"]:
    if card.per_window:
        return "trim"
    if card.tile.merge != "auto":
        return card.tile.merge
    return "trim" if field.trim is not None else "blend"


def _trim(card: ModelCard, field: ReceptiveField) -> tuple[int, str]:
    if isinstance(card.tile.trim, int):
        return card.tile.trim, f"trim {card.tile.trim} as the card says"
    if card.per_window:
        return 0, "no trim: one answer stands for what its window saw"
    if field.trim is not None:
        return field.trim, f"trim {field.trim} as measured"
    return UNBOUNDED_TRIM, "the model sees without bound, so windows overlap and are blended"


def _choice(window: int, step: int, trim: int, merge: Literal["trim", "blend"], why: str) -> WindowChoice:
    return WindowChoice(window=window, step=step, trim=trim, merge=merge, passes=(window / step) ** 2, why=why)
