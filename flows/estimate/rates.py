"""What finished runs took on this machine, kept in the cache folder: the rates from which the next plan is foretold.

A file per machine holds runs of any model, a file per machine and model those of that model. Their content is believed
only where each number is one that a run could have written; anything else is as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import statistics
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tilewright.flows.environment import cache_folder
from tilewright.flows.estimate.trial import MADE
from tilewright.flows.machine import n_cores
from tilewright.models.cache import write_cached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tilewright.tasks.plan.plan import Plan


FORMAT = 2
"""Increased when a run is recorded in another way; files of another format are not read."""

MOST_RUNS = 24
"""The latest runs that are kept of a machine and model."""

LATEST = 8
"""The latest of them that count: their medians follow a machine that changes."""

FIRST, FIRST_SHARE = 0.15, 0.75
"""CPU seconds of a stage that come once in a run, and the share of a run's that they are at most."""

ALIKE = 1.25
"""Factor by which the amounts of two runs of the same kind may differ."""

MOST_BYTES = 100_000
"""Size of a file of runs above which it is none of ours."""

MOST = 1e15
"""A bound of all numbers of a run."""

LEAST = 1e-9
"""Numbers below count as none."""

KINDS = ("local", "http", "s3")
"""Kinds of places that files are read from."""

PRECISIONS = ("fp32", *MADE)
"""Precisions of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The amounts of a finished run and what they took; seconds by the clock, ``cpu`` ones by the processor.

    ``kind`` of the source; ``precision`` of the model; ``workers`` model calls at once. ``windows`` as the model
    ran them, those of seams included;
    ``decoded`` and ``read`` bytes, pixels and compressed; ``read_promised`` as foretold without learning; ``observed``
    band pixels that were composited; ``reads`` windows of files; ``pixels`` of all stored layers; ``files`` of the
    scenes. ``start``: seconds from the command to the first block, ``finish`` from the last block to the report,
    ``publish`` from there to the end, without those in which no core was free; ``blocks`` between. ``read_wait``: busy
    seconds of reading by the clock. ``other_cpu`` are those of neither stage, in ``blocks``, and ``others_cpu`` those
    of other programs meanwhile. ``stored`` bytes of data, ``pages`` of the rest; ``peak`` bytes of memory,
    ``peak_modelled`` as foretold without learning, 0 where the model's memory was not measured.
    """

    kind: str
    precision: str
    workers: int
    blocks_made: int
    windows: float
    decoded: float
    read: float
    read_promised: float
    observed: float
    reads: float
    pixels: float
    files: float
    start: float
    blocks: float
    finish: float
    publish: float
    infer_cpu: float
    read_cpu: float
    write_cpu: float
    other_cpu: float
    others_cpu: float
    read_wait: float
    stored: float
    pages: float
    peak: float
    peak_modelled: float

    @classmethod
    def from_json(cls, plain: Any) -> RunRecord | None:
        """The record in JSON values; None for anything that no run could have written."""
        names = {field.name for field in fields(cls)}
        if not isinstance(plain, dict) or set(plain) != names or plain["kind"] not in KINDS:
            return None
        if plain["precision"] not in PRECISIONS:
            return None
        numbers = [value for name, value in plain.items() if name not in _TEXTS]
        if not all(_is_amount(value) for value in numbers) or not all(plain[name] >= LEAST for name in _POSITIVE):
            return None
        if min(plain["workers"], plain["blocks_made"]) < 1:
            return None
        # Others are divided by them.
        told: dict[str, Any] = {
            name: 0.0 if name not in _TEXTS and value < LEAST else value for name, value in plain.items()
        }
        return cls(**{**told, "workers": int(plain["workers"]), "blocks_made": int(plain["blocks_made"])})


_TEXTS = ("kind", "precision")

