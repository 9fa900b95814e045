"""Whether a finished product's job would find newer scenes by now: looked for only where some may come, and briefly."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tilewright.catalogs.fields import instant, mapping
from tilewright.flows.environment import storage_options
from tilewright.flows.run.existing import read_existing
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job

LATE = timedelta(days=30)
"""Time after the end of a period in which scenes of it are still published."""

SECONDS = 10.0
"""The most that the search may take; without an answer by then nothing is said."""


def newer_scenes(job: Job, output: str) -> int:
    """The scenes of a job that are newer than all that its finished product saw; 0 where none can be expected: where
    the period was over for long when the product was made, or nobody answers.
    """
    storage = open_storage(output, options=storage_options(output))
    item = read_item(storage) if storage.root is not None else None
    made = instant(mapping(item["properties"]).get("updated")) if item else None
    if made is None or job.places is not None or max(period.end for period in job.period) < made - LATE:
        return 0
    existing = read_existing(storage)
    seen = None if existing is None or existing.damaged else existing.plan().last_image
    if seen is None:
        return 0
    found: list[int] = []
    looking = threading.Thread(target=lambda: found.append(_count(job, seen)), daemon=True)
    looking.start()
    looking.join(SECONDS)
    return found[0] if found else 0


def _count(job: Job, seen: datetime) -> int:
    """The scenes after a moment, 0 where the search fails: the product is complete all the same."""
    from tilewright.flows.plan.scenes import find_scenes

    since = seen + timedelta(milliseconds=1)
    now = datetime.now(UTC)
    periods = tuple(
        period.model_copy(update={"start": max(period.start, since), "end": min(period.end, now)})
        for period in job.period
        if max(period.start, since) <= min(period.end, now)
    )
    if not periods:
        return 0
    try:
        return len(find_scenes(job.model_copy(update={"period": periods})))
    except (ValueError, RuntimeError, OSError):
        return 0
