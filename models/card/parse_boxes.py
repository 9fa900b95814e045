"""Parses the outputs of a card that tell of boxes (`tw:boxes`); an error names the path of the field it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from tilewright.models.card.parse_outputs import LAYER_NAME, RESERVED, read_classes
from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean
from tilewright.models.spec.arrays import read_shape
from tilewright.models.spec.boxes import CENTRE, CORNERS, OF_CLASS, SCORES, WORDS, BoxesSpec, BoxOutput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import ClassSpec

FIELDS: Final = ("tw:activation", "tw:boxes", "tw:layers")

RULE: Final = ("least_score", "iou", "per_class", "unit", "angle")
"""Keys of `tw:boxes` that one output of a table states for all."""

LEAST_SCORE, IOU = 0.25, 0.5
"""Where no output says another: what exporters of detectors take by default.

Source: Ultralytics, predict settings (conf 0.25); torchvision, FasterRCNN (box_nms_thresh 0.5)."""

MOST_BOXES: Final = 1 << 20
"""Boxes that an array may have for a window: a head on a window of 1280 px has 33 600, with nine anchors 200 000."""

TABLES: Final = ("items", "places", "zones", "changes")
"""Names of tables that products have or may get beside a detector's."""


def read_boxes(properties: CardField, *, taken: Iterable[str]) -> tuple[BoxesSpec, ...]:
    """The tables of boxes of a card, in its order; `taken` are the names of its layers.

    Raises CardError naming the field.
    """
    entries: dict[str, list[CardField]] = {}
    for entry in properties.children("mlm:output"):
        if entry.has("tw:boxes"):
            entries.setdefault(_table_name(entry, taken), []).append(entry)
    return tuple(_table(name, fields) for name, fields in entries.items())


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


def _output(field: CardField) -> BoxOutput:
    """One output. Raises CardError naming the field."""
    boxes = field.child("tw:boxes")
    boxes.only(("channels", *RULE))
    array = read_shape(field, "result", largest=MOST_BOXES)
    channels = boxes.texts("channels")
    for channel in channels:
        if channel not in WORDS and not channel.startswith(OF_CLASS):
            hint = did_you_mean(channel, WORDS)
            raise boxes.refuse("channels", f"{channel[:40]!r} is none of {', '.join(WORDS)}, score:<class>{hint}")
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
    if axes.count("box") != 1 or axes.count("batch") > 1 or axes.count("channel") > 1:
        raise result.refuse("dim_order", "name the dimensions batch, box and channel, each once; box must be there")
    n_channels = output.shape[axes.index("channel")] if "channel" in axes else 1
    if not channels or n_channels not in {-1, len(channels)}:
        given = "as many as there are" if n_channels < 1 else str(n_channels)
        raise boxes.refuse("channels", f"name each of the channels of result.shape, {given}; 'ignored' skips one")
    return output


def _rule(fields: Sequence[CardField]) -> dict[str, Any]:
    """The values of RULE, each stated by one output at most. Raises CardError naming the second."""
    stated: dict[str, CardField] = {}
    for field in fields:
        boxes = field.child("tw:boxes")
        for key in RULE:
            if boxes.has(key) and key in stated:
                raise boxes.refuse(key, f"{stated[key].at(key)} says it for this table already: leave it out here")
            if boxes.has(key):
                stated[key] = boxes
    of = {key: stated.get(key, fields[0].child("tw:boxes")) for key in RULE}
    rule: dict[str, Any] = {
        "least_score": of["least_score"].number("least_score", LEAST_SCORE),
        "iou": of["iou"].number("iou", IOU),
        "per_class": of["per_class"].flag("per_class", default=True),
        "unit": of["unit"].choice("unit", ("pixel", "window"), "pixel"),
        "angle": of["angle"].choice("angle", ("radians", "degrees"), "radians"),
    }
    for key in ("least_score", "iou"):
        if not 0 <= rule[key] <= 1:
            raise of[key].refuse(key, "write a number from 0 to 1")
    return rule


def _classes(fields: Sequence[CardField]) -> tuple[ClassSpec, ...]:
    """The classes of a table, which one of its outputs lists. Raises CardError."""
    telling = [field for field in fields if field.content.get("classification:classes")]
    if len(telling) != 1:
        at = (telling or fields)[-1]
        raise at.refuse("classification:classes", "list the classes at one of the outputs of a table of boxes")
    return read_classes(telling[0], least=1)


def _check_channels(field: CardField, channels: Sequence[str], classes: Sequence[ClassSpec]) -> None:
    """Refuse channels that are no box, no score or no class, or that say something twice."""
    boxes = field.child("tw:boxes")
    twice = sorted({channel for channel in channels if channels.count(channel) > 1})
    if twice:
        raise boxes.refuse("channels", f"{twice[0]!r} stands twice among the outputs of this table")
    places = [channel for channel in channels if channel in {*CORNERS, *CENTRE}]
    if set(places) not in ({*CORNERS}, {*CENTRE}):
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


def check_boxes_fit(tables: Sequence[BoxesSpec], inputs: Sequence[InputSpec]) -> None:
    """Refuse boxes of inputs that have no pixels to count, or other pixels than the window.

    Raises CardError.
    """
    for table in tables:
        name = f"properties.mlm:output ({table.outputs[0].name}).tw:boxes"
        if all(spec.pixelwise for spec in inputs):
            raise CardError(f"{name}: boxes lie in windows, but the inputs have no height and width; add them")
        fixed = max(spec.size("batch") or 1 for spec in inputs)
        alone = next((output.name for output in table.outputs if output.axes[0] != "batch"), None)
        if fixed > 1 and alone is not None:
            raise CardError(
                f"{name}: {alone} has the boxes of one window, and the graph takes {fixed}: export it for one window, "
                "or with batch as the first dimension of each output"
            )
        resized = next((spec.name for spec in inputs if spec.resize), None)
        if resized is not None and table.unit == "pixel":
            raise CardError(
                f"{name}.unit is 'pixel', and windows are resized for the input {resized}: let the graph give shares "
                "of the window and write unit: window, or leave resize_type out"
            )
