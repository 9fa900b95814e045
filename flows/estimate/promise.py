"""What a plan promises of its run: seconds, bytes read, bytes stored and peak memory, from amounts and rates."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import cache_folder
from tilewright.flows.estimate.rates import AmountLine, RunRecord, grown, line_of, median_of
from tilewright.flows.estimate.trial import Trial
from tilewright.flows.estimate.workload import USUAL_RATIO
from tilewright.flows.machine import n_cores
from tilewright.models.cache import write_cached
from tilewright.tasks.block.worker import REMOTE_READS
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tilewright.flows.estimate.rates import KnownRuns
    from tilewright.flows.estimate.workload import Workload
    from tilewright.tasks.block.floor import Rates
    from tilewright.tasks.plan.plan import Plan


READ_AT_ONCE = 4
"""Reads of a block at a time (`tasks/block/worker.py`)."""

WAIT_AT_ONCE = READ_AT_ONCE * REMOTE_READS
"""The same for files that are waited for."""

DECODE, COMPOSE, OPEN = 4.5e-9, 8e-9, 0.4e-3
"""CPU seconds of reading per decoded byte, per band pixel composited and per window of a file, where no run tells.
Only their proportions matter once one does."""

AROUND_MODEL = 1.15
"""Time of a window with its preparation and merging by that of its model call alone, where no run tells."""

WRITE = 6e-9
"""CPU seconds per stored pixel of a block, where neither a run nor a measurement tells."""

OTHER = 0.7
"""CPU seconds that a run spends beside its blocks while they are made: imports for publishing and the background."""

START, FINISH = AmountLine(fixed=1.8, slope=4e-3), AmountLine(fixed=0.15, slope=25e-9)
"""Seconds before the first block by files, and from the last one to the report by stored pixels, where no run tells."""

OVERLAP = 1.3
"""Seconds that blocks take by those that their stages explain, where no run tells."""

LEAST_START = 5
"""Part of a run's seconds before its first block that is left at least, whatever the trial of its precision took."""

PUBLISH = 0.35
"""Seconds from the report to the end of the command, where no run tells."""

REQUESTS_PER_FILE, FILES_AT_ONCE = 1.5, 8
"""Requests of a run for every remote file before its first block, and those under way at a time."""

STORED, PAGES = AmountLine(fixed=60e3, slope=0.25), AmountLine(fixed=100e3, slope=0.35)
"""Bytes of data by stored pixels, and of the pages about them by pixels of their pictures, where no run tells."""

PICTURE = 1400**2
"""Pixels of a picture of the pages at most (`tasks/publish/publish.py`)."""

PICTURE_BYTES = 45.0
"""Bytes of memory by pixels of the pictures, where no run tells: they are drawn while blocks are made, and after."""

KEPT = 200
"""Promises that are kept in the cache folder."""

LARGEST = 10_000
"""Bytes of a promise that are read."""

LONGEST = 1e9
"""Seconds above which a promise is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is foretold of a run on ``workers`` cores. ``seconds`` are those of the whole command, ``to_report`` those
    until its report is written, which the report compares. ``bytes_read`` are those of files' tiles, compressed,
    of which ``bytes_plain`` is what the files looked into tell, without learning.
    ``bytes_stored`` is all that lies under the output in the end, ``peak_memory`` bytes of the process, 0 where nothing
    is promised of them.

    ``basis`` says from what: "from 3 runs of this model on this machine". ``parts``: seconds of ``start``, ``read``,
    ``infer``, ``write``, ``blocks``, ``finish``, and ``trial`` of the precision, which is part of ``start``; ``bound``:
    what the blocks wait for, read, model, cpu or write.
    ``pages``: bytes of the pages about the product, which are in ``bytes_stored``.
    """

    seconds: float
    to_report: float
    bytes_read: float
    bytes_plain: float
    bytes_stored: float
    peak_memory: float
    workers: int
    basis: str
    bound: str
    parts: dict[str, float]
    pages: float

    @classmethod
    def from_json(cls, plain: Any) -> Promise | None:
        """The promise in JSON values; None for what is none."""
        names = {field.name for field in fields(cls)}
        if not isinstance(plain, dict) or set(plain) != names or not isinstance(plain["parts"], dict):
            return None
        numbers = [plain[name] for name in names - {"basis", "bound", "parts"}] + list(plain["parts"].values())
        if not all(isinstance(x, (int, float)) and 0 <= x < math.inf for x in numbers):
            return None
        texts = [plain["basis"], plain["bound"]]
        # They are printed.
        shown = all(isinstance(text, str) and len(text) < 200 and text.isprintable() for text in texts)
        return cls(**plain) if shown else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """CPU seconds of reading, of the model and of writing, those beside them, and seconds of waiting for requests."""

    read: float
    infer: float
    write: float
    other: float
    wait: float

    def seconds(self, *, n_blocks: int, workers: int, cores: int) -> tuple[float, str]:
        """Seconds of all blocks, and the stage that they wait for.

        The stages of different blocks overlap, so that the longest one counts; the first block is read and the last one
        written while nothing else is done.
        """
        read = self.read / min(READ_AT_ONCE, cores) + self.wait
        infer, busy = self.infer / min(workers, cores), self.read + self.infer + self.write + self.other
        bounds = {"read": read, "model": infer, "write": self.write, "cpu": busy / cores}
        bound = max(bounds, key=lambda name: bounds[name])
        alone = read + infer + self.write
        n = max(1, n_blocks)
        return max(bounds[bound], (1 - 1 / n) * bounds[bound] + alone / n), bound


