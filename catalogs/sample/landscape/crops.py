"""The crops on the simulated fields: their growth by day of year, and the reflectance of each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from datetime import date

    from tilewright.catalogs.sample.landscape.noise import Float


# Reflectance of green plants, ripe plants, bare soil and flowering plants, in the order of `BANDS`.
GREEN = np.array([0.024, 0.058, 0.027, 0.460, 0.200, 0.090], dtype=np.float32)

RIPE = np.array([0.092, 0.135, 0.168, 0.320, 0.330, 0.230], dtype=np.float32)

SOIL = np.array([0.108, 0.142, 0.172, 0.250, 0.330, 0.285], dtype=np.float32)

FLOWER = np.array([0.045, 0.140, 0.115, 0.470, 0.210, 0.100], dtype=np.float32)

Calendar = tuple[tuple[int, float], ...]
"""(day of year, share 0-1) points of a curve over the year, linear between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """The year of a crop: shares of the ground (0-1) by day of year that are green and ripe, and of flowers on green.

    `share` is the relative number of fields that bear the crop.
    """

    name: str
    share: float
    green: Calendar
    ripe: Calendar
    flower: Calendar = ((1, 0.0),)


CROPS = (
    Crop(
        name="winter wheat",
        share=0.28,
        green=(
            (1, 0.25),
            (80, 0.45),
            (120, 0.9),
            (158, 0.92),
            (172, 0.62),
            (190, 0.12),
            (200, 0.0),
            (290, 0.0),
            (340, 0.2),
        ),
        ripe=((1, 0.0), (158, 0.05), (190, 0.85), (206, 0.85), (214, 0.35), (250, 0.15), (265, 0.0)),
    ),
    Crop(
        name="winter barley",
        share=0.12,
        green=((1, 0.35), (80, 0.55), (115, 0.92), (143, 0.85), (160, 0.3), (172, 0.02), (285, 0.0), (340, 0.3)),
        ripe=((1, 0.0), (143, 0.1), (166, 0.9), (184, 0.9), (193, 0.35), (240, 0.1), (255, 0.0)),
    ),
    Crop(
        name="rapeseed",
        share=0.10,
        green=(
            (1, 0.45),
            (75, 0.6),
            (105, 0.92),
            (150, 0.9),
            (168, 0.72),
            (188, 0.2),
            (205, 0.0),
            (245, 0.05),
            (340, 0.45),
        ),
        ripe=((1, 0.0), (155, 0.0), (190, 0.6), (208, 0.5), (215, 0.25), (240, 0.0)),
        flower=((1, 0.0), (106, 0.0), (116, 0.85), (130, 0.8), (142, 0.0)),
    ),
    Crop(
        name="maize",
        share=0.22,
        green=((1, 0.0), (145, 0.02), (165, 0.08), (182, 0.4), (198, 0.88), (240, 0.9), (262, 0.5), (280, 0.0)),
        ripe=((1, 0.05), (110, 0.0), (245, 0.05), (270, 0.4), (282, 0.3), (330, 0.15)),
    ),
    Crop(
        name="sugar beet",
        share=0.10,
        green=((1, 0.0), (125, 0.05), (150, 0.35), (170, 0.75), (190, 0.93), (270, 0.9), (290, 0.6), (305, 0.0)),
        ripe=((1, 0.0),),
    ),
    Crop(
        name="potato",
        share=0.06,
        green=((1, 0.0), (145, 0.05), (170, 0.65), (190, 0.9), (225, 0.5), (245, 0.0)),
        ripe=((1, 0.0), (215, 0.0), (240, 0.3), (255, 0.0)),
    ),
    Crop(
        name="clover",
        share=0.12,
        green=((1, 0.45), (90, 0.6), (130, 0.9), (150, 0.85), (175, 0.8), (200, 0.85), (260, 0.8), (320, 0.5)),
        ripe=((1, 0.1), (100, 0.05), (150, 0.05), (320, 0.1)),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Values per parcel: `crop` index and `delay` in days, (year, parcel); soil brightness and `vigour`, (parcel)."""

    crop: npt.NDArray[np.int64]
    delay: Float
    soil: Float
    vigour: Float


def build_fields(rng: np.random.Generator, n_parcels: int, years: int) -> Fields:
    """The values of `n_parcels` parcels over `years` years.

    Nearly all parcels bear the same crop every year: true rotation would make every field a change.
    """
    shares = np.array([crop.share for crop in CROPS])
    crop = np.repeat(rng.choice(len(CROPS), n_parcels, p=shares / shares.sum())[None], years, axis=0)
    rotates = rng.random((years, n_parcels)) < 0.012
    crop = np.where(rotates, rng.integers(0, len(CROPS), (years, n_parcels)), crop)
    habit = rng.normal(0, 4, n_parcels)
    delay = habit + rng.normal(0, 1.5, (years, n_parcels)) + rng.normal(0, 1.0, (years, 1))
    return Fields(
        crop=crop,
        delay=delay.astype(np.float32),
        soil=rng.normal(1, 0.19, n_parcels).clip(0.55, 1.4).astype(np.float32),
        vigour=rng.normal(0.95, 0.09, n_parcels).clip(0.6, 1).astype(np.float32),
    )


def field_reflectance(fields: Fields, day: date, first_year: int) -> Float:
    """Reflectance (parcel, band) of every field on the day; bands in the order of `BANDS`."""
    year = min(max(day.year - first_year, 0), len(fields.crop) - 1)
    crop, local_day = fields.crop[year], day.timetuple().tm_yday - fields.delay[year]
    green, ripe, flower = (np.zeros(len(crop), dtype=np.float32) for _ in range(3))
    for index, kind in enumerate(CROPS):
        of_kind = crop == index
        green[of_kind] = _interpolated(kind.green, local_day[of_kind])
        ripe[of_kind] = _interpolated(kind.ripe, local_day[of_kind])
        flower[of_kind] = _interpolated(kind.flower, local_day[of_kind])
    green *= fields.vigour
    leaf = GREEN + flower[:, None] * (FLOWER - GREEN)
    bare = np.maximum(1 - green - ripe, 0) * fields.soil
    return np.asarray(green[:, None] * leaf + ripe[:, None] * RIPE + bare[:, None] * SOIL, dtype=np.float32)


def field_cover(fields: Fields, day: date, first_year: int) -> Float:
    """Share (parcel, 0-1) of the ground that plants cover on the day, derived from NDVI."""
    reflectance = field_reflectance(fields, day, first_year)
    ndvi = (reflectance[:, 3] - reflectance[:, 2]) / (reflectance[:, 3] + reflectance[:, 2])
    return np.asarray(np.clip((ndvi - 0.18) / 0.67, 0, 1), dtype=np.float32)


def _interpolated(calendar: Calendar, day: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    days, shares = zip(*calendar, strict=True)
    return np.interp(day, days, shares, period=365) if len(days) > 1 else np.full(len(day), shares[0])
