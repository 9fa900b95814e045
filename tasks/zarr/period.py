"""The period of a product as the coordinate `time` of a Zarr group, by which products are joined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.zarr.georeference import add_coordinates, with_dimension_names

if TYPE_CHECKING:
    from datetime import datetime

    import zarr


Period = tuple["datetime", "datetime"]
"""The first and the last moment, both included, with a time zone."""

UNITS = "seconds since 1970-01-01"


def declare_period(group: zarr.Group, period: Period) -> None:
    """Write a group's scalar coordinate ``time``, the first moment, and its bounds, the second of them excluded.

    The layers stay (y, x), which GDAL needs, and xarray joins them along a new dimension: ``xr.concat(..., "time")``.
    Months that follow each other have bounds that meet. Source: CF-1.11, sections 4.4, 5.7 and 7.1.
    """
    first, last = math.floor(period[0].timestamp()), math.floor(period[1].timestamp()) + 1
    attributes = {
        "standard_name": "time",
        "long_name": "first moment of the period",
        "axis": "T",
        "units": UNITS,
        "calendar": "proleptic_gregorian",
        "bounds": "time_bounds",
    }
    _write(group, "time", np.array(first, dtype="int64"), (), attributes)
    _write(group, "time_bounds", np.array([first, last], dtype="int64"), ("bounds",), {})
    add_coordinates(group, "time", "time_bounds")


def _write(
    group: zarr.Group, name: str, values: np.ndarray, names: tuple[str, ...], attributes: dict[str, str]
) -> None:
    zarr_format = group.metadata.zarr_format
    if name not in group:
        group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype=values.dtype,
            # Readers of format 2 mask what equals the fill value, and 0 is a moment.
            fill_value=None if zarr_format == 2 else 0,
            dimension_names=names if zarr_format == 3 else None,
            attributes=with_dimension_names(attributes, names, zarr_format),
        )
    array: Any = group[name]
    array[...] = values
