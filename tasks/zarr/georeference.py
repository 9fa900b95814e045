"""The georeference of a Zarr group, written as CF, GDAL, proj: and spatial: attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from tilewright.tasks.grid.crs import is_geographic

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zarr
    from affine import Affine

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


LATTICE_TOLERANCE = 1e-6
"""Pixels by which an origin may miss the lattice and still count as on it; pyramid levels may really be off it."""

_SCHEMA = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v0.1/schema.json"

_SPEC = "https://github.com/zarr-conventions/{}/blob/v0.1/README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """The georeference of a north-up raster: CRS, affine from (column, row) to (x, y), shape (height, width)."""

    crs: str
    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, grid: Grid, box: PixelBox) -> Georeference:
        """The georeference of a box of a grid's pixels."""
        return cls(crs=grid.crs, transform=grid.transform_of(box), shape=box.shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) in CRS units."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.shape[1], self.shape[0])
        return (left, bottom, right, top)


FLAT = ("y", "x")
"""The dimensions of a layer."""


def declare_grid(group: zarr.Group, georeference: Georeference, *, dimensions: tuple[str, str] = FLAT) -> None:
    """Write a group's coordinates, CRS and georeference; repeated calls are harmless.

    ``dimensions`` are the names of (y, x): a group inside another needs names of its own, since the groups of a tree
    share the coordinates of those above them (xarray, DataTree).
    """
    zarr_format = group.metadata.zarr_format
    group.update_attributes({"Conventions": "CF-1.11", **_conventions(group, georeference, dimensions)})
    # xarray makes the grid mapping a coordinate, as rioxarray expects, only if "coordinates" names it.
    add_coordinates(group, "spatial_ref")
    for name, axis, values in zip(dimensions, FLAT, _pixel_centres(georeference), strict=True):
        if name not in group:
            attributes = _axis_attributes(axis, georeference.crs)
            _declare_axis(group, name, values, attributes=attributes, zarr_format=zarr_format)
    if "spatial_ref" not in group:
        transform = " ".join(repr(float(value)) for value in georeference.transform.to_gdal())
        attributes = {**pyproj.CRS(georeference.crs).to_cf(), "GeoTransform": transform}
        group.create_array(
            "spatial_ref",
            shape=(),
            dtype="int64",
            fill_value=None if zarr_format == 2 else 0,
            attributes=with_dimension_names(attributes, (), zarr_format),
        )


def add_coordinates(group: zarr.Group, *names: str) -> None:
    """Add names to those of the group's coordinates that are no dimension. Source: xarray, ``decode_coords``."""
    known = str(group.attrs.get("coordinates", "")).split()
    group.update_attributes({"coordinates": " ".join(dict.fromkeys([*known, *names]))})


def with_dimension_names(attributes: Mapping[str, Any], names: tuple[str, ...], zarr_format: int) -> dict[str, Any]:
    """The attributes, with xarray's dimension names if the Zarr format is 2, which has no field for them."""
    return {**attributes, "_ARRAY_DIMENSIONS": list(names)} if zarr_format == 2 else dict(attributes)


def _pixel_centres(georeference: Georeference) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates (y, x)."""
    height, width = georeference.shape
    return (
        _axis(georeference.transform.f, georeference.transform.e, height),
        _axis(georeference.transform.c, georeference.transform.a, width),
    )


def _axis(origin: float, step: float, n_pixels: int) -> np.ndarray:
    """The pixel centres as multiples of the pixel size from the CRS origin: they do not depend on the box."""
    first = origin / step
    whole = round(first)
    start = whole if abs(first - whole) < LATTICE_TOLERANCE else first
    return (start + np.arange(n_pixels) + 0.5) * step


def _declare_axis(
    group: zarr.Group, name: str, values: np.ndarray, *, attributes: dict[str, str], zarr_format: int
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype="float64",
        # Readers of format 2 mask what equals the fill value, and 0 is a coordinate.
        fill_value=None if zarr_format == 2 else 0.0,
        dimension_names=(name,) if zarr_format == 3 else None,
        attributes=with_dimension_names(attributes, (name,), zarr_format),
    )
    array[:] = values


def _axis_attributes(axis: str, crs: str) -> dict[str, str]:
    """The standard name and units of the axis x or y. Source: CF-1.11, sections 4.1, 4.2 and 5.6."""
    if is_geographic(crs):
        standard, unit = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}[axis]
    else:
        standard, unit = f"projection_{axis}_coordinate", pyproj.CRS(crs).axis_info[0].unit_name
    return {"standard_name": standard, "units": unit, "axis": axis.upper()}


def _conventions(group: zarr.Group, georeference: Georeference, dimensions: tuple[str, str]) -> dict[str, Any]:
    """The georeference by the proj: and spatial: conventions; the group's other conventions are kept."""
    code = (
        {"proj:code": georeference.crs}
        if ":" in georeference.crs[:12]
        else {"proj:wkt2": pyproj.CRS(georeference.crs).to_wkt("WKT2_2019")}
    )
    ours = {PROJ["uuid"], SPATIAL["uuid"]}
    attributes: dict[str, Any] = dict(group.attrs)
    others = [entry for entry in attributes.get("zarr_conventions", []) if entry["uuid"] not in ours]
    return {
        "zarr_conventions": [PROJ, SPATIAL, *others],
        **code,
        "spatial:dimensions": list(dimensions),
        "spatial:transform": list(georeference.transform)[:6],
        "spatial:bbox": list(georeference.bounds),
        "spatial:shape": list(georeference.shape),
    }


def _convention(name: str, uuid: str, description: str) -> dict[str, Any]:
    return {
        "schema_url": _SCHEMA.format(name),
        "spec_url": _SPEC.format(name),
        "uuid": uuid,
        "name": name,
        "description": description,
    }


# Source: the READMEs of zarr-conventions/{multiscales,proj,spatial} at tag v0.1, "Convention Registration".
MULTISCALES = _convention("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets")

PROJ = _convention(
    "proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"
)

SPATIAL = _convention("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information")
