"""Whether a card is a valid STAC Item of the MLM extension: by vendored schemas, without a network."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.schemas import EXTENSIONS, ITEM, Schemas, stac_schemas
from tilewright.models.errors import CardError
from tilewright.models.fields import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema.exceptions import ValidationError


MLM: Final = f"{EXTENSIONS}/mlm/v1.4.0/schema.json"

MLM_ACCEPTED: Final = r"^https://stac-extensions\.github\.io/mlm/v1\.[45](\.[0-9]+)?/schema\.json$"

FILE: Final = f"{EXTENSIONS}/file/v2.1.0/schema.json"

LISTS: Final = (
    *("bands", "classification:classes", "mlm:input", "mlm:output", "mlm:tasks", "tasks"),
    *("tw:layers", "tw:missing", "tw:unit", "value_scaling", "fill"),
)
"""Keys of a card's properties under which lists stand that a model has."""

MOST_ENTRIES: Final = 1024
"""Most entries of one of these lists."""

CARD_EXTENSIONS: Final = (
    f"{EXTENSIONS}/mlm/v1.5.2/schema.json",
    f"{EXTENSIONS}/classification/v2.0.0/schema.json",
    FILE,
)
"""The extensions that a new card declares."""

CHECKED: Final = (
    f"{EXTENSIONS}/classification/v1.1.0/schema.json",
    f"{EXTENSIONS}/classification/v2.0.0/schema.json",
    f"{EXTENSIONS}/eo/v1.1.0/schema.json",
    f"{EXTENSIONS}/processing/v1.1.0/schema.json",
    f"{EXTENSIONS}/raster/v1.1.0/schema.json",
    FILE,
)
"""The extensions that are checked where a card declares them; any other is left alone."""

ALIASES: Final = {f"{EXTENSIONS}/classification/v1.1.0/schema.json": f"{EXTENSIONS}/classification/v2.0.0/schema.json"}
"""Addresses that the MLM schema refers to, and the vendored schemas that take their place."""


def check_schemas(card: Mapping[str, Any], *, verify: bool = True) -> None:
    """Nothing for a valid card: STAC core 1.1, MLM 1.4 or 1.5, and the declared extensions of CHECKED.

    Nothing is ever fetched. Without `verify` the file extension is left out too, so that a card may hold a placeholder
    for a checksum.
    Raises CardError naming the path of the first failure.
    """
    _check_lengths(card.get("properties"), "properties")
    version = card.get("stac_version")
    if version != "1.1.0":
        raise CardError(f"stac_version is {version!r}; write a STAC Item of version '1.1.0'")
    declared = card.get("stac_extensions")
    if not isinstance(declared, list) or not any(re.match(MLM_ACCEPTED, str(uri)) for uri in declared):
        raise CardError(
            f"stac_extensions is {shorten(declared)}; list {EXTENSIONS}/mlm/v1.5.2/schema.json (1.4 and 1.5 are read)"
        )
    uris = [uri for uri in declared if uri in CHECKED and (verify or uri != FILE)]
    for uri in (ITEM, MLM, *uris):
        failures = list(card_schemas().failures(card, uri, check_formats=False))
        if failures:
            raise CardError(_sentence(max(failures, key=lambda failure: len(failure.absolute_path)), uri))


def _check_lengths(value: Any, path: str) -> None:
    """Refuse a list of more entries than any model has bands or classes: the schemas take milliseconds for each."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in LISTS:
                _check_lengths(inner, f"{path}.{key}")
    elif isinstance(value, list):
        if len(value) > MOST_ENTRIES:
            raise CardError(f"{path} is a list of {len(value)} entries; write at most {MOST_ENTRIES}")
        for index, inner in enumerate(value):
            _check_lengths(inner, f"{path}[{index}]")


def _sentence(error: ValidationError, uri: str) -> str:
    """What fails, where, by which schema."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    message = error.message if len(error.message) <= 400 else f"...{error.message[-400:]}"
    return f"{path or 'the Item'} does not follow {uri}: {message}"


@cache
def card_schemas() -> Schemas:
    """The schemas at hand, those of the Item and of MLM amended for cards."""
    schemas: dict[str, Any] = copy.deepcopy(dict(stac_schemas().by_address))
    schemas[MLM] = _amended(schemas[MLM])
    _allow_item_bands(schemas[ITEM])
    return Schemas.of(schemas | {alias: schemas[address] for alias, address in ALIASES.items()})


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
