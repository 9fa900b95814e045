"""Reads the loop of a card, `tw:sampler`, and holds it against the arrays of its graph."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from tilewright.models.spec.arrays import LARGEST_SIDE
from tilewright.models.spec.sampler import FIELD, Average, SamplerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.inputs import ExtraInput, InputSpec
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.spec.sampler import Kind, Prediction


KEYS: Final = ("kind", "steps", "prediction", "alphas", "sigmas", "times", "seed", "average")

MOST_STEPS: Final = 1000
"""Steps of a loop at most: those of the schedules that denoisers are trained on."""

LARGEST_NOISE: Final = 1e6
"""Largest sigma; published schedules begin at 1 (flows) to some hundreds."""


def read_sampler(
    properties: CardField,
    inputs: Sequence[InputSpec],
    extras: Sequence[ExtraInput],
    outputs: Sequence[OutputSpec],
) -> tuple[SamplerSpec | None, tuple[ExtraInput, ...]]:
    """The loop of a card, None if it has none, and its extra inputs, with what they hold of the loop.

    Raises CardError naming the field.
    """
    ports = {kind: [each for each in extras if each.kind == kind] for kind in ("state", "time")}
    if not properties.has(FIELD):
        if lonely := next((each for found in ports.values() for each in found), None):
            raise properties.refuse(
                FIELD,
                f"input {lonely.name!r} is the {lonely.kind} of a loop: say the loop beside tw:tile, or another kind",
            )
        return None, tuple(extras)
    field = properties.child(FIELD)
    field.only(KEYS)
    for kind, found in ports.items():
        if len(found) != 1:
            raise properties.refuse(
                "mlm:input", f"{FIELD} needs one input with tw:extra {{'kind': '{kind}'}}; there are {len(found)}"
            )
    (state,), (time,) = ports["state"], ports["time"]
    output = _predicted(properties, outputs, state)
    _refuse_other_grids(properties, inputs)
    kind = cast("Kind", field.choice("kind", ("ddim", "euler", "heun")))
    prediction = cast("Prediction", field.choice("prediction", ("epsilon", "velocity", "sample")))
    levels = _levels(field, kind, prediction)
    spec = SamplerSpec(
        kind=kind,
        prediction=prediction,
        levels=levels,
        times=_times(field, kind, levels, whole=np.dtype(time.data_type).kind in "iu", time=time),
        state=state.name,
        time=time.name,
        output=output.name,
        channels=output.channels,
        scale=output.scale,
        seed=field.integer("seed", 0, minimum=0),
        average=_average(field, inputs, output),
    )
    shape = tuple(output.channels if axis == 1 else size for axis, size in enumerate(state.shape))
    filled = {
        state.name: replace(state, seed=spec.seed, scale=output.scale, shape=shape),
        time.name: replace(time, values=spec.times, shift=0.0, gain=1.0),
    }
    return spec, tuple(filled.get(each.name, each) for each in extras)


def _predicted(properties: CardField, outputs: Sequence[OutputSpec], state: ExtraInput) -> OutputSpec:
    """The only output, the prediction. Raises CardError unless it has the shape of the state."""
    if len(outputs) != 1 or len(properties.children("mlm:output")) != 1:
        raise properties.refuse("mlm:output", f"{FIELD} takes one output, the prediction, of the shape of the state")
    (output,), entry = outputs, properties.children("mlm:output")[0]
    if output.classes:
        raise entry.refuse(
            "classification:classes", f"{FIELD} gives values: name each channel of the state in tw:layers"
        )
    if output.embedding:
        raise entry.refuse("tw:embedding", f"{FIELD} gives values: name each channel in tw:layers")
    if output.axes != ("batch", "channel", "height", "width"):
        raise entry.child("result").refuse("dim_order", "a prediction has batch, channel, height, width, in this order")
    if not output.data_type.startswith("float"):
        raise entry.child("result").refuse("data_type", "a prediction is float")
    if output.crop and any(output.crop):
        raise entry.refuse("tw:crop", f"{FIELD} needs a prediction for every pixel of the state: pad inside the graph")
    for place, name in enumerate(("batch", "channel", "height", "width")):
        given, asked = state.shape[place], output.channels if name == "channel" else output.shape[place]
        if given != asked and not (name == "channel" and given < 1):
            raise entry.child("result").refuse(
                "shape", f"its {name} must be that of the state {state.name!r}, which is {given}"
            )
    return output


def _refuse_other_grids(properties: CardField, inputs: Sequence[InputSpec]) -> None:
    """Refuse inputs that have no pixels beside the state's."""
    for spec in inputs:
        if spec.pixelwise or spec.resize:
            what = "is resized" if spec.resize else "has no height and width"
            raise properties.refuse(
                "mlm:input", f"{spec.name!r} {what}, and {FIELD} needs its pixels beside those of the state"
            )


