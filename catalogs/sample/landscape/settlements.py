"""Simulated towns, villages and roads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.surfaces import INDEX

if TYPE_CHECKING:
    from tilewright.catalogs.sample.landscape.noise import Float, Mask


Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A settlement: centre and radius in pixels of the union grid, direction of its streets in radians, density 0-1."""

    column: int
    row: int
    radius: int
    angle: float
    density: float = 0.8


TOWN = Town(column=820, row=668, radius=105, angle=0.28, density=0.85)

VILLAGES = (
    Town(column=260, row=655, radius=46, angle=0.6),
    Town(column=130, row=360, radius=34, angle=0.1),
    Town(column=610, row=330, radius=38, angle=0.9),
    Town(column=720, row=985, radius=42, angle=0.5),
    Town(column=1215, row=640, radius=40, angle=0.25),
    Town(column=1345, row=250, radius=34, angle=0.7),
    Town(column=1480, row=655, radius=52, angle=0.15),
    Town(column=1900, row=590, radius=44, angle=0.4),
    Town(column=1580, row=150, radius=32, angle=0.2),
    Town(column=1420, row=975, radius=36, angle=0.8),
    Town(column=1935, row=930, radius=36, angle=0.3),
    Town(column=330, row=1010, radius=36, angle=0.0),
)

# Built at the change date: an estate next to the town, and one next to a village.
ESTATES = (
    Town(column=742, row=560, radius=44, angle=0.28, density=1.0),
    Town(column=1283, row=655, radius=30, angle=0.25, density=1.0),
)

# Points (column, row) and width in pixels.
ROADS: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (
        3,
        (
            (-5, 575),
            (190, 600),
            (420, 640),
            (640, 615),
            (760, 610),
            (930, 640),
            (1060, 655),
            (1215, 610),
            (1480, 620),
            (1720, 590),
            (2100, 560),
        ),
    ),
    (2, ((820, 668), (690, 560), (640, 440), (610, 330), (540, 190), (500, -5))),
    (2, ((260, 655), (200, 500), (130, 360), (60, 200), (30, -5))),
    (2, ((1215, 640), (1300, 520), (1385, 380), (1345, 250), (1440, 180), (1580, 150), (1660, -5))),
    (2, ((820, 668), (800, 760), (790, 860), (720, 985), (690, 1100))),
    (2, ((1480, 655), (1470, 780), (1440, 880), (1420, 975), (1440, 1100))),
    (1, ((330, 1010), (520, 1000), (720, 985), (1050, 1000), (1420, 975), (1700, 960), (1935, 930), (2100, 940))),
    (1, ((1900, 590), (1930, 400), (1880, 240), (1920, -5))),
    (1, ((130, 360), (330, 320), (610, 330))),
)


def add_roads(surface: Codes) -> None:
    """Draws the roads between the settlements into the surfaces (y, x)."""
    picture = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(picture)
    for width, points in ROADS:
        pen.line(_rounded_corners(points), fill=1, width=width, joint="curve")
    surface[np.asarray(picture) > 0] = INDEX["road"]


def add_town(surface: Codes, town: Town, rng: np.random.Generator, buildable: Mask | None = None) -> None:
    """Writes a settlement into the surfaces (y, x): streets, houses, gardens, some halls.

    `buildable` masks the pixels that may change; None allows all.
    """
    reach = int(town.radius * 1.5)
    rows = slice(max(town.row - reach, 0), min(town.row + reach, HEIGHT))
    columns = slice(max(town.column - reach, 0), min(town.column + reach, WIDTH))
    row, column = np.mgrid[rows, columns].astype(np.float32)
    east, south = column - town.column, row - town.row
    along = east * np.cos(town.angle) + south * np.sin(town.angle)
    across = south * np.cos(town.angle) - east * np.sin(town.angle)
    # Streets bend a little.
    along, across = along + 4 * np.sin(across / 31), across + 4 * np.sin(along / 27)
    lots = rng.random(65536, dtype=np.float32)
    lot = (np.floor(along / 2).astype(int) * 73 + np.floor(across / 2).astype(int) * 179) & 0xFFFF
    inward = 1 - np.hypot(along / 1.25, across / 0.85) / (town.radius * _relative_radius(along, across, rng)) + 0.12
    built = _town_surfaces(along, across, inward, lots[lot], town.density)
    town_pixels = built > 0
    if buildable is not None:
        town_pixels &= buildable[rows, columns]
    surface[rows, columns][town_pixels] = built[town_pixels] - 1


