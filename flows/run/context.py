"""The values that one run hands from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from tilewright.flows.job.job import Job
    from tilewright.flows.runners.run_options import RunOptions
    from tilewright.tasks.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


READ_THREADS = 4
"""Reads of one block under way at once: hides the network's latency, costs nothing on a local disk."""


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
