"""Drivers with which odc-stac and stackstac read through our reader: chunk-independent pixels, retries, signing.

    odc.stac.load(items, ..., driver=FileDriver())
    stackstac.stack(items, ..., reader=FileReader)

Both return the numbers stored in the files; scale, offset and masks are left to the caller. See also `load_cube`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from tilewright.catalogs.scene import BandAsset
from tilewright.tasks.cube.engines import StatelessDriver
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from odc.loader.types import RasterLoadParams, RasterSource
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    from tilewright.tasks.read.resample.pixels import Pixels


class FileDriver(StatelessDriver):
    """odc-loader's ReaderDriver over single files: aligned pixels are copied, others warped in fixed cells.

    `sign(href)` returns the href as it can be opened now, at every try; `reading` holds GDAL settings and retries.
    A file that stays unreadable raises UnreadableError, or is nodata under `fail_on_error=False`.
    """

    def __init__(self, *, sign: Callable[[str], str] | None = None, reading: Reading | None = None) -> None:
        self.sign = sign
        self.reading = reading or Reading()

    def open(self, src: RasterSource, ctx: Any) -> SourceReader:
        """A reader of the file; it is opened by the first read."""
        del ctx
        return SourceReader(src, self)


class SourceReader:
    """odc-loader's RasterReader of one band of one file."""

    def __init__(self, source: RasterSource, driver: FileDriver) -> None:
        self._source, self._driver = source, driver

    def read(
        self, cfg: RasterLoadParams, dst_geobox: GeoBox, *, dst: np.ndarray | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """(slices of the geobox, stored values there), of the whole geobox. Raises ValueError for layers of a cube."""
        if selection is not None or self._source.subdataset is not None:
            raise ValueError(f"{self._source.uri} is asked for layers of a cube: this driver reads bands of rasters")
        nodata = _nodata_of(self._source, cfg)
        asset = _asset(self._source.uri, self._source.band, nodata=nodata, overviews=cfg.use_overviews)
        fill = cfg.fill_value
        try:
            pixels = _read(asset, dst_geobox, cfg.resampling, self._driver, fallback=cfg.src_nodata_fallback)
        except UnreadableError:
            if cfg.fail_on_error:
                raise
            empty = _nodata_value(nodata) if fill is None else fill
            values = np.full(dst_geobox.shape.yx, empty, dtype=cfg.dtype or "float32")
        else:
            values = _with_fill(pixels, fill=fill, dtype=np.dtype(cfg.dtype or pixels.values.dtype))
        everywhere = slice(0, values.shape[0]), slice(0, values.shape[1])
        if dst is None:
            return everywhere, values
        dst[...] = values
        return everywhere, dst


class FileReader:
    """stackstac's Reader of one asset. The asset's first band is read, as stackstac's own reader does.

    Raises UnreadableError when computed for a file that stays unreadable and is not in `errors_as_nodata`.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: Any,
        resampling: Resampling,
        dtype: np.dtype,
        fill_value: float | None,
        scale_offset: tuple[float, float] = (1, 0),
        gdal_env: Any = None,
        errors_as_nodata: tuple[Exception, ...] = (),
    ) -> None:
        if gdal_env is not None:
            raise ValueError(
                "gdal_env is for stackstac's own reader: FileReader brings its GDAL settings, leave it out"
            )
        self.url, self.spec, self.resampling = url, spec, resampling
        self.dtype, self.fill_value, self.scale_offset = np.dtype(dtype), fill_value, scale_offset
        self.errors_as_nodata = errors_as_nodata
        self.driver = FileDriver()

    def read(self, window: Window, **kwargs: Any) -> np.ndarray:
        """Values of a window of the spec's grid, (y, x)."""
        del kwargs
        geobox = GeoBox(self.spec.shape, self.spec.transform, f"EPSG:{self.spec.epsg}")[window.toslices()]
        try:
            pixels = _read(_asset(self.url, 1, nodata=None), geobox, self.resampling.name, self.driver, fallback=None)
        except UnreadableError as error:
            if self.fill_value is None or not self._is_expected(error):
                raise
            return np.full(geobox.shape.yx, self.fill_value, dtype=self.dtype)
        scale, offset = self.scale_offset
        if (scale, offset) != (1, 0):
            physical = pixels.values.astype(self.dtype) * scale + offset
            pixels = replace(pixels, values=physical, nodata=None, valid=~pixels.missing)
        return _with_fill(pixels, fill=self.fill_value, dtype=self.dtype)

    def close(self) -> None:
        """Nothing is held open."""

    def _is_expected(self, error: Exception) -> bool:
        from stackstac.nodata_reader import exception_matches  # noqa: PLC0415 - an extra

        # The patterns of stackstac describe GDAL's error, which is the cause of ours.
        cause = error.__cause__
        return bool(exception_matches(cause if isinstance(cause, Exception) else error, self.errors_as_nodata))


def _read(asset: BandAsset, geobox: GeoBox, resampling: str, driver: FileDriver, *, fallback: float | None) -> Pixels:
    def sign() -> str:
        return asset.href if driver.sign is None else driver.sign(asset.href)

    if asset.nodata is None and fallback is not None:
        # The reader takes a usual marker where the file has none.
        asset = replace(asset, usual_nodata=fallback)
    return read_asset(asset, geobox, resampling=resampling, reading=driver.reading, sign=sign)


def _nodata_of(source: RasterSource, cfg: RasterLoadParams) -> float | None:
    """The nodata value from the caller or the metadata; None for the file's own."""
    if cfg.src_nodata_override is not None:
        return cfg.src_nodata_override
    return source.meta.nodata if source.meta is not None else None


def _asset(href: str, index: int, *, nodata: float | None, overviews: bool = True) -> BandAsset:
    """A file's band as the reader takes it; fields left empty here are read from the file."""
    return BandAsset(
        band="",
        key="",
        href=href,
        index=index,
        dtype="float32",
        nodata=nodata,
        scale=1.0,
        offset=0.0,
        # The reader uses overviews for measurements only, never for categories.
        unit="1" if overviews else "class",
        crs="",
        shape=None,
        transform=None,
        checksum=None,
    )


def _with_fill(pixels: Pixels, *, fill: float | None, dtype: np.dtype) -> np.ndarray:
    values = pixels.values.astype(dtype)
    wanted = _nodata_value(pixels.nodata) if fill is None else fill
    if pixels.valid is not None or str(pixels.nodata) != str(wanted):
        values[pixels.missing] = wanted
    return values


def _nodata_value(nodata: float | None) -> float:
    return 0 if nodata is None else nodata
