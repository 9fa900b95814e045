"""The pyramid of a finished store: smaller levels, each half of the one before, for views of the whole map.

The levels are stored as `overviews/<factor>/<layer>`. The full layers stay at the top of the store, for readers of CF
data; the layout of the multiscales convention links the levels.
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
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    kinds: Mapping[str, str],
    checksums: Mapping[str, Mapping[tuple[int, int], str]] | None = None,
    threads: int = 1,
) -> None:
    """Write every smaller level of the layers in ``kinds`` (name to class, percent or value) and its metadata.

    A pixel is the most frequent class, or the mean value, of its four source pixels, nodata left out. Peak memory is
    four blocks of one layer for each of ``threads``, and four more. ``checksums`` has per layer those of its blocks by
    absolute (row, col): existing parts made of the same blocks are kept. Without it all levels are written again.

    Raises StorageError, which names the layer.
    """
    store = storage.zarr(STORE)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    zarr_format = group.metadata.zarr_format
    levels = pyramid_levels(box.shape)
    for level in levels[1:]:
        georeference = _georeference(grid, box, level)
        storage.call_with_retries("describe", partial(declare_grid, group.require_group(level.path), georeference))
    first = (box.row_start // block, box.col_start // block)
    with ThreadPoolExecutor(threads) as pool:
        for name in kinds:
            arrays = storage.call_with_retries("describe", partial(_declare_levels, group, name, levels, block))
            known = None if checksums is None else checksums[name]
            filled = FilledUnits.read(storage, name, checksums=known, first=first, created=arrays.created)
            write_levels(storage, arrays.levels, kind=kinds[name], block=block, filled=filled, pool=pool)
    if len(levels) > 1:
        _describe(group, grid, box, levels, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        storage.call_with_retries("describe", lambda: zarr.consolidate_metadata(store, zarr_format=zarr_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevelArrays:
    """A layer's arrays, the full one first; ``created`` is True if a smaller one did not exist before."""

    levels: tuple[zarr.Array[Any], ...]
    created: bool


def _declare_levels(group: zarr.Group, name: str, levels: tuple[Level, ...], block: int) -> _LevelArrays:
    full = group[name]
    assert isinstance(full, zarr.Array), f"{name} is a layer"
    arrays, created = [full], False
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
            attributes=dict(full.attrs),
            **array_layout(block, zarr_format=group.metadata.zarr_format),
        )
        arrays.append(array)
    return _LevelArrays(levels=tuple(arrays), created=created)


def _describe(
    group: zarr.Group, grid: Grid, box: PixelBox, levels: tuple[Level, ...], kinds: Mapping[str, str]
) -> None:
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
            entry["spatial:transform"] = list(_georeference(grid, box, level).transform)[:6]
            layout.append(entry)
    attributes: dict[str, Any] = dict(group.attrs)
    known = [entry for entry in attributes["zarr_conventions"] if entry["uuid"] != MULTISCALES["uuid"]]
    group.update_attributes({"multiscales": {"layout": layout}, "zarr_conventions": [*known, MULTISCALES]})


def _georeference(grid: Grid, box: PixelBox, level: Level) -> Georeference:
    transform = grid.transform_of(box) * Affine.scale(level.factor)
    return Georeference(crs=grid.crs, transform=transform, shape=level.shape)
