"""A pixel of the ground is the same in every area that holds it: nothing that decides it is chosen for the area."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference.by_hand import CRS, Item, asset, item_of, observations, write_file
from tests.reference.granules import around
from tests.reference.test_sweep import FIRST_SEED, N_WORLDS
from tests.support.graphs import Draft
from tests.support.worlds import layer, run, write_card
from tilewright.flows.job.job import make_job

REDUCERS = (
    *("median", "mean", "min", "max", "percentile:30", "medoid"),
    *("first", "last", "least-cloudy", "best-pixel"),
)
MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "values": {"kind": "values", "band": "quality", "drop": [1], "dilation": 20},
    "rule": {"kind": "rule", "rule": "blue > 0.5", "dilation": 10},
    "probability": {"kind": "probability", "band": "cloud", "threshold": 60},
}
BANDS = ("red", "nir")

HEIGHT, WIDTH = 20, 144
WEST, EAST = (0, 70), (40, 144)
"""Columns of two areas that overlap."""


def write_world(folder: Path, random: np.random.Generator) -> Path:
    """Passes of some days, each in three to five pieces side by side that overlap and are as cloudy as they like.

    Satellites follow each other by minutes, so that the pieces of two passes alternate.
    """
    items: list[Item] = []
    for number in range(int(random.integers(2, 6))):
        day = datetime(2023, 6, 2 + 3 * int(random.integers(1, 8)), 10, tzinfo=UTC)
        moment = day + timedelta(minutes=int(random.integers(0, 9)), seconds=number)
        edges = sorted(random.choice(np.arange(8, WIDTH - 8, 8), int(random.integers(2, 5)), replace=False))
        for left, right in zip([0, *edges], [*edges, WIDTH], strict=True):
            moment += timedelta(seconds=int(random.integers(20, 200)))
            if random.random() < 0.2:
                # Not delivered: other days then begin and end what is found over one of the areas.
                continue
            first, last = max(0, int(left) - int(random.integers(9))), min(WIDTH, int(right) + int(random.integers(9)))
            said = {"platform": f"p{number}", "sat:relative_orbit": number, "eo:cloud_cover": int(random.integers(100))}
            if random.random() < 0.1:
                del said["eo:cloud_cover"]
            properties = {"datetime": moment.isoformat().replace("+00:00", "Z"), **said}
            size = (HEIGHT, last - first)
            assets = dict(_assets(folder, f"s{len(items)}", size, first, random))
            items.append(item_of(f"s{len(items)}", properties, assets, size=size, col=first))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return folder / "items.json"


def _assets(
    folder: Path, name: str, size: tuple[int, int], col: int, random: np.random.Generator
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bands of a scene: measured ones with holes, and those of the masks."""
    for band in (*BANDS, "blue"):
        values = random.random(size).astype(np.float32)
        values[random.random(size) < 0.1] = np.nan
        write_file(folder / f"{name}-{band}.tif", values, col=col)
        yield band, asset(folder / f"{name}-{band}.tif")
    for band, numbers in {"quality": random.random(size) < 0.05, "cloud": random.integers(0, 70, size)}.items():
        write_file(folder / f"{name}-{band}.tif", numbers.astype(np.uint8), col=col)
        yield band, asset(folder / f"{name}-{band}.tif", unit="class" if band == "quality" else "1")


def write_model(folder: Path, reducer: str) -> Path:
    """A model that hands its input on."""
    draft = Draft()
    model = draft.model(draft.node("Identity", "x"), n_in=len(BANDS), n_out=len(BANDS))
    pixels = {
        "name": "x",
        "bands": BANDS,
        "tw:collection": "optics",
        "tw:resampling": "nearest",
        "tw:dates": {"kind": "composite", "reducer": reducer},
        "tw:missing": {"fill": -1.0, "pad": "fill"},
    }
    head = {"name": "y", "dims": ("batch", "channel", "height", "width"), "tw:layers": list(BANDS)}
    return write_card(folder, model, inputs=[pixels], outputs=[head])


