"""A process's worker: one block from scenes to stored shards and its ledger entry, in three stages."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.observed import count_observed
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.storage.ledger import BlockEntry, write_entry
from tilewright.tasks.zarr.store import array_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tilewright.tasks.block.infer import BlockResult, LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.block.observed import Observed
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.read.failures import FailureLog
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBlock:
    """A block's model inputs, the observations of each step of each input, and the cost of reading them.

    Pixels are counted in file blocks: ``pixels_read`` each time they are decoded, ``pixels_needed`` once.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredBlock:
    """A block's layers, and the seconds that the model took for them."""

    read: ReadBlock
    result: BlockResult
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a process does blocks; none of it changes a pixel. Travels to other processes as plain values.

    ``provider``: the execution provider asked for. ``batch``: windows per model call, None: the provider's default.
    ``tolerance``: reads of a job that may fail for good. ``read_threads``: reads of one block under way at once, which
    hides the network's latency and costs nothing on a local disk.
    """

    provider: str = "auto"
    batch: int | None = None
    tolerance: int = 0
    read_threads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything that a process needs to do blocks: the plan, the loaded model, the output, the access to scenes."""

    settings: WorkerSettings
    plan: Plan
    model: LoadedModel
    storage: Storage
    store: ProductStore
    failures: FailureLog
    access: Access
    stats: ReadStats = field(default_factory=ReadStats)

    def read(self, block: Block, *, first: bool = True) -> ReadBlock:
        """A block's pixels. ``first`` is False for the later parts of a block, whose failures so far are kept.

        Raises ReadError naming item, band and block.
        """
        began = time.perf_counter()
        if first:
            self.failures.forget(block.name)
        stats = ReadStats()
        inputs = read_inputs(self.plan, block, self.access.for_block(block.name, stats))
        self.stats.absorb(stats)
        return ReadBlock(
            inputs=inputs,
            observed=count_observed(self.plan, inputs),
            pixels_read=stats.decoded_pixels,
            pixels_needed=stats.needed_pixels,
            bytes_read=stats.decoded_bytes,
            seconds=time.perf_counter() - began,
        )

    def infer(
        self, read: ReadBlock, *, spread: Callable[..., Iterable[list[dict[str, np.ndarray]]]] = map
    ) -> InferredBlock:
        """A block's layers, from its pixels, which are let go. ``spread`` as for ``infer_block``.

        Raises InferenceError.
        """
        began = time.perf_counter()
        result = infer_block(self.plan, self.model, read.inputs, spread=spread)
        return InferredBlock(read=read.emptied(), result=result, seconds=time.perf_counter() - began)

    def write(self, inferred: InferredBlock) -> BlockEntry:
        """The ledger entry of a block, written after its shards.

        A block without a valid pixel leaves no object, and removes what an earlier plan may have left.
        Raises StorageError.
        """
        began = time.perf_counter()
        read, result, block = inferred.read, inferred.result, inferred.read.inputs.block
        stored = {name: result.layers[name] for name in (*self.plan.raster.layers, "observations")}
        self.store.write_block(self.plan.raster.product_box_of(block.inner), stored)
        entry = BlockEntry(
            row=block.row,
            col=block.col,
            key=block_key(self.plan, block),
            written=bool(result.layers["observations"].any()),
            checksums={name: array_sha256(array) for name, array in stored.items()},
            windows_run=result.windows_run,
            windows_skipped=result.windows_skipped,
            pixels_read=read.pixels_read,
            pixels_needed=read.pixels_needed,
            bytes_read=read.bytes_read,
            valid_pixels=result.valid_pixels,
            observed=dict(read.observed),
            seconds={"read": read.seconds, "infer": inferred.seconds, "write": time.perf_counter() - began},
            scenes=read.inputs.scenes,
            failures=tuple(failure.to_json() for failure in self.failures.failures if failure.block == block.name),
        )
        write_entry(self.storage, entry)
        return entry

    def do(self, block: Block) -> BlockEntry:
        """The ledger entry of a block that is read, inferred and written now. Raises what the stages raise."""
        return self.write(self.infer(self.read(block)))

    def is_intact(self, entry: BlockEntry) -> bool:
        """True if the block reads back as it was written; one that cannot be read, for whatever reason, is not."""
        inner = self.plan.raster.product_box_of(self.plan.raster.block(entry.row, entry.col).inner)
        try:
            return self.store.block_checksum(inner, list(entry.checksums)) == entry.checksums
        except Exception:
            return False
