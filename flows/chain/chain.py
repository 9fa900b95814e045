"""A chain of jobs as a person writes it: the jobs in their order, and which products of earlier ones each reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.sources.registry import known_sources
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import JOBS, Job, JobError, apply_change, make_job, read_plain
from tilewright.models.fields import did_you_mean
from tilewright.tasks.storage.storage import REMOTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_JOBS = 64
"""Jobs of a chain: each is planned, and kept in memory while the chain is."""

EXCLUSIVE = (("source", "sources"), ("area", "places"))
"""Keys of which a job has one: its own takes the place of the other one that all jobs share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Jobs in the order in which they run; ``reads``: by a job's name the earlier ones whose products it reads."""

    jobs: tuple[Job, ...]
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def job(self, name: str) -> Job:
        """The job of that name."""
        return next(job for job in self.jobs if job.name == name)


def is_chain(plain: Mapping[str, Any]) -> bool:
    """True for the mapping of a chain."""
    return JOBS in plain


def read_chain(path: Path, *, changes: tuple[str, ...] = (), output: str | None = None) -> Chain | None:
    """The chain in a YAML or JSON file, as ``make_chain`` makes it; None if the file holds a job.

    Raises JobError naming the job and the key.
    """
    plain = read_plain(path)
    return make_chain(plain, base=path.resolve().parent, changes=changes, output=output) if is_chain(plain) else None


def make_chain(
    plain: Mapping[str, Any], *, base: Path, changes: Sequence[str] = (), output: str | None = None
) -> Chain:
    """The chain that a mapping describes: ``jobs``, and beside it what all of them share.

    ``output`` is the folder in which each job without one of its own has its product, by its name. A change
    ``name.key=value`` is one of the job of that name, any other one of all jobs.

    Raises JobError for jobs without a name, of one name or one output, that read a later job or themselves, and for
    whatever is wrong with one of them.
    """
    given = _entries(plain)
    names = [_name(entry, number) for number, entry in enumerate(given, start=1)]
    _check_names(names)
    shared = {key: value for key, value in plain.items() if key not in {JOBS, "name", "output"}}
    if "area" in shared:
        # Read once for all: it may be as large as a file.
        try:
            shared["area"] = read_area(shared["area"], base=base)
        except AreaError as error:
            raise JobError(f"area: {error}") from error
    home = output if output is not None else plain.get("output", "out")
    if not isinstance(home, str) or not home.strip():
        raise JobError("output: write the folder, or s3://bucket/prefix, in which each job has a product of its name.")
    outputs: dict[str, str] = {}
    jobs: list[Job] = []
    reads: dict[str, tuple[str, ...]] = {}
    for name, entry in zip(names, given, strict=True):
        own = _with_shared(entry, shared)
        for change in changes:
            _change(own, change, name=name, names=names)
        own.setdefault("output", f"{home.rstrip('/')}/{name}")
        linked, read = _with_products(own, names=names, outputs=outputs, base=base)
        try:
            job = make_job(linked, base=base)
        except JobError as error:
            raise JobError(f"Job {name}: {error}") from error
        for other in read:
            if next(each for each in jobs if each.name == other).places is not None:
                raise JobError(
                    f"Job {name}: job {other} is over places and makes a table, which is no source: leave it out."
                )
        jobs.append(job)
        reads[name] = read
        outputs[name] = job.output_uri
    _check_outputs(outputs)
    return Chain(jobs=tuple(jobs), reads=reads)


