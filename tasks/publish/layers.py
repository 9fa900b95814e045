"""The layers of a complete store as files: smaller levels, COGs, and a VRT where a layer takes several."""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tilewright.tasks.cog.cog_file import CogFile, ensure_cog, remove_cogs
from tilewright.tasks.cog.parts import MAX_SIDE, cog_parts, join_parts
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.vrt import write_vrt
from tilewright.tasks.progress import Advance, Stage
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.zarr.pyramid import write_pyramid
from tilewright.tasks.zarr.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.cog.write import CogFacts
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


T = TypeVar("T")

PART_ITEM = re.compile(r"item_r\d+c\d+\.json")
"""Names of the Items of parts."""

AT_ONCE = 4
"""Files made side by side at most, however many cores there are: each holds its rows and its staged copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """One published layer: what it is, where, what it holds; ``parts`` and their files where it takes several."""

    spec: LayerSpec
    facts: CogFacts
    parts: tuple[tuple[CogPart, CogFacts], ...] = ()

    @property
    def href(self) -> str:
        """The layer's file: its COG, or the VRT over its parts."""
        return self.facts.path.name

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return self.facts.size + sum(facts.size for _, facts in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayers:
    """All layers of a product as files, and the busy seconds by what they were spent on."""

    layers: tuple[WrittenLayer, ...]
    seconds: Mapping[str, float]


def product_parts(plan: Plan) -> tuple[CogPart, ...]:
    """The parts a plan's layers are cut in; one where they fit in one file."""
    side = (plan.request.get("cog") or {}).get("max_side") or MAX_SIDE
    return cog_parts(plan.raster.product_grid.extent, side=side)


def blocks_of(plan: Plan, entries: Mapping[str, BlockEntry], box: PixelBox) -> list[BlockEntry]:
    """The blocks that touch a box of the product's pixels."""
    side = plan.raster.product_block
    rows = range(box.row_start // side, -(-box.row_stop // side))
    cols = range(box.col_start // side, -(-box.col_stop // side))
    return [entry for entry in entries.values() if entry.row in rows and entry.col in cols]


def finish_layers(
    storage: Storage, plan: Plan, card: ModelCard, entries: Mapping[str, BlockEntry], *, listener: Listener
) -> WrittenLayers:
    """Every layer as strict-valid COGs cut to the area, uploaded whole, and the store's smaller levels beside them.

    What stands from before and was made of the same blocks is kept; files that the plan no longer has are removed.

    Raises CogError, ReadBackError or StorageError naming the layer.
    """
    known = {spec.name: spec for spec in card.layer_specs()}
    parts, clock = product_parts(plan), _Clock()
    wanted = {
        (name, part): _file(plan, entries, known[name], part, parts) for name in plan.raster.layers for part in parts
    }
    listener(Stage(name="cogs", total=len(wanted)))
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    store = open_store(storage, box=plan.raster.product_box, block=plan.raster.product_block, read_only=True)
    pool = ThreadPoolExecutor(min(n_cores, AT_ONCE), thread_name_prefix="tilewright-finish")
    try:
        kinds = {name: known[name].kind for name in plan.raster.layers}
        levels = pool.submit(clock.timed("pyramid", lambda: _pyramid(storage, plan, kinds, entries, n_cores)))
        making = {
            place: pool.submit(
                clock.timed("cogs", lambda file=file: ensure_cog(storage, store, file, threads=n_cores))  # type: ignore[misc]
            )
            for place, file in wanted.items()
        }
        made = {place: _done(future, listener) for place, future in making.items()}
        levels.result()
    finally:
        # What failed is told at once: files not begun yet are not begun any more.
        pool.shutdown(cancel_futures=True)
    layers = tuple(
        _layer(storage, plan, known[name], tuple((part, made[name, part]) for part in parts))
        for name in plan.raster.layers
    )
    _remove_others(storage, plan, layers)
    return WrittenLayers(layers=layers, seconds=clock.seconds)


def cog_spec(spec: LayerSpec) -> CogSpec:
    """What is said of a card's layer in its file."""
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
    """Busy seconds by name, of several threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, work: Callable[[], T]) -> Callable[[], T]:
        """``work``, its seconds counted under a name."""

        def call() -> T:
            began = time.perf_counter()
            try:
                return work()
            finally:
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return call


def _file(
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
        checksums={entry.name: entry.checksums[spec.name] for entry in blocks_of(plan, entries, box)},
    )


def _pyramid(
    storage: Storage, plan: Plan, kinds: Mapping[str, str], entries: Mapping[str, BlockEntry], threads: int
) -> None:
    names = {**kinds, "observations": "value"}
    checksums = {name: {(entry.row, entry.col): entry.checksums[name] for entry in entries.values()} for name in names}
    write_pyramid(
        storage,
        grid=plan.raster.product_grid,
        box=plan.raster.product_box,
        block=plan.raster.product_block,
        kinds=names,
        checksums=checksums,
        threads=threads,
    )


def _done(future: Future[CogFacts], listener: Listener) -> CogFacts:
    facts = future.result()
    listener(Advance())
    return facts


def _layer(storage: Storage, plan: Plan, spec: LayerSpec, files: tuple[tuple[CogPart, CogFacts], ...]) -> WrittenLayer:
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


def _remove_others(storage: Storage, plan: Plan, layers: tuple[WrittenLayer, ...]) -> None:
    """Remove what an earlier plan cut otherwise: parts, whole files and VRTs of these layers, Items of parts."""
    ours = {name for layer in layers for name in (layer.href, *(facts.path.name for _, facts in layer.parts))}
    names = "|".join(re.escape(name) for name in plan.raster.layers)
    others = re.compile(rf"({names})(_r\d+c\d+)?\.(tif|vrt)")
    top = storage.top_names()
    remove_cogs(storage, [name for name in top if others.fullmatch(name) and name not in ours])
    parts = {f"item_{part.suffix}.json" for part, _ in layers[0].parts}
    storage.delete([name for name in top if PART_ITEM.fullmatch(name) and name not in parts])
