"""A product kept up to date: new and changed scenes since a watermark, and only the blocks they touch done again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from tilewright.flows.environment import storage_options
from tilewright.flows.job.job import make_job
from tilewright.flows.job.template import Every, fill, periods_at
from tilewright.flows.plan.scenes import find_scenes
from tilewright.flows.run.existing import check_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


STATE = ".tilewright/watch.json"
"""The watermark beside the product: newest acquisition seen, and a mark of every scene seen."""

DEFAULT_OVERLAP = timedelta(days=10)
"""How far behind the newest acquisition is looked: scenes are published late and processed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchResult:
    """What one look found for one product: ``state`` is made, updated, unchanged or empty; ``scenes`` are the new.

    ``seconds`` is what the look took, with the run that followed where there was one.
    """

    name: str
    output: str
    state: Literal["made", "updated", "unchanged", "empty"]
    scenes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """The tick for machines."""
        plain = {"name": self.name, "output": self.output, "state": self.state, "scenes": list(self.scenes)}
        return {**plain, "seconds": round(self.seconds, 3)}


def watch_once(
    template: Mapping[str, Any],
    *,
    base: Path,
    now: datetime,
    every: Every = "none",
    overlap: timedelta = DEFAULT_OVERLAP,
    options: RunOptions | None = None,
    listener: Listener = silent,
) -> list[WatchResult]:
    """One look at every product that may still get scenes at ``now``.

    With ``every`` the template's ``{period}`` stands for a day, month or year, each a product of its own; its name and
    output must hold it. Raises what ``run_job`` raises.
    """
    options = options or RunOptions()
    ticks = []
    for job in watched_jobs(template, base=base, now=now, every=every, overlap=overlap):
        began = time.perf_counter()
        tick = _look(job, overlap=overlap, options=options, listener=listener)
        ticks.append(replace(tick, seconds=time.perf_counter() - began))
    return ticks


def watched_jobs(
    template: Mapping[str, Any], *, base: Path, now: datetime, every: Every, overlap: timedelta
) -> list[Job]:
    """The jobs a template stands for at ``now``. Raises WatchError where their products would overwrite each other."""
    spans = periods_at(now, every=every, overlap=overlap)
    if not spans:
        return [make_job(dict(template), base=base)]
    if "{period}" not in str(template.get("output", "")) or "{period}" not in str(template.get("name", "")):
        raise WatchError(
            f"every: {every} makes a product per period: name and output must hold {{period}}, for example "
            "output: products/water-{period}."
        )
    filled = [fill({**template, "period": span}, {"period": label}) for label, span in spans]
    return [make_job(plain, base=base) for plain in filled]


class WatchError(ValueError):
    """A template whose products would stand in each other's place."""


def _look(job: Job, *, overlap: timedelta, options: RunOptions, listener: Listener) -> WatchResult:
    output = job.output or f"out/{job.name}"
    storage = check_output(output, storage_options(output))
    existing = storage.read_json(STATE) if storage.root is not None else None
    found = find_scenes(job if existing is None else _recent(job, existing, overlap))
    marks = {f"{scene.collection}/{scene.id}": json_digest(scene.to_json())[:16] for scene in found}
    seen: dict[str, str] = dict(existing["seen"]) if existing else {}
    new = tuple(sorted(name for name, mark in marks.items() if seen.get(name) != mark))
    if not new:
        return WatchResult(name=job.name, output=output, state="unchanged" if seen else "empty")
    listener(Notice(text=f"{len(new)} new or changed scenes: {', '.join(new[:5])}"))
    # Seen before the plan is made: what comes in between is new again at the next look, never lost.
    outcome = run_job(job, _updating(options, existing=existing is not None), listener=listener)
    _remember(outcome.output, found, {**seen, **marks}, existing)
    state: Literal["updated", "made"] = "updated" if existing else "made"
    return WatchResult(name=job.name, output=output, state=state, scenes=new, outcome=outcome)


def _recent(job: Job, existing: Mapping[str, Any], overlap: timedelta) -> Job:
    """The job's search cut to what was acquired since the watermark, less the overlap."""
    since = datetime.fromisoformat(existing["watermark"]) - overlap
    periods = tuple(
        period.model_copy(update={"start": max(period.start, since)}) for period in job.period if period.end >= since
    )
    return job.model_copy(update={"period": periods or job.period})


def _updating(options: RunOptions, *, existing: bool) -> RunOptions:
    return RunOptions(
        runner=options.runner,
        workers=options.workers,
        shards=options.shards,
        deployment=options.deployment,
        update=existing,
    )


def _remember(output: str, found: Sequence[Scene], seen: dict[str, str], existing: Mapping[str, Any] | None) -> None:
    newest = max(scene.datetime for scene in found).isoformat()
    before = existing["watermark"] if existing else newest
    storage: Storage = check_output(output, storage_options(output))
    storage.write_json(STATE, {"watermark": max(before, newest), "seen": seen})
