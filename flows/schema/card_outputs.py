"""What Tilewright asks of an entry of `mlm:output` beside STAC and the MLM extension."""

from __future__ import annotations

from typing import Final

from tilewright.flows.schema.forms import (
    FLAG,
    FLOATS,
    NULL,
    NUMBER,
    POSITIVE,
    PROBABILITY,
    SHARE,
    TEXT,
    TEXTS,
    Schema,
    absent,
    array,
    given,
    integer,
    known,
    maybe,
    numbers,
    one_of,
    options,
    pattern,
    some_axis,
    square,
    when,
)
from tilewright.models.card.parse_boxes import FIELDS as BOX_FIELDS
from tilewright.models.card.parse_boxes import MASK_RULE, MOST_BOXES, RULE
from tilewright.models.card.parse_outputs import COLOR, FIELDS, LAYER_NAME, NON_RASTER_TASKS, RESERVED, TASK
from tilewright.models.card.schema import MOST_ENTRIES
from tilewright.models.fields import LONGEST_TEXT
from tilewright.models.spec.boxes import COEFFICIENT, MASK, OF_CLASS, PROTOTYPE, WORDS
from tilewright.models.spec.embedding import DIMENSION, METRICS, NOT_BESIDE, STORAGES
from tilewright.models.spec.embedding import TASK as SEARCH
from tilewright.models.spec.instances import TABLES, WAYS
from tilewright.models.spec.outputs import CLASS_LAYERS, NODATA_BYTE
from tilewright.models.spec.words import LARGEST_VOCABULARY
from tilewright.models.spec.words import TASK as ANSWERS


def _class() -> Schema:
    """A class: its value, name and colour."""
    keys = {
        "value": integer(0, NODATA_BYTE - 1),
        "name": maybe(TEXT),
        "description": maybe(TEXT),
        "color_hint": maybe({"type": "string", "pattern": pattern(COLOR.pattern)}),
    }
    return {
        "type": "object",
        "required": ["value"],
        "properties": keys,
        "anyOf": [given("name"), given("title", TEXT)],
    }


ACTIVATION: Final = one_of(["softmax", "sigmoid", "none"])


def _of_boxes() -> Schema:
    """An output of boxes, or of objects with a mask each."""
    channel = {"anyOf": [{"enum": [*WORDS]}, {"type": "string", "pattern": f"^{OF_CLASS}", "maxLength": LONGEST_TEXT}]}
    shaped = {"enum": [COEFFICIENT, MASK, PROTOTYPE]}
    rule = {
        "least_score": maybe(SHARE),
        "iou": maybe(SHARE),
        "per_class": maybe(FLAG),
        "unit": one_of(["pixel", "window"]),
        "angle": one_of(["radians", "degrees"]),
        "least_probability": maybe(PROBABILITY),
    }
    needed = {"required": ["channels"]}
    channels = {"type": "array", "minItems": 1, "items": channel}
    boxes = options({"channels": channels, **{key: rule[key] for key in RULE}}, **needed)
    masks = options(
        {
            "channels": {**channels, "items": {"anyOf": [*channel["anyOf"], shaped]}},
            "from": {"const": "masks"},
            **{key: rule[key] for key in MASK_RULE},
        },
        **needed,
    )
    name = {"type": "string", "pattern": pattern(LAYER_NAME.pattern), "not": {"enum": [*RESERVED]}}
    keys = {
        "tw:layers": {"type": "array", "minItems": 1, "maxItems": 1, "items": name},
        "tw:activation": ACTIVATION,
        "classification:classes": {"anyOf": [{"type": "array", "items": _class()}, {"enum": [None, False, 0, "", {}]}]},
    }
    alone = when(
        given("channels", {"contains": {"enum": [MASK, PROTOTYPE]}}), {"properties": {"channels": {"maxItems": 1}}}
    )
    masks["allOf"] = [alone]
    told = when(given("tw:instances"), {"properties": {"tw:instances": masks}}, {"properties": {"tw:boxes": boxes}})
    shape = array("result", {"items": TEXT}, largest=MOST_BOXES)
    return {**known(BOX_FIELDS, prefix="tw:"), "required": ["tw:layers"], "properties": keys, "allOf": [told, shape]}


