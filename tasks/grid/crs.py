"""Facts of coordinate reference systems: units, equality, transformers between two of them."""

from __future__ import annotations

from functools import lru_cache

import pyproj


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """True if two CRS texts (authority code or WKT) mean one CRS, in the x, y order rasters have."""
    if one == other:
        return True
    first, second = pyproj.CRS.from_user_input(one), pyproj.CRS.from_user_input(other)
    return bool(first.equals(second, ignore_axis_order=True))


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformation between two CRS texts, x before y."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=64)
def is_geographic(crs: str) -> bool:
    """True for a CRS in degrees of longitude and latitude."""
    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


def unit_word(crs: str) -> str:
    """What lengths of a CRS are counted in: ``m``, ``degrees`` or ``units``."""
    if is_geographic(crs):
        return "degrees"
    return "m" if metres_per_unit(crs) == 1 else "units"


def metres_per_unit(crs: str) -> float:
    """Metres in one unit of a CRS's first axis; 1.0 where it has none."""
    axes = pyproj.CRS.from_user_input(crs).axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0
