"""What Sentinel-1 would deliver of the simulated landscape, terrain corrected: gamma0 in linear power with speckle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import CHANGE_DATE, FIRST_YEAR, RadarPass
from tilewright.catalogs.sample.landscape.crops import field_cover
from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.surfaces import CROP, SURFACES

if TYPE_CHECKING:
    from tilewright.catalogs.sample.landscape.landscape import Landscape
    from tilewright.catalogs.sample.landscape.noise import Float, Mask


POLARISATIONS = ("vv", "vh")

RADAR_NODATA = -32768.0

# Equivalent number of looks of IW GRDH. Source: Sentinel-1 Product Definition (S1-RS-MDA-52-7440), GRD products.
LOOKS = 4.4


def simulate_radar(landscape: Landscape, flight: RadarPass, *, seed: int, number: int) -> dict[str, Float]:
    """gamma0 per polarisation, float32 (y, x) on the union grid at 10 m, linear, RADAR_NODATA beside the swath."""
    rng = np.random.default_rng([seed, 3, number])
    day = flight.time.date()
    surface = landscape.end if day >= CHANGE_DATE else landscape.start
    unit = np.where(surface == CROP, landscape.parcel + len(SURFACES), surface)
    plants = field_cover(landscape.fields, day, FIRST_YEAR)
    rough = landscape.fields.soil
    look = -1.0 if flight.state == "ascending" else 1.0
    # What terrain correction leaves on slopes that face the radar.
    slope = np.clip(1 + look * 0.6 * landscape.terrain.east, 0.6, 1.5)
    seen = _swath(flight)
    return {
        "vv": _speckled(_palette("vv", flight, -13.6 + 3.0 * plants + 3 * (rough - 1))[unit] * slope, seen, rng),
        "vh": _speckled(_palette("vh", flight, -22.0 + 5.0 * plants + 3 * (rough - 1))[unit] * slope, seen, rng),
    }


def _palette(name: str, flight: RadarPass, fields: npt.NDArray[np.floating]) -> Float:
    """gamma0 in linear power of each surface, then of each field."""
    level = np.array([getattr(one, name) + (flight.water if one.cover == 1 else 0) for one in SURFACES])
    return np.asarray(10 ** (np.concatenate([level, fields]) / 10), dtype=np.float32)


def _speckled(mean: Float, seen: Mask, rng: np.random.Generator) -> Float:
    """The mean backscatter (y, x) times gamma-distributed speckle of mean 1."""
    power = rng.standard_gamma(LOOKS, size=mean.shape, dtype=np.float32)
    power *= mean
    power /= np.float32(LOOKS)
    return np.where(seen, _rounded(power), np.float32(RADAR_NODATA))


def _rounded(power: Float) -> Float:
    """The numbers to 11 significant bits, a hundredth of the speckle, so that they compress."""
    bits = power.view(np.uint32) + np.uint32(0x800)
    return (bits & np.uint32(0xFFFFF000)).view(np.float32)


def _swath(flight: RadarPass) -> Mask:
    """Where the scene reaches (y, x) at 10 m: a descending one ends in the north-eastern corner."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    reach = radar_edge(row) if flight.state == "descending" else np.full(row.shape, float(WIDTH))
    return np.asarray(column < reach)


def radar_edge(row: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First column at 10 m beyond a descending scene in a row at 10 m."""
    return np.asarray(1990.0 + 0.21 * row)
