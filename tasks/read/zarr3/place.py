"""Where a Zarr v3 array lies: CRS and transform from its attributes, its group's, its grid mapping, its coordinates."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from tilewright.tasks.read.zarr3.array import number_of, read_array
from tilewright.tasks.read.zarr3.chunks import ArrayChunks
from tilewright.tasks.read.zarr3.mapping import attributes_beside, crs_of, mapping_name
from tilewright.tasks.read.zarr3.objects import RefusedArrayError, is_plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rasterio.crs import CRS

    from tilewright.tasks.read.zarr3.array import ArrayFacts
    from tilewright.tasks.read.zarr3.objects import StoreObjects


MOST_COORDINATES = 2**22

MOST_REQUESTS = 4096
"""Chunks in which coordinates may lie."""

OTHER_UNITS = ("km", "kilometer", "kilometers", "kilometre", "kilometres", "rad", "radian", "radians", "microradian")
"""Units of coordinates that are not those of a CRS, metres or degrees."""

UNEVEN = 0.01
"""Shares of a pixel by which coordinates may lie beside an even grid: those of float32 are rounded."""


def place_of(objects: StoreObjects, folder: str, facts: ArrayFacts) -> tuple[CRS | None, Affine | None]:
    """CRS and transform of an array of rows and columns, None for what nothing says.

    What the array says itself comes before what its grid mapping says, that before what its group says, and that
    before what a variable beside it says that it does not name as its grid mapping.
    Raises OSError where a document cannot be had, RefusedArrayError for coordinates that are no even grid.
    """
    parent = folder.rpartition("/")[0]
    crs = transform = geo = None
    for told in chain([facts.attributes], _mapping(objects, parent, facts), _group(objects, parent) if folder else ()):
        crs, transform, geo = crs or crs_of(told), transform or _transform(told, facts), geo or _geo_transform(told)
        if crs is not None and transform is not None:
            break
    if crs is None and folder:
        for told in attributes_beside(objects, parent, facts.attributes, facts.names):
            if (crs := crs_of(told)) is not None:
                geo = geo or _geo_transform(told)
                break
    return crs, transform or _beside_coordinates(geo, objects, parent, facts)


def _group(objects: StoreObjects, parent: str) -> Iterator[Mapping[str, Any]]:
    document = objects.document(parent)
    if document is not None and isinstance(document.get("attributes"), dict):
        yield document["attributes"]


def _mapping(objects: StoreObjects, parent: str, facts: ArrayFacts) -> Iterator[Mapping[str, Any]]:
    name = mapping_name(facts.attributes, facts.names)
    document = None if name is None else objects.document(f"{parent}/{name}")
    if document is not None and isinstance(document.get("attributes"), dict):
        yield document["attributes"]


def _transform(attributes: Mapping[str, Any], facts: ArrayFacts) -> Affine | None:
    """The transform that attributes state, from the corner of a pixel; None for that of an array of another shape."""
    for prefix in ("spatial:", "proj:"):
        numbers = _numbers(attributes.get(f"{prefix}transform"))
        shape = attributes.get(f"{prefix}shape")
        if len(numbers) in {6, 9} and (not isinstance(shape, list) or shape == list(facts.shape[-2:])):
            centred = prefix == "spatial:" and attributes.get("spatial:registration") == "node"
            return Affine(*numbers[:6]) * Affine.translation(-0.5, -0.5) if centred else Affine(*numbers[:6])
    return None


def _geo_transform(attributes: Mapping[str, Any]) -> Affine | None:
    """GDAL's own attribute of a grid mapping."""
    text = attributes.get("GeoTransform")
    numbers = _numbers(text.split() if isinstance(text, str) else text)
    return Affine.from_gdal(*numbers) if len(numbers) == 6 else None


def _numbers(value: Any) -> list[float]:
    try:
        found = [float(each) for each in value[:10]] if isinstance(value, list) else []
    except (TypeError, ValueError, OverflowError):
        return []
    return found if np.isfinite(found).all() else []


def _beside_coordinates(geo: Affine | None, objects: StoreObjects, parent: str, facts: ArrayFacts) -> Affine | None:
    """The transform of the coordinates, or a GeoTransform that says the same in its own digits.

    What xarray cuts out of an array keeps the GeoTransform of the whole, and has coordinates of its own.
    """
    try:
        found = _from_coordinates(objects, parent, facts)
    except RefusedArrayError:
        if geo is None:
            raise
        return geo
    if geo is None or found is None or geo.b or geo.d:
        return geo or found
    height, width = facts.shape[-2:]
    corners = (0.0, 0.0), (float(width), float(height))
    apart = max(abs(a - b) for corner in corners for a, b in zip(~found * (geo * corner), corner, strict=True))
    return geo if apart <= UNEVEN else found


def _from_coordinates(objects: StoreObjects, parent: str, facts: ArrayFacts) -> Affine | None:
    """The transform from the coordinates of pixel centres, arrays of the names of the last two dimensions."""
    if len(facts.names) < 2:
        return None
    axes = []
    for name, length in zip(facts.names[-2:], facts.shape[-2:], strict=True):
        values = _coordinates(objects, f"{parent}/{name}".lstrip("/"), length) if is_plain_name(name) else None
        if values is None:
            return None
        axes.append(_even(values, name))
    (top, down), (left, right) = axes
    return Affine(right, 0, left - right / 2, 0, down, top - down / 2)


def _coordinates(objects: StoreObjects, folder: str, length: int) -> np.ndarray | None:
    document = objects.document(folder) if 2 <= length <= MOST_COORDINATES else None
    if document is None:
        return None
    axis = read_array(document)
    if axis.shape != (length,):
        return None
    found = np.empty(length, np.float64)
    (step,) = axis.chunk
    if length / step > MOST_REQUESTS or axis.attributes.get("units") in OTHER_UNITS:
        raise RefusedArrayError(f"its coordinates {folder[-40:]} are in too many chunks, or in km or radians")
    for (number,), chunk in ArrayChunks(objects, folder, axis).at([(n,) for n in range(-(-length // step))]).items():
        inside = slice(number * step, min(length, (number + 1) * step))
        found[inside] = axis.fill if chunk is None else chunk[: inside.stop - inside.start]
    scale, offset = (number_of(axis.attributes.get(key)) for key in ("scale_factor", "add_offset"))
    return found * (1.0 if scale is None else scale) + (offset or 0.0)


def _even(values: np.ndarray, name: str) -> tuple[float, float]:
    """(first, step) of coordinates. Raises RefusedArrayError for those that are no even grid."""
    first, step = float(values[0]), float((values[-1] - values[0]) / (len(values) - 1))
    apart = np.abs(values - (first + step * np.arange(len(values))))
    if not (step and np.isfinite(values).all() and apart.max() <= UNEVEN * abs(step)):
        raise RefusedArrayError(f"its coordinates {name[:40]} are no even grid")
    return first, step
