"""The grid of a foreign asset, by either version of the projection extension; the asset goes before the item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from catalogs.errors import CatalogError
from catalogs.fields import first, listing, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping


def crs_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """The asset's CRS as "EPSG:n" or WKT, empty where neither it nor the item says one.

    Raises:
        CatalogError: what it says is neither WKT nor PROJJSON.
    """
    for level in (asset, properties):
        code = first(text(level.get("proj:code")), whole(level.get("proj:epsg")))
        if code is not None:
            return f"EPSG:{code}" if isinstance(code, int) else str(code)
        stated = first(text(level.get("proj:wkt2")), level.get("proj:projjson") or None)
        if stated is not None:
            try:
                return str(CRS.from_user_input(stated).to_wkt())
            except CRSError as error:
                raise CatalogError("its CRS is neither WKT nor PROJJSON") from error
    return ""


def shape_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels, None where missing."""
    for level in (asset, properties):
        sizes = [whole(value) for value in listing(level.get("proj:shape"))]
        if len(sizes) == 2 and all(size and size > 0 for size in sizes):
            return (sizes[0] or 0, sizes[1] or 0)
    return None


def transform_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Six numbers a b c d e f; None where missing or without a pixel size (some write GDAL's order)."""
    for level in (asset, properties):
        numbers = [number(value) for value in listing(level.get("proj:transform"))]
        if len(numbers) in {6, 9} and all(value is not None and math.isfinite(value) for value in numbers):
            six = tuple(value for value in numbers[:6] if value is not None)
            return six if six[0] and six[4] else None
    return None
