"""A plan made anew over a standing product: what --update can follow and what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.planning import make_plan
from flows.steps import step
from tasks.ledger import digest
from tasks.storage import StoreError

if TYPE_CHECKING:
    from flows.job import Job
    from flows.standing import Standing
    from tasks.plan import Plan


@step("plan")
def new_plan(job: Job) -> Plan:
    """The plan of a job today."""
    return make_plan(job)


def check_renewal(standing: Standing, plan: Plan) -> None:
    """Do nothing where the standing product's blocks can be kept one by one under a new plan.

    Raises StoreError where the new pixels lie elsewhere or are stored otherwise.
    """
    plain = plan.to_json()
    fixed = ("grid", "lattice", "up", "down")
    moved = [name for name in fixed if digest(plain[name]) != digest(standing.plain.get(name))]
    request = standing.plain.get("request") or {}
    if plan.request.get("zarr_format") != request.get("zarr_format"):
        moved.append("zarr_format")
    if moved:
        raise StoreError(
            f"--update: {standing.uri} differs from this job in {', '.join(moved)}, so that none of its blocks can be "
            "kept. Use --replace, or another output."
        )
