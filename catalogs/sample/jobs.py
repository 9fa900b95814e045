"""The tasks that build the embedded sample, shared by any number of processes.

GDAL's COG driver holds Python's lock while it writes, so threads would write one file at a time. Processes claim tasks
instead: the process that creates a task's claim file runs it. Every process builds the landscape anew, which takes two
seconds; the same seed gives the same landscape.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pystac

from tilewright.catalogs.sample.calendar import OVERPASSES, RADAR_OVERPASSES
from tilewright.catalogs.sample.landscape.landscape import Landscape, build_landscape
from tilewright.catalogs.sample.rasters import write_elevation, write_overpass, write_radar, write_truth

Progress = Callable[[int, int], None]
"""Called with the number of tasks done and the number of all tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTask:
    """One task: `name` names its files, `collection` is that of its Items; `run` writes its rasters under a folder."""

    name: str
    collection: str
    run: Callable[[Path, Landscape, int], list[pystac.Item]]


def build_tasks() -> tuple[BuildTask, ...]:
    """All tasks of the sample in the order of their Items, the longest kinds first."""
    return (*_optical_tasks(), *_radar_tasks(), *_ground_tasks())


def run_tasks(staging: Path, seed: int, *, n_helpers: int, progress: Progress) -> dict[str, list[pystac.Item]]:
    """The Items per collection; all rasters are then under staging/new. `n_helpers` further processes run tasks too.

    This process runs each task that a helper failed to finish: without any helper the sample is still built.
    """
    (staging / "claims").mkdir()
    (staging / "items").mkdir()
    # The package may not be on the interpreter's default search path: the helper uses this process's path.
    start = (
        f"import sys; sys.path[:] = {sys.path!r}; from tilewright.catalogs.sample.jobs import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", start, str(staging), str(seed)]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(n_helpers)]  # noqa: S603
    try:
        run_unclaimed(staging, seed, progress)
    except BaseException:
        for helper in processes:
            helper.terminate()
        raise
    finally:
        for helper in processes:
            helper.wait()
    for task in build_tasks():
        if not _items_path(staging, task).exists():
            _run_task(staging, task, build_landscape(seed), seed)
    return _read_items(staging)


def run_unclaimed(staging: Path, seed: int, progress: Progress) -> None:
    """Runs one unclaimed task after another, until none is left."""
    n_tasks = len(build_tasks())
    progress(0, n_tasks)
    landscape = build_landscape(seed)
    for task in _unclaimed(staging):
        _run_task(staging, task, landscape, seed)
        progress(len(list((staging / "items").glob("*.json"))), n_tasks)


def main(arguments: list[str]) -> None:
    """Runs tasks that another process shares: `arguments` are its staging folder and the seed."""
    staging, seed = arguments
    run_unclaimed(Path(staging), int(seed), lambda _done, _all: None)


def _unclaimed(staging: Path) -> Iterator[BuildTask]:
    """The tasks that this process is the first to claim; creating a file that must not exist is atomic."""
    for task in build_tasks():
        try:
            (staging / "claims" / task.name).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield task


def _run_task(staging: Path, task: BuildTask, landscape: Landscape, seed: int) -> None:
    """Runs a task and writes the file of its Items atomically."""
    items = [item.to_dict(include_self_link=False) for item in task.run(staging / "new", landscape, seed)]
    draft = staging / f"{task.name}.draft"
    draft.write_text(json.dumps(items))
    draft.rename(_items_path(staging, task))


def _items_path(staging: Path, task: BuildTask) -> Path:
    return staging / "items" / f"{task.name}.json"


def _read_items(staging: Path) -> dict[str, list[pystac.Item]]:
    found: dict[str, list[pystac.Item]] = {}
    for task in build_tasks():
        items = json.loads(_items_path(staging, task).read_text())
        found.setdefault(task.collection, []).extend(pystac.Item.from_dict(item, migrate=False) for item in items)
    return {name: items for name, items in found.items() if items}


def _optical_tasks() -> Iterator[BuildTask]:
    for index, overpass in enumerate(OVERPASSES):
        yield BuildTask(
            name=f"optical-{index}",
            collection="sentinel-2-l2a",
            run=lambda folder, landscape, seed, f=overpass, n=index: write_overpass(folder, landscape, f, seed, n),  # type: ignore[misc]
        )


def _radar_tasks() -> Iterator[BuildTask]:
    for index, overpass in enumerate(RADAR_OVERPASSES):
        yield BuildTask(
            name=f"radar-{index}",
            collection="sentinel-1-rtc",
            run=lambda folder, landscape, seed, f=overpass, n=index: [write_radar(folder, landscape, f, seed, n)],  # type: ignore[misc]
        )


def _ground_tasks() -> Iterator[BuildTask]:
    yield BuildTask(
        name="elevation",
        collection="cop-dem-glo-30",
        run=lambda folder, landscape, _: [write_elevation(folder, landscape)],
    )
    yield BuildTask(name="truth", collection="truth", run=lambda folder, landscape, _: write_truth(folder, landscape))
