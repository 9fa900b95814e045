"""The windows that a card asks for: size, step, trim, merge; and whether its inputs and outputs fit one window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import OutputSpec


DEFAULT_STEP: Final = 512

LARGEST_WINDOW: Final = 16384

FIELD: Final = "properties.tw:tile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSpec:
    """Windows in pixels of the card's grid; None = free. `trim` pixels are cut from each side of a window's result."""

    window: int | None = None
    step: int | None = None
    trim: int | Literal["measured"] = "measured"
    merge: Literal["auto", "trim", "blend"] = "auto"


def read_tile(field: CardField) -> TileSpec:
    """The `tw:tile` object. Raises CardError naming its field."""
    field.only(("window", "step", "trim", "merge"))
    window = field.integer("window") if field.has("window") else None
    step = field.integer("step") if field.has("step") else None
    trim: int | Literal["measured"] = "measured"
    if field.content.get("trim", "measured") != "measured":
        if isinstance(field.content["trim"], str):
            raise field.refuse("trim", "write 'measured' or a number of pixels")
        trim = field.integer("trim", minimum=0)
    merge = field.choice("merge", ("auto", "trim", "blend"), "auto")
    if max(window or 0, step or 0) > LARGEST_WINDOW:
        raise field.refuse("window" if window else "step", f"write at most {LARGEST_WINDOW}")
    if window is not None and window - 2 * (0 if trim == "measured" else trim) < (step or 1):
        raise field.refuse(
            "trim", f"window less twice trim must hold the step; the window is {window}, the step {step or 1}"
        )
    return TileSpec(
        window=window,
        step=step,
        trim=trim,
        merge="blend" if merge == "blend" else "trim" if merge == "trim" else "auto",
    )


def fit_tile(
    tile: TileSpec, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]
) -> tuple[TileSpec, tuple[OutputSpec, ...]]:
    """The tile with its window completed from fixed shapes, and the outputs with the scale that holds for it.

    Raises CardError if inputs, outputs and window disagree.
    """
    finest = min((spec.resolution for spec in inputs if spec.resolution), default=None)
    ratios = [spec.resolution / finest if finest and spec.resolution else 1.0 for spec in inputs]
    sizes = [
        round(spec.window * ratio)
        for spec, ratio in zip(inputs, ratios, strict=True)
        if spec.window and not spec.resize
    ]
    window = tile.window or (max(sizes) if sizes else None)
    for spec, ratio in zip(inputs, ratios, strict=True):
        _refuse_other_size(spec, ratio, window)
    tile = replace(tile, window=window)
    return tile, tuple(_fit_output(output, tile, inputs) for output in outputs)


def _refuse_other_size(spec: InputSpec, ratio: float, window: int | None) -> None:
    """Refuse an input whose fixed size does not cover the same ground as the window."""
    path = f"properties.mlm:input ({spec.name})"
    if window is None:
        if spec.resize:
            raise CardError(
                f"{path}: resize_type is {spec.resize!r}, but nothing says what is resized; write {FIELD}.window"
            )
        return
    if spec.pixelwise:
        return
    expected = window / ratio
    if expected != round(expected):
        raise CardError(
            f"{FIELD}.window is {window}; write a multiple of {ratio:g}, "
            f"so that {spec.name} at {spec.resolution:g} m has whole pixels"
        )
    if spec.window not in {None, round(expected)} and not spec.resize:
        raise CardError(
            f"{path}.input.shape has height {spec.window}; a window of {window} grid pixels is {expected:g} of its: "
            f"change input.shape, tw:resolution or {FIELD}.window, or give a resize_type"
        )


def _fit_output(output: OutputSpec, tile: TileSpec, inputs: Sequence[InputSpec]) -> OutputSpec:
    """The output, with its scale set if it gives one vector per window.

    Raises CardError if its fixed size is not window x scale.
    """
    path = f"properties.mlm:output ({output.name})"
    if output.rows:
        if all(spec.pixelwise for spec in inputs):
            return output
        return replace(output, scale=1.0 / (tile.step or tile.window or DEFAULT_STEP))
    if all(spec.pixelwise for spec in inputs):
        raise CardError(
            f"{path}.result.dim_order has height and width, but the inputs have none; "
            "remove them or add them to the inputs"
        )
    if tile.window is None:
        return output
    expected = tile.window * output.scale
    size = output.shape[output.axes.index("height")]
    resized = any(spec.resize for spec in inputs)
    if abs(expected - round(expected)) > 1e-6 or (size not in {-1, round(expected)} and not resized):
        raise CardError(
            f"{path}: result.shape has height {size}, and tw:scale {output.scale:g} of a window of {tile.window} "
            f"is {expected:g}; change tw:scale or result.shape"
        )
    return output
