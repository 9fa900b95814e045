"""The worker of this process, opened for a plan or for an output that holds one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Source
from tilewright.flows.environment import reading_settings, s3_settings, storage_options
from tilewright.flows.machine import limit_malloc
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.plan.model_graph import load_model
from tilewright.tasks.block.worker import Worker, WorkerSettings
from tilewright.tasks.identity.register import Register
from tilewright.tasks.identity.take import present_identity
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.read.access import Access, Reading
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import open_store

if TYPE_CHECKING:
    from tilewright.catalogs.scene import Scene
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.storage.fence import Fence
    from tilewright.tasks.storage.storage import Storage


def open_worker(storage: Storage, plan: Plan, card: ModelCard, settings: WorkerSettings) -> Worker:
    """The worker of this process for a plan and its card.

    Raises ProviderError where the requested provider cannot run, JobError where the tuned graph is not available here.
    """
    limit_malloc()
    failures = FailureLog(tolerance=settings.tolerance)
    return Worker(
        settings=settings,
        plan=plan,
        model=load_model(plan, card, provider=settings.provider, batch=settings.batch),
        storage=storage,
        store=open_store(storage, **plan.raster.store_boxes),
        failures=failures,
        access=scene_access(plan_source(plan), failures, threads=settings.read_threads),
    )


def reopen_worker(output: str, settings: WorkerSettings, *, fence: Fence | None = None) -> Worker:
    """The worker for the frozen plan in an output, which writes for the run of ``fence``.

    Raises StoreError where the output holds no plan, JobError where the model has changed.
    """
    storage = replace(open_storage(output, options=storage_options(output)), fence=fence)
    plain = read_plan(storage)
    if plain is None:
        raise StoreError(f"{output} holds no plan that a worker could follow.")
    plan = Plan.from_json(plain)
    return open_worker(storage, plan, load_plan_card(plan), settings)


def scene_access(source: Source, failures: FailureLog | None = None, *, threads: int = 1) -> Access:
    """The access to a source's scenes: hrefs signed where it signs, GDAL settings from the environment."""

    def sign(scene: Scene, href: str) -> str:
        del scene
        return sign_href(source, href)

    def identify(href: str, signed: str) -> str | None:
        return present_identity(href, signed=signed, source=source)

    return Access(
        sign=None if source.signing == "none" else sign,
        failures=failures,
        reading=Reading(gdal=reading_settings(), rules=source.rules, identify=identify),
        register=Register(identify),
        threads=threads,
    )


def plan_source(plan: Plan) -> Source:
    """The source of a plan's scenes, with the keys of this environment."""
    return Source.from_json(plan.source, s3=s3_settings())
