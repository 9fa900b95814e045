"""The JSON Schema of a card: those of STAC and of the MLM extension at hand, and what Tilewright asks beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urldefrag, urljoin

from tilewright.catalogs.schemas import ITEM
from tilewright.flows.schema.card_inputs import card_input
from tilewright.flows.schema.card_outputs import card_answer, card_output
from tilewright.flows.schema.forms import (
    FLAG,
    NULL,
    NUMBER,
    TEXT,
    TEXTS,
    Schema,
    given,
    integer,
    known,
    maybe,
    numbers,
    one_of,
    options,
    when,
)
from tilewright.models.card.card import PROPERTY_FIELDS
from tilewright.models.card.files import TEXT_ROLES
from tilewright.models.card.schema import CHECKED, MLM, MLM_ACCEPTED, MOST_ENTRIES, card_schemas
from tilewright.models.card.tile import LARGEST_WINDOW
from tilewright.models.spec.arrays import LARGEST_SIDE
from tilewright.models.spec.draws.stochastic import FEWEST_PASSES, MOST_PASSES
from tilewright.models.spec.sampler_fields import LARGEST_NOISE, MOST_STEPS
from tilewright.models.spec.words import (
    FILES,
    LARGEST_VOCABULARY,
    LONGEST_PROMPT,
    MOST_BEAMS,
    MOST_TOKENS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""That of the schemas of STAC and of the MLM extension, which stand in this one."""

TITLE: Final = "A model card of Tilewright"

BESIDE: Final = ("$id", "$schema", "$comment")
"""Keys of a schema that mean nothing inside of another one."""

WORDS: Final = {
    "tw:tile": "The windows in pixels of the card's grid: window, step, trim ('measured' or pixels), merge.",
    "tw:text": "The text tower of an embedding: the assets of its model and its tokenizer.",
    "tw:generate": "How the model answers in words, token by token.",
    "tw:sampler": "The loop that runs the graph: kind, steps, prediction, levels, times.",
    "tw:stochastic": "The passes of a graph that draws random numbers: passes, seed, spread, split.",
    "tw:valid_for": "What the model was made for: area, months, platforms.",
    "tw:simulated": "Whether the model was trained on simulated data.",
}
"""What an editor says of Tilewright's own keys of a card."""


def card_schema() -> dict[str, Any]:
    """The schema of a card file in draft-07, which refers to nothing outside of it.

    It says nothing of the graph, of files, of what several entries say of each other, or of numbers of entries.
    """
    schemas = card_schemas().by_address
    names: dict[str, str] = {}
    parts: dict[str, Any] = {}
    waiting = [ITEM, MLM, *CHECKED]
    while waiting:
        address = waiting.pop()
        if address in names:
            continue
        names[address] = address.removesuffix("/schema.json").removesuffix(".json").split("://")[1].replace("/", "_")
        parts[names[address]], more = _inside(schemas, address)
        waiting += more
    bound = _bound(parts, names)
    extensions = [
        when(
            given("stac_extensions", {"type": "array", "contains": {"const": uri}}),
            {"$ref": f"#/definitions/{names[uri]}"},
        )
        for uri in CHECKED
    ]
    return {
        "$schema": DIALECT,
        "title": TITLE,
        "type": "object",
        "allOf": [
            {"$ref": f"#/definitions/{names[ITEM]}"},
            {"$ref": f"#/definitions/{names[MLM]}"},
            *extensions,
            _own(),
        ],
        "definitions": {**bound, "input": card_input(), "output": card_output(), "answer": card_answer()},
    }


def _inside(schemas: Mapping[str, Any], address: str) -> tuple[Any, list[str]]:
    """The schema of an address with whole addresses in its references, and those addresses."""
    found: list[str] = []

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$ref"), str):
            target = urljoin(address, value["$ref"])
            found.append(urldefrag(target).url)
            return {"$ref": target}
        # The program checks no formats of texts; a property of that name holds a schema.
        kept = {key: each for key, each in value.items() if key not in BESIDE or isinstance(each, dict)}
        return {key: whole(each) for key, each in kept.items() if key != "format" or not isinstance(each, str)}

    return whole(schemas[address]), [each for each in found if each in schemas]


