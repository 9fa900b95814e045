"""The amounts of a plan: windows, tiles of files, observations, stored pixels. Counted, not timed; no I/O."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine

from tilewright.catalogs.hrefs import scheme_of
from tilewright.tasks.grid.cells import touched_cells
from tilewright.tasks.grid.crs import same_crs, transformer
from tilewright.tasks.grid.drawn_places import sample_size
from tilewright.tasks.read.overviews import OVERVIEW_SLACK
from tilewright.tasks.read.resample.source_window import SMOOTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import BandAsset
    from tilewright.flows.estimate.samples import FileSample
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


USUAL_TILE = (512, 512)
"""Pixels of a file's tile where none was looked into."""

USUAL_RATIO = 0.6
"""Transferred bytes per byte of pixels where no file tells: 76 DEFLATE files of Sentinel-2 had 0.56 to 0.99 at 10 m,
fewer at 20 m."""

EDGE_POINTS = 5

REACH_PX = 2
"""File pixels read around a block that is warped."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The amounts of a plan's blocks. ``windows`` as the model runs them, those of seams included. ``decoded`` and
    ``read``: bytes of file tiles as pixels and compressed, each tile once; ``reads`` windows of files; ``observed``
    band pixels that are composited; ``pixels`` of all stored layers that scenes cover; ``files`` of all scenes.
    ``kind``: where most files are read from, local, http or s3. ``latency``: seconds of a request, 0 on a disk.
    ``precision`` of the model.
    """

    n_blocks: int
    windows: float
    decoded: float
    read: float
    reads: float
    observed: float
    pixels: float
    files: int
    kind: str
    latency: float
    sampled: bool
    precision: str = "fp32"


def count_workload(plan: Plan, samples: Mapping[str, FileSample], *, windows_per_call: int = 1) -> Workload:
    """The amounts of a plan, from its geometry and the files that were looked into."""
    kinds = [_kind(asset.href) for entry in plan.inputs for scene in entry.scenes for asset in scene.assets]
    kind = max(sorted(set(kinds)), key=kinds.count, default="local")
    reading = _Reading(plan, samples)
    for entry in _distinct(plan.inputs):
        reading.add(entry)
    seen = _seen_area(plan)
    kept = 0 if seen.is_empty else seen.area / plan.raster.grid.resolution**2
    windows = _windows(plan, seen)
    times = [sample.seconds for href, sample in samples.items() if _kind(href) != "local"]
    return Workload(
        n_blocks=len(plan.raster.blocks),
        windows=windows + _seam_windows(plan, windows, windows_per_call),
        decoded=reading.decoded,
        read=reading.read,
        reads=reading.reads,
        observed=reading.observed,
        pixels=kept * (plan.raster.up / plan.raster.down) ** 2 * len(plan.raster.layers),
        files=len({(asset.href, asset.index) for entry in plan.inputs for s in entry.scenes for asset in s.assets}),
        kind=kind,
        # Opening a file is a request or two; the fastest had no other in its way.
        latency=min(times, default=0.0),
        sampled=bool(samples),
        precision=plan.model.precision,
    )


def _kind(href: str) -> str:
    return {"http": "http", "https": "http", "s3": "s3"}.get(scheme_of(href), "local")


def _distinct(inputs: Sequence[InputPlan]) -> Iterator[InputPlan]:
    """The inputs that a block reads: those that differ in name only are read once."""
    for number, entry in enumerate(inputs):
        if not any(replace(other, name=entry.name) == entry for other in inputs[:number]):
            yield entry


