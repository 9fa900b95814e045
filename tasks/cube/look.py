"""Where a scene is clear, from a few pixels of its mask alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry import shape

from tilewright.tasks.cube.scene_band import BandRequest, read_stored, read_values
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.read.resample.cells import crs_text
from tilewright.tasks.read.resample.pixels import Pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.cube.read_pass import Judge
    from tilewright.tasks.read.access import Access


def clear_samples(
    scene: Scene, geobox: GeoBox, access: Access, *, quality: Sequence[BandRequest], judge: Judge, reach: int = 0
) -> np.ndarray:
    """True where the mask of a scene keeps the sample, (y, x) bool; samples depend on ones up to `reach` away.

    The bands in `quality` are read from the coarsest overview that is not coarser than the samples, whatever made it:
    one value stands for all pixels of a sample. A scene without one of them, and one with a read whose failure is
    tolerated, is clear nowhere. Raises ReadError as `read_stored`.
    """
    wide = geobox.pad(reach)
    height, width = geobox.shape.yx
    bands: dict[str, Pixels] = {}
    for band in quality:
        pixels = _read(scene, band, wide, access) if scene.asset(band.band) is not None else None
        if pixels is None:
            return np.zeros((height, width), dtype=bool)
        bands[band.band] = pixels
    clear = ~judge(bands)[reach : reach + height, reach : reach + width]
    return clear & _within_footprint(scene, geobox)


def _read(scene: Scene, band: BandRequest, geobox: GeoBox, access: Access) -> Pixels | None:
    if band.unit == "class":
        return read_stored(scene, band, geobox, access)
    values = np.empty(geobox.shape.yx, dtype=np.float32)
    return (
        Pixels(values=values, nodata=np.nan, valid=None)
        if read_values(scene, band, geobox, access, out=values)
        else None
    )


def _within_footprint(scene: Scene, geobox: GeoBox) -> np.ndarray:
    """True where the centre of a sample lies in the scene's footprint: many masks call clear what was not seen."""
    affine = geobox.affine
    height, width = geobox.shape.yx
    xs, ys = np.meshgrid(
        affine.c + affine.a * (np.arange(width) + 0.5), affine.f + affine.e * (np.arange(height) + 0.5)
    )
    lons, lats = transformer(crs_text(geobox), "EPSG:4326").transform(xs, ys)
    footprint = shape(scene.geometry)
    shapely.prepare(footprint)
    return np.asarray(shapely.contains_xy(footprint, lons, lats))
