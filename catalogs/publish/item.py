"""A finished product as a STAC 1.1 Item, with everything needed to find, show, check and rebuild it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pystac

from tilewright.catalogs.hrefs import display_href, json_without_secrets
from tilewright.catalogs.publish.validate import (
    CLASSIFICATION,
    FILE,
    PROCESSING,
    PROJECTION,
    RASTER,
    RENDER,
    validate_item,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.publish.facts import (
        ClassFacts,
        EmbeddingFacts,
        FileFacts,
        GridFacts,
        LayerFacts,
        ModelSummary,
        ProductFacts,
        Provenance,
        RasterBand,
    )


GEOJSON = "application/geo+json"

CODE = re.compile(r"[A-Za-z]+:[0-9A-Za-z_]+")

EPSG = re.compile(r"EPSG:(\d+)", re.IGNORECASE)

LICENSE = "other"
"""STAC 1.1's word for a license without an SPDX identifier: a map's depends on those of its model and scenes."""

TRUE_COLOUR = ("red", "green", "blue")

CLASS_NAME = re.compile(r"[^0-9A-Za-z_-]+")


def build_item(product: ProductFacts) -> pystac.Item:
    """The product's Item, valid against its schemas; its hrefs are the facts' hrefs without signatures.

    Raises:
        InvalidStacError: the facts do not make a valid Item.
    """
    start, end = product.time.start, product.time.end
    item = pystac.Item(
        id=product.id,
        geometry=dict(product.footprint.geometry),
        bbox=list(product.footprint.bbox),
        # STAC allows null for a period, but much that sorts by time and all of stackstac knows this field alone.
        datetime=start,
        start_datetime=start,
        end_datetime=end,
        properties=_properties(product),
        stac_extensions=_extensions(product),
        collection=product.collection,
        assets={layer.name: layer_asset(layer, gsd=product.grid.gsd) for layer in product.layers}
        | {file.key: file_asset(file) for file in product.files},
    )
    item.add_links(_links(product))
    validate_item(item_json(item, product.provenance.keep_query))
    return item


def item_json(item: pystac.Item, keep_query: Sequence[str] = ()) -> dict[str, Any]:
    """The Item as JSON values, without a self link, with unchanged hrefs and keys in pystac's order.

    Of queries in hrefs only the parameters that `keep_query` names stay.
    """
    whole = item.to_dict(include_self_link=False, transform_hrefs=False)
    plain: dict[str, Any] = json_without_secrets(whole, keep_query)
    return plain


def _extensions(product: ProductFacts) -> list[str]:
    used = [PROJECTION, FILE, PROCESSING]
    if product.layers:
        used += [RASTER, RENDER]
    if any(layer.band.classes for layer in product.layers):
        used.append(CLASSIFICATION)
    return sorted(used)


def _properties(product: ProductFacts) -> dict[str, Any]:
    provenance = product.provenance
    created = pystac.utils.datetime_to_str(product.time.created)
    properties: dict[str, Any] = {
        "title": product.title,
        "description": product.description,
        "created": created,
        "updated": created,
        "license": LICENSE,
        **grid_fields(product.grid),
        "processing:level": "L4",
        "processing:software": dict(sorted(provenance.software.items())),
        "processing:lineage": _lineage(provenance),
        "processing:expression": _expression(provenance),
        **_model_fields(provenance.model),
        "gsd": product.grid.gsd,
        **(_embedding_fields(product.embedding) if product.embedding else {}),
    }
    platforms = sorted({scene.platform for scene in provenance.scenes if scene.platform})
    if len(platforms) == 1:
        properties["platform"] = platforms[0]
    if provenance.simulated:
        properties["tw:simulated"] = True
    if provenance.outside_valid_for:
        properties["tw:outside_valid_for"] = [dict(entry) for entry in provenance.outside_valid_for]
    if product.layers:
        properties["renders"] = {layer.name: render_hint(layer) for layer in product.layers}
    return properties


def _lineage(provenance: Provenance) -> str:
    collections = ", ".join(sorted({scene.collection for scene in provenance.scenes})) or "no scene"
    n_scenes = len(provenance.scenes)
    scenes = f"{n_scenes} scene{'s' * (n_scenes != 1)} of {collections}" if n_scenes else collections
    return f"Made from {scenes} with the model {provenance.model.name}, tile by tile on a fixed lattice."


def _expression(provenance: Provenance) -> dict[str, Any]:
    """The reference to the executed card, the checksum of its model, and the settings of the run."""
    model = provenance.model
    reference = {"card": display_href(model.href), "id": model.id, "model": {"sha256": model.sha256}}
    return {"format": "stac-mlm", "expression": reference | dict(provenance.expression)}


def _model_fields(model: ModelSummary) -> dict[str, Any]:
    # The mlm extension describes models, not maps: its names are used here without declaring its schema.
    fields: dict[str, Any] = {"mlm:name": model.name}
    if model.tasks:
        fields["mlm:tasks"] = list(model.tasks)
    if model.architecture:
        fields["mlm:architecture"] = model.architecture
    if model.framework:
        fields["mlm:framework"] = model.framework
    return fields


def _embedding_fields(embedding: EmbeddingFacts) -> dict[str, Any]:
    # The extension is a proposal without a schema: its names are used here without declaring one.
    # Source: https://github.com/geo-embeddings/embeddings-stac-specification
    fields: dict[str, Any] = {
        "emb:type": embedding.kind,
        "emb:dimensions": embedding.dimensions,
        "emb:fit_for_use": ["similarity_search"],
        "data_type": embedding.dtype,
        "tw:metric": embedding.metric,
    }
    if embedding.chip is not None:
        window, step = embedding.chip
        layout = {"layout_type": "regular_grid", "chip_size": [window] * 2, "stride": [step] * 2}
        fields["emb:chip_layout"] = layout
    if embedding.dtype != "float32":
        method = f"a scale per vector, in the array {embedding.scales}" if embedding.scales else "rounding"
        told = {"method": method, "original_dtype": "float32", "quantized_dtype": embedding.dtype}
        fields["emb:quantization"] = told
    return fields


def _links(product: ProductFacts) -> list[pystac.Link]:
    model = product.provenance.model
    card = display_href(model.href)
    links = [pystac.Link(rel, "./collection.json", pystac.MediaType.JSON) for rel in ("root", "parent", "collection")]
    links.append(pystac.Link("derived_from", card, GEOJSON, title=f"model card {model.name}"))
    links.append(pystac.Link("processing-expression", card, GEOJSON, title=f"model card {model.name}"))
    if product.embedding:
        links.append(pystac.Link("emb:model", card, GEOJSON, title=f"model card {model.name}"))
    scenes = sorted(product.provenance.scenes, key=lambda scene: (scene.datetime, scene.id))
    kept = product.provenance.keep_query
    sources = [pystac.Link("derived_from", display_href(scene.href, kept), GEOJSON, title=scene.id) for scene in scenes]
    related = [pystac.Link("related", other.href, GEOJSON, title=other.title) for other in product.related]
    return links + related + sources


def layer_asset(layer: LayerFacts, *, gsd: float) -> pystac.Asset:
    """The asset of a layer's file, with the band in STAC 1.1 `bands` and, for older readers, in `raster:bands`.

    `gsd` is the side of a pixel in metres.
    """
    bands = (layer.band, *layer.more)
    asset = file_asset(layer.file)
    asset.extra_fields = {
        "bands": [{"name": band.name or layer.name, **_band_fields(band)} for band in bands],
        "raster:bands": [_older_fields(band, gsd=gsd) for band in bands],
        **asset.extra_fields,
    }
    if layer.band.classes:
        asset.extra_fields["classification:classes"] = _classes(layer.band.classes)
    return asset


def _older_fields(band: RasterBand, *, gsd: float) -> dict[str, Any]:
    """A band in the form of the raster extension before 2.0."""
    calibrated = {"scale": band.scale, "offset": band.offset} if (band.scale, band.offset) != (1, 0) else {}
    return {**_band_fields(band), "sampling": "area", "spatial_resolution": gsd, **calibrated}


def _band_fields(band: RasterBand) -> dict[str, Any]:
    fields = {"data_type": band.dtype, "nodata": _nodata_json(band.nodata), "unit": band.unit or None}
    statistics = None if band.statistics is None else asdict(band.statistics)
    return {name: value for name, value in (fields | {"statistics": statistics}).items() if value is not None}


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
    band = layer.band
    hint: dict[str, Any] = {"title": layer.file.title or layer.name, "assets": [layer.name]}
    if band.nodata is not None:
        hint["nodata"] = _nodata_json(band.nodata)
    if band.classes:
        coloured = [(entry.value, entry.color.lstrip("#")) for entry in band.classes if entry.color]
        hint["colormap"] = {str(value): [*bytes.fromhex(colour), 255] for value, colour in coloured}
        return hint | {"resampling": "nearest"}
    if layer.more:
        return hint | _image_hint((band, *layer.more))
    if band.unit == "%":
        hint["rescale"] = [[0, 100]]
    elif band.statistics is not None:
        hint["rescale"] = [[band.statistics.minimum, band.statistics.maximum]]
    return hint | {"colormap_name": "viridis", "resampling": "bilinear"}


def shown_bands(names: Sequence[str]) -> list[int]:
    """The places, from 1, of the bands of an image that are shown: red, green and blue, or the first alone."""
    places = {name: number for number, name in enumerate(names, start=1)}
    return [places[name] for name in TRUE_COLOUR] if places.keys() >= set(TRUE_COLOUR) else [1]


def _image_hint(bands: tuple[RasterBand, ...]) -> dict[str, Any]:
    """How an image is shown: in true colour where it has the bands, else its first band as grey."""
    shown = shown_bands([band.name for band in bands])
    known = [(bands[number - 1].statistics) for number in shown]
    rescale = [[each.minimum, each.maximum] for each in known if each is not None]
    stretched = {"rescale": rescale} if len(rescale) == len(shown) else {}
    return {"bidx": shown, **stretched, "resampling": "bilinear"}


def file_asset(file: FileFacts) -> pystac.Asset:
    """The asset of a file of the product, with its size and checksum if the facts have them."""
    fields: dict[str, Any] = {"file:size": file.size, "file:checksum": file.checksum}
    return pystac.Asset(
        href=display_href(file.href),
        title=file.title or None,
        description=file.description or None,
        media_type=file.media_type,
        roles=list(file.roles),
        extra_fields={name: value for name, value in fields.items() if value is not None},
    )


def grid_fields(grid: GridFacts) -> dict[str, Any]:
    """The fields of the projection extension; a CRS without a code is written as WKT.

    `proj:epsg` is for readers of versions before 2.0, such as stackstac, and stands beside `proj:code`.
    """
    named: dict[str, Any] = (
        {"proj:code": grid.crs} if CODE.fullmatch(grid.crs) else {"proj:code": None, "proj:wkt2": grid.crs}
    )
    epsg = EPSG.fullmatch(grid.crs)
    if epsg:
        named["proj:epsg"] = int(epsg[1])
    if grid.shape is None:
        return named
    a, b, c, d, e, f = grid.transform
    height, width = grid.shape
    corners = [(c + a * x + b * y, f + d * x + e * y) for x in (0, width) for y in (0, height)]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return {
        **named,
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform),
        "proj:bbox": [min(xs), min(ys), max(xs), max(ys)],
    }
