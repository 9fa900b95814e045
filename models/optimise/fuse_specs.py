"""Which parts of a card can move into its graph, and what is left outside: truth-tables over inputs and outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tilewright.models.spec.scaling import NO_SCALING, Scaling

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import OutputSpec


STEPS: Final = {"reflectance": (5e-5, -0.1), "db": (1e-3, -50.0), "class": (1.0, 0.0)}
"""Step and lowest value of a unit's uint16: reflectance -0.1 to 3.18 in half steps of Sentinel-2's own numbers, so that
the median of an even number of dates is exact; backscatter -50 to 15.5 dB; scene classes."""

AS_THEY_ARE: Final = (1.0, 0.0)

TRAILING: Final = ("height", "width")

MATRICES: Final = ("interpolation-linear", "interpolation-cubic", "interpolation-area")
"""Ways of resizing that are products with a matrix from both sides, and need height and width last."""


def carried_input(card: ModelCard, spec: InputSpec) -> InputSpec:
    """The input as it is prepared for the fused graph: uint16 or unscaled; `spec` itself where nothing can move."""
    scalings = spec.value_scaling
    if not spec.data_type.startswith("float") or any(each.expression is not None for each in scalings):
        return spec
    quantised = spec.unit in STEPS and not spec.derived
    resized = _resizable(card, spec)
    if not quantised and not resized and all(each.kind == NO_SCALING.kind for each in scalings):
        return spec
    step, lowest = input_step(spec)
    kind = "scale" if quantised else NO_SCALING.kind
    # What stands for "nothing known" is the model's, whatever the pixels are stored as.
    neutrals = {each.neutral for each in scalings}
    whole = {neutral: Scaling(kind=kind, shift=lowest, gain=1 / step, neutral=neutral) for neutral in neutrals}
    carried = replace(
        spec,
        data_type="uint16" if quantised else "float32",
        value_scaling=tuple(whole[each.neutral] for each in scalings),
    )
    return _unresized(card, carried) if resized else carried


def input_step(spec: InputSpec) -> tuple[float, float]:
    """Step and lowest value of what the fused graph is given: n stands for n * step + lowest in the input's unit."""
    return STEPS[spec.unit] if spec.unit in STEPS and not spec.derived else AS_THEY_ARE


def _resizable(card: ModelCard, spec: InputSpec) -> bool:
    method = spec.resize
    if method is None or card.tile.window is None:
        return False
    return method == "interpolation-nearest" or (method in MATRICES and spec.axes[-2:] == TRAILING)


def _unresized(card: ModelCard, spec: InputSpec) -> InputSpec:
    assert card.tile.window is not None, "a resized input has a fixed window"
    side = card.read_size(spec, card.tile.window)
    shape = tuple(side if axis in TRAILING else n for n, axis in zip(spec.shape, spec.axes, strict=True))
    return replace(spec, resize=None, shape=shape)


def layered_output(card: ModelCard, spec: OutputSpec) -> OutputSpec:
    """The output as the fused graph gives it, its layers themselves; `spec` itself where they cannot be made there."""
    axes = spec.axes
    planar = sorted(axes) in (["batch", "channel", "height", "width"], ["batch", "height", "width"])
    if not spec.classes or spec.scored or not planar or (resized(card) and training_size(card, spec) is None):
        return spec
    side = -1 if card.tile.window is None else round(card.tile.window * spec.scale)
    return replace(
        spec,
        layered=True,
        data_type="uint8",
        dim_order=("batch", "channel", "height", "width"),
        shape=(spec.shape[axes.index("batch")], len(spec.layer_specs()), side, side),
    )


def resized(card: ModelCard) -> bool:
    """Whether windows are brought to a training size, and results back."""
    return any(spec.resize is not None for spec in card.inputs)


def training_size(card: ModelCard, spec: OutputSpec) -> tuple[int, int] | None:
    """Pixels per side of an output as the graph gives it, and of the window's result; None where the first is free."""
    given = spec.shape[spec.axes.index("height")]
    if given < 1 or card.tile.window is None:
        return None
    return given, round(card.tile.window * spec.scale)
