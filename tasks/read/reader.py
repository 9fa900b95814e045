"""One band of one file on any geobox: copied where the pixels coincide, warped in fixed cells where they do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.enums import Resampling

from tilewright.tasks.grid.crs import same_crs
from tilewright.tasks.read.cells import CellGrid, cells, locate
from tilewright.tasks.read.counters import DecodedBlocks, FileBlock, ReadStats
from tilewright.tasks.read.gdal import limit_block_cache, reading_env, settings_for
from tilewright.tasks.read.handles import FileKey, HandlePool, OpenFile
from tilewright.tasks.read.paste import Alignment, align, paste
from tilewright.tasks.read.pixels import Pixels
from tilewright.tasks.read.retry import UnreadableError, read_with_retries
from tilewright.tasks.read.source_window import FileWindow, source_window
from tilewright.tasks.read.warp import SHEET, pixel_ratio, warp

if TYPE_CHECKING:
    from collections.abc import Callable

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import BandAsset
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.read.access import Reading


OVERVIEW_SLACK = 1.05
"""Pixel size of an overview over that of the grid up to which it is read, since warped pixels vary in size."""

_HANDLES = HandlePool()

_DECODED = DecodedBlocks(capacity_bytes=limit_block_cache())


def set_block_cache(n_bytes: int) -> None:
    """Set the size of this process's cache of decoded file blocks."""
    _DECODED.resize(limit_block_cache(n_bytes))


def close_files() -> None:
    """Close all idle files of this process; GDAL then drops their decoded blocks."""
    _HANDLES.close()
    _DECODED.forget()


def check_resampling(name: str) -> str:
    """The name if GDAL can warp with this resampling. Raises ValueError otherwise."""
    known = {member.name for member in Resampling} - {"gauss"}
    if name not in known:
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
) -> Pixels:
    """The asset's stored values on the geobox; pixels that the file does not cover are missing.

    Aligned pixels are copied, and repeated or picked for `nearest`; others are warped in cells. Categories (unit
    "class") are read at full size only, since an overview may have averaged them. `sign` returns the href as it can be
    opened now.

    Raises UnreadableError after the retries.
    """
    lattice, box = locate(geobox)
    request = _Request(asset=asset, lattice=lattice, box=box, resampling=check_resampling(resampling), stats=stats)

    def attempt(signed: str, number: int) -> Pixels:
        return _read(replace(request, signed=signed, fresh=number > 0))

    with reading_env(settings_for(asset.href, reading.gdal)):
        return read_with_retries(attempt, href=asset.href, sign=sign, policy=reading.retry)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    asset: BandAsset
    lattice: CellGrid
    box: PixelBox
    resampling: str
    stats: ReadStats | None
    signed: str = ""
    fresh: bool = False


def _read(request: _Request) -> Pixels:
    asset = request.asset
    key = FileKey.of(asset.href, overview=None)
    with _HANDLES.borrow(key, signed=request.signed, fresh=request.fresh) as file:
        _check_band(file.dataset, asset)
        parts = _parts(file.dataset, request)
        if len(parts) == 1 and parts[0].overview is None:
            return _read_open(file, file.dataset.transform, request)
        base = file.dataset.transform
    pixels = [_read_part(part, base, request) for part in parts]
    return pixels[0] if len(parts) == 1 else _join(pixels, parts, request.box)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilePart:
    """A part of the box that is read from one overview, with its number and factor, or from the full size."""

    box: PixelBox
    overview: int | None
    factor: int


def _parts(dataset: Any, request: _Request) -> list[_FilePart]:
    """The box in parts by sheets of the lattice if it is warped, so that the overview does not depend on the box."""
    wkt = dataset.crs.to_wkt()
    box, lattice = request.box, request.lattice
    sheets = list(cells(box, size=SHEET))
    if same_crs(wkt, lattice.crs):
        return [_part(dataset, request, box, pixel_ratio(wkt, dataset.transform, lattice, sheets[0]))]
    pieces = ((sheet, sheet.intersect(box)) for sheet in sheets)
    return [
        _part(dataset, request, piece, pixel_ratio(wkt, dataset.transform, lattice, sheet))
        for sheet, piece in pieces
        if not piece.empty
    ]


