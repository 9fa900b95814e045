"""One layer or file of a product as the asset of its Item, and how to show it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pystac

from catalogs.hrefs import display_href

if TYPE_CHECKING:
    from catalogs.product import ClassFacts, FileFacts, LayerFacts, ProductFacts

CODE = re.compile(r"[A-Za-z]+:[0-9A-Za-z_]+")
CLASS_NAME = re.compile(r"[^0-9A-Za-z_-]+")


def layer_asset(layer: LayerFacts, product: ProductFacts) -> pystac.Asset:
    """The layer's file, its band told twice: as STAC 1.1 has it, and as readers of the raster extension know it."""
    band: dict[str, Any] = {"data_type": layer.dtype, "nodata": _nodata(layer.nodata), "unit": layer.unit or None}
    if layer.statistics is not None:
        moments = layer.statistics
        band["statistics"] = {name: getattr(moments, name) for name in moments.__slots__}
    band = {name: value for name, value in band.items() if value is not None}
    calibrated = {"scale": layer.scale, "offset": layer.offset} if (layer.scale, layer.offset) != (1, 0) else {}
    resolution = {"spatial_resolution": product.gsd} if product.gsd is not None else {}
    fields: dict[str, Any] = {
        "bands": [{"name": layer.name, **band}],
        "raster:bands": [{**band, "sampling": "area", **resolution, **calibrated}],
        "file:size": layer.size,
        "file:checksum": layer.checksum,
    }
    if layer.classes:
        fields["classification:classes"] = _classes(layer.classes)
    if layer.shape is not None or layer.transform is not None:
        fields |= grid_fields(product.crs, layer.shape or product.shape, layer.transform or product.transform)
    return pystac.Asset(
        href=display_href(layer.href),
        title=layer.title or layer.name,
        description=layer.description or None,
        media_type=layer.media_type,
        roles=[layer.role],
        extra_fields=fields,
    )


def _nodata(nodata: float | None) -> float | str | None:
    # JSON has no NaN; STAC writes it, and the infinities, as words.
    if nodata is None or math.isfinite(nodata):
        return nodata
    return "nan" if math.isnan(nodata) else "inf" if nodata > 0 else "-inf"


def _classes(classes: tuple[ClassFacts, ...]) -> list[dict[str, Any]]:
    total = sum(entry.pixels or 0 for entry in classes)
    described = []
    for entry in classes:
        fields: dict[str, Any] = {"value": entry.value, "name": CLASS_NAME.sub("-", entry.name).strip("-") or "unnamed"}
        fields |= {"title": entry.name, "description": entry.description or entry.name}
        if entry.color:
            fields["color_hint"] = entry.color.lstrip("#").upper()
        if entry.pixels is not None:
            fields["count"] = entry.pixels
            fields["percentage"] = round(100 * entry.pixels / total, 6) if total else 0.0
        described.append(fields)
    return described


def render_hint(layer: LayerFacts) -> dict[str, Any]:
    """How to show a layer: classes in their colours pixel by pixel, values from the lowest to the highest."""
    hint: dict[str, Any] = {"title": layer.title or layer.name, "assets": [layer.name]}
    if layer.nodata is not None:
        hint["nodata"] = _nodata(layer.nodata)
    if layer.classes:
        coloured = [(entry.value, entry.color.lstrip("#")) for entry in layer.classes if entry.color]
        hint["colormap"] = {str(value): [*bytes.fromhex(colour), 255] for value, colour in coloured}
        return hint | {"resampling": "nearest"}
    if layer.unit == "%":
        hint["rescale"] = [[0, 100]]
    elif layer.statistics is not None:
        hint["rescale"] = [[layer.statistics.minimum, layer.statistics.maximum]]
    return hint | {"colormap_name": "viridis", "resampling": "bilinear"}


def file_asset(file: FileFacts) -> pystac.Asset:
    """Any other file of the product, with its size and checksum where it is one file."""
    fields: dict[str, Any] = {"file:size": file.size, "file:checksum": file.checksum}
    return pystac.Asset(
        href=display_href(file.href),
        title=file.title or None,
        description=file.description or None,
        media_type=file.media_type,
        roles=list(file.roles),
        extra_fields={name: value for name, value in fields.items() if value is not None},
    )


def grid_fields(crs: str, shape: tuple[int, int], transform: tuple[float, ...]) -> dict[str, Any]:
    """The fields of the projection extension; a CRS without a code is given as WKT."""
    a, b, c, d, e, f = transform
    corners = [(c + a * x + b * y, f + d * x + e * y) for x in (0, shape[1]) for y in (0, shape[0])]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    named = (
        {"proj:code": crs} if re.fullmatch(r"[A-Za-z]+:[0-9A-Za-z_]+", crs) else {"proj:code": None, "proj:wkt2": crs}
    )
    return {
        **named,
        "proj:shape": list(shape),
        "proj:transform": list(transform),
        "proj:bbox": [min(xs), min(ys), max(xs), max(ys)],
    }
