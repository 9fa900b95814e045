"""What Sentinel-2 would deliver of the simulated landscape on one pass: reflectances, then DN, and scene classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from catalogs.sample_calendar import CHANGE_DATE, FIRST_YEAR, Pass, sun_position
from catalogs.sample_clouds import Sky, build_sky, scene_classes
from catalogs.sample_crops import field_reflectance
from catalogs.sample_fields import Float, Mask, blurred, doubled, halved
from catalogs.sample_grid import HEIGHT, WIDTH
from catalogs.sample_surfaces import BANDS, CROP, SURFACES

if TYPE_CHECKING:
    from catalogs.landscape import Landscape

FINE_BANDS = ("blue", "green", "red", "nir")
# Per band of BANDS: reflectance of thick cloud, share a full shadow leaves, reflectance of haze and of noise.
CLOUD = (0.62, 0.60, 0.60, 0.63, 0.46, 0.33)
SHADE = (0.50, 0.42, 0.37, 0.30, 0.26, 0.24)
HAZE = (0.0070, 0.0045, 0.0030, 0.0012, 0.0005, 0.0003)
NOISE = (0.0012, 0.0011, 0.0011, 0.0018, 0.0009, 0.0009)
# Share of the illumination difference between slopes that the processor's terrain correction leaves behind.
LEFT_RELIEF = 0.7


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
    """What lies above the ground, fields (y, x) at 10 or 20 m, None where the sky is empty.

    `shadow` (0-1), share of the ground that is `clear` to the eye, the clouds' own `glow` relative to CLOUD; `haze` is
    one number relative to HAZE.
    """

    haze: float
    shadow: Float | None = None
    clear: Float | None = None
    glow: Float | None = None

    @classmethod
    def under(cls, sky: Sky, haze: float, *, fine: bool = False) -> Air:
        """The air under a sky, at 10 m if `fine`, else at 20 m."""
        if not (sky.thick.any() or sky.thin.any()):
            return cls(haze=haze)
        thick = sky.thick * (0.72 + 0.38 * sky.thick + 0.55 * sky.light.clip(-0.6, 0.6)) * (1 - 0.3 * sky.thin)
        glow = thick + 0.62 * sky.thin * (1 - sky.thick)
        fields = (sky.shadow, (1 - sky.thick) * (1 - sky.thin), glow)
        shadow, clear, glow = (doubled(field) for field in fields) if fine else fields
        return cls(haze=haze, shadow=shadow, clear=clear, glow=glow)


def simulate_pass(landscape: Landscape, flight: Pass, *, seed: int, number: int) -> OpticalScene:
    """The scene of one pass, the same for the same seed and number of the pass."""
    rng = np.random.default_rng([seed, 2, number])
    sun = sun_position(flight.time)
    sky = build_sky(rng, clouds=flight.clouds, cirrus=flight.cirrus, sun=sun)
    bands = _ground(landscape, flight, sun)
    means = {band: halved(bands[band]) for band in ("green", "red", "nir")}
    water = means["green"] > means["nir"]
    green = (means["nir"] - means["red"]) > 0.38 * (means["nir"] + means["red"])
    scl = scene_classes(rng, water, green, sky)
    haze = rng.normal(0, 0.6)
    air = {20: Air.under(sky, haze), 10: Air.under(sky, haze, fine=True)}
    # One field of noise serves all bands, each from another row on: a third of the time, and nothing shows it.
    noise = rng.standard_normal((HEIGHT + 40 * len(BANDS), WIDTH), dtype=np.float32)
    for index, band in enumerate(BANDS):
        bands[band] = _through_air(bands[band], index, air[10 if band in FINE_BANDS else 20], noise, rng)
    seen = _swath(flight)
    return OpticalScene(bands=bands, scl=scl, seen={20: seen, 10: np.repeat(np.repeat(seen, 2, axis=0), 2, axis=1)})


def digital_numbers(reflectance: Float, seen: Mask, *, offset: bool) -> npt.NDArray[np.uint16]:
    """DN (y, x) as Level-2A stores them: reflectance * 10000, plus 1000 if `offset`; 0 where not `seen`."""
    numbers = reflectance * np.float32(10_000)
    numbers += np.float32(1000.5 if offset else 0.5)
    np.clip(numbers, 1, 65_535, out=numbers)
    return np.asarray(numbers, dtype=np.uint16) * seen


def _ground(landscape: Landscape, flight: Pass, sun: tuple[float, float]) -> dict[str, Float]:
    """Reflectance of the ground alone: blue to nir at 10 m after the optics' blur, swir at 20 m."""
    surface = landscape.end if flight.time.date() >= CHANGE_DATE else landscape.start
    unit = np.where(surface == CROP, landscape.parcel + len(SURFACES), surface).astype(np.intp)
    fields = field_reflectance(landscape.fields, flight.time.date(), FIRST_YEAR)
    palette = np.concatenate([_seasonal(flight), fields]).T.copy()
    relief = _texture(landscape, surface) * _illumination(landscape, sun)
    bands = {}
    for number, band in enumerate(BANDS):
        exact = palette[number].take(unit)
        exact *= relief
        bands[band] = blurred(exact, 0.085) if band in FINE_BANDS else halved(exact)
    return bands


