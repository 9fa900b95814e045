"""From a plan to its published product: prepare, blocks, COGs, publish, under the output's lock throughout."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tilewright.flows.environment import lock_seconds, monitor_settings
from tilewright.flows.estimate.measured import RunMeter
from tilewright.flows.estimate.memory import LowMemoryError, finish_memory, fitting_callers
from tilewright.flows.machine import free_memory, n_cores, peak_memory
from tilewright.flows.monitor.monitor import watched
from tilewright.flows.precision.choice import plan_provider
from tilewright.flows.prefect_steps import step
from tilewright.flows.run.existing import check_unchanged
from tilewright.flows.run.missing_blocks import do_missing_blocks
from tilewright.flows.run.outcome import Outcome
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.precision import check_precision
from tilewright.flows.run.prefetch import EarlyLayers, Prefetch
from tilewright.flows.run.prepare import check_disk_space, clear_output, declare_product
from tilewright.flows.runners.worker import open_places_worker, open_worker
from tilewright.flows.versions import OF_PIXELS, changed_versions, versions
from tilewright.models.run.open import active_provider
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.tasks.progress import Notice, Stage
from tilewright.tasks.report.format import plural
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import ChangedStoreError, open_store

if TYPE_CHECKING:
    from tilewright.flows.estimate.measured import Figures
    from tilewright.flows.run.context import Run, RunPlaces
    from tilewright.flows.run.missing_blocks import BlocksDone
    from tilewright.flows.run.output_lock import OutputLock
    from tilewright.flows.runners.run_options import Placement
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.publish.layers import BegunLayers
    from tilewright.tasks.publish.written import WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry


CHANGED_TRIES = 3
"""Tries to publish a product of which something is not as it was written when it is listed."""


def make_product(run: Run) -> Outcome:
    """Make the product of a plan and publish it; returns its outcome.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming the failure.
    Finished blocks are kept.
    """
    if run.places is None and run.plan.places is not None:
        raise StoreError(
            f"{run.plan.name} is a table of places, whose rows neither its Item nor its plan holds: run its job again."
        )
    if run.places is None:
        check_disk_space(run.storage, run.plan, run.card)
    placement = _fit_placement(run)
    run = _check_precision(run)
    run = replace(run, storage=open_storage(run.storage.uri, options=run.storage.options, create=True))
    seconds, wait = lock_seconds(), run.options.wait
    with lock_output(run.storage, seconds=seconds, wait=wait, listener=run.listener) as lock:
        return _make_locked(replace(run, storage=lock.storage), placement, lock)


def _check_precision(run: Run) -> Run:
    """The run with its precision compared with single precision, where it is another one."""
    precision = run.plan.model.precision
    if precision == "fp32":
        return run
    settings = run.settings
    found = check_precision(run.plan, run.card, provider=settings.worker.provider, gate=settings.precision_gate)
    share, times = min(found.shares.values()), found.reference_seconds / found.seconds
    windows = plural(found.n_windows, "window")
    text = f"{precision} agrees with fp32 on {share:.2%} of the pixels of {windows}, at {times:.1f} times its speed."
    run.listener(Notice(text=text))
    return replace(run, precision=found)


def _make_locked(run: Run, placement: Placement, lock: OutputLock) -> Outcome:
    """Make the product under its lock. Raises OutputChangedError if another run made something of it before."""
    if run.found is not None:
        check_unchanged(run.storage, run.found)
    with watched(run.listener, run.storage, run.plan.name, monitor_settings()) as listener:
        run = replace(run, listener=listener)
        _prepare_output(run)
        if run.places is not None:
            return _make_places(run, run.places, placement, lock)
        worker = _open_worker(run, callers=placement.n_workers if placement.runner == "threads" else None)
        # Objects of the second format lie in one folder: looking at a few of them lists all.
        room = run.settings.zarr_format == 3 and _has_room(run, placement)
        meter = RunMeter.of(worker, run.card, workers=placement.n_workers, start=run.start)
        with Prefetch(worker) as prefetch, EarlyLayers(worker, run.card, room=room, listener=listener) as early:
            report, off = _finish_product(run, worker, placement, lock, prefetch=prefetch, early=early, meter=meter)
    return Outcome(name=run.plan.name, output=run.storage.uri, report=report, off=off)


def _make_places(run: Run, places: RunPlaces, placement: Placement, lock: OutputLock) -> Outcome:
    """Do the missing units of a job over places and publish its table."""
    from tilewright.tasks.places.pictures import PlacesMap

    worker = open_places_worker(
        run.storage, run.plan, run.card, run.settings.worker, places.rows, callers=placement.n_workers
    )
    _note_versions(run)
    with Prefetch(worker, ground=PlacesMap.of(run.plan, places.rows).ground) as prefetch:
        report = _finish_places(run, worker, places, placement=placement, lock=lock, prefetch=prefetch)
    return Outcome(name=run.plan.name, output=run.storage.uri, report=report)


def _finish_places(
    run: Run, worker: PlacesWorker, places: RunPlaces, *, placement: Placement, lock: OutputLock, prefetch: Prefetch
) -> dict[str, object]:
    """Do the missing units and publish; what somebody changed after it was written is made again, once or twice."""
    made: frozenset[str] = frozenset()
    for tries_left in reversed(range(CHANGED_TRIES)):
        try:
            done = do_missing_blocks(run, worker, placement, lock)
            made |= done.made
            lock.check()
            return _publish_places(
                run, worker, places, replace(done, made=made), prefetch, n_workers=placement.n_workers
            )
        except ChangedStoreError as error:
            if not tries_left:
                raise
            run.listener(Notice(text=f"{error.found}: it is made again."))
    raise AssertionError("the last try returns or raises")


def _finish_product(
    run: Run,
    worker: Worker,
    placement: Placement,
    lock: OutputLock,
    *,
    prefetch: Prefetch,
    early: EarlyLayers,
    meter: RunMeter,
) -> tuple[dict[str, object], str]:
    """Do the missing blocks and publish; what somebody changed after it was written is made again, once or twice.

    Returns the report, and in words what was other than promised.
    """
    made: frozenset[str] = frozenset()
    for tries_left in reversed(range(CHANGED_TRIES)):
        try:
            with meter.blocks(prefetch.cpu):
                done = do_missing_blocks(run, worker, placement, lock, early)
            made |= done.made
            written = _write_cogs(run, done.entries, worker.store.standing, early.take())
            lock.check()
            done = replace(done, made=made)
            figures = meter.figures(done.made_entries, layer_bytes=written.size)
            n_workers = placement.n_workers
            report = _publish_product(run, worker, done, written, prefetch, n_workers=n_workers, figures=figures)
            whole = len(made) == len(done.entries) and placement.here and tries_left == CHANGED_TRIES - 1
            cogs = {cog.facts.path.name for cog in written.cogs}
            return report, meter.close(done.made_entries, cogs=cogs, whole=whole)
        except ChangedStoreError as error:
            if not tries_left:
                raise
            run.listener(Notice(text=f"{error.found}: it is made again."))
            declare_product(run.storage, run.plan, run.card, zarr_format=run.settings.zarr_format)
            worker = replace(worker, store=open_store(run.storage, **run.plan.raster.store_boxes))
    raise AssertionError("the last try returns or raises")


def _fit_placement(run: Run) -> Placement:
    """The run's placement, with no more callers of the model than memory has room for.

    Clusters and shards are left as they are, since their memory is on other machines.

    Raises LowMemoryError where not even one caller fits.
    """
    placement = run.options.placement
    if not placement.here:
        return placement
    limit = run.settings.memory_mb
    free = free_memory() if limit is None else int(limit * 1e6)
    n_callers = _fitting_callers(run, placement.n_workers, free)
    if n_callers < placement.n_workers:
        calls = f"{n_callers} of {placement.n_workers} model calls"
        run.listener(Notice(text=f"{free / 1e6:,.0f} MB of memory have room for {calls}."))
    return replace(placement, workers=n_callers, free=free)


def _fitting_callers(run: Run, n_callers: int, free: int) -> int:
    card, settings = run.card, run.settings.worker
    on_gpu = active_provider(card, provider=plan_provider(run.plan, settings.provider)) in GPUS
    batch = card.batch or settings.batch or (GPU_BATCH if on_gpu else 1)
    return fitting_callers(run.plan, card, n_callers=n_callers, free=free, batch=batch, on_gpu=on_gpu)


def _has_room(run: Run, placement: Placement) -> bool:
    """True if memory has room for the end of a run beside its blocks, without a model call less."""
    needed = finish_memory(run.plan, run.card, n_cores=n_cores())
    if placement.free is None:
        # Blocks are in other processes.
        return 2 * needed < free_memory()
    try:
        return _fitting_callers(run, placement.n_workers, placement.free - int(needed)) == placement.n_workers
    except LowMemoryError:
        return False


@step("prepare")
def _prepare_output(run: Run) -> None:
    """Freeze the plan and declare the store, after removing what an update or a replacement discards."""
    run.listener(Stage(name="prepare"))
    storage, plan = run.storage, run.plan
    lost = clear_output(storage, plan, replace=run.options.replace, renew=run.replaces is not None)
    if lost:
        told = f"Removed {', '.join(lost)} and what came with it, which told of the product as it was"
        run.listener(Notice(text=f"{told}: make it anew when the run has ended."))
    if run.places is None:
        declare_product(storage, plan, run.card, zarr_format=run.settings.zarr_format)


def _open_worker(run: Run, *, callers: int | None) -> Worker:
    worker = open_worker(run.storage, run.plan, run.card, run.settings.worker, callers=callers)
    if worker.model.session.note:
        run.listener(Notice(text=worker.model.session.note))
    _note_versions(run)
    return worker


def _note_versions(run: Run) -> None:
    """Say which libraries differ from those of the plan, and where an update keeps blocks that others made."""
    today = versions()
    if changed := changed_versions(run.plan.versions, today, today):
        run.listener(Notice(text=f"This product was begun with other libraries: {'; '.join(changed)}."))
    if kept := changed_versions((run.replaces or {}).get("versions") or {}, today, OF_PIXELS):
        run.listener(Notice(text=f"Blocks that are kept were made with other libraries: {'; '.join(kept)}."))


@step("cogs")
def _write_cogs(
    run: Run, entries: dict[str, BlockEntry], standing: set[tuple[int, int]], begun: BegunLayers | None
) -> WrittenLayers:
    """Write the smaller levels of the store and every layer's files; returns the written layers."""
    from tilewright.tasks.publish.layers import write_layers

    return write_layers(
        run.storage, run.plan, run.card, entries,
        n_cores=n_cores(), listener=run.listener, standing=standing, begun=begun,
    )  # fmt: skip


