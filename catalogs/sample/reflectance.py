"""What the simulated ground reflects under the sun of one day, before any air lies above it."""

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

# Share of the illumination difference between slopes that the processor's terrain correction leaves behind.
LEFT_RELIEF = 0.7

GRAIN = np.array([one.grain for one in SURFACES], dtype=np.float32)

MOTTLE = np.array([one.mottle for one in SURFACES], dtype=np.float32)

# Part of a pixel's light that the optics spread over each neighbour.
SPREAD = 0.085


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The ground of one day: `surface` (y, x) numbers, `palette` (band, surface then field) holds reflectance.

    `pull` is how much brighter a slope of 1 towards the east and towards the north becomes.
    """

    landscape: Landscape
    surface: npt.NDArray[np.uint8]
    palette: Float
    pull: tuple[float, float]

    def reflectance(self, rows: slice) -> dict[str, Float]:
        """Reflectance by band in rows of the union grid at 10 m, an even number: blue to nir at 10 m, swir at 20 m."""
        # The optics' blur needs a row on each side.
        outer = slice(max(rows.start - 1, 0), min(rows.stop + 1, HEIGHT))
        inner = slice(rows.start - outer.start, rows.stop - outer.start)
        surface = self.surface[outer]
        unit = np.where(surface == CROP, self.landscape.parcel[outer] + len(SURFACES), surface).astype(np.intp)
        relief = self._texture(outer) * self._light(outer)
        bands = {}
        for number, band in enumerate(BANDS):
            exact = self.palette[number].take(unit)
            exact *= relief
            bands[band] = blurred(exact, SPREAD)[inner] if band in FINE_BANDS else halved(exact[inner])
        return bands

    def _texture(self, rows: slice) -> Float:
        """Relative brightness (y, x) around 1, from pixel to pixel and from patch to patch."""
        surface = self.surface[rows]
        texture = GRAIN[surface] * self.landscape.fine[rows]
        texture += MOTTLE[surface] * self.landscape.coarse[rows]
        texture += 1
        return np.asarray(np.maximum(texture, np.float32(0.25), out=texture))

    def _light(self, rows: slice) -> Float:
        """Relative light (y, x) that slopes receive around 1, as far as the terrain correction left it."""
        east, north = self.pull
        light = self.landscape.terrain.east[rows] * np.float32(east)
        light += self.landscape.terrain.north[rows] * np.float32(north)
        light += 1
        return np.asarray(np.clip(light, 0.45, 1.6, out=light))


def ground_on(landscape: Landscape, day: date, sun: tuple[float, float]) -> Ground:
    """The ground on a day; `sun` is its elevation and azimuth in degrees."""
    elevation, azimuth = np.radians(sun)
    strength = LEFT_RELIEF / np.tan(elevation)
    fields = field_reflectance(landscape.fields, day, FIRST_YEAR)
    return Ground(
        landscape=landscape,
        surface=landscape.end if day >= CHANGE_DATE else landscape.start,
        palette=np.concatenate([_seasonal(day), fields]).T.copy(),
        pull=(float(-strength * np.sin(azimuth)), float(-strength * np.cos(azimuth))),
    )


def _seasonal(day: date) -> Float:
    """Reflectance (surface, band) on the day, between leafless winter and full summer."""
    leaf = np.interp(day.timetuple().tm_yday, [85, 130, 270, 315], [0, 1, 0.92, 0], period=365)
    summer = np.array([one.summer for one in SURFACES])
    winter = np.array([one.winter or one.summer for one in SURFACES])
    return np.asarray(winter + leaf * (summer - winter), dtype=np.float32)
