"""What is published of each part of a product whose layers take several files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import shapely
from shapely.geometry import MultiPolygon, mapping, shape

from tilewright.catalogs.footprint import bounds_of, footprint_of, to_geojson
from tilewright.catalogs.publish.facts import RelatedFacts
from tilewright.tasks.publish.item_facts import layer_facts, names_facts
from tilewright.tasks.publish.layers import blocks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.publish.facts import ProductFacts
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.layers import WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry


LONGEST_ID = 112
"""Letters of a product's name in its parts' ids, which may have 128."""


def part_id(name: str, suffix: str) -> str:
    """The id of a part's Item."""
    return f"{name[:LONGEST_ID]}_{suffix}"


def part_facts(
    whole: ProductFacts, plan: Plan, entries: Mapping[str, BlockEntry], finished: WrittenLayers
) -> dict[str, ProductFacts]:
    """Each part by the name of its Item's file; none where every layer is one file.

    A part names the scenes of its own blocks alone, and lies where it meets the area asked for.
    """
    parts = [part for part, _ in finished.layers[0].parts]
    return {f"item_{part.suffix}.json": _part(whole, plan, entries, finished, part) for part in parts}


def _part(
    whole: ProductFacts, plan: Plan, entries: Mapping[str, BlockEntry], finished: WrittenLayers, part: CogPart
) -> ProductFacts:
    grid = plan.raster.product_grid
    box = part.box_in(grid.extent)
    files = [(layer.spec, dict(layer.parts)[part]) for layer in finished.layers]
    used = {scene for entry in blocks_of(plan, entries, box) for scene in entry.scenes}
    footprint = _footprint(plan, box)
    return replace(
        whole,
        id=part_id(whole.id, part.suffix),
        title=f"{whole.title}, part {part.suffix}",
        description=f"Part {part.suffix} of {len(finished.layers[0].parts)}: {whole.description}",
        geometry=to_geojson(footprint),
        bbox=bounds_of(footprint),
        shape=part.shape,
        transform=tuple(grid.transform_of(box))[:6],
        layers=tuple(layer_facts(spec, facts) for spec, facts in files),
        files=tuple(entry for spec, facts in files for entry in names_facts(spec, facts)),
        scenes=tuple(scene for scene in whole.scenes if scene.id in used),
        related=(RelatedFacts(href="./item.json", title=whole.title),),
    )


def _footprint(plan: Plan, box: PixelBox) -> BaseGeometry:
    """Where a part meets the area asked for, in EPSG:4326; the part itself where it only fills the rectangle."""
    square = plan.raster.product_grid.geobox_of(box).footprint("EPSG:4326", npoints=64).geom
    outline = footprint_of(mapping(square), None)
    met = shapely.intersection(outline, shape(plan.request["area"]))
    areas = [piece for piece in getattr(met, "geoms", [met]) if piece.geom_type == "Polygon" and piece.area > 0]
    if not areas:
        return outline
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)
