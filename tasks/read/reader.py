"""One band of one file on any geobox: copied where the pixels coincide, warped in fixed cells where they do not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from tilewright.catalogs.hrefs import split_store
from tilewright.tasks.grid.crs import same_crs
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.read.counters import DecodedBlocks, FileBlock, ReadStats, stored_bytes
from tilewright.tasks.read.gdal import Way, limit_block_cache, reading_env, settings_for, unheld_env
from tilewright.tasks.read.handles import FileKey, HandlePool, OpenFile
from tilewright.tasks.read.overviews import OVERVIEW_SLACK, overview_fits
from tilewright.tasks.read.resample.cells import CellGrid, cells, locate
from tilewright.tasks.read.resample.enlarge import enlarge, enlarge_window, enlarges
from tilewright.tasks.read.resample.paste import Alignment, align, paste
from tilewright.tasks.read.resample.pixels import Pixels, StoredBand
from tilewright.tasks.read.resample.source_window import SMOOTH, FileWindow, source_window
from tilewright.tasks.read.resample.warp import CELL, SHEET, Warping, missing_pixels, pixel_ratio, warp
from tilewright.tasks.read.retry import MisplacedError, UnreadableError, read_with_retries
from tilewright.tasks.read.zarr3.chunks import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import BandAsset
    from tilewright.tasks.read.access import Reading
    from tilewright.tasks.read.header import FileHeader


AT_ONCE = 1 << 25
"""File pixels up to which the window of a warp is requested at once from a remote file; a larger one cell by cell."""

IDLE_CACHE_BYTES = 32 * 2**20
"""GDAL's cache while no block is read: files that are written need no more."""

_HANDLES = HandlePool()

_DECODED = DecodedBlocks(capacity_bytes=limit_block_cache())


def set_block_cache(n_bytes: int) -> None:
    """Set the size of this process's cache of decoded file blocks."""
    _DECODED.resize(limit_block_cache(n_bytes))
    KEPT.resize(n_bytes)


def close_files() -> None:
    """Close all idle files of this process; GDAL then drops their decoded blocks."""
    _HANDLES.close()
    _DECODED.forget()


def release_blocks() -> None:
    """Give back what this process holds to read blocks, once they are read: its idle files and most of GDAL's cache."""
    close_files()
    set_block_cache(IDLE_CACHE_BYTES)


def check_resampling(name: str) -> str:
    """The name if GDAL can warp with this resampling. Raises ValueError otherwise."""
    if name not in (known := {member.name for member in Resampling} - {"gauss"}):
        raise ValueError(f"resampling {name!r} is not known: give one of {', '.join(sorted(known))}")
    return name


