"""Whether an Item or a Collection keeps to STAC 1.1 and every extension it declares, judged without a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.schemas import (
    ALTERNATE,
    COLLECTION,
    EXTENSIONS,
    ITEM,
    PROJECTION_1_2,
    PROJECTION_2_0,
    STAC_VERSION,
    stac_schemas,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


CLASSIFICATION = f"{EXTENSIONS}/classification/v2.0.0/schema.json"

FILE = f"{EXTENSIONS}/file/v2.1.0/schema.json"

PROCESSING = f"{EXTENSIONS}/processing/v1.1.0/schema.json"

PROJECTION = PROJECTION_1_2

RASTER = f"{EXTENSIONS}/raster/v1.1.0/schema.json"

RENDER = f"{EXTENSIONS}/render/v2.0.0/schema.json"

PUBLISHED = (ALTERNATE, CLASSIFICATION, FILE, PROCESSING, PROJECTION, PROJECTION_2_0, RASTER, RENDER)
"""The extensions that a published Item or Collection may declare; pystac turns projection 1.2 into 2.0 as it reads."""


class InvalidStacError(CatalogError):
    """A document that breaks a schema, or declares an extension whose schema is not at hand."""


def validate_item(item: Mapping[str, Any]) -> None:
    """Nothing, when the Item is valid against STAC 1.1.0 and all its extensions.

    Raises InvalidStacError: it is not, with every place and reason; or an extension has no vendored schema.
    """
    _validate(item, kind="Feature", core=ITEM)


def validate_collection(collection: Mapping[str, Any]) -> None:
    """Nothing, when the Collection is valid against STAC 1.1.0 and all its extensions.

    Raises InvalidStacError: it is not, with every place and reason; or an extension has no vendored schema.
    """
    _validate(collection, kind="Collection", core=COLLECTION)


def _validate(document: Mapping[str, Any], *, kind: str, core: str) -> None:
    name = document.get("id", "(no id)")
    if document.get("type") != kind:
        raise InvalidStacError(f"{name}: type is {document.get('type')!r}, expected {kind!r}")
    if document.get("stac_version") != STAC_VERSION:
        raise InvalidStacError(f"{name}: stac_version is {document.get('stac_version')!r}, expected {STAC_VERSION!r}")
    declared = tuple(document.get("stac_extensions", ()))
    missing = [uri for uri in declared if uri not in PUBLISHED]
    if missing:
        raise InvalidStacError(
            f"{name}: no schema at hand for {', '.join(missing)}; at hand are {', '.join(PUBLISHED)}"
        )
    try:
        # The JSON that will be written is validated: tuples become arrays, and NaN is refused.
        plain = json.loads(json.dumps(document, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidStacError(f"{name} cannot be written as JSON: {error}") from error
    problems = [problem for uri in (core, *declared) for problem in _problems(plain, uri)]
    if problems:
        raise InvalidStacError(f"{name} is not valid STAC: " + "; ".join(problems))


def _problems(document: Mapping[str, Any], uri: str) -> Iterator[str]:
    for failure in stac_schemas().failures(document, uri):
        where = "/".join(str(part) for part in failure.absolute_path) or "(top)"
        yield f"{where}: {failure.message[:300]} [{uri}]"
