"""The values that the steps of one run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tilewright.flows.job.options import MIN_GATE
from tilewright.flows.plan.raster import job_rows
from tilewright.tasks.block.worker import WorkerSettings

if TYPE_CHECKING:
    from datetime import datetime

    from tilewright.flows.job.job import Job
    from tilewright.flows.machine import PhaseStart
    from tilewright.flows.run.existing import ProductTags
    from tilewright.flows.run.precision import PrecisionFound
    from tilewright.flows.runners.run_options import RunOptions, SendShard
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings of a job that are not in its plan; none of them changes a pixel.

    ``memory_mb``: the memory that the run may use, None for all that is free. ``precision_gate``: the share of
    pixels on which a precision must agree with fp32.
    """

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    zarr_format: Literal[2, 3] = 3
    memory_mb: float | None = None
    precision_gate: float = MIN_GATE

    @classmethod
    def of(cls, job: Job) -> RunSettings:
        """The settings of a job."""
        return cls(
            worker=WorkerSettings(provider=job.provider, batch=job.tile.batch, tolerance=job.tolerance.failed_reads),
            zarr_format=job.zarr_format,
            memory_mb=job.limits.memory_mb,
            precision_gate=job.precision_gate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlaces:
    """The places of a run: its ``rows``, the other columns of their file as a pyarrow table, and the user's ``key``;
    ``path`` is that of the file.
    """

    rows: PlaceRows
    columns: Any
    key: str | None
    path: str


def places_of(job: Job, card: ModelCard, plan: Plan) -> RunPlaces | None:
    """The places of a job on the grid of its plan; None for a job over an area."""
    if job.places is None:
        return None
    rows = job_rows(job, card, plan.raster.lattice)
    path = str((job.base / Path(job.places.file).expanduser()).resolve())
    return RunPlaces(rows=rows, columns=job.places.table.columns, key=job.places.id, path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: plan, card, settings and output; ``began`` in UTC, ``start`` the readings of that moment.

    ``replaces``: the existing plan, as JSON, that this one replaces in an update. ``send_shard`` runs one shard where
    the options ask for several, None: in this process. ``found``: the product as it was when the run was decided on,
    None where that does not matter. ``precision``: how the plan's precision compares with fp32, None where it is that.
    ``places``: the rows of a job over places, None for one over an area.
    """

    plan: Plan
    card: ModelCard
    settings: RunSettings
    options: RunOptions
    storage: Storage
    listener: Listener
    began: datetime
    start: PhaseStart
    replaces: dict[str, Any] | None = None
    send_shard: SendShard | None = None
    found: ProductTags | None = None
    precision: PrecisionFound | None = None
    places: RunPlaces | None = None
