"""The JSON Schema of a job: what its models accept, with the short forms that people write and a word on each key.

It refuses what the program refuses before it looks at a file, but for what no schema can say: that dates exist and are
in order, outlines do not cross, names are known. What it accepts may still be refused; what it refuses, the program
refuses too, but for numbers and truth values in quotes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from tilewright.flows.job.job import JOBS, MAX_PERIODS, Job
from tilewright.flows.job.mask import KEYS_OF_KIND, MAX_VALUE
from tilewright.flows.job.options import MAX_CRS
from tilewright.flows.job.refusals import OF_MAPS
from tilewright.flows.schema.texts import TEXTS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

TITLE: Final = "A job of Tilewright, or a chain of jobs"

TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}

TEXTS_OR_ONE: Final[dict[str, Any]] = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}

DATES: Final[dict[str, Any]] = {"anyOf": [{**TEXT}, {"type": "integer"}]}
"""A period, as which YAML reads a year and `20210601` as numbers; a date arrives as its text."""

BOX: Final[dict[str, Any]] = {
    "type": "array",
    "prefixItems": [
        {"type": "number", "minimum": -180, "maximum": 180},
        {"type": "number", "minimum": -90, "maximum": 90},
        {"type": "number", "minimum": -180, "maximum": 180},
        {"type": "number", "minimum": -90, "maximum": 90},
    ],
    "items": False,
    "minItems": 4,
}

SOME: Final[dict[str, Any]] = {"not": {"enum": ["", []]}}
"""Something: no empty text or list."""

GEOJSON: Final[dict[str, Any]] = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}

PLACES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {"file": TEXT, "id": TEXT, "period": TEXT},
}

SOURCE: Final[dict[str, Any]] = {"anyOf": [{**TEXT}, {"type": "object", "minProperties": 1}]}

PERIOD: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "start", "end"],
    "additionalProperties": False,
    "properties": {"name": TEXT, "start": DATES, "end": DATES},
}

NAME: Final[dict[str, Any]] = {"type": "string", "pattern": r"^(?!\.+$)[A-Za-z0-9._-]{1,128}$"}

WRITTEN: Final[dict[str, Any]] = {
    "name": NAME,
    "area": {"anyOf": [BOX, GEOJSON, TEXT]},
    "places": {"anyOf": [TEXT, PLACES]},
    "period": {
        "anyOf": [
            *DATES["anyOf"],
            {"type": "array", "minItems": 1, "maxItems": MAX_PERIODS, "items": DATES},
            {"type": "array", "minItems": 1, "maxItems": MAX_PERIODS, "items": PERIOD},
            {"type": "object", "minProperties": 1, "maxProperties": MAX_PERIODS, "additionalProperties": DATES},
        ]
    },
    "source": SOURCE,
    "sources": {"type": "object", "minProperties": 1, "additionalProperties": SOURCE},
    "fuse": {"anyOf": [{"enum": ["auto", "yes", "no"]}, {"type": "boolean"}]},
    "layers": TEXTS_OR_ONE,
    "prompt": TEXTS_OR_ONE,
}
"""Keys whose form is not that of the checked job."""

SHORT: Final[dict[str, list[dict[str, Any]]]] = {
    "augment": [{"enum": ["none", "flips", "d4"]}],
    "ensemble": TEXTS_OR_ONE["anyOf"],
    "classify": TEXTS_OR_ONE["anyOf"],
    "polygons": [*TEXTS_OR_ONE["anyOf"], {"type": "null"}],
}
"""Short forms beside the long one."""

LISTS: Final[dict[tuple[str, str], list[dict[str, Any]]]] = {
    ("MaskOptions", "drop"): [{"type": "integer"}, {"type": "string"}],
    ("MaskOptions", "rule"): [{"type": "string"}],
    ("SceneFilter", "platforms"): [{"type": "string"}],
    ("ScreenOptions", "classes"): [{"type": "integer"}, {"type": "string"}],
    ("PolygonOptions", "classes"): [{"type": "string"}],
    ("EnsembleOptions", "models"): [{"type": "string"}],
    ("ClassifyOptions", "words"): [{"type": "string"}],
    ("SceneFilter", "clearest"): [{"type": "integer", "exclusiveMinimum": 0}],
}
"""Options that one entry of their list, or their first number, stands for."""


class _Accepted(GenerateJsonSchema):
    """Python's own objects, which no file holds, are left for WRITTEN to say."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        del schema, error_info
        return {}


