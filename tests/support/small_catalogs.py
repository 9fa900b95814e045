"""Catalogs of a few made-up items, and the question that tests ask of any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box

from tilewright.catalogs.search import search_scenes
from tilewright.catalogs.sources.registry import resolve_source

if TYPE_CHECKING:
    from tilewright.catalogs.s3 import S3Settings

BOTH = box(5, 44, 14, 52)


def search(source: Any, s3: S3Settings | None = None, **more: Any) -> tuple[Any, ...]:
    asked = {"collection": "sentinel-2-l2a", "aoi": BOTH, "start": None, "end": None, "bands": ["red"], **more}
    return search_scenes(resolve_source(source, s3=s3), **asked)


def names(scenes: tuple[Any, ...]) -> list[str]:
    return [scene.id for scene in scenes]


def item(name: str, day: int = 1, *, collection: str = "sentinel-2-l2a", **more: Any) -> dict[str, Any]:
    properties = {"datetime": f"2020-01-{day:02d}T10:00:00Z", "s2:processing_baseline": "02.14", **more}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": None,
        "bbox": [10, 45, 11, 46],
        "properties": properties,
        "assets": {"red": {"href": "red.tif"}},
        "links": [],
    }


def write(path: Path, document: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def links(*hrefs: str, rel: str = "item") -> list[dict[str, str]]:
    return [{"rel": rel, "href": href} for href in hrefs]
