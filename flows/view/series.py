"""The time series of one pixel: what the scenes of a product's plan say there, by the project's own reading."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import transform

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.passes import group_passes, seeing_order
from tilewright.flows.access import plan_sources, scene_access
from tilewright.flows.run.existing import ExistingProduct
from tilewright.flows.shown import shown
from tilewright.flows.view.files import DEGREES, ViewError
from tilewright.flows.view.products import size_of
from tilewright.tasks.cube.read_pass import FileReads, read_pass
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.pass_request import pass_request
from tilewright.tasks.read.failures import FailureLog, ReadError
from tilewright.tasks.report.outlines.columns import cell
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import PLAN, read_plan

if TYPE_CHECKING:
    from tilewright.catalogs.passes import Pass
    from tilewright.flows.view.products import ViewedProduct
    from tilewright.tasks.cube.read_pass import PassRequest
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access

MOST_PASSES, MOST_BANDS = 120, 16
"""Passes of an input that are read of a pixel, the last ones, and its bands."""

THREADS = 8

LARGEST_PLAN = 2**29
"""Bytes of a plan that is read for a series."""


class SeriesReader:
    """The time series of the pixels of products, whose plans are read once, when one is first asked for."""

    def __init__(self) -> None:
        self._plans: dict[str, tuple[Plan, Access]] = {}
        self._lock = threading.Lock()

    def at(self, product: ViewedProduct, lon: float, lat: float) -> list[dict[str, Any]]:
        """What each input of a product saw at the pixel that holds a place in degrees.

        ``passes`` in the order of time: ``values`` by band in ``unit``, null where there is none, and ``kept``, False
        where the mask of the product drops the pixel, null where that is not known. ``n_failed`` reads failed.
        Raises ViewError where the product cannot tell.
        """
        try:
            with self._lock:
                uri = product.storage.uri
                if uri not in self._plans:
                    self._plans[uri] = trusted_plan(product)
                plan, access = self._plans[uri]
            return [_of_input(plan, entry, access, lon, lat) for entry in plan.inputs]
        except (StoreError, StorageError, CatalogError, GridError, ReadError) as error:
            raise ViewError(shown(str(error))) from error


def trusted_plan(product: ViewedProduct) -> tuple[Plan, Access]:
    """The plan of a product and the way to its scenes. Raises ViewError where they are not to be read, or not there."""
    if not product.trusted:
        raise ViewError("it lies elsewhere: give --trusted if it is your own, so that the scenes it names are read")
    storage = product.storage
    size = size_of(storage, PLAN)
    if size is None or size > LARGEST_PLAN:
        raise ViewError("it has no plan any more, which names its scenes" if size is None else "its plan is too large")
    plan = ExistingProduct(uri=storage.uri, plain=read_plan(storage) or {}, complete=True).plan()
    if plan.places is not None:
        raise ViewError("it is a table of places, which have no grid")
    return plan, scene_access(plan_sources(plan), threads=THREADS)


def _of_input(plan: Plan, entry: InputPlan, access: Access, lon: float, lat: float) -> dict[str, Any]:
    grid = entry.grid(plan.raster.grid)
    box = pixel_box(grid, lon, lat)
    seen = entry.touching(plan.raster.grid, box)
    passes = group_passes(seen)
    bands = entry.bands[:MOST_BANDS]
    failures = FailureLog(tolerance=max(1, 4 * len(seen) * (len(bands) + MOST_BANDS)))
    pixel = _Pixel(
        entry=entry,
        grid=grid,
        box=box,
        bands=bands,
        access=replace(access, failures=failures, stats=None, block="pixel", moves=None, masks=None),
    )
    return {
        "input": cell(entry.name),
        "unit": cell(entry.working_unit),
        "bands": [cell(band) for band in bands],
        "pixel": [box.row_start, box.col_start],
        "n_left_out": max(0, len(passes) - MOST_PASSES),
        "passes": [pixel.seen_in(each) for each in passes[-MOST_PASSES:]],
        "n_failed": len(failures.failures),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixel:
    """One pixel of an input, and how it is read."""

    entry: InputPlan
    grid: Grid
    box: PixelBox
    bands: tuple[str, ...]
    access: Access

    def seen_in(self, one: Pass) -> dict[str, Any]:
        """What a pass says of the pixel, and whether the mask keeps it."""
        request = pass_request(
            self.entry, self.bands, resampling=self.entry.resampling, resolution=self.grid.resolution
        )
        plain = self._read(one, replace(request, judge=None, quality=(), reach=0))
        kept: bool | None = None
        # A mask that a model makes is not made for one pixel.
        if self.entry.mask.kind != "model" and np.isfinite(plain).any():
            kept = bool(np.isfinite(self._read(one, request)).any())
        return {
            "time": one.moment.isoformat(),
            "cloud": one.cloud_cover if one.cloud_cover is not None and math.isfinite(one.cloud_cover) else None,
            "scenes": [cell(scene.id) for scene in one.scenes],
            "values": [value if math.isfinite(value) else None for value in plain.tolist()],
            "kept": kept,
        }

    def _read(self, one: Pass, request: PassRequest) -> np.ndarray:
        """The bands (band,) of a pass at the pixel, NaN for none; its mask sees what lies around."""
        around = self.box.pad(request.reach)
        out = np.full((len(self.bands), *around.shape), np.nan, dtype=np.float32)
        wanted = np.zeros(around.shape, dtype=bool)
        wanted[request.reach, request.reach] = True
        reads = FileReads(self.grid.geobox_of(around), self.access)
        read_pass(seeing_order(one.scenes, self.bands), reads, request, out=out, wanted=wanted, threads=THREADS)
        return out[:, request.reach, request.reach]


def pixel_box(grid: Grid, lon: float, lat: float) -> PixelBox:
    """The pixel of a grid that holds a place in degrees. Raises ViewError for a place outside."""
    (x,), (y,) = transform(DEGREES, CRS.from_user_input(grid.crs), [lon], [lat])[:2]
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ViewError("the place is not on its map")
    box = PixelBox.at(math.floor(-y / grid.resolution), math.floor(x / grid.resolution), shape=(1, 1))
    if box.intersect(grid.extent).empty:
        raise ViewError("the place is outside of it")
    return box