def add_halls(surface: Codes, town: Town, rng: np.random.Generator, buildable: Mask) -> None:
    """Writes an industrial quarter east of a town into the `buildable` pixels: bright halls on sealed ground."""
    picture = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(picture)
    cos, sin = np.cos(town.angle), np.sin(town.angle)
    for number in range(14):
        along = town.radius * 1.05 + 19 * (number % 5) + rng.uniform(-3, 3)
        across = -34 + 21 * (number // 5) + rng.uniform(-3, 3)
        half = np.array([rng.uniform(4, 8), rng.uniform(3, 6)])
        for grown, code in ((1.9, INDEX["road"]), (1.0, INDEX["hall"] if rng.random() < 0.6 else INDEX["grey roof"])):
            corners = [
                (along + a * half[0] * grown, across + b * half[1] * grown)
                for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            pen.polygon(
                [(town.column + a * cos - b * sin, town.row + a * sin + b * cos) for a, b in corners], fill=code
            )
    drawn = np.asarray(picture)
    surface[(drawn > 0) & buildable] = drawn[(drawn > 0) & buildable]


def _town_surfaces(along: Float, across: Float, inward: Float, lot: Float, density: float) -> Codes:
    """Index of the surface + 1 inside the settlement, 0 elsewhere.

    Streets lie every 13 px across and every 34 px along; houses line them, gardens lie behind them.
    """
    from_street = np.minimum(np.floor(across) % 13, 12 - np.floor(across) % 13)
    along_street = (from_street >= 1) & (from_street <= 2)
    share = np.where(along_street, 0.35 + 0.6 * inward, 0.05 + 0.55 * np.maximum(inward - 0.45, 0))
    share = share.clip(0, 0.85) * density
    roof = np.where(lot * 7.3 % 1 < 0.62, INDEX["red roof"], INDEX["grey roof"])
    roof = np.where((inward > 0.7) & (lot * 31.7 % 1 < 0.06), INDEX["hall"], roof)
    green = np.where(lot * 17.9 % 1 < 0.3, INDEX["hedge"], INDEX["garden"])
    street = ((np.floor(along) % 34 < 1) | (np.floor(across) % 13 < 1)) & (inward > 0.1)
    kind = np.where(street, INDEX["road"], np.where(lot < share, roof, green))
    return np.where(inward > 0.08, kind + 1, 0).astype(np.uint8)


def _relative_radius(along: Float, across: Float, rng: np.random.Generator) -> Float:
    """Radius of a settlement in the direction of each pixel, relative to its mean: a few arms along its roads."""
    direction = np.arctan2(across, along)
    lobes = [
        (waves, rng.uniform(0.5, 1) * swing, rng.uniform(0, 2 * np.pi))
        for waves, swing in ((2, 0.12), (3, 0.22), (5, 0.17), (9, 0.08))
    ]
    radius = 1 + sum(swing * np.sin(waves * direction + phase) for waves, swing, phase in lobes)
    return np.asarray(np.maximum(radius, 0.3), dtype=np.float32)


def _rounded_corners(points: tuple[tuple[int, int], ...]) -> list[tuple[float, float]]:
    """A line along the points with many short segments and rounded corners (Chaikin 1974, three passes)."""
    line = np.array(points, dtype=float)
    for _ in range(3):
        early, late = 0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]
        line = np.concatenate([line[:1], np.stack([early, late], axis=1).reshape(-1, 2), line[-1:]])
    return [(float(column), float(row)) for column, row in line]
