"""What a process needs to do blocks: the plan read back from the output, the model loaded once, the store opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Source
from tilewright.flows.environment import reading_settings, storage_options
from tilewright.flows.machine import limit_malloc
from tilewright.flows.plan.engine import open_engine
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.tasks.block.block import Worker
from tilewright.tasks.plan import Plan
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.storage.storage import Storage


def open_worker(
    storage: Storage, plan: Plan, *, provider: str, batch: int | None, tolerance: int, read_threads: int
) -> Worker:
    """The workshop of this process.

    Raises ProviderError where the provider asked for cannot run, JobError where the model has changed.
    """
    limit_malloc()
    card = load_plan_card(plan)
    return Worker(
        plan=plan,
        engine=open_engine(plan, card, provider=provider, batch=batch),
        storage=storage,
        store=open_store(storage, box=plan.product_box, block=plan.product_block),
        sign=scene_signer(plan),
        failures=FailureLog(tolerance=tolerance),
        read_threads=read_threads,
        gdal=reading_settings(),
    )


def scene_signer(plan: Plan) -> Callable[[Scene, str], str] | None:
    """What makes an href readable now, by the plan's source; None where nothing needs signing."""
    source = Source.from_json(plan.source)
    if source.signing == "none":
        return None

    def sign(scene: Scene, href: str) -> str:
        del scene
        return sign_href(source, href)

    return sign


def reopen_worker(output: str, *, provider: str, batch: int | None, tolerance: int, read_threads: int) -> Worker:
    """The workshop of a worker process that knows nothing but the output.

    Raises StoreError where no plan is there.
    """
    storage = open_storage(output, options=storage_options(output))
    plain = read_plan(storage)
    if plain is None:
        raise StoreError(f"{output} holds no plan that a worker could follow.")
    return open_worker(
        storage,
        Plan.from_json(plain),
        provider=provider,
        batch=batch,
        tolerance=tolerance,
        read_threads=read_threads,
    )
