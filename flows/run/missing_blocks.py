"""The blocks that a run still has to make, and their ledger entries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.flows.prefect_steps import step
from tilewright.flows.run.inputs import check_inputs_stood, forget_stale
from tilewright.flows.runners.quarantine import SetAsideError, blocks_set_aside
from tilewright.flows.runners.runner import RunError, run_blocks
from tilewright.flows.runners.shard_worker import run_shard
from tilewright.tasks.block.worker import Worker
from tilewright.tasks.progress import Advance, Notice, Stage
from tilewright.tasks.publish.class_areas import block_km2
from tilewright.tasks.report.format import part_of
from tilewright.tasks.storage.errors import FencedError, StorageError
from tilewright.tasks.storage.ledger import read_entries, read_failures, remove_entries, write_failures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tilewright.flows.run.context import Run
    from tilewright.flows.run.output_lock import OutputLock
    from tilewright.flows.run.prefetch import EarlyLayers
    from tilewright.flows.runners.run_options import Placement
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.storage.ledger import BlockEntry


CHECK_THREADS = 4
"""Existing blocks that are verified at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksDone:
    """The ledger entries of all blocks by name, and the names of those that this call made."""

    entries: dict[str, BlockEntry]
    made: frozenset[str]

    @property
    def made_entries(self) -> list[BlockEntry]:
        """The entries of the blocks that this call made."""
        return [entry for name, entry in self.entries.items() if name in self.made]


@step("blocks")
def do_missing_blocks(
    run: Run, worker: Worker | PlacesWorker, placement: Placement, lock: OutputLock, early: EarlyLayers | None = None
) -> BlocksDone:
    """Do the blocks that are missing; existing ones are verified. ``early`` writes of them what it can.

    The blocks of a job over places are its units of rows.

    Raises RunError where blocks are still missing after a retry, or more reads failed than tolerated, SetAsideError
    where blocks failed for good.
    """
    done = _verified(run, worker)
    todo = _selected(run, [block for block in worker.plan.raster.all_blocks() if block.name not in done])
    places = worker.plan.places
    unit = 0 if places is None else places.unit
    run.listener(Stage(name="blocks", total=len(worker.plan.raster.blocks), rows=unit))
    if done:
        run.listener(Advance(done=len(done)))
    if words := _kept_words(run, len(worker.plan.raster.blocks), n_kept=len(done), n_todo=len(todo)):
        run.listener(Notice(text=words))
    if early is not None and isinstance(worker, Worker):
        early.begin(done, standing=worker.store.standing)
    try:
        for entry in _made_blocks(run, worker, placement, todo, done=done, lock=lock):
            if early is not None:
                early.add(entry)
        check_inputs_stood(run, done, [block.name for block in todo])
    except BaseException as error:
        # The error that ended the run matters more; if storage failed or is another run's, this list cannot be
        # written either.
        with suppress(StorageError, FencedError):
            _record_failures(run, done, set_aside=error.rows if isinstance(error, SetAsideError) else ())
        raise
    _record_failures(run, done)
    missing = len(worker.plan.raster.blocks) - len(done)
    if missing:
        raise RunError(
            f"The {'units' if unit else 'blocks'} asked for are done; {missing} others are still missing. "
            "Run without --retry."
        )
    return BlocksDone(entries=done, made=frozenset(block.name for block in todo))


def _kept_words(run: Run, n_blocks: int, *, n_kept: int, n_todo: int) -> str:
    """How many blocks are kept of those from before, and how many an update makes anew; empty for a first run."""
    noun = "block" if run.plan.places is None else "unit"
    if run.replaces is not None:
        return f"{part_of(n_todo, n_blocks, noun, singular='is', others='are')} made anew, {n_kept} kept."
    verbs = {"singular": "stands from before and is", "others": "stand from before and are"}
    return f"{part_of(n_kept, n_blocks, noun, **verbs)} kept." if n_kept else ""


def _selected(run: Run, missing: list[Block]) -> list[Block]:
    """The missing blocks; with --retry only those set aside with that class of failure."""
    if run.options.retry is None:
        return missing
    names = blocks_set_aside(read_failures(run.storage), run.options.retry)
    return [block for block in missing if block.name in names]


def _made_blocks(
    run: Run,
    worker: Worker | PlacesWorker,
    placement: Placement,
    todo: list[Block],
    *,
    done: dict[str, BlockEntry],
    lock: OutputLock,
) -> Iterator[BlockEntry]:
    """Do blocks and add them to the ``done``; each is yielded."""
    send_shard = run.send_shard or (lambda parameters: run_shard(**parameters))
    failures = [failure for entry in done.values() for failure in entry.failures]
    for entry in run_blocks(worker, todo, placement, send_shard=send_shard):
        done[entry.name] = entry
        failures += entry.failures
        km2 = block_km2(worker.plan, entry) if worker.plan.places is None else 0.0
        rows = 0 if worker.plan.places is None else entry.windows_run + entry.windows_skipped
        run.listener(Advance(km2=km2, rows=rows, block=entry.name, bytes_read=entry.bytes_read, seconds=entry.seconds))
        for failure in entry.failures:
            words = ", ".join(f"{key} {value}" for key, value in failure.items())
            run.listener(Notice(text=f"read failed: {words}", block=entry.name, item=failure["item"]))
        _check_tolerance(run, failures)
        lock.check()
        yield entry


def _record_failures(run: Run, done: dict[str, BlockEntry], *, set_aside: Iterable[dict[str, str]] = ()) -> None:
    """Write the failures file: reads that failed within the tolerance, and blocks set aside with their class."""
    tolerated = [failure for entry in done.values() for failure in entry.failures]
    write_failures(run.storage, [*tolerated, *set_aside])


def _check_tolerance(run: Run, failures: Sequence[dict[str, str]]) -> None:
    if len(failures) > run.settings.worker.tolerance:
        first, tolerated = failures[0], run.settings.worker.tolerance
        raise RunError(
            f"{len(failures)} reads failed, more than tolerance.failed_reads = {tolerated}; the first: "
            f"item {first['item']}, band {first['band']}, block {first['block']}: {first['reason']}. Finished blocks "
            "are kept: run again when the source answers, or raise the tolerance."
        )


def _verified(run: Run, worker: Worker | PlacesWorker) -> dict[str, BlockEntry]:
    """The existing entries with the plan's key whose stored pixels match their checksums; the others are removed.

    What is kept of blocks that the plan no longer has is removed.
    """
    entries = read_entries(worker.storage)
    planned = {block.name: block for block in worker.plan.raster.all_blocks()}
    forgotten = forget_stale(run, entries)
    entries = {name: entry for name, entry in entries.items() if name not in forgotten}
    current = [entry for name, entry in entries.items() if name in planned and worker.is_current(planned[name], entry)]
    with ThreadPoolExecutor(CHECK_THREADS) as pool:
        verdicts = pool.map(worker.is_intact, current)
        intact_entries = {entry.name: entry for entry, intact in zip(current, verdicts, strict=True) if intact}
    for name, entry in entries.items():
        if name not in planned:
            worker.erase(entry)
    remove_entries(worker.storage, [name for name in entries if name not in intact_entries])
    return intact_entries
