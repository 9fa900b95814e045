"""Small cubes of made-up bands, as a loaded input is, for tests."""

from __future__ import annotations

import dask.array as da
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords


def cube(
    shape: tuple[int, int, int],
    *,
    chunks: int | None = None,
    size: float = 10.0,
    present: bool = True,
    **bands: np.ndarray,
) -> xr.Dataset:
    """A cube (time, y, x) of those bands on days from 1 June 2023; red is 0.1 everywhere unless it is one of them."""
    n_days, height, width = shape
    geobox = GeoBox.from_bbox((0, 0, width * size, height * size), "EPSG:32633", resolution=size)
    bands = {"red": np.full(shape, 0.1, np.float32), **bands}
    time = (
        np.arange("2023-06-01", n_days, dtype="datetime64[D]")
        if n_days == 0
        else np.datetime64("2023-06-01") + np.arange(n_days)
    )
    coords = {"time": time.astype("datetime64[ns]"), **xr_coords(geobox)}
    side = (1, chunks or height, chunks or width)
    variables = {name: (("time", "y", "x"), da.from_array(values, chunks=side)) for name, values in bands.items()}
    made = xr.Dataset(variables, coords=coords)
    return made.assign_coords({f"{name}_present": ("time", np.full(n_days, present)) for name in bands})
