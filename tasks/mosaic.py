"""One band of one solar day: its scenes joined in item order, integers as long as they mean the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tasks.failures import FailureLog, ReadError
from tasks.pixels import Conversion, Pixels, to_physical
from tasks.reader import Reading, read_asset
from tasks.retry import UnreadableError
from tasks.units import convert_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from odc.geo.geobox import GeoBox

    from catalogs.items import BandAsset, Scene
    from tasks.reader import ReadStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What reading a scene needs besides it: signing, settings, where failures and counts go, the block's name."""

    sign: Callable[[Scene, str], str] | None = None
    failures: FailureLog | None = None
    block: str = ""
    reading: Reading = field(default_factory=Reading)
    stats: ReadStats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMosaic:
    """The scenes of one solar day that have a band, in item order, and how they are resampled.

    `unit` is what comes out: "class" leaves stored integers, everything else is physical.
    """

    band: str
    scenes: tuple[Scene, ...]
    resampling: str
    unit: str

    @property
    def assets(self) -> tuple[BandAsset, ...]:
        """The band's asset of each scene."""
        return tuple(asset for scene in self.scenes if (asset := scene.asset(self.band)) is not None)


def read_mosaic(mosaic: DayMosaic, geobox: GeoBox, *, dtype: np.dtype, fill: float, access: Access) -> np.ndarray:
    """The day's band on the geobox, (y, x) in `dtype`, `fill` where no scene has a value.

    Per pixel the first scene in item order with a value wins. A later scene is read only where the earlier ones left
    holes. Scenes stored alike are joined as stored numbers and converted once; others each before they meet.
    Raises ReadError for a scene that cannot be read, unless the access tolerates it.
    """
    if len(mosaic.scenes) == 1:
        return _read_alone(mosaic, geobox, dtype=dtype, fill=fill, access=access)
    result = np.full(geobox.shape.yx, fill, dtype=dtype)
    holes = np.ones(result.shape, dtype=bool)
    for run in _runs(mosaic):
        window = _bounding(holes)
        if window is None:
            break
        part = geobox[window]
        joined = _join_run(mosaic, run, part, access)
        if joined is None:
            continue
        missing = joined.missing
        take = holes[window] & ~missing
        values = _finish(joined, run[0], mosaic, dtype)
        np.copyto(result[window], values, where=take)
        holes[window] &= missing
    return result


def _read_alone(mosaic: DayMosaic, geobox: GeoBox, *, dtype: np.dtype, fill: float, access: Access) -> np.ndarray:
    """The same for a day of one scene, which needs no joining."""
    scene = mosaic.scenes[0]
    pixels = _read_scene(mosaic, scene, geobox, access)
    if pixels is None:
        return np.full(geobox.shape.yx, fill, dtype=dtype)
    values = _finish(pixels, scene, mosaic, dtype)
    if mosaic.unit == "class" and (pixels.nodata != fill or pixels.valid is not None):
        values = np.where(pixels.missing, dtype.type(fill), values)
    return values


def _runs(mosaic: DayMosaic) -> list[list[Scene]]:
    """Neighbouring scenes whose stored numbers mean the same, together."""
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
    """The run's stored numbers, the first scene with a value winning; None if none of them could be read."""
    joined: Pixels | None = None
    for scene in run:
        if joined is None:
            joined = _read_scene(mosaic, scene, geobox, access)
            continue
        window = _bounding(joined.missing)
        if window is None:
            break
        more = _read_scene(mosaic, scene, geobox[window], access)
        if more is not None:
            joined = _fill_holes(joined, more, window)
    return joined


def _fill_holes(joined: Pixels, more: Pixels, window: tuple[slice, slice]) -> Pixels:
    """The pixels with their holes in the window filled from `more`, which covers the window alone."""
    if more.values.dtype != joined.values.dtype or str(more.nodata) != str(joined.nodata):
        wide = np.promote_types(more.values.dtype, joined.values.dtype)
        values = joined.values.astype(wide)
        valid: np.ndarray | None = ~joined.missing
    else:
        values, valid = _writable(joined.values), None if joined.valid is None else joined.valid.copy()
    take = joined.missing[window] & ~more.missing
    np.copyto(values[window], more.values, where=take)
    if valid is not None:
        valid[window] |= take
    nodata = joined.nodata if valid is None or joined.valid is not None else None
    return Pixels(values=values, nodata=nodata, valid=valid)


def _writable(values: np.ndarray) -> np.ndarray:
    return values if values.flags.writeable else values.copy()


def _read_scene(mosaic: DayMosaic, scene: Scene, geobox: GeoBox, access: Access) -> Pixels | None:
    """The scene's stored numbers, or None if that failed and the failure is tolerated."""
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
        access.failures.take(failed)
        return None


def _finish(pixels: Pixels, scene: Scene, mosaic: DayMosaic, dtype: np.dtype) -> np.ndarray:
    """Values of the cube: categories as they are, everything else physical and in the mosaic's unit."""
    if mosaic.unit == "class":
        return pixels.values.astype(dtype, copy=False)
    asset = _asset(scene, mosaic.band)
    physical = to_physical(pixels, Conversion(scale=asset.scale, offset=asset.offset))
    return convert_unit(physical, source=asset.unit, target=mosaic.unit).astype(dtype, copy=False)


def _bounding(holes: np.ndarray) -> tuple[slice, slice] | None:
    """(rows, columns) around every True, or None if there is none."""
    rows = np.flatnonzero(holes.any(axis=1))
    if rows.size == 0:
        return None
    cols = np.flatnonzero(holes[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