class _Reading:
    """Sums up the tiles that a plan's blocks read, each tile of a file once."""

    def __init__(self, plan: Plan, samples: Mapping[str, FileSample]) -> None:
        self.decoded = self.read = self.reads = self.observed = 0.0
        self._plan, self._samples = plan, samples
        self._counted: set[tuple[str, int]] = set()
        self._ranges: dict[object, tuple[int, int, int, int] | None] = {}
        self._tables: dict[object, tuple[np.ndarray, int]] = {}

    def add(self, entry: InputPlan) -> None:
        """Count an input."""
        plan = self._plan
        grid = entry.grid(plan.raster.grid)
        of_scene: dict[int, list[int]] = defaultdict(list)
        boxes = [part for block in plan.raster.all_blocks() for part in entry.parts_of(entry.box(block.outer))]
        bounds = [grid.geobox_of(box).boundingbox.bbox for box in boxes]
        for number, box in enumerate(boxes):
            for index in entry.touching_indices(plan.raster.grid, box):
                of_scene[index].append(number)
        bands = dict.fromkeys([*entry.bands, *entry.mask.bands])
        samples = {band: self._of_band(entry, band) for band in bands}
        for index, touched in of_scene.items():
            for band in bands:
                asset = entry.scenes[index].asset(band)
                if asset is not None:
                    self._add_file(asset, entry, samples[band], [(n, bounds[n], boxes[n]) for n in touched])

    def _of_band(self, entry: InputPlan, band: str) -> list[FileSample]:
        assets = (scene.asset(band) for scene in entry.scenes)
        return [self._samples[a.href] for a in assets if a is not None and a.href in self._samples]

    def _add_file(
        self,
        asset: BandAsset,
        entry: InputPlan,
        samples: list[FileSample],
        blocks: list[tuple[int, Bounds, PixelBox]],
    ) -> None:
        sample = self._samples.get(asset.href) or (samples[0] if samples else None)
        place = _place(asset, sample)
        resolution = entry.grid(self._plan.raster.grid).resolution
        if place is None:
            self._add_unplaced(asset, entry, blocks)
            return
        tile, factor = place.tile, _overview(place, asset, entry, resolution, self._plan.raster.grid.crs)
        key = (place, factor, tuple(number for number, *_ in blocks))
        if key not in self._tables:
            self._tables[key] = self._touched(place, factor, blocks)
        touched, n_reads = self._tables[key]
        self.reads += n_reads
        if asset.band in entry.bands:
            self.observed += n_reads * float(np.mean([box.shape[0] * box.shape[1] for *_, box in blocks]))
        if (asset.href, asset.index) in self._counted:
            return
        self._counted.add((asset.href, asset.index))
        itemsize = np.dtype(asset.dtype).itemsize if sample is None else sample.itemsize
        decoded = float(touched.sum()) * tile[0] * tile[1] * itemsize
        self.decoded += decoded
        own = self._samples.get(asset.href)
        ratios = [_ratio(each, touched, factor) for each in ([own] if own else samples)]
        self.read += decoded * (statistics.median(ratios) if ratios else USUAL_RATIO)

    def _add_unplaced(self, asset: BandAsset, entry: InputPlan, blocks: list[tuple[int, Bounds, PixelBox]]) -> None:
        """Count a file whose place nobody states: the pixels of its blocks."""
        pixels = float(sum(box.shape[0] * box.shape[1] for *_, box in blocks))
        self.reads += len(blocks)
        self.observed += pixels if asset.band in entry.bands else 0.0
        decoded = pixels * np.dtype(asset.dtype).itemsize
        self.decoded, self.read = self.decoded + decoded, self.read + decoded * USUAL_RATIO

    def _touched(
        self, place: _Place, factor: int, blocks: list[tuple[int, Bounds, PixelBox]]
    ) -> tuple[np.ndarray, int]:
        """(tile row, tile col) True where a block touches a tile, and the number of blocks that do."""
        (height, width), tile = place.shape, place.tile
        n_rows, n_cols = -(-height // (tile[0] * factor)), -(-width // (tile[1] * factor))
        touched, n_reads = np.zeros((n_rows, n_cols), dtype=bool), 0
        for number, bounds, _ in blocks:
            known = (place, factor, number)
            if known not in self._ranges:
                self._ranges[known] = _tile_range(place, factor, bounds, self._plan.raster.grid.crs)
            found = self._ranges[known]
            if found is not None:
                top, bottom, left, right = found
                touched[top:bottom, left:right] = True
                n_reads += 1
        return touched, n_reads


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies, and how it is cut."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    tile: tuple[int, int]
    overviews: tuple[int, ...]


def _place(asset: BandAsset, sample: FileSample | None) -> _Place | None:
    tile, overviews = (USUAL_TILE, (2, 4, 8, 16)) if sample is None else (sample.tile, sample.overviews)
    if asset.crs and asset.transform is not None and asset.shape is not None:
        crs, transform, shape = asset.crs, tuple(asset.transform[:6]), asset.shape
    elif sample is not None and sample.crs:
        crs, transform, shape = sample.crs, sample.transform, sample.shape
    else:
        return None
    return _Place(crs, transform, (shape[0], shape[1]), tile, overviews)


def _overview(place: _Place, asset: BandAsset, entry: InputPlan, resolution: float, crs: str) -> int:
    """The factor of the overview that is read, 1 for the full size; as tasks/read/reader chooses it, about."""
    ratio = abs(resolution / place.transform[0]) if place.transform[0] else 1.0
    if asset.unit == "class" or entry.resampling not in {"average", *SMOOTH} or not same_crs(place.crs, crs):
        return 1
    return max((factor for factor in place.overviews if factor <= ratio * OVERVIEW_SLACK), default=1)


def _tile_range(place: _Place, factor: int, bounds: Bounds, crs: str) -> tuple[int, int, int, int] | None:
    """Half-open (row, row, col, col) of the tiles under bounds in a CRS; None where the file has no pixel there."""
    inverse = ~Affine(*place.transform)
    reach = 0
    if not same_crs(place.crs, crs):
        bounds = transformer(crs, place.crs).transform_bounds(*bounds, densify_pts=EDGE_POINTS)
        reach = REACH_PX * factor
    if not all(map(np.isfinite, bounds)):
        return None
    corners = [inverse * (x, y) for x in (bounds[0], bounds[2]) for y in (bounds[1], bounds[3])]
    cols, rows = zip(*corners, strict=True)
    height, width = place.shape
    # Bounds that lie on a pixel's edge are off by rounding.
    top, bottom = max(0.0, min(rows) - reach + 1e-3), min(float(height), max(rows) + reach - 1e-3)
    left, right = max(0.0, min(cols) - reach + 1e-3), min(float(width), max(cols) + reach - 1e-3)
    if top >= bottom or left >= right:
        return None
    tall, wide = place.tile[0] * factor, place.tile[1] * factor
    return int(top // tall), int(-(-bottom // tall)), int(left // wide), int(-(-right // wide))


def _ratio(sample: FileSample, touched: np.ndarray, factor: int) -> float:
    """Compressed bytes by bytes of pixels of the tiles that are touched, or of all of them."""
    whole = sample.tile[0] * sample.tile[1] * sample.itemsize
    same = factor == 1 and touched.shape == sample.sizes.shape and touched.any()
    return float(np.mean(sample.sizes[touched] if same else sample.sizes)) / whole


def _seen_area(plan: Plan) -> BaseGeometry:
    """The part of the area that the footprints of every required input cover, in the grid's CRS."""
    grid = plan.raster.grid
    seen = plan.raster.aoi_geometry.intersection(shapely.box(*grid.bounds_of(grid.extent)))
    to_grid = transformer("EPSG:4326", grid.crs)

    def projected(geometry: BaseGeometry) -> BaseGeometry:
        return shapely.transform(shapely.segmentize(geometry, 0.1), to_grid.transform, interleaved=False)

    for entry in plan.inputs:
        if not entry.required:
            continue
        outlines = {scene.id: shapely.geometry.shape(scene.geometry) for scene in entry.scenes}
        of_steps = [[outlines[name] for name in outlines.keys() & step.scenes] for step in entry.steps]
        groups = of_steps if entry.every_step else [[each for step in of_steps for each in step]]
        for footprints in groups:
            union = shapely.make_valid(projected(shapely.union_all(footprints)))
            if np.isfinite(union.bounds).all():
                seen = seen.intersection(union)
    return seen


def _windows(plan: Plan, seen: BaseGeometry) -> int:
    """Windows with a pixel of the area that scenes may cover."""
    raster, lattice = plan.raster, plan.raster.lattice
    if seen.is_empty:
        return 0
    # Outlines that are projected lie off by a hair: a pixel that they touch so is none.
    inner_area = seen.buffer(-raster.grid.resolution / 8)
    seen = seen if inner_area.is_empty else inner_area
    total, rims = 0, set()
    for (rows, cols), whole in touched_cells(raster.grid, seen, side=lattice.step):
        if whole:
            total += len(rows) * len(cols)
        else:
            rims.add((rows.start, cols.start))
    # A block also runs the windows beyond it that are blended into it.
    per_side = lattice.block // lattice.step
    return round((total + len(rims)) * ((per_side + 2 * lattice.reach) / per_side) ** 2)


def _seam_windows(plan: Plan, windows: int, windows_per_call: int) -> int:
    """Model calls that repeat a window half a step away; about, as some are drawn where there is nothing to see."""
    if plan.model.receptive.get("radius") == 0 or not windows:
        return 0
    return min(windows, sample_size(windows, windows_per_call=windows_per_call, proven=plan.model.exact))
