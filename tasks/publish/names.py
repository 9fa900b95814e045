"""The names of what a product writes: by its plan, and for products of older versions, which kept no record of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tilewright.tasks.cog.cog_file import RECORDS
from tilewright.tasks.cog.parts import MAX_SIDE, cog_parts
from tilewright.tasks.inventory.listing import keys_below
from tilewright.tasks.inventory.record import FIXED_FILES, ProductRecord, read_product_record
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.cog.parts import CogPart
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


def part_id(name: str, suffix: str) -> str:
    """The id of the Item of a part of the product ``name``; ``suffix`` is that of the part's files."""
    return f"{name[:LONGEST_ID]}_{suffix}"


def planned_record(plan: Plan) -> ProductRecord:
    """All that a product writes by its plan."""
    parts = product_parts(plan)
    suffixes = [part.suffix for part in parts] if len(parts) > 1 else []
    return _record(plan.name, plan.raster.layers, suffixes)


def existing_record(storage: Storage, plain: Mapping[str, Any] | None) -> ProductRecord | None:
    """All that the product in a storage writes, whose plan is ``plain``; None if none was begun there.

    Without a record, or with a damaged one, the names follow from the plan and from the records of its files; no name
    is taken for the product's because of its ending.
    """
    recorded = read_product_record(storage)
    if recorded is not None:
        return recorded
    traces = _traces(storage)
    if plain is None and traces is None:
        return None
    return (_planned(plain or {}) or ProductRecord(files=frozenset(FIXED_FILES))) | (traces or ProductRecord())


def _record(name: str, layers: tuple[str, ...], suffixes: list[str]) -> ProductRecord:
    files = {*FIXED_FILES, *(f"item_{suffix}.json" for suffix in suffixes)}
    for layer in layers:
        files |= {f"{layer}.vrt"} if suffixes else set()
        rasters = [f"{layer}_{suffix}.tif" for suffix in suffixes] or [f"{layer}.tif"]
        files |= {each for raster in rasters for each in (raster, f"{raster}.aux.xml")}
    ids = {name, *(part_id(name, suffix) for suffix in suffixes)}
    return ProductRecord(files=frozenset(files), layers=frozenset(layers), ids=frozenset(ids))


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
