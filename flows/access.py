"""The sources of a job or a plan and the access to their scenes, with keys and settings of this environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import display_href, scheme_of
from tilewright.catalogs.sensors import canonical_collection
from tilewright.catalogs.sources.registry import resolve_source, resolve_sources, sign_href
from tilewright.catalogs.sources.source import Sources
from tilewright.flows.environment import reading_settings, s3_settings, storage_options
from tilewright.flows.job.job import JobError
from tilewright.models.fields import did_you_mean
from tilewright.tasks.identity.register import Register
from tilewright.tasks.identity.take import present_identity
from tilewright.tasks.inventory.finished import DOCUMENTS, unfinished
from tilewright.tasks.read.access import Access, Reading
from tilewright.tasks.storage.storage import open_storage

Promised = Mapping[str, Mapping[str, Any]]
"""The Items of products that are not there yet, by the hrefs at which they will be."""

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Source
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.failures import FailureLog


def job_sources(job: Job, card: ModelCard, promised: Promised | None = None) -> Sources:
    """The sources of a job, which are read with the keys of this environment. ``promised``: products not yet there.

    Raises JobError where `sources` lacks a collection that the card needs, or has one that it does not read;
    CatalogError for a source that is none.
    """
    if job.sources:
        _check_collections(job, card)
        found = resolve_sources(job.sources, base=job.base, s3=s3_settings())
    else:
        found = Sources.one(resolve_source(job.source, base=job.base, s3=s3_settings()))
    given = promised or {}
    return Sources(
        by_collection={
            name: replace(source, promised=given.get(source.href)) for name, source in found.by_collection.items()
        }
    )


def _check_collections(job: Job, card: ModelCard) -> None:
    """Check that the sources of a job are those of the collections that its card reads."""
    read = list(dict.fromkeys(spec.collection for spec in card.inputs))
    ours = {canonical_collection(collection) for collection in read}
    taken: dict[str, str] = {}
    for collection in job.sources:
        if canonical_collection(collection) not in ours:
            hint = did_you_mean(collection, read)
            raise JobError(
                f"sources.{collection}: {card.name} reads no collection of this name{hint}: it reads "
                f"{', '.join(read)}. Leave it out."
            )
        other = taken.setdefault(canonical_collection(collection), collection)
        if other != collection:
            raise JobError(f"sources.{collection}: it is the collection of sources.{other}: leave one of them out.")
    for spec in card.inputs:
        if canonical_collection(spec.collection) not in taken and not spec.optional:
            raise JobError(
                f"sources: none for {spec.collection}, which input {spec.name} of {card.name} needs: add "
                f"{spec.collection} and where it comes from."
            )


def check_finished(scenes: Iterable[Scene], *, name: str) -> None:
    """Check that the products among the scenes of an input (``name``) are finished, where they can be looked at, and
    that the files of their layers lie in them.

    Raises JobError naming the product, and what of it is missing, cut off or elsewhere.
    """
    layers: dict[str, list[str]] = {}
    for scene in scenes:
        folder = scene.href.rpartition("/")[0]
        if scene.made and scheme_of(folder) in {"file", "s3"}:
            layers.setdefault(folder, []).extend(asset.href for asset in scene.assets)
    for folder, hrefs in sorted(layers.items()):
        outside = next((href for href in hrefs if href.rpartition("/")[0] != folder), None)
        if outside is not None:
            raise JobError(
                f"Input {name}: the Item of {display_href(folder)} names a layer outside of it, "
                f"{display_href(outside)}: somebody changed it. Run its job again, or take that product."
            )
        # Pages, tables and the Zarr store are not read.
        lacking = [
            each for each in unfinished(open_storage(folder, options=storage_options(folder))) if each not in DOCUMENTS
        ]
        if lacking:
            raise JobError(
                f"Input {name}: {display_href(folder)} holds no finished product (no whole {lacking[0]}): run its job "
                "to the end first."
            )


def scene_access(sources: Sources, failures: FailureLog | None = None, *, threads: int = 1) -> Access:
    """The access to the scenes of sources: hrefs signed where one signs, GDAL settings from the environment."""

    def sign(scene: Scene, href: str) -> str:
        return sign_href(sources.named(scene.source), href)

    readings = {source.name: _reading(source) for source in sources}
    return Access(
        sign=None if all(source.signing == "none" for source in sources) else sign,
        failures=failures,
        reading=next(iter(readings.values())),
        readings={} if sources.single else readings,
        register=Register(),
        threads=threads,
    )


def _reading(source: Source) -> Reading:
    def identify(href: str, signed: str) -> str | None:
        return present_identity(href, signed=signed, source=source)

    return Reading(gdal=reading_settings(), rules=source.rules, identify=identify)


def plan_sources(plan: Plan) -> Sources:
    """The sources of a plan's scenes, with the keys of this environment."""
    return Sources.from_json(plan.source, s3=s3_settings())
