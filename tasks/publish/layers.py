"""Writes the layers of a product whose blocks are all there: its Zarr arrays and pyramid, COGs, VRTs over parts."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tilewright.tasks.cog.cog_file import CogFile, ensure_cog, write_record
from tilewright.tasks.cog.parts import join_parts
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.vrt import write_vrt
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.inventory.listing import list_below
from tilewright.tasks.progress import Advance, Stage
from tilewright.tasks.publish.names import product_parts
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.zarr.declare import BLOCKS
from tilewright.tasks.zarr.declared import fill_of
from tilewright.tasks.zarr.pyramid import write_pyramid
from tilewright.tasks.zarr.store import ChangedStoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.cog.cog_file import UploadedCog
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.cog.write import CogFacts
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore
    from tilewright.tasks.zarr.stored import StoredObjects


T = TypeVar("T")

MAX_PARALLEL_FILES = 4
"""COGs written at the same time at most, for any number of cores: each holds its rows and its staged copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """One layer as files: the facts of its COG, or of the VRT over its ``parts`` (each with the facts of its COG)."""

    spec: LayerSpec
    facts: CogFacts
    parts: tuple[tuple[CogPart, CogFacts], ...] = ()

    @property
    def href(self) -> str:
        """The name of the layer's file: its COG, or the VRT over its parts."""
        return self.facts.path.name

    @property
    def size(self) -> int:
        """Bytes of all files of the layer."""
        return self.facts.size + sum(facts.size for _, facts in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayers:
    """All layers of a product as files, and the busy seconds of writing them, by work: ``cogs``, ``pyramid``.

    ``cogs`` are their files as they were uploaded, ``stored`` the objects of the store.
    """

    layers: tuple[WrittenLayer, ...]
    seconds: Mapping[str, float]
    cogs: tuple[UploadedCog, ...]
    stored: StoredObjects


def blocks_touching(plan: Plan, entries: Mapping[str, BlockEntry], box: PixelBox) -> list[BlockEntry]:
    """The entries of the blocks that touch a box of absolute product pixels."""
    side = plan.raster.product_block
    rows = range(box.row_start // side, -(-box.row_stop // side))
    cols = range(box.col_start // side, -(-box.col_stop // side))
    return [entry for entry in entries.values() if entry.row in rows and entry.col in cols]


def write_layers(
    storage: Storage,
    plan: Plan,
    card: ModelCard,
    entries: Mapping[str, BlockEntry],
    *,
    n_cores: int,
    listener: Listener,
    standing: Collection[tuple[int, int]],
) -> WrittenLayers:
    """Every layer as uploaded, strictly valid COGs, and as Zarr with smaller levels; both cut to the requested area.

    Every block waits to be cut out, or is one of the ``standing``, (row, col), which were found whole in the product's
    arrays. Existing files and pyramid chunks that were made of the same blocks are kept. Files are written on at most
    ``n_cores`` threads.

    Raises CogError, ReadBackError or StorageError naming the layer; ChangedStoreError for what is not as it was
    written.
    """
    by_name = {spec.name: spec for spec in card.layer_specs()}
    specs = [by_name[name] for name in plan.raster.layers]
    parts, clock = product_parts(plan), _Clock()
    wanted = {(spec.name, part): _cog_file(plan, entries, spec, part, parts) for spec in specs for part in parts}
    listener(Stage(name="cogs", total=len(wanted)))
    store = open_store(storage, **plan.raster.store_boxes)
    _check_there(store, entries, standing)
    _erase_unknown(store, plan, entries)
    waiting = list_below(storage, BLOCKS)
    uploaded: dict[tuple[str, CogPart], UploadedCog] = {}
    pool = ThreadPoolExecutor(min(n_cores, MAX_PARALLEL_FILES), thread_name_prefix="tilewright-finish")
    pyramid = pool.submit(clock.timed("pyramid", partial(_write_pyramid, store, plan, specs, entries, n_cores)))
    try:
        if not _all_wait(store, plan, entries):
            # Files are then read from arrays that are being cut: their shards would be replaced under the readers.
            pyramid.result()
        futures = {
            key: pool.submit(clock.timed("cogs", partial(ensure_cog, storage, store, file, threads=n_cores)))
            for key, file in wanted.items()
        }
        for key, future in futures.items():
            uploaded[key] = future.result()
            listener(Advance())
        stored = pyramid.result()
    finally:
        # A failure is reported at once: files that are not begun are cancelled.
        pool.shutdown(cancel_futures=True)
        if pyramid.exception() is None:
            _record_cogs(storage, uploaded.values(), waiting)
    layers = tuple(
        _written_layer(storage, plan, spec, tuple((part, uploaded[spec.name, part].facts) for part in parts))
        for spec in specs
    )
    return WrittenLayers(layers=layers, seconds=clock.seconds, cogs=tuple(uploaded.values()), stored=stored)


def _check_there(store: ProductStore, entries: Mapping[str, BlockEntry], standing: Collection[tuple[int, int]]) -> None:
    """Check that no block was removed since it was written or verified. Raises ChangedStoreError."""
    gone = [
        entry.name
        for entry in entries.values()
        if (entry.row, entry.col) not in standing
        and not all(store.waits_at(name, entry.row, entry.col) for name in entry.checksums)
    ]
    if gone:
        raise ChangedStoreError(f"block {gone[0]} of {store.storage.uri} is not there any more")


def _erase_unknown(store: ProductStore, plan: Plan, entries: Mapping[str, BlockEntry]) -> None:
    """Set blocks that wait without an entry to nodata: a run was killed between the two, and they are not planned."""
    known = {(entry.row, entry.col) for entry in entries.values()}
    side, box = store.block, plan.raster.product_box
    top, left = box.row_start // side, box.col_start // side
    for name, layer in store.waiting.items():
        for row, col in sorted(store.places(name)):
            if (row + top, col + left) not in known:
                inner = block_at(row=row + top, col=col + left, block=side, halo=0).inner
                store.write_block(inner, {name: np.full(inner.shape, fill_of(layer), dtype=layer.dtype)})


def _record_cogs(storage: Storage, uploaded: Iterable[UploadedCog], waiting: Mapping[str, Listed]) -> None:
    """Record the files, which were read while the pyramid compared the same blocks with their checksums.

    Raises ChangedStoreError where a block was written in the meantime.
    """
    there = list_below(storage, BLOCKS)
    changed = sorted(key for key in there.keys() | waiting.keys() if waiting.get(key) != there.get(key))
    if changed:
        raise ChangedStoreError(f"{changed[0]} of {storage.uri} changed while the product was finished")
    for cog in uploaded:
        if not cog.recorded:
            write_record(storage, cog)


def _all_wait(store: ProductStore, plan: Plan, entries: Mapping[str, BlockEntry]) -> bool:
    """True if every block is still read where it waits, as in a first run."""
    raster, name = plan.raster, plan.raster.layers[0]
    blocks = (raster.block(entry.row, entry.col).inner for entry in entries.values())
    return all(store.waits_in(name, raster.product_box_of(inner)) for inner in blocks)


def cog_spec(spec: LayerSpec) -> CogSpec:
    """The specification of a layer's file, from the card's layer."""
    classes = tuple(
        CogClass(value=entry.value, name=entry.name, description=entry.description, color=entry.color)
        for entry in spec.classes
    )
    return CogSpec(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        kind=spec.kind,
        classes=classes,
        unit=spec.unit,
        description=spec.description,
    )


class _Clock:
    """Busy seconds by kind of work, summed over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, work: Callable[[], T]) -> Callable[[], T]:
        """``work`` with its seconds added to those of ``name``, even if it fails."""

        def call() -> T:
            began = time.perf_counter()
            try:
                return work()
            finally:
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return call


def _cog_file(
    plan: Plan, entries: Mapping[str, BlockEntry], spec: LayerSpec, part: CogPart, parts: tuple[CogPart, ...]
) -> CogFile:
    grid = plan.raster.product_grid
    box = part.box_in(grid.extent)
    return CogFile(
        name=f"{spec.name}_{part.suffix}.tif" if len(parts) > 1 else f"{spec.name}.tif",
        spec=cog_spec(spec),
        grid=grid,
        box=box,
        metadata={"TILEWRIGHT_PRODUCT": plan.name, "TILEWRIGHT_MODEL": plan.model.card["name"]},
        checksums={entry.name: entry.checksums[spec.name] for entry in blocks_touching(plan, entries, box)},
    )


def _write_pyramid(
    store: ProductStore, plan: Plan, specs: list[LayerSpec], entries: Mapping[str, BlockEntry], threads: int
) -> StoredObjects:
    kinds: dict[str, str] = {**{spec.name: spec.kind for spec in specs}, "observations": "value"}
    checksums = {name: {(entry.row, entry.col): entry.checksums[name] for entry in entries.values()} for name in kinds}
    return write_pyramid(
        store,
        grid=plan.raster.product_grid,
        kinds=kinds,
        period=plan.period,
        checksums=checksums,
        threads=threads,
    )


def _written_layer(
    storage: Storage, plan: Plan, spec: LayerSpec, files: tuple[tuple[CogPart, CogFacts], ...]
) -> WrittenLayer:
    """The layer of these COGs; uploads a VRT over them if there are several."""
    if len(files) == 1:
        return WrittenLayer(spec=spec, facts=files[0][1])
    grid = plan.raster.product_grid
    with staging_folder(storage) as folder:
        vrt = write_vrt(
            folder / f"{spec.name}.vrt",
            files,
            transform=grid.transform_of(grid.extent),
            crs=grid.crs,
            spec=cog_spec(spec),
        )
        storage.upload(vrt.name, vrt)
        return WrittenLayer(spec=spec, facts=join_parts(files, vrt=vrt), parts=files)
