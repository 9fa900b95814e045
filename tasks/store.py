"""The Zarr store of a product: declared whole and empty first, then filled one whole shard at a time."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyproj
import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import ZarrUserWarning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tasks.grid import Grid, PixelBox
    from tasks.storage import Storage

STORE = "data.zarr"
INNER_CHUNK = 512
"""Pixels per side of a piece that can be read alone, near what a viewer asks for at once."""

ZSTD_LEVEL = 1
"""FACTS: level 1 writes 563 Mpx per core-second of classes, and higher levels gain little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as it is stored; ``nodata`` is also what Zarr returns for what was never written."""

    name: str
    dtype: str
    nodata: float
    unit: str = "1"
    description: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStore:
    """The open store: ``box`` is what it covers in absolute pixels, ``block`` the shard's side in pixels."""

    group: zarr.Group
    box: PixelBox
    block: int

    def write_block(self, inner: PixelBox, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one block of every layer given; each array (height, width) is exactly one shard.

        A write of less would read, merge and replace what another writer holds: Zarr loses pixels then without a word.
        """
        for name, array in arrays.items():
            target = self._array(name)
            rows, cols = self._shard_slices(inner, array, target)
            target[rows, cols] = array

    def read_box(self, name: str, box: PixelBox) -> np.ndarray:
        """One layer inside ``box``, shape (height, width), stored dtype."""
        rows, cols = box.slices_in(self.box)
        return np.asarray(self._array(name)[rows, cols])

    def block_checksum(self, inner: PixelBox, names: Sequence[str]) -> dict[str, str]:
        """The checksum of each layer's block as it reads back now.

        Raises whatever the codecs raise where stored bytes are broken.
        """
        return {name: checksum(self.read_box(name, inner)) for name in names}

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self.group[name]
        assert isinstance(array, zarr.Array), f"{name} is a layer"
        return array

    def _shard_slices(self, inner: PixelBox, array: np.ndarray, target: zarr.Array[Any]) -> tuple[slice, slice]:
        rows, cols = inner.slices_in(self.box)
        shard = target.shards or target.chunks
        whole = (
            inner.shape == (self.block, self.block) == tuple(shard) == array.shape
            and rows.start % self.block == 0
            and cols.start % self.block == 0
            and rows.start >= 0
            and cols.start >= 0
            and rows.stop <= target.shape[0]
            and cols.stop <= target.shape[1]
        )
        if not whole:
            raise ValueError(
                f"A write of {array.shape} at {inner} is not one whole shard of {shard}: other writers' pixels would "
                "be lost. Write exactly one block."
            )
        if array.dtype != target.dtype:
            raise ValueError(f"Layer {target.name} stores {target.dtype}, not {array.dtype}.")
        return rows, cols


def declare_store(
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    layers: Sequence[StoredLayer],
    attributes: Mapping[str, Any],
    zarr_format: Literal[2, 3] = 3,
) -> None:
    """Write the metadata of the whole store: every layer, coordinates and CRS, no pixel. Doing it twice is harmless."""
    store = storage.zarr(STORE)
    group = zarr.open_group(store, mode="a", zarr_format=zarr_format)
    # xarray takes a grid mapping for a coordinate, where rioxarray looks for it, only when it is named as one.
    described = {"Conventions": "CF-1.11", "coordinates": "spatial_ref", **_grid_attributes(grid, box)}
    group.attrs.update({**described, **attributes})
    _declare_coordinates(group, grid, box, zarr_format=zarr_format)
    for layer in layers:
        if layer.name not in group:
            _declare_layer(group, layer, box=box, block=block, zarr_format=zarr_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(store, zarr_format=zarr_format)


def open_store(storage: Storage, *, box: PixelBox, block: int, read_only: bool = False) -> ProductStore:
    """The declared store, for writing blocks or for reading."""
    store = storage.zarr(STORE, read_only=read_only)
    group = zarr.open_group(store, mode="r" if read_only else "r+", use_consolidated=False)
    return ProductStore(group=group, box=box, block=block)


def checksum(array: np.ndarray) -> str:
    """SHA-256 in hex over the array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _declare_layer(
    group: zarr.Group, layer: StoredLayer, *, box: PixelBox, block: int, zarr_format: Literal[2, 3]
) -> None:
    fill = np.array(layer.nodata, dtype=layer.dtype)
    inner = INNER_CHUNK if block % INNER_CHUNK == 0 else block
    sharding: dict[str, Any] = (
        {"chunks": (inner, inner), "shards": (block, block), "compressors": ZstdCodec(level=ZSTD_LEVEL)}
        if zarr_format == 3
        else {"chunks": (block, block), "compressors": "auto"}
    )
    attributes = {
        "grid_mapping": "spatial_ref",
        "long_name": layer.description or layer.name,
        "units": layer.unit,
        **dict(layer.attributes),
    }
    if np.issubdtype(fill.dtype, np.integer):
        attributes["_FillValue"] = int(layer.nodata)
    group.create_array(
        layer.name,
        shape=box.shape,
        dtype=layer.dtype,
        fill_value=fill.item(),
        attributes=_named(attributes, ("y", "x"), zarr_format),
        dimension_names=("y", "x") if zarr_format == 3 else None,
        **sharding,
    )


def _declare_coordinates(group: zarr.Group, grid: Grid, box: PixelBox, *, zarr_format: Literal[2, 3]) -> None:
    size = grid.resolution
    axes = {
        "y": -(np.arange(box.row_start, box.row_stop) + 0.5) * size,
        "x": (np.arange(box.col_start, box.col_stop) + 0.5) * size,
    }
    for name, values in axes.items():
        if name in group:
            continue
        attributes = {
            "standard_name": f"projection_{name}_coordinate",
            "units": pyproj.CRS(grid.crs).axis_info[0].unit_name,
            "axis": name.upper(),
        }
        names = (name,) if zarr_format == 3 else None
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="float64",
            dimension_names=names,
            attributes=_named(attributes, (name,), zarr_format),
        )
        array[:] = values
    if "spatial_ref" not in group:
        attributes = {**pyproj.CRS(grid.crs).to_cf(), "GeoTransform": _geotransform(grid, box)}
        group.create_array(
            "spatial_ref", shape=(), dtype="int64", fill_value=0, attributes=_named(attributes, (), zarr_format)
        )


def _named(attributes: Mapping[str, Any], names: tuple[str, ...], zarr_format: Literal[2, 3]) -> dict[str, Any]:
    """Attributes with xarray's dimension names where the Zarr format (2) has no field for them."""
    return {**attributes, "_ARRAY_DIMENSIONS": list(names)} if zarr_format == 2 else dict(attributes)


def _grid_attributes(grid: Grid, box: PixelBox) -> dict[str, Any]:
    """The store's place by the proj: and spatial: conventions for Zarr groups."""
    transform = grid.transform_of(box)
    code = {"proj:code": grid.crs} if ":" in grid.crs[:12] else {"proj:wkt2": grid.crs}
    return {
        **code,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": list(transform)[:6],
        "spatial:bbox": list(grid.bounds_of(box)),
        "spatial:shape": list(box.shape),
    }


def _geotransform(grid: Grid, box: PixelBox) -> str:
    return " ".join(repr(float(value)) for value in grid.transform_of(box).to_gdal())
