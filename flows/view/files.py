"""The COGs behind the page: opened as GeoTIFF alone, checked before a pixel is read, without any file beside them."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from tilewright.catalogs.hrefs import scheme_of
from tilewright.catalogs.network.rules import document_rules
from tilewright.flows.environment import reading_settings
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.identity.disk import file_stamp
from tilewright.tasks.read.gdal import Way, gdal_path, open_array, open_dataset, reading_env, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.tasks.storage.storage import Storage

DEGREES = CRS.from_epsg(4326)

POINTS = 33
"""Places along each side of a raster by which its area in degrees is found."""

MERCATOR_LATITUDE = 85.051129
"""Degrees north and south at which Web Mercator ends. Source: OGC Two Dimensional Tile Matrix Set 2.0, annex D."""

WHOLE_WORLD = 300.0
"""Degrees from which on an area goes round the world: about a pole, or on a map of it all."""

MOST_BANDS, LARGEST_SIDE, LARGEST_BLOCK = 512, 2**31 - 1, 4096**2
"""Bounds of a raster whose header may be trusted: bands, pixels of a side, and pixels that are decoded at once."""

PLAIN_FILE = re.compile(r"(?!\.)[^/\\:\x00-\x1f?#%]{1,200}")
"""Names of files directly in a product: no path, no URL, nothing that a URL would read another way."""


class ViewError(ValueError):
    """Something that cannot be shown, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterFacts:
    """The header of a raster: ``area`` is (west, south, east, north) in degrees, east beyond 180 where it crosses 180.

    ``scales`` and ``offsets`` of its bands: physical = stored * scale + offset.
    """

    width: int
    height: int
    crs: str
    dtypes: tuple[str, ...]
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    area: tuple[float, float, float, float]


