"""Where a Zarr v3 array lies: CRS and transform from its attributes, its group's, its grid mapping, its coordinates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from tilewright.tasks.read.zarr3.array import read_array
from tilewright.tasks.read.zarr3.chunks import ArrayChunks
from tilewright.tasks.read.zarr3.objects import RefusedArrayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.tasks.read.zarr3.array import ArrayFacts
    from tilewright.tasks.read.zarr3.objects import StoreObjects


CRS_KEYS = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "crs_wkt", "spatial_ref")
"""Attributes that name a CRS. Source: the conventions proj: and CF, as GDAL and eopf-geozarr write them."""

TRANSFORM_KEYS = ("spatial:transform", "proj:transform")
"""Attributes with the six numbers (or nine) of an affine, in the order of affine and STAC."""

MOST_COORDINATES = 2**22

UNEVEN = 0.01
"""Shares of a pixel by which coordinates may lie beside an even grid: those of float32 are rounded."""


def place_of(objects: StoreObjects, folder: str, facts: ArrayFacts) -> tuple[CRS | None, Affine | None]:
    """CRS and transform of an array of rows and columns, None for what nothing says.

    What the array says itself comes before what its grid mapping says, and that before what its group says.
    Raises OSError where a document cannot be had, RefusedArrayError for coordinates that are no even grid.
    """
    parent = folder.rpartition("/")[0]
    told = [facts.attributes, *_mapping(objects, parent, facts), *(_group(objects, parent) if folder else ())]
    crs = next((found for each in told if (found := _crs(each)) is not None), None)
    transform = next((found for each in told if (found := _transform(each)) is not None), None)
    return crs, transform or _from_coordinates(objects, parent, facts)


def _group(objects: StoreObjects, parent: str) -> Iterator[Mapping[str, Any]]:
    document = objects.document(parent)
    if document is not None and isinstance(document.get("attributes"), dict):
        yield document["attributes"]


def _mapping(objects: StoreObjects, parent: str, facts: ArrayFacts) -> Iterator[Mapping[str, Any]]:
    name = facts.attributes.get("grid_mapping")
    if not isinstance(name, str) or not name or "/" in name or name in {".", ".."}:
        return
    document = objects.document(f"{parent}/{name}")
    if document is not None and isinstance(document.get("attributes"), dict):
        yield document["attributes"]


def _crs(attributes: Mapping[str, Any]) -> CRS | None:
    for key in CRS_KEYS:
        value = attributes.get(key)
        if isinstance(value, dict):
            value = json.dumps(value)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value:
            try:
                return CRS.from_epsg(value) if isinstance(value, int) else CRS.from_user_input(value)
            except (CRSError, OverflowError):
                continue
    return None


def _transform(attributes: Mapping[str, Any]) -> Affine | None:
    for key in TRANSFORM_KEYS:
        numbers = _numbers(attributes.get(key))
        if len(numbers) in {6, 9}:
            return Affine(*numbers[:6])
    text = attributes.get("GeoTransform")
    numbers = _numbers(text.split() if isinstance(text, str) else text)
    return Affine.from_gdal(*numbers) if len(numbers) == 6 else None


def _numbers(value: Any) -> list[float]:
    try:
        found = [float(each) for each in value] if isinstance(value, list) else []
    except (TypeError, ValueError):
        return []
    return found if np.isfinite(found).all() else []


def _from_coordinates(objects: StoreObjects, parent: str, facts: ArrayFacts) -> Affine | None:
    """The transform from the coordinates of pixel centres, arrays of the names of the last two dimensions."""
    if len(facts.names) < 2:
        return None
    axes = []
    for name, length in zip(facts.names[-2:], facts.shape[-2:], strict=True):
        values = _coordinates(objects, f"{parent}/{name}".lstrip("/"), length)
        if values is None:
            return None
        axes.append(_even(values, name))
    (top, down), (left, right) = axes
    return Affine(right, 0, left - right / 2, 0, down, top - down / 2)


def _coordinates(objects: StoreObjects, folder: str, length: int) -> np.ndarray | None:
    document = objects.document(folder) if ".." not in folder.split("/") else None
    if document is None or length < 2 or length > MOST_COORDINATES:
        return None
    axis = read_array(document)
    if axis.shape != (length,):
        return None
    found = np.empty(length, np.float64)
    (step,) = axis.chunk
    for (number,), chunk in ArrayChunks(objects, folder, axis).at([(n,) for n in range(-(-length // step))]).items():
        inside = slice(number * step, min(length, (number + 1) * step))
        found[inside] = axis.fill if chunk is None else chunk[: inside.stop - inside.start]
    return found


def _even(values: np.ndarray, name: str) -> tuple[float, float]:
    """(first, step) of coordinates. Raises RefusedArrayError for those that are no even grid."""
    first, step = float(values[0]), float((values[-1] - values[0]) / (len(values) - 1))
    apart = np.abs(values - (first + step * np.arange(len(values))))
    if not (step and np.isfinite(values).all() and apart.max() <= UNEVEN * abs(step)):
        raise RefusedArrayError(f"its coordinates {name[:40]} are no even grid")
    return first, step