_POSITIVE = ("workers", "blocks_made", "start", "blocks", "finish", "peak")
"""Amounts that no finished run has none of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountLine:
    """An amount as a fixed part and one per unit."""

    fixed: float
    slope: float

    def at(self, x: float) -> float:
        """The amount for ``x`` units."""
        return self.fixed + self.slope * x


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRuns:
    """The runs of a model on this machine, and those of any model on it; the latest last."""

    of_model: tuple[RunRecord, ...] = ()
    of_machine: tuple[RunRecord, ...] = ()

    def near(self, *, kind: str, workers: int, amounts: Mapping[str, float]) -> KnownRuns:
        """The latest of the model's runs that are like a job in kind, workers and ``amounts`` (by names of a record).

        Without any, the latest of all.
        """
        alike = [
            run
            for run in self.of_model
            if (run.kind, run.workers) == (kind, workers)
            and all(_is_near(getattr(run, name), amount) for name, amount in amounts.items())
        ]
        return KnownRuns(of_model=tuple(alike or self.of_model)[-LATEST:], of_machine=self.of_machine[-LATEST:])

    def like(self, *, kind: str | None = None) -> tuple[RunRecord, ...]:
        """The runs of the model, or else of the machine; ``kind``: only those that read from there."""
        for runs in (self.of_model, self.of_machine):
            if found := tuple(run for run in runs if kind in {None, run.kind}):
                return found
        return ()


def median_of(runs: Iterable[RunRecord], value: Callable[[RunRecord], float], default: float) -> float:
    """The median of a value of runs; the default without any."""
    values = [value(run) for run in runs]
    return statistics.median(values) if values else default


def grown(known: Sequence[tuple[float, float]], units: float, *, each: float) -> float:
    """CPU seconds of so many units by runs of (units, CPU seconds), or by those of one unit where there are none.

    What comes once, whatever a run's size, is kept apart: a small run would make a large one's promise many times so
    long.
    """
    once = [min(FIRST, FIRST_SHARE * cost) for _, cost in known]
    told = [first + (cost - first) * units / of for first, (of, cost) in zip(once, known, strict=True)]
    return statistics.median(told) if told else units * each


def line_of(points: Sequence[tuple[float, float]], prior: AmountLine) -> AmountLine:
    """The line through points (units, amount): where their units differ, by the median of their slopes.

    Otherwise the prior, scaled by the median of amount by prior. Neither part is less than none.
    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.
    """
    if not points:
        return prior
    units = [x for x, _ in points]
    if len(points) > 2 and max(units) > 2 * min(units):
        slopes = [
            (y2 - y1) / (x2 - x1)
            for number, (x1, y1) in enumerate(points)
            for x2, y2 in points[number + 1 :]
            if abs(x2 - x1) > 0.2 * max(x1, x2)
        ]
        slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
        fixed = statistics.median(y - slope * x for x, y in points)
        if fixed >= 0:
            return AmountLine(fixed=fixed, slope=slope)
    scale = statistics.median(y / prior.at(x) for x, y in points) if prior.at(min(units)) > 0 else 1.0
    return AmountLine(fixed=scale * prior.fixed, slope=scale * prior.slope)


def read_runs(plan: Plan, *, provider: str, cache: Path | None = None) -> KnownRuns:
    """The runs that are known of a plan's model and of this machine; ``cache`` is the cache folder, None: the usual."""
    machine, model = _paths(plan, provider=provider, cache=cache)
    return KnownRuns(of_model=_read(model), of_machine=_read(machine))


def keep_run(plan: Plan, record: RunRecord, *, provider: str, cache: Path | None = None) -> None:
    """Add a run to those known. Of two runs that end together one may be lost; a cache that refuses is left alone."""
    plain = asdict(record)
    if RunRecord.from_json(plain) is None:
        return
    for path in _paths(plan, provider=provider, cache=cache):
        runs = [*(asdict(run) for run in _read(path)), plain][-MOST_RUNS:]
        with suppress(OSError):
            write_cached(path, json.dumps({"format": FORMAT, "runs": runs}).encode())


def machine_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What a machine's speed follows from: its processor, cores, memory in GB, and the runtimes of models."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    runtimes = []
    for name in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with suppress(PackageNotFoundError):
            runtimes.append(f"{name} {version(name)}")
    memory = round(psutil.virtual_memory().total / 1e9)
    return [found[1].strip() if found else platform.processor(), f"{n_cores()} cores", f"{memory} GB", *runtimes]


def _paths(plan: Plan, *, provider: str, cache: Path | None) -> tuple[Path, Path]:
    """The files of the machine and of the machine and model."""
    folder = (cache or cache_folder()) / "rates"
    machine = [*machine_facts(), provider]
    model, lattice = plan.model, plan.raster.lattice
    repeated = [plan.request.get(key) for key in ("augment", "ensemble", *(("mask",) if plan.mask_model else ()))]
    own = [model.card["sha256"], lattice.window, lattice.merge, model.precision, model.fused, model.tuned, repeated]
    texts = [json.dumps(key, default=str) for key in (machine, [machine, own])]
    first, second = (hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts)
    return folder / f"{first}.json", folder / f"{second}.json"


def _read(path: Path) -> tuple[RunRecord, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        plain = json.loads(content) if len(content) <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return ()
    if not isinstance(plain, dict) or plain.get("format") != FORMAT or not isinstance(plain.get("runs"), list):
        return ()
    records = (RunRecord.from_json(entry) for entry in plain["runs"][-MOST_RUNS:])
    return tuple(record for record in records if record is not None)


def _is_near(one: float, other: float) -> bool:
    return one == other or (min(one, other) > 0 and max(one, other) <= ALIKE * min(one, other))


def _is_amount(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST and math.isfinite(value)
    )