@step("publish")
def _publish_places(
    run: Run, worker: PlacesWorker, places: RunPlaces, done: BlocksDone, prefetch: Prefetch, *, n_workers: int
) -> dict[str, object]:
    from tilewright.tasks.places.publish import publish_places
    from tilewright.tasks.publish.report_json import RunFacts

    run.listener(Stage(name="publish", total=1))
    facts = RunFacts(
        began=run.began,
        finished=datetime.now(UTC),
        seconds=time.monotonic() - run.start.clock,
        n_workers=n_workers,
        peak_memory=peak_memory(),
        made=done.made,
        background=prefetch.background(),
    )
    return publish_places(worker, done.entries, places.columns, facts, key=places.key, path=places.path)


@step("publish")
def _publish_product(
    run: Run,
    worker: Worker,
    done: BlocksDone,
    written: WrittenLayers,
    prefetch: Prefetch,
    *,
    n_workers: int,
    figures: Figures,
) -> dict[str, object]:
    from tilewright.tasks.publish.publish import publish_product
    from tilewright.tasks.publish.report_json import RunFacts

    run.listener(Stage(name="publish", total=1))
    facts = RunFacts(
        began=run.began,
        finished=datetime.now(UTC),
        seconds=time.monotonic() - run.start.clock,
        n_workers=n_workers,
        peak_memory=peak_memory(),
        made=done.made,
        background=prefetch.background(),
        scene_image=prefetch.scene_image(),
        precision=run.precision.to_json() if run.precision else None,
        promised=figures.promised,
        measured=figures.measured,
    )
    return publish_product(worker, done.entries, written, facts)
