"""One job, from request to published product: plan, prepare, blocks, COGs, publish."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.finish import Finished, publish_product, write_layers
from flows.outcome import Outcome
from flows.places import HOST, process_alive, storage_options
from flows.planning import load_plan_card, make_plan
from flows.prepare import check_output, declare_product, keep_standing, remove_product
from flows.runner import RunError, Where, run_blocks
from flows.steps import step
from flows.workshop import open_workshop
from tasks.ledger import (
    Owner,
    beat,
    free_lock,
    freeze_plan,
    read_entries,
    read_lock,
    read_plan,
    remove_entries,
    take_lock,
    write_failures,
)
from tasks.plan import Plan
from tasks.progress import Advance, Notice, Stage, silent
from tasks.storage import open_storage
from tasks.work import block_key, is_intact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.job import Job
    from tasks.grid import Block
    from tasks.ledger import BlockEntry
    from tasks.progress import Listener
    from tasks.storage import Storage
    from tasks.work import Workshop

BEAT_SECONDS = 20.0
READ_THREADS = 4
"""Reads of one block under way at once: hides the network's latency, costs nothing on a local disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a job is run; none of it changes a pixel. ``startup_seconds`` went by before and count as part of the run."""

    runner: str = "threads"
    workers: int | None = None
    update: bool = False
    replace: bool = False
    startup_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run under way: the job, how, where to, and when it began (UTC, and in seconds for durations)."""

    job: Job
    options: RunOptions
    storage: Storage
    listener: Listener
    began: datetime
    clock: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def owner(self) -> Owner:
        """This run as the lock's owner, now."""
        return Owner(run=self.id, host=HOST, pid=os.getpid(), beat=time.time())


def run_job(job: Job, options: RunOptions | None = None, *, listener: Listener = silent) -> Outcome:
    """The published product of a job.

    A second call on the same output does what is missing, or says that all is done.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming what broke; what is done is kept.
    """
    options = options or RunOptions()
    where = Where(runner=options.runner, workers=options.workers)
    output = job.output or f"out/{job.name}"
    storage = check_output(output, storage_options(output))
    run = Run(
        job=job,
        options=options,
        storage=storage,
        listener=listener,
        began=datetime.now(UTC),
        clock=time.monotonic() - options.startup_seconds,
    )
    plan = _settled_plan(run)
    if plan is None:
        return _already_complete(run)
    run = _prepare(run, plan)
    with _locked(run):
        shop = _open_shop(run, plan)
        entries = _blocks(run, shop, where)
        finished = _cogs(run, plan)
        report = _publish(run, shop, entries, finished, where.n_workers)
    return Outcome(name=plan.name, output=run.storage.uri, report=report)


def _settled_plan(run: Run) -> Plan | None:
    """The plan to follow: the standing one where there is one, else a new one; None where the product is complete."""
    plain = read_plan(run.storage) if run.storage.root is not None else None
    if plain is None or run.options.replace:
        run.listener(Stage(name="plan"))
        plan = _plan(run.job)
        _say_warnings(plan, run.listener)
        return plan
    standing = Plan.from_json(plain)
    if run.options.update:
        run.listener(Stage(name="plan", note="anew"))
        return _updated(run, standing)
    keep_standing(standing, run.job, run.storage)
    complete = run.storage.read("item.json") is not None
    return None if complete else standing


@step("plan")
def _plan(job: Job) -> Plan:
    return make_plan(job)


def _updated(run: Run, standing: Plan) -> Plan | None:
    """The plan made anew over a standing product; None where nothing would change."""
    plan = _plan(run.job)
    if (plan.grid, plan.lattice, plan.layers) != (standing.grid, standing.lattice, standing.layers):
        raise RunRefusedError(
            f"--update: {run.storage.uri} lies on another grid, lattice or layers than this job asks for. "
            "Use --replace, or another output."
        )
    if plan.to_json() == standing.to_json() and run.storage.read("item.json") is not None:
        return None
    _say_warnings(plan, run.listener)
    return plan


class RunRefusedError(ValueError):
    """A request that contradicts what stands in its output."""


def _say_warnings(plan: Plan, listener: Listener) -> None:
    for warning in plan.warnings:
        listener(Notice(text=warning))