def _entries(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = plain[JOBS]
    if not isinstance(given, list) or not given or not all(isinstance(entry, dict) for entry in given):
        raise JobError(
            "jobs: expected a list of jobs, each with a name, a model and a source, like [{name: cover, ...}]."
        )
    if len(given) > MOST_JOBS:
        raise JobError(f"jobs: {len(given)} jobs are more than the {MOST_JOBS} that a chain may have: cut it in two.")
    return given


def _name(entry: Mapping[str, Any], number: int) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise JobError(f"jobs: job number {number} has no name, by which later ones know it: give it one.")
    return name


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise JobError(f"jobs: two jobs have the name {name}: each needs its own.")
        if name in known_sources():
            raise JobError(f"jobs: {name} is the name of a known source, so a job needs another one.")
        if name in Job.model_fields:
            raise JobError(f"jobs: {name} is a key of jobs, which --set could not tell from it: use another name.")


def _with_shared(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A job's own keys over those that all jobs share."""
    left_out = {other for pair in EXCLUSIVE for key, other in (pair, pair[::-1]) if key in entry and other not in entry}
    return {**{key: value for key, value in shared.items() if key not in left_out}, **entry}


def _change(job: dict[str, Any], change: str, *, name: str, names: Sequence[str]) -> None:
    of_one = next((each for each in sorted(names, key=len, reverse=True) if change.startswith(f"{each}.")), None)
    if of_one is None:
        apply_change(job, change)
    elif of_one == name:
        apply_change(job, change.removeprefix(f"{name}."))


def _with_products(
    job: Mapping[str, Any], *, names: Sequence[str], outputs: Mapping[str, str], base: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The job with the products of earlier jobs in place of their names, and these names.

    ``outputs``: the places of the products of the jobs before it.
    """
    several = job.get("sources")
    given = {"source": job["source"]} if "source" in job else {}
    given |= {f"sources.{key}": value for key, value in several.items()} if isinstance(several, dict) else {}
    read: list[str] = []
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, str) and value in names:
            if value not in outputs:
                raise JobError(_circle(str(job["name"]), key, value, list(outputs)))
            read.append(value)
            found[key] = {"kind": "product", "name": value, "href": item_href(outputs[value])}
        else:
            _check_known(str(job["name"]), key, value, earlier=list(outputs), base=base)
            found[key] = value
    linked = {**job, **({"source": found["source"]} if "source" in found else {})}
    if isinstance(several, dict):
        linked["sources"] = {key: found[f"sources.{key}"] for key in several}
    return linked, tuple(dict.fromkeys(read))


def _circle(name: str, key: str, other: str, earlier: list[str]) -> str:
    known = f" (here: {', '.join(earlier)})" if earlier else ""
    if name == other:
        return f"Job {name}: {key}: a job cannot read its own product: name an earlier job{known}, or a source."
    return (
        f"Job {name}: {key}: job {other} stands after {name}, and a job reads products of earlier ones alone{known}: "
        f"put {other} before it. If {other} reads {name} too, they go round in a circle, which no order can run."
    )


def _check_known(name: str, key: str, value: Any, *, earlier: list[str], base: Path) -> None:
    """Refuse a word that is no earlier job, no known source and no file, with what was meant."""
    if not isinstance(value, str) or not value.strip() or value in known_sources() or set("/\\:") & set(value):
        return
    try:
        there = (base / value).exists()
    except (OSError, ValueError):
        there = False
    if not there:
        hint = did_you_mean(value, [*earlier, *known_sources()])
        jobs = f" ({', '.join(earlier)})" if earlier else ""
        raise JobError(
            f"Job {name}: {key}: {value!r} is no earlier job{jobs}, no known source ({', '.join(known_sources())}) and "
            f"no file{hint}."
        )


def item_href(output: str) -> str:
    """The absolute href at which the product in an output has its Item."""
    return f"{_place(output)}/item.json"


def _place(output: str) -> str:
    """An output as an absolute path or a URI, without a slash at its end."""
    return output.rstrip("/") if REMOTE.match(output) else str(Path(output).resolve())


def _check_outputs(outputs: Mapping[str, str]) -> None:
    """Refuse two jobs that would write one product, or one product into another."""
    places = {name: _place(output) for name, output in outputs.items()}
    for name, place in places.items():
        for other, there in places.items():
            if name != other and (place == there or place.startswith(f"{there}/")):
                verb = "is that" if place == there else "lies in that"
                raise JobError(
                    f"Job {name}: its output {place} {verb} of job {other}: give each job a place of its own."
                )
