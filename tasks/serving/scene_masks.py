"""The classes that a model sees in each scene alone, in the scene's own grid, as a mask of the scene's pixels."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import box, shape

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.cube.coverage import FOOTPRINT_SLACK
from tilewright.tasks.grid.crs import is_geographic, same_crs, transformer
from tilewright.tasks.grid.grid import plan_grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.inputs import InputPlan
from tilewright.tasks.plan.plan import ModelPlan, Plan
from tilewright.tasks.plan.raster import RasterPlan, aoi_json
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.read.resample.cells import crs_text
from tilewright.tasks.read.resample.pixels import Pixels
from tilewright.tasks.serving.counted import count_masked
from tilewright.tasks.serving.lazy_map import LazyMap

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.block.infer import LoadedModel
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.served import ServedModel
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.serving.kept_blocks import KeptBlocks

STRIP_ROWS = 256
"""Rows of pixels that are brought into a scene's CRS at a time."""


@dataclass(slots=True, kw_only=True)
class SceneMasks:
    """The maps of scenes by one model: made block by block when a scene is read there, and kept in ``blocks``.

    A scene's map does not depend on the job that asks: not on its area, its grid or its dates. ``versions`` are those
    of the plan. Thread-safe.
    """

    served: ServedModel
    model: LoadedModel
    blocks: KeptBlocks
    versions: dict[str, str]
    _maps: dict[str, LazyMap] = field(default_factory=dict, init=False, repr=False)
    _counts: dict[str, Counter[str]] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def classes(self, scene: Scene, geobox: GeoBox, access: Access) -> Pixels | None:
        """The class of each pixel of a geobox, that of the map's pixel under its centre; 255 where nothing was seen.

        None where a file of the scene cannot be read and the failure is tolerated. Raises ReadError as bands do.
        """
        of_scene = self._map_of(scene)
        rows, cols = _places(geobox, of_scene.plan)
        inside = (rows >= 0) & (cols >= 0)
        nothing = np.full(inside.shape, NODATA_BYTE, np.uint8)
        if not inside.any():
            return Pixels(values=nothing, nodata=NODATA_BYTE, valid=None)
        extent = of_scene.plan.raster.product_grid.extent
        (top, bottom), (left, right) = (_span(np.broadcast_to(places, inside.shape)[inside]) for places in (rows, cols))
        around = PixelBox(row_start=top, row_stop=bottom, col_start=left, col_stop=right).shift(
            extent.row_start, extent.col_start
        )
        # The failures of a map are those of its scene, and what is kept was read without any.
        whole = replace(access, masks=None, failures=None, moves=None)
        try:
            found = of_scene.pixels(around, whole)
        except ReadError as error:
            if access.failures is None:
                raise
            access.failures.record(error)
            return None
        with self._lock:
            self._counts.setdefault(access.block, Counter()).update(made=found.n_made, kept=found.n_kept)
        values = found.values[np.maximum(rows - top, 0), np.maximum(cols - left, 0)]
        return Pixels(values=np.where(inside, values, nothing), nodata=NODATA_BYTE, valid=None)

    def counts(self, plan: Plan, block: Block, access: Access) -> dict[str, int]:
        """What the masks dropped of a block that was read, and of its maps the blocks ``made`` and those ``kept``."""
        counted = count_masked(plan, block, lambda scene, geobox: self.classes(scene, geobox, access))
        with self._lock:
            of_maps = self._counts.pop(access.block, Counter[str]())
        return {**counted, "made": of_maps["made"], "kept": of_maps["kept"]}

    def _map_of(self, scene: Scene) -> LazyMap:
        with self._lock:
            if scene.id not in self._maps:
                plan = _scene_plan(self.served, self.model, scene, versions=self.versions)
                self._maps[scene.id] = LazyMap(plan=plan, model=self.model, layer=self.served.layer, blocks=self.blocks)
            return self._maps[scene.id]


