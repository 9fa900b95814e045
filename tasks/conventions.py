"""The Zarr conventions a store says it follows, each registered by the identity its authors gave it."""

from __future__ import annotations

from typing import Any

_SCHEMA = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v0.1/schema.json"
_SPEC = "https://github.com/zarr-conventions/{}/blob/v0.1/README.md"


def _convention(name: str, uuid: str, description: str) -> dict[str, Any]:
    return {
        "schema_url": _SCHEMA.format(name),
        "spec_url": _SPEC.format(name),
        "uuid": uuid,
        "name": name,
        "description": description,
    }


# Source: the READMEs of zarr-conventions/{multiscales,proj,spatial} at tag v0.1, "Convention Registration".
MULTISCALES = _convention("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets")
PROJ = _convention(
    "proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"
)
SPATIAL = _convention("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information")
