"""Coordinate reference systems: equality, transformers, units."""

from __future__ import annotations

from functools import lru_cache

import pyproj


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """True if two CRS texts (authority code or WKT) are the same CRS; axis order is ignored, as rasters use x, y."""
    if one == other:
        return True
    first, second = pyproj.CRS.from_user_input(one), pyproj.CRS.from_user_input(other)
    return bool(first.equals(second, ignore_axis_order=True))


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformer from one CRS text to another, x before y."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=64)
def is_geographic(crs: str) -> bool:
    """True for a CRS in degrees of longitude and latitude."""
    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


@lru_cache(maxsize=64)
def geographic_crs(crs: str) -> str:
    """The geographic CRS that a CRS of the ground is made from, as WKT: no datum is shifted on the way to it."""
    geodetic = pyproj.CRS.from_user_input(crs).geodetic_crs
    assert geodetic is not None, "a projected CRS has a geographic one"
    return str(geodetic.to_wkt())


def crs_unit(crs: str) -> str:
    """The unit of lengths in a CRS: ``m``, ``degrees`` or ``units``."""
    if is_geographic(crs):
        return "degrees"
    return "m" if metres_per_unit(crs) == 1 else "units"


def metres_per_unit(crs: str) -> float:
    """Metres in one unit of a CRS's first axis; 1.0 where it has none."""
    axes = pyproj.CRS.from_user_input(crs).axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0
