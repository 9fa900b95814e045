"""The progress of a product, from its ledger alone and without its lock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.flows.monitor.progress_file import PROGRESS
from tilewright.flows.run.output_lock import run_alive
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.report.fields import rows
from tilewright.tasks.report.format import number, plural
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import ENTRIES, PLAN, read_failures, read_plan
from tilewright.tasks.storage.lock import is_stale, read_lock
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from tilewright.tasks.storage.storage import Storage


ADVICE = {
    "planned": "Nothing runs here now: run the job to begin.",
    "running": "A run is under way.",
    "failed": "It failed before the end: run the same job again, it goes on from here.",
    "stopped": "It stopped before the end: run the same job again, it goes on from here.",
    "complete": "Open {report} for a look at it.",
}


def product_status(output: str) -> dict[str, Any]:
    """The state of a product (planned, running, stopped, failed, complete), block counts and failures, and its tables
    of shapes as its report has them, once it is complete.

    Raises StoreError where the output holds no product.
    """
    storage = open_storage(output, options=storage_options(output))
    plan = read_plan(storage) if storage.root is not None else None
    if plan is None:
        raise StoreError(f"{output} holds no product and none was begun there: check the path.")
    done = sum(1 for key in storage.keys(ENTRIES) if key.endswith(".json") and "/." not in key)
    failures = read_failures(storage)
    state = _state(storage, n_done=done)
    tables = rows(read_object(storage, "report.json") or {}, "tables") if state == "complete" else []
    return {
        "name": plan["name"],
        "state": state,
        "unit": _unit(plan.get("places")),
        "blocks_total": len(plan["blocks"]),
        "blocks_done": done,
        "blocks_failed": len({failure.get("block") for failure in failures}),
        "failures": list(failures),
        "tables": tables,
        "advice": ADVICE[state].format(report=f"{storage.uri}/report.html"),
    }


def _unit(places: object) -> str:
    """What is counted: ``block``, or of a job over places the rows of a unit, like ``unit of 256 rows``."""
    unit = number(places.get("unit")) if isinstance(places, dict) else None
    return "block" if unit is None else f"unit of {plural(int(unit), 'row')}"


def _state(storage: Storage, *, n_done: int) -> str:
    if not unfinished(storage):
        return "complete"
    lock = read_lock(storage)
    if lock is not None and not is_stale(lock, now=time.time(), alive=run_alive(lock)):
        return "running"
    began = n_done > 0 or lock is not None or bool(read_failures(storage))
    told = read_object(storage, PROGRESS)
    if not began and told is None and storage.read(ITEM) is None:
        return "planned"
    return "failed" if read_failures(storage) or (told or {}).get("state") == "failed" else "stopped"


def folder_status(output: str) -> dict[str, Any]:
    """The same of a product among others: ``damaged``, with why, where it cannot be read, so that it hides no other."""
    try:
        return product_status(output)
    except StoreError as error:
        nothing = {
            "unit": "block",
            "blocks_total": 0,
            "blocks_done": 0,
            "blocks_failed": 0,
            "failures": [],
            "tables": [],
        }
        return {"name": Path(output).name, "state": "damaged", **nothing, "advice": str(error)}


def products_in(target: str) -> list[str]:
    """The outputs at a path: itself, or the products in a folder that is none, in the order of their names.

    Raises StoreError where there is none.
    """
    folder = Path(target)
    if "://" in target or (folder / PLAN).exists() or not folder.is_dir():
        return [target]
    found = [str(each) for each in sorted(folder.iterdir()) if (each / PLAN).exists()]
    if not found:
        raise StoreError(f"{target} holds no product and none was begun there: check the path.")
    return found
