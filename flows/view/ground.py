"""The scenes of a product in true colour: a picture beneath its layers, read when it is first asked for."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio

from tilewright.catalogs.errors import CatalogError
from tilewright.flows.shown import shown
from tilewright.flows.view.files import Files, ViewError
from tilewright.flows.view.layers import IMAGE, ViewedLayer
from tilewright.flows.view.series import trusted_plan
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.report.background import background_picture
from tilewright.tasks.storage.errors import StorageError, StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tilewright.flows.view.products import ViewedProduct
    from tilewright.tasks.plan.plan import Plan

MOST_PIXELS = 2048
"""Pixels of the longer side: as sharp as a screen from afar, and read from overviews in seconds."""


class Grounds:
    """The pictures of products, kept as files of this page alone until it is closed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._made: dict[str, ViewedLayer] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    def layer(self, product: ViewedProduct) -> ViewedLayer:
        """The last date with scenes in red, green and blue as a layer: the median of what is clear.

        Raises ViewError where its scenes may not be read, cannot be, or have no such bands.
        """
        with self._lock:
            uri = product.storage.uri
            if uri not in self._made:
                self._made[uri] = self._read(product)
            return self._made[uri]

    def close(self) -> None:
        """Remove the files."""
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
            self._folder, self._made = None, {}

    def _read(self, product: ViewedProduct) -> ViewedLayer:
        try:
            plan, access = trusted_plan(product)
            picture = background_picture(plan, access, max_size=MOST_PIXELS)
        except (StoreError, StorageError, CatalogError, GridError, ReadError) as error:
            raise ViewError(shown(str(error))) from error
        if picture is None:
            raise ViewError("none of its scenes has red, green and blue")
        if not picture.any():
            raise ViewError("none of its scenes can be read here")
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="tilewright-view-")
        path = Path(self._folder.name) / f"{len(self._made)}.tif"
        _write(path, plan, picture)
        return ViewedLayer(
            name="scenes in true colour",
            kind=IMAGE,
            unit="",
            description="The last date of the plan: the median of its clear pixels, bright as reflectance 0 to 0.3",
            bands=(1, 2, 3),
            ends=((0.0, 255.0),) * 3,
            classes=(),
            parts=((str(path), self._files.facts(str(path))),),
        )


def _write(path: Path, plan: Plan, picture: NDArray[np.uint8]) -> None:
    geobox = plan.raster.product_grid.geobox.zoom_to(picture.shape[:2])
    height, width = geobox.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=3,
        dtype="uint8",
        crs=plan.raster.product_grid.crs,
        transform=geobox.affine,
        nodata=0,
        tiled=True,
        photometric="RGB",
    ) as target:
        target.write(picture.transpose(2, 0, 1))
