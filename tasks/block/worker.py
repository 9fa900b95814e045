"""The worker of a process: does one block in three stages, from scenes to stored shards and its ledger entry."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tilewright.tasks.block.block_key import block_key, is_current
from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.observed import count_observed, sum_block
from tilewright.tasks.boxes.parts import NO_BOXES, boxes_digest, read_part_bytes, write_part
from tilewright.tasks.captions.parts import encoded_captions
from tilewright.tasks.instances.marks import marks_sha256
from tilewright.tasks.instances.mask_parts import encoded, part_key
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.storage.ledger import BlockEntry, write_entry
from tilewright.tasks.zarr.store import array_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tilewright.tasks.audit.drift.sums import InputSums
    from tilewright.tasks.block.infer import BlockResult, LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs, Screened
    from tilewright.tasks.block.observed import Observed
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.read.failures import FailureLog
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


REMOTE_READS = 4
"""Reads that wait for a network for each read of a local disk: with 50 ms a request a core decodes for one of five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBlock:
    """A block's model inputs, the observations of each step of each input, and the cost of reading them.

    Pixels are counted in file blocks: ``pixels_read`` each time they are decoded, ``pixels_needed`` once.
    ``bytes_read`` are those of the former in their files, compressed; ``bytes_decoded`` as pixels; ``reads`` the
    windows of files. ``masked``: what a model's masks dropped (``tasks/serving/counted.py``); ``aligned``: the
    shifts of dates (``tasks/serving/moves.py``); ``sums``: of the values seen (``tasks/audit/drift/sums.py``).
    """

    inputs: BlockInputs
    observed: Mapping[str, Observed]
    pixels_read: int
    pixels_needed: int
    bytes_read: int
    seconds: float
    bytes_decoded: int = 0
    reads: int = 0
    masked: Mapping[str, int] = field(default_factory=dict)
    aligned: Mapping[str, dict[str, list[int]]] = field(default_factory=dict)
    sums: InputSums = field(default_factory=dict)

    def emptied(self) -> ReadBlock:
        """The same value without pixels, so that a block waiting to be written does not keep its inputs in memory."""
        empty = np.empty((0, 0))
        return replace(self, inputs=replace(self.inputs, steps={}, step_counts={}, valid=empty, observations=empty))


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredBlock:
    """A block's layers, and the seconds of their inference."""

    read: ReadBlock
    result: BlockResult
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker; none of them changes a pixel. Pickled to other processes.

    ``provider``: the requested execution provider. ``batch``: windows per model call, None: the provider's default.
    ``tolerance``: reads of a job that may fail for good. ``read_threads``: reads of one block at a time from a local
    disk.
    """

    provider: str = "auto"
    batch: int | None = None
    tolerance: int = 0
    read_threads: int = 4

    def reads_at_once(self, *, remote: bool) -> int:
        """Reads of one block at a time: several times as many where each waits for a network."""
        return self.read_threads * REMOTE_READS if remote else self.read_threads


class WindowScreen(Protocol):
    """A cheap model that says in which windows of a block the worker's own looks."""

    def of_block(self, block: Block, access: Access) -> Screened:
        """What it says of a block. Raises ReadError for a file that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything that a process needs to do blocks: the plan, the loaded model, the output, the access to scenes.

    ``cpu``: CPU seconds of the threads of a stage, ``infer`` and ``write``, where blocks were done on threads of this
    process; empty before, and where the system does not tell. ``screen`` says in which windows the model looks.
    """

    settings: WorkerSettings
    plan: Plan
    model: LoadedModel
    storage: Storage
    store: ProductStore
    failures: FailureLog
    access: Access
    stats: ReadStats = field(default_factory=ReadStats)
    cpu: dict[str, float] = field(default_factory=dict)
    screen: WindowScreen | None = None

    def read(self, block: Block, *, first: bool = True) -> ReadBlock:
        """Read a block's inputs. ``first`` is False for later parts of a block, to keep the failures of earlier parts.

        Raises ReadError naming item, band and block.
        """
        began = time.perf_counter()
        if first:
            self.failures.forget(block.name)
        stats = ReadStats()
        access = self.access.for_block(block.name, stats)
        inputs = read_inputs(self.plan, block, access)
        if self.screen is not None:
            inputs = replace(inputs, screened=self.screen.of_block(block, access))
        masked = {} if access.masks is None else access.masks.counts(self.plan, block, access)
        aligned = {} if access.moves is None else access.moves.counts(self.plan, block, access)
        self.stats.absorb(stats)
        return ReadBlock(
            inputs=inputs,
            observed=count_observed(self.plan, inputs),
            pixels_read=stats.decoded_pixels,
            pixels_needed=stats.needed_pixels,
            bytes_read=stats.stored_bytes,
            bytes_decoded=stats.decoded_bytes,
            reads=stats.reads,
            seconds=time.perf_counter() - began,
            masked=masked,
            aligned=aligned,
            sums=sum_block(self.plan, self.model.card, inputs),
        )

    def infer(
        self, read: ReadBlock, *, map_calls: Callable[..., Iterable[list[dict[str, np.ndarray]]]] = map
    ) -> InferredBlock:
        """The layers of a block that was read; its pixels are released. ``map_calls`` as for ``infer_block``.

        Raises InferenceError.
        """
        began = time.perf_counter()
        result = infer_block(self.plan, self.model, read.inputs, map_calls=map_calls)
        return InferredBlock(read=read.emptied(), result=result, seconds=time.perf_counter() - began)

    def write(self, inferred: InferredBlock) -> BlockEntry:
        """Write a block's shards, then its ledger entry; returns the entry.

        A block without a valid pixel leaves no shard in the product; those of an earlier plan are removed.
        Raises StorageError.
        """
        began = time.perf_counter()
        read, result, block = inferred.read, inferred.result, inferred.read.inputs.block
        stored = {name: result.layers[name] for name in (*self.plan.raster.layers, "observations")}
        self.store.write_block(self.plan.raster.product_box_of(block.inner), stored)
        masks = {name: encoded(found) for name, found in result.masks.items()}
        captions = {name: encoded_captions(found) for name, found in result.captions.items()}
        for name, found in {**result.boxes, **masks, **captions}.items():
            write_part(self.storage, name, block.name, found)
        entry = BlockEntry(
            row=block.row,
            col=block.col,
            key=self.key(block),
            written=bool(result.layers["observations"].any()),
            checksums={
                **{name: array_sha256(array) for name, array in stored.items()},
                **{name: boxes_digest(found) for name, found in {**result.boxes, **captions}.items()},
                **{part_key(name): boxes_digest(found) for name, found in masks.items()},
            },
            windows_run=result.windows_run,
            windows_skipped=result.windows_skipped,
            pixels_read=read.pixels_read,
            pixels_needed=read.pixels_needed,
            bytes_read=read.bytes_read,
            bytes_decoded=read.bytes_decoded,
            reads=read.reads,
            valid_pixels=result.valid_pixels,
            observed=dict(read.observed),
            seconds={"read": read.seconds, "infer": inferred.seconds, "write": time.perf_counter() - began},
            scenes=read.inputs.scenes,
            inputs=self._first_read(read.inputs.scenes),
            failures=tuple(failure.to_json() for failure in self.failures.failures if failure.block == block.name),
            seams=result.seams.to_json(),
            windows_screened=result.windows_screened,
            masked=dict(read.masked),
            aligned=dict(read.aligned),
            losses={name: tally.to_json() for name, tally in result.losses.items()},
            sums=read.sums,
        )
        write_entry(self.storage, entry)
        return entry

    def _first_read(self, names: tuple[str, ...]) -> dict[str, str]:
        """The identities of files that the plan does not identify, of the scenes with these ids."""
        if self.access.register is None:
            return {}
        scenes = [scene for entry in self.plan.inputs for scene in entry.scenes if scene.id in names]
        return self.access.register.first_read(scenes)

    def do(self, block: Block) -> BlockEntry:
        """Read, infer and write a block; returns its ledger entry. Raises what the stages raise."""
        return self.write(self.infer(self.read(block)))

    def key(self, block: Block) -> str:
        """The key that a block has under this plan."""
        return block_key(self.plan, block)

    def is_current(self, block: Block, entry: BlockEntry) -> bool:
        """True if an entry has the key that its block has under this plan."""
        return is_current(self.plan, block, entry)

    def erase(self, entry: BlockEntry) -> None:
        """Set a block that the plan does not have to nodata, and remove what was found in it."""
        raster = self.plan.raster
        self.store.erase_block(raster.product_box_of(raster.block(entry.row, entry.col).inner))
        for table in self.plan.model.tables:
            write_part(self.storage, table, entry.name, NO_BOXES)

    def is_intact(self, entry: BlockEntry) -> bool:
        """True if the stored block has the checksums of its entry; False also if it cannot be read, for any reason."""
        inner = self.plan.raster.product_box_of(self.plan.raster.block(entry.row, entry.col).inner)
        layers = (*self.plan.raster.layers, "observations")
        try:
            parts = {table.name: table.name for table in self.model.card.boxes}
            parts |= {part_key(masks.name): masks.name for masks in self.model.card.masks}
            parts |= {name: name for name in self.model.card.answers}
            stored = {name: digest for name, digest in entry.checksums.items() if name not in parts}
            intact = self._checksums(inner, layers) == stored and all(
                read_part_bytes(self.storage, name, entry.name, entry.checksums[key]) is not None
                for key, name in parts.items()
            )
        except Exception:
            return False
        if intact and not all(self.store.waits_at(name, entry.row, entry.col) for name in layers):
            self.store.standing.add((entry.row, entry.col))
        return intact

    def _checksums(self, inner: PixelBox, names: tuple[str, ...]) -> dict[str, str]:
        """The checksum of a stored block per layer: of ids that of their marks, which alone are the block's own."""
        ids = {spec.name: spec for spec in self.model.card.layer_specs() if spec.kind == "id" and spec.name in names}
        checksums = self.store.block_checksum(inner, [name for name in names if name not in ids])
        return checksums | {name: marks_sha256(self.store.read_box(name, inner), ids[name]) for name in ids}
