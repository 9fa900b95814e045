"""The simulated relief: a meandering river, tributary valleys, hills, a dammed valley and the lake behind the dam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from tilewright.catalogs.sample.landscape.grid import DEM_FACTOR, HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import (
    Float,
    Mask,
    component_at,
    distance_to,
    enlarged,
    fractal_noise,
    nearest_to,
    smoothed,
)

Line = npt.NDArray[np.float64]

COARSE = (HEIGHT // DEM_FACTOR, WIDTH // DEM_FACTOR)

# Control points (column, row) at 10 m from the mouth upwards. The first is the dammed one.
TRIBUTARIES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((1015, 800), (1030, 680), (1062, 560), (1102, 450), (1163, 350), (1150, 235), (1205, 120), (1245, -40)),
    ((470, 800), (455, 620), (420, 450), (350, 200), (250, -40)),
    ((1640, 800), (1675, 520), (1745, 260), (1800, -40)),
    ((752, 800), (725, 950), (700, 1140)),
    ((1345, 800), (1375, 960), (1400, 1140)),
    ((1800, 800), (1815, 960), (1850, 1140)),
    ((200, 800), (180, 960), (120, 1140)),
)

# Side valleys: (number of the tributary they join, points from the mouth upwards).
SIDE_VALLEYS: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (0, ((1100, 452), (1030, 425), (955, 425), (860, 370))),
    (0, ((1140, 300), (1060, 265), (985, 215), (880, 120))),
    (0, ((1160, 360), (1235, 385), (1310, 372), (1420, 420))),
    (0, ((1160, 215), (1240, 225), (1310, 200), (1430, 120))),
    (1, ((420, 450), (490, 300), (560, 90))),
    (2, ((1715, 400), (1850, 370), (1990, 280))),
)

DAM = (1062, 560)

WATER_LEVEL = 261.0

RIVER_LEVEL = 205.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """The relief on the union grid (y, x) at 10 m.

    `elevation` in metres; `east` and `north` its slopes (rise over run); `river` and `stream` distances in pixels to
    the river's and the nearest stream's centre line; `dam` and `reservoir` where dam and full lake lie.
    """

    elevation: Float
    east: Float
    north: Float
    river: Float
    stream: Float
    dam: Mask
    reservoir: Mask


def build_terrain(rng: np.random.Generator) -> Terrain:
    """The relief of the sample, the same for the same generator."""
    axis, river = _river(rng)
    streams = [_smooth(points) for points in TRIBUTARIES]
    sides = [_smooth(points) for _, points in SIDE_VALLEYS]
    coarse = _elevation(rng, axis, streams, sides)
    elevation = enlarged(coarse, DEM_FACTOR)
    slope_y, slope_x = np.gradient(elevation, 10.0)
    dam = _dam(elevation)
    return Terrain(
        elevation=elevation,
        east=np.asarray(slope_x, dtype=np.float32),
        north=np.asarray(-slope_y, dtype=np.float32),
        river=_distance([river], (HEIGHT, WIDTH), 1),
        stream=enlarged(DEM_FACTOR * _distance([*streams, *sides], COARSE, DEM_FACTOR), DEM_FACTOR),
        dam=dam,
        reservoir=_flooded(elevation, dam),
    )


def _river(rng: np.random.Generator) -> tuple[Line, Line]:
    """Axis of the main valley and centre line of its river, both (column, row).

    The river is a sine-generated curve (Langbein and Leopold 1966, USGS Professional Paper 422-H) of varying swing.
    """
    along = np.arange(0, 3900, 1.5)
    knots = np.linspace(0, along[-1], 14)
    swing = _through(knots, rng.uniform(0.7, 1.3, 14), along)
    phase = _through(knots, rng.uniform(-1.3, 1.3, 14), along)
    heading = swing * np.sin(2 * np.pi * along / 430 + phase)
    column = -60 + np.cumsum(np.cos(heading)) * 1.5
    row = np.cumsum(np.sin(heading)) * 1.5
    trend = np.polynomial.Polynomial.fit(column, row, 3)(column)
    valley = 815 + 25 * np.sin(column / 330)
    return np.stack([column, valley], axis=1), np.stack([column, row - trend + valley], axis=1)


def _smooth(points: tuple[tuple[int, int], ...]) -> Line:
    """A curve (column, row) through the points, about one sample per pixel, with small windings."""
    control = np.array(points, dtype=float)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(control, axis=0).T))])
    at = np.arange(0, length[-1], 1.0)
    curve = _through(length, control, at)
    curve[:, 0] += 5 * np.sin(at / 14) * np.minimum(1, at / 60)
    return curve


def _through(at: Line, values: Line, wanted: Line) -> Line:
    """The cubic spline through the values, read at the wanted places."""
    return np.asarray(CubicSpline(at, values)(wanted), dtype=np.float64)  # type: ignore[no-untyped-call]


def _elevation(rng: np.random.Generator, axis: Line, streams: list[Line], sides: list[Line]) -> Float:
    """Elevation (y, x) at 30 m: the lowest of all valleys' cross sections, then noise that grows uphill."""
    apart = _distance([axis], COARSE, DEM_FACTOR) * 30
    plain = 1000 + 220 * fractal_noise(rng, COARSE, slope=2.0)
    height = RIVER_LEVEL + 165 * (1 - np.exp(-np.maximum(apart - plain, 0) / 1500))
    mouths = [RIVER_LEVEL + 1.0] * len(streams)
    beds = [_bed(mouth, line, 0.0085) for mouth, line in zip(mouths, streams, strict=True)]
    for (joined, _), line in zip(SIDE_VALLEYS, sides, strict=True):
        nearest = np.argmin(np.hypot(*(streams[joined] - line[0]).T))
        beds.append(_bed(beds[joined][nearest], line, 0.0115))
    for line, bed in zip([*streams, *sides], beds, strict=True):
        height = np.minimum(height, _valley(line, bed))
    height = smoothed(height, 2.2)
    relief = np.clip((height - RIVER_LEVEL) / 60, 0.02, 1)
    rough = 17 * fractal_noise(rng, COARSE, slope=2.0, longest=38) + 1.2 * fractal_noise(rng, COARSE, slope=1.2)
    return np.asarray(height + relief * rough, dtype=np.float32)


