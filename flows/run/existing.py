"""The product that an output holds already, and whether this request may continue or update it."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.flows.job.options import MIN_GATE
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import PLAN, DamagedPlanError, json_digest, read_plan
from tilewright.tasks.storage.secrets import check_joined, kept_of_request
from tilewright.tasks.storage.storage import STATE_FOLDER, open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage


DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError)
"""What reading a plan raises that somebody damaged."""

NEXT_STEPS = "Use --update to redo what changed, --replace to start over, or another output."

OF_MODEL = frozenset({"augment", "classify", "prompt", "seams"})
"""Keys of a job that make another model of the same files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingProduct:
    """A product begun in an output: its URI, its frozen plan as JSON, and whether it is published.

    ``damaged``: the plan is none, and ``plain`` is empty. The same job makes it anew.
    """

    uri: str
    plain: dict[str, Any]
    complete: bool
    damaged: bool = False

    def checked(self) -> ExistingProduct:
        """This product, found ``damaged`` where its plan cannot be followed though it is of this version.

        Raises StoreError for a plan of another version, and for one whose secrets are gone.
        """
        try:
            self.plan()
        except DamagedPlanError:
            return replace(self, plain={}, complete=False, damaged=True)
        return self

    def plan(self) -> Plan:
        """The frozen plan.

        Raises StoreError for a plan of another version of Tilewright, DamagedPlanError for a damaged one.
        """
        # A second call on a finished product compares requests only and does not need this import.
        from shapely.lib import ShapelyError

        from tilewright.tasks.plan.plan import PLAN_FORMAT, Plan

        frozen, current = self.version, importlib.metadata.version("tilewright")
        if self.plain.get("format") != PLAN_FORMAT or frozen != current:
            raise StoreError(
                f"{self.uri} was begun with Tilewright {frozen} (plan format {self.plain.get('format')}), this is "
                f"{current} (format {PLAN_FORMAT}): finish it with that version. Or u{NEXT_STEPS[1:]}"
            )
        check_joined(self.plain, self.uri)
        try:
            plan = Plan.from_json(self.plain)
            _check_followable(plan)
        except (*DAMAGE, ShapelyError) as error:
            raise DamagedPlanError(self.uri, f"{type(error).__name__}: {error}") from error
        return plan

    @property
    def version(self) -> str:
        """The version of Tilewright that made the plan."""
        versions = self.plain.get("versions")
        return str(versions.get("tilewright", "?")) if isinstance(versions, dict) else "?"


def _check_followable(plan: Plan) -> None:
    """Check what is read of a plan before its first block is. Raises what is raised for values of other types."""
    from tilewright.catalogs.sources.source import Sources

    sources = Sources.from_json(plan.source)
    assert "digest" in plan.model.card, "the card has no digest"
    assert plan.period[0] <= plan.period[1], "the period is reversed"
    served = [*([plan.mask_model] if plan.mask_model else []), *([plan.screen.served] if plan.screen else [])]
    for raster in (plan.raster, *([plan.screen.raster] if plan.screen else [])):
        assert not raster.aoi_geometry.is_empty, "the area is empty"
    for each in served:
        assert {"reference", "name", "digest", "sha256"} <= {*each.card}, "the card of a served model lacks a fact"
    parts = (*plan.inputs, *(plan.screen.inputs if plan.screen else ()))
    scenes = [scene for part in parts for scene in part.scenes]
    assets = [asset for scene in scenes for asset in scene.assets]
    texts = [
        *(source.href for source in sources),
        *plan.model.card.values(),
        *(text for model in served for text in (*model.card.values(), model.layer, model.exactness)),
        *(text for each in assets for text in (each.href, each.crs)),
    ]
    for name in {scene.source for scene in scenes}:
        sources.named(name)
    stamps = (text or "" for each in assets for text in (each.identity, each.stamp))
    if not all(isinstance(text, str) for text in (*texts, *stamps)):
        raise TypeError("a name is no text")


def check_output(output: str, options: Mapping[str, str]) -> Storage:
    """The storage of an output that is empty or holds a product of Tilewright; nothing is created yet.

    Raises StoreError where it holds anything else, cannot be reached or cannot be written.
    """
    storage = open_storage(output, options=options)
    if storage.folder is not None:
        _check_writable(storage.folder, output)
        if (storage.folder / STATE_FOLDER).is_symlink():
            raise StoreError(
                f"{STATE_FOLDER} of the output {output} is a link, which no run follows: put the folder in its place."
            )
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
    """The product begun in a storage, None if there is none."""
    try:
        plain = read_plan(storage) if storage.root is not None else None
    except DamagedPlanError:
        return ExistingProduct(uri=storage.uri, plain={}, complete=False, damaged=True)
    if plain is None:
        return None
    return ExistingProduct(uri=storage.uri, plain=plain, complete=not unfinished(storage))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTags:
    """Tags that change with the plan and the Item of an output; None for what is not there."""

    plan: str | None = None
    item: str | None = None


class OutputChangedError(RuntimeError):
    """An output in which another run made something after this one had looked at it: it has to look again."""


