"""The output made ready for a plan: what is no longer wanted goes, what will be written is declared."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilewright.tasks.publish.layers import AT_ONCE, PART_ITEM, product_parts
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import ENTRIES, PLAN
from tilewright.tasks.storage.lock import LOCK
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.store import STORE, StoredLayer, declare_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage


PRODUCT_FILES = (
    "item.json",
    "collection.json",
    "items.parquet",
    "report.json",
    "report.html",
    "preview.png",
    "progress.json",
)

PRODUCT_SUFFIXES = (".tif", ".tif.aux.xml", ".vrt", ".parquet")

PACKED = {"class": 0.05, "percent": 0.25, "value": 0.7}
"""Share of a layer's plain size that is left once it is compressed. From the low side of real maps: a refusal must not
turn away a product that would have fitted; a larger one still stops with a clear sentence when the disk is full."""

OBSERVATIONS = ("class", "uint16")
"""The counts of observations compress like classes: large areas of one number."""

SMALLER_LEVELS = 4 / 3
"""A pyramid on top of a raster: 1 + 1/4 + 1/16 + ..."""

STAGING = 2.5
"""Times its own size that a COG takes beside it while it is made (`tilewright.tasks.cog.write.write_cog`)."""


def check_room(storage: Storage, plan: Plan, card: ModelCard) -> None:
    """Do nothing where a plan's product should fit on the output's disk.

    Raises StoreError where even its usual compressed size does not. A bucket has room for anything.
    """
    if storage.folder is None:
        return
    kinds = {spec.name: (spec.kind, spec.dtype) for spec in card.layer_specs()}
    n_done = sum(1 for _ in storage.keys(ENTRIES)) if storage.root is not None else 0
    share_left = 1 - min(n_done, len(plan.raster.blocks)) / max(len(plan.raster.blocks), 1)
    needed = room_needed(
        [kinds[name] for name in plan.raster.layers],
        shape=plan.raster.product_box.shape,
        share_left=share_left,
        n_parts=len(product_parts(plan)),
    )
    free = shutil.disk_usage(_existing(storage.folder)).free
    if needed > free:
        raise StoreError(
            f"The output {storage.uri} has {free / 1e6:,.0f} MB of room, and this product needs about "
            f"{needed / 1e6:,.0f} MB while it is made: make room, choose another output, or map a smaller area."
        )


def declare_product(storage: Storage, plan: Plan, card: ModelCard, *, zarr_format: Literal[2, 3]) -> None:
    """Declare the plan's whole store: its layers and the observation counts."""
    known = {spec.name: spec for spec in card.layer_specs()}
    layers = [_stored(known[name]) for name in plan.raster.layers]
    counts = StoredLayer(
        name="observations", dtype="uint16", nodata=0, description="valid scenes behind each pixel", unit="1"
    )
    declare_store(
        storage,
        grid=plan.raster.product_grid,
        box=plan.raster.product_box,
        block=plan.raster.product_block,
        layers=[*layers, counts],
        attributes={"title": plan.name, "source": f"{card.name} by tilewright {plan.versions['tilewright']}"},
        zarr_format=zarr_format,
    )


def remove_product(storage: Storage) -> None:
    """Remove a standing product and its ledger, the Item first, so that no reader takes the rest for a product."""
    keys = list(storage.keys())
    storage.delete(["item.json"])
    ours = [key for key in keys if _is_ours(key) and key not in {"item.json", PLAN, LOCK}]
    storage.delete(ours)
    if storage.folder is not None:
        # What is left of the store in a folder are empty folders, which readers take for strange members of it.
        shutil.rmtree(storage.folder / STORE, ignore_errors=True)
    storage.delete([PLAN])


def replace_plan(storage: Storage, layers: Iterable[str], plan: Plan) -> None:
    """Put a new plan in place of one with these layers; the Item goes first, layers no longer wanted go with it."""
    storage.delete(["item.json"])
    remove_layers(storage, sorted({*layers} - {*plan.raster.layers}))
    storage.write_json(PLAN, plan.to_json())


def remove_layers(storage: Storage, names: Iterable[str]) -> None:
    """Remove layers from the store and their files."""
    known = list(storage.keys())
    for name in names:
        files = re.compile(
            rf"({STATE_FOLDER}/(cogs|pyramid)/)?{re.escape(name)}(_r\d+c\d+)?\.(tif|tif\.aux\.xml|vrt|tif\.json|json)"
        )
        storage.delete([key for key in known if files.fullmatch(key) or (key.startswith(STORE) and f"/{name}/" in key)])
        if storage.folder is not None:
            for folder in [path for path in (storage.folder / STORE).rglob(name) if path.is_dir()]:
                shutil.rmtree(folder)


def _stored(spec: Any) -> StoredLayer:
    attributes: tuple[tuple[str, Any], ...] = ()
    if spec.classes:
        # CF 1.11, section 3.5: flag values and their meanings, one word each.
        meanings = " ".join(entry.name.replace(" ", "_") for entry in spec.classes)
        attributes = (("flag_values", [entry.value for entry in spec.classes]), ("flag_meanings", meanings))
    return StoredLayer(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        unit=spec.unit,
        description=spec.description,
        attributes=attributes,
    )


def _is_ours(key: str) -> bool:
    top = key.partition("/")[0]
    known = top in {".tilewright", "data.zarr", *PRODUCT_FILES} or top.endswith(PRODUCT_SUFFIXES)
    return known or PART_ITEM.fullmatch(top) is not None


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def room_needed(
    layers: Iterable[tuple[str, str]], *, shape: tuple[int, int], share_left: float, n_parts: int = 1
) -> int:
    """Bytes that must be free for layers of (kind, dtype) and their observation counts over ``shape`` (H, W) pixels.

    ``share_left`` is the share of blocks that are not stored yet, 0 to 1; ``n_parts`` files hold a layer. At most
    ``AT_ONCE`` files are staged at a time.
    """
    files = [_bytes(kind, dtype, shape) * SMALLER_LEVELS for kind, dtype in layers]
    stored = [*files, _bytes(*OBSERVATIONS, shape) * SMALLER_LEVELS]
    staged = sorted((size / n_parts for size in files for _ in range(min(n_parts, AT_ONCE))), reverse=True)
    return int(sum(stored) * share_left + sum(files) + STAGING * sum(staged[:AT_ONCE]))


def _bytes(kind: str, dtype: str, shape: tuple[int, int]) -> float:
    return float(shape[0] * shape[1] * np.dtype(dtype).itemsize * PACKED[kind])
