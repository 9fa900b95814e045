"""Parses the `mlm:input` entries that are computed instead of read, and the words of a card that some of them hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from tilewright.models.card.graph import graph_facts, graph_inputs, graph_outputs, read_graph
from tilewright.models.card.parse_outputs import LAYER_NAME, RESERVED
from tilewright.models.errors import CardError
from tilewright.models.fields import CardField
from tilewright.models.spec.arrays import ArrayShape, input_axes, read_shape
from tilewright.models.spec.embedding import IDS, MASK, TextSpec
from tilewright.models.spec.inputs import PARTS, ExtraInput
from tilewright.models.spec.instances import TABLES
from tilewright.models.spec.sampler import STATE_DIMS
from tilewright.models.spec.scaling import parse_scaling
from tilewright.models.spec.words import KINDS as WORDS
from tilewright.models.spec.words import WordsFile, read_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.card.files import ModelFile
    from tilewright.models.spec.inputs import ExtraKind, InputSpec
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.models.spec.words import WordsSpec


EXTRA_FIELDS: Final = ("tw:extra",)

KINDS: Final = (
    *("day_of_year", "valid_mask", "lonlat", "wavelengths", "constant", "place_mask", "pixel_size"),
    *("state", "time", *WORDS),
)

OWN_KEYS: Final = {WORDS[0]: ("tokenizer", "prompt"), WORDS[1]: ()}
"""Keys of the kinds of words beside `kind` and `of`."""


def read_extra(field: CardField, pixels: Sequence[InputSpec]) -> ExtraInput:
    """The extra input of one entry of `mlm:input`; its `tw:extra` is a kind or an object {kind, of, parts, values}.

    Raises CardError naming the field if the kind, the input it refers to, or the shape cannot be honoured.
    """
    field.only(EXTRA_FIELDS, prefix="tw:")
    value = field.content["tw:extra"]
    extra = CardField(
        path=field.at("tw:extra"),
        content={"kind": value} if isinstance(value, str) else field.child("tw:extra").content,
    )
    extra.only(("kind", "of", *OWN_KEYS.get(str(extra.content.get("kind")), ("parts", "values"))))
    kind = cast("ExtraKind", extra.choice("kind", KINDS))
    array = read_shape(field, "input")
    pixel_input = _referenced_input(extra, pixels)
    parts = _parts(extra, kind)
    values = _constant_values(extra, kind, array, n_bands=len(pixel_input.bands))
    _refuse_layout(
        field, kind, array, n_parts=len(parts), steps=pixel_input.dates.steps, n_bands=len(pixel_input.bands)
    )
    shift, gain = _linear_scaling(field)
    if kind == "state" and (shift, gain) != (0.0, 1.0):
        raise field.refuse("value_scaling", "leave it out: a state is what the loop makes of it")
    return ExtraInput(
        name=field.text("name"),
        kind=kind,
        of=pixel_input.name,
        parts=parts,
        values=values,
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        shift=shift,
        gain=gain,
    )


def _referenced_input(extra: CardField, pixels: Sequence[InputSpec]) -> InputSpec:
    """The pixel input to which an extra input belongs: the one named by `of`, else the first one."""
    names = [spec.name for spec in pixels]
    if not pixels:
        raise extra.refuse("of", "the card has no input with bands that an extra input could belong to")
    return pixels[names.index(extra.choice("of", names, names[0]))]


def _parts(extra: CardField, kind: str) -> tuple[str, ...]:
    """The parts along the feature axis, in the card's order. Default: the day of year alone, or all."""
    known = PARTS.get(kind, ())
    parts = extra.texts("parts")
    if any(part not in known for part in parts):
        raise extra.refuse("parts", f"{kind} gives {', '.join(known) or 'no parts'}")
    return parts or (known[:1] if kind == "day_of_year" else known)


def _constant_values(extra: CardField, kind: str, array: ArrayShape, *, n_bands: int) -> tuple[float, ...]:
    """The constants or wavelengths. Raises CardError if they do not fill the array."""
    if kind not in {"constant", "wavelengths"}:
        return ()
    values = extra.numbers("values")
    if kind == "wavelengths" and len(values) != n_bands:
        raise extra.refuse("values", f"write the wavelength in micrometres of each of the {n_bands} bands")
    sizes = [n for n, axis in zip(array.shape, input_axes(array.dim_order) or (), strict=False) if axis != "batch"]
    total = 1
    for n in sizes:
        total *= n
    if kind == "constant" and (total < 1 or len(values) not in {1, total}):
        raise extra.refuse(
            "values", f"write one number, or as many as input.shape has without batch ({max(total, 0)}); fix its sizes"
        )
    return values


