"""The facts of the Item of each part of a product whose layers are cut into several files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import shapely
from shapely.geometry import MultiPolygon, mapping, shape

from tilewright.catalogs.footprint import footprint_of
from tilewright.catalogs.publish.facts import RelatedFacts
from tilewright.tasks.publish.item_facts import footprint_facts, layer_facts, sidecar_facts
from tilewright.tasks.publish.layers import blocks_touching
from tilewright.tasks.publish.names import part_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.publish.facts import ProductFacts
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.layers import WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry


def part_facts(
    whole: ProductFacts, plan: Plan, entries: Mapping[str, BlockEntry], written: WrittenLayers
) -> dict[str, ProductFacts]:
    """The facts of each part by the file name of its Item; empty if every layer is one file.

    ``whole`` are the facts of the product's own Item. A part has the scenes of its blocks alone, and its footprint is
    its intersection with the requested area.
    """
    parts = [part for part, _ in written.layers[0].parts]
    return {f"item_{part.suffix}.json": _part_facts(whole, plan, entries, written, part) for part in parts}


def _part_facts(
    whole: ProductFacts, plan: Plan, entries: Mapping[str, BlockEntry], written: WrittenLayers, part: CogPart
) -> ProductFacts:
    grid = plan.raster.product_grid
    box = part.box_in(grid.extent)
    files = [(layer.spec, dict(layer.parts)[part]) for layer in written.layers]
    used = {scene_id for entry in blocks_touching(plan, entries, box) for scene_id in entry.scenes}
    scenes = tuple(scene for scene in whole.provenance.scenes if scene.id in used)
    return replace(
        whole,
        id=part_id(whole.id, part.suffix),
        title=f"{whole.title}, part {part.suffix}",
        description=f"Part {part.suffix} of {len(written.layers[0].parts)}: {whole.description}",
        footprint=footprint_facts(_footprint(plan, box)),
        grid=replace(whole.grid, shape=part.shape, transform=tuple(grid.transform_of(box))[:6]),
        layers=tuple(layer_facts(spec, facts) for spec, facts in files),
        files=tuple(entry for spec, facts in files for entry in sidecar_facts(spec, facts)),
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