def foretell(
    work: Workload, runs: KnownRuns, short: Rates | None, *, memory: float | None, workers: int
) -> Promise | None:
    """The promise for the amounts of a plan; None where neither a run of the model nor a measurement tells its speed.

    ``memory`` are the bytes expected without learning, None where the model's were not measured: the promise then has
    none. ``short``: rates by a short measurement.
    """
    if not runs.of_model and short is None:
        return None
    cores, amounts = n_cores(), {"observed": work.observed, "pixels": work.pixels, "files": work.files}
    runs = runs.near(kind=work.kind, workers=workers, amounts=amounts)
    stages = _stages(work, runs, short)
    plain, bound = stages.seconds(n_blocks=work.n_blocks, workers=workers, cores=cores)
    blocks = plain * _overlap(runs, cores)
    trial = _trial(work, stages, cores)
    start = _start(work, runs, cores) + trial
    finish = line_of([(run.pixels, run.finish) for run in runs.like()], FINISH).at(work.pixels)
    publish = median_of(runs.like(), lambda run: run.publish, PUBLISH)
    stored = line_of([(run.pixels, run.stored) for run in runs.of_model], STORED).at(work.pixels)
    pictures = [(min(run.pixels, PICTURE), run.pages) for run in runs.of_model]
    pages = line_of(pictures, PAGES).at(min(work.pixels, PICTURE))
    to_report = start + blocks + finish
    return Promise(
        seconds=min(LONGEST, to_report + publish),
        to_report=min(LONGEST, to_report),
        bytes_read=_bytes_read(work, runs),
        bytes_plain=work.read if work.sampled else 0.0,
        bytes_stored=stored + pages,
        peak_memory=0.0 if memory is None else max(memory / 2, memory + _more_memory(runs, work)),
        workers=workers,
        basis=_basis(runs),
        bound=bound,
        parts={"start": start, "read": stages.read, "infer": stages.infer, "write": stages.write, "wait": stages.wait,
               "blocks": blocks, "finish": finish, "trial": trial},
        pages=pages,
    )  # fmt: skip


def _start(work: Workload, runs: KnownRuns, cores: int) -> float:
    """Seconds before the first block, without the trial of a precision."""
    of_kind = [run for run in runs.of_model if run.kind == work.kind]
    known = of_kind or [run for run in runs.of_machine if (run.kind, run.precision) == (work.kind, "fp32")]
    first = START.slope + (work.latency * REQUESTS_PER_FILE / FILES_AT_ONCE)
    points = [(run.files, max(run.start / LEAST_START, run.start - _trial_of(run, cores))) for run in known]
    return line_of(points, AmountLine(fixed=START.fixed, slope=first)).at(work.files)


def _trial(work: Workload, stages: Stages, cores: int) -> float:
    """Seconds of the trial of a plan's precision."""
    windows = max(1.0, work.windows)
    # A window is read as a block is, by as many threads.
    read = stages.read / windows / min(READ_AT_ONCE, cores) + stages.wait / max(1, work.n_blocks)
    return Trial.of(work.precision, windows=work.windows).seconds(read=read, call=stages.infer / windows)


def _trial_of(run: RunRecord, cores: int) -> float:
    """Seconds of the trial of a run's precision."""
    windows = max(1.0, run.windows)
    wait = 0.0 if run.kind == "local" else run.reads * _latency(run) / WAIT_AT_ONCE
    read = run.read_cpu / windows / min(READ_AT_ONCE, cores) + wait / run.blocks_made
    return Trial.of(run.precision, windows=run.windows).seconds(read=read, call=run.infer_cpu / windows)


def _basis(runs: KnownRuns) -> str:
    if runs.of_model:
        return f"from {plural(len(runs.of_model), 'run')} of this model on this machine"
    return "from a short measurement" + (" and runs of other models on this machine" if runs.of_machine else "")


