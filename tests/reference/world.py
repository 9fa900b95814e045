"""Random worlds: granules of several passes on both sides of a zone border, with all the oddities of real catalogs.

`make_world` writes the files of a seed's world, and gives the job and the question that the reference answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from tests.reference.compare import FILL
from tests.reference.granules import Ground, around, shares
from tests.reference.looks import Mask, Question
from tests.reference.painter import Painter
from tests.reference.traits import CLOCKS, PLACES, UNORDERED, Traits, draw_traits, tamed
from tests.support.graphs import Draft
from tests.support.worlds import write_card
from tilewright.flows.job.job import Job, make_job

MONTHS = [datetime(2023, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9)]
DAYS = (10, 11, 30)
CLOUDY_BLUE, CLOUDY_PERCENT = 0.35, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWorld:
    """A world that lies on disk: its traits, its job but for the output, and the question it asks."""

    seed: int
    traits: Traits
    plain: dict[str, Any]
    question: Question

    def job(self, output: Path) -> Job:
        """The job that writes there."""
        return make_job(self.plain, base=output.parent, output=str(output))

    def told(self) -> str:
        """The world in words, for whoever looks for a difference."""
        return f"seed {self.seed}: " + ", ".join(f"{key}={value}" for key, value in asdict(self.traits).items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """The moment or interval of a scene as its item says it, and what else it says."""

    when: dict[str, Any]
    said: dict[str, Any]


def make_world(folder: Path, seed: int, oddity: Mapping[str, Any] | None = None) -> RandomWorld:
    """The world of a seed, its files under the folder; with an oddity, a tame one that has only this."""
    random = np.random.default_rng(seed)
    traits = draw_traits(random)
    traits = traits if oddity is None else tamed(traits, **oddity)
    ground = _ground(traits, random)
    folder.mkdir(parents=True)
    painter = Painter(folder=folder, traits=traits, ground=ground, random=random)
    acquisitions = [*_passes(traits, random), *_intervals(traits)]
    items: list[dict[str, Any]] = []
    for number, each in enumerate(acquisitions):
        item = painter.scene(_name(number, each), each.when, each.said)
        if not any(is_doubtful(item, other) for other in items):
            items.append(item)
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return RandomWorld(
        seed=seed,
        traits=traits,
        plain=_job(folder, traits, ground),
        question=_question(items, traits, ground),
    )


def _ground(traits: Traits, random: np.random.Generator) -> Ground:
    """The grid: its corner on the lattice, the border of the zones through it."""
    place = PLACES[traits.place]
    crs, size = place.grid or place.zones[0], place.size or traits.resolution
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(place.lon, place.lat)
    height, width = traits.shape
    col, row = 6 * round(x / size / 6) - random.integers(0, width), 6 * round(y / size / 6) + random.integers(0, height)
    corners = col * size, (row - height) * size, (col + width) * size, row * size
    bounds = tuple(round(float(corner), 6) for corner in corners)
    return Ground(crs=crs, zones=place.zones, bounds=bounds, size=size)


def _passes(traits: Traits, random: np.random.Generator) -> Iterator[Acquisition]:
    """Scenes of passes on few days, each step with one as a rule; in a tame world one pass a day."""
    taken: dict[tuple[int, int], int] = {}
    for number in range(traits.n_passes):
        step = number if number < traits.n_steps and random.random() < 0.9 else int(random.integers(traits.n_steps))
        days = [(step, day) for day in DAYS]
        free = [day for day in days if day not in taken] if traits.tame else days
        if free:
            when = free[0] if traits.tame else free[random.integers(3)]
            order = taken[when] = taken.get(when, -1) + 1
            yield from _pass(traits, _start(traits, when, order, number, random), number, random)


def _start(
    traits: Traits, when: tuple[int, int], order: int, number: int, random: np.random.Generator
) -> datetime:  # fmt: skip
    """The first moment of a day's pass."""
    # Passes may interleave: a pixel has the order of the scenes that see it.
    apart = timedelta(minutes=100)
    if random.random() < 0.4:
        apart = timedelta(minutes=int(random.choice([5, 29, 31])))
    if traits.clock == "edge" and order == 0:
        return MONTHS[when[0]] if random.random() < 0.5 else MONTHS[when[0] + 1] - timedelta(microseconds=1)
    clock = CLOCKS[traits.clock]
    if traits.clock == "local midnight":
        clock = timedelta(hours=11, minutes=55) if "180" in traits.place else timedelta(hours=22, minutes=40)
    return MONTHS[when[0]] + timedelta(days=when[1] - 1, seconds=number) + clock + order * apart


def _pass(traits: Traits, moment: datetime, number: int, random: np.random.Generator) -> Iterator[Acquisition]:
    """The scenes of a pass, at most 30 minutes from one to the next."""
    orbits = (22, 51) if traits.reducer in UNORDERED else (22 + number,)
    orbit = int(random.choice(orbits))
    # A satellite is in one orbit at a time, also where passes interleave.
    who = {"platform": f"sentinel-2{'a' if orbit % 2 else 'b'}", "sat:relative_orbit": orbit}
    cover = 5 + (number * 37) % 80
    for _ in range(int(random.integers(1, traits.n_scenes + 1))):
        said = {**({} if traits.unnamed else who), "eo:cloud_cover": float((cover + random.integers(40)) % 100)}
        yield Acquisition(when={"datetime": _text(moment)}, said=said)
        moment += timedelta(seconds=int(random.choice([0, 12, 29 * 60, 30 * 60])))


