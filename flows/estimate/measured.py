"""A run beside its promise: what it took stage by stage, what was off and why, and the record for the next plan."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyproj.exceptions import ProjError
from shapely.lib import GEOSException

from tilewright.flows.estimate.memory import known_memory
from tilewright.flows.estimate.promise import foretell, forget_promise, told_promise
from tilewright.flows.estimate.rates import RunRecord, keep_run, read_runs
from tilewright.flows.estimate.samples import sample_files
from tilewright.flows.estimate.workload import count_workload
from tilewright.flows.machine import PhaseStart, machine_cpu, n_cores, peak_memory, process_cpu
from tilewright.models.run.providers import GPUS
from tilewright.tasks.inventory.listing import list_below, list_top
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.vector.layer_polygons import table_names
from tilewright.tasks.zarr.declare import BLOCKS, STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from tilewright.flows.estimate.promise import Promise
    from tilewright.flows.estimate.workload import Workload
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


OFF = 0.25
"""Share by which a promise may be missed before the run says so."""

LEAST_SECONDS, LEAST_BYTES = 3.0, 2e6
"""Differences below which nothing is said: no plan is made by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was promised of a run, None where nothing was, and what was measured: ``seconds``, ``bytes_read``,
    ``bytes_stored`` and ``peak_memory_mb`` until its report is written.
    """

    promised: dict[str, Any] | None
    measured: dict[str, float]


@dataclass(slots=True, kw_only=True)
class RunMeter:
    """Measures one run on threads of this process. ``start``: the readings as the command began.

    ``promise`` is what ``plan`` told, or what the runs known would have told; None where neither is.
    """

    worker: Worker
    workers: int
    start: PhaseStart
    promise: Promise | None
    work: Workload | None
    memory: float | None
    seconds: dict[str, float] = field(default_factory=dict)
    phase: PhaseStart | None = None
    cpu: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, worker: Worker, card: ModelCard, *, workers: int, start: PhaseStart) -> RunMeter:
        """The meter of a run whose blocks are about to begin. Reads no file on a network."""
        try:
            work, memory, promise = _foretold(worker, card, workers=workers)
        except (GEOSException, ProjError, ValueError, ArithmeticError):
            # An area that cannot be measured, of a run that can be made all the same.
            return cls(worker=worker, workers=workers, start=start, promise=None, work=None, memory=None)
        return cls(worker=worker, workers=workers, start=start, promise=promise, work=work, memory=memory)

    @contextmanager
    def blocks(self, beside: Callable[[], float]) -> Iterator[None]:
        """Measures the making of blocks; ``beside``: CPU seconds so far of the thread that prepares publishing."""
        self.seconds.setdefault("start", self._undisturbed())
        wall, every, other = time.monotonic(), process_cpu(), time.thread_time() + beside()
        machine = machine_cpu()
        yield
        passed = {"all": process_cpu() - every, "other": time.thread_time() + beside() - other, "others": 0.0}
        if machine is not None and (now := machine_cpu()) is not None:
            passed["others"] = max(0.0, now - machine - passed["all"])
        self.phase = PhaseStart.now()
        self.seconds["blocks"] = self.seconds.get("blocks", 0.0) + time.monotonic() - wall
        self.cpu = {name: self.cpu.get(name, 0.0) + seconds for name, seconds in passed.items()}

    def figures(self, made: Iterable[BlockEntry], *, layer_bytes: int) -> Figures:
        """What was promised and measured up to now: all but the pages about the product, which are not written yet.

        ``made``: the blocks that the run made; ``layer_bytes``: those of the layers' files.
        """
        self.seconds |= {"to_report": time.monotonic() - self.start.clock, "finish": self._undisturbed()}
        self.phase = PhaseStart.now()
        self.measured = {
            "seconds": self.seconds["to_report"],
            "bytes_read": sum(entry.bytes_read for entry in made),
            "bytes_stored": layer_bytes + _stored(self.worker.storage),
            "peak_memory_mb": peak_memory() / 1e6,
        }
        return Figures(promised=self._promised(), measured=self.measured)

    @property
    def disturbed(self) -> float:
        """Seconds that other programs took from the run: at most, as the machine tells the sum over its cores."""
        return self.cpu.get("others", 0.0) / n_cores() + max(
            0.0, self.seconds["total"] - sum(self.seconds[phase] for phase in ("start", "blocks", "finish", "publish"))
        )

    def _undisturbed(self) -> float:
        """Seconds since the phase began, without those in which other threads and programs had the cores."""
        now, before = PhaseStart.now(), self.phase or self.start
        others = 0.0
        if now.machine is not None and before.machine is not None:
            others = max(0.0, now.machine - before.machine - (now.own - before.own)) / n_cores()
        passed = now.clock - before.clock - max(now.waited - before.waited, others)
        return max(1e-3, (now.own - before.own) / 2, passed)

    def _promised(self) -> dict[str, Any] | None:
        if self.promise is None:
            return None
        return {
            "seconds": self.promise.to_report,
            "bytes_read": self.promise.bytes_read,
            "bytes_stored": self.promise.bytes_stored - self.promise.pages,
            "peak_memory_mb": self.promise.peak_memory / 1e6 or None,
            "basis": self.promise.basis,
        }

    def close(self, made: list[BlockEntry], *, cogs: Collection[str], whole: bool) -> str:
        """What was off by more than OFF, and the likely reason, in one line; empty where nothing was.

        The run is kept for the next plan. ``cogs``: names of the layers' files. ``whole``: this process made every
        block, otherwise there is nothing to compare.
        """
        self.seconds |= {"total": time.monotonic() - self.start.clock, "publish": self._undisturbed()}
        if not whole or not made or self.work is None:
            return ""
        try:
            top = list_top(self.worker.storage)
        except StorageError:
            return ""
        # Tables hold as many shapes as the ground has: their bytes tell nothing of another product's.
        others = {*cogs, *(f"{name}.parquet" for name in table_names(self.worker.plan))}
        pages = sum(listed.size for name, listed in top.items() if name not in others)
        record = self._record(made, self.work, pages=pages)
        plan, provider = self.worker.plan, self.worker.model.session.provider
        keep_run(plan, record, provider=provider)
        forget_promise(plan, workers=self.workers, provider=provider)
        return "" if self.promise is None else self._words(self.promise, record)

    def _record(self, made: list[BlockEntry], work: Workload, *, pages: int) -> RunRecord:
        seconds, cpu, stages = self.seconds, self.cpu, self.worker.cpu
        infer, write = stages.get("infer", 0.0), stages.get("write", 0.0)
        other = min(cpu["other"], cpu["all"])
        promised = self.promise.bytes_plain if self.promise else work.read if work.sampled else 0.0
        # A peak that stood before the run began is none of its own.
        peak = peak_memory()
        modelled = (self.memory or 0.0) if peak > self.start.peak else 0.0
        return RunRecord(
            kind=work.kind,
            precision=work.precision,
            workers=self.workers,
            blocks_made=len(made),
            windows=sum(entry.windows_run + int(entry.seams.get("windows", 0)) for entry in made),
            decoded=sum(entry.bytes_decoded for entry in made),
            read=self.measured["bytes_read"],
            read_promised=promised,
            observed=work.observed,
            reads=sum(entry.reads for entry in made),
            pixels=work.pixels,
            files=work.files,
            start=seconds["start"],
            blocks=seconds["blocks"],
            finish=seconds["finish"],
            publish=seconds["publish"],
            others_cpu=cpu["others"],
            infer_cpu=infer,
            read_cpu=max(0.0, cpu["all"] - other - infer - write),
            write_cpu=write,
            other_cpu=other,
            read_wait=sum(entry.seconds.get("read", 0.0) for entry in made),
            stored=self.measured["bytes_stored"],
            pages=pages,
            peak=peak,
            peak_modelled=modelled,
        )

    def _words(self, promise: Promise, record: RunRecord) -> str:
        found = [
            ("time", promise.seconds, self.seconds["total"], LEAST_SECONDS, "{:.0f} s", 1.0),
            ("reading", promise.bytes_read, record.read, LEAST_BYTES, "{:.1f} MB", 1e6),
            ("storing", promise.bytes_stored, record.stored + record.pages, LEAST_BYTES, "{:.1f} MB", 1e6),
            ("memory", promise.peak_memory, record.peak, 100e6, "{:.0f} MB", 1e6),
        ]
        off = [
            f"{name} {form.format(is_ / unit)} instead of {form.format(said / unit)}"
            f"{self._reason(name, promise, record)}"
            for name, said, is_, least, form, unit in found
            if said and abs(is_ - said) > max(OFF * said, least)
        ]
        return f"other than foretold {promise.basis}: {'; '.join(off)}" if off else ""

    def _reason(self, name: str, promise: Promise, record: RunRecord) -> str:
        """The likely reason of a promise that was missed, in brackets."""
        reason = ""
        expected = sum(promise.parts.get(part, 0.0) for part in ("infer", "read", "write"))
        used = record.infer_cpu + record.read_cpu + record.write_cpu
        late = self.seconds["total"] - promise.seconds
        if name == "time" and late > 0 and late / 2 < self.disturbed:
            reason = "other programs used the processor"
        elif name == "time" and late > 0 and record.kind != "local" and used < 1.2 * expected:
            reason = "the source answered slowly"
        elif name == "time" and "short measurement" in promise.basis:
            reason = "this model's first run here"
        elif name == "time":
            reason = f"the blocks took {used:.0f} s of computing for {expected:.0f} s"
        elif "short measurement" in promise.basis:
            reason = "this model's first run here" if name != "reading" else "few files were looked into"
        elif name == "reading":
            reason = "other scenes than those looked into compress otherwise"
        elif name == "storing":
            reason = "this area's layers compress otherwise"
        return f" ({reason})" if reason else ""


def _foretold(worker: Worker, card: ModelCard, *, workers: int) -> tuple[Workload, float | None, Promise | None]:
    """The amounts of a run, the bytes of memory that are expected without learning, and what was promised of it."""
    plan, provider, at_once = worker.plan, worker.model.session.provider, worker.model.windows_per_call
    work = count_workload(plan, sample_files(plan, remote=False), windows_per_call=at_once)
    memory = known_memory(plan, card, n_callers=workers, batch=at_once, on_gpu=provider in GPUS)
    told = told_promise(plan, workers=workers, provider=provider)
    runs = read_runs(plan, provider=provider)
    return work, memory, told or foretell(work, runs, None, memory=memory, workers=workers)


def _stored(storage: Storage) -> int:
    """Bytes of the store and of the records, without what is removed when the product is published."""
    waiting = (f"{BLOCKS}/", f"{STATE_FOLDER}/staging/")
    try:
        found = {**list_below(storage, STORE), **list_below(storage, STATE_FOLDER)}
    except StorageError:
        return 0
    return sum(listed.size for key, listed in found.items() if not key.startswith(waiting))
