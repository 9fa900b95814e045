"""The window, step and trim a model gets, and why: decided here alone, from the card, its reach and its memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm
from typing import TYPE_CHECKING, Final, Literal

from tilewright.models.card.tile import DEFAULT_STEP
from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.receptive import ReceptiveField


UNBOUNDED_TRIM: Final = 64
"""Pixels cut from each side where the model sees without bound and the card names no trim."""

MOST_PASSES: Final = 1.3
"""Pixels computed per pixel kept up to which the default step is good enough."""

LARGER_STEPS: Final = (768, 1024, 1536, 2048)
"""What is tried beyond the default step where a long reach makes it costly; still larger windows would be wasted on
areas smaller than they are, of which the choice must not know."""

WINDOW_BYTES: Final = 1.5e9
"""What one call of the model may take for its window. A constant, not the machine's memory: a step is part of a
product's key, and must not depend on where the product is planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowChoice:
    """What one model call sees, in pixels of the card's grid; windows start at multiples of `stride`."""

    window: int
    step: int
    trim: int
    stride: int
    merge: Literal["trim", "blend"]
    why: str

    @property
    def passes(self) -> float:
        """Pixels computed per pixel kept."""
        return (self.window / self.step) ** 2


def choose_window(
    card: ModelCard,
    field: ReceptiveField,
    *,
    stride: int | None = None,
    step: int | None = None,
    per_pixel: Callable[[], float | None] | None = None,
) -> WindowChoice:
    """The windows for `card` with the measured `field`.

    `stride` is what other needs add to the card's own; `step` a job's wish, taken as it is. `per_pixel` measures bytes
    per pixel of a window, None where that fails: it is called only where the reach is so long that larger steps are
    weighed; without it the default step stands.
    Raises CardError where a fixed window has no room for its trim.
    """
    stride = lcm(total_stride(card, field), stride or 1)
    merge = _merge(card, field)
    trim, why = _trim(card, field)
    trim = ceil(trim / stride) * stride
    if card.tile.window is not None:
        return _fixed(card, card.tile.window, trim=trim, stride=stride, merge=merge, why=why)
    step, chosen = _free_step(card, trim=trim, stride=stride, merge=merge, step=step, per_pixel=per_pixel)
    if merge == "blend":
        trim = max(trim, ceil(step / 2 / stride) * stride)
    why = f"free size: {chosen}; {why}"
    return WindowChoice(window=step + 2 * trim, step=step, trim=trim, stride=stride, merge=merge, why=why)


def total_stride(card: ModelCard, field: ReceptiveField) -> int:
    """Pixels of which windows must start at a multiple: the model's stride, whole pixels of every input and output."""
    ratios = [Fraction(card.ratio(spec)).limit_denominator(64).numerator for spec in card.inputs]
    scales = [Fraction(output.scale).limit_denominator(256).denominator for output in card.outputs if not output.rows]
    return lcm(field.stride, *ratios, *scales)


def _fixed(
    card: ModelCard, window: int, *, trim: int, stride: int, merge: Literal["trim", "blend"], why: str
) -> WindowChoice:
    if merge == "blend":
        trim = max(trim, ceil(window / 4 / stride) * stride)
    room = window - 2 * trim
    step = min(card.tile.step or room, room) // stride * stride
    if step < 1:
        raise CardError(
            f"properties.tw:tile.window is {window}; the model needs {trim} pixels cut from each side, so nothing "
            "would be left: export it with free height and width, or with a larger window"
        )
    why = f"the window is fixed to {window}; {why}"
    return WindowChoice(window=window, step=step, trim=trim, stride=stride, merge=merge, why=why)


def _free_step(
    card: ModelCard,
    *,
    trim: int,
    stride: int,
    merge: Literal["trim", "blend"],
    step: int | None,
    per_pixel: Callable[[], float | None] | None,
) -> tuple[int, str]:
    """The step, and the words that say why."""
    if step is not None:
        return step, f"step {step} as asked"
    if card.tile.step is not None:
        step = _rounded(card.tile.step, stride)
        return step, f"step {step} as the card says"
    usual = _rounded(DEFAULT_STEP, stride)
    if merge == "blend" or _passes(usual, trim) <= MOST_PASSES or per_pixel is None:
        return usual, f"step {usual} and the trim on both sides"
    n_bytes = per_pixel()
    if not n_bytes:
        return usual, f"step {usual}, since the memory of a larger window could not be measured"
    # Two digits, so that the noise of a measurement seldom moves the choice.
    return _weighed(usual, trim=trim, stride=stride, n_bytes=float(f"{n_bytes:.2g}"))


def _weighed(usual: int, *, trim: int, stride: int, n_bytes: float) -> tuple[int, str]:
    """The smallest step of few passes whose window fits, else the largest that fits."""
    steps = [usual, *sorted({_rounded(each, stride) for each in LARGER_STEPS if each > usual})]
    fitting = [each for each in steps if (each + 2 * trim) ** 2 * n_bytes <= WINDOW_BYTES] or [usual]
    step = next((each for each in fitting if _passes(each, trim) <= MOST_PASSES), fitting[-1])
    size = (step + 2 * trim) ** 2 * n_bytes / 1e6
    said = f"step {step}: {_passes(step, trim):.2f} passes and {size:,.0f} MB a window"
    if step == usual:
        return step, f"{said}; a larger one would take more than {WINDOW_BYTES / 1e6:,.0f} MB"
    return step, f"{said} at {n_bytes:,.0f} measured bytes per pixel, against {_passes(usual, trim):.2f} at {usual}"


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
    if card.tile.step is not None:
        return min(UNBOUNDED_TRIM, card.tile.step // 4), "the model sees without bound, so windows overlap"
    return UNBOUNDED_TRIM, "the model sees without bound, so windows overlap"


def _rounded(step: int, stride: int) -> int:
    return ceil(step / stride) * stride


def _passes(step: int, trim: int) -> float:
    return ((step + 2 * trim) / step) ** 2
