"""The work of building the embedded sample, cut into jobs that any number of processes may share.

GDAL's COG driver holds Python's lock while it writes, so threads would write one file at a time. Processes claim jobs
instead: whoever creates a job's claim does it. Every process makes the landscape for itself, which takes two seconds
and the same seed to come out alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pystac

from tilewright.catalogs.sample.calendar import PASSES, RADAR_PASSES
from tilewright.catalogs.sample.landscape.landscape import Landscape, build_landscape
from tilewright.catalogs.sample.rasters import write_elevation, write_pass, write_radar, write_truth

Progress = Callable[[int, int], None]
"""Told how many jobs are done and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTask:
    """One piece of work: `name` names its files, `collection` its Items; `run` writes its rasters under a folder."""

    name: str
    collection: str
    title: str
    run: Callable[[Path, Landscape, int], list[pystac.Item]]


def jobs() -> tuple[BuildTask, ...]:
    """All jobs of the sample in the order of their Items, the longest kinds first."""
    return (*_optical_jobs(), *_radar_jobs(), *_ground_jobs())


def share_work(workplace: Path, seed: int, *, helpers: int, progress: Progress) -> dict[str, list[pystac.Item]]:
    """The Items per collection, all rasters written under workplace/new; `helpers` further processes take their share.

    What a helper fails to finish is done here: where none can be started the sample is built all the same.
    """
    (workplace / "claims").mkdir()
    (workplace / "items").mkdir()
    # The package may not be installed for the interpreter's own search path: the helper looks where this one looks.
    start = (
        f"import sys; sys.path[:] = {sys.path!r}; from tilewright.catalogs.sample.jobs import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", start, str(workplace), str(seed)]
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(helpers)]  # noqa: S603
    try:
        work(workplace, seed, progress)
    except BaseException:
        for helper in started:
            helper.terminate()
        raise
    finally:
        for helper in started:
            helper.wait()
    for job in jobs():
        if not _result(workplace, job).exists():
            _finish(workplace, job, build_landscape(seed), seed)
    return _collected(workplace)


def work(workplace: Path, seed: int, progress: Progress) -> None:
    """Does one job after another that nobody has claimed yet, until none is left."""
    n_jobs = len(jobs())
    progress(0, n_jobs)
    landscape = build_landscape(seed)
    for job in _unclaimed(workplace):
        _finish(workplace, job, landscape, seed)
        progress(len(list((workplace / "items").glob("*.json"))), n_jobs)


def main(arguments: list[str]) -> None:
    """Takes a share of the work another process began: `arguments` are its workplace and the seed."""
    workplace, seed = arguments
    work(Path(workplace), int(seed), lambda _done, _all: None)


def _unclaimed(workplace: Path) -> Iterator[BuildTask]:
    """Jobs that this process is the first to claim; creating a file that must not exist is atomic."""
    for job in jobs():
        try:
            (workplace / "claims" / job.name).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield job


def _finish(workplace: Path, job: BuildTask, landscape: Landscape, seed: int) -> None:
    """Does a job and leaves its Items, the file appearing whole."""
    items = [item.to_dict(include_self_link=False) for item in job.run(workplace / "new", landscape, seed)]
    draft = workplace / f"{job.name}.draft"
    draft.write_text(json.dumps(items))
    draft.rename(_result(workplace, job))


def _result(workplace: Path, job: BuildTask) -> Path:
    return workplace / "items" / f"{job.name}.json"


def _collected(workplace: Path) -> dict[str, list[pystac.Item]]:
    found: dict[str, list[pystac.Item]] = {}
    for job in jobs():
        items = json.loads(_result(workplace, job).read_text())
        found.setdefault(job.collection, []).extend(pystac.Item.from_dict(item, migrate=False) for item in items)
    return {name: items for name, items in found.items() if items}


def _optical_jobs() -> Iterator[BuildTask]:
    for number, flight in enumerate(PASSES):
        yield BuildTask(
            name=f"optical-{number}",
            collection="sentinel-2-l2a",
            title=f"Sentinel-2 of {flight.time:%Y-%m-%d}",
            run=lambda folder, land, seed, f=flight, n=number: write_pass(folder, land, f, seed, n),  # type: ignore[misc]
        )


def _radar_jobs() -> Iterator[BuildTask]:
    for number, flight in enumerate(RADAR_PASSES):
        yield BuildTask(
            name=f"radar-{number}",
            collection="sentinel-1-rtc",
            title=f"Sentinel-1 of {flight.time:%Y-%m-%d}",
            run=lambda folder, land, seed, f=flight, n=number: [write_radar(folder, land, f, seed, n)],  # type: ignore[misc]
        )


def _ground_jobs() -> Iterator[BuildTask]:
    yield BuildTask(
        name="elevation",
        collection="cop-dem-glo-30",
        title="elevation",
        run=lambda folder, land, _: [write_elevation(folder, land)],
    )
    yield BuildTask(
        name="truth", collection="truth", title="truth", run=lambda folder, land, _: write_truth(folder, land)
    )
