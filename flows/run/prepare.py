"""Prepares the output for a plan: checks disk space, removes what is replaced, declares the store."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilewright.tasks.publish.layers import MAX_PARALLEL_FILES, PART_ITEM, product_parts
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import ENTRIES, PLAN, replace_frozen
from tilewright.tasks.storage.lock import LOCK
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.declare import BLOCKS, STORE, StoredLayer, declare_store

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

COMPRESSED_SHARE = {"class": 0.05, "percent": 0.25, "value": 0.7}
"""Compressed size of a layer as a share of its plain size, at the low end of real maps: a product that would fit must
not be refused, and a larger one still stops with a clear message when the disk is full."""

OBSERVATIONS = ("class", "uint16")
"""Kind and dtype of the observation counts, which compress like classes: large areas of one number."""

PYRAMID_FACTOR = 4 / 3
"""Pixels of a raster with its pyramid per pixel of the raster: 1 + 1/4 + 1/16 + ..."""

STAGING_FACTOR = 2.5
"""Temporary disk space while a COG is written, as a multiple of its size (`tilewright.tasks.cog.write.write_cog`)."""


def check_disk_space(storage: Storage, plan: Plan, card: ModelCard) -> None:
    """Check that a plan's product should fit on the output's disk; a bucket is not checked.

    Raises StoreError if even its usual compressed size does not fit.
    """
    if storage.folder is None:
        return
    kinds = {spec.name: (spec.kind, spec.dtype) for spec in card.layer_specs()}
    n_done = sum(1 for _ in storage.keys(ENTRIES)) if storage.root is not None else 0
    share_left = 1 - min(n_done, len(plan.raster.blocks)) / max(len(plan.raster.blocks), 1)
    needed = needed_disk_bytes(
        [kinds[name] for name in plan.raster.layers],
        shape=plan.raster.product_box.shape,
        share_left=share_left,
        n_parts=len(product_parts(plan)),
    )
    free = shutil.disk_usage(_nearest_existing(storage.folder)).free
    if needed > free:
        raise StoreError(
            f"The output {storage.uri} has {free / 1e6:,.0f} MB of room, and this product needs about "
            f"{needed / 1e6:,.0f} MB while it is made: make room, choose another output, or map a smaller area."
        )


def declare_product(storage: Storage, plan: Plan, card: ModelCard, *, zarr_format: Literal[2, 3]) -> None:
    """Declare both stores of a plan: its layers and the observation counts, their blocks, and the period."""
    known = {spec.name: spec for spec in card.layer_specs()}
    layers = [_stored_layer(known[name]) for name in plan.raster.layers]
    counts = StoredLayer(
        name="observations", dtype="uint16", nodata=0, description="passes behind each pixel", unit="1", counts=True
    )
    declare_store(
        storage,
        grid=plan.raster.product_grid,
        box=plan.raster.product_box,
        block=plan.raster.product_block,
        layers=[*layers, counts],
        period=plan.period,
        attributes={"title": plan.name, "source": f"{card.name} by tilewright {plan.versions['tilewright']}"},
        zarr_format=zarr_format,
    )


def remove_product(storage: Storage) -> None:
    """Remove an existing product and its ledger, the Item first, so that no reader takes the rest for a product."""
    keys = list(storage.keys())
    storage.delete(["item.json"])
    ours = [key for key in keys if _is_ours(key) and key not in {"item.json", PLAN, LOCK}]
    storage.delete(ours)
    if storage.folder is not None:
        # Empty folders remain of a store in a folder; Zarr readers would list them as unknown members.
        shutil.rmtree(storage.folder / STORE, ignore_errors=True)
    storage.delete([PLAN])


def replace_plan(storage: Storage, layers: Iterable[str], plan: Plan) -> None:
    """Replace a plan that has these layers by a new one; the Item and layers that the new plan lacks are removed."""
    storage.delete(["item.json"])
    remove_layers(storage, sorted({*layers} - {*plan.raster.layers}))
    replace_frozen(storage, plan.to_json())


def remove_layers(storage: Storage, names: Iterable[str]) -> None:
    """Remove layers from the store and their files."""
    known = list(storage.keys())
    for name in names:
        files = re.compile(
            rf"({STATE_FOLDER}/(cogs|pyramid)/)?{re.escape(name)}(_r\d+c\d+)?\.(tif|tif\.aux\.xml|vrt|tif\.json|json)"
        )
        storage.delete([key for key in known if files.fullmatch(key) or _is_array(key, name)])
        if storage.folder is not None:
            stores = (storage.folder / store for store in (STORE, BLOCKS))
            for folder in [path for store in stores for path in store.rglob(name) if path.is_dir()]:
                shutil.rmtree(folder)


def _is_array(key: str, name: str) -> bool:
    return key.startswith((STORE, BLOCKS)) and f"/{name}/" in key


def _stored_layer(spec: Any) -> StoredLayer:
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


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)


def needed_disk_bytes(
    layers: Iterable[tuple[str, str]], *, shape: tuple[int, int], share_left: float, n_parts: int = 1
) -> int:
    """Bytes of disk for layers of (kind, dtype) and their observation counts over ``shape`` (height, width) pixels.

    ``share_left`` is the share of blocks that are not stored yet, 0 to 1; ``n_parts`` files hold a layer. At most
    ``MAX_PARALLEL_FILES`` files are staged at a time.
    """
    files = [_compressed_bytes(kind, dtype, shape) * PYRAMID_FACTOR for kind, dtype in layers]
    stored = [*files, _compressed_bytes(*OBSERVATIONS, shape) * PYRAMID_FACTOR]
    # Until the product is published its blocks are stored beside its own arrays.
    blocks = sum(stored) / PYRAMID_FACTOR
    staged = sorted((size / n_parts for size in files for _ in range(min(n_parts, MAX_PARALLEL_FILES))), reverse=True)
    return int((blocks + sum(stored)) * share_left + sum(files) + STAGING_FACTOR * sum(staged[:MAX_PARALLEL_FILES]))


def _compressed_bytes(kind: str, dtype: str, shape: tuple[int, int]) -> float:
    return float(shape[0] * shape[1] * np.dtype(dtype).itemsize * COMPRESSED_SHARE[kind])
