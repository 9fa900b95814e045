"""The simulated landscape as Sentinel-1 delivers it, terrain corrected: gamma0 in linear power with speckle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import CHANGE_DATE, FIRST_YEAR, RadarOverpass
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


def simulate_radar(landscape: Landscape, overpass: RadarOverpass, *, seed: int, number: int) -> dict[str, Float]:
    """gamma0 per polarisation, float32 (y, x) on the union grid at 10 m, linear power; RADAR_NODATA off the swath."""
    rng = np.random.default_rng([seed, 3, number])
    day = overpass.time.date()
    surface = landscape.end if day >= CHANGE_DATE else landscape.start
    palette_index = np.where(surface == CROP, landscape.parcel + len(SURFACES), surface)
    plant_cover = field_cover(landscape.fields, day, FIRST_YEAR)
    roughness = landscape.fields.soil
    look_direction = -1.0 if overpass.state == "ascending" else 1.0
    # Slopes that face the radar stay brighter after terrain correction.
    slope_gain = np.clip(1 + look_direction * 0.6 * landscape.terrain.east, 0.6, 1.5)
    covered = _swath(overpass)
    vv = _palette("vv", overpass, -13.6 + 3.0 * plant_cover + 3 * (roughness - 1))
    vh = _palette("vh", overpass, -22.0 + 5.0 * plant_cover + 3 * (roughness - 1))
    return {
        "vv": _speckled(vv[palette_index] * slope_gain, covered, rng),
        "vh": _speckled(vh[palette_index] * slope_gain, covered, rng),
    }


def _palette(name: str, overpass: RadarOverpass, fields: npt.NDArray[np.floating]) -> Float:
    """gamma0 in linear power of each surface, then of each field; `fields` is in dB."""
    level = np.array(
        [getattr(surface, name) + (overpass.water_db if surface.cover == 1 else 0) for surface in SURFACES]
    )
    return np.asarray(10 ** (np.concatenate([level, fields]) / 10), dtype=np.float32)


def _speckled(mean: Float, covered: Mask, rng: np.random.Generator) -> Float:
    """The mean backscatter (y, x) times gamma-distributed speckle of mean 1, RADAR_NODATA where not `covered`."""
    power = rng.standard_gamma(LOOKS, size=mean.shape, dtype=np.float32)
    power *= mean
    power /= np.float32(LOOKS)
    return np.where(covered, _rounded(power), np.float32(RADAR_NODATA))


def _rounded(power: Float) -> Float:
    """The values rounded to 11 significant bits, a hundredth of the speckle, so that they compress."""
    bits = power.view(np.uint32) + np.uint32(0x800)
    return (bits & np.uint32(0xFFFFF000)).view(np.float32)


def _swath(overpass: RadarOverpass) -> Mask:
    """Mask of the swath (y, x) at 10 m: that of a descending overpass ends in the north-eastern corner."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    edge = radar_edge(row) if overpass.state == "descending" else np.full(row.shape, float(WIDTH))
    return np.asarray(column < edge)


def radar_edge(row: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First column at 10 m outside the swath of a descending overpass, in a row at 10 m."""
    return np.asarray(1990.0 + 0.21 * row)
