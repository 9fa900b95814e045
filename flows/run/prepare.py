"""Prepares the output for a plan: checks disk space, removes what is replaced, declares the store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilewright.flows.run.existing import OutputChangedError
from tilewright.tasks.boxes.parts import FOLDER as BOXES
from tilewright.tasks.cog.cog_file import RECORDS
from tilewright.tasks.cog.spec import MAX_PARALLEL_FILES
from tilewright.tasks.embeddings.described import (
    CONVENTION,
    array_attributes,
    convention_attributes,
    embedding_facts,
)
from tilewright.tasks.inventory.listing import keys_below
from tilewright.tasks.inventory.record import (
    COLLECTION,
    FIXED_FILES,
    TABLE,
    ProductRecord,
    remove_below,
    remove_recorded,
    write_product_record,
)
from tilewright.tasks.places.worker import FOLDER as PLACES
from tilewright.tasks.publish.names import existing_record, product_parts, wanted_record
from tilewright.tasks.publish.unlist import unlist
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import (
    ENTRIES,
    FAILURES,
    PLAN,
    freeze_plan,
    json_digest,
    read_plan,
    replace_frozen,
)
from tilewright.tasks.storage.secrets import SECRETS, public_plan
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.tables.table_file import RECORDS as TABLE_RECORDS
from tilewright.tasks.zarr.declare import BLOCKS, STORE, StoredLayer, declare_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage


COMPRESSED_SHARE = {"class": 0.05, "percent": 0.25, "value": 0.7, "id": 0.02, "vector": 0.6, "scale": 0.7}
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
    known = {spec.name: spec for spec in card.layer_specs()}
    n_done = sum(1 for _ in storage.keys(ENTRIES)) if storage.root is not None else 0
    share_left = 1 - min(n_done, len(plan.raster.blocks)) / max(len(plan.raster.blocks), 1)
    needed = needed_disk_bytes(
        [[(known[name].kind, known[name].dtype) for name in layers] for layers in plan.files.values()],
        vectors=[(known[name].kind, known[name].bytes_per_pixel) for name in plan.model.vectors],
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
    embedding, version = embedding_facts(plan, known.values()), plan.versions["tilewright"]
    layers = [_stored_layer(known[name], most=plan.losses.get(name)) for name in plan.raster.layers]
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
        attributes={
            "title": plan.name,
            "source": f"{card.name} by tilewright {version}",
            **(convention_attributes(embedding, version) if embedding else {}),
        },
        conventions=(CONVENTION,) if embedding else (),
        zarr_format=zarr_format,
    )


def clear_output(storage: Storage, plan: Plan, *, replace: bool, renew: bool) -> list[str]:
    """Take an existing product out of what lists it, then remove what this plan discards, and freeze the plan.

    Returns the tables and evaluations that were there and are none of this plan.

    With ``replace`` all of an existing product is removed, with ``renew`` its plan is replaced and its blocks stay;
    without either a product of the same plan goes on. Only what the product's record names is removed, and all that
    this plan will write is recorded first. Cut off at any point, the next run finds what is left to do.

    Raises StoreError where a file of somebody else has a name of this product, OutputChangedError where another run
    began meanwhile.
    """
    existing = existing_record(storage, _existing_plan(storage))
    wanted = wanted_record(storage, plan)
    _check_foreign(storage, existing, wanted)
    both = (existing or ProductRecord()) | wanted
    write_product_record(storage, both)
    gone = (both.files - wanted.files) & {*storage.top_names()}
    lost = sorted(name for name in gone if name.endswith((".parquet", "evaluation.json")))
    unlist(storage, both)
    if replace:
        _remove_product(storage, both)
    else:
        _remove_superseded(storage, existing or ProductRecord(), wanted)
    if renew and not replace:
        replace_frozen(storage, plan.to_json())
    elif not freeze_plan(storage, plan.to_json()) and not _is_frozen(storage, plan):
        raise OutputChangedError(
            f"Another run began in {storage.uri} meanwhile: run the same command again to see where it is."
        )
    write_product_record(storage, wanted)
    return lost


def _existing_plan(storage: Storage) -> dict[str, Any] | None:
    try:
        return read_plan(storage)
    except StoreError:
        # What stands there says nothing; the records of files and blocks do.
        return {}


def _is_frozen(storage: Storage, plan: Plan) -> bool:
    frozen = read_plan(storage)
    if frozen is None:
        raise StorageError(f"{PLAN} in {storage.uri} is not a file: remove what stands there, and run again.")
    return json_digest(public_plan(frozen)) == json_digest(public_plan(plan.to_json()))


def _check_foreign(storage: Storage, existing: ProductRecord | None, wanted: ProductRecord) -> None:
    """Check that no file of somebody else would be written over."""
    ours = {*FIXED_FILES, *(() if existing is None else existing.files)}
    foreign = sorted((wanted.files - ours) & {*storage.top_names()})
    if foreign:
        raise StoreError(
            f"The output {storage.uri} holds {', '.join(foreign[:3])}, which this product did not write and would "
            "write over: move it elsewhere, or choose another output."
        )


def _remove_product(storage: Storage, record: ProductRecord) -> None:
    """Remove a product but its record and its plan, and then the plan."""
    # The Collection and the table are there only if they list other products too.
    remove_recorded(storage, record, sorted(record.files - {COLLECTION, TABLE}))
    remove_below(storage, record, STORE)
    for folder in (BLOCKS, ENTRIES, f"{STATE_FOLDER}/pyramid", RECORDS, TABLE_RECORDS, BOXES, PLACES):
        remove_below(storage, record, folder)
    remove_recorded(storage, record, [FAILURES, f"{STATE_FOLDER}/watch.json", SECRETS, PLAN])


def _remove_superseded(storage: Storage, existing: ProductRecord, wanted: ProductRecord) -> None:
    """Remove the layers and files of an existing product that the wanted one has no more."""
    layers = existing.layers - wanted.layers
    gone = ProductRecord(files=existing.files - wanted.files, layers=layers)
    remove_recorded(storage, gone, sorted(gone.files))
    for folder in (RECORDS, TABLE_RECORDS):
        remove_recorded(storage, gone, [f"{folder}/{name}.json" for name in sorted(gone.files)])
    for name in sorted(gone.files):
        if (table := name.removesuffix(".parquet")) != name:
            remove_below(storage, gone, f"{BOXES}/{table}")
    remove_recorded(storage, gone, [f"{STATE_FOLDER}/pyramid/{name}.json" for name in sorted(layers)])
    for name in sorted(layers):
        remove_below(storage, gone, f"{BLOCKS}/{name}")
        for folder in {key.partition(f"/{name}/")[0] for key in keys_below(storage, STORE) if f"/{name}/" in key}:
            remove_below(storage, gone, f"{folder}/{name}")


def _stored_layer(spec: Any, *, most: float | None) -> StoredLayer:
    # CF 1.12, section 8.4, names the relative error of rounded bits; this is the absolute one of rounded values.
    lossy = () if most is None else (("quantization_maximum_absolute_error", most),)
    attributes: tuple[tuple[str, Any], ...] = (*array_attributes(spec), *lossy)
    if spec.kind == "class":
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
        length=spec.length,
    )


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)


def needed_disk_bytes(
    files: Iterable[Iterable[tuple[str, str]]],
    *,
    shape: tuple[int, int],
    share_left: float,
    n_parts: int = 1,
    vectors: Iterable[tuple[str, int]] = (),
) -> int:
    """Bytes of disk for files of layers (kind, dtype) and observation counts over ``shape`` (height, width) pixels.

    The layers of one file are the bands of an image. ``share_left`` is the share of blocks that are not stored yet, 0
    to 1; each file is cut into ``n_parts``. At most ``MAX_PARALLEL_FILES`` files are staged at a time. ``vectors``:
    layers of (kind, bytes per pixel) without files.
    """
    sizes = [sum(_compressed_bytes(*layer, shape) for layer in layers) * PYRAMID_FACTOR for layers in files]
    stored = [*sizes, _compressed_bytes(*OBSERVATIONS, shape) * PYRAMID_FACTOR]
    # Until the product is published its blocks are stored beside its own arrays.
    arrays = sum(shape[0] * shape[1] * n_bytes * COMPRESSED_SHARE[kind] for kind, n_bytes in vectors)
    blocks = sum(stored) / PYRAMID_FACTOR + arrays
    staged = sorted((size / n_parts for size in sizes for _ in range(min(n_parts, MAX_PARALLEL_FILES))), reverse=True)
    return int(
        (blocks + sum(stored) + arrays) * share_left + sum(sizes) + STAGING_FACTOR * sum(staged[:MAX_PARALLEL_FILES])
    )


def _compressed_bytes(kind: str, dtype: str, shape: tuple[int, int]) -> float:
    return float(shape[0] * shape[1] * np.dtype(dtype).itemsize * COMPRESSED_SHARE[kind])
