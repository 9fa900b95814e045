"""Where a Zarr group's rasters lie, said by CF, by GDAL's attribute and by the proj: and spatial: conventions."""

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


ON_LATTICE = 1e-6
"""Pixels by which an origin may miss the lattice and still lie on it; levels of a pyramid may truly lie beside it."""

_SCHEMA = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v0.1/schema.json"

_SPEC = "https://github.com/zarr-conventions/{}/blob/v0.1/README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """A north-up raster's place: CRS, the affine from (column, row) to (x, y), and shape (height, width)."""

    crs: str
    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, grid: Grid, box: PixelBox) -> Georeference:
        """The place of a box of a grid's pixels."""
        return cls(crs=grid.crs, transform=grid.transform_of(box), shape=box.shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy)."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.shape[1], self.shape[0])
        return (left, bottom, right, top)


def declare_grid(group: zarr.Group, place: Georeference) -> None:
    """Give a group its coordinates, its CRS and its place. Doing it twice is harmless."""
    zarr_format = group.metadata.zarr_format
    # xarray takes a grid mapping for a coordinate, where rioxarray looks for it, only when it is named as one.
    group.update_attributes({"Conventions": "CF-1.11", "coordinates": "spatial_ref", **_conventions(group, place)})
    for name, values in _centres(place).items():
        if name not in group:
            _declare_axis(group, name, values, crs=place.crs, zarr_format=zarr_format)
    if "spatial_ref" not in group:
        transform = " ".join(repr(float(value)) for value in place.transform.to_gdal())
        attributes = {**pyproj.CRS(place.crs).to_cf(), "GeoTransform": transform}
        group.create_array(
            "spatial_ref", shape=(), dtype="int64", fill_value=0, attributes=named(attributes, (), zarr_format)
        )


def named(attributes: Mapping[str, Any], names: tuple[str, ...], zarr_format: int) -> dict[str, Any]:
    """Attributes with xarray's dimension names where the Zarr format (2) has no field for them."""
    return {**attributes, "_ARRAY_DIMENSIONS": list(names)} if zarr_format == 2 else dict(attributes)


def _centres(place: Georeference) -> dict[str, np.ndarray]:
    height, width = place.shape
    return {
        "y": _axis(place.transform.f, place.transform.e, height),
        "x": _axis(place.transform.c, place.transform.a, width),
    }


def _axis(origin: float, step: float, n_pixels: int) -> np.ndarray:
    """Pixel centres as multiples of the pixel from the CRS origin: the same number for a pixel whatever the box."""
    first = origin / step
    whole = round(first)
    start = whole if abs(first - whole) < ON_LATTICE else first
    return (start + np.arange(n_pixels) + 0.5) * step


def _declare_axis(group: zarr.Group, name: str, values: np.ndarray, *, crs: str, zarr_format: int) -> None:
    attributes = {**_axis_words(name, crs), "axis": name.upper()}
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype="float64",
        dimension_names=(name,) if zarr_format == 3 else None,
        attributes=named(attributes, (name,), zarr_format),
    )
    array[:] = values


def _axis_words(name: str, crs: str) -> dict[str, str]:
    """Name and units of an axis. Source: CF-1.11, sections 4.1, 4.2 and 5.6."""
    if is_geographic(crs):
        standard, unit = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}[name]
        return {"standard_name": standard, "units": unit}
    return {"standard_name": f"projection_{name}_coordinate", "units": pyproj.CRS(crs).axis_info[0].unit_name}


def _conventions(group: zarr.Group, place: Georeference) -> dict[str, Any]:
    """The place by the conventions for Zarr groups, beside any other convention the group follows."""
    code = (
        {"proj:code": place.crs} if ":" in place.crs[:12] else {"proj:wkt2": pyproj.CRS(place.crs).to_wkt("WKT2_2019")}
    )
    ours = {PROJ["uuid"], SPATIAL["uuid"]}
    attributes: dict[str, Any] = dict(group.attrs)
    others = [entry for entry in attributes.get("zarr_conventions", []) if entry["uuid"] not in ours]
    return {
        "zarr_conventions": [PROJ, SPATIAL, *others],
        **code,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": list(place.transform)[:6],
        "spatial:bbox": list(place.bounds),
        "spatial:shape": list(place.shape),
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
