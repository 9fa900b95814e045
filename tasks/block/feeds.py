"""The input arrays of a model call for a batch of windows: cut from a block's pixels, prepared as the card says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely
from rasterio.features import rasterize

from tilewright.models.transforms.extras import WindowFacts, prepare_extra
from tilewright.models.transforms.preprocess import prepare_input
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import ExtraInput
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.windows import Window
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceShape:
    """The place that a window is centred on: its geometry in the grid's CRS, (row, column) of its centroid's pixel."""

    geometry: BaseGeometry
    centre: tuple[int, int]


def window_feeds(
    plan: Plan,
    card: ModelCard,
    inputs: BlockInputs,
    windows: Sequence[Window],
    *,
    places: Sequence[PlaceShape] = (),
) -> dict[str, np.ndarray]:
    """Every input array of the graph by name, windows (for pixel-wise models: pixels) along the batch axis.

    ``places``: of each window, for a model that is told the shape of its place.
    """
    feeds: dict[str, np.ndarray] = {}
    for spec, entry in zip(card.inputs, plan.inputs, strict=True):
        steps = [_window_pixels(inputs.steps[spec.name], entry, inputs, window) for window in windows]
        # prepare_input does not change its argument, so a single window need not be copied.
        feeds[spec.name] = prepare_input(spec, np.stack(steps) if len(steps) > 1 else steps[0][np.newaxis])
    for extra in card.extras:
        entry = next((found for found in plan.inputs if found.name == extra.of), plan.inputs[0])
        if extra.kind in {"state", "noise"}:
            feeds[extra.name] = prepare_extra(extra, _state_facts(extra, windows))
            continue
        facts = _window_facts(plan, entry, inputs, windows, extra=extra, places=places)
        feeds[extra.name] = prepare_extra(extra, _pixel_facts(facts) if card.pixelwise else facts)
    return feeds


def _window_pixels(array: np.ndarray, entry: InputPlan, inputs: BlockInputs, window: Window) -> np.ndarray:
    """A window of an array (..., y, x) over the block's outer box, both on the input's grid."""
    return array[(..., *entry.box(window.outer).slices_in(entry.box(inputs.block.outer)))]


def _window_facts(
    plan: Plan,
    entry: InputPlan,
    inputs: BlockInputs,
    windows: Sequence[Window],
    *,
    extra: ExtraInput,
    places: Sequence[PlaceShape],
) -> WindowFacts:
    valid = np.stack([_window_pixels(inputs.step_counts[entry.name], entry, inputs, window) > 0 for window in windows])
    boxes = [entry.box(window.outer) for window in windows]
    grid = entry.grid(plan.raster.grid)
    lonlat = np.stack([_lonlat(grid, box) for box in boxes]) if extra.kind == "lonlat" else None
    height, width = boxes[0].shape
    days = tuple(step.middle for step in entry.steps)
    mask = None
    if extra.kind == "place_mask":
        mask = np.stack([_place_mask(grid, entry, place, box) for place, box in zip(places, boxes, strict=True)])
    sizes = None
    if extra.kind == "pixel_size":
        sizes = np.array([pixel_metres(replace(grid, extent=box))[::-1] for box in boxes])
    return WindowFacts(
        n=len(windows),
        height=height,
        width=width,
        days=days,
        valid=valid,
        lonlat=lonlat,
        mask=mask,
        pixel_size=sizes,
    )


def _state_facts(extra: ExtraInput, windows: Sequence[Window]) -> WindowFacts:
    """The places of windows on the absolute pixels of a loop's state."""
    scale = Fraction(extra.scale).limit_denominator(256)
    boxes = [window.outer.rescale(numerator=scale.numerator, denominator=scale.denominator) for window in windows]
    height, width = boxes[0].shape
    corners = np.array([(box.row_start, box.col_start) for box in boxes], dtype=np.int64)
    return WindowFacts(n=len(boxes), height=height, width=width, corners=corners)


def _place_mask(grid: Grid, entry: InputPlan, place: PlaceShape, box: PixelBox) -> np.ndarray:
    """True (height, width) for the pixels of an input's box whose centre is inside a place, and for its centroid's."""
    parts = shapely.get_parts(place.geometry)
    polygons = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    mask = np.zeros(box.shape, dtype=np.uint8)
    if len(polygons):
        rasterize(polygons, out=mask, transform=grid.transform_of(box))
    row, col = place.centre
    centre = PixelBox.at(row, col, shape=(1, 1)).cover(numerator=entry.finer, denominator=entry.coarser)
    mask[centre.slices_in(box)] = 1
    return mask.astype(bool)


def _pixel_facts(facts: WindowFacts) -> WindowFacts:
    """The facts for a pixel-wise model: each pixel as a window of its own, in the order of the batch's rows."""
    pixels = facts.n * facts.height * facts.width
    return WindowFacts(
        n=pixels,
        height=1,
        width=1,
        days=facts.days,
        valid=None if facts.valid is None else _rows(facts.valid),
        lonlat=None if facts.lonlat is None else _rows(facts.lonlat),
        mask=None if facts.mask is None else _rows(facts.mask[:, None])[:, 0],
        pixel_size=None if facts.pixel_size is None else facts.pixel_size.repeat(facts.height * facts.width, axis=0),
    )


def _rows(planes: np.ndarray) -> np.ndarray:
    """Planes (N, K, height, width) as pixels (N * height * width, K, 1, 1)."""
    moved = np.moveaxis(planes, 1, -1)
    return moved.reshape(-1, planes.shape[1])[:, :, None, None]


def _lonlat(grid: Grid, box: PixelBox) -> np.ndarray:
    """Longitude and latitude (2, height, width) in degrees of the pixel centres."""
    size = grid.resolution
    x = (np.arange(box.col_start, box.col_stop) + 0.5) * size
    y = -(np.arange(box.row_start, box.row_stop) + 0.5) * size
    transformer = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return np.stack(transformer.transform(*np.meshgrid(x, y)))