def _part(dataset: Any, request: _Request, box: PixelBox, ratio: float) -> _FilePart:
    """The part with the coarsest overview that is not coarser than the grid."""
    factors = [] if request.asset.unit == "class" else dataset.overviews(request.asset.index)
    fitting = [level for level, factor in enumerate(factors) if factor <= ratio * OVERVIEW_SLACK]
    if not fitting:
        return _FilePart(box=box, overview=None, factor=1)
    return _FilePart(box=box, overview=fitting[-1], factor=factors[fitting[-1]])


def _read_part(part: _FilePart, base: Affine, request: _Request) -> Pixels:
    key = FileKey.of(request.asset.href, overview=part.overview)
    with _HANDLES.borrow(key, signed=request.signed, fresh=request.fresh) as file:
        # GDAL stretches an overview over the file's extent, but its pixels are whole multiples of the file's.
        return _read_open(file, base * Affine.scale(part.factor), replace(request, box=part.box))


def _join(pixels: list[Pixels], parts: list[_FilePart], box: PixelBox) -> Pixels:
    values = np.empty(box.shape, dtype=pixels[0].values.dtype)
    valid = None if pixels[0].valid is None else np.empty(box.shape, dtype=bool)
    for piece, part in zip(pixels, parts, strict=True):
        place = part.box.slices_in(box)
        values[place] = piece.values
        if valid is not None:
            valid[place] = piece.valid
    return Pixels(values=values, nodata=pixels[0].nodata, valid=valid)


def _read_open(file: OpenFile, transform: Affine, request: _Request) -> Pixels:
    dataset, asset, box = file.dataset, request.asset, request.box
    nodata = _nodata(dataset, asset)
    window = source_window(dataset, transform, request.lattice, box)
    if window is None:
        empty = np.full(box.shape, 0 if nodata is None else nodata, dtype=dataset.dtypes[asset.index - 1])
        return Pixels(values=empty, nodata=nodata, valid=np.zeros(box.shape, dtype=bool) if nodata is None else None)
    _count(file, request, window)
    alignment = _alignment(dataset, transform, request)
    if alignment is not None:
        return paste(dataset, band=asset.index, nodata=nodata, alignment=alignment, shape=box.shape)
    if "://" in asset.href:
        # One request for the whole window instead of one per cell, which are then in GDAL's cache.
        dataset.read(asset.index, window=window.slices)
    grid: dict[str, Any] = {"lattice": request.lattice, "box": box, "resampling": request.resampling}
    values, valid = warp(dataset, band=asset.index, transform=transform, nodata=nodata, **grid)
    return Pixels(values=values, nodata=nodata, valid=valid)


def _alignment(dataset: Any, transform: Affine, request: _Request) -> Alignment | None:
    """The alignment for a paste; None if pixels must be warped."""
    if not same_crs(dataset.crs.to_wkt(), request.lattice.crs):
        return None
    found = align(transform, request.lattice.transform(request.box.row_start, request.box.col_start))
    return found if found is not None and (found.same_size or request.resampling == "nearest") else None


def _check_band(dataset: Any, asset: BandAsset) -> None:
    if not 1 <= asset.index <= dataset.count:
        raise UnreadableError(f"the file has {dataset.count} bands and no band {asset.index}")
    if dataset.crs is None:
        raise UnreadableError("the file has no CRS")


def _nodata(dataset: Any, asset: BandAsset) -> float | None:
    """The nodata value of the item, else of the file; None if the file's dtype cannot hold it."""
    nodata: float | None = asset.nodata if asset.nodata is not None else dataset.nodatavals[asset.index - 1]
    dtype = np.dtype(dataset.dtypes[asset.index - 1])
    if nodata is None or dtype.kind not in "iu":
        return nodata
    limits = np.iinfo(dtype)
    return nodata if np.isfinite(nodata) and limits.min <= nodata <= limits.max and nodata == int(nodata) else None


def _count(file: OpenFile, request: _Request, window: FileWindow) -> None:
    """Count the blocks of a window, before GDAL reads them."""
    stats, asset = request.stats, request.asset
    if stats is None:
        return
    block = file.dataset.block_shapes[asset.index - 1]
    itemsize = np.dtype(file.dataset.dtypes[asset.index - 1]).itemsize
    touched = [FileBlock(file.number, row, col) for row, col in window.blocks(block)]
    n_decoded = _DECODED.touch(touched, size=block[0] * block[1] * itemsize)
    name = (asset.href, file.key.overview, asset.index)
    stats.add(file=name, window=window, block=block, itemsize=itemsize, n_decoded=n_decoded)