def _stages(work: Workload, runs: KnownRuns, short: Rates | None) -> Stages:
    of_kind = runs.like(kind=work.kind) or runs.like()
    decode = DECODE if short is None or short.decode is None else short.decode / 2
    prior = _read_prior(work.decoded, work.observed, work.reads, decode=DECODE if of_kind else decode)
    reads = [(expected, run.read_cpu) for run in of_kind if (expected := _read_of(run)) > 0]
    infers = [(float(run.windows), run.infer_cpu) for run in runs.of_model if run.windows]
    writes = [(run.pixels, run.write_cpu) for run in runs.like() if run.pixels]
    window = AROUND_MODEL * short.window if short is not None else 0.0
    latency = [_latency(run) for run in runs.like() if run.kind == work.kind and run.reads]
    each = statistics.median(latency) if latency else work.latency
    return Stages(
        read=grown(reads, prior, each=1.0),
        infer=grown(infers, work.windows, each=window),
        write=grown(writes, work.pixels, each=WRITE),
        other=median_of(runs.like(), lambda run: run.other_cpu, OTHER),
        wait=0.0 if work.kind == "local" else work.reads * each / WAIT_AT_ONCE,
    )


def _read_prior(decoded: float, observed: float, reads: float, *, decode: float = DECODE) -> float:
    return decode * decoded + COMPOSE * observed + OPEN * reads


def _read_of(run: RunRecord) -> float:
    return _read_prior(run.decoded, run.observed, run.reads)


def _latency(run: RunRecord) -> float:
    """Seconds that a read of a run waited for its requests."""
    computing = run.read_cpu / min(READ_AT_ONCE, n_cores())
    waited = run.read_wait * _quiet(run) / run.blocks
    return max(0.0, waited - computing) * WAIT_AT_ONCE / run.reads if run.reads else 0.0


def _quiet(run: RunRecord) -> float:
    """Seconds of a run's blocks without the share that other programs had of all cores."""
    return max(run.blocks / 20, run.blocks - run.others_cpu / n_cores())


def _overlap(runs: KnownRuns, cores: int) -> float:
    """Seconds that blocks took by those that their own stages explain; the median over the runs, within bounds."""
    found = []
    for run in runs.of_model:
        wait = 0.0 if run.kind == "local" else run.reads * _latency(run) / WAIT_AT_ONCE
        stages = Stages(read=run.read_cpu, infer=run.infer_cpu, write=run.write_cpu, other=run.other_cpu, wait=wait)
        plain, _ = stages.seconds(n_blocks=run.blocks_made, workers=run.workers, cores=cores)
        found.append(max(plain, _quiet(run)) / max(plain, 1e-3))
    return min(4.0, statistics.median(found)) if found else OVERLAP


def _bytes_read(work: Workload, runs: KnownRuns) -> float:
    """Compressed bytes: those of the files looked into, corrected by the runs of the model; or else as they were read
    before from such places.
    """
    if not work.sampled:
        of_kind = [run for run in runs.like(kind=work.kind) if run.decoded]
        return work.decoded * median_of(of_kind, lambda run: run.read / run.decoded, USUAL_RATIO)
    of_model = [run for run in runs.of_model if run.kind == work.kind and run.read_promised]
    return work.read * min(2.0, max(0.3, median_of(of_model, lambda run: run.read / run.read_promised, 1.0)))


def _more_memory(runs: KnownRuns, work: Workload) -> float:
    """Bytes beyond those of blocks and model; the median over the runs of the model."""
    known = [run for run in runs.of_model if run.peak_modelled]
    return median_of(known, lambda run: run.peak - run.peak_modelled, PICTURE_BYTES * min(work.pixels, PICTURE))


def keep_promise(plan: Plan, promise: Promise, *, provider: str, cache: Path | None = None) -> None:
    """Keep what was told of a plan, so that its run can compare; a cache that refuses is left alone."""
    path = _path(plan, promise.workers, provider, cache)
    with suppress(OSError):
        others = sorted(path.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)
        for old in others[: max(0, len(others) - KEPT)]:
            old.unlink(missing_ok=True)
        write_cached(path, json.dumps(asdict(promise)).encode())


def told_promise(plan: Plan, *, workers: int, provider: str, cache: Path | None = None) -> Promise | None:
    """What was told of a plan on so many workers; None where nothing was."""
    try:
        with _path(plan, workers, provider, cache).open("rb") as file:
            plain = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return Promise.from_json(plain)


def forget_promise(plan: Plan, *, workers: int, provider: str, cache: Path | None = None) -> None:
    """Forget what was told of a plan once its run has compared: a later run is held against what is known by then."""
    with suppress(OSError):
        _path(plan, workers, provider, cache).unlink(missing_ok=True)


def _path(plan: Plan, workers: int, provider: str, cache: Path | None) -> Path:
    scenes: Sequence[Any] = [[entry.scene_digest(n) for n in range(len(entry.scenes))] for entry in plan.inputs]
    key = json.dumps([plan.settings_key(), scenes, plan.raster.blocks, workers, provider])
    return (cache or cache_folder()) / "promises" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
