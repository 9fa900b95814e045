"""Places as points on a small map, one map a layer, in the colours that the layer would have as a raster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from tilewright.tasks.colours import rgb
from tilewright.tasks.report.picture import Legend, legend, picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.plan import Plan

LONGEST, SHORTEST = 1400, 350
"""Pixels of the map's sides: the longer one, and the least of the shorter one, or a street would be a line."""

GROUND, UNSEEN_PLACE, RIM = "#EDEAE3", "#8A8F98", "#2B2F36"
"""Colours of the map where no place is, of places without a value, and around places."""

COARSER = 2
"""Pixels of the map to one of the picture beneath it, which takes a quarter of the reads then."""

PALE = 70
"""What black is in that picture, of 255."""

RADII = ((50, 7), (500, 5), (5_000, 3), (50_000, 2))
"""Radii of points in pixels, by the most places of a table; of more, 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesMap:
    """The frame of the map: its bounds (minx, miny, maxx, maxy) in the grid's CRS, its shape, and each row's pixel."""

    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]
    crs: str
    rows: np.ndarray
    cols: np.ndarray
    radius: int

    @classmethod
    def of(cls, plan: Plan, rows: PlaceRows) -> PlacesMap:
        """The map around all rows that have a window."""
        grid = plan.raster.grid
        left, bottom, right, top = grid.bounds_of(grid.extent)
        width, height = right - left, top - bottom
        # A table along a line still has a map.
        width, height = max(width, height * SHORTEST / LONGEST), max(height, width * SHORTEST / LONGEST)
        middle_x, middle_y = (left + right) / 2, (bottom + top) / 2
        scale = LONGEST / (1.06 * max(width, height))
        shape = max(1, round(1.06 * height * scale)), max(1, round(1.06 * width * scale))
        half_x, half_y = shape[1] / scale / 2, shape[0] / scale / 2
        bounds = (middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y)
        y, x = (rows.centres[rows.order].T + 0.5) * grid.resolution
        return cls(
            bounds=bounds,
            shape=shape,
            crs=grid.crs,
            rows=np.clip(((bounds[3] + y) * scale).astype(np.int64), 0, shape[0] - 1),
            cols=np.clip(((x - bounds[0]) * scale).astype(np.int64), 0, shape[1] - 1),
            radius=next((radius for most, radius in RADII if len(rows.order) <= most), 1),
        )

    @property
    def ground(self) -> GeoBox:
        """Where the picture beneath the places lies: the map, in pixels of `COARSER` of its own."""
        left, bottom, right, top = self.bounds
        rows, cols = (-(-side // COARSER) for side in self.shape)
        size_x, size_y = (right - left) / self.shape[1] * COARSER, (top - bottom) / self.shape[0] * COARSER
        return GeoBox((rows, cols), Affine(size_x, 0.0, left, 0.0, -size_y, top), self.crs)

    def draw(self, stored: np.ndarray, spec: LayerSpec, shown: np.ndarray | None) -> np.ndarray:
        """The map (y, x, 4) uint8 of a layer's stored numbers, those of the rows on the map in its order.

        ``shown`` is the picture (y, x, 3) uint8 beneath them, on the geobox ``ground``, 0 where there is none.
        """
        coloured = picture(stored[np.newaxis], spec)[0]
        canvas = self._canvas(shown)
        known = coloured[:, 3] > 0
        coloured[~known] = (*rgb(UNSEEN_PLACE), 255)
        # Places without a value below the others, and equal places in the order of the rows.
        order = np.argsort(known, kind="stable")
        if self.radius > 1:
            self._dots(canvas, np.full((1, 4), (*rgb(RIM), 255), dtype=np.uint8), order, self.radius + 1)
        self._dots(canvas, coloured[order], order, self.radius)
        return canvas

    def _dots(self, canvas: np.ndarray, colours: np.ndarray, order: np.ndarray, radius: int) -> None:
        """Draw a disk at each place, in colours (place, 4) by order or one for all."""
        steps = np.arange(-radius, radius + 1)
        down, right = np.meshgrid(steps, steps, indexing="ij")
        disk = down**2 + right**2 <= radius**2
        for dy, dx in zip(down[disk], right[disk], strict=True):
            rows = np.clip(self.rows[order] + dy, 0, self.shape[0] - 1)
            cols = np.clip(self.cols[order] + dx, 0, self.shape[1] - 1)
            canvas[rows, cols] = colours

    def _canvas(self, shown: np.ndarray | None) -> np.ndarray:
        canvas = np.empty((*self.shape, 4), dtype=np.uint8)
        canvas[...] = (*rgb(GROUND), 255)
        if shown is not None:
            finer = shown.repeat(COARSER, axis=0).repeat(COARSER, axis=1)[: self.shape[0], : self.shape[1]]
            seen = finer.any(axis=-1)
            # Paler than it is, so that colours of classes stand out.
            canvas[seen, :3] = PALE + (finer[seen] * (1 - PALE / 255)).astype(np.uint8)
        return canvas


def places_maps(
    frame: PlacesMap, records: np.ndarray, specs: Mapping[str, LayerSpec], *, shown: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], Legend]:
    """The map of each layer by name, and the legend of the first; ``records`` are those of the rows on the map,
    ``shown`` the picture beneath them.
    """
    maps = {name: frame.draw(np.ascontiguousarray(records[name]), spec, shown) for name, spec in specs.items()}
    name, spec = next(iter(specs.items()))
    return maps, legend(np.ascontiguousarray(records[name])[np.newaxis], spec)