def _bed(mouth: float, line: Line, gradient: float) -> Line:
    """Elevation along a stream in metres, rising from its mouth."""
    return mouth + gradient * 10 * np.arange(len(line), dtype=np.float64)


def _valley(line: Line, bed: Line) -> Float:
    """Elevation (y, x) at 30 m that one stream alone would carve."""
    seeds, level = _drawn(COARSE, line / DEM_FACTOR, bed)
    beyond = np.maximum(distance_to(seeds) * 30 - 60, 0)
    carved = level[nearest_to(seeds)] + 175 * (1 - np.exp(-beyond / 2100))
    return np.asarray(carved, dtype=np.float32)


def _drawn(shape: tuple[int, int], line: Line, values: Line) -> tuple[Mask, Float]:
    """Pixels a line (column, row) passes, and its values there."""
    column, row = np.round(line).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    mask = np.zeros(shape, dtype=bool)
    level = np.zeros(shape, dtype=np.float32)
    mask[row[inside], column[inside]] = True
    level[row[inside], column[inside]] = values[inside]
    return mask, level


def _distance(lines: list[Line], shape: tuple[int, int], factor: int) -> Float:
    """Distance (y, x) in pixels of `shape` to the nearest of the lines."""
    mask = np.zeros(shape, dtype=bool)
    for line in lines:
        mask |= _drawn(shape, line / factor, np.zeros(len(line)))[0]
    return distance_to(mask)


def _dam(elevation: Float) -> Mask:
    """The dam: a straight bank across the valley, as long as the ground beside it is lower than its crest."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    # The stream comes down towards the south-west here; the dam stands square to it.
    down = np.array([-0.42, 0.91])
    along = (column - DAM[0]) * down[0] + (row - DAM[1]) * down[1]
    across = (column - DAM[0]) * down[1] - (row - DAM[1]) * down[0]
    return np.asarray((np.abs(along) < 3.5) & (np.abs(across) < 90) & (elevation < WATER_LEVEL + 4))


def _flooded(elevation: Float, dam: Mask) -> Mask:
    """What the water covers behind the dam: ground below its level, joined to the stream just above the dam."""
    return component_at((elevation < WATER_LEVEL) & ~dam, DAM[1] - 30, DAM[0] + 12)
