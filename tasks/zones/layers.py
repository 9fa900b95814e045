"""The layers of a finished product, and their pixels in any box, read by whole tiles of the store."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory.report_grid import report_grid
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import fill_of
from tilewright.tasks.zarr.store import read_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage

CACHE_BYTES = 96 * 2**20
"""Bytes of tiles that are kept: the row of tiles below a zone of many, of several layers."""

TILE_SIDES = (128, 2048)
"""Least and largest side of a tile in pixels: a chunk of the store, if that lies between them."""

PLAIN = {
    "bool": "uint8", "int8": "int16", "uint16": "int32", "uint32": "int64", "uint64": "float64", "float16": "float32",
}  # fmt: skip
"""Types that exactextract does not take, and the next that holds their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLayer:
    """A layer by its name: the (value, name) of its classes, none for a layer of values, and its array (y, x).

    ``nodata`` is None where NaN is no value.
    """

    name: str
    classes: tuple[tuple[int, str], ...]
    array: zarr.Array[Any] = field(repr=False)
    nodata: int | float | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which pixels are handed out."""
        return np.dtype(PLAIN.get(self.array.dtype.name, self.array.dtype.name))

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        least, most = TILE_SIDES
        rows, cols = (side if least <= side <= most else 512 for side in self.array.chunks)
        return rows, cols


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLayers:
    """The layers of a product that were asked for, in the order asked, on the product's grid."""

    storage: Storage
    grid: Grid
    layers: tuple[ProductLayer, ...]


def open_layers(storage: Storage, names: Sequence[str] | None = None) -> ProductLayers:
    """The layers of a finished product with these names, None: all of them.

    Raises StoreError for a name that is no layer or stands twice, and for a product without its documents;
    StorageError if storage refuses.
    """
    report = read_object(storage, "report.json") or {}
    grid = report_grid(storage, report)
    told = report.get("layers")
    known = {str(each["name"]): each for each in _mappings(told) if isinstance(each.get("name"), str)}
    ids = {name for name, each in known.items() if each.get("kind") == "id"}
    wanted = tuple(name for name in known if name not in ids) if names is None else tuple(names)
    if not wanted:
        if names is None:
            raise StoreError(f"{storage.uri} has no layer, only tables of what was found: zones measure layers.")
        raise StoreError("--layers names no layer: give one, or leave it out for all of them.")
    for name in wanted:
        if name not in known:
            raise StoreError(f"{name!r} is no layer of {storage.uri}: it has {', '.join(known) or 'none'}.")
        if name in ids:
            raise StoreError(
                f"The layer {name} of {storage.uri} holds ids of objects, which have no mean: leave it out."
            )
    if len(set(wanted)) < len(wanted):
        raise StoreError(f"The layers {', '.join(wanted)} name one of them twice: give each once.")
    store = storage.zarr(STORE, read_only=True)
    layers = tuple(_layer(storage, store, name, known[name], grid) for name in wanted)
    return ProductLayers(storage=storage, grid=grid, layers=layers)


def _layer(storage: Storage, store: Any, name: str, told: Mapping[str, Any], grid: Grid) -> ProductLayer:
    array: zarr.Array[Any] = read_stored(storage, f"layer {name}", lambda: zarr.open_array(store, path=name, mode="r"))
    if tuple(array.shape) != grid.extent.shape:
        raise StoreError(
            f"The layer {name} of {storage.uri} has the shape {tuple(array.shape)}, its report {grid.extent.shape}: "
            "restore the product, or run its job again with --replace."
        )
    if array.dtype.kind not in "biuf":
        raise StoreError(f"The layer {name} of {storage.uri} holds {array.dtype}, which are no numbers.")
    fill = fill_of(array)
    nodata = None if array.dtype.kind == "f" and np.isnan(fill) else fill.item()
    classes = tuple(
        (int(each["value"]), str(each["name"])) for each in _mappings(told.get("classes")) if _is_class(each)
    )
    return ProductLayer(name=name, classes=classes, array=array, nodata=nodata)


def _is_class(told: Mapping[str, Any]) -> bool:
    value = told.get("value")
    return isinstance(value, int) and 0 <= value < 2**16 and isinstance(told.get("name"), str)


def _mappings(told: object) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


class LayerPixels:
    """The pixels of a product's layers, of which the tiles read last are kept. Used in a ``with`` statement.

    They are read on a thread: Zarr's own leaves tasks behind, and words about them, if Ctrl-C comes in between.
    """

    def __init__(self, product: ProductLayers) -> None:
        self._product = product
        self._tiles: OrderedDict[tuple[str, int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="tilewright-layers")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()

    def read(self, layer: ProductLayer, box: PixelBox) -> np.ndarray:
        """A layer inside a box of absolute pixels of the product's extent, (height, width), in ``layer.dtype``.

        Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
        """
        rows, cols = box.slices_in(self._product.grid.extent)
        pixels = np.empty(box.shape, dtype=layer.dtype)
        height, width = layer.tile
        places = [
            (row, col)
            for row in range(rows.start // height, -(-rows.stop // height))
            for col in range(cols.start // width, -(-cols.stop // width))
        ]
        absent = [place for place in places if (layer.name, *place) not in self._tiles]
        fresh = self._load(layer, absent) if absent else {}
        for row, col in places:
            tile = fresh[row, col] if (row, col) in fresh else self._kept((layer.name, row, col))
            top, left = row * height, col * width
            part = PixelBox.at(top, left, shape=tile.shape)
            inside = part.intersect(
                PixelBox(row_start=rows.start, row_stop=rows.stop, col_start=cols.start, col_stop=cols.stop)
            )
            to = (
                slice(inside.row_start - rows.start, inside.row_stop - rows.start),
                slice(inside.col_start - cols.start, inside.col_stop - cols.start),
            )
            pixels[to] = tile[inside.slices_in(part)]
        self._keep(layer, fresh)
        return pixels

    def observed(self, box: PixelBox) -> np.ndarray:
        """1 where any of the layers has a value, else 0, (height, width) uint8."""
        found = np.zeros(box.shape, dtype=np.uint8)
        for layer in self._product.layers:
            pixels = self.read(layer, box)
            valid = ~np.isnan(pixels) if pixels.dtype.kind == "f" else np.ones(box.shape, dtype=bool)
            if layer.nodata is not None:
                valid &= pixels != layer.nodata
            found |= valid
        return found

    def _load(self, layer: ProductLayer, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """The tiles at places, read in one request for all that lies between them."""
        height, width = layer.tile
        first_row, first_col = (min(place[axis] for place in places) for axis in (0, 1))
        last_row, last_col = (max(place[axis] for place in places) + 1 for axis in (0, 1))
        window = (slice(first_row * height, last_row * height), slice(first_col * width, last_col * width))
        storage = self._product.storage
        load = partial(read_stored, storage, f"layer {layer.name}", lambda: np.asarray(layer.array[window]))
        pixels = self._reader.submit(load).result()
        tiles = {}
        for row, col in places:
            top, left = (row - first_row) * height, (col - first_col) * width
            tile = pixels[top : top + height, left : left + width]
            tiles[row, col] = tile.astype(layer.dtype, copy=True)
        return tiles

    def _kept(self, key: tuple[str, int, int]) -> np.ndarray:
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def _keep(self, layer: ProductLayer, tiles: Mapping[tuple[int, int], np.ndarray]) -> None:
        for place, tile in tiles.items():
            self._tiles[layer.name, *place] = tile
            self._bytes += tile.nbytes
        while self._bytes > CACHE_BYTES and len(self._tiles) > 1:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes
