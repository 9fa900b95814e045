"""Writes the layers of a product whose blocks are all there: its Zarr arrays and pyramid, COGs, VRTs over parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from tilewright.tasks.block.output_grid import product_area_mask
from tilewright.tasks.boxes.box_file import boxes_files, ensure_boxes
from tilewright.tasks.captions.caption_file import captions_files, ensure_captions
from tilewright.tasks.cog.cog_file import ensure_cog, write_record
from tilewright.tasks.cog.spec import MAX_PARALLEL_FILES
from tilewright.tasks.embeddings.window_table import ensure_windows, windows_files
from tilewright.tasks.instances.numbering import NumberingRequest, number_objects, objects_name
from tilewright.tasks.instances.sources import LayerSources
from tilewright.tasks.inventory.arrivals import Arrivals, ArrivedBlocks, BusyClock
from tilewright.tasks.progress import Advance, Notice, Stage, silent
from tilewright.tasks.publish.names import file_name, product_parts
from tilewright.tasks.publish.written import WrittenLayer, WrittenLayers, cog_file, written_layers
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.tables.table_file import write_table_record
from tilewright.tasks.vector.layer_polygons import ensure_polygons, polygons_files
from tilewright.tasks.zarr.cut import check_waiting, erase_unknown
from tilewright.tasks.zarr.declare import BLOCKS, STORE
from tilewright.tasks.zarr.pyramid import write_pyramid
from tilewright.tasks.zarr.store import ChangedStoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from concurrent.futures import Future

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.cog.cog_file import UploadedCog
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.zarr.store import ProductStore
    from tilewright.tasks.zarr.stored import StoredObjects


PATIENCE_SECONDS = 1.0
"""Seconds for which the end of a run waits for its threads without a word."""

COG_CACHE_MB = 32
"""Megabytes of GDAL's cache while files are written and no block is read."""


def write_layers(
    storage: Storage,
    plan: Plan,
    card: ModelCard,
    entries: Mapping[str, BlockEntry],
    *,
    n_cores: int,
    listener: Listener,
    standing: Collection[tuple[int, int]],
    begun: BegunLayers | None = None,
) -> WrittenLayers:
    """Every layer as uploaded, strictly valid COGs, and as Zarr with smaller levels; both cut to the requested area.

    Every block waits to be cut out, or is one of the ``standing``, (row, col), which were found whole in the product's
    arrays. Existing files and pyramid chunks that were made of the same blocks are kept. Files are written on at most
    ``n_cores`` threads. ``begun`` are layers begun before the blocks were all there; if they failed, all is made here.

    Raises CogError, ReadBackError or StorageError naming the layer; ChangedStoreError for what is not as it was
    written.
    """
    if begun is not None and begun.failed():
        begun.abandon()
        begun = None
    try:
        store = open_store(storage, **plan.raster.store_boxes)
        places = [(entry.row, entry.col) for entry in entries.values()]
        check_waiting(store, (*plan.raster.layers, "observations"), places, standing)
        if begun is None:
            arrivals = Arrivals.of(plan.raster.blocks, entries.values())
            begun = begin_layers(storage, plan, card, arrivals, n_cores=n_cores)
        return begun.finish(listener)
    except BaseException:
        # No thread writes once the run has ended.
        if begun is not None:
            begun.abandon(listener)
        raise


def begin_layers(storage: Storage, plan: Plan, card: ModelCard, arrivals: Arrivals, *, n_cores: int) -> BegunLayers:
    """The layers of a product, which threads write from now on, as its blocks come.

    If not all blocks are there yet, those that are all wait to be cut out, and no file of the product is recorded.
    """
    by_name = {spec.name: spec for spec in card.layer_specs()}
    specs = tuple(by_name[name] for name in plan.raster.layers)
    files = _files(plan, specs)
    follows, parts, clock = not arrivals.complete, product_parts(plan), BusyClock(arrivals=arrivals)
    store = open_store(storage, **plan.raster.store_boxes)
    erase_unknown(store, arrivals.planned)
    if follows:
        store.expect(arrivals.planned)
    top, left, side = store.box.row_start, store.box.col_start, store.block
    ids = [spec.name for spec in specs if spec.kind == "id"]
    blocks, id_blocks = (
        ArrivedBlocks(
            storage=storage,
            arrivals=arrivals,
            prefix=BLOCKS,
            folders=folders,
            side=side,
            first=(top // side, left // side),
            vectors=[spec.name for spec in specs if spec.kind == "vector"],
        )
        for folders in ([name for name in (*plan.raster.layers, "observations") if name not in ids], ids)
    )
    # What follows the blocks needs its thread from the first row to the last: files, tables and the pyramid.
    polygons = polygons_files(plan, specs, arrivals, partial(product_area_mask, plan))
    boxes, vectors = boxes_files(plan, card.boxes, arrivals), windows_files(plan, specs, arrivals)
    words = captions_files(plan, card.answers, arrivals)
    n_tables = len(polygons) + len(boxes) + len(vectors) + len(words) + len(ids)
    n_threads = 1 + MAX_PARALLEL_FILES + n_tables if follows else min(n_cores, MAX_PARALLEL_FILES)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="tilewright-finish")
    # First of all, as everything that reads their blocks waits for them.
    numbered = {
        spec.name: pool.submit(
            clock.timed("tables", partial(number_objects, storage, store, _numbering(plan, card, spec, arrivals)))
        )
        for spec in specs
        if spec.kind == "id"
    }
    sources = LayerSources(arrivals=arrivals, blocks=blocks, id_blocks=id_blocks, numbered=numbered)
    pyramid = pool.submit(clock.timed("pyramid", partial(_write_pyramid, store, plan, specs, sources, n_cores)))
    maps = tuple(spec for spec in specs if spec.mapped)
    begun = BegunLayers(
        storage=storage, plan=plan, specs=maps, parts=parts, sources=sources, clock=clock, pool=pool, pyramid=pyramid
    )
    if not (follows or _all_wait(store, plan, arrivals.entries.values())):
        # Files are then read from arrays that are being cut: their shards would be replaced under the readers.
        wait([pyramid])
        if pyramid.exception() is not None:
            return begun
    # Parts first, so that the layers of a part are made together, of blocks that have come.
    for part, name in product(parts, files):
        spec = files[name][0]
        file = cog_file(plan, sources, files[name], part, parts)
        write = partial(
            ensure_cog,
            storage,
            store,
            file,
            threads=n_cores,
            ready=sources.ready_of(spec.name),
            # While blocks are read GDAL's cache is theirs.
            cache_mb=None if follows else COG_CACHE_MB,
        )
        begun.files[name, part] = pool.submit(clock.timed("cogs", write))
    makers: dict[str, Callable[[], UploadedTable]] = {
        **{each.name: partial(ensure_polygons, storage, store, each, ready=blocks.ready) for each in polygons},
        **{each.name: partial(ensure_boxes, storage, each) for each in boxes},
        **{each.name: partial(ensure_windows, storage, store, each) for each in vectors},
        **{each.name: partial(ensure_captions, storage, each) for each in words},
    }
    for name, make in makers.items():
        begun.tables[name] = pool.submit(clock.timed("tables", make))
    return begun


@dataclass(slots=True, kw_only=True)
class BegunLayers:
    """The layers of a product while threads write them: the ``pyramid`` of all, and ``files`` by layer and part.

    ``tables`` are those beside the ones of ``sources.numbered``.
    """

    storage: Storage
    plan: Plan
    specs: tuple[LayerSpec, ...]
    parts: tuple[CogPart, ...]
    sources: LayerSources
    clock: BusyClock
    pool: ThreadPoolExecutor
    pyramid: Future[StoredObjects]
    files: dict[tuple[str, CogPart], Future[UploadedCog]] = field(default_factory=dict)
    tables: dict[str, Future[UploadedTable]] = field(default_factory=dict)

    def failed(self) -> bool:
        """True if something of it failed already."""
        futures: list[Future[Any]] = [self.pyramid, *self.files.values(), *self.tables.values()]
        futures += self.sources.numbered.values()
        return any(future.done() and future.exception() is not None for future in futures)

    def abandon(self, listener: Listener = silent) -> None:
        """End the threads; nothing of what they made counts as finished. Tells what is waited for, if it takes long."""
        self.sources.arrivals.abandon()
        self.pool.shutdown(wait=False, cancel_futures=True)
        named: dict[Future[Any], str] = {self.pyramid: STORE}
        named |= {future: file_name(name, part, self.parts) for (name, part), future in self.files.items()}
        named |= {future: name for name, future in self.tables.items()}
        named |= {future: objects_name(name) for name, future in self.sources.numbered.items()}
        # A library that compresses a file cannot be broken off.
        running = wait([future for future in named if future.running()], timeout=PATIENCE_SECONDS).not_done
        if running:
            listener(Notice(text=f"Waiting until {', '.join(sorted(named[future] for future in running))} is written."))
        self.pool.shutdown()

    def finish(self, listener: Listener) -> WrittenLayers:
        """The written layers, when all blocks are there. Raises as ``write_layers`` does."""
        numbered = self.sources.numbered
        listener(Stage(name="cogs", total=len(self.files) + len(self.tables) + len(numbered)))
        uploaded: dict[tuple[str, CogPart], UploadedCog] = {}
        tables: list[UploadedTable] = []
        try:
            # Everything else waits for these, and has no error of its own where they have one.
            for layer in numbered.values():
                tables.append(layer.result().table)
                listener(Advance())
            if self.pyramid.done():
                self.pyramid.result()
            for key, future in self.files.items():
                uploaded[key] = future.result()
                listener(Advance())
            for table in self.tables.values():
                tables.append(table.result())
                listener(Advance())
            stored = self.pyramid.result()
        finally:
            # A failure is reported at once: files that are not begun are cancelled.
            self.pool.shutdown(cancel_futures=True)
            if self.pyramid.exception() is None:
                self._record(uploaded.values(), tables)
        made = dict[str, WrittenLayer]()
        for name, specs in _files(self.plan, self.specs).items():
            cogs = tuple((part, uploaded[name, part].facts) for part in self.parts)
            made |= {layer.spec.name: layer for layer in written_layers(self.storage, self.plan, specs, cogs)}
        layers = tuple(made[spec.name] for spec in self.specs)
        return WrittenLayers(
            layers=layers,
            seconds=self.clock.seconds,
            cogs=tuple(uploaded.values()),
            stored=stored,
            tables=tuple(tables),
            objects={name: layer.result().figures for name, layer in numbered.items()},
        )

    def _record(self, uploaded: Iterable[UploadedCog], tables: Iterable[UploadedTable]) -> None:
        """Record the files, which were read while the pyramid compared the same blocks with their checksums.

        Raises ChangedStoreError where a block was written in the meantime.
        """
        if changed := self.sources.changed():
            raise ChangedStoreError(f"{changed[0]} of {self.storage.uri} changed while the product was finished")
        for cog in uploaded:
            if not cog.recorded:
                write_record(self.storage, cog)
        for table in tables:
            if not table.recorded:
                write_table_record(self.storage, table)


def _files(plan: Plan, specs: tuple[LayerSpec, ...]) -> dict[str, tuple[LayerSpec, ...]]:
    """The layers of each file by its name, in the order of its bands."""
    by_name = {spec.name: spec for spec in specs}
    return {name: tuple(by_name[layer] for layer in layers) for name, layers in plan.files.items()}


def _numbering(plan: Plan, card: ModelCard, spec: LayerSpec, arrivals: Arrivals) -> NumberingRequest:
    return NumberingRequest(
        spec=spec,
        grid=plan.raster.product_grid,
        arrivals=arrivals,
        inside=partial(product_area_mask, plan),
        area=json_digest({"area": plan.raster.aoi}),
        masks=next((masks for masks in card.masks if masks.name == spec.name), None),
        columns=(plan.request.get("polygons") or {}).get(spec.name, {}).get("columns", "tilewright"),
        last=plan.last_image,
    )


def _all_wait(store: ProductStore, plan: Plan, entries: Iterable[BlockEntry]) -> bool:
    """True if every block is still read where it waits, as in a first run."""
    raster, name = plan.raster, "observations"
    blocks = (raster.block(entry.row, entry.col).inner for entry in entries)
    return all(store.waits_in(name, raster.product_box_of(inner)) for inner in blocks)


def _write_pyramid(
    store: ProductStore, plan: Plan, specs: Iterable[LayerSpec], sources: LayerSources, threads: int
) -> StoredObjects:
    sources.wait_for_ids()
    kinds: dict[str, str] = {**{spec.name: spec.kind for spec in specs}, "observations": "value"}
    return write_pyramid(
        store,
        grid=plan.raster.product_grid,
        kinds=kinds,
        period=plan.period,
        checksums={name: sources.checksums_of(name) for name in kinds},
        places=sources.arrivals.planned,
        ready=sources.ready,
        threads=threads,
    )
