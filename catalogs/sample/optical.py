"""The simulated landscape as Sentinel-2 delivers it on one overpass: reflectances, DN and scene classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import Overpass, sun_position
from tilewright.catalogs.sample.clouds import Sky, build_sky, scene_classes
from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import Float, Mask, doubled, halved
from tilewright.catalogs.sample.landscape.surfaces import BANDS
from tilewright.catalogs.sample.reflectance import FINE_BANDS, ground_on

if TYPE_CHECKING:
    from tilewright.catalogs.sample.landscape.landscape import Landscape


# Per band of BANDS: reflectance of thick cloud, share of light in full shadow, reflectance of haze and of noise.
CLOUD = (0.62, 0.60, 0.60, 0.63, 0.46, 0.33)

SHADE = (0.50, 0.42, 0.37, 0.30, 0.26, 0.24)

HAZE = (0.0070, 0.0045, 0.0030, 0.0012, 0.0005, 0.0003)

NOISE = (0.0012, 0.0011, 0.0011, 0.0018, 0.0009, 0.0009)

# Rows computed at a time, an even number: the arrays of one strip stay in the processor's cache.
STRIP = 64

FULL, HALF = (HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalScene:
    """One overpass on the union grid: reflectance per band, (y, x) at 10 or 20 m, `scl` (y, x) at 20 m.

    `covered` is the mask of the swath, (y, x), by resolution in metres.
    """

    bands: dict[str, Float]
    scl: npt.NDArray[np.uint8]
    covered: dict[int, Mask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Atmosphere:
    """Clouds above the ground and their shadows, fields (y, x) at 10 or 20 m.

    `shadow` is 0-1, `transmittance` the share of the ground's light that passes the clouds (0-1), `brightness` the
    clouds' own light relative to CLOUD.
    """

    shadow: Float
    transmittance: Float
    brightness: Float

    @classmethod
    def of_sky(cls, sky: Sky, *, fine: bool = False) -> Atmosphere | None:
        """The atmosphere of a sky, at 10 m if `fine`, else at 20 m; None for a sky without clouds."""
        if not (sky.thick.any() or sky.thin.any()):
            return None
        thick = sky.thick * (0.72 + 0.38 * sky.thick + 0.55 * sky.light.clip(-0.6, 0.6)) * (1 - 0.3 * sky.thin)
        brightness = thick + 0.62 * sky.thin * (1 - sky.thick)
        fields = (sky.shadow, (1 - sky.thick) * (1 - sky.thin), brightness)
        shadow, transmittance, brightness = (doubled(field) for field in fields) if fine else fields
        return cls(shadow=shadow, transmittance=transmittance, brightness=brightness)


@dataclass(frozen=True, slots=True, kw_only=True)
class BandView:
    """The conditions of one band: its atmosphere, the residual `haze` (reflectance), the `gain` of the calibration."""

    band: str
    index: int
    atmosphere: Atmosphere | None
    haze: float
    gain: float

    def retrieved(self, ground: Float, rows: slice, noise: Float) -> Float:
        """Reflectance (y, x) as the processor retrieves it, of ground reflectance in `rows` of the band's own grid."""
        ground = ground * np.float32(self.gain)
        if self.atmosphere is not None:
            lit = 1 - np.float32(1 - SHADE[self.index]) * self.atmosphere.shadow[rows]
            ground *= lit * self.atmosphere.transmittance[rows]
            ground += np.float32(CLOUD[self.index]) * self.atmosphere.brightness[rows]
        start = 40 * self.index + rows.start
        out = ground * np.float32(0.004)
        out += np.float32(NOISE[self.index])
        out *= noise[start : start + ground.shape[0], : ground.shape[1]]
        out += ground
        out += np.float32(self.haze)
        # Level-2A of dark water stays just above zero; negative reflectance is rare.
        return np.asarray(np.maximum(out, np.float32(0.0006), out=out))


def simulate_overpass(landscape: Landscape, overpass: Overpass, *, seed: int, number: int) -> OpticalScene:
    """The scene of one overpass, the same for the same seed and number of the overpass."""
    rng = np.random.default_rng([seed, 2, number])
    sun = sun_position(overpass.time)
    sky = build_sky(rng, clouds=overpass.clouds, cirrus=overpass.cirrus, sun=sun)
    views = _views(sky, rng)
    # All bands share one field of noise, each from another row on: a third of the time, and no visible difference.
    noise = rng.standard_normal((HEIGHT + 40 * len(BANDS), WIDTH), dtype=np.float32)
    ground = ground_on(landscape, overpass.time.date(), sun)
    bands = {band: np.empty(FULL if band in FINE_BANDS else HALF, dtype=np.float32) for band in BANDS}
    water, vegetation = np.empty(HALF, dtype=bool), np.empty(HALF, dtype=bool)
    for rows in (slice(top, min(top + STRIP, HEIGHT)) for top in range(0, HEIGHT, STRIP)):
        half = slice(rows.start // 2, rows.stop // 2)
        strip = ground.reflectance(rows)
        water[half], vegetation[half] = _water_and_vegetation(strip)
        for view in views:
            band_rows = rows if view.band in FINE_BANDS else half
            bands[view.band][band_rows] = view.retrieved(strip[view.band], band_rows, noise)
    scl = scene_classes(rng, water, vegetation, sky)
    covered = _swath(overpass)
    fine_covered = np.repeat(np.repeat(covered, 2, axis=0), 2, axis=1)
    return OpticalScene(bands=bands, scl=scl, covered={20: covered, 10: fine_covered})


def digital_numbers(reflectance: Float, covered: Mask, *, offset: bool) -> npt.NDArray[np.uint16]:
    """DN (y, x) as Level-2A stores them: reflectance * 10000, plus 1000 if `offset`; 0 where not `covered`."""
    numbers = reflectance * np.float32(10_000)
    numbers += np.float32(1000.5 if offset else 0.5)
    np.clip(numbers, 1, 65_535, out=numbers)
    return np.asarray(numbers, dtype=np.uint16) * covered


def _views(sky: Sky, rng: np.random.Generator) -> list[BandView]:
    """One view per band of BANDS through the same atmosphere.

    Haze is one random number for all bands plus a smaller one per band; the gain is drawn per band.
    """
    coarse, fine = Atmosphere.of_sky(sky), Atmosphere.of_sky(sky, fine=True)
    haze = rng.normal(0, 0.6)
    return [
        BandView(
            band=band,
            index=index,
            atmosphere=fine if band in FINE_BANDS else coarse,
            haze=HAZE[index] * (haze + rng.normal(0, 0.12)),
            gain=1 + 0.006 * rng.normal(),
        )
        for index, band in enumerate(BANDS)
    ]


def _water_and_vegetation(strip: dict[str, Float]) -> tuple[Mask, Mask]:
    """Masks of water and of vegetation, each (y, x) at 20 m, from the ground's reflectance."""
    green, red, nir = (halved(strip[band]) for band in ("green", "red", "nir"))
    return green > nir, (nir - red) > 0.38 * (nir + red)


def _swath(overpass: Overpass) -> Mask:
    """Mask of the swath (y, x) at 20 m; the western edge of a descending overpass runs towards the south-west."""
    row, column = np.ogrid[: HEIGHT // 2, : WIDTH // 2]
    edge = swath_edge(row) if overpass.partial_swath else np.full(row.shape, -1.0)
    return np.asarray(column >= edge)


def swath_edge(row: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First column at 20 m that a partial swath covers in a row at 20 m."""
    return np.asarray(360.0 - 0.235 * row)
