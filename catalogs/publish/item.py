"""A finished product as a STAC 1.1 Item, with everything needed to find, show, check and rebuild it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pystac

from tilewright.catalogs.hrefs import display_href
from tilewright.catalogs.publish.validate import validate_item

if TYPE_CHECKING:
    from tilewright.catalogs.publish.facts import ClassFacts, FileFacts, LayerFacts, ProductFacts


EXTENSION = "https://stac-extensions.github.io/{}/schema.json"

PROJECTION = EXTENSION.format("projection/v2.0.0")

RASTER = EXTENSION.format("raster/v1.1.0")

CLASSIFICATION = EXTENSION.format("classification/v2.0.0")

FILE = EXTENSION.format("file/v2.1.0")

PROCESSING = EXTENSION.format("processing/v1.1.0")

GEOJSON = "application/geo+json"

RENDER = EXTENSION.format("render/v2.0.0")

CODE = re.compile(r"[A-Za-z]+:[0-9A-Za-z_]+")

CLASS_NAME = re.compile(r"[^0-9A-Za-z_-]+")


def build_item(product: ProductFacts) -> pystac.Item:
    """The product's Item, valid against its schemas; its hrefs are the facts' hrefs without signatures.

    Raises:
        InvalidStacError: the facts do not make a valid Item.
    """
    single = product.start == product.end
    item = pystac.Item(
        id=product.id,
        geometry=dict(product.geometry),
        bbox=list(product.bbox),
        datetime=product.start if single else None,
        start_datetime=None if single else product.start,
        end_datetime=None if single else product.end,
        properties=_properties(product),
        stac_extensions=_extensions(product),
        collection=product.collection,
        assets={layer.name: layer_asset(layer, product) for layer in product.layers}
        | {file.key: file_asset(file) for file in product.files},
    )
    item.add_links(_links(product))
    validate_item(item_json(item))
    return item


def item_json(item: pystac.Item) -> dict[str, Any]:
    """The Item as JSON values, without a self link, with unchanged hrefs and keys in pystac's order."""
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _extensions(product: ProductFacts) -> list[str]:
    used = [PROJECTION, FILE, PROCESSING]
    if product.layers:
        used += [RASTER, RENDER]
    if any(layer.classes for layer in product.layers):
        used.append(CLASSIFICATION)
    return sorted(used)


def _properties(product: ProductFacts) -> dict[str, Any]:
    created = pystac.utils.datetime_to_str(product.created)
    properties: dict[str, Any] = {
        "title": product.title,
        "description": product.description,
        "created": created,
        "updated": created,
        "license": product.license,
        **grid_fields(product.crs, product.shape, product.transform),
        "processing:level": "L4",
        "processing:software": dict(sorted(product.software.items())),
        "processing:lineage": product.lineage or _default_lineage(product),
        "processing:expression": _expression(product),
        **_model_fields(product),
    }
    if product.gsd is not None:
        properties["gsd"] = product.gsd
    if product.keywords:
        properties["keywords"] = list(product.keywords)
    platforms = sorted({scene.platform for scene in product.scenes if scene.platform})
    if len(platforms) == 1:
        properties["platform"] = platforms[0]
    if product.layers:
        properties["renders"] = {layer.name: render_hint(layer) for layer in product.layers}
    return properties


def _default_lineage(product: ProductFacts) -> str:
    collections = ", ".join(sorted({scene.collection for scene in product.scenes})) or "no scene"
    n_scenes = len(product.scenes)
    scenes = f"{n_scenes} scene{'s' * (n_scenes != 1)} of {collections}" if n_scenes else collections
    return f"Made from {scenes} with the model {product.model.name}, tile by tile on a fixed lattice."


def _expression(product: ProductFacts) -> dict[str, Any]:
    """The reference to the executed card, the checksum of its model, and the settings of the run."""
    model = product.model
    reference = {"card": display_href(model.href), "id": model.id, "model": {"sha256": model.sha256}}
    return {"format": "stac-mlm", "expression": reference | dict(product.expression)}


