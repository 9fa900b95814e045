"""The CRS that a variable beside an array says: the array's grid mapping, or the one that rioxarray takes without."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyproj
from rasterio.crs import CRS
from rasterio.errors import CRSError

from tilewright.catalogs.hrefs import scheme_of, split_store
from tilewright.tasks.read.zarr3.array import DATE_NAMES, X_NAMES, Y_NAMES
from tilewright.tasks.read.zarr3.objects import (
    LARGEST_DOCUMENT,
    SCHEMES,
    RefusedArrayError,
    StoreObjects,
    is_plain_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.catalogs.network.connect import HostRules


CRS_KEYS = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "crs_wkt", "spatial_ref")
"""Attributes that name a CRS. Source: the conventions proj: and CF, as GDAL and eopf-geozarr write them."""

SPATIAL_REF = "spatial_ref"
"""The variable that rioxarray writes, and reads where an array names none. Source: rioxarray, DEFAULT_GRID_MAP."""

LIKELY_NAMES = (SPATIAL_REF, "crs", "grid_mapping", "projection")

OTHER_NAMES = frozenset({*X_NAMES, *Y_NAMES, *DATE_NAMES, "band", "bands", "z", "xc", "yc"})
"""Coordinates that are no grid mappings, for which no request is made."""

MOST_NAMED = 2
"""Variables among an array's coordinates that are looked at: each is a request."""


def mapping_name(attributes: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The grid mapping that an array of dimensions of these names states, in CF's long form too; None for none.

    Of several ("osgb: x y wgs84: lat lon") it is that of the array's own rows and columns. Source: CF 1.11, 5.6.
    """
    told = attributes.get("grid_mapping")
    found: dict[str, list[str]] = {}
    for word in told.split() if isinstance(told, str) else ():
        if word.endswith(":"):
            found[word[:-1]] = []
        elif found:
            found[[*found][-1]].append(word)
    own = [name for name, axes in found.items() if len(found) == 1 or set(names[-2:]) == set(axes)]
    name = told if not found else next(iter(own), None)
    return name if is_plain_name(name) else None


def names_beside(attributes: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The variables that may say the CRS of an array that states no grid mapping, the likeliest first.

    Arithmetic with xarray, and encodings given to its ``to_zarr``, lose the attribute, and the variable stays.
    """
    told = attributes.get("coordinates")
    words = told.split() if isinstance(told, str) else []
    named = [word for word in words if is_plain_name(word) and word not in names and word.lower() not in OTHER_NAMES]
    ranked = sorted(named, key=lambda name: name not in LIKELY_NAMES)
    return tuple(dict.fromkeys([*ranked[:MOST_NAMED], SPATIAL_REF]))


def crs_of(attributes: Mapping[str, Any]) -> CRS | None:
    """The CRS that attributes name, None where they name none that PROJ knows."""
    for key in CRS_KEYS:
        value = attributes.get(key)
        if not isinstance(value, (str, int, dict)) or isinstance(value, bool) or not value:
            continue
        try:
            # GDAL takes a text for the name of a file or a URL as well, and asks for it; PROJ does not.
            known = pyproj.CRS.from_user_input(value)
            return CRS.from_user_input(value) if isinstance(value, str) else CRS.from_wkt(known.to_wkt())
        except (pyproj.exceptions.ProjError, CRSError, TypeError, ValueError, OverflowError, RecursionError):
            continue
    return None


def attributes_beside(
    objects: StoreObjects, parent: str, attributes: Mapping[str, Any], names: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """The attributes of the variables of ``names_beside``, of those that are there; none with a grid mapping stated.

    Raises OSError where a store cannot be asked.
    """
    for name in names_beside(attributes, names) if mapping_name(attributes, names) is None else ():
        # Where nothing may be listed, what is not there is forbidden; what is no document says no CRS.
        with suppress(PermissionError, RefusedArrayError):
            document = objects.document(f"{parent}/{name}") or {}
            told = document.get("attributes")
            if isinstance(told, dict):
                yield told


def older_crs(signed: str, settings: Mapping[str, str], rules: HostRules | None) -> str:
    """The WKT of the CRS of an array in Zarr v2 of which GDAL knows none, as of one in v3; empty for none.

    Raises OSError where the store cannot be asked.
    """
    named = split_store(signed)
    if named is None or scheme_of(signed) not in SCHEMES:
        return ""
    store, folder = named
    objects = StoreObjects(root=store, settings=settings, rules=rules)
    attributes = _older_attributes(objects, folder) if folder else {}
    axes = attributes.get("_ARRAY_DIMENSIONS")
    names = [name for name in axes if isinstance(name, str)] if isinstance(axes, list) else []
    stated = mapping_name(attributes, names)
    parent = folder.rpartition("/")[0]
    beside = [f"{parent}/{name}" for name in (names_beside(attributes, names) if stated is None else (stated,))]
    found = crs_of(attributes)
    # What is stated comes before what the group says, and that before a variable that nothing names.
    for place in [*beside, parent] if stated is not None else [parent, *beside]:
        found = found or crs_of(_older_attributes(objects, place.lstrip("/")))
    return str(found.to_wkt()) if found is not None else ""


def _older_attributes(objects: StoreObjects, folder: str) -> dict[str, Any]:
    """The .zattrs of a folder, empty where there are none."""
    try:
        content = objects.read(f"{folder}/.zattrs".lstrip("/"), most=LARGEST_DOCUMENT)
        plain = json.loads(content or b"{}")
    except (PermissionError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
