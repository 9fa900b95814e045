"""A small product of scenes with red, green and blue: its pages have pictures of the ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.graphs import conv_stack
from tests.support.products import OUTPUT
from tests.support.worlds import World, area, bounds, write_card
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job

SIDE = 96
VISIBLE = ("red", "green", "blue")


def seen_product(folder: Path, *, classes: tuple[str, str] = ("land", "water")) -> Path:
    """The finished product of a job in a folder; its last rows and columns have no scene."""
    world, random = World(folder / "scenes"), np.random.default_rng(5)
    for band in VISIBLE:
        values = random.random((SIDE - 10, SIDE - 10), dtype=np.float32) * 0.3
        world.add(values, band, scene="first", day="2023-06-10", unit="reflectance")
    inputs, output = [{"name": "x", "bands": VISIBLE}], {**OUTPUT, "classes": classes}
    card = write_card(folder / "card", conv_stack(n_in=3), inputs=inputs, outputs=[output], tile={"step": 32})
    job = {
        "name": "seen",
        "area": area((-2, SIDE + 2), (-2, SIDE + 2)),
        "grid": {"crs": "EPSG:32633", "bounds": bounds((0, SIDE), (0, SIDE))},
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "tile": {"block": 32, "step": 32},
        "output": str(folder / "out"),
    }
    return Path(run_job(make_job(job, base=folder)).output)