@step("prepare")
def _prepare(run: Run, plan: Plan) -> Run:
    """Make the output ready: folder, lock, frozen plan, declared store. The run comes back with its storage open."""
    run.listener(Stage(name="prepare"))
    storage = open_storage(run.storage.uri, options=run.storage.options, create=True)
    standing = read_lock(storage)
    alive = process_alive(standing.pid) if standing is not None and standing.host == HOST else None
    ready = Run(
        job=run.job,
        options=run.options,
        storage=storage,
        listener=run.listener,
        began=run.began,
        clock=run.clock,
        id=run.id,
    )
    take_lock(storage, ready.owner(), alive=alive)
    if run.options.replace:
        remove_product(storage)
    elif run.options.update:
        storage.write_json(".tilewright/plan.json", plan.to_json())
        storage.delete(["item.json"])
    freeze_plan(storage, plan.to_json())
    declare_product(storage, plan, load_plan_card(plan), zarr_format=run.job.zarr_format)
    return ready


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    try:
        yield
    finally:
        free_lock(run.storage, run.owner())


def _open_shop(run: Run, plan: Plan) -> Workshop:
    shop = open_workshop(
        run.storage,
        plan,
        provider=run.job.provider,
        batch=run.job.tile.batch,
        tolerance=run.job.tolerance.failed_reads,
        read_threads=READ_THREADS,
    )
    if shop.engine.session.note:
        run.listener(Notice(text=shop.engine.session.note))
    return shop


@step("blocks")
def _blocks(run: Run, shop: Workshop, where: Where) -> dict[str, BlockEntry]:
    """Every block's entry, by name: those that stand, verified, and those done now."""
    done = _verified(shop)
    todo = [block for block in shop.plan.all_blocks() if block.name not in done]
    run.listener(Stage(name="blocks", total=len(shop.plan.blocks)))
    if done:
        run.listener(Advance(done=len(done)))
    try:
        _do(run, shop, where, todo, done)
    finally:
        write_failures(run.storage, [failure for entry in done.values() for failure in entry.failures])
    return done


def _do(run: Run, shop: Workshop, where: Where, todo: list[Block], done: dict[str, BlockEntry]) -> None:
    last_beat = time.monotonic()
    for entry in run_blocks(shop, todo, where, provider=run.job.provider):
        done[entry.name] = entry
        km2 = entry.valid_pixels * (shop.plan.product_grid.resolution / 1000) ** 2
        run.listener(Advance(km2=km2))
        for failure in entry.failures:
            run.listener(Notice(text="read failed: " + ", ".join(f"{key} {value}" for key, value in failure.items())))
        _check_tolerance(run, done)
        if time.monotonic() - last_beat > BEAT_SECONDS:
            beat(run.storage, run.owner())
            last_beat = time.monotonic()


def _check_tolerance(run: Run, done: dict[str, BlockEntry]) -> None:
    failures = [failure for entry in done.values() for failure in entry.failures]
    if len(failures) > run.job.tolerance.failed_reads:
        first = failures[0]
        raise RunError(
            f"{len(failures)} reads failed, more than tolerance.failed_reads = {run.job.tolerance.failed_reads}; the "
            f"first: item {first['item']}, band {first['band']}, block {first['block']}: {first['reason']}. "
            "Finished blocks are kept: run again when the source answers, or raise the tolerance."
        )


def _verified(shop: Workshop) -> dict[str, BlockEntry]:
    """The standing entries of today's key whose pixels read back as they were written; others are forgotten."""
    entries = read_entries(shop.storage)
    planned = {block.name: block for block in shop.plan.all_blocks()}
    good = {
        name: entry
        for name, entry in entries.items()
        if name in planned and entry.key == block_key(shop.plan, planned[name]) and is_intact(shop, entry)
    }
    remove_entries(shop.storage, [name for name in entries if name not in good])
    return good


@step("cogs")
def _cogs(run: Run, plan: Plan) -> Finished:
    run.listener(Stage(name="cogs", total=len(plan.layers)))
    return write_layers(run.storage, plan, load_plan_card(plan), listener=run.listener)


@step("publish")
def _publish(
    run: Run, shop: Workshop, entries: dict[str, BlockEntry], finished: Finished, n_workers: int
) -> dict[str, object]:
    run.listener(Stage(name="publish", total=1))
    return publish_product(
        shop,
        entries,
        finished,
        began=run.began,
        seconds=time.monotonic() - run.clock,
        n_workers=n_workers,
        now=datetime.now(UTC),
    )


def _already_complete(run: Run) -> Outcome:
    report = run.storage.read_json("report.json") or {}
    return Outcome(name=run.job.name, output=run.storage.uri, report=report, already_complete=True)
