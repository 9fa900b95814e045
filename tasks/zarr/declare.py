"""Declares the two Zarr stores of a product, metadata alone: its own arrays, and the blocks that wait to be cut out.

A block is exactly one shard, and blocks lie on a lattice from the CRS origin, while an array begins at the first pixel
of the product, which is rarely a block's. Workers therefore write whole blocks into a store beside the ledger
(``BLOCKS``). When all are there, the product's arrays (``STORE``) are cut out of them, shard by shard, and the blocks
are removed: readers see the shape and the transform of the product's files.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import ZarrUserWarning

from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.georeference import FLAT, Georeference, declare_grid, with_dimension_names
from tilewright.tasks.zarr.period import declare_period

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.period import Period


STORE = "data.zarr"

BLOCKS = f"{STATE_FOLDER}/blocks.zarr"

INNER_CHUNK = 512
"""Side in pixels of a chunk, the smallest piece that can be read alone; about the size of a viewer's requests."""

ZSTD_LEVEL = 1
"""Measured: level 1 writes 563 Mpx of classes per core-second, and higher levels save little space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as it is stored; ``nodata`` is also the fill value, which Zarr returns for unwritten chunks.

    ``counts``: 0 is a number like any other, as of observations, and no reader may take it for missing.
    """

    name: str
    dtype: str
    nodata: float
    unit: str = "1"
    counts: bool = False
    description: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()


def declare_store(
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    layers: Sequence[StoredLayer],
    attributes: Mapping[str, Any],
    period: Period | None = None,
    zarr_format: Literal[2, 3] = 3,
) -> None:
    """Write the metadata of both stores: layers, coordinates and CRS, no pixel; repeated calls are harmless.

    The layers of the product have the extent of ``grid``; ``box`` holds the whole blocks of ``block`` pixels that cover
    it. ``period`` becomes the coordinate ``time``.

    Raises StoreError for existing arrays of another shape, which an older Tilewright left.
    """

    def declare() -> None:
        store = storage.zarr(STORE)
        group = zarr.open_group(store, mode="a", zarr_format=zarr_format)
        _check_shapes(storage, group, layers, grid.extent.shape)
        declare_grid(group, Georeference.of(grid, grid.extent))
        if period is not None:
            declare_period(group, period)
        group.update_attributes(dict(attributes))
        for layer in layers:
            if layer.name not in group:
                _declare_layer(group, layer, shape=grid.extent.shape, block=block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(store, zarr_format=zarr_format)
        waiting = zarr.open_group(storage.zarr(BLOCKS), mode="a", zarr_format=3)
        for layer in layers:
            if layer.name not in waiting:
                _declare_layer(waiting, layer, shape=box.shape, block=block)

    storage.call_with_retries("declare the store in", declare)


def array_layout(block: int, *, zarr_format: int, dimensions: tuple[str, str] = FLAT) -> dict[str, Any]:
    """The chunks, shards and compression of a layer's array, as arguments of ``create_array``.

    A shard has the size of a block, with chunks for viewing. Zarr format 2 has no shards: its chunks are that large.
    """
    if zarr_format == 2:
        return {"chunks": (block, block), "compressors": "auto"}
    inner = INNER_CHUNK if block % INNER_CHUNK == 0 else block
    return {
        "chunks": (inner, inner),
        "shards": (block, block),
        "compressors": ZstdCodec(level=ZSTD_LEVEL),
        "dimension_names": dimensions,
    }


def _declare_layer(group: zarr.Group, layer: StoredLayer, *, shape: tuple[int, int], block: int) -> None:
    zarr_format = group.metadata.zarr_format
    fill = np.array(layer.nodata, dtype=layer.dtype)
    attributes = {
        "grid_mapping": "spatial_ref",
        "long_name": layer.description or layer.name,
        "units": layer.unit,
        **dict(layer.attributes),
    }
    if np.issubdtype(fill.dtype, np.integer) and not layer.counts:
        attributes["_FillValue"] = int(layer.nodata)
    group.create_array(
        layer.name,
        shape=shape,
        dtype=layer.dtype,
        fill_value=fill.item(),
        attributes=with_dimension_names(attributes, FLAT, zarr_format),
        **array_layout(block, zarr_format=zarr_format),
    )


def _check_shapes(storage: Storage, group: zarr.Group, layers: Sequence[StoredLayer], shape: tuple[int, int]) -> None:
    for layer in layers:
        existing = group.get(layer.name)
        if isinstance(existing, zarr.Array) and existing.shape != shape:
            raise StoreError(
                f"{storage.uri}/{STORE}/{layer.name} is {existing.shape} pixels, and the product {shape}: it was begun "
                "with an older Tilewright, whose arrays hold whole blocks. Use --replace to start over, or another "
                "output."
            )
