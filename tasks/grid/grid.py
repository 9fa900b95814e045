"""The grid of a product: square pixels on a lattice anchored at the CRS origin.

Pixel indices are counted from the origin of the CRS: ``row = round(-y / resolution)`` and
``col = round(x / resolution)``. A pixel therefore has the same index whatever area is requested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from tilewright.tasks.grid.crs import is_geographic
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


SNAP_TOLERANCE = 1e-6
"""Pixels by which a bound may miss a pixel edge and still count as on it."""

EDGE_SEGMENTS = 64
"""Segments into which the longest side of an area is cut before it is projected, so that edges may curve."""

MAX_DEGREES = 1.0
"""Degrees; the coarsest resolution of a geographic CRS, over 100 km. A larger number is taken for metres."""


MAX_SIDE = 2**31 - 1
"""Pixels per side of the largest grid: what a raster of GDAL's can have."""

MAX_INDEX = 2.0**50
"""Absolute pixels from the CRS origin beyond which a float no longer tells one from the next."""


class GridError(ValueError):
    """A grid that cannot be made; the message names the setting and the possible values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The lattice of square pixels of a CRS, and the extent of a product on it, in absolute pixels.

    ``crs`` is an authority code or WKT; ``resolution`` the pixel size in CRS units.
    """

    crs: str
    resolution: float
    extent: PixelBox

    def __post_init__(self) -> None:
        if not (math.isfinite(self.resolution) and self.resolution > 0):
            raise GridError(f"grid.resolution is {self.resolution}: it must be a positive number of CRS units.")
        if self.extent.empty:
            raise GridError("The area covers no pixel of the grid: enlarge the area or make grid.resolution finer.")

    @property
    def geobox(self) -> GeoBox:
        """The GeoBox of the extent."""
        return self.geobox_of(self.extent)

    def geobox_of(self, box: PixelBox) -> GeoBox:
        """The GeoBox of any box of absolute pixels."""
        return GeoBox(box.shape, self.transform_of(box), self.crs)

    def transform_of(self, box: PixelBox) -> Affine:
        """The affine transform whose origin is the box's upper left corner."""
        size = self.resolution
        return Affine(size, 0.0, box.col_start * size, 0.0, -size, -box.row_start * size)

    def bounds_of(self, box: PixelBox) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) of a box in CRS units."""
        size = self.resolution
        return box.col_start * size, -box.row_stop * size, box.col_stop * size, -box.row_start * size

    def rescale(self, *, numerator: int, denominator: int) -> Grid:
        """The grid with pixels ``denominator / numerator`` times the size and the smallest extent that covers this."""
        extent = self.extent.cover(numerator=numerator, denominator=denominator)
        return Grid(crs=self.crs, resolution=self.resolution * denominator / numerator, extent=extent)


def plan_grid(
    aoi: BaseGeometry,
    *,
    crs: str = "utm",
    resolution: float,
    bounds: tuple[float, float, float, float] | None = None,
) -> Grid:
    """The grid that covers ``aoi`` (EPSG:4326), snapped outwards to whole pixels from the CRS origin.

    ``crs`` is ``"utm"`` (the zone of the area's centre), an authority code or WKT. ``bounds`` in that CRS, if present,
    replace those of the area. With a geographic CRS, ``resolution`` is in degrees, at most MAX_DEGREES.

    Raises GridError for an unknown CRS, for a geographic CRS with a resolution in metres or an area across 180 degrees,
    and for an area that holds no pixel.
    """
    target = chosen_crs(aoi, crs)
    if is_geographic(target):
        _check_degrees(aoi, target, resolution=resolution, bounds=bounds)
    if bounds is None:
        projected = project_area(aoi, target)
        if projected.is_empty or not np.isfinite(projected.bounds).all():
            raise GridError(f"The area cannot be projected to {target}: choose a grid.crs whose domain holds the area.")
        bounds = projected.bounds
    return Grid(crs=target, resolution=resolution, extent=snap_bounds(bounds, resolution=resolution))


def chosen_crs(aoi: BaseGeometry, crs: str) -> str:
    """The CRS of a grid over ``aoi`` (EPSG:4326): ``"utm"`` (the zone of the area's centre), an authority code or WKT.

    Raises GridError for an unknown CRS, and for a centre beyond UTM's latitudes.
    """
    return utm_crs(aoi) if crs.lower() == "utm" else _known_crs(crs)


def snap_bounds(bounds: tuple[float, float, float, float], *, resolution: float) -> PixelBox:
    """The smallest box of absolute pixels that covers ``bounds`` (minx, miny, maxx, maxy) in CRS units."""
    minx, miny, maxx, maxy = (value / resolution for value in bounds)
    if not all(math.isfinite(edge) for edge in (minx, miny, maxx, maxy)):
        raise GridError(f"grid.resolution = {resolution:g} is too fine to count pixels: give metres, e.g. 10.")
    if max(maxx - minx, maxy - miny) > MAX_SIDE or max(map(abs, (minx, miny, maxx, maxy))) > MAX_INDEX:
        raise GridError(
            f"grid.resolution = {resolution:g} makes {maxx - minx:.3g} x {maxy - miny:.3g} px of the area or "
            f"grid.bounds, and a grid has at most {MAX_SIDE:,} a side: make it coarser, e.g. 10 m, or the area "
            "smaller."
        )
    if minx >= maxx or miny >= maxy:
        raise GridError(f"grid.bounds {bounds} are empty: give minx, miny, maxx, maxy in the units of grid.crs.")
    return PixelBox(
        row_start=math.floor(-maxy + SNAP_TOLERANCE),
        row_stop=math.ceil(-miny - SNAP_TOLERANCE),
        col_start=math.floor(minx + SNAP_TOLERANCE),
        col_stop=math.ceil(maxx - SNAP_TOLERANCE),
    )


def utm_crs(aoi: BaseGeometry) -> str:
    """``EPSG:326zz`` or ``EPSG:327zz``, the UTM zone of the area's centre.

    Source: DMA TM 8358.1 (1990), 3-1: zones of six degrees, wider ones over south-west Norway and Svalbard, like the
    zones of Sentinel-2 granules. Raises GridError for a centre beyond UTM's latitudes.
    """
    lon, lat = _centre(aoi)
    if not -80.0 <= lat <= 84.0:
        raise GridError(f"The area's centre lies at latitude {lat:.2f}, beyond UTM: give grid.crs, e.g. EPSG:3995.")
    zone = int((lon + 180.0) // 6.0) % 60 + 1
    if 56.0 <= lat < 64.0 and 3.0 <= lon < 12.0:
        zone = 32
    if lat >= 72.0 and 0.0 <= lon < 42.0:
        zone = (31, 33, 35, 37)[sum(lon >= edge for edge in (9.0, 21.0, 33.0))]
    return f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"


def project_area(aoi: BaseGeometry, crs: str) -> BaseGeometry:
    """The area (EPSG:4326) in ``crs``; its edges are densified, so that they follow parallels and meridians.

    Raises GridError for an area without an extent in both directions.
    """
    transformer = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    minx, miny, maxx, maxy = aoi.bounds
    longest = max(maxx - minx, maxy - miny)
    if longest <= 0:
        raise GridError("The area is empty: give a box or polygon with an extent in both directions.")
    dense = shapely.segmentize(aoi, min(longest / EDGE_SEGMENTS, 1.0))
    return shapely.transform(dense, transformer.transform, interleaved=False)


def _known_crs(crs: str) -> str:
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise GridError(f"grid.crs {crs!r} is no CRS: give 'utm', an EPSG code such as EPSG:3035, or WKT.") from error
    if not (parsed.is_projected or parsed.is_geographic):
        raise GridError(f"grid.crs {crs!r} has no map coordinates: give a projected CRS, e.g. 'utm'.")
    authority: Any = parsed.to_authority()
    return ":".join(authority) if authority else parsed.to_wkt()


def _check_degrees(
    aoi: BaseGeometry, crs: str, *, resolution: float, bounds: tuple[float, float, float, float] | None
) -> None:
    units = {axis.unit_name for axis in pyproj.CRS.from_user_input(crs).axis_info}
    if resolution > MAX_DEGREES or units != {"degree"}:
        raise GridError(
            f"grid.crs {crs!r} is geographic, where pixels are not equal in size, and grid.resolution = {resolution:g} "
            f"is not in degrees: give a projected CRS, e.g. 'utm', or degrees, e.g. 0.0001 (at most {MAX_DEGREES:g})."
        )
    if _split_at_180(aoi):
        raise GridError(
            f"The area crosses 180 degrees, where a grid in {crs!r} ends: give grid.crs: utm, or a job for each side."
        )
    if bounds is not None and not (max(abs(bounds[0]), abs(bounds[2])) <= 180 and max(map(abs, bounds[1::2])) <= 90):
        raise GridError(f"grid.bounds {bounds} leave the globe: give minx, miny, maxx, maxy, longitude first.")


def _split_at_180(aoi: BaseGeometry) -> bool:
    """True for an area with several parts that touches 180 degrees from both sides."""
    bounds = shapely.bounds(shapely.get_parts(aoi))
    west, east = (bounds[:, 0] <= -180.0 + SNAP_TOLERANCE).any(), (bounds[:, 2] >= 180.0 - SNAP_TOLERANCE).any()
    return len(bounds) > 1 and bool(west and east)


def _centre(aoi: BaseGeometry) -> tuple[float, float]:
    """(lon, lat) of the middle of the area's extent; parts split at 180 degrees are joined first."""
    parts = shapely.get_parts(aoi)
    bounds = shapely.bounds(parts)
    minx, maxx = bounds[:, 0], bounds[:, 2]
    if _split_at_180(aoi):
        west = maxx <= 0
        minx, maxx = np.where(west, minx + 360, minx), np.where(west, maxx + 360, maxx)
    lon = (float(minx.min()) + float(maxx.max())) / 2
    return (lon + 180.0) % 360.0 - 180.0, (float(bounds[:, 1].min()) + float(bounds[:, 3].max())) / 2
