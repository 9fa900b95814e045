"""The levels of a finished store: the layers, and smaller ones, each half of the one before, for views of all.

The smaller levels are stored as `overviews/<factor>/<layer>`, with the dimensions `y_<factor>` and `x_<factor>`, so
that the store opens as a tree (xarray, DataTree), whose groups share the coordinates of those above them. The full
layers stay at the top of the store, for readers of CF data; the layout of the multiscales convention links the levels.
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

from tilewright.tasks.zarr.declare import STORE, array_layout
from tilewright.tasks.zarr.downsample import METHODS
from tilewright.tasks.zarr.georeference import FLAT, MULTISCALES, Georeference, declare_grid, with_dimension_names
from tilewright.tasks.zarr.period import declare_period
from tilewright.tasks.zarr.pyramid_fill import FilledUnits, write_levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.zarr.period import Period
    from tilewright.tasks.zarr.store import ProductStore


OVERVIEWS = "overviews"

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
    threads: int = 1,
) -> None:
    """Cut the layers in ``kinds`` (name to class, percent or value) out of their blocks; write every smaller level.

    A pixel of a smaller level is the most frequent class, or the mean value, of its four source pixels, nodata left
    out. Peak memory is four blocks of one layer for each of ``threads``, and four more. ``checksums`` has per layer
    those of its blocks by absolute (row, col): existing parts made of the same blocks are kept. Without it all levels
    are written again. ``period`` is that of ``declare_store``.

    Raises StorageError, which names the layer.
    """
    storage, group = store.storage, store.group
    zarr_format = group.metadata.zarr_format
    levels = pyramid_levels(store.extent.shape)
    for level in levels[1:]:
        storage.call_with_retries("describe", partial(_declare_level, group, grid, level, period))
    with ThreadPoolExecutor(threads) as pool:
        for name, kind in kinds.items():
            arrays = storage.call_with_retries("describe", partial(_declare_levels, group, name, levels, store.block))
            known = None if checksums is None else checksums[name]
            filled = FilledUnits.read(store, name, checksums=known, created=arrays.created)
            write_levels(store, arrays.levels, name=name, kind=kind, filled=filled, pool=pool)
    if len(levels) > 1:
        _describe(group, grid, levels, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        described = storage.zarr(STORE)
        storage.call_with_retries("describe", lambda: zarr.consolidate_metadata(described, zarr_format=zarr_format))


def _declare_level(group: zarr.Group, grid: Grid, level: Level, period: Period | None) -> None:
    inner = group.require_group(level.path)
    declare_grid(inner, _georeference(grid, level), dimensions=level.dimensions)
    if period is not None:
        declare_period(inner, period)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevelArrays:
    """A layer's arrays, the full one first; ``created`` is True if a smaller one did not exist before."""

    levels: tuple[zarr.Array[Any], ...]
    created: bool


def _declare_levels(group: zarr.Group, name: str, levels: tuple[Level, ...], block: int) -> _LevelArrays:
    full = group[name]
    assert isinstance(full, zarr.Array), f"{name} is a layer"
    arrays, created, zarr_format = [full], False, group.metadata.zarr_format
    for level in levels[1:]:
        path = level.path_of(name)
        existing = group.get(path)
        if isinstance(existing, zarr.Array) and existing.shape == level.shape and existing.dtype == full.dtype:
            arrays.append(existing)
            continue
        created = True
        array = group.create_array(
            path,
            shape=level.shape,
            dtype=full.dtype,
            fill_value=full.fill_value,
            overwrite=True,
            attributes=with_dimension_names(dict(full.attrs), level.dimensions, zarr_format),
            **array_layout(block, zarr_format=zarr_format, dimensions=level.dimensions),
        )
        arrays.append(array)
    return _LevelArrays(levels=tuple(arrays), created=created)


def _describe(group: zarr.Group, grid: Grid, levels: tuple[Level, ...], kinds: Mapping[str, str]) -> None:
    """Write the multiscales layout: one chain of arrays per layer, as classes and values have different methods."""
    layout: list[dict[str, Any]] = []
    for name, kind in kinds.items():
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


def _georeference(grid: Grid, level: Level) -> Georeference:
    transform = grid.transform_of(grid.extent) * Affine.scale(level.factor)
    return Georeference(crs=grid.crs, transform=transform, shape=level.shape)