def _seasonal(flight: Pass) -> Float:
    """Reflectance (surface, band) on the day, between leafless winter and full summer."""
    day = flight.time.timetuple().tm_yday
    leaf = np.interp(day, [85, 130, 270, 315], [0, 1, 0.92, 0], period=365)
    summer = np.array([one.summer for one in SURFACES])
    winter = np.array([one.winter or one.summer for one in SURFACES])
    return np.asarray(winter + leaf * (summer - winter), dtype=np.float32)


def _texture(landscape: Landscape, surface: npt.NDArray[np.uint8]) -> Float:
    """Relative brightness (y, x) of the ground around 1, from pixel to pixel and from patch to patch."""
    grain = np.array([one.grain for one in SURFACES], dtype=np.float32)[surface]
    mottle = np.array([one.mottle for one in SURFACES], dtype=np.float32)[surface]
    grain *= landscape.fine
    mottle *= landscape.coarse
    grain += mottle
    grain += 1
    return np.maximum(grain, np.float32(0.25), out=grain)


def _illumination(landscape: Landscape, sun: tuple[float, float]) -> Float:
    """Relative light (y, x) that the slopes receive around 1, as far as the terrain correction left it."""
    elevation, azimuth = np.radians(sun)
    towards = LEFT_RELIEF / np.tan(elevation)
    light = landscape.terrain.east * np.float32(-towards * np.sin(azimuth))
    light -= landscape.terrain.north * np.float32(towards * np.cos(azimuth))
    light += 1
    return np.clip(light, 0.45, 1.6, out=light)


def _through_air(ground: Float, index: int, air: Air, noise: Float, rng: np.random.Generator) -> Float:
    """Reflectance of one band as the processor retrieves it: shadows, clouds, leftover haze, noise of the sensor."""
    haze = np.float32(HAZE[index] * (air.haze + rng.normal(0, 0.12)))
    ground *= np.float32(1 + 0.006 * rng.normal())
    if air.shadow is not None and air.clear is not None and air.glow is not None:
        ground *= (1 - np.float32(1 - SHADE[index]) * air.shadow) * air.clear
        ground += np.float32(CLOUD[index]) * air.glow
    rows = 40 * index
    out = noise[rows : rows + ground.shape[0], : ground.shape[1]] * (
        np.float32(NOISE[index]) + np.float32(0.004) * ground
    )
    out += ground
    out += haze
    # Level-2A of dark water stays just above zero; negative reflectance is rare.
    return np.maximum(out, np.float32(0.0006), out=out)


def _swath(flight: Pass) -> Mask:
    """Where the swath reaches (y, x) at 20 m; a descending pass has its western edge lean towards the south-west."""
    row, column = np.ogrid[: HEIGHT // 2, : WIDTH // 2]
    edge = swath_edge(row) if flight.wedge else np.full(row.shape, -1.0)
    return np.asarray(column >= edge)


def swath_edge(row: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First column at 20 m that a pass with a wedge sees in a row at 20 m."""
    return np.asarray(360.0 - 0.235 * row)
