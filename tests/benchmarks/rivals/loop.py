"""The bar: the loop that a good engineer writes for one model, with no waste that we know of.

Strips of 512 rows are read so that each stored block is decoded once, composited while they are in the cache of the
processor, and kept as doubled DN (the median of two is a half). One pool holds all work: the next strip is read while
windows of this one run, each on one thread. `python -m tests.benchmarks.rivals.loop FOLDER SIDE KIND`.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from tests.benchmarks.field import stopwatch
from tests.benchmarks.rivals.kinds import (
    COARSE,
    CRS,
    DROPPED,
    KINDS,
    LEFT,
    NODATA,
    PIXEL,
    RADAR,
    TOP,
    Ground,
    Kind,
    Sensor,
)

BLOCK, ROWS, COLS, CHUNK = 512, 512, 512, 64
MISSING = np.uint16(65535)
CLEAR = np.where(np.isin(np.arange(256), DROPPED), MISSING, np.uint16(0))
SETTINGS = {"GDAL_CACHEMAX": "128", "GDAL_NUM_THREADS": "ALL_CPUS", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


@dataclass(slots=True)
class Strip:
    """Composites of all sensors (channel, y, x) with a margin around, and the pixels each step saw (step, y, x)."""

    pixels: list[np.ndarray]
    seen: np.ndarray
    top: int


class Reader:
    """Opens each file once per column part and composites a part of a strip."""

    def __init__(self, ground: Ground, kind: Kind) -> None:
        self.ground, self.kind = ground, kind
        self.opened: dict[tuple[int, str, str], rasterio.DatasetReader] = {}

    def window(self, date: str, band: str, rows: range, cols: range, *, rim: int = 0) -> np.ndarray:
        """Pixels of the file's own grid under these pixels of 10 m, with `rim` more to each side, repeated at ends."""
        key = cols.start, date, band
        if key not in self.opened:
            self.opened[key] = rasterio.open(self.ground.raster(date, band))
        source, size = self.opened[key], 2 if band in COARSE else 1
        top, bottom, left, right = (place // size for place in (rows.start, rows.stop, cols.start, cols.stop))
        first, last = max(top - rim, 0), min(bottom + rim, source.height)
        west, east = max(left - rim, 0), min(right + rim, source.width)
        values: np.ndarray = source.read(1, window=Window(west, first, east - west, last - first))
        if not rim:
            return values
        beyond = (first - top + rim, bottom + rim - last), (west - left + rim, right + rim - east)
        return np.pad(values, beyond, "edge")

    def fill(self, strip: Strip, number: int, step: int, rows: range, cols: range) -> None:
        """The composite of one step of one sensor, put into the strip's last rows."""
        sensor = self.kind.sensors[number]
        halo, n_bands = self.kind.halo, len(sensor.bands)
        target = strip.pixels[number][step * n_bands : (step + 1) * n_bands]
        target = target[:, 2 * halo : 2 * halo + len(rows), halo + cols.start : halo + cols.stop]
        if sensor.collection == RADAR:
            self._echoes(sensor, rows, cols, target)
            return
        dates = sensor.steps[step]
        images = np.empty((n_bands, len(dates), len(rows), len(cols)), np.uint16)
        for place, date in enumerate(dates):
            for band, name in enumerate(sensor.bands):
                images[band, place] = self._fine(date, name, rows, cols)
        classes = [self.window(date, "scl", rows, cols) for date in dates] if sensor.masked else []
        empty = round(2e4 * sensor.mean)
        for first in range(0, len(rows), CHUNK):
            part = slice(first, first + CHUNK)
            count = hide(images[:, :, part], [each[first // 2 : (first + CHUNK) // 2] for each in classes])
            for band in range(n_bands):
                medians(images[band, :, part], count, out=target[band, part], empty=empty)
            strip.seen[step, part, cols.start : cols.stop] = count > 0

    def _fine(self, date: str, band: str, rows: range, cols: range) -> np.ndarray:
        if band not in COARSE:
            return self.window(date, band, rows, cols)
        values = self.window(date, band, rows, cols, rim=1).astype(np.float32)
        if values.all():
            return (doubled(values) + np.float32(0.5)).astype(np.uint16)
        there = (values > 0).astype(np.float32)
        fine = doubled(values) / np.maximum(doubled(there), np.float32(1e-6)) + np.float32(0.5)
        return (fine * there[1:-1, 1:-1].repeat(2, 0).repeat(2, 1)).astype(np.uint16)

    def _echoes(self, sensor: Sensor, rows: range, cols: range, target: np.ndarray) -> None:
        """Mean power in dB, scaled as the model takes it. Mean and interpolation may change places: none is missing."""
        for band, name in enumerate(sensor.bands):
            dates = sensor.steps[0]
            power = sum(self.window(date, name, rows, cols, rim=1) for date in dates) / np.float32(len(dates))
            decibel = np.log10(doubled(power))
            decibel *= np.float32(10 / sensor.stddev)
            np.subtract(decibel, np.float32(sensor.mean / sensor.stddev), out=target[band])


def hide(images: np.ndarray, classes: list[np.ndarray]) -> np.ndarray:
    """How many dates see each pixel (y, x) uint8; in (band, date, y, x) the pixels of all others become 65535."""
    count = np.zeros(images.shape[2:], np.uint8)
    for place in range(images.shape[1]):
        least = np.minimum.reduce(images[:, place])
        hidden = np.where(least == 0, MISSING, np.uint16(0))
        if classes:
            hidden |= CLEAR[classes[place]].repeat(2, axis=0).repeat(2, axis=1)
        np.maximum(images[:, place], hidden, out=images[:, place])
        count += hidden == 0
    return count


def medians(images: np.ndarray, count: np.ndarray, *, out: np.ndarray, empty: int) -> None:
    """Twice the median of the least `count` of (date, y, x), by exchanges of whole images; `empty` where it is 0."""
    n_dates = len(images)
    ranked = list(images)
    for last in range(n_dates - 1, 0, -1):
        for place in range(last):
            low = np.minimum(ranked[place], ranked[place + 1])
            ranked[place + 1] = np.maximum(ranked[place], ranked[place + 1])
            ranked[place] = low
    out[...] = ranked[(n_dates - 1) // 2] + ranked[n_dates // 2]
    if int(count.min()) == n_dates:
        return
    for fewer in range(1, n_dates):
        np.copyto(out, ranked[(fewer - 1) // 2] + ranked[fewer // 2], where=count == fewer)
    np.copyto(out, np.uint16(empty), where=count == 0)


def doubled(values: np.ndarray) -> np.ndarray:
    """Bilinear pixels of half the size (2y, 2x) of values with a rim of one pixel (y + 2, x + 2)."""
    near, far = values.dtype.type(0.75), values.dtype.type(0.25)
    core = values[1:-1] * near
    rows = np.empty((2 * len(core), values.shape[1]), values.dtype)
    rows[::2], rows[1::2] = core + values[:-2] * far, core + values[2:] * far
    core = rows[:, 1:-1] * near
    fine = np.empty((len(rows), 2 * core.shape[1]), values.dtype)
    fine[:, ::2], fine[:, 1::2] = core + rows[:, :-2] * far, core + rows[:, 2:] * far
    return fine


class Model:
    """The session, and what a window's numbers become before and after it."""

    def __init__(self, ground: Ground, kind: Kind, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # The first and the last strip's windows have other heights: planned memory would be kept for each height.
        options.enable_mem_pattern = False
        path = ground.card(kind) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.kind = kind

    def classes(self, windows: list[np.ndarray], out: np.ndarray) -> None:
        """The classes of a window of each sensor's composite, the margin cut, into `out` (y, x)."""
        given = {}
        for sensor, pixels in zip(self.kind.sensors, windows, strict=True):
            if sensor.collection == RADAR:
                numbers = np.ascontiguousarray(pixels)
            else:
                numbers = np.multiply(pixels, np.float32(0.5e-4 / sensor.stddev), dtype=np.float32)
                numbers -= np.float32(sensor.mean / sensor.stddev)
            given[sensor.name] = numbers[None] if self.kind.halo else flat(numbers)
        (scores,) = self.session.run(None, given)
        halo = self.kind.halo
        if halo:
            best_of(scores[0, :, halo:-halo, halo:-halo], out)
        else:
            best_of(scores.reshape(*out.shape, -1).transpose(2, 0, 1), out)


def flat(numbers: np.ndarray) -> np.ndarray:
    """(pixel, band) of (band, y, x)."""
    return np.ascontiguousarray(numbers.reshape(len(numbers), -1).T)


def best_of(scores: np.ndarray, out: np.ndarray) -> None:
    """The place of the highest score of (class, y, x): for few classes far faster than argmax over the first axis."""
    highest = scores[0].copy()
    out[...] = 0
    for value in range(1, len(scores)):
        out[scores[value] > highest] = value
        np.maximum(highest, scores[value], out=highest)


class Loop:
    """One run over the ground: strips read ahead, windows in a pool, one GeoTIFF with overviews."""

    def __init__(self, ground: Ground, kind: Kind, *, callers: int) -> None:
        cores = os.cpu_count() or 1
        self.side, self.kind = ground.side, kind
        self.part = max(BLOCK, self.side // cores // BLOCK * BLOCK)
        self.reader, self.model = Reader(ground, kind), Model(ground, kind, threads=cores // callers)
        self.pool = ThreadPoolExecutor(cores)
        self.callers = self.pool if callers == cores else ThreadPoolExecutor(callers)
        self.result = np.empty((self.side, self.side), np.uint8)
        self.unseen = np.empty((self.side, self.side), bool)

    def run(self, output: Path) -> None:
        """While strip k is read, the windows of strip k - 1 run."""
        strip: Strip | None = None
        windows: list[Future[None]] = []
        for top in range(0, self.side, ROWS):
            above, strip = strip, self._new_strip(top, above=strip)
            reads = self._read(strip, range(top, top + ROWS))
            finish(windows)
            windows = self._predict(above) if above else []
            finish(reads)
            self.unseen[top : top + ROWS] = ~seen_of(strip, self.kind)
        assert strip is not None
        finish([*windows, *self._predict(strip)])
        self.result[self.unseen] = NODATA
        write(self.result, output)

    def _new_strip(self, top: int, *, above: Strip | None) -> Strip:
        """Buffer row 0 is image row ``top`` less two halos: those rows are the last of the strip above."""
        side, halo = self.side, self.kind.halo
        pixels = []
        for number, sensor in enumerate(self.kind.sensors):
            radar = sensor.collection == RADAR
            empty = 0 if radar else round(2e4 * sensor.mean)
            buffer = np.empty((sensor.n_channels, ROWS + 3 * halo, side + 2 * halo), np.float32 if radar else np.uint16)
            buffer[:, :, :halo] = buffer[:, :, side + halo :] = buffer[:, ROWS + 2 * halo :] = empty
            buffer[:, : 2 * halo] = above.pixels[number][:, ROWS : ROWS + 2 * halo] if above else empty
            pixels.append(buffer)
        n_planes = sum(len(sensor.steps) for sensor in self.kind.sensors if sensor.collection != RADAR)
        return Strip(pixels=pixels, seen=np.empty((n_planes, ROWS, side), bool), top=top)

    def _read(self, strip: Strip, rows: range) -> list[Future[None]]:
        return [
            self.pool.submit(self.reader.fill, strip, number, step, rows, range(left, min(left + self.part, self.side)))
            for number, sensor in enumerate(self.kind.sensors)
            for step in range(len(sensor.steps))
            for left in range(0, self.side, self.part)
        ]

    def _predict(self, strip: Strip) -> list[Future[None]]:
        """The windows of a strip, a halo above its own rows; the last strip's go on to the end."""
        halo, last = self.kind.halo, strip.top + ROWS == self.side
        first_row, last_row = max(strip.top - halo, 0), self.side if last else strip.top + ROWS - halo
        offset = strip.top - 2 * halo
        rows = slice(first_row - halo - offset, last_row + halo - offset)
        return [
            self.callers.submit(
                self.model.classes,
                [pixels[:, rows, left : left + COLS + 2 * halo] for pixels in strip.pixels],
                self.result[first_row:last_row, left : left + COLS],
            )
            for left in range(0, self.side, COLS)
        ]

    def model_alone(self) -> None:
        """The same windows, of noise: no file is opened."""
        random = np.random.default_rng(1)
        strip = self._new_strip(0, above=None)
        for pixels in strip.pixels:
            noise = random.random(pixels.shape, dtype=np.float32)
            pixels[...] = noise if pixels.dtype == np.float32 else 500 + noise * 8000
        for top in range(0, self.side, ROWS):
            finish(self._predict(Strip(pixels=strip.pixels, seen=strip.seen, top=top)))


def seen_of(strip: Strip, kind: Kind) -> np.ndarray:
    """Whether a pixel is mapped (y, x): of a pair both steps saw it, of everything else one did."""
    return strip.seen.all(axis=0) if isinstance(kind.period, dict) else strip.seen.any(axis=0)


def finish(futures: list[Future[None]]) -> None:
    """Wait for all, and raise what one raised."""
    for each in futures:
        each.result()


def write(classes: np.ndarray, output: Path) -> None:
    """A tiled GeoTIFF with overviews down to one block."""
    side = len(classes)
    with rasterio.open(
        output, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8", nodata=NODATA, crs=CRS,
        transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), tiled=True, blockxsize=BLOCK, blockysize=BLOCK,
        compress="DEFLATE", num_threads="ALL_CPUS",
    ) as target:  # fmt: skip
        target.write(classes, 1)
        factors = [2**level for level in range(1, 8) if side >> level >= BLOCK]
        target.build_overviews(factors, Resampling.mode)


def main() -> None:
    """Run it once and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--callers", type=int, default=os.cpu_count(), help="model calls at once; they share the cores")
    parser.add_argument("--alone", action="store_true", help="run the model's windows on noise, and nothing else")
    asked = parser.parse_args()
    os.environ.update(SETTINGS)
    ground, kind = Ground(folder=asked.folder, side=asked.side), KINDS[asked.kind]
    loop, clock = Loop(ground, kind, callers=asked.callers), stopwatch()
    if asked.alone:
        loop.model_alone()
    else:
        loop.run(ground.map(kind, "loop"))
    print(json.dumps({"benchmark": "loop", "kind": kind.name, "alone": asked.alone, "seconds": round(clock(), 3)}))


if __name__ == "__main__":
    main()
