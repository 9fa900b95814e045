"""Whether an Item or a Collection keeps to STAC 1.1 and every extension it declares, judged without a network."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from jsonschema import ValidationError
    from referencing import Registry


STAC_VERSION = "1.1.0"

CORE = f"https://schemas.stacspec.org/v{STAC_VERSION}"

ITEM = f"{CORE}/item-spec/json-schema/item.json"

COLLECTION = f"{CORE}/collection-spec/json-schema/collection.json"

# Where pystac keeps the core schemas, and the folder of the address that the others name them by.
CORE_PARTS = ("bands", "basics", "common", "data-values", "datetime", "instrument", "licensing", "provider")


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


def vendored_extensions() -> tuple[str, ...]:
    """Addresses of the extension schemas at hand, sorted."""
    return tuple(sorted(uri for uri in _schemas() if "stac-extensions" in uri))


def _validate(document: Mapping[str, Any], *, kind: str, core: str) -> None:
    name = document.get("id", "(no id)")
    if document.get("type") != kind:
        raise InvalidStacError(f"{name}: type is {document.get('type')!r}, expected {kind!r}")
    if document.get("stac_version") != STAC_VERSION:
        raise InvalidStacError(f"{name}: stac_version is {document.get('stac_version')!r}, expected {STAC_VERSION!r}")
    declared = tuple(document.get("stac_extensions", ()))
    missing = [uri for uri in declared if uri not in _schemas()]
    if missing:
        known = ", ".join(vendored_extensions())
        raise InvalidStacError(f"{name}: no schema at hand for {', '.join(missing)}; at hand are {known}")
    try:
        # What is judged is the JSON that will be written: tuples become arrays, NaN has no place in it.
        plain = json.loads(json.dumps(document, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidStacError(f"{name} cannot be written as JSON: {error}") from error
    problems = [problem for uri in (core, *declared) for problem in _problems(plain, uri)]
    if problems:
        raise InvalidStacError(f"{name} is not valid STAC: " + "; ".join(problems))


def _problems(document: Mapping[str, Any], uri: str) -> Iterator[str]:
    from jsonschema import Draft7Validator  # noqa: PLC0415  needed only where something is published

    validator = Draft7Validator(_schemas()[uri], registry=_registry(), format_checker=Draft7Validator.FORMAT_CHECKER)
    for error in validator.iter_errors(document):
        deepest = _deepest(error)
        where = "/".join(str(part) for part in deepest.absolute_path) or "(top)"
        yield f"{where}: {deepest.message[:300]} [{uri}]"


def _deepest(error: ValidationError) -> ValidationError:
    """The error furthest down: where a schema offers alternatives, what got furthest is what was meant."""
    leaves = [_deepest(child) for child in error.context or ()]
    return max([error, *leaves], key=lambda leaf: len(leaf.absolute_path))


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    """Every schema at hand by the address that documents and other schemas name it by."""
    core, own = files("pystac.validation.jsonschemas"), files("tilewright.catalogs.publish") / "schemas"
    spec = core / "stac-spec" / f"v{STAC_VERSION}"
    found = {ITEM: _read(spec / "item.json"), COLLECTION: _read(spec / "collection.json")}
    found |= {f"{CORE}/item-spec/json-schema/{part}.json": _read(spec / f"{part}.json") for part in CORE_PARTS}
    found |= {
        f"https://geojson.org/schema/{n}.json": _read(core / "geojson" / f"{n}.json") for n in ("Feature", "Geometry")
    }
    for extension in own.iterdir():
        if extension.is_dir():
            for version in extension.iterdir():
                schema = _read(version / "schema.json")
                found[schema["$id"].rstrip("#")] = schema
    return found


@cache
def _registry() -> Registry[Any]:
    from referencing import Registry, Resource  # noqa: PLC0415

    return Registry().with_resources((uri, Resource.from_contents(schema)) for uri, schema in _schemas().items())


def _read(path: Traversable) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema
