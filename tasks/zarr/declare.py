"""Declares the two Zarr stores of a product, metadata alone: its own arrays, and the blocks that wait to be cut out.

A block is exactly one shard, and blocks lie on a lattice from the CRS origin, while an array begins at the first pixel
of the product, which is rarely a block's. Workers therefore write whole blocks into a store beside the ledger
(``BLOCKS``). When all are there, the product's arrays (``STORE``) are cut out of them, shard by shard, and the blocks
are removed: readers see the shape and the transform of the product's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from zarr.codecs import ZstdCodec

from tilewright.tasks.inventory.record import STORE_FOLDER
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.declared import Declaration, put_objects, shape_of
from tilewright.tasks.zarr.georeference import FLAT, Georeference, declare_grid, with_dimension_names
from tilewright.tasks.zarr.period import declare_period

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.period import Period


STORE = STORE_FOLDER

BLOCKS = f"{STATE_FOLDER}/blocks.zarr"

INNER_CHUNK = 512
"""Side in pixels of a chunk, the smallest piece that can be read alone; about the size of a viewer's requests."""

VECTOR_CHUNK = 2**20
"""Numbers of a chunk of vectors at most, so that the vector of one pixel is read without much more."""

ZSTD_LEVEL = 1
"""Measured: level 1 writes 563 Mpx of classes per core-second, and higher levels save little space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as it is stored; ``nodata`` is also the fill value, which Zarr returns for unwritten chunks.

    ``counts``: 0 is a number like any other, as of observations, and no reader may take it for missing. ``length``:
    numbers of a vector for each pixel, along a third dimension; 0 for one number a pixel.
    """

    name: str
    dtype: str
    nodata: float
    unit: str = "1"
    counts: bool = False
    description: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()
    length: int = 0

    @property
    def trailing(self) -> tuple[int, ...]:
        """The dimensions of its array beyond (y, x)."""
        return (self.length,) if self.length else ()


def declare_store(
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    layers: Sequence[StoredLayer],
    attributes: Mapping[str, Any],
    period: Period | None = None,
    conventions: Sequence[Mapping[str, str]] = (),
    zarr_format: Literal[2, 3] = 3,
) -> None:
    """Write the metadata of both stores: layers, coordinates and CRS, no pixel.

    Repeated calls are harmless, and mend what is missing or damaged; pixels stay.

    The layers of the product have the extent of ``grid``; ``box`` holds the whole blocks of ``block`` pixels that cover
    it. ``period`` becomes the coordinate ``time``. ``conventions`` are those of ``attributes``, beside ours.

    Raises StoreError for existing arrays of another shape, which an older Tilewright left.
    """
    _check_shapes(storage, layers, grid.extent.shape, zarr_format=zarr_format)
    declared = Declaration(zarr_format)
    declare_grid(declared.group, Georeference.of(grid, grid.extent))
    if period is not None:
        declare_period(declared.group, period)
    known: Any = declared.group.attrs["zarr_conventions"]
    more = {"zarr_conventions": [*known, *conventions]} if conventions else {}
    declared.group.update_attributes({**attributes, **more})
    waiting = Declaration(3)
    for layer in layers:
        _declare_layer(declared.group, layer, shape=grid.extent.shape, block=block)
        _declare_layer(waiting.group, layer, shape=box.shape, block=block)
    declared.consolidate()
    put_objects(storage, STORE, declared.objects())
    put_objects(storage, BLOCKS, waiting.objects())


def array_layout(
    block: int, *, zarr_format: int, dimensions: tuple[str, str] = FLAT, trailing: tuple[int, ...] = ()
) -> dict[str, Any]:
    """The chunks, shards and compression of a layer's array, as arguments of ``create_array``.

    A shard has the size of a block, with chunks for viewing. Zarr format 2 has no shards: its chunks are that large.
    A chunk of vectors, which have the ``trailing`` dimension, holds fewer pixels.
    """
    if zarr_format == 2:
        return {"chunks": (block, block, *trailing), "compressors": "auto"}
    inner = INNER_CHUNK if block % INNER_CHUNK == 0 else block
    while inner % 2 == 0 and trailing and inner**2 * trailing[0] > VECTOR_CHUNK:
        inner //= 2
    return {
        "chunks": (inner, inner, *trailing),
        "shards": (block, block, *trailing),
        "compressors": ZstdCodec(level=ZSTD_LEVEL),
        "dimension_names": dimensions_of(dimensions, trailing),
    }


def dimensions_of(dimensions: tuple[str, ...], trailing: tuple[int, ...]) -> tuple[str, ...]:
    """The names of an array's dimensions: those of (y, x), and that of the numbers of vectors."""
    return (*dimensions, *("vector" for _ in trailing))


def _declare_layer(group: zarr.Group, layer: StoredLayer, *, shape: tuple[int, int], block: int) -> None:
    zarr_format = group.metadata.zarr_format
    assert not layer.counts or layer.nodata == 0, f"{layer.name}: chunks that nobody wrote count 0"
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
        shape=(*shape, *layer.trailing),
        dtype=layer.dtype,
        # Readers of Zarr format 2 take the fill value for missing; without one, unwritten chunks are 0.
        fill_value=None if layer.counts and zarr_format == 2 else fill.item(),
        attributes=with_dimension_names(attributes, dimensions_of(FLAT, layer.trailing), zarr_format),
        **array_layout(block, zarr_format=zarr_format, trailing=layer.trailing),
    )


def _check_shapes(storage: Storage, layers: Sequence[StoredLayer], shape: tuple[int, int], *, zarr_format: int) -> None:
    name = "zarr.json" if zarr_format == 3 else ".zarray"
    for layer in layers:
        existing = shape_of(read_object(storage, f"{STORE}/{layer.name}/{name}"))
        if existing is not None and existing != (*shape, *layer.trailing):
            raise StoreError(
                f"{storage.uri}/{STORE}/{layer.name} is {existing} pixels, and the product {shape}: it was begun "
                "with an older Tilewright, whose arrays hold whole blocks. Use --replace to start over, or another "
                "output."
            )
