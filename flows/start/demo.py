"""The demo: builds the embedded sample in the cache and maps water and change on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.catalogs.sample.build import (
    SAMPLE_AREA,
    SAMPLE_CHANGE_AFTER,
    SAMPLE_CHANGE_BEFORE,
    SAMPLE_WATER_PERIOD,
    build_sample,
)
from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.tasks.progress import Advance, Notice, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Listener


def run_demo(folder: Path | None, *, listener: Listener) -> Iterator[Outcome]:
    """The outcomes of both demo products, made one after the other under ``folder`` (default: the cache)."""
    home = (folder or cache_folder() / "demo").absolute()
    listener(Notice(text="This demo maps simulated scenes, not a real place."))
    catalog = demo_sample(folder, listener=listener)
    for job in demo_jobs(catalog, home):
        yield run_job(make_job(job, base=home), listener=listener)


def demo_sample(folder: Path | None, *, listener: Listener) -> Path:
    """The catalog.json of the sample under ``folder`` (default: the demo's in the cache), built if it is not there."""
    return build_sample((folder or cache_folder() / "demo") / "sample", progress=_as_stage(listener))


def _as_stage(listener: Listener) -> Callable[[int, int], None]:
    """A progress function for ``build_sample`` that reports its steps to the listener as one stage."""
    n_reported = 0

    def report(n_done: int, n_jobs: int) -> None:
        nonlocal n_reported
        listener(Advance(done=n_done - n_reported) if n_done else Stage(name="sample", total=n_jobs))
        n_reported = n_done

    return report


def demo_jobs(catalog: Path, home: Path) -> list[dict[str, object]]:
    """The two jobs of the demo, as mappings."""
    common: dict[str, object] = {"area": list(SAMPLE_AREA), "source": str(catalog)}
    return [
        {
            **common,
            "name": "demo-water",
            "period": SAMPLE_WATER_PERIOD,
            "model": "ndwi-water",
            "output": str(home / "demo-water"),
        },
        {
            **common,
            "name": "demo-change",
            "period": {"before": SAMPLE_CHANGE_BEFORE, "after": SAMPLE_CHANGE_AFTER},
            "model": "cva-change",
            "output": str(home / "demo-change"),
        },
    ]
