"""Parses the outputs of a card that tell of boxes or masks; an error names the path of the field it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from tilewright.models.card.parse_outputs import LAYER_NAME, RESERVED, read_classes
from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean
from tilewright.models.spec.arrays import read_shape
from tilewright.models.spec.boxes import (
    CENTRE,
    COEFFICIENT,
    CORNERS,
    MASK,
    OF_CLASS,
    PROTOTYPE,
    SCORES,
    WORDS,
    BoxesSpec,
    BoxOutput,
    MasksSpec,
    read_shaped_output,
)
from tilewright.models.spec.instances import TABLES, from_masks, least_probability, object_layer_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.arrays import ArrayShape
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import ClassSpec

FIELDS: Final = ("tw:activation", "tw:boxes", "tw:instances", "tw:layers")

RULE: Final = ("least_score", "iou", "per_class", "unit", "angle")
"""Keys of `tw:boxes` that one output of a table states for all."""

MASK_RULE: Final = ("least_score", "iou", "per_class", "unit", "least_probability")
"""The same of the `tw:instances` of masks."""

LEAST_SCORE, IOU = 0.25, 0.5
"""Where no output says another: what exporters of detectors take by default.

Source: Ultralytics, predict settings (conf 0.25); torchvision, FasterRCNN (box_nms_thresh 0.5)."""

MOST_BOXES: Final = 1 << 20
"""Boxes that an array may have for a window: a head on a window of 1280 px has 33 600, with nine anchors 200 000."""


def read_boxes(properties: CardField, *, taken: Iterable[str]) -> tuple[BoxesSpec, ...]:
    """The tables of boxes of a card, in its order; `taken` are the names of its layers.

    Raises CardError naming the field.
    """
    entries: dict[str, list[CardField]] = {}
    objects = {object_layer_name(entry) for entry in _of_masks(properties)}
    for entry in properties.children("mlm:output"):
        # Boxes of objects with masks are theirs, and no table of their own.
        if entry.has("tw:boxes") and not objects & {*entry.texts("tw:layers")}:
            entries.setdefault(_table_name(entry, taken), []).append(entry)
    return tuple(_table(name, fields) for name, fields in entries.items())


def read_masks(properties: CardField, *, taken: Iterable[str]) -> tuple[MasksSpec, ...]:
    """The layers of objects with masks of a card, in its order; `taken` are the names of its other layers.

    Raises CardError naming the field.
    """
    entries: dict[str, list[CardField]] = {}
    for entry in _of_masks(properties):
        entries.setdefault(object_layer_name(entry), []).append(entry)
    for entry in properties.children("mlm:output"):
        names = entry.texts("tw:layers")
        if entry.has("tw:boxes") and len(names) == 1 and names[0] in entries:
            entries[names[0]].append(entry)
    return tuple(_objects(name, fields, taken) for name, fields in entries.items())


def _of_masks(properties: CardField) -> list[CardField]:
    return [entry for entry in properties.children("mlm:output") if from_masks(entry)]


def _told(field: CardField) -> CardField:
    """What an output says of the things in it."""
    return field.child("tw:instances" if field.has("tw:instances") else "tw:boxes")


def _table_name(field: CardField, taken: Iterable[str]) -> str:
    field.only(FIELDS, prefix="tw:")
    names = field.texts("tw:layers")
    if len(names) != 1:
        raise field.refuse("tw:layers", "write the one name of the table of boxes, e.g. ['ships']")
    name = names[0]
    known = [*taken]
    # Beside a class layer are its names, and may be its polygons.
    beside = {f"{layer}_names" for layer in known}
    if not LAYER_NAME.fullmatch(name) or name in {*RESERVED, *TABLES, *known, *beside} or name.endswith("_polygons"):
        raise field.refuse("tw:layers", "write a name for the table that nothing else of the product has")
    return name


def _table(name: str, fields: Sequence[CardField]) -> BoxesSpec:
    outputs = tuple(_output(field) for field in fields)
    rule = _rule(fields)
    classes = _classes(fields)
    channels = [channel for output in outputs for channel in output.channels if channel != "ignored"]
    _check_channels(fields[0], channels, classes)
    return BoxesSpec(
        name=name,
        classes=classes,
        outputs=outputs,
        least_score=rule["least_score"],
        iou=rule["iou"],
        per_class=rule["per_class"],
        unit=rule["unit"],
        degrees=rule["angle"] == "degrees",
        description=fields[0].text("description", " ").strip(),
    )


def _objects(name: str, fields: Sequence[CardField], taken: Iterable[str]) -> MasksSpec:
    """A layer of objects from all outputs that name it."""
    for field in fields:
        field.only(FIELDS, prefix="tw:")
        if field.texts("tw:layers") != (name,) or not LAYER_NAME.fullmatch(name) or name in {*RESERVED, *taken}:
            raise field.refuse("tw:layers", "write one name for the objects that nothing else of the product has")
    outputs = tuple(_output(field) for field in fields)
    shaped = [output for output in outputs if {MASK, PROTOTYPE} & {*output.channels}]
    told = _told(fields[0])
    if len(shaped) != 1:
        raise told.refuse("channels", f"name {MASK}, or {PROTOTYPE}, in one of the outputs of {name}")
    masks, rest = shaped[0], tuple(output for output in outputs if output is not shaped[0])
    channels = [channel for output in rest for channel in output.channels if channel != "ignored"]
    stem = COEFFICIENT.removesuffix("*")
    factors = [channel for channel in channels if channel.startswith(stem)]
    plain = [channel for channel in channels if channel not in factors]
    prototypes = PROTOTYPE in masks.channels
    if bool(factors) != prototypes:
        raise told.refuse("channels", f"{COEFFICIENT} of boxes and {PROTOTYPE} of their window belong together")
    n_prototypes = masks.shape[masks.axes.index("channel")] if prototypes else 0
    if n_prototypes not in {-1, len(factors)}:
        raise told.refuse("channels", f"there are {len(factors)} of {COEFFICIENT}, and {n_prototypes} of {PROTOTYPE}")
    if "angle" in plain:
        raise told.refuse("channels", "boxes around masks are upright: leave the angle out")
    classes, rule = _classes(fields), _rule(fields, MASK_RULE)
    _check_channels(fields[0], plain, classes, placed=prototypes)
    return MasksSpec(
        boxes=BoxesSpec(
            name=name,
            classes=classes,
            outputs=rest,
            least_score=rule["least_score"],
            iou=rule["iou"],
            per_class=rule["per_class"],
            unit=rule["unit"],
            description=fields[0].text("description", " ").strip(),
        ),
        masks=masks,
        n_coefficients=len(factors),
        least_probability=rule["least_probability"],
    )


def _named(told: CardField, array: ArrayShape) -> tuple[str, ...]:
    """The channels of an output by their names, with those that COEFFICIENT stands for."""
    channels, stem = told.texts("channels"), COEFFICIENT.removesuffix("*")
    known = (*WORDS, COEFFICIENT) if told.has("from") else WORDS
    for channel in channels:
        if channel not in known and not channel.startswith(OF_CLASS):
            hint = did_you_mean(channel, known)
            raise told.refuse("channels", f"{channel[:40]!r} is none of {', '.join(known)}, score:<class>{hint}")
    if COEFFICIENT not in channels:
        return channels
    sizes = [n for n, name in zip(array.shape, array.dim_order, strict=True) if name not in {"batch", "box"}]
    n_more = (sizes[0] if len(sizes) == 1 else 1) - len(channels) + 1
    if channels.count(COEFFICIENT) > 1 or n_more < 1:
        raise told.refuse("channels", f"write {COEFFICIENT} once, for the channels of result.shape that are left")
    at = channels.index(COEFFICIENT)
    return (*channels[:at], *(f"{stem}{number}" for number in range(n_more)), *channels[at + 1 :])


def _output(field: CardField) -> BoxOutput:
    """One output. Raises CardError naming the field."""
    boxes, of_masks = _told(field), field.has("tw:instances")
    boxes.only(("channels", *(("from", *MASK_RULE) if of_masks else RULE)))
    if of_masks and {MASK, PROTOTYPE} & {*boxes.texts("channels")}:
        return read_shaped_output(field, boxes)
    array = read_shape(field, "result", largest=MOST_BOXES)
    channels = _named(boxes, array)
    output = BoxOutput(
        name=field.text("name"),
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        channels=channels,
        activation=cast(
            "Literal['softmax', 'sigmoid', 'none']",
            field.choice("tw:activation", ("softmax", "sigmoid", "none"), "none"),
        ),
    )
    scores = [name for name in channels if name in SCORES or name.startswith(OF_CLASS)]
    if scores and not output.data_type.startswith("float"):
        raise field.child("result").refuse("data_type", "scores are probabilities: give them as float")
    if output.activation != "none" and not scores:
        raise field.refuse("tw:activation", "no score stands in this output: leave it out here")
    if output.activation == "softmax" and (len(scores) < 2 or {"score", "objectness"} & {*scores}):
        raise field.refuse("tw:activation", "softmax is of score:<class> of each class; write sigmoid or none")
    result, axes = field.child("result"), output.axes
    if axes.count("box") != 1 or axes.count("batch") > 1 or axes.count("channel") > 1 or "height" in axes:
        raise result.refuse("dim_order", "name the dimensions batch, box and channel, each once; box must be there")
    n_channels = output.shape[axes.index("channel")] if "channel" in axes else 1
    if not channels or n_channels not in {-1, len(channels)}:
        given = "as many as there are" if n_channels < 1 else str(n_channels)
        raise boxes.refuse("channels", f"name each of the channels of result.shape, {given}; 'ignored' skips one")
    return output


def _rule(fields: Sequence[CardField], keys: Sequence[str] = RULE) -> dict[str, Any]:
    """The values of RULE, or other keys, each stated by one output at most. Raises CardError naming the second."""
    stated: dict[str, CardField] = {}
    for field in fields:
        boxes = _told(field)
        for key in keys:
            if boxes.has(key) and key in stated:
                raise boxes.refuse(key, f"{stated[key].at(key)} says it for this table already: leave it out here")
            if boxes.has(key):
                stated[key] = boxes
    of = {key: stated.get(key, _told(fields[0])) for key in {*RULE, *keys}}
    rule: dict[str, Any] = {
        "least_score": of["least_score"].number("least_score", LEAST_SCORE),
        "iou": of["iou"].number("iou", IOU),
        "per_class": of["per_class"].flag("per_class", default=True),
        "unit": of["unit"].choice("unit", ("pixel", "window"), "pixel"),
        "angle": of["angle"].choice("angle", ("radians", "degrees"), "radians"),
    }
    if "least_probability" in keys:
        rule["least_probability"] = least_probability(of["least_probability"])
    for key in ("least_score", "iou"):
        if not 0 <= rule[key] <= 1:
            raise of[key].refuse(key, "write a number from 0 to 1")
    return rule


def _classes(fields: Sequence[CardField]) -> tuple[ClassSpec, ...]:
    """The classes of a table, which one of its outputs lists. Raises CardError."""
    telling = [field for field in fields if field.content.get("classification:classes")]
    if len(telling) != 1:
        at = (telling or fields)[-1]
        raise at.refuse("classification:classes", "list the classes at one of the outputs that name the same layer")
    return read_classes(telling[0], least=1)


def _check_channels(
    field: CardField, channels: Sequence[str], classes: Sequence[ClassSpec], *, placed: bool = True
) -> None:
    """Refuse channels that are no box, no score or no class, or that say something twice.

    If they need not be `placed`, all channels of a box may be missing.
    """
    boxes = _told(field)
    twice = sorted({channel for channel in channels if channels.count(channel) > 1})
    if twice:
        raise boxes.refuse("channels", f"{twice[0]!r} stands twice among the outputs of this table")
    places = [channel for channel in channels if channel in {*CORNERS, *CENTRE}]
    if set(places) not in ({*CORNERS}, {*CENTRE}) and (placed or places):
        raise boxes.refuse("channels", "name x1 y1 x2 y2, or cx cy w h, among the outputs of this table")
    if "angle" in channels and set(places) == {*CORNERS}:
        raise boxes.refuse("channels", "an angle turns boxes given by cx cy w h, not by their corners")
    of_classes = [channel.removeprefix(OF_CLASS) for channel in channels if channel.startswith(OF_CLASS)]
    if of_classes and ("class" in channels or "score" in channels):
        raise boxes.refuse("channels", "give either score and class, or score:<class> for each class")
    if not of_classes and not {"score", "objectness"} & {*channels}:
        raise boxes.refuse("channels", "name a score, objectness, or score:<class> for each class")
    if "nothing" in channels and not of_classes:
        raise boxes.refuse("channels", "'nothing' stands among score:<class> of each class")
    names = [each.name for each in classes]
    if of_classes and sorted(of_classes) != sorted(names):
        wrong = next((each for each in of_classes if each not in names), None)
        words = f"{wrong[:40]!r} is no class" if wrong else "each class needs its score:<class>"
        raise boxes.refuse("channels", f"{words}; there are {', '.join(names[:20])}")
    if not of_classes and "class" not in channels and len(classes) > 1:
        raise boxes.refuse("channels", "several classes are listed: name a class channel, or score:<class> for each")


def check_boxes_fit(tables: Sequence[BoxesSpec | MasksSpec], inputs: Sequence[InputSpec]) -> None:
    """Refuse boxes, and masks, of inputs that have no pixels to count, or other pixels than the window.

    Raises CardError.
    """
    for table in tables:
        if isinstance(table, MasksSpec):
            boxes, what, key, placed = table.boxes, "masks", "tw:instances", table.has_places
        else:
            boxes, what, key, placed = table, "boxes", "tw:boxes", True
        name = f"properties.mlm:output ({table.outputs[0].name}).{key}"
        if all(spec.pixelwise for spec in inputs):
            raise CardError(f"{name}: {what} lie in windows, but the inputs have no height and width; add them")
        fixed = max(spec.size("batch") or 1 for spec in inputs)
        alone = next((output.name for output in table.outputs if output.axes[0] != "batch"), None)
        if fixed > 1 and alone is not None:
            raise CardError(
                f"{name}: {alone} has the boxes of one window, and the graph takes {fixed}: export it for one window, "
                "or with batch as the first dimension of each output"
            )
        resized = next((spec.name for spec in inputs if spec.resize), None)
        if resized is not None and boxes.unit == "pixel" and placed:
            raise CardError(
                f"{name}.unit is 'pixel', and windows are resized for the input {resized}: let the graph give shares "
                "of the window and write unit: window, or leave resize_type out"
            )
