"""An item as other people's catalogs have them, and its one band in our form, for tests."""

from __future__ import annotations

from typing import Any

from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.sources.source import Source

HOME = Source(name="home", kind="static", href="/data/catalog.json")


AWAY = Source(name="away", kind="api", href="https://stac.example.org/v1", prefer="https")


def item(assets: dict[str, Any], *, collection: str = "sentinel-2-l2a", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "thing",
        "collection": collection,
        "bbox": [10, 45, 11, 46],
        "properties": {"datetime": "2021-06-17T10:05:59Z", "s2:processing_baseline": "03.00", **properties},
        "assets": assets,
        "links": [],
    }


def only(assets: dict[str, Any], source: Source = HOME, **more: Any) -> Any:
    """The one band of an item."""
    (asset,) = normalise_item(item(assets, **more), source).assets
    return asset
