"""One band of one solar day: its scenes joined in item order, as stored integers where these mean the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.read.pixels import Conversion, Pixels, convert_unit, to_physical
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import UnreadableError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMosaic:
    """The scenes of one solar day that have a band, in item order, and how they are resampled.

    `unit`: the unit of the result; "class" keeps the stored integers, in any other unit values are physical.
    """

    band: str
    scenes: tuple[Scene, ...]
    resampling: str
    unit: str

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """The identity for Dask, which would otherwise hash every scene for each block."""
        return self.band, self.resampling, self.unit, *((scene.id, scene.href) for scene in self.scenes)

    @property
    def assets(self) -> tuple[BandAsset, ...]:
        """The band's asset of each scene."""
        return tuple(asset for scene in self.scenes if (asset := scene.asset(self.band)) is not None)


def read_mosaic(mosaic: DayMosaic, geobox: GeoBox, *, out: np.ndarray, fill: float, access: Access) -> None:
    """Read the day's band on the geobox into `out`, (y, x) in the cube's dtype, `fill` where no scene has a value.

    Per pixel the first scene in item order with a value wins. Consecutive scenes with the same dtype, scale and offset
    are joined as stored numbers and converted once, and a later one is read only where the earlier ones have holes.
    Others are converted before they are joined.
    Raises ReadError for a scene that cannot be read, unless the access tolerates it.
    """
    runs = _runs(mosaic)
    joined = _join_run(mosaic, runs[0], geobox, access)
    if joined is None:
        out[...] = fill
    else:
        _write_values(joined, runs[0][0], mosaic, out=out, fill=fill)
    if len(runs) == 1:
        return
    holes = np.ones(out.shape, dtype=bool) if joined is None else joined.missing
    for run in runs[1:]:
        if not holes.any():
            break
        joined = _join_run(mosaic, run, geobox, access)
        if joined is not None:
            missing, later = joined.missing, np.empty_like(out)
            _write_values(joined, run[0], mosaic, out=later, fill=fill)
            np.copyto(out, later, where=holes & ~missing)
            holes &= missing


def _runs(mosaic: DayMosaic) -> list[list[Scene]]:
    """The scenes in runs of consecutive ones whose stored numbers mean the same."""
    runs: list[list[Scene]] = []
    for scene in mosaic.scenes:
        if runs and _meaning(runs[-1][0], mosaic.band) == _meaning(scene, mosaic.band):
            runs[-1].append(scene)
        else:
            runs.append([scene])
    return runs


def _meaning(scene: Scene, band: str) -> tuple[object, ...]:
    asset = _asset(scene, band)
    return asset.dtype, str(asset.nodata), asset.scale, asset.offset, asset.unit


def _asset(scene: Scene, band: str) -> BandAsset:
    asset = scene.asset(band)
    assert asset is not None, f"{scene.id} is in a mosaic of {band} without having it"
    return asset


def _join_run(mosaic: DayMosaic, run: list[Scene], geobox: GeoBox, access: Access) -> Pixels | None:
    """The stored numbers of a run, per pixel of the first scene with a value; None if no scene could be read."""
    joined: Pixels | None = None
    for scene in run:
        if joined is None:
            joined = _read_scene(mosaic, scene, geobox, access)
            continue
        missing = joined.missing
        window = _bounding_slices(missing)
        if window is None:
            break
        more = _read_scene(mosaic, scene, geobox[window], access)
        if more is not None:
            joined = _fill_holes(joined, missing, more, window)
    return joined


def _fill_holes(joined: Pixels, missing: np.ndarray, more: Pixels, window: tuple[slice, slice]) -> Pixels:
    """The pixels with their holes in the window filled from `more`, which covers only the window."""
    take = missing[window] & ~more.missing
    alike = more.values.dtype == joined.values.dtype and str(more.nodata) == str(joined.nodata)
    if alike and joined.valid is None:
        np.copyto(joined.values[window], more.values, where=take)
        return joined
    values = joined.values.astype(np.promote_types(more.values.dtype, joined.values.dtype))
    np.copyto(values[window], more.values, where=take)
    valid = ~missing
    valid[window] |= take
    return Pixels(values=values, nodata=None, valid=valid)


def _read_scene(mosaic: DayMosaic, scene: Scene, geobox: GeoBox, access: Access) -> Pixels | None:
    """The scene's stored numbers; None if the read failed and the failure is tolerated."""
    asset = _asset(scene, mosaic.band)

    def sign() -> str:
        return asset.href if access.sign is None else access.sign(scene, asset.href)

    try:
        return read_asset(
            asset, geobox, resampling=mosaic.resampling, reading=access.reading, sign=sign, stats=access.stats
        )
    except UnreadableError as error:
        failed = ReadError(item=scene.id, band=mosaic.band, href=asset.href, reason=str(error), block=access.block)
        if access.failures is None:
            raise failed from error
        access.failures.record(failed)
        return None


def _write_values(pixels: Pixels, scene: Scene, mosaic: DayMosaic, *, out: np.ndarray, fill: float) -> None:
    """Write stored numbers to `out` as values of the cube: categories as they are, others in the mosaic's unit."""
    if mosaic.unit == "class":
        out[...] = pixels.values
        if pixels.nodata != fill or pixels.valid is not None:
            out[pixels.missing] = fill
        return
    asset = _asset(scene, mosaic.band)
    to_physical(pixels, Conversion(scale=asset.scale, offset=asset.offset), out=out)
    if asset.unit != mosaic.unit:
        out[...] = convert_unit(out, source=asset.unit, target=mosaic.unit)


def _bounding_slices(holes: np.ndarray) -> tuple[slice, slice] | None:
    """(rows, columns) around every True, or None if there is none."""
    rows = np.flatnonzero(holes.any(axis=1))
    if rows.size == 0:
        return None
    cols = np.flatnonzero(holes[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