def read_asset(
    asset: BandAsset,
    geobox: GeoBox,
    *,
    resampling: str,
    reading: Reading,
    sign: Callable[[], str],
    stats: ReadStats | None = None,
    coarse: bool = False,
    out: np.ndarray | None = None,
) -> Pixels:
    """The asset's stored values on the geobox; pixels that the file does not cover are missing.

    Aligned pixels are copied, and repeated or picked for `nearest`; others are warped in cells. An overview is read in
    place of the full pixels only where `overview_fits`; with `coarse` the coarsest that is not coarser than the grid,
    whatever it was made by. Values have the file's dtype, but sums of integers are float64.
    `sign` returns the href as it can be opened now. Values that are copied whole are read into `out`, and are it then.

    Raises UnreadableError after the retries.
    """
    lattice, box = locate(geobox)
    way, resampling = Way(settings=reading.gdal, rules=reading.rules), check_resampling(resampling)
    request = _Request(
        asset=asset, lattice=lattice, box=box, resampling=resampling, stats=stats, coarse=coarse, out=out, way=way
    )

    def attempt(signed: str, number: int) -> Pixels:
        # A server may refuse a precondition that holds; what it then sends is looked at when the run ends.
        with unheld_env(reading.gdal) if number > 1 and "://" in asset.href else nullcontext():
            return _read(replace(request, signed=signed, fresh=number > 0))

    with reading_env(settings_for(asset.href, reading.gdal, reading.rules, identity=asset.holding)):
        return read_with_retries(
            attempt,
            href=asset.href,
            sign=sign,
            policy=reading.retry,
            rules=reading.rules,
            is_changed=partial(reading.is_changed, asset) if "://" in asset.href else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    asset: BandAsset
    lattice: CellGrid
    box: PixelBox
    resampling: str
    stats: ReadStats | None
    coarse: bool = False
    out: np.ndarray | None
    signed: str = ""
    fresh: bool = False
    way: Way | None = None


def _read(request: _Request) -> Pixels:
    with _borrow(request, None) as file:
        reason = file.header.refusal(request.asset) or file.header.contradiction(request.asset)
        if reason is not None:
            raise UnreadableError(reason, final=True)
        misplaced = file.header.misplaced(request.asset)
        if misplaced is not None:
            raise MisplacedError(misplaced)
        parts = _parts(file, request)
        if len(parts) == 1 and parts[0].overview is None:
            return _read_open(file, request)
        base = file.header
    pixels = [_read_part(part, base, request) for part in parts]
    return pixels[0] if len(parts) == 1 else _join(pixels, parts, request.box)


def _borrow(request: _Request, overview: int | None) -> AbstractContextManager[OpenFile]:
    """The file of a request, or one of its overviews, open for reading."""
    asset = request.asset
    crs = asset.crs if split_store(asset.href) is not None else ""
    key = FileKey.of(asset.href, overview=overview, identity=asset.holding, crs=crs)
    return _HANDLES.borrow(key, signed=request.signed, fresh=request.fresh, way=request.way)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilePart:
    """A part of the box that is read from the overview with that number, or from the full size."""

    box: PixelBox
    overview: int | None


def _parts(file: OpenFile, request: _Request) -> list[_FilePart]:
    """The box in parts by sheets of the lattice if it is warped, so that the overview does not depend on the box."""
    header, box, lattice = file.header, request.box, request.lattice
    sheets = list(cells(box, size=SHEET))
    if same_crs(header.crs, lattice.crs):
        ratio = pixel_ratio(header.crs, header.transform, lattice, sheets[0])
        return [_FilePart(box=box, overview=_overview(file, request, ratio))]
    pieces = ((sheet, sheet.intersect(box)) for sheet in sheets)
    return [
        _FilePart(
            box=piece, overview=_overview(file, request, pixel_ratio(header.crs, header.transform, lattice, sheet))
        )
        for sheet, piece in pieces
        if not piece.empty
    ]


def _overview(file: OpenFile, request: _Request, ratio: float) -> int | None:
    """The coarsest overview that fits the rule and is not coarser than the grid; None for the full size."""
    asset, lattice = request.asset, request.lattice
    if request.coarse:
        fitting = [
            level
            for level, factor in enumerate(file.dataset.overviews(asset.index))
            if factor <= ratio * OVERVIEW_SLACK
        ]
        return max(fitting, default=None)
    if asset.unit == "class" or request.resampling not in {"average", *SMOOTH}:
        return None
    grid = lattice.transform(request.box.row_start, request.box.col_start)
    grid_there = grid if same_crs(file.header.crs, lattice.crs) else None
    rule: dict[str, Any] = {"resampling": request.resampling, "ratio": ratio, "grid": grid_there}
    factors = list(enumerate(file.dataset.overviews(asset.index)))
    # GDAL rounds the factor of an overview; its header has the exact size.
    for level, _ in reversed([entry for entry in factors if entry[1] - 0.5 <= ratio * OVERVIEW_SLACK]):
        with _borrow(request, level) as overview:
            if overview_fits(file.header, overview.header, asset, **rule):
                return level
    return None


def _read_part(part: _FilePart, base: FileHeader, request: _Request) -> Pixels:
    request = replace(request, box=part.box)
    with _borrow(request, part.overview) as file:
        if part.overview is None or not _has_grown_holes(file, base, request, part.box):
            return _read_open(file, request, base=base)
        pieces = [
            _FilePart(
                box=cell.intersect(part.box),
                overview=None if _has_grown_holes(file, base, request, cell) else part.overview,
            )
            for cell in cells(part.box, size=CELL)
        ]
    pixels = [_read_whole(piece, base, request) for piece in pieces]
    return _join(pixels, pieces, part.box)


def _read_whole(part: _FilePart, base: FileHeader, request: _Request) -> Pixels:
    with _borrow(request, part.overview) as file:
        return _read_open(file, replace(request, box=part.box), base=base)


def _has_grown_holes(file: OpenFile, base: FileHeader, request: _Request, box: PixelBox) -> bool:
    """True if an overview of floats has NaN or infinity around the cells of a box that no marker of the file explains.

    An average with such a pixel is NaN, so that the overview's holes are larger than the file's.
    """
    dtype, nodata = base.dtypes[request.asset.index - 1], base.nodata[request.asset.index - 1]
    if not dtype.startswith("float") or (nodata is not None and np.isnan(nodata)):
        return False
    touched = list(cells(box, size=CELL))
    height, width = touched[-1].row_stop - touched[0].row_start, touched[-1].col_stop - touched[0].col_start
    covering = PixelBox.at(touched[0].row_start, touched[0].col_start, shape=(height, width))
    window = source_window(
        file.dataset, base.crs, file.header.transform, request.lattice, covering, resampling=request.resampling
    )
    return window is not None and not np.isfinite(file.dataset.read(request.asset.index, window=window.slices)).all()


def _join(pixels: list[Pixels], parts: list[_FilePart], box: PixelBox) -> Pixels:
    values = np.empty(box.shape, dtype=pixels[0].values.dtype)
    valid = None if pixels[0].valid is None else np.empty(box.shape, dtype=bool)
    for piece, part in zip(pixels, parts, strict=True):
        place = part.box.slices_in(box)
        values[place] = piece.values
        if valid is not None:
            valid[place] = piece.valid
    return Pixels(values=values, nodata=pixels[0].nodata, valid=valid)


def _read_open(file: OpenFile, request: _Request, *, base: FileHeader | None = None) -> Pixels:
    """The box of the request from a file or, with the header `base` of the file, from one of its overviews."""
    dataset, header, asset, box = file.dataset, file.header, request.asset, request.box
    band = StoredBand(dataset=dataset, index=asset.index, signs=(base or header).signs(asset))
    named, beyond_gdal = header.nodata[asset.index - 1] is not None, not isinstance(dataset, DatasetReader)
    warping = Warping(
        band=band,
        crs=header.crs,
        # GDAL stretches an overview over the file's extent, whatever its size.
        transform=header.transform,
        misleads=header.alpha is not None or dataset.count > 1 or beyond_gdal or (named and not band.signs.markers),
        lattice=request.lattice,
        resampling=request.resampling,
    )
    alignment = _alignment(header, request)
    if alignment is not None and enlarges(alignment, request.resampling, band.signs.dtype):
        window = enlarge_window(alignment, box.shape, dataset.shape)
        if window is None:
            return missing_pixels(warping, box)
        _count(file, request, window)
        return enlarge(band, missing_pixels(warping, box), alignment=alignment)
    copied = alignment is not None and _is_copied(alignment, request.resampling)
    # A copy has no kernel.
    rule = "nearest" if copied else request.resampling
    window = source_window(dataset, header.crs, header.transform, request.lattice, box, resampling=rule)
    if window is None:
        return missing_pixels(warping, box)
    _count(file, request, window)
    if alignment is not None and copied:
        return paste(band, alignment=alignment, shape=box.shape, out=request.out)
    if "://" in asset.href and window.size <= AT_ONCE:
        # One request for the whole window instead of one per cell, which are then in GDAL's cache.
        dataset.read(asset.index, window=window.slices)
    return warp(warping.on_pixels(box), box)


def _alignment(header: FileHeader, request: _Request) -> Alignment | None:
    """The alignment of grid and file, None if their pixel edges do not coincide."""
    if not same_crs(header.crs, request.lattice.crs):
        return None
    return align(header.transform, request.lattice.transform(request.box.row_start, request.box.col_start))


def _is_copied(alignment: Alignment, resampling: str) -> bool:
    """True if the aligned pixels are the file's own; sums have another type."""
    return resampling == "nearest" or (alignment.same_size and resampling != "sum")


def _count(file: OpenFile, request: _Request, window: FileWindow) -> None:
    """Count the blocks of a window, before GDAL reads them."""
    stats, asset = request.stats, request.asset
    if stats is None:
        return
    block = file.dataset.block_shapes[asset.index - 1]
    itemsize = np.dtype(file.dataset.dtypes[asset.index - 1]).itemsize
    touched = [FileBlock(file.number, row, col) for row, col in window.blocks(block)]
    decoded = _DECODED.touch(touched, size=block[0] * block[1] * itemsize)
    stats.add(
        file=(asset.href, file.key.overview, asset.index),
        window=window,
        block=block,
        itemsize=itemsize,
        n_decoded=len(decoded),
        stored_bytes=stored_bytes(file.dataset, asset.index, [(block.row, block.col) for block in decoded]),
    )
