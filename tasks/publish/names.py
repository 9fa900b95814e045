"""The names of what a product writes, and its parts: by its plan, and by what lies there for products of older
versions, which kept no record of them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.publish.facts import FileFacts
from tilewright.tasks.boxes.box_file import boxes_name
from tilewright.tasks.cog.cog_file import RECORDS
from tilewright.tasks.cog.parts import MAX_SIDE, cog_parts
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.inventory.listing import keys_below
from tilewright.tasks.inventory.record import FIXED_FILES, ProductRecord, read_product_record
from tilewright.tasks.plan.places import PLACES, PLACES_FILE
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.styles.document import OURS
from tilewright.tasks.styles.styles import ENDING as STYLE
from tilewright.tasks.styles.styles import MEDIA_TYPE as STYLE_TYPE
from tilewright.tasks.styles.styles import style_files
from tilewright.tasks.vector.layer_polygons import polygon_layers, polygons_name, table_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.inventory.arrivals import Place
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


COG_FIELDS = {"key", "size", "checksum", "pixels", "counts"}
"""Fields by which a record of a file is told from anything else that lies among them."""

LAYER_FILE = re.compile(r"(.+?)(?:_(r\d+c\d+))?\.tif")
"""A layer's file: the layer, and the suffix of the part if there are several."""

LONGEST_ID = 112
"""Letters of the product's name in the ids of its parts, which may have 128."""


def product_parts(plan: Plan) -> tuple[CogPart, ...]:
    """The parts that each of a plan's layers is cut into; one if a layer fits into one file."""
    side = (plan.request.get("cog") or {}).get("max_side") or MAX_SIDE
    return cog_parts(plan.raster.product_grid.extent, side=side)


def blocks_touching(plan: Plan, entries: Mapping[Place, BlockEntry], box: PixelBox) -> list[BlockEntry]:
    """The entries, by (row, col), of the blocks that touch a box of absolute product pixels.

    It costs as much as the blocks of the box, or as all entries where these are fewer: a product has many parts.
    """
    rows, cols = block_range(box, block=plan.raster.product_block)
    if len(rows) * len(cols) <= len(entries):
        found = (entries.get(place) for place in product(rows, cols))
        return [entry for entry in found if entry is not None]
    return [entry for (row, col), entry in list(entries.items()) if row in rows and col in cols]


def file_name(layer: str, part: CogPart, parts: tuple[CogPart, ...]) -> str:
    """The name of a layer's file for one of its parts."""
    return f"{layer}_{part.suffix}.tif" if len(parts) > 1 else f"{layer}.tif"


def part_id(name: str, suffix: str) -> str:
    """The id of the Item of a part of the product ``name``; ``suffix`` is that of the part's files."""
    return f"{name[:LONGEST_ID]}_{suffix}"


def planned_record(plan: Plan) -> ProductRecord:
    """All that a product writes by its plan."""
    if plan.places is not None:
        return ProductRecord(files=frozenset({*FIXED_FILES, PLACES_FILE}), ids=frozenset({plan.name}))
    parts = product_parts(plan)
    # Parts are of layers: tables are never cut.
    suffixes = [part.suffix for part in parts] if len(parts) > 1 and plan.maps else []
    record = _record(plan.name, plan.maps, suffixes, files=tuple(plan.files))
    record = replace(record, layers=record.layers | {*plan.model.vectors})
    tables = {polygons_name(layer) for layer in polygon_layers(plan)} | {
        boxes_name(name) for name in plan.vector_tables
    }
    return replace(record, files=record.files | tables | {boxes_name(table) for table in plan.model.tables})


def wanted_record(storage: Storage, plan: Plan) -> ProductRecord:
    """All that a product will write: what its plan names, and styles, but for those that somebody keeps there."""
    record = planned_record(plan)
    names = (*plan.files, *table_names(plan)) if plan.places is None else (PLACES,)
    styles = {*style_files(names)}
    return replace(record, files=record.files | (styles - _written_styles(storage, styles, ours=False)))


