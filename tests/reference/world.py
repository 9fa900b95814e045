"""Random worlds: granules of several passes on both sides of a zone border, with all the oddities of real catalogs.

`draw_traits` decides what kind of world a seed is, `make_world` writes its files and gives the job and the question that
the reference answers. A tame world has none of the oddities: one whole, aligned scene a day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from tests.reference.granules import Ground, Scenery, around, write_scene
from tests.reference.rasters import SIGNS
from tests.reference.reference import Question
from tests.support.graphs import Draft
from tests.support.worlds import write_card
from tilewright.flows.job.job import Job, make_job

PLACES = {
    "18 E": (18.0, 48.0, "EPSG:32633", "EPSG:32634"),
    "180, south": (180.0, -17.0, "EPSG:32760", "EPSG:32701"),
    "180, north": (-180.0, 52.0, "EPSG:32601", "EPSG:32660"),
}
"""Longitude and latitude of a zone border, the grid's zone and the other one."""

CLOCKS = {"morning": timedelta(hours=10), "midnight": timedelta(hours=23, minutes=50), "local midnight": timedelta(0)}

MONTHS = (6, 7, 8)

FILL = -1.0
"""Value that the card puts where a step has none."""

SCL_DEFAULT = (0, 1, 3, 8, 9, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What kind of world it is."""

    place: str
    clock: str
    shape: tuple[int, int]
    kind: str
    reducer: str
    n_steps: int
    bands: tuple[str, ...]
    fine_nir: bool
    mask: str
    drop: tuple[int, ...]
    dilation: int
    n_passes: int
    n_scenes: int
    other_zone: float
    unnamed: bool
    absent: float
    no_classes: float
    signs: tuple[str, ...]
    aligned: bool
    tame: bool = False


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


def draw_traits(random: np.random.Generator) -> Traits:
    """The traits of a world that a seed's generator gives."""
    kind = str(random.choice(["composite", "pair", "series"]))
    reducers = ["median", "mean", "min", "max", "first", "last", "least-cloudy"]
    bands = [("red", "nir"), ("red", "nir", "swir16"), ("nir",), ("swir16", "red")]
    drops = [SCL_DEFAULT, SCL_DEFAULT, (8, 9), (3, 8, 9, 10, 11), (0, 6), (0, 1, 2, 3, 7, 8, 9, 10)]
    masks = [(mask, share) for mask, share in (("auto", 0.55), ("scl", 0.25), ("none", 0.2))]
    return Traits(
        place=str(random.choice(list(PLACES), p=[0.6, 0.2, 0.2])),
        clock=str(random.choice(list(CLOCKS), p=[0.5, 0.25, 0.25])),
        shape=(int(random.integers(64, 161)), int(random.integers(64, 161))),
        kind=kind,
        reducer=str(random.choice(reducers)),
        n_steps={"composite": 1, "pair": 2, "series": int(random.integers(2, 4))}[kind],
        bands=bands[random.integers(len(bands))],
        fine_nir=bool(random.random() < 0.7),
        mask=str(random.choice([mask for mask, _ in masks], p=[share for _, share in masks])),
        drop=drops[random.integers(len(drops))],
        dilation=int(random.choice([0, 0, 30, 50])),
        n_passes=int(random.integers(1, 5)),
        n_scenes=int(random.integers(1, 4)),
        other_zone=float(random.choice([0.0, 0.4])),
        unnamed=bool(random.random() < 0.15),
        absent=float(random.choice([0.0, 0.15, 0.35])),
        no_classes=float(random.choice([0.0, 0.25])),
        signs=tuple(str(sign) for sign in random.choice(list(SIGNS), size=4)),
        aligned=bool(random.random() < 0.8),
    )


def tamed(traits: Traits, **oddity: Any) -> Traits:
    """The same without oddities but the one given: one scene a pass, one pass a day, all on the grid's own lattice."""
    plain: dict[str, Any] = {
        "place": "18 E", "clock": "morning", "n_scenes": 1, "other_zone": 0.0, "unnamed": False, "absent": 0.0,
        "no_classes": 0.0, "signs": ("header 0",), "aligned": True, "bands": ("red", "nir"), "fine_nir": True,
    }  # fmt: skip
    return replace(traits, **{**plain, "tame": True, **oddity})


def make_world(folder: Path, seed: int, oddity: Mapping[str, Any] | None = None) -> RandomWorld:
    """The world of a seed, its files under the folder; with an oddity, a tame one that has only this."""
    random = np.random.default_rng(seed)
    traits = draw_traits(random)
    traits = traits if oddity is None else tamed(traits, **oddity)
    ground = _ground(traits, random)
    folder.mkdir(parents=True)
    items = []
    for number, (moment, said) in enumerate(_moments(traits, random)):
        scenery = Scenery(
            bands=traits.bands, absent=traits.absent, no_classes=traits.no_classes, signs=traits.signs,
            fine_nir=traits.fine_nir, tame=traits.tame, shift=0.0 if traits.aligned else 3.0,
            zone=ground.other if random.random() < traits.other_zone else ground.crs,
        )  # fmt: skip
        items.append(write_scene(folder, _name(number, moment, said), moment, said, scenery, ground, random))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    card = _card(folder / "card", traits)
    return RandomWorld(
        seed=seed,
        traits=traits,
        plain=_job(folder, card, traits, ground),
        question=_question(items, traits, ground),
    )


def _ground(traits: Traits, random: np.random.Generator) -> Ground:
    """The grid: its corner on the lattice of 10 m, the border of the zones through it or near."""
    lon, lat, crs, other = PLACES[traits.place]
    to_grid = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_grid.transform(lon, lat)
    height, width = traits.shape
    left = round(x / 60) * 60 - int(random.integers(0, width)) * 10
    top = round(y / 60) * 60 + int(random.integers(0, height)) * 10
    return Ground(crs=crs, other=other, bounds=(left, top - height * 10, left + width * 10, top))


def _moments(traits: Traits, random: np.random.Generator) -> list[tuple[datetime, dict[str, Any]]]:
    """Moment and properties of every scene: passes on few days, each step with one as a rule."""
    found = []
    days = [(step, day) for step in range(traits.n_steps) for day in (10, 11, 30)]
    taken: dict[tuple[int, int], int] = {}
    for number in range(max(traits.n_passes, 1)):
        step = number if number < traits.n_steps and random.random() < 0.9 else int(random.integers(traits.n_steps))
        if traits.tame:
            free = [day for day in days if day[0] == step and day not in taken]
            if not free:
                continue
            when = free[0]
        else:
            when = days[step * 3 + int(random.integers(3))]
        order = taken[when] = taken.get(when, -1) + 1
        found += _one_pass(traits, when, number, order, random)
    return found


def _one_pass(
    traits: Traits, when: tuple[int, int], number: int, order: int, random: np.random.Generator
) -> list[tuple[datetime, dict[str, Any]]]:
    # Passes stand far apart where their order decides a pixel, and may interleave where it does not.
    apart = timedelta(minutes=100)
    if traits.reducer in {"median", "mean", "min", "max"} and random.random() < 0.4:
        apart = timedelta(minutes=int(random.choice([5, 29, 31])))
    clock = CLOCKS[traits.clock]
    if traits.clock == "local midnight":
        clock = timedelta(hours=11, minutes=55) if "180" in traits.place else timedelta(hours=22, minutes=40)
    moment = datetime(2023, MONTHS[when[0]], when[1], tzinfo=UTC) + clock + order * apart + timedelta(seconds=number)
    orbits = (22, 51) if traits.reducer not in {"first", "last", "least-cloudy"} else (22 + number,)
    said: dict[str, Any] = {
        "platform": f"sentinel-2{random.choice(['a', 'b'])}",
        "sat:relative_orbit": int(random.choice(orbits)),
        "eo:cloud_cover": float(5 + (number * 37) % 80),
    }
    if traits.unnamed:
        del said["platform"], said["sat:relative_orbit"]
    found = []
    for _ in range(int(random.integers(1, traits.n_scenes + 1))):
        found.append((moment, {**said, "eo:cloud_cover": said["eo:cloud_cover"] + float(random.integers(4))}))
        moment += timedelta(seconds=int(random.choice([0, 12, 29 * 60, 30 * 60])))
    return found


def _name(number: int, moment: datetime, said: Mapping[str, Any]) -> str:
    """An id that tells no more than the item's properties do."""
    if "platform" not in said:
        return f"scene-{number:02d}"
    return f"{said['platform'].replace('sentinel-', 'S').upper()}_33U{chr(65 + number % 24)}P_{moment:%Y%m%d}_{number}_L2A"


def _steps(traits: Traits) -> tuple[tuple[datetime, datetime], ...]:
    starts = [datetime(2023, month, 1, tzinfo=UTC) for month in (*MONTHS, MONTHS[-1] + 1)]
    instant = timedelta(microseconds=1)
    return tuple((starts[number], starts[number + 1] - instant) for number in range(traits.n_steps))


def _question(items: list[dict[str, Any]], traits: Traits, ground: Ground) -> Question:
    drops = {"none": frozenset(), "auto": frozenset(traits.drop), "scl": frozenset(traits.drop)}
    return Question(
        items=items,
        bands=traits.bands,
        steps=_steps(traits),
        every_step=traits.kind == "pair",
        reducer=traits.reducer,
        drop=drops[traits.mask],
        dilation=traits.dilation,
        crs=ground.crs,
        bounds=ground.bounds,
    )


def _job(folder: Path, card: Path, traits: Traits, ground: Ground) -> dict[str, Any]:
    period: Any = f"2023-06/2023-{5 + traits.n_steps:02d}"
    if traits.kind == "pair":
        period = {"before": "2023-06", "after": "2023-07"}
    masks: dict[str, Any] = {"kind": traits.mask, "drop": list(traits.drop), "dilation": traits.dilation}
    return {
        "name": "world",
        "area": around(ground.bounds, ground.crs, 60.0),
        "period": period,
        "source": str(folder / "items.json"),
        "model": str(card),
        "grid": {"crs": ground.crs, "bounds": list(ground.bounds)},
        "tile": {"block": 64},
        "mask": masks,
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
        "tw:dates": dates,
        "tw:missing": {"fill": FILL, "pad": "fill"},
    }
    layers = {"name": "y", "dims": ("batch", "channel", "height", "width"), "tw:layers": layer_names(traits)}
    return write_card(folder, model, inputs=[pixels], outputs=[layers])


def layer_names(traits: Traits) -> list[str]:
    """The card's layers: all bands of the first step, then of the second."""
    return [f"{band}_{step}" for step in range(traits.n_steps) for band in traits.bands]