def _model_fields(product: ProductFacts) -> dict[str, Any]:
    # The mlm extension describes models, not maps: its names are used here without declaring its schema.
    model = product.model
    fields: dict[str, Any] = {"mlm:name": model.name}
    if model.tasks:
        fields["mlm:tasks"] = list(model.tasks)
    if model.architecture:
        fields["mlm:architecture"] = model.architecture
    if model.framework:
        fields["mlm:framework"] = model.framework
    return fields


def _links(product: ProductFacts) -> list[pystac.Link]:
    model = product.model
    card = display_href(model.href)
    links = [pystac.Link(rel, "./collection.json", pystac.MediaType.JSON) for rel in ("root", "parent", "collection")]
    links.append(pystac.Link("derived_from", card, model.media_type, title=f"model card {model.name}"))
    links.append(pystac.Link("processing-expression", card, model.media_type, title=f"model card {model.name}"))
    scenes = sorted(product.scenes, key=lambda scene: (scene.datetime, scene.id))
    sources = [pystac.Link("derived_from", display_href(scene.href), GEOJSON, title=scene.id) for scene in scenes]
    related = [pystac.Link("related", other.href, GEOJSON, title=other.title) for other in product.related]
    return links + related + sources


def layer_asset(layer: LayerFacts, product: ProductFacts) -> pystac.Asset:
    """The asset of a layer's file, with the band in STAC 1.1 `bands` and, for older readers, in `raster:bands`."""
    band: dict[str, Any] = {"data_type": layer.dtype, "nodata": _nodata_json(layer.nodata), "unit": layer.unit or None}
    if layer.statistics is not None:
        statistics = layer.statistics
        band["statistics"] = {name: getattr(statistics, name) for name in statistics.__slots__}
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


def _nodata_json(nodata: float | None) -> float | str | None:
    # JSON has no NaN and infinities; STAC writes them as words.
    if nodata is None or math.isfinite(nodata):
        return nodata
    return "nan" if math.isnan(nodata) else "inf" if nodata > 0 else "-inf"


def _classes(classes: tuple[ClassFacts, ...]) -> list[dict[str, Any]]:
    total = sum(entry.pixels or 0 for entry in classes)
    entries = []
    for entry in classes:
        fields: dict[str, Any] = {"value": entry.value, "name": CLASS_NAME.sub("-", entry.name).strip("-") or "unnamed"}
        fields |= {"title": entry.name, "description": entry.description or entry.name}
        if entry.color:
            fields["color_hint"] = entry.color.lstrip("#").upper()
        if entry.pixels is not None:
            fields["count"] = entry.pixels
            fields["percentage"] = round(100 * entry.pixels / total, 6) if total else 0.0
        entries.append(fields)
    return entries


def render_hint(layer: LayerFacts) -> dict[str, Any]:
    """The layer's `renders` entry: classes in their colours with nearest resampling, values from minimum to maximum."""
    hint: dict[str, Any] = {"title": layer.title or layer.name, "assets": [layer.name]}
    if layer.nodata is not None:
        hint["nodata"] = _nodata_json(layer.nodata)
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
    """The asset of any other file of the product, with its size and checksum if the facts have them."""
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
    """The fields of the projection extension; a CRS without a code is written as WKT."""
    a, b, c, d, e, f = transform
    corners = [(c + a * x + b * y, f + d * x + e * y) for x in (0, shape[1]) for y in (0, shape[0])]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    named = {"proj:code": crs} if CODE.fullmatch(crs) else {"proj:code": None, "proj:wkt2": crs}
    return {
        **named,
        "proj:shape": list(shape),
        "proj:transform": list(transform),
        "proj:bbox": [min(xs), min(ys), max(xs), max(ys)],
    }
