"""The windows that a card asks for: size, step, trim, merge; and whether its inputs and outputs fit one window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final, Literal

from tilewright.models.errors import CardError
from tilewright.models.spec.sampler import free_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.boxes import MasksSpec
    from tilewright.models.spec.inputs import ExtraInput, InputSpec
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.spec.sampler import SamplerSpec


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
        if trim > LARGEST_WINDOW:
            raise field.refuse("trim", f"write at most {LARGEST_WINDOW}, or 'measured'")
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
    """The output, with its scale set if it gives one vector per window, and its crop if its fixed size says one.

    Raises CardError if its fixed size is not window x scale less its crop.
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
    if any(spec.resize for spec in inputs):
        if output.crop and any(output.crop):
            raise CardError(f"{path}.tw:crop cannot stand beside a resize_type, which brings results to the window")
        return output
    if tile.window is not None:
        output = _fit_size(output, tile.window, output.shape[output.axes.index("height")], path=path)
    crop = max(output.crop or (0.0,))
    if tile.trim != "measured" and tile.trim < crop:
        raise CardError(
            f"{FIELD}.trim is {tile.trim}, but {output.name} leaves {crop:g} pixels out on a side (tw:crop): write at "
            f"least {ceil(crop)}, or 'measured'"
        )
    return output


def _fit_size(output: OutputSpec, window: int, size: int, *, path: str) -> OutputSpec:
    """The output whose fixed `size` (-1: free) follows from the window, its scale and its crop.

    Where the card has no `tw:crop`, a smaller size says it, half on each side. That it is a crop and no scale is proven
    on the graph (`models/measure/receptive.py`).
    """
    expected = window * output.scale - sum(output.cropped)
    if abs(expected - round(expected)) > 1e-6:
        raise CardError(
            f"{path}: tw:scale {output.scale:g} of a window of {window} is {expected:g}; change tw:scale or "
            f"{FIELD}.window, so that it is whole"
        )
    if size in {-1, round(expected)}:
        return output
    missing = round(expected) - size
    whole = 1 in Fraction(output.scale).limit_denominator(256).as_integer_ratio()
    if output.crop is None and whole and 0 < missing < size and missing % 2 == 0:
        return replace(output, crop=(missing / 2 / output.scale,) * 2)
    words = size_words(window=window, size=size, scale=output.scale, cropped=output.cropped)
    raise CardError(f"{path}: result.shape has height {words}")


def size_words(*, window: int, size: int, scale: float, cropped: tuple[int, int]) -> str:
    """A refusal of an output's `size` for a window: which crop it would be, or which scale.

    `cropped` is the card's crop in pixels of the output.
    """
    before, after = cropped
    crop = f"tw:crop {_pair((before / scale, after / scale))} and " if before + after else ""
    expected = round(window * scale) - before - after
    words = f"{size} for a window of {window}, and by {crop}tw:scale {scale:g} it is {expected}: "
    missing = round(window * scale) - size
    if missing < 0:
        return words + f"the graph adds {-missing} pixels to a side; cut them off inside the graph, or correct tw:scale"
    if missing >= round(window * scale) / 2:
        return words + "correct tw:scale"
    if missing == 0:
        return words + "the graph crops nothing: leave tw:crop out"
    sides = missing / scale
    if missing % 2 == 0:
        return words + (
            f"if its convolutions have no padding, the graph crops {sides / 2:g} px of the card's grid on each side: "
            f"write tw:crop {sides / 2:g}; else correct tw:scale"
        )
    return words + (
        f"the graph crops {sides:g} px of the card's grid in all, not the same on both sides (an even kernel): write "
        f"tw:crop {_pair((missing // 2 / scale, (missing + 1) // 2 / scale))}, top and left first, or the other way "
        "round, as the model was trained; or pad inside the graph"
    )


def _pair(crop: tuple[float, float]) -> str:
    before, after = crop
    return f"{before:g}" if before == after else f"[{before:g}, {after:g}]"


def fit_loop(
    sampler: SamplerSpec,
    inputs: tuple[InputSpec, ...],
    extras: tuple[ExtraInput, ...],
    outputs: tuple[OutputSpec, ...],
) -> tuple[SamplerSpec, tuple[InputSpec, ...], tuple[ExtraInput, ...], tuple[OutputSpec, ...]]:
    """The loop and the arrays of its windows, which are free where the loop cuts them into those of the graph."""
    finest = min((spec.resolution for spec in inputs if spec.resolution), default=1.0)
    ratios = {spec.name: finest / (spec.resolution or finest) for spec in inputs}
    ratios |= {each.name: each.scale if each.kind == "state" else ratios[each.of] for each in extras}
    ratios |= {each.name: each.scale for each in outputs}
    sampler, inputs = free_windows(sampler, inputs, ratios)
    sampler, extras = free_windows(sampler, extras, ratios)
    sampler, outputs = free_windows(sampler, outputs, ratios)
    return sampler, inputs, extras, outputs


def check_masks_fit(masks: tuple[MasksSpec, ...], outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse masks beside layers of other pixels: masks are those of the window. Raises CardError."""
    other = next((output.name for output in outputs if output.scale != 1 or output.rows), None)
    if masks and other is not None:
        raise CardError(
            f"properties.mlm:output ({other}): its pixels are not those of the window, as those of the masks of "
            f"{masks[0].name} are; give it the size of the window in the graph, or leave it out"
        )


def check_vectors_fit(outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse several embeddings, and one beside layers of other pixels: its vectors are those of the product's grid.

    Raises CardError.
    """
    vectors = [output for output in outputs if output.embedding]
    if len(vectors) > 1:
        raise CardError(
            f"properties.mlm:output ({vectors[1].name}).tw:embedding: a product has one embedding, and "
            f"{vectors[0].name} is one already; write a card of its own for this one"
        )
    for vector in vectors:
        other = next((each for each in outputs if (each.rows, each.scale) != (vector.rows, vector.scale)), None)
        if other is not None:
            raise CardError(
                f"properties.mlm:output ({other.name}): its pixels are not those of the vectors of {vector.name}; "
                "write a card of its own for it, or leave it out"
            )
