"""The simulated relief: a meandering river, tributary valleys, hills, a dammed valley and its reservoir."""

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

COARSE_SHAPE = (HEIGHT // DEM_FACTOR, WIDTH // DEM_FACTOR)

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
    the centre lines of the river and of the nearest stream; `dam` and `reservoir` masks of the dam and the full lake.
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
    streams = [_winding_curve(points) for points in TRIBUTARIES]
    side_valleys = [_winding_curve(points) for _, points in SIDE_VALLEYS]
    coarse = _elevation(rng, axis, streams, side_valleys)
    elevation = enlarged(coarse, DEM_FACTOR)
    slope_y, slope_x = np.gradient(elevation, 10.0)
    dam = _dam(elevation)
    return Terrain(
        elevation=elevation,
        east=np.asarray(slope_x, dtype=np.float32),
        north=np.asarray(-slope_y, dtype=np.float32),
        river=_distance_to_lines([river], (HEIGHT, WIDTH), 1),
        stream=enlarged(
            DEM_FACTOR * _distance_to_lines([*streams, *side_valleys], COARSE_SHAPE, DEM_FACTOR), DEM_FACTOR
        ),
        dam=dam,
        # Ground below the water level that is connected with the stream just above the dam.
        reservoir=component_at((elevation < WATER_LEVEL) & ~dam, DAM[1] - 30, DAM[0] + 12),
    )


def _river(rng: np.random.Generator) -> tuple[Line, Line]:
    """Axis of the main valley and centre line of its river, both (column, row).

    The river is a sine-generated curve (Langbein and Leopold 1966, USGS Professional Paper 422-H) of varying swing.
    """
    along = np.arange(0, 3900, 1.5)
    knots = np.linspace(0, along[-1], 14)
    swing = _spline(knots, rng.uniform(0.7, 1.3, 14), along)
    phase = _spline(knots, rng.uniform(-1.3, 1.3, 14), along)
    heading = swing * np.sin(2 * np.pi * along / 430 + phase)
    column = -60 + np.cumsum(np.cos(heading)) * 1.5
    row = np.cumsum(np.sin(heading)) * 1.5
    trend = np.polynomial.Polynomial.fit(column, row, 3)(column)
    valley = 815 + 25 * np.sin(column / 330)
    return np.stack([column, valley], axis=1), np.stack([column, row - trend + valley], axis=1)


def _winding_curve(points: tuple[tuple[int, int], ...]) -> Line:
    """A curve (column, row) through the points, about one sample per pixel, with small windings."""
    control = np.array(points, dtype=float)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(control, axis=0).T))])
    at = np.arange(0, length[-1], 1.0)
    curve = _spline(length, control, at)
    curve[:, 0] += 5 * np.sin(at / 14) * np.minimum(1, at / 60)
    return curve


def _spline(at: Line, values: Line, positions: Line) -> Line:
    """The cubic spline through `values` at `at`, evaluated at `positions`."""
    return np.asarray(CubicSpline(at, values)(positions), dtype=np.float64)  # type: ignore[no-untyped-call]


def _elevation(rng: np.random.Generator, axis: Line, streams: list[Line], side_valleys: list[Line]) -> Float:
    """Elevation (y, x) at 30 m: the lowest of all valleys' cross sections, plus noise that grows with height."""
    axis_distance = _distance_to_lines([axis], COARSE_SHAPE, DEM_FACTOR) * 30
    plain = 1000 + 220 * fractal_noise(rng, COARSE_SHAPE, slope=2.0)
    height = RIVER_LEVEL + 165 * (1 - np.exp(-np.maximum(axis_distance - plain, 0) / 1500))
    mouths = [RIVER_LEVEL + 1.0] * len(streams)
    beds = [_bed(mouth, line, 0.0085) for mouth, line in zip(mouths, streams, strict=True)]
    for (joined, _), line in zip(SIDE_VALLEYS, side_valleys, strict=True):
        nearest = np.argmin(np.hypot(*(streams[joined] - line[0]).T))
        beds.append(_bed(beds[joined][nearest], line, 0.0115))
    for line, bed in zip([*streams, *side_valleys], beds, strict=True):
        height = np.minimum(height, _valley(line, bed))
    height = smoothed(height, 2.2)
    relief = np.clip((height - RIVER_LEVEL) / 60, 0.02, 1)
    rough = 17 * fractal_noise(rng, COARSE_SHAPE, slope=2.0, longest=38) + 1.2 * fractal_noise(
        rng, COARSE_SHAPE, slope=1.2
    )
    return np.asarray(height + relief * rough, dtype=np.float32)


def _bed(mouth: float, line: Line, gradient: float) -> Line:
    """Elevation along a stream in metres, rising from its mouth."""
    return mouth + gradient * 10 * np.arange(len(line), dtype=np.float64)


def _valley(line: Line, bed: Line) -> Float:
    """Elevation (y, x) at 30 m of the valley of one stream."""
    stream_pixels, level = _rasterised(COARSE_SHAPE, line / DEM_FACTOR, bed)
    beyond = np.maximum(distance_to(stream_pixels) * 30 - 60, 0)
    carved = level[nearest_to(stream_pixels)] + 175 * (1 - np.exp(-beyond / 2100))
    return np.asarray(carved, dtype=np.float32)


def _rasterised(shape: tuple[int, int], line: Line, values: Line) -> tuple[Mask, Float]:
    """Mask (y, x) of the pixels on a line (column, row), and the line's values there, 0 elsewhere."""
    column, row = np.round(line).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    mask = np.zeros(shape, dtype=bool)
    level = np.zeros(shape, dtype=np.float32)
    mask[row[inside], column[inside]] = True
    level[row[inside], column[inside]] = values[inside]
    return mask, level


def _distance_to_lines(lines: list[Line], shape: tuple[int, int], factor: int) -> Float:
    """Distance (y, x) in pixels of `shape` to the nearest of the lines."""
    mask = np.zeros(shape, dtype=bool)
    for line in lines:
        mask |= _rasterised(shape, line / factor, np.zeros(len(line)))[0]
    return distance_to(mask)


def _dam(elevation: Float) -> Mask:
    """Mask (y, x) of the dam: a straight bank across the valley, where the ground is lower than its crest."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    # The stream flows towards the south-west here; the dam is perpendicular to it.
    down = np.array([-0.42, 0.91])
    along = (column - DAM[0]) * down[0] + (row - DAM[1]) * down[1]
    across = (column - DAM[0]) * down[1] - (row - DAM[1]) * down[0]
    return np.asarray((np.abs(along) < 3.5) & (np.abs(across) < 90) & (elevation < WATER_LEVEL + 4))
