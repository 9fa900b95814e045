"""The overpasses of the simulated satellites: time, clouds, deliveries, radiometric state, position of the sun."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

# From this day on the reservoir is full, the forest is cut and the houses are built; before it none of the three is.
CHANGE_DATE = date(2022, 4, 1)

FIRST_YEAR = 2021

LATITUDE, LONGITUDE = 48.70, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One processing of a scene: `baseline`, and whether its DN carry ESA's +1000 (`offset_in_dn`).

    `applied` is the provider's flag earthsearch:boa_offset_applied, None if the item lacks it. `sequence` counts
    the deliveries of one scene; `granules` names the granules in this delivery, empty for all.
    """

    baseline: str
    offset_in_dn: bool
    applied: bool | None
    sequence: int = 0
    created: date
    granules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overpass:
    """One overpass of Sentinel-2: both granules in one datatake.

    `clouds` and `cirrus` are the shares of the sky (0-1) that thick and thin clouds cover; `partial_swath` is True if
    the swath ends inside the western granule; `old_projection` is True for items with proj:epsg.
    """

    platform: str
    time: datetime
    orbit: int
    clouds: float
    cirrus: float
    deliveries: tuple[Delivery, ...]
    partial_swath: bool = False
    old_projection: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarOverpass:
    """One overpass of Sentinel-1A; `water_db` is the backscatter of open water relative to its mean, in dB (wind)."""

    time: datetime
    orbit: int
    absolute_orbit: int
    state: str
    water_db: float


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _before_04(baseline: str, created: str, applied: bool | None = False) -> Delivery:
    return Delivery(baseline=baseline, offset_in_dn=False, applied=applied, created=date.fromisoformat(created))


def _since_04(baseline: str, created: str, *, applied: bool = False) -> Delivery:
    return Delivery(baseline=baseline, offset_in_dn=not applied, applied=applied, created=date.fromisoformat(created))


def _reprocessed(baseline: str, created: str, granule: str) -> Delivery:
    """A reprocessing of one granule, as in Sentinel-2 Collection 1."""
    return Delivery(
        baseline=baseline,
        offset_in_dn=True,
        applied=False,
        sequence=1,
        created=date.fromisoformat(created),
        granules=(granule,),
    )


# Days follow the real repeat cycle: orbit 122 every fifth day with S2A and S2B in turn, orbit 79 three days earlier.
OVERPASSES = (
    Overpass(
        platform="S2B",
        time=_utc("2021-04-18T10:06:01"),
        orbit=122,
        clouds=0.02,
        cirrus=0.0,
        deliveries=(_before_04("03.00", "2021-04-18", None),),
        old_projection=True,
    ),
    Overpass(
        platform="S2B",
        time=_utc("2021-06-17T10:05:59"),
        orbit=122,
        clouds=0.0,
        cirrus=0.0,
        deliveries=(_before_04("03.00", "2021-06-17"), _reprocessed("05.00", "2023-02-03", "33UVP")),
        old_projection=True,
    ),
    Overpass(
        platform="S2A",
        time=_utc("2021-06-29T09:56:03"),
        orbit=79,
        clouds=0.17,
        cirrus=0.03,
        deliveries=(_before_04("03.00", "2021-06-29"),),
        partial_swath=True,
    ),
    Overpass(
        platform="S2A",
        time=_utc("2021-07-22T10:06:04"),
        orbit=122,
        clouds=0.025,
        cirrus=0.0,
        deliveries=(_before_04("03.01", "2021-07-22"),),
    ),
    Overpass(
        platform="S2B",
        time=_utc("2022-02-22T10:05:57"),
        orbit=122,
        clouds=0.68,
        cirrus=0.12,
        deliveries=(_since_04("04.00", "2022-02-22"),),
    ),
    Overpass(
        platform="S2A",
        time=_utc("2022-06-17T10:06:09"),
        orbit=122,
        clouds=0.004,
        cirrus=0.0,
        deliveries=(_since_04("04.00", "2022-06-17"),),
    ),
    Overpass(
        platform="S2B",
        time=_utc("2022-06-29T09:56:02"),
        orbit=79,
        clouds=0.14,
        cirrus=0.04,
        deliveries=(_since_04("04.00", "2022-06-29", applied=True), _reprocessed("05.10", "2024-01-19", "33UWP")),
        partial_swath=True,
    ),
    Overpass(
        platform="S2B",
        time=_utc("2022-07-22T10:06:07"),
        orbit=122,
        clouds=0.025,
        cirrus=0.0,
        deliveries=(_since_04("04.00", "2022-07-22"),),
    ),
    Overpass(
        platform="S2A",
        time=_utc("2023-03-04T10:06:02"),
        orbit=122,
        clouds=0.08,
        cirrus=0.03,
        deliveries=(_since_04("05.09", "2023-03-04", applied=True),),
    ),
)

# Twelve days apart on each of two relative orbits.
RADAR_OVERPASSES = (
    RadarOverpass(time=_utc("2021-06-16T16:50:21"), orbit=73, absolute_orbit=38369, state="ascending", water_db=0.0),
    RadarOverpass(time=_utc("2021-06-19T05:10:07"), orbit=22, absolute_orbit=38406, state="descending", water_db=1.2),
    RadarOverpass(time=_utc("2021-06-28T16:50:22"), orbit=73, absolute_orbit=38544, state="ascending", water_db=3.1),
    RadarOverpass(time=_utc("2022-06-11T16:50:28"), orbit=73, absolute_orbit=43619, state="ascending", water_db=0.6),
    RadarOverpass(time=_utc("2022-06-23T16:50:29"), orbit=73, absolute_orbit=43794, state="ascending", water_db=1.9),
    RadarOverpass(time=_utc("2022-06-26T05:10:15"), orbit=22, absolute_orbit=43831, state="descending", water_db=2.4),
)


def sun_position(time: datetime) -> tuple[float, float]:
    """Elevation and azimuth (clockwise from north) of the sun over the sample in degrees.

    Source: Spencer 1971, Fourier series of declination and equation of time; good to about 0.3 degrees.
    """
    year_angle = 2 * np.pi * (time.timetuple().tm_yday - 1 + time.hour / 24) / 365
    declination = (
        0.006918
        - 0.399912 * np.cos(year_angle)
        + 0.070257 * np.sin(year_angle)
        - 0.006758 * np.cos(2 * year_angle)
        + 0.000907 * np.sin(2 * year_angle)
    )
    minutes = 229.18 * (
        0.000075
        + 0.001868 * np.cos(year_angle)
        - 0.032077 * np.sin(year_angle)
        - 0.014615 * np.cos(2 * year_angle)
        - 0.040849 * np.sin(2 * year_angle)
    )
    hour = time.hour + time.minute / 60 + LONGITUDE / 15 + minutes / 60
    angle, latitude = np.radians(15 * (hour - 12)), np.radians(LATITUDE)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(angle)
    east = -np.cos(declination) * np.sin(angle)
    return float(np.degrees(np.arcsin(up))), float(np.degrees(np.arctan2(east, north)) % 360)
