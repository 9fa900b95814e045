"""The levels of a finished store: the layers, and smaller ones, each half of the one before, for views of all.

The smaller levels are stored as `overviews/<factor>/<layer>`, with the dimensions `y_<factor>` and `x_<factor>`, so
that the store opens as a tree (xarray, DataTree), whose groups share the coordinates of those above them. The full
layers stay at the top of the store, for readers of CF data; the layout of the multiscales convention links the levels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zarr
from affine import Affine

from tilewright.tasks.inventory.listing import list_below
from tilewright.tasks.zarr.declare import STORE, array_layout
from tilewright.tasks.zarr.declared import Declaration, metadata_of, put_objects, read_documents
from tilewright.tasks.zarr.downsample import METHODS
from tilewright.tasks.zarr.georeference import FLAT, MULTISCALES, Georeference, declare_grid, with_dimension_names
from tilewright.tasks.zarr.period import declare_period
from tilewright.tasks.zarr.pyramid_fill import LayerLevels, write_levels
from tilewright.tasks.zarr.store import read_stored
from tilewright.tasks.zarr.stored import StoredObjects
from tilewright.tasks.zarr.units import FilledUnits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.period import Period
    from tilewright.tasks.zarr.store import ProductStore


OVERVIEWS = "overviews"

PERIOD_AXES = ("time", "time_bounds")

FULL_ALONE = frozenset({"vector", "scale"})
"""Kinds of layers without smaller levels."""

SMALLEST_LEVEL = 512
"""Side in pixels up to which a level has no smaller one: it fits a screen. The same as for a COG's overviews."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level: `factor` full pixels per pixel along a side, `shape` (height, width)."""

    factor: int
    shape: tuple[int, int]

    @property
    def path(self) -> str:
        """The path of the level's group in the store; empty for the full layers."""
        return f"{OVERVIEWS}/{self.factor}" if self.factor > 1 else ""

    @property
    def dimensions(self) -> tuple[str, str]:
        """The names of the level's dimensions (y, x)."""
        return FLAT if self.factor == 1 else (f"y_{self.factor}", f"x_{self.factor}")

    def path_of(self, layer: str) -> str:
        """The path of the layer's array at this level."""
        return f"{self.path}/{layer}".lstrip("/")


