"""The facts of a finished run from which its Item is written, and those of the Items of its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import MultiPolygon, mapping, shape

from tilewright.catalogs.footprint import bounds_of, footprint_of, to_geojson
from tilewright.catalogs.publish.facts import (
    COG,
    VRT,
    FileFacts,
    FootprintFacts,
    GridFacts,
    ModelSummary,
    ProductFacts,
    Provenance,
    RelatedFacts,
    SceneFacts,
    TimeFacts,
)
from tilewright.models.spec.outputs import layer_word
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.grid.areas import mean_pixel_metres
from tilewright.tasks.publish.names import blocks_touching, part_id
from tilewright.tasks.publish.written import layer_facts, sidecar_facts
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.secrets import kept_of
from tilewright.tasks.tables.table_file import MEDIA_TYPE, table_asset

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.inventory.arrivals import Place
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.written import WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.tables.table_file import UploadedTable


LONGEST_NAME = 100
"""Letters of the model's name in the collection's id, which may have 128: a card's name may have any length."""


def product_facts(
    worker: Worker, written: WrittenLayers, report: Mapping[str, Any], *, folder: Path, created: datetime
) -> ProductFacts:
    """The facts of the product's Item. ``folder`` holds the files as they are published, but for the layers."""
    plan, card = worker.plan, worker.model.card
    start, end = plan.period
    grid, made = plan.raster.product_grid, ", ".join(dict.fromkeys((*plan.named_layers, *plan.model.tables)))
    return ProductFacts(
        id=plan.name,
        collection=collection_id(card),
        title=plan.name,
        description=f"{made} of {report['area_km2']:.1f} km2 by the model {card.name}",
        footprint=footprint_facts(shape(plan.request["area"])),
        time=TimeFacts(start=start, end=end, created=created),
        grid=GridFacts(
            crs=grid.crs,
            shape=grid.extent.shape,
            transform=tuple(grid.transform_of(grid.extent))[:6],
            gsd=mean_pixel_metres(grid),
        ),
        layers=tuple(
            layer_facts([(each.spec, each.facts) for each in file], media_type=VRT if file[0].parts else COG)
            for file in written.files
        ),
        files=(_store(plan.request["zarr_format"]), *page_files(folder), *_layer_files(written)),
        provenance=provenance_facts(plan, card, report),
        related=tuple(
            RelatedFacts(href=f"./item_{part.suffix}.json", title=f"part {part.suffix}") for part in written.parts
        ),
    )


def collection_id(card: ModelCard) -> str:
    """The id of the collection of a model's products."""
    return f"tilewright-{layer_word(card.name)[:LONGEST_NAME]}"


def footprint_facts(footprint: BaseGeometry) -> FootprintFacts:
    """The facts of a footprint in EPSG:4326, split at 180 degrees."""
    return FootprintFacts(geometry=to_geojson(footprint), bbox=bounds_of(footprint))


def provenance_facts(plan: Plan, card: ModelCard, report: Mapping[str, Any]) -> Provenance:
    """The facts of what made a product, of the scenes those that its report says were used."""
    reference = plan.model.card["reference"]
    return Provenance(
        model=ModelSummary(
            id=card.id,
            name=card.name,
            # A reference without a slash is the name of a built-in model.
            href=reference if "/" in reference else f"urn:tilewright:model:{reference}",
            sha256=card.sha256,
            tasks=card.tasks,
            architecture=card.architecture,
            framework="ONNX",
        ),
        scenes=_scenes(plan, report),
        software=plan.versions,
        expression={
            "key": plan.settings_key(),
            "job": plan.request,
            "exact": report["exact"],
            "exactness": report["exactness"],
            "provider": report["provider"],
        },
        outside_valid_for=plan.model.outside_valid_for,
        keep_query=kept_of(plan.source),
        simulated=plan.simulated,
    )


def _store(zarr_format: int) -> FileFacts:
    return FileFacts(
        key="data",
        href="./data.zarr",
        media_type=f"application/vnd.zarr; version={zarr_format}",
        roles=("data",),
        title="All layers and observation counts",
    )


