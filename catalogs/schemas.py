"""The STAC schemas at hand, and the failures of a document under one of them, without a network.

Used by catalogs/publish/validate.py, and by models/card/schema.py: a model card is a STAC Item, so this module is the
one that models may import of the catalogs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from jsonschema import ValidationError
    from referencing import Registry


STAC_VERSION = "1.1.0"

CORE = f"https://schemas.stacspec.org/v{STAC_VERSION}"

ITEM = f"{CORE}/item-spec/json-schema/item.json"

COLLECTION = f"{CORE}/collection-spec/json-schema/collection.json"

EXTENSIONS = "https://stac-extensions.github.io"

PROJECTION_2_0 = f"{EXTENSIONS}/projection/v2.0.0/schema.json"

PROJECTION_1_2 = f"{EXTENSIONS}/projection/v1.2.0/schema.json"
"""The one version of the projection extension that knows `proj:code` and, for older readers, `proj:epsg`.

Source: its changelog, v1.2.0 ("`proj:code`" added, "`proj:epsg`" deprecated) and v2.0.0 ("`proj:epsg`" removed).
"""

ALTERNATE = f"{EXTENSIONS}/alternate-assets/v1.2.0/schema.json"

ALTERNATE_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": ALTERNATE,
    "properties": {
        "assets": {
            "additionalProperties": {
                "properties": {
                    "alternate": {
                        "type": "object",
                        "minProperties": 1,
                        "additionalProperties": {
                            "type": "object",
                            "required": ["href"],
                            "properties": {"href": {"type": "string", "format": "iri-reference", "minLength": 1}},
                        },
                    }
                }
            }
        }
    },
}
"""What the alternate assets extension says of an Item's assets, whose own schema no package distributes."""

# Where pystac keeps the core schemas, and the folder of the address that the others name them by.
CORE_PARTS = ("bands", "basics", "common", "data-values", "datetime", "instrument", "licensing", "provider")


@dataclass(frozen=True, slots=True)
class Schemas:
    """Schemas by the address that documents and other schemas name them by, each able to refer to the others."""

    by_address: Mapping[str, Mapping[str, Any]]
    registry: Registry[Any]

    @classmethod
    def of(cls, by_address: Mapping[str, Mapping[str, Any]]) -> Schemas:
        """The schemas with the registry that resolves their references."""
        from referencing import Registry, Resource  # noqa: PLC0415  needed only where something is validated

        resources = ((address, Resource.from_contents(schema)) for address, schema in by_address.items())
        return cls(by_address, Registry().with_resources(resources))

    def failures(
        self, document: Mapping[str, Any], address: str, *, check_formats: bool = True
    ) -> Iterator[ValidationError]:
        """The failures of a document of JSON values under one schema; of alternatives, the one that got furthest.

        `check_formats` also checks dates, addresses and other formats of text.
        """
        from jsonschema import Draft7Validator  # noqa: PLC0415  needed only where something is validated

        checker = Draft7Validator.FORMAT_CHECKER if check_formats else None
        validator = Draft7Validator(self.by_address[address], registry=self.registry, format_checker=checker)
        return map(_deepest, validator.iter_errors(document))


@cache
def stac_schemas() -> Schemas:
    """The schemas of STAC 1.1.0 and GeoJSON, which pystac brings, and those of the vendored extensions."""
    core, vendored = files("pystac.validation.jsonschemas"), files("tilewright.catalogs") / "vendored"
    spec = core / "stac-spec" / f"v{STAC_VERSION}"
    found = {ITEM: _read(spec / "item.json"), COLLECTION: _read(spec / "collection.json")}
    found |= {f"{CORE}/item-spec/json-schema/{part}.json": _read(spec / f"{part}.json") for part in CORE_PARTS}
    found |= {
        f"https://geojson.org/schema/{name}.json": _read(core / "geojson" / f"{name}.json")
        for name in ("Feature", "Geometry")
    }
    for extension in vendored.iterdir():
        if extension.is_dir():
            for version in extension.iterdir():
                schema = _read(version / "schema.json")
                found[schema["$id"].rstrip("#")] = schema
    found[ALTERNATE] = ALTERNATE_SCHEMA
    found[PROJECTION_1_2] = _projection_1_2(found[PROJECTION_2_0])
    return Schemas.of(found)


def _deepest(failure: ValidationError) -> ValidationError:
    """The failure furthest inside the document among the alternatives of a union: the place to change."""
    while failure.context:
        inner = max(failure.context, key=lambda other: len(other.absolute_path))
        if len(inner.absolute_path) <= len(failure.absolute_path):
            break
        failure = inner
    return failure


def _projection_1_2(newer: dict[str, Any]) -> dict[str, Any]:
    """The schema of version 1.2.0, which no package distributes: that of 2.0.0 and the field that 2.0.0 removed."""
    text = json.dumps(newer).replace(PROJECTION_2_0, PROJECTION_1_2)
    schema: dict[str, Any] = json.loads(text)
    schema["definitions"]["fields"]["properties"]["proj:epsg"] = {"title": "EPSG code", "type": ["integer", "null"]}
    return schema


def _read(path: Traversable) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema
