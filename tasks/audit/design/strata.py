"""The strata of a product's pixels: by mapped class, by confidence, by zones, or none."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry import box as rectangle

from tilewright.tasks.audit.design.estimate import DesignError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.zones.layers import LayerPixels, ProductLayer, ProductLayers

TILE = 1024
"""Pixels per side of the tiles in which pixels are looked at, at multiples of it from the CRS origin: so neither the
product's blocks nor its extent decide how a zone's edge falls on a pixel."""

OUTSIDE, UNSEEN = -1, -2
"""Numbers of no stratum: of pixels that no sample draws, observed and not observed."""

MOST_VALUES = 2**16
"""Values of a layer of classes."""

BANDS = (50, 70, 90)
"""Percent of confidence at which strata begin, but for the first."""

NAME_COLUMNS = ("name", "id")
"""Columns of zones by which strata are named, the first that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """Strata by number, each with its ``names``; ``of_tile`` gives those of a tile, (y, x) int64, `OUTSIDE` for none.

    It is given the whole tile's box, and the values (y, x) of the sampled layer in the part of it that the product has.
    """

    names: Mapping[int, str]
    of_tile: Callable[[PixelBox, np.ndarray, LayerPixels], np.ndarray]


def no_strata() -> Strata:
    """One stratum of all observed pixels."""
    return Strata(names={0: "all"}, of_tile=lambda _box, values, _pixels: np.zeros(values.shape, dtype=np.int64))


def class_strata(layer: ProductLayer) -> Strata:
    """The mapped classes, by their values; a value that the product does not list is a stratum too.

    Raises DesignError for a layer of values.
    """
    if not layer.classes:
        raise DesignError(
            f"The layer {layer.name} has no classes to be strata: give --strata none, confidence or zones."
        )
    names = {value: f"value {value}" for value in range(MOST_VALUES)} | class_names(layer)
    return Strata(names=names, of_tile=lambda _box, values, _pixels: _numbers(values))


def class_names(layer: ProductLayer) -> dict[int, str]:
    """The name of each value; of a name that stands twice with the value."""
    names = [name for _, name in layer.classes]
    return {value: name if names.count(name) == 1 else f"{name} ({value})" for value, name in layer.classes}


def _numbers(values: np.ndarray) -> np.ndarray:
    numbers = values.astype(np.int64)
    numbers[(numbers < 0) | (numbers >= MOST_VALUES)] = OUTSIDE
    return numbers


def confidence_strata(product: ProductLayers, confidence: ProductLayer) -> Strata:
    """Bands of a layer of percent; without a confidence a pixel is in none."""
    edges = (0, *BANDS, 100)
    names = {number: f"confidence {low} to {high} %" for number, (low, high) in enumerate(pairwise(edges))}

    def of_tile(box: PixelBox, _values: np.ndarray, pixels: LayerPixels) -> np.ndarray:
        inside = box.intersect(product.grid.extent)
        percent = pixels.read(confidence, inside)
        numbers = np.searchsorted(np.array(BANDS), percent, side="right")
        return np.where(valid_mask(percent, confidence), numbers, OUTSIDE)

    return Strata(names=names, of_tile=of_tile)


def valid_mask(values: np.ndarray, layer: ProductLayer) -> np.ndarray:
    """True where pixels of a layer have a value, (y, x)."""
    valid = np.ones(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    if layer.nodata is not None:
        valid &= values != layer.nodata
    return valid


def zone_strata(product: ProductLayers, zones: np.ndarray, labels: Sequence[str]) -> Strata:
    """Zones as shapes in absolute pixels (`tasks/zones`), x a column and y the negative of a row, None for none.

    Those of one label are one stratum. A pixel belongs to the first zone that its centre lies in.
    """
    names = list(dict.fromkeys(labels))
    number_of = {name: number for number, name in enumerate(names)}
    tree = shapely.STRtree(zones)

    def of_tile(box: PixelBox, values: np.ndarray, _pixels: LayerPixels) -> np.ndarray:
        inside = box.intersect(product.grid.extent)
        near = np.sort(tree.query(rectangle(box.col_start, -box.row_stop, box.col_stop, -box.row_start)))
        if not len(near):
            return np.full(values.shape, OUTSIDE)
        # The last one drawn stays.
        shapes = [(zones[place], number_of[labels[place]]) for place in near[::-1]]
        transform = Affine(1.0, 0.0, box.col_start, 0.0, -1.0, -box.row_start)
        numbers = rasterize(shapes, out_shape=box.shape, transform=transform, fill=OUTSIDE, dtype="int32")
        return np.asarray(numbers[inside.slices_in(box)], dtype=np.int64)

    return Strata(names=dict(enumerate(names)), of_tile=of_tile)
