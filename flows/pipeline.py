"""A plan carried out: prepare, blocks, COGs, publish, with the output held by one run throughout."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from flows.ahead import Ahead
from flows.areas import block_km2
from flows.holding import hold
from flows.job_card import load_plan_card
from flows.memory import fitting_callers
from flows.outcome import Outcome
from flows.places import free_memory
from flows.planning import versions
from flows.precision import check_precision
from flows.prepare import check_room, declare_product, remove_product, replace_plan
from flows.quarantine import SetAsideError, blocks_set_aside
from flows.runner import RunError, run_blocks
from flows.steps import step
from flows.watchers import watched
from flows.where import Where
from flows.workshop import open_workshop
from models.providers import GPU_BATCH, GPUS
from models.session import active_provider
from tasks.ledger import (
    digest,
    freeze_plan,
    read_entries,
    read_failures,
    read_plan,
    remove_entries,
    write_failures,
)
from tasks.progress import Advance, Notice, Stage
from tasks.storage import StorageError, StoreError, open_storage
from tasks.work import block_key, is_intact

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from flows.holding import Holder
    from flows.job import Job
    from flows.layers import Finished
    from flows.predict import RunOptions
    from models.card import ModelCard
    from tasks.grid import Block
    from tasks.ledger import BlockEntry
    from tasks.plan import Plan
    from tasks.progress import Listener
    from tasks.storage import Storage
    from tasks.work import Workshop

READ_THREADS = 4
"""Reads of one block under way at once: hides the network's latency, costs nothing on a local disk."""

