"""The values of a product's layers at one place: the very numbers of the pixel that holds it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.warp import transform
from rasterio.windows import Window

from tilewright.flows.view.files import DEGREES, Files, ViewError
from tilewright.flows.view.layers import IMAGE
from tilewright.tasks.report.layer_views import IDS
from tilewright.tasks.report.outlines.columns import cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.flows.view.files import RasterFacts
    from tilewright.flows.view.layers import ViewedLayer
    from tilewright.flows.view.products import ViewedProduct


OBSERVATIONS = "data.zarr/observations"
"""The count in the cube of a product, which has no file of its own."""


def values_at(product: ViewedProduct, files: Files, lon: float, lat: float) -> list[dict[str, Any]]:
    """What each layer says at a place in degrees, in the order of the layers, images left out; then the observations.

    ``state`` is "value", "nodata", "outside" or "unreadable"; ``value`` the number as it is stored, ``text`` the same
    in words, ``name`` that of its class, ``pixel`` its (row, column) in the file.
    """
    return list(_values(product, files, lon, lat))


def _values(product: ViewedProduct, files: Files, lon: float, lat: float) -> Iterator[dict[str, Any]]:
    for number, layer in enumerate(product.layers):
        if layer.kind == IMAGE:
            continue
        told: dict[str, Any] = {"layer": number, "name": cell(layer.name), "unit": cell(layer.unit)}
        try:
            yield {**told, **_value(layer, files, lon, lat)}
        except ViewError:
            yield {**told, "state": "unreadable"}
    yield from _observations(product, files, lon, lat)


def _observations(product: ViewedProduct, files: Files, lon: float, lat: float) -> Iterator[dict[str, Any]]:
    """How many observations the pixel of the cube has; nothing where that is not told, or the place is outside."""
    href = f"{product.storage.uri}/{OBSERVATIONS}"
    with suppress(ViewError), files.array(href, trusted=product.trusted) as dataset:
        row, col = pixel_of(dataset, lon, lat)
        whole = np.dtype(dataset.dtypes[0]).kind in "iu"
        if whole and dataset.count == 1 and 0 <= row < dataset.height and 0 <= col < dataset.width:
            stored = dataset.read(1, window=((row, row + 1), (col, col + 1)))[0, 0]
            told = {"value": int(stored), "text": str(stored), "pixel": [row, col]}
            yield {"layer": -1, "name": "observations", "unit": "", "state": "value", **told}


def _value(layer: ViewedLayer, files: Files, lon: float, lat: float) -> dict[str, Any]:
    for href, facts in layer.parts:
        if not _near(facts, lon, lat):
            continue
        with files.opened(href) as dataset:
            row, col = pixel_of(dataset, lon, lat)
            if not (0 <= row < dataset.height and 0 <= col < dataset.width):
                continue
            stored = dataset.read(layer.bands[0], window=Window(col, row, 1, 1))
        seen = bool(layer.seen(stored[np.newaxis])[0, 0])
        return {"pixel": [row, col], **_told(layer, facts, stored[0, 0], seen=seen)}
    return {"state": "outside"}


def pixel_of(dataset: Any, lon: float, lat: float) -> tuple[int, int]:
    """(row, column) of the pixel that holds a place in degrees; a border belongs to the pixel right of it and below.

    -1, -1 where the place is not on the raster's map.
    """
    crs = CRS.from_user_input(dataset.crs)
    turns = (0.0, 360.0) if crs.is_geographic else (0.0,)
    for turn in turns:
        try:
            (x,), (y,) = transform(DEGREES, crs, [lon], [lat])[:2]
        except CPLE_BaseError:
            return -1, -1
        col, row = ~dataset.transform * (x + turn, y)
        if math.isfinite(col) and math.isfinite(row):
            found = math.floor(row), math.floor(col)
            if 0 <= found[1] < dataset.width:
                return found
    return -1, -1


def _near(facts: RasterFacts, lon: float, lat: float) -> bool:
    west, south, east, north = facts.area
    return south - 1 <= lat <= north + 1 and any(west - 1 <= lon + turn <= east + 1 for turn in (-360, 0, 360))


def _told(layer: ViewedLayer, facts: RasterFacts, stored: Any, *, seen: bool) -> dict[str, Any]:
    if not seen:
        return {"state": "nodata"}
    band = layer.bands[0] - 1
    scale, offset = facts.scales[band], facts.offsets[band]
    whole = stored.dtype.kind in "iu"
    value = int(stored) if whole else float(stored)
    told: dict[str, Any] = {"state": "value", "value": value, "text": str(stored)}
    if (scale, offset) != (1.0, 0.0):
        physical = value * scale + offset
        told |= {"text": repr(physical) if math.isfinite(physical) else "no number", "stored": str(stored)}
    if layer.kind == "class":
        told["class"] = cell(layer.names.get(int(stored), "a class that is not listed"))
        told["colour"] = layer.colours.get(int(stored), "")
    elif layer.kind == IDS:
        told["class"] = "nothing found" if value <= 0 else "object"
    return told
