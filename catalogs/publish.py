"""A finished product as a STAC 1.1 Item, with everything needed to find, show, check and rebuild it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pystac

from catalogs.hrefs import display_href
from catalogs.product_assets import file_asset, grid_fields, layer_asset, render_hint
from catalogs.validate import validate_item

if TYPE_CHECKING:
    from catalogs.product import ProductFacts

EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
PROJECTION = EXTENSION.format("projection/v2.0.0")
RASTER = EXTENSION.format("raster/v1.1.0")
CLASSIFICATION = EXTENSION.format("classification/v2.0.0")
FILE = EXTENSION.format("file/v2.1.0")
PROCESSING = EXTENSION.format("processing/v1.1.0")
GEOJSON = "application/geo+json"
RENDER = EXTENSION.format("render/v2.0.0")


def build_item(product: ProductFacts) -> pystac.Item:
    """The product's Item, valid against its schemas, hrefs relative or absolute as given and never signed.

    Raises InvalidStacError: the facts do not make a valid Item.
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
    """The Item as it is written: no link to itself, hrefs as given, keys in pystac's order."""
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _extensions(product: ProductFacts) -> list[str]:
    used = [PROJECTION, FILE, PROCESSING]
    if product.layers:
        used += [RASTER, RENDER]
    if any(layer.classes for layer in product.layers):
        used.append(CLASSIFICATION)
    return sorted(used)


def _properties(product: ProductFacts) -> dict[str, Any]:
    stamp = pystac.utils.datetime_to_str(product.created)
    properties: dict[str, Any] = {
        "title": product.title,
        "description": product.description,
        "created": stamp,
        "updated": stamp,
        "license": product.license,
        **grid_fields(product.crs, product.shape, product.transform),
        "processing:level": "L4",
        "processing:software": dict(sorted(product.software.items())),
        "processing:lineage": product.lineage or _lineage(product),
        "processing:expression": _expression(product),
        **_model(product),
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


def _lineage(product: ProductFacts) -> str:
    collections = ", ".join(sorted({scene.collection for scene in product.scenes})) or "no scene"
    n_scenes = len(product.scenes)
    scenes = f"{n_scenes} scene{'s' * (n_scenes != 1)} of {collections}" if n_scenes else collections
    return f"Made from {scenes} with the model {product.model.name}, tile by tile on a fixed lattice."


def _expression(product: ProductFacts) -> dict[str, Any]:
    """The card that was executed, by reference and by the checksum of its model, and the settings it ran with."""
    model = product.model
    reference = {"card": display_href(model.href), "id": model.id, "model": {"sha256": model.sha256}}
    return {"format": "stac-mlm", "expression": reference | dict(product.expression)}


def _model(product: ProductFacts) -> dict[str, Any]:
    # The mlm extension describes models, not maps: its names are used here, its schema is not claimed.
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
