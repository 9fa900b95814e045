"""The worker of this process, opened for a plan or for an output that holds one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.flows.access import plan_sources, scene_access
from tilewright.flows.environment import storage_options
from tilewright.flows.machine import limit_malloc
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.served.align import open_moves
from tilewright.flows.served.scene_masks import open_scene_masks
from tilewright.flows.served.screen import open_screen
from tilewright.tasks.block.worker import Worker, WorkerSettings
from tilewright.tasks.places.kept_rows import kept_rows
from tilewright.tasks.places.worker import PlacesWorker
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import open_store

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.storage.fence import Fence
    from tilewright.tasks.storage.storage import Storage


def open_worker(
    storage: Storage, plan: Plan, card: ModelCard, settings: WorkerSettings, *, callers: int | None = None
) -> Worker:
    """The worker of this process for a plan and its card; ``callers`` call its model at a time, None: one per core.

    Raises ProviderError where the requested provider cannot run, JobError where the tuned graph is not available here.
    """
    limit_malloc()
    failures = FailureLog(tolerance=settings.tolerance)
    return Worker(
        settings=settings,
        plan=plan,
        model=load_model(plan, card, provider=settings.provider, batch=settings.batch, callers=callers),
        storage=storage,
        store=open_store(storage, **plan.raster.store_boxes),
        failures=failures,
        access=_access(plan, settings, failures),
        screen=open_screen(plan, provider=settings.provider),
    )


def open_places_worker(
    storage: Storage, plan: Plan, card: ModelCard, settings: WorkerSettings, rows: PlaceRows, *, callers: int
) -> PlacesWorker:
    """The worker of this process for a plan of places and its rows. Raises what ``open_worker`` raises."""
    limit_malloc()
    failures = FailureLog(tolerance=settings.tolerance)
    return PlacesWorker(
        settings=settings,
        plan=plan,
        model=load_model(plan, card, provider=settings.provider, batch=settings.batch, callers=callers),
        storage=storage,
        rows=rows,
        failures=failures,
        access=_access(plan, settings, failures),
    )


def _access(plan: Plan, settings: WorkerSettings, failures: FailureLog) -> Access:
    """The access to a plan's scenes, with the masks that a model makes of them and their moves, if any."""
    access = scene_access(plan_sources(plan), failures, threads=settings.reads_at_once(remote=plan.remote))
    return replace(access, masks=open_scene_masks(plan, provider=settings.provider), moves=open_moves(plan))


def reopen_worker(output: str, settings: WorkerSettings, *, fence: Fence | None = None) -> Worker:
    """The worker for the frozen plan in an output, which writes for the run of ``fence``.

    Raises StoreError where the output holds no plan, JobError where the model has changed.
    """
    storage, plan = _frozen_plan(output, fence)
    return open_worker(storage, plan, load_plan_card(plan), settings)


def reopen_places_worker(output: str, settings: WorkerSettings, *, fence: Fence | None, rows: str) -> PlacesWorker:
    """The same for a plan of places, whose rows in the output have the SHA-256 ``rows``; it does a unit at a time.

    Raises what ``reopen_worker`` raises, and StoreError for other rows.
    """
    storage, plan = _frozen_plan(output, fence)
    return open_places_worker(storage, plan, load_plan_card(plan), settings, kept_rows(storage, rows), callers=1)


def _frozen_plan(output: str, fence: Fence | None) -> tuple[Storage, Plan]:
    storage = replace(open_storage(output, options=storage_options(output)), fence=fence)
    plain = read_plan(storage)
    if plain is None:
        raise StoreError(f"{output} holds no plan that a worker could follow.")
    return storage, Plan.from_json(plain)