def _bound(parts: Any, names: Mapping[str, str]) -> Any:
    """The schemas with references to where each stands in this one."""
    if isinstance(parts, list):
        return [_bound(each, names) for each in parts]
    if not isinstance(parts, dict):
        return parts
    if isinstance(parts.get("$ref"), str):
        address, pointer = urldefrag(parts["$ref"])
        return {"$ref": f"#/definitions/{names[address]}{pointer}"}
    return {key: _bound(each, names) for key, each in parts.items()}


def _own() -> Schema:
    """What Tilewright asks of an Item that is a card."""
    listed = {"type": "array", "contains": {"type": "string", "pattern": MLM_ACCEPTED}}
    return {
        "required": ["stac_version", "stac_extensions", "properties", "assets"],
        "properties": {
            "stac_version": {"const": "1.1.0"},
            "stac_extensions": listed,
            "properties": _properties(),
            "assets": {"type": "object", "additionalProperties": _asset()},
        },
    }


def _asset() -> Schema:
    """A file of the card, which lies in its folder and is known by its checksum."""
    ours = ["mlm:model", "mlm:weights"]
    inside = r"^(?![A-Za-z][A-Za-z0-9+.-]*:)(?!/)(?!(.*/)?\.\.(/|$))[^\\]*[^\\./][^\\]*$"
    file = {
        "required": ["href", "file:checksum"],
        "properties": {
            "href": {**TEXT, "pattern": inside},
            "file:checksum": {"type": "string", "pattern": "^1220[0-9a-f]{64}$"},
        },
    }
    roles = {"properties": {"roles": TEXTS}}
    return {"type": "object", **roles, **when(given("roles", {"contains": {"enum": ours}}), file)}


def _properties() -> Schema:
    """The properties of a card: its inputs and outputs, and Tilewright's own keys."""
    keys = {
        "tw:tile": maybe(_tile()),
        "tw:text": maybe(options(dict.fromkeys(TEXT_ROLES, TEXT), required=[*TEXT_ROLES])),
        "tw:generate": maybe(_generate()),
        "tw:sampler": maybe(_sampler()),
        "tw:stochastic": maybe(_stochastic()),
        "tw:valid_for": maybe(_valid_for()),
        "tw:simulated": FLAG,
    }
    described = {key: {"description": WORDS[key], **form} for key, form in keys.items()}
    inputs = {"type": "array", "minItems": 1, "maxItems": MOST_ENTRIES, "items": {"$ref": "#/definitions/input"}}
    # One at least is filled with pixels that must be there.
    beside = {
        "anyOf": [given("tw:extra"), {"required": ["tw:optional"], "properties": {"tw:optional": {"const": True}}}]
    }
    outputs = {"type": "array", "minItems": 1, "maxItems": MOST_ENTRIES}
    one = {"properties": {"mlm:output": {"maxItems": 1}}}
    loops = {"contains": {"properties": {"tw:extra": _of_loop()}, "required": ["tw:extra"]}}
    return {
        "type": "object",
        **known(PROPERTY_FIELDS, prefix="tw:"),
        "required": ["mlm:input", "mlm:output"],
        "properties": {
            **described,
            "mlm:input": {**inputs, "contains": {"not": beside}},
            "mlm:output": outputs,
        },
        "allOf": [
            when(
                given("tw:generate"),
                {"properties": {"mlm:output": {"maxItems": 1, "items": {"$ref": "#/definitions/answer"}}}},
                {"properties": {"mlm:output": {"items": {"$ref": "#/definitions/output"}}}},
            ),
            when(given("tw:sampler"), one, {"properties": {"mlm:input": {"not": loops}}}),
        ],
    }


