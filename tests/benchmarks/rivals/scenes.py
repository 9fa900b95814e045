"""The pixels of the race: synthetic scenes with the entropy, the clouds and the empty borders of Sentinel's.

Each band has a few different rasters, which the dates share by hard links: a year of 8192 x 8192 pixels is then made in
minutes, and every way still opens, reads and decodes one file per band and date.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from tests.benchmarks.rivals.kinds import COARSE, CRS, LEFT, PIXEL, RADAR, TOP, Ground, Kind

LOOKS = 4
"""Different rasters of a band; of the scene classes, twice as many."""
EMPTY_LOOK = 1
"""The look that a swath's edge cuts: nodata in its corner."""
BRIGHTNESS = {"blue": 0.5, "green": 0.7, "red": 0.8, "nir": 2.0, "swir16": 1.5, "swir22": 1.1}
CROPS = {"red": (0.6, 1.0, 1.5), "nir": (1.5, 1.0, 0.7), "green": (0.9, 1.0, 1.2)}
"""Factors of a band over the three crops; 1 for the other bands."""
CLOUDS = ((0.80, 9), (0.74, 8), (0.70, 10), (0.64, 3))
"""Share of the ground below which a class does not occur: cloud in the middle of a blob, shadow at its rim."""


def make_scenes(ground: Ground, kind: Kind) -> None:
    """Every raster that the kind reads, where it is not there yet."""
    (ground.folder / "scenes").mkdir(parents=True, exist_ok=True)
    wanted = [(date, band, sensor) for sensor in kind.sensors for date in sensor.dates for band in sensor.read]
    order = {date: place for sensor in kind.sensors for place, date in enumerate(sensor.dates)}
    missing: dict[Path, tuple[str, int]] = {}
    for date, band, _ in wanted:
        look = order[date] % (2 * LOOKS if band == "scl" else LOOKS)
        missing[_look(ground, band, look)] = band, look
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda entry: _write(ground, *entry), (it for path, it in missing.items() if not path.exists())))
    for date, band, sensor in wanted:
        if not ground.raster(date, band).exists():
            look = order[date] % (2 * LOOKS if band == "scl" else LOOKS)
            os.link(_look(ground, band, look), ground.raster(date, band))
            assert sensor.collection == RADAR or band not in {"vv", "vh"}


def _look(ground: Ground, band: str, look: int) -> Path:
    return ground.folder / "scenes" / f"look-{look}-{band}.tif"


def _write(ground: Ground, band: str, look: int) -> None:
    size = 2 * PIXEL if band in COARSE else PIXEL
    side = ground.side * PIXEL // size
    values = pixels(band, side, look=look)
    path = _look(ground, band, look)
    part = path.with_suffix(".part.tif")
    with rasterio.open(
        part, "w", driver="COG", height=side, width=side, count=1, dtype=values.dtype, crs=CRS,
        transform=Affine(size, 0, LEFT, 0, -size, TOP), nodata=None if band in {"vv", "vh"} else 0,
        blocksize=512, compress="DEFLATE", predictor="NO" if band == "scl" else "YES",
    ) as target:  # fmt: skip
        target.write(values, 1)
    part.rename(path)


def pixels(band: str, side: int, *, look: int) -> np.ndarray:
    """One band (side, side): DN as uint16, scene classes as uint8, or backscatter's linear power as float32."""
    empty = _corner(side) if look % LOOKS == EMPTY_LOOK else None
    if band == "scl":
        values = _classes(side, look)
    elif band in {"vv", "vh"}:
        empty = None
        values = _power(side, 0.12 if band == "vv" else 0.03, look)
    else:
        relief = relief_of(side) * BRIGHTNESS[band] * np.array(CROPS.get(band, (1, 1, 1)), np.float32)[crops_of(side)]
        # Seasons change single fields, haze all of them.
        relief *= 0.9 + 0.2 * _blocks(side, 32, seed=[look, *band.encode()])
        values = (relief * (1 + 0.04 * look) + _noise(side, seed=[look, 9, *band.encode()])).astype(np.uint16)
    if empty is not None:
        values[empty] = 0
    return values


def relief_of(side: int) -> np.ndarray:
    """DN (side, side) float32 of the ground itself: slopes, and parcels of 24 pixels."""
    smooth = _smooth(side, max(side // 256, 2), seed=[1])
    return 500 + 900 * smooth + 900 * _blocks(side, 24, seed=[2])


def crops_of(side: int) -> np.ndarray:
    """The crop of each pixel, 0 to 2 (side, side): one for each parcel."""
    return (_blocks(side, 24, seed=[7]) * 3).astype(np.uint8)


def _smooth(side: int, n_cells: int, *, seed: list[int]) -> np.ndarray:
    """Noise from 0 to 1 (side, side) float32, interpolated between so many cells a side."""
    coarse = np.random.default_rng(seed).random((n_cells + 1, n_cells + 1), dtype=np.float32)
    place = np.linspace(0, n_cells, side, endpoint=False, dtype=np.float32)
    cell = place.astype(np.int64)
    share = place - cell
    rows = coarse[cell] * (1 - share)[:, None] + coarse[cell + 1] * share[:, None]
    return rows[:, cell] * (1 - share) + rows[:, cell + 1] * share


def _blocks(side: int, size: int, *, seed: list[int]) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((side // size + 1, side // size + 1), dtype=np.float32)
    return coarse.repeat(size, axis=0)[:side].repeat(size, axis=1)[:, :side]


def _noise(side: int, *, seed: list[int]) -> np.ndarray:
    """Noise of 35 DN. It comes again after a million pixels, far beyond what DEFLATE looks back."""
    pool = np.random.default_rng(seed).normal(0, 35, 1_048_573).astype(np.float32)
    return np.resize(pool, (side, side))


def _classes(side: int, look: int) -> np.ndarray:
    ground = np.where(_blocks(side, 12, seed=[2]) > 0.3, np.uint8(4), np.uint8(5))
    blobs = _smooth(side, max(side // 96, 3), seed=[3, look])
    for above, value in reversed(CLOUDS):
        ground[blobs > above] = value
    return ground


def _power(side: int, mean: float, look: int) -> np.ndarray:
    speckle = np.random.default_rng([4, look, int(mean * 1000)]).gamma(5, mean / 5, 1_048_573).astype(np.float32)
    return np.resize(speckle, (side, side)) * (0.4 + 1.2 * _blocks(side, 12, seed=[2]))


def _corner(side: int) -> np.ndarray:
    """True (side, side) beyond the edge of a swath: a fifth of the upper side, running out downwards."""
    column, row = np.arange(side), np.arange(side)[:, None]
    return column + row // 4 < side // 5
