"""The simulated landscape of the embedded sample before and after the change date, and the truth of the change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.landscape.crops import Fields, build_fields
from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import Float, Mask, blurred, distance_to, fractal_noise, smooth_noise
from tilewright.catalogs.sample.landscape.parcels import Parcels, build_parcels
from tilewright.catalogs.sample.landscape.settlements import (
    ESTATES,
    TOWN,
    VILLAGES,
    Codes,
    add_halls,
    add_roads,
    add_town,
)
from tilewright.catalogs.sample.landscape.surfaces import CROP, INDEX, SURFACES
from tilewright.catalogs.sample.landscape.terrain import Terrain, build_terrain

N_CLEAR_CUTS = 16

COVER_OF = np.array([surface.cover for surface in SURFACES], dtype=np.uint8)

RELIEF_NOISE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """A pond or a gravel pit: centre, half its length and breadth in pixels, direction of its length in radians."""

    column: int
    row: int
    half: tuple[float, float]
    angle: float


LAKES = (
    Lake(column=560, row=712, half=(34, 20), angle=0.2),
    Lake(column=628, row=728, half=(22, 15), angle=0.3),
    Lake(column=1085, row=730, half=(38, 21), angle=-0.1),
    Lake(column=1660, row=735, half=(20, 15), angle=0.2),
    Lake(column=1790, row=640, half=(30, 20), angle=0.5),
    Lake(column=90, row=690, half=(26, 18), angle=0.1),
    Lake(column=985, row=905, half=(12, 9), angle=0.7),
    Lake(column=1260, row=905, half=(14, 10), angle=0.3),
    Lake(column=1660, row=905, half=(13, 9), angle=0.1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The ground on the union grid (y, x) at 10 m.

    `start` and `end` hold indices into SURFACES before and after the change date; `parcel` holds indices of parcels,
    whose values are in `fields`; `fine_texture` and `coarse_texture` are standard normal fields that vary from pixel
    to pixel and over some ten pixels.
    """

    terrain: Terrain
    start: Codes
    end: Codes
    parcel: npt.NDArray[np.int32]
    fields: Fields
    fine_texture: Float
    coarse_texture: Float

    def cover(self, *, end: bool) -> Codes:
        """Land-cover class (y, x) of `COVERS` before or after the change date."""
        return COVER_OF[self.end if end else self.start]

    def change(self) -> Codes:
        """Change class (y, x) of `CHANGES`."""
        changed = self.start != self.end
        after = COVER_OF[self.end]
        return np.select(
            [changed & (after == 1), changed & (self.end == INDEX["cut"]), changed & (after == 6)], [1, 2, 3]
        ).astype(np.uint8)


def build_landscape(seed: int) -> Landscape:
    """The landscape of the sample, the same for the same seed."""
    rng = np.random.default_rng([seed, 1])
    terrain = build_terrain(rng)
    parcels = build_parcels(rng)
    coarse = fractal_noise(rng, (HEIGHT, WIDTH), slope=1.3, longest=120)
    fine = blurred(rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32), 0.12)
    start = _countryside(rng, terrain, parcels)
    _add_water(start, terrain, rng, coarse)
    _add_settlements(start, terrain, rng)
    return Landscape(
        terrain=terrain,
        start=start,
        end=_surfaces_after_change(start, terrain, rng),
        parcel=parcels.parcel,
        fields=build_fields(rng, parcels.n_parcels, years=3),
        fine_texture=fine / fine.std(),
        coarse_texture=coarse,
    )


def _countryside(rng: np.random.Generator, terrain: Terrain, parcels: Parcels) -> Codes:
    """The surfaces (y, x) of forest, fields and meadows, along the borders of the parcels."""
    rough = smooth_noise(rng, slope=1.7, longest=420)
    slope_size = np.hypot(terrain.east, terrain.north)
    forest_score = 0.012 * (terrain.elevation - 265) + 5.5 * (slope_size - 0.10) + RELIEF_NOISE * rough
    stand = parcels.stand.ravel()
    mean = (np.bincount(stand, forest_score.ravel()) / np.bincount(stand)).astype(np.float32)[parcels.stand]
    forest = 0.72 * mean + 0.28 * forest_score > 0.62
    meadow = rng.random(parcels.n_parcels, dtype=np.float32)[parcels.parcel] < np.clip(
        0.13 + 1.2 * (slope_size - 0.05) + 0.25 * (terrain.stream < 14), 0.05, 0.8
    )
    conifer = (
        0.7 * rough
        + 1.6 * (rng.random(parcels.n_stands, dtype=np.float32)[parcels.stand] - 0.5)
        + 0.006 * (terrain.elevation - 300)
        > 0.42
    )
    surface = np.where(meadow, INDEX["grass"], CROP).astype(np.uint8)
    kinds = np.array([INDEX["hedge"], INDEX["grass"], INDEX["track"], INDEX["track"], INDEX["grass"]], dtype=np.uint8)
    surface = np.where(parcels.border, kinds[parcels.block % len(kinds)], surface)
    copses = _copses(rng, terrain)
    conifer &= ~copses
    return np.where(forest | copses, np.where(conifer, INDEX["conifer"], INDEX["broadleaf"]), surface).astype(np.uint8)