def _of_loop() -> Schema:
    """The kinds of inputs that only a loop can fill."""
    kinds = {"enum": ["state", "time"]}
    return {"anyOf": [kinds, {"type": "object", "required": ["kind"], "properties": {"kind": kinds}}]}


def _tile() -> Schema:
    return options(
        {
            "window": maybe(integer(1, LARGEST_WINDOW)),
            "step": maybe(integer(1, LARGEST_WINDOW)),
            "trim": {"anyOf": [{"const": "measured"}, integer(0, LARGEST_WINDOW)]},
            "merge": one_of(["auto", "trim", "blend"]),
        }
    )


def _generate() -> Schema:
    token = {"anyOf": [integer(0, LARGEST_VOCABULARY), {"type": "string", "minLength": 1, "maxLength": LONGEST_PROMPT}]}
    tokens = {"anyOf": [*token["anyOf"], {"type": "array", "minItems": 1, "maxItems": MOST_TOKENS, "items": token}]}
    keys = {
        **{key: TEXT if key == "tokenizer" else maybe(TEXT) for key in FILES},
        "prompt": maybe({"type": "string", "maxLength": LONGEST_PROMPT, "pattern": r"^[^\n\r\t]*$"}),
        "max_tokens": integer(1, MOST_TOKENS),
        "end": tokens,
        "start": maybe(tokens),
        "num_beams": integer(1, MOST_BEAMS),
    }
    return options(keys, required=["tokenizer", "max_tokens", "end"])


def _sampler() -> Schema:
    levels = numbers(NUMBER, minItems=2, maxItems=MOST_STEPS + 1)
    average = options({"window": integer(1, LARGEST_SIDE), "step": integer()}, required=["window", "step"])
    keys = {
        "kind": {"enum": ["ddim", "euler", "heun"]},
        "prediction": {"enum": ["epsilon", "velocity", "sample"]},
        "steps": integer(1, MOST_STEPS),
        "alphas": maybe(levels),
        "sigmas": maybe(levels),
        "times": maybe(numbers(NUMBER)),
        "seed": integer(0),
        "average": maybe(average),
    }
    alphas = {**levels, "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}
    sigmas = {**levels, "items": {"type": "number", "minimum": 0, "maximum": LARGEST_NOISE}}
    ddim = {
        "required": ["alphas", "times"],
        "properties": {"alphas": alphas, "sigmas": NULL, "times": {"not": NULL}},
    }
    other = {"required": ["sigmas"], "properties": {"sigmas": sigmas, "alphas": NULL}}
    return options(
        keys,
        required=["kind", "prediction", "steps"],
        allOf=[when({"properties": {"kind": {"const": "ddim"}}}, ddim, other)],
    )


def _stochastic() -> Schema:
    keys = {"passes": integer(FEWEST_PASSES, MOST_PASSES), "seed": integer(0), "spread": FLAG, "split": FLAG}
    return options(keys)


def _valid_for() -> Schema:
    lon, lat = ({"type": "number", "minimum": -most, "maximum": most} for most in (180, 90))
    box = {"type": "array", "minItems": 4, "items": [lon, lat, lon, lat], "additionalItems": False}
    members = {
        **dict.fromkeys(("Polygon", "MultiPolygon"), "coordinates"),
        "Feature": "geometry",
        "FeatureCollection": "features",
        "GeometryCollection": "geometries",
    }
    geojson = {
        "type": "object",
        "required": ["type"],
        "anyOf": [{"properties": {"type": {"const": kind}}, "required": [key]} for kind, key in members.items()],
    }
    keys = {
        "area": {"anyOf": [NULL, box, geojson]},
        "months": maybe({"type": "array", "minItems": 1, "uniqueItems": True, "items": integer(1, 12)}),
        "platforms": maybe({**TEXTS, "minItems": 1, "uniqueItems": True}),
    }
    return options(keys, minProperties=1)