def _levels(field: CardField, kind: Kind, prediction: Prediction) -> tuple[float, ...]:
    """The n + 1 alpha-bars or sigmas, from noise to the clean image."""
    steps = field.integer("steps")
    if steps > MOST_STEPS:
        raise field.refuse("steps", f"write at most {MOST_STEPS}")
    key, other = ("alphas", "sigmas") if kind == "ddim" else ("sigmas", "alphas")
    if field.has(other):
        raise field.refuse(other, f"{kind} goes by {key}: write these")
    levels = field.numbers(key)
    if len(levels) != steps + 1:
        raise field.refuse(key, f"write steps + 1 = {steps + 1} numbers, from noise to the clean image")
    ordered = all(a < b if kind == "ddim" else a > b for a, b in pairwise(levels))
    if kind == "ddim":
        if not (levels[0] > 0 and levels[-1] <= 1 and ordered):
            raise field.refuse(key, "write alpha-bars that rise, above 0 and up to 1 (no noise left)")
    elif not (levels[0] <= LARGEST_NOISE and levels[-1] >= 0 and ordered):
        raise field.refuse(key, f"write sigmas that fall, from at most {LARGEST_NOISE:g} to 0 or above")
    return levels


def _times(
    field: CardField, kind: Kind, levels: tuple[float, ...], *, whole: bool, time: ExtraInput
) -> tuple[float, ...]:
    """The time input at each level; at the last only where a correction looks there."""
    if kind == "ddim" or field.has("times"):
        times = field.numbers("times")
        needed = len(levels) - 1 if kind != "heun" or levels[-1] == 0 else len(levels)
        if len(times) != needed:
            of_last = ", and one for the last sigma, at which heun corrects" if needed == len(levels) else ""
            raise field.refuse("times", f"write {needed} numbers, one for each step{of_last}")
    else:
        times = levels
    scaled = tuple((each - time.shift) * time.gain for each in times)
    if whole and any(each != round(each) or abs(each) > 2**53 for each in scaled):
        raise field.refuse("times", f"write whole numbers: the graph's input {time.name!r} is {time.data_type}")
    return scaled


def _average(field: CardField, inputs: Sequence[InputSpec], output: OutputSpec) -> Average | None:
    """The windows that are averaged. Raises CardError unless they have whole pixels of everything."""
    if not field.has("average"):
        return None
    average = field.child("average")
    average.only(("window", "step"))
    window, step = average.integer("window"), average.integer("step")
    if window > LARGEST_SIDE:
        raise average.refuse("window", f"write at most {LARGEST_SIDE}")
    if step >= window or window % step:
        raise average.refuse("step", f"write a part of window that divides it, so that windows overlap ({window // 2})")
    finest = min((spec.resolution for spec in inputs if spec.resolution), default=None)
    ratios = {
        spec.name: Fraction(finest / spec.resolution).limit_denominator(LARGEST_SIDE)
        for spec in inputs
        if finest and spec.resolution
    } | {output.name: Fraction(output.scale).limit_denominator(256)}
    for name, ratio in ratios.items():
        if (step * ratio).denominator > 1:
            raise average.refuse(
                "step", f"{name!r} has {float(ratio):g} px for one of the grid: write a multiple of {ratio.denominator}"
            )
    return Average(window=window, step=step)