def pyramid_levels(shape: tuple[int, int]) -> tuple[Level, ...]:
    """The levels of a store of ``shape``, the full one first; odd sides are rounded up."""
    levels = [Level(factor=1, shape=shape)]
    while max(levels[-1].shape) > SMALLEST_LEVEL:
        height, width = levels[-1].shape
        levels.append(Level(factor=2 * levels[-1].factor, shape=(-(-height // 2), -(-width // 2))))
    return tuple(levels)


def write_pyramid(
    store: ProductStore,
    *,
    grid: Grid,
    kinds: Mapping[str, str],
    period: Period | None = None,
    checksums: Mapping[str, Mapping[tuple[int, int], str]] | None = None,
    places: Collection[tuple[int, int]] | None = None,
    ready: Callable[[PixelBox], None] = lambda _box: None,
    threads: int = 1,
) -> StoredObjects:
    """Cut the layers in ``kinds`` (name to class, percent, value, id, or vector and scale, which have no smaller level)
    out of their blocks; write every smaller level.

    Returns what is stored then, by which the product is checked before it is published. A pixel of a smaller level is
    the most frequent class, or the mean value, of its four source pixels, nodata left out. Peak memory is four blocks
    of one layer for each of ``threads``, and four more. ``checksums`` has per layer those of its blocks by absolute
    (row, col): existing parts made of the same blocks are kept, and blocks that differ are refused. Without it all
    levels are written again. ``period`` is that of ``declare_store``.

    Blocks may come while this is under way: ``places`` are all that there will be, ``ready`` is called with a box of
    absolute pixels before it is read and returns once its blocks are there, by when ``checksums`` has theirs.

    Raises StorageError, which names the layer; ChangedStoreError where a block or a chunk is not what was written.
    """
    levels = pyramid_levels(store.extent.shape)
    declared = _declare_levels(store, grid, kinds, levels, period)
    there = list_below(store.storage, STORE) if checksums is not None else {}
    layers = []
    for name, kind in kinds.items():
        known = None if checksums is None else checksums[name]
        behind = (known or {}) if places is None else places
        filled = FilledUnits.read(store, name, checksums=known, places=behind, created=name in declared.created)
        arrays = declared.open_levels(store, name, levels_of(kind, levels))
        layers.append(LayerLevels(name=name, kind=kind, arrays=arrays, filled=filled))
    with ThreadPoolExecutor(threads) as pool:
        write_levels(store, layers, pool=pool, there=there, ready=ready)
    units = {layer.name: layer.filled for layer in layers}
    stored = StoredObjects(storage=store.storage, units=units, declared=declared.objects, there={})
    return stored.listed()


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeclaredLevels:
    """The declared tree: its ``objects`` by key, and the layers with a smaller level that was ``created``."""

    objects: Mapping[str, bytes]
    created: frozenset[str]

    def open_levels(self, store: ProductStore, name: str, levels: tuple[Level, ...]) -> tuple[zarr.Array[Any], ...]:
        """A layer's arrays, the full one first."""

        def opened() -> tuple[zarr.Array[Any], ...]:
            place = store.storage.zarr(STORE)
            smaller = [zarr.open_array(place, path=level.path_of(name), mode="r+") for level in levels[1:]]
            return (store.published[name], *smaller)

        return read_stored(store.storage, f"layer {name}", opened)


def _declare_levels(
    store: ProductStore, grid: Grid, kinds: Mapping[str, str], levels: tuple[Level, ...], period: Period | None
) -> _DeclaredLevels:
    """Declare every level by content. The chunks of a smaller level that was declared otherwise are removed."""
    storage, zarr_format = store.storage, store.group.metadata.zarr_format
    # Axes are declared again, since their numbers are checked too.
    kept = [*sorted(store.published), *(PERIOD_AXES if period is None else ())]
    declared = Declaration(zarr_format, read_documents(storage, STORE, ["", *kept], zarr_format=zarr_format))
    group = declared.group
    for level in levels:
        inner = group.require_group(level.path) if level.path else group
        declare_grid(inner, _georeference(grid, level), dimensions=level.dimensions)
        if period is not None:
            declare_period(inner, period)
        for name in _with_levels(kinds) if level.path else ():
            _declare_array(group, name, level, store.block)
    if len(levels) > 1:
        _describe(group, grid, levels, kinds)
    declared.consolidate()
    objects = declared.objects()
    created = {
        name
        for name, kind in kinds.items()
        for level in levels_of(kind, levels)[1:]
        if _is_otherwise(storage, metadata_of(objects, level.path_of(name)), level.path_of(name))
    }
    put_objects(storage, STORE, objects)
    return _DeclaredLevels(objects=objects, created=frozenset(created))


def _is_otherwise(storage: Storage, documents: Mapping[str, bytes], path: str) -> bool:
    """True if an array is not declared as it should be; what its place holds is removed then."""
    if all(storage.read(f"{STORE}/{key}") == content for key, content in documents.items()):
        return False
    storage.delete_below(f"{STORE}/{path}")
    return True


def _declare_array(group: zarr.Group, name: str, level: Level, block: int) -> None:
    full, zarr_format = group[name], group.metadata.zarr_format
    assert isinstance(full, zarr.Array), f"{name} is a layer"
    group.create_array(
        level.path_of(name),
        shape=level.shape,
        dtype=full.dtype,
        fill_value=full.metadata.fill_value,
        attributes=with_dimension_names(dict(full.attrs), level.dimensions, zarr_format),
        **array_layout(block, zarr_format=zarr_format, dimensions=level.dimensions),
    )


def _describe(group: zarr.Group, grid: Grid, levels: tuple[Level, ...], kinds: Mapping[str, str]) -> None:
    """Write the multiscales layout: one chain of arrays per layer, as classes and values have different methods."""
    layout: list[dict[str, Any]] = []
    for name, kind in _with_levels(kinds).items():
        for larger, level in zip((None, *levels), levels, strict=False):
            entry: dict[str, Any] = {"asset": level.path_of(name)}
            if larger is not None:
                entry["derived_from"] = larger.path_of(name)
                entry["transform"] = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
                entry["resampling_method"] = METHODS[kind]
            entry["spatial:shape"] = list(level.shape)
            entry["spatial:transform"] = list(_georeference(grid, level).transform)[:6]
            layout.append(entry)
    attributes: dict[str, Any] = dict(group.attrs)
    known = [entry for entry in attributes["zarr_conventions"] if entry["uuid"] != MULTISCALES["uuid"]]
    group.update_attributes({"multiscales": {"layout": layout}, "zarr_conventions": [*known, MULTISCALES]})


def levels_of(kind: str, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """The levels of a layer: of vectors and their scales the full one alone, as no model gives their means."""
    return levels[:1] if kind in FULL_ALONE else levels


def _with_levels(kinds: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for name, kind in kinds.items() if kind not in FULL_ALONE}


def _georeference(grid: Grid, level: Level) -> Georeference:
    transform = grid.transform_of(grid.extent) * Affine.scale(level.factor)
    return Georeference(crs=grid.crs, transform=transform, shape=level.shape)
