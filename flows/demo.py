"""The demo: the embedded sample built in the cache, water and change mapped on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogs.sample import SAMPLE_AREA, SAMPLE_CHANGE_AFTER, SAMPLE_CHANGE_BEFORE, SAMPLE_WATER_PERIOD, build_sample
from flows.job import make_job
from flows.places import cache_folder
from flows.predict import run_job
from tasks.progress import Notice, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from flows.outcome import Outcome
    from tasks.progress import Listener


def run_demo(folder: Path | None, *, listener: Listener) -> list[Outcome]:
    """Both demo products, on simulated scenes, under ``folder`` (default: the cache)."""
    home = folder or cache_folder() / "demo"
    listener(Stage(name="sample"))
    catalog = build_sample(home / "sample")
    listener(Notice(text="The scenes of this demo are simulated; README.md shows a job on a public catalog."))
    return [run_job(make_job(job, base=home), listener=listener) for job in demo_jobs(catalog, home)]


def demo_jobs(catalog: Path, home: Path) -> list[dict[str, object]]:
    """The demo's two jobs, as a person would write them."""
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
