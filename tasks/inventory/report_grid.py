"""The grid of a finished product, from its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyproj

from tilewright.tasks.grid.grid import Grid, GridError, snap_bounds
from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.storage.storage import Storage


def report_grid(storage: Storage, report: Mapping[str, Any]) -> Grid:
    """The grid of a finished product, as its ``report`` says. Raises StoreError for one that does not."""
    try:
        told = report["grid"]
        resolution, bounds = float(told["resolution"]), tuple(float(edge) for edge in told["bounds"])
        west, south, east, north = bounds
        extent = snap_bounds((west, south, east, north), resolution=resolution)
        if extent.shape != tuple(told["shape"]):
            raise ValueError("the bounds are not those of the shape")
        crs = pyproj.CRS.from_user_input(str(told["crs"]))
        if not (crs.is_projected or crs.is_geographic):
            raise ValueError("the CRS has no map")
        return Grid(crs=str(told["crs"]), resolution=resolution, extent=extent)
    except (
        pyproj.exceptions.CRSError,
        KeyError,
        TypeError,
        ValueError,
        ZeroDivisionError,
        OverflowError,
        GridError,
    ) as error:
        raise StoreError(f"{storage.uri}/report.json does not say the grid of the product: restore it.") from error