def _copses(rng: np.random.Generator, terrain: Terrain) -> Mask:
    """Mask (y, x) of small woods in the plain and of riparian wood along river and streams."""
    patchy = smooth_noise(rng, slope=1.4, longest=90)
    along_river = terrain.river < 24 + 11 * patchy
    along_streams = terrain.stream < 1.7 + 1.6 * patchy
    return np.asarray(along_river | along_streams | ((patchy > 2.6) & (terrain.river > 40)))


def _add_water(surface: Codes, terrain: Terrain, rng: np.random.Generator, coarse: Float) -> None:
    """Writes river, gravel bars, oxbow lakes, gravel pits and the dam into the surfaces."""
    width = 13.5 + 1.6 * coarse
    bars = smooth_noise(rng, slope=1.6, longest=170)
    surface[terrain.river < width + 3.5 * np.minimum(bars - 0.6, 1.6)] = INDEX["gravel"]
    for lake in LAKES:
        _add_lake(surface, lake, coarse)
    surface[terrain.river < width] = INDEX["river"]
    surface[terrain.dam] = INDEX["gravel"]


def _add_lake(surface: Codes, lake: Lake, coarse: Float) -> None:
    """Writes one lake with its shore into the surfaces."""
    row, column = np.ogrid[lake.row - 70 : lake.row + 70, lake.column - 70 : lake.column + 70]
    inside = np.clip(row, 0, HEIGHT - 1), np.clip(column, 0, WIDTH - 1)
    east, south = column - lake.column, row - lake.row
    along = (east * np.cos(lake.angle) + south * np.sin(lake.angle)) / lake.half[0]
    across = (south * np.cos(lake.angle) - east * np.sin(lake.angle)) / lake.half[1]
    ring = np.sqrt(np.square(np.square(along)) + np.square(np.square(across))) + 0.07 * coarse[inside]
    patch = surface[inside]
    patch[ring < 1.3] = INDEX["gravel" if lake.half[0] > 20 else "hedge"]
    patch[ring < 1] = INDEX["lake"]
    surface[inside] = patch


def _add_settlements(surface: Codes, terrain: Terrain, rng: np.random.Generator) -> None:
    """Writes the town, its industry, the villages and the roads into the surfaces; roads cross water."""
    dry = ~np.isin(surface, (INDEX["river"], INDEX["lake"])) & ~terrain.reservoir
    add_town(surface, TOWN, rng, dry)
    add_halls(surface, TOWN, rng, dry)
    for village in VILLAGES:
        add_town(surface, village, rng, dry)
    add_roads(surface)


def _surfaces_after_change(start: Codes, terrain: Terrain, rng: np.random.Generator) -> Codes:
    """The surfaces (y, x) after the change date: reservoir full, forest cut, houses built."""
    end = start.copy()
    open_land = np.isin(start, (CROP, INDEX["grass"], INDEX["track"], INDEX["hedge"]))
    for estate in ESTATES:
        add_town(end, estate, rng, open_land)
    end[_clear_cuts(start, terrain, rng)] = INDEX["cut"]
    end[terrain.reservoir & ~np.isin(start, (INDEX["river"], INDEX["lake"]))] = INDEX["lake"]
    return end


def _clear_cuts(start: Codes, terrain: Terrain, rng: np.random.Generator) -> Mask:
    """Mask (y, x) of clear-cuts: rotated rectangles of 7 to 20 hectares with uneven sides, deep in the forest."""
    forest = np.isin(start, (INDEX["broadleaf"], INDEX["conifer"])) & ~terrain.reservoir
    # Every third pixel is enough to choose centres.
    depth = 3 * distance_to(~forest[::3, ::3])
    uneven = smooth_noise(rng, slope=1.4, longest=40)
    cuts = np.zeros_like(forest)
    for number in range(N_CLEAR_CUTS):
        # Every other clear-cut lies in the middle, where people look.
        middle = slice(220, 480) if number % 2 else slice(None)
        candidates = np.flatnonzero(_within_columns(depth, middle) > 18)
        if not len(candidates):
            break
        centre = 3 * np.array(np.unravel_index(rng.choice(candidates), depth.shape))
        angle, half = rng.uniform(0, np.pi), (rng.uniform(14, 24), rng.uniform(11, 15))
        row, column = np.ogrid[max(centre[0] - 30, 0) : centre[0] + 30, max(centre[1] - 30, 0) : centre[1] + 30]
        row, column = row[row[:, 0] < HEIGHT], column[:, column[0] < WIDTH]
        east, south = column - centre[1], row - centre[0]
        along = np.abs(east * np.cos(angle) + south * np.sin(angle)) / half[0]
        across = np.abs(south * np.cos(angle) - east * np.sin(angle)) / half[1]
        cuts[row, column] |= forest[row, column] & (np.maximum(along, across) + 0.05 * uneven[row, column] < 1)
        row, column = np.ogrid[: depth.shape[0], : depth.shape[1]]
        depth[np.hypot(3 * column - centre[1], 3 * row - centre[0]) < 130] = 0
    return cuts


def _within_columns(field: Float, columns: slice) -> Float:
    """The field (y, x) within the columns, 0 elsewhere."""
    kept = np.zeros_like(field)
    kept[:, columns] = field[:, columns]
    return kept
