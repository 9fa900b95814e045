"""Forms of values in a JSON Schema, as the readers of cards take them: null is left out, for most keys."""

from __future__ import annotations

from typing import Any, Final

from tilewright.models.fields import LARGEST_WHOLE, LONGEST_TEXT
from tilewright.models.spec.arrays import AXES, DATA_TYPES, LARGEST_SIDE, MOST_DIMENSIONS

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}

TEXTS: Final[Schema] = {"type": "array", "items": TEXT}

NUMBER: Final[Schema] = {"type": "number"}

POSITIVE: Final[Schema] = {"type": "number", "exclusiveMinimum": 0}

FLAG: Final[Schema] = {"type": "boolean"}

NULL: Final[Schema] = {"type": "null"}

SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}

PROBABILITY: Final[Schema] = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


def pattern(python: str) -> str:
    """A regular expression as JSON Schema writes it."""
    return python.replace(r"\Z", "$")


def integer(least: int = 1, most: int = LARGEST_WHOLE) -> Schema:
    """A whole number within bounds, both taken."""
    return {"type": "integer", "minimum": least, "maximum": most}


def maybe(schema: Schema) -> Schema:
    """The same, or null for what is left out."""
    return {"anyOf": [NULL, schema]}


def one_of(options: Any) -> Schema:
    """One of some words, or null for what is left out."""
    return {"enum": [*options, None]}


def numbers(items: Schema, **bounds: int) -> Schema:
    """A list of numbers, or one alone where one is enough."""
    listed = {"type": "array", "items": items, **bounds}
    return listed if bounds.get("minItems", 0) > 1 else {"anyOf": [items, listed]}


def given(key: str, schema: Schema | None = None) -> Schema:
    """That a key is there and not null, and of this form."""
    return {"required": [key], "properties": {key: {"not": NULL} if schema is None else schema}}


def absent(*keys: str) -> Schema:
    """That keys are left out or null."""
    return {"properties": dict.fromkeys(keys, NULL)}


def known(keys: Any, *, prefix: str = "") -> Schema:
    """That no other key stands there, or none that begins with a prefix."""
    named: Schema = {"enum": sorted(keys)}
    return {"propertyNames": {"anyOf": [{"not": {"pattern": f"^{prefix}"}}, named]} if prefix else named}


def options(properties: Schema, **more: Any) -> Schema:
    """An object with these keys and no other."""
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def when(condition: Schema, then: Schema, otherwise: Schema | None = None) -> Schema:
    """One form under a condition, and else another or any."""
    return {"if": condition, "then": then, **({} if otherwise is None else {"else": otherwise})}


def array(key: str, dimensions: Schema, *, largest: int = LARGEST_SIDE, data_types: Any = DATA_TYPES) -> Schema:
    """An array of the graph under a key: its shape, dimensions and type."""
    size = {"anyOf": [{"const": -1}, integer(1, largest)]}
    properties = {
        "shape": {"type": "array", "minItems": 1, "maxItems": MOST_DIMENSIONS, "items": size},
        "dim_order": {"type": "array", "minItems": 1, "maxItems": MOST_DIMENSIONS, **dimensions},
        "data_type": {"enum": list(data_types)},
    }
    return {"required": [key], "properties": {key: {"required": [*properties], "properties": properties}}}


def names(*axes: str) -> list[str]:
    """The names that dimensions of these axes may have."""
    return [name for name, axis in AXES.items() if axis in axes]


def some_axis(*axes: str) -> Schema:
    """That one dimension at least is of these axes."""
    return {"contains": {"enum": names(*axes)}}


def square() -> Schema:
    """Height and width together, or neither."""
    return {"anyOf": [{"allOf": [some_axis("height"), some_axis("width")]}, {"not": some_axis("height", "width")}]}


FLOATS: Final = [each for each in DATA_TYPES if each.startswith("float")]