def product_tags(storage: Storage) -> ProductTags:
    """The tags of an output as it is now."""
    if storage.root is None:
        return ProductTags()
    return ProductTags(plan=storage.etag(PLAN), item=storage.etag("item.json"))


def check_unchanged(storage: Storage, found: ProductTags) -> None:
    """Check that an output is as it was found. Raises OutputChangedError."""
    if product_tags(storage) != found:
        raise OutputChangedError(
            f"Another run was at work in {storage.uri} meanwhile: run the same command again to see where it is."
        )


def check_same_request(existing: ExistingProduct, job: Job, card: ModelCard) -> None:
    """Check that a job and its card make the same request as the existing plan.

    Raises StoreError naming the keys that differ.
    """
    # A slow import, which the planning of a first run needs anyway.
    from tilewright.flows.access import job_sources
    from tilewright.flows.served.mask_model import mask_request
    from tilewright.flows.served.screen import screen_request

    served = {**mask_request(job), **screen_request(job)}
    requested: dict[str, Any] = {
        **job.request(),
        **served,
        **job_sources(job, card).request_json(),
        "model": card.digest,
    }
    # A token that was renewed is no other request.
    request = existing.plain.get("request") or {}
    requested = json_without_secrets(requested, kept_of_request(requested))
    frozen = json_without_secrets(request, kept_of_request(request))
    differing = sorted(key for key in {*requested, *frozen} if requested.get(key) != frozen.get(key))
    if OF_MODEL & {*differing} and (existing.plain.get("card") or {}).get("sha256") == card.sha256:
        differing = [key for key in differing if key != "model"]
    if differing:
        verb = "differs" if len(differing) == 1 else "differ"
        raise StoreError(f"{existing.uri} was begun with another request: {', '.join(differing)} {verb}. {NEXT_STEPS}")


def check_gate(storage: Storage, uri: str, job: Job) -> None:
    """Check that a published product in less than single precision agrees with it as far as the job now asks.

    Raises StoreError naming the layer and its share, and where a job asks for more and the report tells none.
    """
    if job.precision == "fp32":
        return
    check = (read_object(storage, "report.json") or {}).get("precision_check")
    told = check.get("agreement") if isinstance(check, dict) else None
    shares = [(share, name) for name, share in (told if isinstance(told, dict) else {}).items() if _is_share(share)]
    share, name = min(shares, default=(MIN_GATE, "report"))
    if share < job.precision_gate:
        raise StoreError(
            f"precision_gate: {job.precision_gate:.3%} of the pixels are to have the value of fp32, and the {name} of "
            f"{uri} tells of {share:.2%}. Run with precision: fp32 into another output, or with --replace."
        )


def _is_share(value: Any) -> bool:
    """True for a number from 0 to 1."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _check_writable(folder: Path, output: str) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"The output {output} cannot be written: {place} does not allow it. Choose another output.")


def check_renewal(existing: ExistingProduct, plan: Plan, storage: Storage) -> None:
    """Check that blocks of the existing product can be kept under a new plan.

    Raises StoreError if the format of the plan, grid, lattice, scale or Zarr format differ; of a damaged plan, which
    says none of these, if there are finished blocks and no key of theirs is that of the new plan.
    """
    if existing.damaged:
        _check_proven(plan, storage)
        return
    plain = plan.to_json()
    fixed = ("format", "grid", "lattice", "up", "down")
    old = existing.plain
    differing = [name for name in fixed if json_digest(_fixed(plain, name)) != json_digest(_fixed(old, name))]
    request = existing.plain.get("request") or {}
    if plan.request.get("zarr_format") != request.get("zarr_format"):
        differing.append("zarr_format")
    if "lattice" in differing and plan.request.get("model") != request.get("model"):
        differing[differing.index("lattice")] = "lattice (the model is another one, with other windows)"
    if differing:
        raise StoreError(
            f"--update: {existing.uri} differs from this job in {', '.join(differing)}, so that none of its blocks can "
            "be kept. Use --replace, or another output."
        )


def _fixed(plain: Mapping[str, Any], name: str) -> Any:
    """What blocks of a plan as JSON have of a part that cannot change under them."""
    part = plain.get(name)
    if name == "grid" and plain.get("places") is not None and isinstance(part, dict):
        # The box around all rows, which none of them hangs on.
        return {key: value for key, value in part.items() if key != "area"}
    return part


def _check_proven(plan: Plan, storage: Storage) -> None:
    # Slow imports, made if a plan is damaged.
    from tilewright.tasks.block.block_key import is_current
    from tilewright.tasks.storage.ledger import read_entries

    entries, planned = read_entries(storage), {block.name: block for block in plan.raster.all_blocks()}
    proven = any(name in planned and is_current(plan, planned[name], entry) for name, entry in entries.items())
    if entries and not proven:
        raise StoreError(
            f"The plan in {storage.uri}/{STATE_FOLDER} is damaged, and none of its {len(entries)} finished blocks is "
            "one of this job: restore it, run again with --replace, which starts over, or choose another output."
        )
