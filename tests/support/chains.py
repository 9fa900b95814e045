"""A chain of three small jobs over a world of known values: a cloud-free image, its classes, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.families import FLOAT, INT64, noise
from tests.support.graphs import Draft
from tests.support.worlds import CRS, World, area, bounds, pixel_job, run, write_card

SIDE, BLOCK = 256, 32
BOX = {"rows": (0, SIDE), "cols": (0, SIDE)}
BRIGHT = 0.3


def clear_card(folder: Path) -> Path:
    """The mean of the period's red, seen through clouds: an image of one band."""
    draft = Draft()
    model = draft.model(draft.node("Mul", "x", draft.constant([1.0])), n_in=1, n_out=1)
    entry = {"name": "x", "bands": ["red"], "tw:dates": {"kind": "composite", "reducer": "mean"}}
    output = {"name": "y", "tw:layers": ["red"], "tw:unit": "reflectance"}
    return write_card(folder, model, inputs=[entry], outputs=[output], name="clear", tile={"step": BLOCK})


def cover_card(folder: Path) -> Path:
    """Class crop where red is above BRIGHT, with its confidence."""
    draft = Draft()
    over = draft.node("Sub", "x", draft.constant([BRIGHT]))
    model = draft.model(draft.node("Concat", draft.node("Neg", over), over, axis=1), n_in=1, n_out=2)
    output = {"name": "y", "classes": ["bare", "crop"], "tw:activation": "softmax"}
    entry = {"name": "x", "bands": ["red"]}
    return write_card(folder, model, inputs=[entry], outputs=[output], name="cover", tile={"step": BLOCK})


def change_card(folder: Path) -> Path:
    """Changed where the class of now is another than the class of before."""
    draft = Draft()
    unlike = draft.node("Not", draft.node("Equal", "now", "before"))
    model = draft.model_many(
        [("now", FLOAT, ["batch", 1, "h", "w"]), ("before", FLOAT, ["batch", 1, "h", "w"])],
        [(draft.node("Cast", unlike, to=INT64), "y", INT64, ["batch", 1, "oh", "ow"])],
    )
    dates = {"tw:unit": "class", "tw:dates": {"kind": "static"}}
    inputs = [
        {"name": "now", "bands": ["class"], "tw:collection": "map", **dates},
        {"name": "before", "bands": ["class"], "tw:collection": "prior", **dates},
    ]
    output = {"name": "y", "classes": ["same", "changed"], "tw:layers": ["change"]}
    return write_card(folder, model, inputs=inputs, outputs=[output], name="change", tile={"step": BLOCK, "trim": 0})


def write_chain(folder: Path, **changes: Any) -> Path:
    """The file of the chain, with last year's product finished in ``last``; it writes below ``folder``/out."""
    images, before = World(folder / "images"), World(folder / "before")
    for day in (5, 15, 25):
        values = noise(day, side=SIDE)
        values[np.random.default_rng(day).random(values.shape) > 0.7] = np.nan
        images.add(values, "red", day=f"2023-06-{day:02d}", unit="reflectance")
    before.add(noise(8, side=SIDE), "red", day="2022-06-10", unit="reflectance")
    cards = {
        name: str(card(folder / f"card-{name}"))
        for name, card in {"clear": clear_card, "cover": cover_card, "change": change_card}.items()
    }
    last = pixel_job(before, Path(cards["cover"]), folder / "last", **BOX, period="2022", name="cover-2022")
    run(last)
    plain = {
        "area": area((-4, SIDE + 4), (-4, SIDE + 4)),
        "period": "2023-06-01/2023-06-30",
        "grid": {"crs": CRS, "bounds": bounds((0, SIDE), (0, SIDE))},
        "tile": {"block": BLOCK, "step": BLOCK},
        "output": str(folder / "out"),
        "jobs": [
            {"name": "clear", "model": cards["clear"], "source": images.source},
            {"name": "cover", "model": cards["cover"], "source": "clear"},
            {"name": "change", "model": cards["change"], "sources": {"map": "cover", "prior": "last"}},
        ],
        **changes,
    }
    path = folder / "chain.json"
    path.write_text(json.dumps(plain))
    return path


def expected_change() -> np.ndarray:
    """What the last job must hold: 1 where the mean of the clear days and last year's red lie on other sides of BRIGHT,
    NaN where no day was clear.
    """
    days = []
    for day in (5, 15, 25):
        values = noise(day, side=SIDE)
        values[np.random.default_rng(day).random(values.shape) > 0.7] = np.nan
        days.append(values)
    seen = np.isfinite(days).any(axis=0)
    mean = np.nanmean(np.where(seen, days, 0), axis=0)
    return np.where(seen, (mean > BRIGHT) != (noise(8, side=SIDE) > BRIGHT), np.nan)