CHECK_THREADS = 4
"""Standing blocks read back at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run takes from its job beside the plan; none of it changes a pixel."""

    provider: str = "auto"
    batch: int | None = None
    tolerance: int = 0
    zarr_format: Literal[2, 3] = 3
    memory_mb: float | None = None

    @classmethod
    def of(cls, job: Job) -> Settings:
        """The settings a job asks for."""
        return cls(
            provider=job.provider,
            batch=job.tile.batch,
            tolerance=job.tolerance.failed_reads,
            zarr_format=job.zarr_format,
            memory_mb=job.limits.memory_mb,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: the plan, how, where to, and when it began (UTC, and in monotonic seconds for durations).

    ``replaces`` is the standing plan, as JSON, that an update puts this one in place of.
    """

    plan: Plan
    settings: Settings
    options: RunOptions
    storage: Storage
    listener: Listener
    began: datetime
    clock: float
    replaces: dict[str, Any] | None = None


def make_product(run: Run) -> Outcome:
    """The published product of a plan.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming what broke; what is done is kept.
    """
    options = run.options
    where = Where(runner=options.runner, workers=options.workers, shards=options.shards, deployment=options.deployment)
    card = load_plan_card(run.plan)
    check_room(run.storage, run.plan, card)
    where = _fitted(run, where, card)
    if run.plan.precision == "fp16":
        check_precision(run.plan, card, provider=run.settings.provider)
    run = replace(run, storage=open_storage(run.storage.uri, options=run.storage.options, create=True))
    with hold(run.storage) as holder, watched(run.listener, run.storage, run.plan.name) as listener:
        run = replace(run, listener=listener)
        _prepare(run, card)
        shop = _open_shop(run)
        ahead = Ahead(shop)
        entries = _blocks(run, shop, where, holder)
        finished = _cogs(run, card, entries)
        holder.check()
        report = _publish(run, shop, entries, finished, background=ahead.background(), n_workers=where.n_workers)
    return Outcome(name=run.plan.name, output=run.storage.uri, report=report)


def _fitted(run: Run, where: Where, card: ModelCard) -> Where:
    """Where blocks run, with no more callers of the model than memory has room for.

    Clusters and shards run where this process cannot look. Raises RoomError where not even one caller fits.
    """
    if where.runner != "threads" or where.shards > 1:
        return where
    limit = run.settings.memory_mb
    free = free_memory() if limit is None else int(limit * 1e6)
    gpu = active_provider(card, provider=run.settings.provider) in GPUS
    batch = card.batch or run.settings.batch or (GPU_BATCH if gpu else 1)
    n_callers = fitting_callers(run.plan, card, n_callers=where.n_workers, free=free, batch=batch, on_gpu=gpu)
    if n_callers < where.n_workers:
        run.listener(
            Notice(text=f"{free / 1e6:,.0f} MB of memory have room for {n_callers} of {where.n_workers} model calls.")
        )
    return replace(where, workers=n_callers, free=free)


@step("prepare")
def _prepare(run: Run, card: ModelCard) -> None:
    """Freeze the plan and declare the store; what an update or a replacement throws away goes first."""
    run.listener(Stage(name="prepare"))
    storage, plan = run.storage, run.plan
    if run.options.replace:
        remove_product(storage)
    elif run.replaces is not None:
        replace_plan(storage, run.replaces.get("layers", ()), plan)
    if not freeze_plan(storage, plan.to_json()) and digest(read_plan(storage)) != digest(plan.to_json()):
        raise StoreError(
            f"Another run began in {storage.uri} meanwhile: run the same command again to see where it is."
        )
    declare_product(storage, plan, card, zarr_format=run.settings.zarr_format)


def _open_shop(run: Run) -> Workshop:
    settings = run.settings
    shop = open_workshop(
        run.storage,
        run.plan,
        provider=settings.provider,
        batch=settings.batch,
        tolerance=settings.tolerance,
        read_threads=READ_THREADS,
    )
    if shop.engine.session.note:
        run.listener(Notice(text=shop.engine.session.note))
    today = versions()
    changed = [
        f"{name} {run.plan.versions[name]} then, {today[name]} now"
        for name in sorted(today)
        if run.plan.versions.get(name, today[name]) != today[name]
    ]
    if changed:
        run.listener(Notice(text=f"This product was begun with other libraries: {'; '.join(changed)}."))
    return shop


@step("blocks")
def _blocks(run: Run, shop: Workshop, where: Where, holder: Holder) -> dict[str, BlockEntry]:
    """Every block's entry, by name: those that stand, verified, and those done now."""
    done = _verified(shop)
    todo = _asked_for(run, [block for block in shop.plan.all_blocks() if block.name not in done])
    run.listener(Stage(name="blocks", total=len(shop.plan.blocks)))
    if done:
        run.listener(Advance(done=len(done)))
        run.listener(Notice(text=f"{len(done)} of {len(shop.plan.blocks)} blocks stand from before and are kept."))
    try:
        _do(run, shop, where, todo, done=done, holder=holder)
    except BaseException as error:
        # What broke the run is the news, and where it is the storage this list cannot be written either.
        with suppress(StorageError):
            _note_failures(run, done, aside=error.rows if isinstance(error, SetAsideError) else ())
        raise
    _note_failures(run, done)
    missing = len(shop.plan.blocks) - len(done)
    if missing:
        raise RunError(f"The blocks asked for are done; {missing} others are still missing. Run without --retry.")
    return done


def _asked_for(run: Run, missing: list[Block]) -> list[Block]:
    """The missing blocks, or those of them that were set aside for the reason asked for."""
    if run.options.retry is None:
        return missing
    names = blocks_set_aside(read_failures(run.storage), run.options.retry)
    return [block for block in missing if block.name in names]


def _do(
    run: Run, shop: Workshop, where: Where, todo: list[Block], *, done: dict[str, BlockEntry], holder: Holder
) -> None:
    for entry in run_blocks(shop, todo, where, provider=run.settings.provider):
        done[entry.name] = entry
        km2 = block_km2(shop.plan, entry)
        run.listener(Advance(km2=km2, block=entry.name, bytes_read=entry.bytes_read, seconds=entry.seconds))
        for failure in entry.failures:
            words = ", ".join(f"{key} {value}" for key, value in failure.items())
            run.listener(Notice(text=f"read failed: {words}", block=entry.name, item=failure["item"]))
        _check_tolerance(run, done)
        holder.check()


def _note_failures(run: Run, done: dict[str, BlockEntry], *, aside: Iterable[dict[str, str]] = ()) -> None:
    """Keep the reads that failed inside the tolerance, and the blocks set aside, each with its class."""
    tolerated = [failure for entry in done.values() for failure in entry.failures]
    write_failures(run.storage, [*tolerated, *aside])


def _check_tolerance(run: Run, done: dict[str, BlockEntry]) -> None:
    failures = [failure for entry in done.values() for failure in entry.failures]
    if len(failures) > run.settings.tolerance:
        first = failures[0]
        raise RunError(
            f"{len(failures)} reads failed, more than tolerance.failed_reads = {run.settings.tolerance}; the first: "
            f"item {first['item']}, band {first['band']}, block {first['block']}: {first['reason']}. Finished blocks "
            "are kept: run again when the source answers, or raise the tolerance."
        )


def _verified(shop: Workshop) -> dict[str, BlockEntry]:
    """The standing entries of today's key whose pixels read back as they were written; others are forgotten.

    Blocks that the plan no longer has are made nodata again.
    """
    entries = read_entries(shop.storage)
    planned = {block.name: block for block in shop.plan.all_blocks()}
    current = [
        entry for name, entry in entries.items() if name in planned and entry.key == block_key(shop.plan, planned[name])
    ]
    with ThreadPoolExecutor(CHECK_THREADS) as pool:
        verdicts = pool.map(lambda entry: is_intact(shop, entry), current)
        good = {entry.name: entry for entry, intact in zip(current, verdicts, strict=True) if intact}
    for name, entry in entries.items():
        if name not in planned:
            shop.store.erase_block(shop.plan.product_box_of(shop.plan.block(entry.row, entry.col).inner))
    remove_entries(shop.storage, [name for name in entries if name not in good])
    return good


@step("cogs")
def _cogs(run: Run, card: ModelCard, entries: dict[str, BlockEntry]) -> Finished:
    """The smaller levels of the store, and every layer's files."""
    from flows.layers import finish_layers

    return finish_layers(run.storage, run.plan, card, entries, listener=run.listener)


@step("publish")
def _publish(
    run: Run,
    shop: Workshop,
    entries: dict[str, BlockEntry],
    finished: Finished,
    *,
    background: np.ndarray | None,
    n_workers: int,
) -> dict[str, object]:
    from flows.finish import publish_product

    run.listener(Stage(name="publish", total=1))
    return publish_product(
        shop,
        entries,
        finished,
        background=background,
        began=run.began,
        seconds=time.monotonic() - run.clock,
        n_workers=n_workers,
        now=datetime.now(UTC),
    )