ALLOWED_AXES: Final = {
    "day_of_year": {"batch", "time", "bands"},
    "valid_mask": {"batch", "time", "bands", "height", "width"},
    "lonlat": {"batch", "bands", "height", "width"},
    "place_mask": {"batch", "bands", "height", "width"},
    "wavelengths": {"batch", "bands"},
    "pixel_size": {"batch", "bands"},
    "constant": {"batch", "time", "bands", "height", "width"},
    "state": {"batch", "bands", "height", "width"},
    "time": {"batch", "bands"},
    **{kind: {"batch", "token"} for kind in WORDS},
}
"""The axes that each kind can fill."""


def _refuse_layout(
    field: CardField, kind: str, array: ArrayShape, *, n_parts: int, steps: int | None, n_bands: int
) -> None:
    axes = input_axes(array.dim_order)
    if axes is None or not set(axes) <= ALLOWED_AXES[kind] or ("height" in axes) != ("width" in axes):
        raise field.child("input").refuse(
            "dim_order", f"{kind} fills {', '.join(sorted(ALLOWED_AXES[kind]))} and nothing else"
        )
    if kind in WORDS and (axes != ("batch", "token") or not array.data_type.startswith("int")):
        raise field.child("input").refuse("dim_order", f"{kind} are (batch, token), as int64 or int32")
    needed = {"time"} if kind == "day_of_year" and steps != 1 else set()
    needed |= {"bands"} if n_parts > 1 or (kind == "wavelengths" and n_bands > 1) else set()
    if not needed <= set(axes):
        raise field.child("input").refuse("dim_order", f"{kind} needs {' and '.join(sorted(needed))} here")
    if kind == "state" and axes != STATE_DIMS:
        raise field.child("input").refuse("dim_order", "a state has batch, channel, height, width, in this order")
    ones = dict.fromkeys(("valid_mask", "place_mask", "time"), 1)
    expected = {"time": steps, "bands": {**ones, "wavelengths": n_bands}.get(kind, n_parts)}
    for axis, size in zip(axes, array.shape, strict=True):
        if kind not in {"constant", "state"} and axis in expected and size > 0 and expected[axis] not in {None, size}:
            raise field.child("input").refuse("shape", f"its {axis} axis must be {expected[axis]}")


def _linear_scaling(field: CardField) -> tuple[float, float]:
    """(shift, gain) of an extra input's `value_scaling`, which has one linear entry or none."""
    entries = field.children("value_scaling")
    if not entries:
        return 0.0, 1.0
    scaling = parse_scaling(entries[0])
    if len(entries) > 1 or not scaling.linear:
        raise field.refuse("value_scaling", "write one entry of type min-max, z-score, offset or scale")
    return scaling.shift, scaling.gain


def card_words(
    properties: CardField, inputs: tuple[InputSpec, ...], extras: tuple[ExtraInput, ...], files: dict[str, ModelFile]
) -> WordsSpec | None:
    """The prompts that a card takes and the answers that it gives, with their `files` by key; None if it has none.

    Raises CardError naming the field.
    """
    told = {key: WordsFile(path=file.path, sha256=file.sha256) for key, file in files.items()}
    words = read_words(properties, inputs, extras, told)
    if any(not LAYER_NAME.fullmatch(name) or name in {*RESERVED, *TABLES} for name in (words.tables if words else ())):
        raise properties.refuse("mlm:output", "write another name in tw:layers: this one is no name of a table")
    return words


def text_spec(files: Mapping[str, ModelFile]) -> TextSpec | None:
    """The text tower in these files; None where there are none."""
    if not files:
        return None
    model, tokenizer = files["model"], files["tokenizer"]
    return TextSpec(model=model.path, tokenizer=tokenizer.path, sha256=(model.sha256, tokenizer.sha256))


def check_text_graph(text: TextSpec, outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse a text tower whose inputs are not tokens, or whose vectors are of another length. Raises CardError."""
    model = read_graph(text.model)
    field, inputs = "properties.tw:text.model", graph_inputs(model)
    if graph_facts(model, text.model).external:
        raise CardError(f"{field} has weights in other files; write them into {text.model.name}")
    unknown = sorted({*inputs} - {IDS, MASK})
    if unknown or IDS not in inputs or any(port.data_type not in {"int32", "int64"} for port in inputs.values()):
        found = ", ".join(f"{name} ({port.data_type})" for name, port in inputs.items())
        raise CardError(f"{field} takes {found or 'nothing'}; export it with {IDS}, and {MASK} if it has one, as int64")
    length = next(output.channels for output in outputs if output.embedding)
    shape = next(iter(graph_outputs(model).values())).shape
    if shape is not None and (not 1 <= len(shape) <= 2 or shape[-1] not in {-1, length}):
        raise CardError(
            f"{field} gives {' x '.join(map(str, shape))} first, and the vectors of pixels have {length} numbers; "
            "export it with its projection, so that its first output is the vector"
        )