def _scene_plan(served: ServedModel, model: LoadedModel, scene: Scene, *, versions: dict[str, str]) -> Plan:
    """The plan of a scene's map: all of the scene, nothing but the scene."""
    spec = model.card.inputs[0]
    # Bands that the model does not see are none of its business, and other jobs may know others.
    own = replace(scene, assets=tuple(asset for asset in scene.assets if asset.band in spec.source_bands))
    stated = [asset.crs for asset in own.assets if asset.crs and not is_geographic(asset.crs)]
    footprint = shape(scene.geometry).buffer(FOOTPRINT_SLACK)
    grid = plan_grid(footprint, crs=stated[0] if stated else "utm", resolution=served.resolution)
    step = StepPlan(
        label="scene",
        start=scene.datetime,
        end=scene.end or scene.datetime,
        passes=((scene.id,),),
        days=(scene.solar_day,),
        ranks=(0,),
    )
    ratio = Fraction(model.card.ratio(spec)).limit_denominator(64)
    entry = InputPlan(
        name=spec.name,
        bands=spec.source_bands,
        unit=spec.unit,
        resampling=spec.resampling,
        reducer=spec.dates.reducer,
        required=True,
        every_step=False,
        mask=MaskRule(kind="none", drop=()),
        finer=ratio.denominator,
        coarser=ratio.numerator,
        scenes=(own,),
        steps=(step,),
    )
    raster = RasterPlan(
        grid=grid,
        aoi=aoi_json(box(*grid.bounds_of(grid.extent))),
        up=served.up,
        down=served.down,
        lattice=served.lattice,
        margin=0,
        layers=(served.layer,),
    )
    of_model = ModelPlan(card=served.card, receptive={}, exact=False, exact_reason="")
    return Plan(
        name="mask",
        request={},
        source={},
        model=of_model,
        raster=raster,
        inputs=(entry,),
        engine="direct",
        versions=versions,
    )


@lru_cache(maxsize=8)
def _offsets(geobox: GeoBox, crs: str, resolution: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The absolute rows and columns of a map's pixels under the centres of a geobox's.

    (height, 1) and (1, width) in the same CRS, else (height, width) both; the least integer where there is no place.
    """
    affine, (height, width) = geobox.affine, geobox.shape.yx
    xs = affine.c + affine.a * (np.arange(width) + 0.5)
    ys = affine.f + affine.e * (np.arange(height) + 0.5)
    if same_crs(crs_text(geobox), crs):
        return _floor(-ys / resolution)[:, None], _floor(xs / resolution)[None, :]
    rows, cols = np.empty((height, width), np.int64), np.empty((height, width), np.int64)
    to_map = transformer(crs_text(geobox), crs)
    for top in range(0, height, STRIP_ROWS):
        some = ys[top : top + STRIP_ROWS]
        there = to_map.transform(*np.meshgrid(xs, some))
        cols[top : top + STRIP_ROWS], rows[top : top + STRIP_ROWS] = (
            _floor(there[0] / resolution),
            _floor(-there[1] / resolution),
        )
    return rows, cols


def _span(places: NDArray[np.int64]) -> tuple[int, int]:
    return int(places.min()), int(places.max()) + 1


def _floor(places: NDArray[np.floating]) -> NDArray[np.int64]:
    finite = np.isfinite(places)
    return np.where(finite, np.floor(np.where(finite, places, 0)), np.iinfo(np.int64).min).astype(np.int64)


def _places(geobox: GeoBox, plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns as ``_offsets`` has them, counted from the map's corner; -1 outside the map."""
    grid = plan.raster.product_grid
    rows, cols = _offsets(geobox, grid.crs, grid.resolution)
    extent = grid.extent
    in_rows = (rows >= extent.row_start) & (rows < extent.row_stop)
    in_cols = (cols >= extent.col_start) & (cols < extent.col_stop)
    return np.where(in_rows, rows - extent.row_start, -1), np.where(in_cols, cols - extent.col_start, -1)
