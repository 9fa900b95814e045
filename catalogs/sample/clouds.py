"""Simulated clouds, their shadows, and the scene classes (SCL) of a simulated processor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import Float, Mask, fractal_noise

# Clouds are simulated at 20 m. The sky is a little larger than the union grid, so that shadows come in from outside.
SHAPE = (HEIGHT // 2, WIDTH // 2)

SKY = (600, 1080)

CLOUD_HEIGHT = 1150.0

# Scene classes of Sen2Cor (Sentinel-2 Level-2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A, section 3).
SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED, MEDIUM, HIGH, CIRRUS = 3, 4, 5, 6, 7, 8, 9, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """Opacities (0-1) over the union grid (y, x) at 20 m: `thick` and `thin` clouds, and their `shadow`.

    `light` is the shading of the clouds, around 0.
    """

    thick: Float
    thin: Float
    shadow: Float
    light: Float


def build_sky(rng: np.random.Generator, *, clouds: float, cirrus: float, sun: tuple[float, float]) -> Sky:
    """The sky with shares `clouds` of thick and `cirrus` of thin clouds (0-1).

    `sun` is the sun's elevation and azimuth in degrees.
    """
    billows = fractal_noise(rng, SKY, slope=1.75, longest=150 + 500 * clouds)
    thick = _opacity(billows, clouds, 2.6)
    veil = fractal_noise(rng, SKY, slope=2.1) if cirrus else billows
    thin = 0.45 * _opacity(veil, cirrus, 0.6)
    elevation, azimuth = np.radians(sun)
    shadow_pixels = CLOUD_HEIGHT / np.tan(elevation) / 20
    # The shadow lies on the side away from the sun. North is up, rows grow southwards.
    shift = (round(shadow_pixels * np.cos(azimuth)), round(-shadow_pixels * np.sin(azimuth)))
    shadow = np.roll(thick + 0.35 * thin, shift, axis=(0, 1))
    lit = np.roll(billows, (2, -1), axis=(0, 1)) - billows
    return Sky(thick=_cropped(thick), thin=_cropped(thin), shadow=_cropped(shadow.clip(0, 1)), light=_cropped(-lit))


def scene_classes(rng: np.random.Generator, water: Mask, vegetation: Mask, sky: Sky) -> npt.NDArray[np.uint8]:
    """Scene classes (y, x) at 20 m; `water` and `vegetation` are masks of the ground, (y, x) at 20 m.

    Edges are as imperfect as a real classification's: the opacities compared with the thresholds carry smooth noise of
    some hundredths.
    """
    noise = 0.05 * fractal_noise(rng, SHAPE, slope=0.9)
    thick, thin, shadow = sky.thick + noise, sky.thin + 0.3 * noise, sky.shadow + noise
    classes = np.select([water, vegetation], [WATER, VEGETATION], BARE)
    classes[(shadow > 0.22) & (sky.shadow > 0.05)] = SHADOW
    classes[(sky.thick > 0.02) & (thick > 0.05)] = UNCLASSIFIED
    classes[(sky.thin > 0.04) & (thin > 0.05)] = CIRRUS
    classes[(sky.thick > 0.03) & (thick > 0.09)] = MEDIUM
    classes[(sky.thick > 0.05) & (thick > 0.55)] = HIGH
    return classes.astype(np.uint8)


def _opacity(field: Float, share: float, steepness: float) -> Float:
    """Opacity (0-1), positive on the highest `share` of the field and growing with its height."""
    if share <= 0:
        return np.zeros_like(field)
    excess = field - np.quantile(field[::4, ::4], 1 - share)
    return np.asarray(1 - np.exp(-steepness * np.maximum(excess, 0) * 2.2), dtype=np.float32)


def _cropped(field: Float) -> Float:
    return field[: SHAPE[0], : SHAPE[1]]