def mapped(source: Path, card: Path, output: Path, cols: tuple[int, int], mask: dict[str, Any]) -> list[np.ndarray]:
    """The layers and the observations of an area of so many columns."""
    left, top = 500_000.0, 5_400_000.0
    bounds = (left + 10 * cols[0], top - 10 * HEIGHT, left + 10 * cols[1], top)
    plain = {
        "name": "area",
        "area": around(bounds, CRS, -0.5),
        "period": "2023-06",
        "source": str(source),
        "model": str(card),
        "grid": {"crs": CRS, "bounds": list(bounds)},
        "mask": mask,
        "tile": {"block": 64},
    }
    run(make_job(plain, base=output.parent, output=str(output)))
    return [*(layer(output, band) for band in BANDS), observations(output, bounds)]


CASES = list(product(REDUCERS, MASKS))


SEEDS = (22, 39, 45)
"""Worlds in which the least cloudy pass of one area is not that of the other."""


@pytest.mark.parametrize("seed", sorted({*SEEDS, *range(FIRST_SEED, FIRST_SEED + N_WORLDS)}))
def test_overlapping_areas_agree_where_they_overlap(tmp_path, seed):
    reducer, mask = CASES[seed * 7 % len(CASES)]
    source = write_world(tmp_path, np.random.default_rng(seed))
    card = write_model(tmp_path / "card", reducer)
    west = mapped(source, card, tmp_path / "west", WEST, MASKS[mask])
    east = mapped(source, card, tmp_path / "east", EAST, MASKS[mask])
    for one, other in zip(west, east, strict=True):
        shared = one[:, EAST[0] :], other[:, : WEST[1] - EAST[0]]
        assert np.array_equal(*shared, equal_nan=True), f"{reducer}, {mask}: {(shared[0] != shared[1]).sum()} differ"


Told = tuple[str, tuple[int, int], float, str]


def scene(folder: Path, name: str, told: Told) -> Item:
    """A scene: its moment, its columns, its one value and its satellite."""
    moment, cols, value, platform = told
    size = (HEIGHT, cols[1] - cols[0])
    assets = {}
    for band in BANDS:
        write_file(folder / f"{name}-{band}.tif", np.full(size, value, np.float32), col=cols[0])
        assets[band] = asset(folder / f"{name}-{band}.tif")
    said = {"datetime": moment, "platform": platform, "sat:relative_orbit": 1, "eo:cloud_cover": 5}
    return item_of(name, said, assets, size=size, col=cols[0])


FAR = (900, 1000)
"""Columns beyond what any window of the west reaches."""

ELSEWHERE: dict[str, tuple[str, list[Told]]] = {
    "best-pixel beside a later day": (
        "best-pixel",
        [
            ("2023-06-11T10:00:00Z", (0, 1000), 0.1, "a"),
            ("2023-06-20T10:00:00Z", (0, 1000), 0.2, "b"),
            ("2023-06-29T10:00:00Z", FAR, 0.3, "c"),
        ],
    ),
    "first beside an earlier piece": (
        "first",
        [
            ("2023-06-11T10:02:00Z", (0, 1000), 0.1, "a"),
            ("2023-06-11T10:00:00Z", FAR, 0.2, "b"),
            ("2023-06-11T10:04:00Z", (0, 90), 0.3, "b"),
        ],
    ),
    "last beside an earlier piece": (
        "last",
        [
            ("2023-06-11T10:02:00Z", (0, 1000), 0.1, "a"),
            ("2023-06-11T10:00:00Z", FAR, 0.2, "b"),
            ("2023-06-11T10:04:00Z", (0, 90), 0.3, "b"),
        ],
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_scene_elsewhere_decides_nothing_here(tmp_path, name):
    reducer, told = ELSEWHERE[name]
    items = [scene(tmp_path, f"s{number}", entry) for number, entry in enumerate(told)]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    card = write_model(tmp_path / "card", reducer)
    west, east = (
        mapped(tmp_path / "items.json", card, tmp_path / f"out{cols[0]}", cols, MASKS["none"])[0]
        for cols in (WEST, (EAST[0], FAR[1]))
    )
    assert np.array_equal(west[:, EAST[0] :], east[:, : WEST[1] - EAST[0]])
