"""Parses the `mlm:output` list of a card into typed outputs; an error names the path of the field it refuses."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from tilewright.models.fields import CardField, did_you_mean
from tilewright.models.spec.arrays import ArrayShape, output_axes, read_shape
from tilewright.models.spec.embedding import read_embedding
from tilewright.models.spec.instances import from_masks, read_boundary
from tilewright.models.spec.outputs import CLASS_LAYERS, NODATA_BYTE, ClassSpec, OutputSpec
from tilewright.models.spec.words import TASK as WORDS
from tilewright.models.spec.words import is_answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal


FIELDS: Final = (
    *(
        "tw:activation",
        "tw:crop",
        "tw:embedding",
        "tw:image",
        "tw:instances",
        "tw:layers",
        "tw:outside",
        "tw:scale",
        "tw:threshold",
        "tw:unit",
        "tw:valid_range",
    ),
)

TASK: Final = "instance-segmentation"

NON_RASTER_TASKS: Final = ("object-detection", TASK, "panoptic-segmentation", WORDS)
"""Tasks whose results are not rasters."""

RESERVED: Final = (
    *("observations", "spatial_ref", "time", "x", "y", "preview"),
    *("data", "manifest", "plan", "report", "report_json", "thumbnail"),
)
"""Names that every product uses for its own layers and coordinates, and for other files in its Item."""

WHOLE: Final = 1e-6
"""Difference from a whole number of pixels that counts as rounding."""

LAYER_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")

COLOR: Final = re.compile(r"^[0-9A-Fa-f]{6}\Z")


def read_outputs(properties: CardField) -> tuple[OutputSpec, ...]:
    """The outputs of the card that become layers, in its order, without those of boxes, masks and words. Layer names
    that two outputs share are prefixed with the output's name.

    Raises CardError naming the field: a repeated name, no output, or an entry that cannot be honoured.
    """
    entries = properties.children("mlm:output")
    if not entries:
        raise properties.refuse("mlm:output", "describe at least one output of the graph")
    names: list[str] = []
    for entry in entries:
        if (name := entry.text("name")) in names:
            raise entry.refuse("name", "give each output the name of its own graph output")
        names.append(name)
    layered = [entry for entry in entries if not entry.has("tw:boxes") and not from_masks(entry)]
    outputs = tuple(read_output(entry) for entry in layered if not is_answer(entry, properties))
    return _with_prefixes(outputs, properties)


def _with_prefixes(outputs: tuple[OutputSpec, ...], properties: CardField) -> tuple[OutputSpec, ...]:
    """The outputs, with a prefix on each that shares a layer name with another.

    Raises CardError if a name is still repeated, reserved or no file name.
    """
    written = Counter(spec.name for output in outputs for spec in output.layer_specs())
    shared = {name for name, n in written.items() if n > 1}
    outputs = tuple(
        replace(output, prefix=f"{output.name}_") if shared & {spec.name for spec in output.layer_specs()} else output
        for output in outputs
    )
    names = Counter(spec.name for output in outputs for spec in output.layer_specs())
    names.update(output.image for output in outputs if output.image)
    names.update(f"{spec.name}_polygons" for output in outputs for spec in output.layer_specs() if spec.kind == "id")
    for name, n in names.items():
        if n > 1 or name in RESERVED or not LAYER_NAME.fullmatch(name):
            reason = "stands twice" if n > 1 else "is used by every product" if name in RESERVED else "is no file name"
            raise properties.refuse(
                "mlm:output",
                f"the layer {name!r} {reason}; change tw:layers, tw:image, the class's name or the output's name",
            )
    return outputs


def read_output(field: CardField) -> OutputSpec:
    """The output of one entry of `mlm:output`. Raises CardError naming the field."""
    field.only(FIELDS, prefix="tw:")
    if field.has("post_processing_function"):
        raise field.refuse(
            "post_processing_function", "remove it: say it with tw:activation and tw:layers, or put it into the graph"
        )
    tasks = field.texts("tasks")
    told_apart = field.has("tw:instances")
    if unsupported := [task for task in tasks if task in NON_RASTER_TASKS and not (told_apart and task == TASK)]:
        told = {"object-detection": "; boxes are told by tw:boxes", TASK: "; objects are told by tw:instances"}
        told[WORDS] = "; answers in words are told by tw:generate beside tw:tile"
        hint = told.get(unsupported[0], "")
        raise field.refuse(
            "tasks", f"{unsupported[0]} gives no raster; Tilewright writes class maps, values and images{hint}"
        )
    array = read_shape(field, "result")
    embedding = read_embedding(field, array) if field.has("tw:embedding") else None
    classes = read_classes(field)
    labels = bool(classes) and _fixed_channels(array) in {None, 1} and not array.data_type.startswith("float")
    channels = _checked_channels(field, array, classes, labels=labels)
    activation = cast(
        "Literal['softmax', 'sigmoid', 'none']", field.choice("tw:activation", ("softmax", "sigmoid", "none"), "none")
    )
    instances = read_boundary(field, classes) if told_apart else None
    objects = instances.name if instances else ""
    values = 1 if embedding else channels
    layers = _class_layers(field, labels=labels, objects=objects) if classes else _value_layers(field, values)
    spec = OutputSpec(
        name=field.text("name"),
        tasks=tasks,
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        channels=channels,
        classes=classes,
        activation=activation,
        layers=layers,
        units=() if classes else _units(field, values),
        scale=field.number("tw:scale", 1.0, positive=True),
        crop=_crop(field, array),
        valid_range=_valid_range(field, classes),
        outside="clip" if field.choice("tw:outside", ("nodata", "clip"), "nodata") == "clip" else "nodata",
        threshold=_threshold(field, classes),
        labels=labels,
        instances=instances,
        embedding=embedding,
        image=_image(field, layers, classes),
        description=field.text("description", " ").strip(),
    )
    _refuse_activation(field, spec)
    return spec


def _image(field: CardField, layers: Sequence[str], classes: Sequence[ClassSpec]) -> str:
    """The name of the file of which the layers are the bands; empty where each has its own."""
    if not field.has("tw:image"):
        return ""
    if classes or len(layers) < 2:
        raise field.refuse("tw:image", "remove it: only values of two or more channels are the bands of an image")
    return field.text("tw:image")


def _fixed_channels(array: ArrayShape) -> int | None:
    """The product of all sizes except batch, height and width; None if there is no such axis or one is free."""
    axes = output_axes(array.dim_order) or ()
    sizes = [n for n, axis in zip(array.shape, axes, strict=False) if axis == "channel"]
    if not sizes or min(sizes) < 1:
        return None
    total = 1
    for n in sizes:
        total *= n
    return total


def _checked_channels(field: CardField, array: ArrayShape, classes: Sequence[ClassSpec], *, labels: bool) -> int:
    """The number of channels of the array; from classes or layers if the axis is free.

    Raises CardError if they disagree.
    """
    axes = output_axes(array.dim_order)
    result = field.child("result")
    if axes is None:
        raise result.refuse("dim_order", "write batch, and height with width or neither; any other name is a channel")
    n_channels = _fixed_channels(array) if "channel" in axes else 1
    if not classes:
        return n_channels or max(1, len(field.texts("tw:layers")))
    if labels or (n_channels == 1 and len(classes) == 2):
        return 1
    if not array.data_type.startswith("float"):
        raise result.refuse(
            "data_type",
            "scores of several classes must be float; whole numbers are class values without a class dimension",
        )
    if n_channels not in {None, len(classes)}:
        raise field.refuse(
            "classification:classes", f"list {n_channels} classes, one per channel of result.shape, in order"
        )
    return len(classes)


def read_classes(field: CardField, *, least: int = 2) -> tuple[ClassSpec, ...]:
    """The classes of one output, in the order of its channels: none, or at least so many.

    Raises CardError naming the entry that fails.
    """
    classes = tuple(_class(entry) for entry in field.children("classification:classes"))
    for kind, values in (("value", [c.value for c in classes]), ("name", [c.name for c in classes])):
        if len(set(values)) != len(values):
            raise field.refuse("classification:classes", f"give each class its own {kind}")
    if 0 < len(classes) < least:
        raise field.refuse("classification:classes", "list at least two classes; nodata is not one of them")
    return classes


def _class(entry: CardField) -> ClassSpec:
    value = entry.integer("value", minimum=0)
    if value >= NODATA_BYTE:
        raise entry.refuse("value", f"write 0 to {NODATA_BYTE - 1}; {NODATA_BYTE} is nodata")
    name = entry.text("name") if entry.has("name") else entry.text("title")
    color = entry.text("color_hint") if entry.has("color_hint") else None
    if color is not None and not COLOR.match(color):
        raise entry.refuse("color_hint", "write six hex digits such as 2E86DE")
    return ClassSpec(value=value, name=name, description=entry.text("description", name), color=color)


def _class_layers(field: CardField, *, labels: bool, objects: str = "") -> tuple[str, ...]:
    """The layers of a class output but for that of its `objects`.

    Default: class and confidence, or class alone if the graph gives class values, or none beside objects.
    """
    layers = tuple(layer for layer in field.texts("tw:layers") if layer != objects)
    if not layers and not objects:
        layers = ("class",) if labels else ("class", "confidence")
    renamed = [layer for layer in layers if layer not in CLASS_LAYERS]
    if (
        any(did_you_mean(layer, CLASS_LAYERS) for layer in renamed)
        or len(renamed) + ("class" in layers) > 1
        or len(set(layers)) != len(layers)
    ):
        raise field.refuse(
            "tw:layers", f"write each of {', '.join(CLASS_LAYERS)} at most once; one other word renames class"
        )
    if labels and any(layer in CLASS_LAYERS[1:] for layer in layers):
        raise field.refuse("tw:layers", "the graph gives class values, not scores; only the class layer can be written")
    return layers


def _value_layers(field: CardField, channels: int) -> tuple[str, ...]:
    """The layers of a value output, one name per channel. Default: the output's name, numbered from 1."""
    name = field.text("name")
    layers = field.texts("tw:layers") or (
        (name,) if channels == 1 else tuple(f"{name}_{i + 1}" for i in range(channels))
    )
    if any(layer in CLASS_LAYERS for layer in layers):
        raise field.refuse("tw:layers", "these layers need classification:classes; list the classes or name the values")
    if len(layers) != channels or len(set(layers)) != channels:
        raise field.refuse("tw:layers", f"write one name of its own for each of the {channels} channels")
    return layers