def page_files(folder: Path) -> tuple[FileFacts, ...]:
    """The Item's facts of the files about every product, which lie in a folder as they are published."""
    report = FileFacts(key="report_json", href="./report.json", media_type="application/json", roles=("metadata",))
    preview = _file(folder / "preview.png", "thumbnail", "image/png", "The map over the scenes")
    words = "The frozen plan, from which the product can be rebuilt"
    plan = _file(folder / "plan.json", "plan", "application/json", words)
    return (
        report,
        replace(preview, roles=("thumbnail",)),
        _file(folder / "report.html", "report", "text/html", "The report for people"),
        _file(folder / "manifest.parquet", "manifest", "application/vnd.apache.parquet", "Every scene read"),
        replace(plan, href=f"./{PLAN}"),
    )


def _layer_files(written: WrittenLayers) -> tuple[FileFacts, ...]:
    layers = [layer.spec.name for layer in written.layers]
    return (
        *(entry for layer in written.layers for entry in sidecar_facts(layer.spec, layer.facts)),
        *(table_facts(table, layers) for table in written.tables),
    )


def table_facts(table: UploadedTable, layers: Collection[str] = ()) -> FileFacts:
    """The Item's facts of a table of a product with these layers."""
    return FileFacts(
        key=table_asset(table.name.removesuffix(".parquet"), layers),
        href=f"./{table.name}",
        media_type=MEDIA_TYPE,
        roles=("data",),
        title=f"{table.n_rows:,} rows",
        size=table.size,
        checksum=table.checksum,
    )


def _file(path: Path, key: str, media_type: str, title: str) -> FileFacts:
    return FileFacts(
        key=key,
        href=f"./{path.name}",
        media_type=media_type,
        roles=("metadata",),
        title=title,
        size=path.stat().st_size,
        checksum=file_multihash(path),
    )


def _scenes(plan: Plan, report: Mapping[str, Any]) -> tuple[SceneFacts, ...]:
    used = {row["id"] for row in report["scenes"] if row["used_in_blocks"]}
    read = (scene for entry in plan.inputs for scene in entry.scenes)
    scenes = {(scene.collection, scene.id): scene for scene in read if scene.id in used}
    return tuple(
        SceneFacts(
            id=scene.id, collection=scene.collection, href=scene.href, datetime=scene.datetime, platform=scene.platform
        )
        for scene in scenes.values()
    )


def part_facts(
    whole: ProductFacts, plan: Plan, entries: Mapping[str, BlockEntry], written: WrittenLayers
) -> dict[str, ProductFacts]:
    """The facts of each part by the file name of its Item; empty if every layer is one file.

    ``whole`` are the facts of the product's own Item. A part has the scenes of its blocks alone, and its footprint is
    its intersection with the requested area.
    """
    places = {(entry.row, entry.col): entry for entry in entries.values()}
    return {f"item_{part.suffix}.json": _part_facts(whole, plan, places, written, part) for part in written.parts}


def _part_facts(
    whole: ProductFacts, plan: Plan, entries: Mapping[Place, BlockEntry], written: WrittenLayers, part: CogPart
) -> ProductFacts:
    grid = plan.raster.product_grid
    box = part.box_in(grid.extent)
    files = [[(layer.spec, dict(layer.parts)[part]) for layer in file] for file in written.files]
    used = {scene_id for entry in blocks_touching(plan, entries, box) for scene_id in entry.scenes}
    scenes = tuple(scene for scene in whole.provenance.scenes if scene.id in used)
    return replace(
        whole,
        id=part_id(whole.id, part.suffix),
        title=f"{whole.title}, part {part.suffix}",
        description=f"Part {part.suffix} of {len(written.parts)}: {whole.description}",
        footprint=footprint_facts(_footprint(plan, box)),
        grid=replace(whole.grid, shape=part.shape, transform=tuple(grid.transform_of(box))[:6]),
        layers=tuple(layer_facts(file) for file in files),
        files=tuple(entry for file in files for entry in sidecar_facts(*file[0])),
        provenance=replace(whole.provenance, scenes=scenes),
        related=(RelatedFacts(href="./item.json", title=whole.title),),
    )


def _footprint(plan: Plan, box: PixelBox) -> BaseGeometry:
    """The intersection of a box of product pixels with the requested area, in EPSG:4326; the box if they are disjoint.

    A part outside the area exists because the parts fill the area's bounding rectangle.
    """
    outline = plan.raster.product_grid.geobox_of(box).footprint("EPSG:4326", npoints=64).geom
    rectangle = footprint_of(mapping(outline), None)
    common = shapely.intersection(rectangle, shape(plan.request["area"]))
    polygons = [
        piece for piece in getattr(common, "geoms", [common]) if piece.geom_type == "Polygon" and piece.area > 0
    ]
    if not polygons:
        return rectangle
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