def existing_record(storage: Storage, plain: Mapping[str, Any] | None) -> ProductRecord | None:
    """All that the product in a storage writes, whose plan is ``plain``; None if none was begun there.

    Without a record, or with a damaged one, the names follow from the plan and from the records of its files; no name
    is taken for the product's because of its ending. A style that somebody wrote in place of ours is not the product's.
    """
    recorded = read_product_record(storage)
    if recorded is not None:
        styles = {name for name in recorded.files if name.endswith(STYLE)}
        return replace(recorded, files=recorded.files - _written_styles(storage, styles, ours=False))
    traces = _traces(storage)
    if plain is None and traces is None:
        return None
    record = (_planned(plain or {}) or ProductRecord(files=frozenset(FIXED_FILES))) | (traces or ProductRecord())
    tables = {name.removesuffix(".parquet") for name in record.files if name.endswith(".parquet")}
    images = {split[1] for name in record.files if (split := LAYER_FILE.fullmatch(name)) is not None}
    styles = {*style_files(record.layers | images | tables)}
    return replace(record, files=record.files | _written_styles(storage, styles, ours=True))


def style_facts(names: Collection[str], styles: Collection[str]) -> tuple[FileFacts, ...]:
    """The Item's facts of the styles of layers and tables of these names: of those that were written.

    Neither size nor checksum: QGIS writes what a user chooses into the same files.
    """
    keys = style_files(names)
    return tuple(
        FileFacts(key=keys[name], href=f"./{name}", media_type=STYLE_TYPE, roles=("style",), title="Style for QGIS")
        for name in styles
    )


def _written_styles(storage: Storage, names: set[str], *, ours: bool) -> set[str]:
    """Those of the files of styles that are there and were written by us, or by somebody."""
    there = names & {*storage.top_names()}
    return {name for name in there if _is_ours(storage, name) == ours}


def _is_ours(storage: Storage, name: str) -> bool:
    path = None if storage.folder is None else storage.folder / name
    # What a link leads to, and a folder, is somebody's.
    if path is not None and (path.is_symlink() or not path.is_file()):
        return False
    return (storage.read(name) or b"").startswith(OURS)


def _record(
    name: str, layers: tuple[str, ...], suffixes: list[str], *, files: tuple[str, ...] | None = None
) -> ProductRecord:
    """The record of a product with these layers in these files, which have the layers' names if none are given."""
    stems = layers if files is None else files
    found = {*FIXED_FILES, *(f"item_{suffix}.json" for suffix in suffixes)}
    for stem in stems:
        found |= {f"{stem}.vrt"} if suffixes else set()
        rasters = [f"{stem}_{suffix}.tif" for suffix in suffixes] or [f"{stem}.tif"]
        found |= {each for raster in rasters for each in (raster, f"{raster}.aux.xml")}
    ids = {name, *(part_id(name, suffix) for suffix in suffixes)}
    return ProductRecord(files=frozenset(found), layers=frozenset(layers), ids=frozenset(ids))


def _planned(plain: Mapping[str, Any]) -> ProductRecord | None:
    """The record of a plan that may be of another version; None for one that is damaged."""
    try:
        return planned_record(Plan.from_json(plain))
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
        pass
    name, layers = plain.get("name"), plain.get("layers")
    if not isinstance(name, str) or not isinstance(layers, list):
        return None
    return _record(name, tuple(layer for layer in layers if isinstance(layer, str)), [])


def _traces(storage: Storage) -> ProductRecord | None:
    """What the records of files and levels, the waiting blocks and the Item say; None if there are none."""
    records = [key for key in keys_below(storage, RECORDS) if (read_object(storage, key) or {}).keys() >= COG_FIELDS]
    names = [key.rpartition("/")[2].removesuffix(".json") for key in records]
    layers = {key.rpartition("/")[2].removesuffix(".json") for key in keys_below(storage, f"{STATE_FOLDER}/pyramid")}
    layers |= {key.split("/")[2] for key in keys_below(storage, f"{STATE_FOLDER}/blocks.zarr") if key.count("/") > 2}
    item = read_object(storage, ITEM) or {}
    found = [split for name in names if (split := LAYER_FILE.fullmatch(name)) is not None]
    if not (found or layers or item):
        return None
    suffixes = {split[2] for split in found if split[2]}
    files = {*FIXED_FILES, *(each for split in found for each in (split[0], f"{split[0]}.aux.xml"))}
    files |= {f"{split[1]}.vrt" for split in found if split[2]} | {f"item_{suffix}.json" for suffix in suffixes}
    ids = {name for name in (item.get("id"),) if isinstance(name, str)}
    return ProductRecord(files=frozenset(files), layers=frozenset(layers) - {"observations"}, ids=frozenset(ids))
