"""Chooses a model's window, step and trim, with the reason, from the card, its receptive field and its memory."""

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
    from tilewright.models.measure.reach.field import ReceptiveField
    from tilewright.models.spec.outputs import OutputSpec


UNBOUNDED_TRIM: Final = 64
"""Pixels cut from each side if the receptive field is unbounded and the card has no trim."""

MOST_PASSES: Final = 1.3
"""Largest number of pixels computed per pixel kept with which the default step is good enough."""

LARGER_STEPS: Final = (768, 1024, 1536, 2048)
"""Steps tried above the default if a long reach makes it costly. Larger windows would waste work on areas smaller than
they are, and the choice must not depend on the area."""

WINDOW_BYTES: Final = 1.5e9
"""Bytes that one call of the model may take. A constant, not the machine's memory: the step is part of a product's key,
and must not depend on the machine that plans the product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowChoice:
    """The window of one model call, in pixels of the card's grid; windows start at multiples of `stride`."""

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

    `stride` is a further stride that windows must have; `step` is the step that a job requests, used unchanged.
    `per_pixel` measures bytes per pixel of a window, None if that fails. It is called only if the reach is so long that
    larger steps are weighed; without it the default step is used.
    Raises CardError if a fixed window has no room for its trim.
    """
    stride = lcm(window_stride(card, field), stride or 1)
    merge = _merge(card, field)
    trim, why = _trim(card, field)
    trim = ceil(max(trim, *card.crop) / stride) * stride
    if window := _only_window(card, field):
        return _fixed(card, window, trim=trim, stride=stride, merge=merge, why=why)
    step, step_reason = _free_step(card, trim=trim, stride=stride, merge=merge, step=step, per_pixel=per_pixel)
    if merge == "blend":
        trim = max(trim, ceil(step / 2 / stride) * stride)
    why = f"free size: {step_reason}; {why}"
    _refuse_small(card, step + 2 * trim)
    return WindowChoice(window=step + 2 * trim, step=step, trim=trim, stride=stride, merge=merge, why=why)


def _refuse_small(card: ModelCard, window: int) -> None:
    """Refuse windows that hold none of those that a loop averages, or another number of its steps."""
    for average in (loop.average for loop in card.loops if loop.average):
        if window < average.window or window % average.step:
            raise CardError(
                f"properties.tw:sampler.average has windows of {average.window} px, {average.step} px apart, and those "
                f"of tw:tile have {window} px (step and twice the trim): take a multiple of {average.step} px that "
                "holds one of them"
            )


def _only_window(card: ModelCard, field: ReceptiveField) -> int | None:
    """The only size of a card's windows: the card's own, or the one built into its graph; None if it is free."""
    if card.tile.window and field.window and card.tile.window != field.window:
        raise CardError(
            f"properties.tw:tile.window is {card.tile.window}; the graph has a size built in and runs on windows of "
            f"{field.window} alone: write {field.window}, or export it with free height and width"
        )
    return card.tile.window or field.window


def window_stride(card: ModelCard, field: ReceptiveField) -> int:
    """The stride at which windows start: a multiple of the model's, with whole pixels of every input and output."""
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
        given = f"properties.tw:tile.window is {window}" if card.tile.window else f"the graph runs on {window} px alone"
        raise CardError(
            f"{given}; the model needs {trim} pixels cut from each side, so nothing "
            "would be left: export it with free height and width, or with a larger window"
        )
    why = f"the window is fixed to {window}; {why}"
    _refuse_small(card, window)
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
    """The step, and the reason as text."""
    if step is not None:
        return step, f"step {step} as asked"
    if card.tile.step is not None:
        step = _rounded_up(card.tile.step, stride)
        return step, f"step {step} as the card says"
    default = _rounded_up(DEFAULT_STEP, stride)
    if merge == "blend" or _passes(default, trim) <= MOST_PASSES or per_pixel is None:
        return default, f"step {default} and the trim on both sides"
    n_bytes = per_pixel()
    if not n_bytes:
        return default, f"step {default}, since the memory of a larger window could not be measured"
    # Two digits, so that measurement noise seldom changes the choice.
    return _step_within_memory(default, trim=trim, stride=stride, n_bytes=float(f"{n_bytes:.2g}"))


