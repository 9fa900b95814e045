"""The parts of a card that can move into its graph, and the inputs and outputs that remain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tilewright.models.spec.scaling import NO_SCALING, Scaling

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import OutputSpec


QUANTISATION: Final = {"reflectance": (5e-5, -0.1), "db": (1e-3, -50.0), "class": (1.0, 0.0)}
"""Scale and offset of a unit's uint16: reflectance -0.1 to 3.18 in steps of half a DN of Sentinel-2, so that the median
of an even number of dates is exact; backscatter -50 to 15.5 dB; scene classes."""

UNQUANTISED: Final = (1.0, 0.0)

TRAILING: Final = ("height", "width")

MATRIX_METHODS: Final = ("interpolation-linear", "interpolation-cubic", "interpolation-area")
"""Resize methods that are matrix products from both sides, and need height and width as the last axes."""


def fused_input(card: ModelCard, spec: InputSpec) -> InputSpec:
    """The input as it is prepared for the fused graph: uint16 or unscaled; `spec` itself if nothing can move."""
    scalings = spec.value_scaling
    if not spec.data_type.startswith("float") or any(each.expression is not None for each in scalings):
        return spec
    quantised = spec.unit in QUANTISATION and not spec.derived
    resized = _resizable(card, spec)
    if not quantised and not resized and all(each.kind == NO_SCALING.kind for each in scalings):
        return spec
    scale, offset = quantisation(spec)
    kind = "scale" if quantised else NO_SCALING.kind
    # The neutral value is the model's, whatever the stored type of the pixels.
    neutrals = {each.neutral for each in scalings}
    by_neutral = {neutral: Scaling(kind=kind, shift=offset, gain=1 / scale, neutral=neutral) for neutral in neutrals}
    fused = replace(
        spec,
        data_type="uint16" if quantised else "float32",
        value_scaling=tuple(by_neutral[each.neutral] for each in scalings),
    )
    return _unresized(card, fused) if resized else fused


def quantisation(spec: InputSpec) -> tuple[float, float]:
    """Scale and offset of the fused graph's input: n means n * scale + offset in the input's unit."""
    return QUANTISATION[spec.unit] if spec.unit in QUANTISATION and not spec.derived else UNQUANTISED


def _resizable(card: ModelCard, spec: InputSpec) -> bool:
    method = spec.resize
    if method is None or card.tile.window is None:
        return False
    return method == "interpolation-nearest" or (method in MATRIX_METHODS and spec.axes[-2:] == TRAILING)


def _unresized(card: ModelCard, spec: InputSpec) -> InputSpec:
    assert card.tile.window is not None, "a resized input has a fixed window"
    side = card.read_size(spec, card.tile.window)
    shape = tuple(side if axis in TRAILING else n for n, axis in zip(spec.shape, spec.axes, strict=True))
    return replace(spec, resize=None, shape=shape)


def layered_output(card: ModelCard, spec: OutputSpec) -> OutputSpec:
    """The output as the fused graph gives it: the layers themselves; `spec` itself if the graph cannot make them."""
    axes = spec.axes
    planar = sorted(axes) in (["batch", "channel", "height", "width"], ["batch", "height", "width"])
    if (
        not spec.classes
        or spec.scored
        or spec.words
        or not planar
        or (resized(card) and training_size(card, spec) is None)
    ):
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
    """Whether windows are resized to a training size, and results back."""
    return any(spec.resize is not None for spec in card.inputs)


def training_size(card: ModelCard, spec: OutputSpec) -> tuple[int, int] | None:
    """Pixels per side of an output of the graph, and of the window's result; None if one of them is free."""
    size = spec.shape[spec.axes.index("height")]
    if size < 1 or card.tile.window is None:
        return None
    return size, round(card.tile.window * spec.scale)
