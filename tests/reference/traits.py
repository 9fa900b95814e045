"""What kind of world a seed is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from tests.reference.rasters import SIGNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point on the border of two zones, and the grid there: by default in the first zone, of the card's pixels."""

    lon: float
    lat: float
    zones: tuple[str, str]
    grid: str = ""
    size: float = 0.0


PLACES = {
    "18 E": Place(lon=18.0, lat=48.0, zones=("EPSG:32633", "EPSG:32634")),
    "180, south": Place(lon=180.0, lat=-17.0, zones=("EPSG:32760", "EPSG:32701")),
    "180, north": Place(lon=-180.0, lat=52.0, zones=("EPSG:32601", "EPSG:32660")),
    "18 E, equal area": Place(lon=18.0, lat=48.0, zones=("EPSG:32633", "EPSG:32634"), grid="EPSG:3035"),
    "18 E, degrees": Place(lon=18.0, lat=48.0, zones=("EPSG:32633", "EPSG:32634"), grid="EPSG:4326", size=0.0001),
}

CLOCKS = {
    "morning": timedelta(hours=10),
    "midnight": timedelta(hours=23, minutes=50),
    "local midnight": timedelta(0),
    "edge": timedelta(0),
}
"""When a day's first pass begins; at local midnight by the place, at the edge in a month's first moment."""

MASKS = {"auto": 0.45, "scl": 0.2, "rule": 0.1, "probability": 0.1, "none": 0.15}
DROPS = ((0, 1, 3, 8, 9, 10), (0, 1, 3, 8, 9, 10), (8, 9), (3, 8, 9, 10, 11), (0, 6), (0, 1, 2, 3, 7, 8, 9, 10))
BANDS = (("red", "nir"), ("red", "nir", "swir16"), ("nir",), ("swir16", "red"))
ORDERED = ("first", "last", "least-cloudy")
UNORDERED = ("median", "mean", "min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What kind of world it is; shares are those of scenes."""

    place: str
    clock: str
    shape: tuple[int, int]
    resolution: int
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
    n_intervals: int
    other_zone: float
    unnamed: bool
    absent: float
    no_mask: float
    signs: tuple[str, ...]
    aligned: bool
    overviews: bool
    tame: bool = False


def draw_traits(random: np.random.Generator) -> Traits:
    """The traits of a world that a seed's generator gives."""
    kind = str(random.choice(["composite", "pair", "series"]))
    resolution = int(random.choice([10, 30], p=[0.9, 0.1]))
    reducer = str(random.choice([*UNORDERED, *ORDERED]))
    return Traits(
        place=str(random.choice(list(PLACES), p=[0.55, 0.15, 0.15, 0.1, 0.05])),
        clock=str(random.choice(list(CLOCKS), p=[0.4, 0.25, 0.2, 0.15])),
        shape=(int(random.integers(64, 161 - resolution * 2)), int(random.integers(64, 161 - resolution * 2))),
        resolution=resolution,
        kind=kind,
        reducer=reducer,
        n_steps={"composite": 1, "pair": 2, "series": int(random.integers(2, 4))}[kind],
        bands=BANDS[random.integers(len(BANDS))],
        fine_nir=bool(random.random() < 0.7),
        mask=str(random.choice(list(MASKS), p=list(MASKS.values()))),
        drop=DROPS[random.integers(len(DROPS))],
        dilation=int(random.choice([0, 0, 25, 30, 50])),
        n_passes=int(random.integers(1, 5)),
        n_scenes=int(random.integers(1, 4)),
        n_intervals=int(random.random() < 0.15 and reducer in UNORDERED),
        other_zone=float(random.choice([0.0, 0.4])),
        unnamed=bool(random.random() < 0.15 and reducer in UNORDERED),
        absent=float(random.choice([0.0, 0.15, 0.35])),
        no_mask=float(random.choice([0.0, 0.25])),
        signs=tuple(str(sign) for sign in random.choice(list(SIGNS), size=4)),
        aligned=bool(random.random() < 0.8),
        overviews=bool(random.random() < 0.3),
    )


def tamed(traits: Traits, **oddity: Any) -> Traits:
    """The same without oddities but the one given: one scene a pass, one pass a day, all on the grid's own lattice."""
    plain: dict[str, Any] = {
        "place": "18 E", "clock": "morning", "resolution": 10, "n_scenes": 1, "n_intervals": 0, "other_zone": 0.0,
        "unnamed": False, "absent": 0.0, "no_mask": 0.0, "signs": ("header 0",), "aligned": True, "overviews": False,
        "bands": ("red", "nir"), "fine_nir": True, "mask": "auto",
    }  # fmt: skip
    return replace(traits, **{**plain, "tame": True, **oddity})
