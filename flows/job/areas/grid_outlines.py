"""The outlines that grids have: of an MGRS tile of 100 km by its name, and of a raster by its header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyproj
import shapely
from shapely.affinity import translate

from tilewright.catalogs.footprint import WORLD
from tilewright.flows.job.areas.outline import AreaError, Outline, crs_of, joined
from tilewright.tasks.grid.extents import bounds_of
from tilewright.tasks.grid.mgrs.tiles import TileError, tile_square

if TYPE_CHECKING:
    from pathlib import Path

QUARTER = 90.0
"""Degrees; no edge of a raster's outline in degrees is longer."""

RASTER = {".tif", ".tiff"}
"""Endings of rasters of which the outline is an area."""


def tile_outline(code: str) -> Outline:
    """The ground of an MGRS tile of 100 km, as far as its zone goes: each place on Earth is in one tile.

    Raises AreaError for a code that no tile has.
    """
    try:
        square, crs, cell = tile_square(code)
    except TileError as error:
        raise AreaError(f"{error}.") from error
    ground = joined([Outline(geometry=square, crs=pyproj.CRS.from_user_input(crs))])
    within = shapely.get_parts(ground.intersection(cell))
    return Outline(geometry=shapely.union_all([part for part in within if part.area > 0]))


def raster_outline(path: Path, shown: str) -> Outline:
    """The outline of a raster's grid, of which the header alone is read; `shown` is how its path was written.

    Raises AreaError for a file that is none, has no place on the Earth, or is rotated.
    """
    from rasterio.errors import RasterioError  # GDAL takes long to load, and few areas are rasters.

    from tilewright.tasks.read.gdal import read_header

    try:
        header = read_header(str(path), signed=str(path), extra={})
    except (RasterioError, OSError, ValueError) as error:
        raise AreaError(f"{shown} cannot be read as a GeoTIFF: {str(error)[:160]}.") from error
    if reason := header.refused_place():
        raise AreaError(f"{shown}: {reason}.")
    if header.transform.b or header.transform.d:
        raise AreaError(f"{shown} is rotated against its CRS: warp it north up, or give its outline as a polygon.")
    around = shapely.box(*bounds_of(header.shape, header.transform))
    crs = crs_of(header.crs)
    if crs.is_geographic:
        # Rasters in degrees may begin at 0 or go beyond 180, and half a cell beyond the poles.
        turns = (translate(around, xoff=turn).intersection(WORLD) for turn in (-360.0, 0.0, 360.0))
        # Edges of more than 180 degrees could be read two ways.
        around = shapely.segmentize(shapely.union_all([each for each in turns if each.area > 0]), QUARTER)
    return Outline(geometry=around, crs=crs)
