"""A look into a few of a plan's files: how well their pixels are compressed, and how long a request takes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.errors import RasterioError

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import scheme_of
from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Source, Sources
from tilewright.flows.environment import reading_settings, s3_settings
from tilewright.flows.machine import waited_for_core
from tilewright.tasks.read.counters import stored_bytes
from tilewright.tasks.read.gdal import Way, open_dataset, reading_env, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.catalogs.scene import BandAsset
    from tilewright.tasks.plan.plan import Plan


MOST_LOCAL, MOST_REMOTE = 36, 12
"""Files that are looked into at most: on a disk a look takes a millisecond, elsewhere a request or two."""

PER_BAND = 3
"""Files of a band: its first, middle and last scene."""

MOST_TILES = 1024
"""Tiles of a file whose sizes are asked for, spread evenly."""

AT_ONCE = 8

BUDGET_S = 10.0
"""Seconds after which looks that have not come back are given up."""

QUICK = {"GDAL_HTTP_CONNECTTIMEOUT": "3", "GDAL_HTTP_TIMEOUT": "5", "GDAL_HTTP_LOW_SPEED_TIME": "3"}
"""GDAL's settings of a look over those of a block's reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSample:
    """A file as it was found: CRS, transform, shape, the (height, width) of its tiles, bytes of a pixel, factors of its
    overviews. ``sizes``: bytes of its tiles (row, col), compressed. ``seconds``: those of opening it,
    without those in which no core was free.
    """

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    tile: tuple[int, int]
    itemsize: int
    overviews: tuple[int, ...]
    sizes: np.ndarray
    seconds: float


def sample_files(plan: Plan, *, remote: bool = True) -> dict[str, FileSample]:
    """What was found of some files of every band, by unsigned href; ``remote``: also of those on a network.

    Files that do not answer in time, or cannot be read, are left out.
    """
    sources = Sources.from_json(plan.source, s3=s3_settings())
    extra = {**reading_settings(), **QUICK}
    assets = list(_picked(plan, remote=remote))
    until, pool = time.monotonic() + BUDGET_S, ThreadPoolExecutor(AT_ONCE)
    asked = {asset.href: pool.submit(_look, asset, sources.named(name), extra) for name, asset in assets}
    found: dict[str, FileSample] = {}
    try:
        for href, future in asked.items():
            try:
                found[href] = future.result(timeout=max(0.0, until - time.monotonic()))
            except (RasterioError, CatalogError, TooLateError, OSError, ValueError, IndexError):
                continue
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return found


def _picked(plan: Plan, *, remote: bool) -> Iterator[tuple[str, BandAsset]]:
    """Files of every band and the names of their sources, as many as may be: the first of each band before the second
    of any.
    """
    of_bands = [
        [(scene.source, asset) for scene in entry.scenes if (asset := scene.asset(band)) is not None]
        for entry in plan.inputs
        for band in dict.fromkeys([*entry.bands, *entry.mask.bands])
    ]
    left = {True: MOST_LOCAL, False: MOST_REMOTE if remote else 0}
    seen: set[str] = set()
    for rank in range(PER_BAND):
        for assets in of_bands:
            places = list(dict.fromkeys([0, len(assets) // 2, len(assets) - 1])) if assets else []
            if rank >= len(places):
                continue
            name, asset = assets[places[rank]]
            local = scheme_of(asset.href) == "file"
            if asset.href not in seen and left[local]:
                left[local] -= 1
                seen.add(asset.href)
                yield name, asset


def _look(asset: BandAsset, source: Source, extra: Mapping[str, str]) -> FileSample:
    signed = sign_href(source, asset.href)
    with reading_env(settings_for(asset.href, extra, source.rules)):
        began = time.perf_counter() - waited_for_core()
        way = Way(settings=extra, rules=source.rules)
        with open_dataset(signed, overview=None, fresh=True, way=way) as dataset:
            seconds = max(0.0, time.perf_counter() - waited_for_core() - began)
            height, width = dataset.block_shapes[asset.index - 1]
            return FileSample(
                crs=dataset.crs.to_string() if dataset.crs else asset.crs if dataset.driver == "Zarr" else "",
                transform=tuple(dataset.transform)[:6],
                shape=dataset.shape,
                tile=(height, width),
                itemsize=np.dtype(dataset.dtypes[asset.index - 1]).itemsize,
                overviews=tuple(dataset.overviews(asset.index)),
                sizes=_tile_sizes(dataset, asset.index),
                seconds=seconds,
            )


def _tile_sizes(dataset: Any, index: int) -> np.ndarray:
    """Bytes of all tiles of a band, (row, col) float64; of a large file those between the tiles asked for."""
    height, width = dataset.block_shapes[index - 1]
    n_rows, n_cols = -(-dataset.height // height), -(-dataset.width // width)
    stride = max(1, int(np.ceil(np.sqrt(n_rows * n_cols / MOST_TILES))))
    asked = [
        [stored_bytes(dataset, index, [(row, col)]) for col in range(0, n_cols, stride)]
        for row in range(0, n_rows, stride)
    ]
    sizes = np.array(asked, dtype=np.float64)
    return sizes.repeat(stride, axis=0).repeat(stride, axis=1)[:n_rows, :n_cols]
