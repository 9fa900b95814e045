"""A Zarr v3 array with the face of an open rasterio dataset, as far as this wing uses one."""

from __future__ import annotations

import base64
import math
import struct
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags

from tilewright.catalogs.hrefs import scheme_of, split_store
from tilewright.tasks.read.zarr3.array import number_of, read_array, refused_raster
from tilewright.tasks.read.zarr3.chunks import ArrayChunks
from tilewright.tasks.read.zarr3.objects import SCHEMES, RefusedArrayError, StoreObjects
from tilewright.tasks.read.zarr3.place import place_of
from tilewright.tasks.read.zarr3.root import only_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from tilewright.catalogs.network.connect import HostRules
    from tilewright.tasks.read.zarr3.array import ArrayFacts


AT_A_TIME, MOST_AT_A_TIME = 2**27, 1024
"""Bytes of chunks, and chunks, that a read holds beside what comes of them."""


class ZarrRaster:
    """An open array, (y, x) or (band, y, x). It has no overviews and no mask; its names are those of rasterio."""

    driver = "Zarr"

    gcps: tuple[list[Any], None] = ([], None)

    def __init__(self, name: str, chunks: ArrayChunks, *, crs: CRS | None, transform: Affine | None) -> None:
        facts = chunks.facts
        self.name, self._chunks, self.facts = name, chunks, facts
        self.crs, self.transform = crs, transform or Affine.identity()
        self.height, self.width = facts.shape[-2:]
        self.shape = (self.height, self.width)
        self.count = facts.shape[0] if len(facts.shape) == 3 else 1
        # GDAL knows no floats of 16 bits; those of 32 hold each of them.
        self._dtype = np.dtype(np.float32) if facts.dtype == np.float16 else facts.dtype
        self.dtypes = (self._dtype.name,) * self.count
        self.nodatavals = (_nodata(facts),) * self.count
        self.scales = (_number(facts, "scale_factor", 1.0),) * self.count
        self.offsets = (_number(facts, "add_offset", 0.0),) * self.count
        self.descriptions = (None,) * self.count
        self.block_shapes = [facts.chunk[-2:]] * self.count
        self.mask_flag_enums = ([MaskFlags.all_valid],) * self.count
        self.colorinterp = (ColorInterp.undefined,) * self.count

    def __enter__(self) -> ZarrRaster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open."""

    def tags(self, index: int = 0, ns: str | None = None) -> dict[str, str]:
        """It says nothing that this wing asks for by tags."""
        return {}

    def overviews(self, index: int) -> list[int]:
        """The factors of overviews: none."""
        return []

    def read(self, index: int, *, window: Any = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The numbers (y, x) of a band, from 1, in a window ((row_start, row_stop), (col_start, col_stop)).

        Chunks that were not written hold the array's fill value. Raises OSError as ``ArrayChunks.at``.
        """
        (top, bottom), (left, right) = window or ((0, self.height), (0, self.width))
        facts = self.facts
        made = np.empty((bottom - top, right - left), self._dtype) if out is None else out
        height, width = facts.chunk[-2:]
        lead = ((index - 1) // facts.chunk[0],) if len(facts.shape) == 3 else ()
        rows_of_chunks = range(top // height, -(-bottom // height))
        cols_of_chunks = range(left // width, -(-right // width))
        places = ((*lead, row, col) for row in rows_of_chunks for col in cols_of_chunks)
        # Some at a time, so that a large window does not hold all of its chunks beside itself.
        most = min(max(1, AT_A_TIME // facts.chunk_bytes), MOST_AT_A_TIME)
        while some := list(islice(places, most)):
            for place, chunk in self._chunks.at(some).items():
                row, col = place[-2] * height, place[-1] * width
                rows = slice(max(top, row), min(bottom, row + height, self.height))
                cols = slice(max(left, col), min(right, col + width, self.width))
                target = made[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
                if chunk is None:
                    target[...] = facts.fill
                    continue
                plane = chunk[(index - 1) % facts.chunk[0]] if lead else chunk
                target[...] = plane[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]
        return made


def open_zarr(signed: str, settings: Mapping[str, str], rules: HostRules | None) -> ZarrRaster | None:
    """The Zarr v3 array of an href; None where it names no store, one of another version, or one that is nowhere.

    ``settings`` are GDAL's for the place. Raises OSError where it cannot be asked, RefusedArrayError for an array
    that cannot be read here.
    """
    named = split_store(signed)
    if named is None or scheme_of(signed) not in SCHEMES:
        return None
    store, folder = named
    objects = StoreObjects(root=store, settings=settings, rules=rules)
    document = objects.document(folder)
    if document is None:
        return None
    if document.get("node_type") == "group" and not folder:
        # The metadata of a whole store may be older than that of its arrays.
        folder = only_array(objects, document)
        document = objects.document(folder) or {}
    facts = read_array(document)
    if (reason := refused_raster(facts)) is not None:
        raise RefusedArrayError(reason)
    crs, transform = place_of(objects, folder, facts)
    return ZarrRaster(signed, ArrayChunks(objects, folder, facts), crs=crs, transform=transform)


def _nodata(facts: ArrayFacts) -> float | None:
    """What the attributes call missing: CF's ``_FillValue`` or ESA's ``fill_value``.

    The array's own fill value is what was never written, which may be a value like any other.
    """
    for key in ("_FillValue", "fill_value", "missing_value"):
        value: Any = facts.attributes.get(key)
        number = _packed(value) if isinstance(value, str) and facts.dtype.kind == "f" else number_of(value)
        if number is None:
            continue
        # As the array holds it: not every whole number of 64 bits is a float, nor -9999 a float of 16 bits.
        if facts.dtype.kind != "f":
            return int(value) if number.is_integer() and abs(number) <= 2**64 else number
        with np.errstate(over="ignore"):
            return float(np.float16(number)) if facts.dtype == np.float16 else number
    return math.nan if facts.dtype.kind == "f" else None


def _packed(text: str) -> float | None:
    """The number of a float's marker as xarray writes it: the bytes of a double in base64."""
    try:
        content = base64.standard_b64decode(text)
    except ValueError:
        return None
    return float(struct.unpack("<d", content)[0]) if len(content) == 8 else None


def _number(facts: ArrayFacts, key: str, usual: float) -> float:
    """Scale or offset as the attributes state them; the usual one for no finite number, and for a scale of nothing."""
    value = number_of(facts.attributes.get(key))
    return usual if value is None or not math.isfinite(value) or (usual and not value) else value
