"""Whether a rebuilt product is the original: layers by checksums of files or by pixels, blocks by their checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.windows import Window

from tilewright.flows.environment import reading_settings
from tilewright.tasks.inventory.finished import part_item_names
from tilewright.tasks.read.gdal import gdal_path, reading_env
from tilewright.tasks.storage.ledger import ENTRIES, read_entries
from tilewright.tasks.tables.table_file import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.storage.storage import Storage


COG = "profile=cloud-optimized"

ROWS = 512
"""Rows compared at a time."""


def same_layer(plain: Mapping[str, Any], original: Storage, rebuilt: Storage, name: str) -> bool | None:
    """True if a layer's files have the same checksums in both Items, or else the same pixels; None if unknown."""
    remade = rebuilt.read_json("item.json") or {}
    parts, remade_parts = part_item_names(plain), part_item_names(remade)
    if parts != remade_parts:
        return False
    if not parts or name in plain["assets"]:
        return _same_file(plain, original, remade, rebuilt, name)
    verdicts = [
        _same_file(original.read_json(part) or {}, original, rebuilt.read_json(part) or {}, rebuilt, name)
        for part in parts
    ]
    return False if False in verdicts else None if None in verdicts else True


def _same_file(
    plain: Mapping[str, Any], original: Storage, remade: Mapping[str, Any], rebuilt: Storage, name: str
) -> bool | None:
    """The same for one file of a layer, from the Items of the original and of the rebuilt product."""
    asset, other = (item.get("assets", {}).get(name, {}) for item in (plain, remade))
    if asset.get("file:checksum") and asset["file:checksum"] == other.get("file:checksum"):
        return True
    if COG not in str(asset.get("type")) or not other:
        return False if other and asset.get("type") == MEDIA_TYPE else None
    paths = [
        f"{place.uri}/{entry['href'].removeprefix('./')}" for place, entry in ((original, asset), (rebuilt, other))
    ]
    with reading_env(reading_settings()):
        try:
            return _same_pixels(*paths)
        except rasterio.errors.RasterioIOError:
            return None


def _same_pixels(one: str, other: str) -> bool:
    with rasterio.open(gdal_path(one)) as first, rasterio.open(gdal_path(other)) as second:
        if (first.shape, first.transform, first.dtypes) != (second.shape, second.transform, second.dtypes):
            return False
        for row in range(0, first.height, ROWS):
            window = Window(0, row, first.width, min(ROWS, first.height - row))
            if not np.array_equal(first.read(window=window), second.read(window=window), equal_nan=True):
                return False
    return True


def compare_blocks(original: Storage, rebuilt: Storage) -> dict[str, int]:
    """The numbers of blocks compared and differing by checksum; 0 compared where the original has no ledger."""
    if not any(True for _ in original.keys(ENTRIES)):
        return {"compared": 0, "differing": 0}
    originals, remade = read_entries(original), read_entries(rebuilt)
    differing = sum(
        1 for name in originals if name not in remade or remade[name].checksums != originals[name].checksums
    )
    return {"compared": len(originals), "differing": differing + len(remade.keys() - originals.keys())}
