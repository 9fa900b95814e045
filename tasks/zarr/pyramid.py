"""Smaller levels of a finished store, each half the one above it, for whoever looks at a whole map at once.

They lie beside the full layers, as `overviews/<factor>/<layer>`: the layers themselves stay at the top of the store,
where every reader of CF data finds them, and the layout of the multiscales convention leads from one to the next.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import zarr
from affine import Affine
from zarr.errors import ZarrUserWarning

from tilewright.tasks.zarr.downsample import METHODS
from tilewright.tasks.zarr.georeference import MULTISCALES, Georeference, declare_grid
from tilewright.tasks.zarr.pyramid_fill import FilledUnits, write_levels
from tilewright.tasks.zarr.store import STORE, array_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage


HOME = "overviews"

SMALLEST = 512
"""Pixels: a level that fits a screen needs no smaller one, as with a COG's overviews."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level: `factor` full pixels per pixel along a side, `shape` (height, width), `path` inside the store."""

    factor: int
    shape: tuple[int, int]

    @property
    def path(self) -> str:
        """The level's group; empty for the full layers."""
        return f"{HOME}/{self.factor}" if self.factor > 1 else ""

    def path_of(self, layer: str) -> str:
        """The layer's array at this level."""
        return f"{self.path}/{layer}".lstrip("/")


def pyramid_levels(shape: tuple[int, int]) -> tuple[Level, ...]:
    """The levels of a store of ``shape``, the full one first; a last odd row or column counts as half a pixel more."""
    levels = [Level(factor=1, shape=shape)]
    while max(levels[-1].shape) > SMALLEST:
        height, width = levels[-1].shape
        levels.append(Level(factor=2 * levels[-1].factor, shape=(-(-height // 2), -(-width // 2))))
    return tuple(levels)


def write_pyramid(
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    kinds: Mapping[str, str],
    checksums: Mapping[str, Mapping[tuple[int, int], str]] | None = None,
    threads: int = 1,
) -> None:
    """Write every smaller level of the layers in ``kinds`` (name to class, percent or value), and say so in the store.

    Classes by the most frequent, values by their mean, nodata left out of both. Memory is bounded: four blocks of one
    layer for each of ``threads``, and four more. With ``checksums``, each layer's blocks by their absolute (row, col),
    what stands from before and was made of the same blocks is kept; else all levels are written again.

    Raises StorageError naming the layer.
    """
    store = storage.zarr(STORE)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    zarr_format = group.metadata.zarr_format
    levels = pyramid_levels(box.shape)
    for level in levels[1:]:
        place = _place(grid, box, level)
        storage.insist("describe", partial(declare_grid, group.require_group(level.path), place))
    first = (box.row_start // block, box.col_start // block)
    with ThreadPoolExecutor(threads) as pool:
        for name in kinds:
            arrays = storage.insist("describe", partial(_declare_levels, group, name, levels, block))
            prints = None if checksums is None else checksums[name]
            stamps = FilledUnits.read(storage, name, prints=prints, first=first, fresh=arrays.fresh)
            write_levels(storage, arrays.levels, kind=kinds[name], block=block, stamps=stamps, pool=pool)
    if len(levels) > 1:
        _describe(group, grid, box, levels, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        storage.insist("describe", lambda: zarr.consolidate_metadata(store, zarr_format=zarr_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """A layer's arrays, the full one first; ``fresh`` where a smaller one was not there before."""

    levels: tuple[zarr.Array[Any], ...]
    fresh: bool


def _declare_levels(group: zarr.Group, name: str, levels: tuple[Level, ...], block: int) -> _Arrays:
    full = group[name]
    assert isinstance(full, zarr.Array), f"{name} is a layer"
    arrays, fresh = [full], False
    for level in levels[1:]:
        path = level.path_of(name)
        standing = group.get(path)
        if isinstance(standing, zarr.Array) and standing.shape == level.shape and standing.dtype == full.dtype:
            arrays.append(standing)
            continue
        fresh = True
        made = group.create_array(
            path,
            shape=level.shape,
            dtype=full.dtype,
            fill_value=full.fill_value,
            overwrite=True,
            attributes=dict(full.attrs),
            **array_layout(block, zarr_format=group.metadata.zarr_format),
        )
        arrays.append(made)
    return _Arrays(levels=tuple(arrays), fresh=fresh)


def _describe(
    group: zarr.Group, grid: Grid, box: PixelBox, levels: tuple[Level, ...], kinds: Mapping[str, str]
) -> None:
    """The multiscales layout: one chain of arrays per layer, since classes and values are not made smaller alike."""
    layout: list[dict[str, Any]] = []
    for name, kind in kinds.items():
        for above, level in zip((None, *levels), levels, strict=False):
            entry: dict[str, Any] = {"asset": level.path_of(name)}
            if above is not None:
                entry["derived_from"] = above.path_of(name)
                entry["transform"] = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
                entry["resampling_method"] = METHODS[kind]
            entry["spatial:shape"] = list(level.shape)
            entry["spatial:transform"] = list(_place(grid, box, level).transform)[:6]
            layout.append(entry)
    attributes: dict[str, Any] = dict(group.attrs)
    known = [entry for entry in attributes["zarr_conventions"] if entry["uuid"] != MULTISCALES["uuid"]]
    group.update_attributes({"multiscales": {"layout": layout}, "zarr_conventions": [*known, MULTISCALES]})


def _place(grid: Grid, box: PixelBox, level: Level) -> Georeference:
    transform = grid.transform_of(box) * Affine.scale(level.factor)
    return Georeference(crs=grid.crs, transform=transform, shape=level.shape)
