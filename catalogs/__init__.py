"""STAC on both ends: scenes searched and brought into one form, products described and listed. It knows no models.

sources/   where scenes come from: APIs, static catalogs, tables, files; fetching and signing
network/   where the requests of a source may go, for every client
items/     any provider's Item -> Scene: bands, grids, radiometry, duplicates
publish/   Item, Collection, tables and manifest of a product; push to an API
sample/    the simulated catalog, over sample/landscape, its ground truth
search     area, period and filters -> ordered scenes
scene, sensors, footprint, hrefs, fields, gdal, s3, parquet, schemas, errors: what the wings share

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.catalogs.scene import Scene as Scene
    from tilewright.catalogs.search import Filters as Filters
    from tilewright.catalogs.search import search_scenes as search_scenes
    from tilewright.catalogs.sources.registry import resolve_source as resolve_source

_NAMES = {
    "Filters": "search",
    "Scene": "scene",
    "resolve_source": "sources.registry",
    "search_scenes": "search",
}

__all__ = [
    "Filters",
    "Scene",
    "resolve_source",
    "search_scenes",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tilewright.catalogs.{_NAMES[name]}"), name)