def _units(field: CardField, channels: int) -> tuple[str, ...]:
    value = field.content.get("tw:unit", "1")
    units = (value,) * channels if isinstance(value, str) else field.texts("tw:unit")
    if len(units) != channels:
        raise field.refuse("tw:unit", f"write one unit, or one for each of the {channels} channels")
    return units


def _valid_range(field: CardField, classes: Sequence[ClassSpec]) -> tuple[float, float] | None:
    if not field.has("tw:valid_range"):
        return None
    limits = field.numbers("tw:valid_range")
    if classes or len(limits) != 2 or not limits[0] < limits[1]:
        raise field.refuse("tw:valid_range", "write [lowest, highest] of a value output")
    return limits[0], limits[1]


def _crop(field: CardField, array: ArrayShape) -> tuple[float, float] | None:
    """The pixels left out (before, after) each row and column; a single number is both."""
    if not field.has("tw:crop"):
        return None
    crop, scale = field.numbers("tw:crop"), field.number("tw:scale", 1.0, positive=True)
    if not 1 <= len(crop) <= 2 or min(crop) < 0:
        raise field.refuse(
            "tw:crop", "write the pixels of the card's grid left out on each side, or [top and left, bottom and right]"
        )
    if any(abs(each * scale - round(each * scale)) > WHOLE for each in crop):
        raise field.refuse("tw:crop", f"with tw:scale {scale:g} write a multiple of {1 / scale:g}: whole output pixels")
    if "height" not in (output_axes(array.dim_order) or ()):
        raise field.refuse("tw:crop", "remove it: an output without height and width leaves no pixels out")
    return crop[0], crop[-1]


def _threshold(field: CardField, classes: Sequence[ClassSpec]) -> float | None:
    if not field.has("tw:threshold"):
        return None
    threshold = field.number("tw:threshold")
    if len(classes) != 2 or not 0 < threshold < 1:
        raise field.refuse("tw:threshold", "write a probability between 0 and 1, for an output of two classes")
    return threshold


def _refuse_activation(field: CardField, spec: OutputSpec) -> None:
    if spec.labels and (spec.activation != "none" or spec.threshold is not None):
        raise field.refuse(
            "tw:activation", "the graph gives class values, not scores; leave tw:activation and tw:threshold out"
        )
    if spec.activation == "softmax" and spec.channels == 1:
        raise field.refuse("tw:activation", "softmax of one channel is always 1; write sigmoid or none")