def _step_within_memory(default: int, *, trim: int, stride: int, n_bytes: float) -> tuple[int, str]:
    """The smallest step of at most MOST_PASSES whose window fits, else the largest that fits; and the reason."""
    steps = [default, *sorted({_rounded_up(each, stride) for each in LARGER_STEPS if each > default})]
    fitting = [each for each in steps if (each + 2 * trim) ** 2 * n_bytes <= WINDOW_BYTES] or [default]
    step = next((each for each in fitting if _passes(each, trim) <= MOST_PASSES), fitting[-1])
    size = (step + 2 * trim) ** 2 * n_bytes / 1e6
    words = f"step {step}: {_passes(step, trim):.2f} passes and {size:,.0f} MB a window"
    if step == default:
        return step, f"{words}; a larger one would take more than {WINDOW_BYTES / 1e6:,.0f} MB"
    return (
        step,
        f"{words} at {n_bytes:,.0f} measured bytes per pixel, against {_passes(default, trim):.2f} at {default}",
    )


def _merge(card: ModelCard, field: ReceptiveField) -> Literal["trim", "blend"]:
    if card.per_window or card.only_boxes:
        return "trim"
    if card.tile.merge != "auto":
        return card.tile.merge
    return "trim" if field.trim is not None else "blend"


def _trim(card: ModelCard, field: ReceptiveField) -> tuple[int, str]:
    if isinstance(card.tile.trim, int):
        return card.tile.trim, f"trim {card.tile.trim} as the card says"
    if card.per_window or card.answers:
        return 0, "no trim: one answer stands for what its window saw"
    if card.only_boxes and card.tile.window:
        trim = min(UNBOUNDED_TRIM, card.tile.window // 4)
        return trim, f"trim {trim}, so that things at a window's edge are found by the next one"
    if field.trim is not None:
        return field.trim, f"trim {field.trim} as the model needs"
    window, room = card.tile.window or field.window, UNBOUNDED_TRIM
    if window and window <= 2 * UNBOUNDED_TRIM:
        room = window // 4
    elif card.tile.step is not None:
        room = card.tile.step // 4
    return min(UNBOUNDED_TRIM, room), "the model sees without bound, so windows overlap"


def _rounded_up(step: int, stride: int) -> int:
    return ceil(step / stride) * stride


def _passes(step: int, trim: int) -> float:
    return ((step + 2 * trim) / step) ** 2


def answers_per_window(output: OutputSpec, card: ModelCard) -> bool:
    """True if an output is one vector for a whole window."""
    return output.rows and not card.pixelwise


def output_scale(output: OutputSpec, card: ModelCard, *, step: int) -> Fraction:
    """Output pixels per model-grid pixel along a side; 1 / ``step`` for an output that is one vector for a window."""
    if answers_per_window(output, card):
        return Fraction(1, step)
    return Fraction(output.scale).limit_denominator(256)


def windows_per_call(card: ModelCard, *, batch: int) -> int:
    """The number of windows in one call of a model: ``batch``, or 1 if the graph allows only one.

    That is so if windows do not lie along the first axis of every array, if a graph that takes single pixels fixes
    their number, and for boxes unless the graph fixes it: whether a detector's windows see each other is not measured.
    """
    if card.detects and not card.batch:
        return 1
    axes = [spec.axes for spec in card.inputs]
    axes += [*(output.axes for output in card.outputs), *(output.axes for output in card.box_outputs)]
    first = all(names[0] == "batch" for names in axes)
    return batch if first and not (card.pixelwise and card.batch) else 1
