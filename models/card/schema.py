"""Whether a card is a valid STAC Item of the MLM extension: by vendored schemas, without a network."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pystac.validation
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tilewright.models.errors import CardError
from tilewright.models.fields import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema.exceptions import ValidationError


SCHEMAS: Final = Path(__file__).parent / "schemas"

CORE: Final = Path(pystac.validation.__file__).parent / "jsonschemas"

EXTENSIONS: Final = "https://stac-extensions.github.io"

MLM: Final = f"{EXTENSIONS}/mlm/v1.4.0/schema.json"

MLM_ACCEPTED: Final = r"^https://stac-extensions\.github\.io/mlm/v1\.[45](\.[0-9]+)?/schema\.json$"

FILE: Final = f"{EXTENSIONS}/file/v2.1.0/schema.json"

ITEM: Final = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"

VENDORED: Final = (
    "classification-v2.0.0",
    "file-v2.1.0",
    "raster-v1.1.0",
    "eo-v1.1.0",
    "processing-v1.1.0",
    "mlm-v1.4.0",
)

ALIASES: Final = {f"{EXTENSIONS}/classification/v1.1.0/schema.json": f"{EXTENSIONS}/classification/v2.0.0/schema.json"}


def check_schemas(card: Mapping[str, Any], *, verify: bool = True) -> None:
    """Nothing for a valid card: STAC core 1.1, MLM 1.4 or 1.5, and each other declared extension that is vendored.

    Extensions that are not vendored are left alone; nothing is ever fetched. Without `verify` the file extension is
    left out too, so that a card may hold a placeholder for a checksum.
    Raises CardError naming the path of the first failure.
    """
    version = card.get("stac_version")
    if version != "1.1.0":
        raise CardError(f"stac_version is {version!r}; write a STAC Item of version '1.1.0'")
    declared = card.get("stac_extensions")
    if not isinstance(declared, list) or not any(re.match(MLM_ACCEPTED, str(uri)) for uri in declared):
        raise CardError(
            f"stac_extensions is {shorten(declared)}; list {EXTENSIONS}/mlm/v1.5.2/schema.json (1.4 and 1.5 are read)"
        )
    uris = [uri for uri in declared if uri in _schemas() and uri != MLM and (verify or uri != FILE)]
    for uri in (ITEM, MLM, *uris):
        validator = Draft7Validator(_schemas()[uri], registry=_registry())
        errors = [_deepest(error) for error in validator.iter_errors(card)]
        if errors:
            raise CardError(_sentence(max(errors, key=lambda error: len(error.absolute_path)), uri))


def _deepest(error: ValidationError) -> ValidationError:
    """The failure furthest inside the card among the alternatives of a union: the place to change."""
    while error.context:
        inner = max(error.context, key=lambda other: len(other.absolute_path))
        if len(inner.absolute_path) <= len(error.absolute_path):
            break
        error = inner
    return error


def _sentence(error: ValidationError, uri: str) -> str:
    """What fails, where, by which schema."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    message = error.message if len(error.message) <= 400 else f"...{error.message[-400:]}"
    return f"{path or 'the Item'} does not follow {uri}: {message}"


@lru_cache(maxsize=1)
def _schemas() -> dict[str, dict[str, Any]]:
    """Every schema at hand by its address."""
    schemas = {_address(name): json.loads((SCHEMAS / f"{name}.json").read_text("utf-8")) for name in VENDORED}
    schemas[MLM] = _amended(schemas[MLM])
    for path in sorted((CORE / "stac-spec" / "v1.1.0").glob("*.json")):
        schemas[ITEM.replace("item.json", path.name)] = json.loads(path.read_text("utf-8"))
    _allow_item_bands(schemas[ITEM])
    for name in ("Feature", "Geometry"):
        schemas[f"https://geojson.org/schema/{name}.json"] = json.loads(
            (CORE / "geojson" / f"{name}.json").read_text("utf-8")
        )
    return schemas | {alias: schemas[uri] for alias, uri in ALIASES.items()}


def _address(name: str) -> str:
    extension, version = name.rsplit("-", 1)
    return f"{EXTENSIONS}/{extension}/{version}/schema.json"


def _amended(mlm: dict[str, Any]) -> dict[str, Any]:
    """The MLM 1.4.0 schema with what 1.5 adds for items. Source: changes of the MLM extension from v1.4.0 to v1.5.0."""
    defs = mlm["$defs"]
    defs["stac_extensions_mlm"]["properties"]["stac_extensions"]["contains"] = {
        "type": "string",
        "pattern": MLM_ACCEPTED,
    }
    defs["mlm:tasks"]["items"]["enum"].append("downscaling")
    defs["fields"]["properties"]["mlm:entrypoint"] = {"type": "string", "minLength": 1}
    return mlm


def _allow_item_bands(schema: Any) -> None:
    """Let the Item's properties hold `bands` where no asset has any, as the MLM extension asks of a model.

    The core schema of STAC 1.1.0 forbids it (a condition in item.json), which MLM items published today contradict.
    """
    if isinstance(schema, dict):
        if str(schema.get("$comment", "")).startswith("The if-then-else below checks whether the bands field"):
            schema["then"] = schema["else"]
        for part in schema.values():
            _allow_item_bands(part)
    elif isinstance(schema, list):
        for part in schema:
            _allow_item_bands(part)


@lru_cache(maxsize=1)
def _registry() -> Registry[Any]:
    resources = [
        (uri, Resource.from_contents(schema, default_specification=DRAFT7)) for uri, schema in _schemas().items()
    ]
    return Registry[Any]().with_resources(resources)
