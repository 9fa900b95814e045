"""One pass on a geobox: each pixel takes all its bands from the first scene that sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tilewright.tasks.cube.at_once import done_at_once
from tilewright.tasks.cube.moved import read_moved
from tilewright.tasks.cube.scene_band import BandRequest, read_stored, read_values
from tilewright.tasks.cube.stored_numbers import in_place, settle_numbers
from tilewright.tasks.read.resample.pixels import MISSING, Pixels, blank_where, put_where

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.read.access import Access, ModelMasks


Window = tuple[slice, slice]
"""Rows and columns of a geobox."""

Judge = Callable[[Mapping[str, Pixels]], np.ndarray]
"""The mask of a scene: its quality bands by name -> (y, x) bool, True where it drops the pixel."""


class SceneReads(Protocol):
    """The pixels of scenes on one geobox, window by window."""

    def values(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> bool:
        """Write the values of a band to `out`; False, and NaN, for a read whose failure is tolerated."""

    def stored(self, scene: Scene, band: BandRequest, window: Window) -> Pixels | None:
        """The stored numbers of a band; None for a read whose failure is tolerated."""

    def numbers(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> Pixels | None:
        """Write the stored numbers of a band to `out`, with what tells which are missing; None for a read whose
        failure is tolerated. Raises NotStoredError.
        """


@dataclass(frozen=True, slots=True)
class FileReads:
    """The pixels of scenes, read from their files when they are asked for."""

    geobox: GeoBox
    access: Access
    _cut: dict[tuple[int, ...], GeoBox] = field(default_factory=dict, repr=False)

    def values(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> bool:
        """The values of a band, as `read_values` writes them."""
        return read_values(scene, band, self._geobox_of(window), self.access, out=out)

    def stored(self, scene: Scene, band: BandRequest, window: Window) -> Pixels | None:
        """The stored numbers of a band, as `read_stored` gives them, or the classes that a model gave to the scene."""
        if scene.asset(band.band) is None and self.access.masks is not None:
            return self._classes(self.access.masks, scene, self._geobox_of(window))
        return read_stored(scene, band, self._geobox_of(window), self.access)

    def numbers(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> Pixels | None:
        """The stored numbers of a band, read into `out` itself where they are the file's own. Raises NotStoredError."""
        pixels = read_stored(scene, band, self._geobox_of(window), self.access, out=out)
        return None if pixels is None else in_place(pixels, out)

    def _classes(self, masks: ModelMasks, scene: Scene, geobox: GeoBox) -> Pixels | None:
        """The classes of a scene where its bands are read."""
        if self.access.move is None:
            return masks.classes(scene, geobox, self.access)
        still = replace(self.access, move=None)
        pieces = self.access.move.pieces(geobox, self.access)
        return read_moved(geobox, pieces, lambda there: masks.classes(scene, there, still))

    def _geobox_of(self, window: Window) -> GeoBox:
        """The geobox of a window, cut once for all the bands that are read of it."""
        rows, cols = (span.indices(size) for span, size in zip(window, self.geobox.shape.yx, strict=True))
        key = *rows, *cols
        if key not in self._cut:
            self._cut[key] = self.geobox[window]
        return self._cut[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRequest:
    """The bands wanted of each scene of a pass, and the mask that decides with `quality` bands which pixels it drops.

    `quality` in "class" is judged by its stored numbers, else by its physical values. A scene that lacks one of them is
    not judged, nor one that lacks a band in `needs`, of which they are made. The mask of a pixel depends on quality
    bands up to `reach` pixels away.
    """

    bands: tuple[BandRequest, ...]
    quality: tuple[BandRequest, ...] = ()
    needs: tuple[str, ...] = ()
    judge: Judge | None = field(default=None, repr=False)
    reach: int = 0

    @property
    def needed(self) -> tuple[str, ...]:
        """The bands without which a scene is not judged: `needs`, else those of `quality`."""
        return self.needs or tuple(band.band for band in self.quality)


@dataclass(frozen=True, slots=True)
class ArrayReads:
    """The pixels of scenes, cut from arrays over the whole geobox, by scene id and request; NaN = missing.

    A failure that was tolerated when they were made is NaN too. Other requests are read from the files: a library's
    arrays of floats hold neither the stored number of a missing pixel nor every integer of 32 bits.
    """

    bands: Mapping[tuple[str, BandRequest], np.ndarray]
    files: FileReads

    def values(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> bool:
        """The values of a band."""
        laid_out = self.bands.get((scene.id, band))
        if laid_out is None:
            return self.files.values(scene, band, window, out=out)
        out[...] = laid_out[window]
        return True

    def stored(self, scene: Scene, band: BandRequest, window: Window) -> Pixels | None:
        """The stored numbers of a band, as `read_stored` gives them."""
        return self.files.stored(scene, band, window)

    def numbers(self, scene: Scene, band: BandRequest, window: Window, *, out: np.ndarray) -> Pixels | None:
        """The stored numbers of a band, from its file."""
        return self.files.numbers(scene, band, window, out=out)


def read_pass(
    scenes: Sequence[Scene],
    reads: SceneReads,
    request: PassRequest,
    *,
    out: np.ndarray,
    taken: np.ndarray | None = None,
    wanted: np.ndarray | None = None,
    threads: int = 1,
) -> None:
    """Write the bands of a pass to `out`, (band, y, x) float32; NaN in every band where no scene sees the pixel.

    Into an `out` of uint16 the stored numbers are written, and `MISSING` in place of NaN.
    A scene sees a pixel where all bands that it has are there and its own mask does not drop it. `scenes` are in the
    order in which they are asked (catalogs/passes.seeing_order); a later one is read only around the pixels that no
    earlier one sees. A band that the seeing scene lacks is NaN. `taken` (y, x), given as zeros, gets the place among
    `scenes` of the one that each pixel is of. Pixels that are not `wanted` (y, x) are NaN, None: all are.
    `threads` bands are read at a time.

    Raises ReadError for a scene that cannot be read, unless its failure is tolerated: it then sees nothing.
    NotStoredError for numbers that cannot be kept.
    """
    floats = out.dtype.kind == "f"
    nothing = np.float32(np.nan) if floats else MISSING
    alone = len(scenes) == len(request.bands) == 1 and scenes[0].asset(request.bands[0].band)
    if alone and floats and request.judge is None and wanted is None:
        # Nothing to join or to judge: a value that is there is seen.
        reads.values(scenes[0], request.bands[0], (slice(None), slice(None)), out=out[0])
        return
    holes = np.ones(out.shape[1:], dtype=bool) if wanted is None else wanted.copy()
    n_read = 0
    for place, scene in enumerate(scenes):
        window = _around(holes)
        if window is None:
            break
        usable = _usable(scene, window, holes, request, reads)
        inner = _around(usable)
        if inner is None:
            continue
        # Where a mask drops a whole side, nothing is read.
        window, usable = _inside(window, inner), usable[inner]
        here = out[:, window[0], window[1]]
        if n_read == 0 and here.shape != out.shape:
            out[...] = nothing
        # The first scene is read into the result itself.
        values = here if n_read == 0 else np.empty(here.shape, dtype=out.dtype)
        seen, tidy = _read_bands(scene, window, usable, request, reads, values=values, threads=threads)
        unseen = ~seen
        if n_read:
            put_where(here, values, seen)
        elif not tidy:
            blank_where(here, unseen)
        holes[window] &= unseen
        if taken is not None:
            taken[window][seen] = place
        n_read += 1
    if n_read == 0:
        out[...] = nothing


def _usable(scene: Scene, window: Window, holes: np.ndarray, request: PassRequest, reads: SceneReads) -> np.ndarray:
    """True for the holes in the window that the scene's own mask does not drop, (y, x)."""
    wanted = holes[window]
    if request.judge is None or not all(scene.asset(band) for band in request.needed):
        return wanted
    wide, inner = _widened(window, holes.shape, request.reach)
    quality: dict[str, Pixels] = {}
    for band in request.quality:
        pixels = reads.stored(scene, band, wide) if band.unit == "class" else _physical(scene, band, wide, reads)
        if pixels is None:
            return np.zeros_like(wanted)
        quality[band.band] = pixels
    return wanted & ~request.judge(quality)[inner]


def _physical(scene: Scene, band: BandRequest, window: Window, reads: SceneReads) -> Pixels | None:
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    values = np.empty(shape, dtype=np.float32)
    return Pixels(values=values, nodata=np.nan, valid=None) if reads.values(scene, band, window, out=values) else None


def _read_bands(
    scene: Scene,
    window: Window,
    usable: np.ndarray,
    request: PassRequest,
    reads: SceneReads,
    *,
    values: np.ndarray,
    threads: int,
) -> tuple[np.ndarray, bool]:
    """Read a scene's bands into `values` (band, y, x): (True where the scene sees a usable pixel (y, x), tidy).

    Tidy: `values` are missing everywhere else already.
    """
    floats = values.dtype.kind == "f"
    present = [number for number, band in enumerate(request.bands) if scene.asset(band.band) is not None]
    for number in set(range(len(request.bands))) - set(present):
        values[number] = np.nan if floats else MISSING

    def read_values(number: int) -> bool:
        return reads.values(scene, request.bands[number], window, out=values[number])

    def read_numbers(number: int) -> Pixels | None:
        return reads.numbers(scene, request.bands[number], window, out=values[number])

    if not floats:
        found = list(done_at_once(read_numbers, present, threads=threads))
        read = [pixels for pixels in found if pixels is not None]
        if not present or len(read) < len(present):
            return np.zeros_like(usable), False
        return settle_numbers(read, usable), True
    all_read = all(done_at_once(read_values, present, threads=threads))
    if not present or not all_read:
        return np.zeros_like(usable), False
    missing = [np.isnan(values[number]) for number in present]
    seen = usable & ~np.logical_or.reduce(missing)
    n_unseen = seen.size - int(np.count_nonzero(seen))
    # What is missing is unseen: bands that miss as many pixels as are unseen miss the same ones.
    return seen, all(int(np.count_nonzero(absent)) == n_unseen for absent in missing)


def _around(holes: np.ndarray) -> Window | None:
    """The window around every True of (y, x), or None if there is none."""
    if holes.size and all(side.any() for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1])):
        return slice(0, holes.shape[0]), slice(0, holes.shape[1])
    rows = np.flatnonzero(holes.any(axis=1))
    if rows.size == 0:
        return None
    cols = np.flatnonzero(holes[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _inside(window: Window, inner: Window) -> Window:
    """A window given inside another one, on the other's geobox."""
    rows, cols = (
        slice(outer.start + part.start, outer.start + part.stop) for outer, part in zip(window, inner, strict=True)
    )
    return rows, cols


def _widened(window: Window, shape: tuple[int, ...], reach: int) -> tuple[Window, Window]:
    """A window with `reach` more pixels on each side inside the shape, and the place of the window in it."""
    spans = [
        (max(0, span.start - reach), min(size, span.stop + reach)) for span, size in zip(window, shape, strict=True)
    ]
    wide = slice(*spans[0]), slice(*spans[1])
    rows, cols = (slice(span.start - first, span.stop - first) for span, (first, _) in zip(window, spans, strict=True))
    return wide, (rows, cols)
