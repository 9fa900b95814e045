"""Reflectance of the simulated ground under the sun of one day, without the atmosphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import CHANGE_DATE, FIRST_YEAR
from tilewright.catalogs.sample.landscape.crops import field_reflectance
from tilewright.catalogs.sample.landscape.grid import HEIGHT
from tilewright.catalogs.sample.landscape.noise import Float, blurred, halved
from tilewright.catalogs.sample.landscape.surfaces import BANDS, CROP, SURFACES

if TYPE_CHECKING:
    from datetime import date

    from tilewright.catalogs.sample.landscape.landscape import Landscape


FINE_BANDS = ("blue", "green", "red", "nir")

# Share of the illumination difference between slopes that the processor's terrain correction does not remove.
RESIDUAL_RELIEF = 0.7

GRAIN = np.array([surface.grain for surface in SURFACES], dtype=np.float32)

MOTTLE = np.array([surface.mottle for surface in SURFACES], dtype=np.float32)

# Share of a pixel's light that the optics spread to each neighbour.
SPREAD = 0.085


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The ground on one day.

    `surface` (y, x) holds indices into SURFACES; `palette` (band, surfaces then fields) holds reflectance.
    `slope_gain` is the relative gain in brightness of a slope of 1 towards the east, and of one towards the north.
    """

    landscape: Landscape
    surface: npt.NDArray[np.uint8]
    palette: Float
    slope_gain: tuple[float, float]

    def reflectance(self, rows: slice) -> dict[str, Float]:
        """Reflectance by band in rows of the union grid at 10 m, an even number: blue to nir at 10 m, swir at 20 m."""
        # The optics' blur needs a row on each side.
        outer = slice(max(rows.start - 1, 0), min(rows.stop + 1, HEIGHT))
        inner = slice(rows.start - outer.start, rows.stop - outer.start)
        surface = self.surface[outer]
        palette_index = np.where(surface == CROP, self.landscape.parcel[outer] + len(SURFACES), surface).astype(np.intp)
        relief = self._texture(outer) * self._illumination(outer)
        bands = {}
        for index, band in enumerate(BANDS):
            reflected = self.palette[index].take(palette_index)
            reflected *= relief
            bands[band] = blurred(reflected, SPREAD)[inner] if band in FINE_BANDS else halved(reflected[inner])
        return bands

    def _texture(self, rows: slice) -> Float:
        """Relative brightness (y, x) around 1, from pixel to pixel and from patch to patch."""
        surface = self.surface[rows]
        texture = GRAIN[surface] * self.landscape.fine_texture[rows]
        texture += MOTTLE[surface] * self.landscape.coarse_texture[rows]
        texture += 1
        return np.asarray(np.maximum(texture, np.float32(0.25), out=texture))

    def _illumination(self, rows: slice) -> Float:
        """Relative illumination (y, x) of slopes around 1 that remains after the terrain correction."""
        east, north = self.slope_gain
        illumination = self.landscape.terrain.east[rows] * np.float32(east)
        illumination += self.landscape.terrain.north[rows] * np.float32(north)
        illumination += 1
        return np.asarray(np.clip(illumination, 0.45, 1.6, out=illumination))


def ground_on(landscape: Landscape, day: date, sun: tuple[float, float]) -> Ground:
    """The ground on a day; `sun` is the sun's elevation and azimuth in degrees."""
    elevation, azimuth = np.radians(sun)
    strength = RESIDUAL_RELIEF / np.tan(elevation)
    fields = field_reflectance(landscape.fields, day, FIRST_YEAR)
    return Ground(
        landscape=landscape,
        surface=landscape.end if day >= CHANGE_DATE else landscape.start,
        palette=np.concatenate([_seasonal(day), fields]).T.copy(),
        slope_gain=(float(-strength * np.sin(azimuth)), float(-strength * np.cos(azimuth))),
    )


def _seasonal(day: date) -> Float:
    """Reflectance (surface, band) on the day, interpolated between leafless winter and full summer."""
    leaf = np.interp(day.timetuple().tm_yday, [85, 130, 270, 315], [0, 1, 0.92, 0], period=365)
    summer = np.array([surface.summer for surface in SURFACES])
    winter = np.array([surface.winter or surface.summer for surface in SURFACES])
    return np.asarray(winter + leaf * (summer - winter), dtype=np.float32)