class Files:
    """The COGs of products, by the paths and URLs that ``href_of`` makes."""

    def __init__(self) -> None:
        # The page reads the file that the product names, and no other that lies beside it.
        alone = {"GDAL_PAM_ENABLED": "NO", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        retries = {"GDAL_HTTP_MAX_RETRY": "3", "GDAL_HTTP_RETRY_DELAY": "0.5"}
        self._settings = {**reading_settings(), **alone, **retries}

    @contextmanager
    def opened(self, href: str) -> Iterator[Any]:
        """A rasterio dataset, opened for this one use: what GDAL read of a remote file it keeps itself.

        Raises ViewError, without any path in its words, for a file that cannot be opened, or read in the body.
        """
        rules = document_rules(href) if scheme_of(href) in {"http", "https"} else None
        if scheme_of(href) == "file" and Path(href).is_symlink():
            raise ViewError("its file is a link")
        try:
            with (
                reading_env(settings_for(href, self._settings, rules)),
                DatasetReader(gdal_path(href), driver=["GTiff"], sharing=False) as dataset,
            ):
                _check(dataset)
                yield dataset
        except (RasterioError, CPLE_BaseError, OSError, RuntimeError) as error:
            raise ViewError(f"the file cannot be read ({type(error).__name__})") from error

    @contextmanager
    def array(self, href: str, *, trusted: bool) -> Iterator[Any]:
        """An array of a product's cube, opened for this one use; that of a stranger only in Zarr v3.

        Raises ViewError, without any path in its words, for one that cannot be opened, or read in the body.
        """
        rules = document_rules(href) if scheme_of(href) in {"http", "https"} else None
        way = Way(settings=self._settings, rules=rules)
        try:
            with reading_env(settings_for(href, self._settings, rules)):
                array = open_dataset(href, overview=None, fresh=False, way=way) if trusted else open_array(href, way)
                if array is None:
                    raise ViewError("its cube is in Zarr v2")
                with array:
                    _check_plain(array)
                    yield array
        except (RasterioError, CPLE_BaseError, OSError, RuntimeError) as error:
            raise ViewError(f"the cube cannot be read ({type(error).__name__})") from error

    def facts(self, href: str) -> RasterFacts:
        """The header of a file. Raises ViewError for one that cannot be shown."""
        with self.opened(href) as dataset:
            nodata = dataset.nodata
            return RasterFacts(
                width=dataset.width,
                height=dataset.height,
                crs=dataset.crs.to_wkt(),
                dtypes=tuple(dataset.dtypes),
                nodata=None if nodata is None else float(nodata),
                scales=tuple(each if math.isfinite(each) else 1.0 for each in dataset.scales),
                offsets=tuple(each if math.isfinite(each) else 0.0 for each in dataset.offsets),
                area=_area(dataset),
            )


def stamp_of(href: str) -> str:
    """What changes when a local file is written anew; empty for other files. Raises ViewError if it is gone."""
    try:
        return "" if "://" in href else file_stamp(href)
    except OSError as error:
        raise ViewError("the file is gone") from error


def href_of(storage: Storage, name: str) -> str:
    """The path or URL of a file directly in a product. Raises ViewError for any other name, and for a link."""
    if not PLAIN_FILE.fullmatch(name):
        raise ViewError("its file does not lie in the product")
    if storage.folder is None:
        return f"{storage.uri}/{name}"
    path = storage.folder / name
    if path.is_symlink() or not path.is_file():
        raise ViewError("its file is not in the product, or is a link")
    return str(path)


def area_of(lons: Sequence[float], lats: Sequence[float], middle: float) -> tuple[float, float, float, float]:
    """The (west, south, east, north) of places in degrees around a longitude, west in -180..180.

    Raises ViewError where none of them is a place.
    """
    there = np.isfinite(lons) & np.isfinite(lats)
    if not there.any() or not math.isfinite(middle):
        raise ViewError("it lies nowhere on the map")
    around = middle + (np.asarray(lons)[there] - middle + 180.0) % 360.0 - 180.0
    between = np.clip(np.asarray(lats)[there], -MERCATOR_LATITUDE, MERCATOR_LATITUDE)
    west, east = float(around.min()), float(around.max())
    if east - west > WHOLE_WORLD:
        west, east = -180.0, 180.0
    shift = math.floor((west + 180.0) / 360.0) * 360.0
    return west - shift, float(between.min()), east - shift, float(between.max())


def _check(dataset: Any) -> None:
    """Raise ViewError for a raster that is none of ours, before a pixel of it is read."""
    if dataset.driver != "GTiff":
        raise ViewError("its file is no GeoTIFF")
    if dataset.tags(ns="OVERVIEWS"):
        # GDAL would read the smaller levels of another file, which this names.
        raise ViewError("its file names another one")
    if not 0 < dataset.count <= MOST_BANDS or max(dataset.width, dataset.height) > LARGEST_SIDE:
        raise ViewError("its file is too large to be shown")
    if any(rows * cols > LARGEST_BLOCK for rows, cols in dataset.block_shapes):
        raise ViewError("its file is not tiled")
    _check_plain(dataset)


def _check_plain(dataset: Any) -> None:
    """Raise ViewError for a raster without a place, or of anything but plain numbers."""
    affine = dataset.transform
    if dataset.crs is None or not all(map(math.isfinite, affine[:6])) or affine.is_degenerate or affine.is_identity:
        raise ViewError("its file does not say where it lies")
    if any(np.dtype(each).kind not in "iuf" for each in dataset.dtypes):
        raise ViewError("its file holds no plain numbers")


def _area(dataset: Any) -> tuple[float, float, float, float]:
    cols, rows = (np.linspace(0, side, POINTS) for side in (dataset.width, dataset.height))
    across, down = (each.ravel() for each in np.meshgrid(cols, rows))
    xs, ys = dataset.transform * (across, down)
    if dataset.crs.is_geographic:
        west, east = float(np.min(xs)), float(np.max(xs))
        south, north = (float(np.clip(edge, -MERCATOR_LATITUDE, MERCATOR_LATITUDE)) for edge in (ys.min(), ys.max()))
        if not 0 < east - west <= 360.5 or abs(west) > 720:
            raise ViewError("it lies nowhere on the map")
        shift = math.floor((west + 180.0) / 360.0) * 360.0
        return west - shift, south, east - shift, north
    # What lies beyond the edge of the CRS's map comes out as infinite.
    lons, lats = transformer(dataset.crs.to_wkt(), "EPSG:4326").transform(xs, ys)
    there = lons[np.isfinite(lons)]
    return area_of(lons, lats, float(there[there.size // 2]) if there.size else math.nan)
