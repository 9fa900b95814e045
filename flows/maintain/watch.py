"""Keeps products up to date: finds scenes that are new or changed, and redoes only the blocks they touch."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from tilewright.flows.environment import storage_options
from tilewright.flows.job.job import make_job
from tilewright.flows.job.period import as_periods
from tilewright.flows.job.template import Every, fill, periods_at
from tilewright.flows.plan.scenes import find_scenes
from tilewright.flows.run.existing import check_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.report.format import plural
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.ledger import PLAN, json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


WATCH_FILE = ".tilewright/watch.json"
"""The watch file of a product: the watermark, which is its newest acquisition, and a digest of each scene found."""

DEFAULT_OVERLAP = timedelta(days=10)
"""Time before the watermark that is searched again, because scenes are published late and reprocessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchResult:
    """The result of one watch for one product; ``scenes`` are the new and changed ones, as ``collection/id``.

    ``seconds`` is the time of the search and of the run that followed, if any.
    """

    name: str
    output: str
    state: Literal["made", "updated", "unchanged", "empty"]
    scenes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """The result as JSON values."""
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
    """Search once for scenes of every product that may still get some at ``now``, and update it; returns the results.

    With ``every`` the template's ``{period}`` is filled with each day, month or year, which gets a product of its own;
    name and output must hold it. They are those within the template's own period, as far as they have begun, or without
    one those that may still get scenes. One that is over for longer than the overlap is made once, and then left alone.
    Raises what ``run_job`` raises.
    """
    options = options or RunOptions()
    results = []
    for job, closed in watched_jobs(template, base=base, now=now, every=every, overlap=overlap):
        began = time.perf_counter()
        if closed and _is_finished(job):
            results.append(WatchResult(name=job.name, output=job.output_uri, state="unchanged"))
            continue
        result = _update_product(job, overlap=overlap, options=options, listener=listener)
        results.append(replace(result, seconds=time.perf_counter() - began))
    return results


def watched_jobs(
    template: Mapping[str, Any], *, base: Path, now: datetime, every: Every, overlap: timedelta
) -> list[tuple[Job, bool]]:
    """The jobs of a template at ``now``, and whether each is of a period that is over.

    Raises WatchError where their products would overwrite each other, and where the template's period is not one.
    """
    if every == "none":
        return [(make_job(dict(template), base=base), False)]
    spans = periods_at(now, every=every, overlap=overlap, within=_own_period(template, every))
    if "{period}" not in str(template.get("output", "")) or "{period}" not in str(template.get("name", "")):
        raise WatchError(
            f"every: {every} makes a product per period: name and output must hold {{period}}, for example "
            "output: products/water-{period}."
        )
    filled = [(fill({**template, "period": slot.period}, {"period": slot.label}), slot.closed) for slot in spans]
    return [(make_job(plain, base=base), closed) for plain, closed in filled]


def _own_period(template: Mapping[str, Any], every: Every) -> tuple[date, date] | None:
    """The first and the last day of the template's period; None where it has none, or one that is to be filled."""
    given = template.get("period")
    if given is None or (isinstance(given, str) and "{" in given):
        return None
    try:
        found: Any = as_periods(given)
        (period,) = found
    except ValueError as error:
        raise WatchError(
            f"period: every: {every} divides one period, from its first day on: write it like 2026-01-01/.., or leave "
            "it out for the present ones."
        ) from error
    if period.known_ends[0] is None:
        raise WatchError(f"period: {period.text} has no first day, from which every: {every} could begin.")
    return period.start.date(), period.end.date()


def _is_finished(job: Job) -> bool:
    """True if the job's output holds a finished product."""
    storage = check_output(job.output_uri, storage_options(job.output_uri))
    return storage.root is not None and read_item(storage) is not None


class WatchError(ValueError):
    """A template whose products would overwrite each other."""


def _update_product(job: Job, *, overlap: timedelta, options: RunOptions, listener: Listener) -> WatchResult:
    output = job.output_uri
    storage = check_output(output, storage_options(output))
    existing = _read_watermark(storage) if storage.root is not None else None
    found = find_scenes(job if existing is None else _recent(job, existing, overlap))
    digests = {f"{scene.collection}/{scene.id}": json_digest(scene.to_json())[:16] for scene in found}
    seen: dict[str, str] = dict(existing["seen"]) if existing else {}
    new = tuple(sorted(name for name, digest in digests.items() if seen.get(name) != digest))
    begun = storage.root is not None and storage.etag(PLAN) is not None
    if not new and (not begun or read_item(storage) is not None):
        return WatchResult(name=job.name, output=output, state="unchanged" if seen else "empty")
    words = (
        f"{plural(len(new), 'new or changed scene')}: {', '.join(new[:5])}"
        if new
        else f"{output} was not finished: it is now"
    )
    listener(Notice(text=words))
    # Searched before the plan is made: a scene published in between is found as new by the next watch.
    outcome = run_job(job, _run_options(options, existing=begun), listener=listener)
    _write_watermark(outcome.output, found, {**seen, **digests}, existing)
    state: Literal["updated", "made"] = "updated" if existing else "made"
    return WatchResult(name=job.name, output=output, state=state, scenes=new, outcome=outcome)


def _read_watermark(storage: Storage) -> dict[str, Any] | None:
    """The watch file; None if there is none or it is damaged: all scenes then count as new, and the key of each block
    says whether they are.
    """
    plain = read_object(storage, WATCH_FILE) or {}
    watermark, seen = plain.get("watermark"), plain.get("seen")
    try:
        since = datetime.fromisoformat(watermark) if isinstance(watermark, str) else None
    except ValueError:
        since = None
    whole = isinstance(seen, dict) and all(isinstance(digest, str) for digest in seen.values())
    return plain if whole and since is not None and since.tzinfo is not None else None


def _recent(job: Job, existing: Mapping[str, Any], overlap: timedelta) -> Job:
    """The job with its periods cut to the time since the watermark, less the overlap."""
    since = datetime.fromisoformat(existing["watermark"]) - overlap
    periods = tuple(
        period.model_copy(update={"start": max(period.start, since)}) for period in job.period if period.end >= since
    )
    return job.model_copy(update={"period": periods or job.period})


def _run_options(options: RunOptions, *, existing: bool) -> RunOptions:
    return RunOptions(
        runner=options.runner,
        workers=options.workers,
        shards=options.shards,
        deployment=options.deployment,
        update=existing,
    )


def _write_watermark(
    output: str, found: Sequence[Scene], seen: dict[str, str], existing: Mapping[str, Any] | None
) -> None:
    newest = max(scene.datetime for scene in found).isoformat()
    before = existing["watermark"] if existing else newest
    storage: Storage = check_output(output, storage_options(output))
    storage.write_json(WATCH_FILE, {"watermark": max(before, newest), "seen": seen})
