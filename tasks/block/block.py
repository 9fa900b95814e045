"""One block from scenes to stored shards and its ledger entry: what every runner calls, wherever it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import Access, read_inputs
from tilewright.tasks.block.observed import count_observed
from tilewright.tasks.cube.coverage import scenes_near
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.reader import Reading
from tilewright.tasks.storage.ledger import BlockEntry, digest, write_entry
from tilewright.tasks.zarr.store import checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.block.infer import BlockResult, LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.block.observed import Observed
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan import Plan
    from tilewright.tasks.read.failures import FailureLog
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything a block needs, once per process: the plan, the model, where to write, how to read."""

    plan: Plan
    engine: LoadedModel
    storage: Storage
    store: ProductStore
    sign: Callable[[Scene, str], str] | None
    failures: FailureLog
    read_threads: int = 1
    gdal: Mapping[str, str] = field(default_factory=dict)
    stats: ReadStats = field(default_factory=ReadStats)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBlock:
    """A block whose pixels are at hand, what each step of each input saw of it, and what reading cost."""

    inputs: BlockInputs
    observed: Mapping[str, Observed]
    pixels_read: int
    pixels_needed: int
    bytes_read: int
    seconds: float

    def emptied(self) -> ReadBlock:
        """The same account without the pixels, so that a block that waits to be written does not hold its inputs."""
        nothing = np.empty((0, 0))
        return replace(self, inputs=replace(self.inputs, steps={}, seen={}, valid=nothing, observations=nothing))


def do_block(worker: Worker, block: Block) -> BlockEntry:
    """Read, infer and write one block; its entry in the ledger comes last.

    Raises ReadError, InferenceError or StorageError naming what failed.
    """
    read = read_block(worker, block)
    began = time.perf_counter()
    result = infer_block(worker.plan, worker.engine, read.inputs)
    return write_block(worker, read, result, infer_seconds=time.perf_counter() - began)


def read_block(worker: Worker, block: Block, *, begins: bool = True) -> ReadBlock:
    """The first stage: a block's pixels. Where it ``begins``, failures of an earlier try are forgotten."""
    began = time.perf_counter()
    if begins:
        worker.failures.forget(block.name)
    stats = ReadStats()
    access = Access(
        sign=worker.sign,
        failures=worker.failures,
        reading=Reading(gdal=worker.gdal),
        stats=stats,
        threads=worker.read_threads,
    )
    inputs = read_inputs(worker.plan, block, access)
    worker.stats.absorb(stats)
    return ReadBlock(
        inputs=inputs,
        observed=count_observed(worker.plan, inputs),
        pixels_read=stats.decoded_pixels,
        pixels_needed=stats.needed_pixels,
        bytes_read=stats.decoded_bytes,
        seconds=time.perf_counter() - began,
    )


def write_block(worker: Worker, read: ReadBlock, result: BlockResult, *, infer_seconds: float) -> BlockEntry:
    """The last stage: shards first, then the entry that says so.

    A block without a valid pixel leaves no object, and none that an earlier plan may have left.
    """
    began = time.perf_counter()
    block = read.inputs.block
    inner = worker.plan.product_box_of(block.inner)
    written = bool(result.layers["observations"].any())
    wanted = {name: result.layers[name] for name in (*worker.plan.layers, "observations")}
    worker.store.write_block(inner, wanted)
    entry = BlockEntry(
        row=block.row,
        col=block.col,
        key=block_key(worker.plan, block),
        written=written,
        checksums={name: checksum(array) for name, array in wanted.items()},
        windows_run=result.windows_run,
        windows_skipped=result.windows_skipped,
        pixels_read=read.pixels_read,
        pixels_needed=read.pixels_needed,
        bytes_read=read.bytes_read,
        valid_pixels=result.valid_pixels,
        observed=dict(read.observed),
        seconds={"read": read.seconds, "infer": infer_seconds, "write": time.perf_counter() - began},
        scenes=read.inputs.scenes,
        failures=tuple(failure.to_json() for failure in worker.failures.failures if failure.block == block.name),
    )
    write_entry(worker.storage, entry)
    return entry


def block_key(plan: Plan, block: Block) -> str:
    """Digest of everything that makes a block's pixels: the settings, and the scenes that touch it with their state.

    Days count only where one of those scenes is of them: a scene elsewhere leaves the block as it is.
    """
    near = []
    for entry in plan.inputs:
        box = block.outer.rescale(numerator=entry.finer, denominator=entry.coarser)
        grid = plan.grid.rescale(numerator=entry.finer, denominator=entry.coarser)
        scenes = scenes_near(entry.scenes, grid, box)
        days = {scene.solar_day for scene in scenes}
        near.append(
            {
                "scenes": [_mark(scene) for scene in scenes],
                "steps": [[day for day in step.days if day in days] for step in entry.steps],
                "clearest": [day for day in entry.clearest if day in days],
                "middles": [step.middle.isoformat() for step in entry.steps] if entry.uses_middles else [],
            }
        )
    return digest({"settings": plan.settings_key(), "inputs": near, "block": block.name})


@lru_cache(maxsize=16384)
def _mark(scene: Scene) -> str:
    """Digest of what of a scene makes pixels: all but where its record lies and what it won against."""
    made_of = {name: value for name, value in scene.to_json().items() if name not in {"href", "replaces", "updated"}}
    return digest(made_of)


def is_intact(worker: Worker, entry: BlockEntry) -> bool:
    """True if the block reads back as it was written; what cannot be read, for whatever reason, is not intact."""
    inner = worker.plan.product_box_of(worker.plan.block(entry.row, entry.col).inner)
    try:
        return worker.store.block_checksum(inner, list(entry.checksums)) == entry.checksums
    except Exception:
        return False


def is_current(plan: Plan, block: Block, entry: BlockEntry | None) -> bool:
    """True where a ledger entry is of the block as the plan makes it today."""
    return entry is not None and entry.key == block_key(plan, block)
