"""The kinds of work of the race: which sensors, bands and dates each takes, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OPTICS, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
LEFT, TOP, PIXEL, CRS = 399_360.0, 5_401_600.0, 10, "EPSG:32633"
FINE = ("blue", "green", "red", "nir")
COARSE = ("swir16", "swir22", "scl", "vv", "vh")
"""Bands of 20 m; all others have 10 m."""
DROPPED = (0, 1, 3, 8, 9, 10)
"""Scene classes that are not used: Tilewright's default."""
NODATA = 255
JUNE = ("2021-06-05", "2021-06-15", "2021-06-25")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What one input of a model takes: bands of one collection, composited for each step of its dates.

    Values are brought to (value - mean) / stddev, in reflectance or dB; missing ones are given as the mean.
    """

    name: str = "x"
    collection: str = OPTICS
    bands: tuple[str, ...] = FINE
    steps: tuple[tuple[str, ...], ...] = (JUNE,)
    masked: bool = True
    mean: float = 0.15
    stddev: float = 0.08

    @property
    def dates(self) -> list[str]:
        return [date for step in self.steps for date in step]

    @property
    def read(self) -> tuple[str, ...]:
        """The bands that are read, scene classes last."""
        return (*self.bands, "scl") if self.masked else self.bands

    @property
    def n_channels(self) -> int:
        return len(self.steps) * len(self.bands)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A job: its sensors, its period as Tilewright has it, and the pixels that its model sees to each side.

    ``halo`` is a multiple of the model's stride; 0 stands for a model that takes each pixel as a row.
    """

    name: str
    sensors: tuple[Sensor, ...]
    period: str | dict[str, str]
    dates: dict[str, object]
    halo: int = 32
    n_classes: int = 3


JUNE_ONLY = {"period": "2021-06-01/2021-06-30", "dates": {"kind": "composite"}}
SUMMER = (("2021-06-05", "2021-06-25"), ("2021-07-05", "2021-07-15", "2021-07-25"), ("2021-08-05", "2021-08-25"))
YEAR = tuple(tuple(f"2021-{month:02}-{day:02}" for day in (5, 15, 25)) for month in range(1, 13))
BOTH = (JUNE, tuple(date.replace("2021", "2022") for date in JUNE))
LIGHT = Sensor(name="optical")
ECHOES = Sensor(
    name="radar", collection=RADAR, bands=("vv", "vh"), steps=(("2021-06-10", "2021-06-22"),),
    masked=False, mean=-12, stddev=4,
)  # fmt: skip

KINDS = {
    each.name: each
    for each in (
        Kind(name="single", sensors=(Sensor(masked=False),), **JUNE_ONLY),
        Kind(name="trained", sensors=(Sensor(masked=False),), **JUNE_ONLY),
        Kind(
            name="series3",
            sensors=(Sensor(steps=SUMMER),),
            period="2021-06-01/2021-08-31",
            dates={"kind": "series", "steps": 3, "every": "month"},
        ),
        Kind(
            name="series12",
            sensors=(Sensor(steps=YEAR),),
            period="2021-01-01/2021-12-31",
            dates={"kind": "series", "steps": 12, "every": "month"},
            halo=4,
        ),
        Kind(
            name="pair",
            sensors=(Sensor(steps=BOTH),),
            period={"before": "2021-06-01/2021-06-30", "after": "2022-06-01/2022-06-30"},
            dates={"kind": "pair"},
        ),
        Kind(name="sensors", sensors=(LIGHT, ECHOES), **JUNE_ONLY),
        Kind(name="forest", sensors=(Sensor(bands=(*FINE, "swir16", "swir22")),), halo=0, n_classes=5, **JUNE_ONLY),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The files of the race at one size: a square of ``side`` pixels of 10 m, in the folder of that size."""

    folder: Path
    side: int

    def raster(self, date: str, band: str) -> Path:
        return self.folder / "scenes" / f"{date}-{band}.tif"

    def card(self, kind: Kind) -> Path:
        return self.folder / kind.name / "card"

    def job(self, kind: Kind) -> Path:
        return self.folder / kind.name / "job.yaml"

    def map(self, kind: Kind, way: str) -> Path:
        return self.folder / kind.name / f"{way}.tif"
