"""What an output holds already: is it ours to write, what was begun there, does it answer this request."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import json_digest, read_plan
from tilewright.tasks.storage.storage import STATE_FOLDER, open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage


WAYS_ON = "Use --update to redo what changed, --replace to start over, or another output."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingProduct:
    """What was begun in an output: its frozen plan as JSON, where, and whether the product is published."""

    uri: str
    plain: dict[str, Any]
    complete: bool

    def plan(self) -> Plan:
        """The frozen plan.

        Raises StoreError where this version of Tilewright did not make it, or cannot read it.
        """
        # What a finished product's second call does without: it compares requests only.
        from tilewright.tasks.plan.plan import PLAN_FORMAT, Plan

        begun, today = self.version, importlib.metadata.version("tilewright")
        if self.plain.get("format") != PLAN_FORMAT or begun != today:
            raise StoreError(
                f"{self.uri} was begun with Tilewright {begun} (plan format {self.plain.get('format')}), this is "
                f"{today} (format {PLAN_FORMAT}): finish it with that version. Or u{WAYS_ON[1:]}"
            )
        try:
            return Plan.from_json(self.plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"The plan in {self.uri}/{STATE_FOLDER} is damaged ({type(error).__name__}: {error}): restore it, or "
                "run again with --replace."
            ) from error

    @property
    def version(self) -> str:
        """The Tilewright that began it."""
        versions = self.plain.get("versions")
        return str(versions.get("tilewright", "?")) if isinstance(versions, dict) else "?"


def check_output(output: str, options: Mapping[str, str]) -> Storage:
    """The storage of an output that may be written: empty, or begun by Tilewright. Nothing is made yet.

    Raises StoreError where it holds anything else, cannot be reached or cannot be written.
    """
    storage = open_storage(output, options=options)
    if storage.folder is not None:
        _check_writable(storage.folder, output)
    try:
        names = storage.top_names() if storage.root is not None else ()
    except StorageError as error:
        raise StoreError(str(error)) from error
    if names and STATE_FOLDER not in names:
        raise StoreError(
            f"The output {output} holds no product, but {', '.join(names[:3])}: give an empty or a new place."
        )
    return storage


def read_existing(storage: Storage) -> ExistingProduct | None:
    """What was begun in a storage; None where nothing was."""
    plain = read_plan(storage) if storage.root is not None else None
    if plain is None:
        return None
    return ExistingProduct(uri=storage.uri, plain=plain, complete=storage.read("item.json") is not None)


def check_same_request(existing: ExistingProduct, job: Job, card: ModelCard) -> None:
    """Do nothing where a job and its card ask for what the existing plan makes.

    Raises StoreError naming the keys that differ.
    """
    # A heavy import, which a first run's planning makes anyway.
    from tilewright.catalogs.sources.registry import resolve_source

    source = resolve_source(job.source, base=job.base).to_json()
    asked: dict[str, Any] = {**job.request(), "source": source, "model": card.digest}
    begun = existing.plain.get("request") or {}
    differing = sorted(key for key in {*asked, *begun} if asked.get(key) != begun.get(key))
    if differing:
        raise StoreError(f"{existing.uri} was begun with another request: {', '.join(differing)} differ. {WAYS_ON}")


def _check_writable(folder: Path, output: str) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"The output {output} cannot be written: {place} does not allow it. Choose another output.")


def check_renewal(existing: ExistingProduct, plan: Plan) -> None:
    """Do nothing where the standing product's blocks can be kept one by one under a new plan.

    Raises StoreError where the new pixels lie elsewhere or are stored otherwise.
    """
    plain = plan.to_json()
    fixed = ("grid", "lattice", "up", "down")
    moved = [name for name in fixed if json_digest(plain[name]) != json_digest(existing.plain.get(name))]
    request = existing.plain.get("request") or {}
    if plan.request.get("zarr_format") != request.get("zarr_format"):
        moved.append("zarr_format")
    if moved:
        raise StoreError(
            f"--update: {existing.uri} differs from this job in {', '.join(moved)}, so that none of its blocks can be "
            "kept. Use --replace, or another output."
        )
