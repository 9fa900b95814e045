"""The names of MGRS tiles of 100 km: of the tile at a place, and the ground of a tile."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.grid.crs import transformer

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

NONE = "(none)"
"""What stands for a place in no tile."""

SOUTH, NORTH = -80.0, 84.0
"""Latitudes between which there are zones; beyond them are the poles' own tiles, which are not told apart here."""

BANDS = "CDEFGHJKLMNPQRSTUVWX"
COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
ROWS = "ABCDEFGHJKLMNPQRSTUV"

SIDE = 100_000
"""Metres of a side of a tile."""


CODE = re.compile(r"(?:MGRS-|T)?([0-9]{1,2})([A-Z])([A-Z])([A-Z])", re.IGNORECASE)
"""The code of a tile, also as Sentinel-2's products (T33UUP) and the STAC grid extension (MGRS-33UUP) write it."""


class TileError(ValueError):
    """A code that is no tile's; the message says what is wrong with it."""


def mgrs_tiles(x: np.ndarray, y: np.ndarray, crs: str) -> np.ndarray:
    """The tile of each place (place,) in a CRS, texts such as ``33UVP``; `NONE` near the poles and for no place.

    Source: NGA.STND.0037, Universal Grids and Grid Reference Systems (2014), chapters 2 and 3, for WGS 84.
    """
    lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
    told = np.full(len(x), NONE, dtype=object)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(lon) & np.isfinite(lat) & (lat >= SOUTH) & (lat < NORTH)
    zones = np.zeros(len(x), dtype=np.int64)
    zones[known] = _zones(lon[known], lat[known])
    for zone in np.unique(zones[known]).tolist():
        here = np.flatnonzero(zones == zone)
        # One false northing for both hemispheres: rows of letters come again after 2 000 km, and 10 000 km are five.
        east, north = transformer("EPSG:4326", f"EPSG:{32600 + zone}").transform(lon[here], lat[here])
        col, row = (np.floor(each / SIDE).astype(np.int64) for each in (east, north))
        band = np.minimum((lat[here] - SOUTH) // 8, len(BANDS) - 1).astype(np.int64)
        col = (zone - 1) % 3 * 8 + col - 1
        row = (row + (5 if zone % 2 == 0 else 0)) % len(ROWS)
        keys, places = np.unique(np.column_stack([band, col, row]), axis=0, return_inverse=True)
        names = [f"{zone:02d}{BANDS[b]}{COLUMNS[c]}{ROWS[r]}" for b, c, r in keys.tolist()]
        told[here] = np.array(names, dtype=object)[places.reshape(-1)]
    return told


def _zones(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The zone, 1 to 60, of places in degrees, with the exceptions of Norway and Svalbard."""
    around = np.where(lon >= 180, lon - 360, lon)
    zones: np.ndarray = ((around + 180) // 6).astype(np.int64) + 1
    zones[(lat >= 56) & (lat < 64) & (around >= 3) & (around < 12)] = 32
    svalbard = (lat >= 72) & (around >= 0) & (around < 42)
    zones[svalbard] = np.array([31, 33, 35, 37])[np.searchsorted([9, 21, 33], around[svalbard], side="right")]
    return zones


def tile_code(text: str) -> str | None:
    """The code of a tile in capitals, ``33UUP``, for a text of its form; None for any other text."""
    found = CODE.fullmatch(text.strip())
    return None if found is None else f"{int(found[1]):02d}{found[2]}{found[3]}{found[4]}".upper()


def tile_square(code: str) -> tuple[BaseGeometry, str, BaseGeometry]:
    """The square of a tile in its zone, the zone's CRS, and the zone's cell in degrees, beyond which the square is cut.

    The northing is that of the north's zone, negative in the south, so that one CRS serves both.

    Raises TileError for a code that no tile has.
    """
    zone, band, column, row = int(code[:2]), code[2], code[3], code[4]
    if not 1 <= zone <= 60 or band not in BANDS:
        raise TileError(f"{code}: there is no zone {code[:3]}: zones are 1 to 60, and their bands {BANDS}")
    cell = _cell(zone, band)
    if cell is None:
        raise TileError(f"{code}: there is no zone {code[:3]}, which its neighbours cover")
    places = shapely.get_coordinates(shapely.segmentize(shapely.box(*cell), 0.5))
    crs = f"EPSG:{32600 + zone}"
    east, north = transformer("EPSG:4326", crs).transform(*places.T)
    cols = range(math.floor(east.min() / SIDE), math.floor(east.max() / SIDE) + 1)
    rows = range(math.floor(north.min() / SIDE), math.floor(north.max() / SIDE) + 1)
    of_zone = {_column(zone, each): each for each in cols}
    of_band = {_row(zone, each): each for each in rows}
    ground = shapely.polygons(np.column_stack([east, north]))
    if column in of_zone and row in of_band:
        left, bottom = of_zone[column] * SIDE, of_band[row] * SIDE
        square = shapely.box(left, bottom, left + SIDE, bottom + SIDE)
        if square.intersection(ground).area > 0:
            return square, crs, shapely.box(*cell)
    columns, lines = "".join(of_zone), "".join(of_band)
    raise TileError(
        f"{code}: there is no such tile: zone {code[:3]} has columns among {columns} and rows among {lines}"
    )


def _column(zone: int, col: int) -> str:
    return COLUMNS[((zone - 1) % 3 * 8 + col - 1) % len(COLUMNS)]


def _row(zone: int, row: int) -> str:
    return ROWS[(row + (5 if zone % 2 == 0 else 0)) % len(ROWS)]


def _cell(zone: int, band: str) -> tuple[float, float, float, float] | None:
    """(west, south, east, north) of a zone's cell in degrees; None where there is none. With Norway and Svalbard."""
    south = SOUTH + 8 * BANDS.index(band)
    north = NORTH if band == "X" else south + 8
    west = -180.0 + 6 * (zone - 1)
    east = west + 6
    if band == "V" and zone in {31, 32}:
        west, east = {31: (0.0, 3.0), 32: (3.0, 12.0)}[zone]
    if band == "X" and 31 <= zone <= 37:
        if zone % 2 == 0:
            return None
        west, east = {31: (0.0, 9.0), 33: (9.0, 21.0), 35: (21.0, 33.0), 37: (33.0, 42.0)}[zone]
    return west, south, east, north
