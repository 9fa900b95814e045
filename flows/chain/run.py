"""A chain of jobs run as a whole: in order, what is finished left alone, what is stale brought up to date."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.sources.registry import resolve_source, sign_href
from tilewright.flows.chain.chain import item_href
from tilewright.flows.chain.plan import plan_chain, refusals_of
from tilewright.flows.environment import s3_settings, storage_options
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.existing import read_existing
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.identity.take import changed_identities
from tilewright.tasks.plan.identities import used_files
from tilewright.tasks.progress import Stage, silent
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tilewright.flows.chain.chain import Chain
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Listener


def run_chain(
    chain: Chain,
    options: RunOptions | None = None,
    *,
    listener: Listener = silent,
    make: Callable[..., Outcome] = run_job,
) -> Iterator[Outcome]:
    """The outcomes of a chain's jobs, each run when it is asked for, by ``make``. A second call goes on where it ended.

    A product that is finished is left alone, unless the file of an earlier job's product that it read is another one
    now: then it is updated.

    Raises JobError naming the job for what can be refused before pixels are read, and what ``run_job`` raises. What is
    done is kept.
    """
    options = options or RunOptions()
    # All of the chain is planned before the first pixel is read.
    listener(Stage(name="plan", note="all jobs of the chain"))
    for _ in plan_chain(chain, replace=options.replace, update=options.update):
        pass
    for number, job in enumerate(chain.jobs, start=1):
        listener(Stage(name="job", note=f"{job.name}, {number} of {len(chain.jobs)}"))
        with refusals_of(job):
            stale = not options.replace and _is_stale(job, chain)
            outcome = make(job, replace(options, update=options.update or stale), listener=listener)
        yield outcome
        options = replace(options, startup_seconds=0.0)


def _is_stale(job: Job, chain: Chain) -> bool:
    """True if a finished product of the job was made of files of earlier jobs' products that are others now."""
    storage = open_storage(job.output_uri, options=storage_options(job.output_uri))
    existing = read_existing(storage) if chain.reads[job.name] else None
    if existing is None or existing.damaged or not existing.complete:
        return False
    held: dict[str, str] = {}
    with suppress(StoreError):
        held = {href: told for href, file in used_files(existing.plan()).items() if (told := file.asset.holding)}
    return any(_has_changed(held, chain.job(name)) for name in chain.reads[job.name])


def _has_changed(held: Mapping[str, str], job: Job) -> bool:
    """True if some files of a job's product are not those of these identities, by href, or are gone."""
    item = item_href(job.output_uri)
    # Whatever the plan says of its sources: it lies where others may write.
    source = resolve_source({"kind": "product", "name": job.name, "href": item}, s3=s3_settings())
    known = {href: told for href, told in held.items() if href.startswith(item.removesuffix("item.json"))}
    changed, untold = changed_identities(known, sign=partial(sign_href, source), source=source)
    return bool(changed or untold)


def chain_status(chain: Chain) -> list[dict[str, Any]]:
    """The state of each job's product, as ``product_status`` tells it; ``planned`` where nothing was begun."""
    return [_status(job) for job in chain.jobs]


def _status(job: Job) -> dict[str, Any]:
    storage = open_storage(job.output_uri, options=storage_options(job.output_uri))
    if read_existing(storage) is not None:
        return {**product_status(job.output_uri), "output": storage.uri}
    nothing = {"unit": "block", "blocks_total": 0, "blocks_done": 0, "blocks_failed": 0, "failures": [], "tables": []}
    return {"name": job.name, "state": "planned", **nothing, "advice": "Nothing was begun here.", "output": storage.uri}
