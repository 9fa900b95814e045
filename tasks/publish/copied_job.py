"""The job of a product as a person would write it: what made it can be copied from its report and run again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.registry import SETTABLE, known_sources, resolve_source
from tilewright.catalogs.sources.source import Source, Sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.plan.plan import Plan


FIRST = ("name", "area", "places", "period", "source", "sources", "model", "output")
"""The keys that come first in a job."""

ONLY_PERIOD = "period"
"""The name of a period that has none of its own."""

MAX_AREA = 20_000
"""Characters of the longest area that a report repeats."""

ELSEWHERE = "the area in item.json: properties, processing:expression, expression, job"

REFERENCE = "reference"
"""The names of a plan's model begin so: the job's own, then those of an ensemble in the order of the job."""


def job_json(plan: Plan, *, output: str) -> dict[str, Any]:
    """The keys of the job that made a plan, with names and paths of its models in place of their digest.

    What is not set is left out. Secrets in hrefs are not cut here: they are cut from the report as a whole.
    """
    request = plan.request
    models = [value for key, value in plan.model.card.items() if key.partition(".")[0] == REFERENCE]
    area = request["area"]
    given: dict[str, Any] = {
        **request,
        "area": area if len(json.dumps(area)) <= MAX_AREA else ELSEWHERE,
        "period": _periods(request["period"]),
        **_sources(plan.source),
        "model": models[0],
        "output": output,
    }
    if plan.mask_model is not None:
        given["mask"] = {**request["mask"], "model": plan.mask_model.card[REFERENCE]}
    if plan.screen is not None:
        given["screen"] = {**request["screen"], "model": plan.screen.served.card[REFERENCE]}
    if plan.places is not None:
        del given["area"]
        given["places"] = {key: text for key, text in request["places"].items() if key != "sha256"}
    if len(models) > 1:
        given["ensemble"] = {**request["ensemble"], "models": models[1:]}
    return _set_only({key: given[key] for key in (*FIRST, *sorted(given.keys() - set(FIRST))) if key in given})


def _periods(periods: list[Mapping[str, str]]) -> str | dict[str, str]:
    named = {each["name"]: f"{each['start']}/{each['end']}" for each in periods}
    return named[ONLY_PERIOD] if [*named] == [ONLY_PERIOD] else named


def source_words(plain: Mapping[str, Any]) -> str:
    """The title or name of a plan's source; of several sources those of each, with its collection."""
    sources = Sources.from_json(plain)
    if sources.single:
        return _title(sources.single)
    return ", ".join(f"{collection}: {_title(source)}" for collection, source in sources.by_collection.items())


def _title(source: Source) -> str:
    return source.title or source.name


def _sources(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The key of a job for where its scenes come from, with its value."""
    sources = Sources.from_json(plain)
    if sources.single:
        return {"source": _source(sources.single)}
    return {"sources": {collection: _source(source) for collection, source in sources.by_collection.items()}}


def _source(source: Source) -> Any:
    """The name of a known source, the path or URL of a plain one, else its description."""
    if known_sources().get(source.name) == source:
        return source.name
    with suppress(CatalogError):
        # The name may be one that tells it apart from another source.
        if replace(resolve_source(source.href), name=source.name) == source:
            return source.href
    # A list of files has no place of its own, but that of the job file.
    dropped = {"href", "kind"} if source.files else set()
    return {key: value for key, value in source.to_json().items() if key in SETTABLE - dropped}


def _set_only(value: Any) -> Any:
    """The value without keys that hold nothing."""
    if not isinstance(value, dict):
        return value
    kept = {key: _set_only(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if inner not in (None, "", [], {})}