def _intervals(traits: Traits) -> Iterator[Acquisition]:
    """Items that state an interval, across steps where there are several, in an orbit of their own."""
    for number in range(traits.n_intervals):
        stop = MONTHS[min(1, traits.n_steps - 1)] + timedelta(days=14)
        when = {"datetime": None, "start_datetime": _text(MONTHS[0] + timedelta(days=4)), "end_datetime": _text(stop)}
        yield Acquisition(when=when, said={"platform": "sentinel-2a", "sat:relative_orbit": 100 + number})


def is_doubtful(item: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two scenes of one kind, minutes apart, overlap by about a half: another look, or a piece of the same."""
    one, two = item["properties"], other["properties"]
    if any(one.get(key) != two.get(key) for key in ("platform", "sat:relative_orbit")) or one["datetime"] is None:
        return False
    apart = abs(datetime.fromisoformat(one["datetime"]) - datetime.fromisoformat(two["datetime"]))
    found = shares(item, other)
    return timedelta(minutes=2) <= apart <= timedelta(hours=2) and min(found) < 0.55 and max(found) > 0.45


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _name(number: int, acquisition: Acquisition) -> str:
    """An id that tells no more than the item's properties do."""
    said, moment = acquisition.said, acquisition.when["datetime"]
    if "platform" not in said or moment is None:
        return f"scene-{number:02d}"
    platform = said["platform"].replace("sentinel-", "S").upper()
    return f"{platform}_33U{chr(65 + number % 24)}P_{moment[:10].replace('-', '')}_{number}_L2A"


def _question(items: list[dict[str, Any]], traits: Traits, ground: Ground) -> Question:
    masks = {
        "auto": Mask(band="scl", drop=frozenset(traits.drop)),
        "scl": Mask(band="scl", drop=frozenset(traits.drop), named=True),
        "rule": Mask(band="blue", above=CLOUDY_BLUE, named=True),
        "probability": Mask(band="cloud", above=CLOUDY_PERCENT, named=True),
    }
    instant = timedelta(microseconds=1)
    return Question(
        items=items,
        bands=traits.bands,
        steps=tuple((MONTHS[number], MONTHS[number + 1] - instant) for number in range(traits.n_steps)),
        every_step=traits.kind == "pair",
        reducer=traits.reducer,
        mask=masks.get(traits.mask),
        dilation=dilation_of(traits),
        crs=ground.crs,
        bounds=ground.bounds,
        resolution=ground.size,
    )


def dilation_of(traits: Traits) -> int:
    """Metres by which clouds grow; a grid in degrees has none."""
    return 0 if PLACES[traits.place].size else traits.dilation


def _job(folder: Path, traits: Traits, ground: Ground) -> dict[str, Any]:
    period: Any = f"2023-06/2023-{5 + traits.n_steps:02d}"
    if traits.kind == "pair":
        period = {"before": "2023-06", "after": "2023-07"}
    by_kind: dict[str, dict[str, Any]] = {
        "rule": {"rule": f"blue > {CLOUDY_BLUE}"},
        "probability": {"threshold": CLOUDY_PERCENT},
    }
    return {
        "name": "world",
        "area": around(ground.bounds, ground.crs, 6 * ground.size),
        "period": period,
        "source": str(folder / "items.json"),
        "model": str(_card(folder / "card", traits)),
        "grid": {"crs": ground.crs, "bounds": list(ground.bounds), "resolution": ground.size},
        "tile": {"block": 64},
        "mask": {
            "kind": traits.mask,
            "dilation": dilation_of(traits),
            **by_kind.get(traits.mask, {"drop": list(traits.drop)}),
        },
    }


def _card(folder: Path, traits: Traits) -> Path:
    """A model that hands on every band of every step as a layer of its own."""
    draft = Draft()
    n_layers = traits.n_steps * len(traits.bands)
    model = draft.model(draft.node("Identity", "x"), n_in=n_layers, n_out=n_layers)
    dates: dict[str, Any] = {"kind": traits.kind, "reducer": traits.reducer}
    if traits.kind == "series":
        dates |= {"steps": traits.n_steps, "every": "month"}
    pixels = {
        "name": "x",
        "bands": traits.bands,
        "tw:collection": "sentinel-2-l2a",
        "tw:resampling": "nearest",
        "tw:resolution": traits.resolution,
        "tw:dates": dates,
        "tw:missing": {"fill": FILL, "pad": "fill"},
    }
    layers = {"name": "y", "dims": ("batch", "channel", "height", "width"), "tw:layers": layer_names(traits)}
    return write_card(folder, model, inputs=[pixels], outputs=[layers])


def layer_names(traits: Traits) -> list[str]:
    """The card's layers: all bands of the first step, then of the second."""
    return [f"{band}_{step}" for step in range(traits.n_steps) for band in traits.bands]