def job_schema() -> dict[str, Any]:
    """The schema of a job file, which holds one job or a chain of them (`jobs`), in draft 2020-12."""
    plain = _of_lists(Job.model_json_schema(mode="validation", schema_generator=_Accepted))
    options = plain.pop("$defs")
    for name in ("Area", "JobPeriod"):
        options.pop(name, None)
    keys = plain["properties"]
    del keys["base"]
    keys |= {key: deepcopy(form) for key, form in WRITTEN.items()}
    for key, forms in SHORT.items():
        keys[key] = {"anyOf": [*deepcopy(forms), _bare(keys[key])]}
    keys["polygons"]["anyOf"][-1]["additionalProperties"] = {
        "anyOf": [keys["polygons"]["anyOf"][-1]["additionalProperties"], {"type": "null"}]
    }
    keys["loss"]["additionalProperties"] = {"type": "number", "minimum": 1e-30, "maximum": 1e30}
    options["GridOptions"]["properties"]["crs"]["maxLength"] = MAX_CRS
    deviation = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6}
    by_band = {"type": "object", "additionalProperties": deviation}
    options["AugmentOptions"]["properties"]["sigma"] = {"anyOf": [deviation, by_band, {"type": "null"}]}
    for (name, key), forms in LISTS.items():
        listed = options[name]["properties"][key]
        options[name]["properties"][key] = {"anyOf": [*forms, *listed.get("anyOf", [_bare(listed)])]}
    for name, rules in _rules_of_options().items():
        options[name]["allOf"] = rules
    for name, described in options.items():
        described.pop("title", None)
        described.pop("description", None)
        for key, value in described.get("properties", {}).items():
            value.pop("title", None)
            if text := _text_of(name, key, keys):
                value["description"] = text
    for key, value in keys.items():
        value.pop("title", None)
        value["description"] = TEXTS[key]
    job = {"type": "object", "properties": keys, "additionalProperties": False}
    return {
        "$schema": DIALECT,
        "title": TITLE,
        "if": {"required": [JOBS]},
        "then": {"$ref": "#/$defs/Chain"},
        "else": {"$ref": "#/$defs/Whole"},
        "$defs": {
            **options,
            "Job": job,
            "Whole": {"$ref": "#/$defs/Job", "required": ["model", "period"], "allOf": _rules_of_jobs()},
            "Chain": _chain(keys),
        },
    }


def _of_lists(plain: Any) -> Any:
    """The schema with the lengths of lists under the names that lists have."""
    if isinstance(plain, list):
        return [_of_lists(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    names = {"minLength": "minItems", "maxLength": "maxItems"} if plain.get("type") == "array" else {}
    return {names.get(key, key): _of_lists(value) for key, value in plain.items()}


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in {"title", "description", "default"}}


def _text_of(name: str, option: str, keys: dict[str, Any]) -> str | None:
    """What is said of an option of the model of that name."""
    for key, value in keys.items():
        if f'#/$defs/{name}"' in str(value).replace("'", '"'):
            return TEXTS.get(f"{key}.{option}")
    return None


def _rules_of_jobs() -> list[dict[str, Any]]:
    """What keys of one job say of each other."""
    return [
        {"oneOf": [{"required": ["area"]}, {"required": ["places"]}]},
        {"oneOf": [{"required": ["source"]}, {"required": ["sources"]}]},
        {"if": {"required": ["places"]}, "then": {"allOf": [_absent(key) for key in OF_MAPS]}},
    ]


def _absent(key: str) -> dict[str, Any]:
    """A key that is left out, or says what leaving it out says."""
    first, _, option = key.partition(".")
    said: dict[str, Any] = (
        {"enum": [None, False, "fp32", {}, []]} if not option else {"properties": {option: {"type": "null"}}}
    )
    return {"properties": {first: said}}


def _rules_of_options() -> dict[str, list[dict[str, Any]]]:
    """What options under one key say of each other."""
    masks = [
        {"if": _kind(kind), "then": {"propertyNames": {"enum": sorted({"kind", *taken})}}}
        for kind, taken in KEYS_OF_KIND.items()
    ]
    for kind, highest in MAX_VALUE.items():
        listed = {"type": "integer", "minimum": 0, "maximum": highest}
        drop = {"anyOf": [listed, {"type": "array", "items": listed}]}
        masks.append({"if": _kind(kind), "then": {"properties": {"drop": drop}}})
    other_bits = {
        "allOf": [_kind("bits"), {"properties": {"band": {"not": {"const": "qa_pixel"}}}, "required": ["band"]}]
    }
    masks.append({"if": other_bits, "then": {"required": ["drop"]}})
    needed = {"values": ["band", "drop"], "model": ["model", "drop"], "rule": ["rule"]}
    masks += [
        {"if": _kind(kind), "then": {"required": keys, "properties": dict.fromkeys(keys, SOME)}}
        for kind, keys in needed.items()
    ]
    off, unsaid = {"const": False}, {"type": "null"}
    return {
        "MaskOptions": masks,
        "AugmentOptions": [
            {
                "if": _kind("noise"),
                "then": {"required": ["sigma"], "properties": {"sigma": {"type": ["number", "object"]}}},
                "else": {"properties": {"sigma": unsaid, "passes": unsaid, "seed": {"const": 0}}},
            },
            {"if": _kind("none", usual=True), "then": {"properties": {"spread": off, "split": off}}},
        ],
        "EnsembleOptions": [
            {
                "if": {"properties": {"models": SOME}, "required": ["models"]},
                "else": {"properties": {"disagreement": off, "split": off, "combine": {"const": "mean"}}},
            },
            {
                "if": {"properties": {"combine": {"const": "vote"}}, "required": ["combine"]},
                "then": {"properties": {"split": off}},
            },
        ],
    }


def _kind(name: str, *, usual: bool | None = None) -> dict[str, Any]:
    """That `kind` is this one; also where it is left out, if that is the `usual` one: for masks `auto` is."""
    usual = name == "auto" if usual is None else usual
    return {"properties": {"kind": {"const": name}}, "required": [] if usual else ["kind"]}


def _chain(keys: dict[str, Any]) -> dict[str, Any]:
    """Jobs in their order, each named, and beside them what all of them share."""
    listed = {"allOf": [{"$ref": "#/$defs/Job"}], "required": ["name"]}
    return {
        "type": "object",
        "required": [JOBS],
        "additionalProperties": False,
        "properties": {
            **keys,
            JOBS: {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": listed,
                "description": "The jobs, in order.",
            },
        },
    }
