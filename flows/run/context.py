"""The values that one run hands from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tilewright.tasks.block.worker import WorkerSettings

if TYPE_CHECKING:
    from datetime import datetime

    from tilewright.flows.job.job import Job
    from tilewright.flows.runners.run_options import RunOptions, SendShard
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings that a run takes from its job besides the plan; none of it changes a pixel.

    ``memory_mb``: the most that the run may hold, None: all that is free.
    """

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    zarr_format: Literal[2, 3] = 3
    memory_mb: float | None = None

    @classmethod
    def of(cls, job: Job) -> RunSettings:
        """The settings a job asks for."""
        return cls(
            worker=WorkerSettings(provider=job.provider, batch=job.tile.batch, tolerance=job.tolerance.failed_reads),
            zarr_format=job.zarr_format,
            memory_mb=job.limits.memory_mb,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: plan, card, settings, output, and when it began (UTC, and in monotonic seconds for durations).

    ``replaces`` is the existing plan, as JSON, that an update puts this one in place of. ``send_shard`` runs one shard
    where the options ask for shards, None: in this process.
    """

    plan: Plan
    card: ModelCard
    settings: RunSettings
    options: RunOptions
    storage: Storage
    listener: Listener
    began: datetime
    clock: float
    replaces: dict[str, Any] | None = None
    send_shard: SendShard | None = None
