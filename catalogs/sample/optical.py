"""What Sentinel-2 would deliver of the simulated landscape on one pass: reflectances, then DN, and scene classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import Pass, sun_position
from tilewright.catalogs.sample.clouds import Sky, build_sky, scene_classes
from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import Float, Mask, doubled, halved
from tilewright.catalogs.sample.landscape.surfaces import BANDS
from tilewright.catalogs.sample.reflectance import FINE_BANDS, ground_on

if TYPE_CHECKING:
    from tilewright.catalogs.sample.landscape.landscape import Landscape


# Per band of BANDS: reflectance of thick cloud, share a full shadow leaves, reflectance of haze and of noise.
CLOUD = (0.62, 0.60, 0.60, 0.63, 0.46, 0.33)

SHADE = (0.50, 0.42, 0.37, 0.30, 0.26, 0.24)

HAZE = (0.0070, 0.0045, 0.0030, 0.0012, 0.0005, 0.0003)

NOISE = (0.0012, 0.0011, 0.0011, 0.0018, 0.0009, 0.0009)

# Rows worked on at a time, an even number: the arrays of one strip stay in the processor's cache.
STRIP = 64

FULL, HALF = (HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalScene:
    """One pass over the union: reflectance per band, (y, x) at 10 or 20 m, `scl` (y, x) at 20 m.

    `seen` says where the swath reaches, (y, x) by resolution in metres.
    """

    bands: dict[str, Float]
    scl: npt.NDArray[np.uint8]
    seen: dict[int, Mask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """What lies above the ground, fields (y, x) at 10 or 20 m.

    `shadow` (0-1), share of the ground that is `clear` to the eye, the clouds' own `glow` relative to CLOUD.
    """

    shadow: Float
    clear: Float
    glow: Float

    @classmethod
    def under(cls, sky: Sky, *, fine: bool = False) -> Air | None:
        """The air under a sky, at 10 m if `fine`, else at 20 m; None under an empty sky."""
        if not (sky.thick.any() or sky.thin.any()):
            return None
        thick = sky.thick * (0.72 + 0.38 * sky.thick + 0.55 * sky.light.clip(-0.6, 0.6)) * (1 - 0.3 * sky.thin)
        glow = thick + 0.62 * sky.thin * (1 - sky.thick)
        fields = (sky.shadow, (1 - sky.thick) * (1 - sky.thin), glow)
        shadow, clear, glow = (doubled(field) for field in fields) if fine else fields
        return cls(shadow=shadow, clear=clear, glow=glow)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one band sees the ground: through which air, `haze` left over (reflectance), `gain` of the calibration."""

    band: str
    index: int
    air: Air | None
    haze: float
    gain: float

    def through(self, ground: Float, rows: slice, noise: Float) -> Float:
        """Reflectance (y, x) as the processor retrieves it of the ground in these rows of the band's own grid."""
        ground = ground * np.float32(self.gain)
        if self.air is not None:
            ground *= (1 - np.float32(1 - SHADE[self.index]) * self.air.shadow[rows]) * self.air.clear[rows]
            ground += np.float32(CLOUD[self.index]) * self.air.glow[rows]
        start = 40 * self.index + rows.start
        out = ground * np.float32(0.004)
        out += np.float32(NOISE[self.index])
        out *= noise[start : start + ground.shape[0], : ground.shape[1]]
        out += ground
        out += np.float32(self.haze)
        # Level-2A of dark water stays just above zero; negative reflectance is rare.
        return np.asarray(np.maximum(out, np.float32(0.0006), out=out))


def simulate_pass(landscape: Landscape, flight: Pass, *, seed: int, number: int) -> OpticalScene:
    """The scene of one pass, the same for the same seed and number of the pass."""
    rng = np.random.default_rng([seed, 2, number])
    sun = sun_position(flight.time)
    sky = build_sky(rng, clouds=flight.clouds, cirrus=flight.cirrus, sun=sun)
    views = _views(sky, rng)
    # One field of noise serves all bands, each from another row on: a third of the time, and nothing shows it.
    noise = rng.standard_normal((HEIGHT + 40 * len(BANDS), WIDTH), dtype=np.float32)
    ground = ground_on(landscape, flight.time.date(), sun)
    bands = {band: np.empty(FULL if band in FINE_BANDS else HALF, dtype=np.float32) for band in BANDS}
    water, green = np.empty(HALF, dtype=bool), np.empty(HALF, dtype=bool)
    for rows in (slice(top, min(top + STRIP, HEIGHT)) for top in range(0, HEIGHT, STRIP)):
        half = slice(rows.start // 2, rows.stop // 2)
        strip = ground.reflectance(rows)
        water[half], green[half] = _water_and_green(strip)
        for view in views:
            where = rows if view.band in FINE_BANDS else half
            bands[view.band][where] = view.through(strip[view.band], where, noise)
    scl = scene_classes(rng, water, green, sky)
    seen = _swath(flight)
    return OpticalScene(bands=bands, scl=scl, seen={20: seen, 10: np.repeat(np.repeat(seen, 2, axis=0), 2, axis=1)})


def digital_numbers(reflectance: Float, seen: Mask, *, offset: bool) -> npt.NDArray[np.uint16]:
    """DN (y, x) as Level-2A stores them: reflectance * 10000, plus 1000 if `offset`; 0 where not `seen`."""
    numbers = reflectance * np.float32(10_000)
    numbers += np.float32(1000.5 if offset else 0.5)
    np.clip(numbers, 1, 65_535, out=numbers)
    return np.asarray(numbers, dtype=np.uint16) * seen


def _views(sky: Sky, rng: np.random.Generator) -> list[View]:
    """One view per band of BANDS through the same air; haze and calibration wander together, a little apart."""
    coarse, fine = Air.under(sky), Air.under(sky, fine=True)
    haze = rng.normal(0, 0.6)
    return [
        View(
            band=band,
            index=index,
            air=fine if band in FINE_BANDS else coarse,
            haze=HAZE[index] * (haze + rng.normal(0, 0.12)),
            gain=1 + 0.006 * rng.normal(),
        )
        for index, band in enumerate(BANDS)
    ]


def _water_and_green(strip: dict[str, Float]) -> tuple[Mask, Mask]:
    """Where water is and where plants are, each (y, x) at 20 m, by the ground's own reflectance."""
    green, red, nir = (halved(strip[band]) for band in ("green", "red", "nir"))
    return green > nir, (nir - red) > 0.38 * (nir + red)


def _swath(flight: Pass) -> Mask:
    """Where the swath reaches (y, x) at 20 m; a descending pass has its western edge lean towards the south-west."""
    row, column = np.ogrid[: HEIGHT // 2, : WIDTH // 2]
    edge = swath_edge(row) if flight.wedge else np.full(row.shape, -1.0)
    return np.asarray(column >= edge)


def swath_edge(row: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First column at 20 m that a pass with a wedge sees in a row at 20 m."""
    return np.asarray(360.0 - 0.235 * row)