def _of_layers() -> Schema:
    """An output that becomes layers: classes, values or vectors."""
    classes = given("classification:classes", {"type": "array", "minItems": 1})
    # A prefix may still come before the name of a layer.
    name = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"}
    boundary = options(
        {
            "from": {"enum": [*WAYS]},
            "interior": TEXT,
            "boundary": TEXT,
            "least_probability": maybe(PROBABILITY),
        },
        required=["from", "interior", "boundary"],
    )
    free = {"not": {"anyOf": [{"enum": [*TABLES]}, {"type": "string", "pattern": "_polygons$"}]}}
    of_objects = {
        "allOf": [classes, {"required": ["tw:layers"]}],
        "properties": {"tw:layers": {"contains": {"not": {"enum": [*CLASS_LAYERS]}}, "items": free}},
    }
    vectors = {
        "allOf": [absent(*NOT_BESIDE), given("tasks", {"contains": {"const": SEARCH}})],
        "properties": {"tw:layers": {"maxItems": 1, "items": {"not": {"const": DIMENSION}}}},
    }
    of_classes = absent("tw:valid_range", "tw:image")
    of_values = {"properties": {"tw:unit": {"anyOf": [{"type": "string"}, TEXTS]}, "tw:threshold": NULL}}
    some = {"properties": {"tasks": {"items": {"not": {"enum": [*NON_RASTER_TASKS]}}}}}
    apart = {"properties": {"tasks": {"items": {"not": {"enum": [each for each in NON_RASTER_TASKS if each != TASK]}}}}}
    keys = {
        "tasks": TEXTS,
        "description": maybe(TEXT),
        "post_processing_function": NULL,
        "classification:classes": {
            "type": "array",
            "maxItems": MOST_ENTRIES,
            "items": _class(),
            "anyOf": [{"maxItems": 0}, {"minItems": 2}],
        },
        "tw:activation": ACTIVATION,
        "tw:crop": maybe(numbers({"type": "number", "minimum": 0}, minItems=1, maxItems=2)),
        "tw:embedding": maybe(options({"metric": one_of(METRICS), "storage": one_of(STORAGES)})),
        "tw:image": maybe(TEXT),
        "tw:instances": maybe(boundary),
        "tw:layers": {"type": "array", "maxItems": MOST_ENTRIES, "uniqueItems": True, "items": name},
        "tw:outside": one_of(["nodata", "clip"]),
        "tw:scale": maybe(POSITIVE),
        "tw:threshold": maybe({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        "tw:valid_range": maybe(numbers(NUMBER, minItems=2, maxItems=2)),
    }
    rules = [
        when(given("tw:instances"), {"allOf": [of_objects, apart]}, some),
        when(given("tw:embedding"), vectors),
        when(classes, of_classes, of_values),
        when(given("tw:threshold"), {"properties": {"classification:classes": {"maxItems": 2}}}),
        array("result", {"items": TEXT, "allOf": [some_axis("batch"), square()]}),
    ]
    return {**known(FIELDS, prefix="tw:"), "properties": keys, "allOf": rules}


def card_output() -> Schema:
    """An entry of `mlm:output` of a card that gives no answers in words."""
    common = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
    masks = given("tw:instances", {"required": ["from"], "properties": {"from": {"const": "masks"}}, "type": "object"})
    return {**common, **when({"anyOf": [given("tw:boxes"), masks]}, _of_boxes(), _of_layers())}


def card_answer() -> Schema:
    """The one entry of `mlm:output` of a card that answers in words."""
    first = [{"const": "batch"}, {"const": "token"}, TEXT]
    dimensions = {"items": first, "additionalItems": False, "minItems": 3}
    return {
        "type": "object",
        **known(["tw:layers"], prefix="tw:"),
        "required": ["name", "tasks"],
        "properties": {
            "name": TEXT,
            "tasks": {**TEXTS, "contains": {"const": ANSWERS}},
            "tw:layers": {**TEXTS, "maxItems": 1},
        },
        "allOf": [array("result", dimensions, largest=LARGEST_VOCABULARY, data_types=FLOATS)],
    }
