"""The pixels that a sample is drawn from: looked at tile by tile, and counted by stratum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.design.strata import OUTSIDE, TILE, UNSEEN, class_strata, valid_mask
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.progress import Advance, Stage, silent
from tilewright.tasks.zones.layers import LayerPixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.audit.design.strata import Strata
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.zones.layers import ProductLayer, ProductLayers


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The observed pixels of a layer of a product, in strata; ``confidence`` is its layer of percent, if asked."""

    product: ProductLayers
    layer: ProductLayer
    strata: Strata
    confidence: ProductLayer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrataSizes:
    """The strata that have pixels: their ``numbers``, ``names`` and ``n_pixels`` (stratum,), in the order of numbers.

    ``accuracy`` (stratum,): the mean confidence as a share, NaN where the product has none. ``n_outside``: observed
    pixels that are in no stratum.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    n_pixels: np.ndarray
    accuracy: np.ndarray
    n_outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A tile of a population: its box in the product, and the numbers of its pixels' strata, (y, x) int64."""

    box: PixelBox
    numbers: np.ndarray


def tiles(population: Population, pixels: LayerPixels, listener: Listener = silent, *, stage: str) -> Iterator[Tile]:
    """The tiles of a population from the upper left, by rows; each is an ``Advance`` of a ``stage``.

    Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
    """
    extent = population.product.grid.extent
    rows = range(extent.row_start // TILE, -(-extent.row_stop // TILE))
    cols = range(extent.col_start // TILE, -(-extent.col_stop // TILE))
    listener(Stage(name=stage, total=len(rows) * len(cols)))
    for row in rows:
        for col in cols:
            whole = PixelBox.at(row * TILE, col * TILE, shape=(TILE, TILE))
            box = whole.intersect(extent)
            values = pixels.read(population.layer, box)
            seen = valid_mask(values, population.layer)
            if seen.any():
                numbers = np.where(seen, population.strata.of_tile(whole, values, pixels), UNSEEN)
                yield Tile(box=box, numbers=numbers)
            listener(Advance())


def count_strata(population: Population, listener: Listener = silent) -> StrataSizes:
    """The pixels of each stratum, and the mean confidence in it. Raises as `tiles` does."""
    n_numbers = max(population.strata.names) + 1
    n_pixels, n_sure, percents = (np.zeros(n_numbers, dtype=kind) for kind in (np.int64, np.int64, np.float64))
    n_outside, confidence = 0, population.confidence
    with LayerPixels(population.product) as pixels:
        for tile in tiles(population, pixels, listener, stage="count"):
            inside = tile.numbers >= 0
            n_pixels += np.bincount(tile.numbers[inside], minlength=n_numbers)
            n_outside += int((tile.numbers == OUTSIDE).sum())
            if confidence is not None:
                percent = pixels.read(confidence, tile.box)
                sure = inside & valid_mask(percent, confidence)
                n_sure += np.bincount(tile.numbers[sure], minlength=n_numbers)
                percents += np.bincount(tile.numbers[sure], weights=percent[sure], minlength=n_numbers)
    present = np.flatnonzero(n_pixels)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = (percents / n_sure)[present] / 100
    return StrataSizes(
        numbers=present,
        names=tuple(population.strata.names[int(number)] for number in present),
        n_pixels=n_pixels[present],
        accuracy=np.clip(accuracy, 0, 1),
        n_outside=n_outside,
    )


def class_sizes(product: ProductLayers, layer: ProductLayer, listener: Listener = silent) -> dict[int, int]:
    """The pixels of each mapped value of a layer of classes, by which a sample is weighted after it was drawn.

    Raises DesignError for a layer of values, and as `tiles` does.
    """
    sizes = count_strata(Population(product=product, layer=layer, strata=class_strata(layer)), listener)
    return {int(value): int(n) for value, n in zip(sizes.numbers, sizes.n_pixels, strict=True)}
