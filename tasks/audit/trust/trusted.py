"""The pixels of a map that are trusted, tile by tile, and how much ground they cover of each class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.design.strata import valid_mask
from tilewright.tasks.audit.evaluate.polygons import tiles_in
from tilewright.tasks.audit.trust.conformal import trusted_pixels
from tilewright.tasks.grid.ground import is_uniform, mean_pixel_km2, pixel_km2
from tilewright.tasks.progress import Advance, Stage, silent
from tilewright.tasks.zones.layers import LayerPixels, ProductLayers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.audit.trust.conformal import Threshold
    from tilewright.tasks.audit.trust.sureness import Sureness
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage

NOT_TRUSTED, TRUSTED, NODATA = 0, 1, 255
"""Values of the layer `trusted`; a pixel without a mapped class is nodata."""


@dataclass(frozen=True, kw_only=True)
class TrustMap:
    """A layer of classes of a product, what says how sure it is, and its classes' thresholds and least scores."""

    storage: Storage
    grid: Grid
    target: Target
    sureness: Sureness
    thresholds: Sequence[Threshold]
    least: Sequence[float | None]

    def pixels(self) -> LayerPixels:
        """The layers that are read, for a ``with`` statement."""
        layers = (self.target.layer, *(each for each in self.sureness.layers if each != self.target.layer))
        return LayerPixels(ProductLayers(storage=self.storage, grid=self.grid, layers=layers))

    def of(self, box: PixelBox, pixels: LayerPixels) -> tuple[np.ndarray, np.ndarray]:
        """A box of the layer `trusted`, (height, width) uint8, and the indices of the mapped classes there, int64.

        Each pixel hangs on its own values alone. Raises as `LayerPixels.read` does.
        """
        values = pixels.read(self.target.layer, box)
        stored = np.stack([pixels.read(layer, box) for layer in self.sureness.layers])
        if self.table is None:
            return self._found(values, stored)
        places = values.astype(np.uint16) * np.uint16(256) + stored[0]
        assert self.target.classes is not None, "a layer of classes"
        return self.table.take(places), self.target.classes.product_codes(values)

    @cached_property
    def table(self) -> np.ndarray | None:
        """The layer by mapped value * 256 + confidence, of bytes both: every pair there can be; None of other types."""
        layers = (self.target.layer, *self.sureness.layers)
        if self.sureness.owners or any(layer.dtype != np.uint8 for layer in layers):
            return None
        values, sure = np.indices((256, 256), dtype=np.uint8)
        return self._found(values, sure[None])[0].ravel()

    def _found(self, values: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The layer of stored classes (...) and of what says how sure they are (layer, ...), as `of` has it."""
        assert self.target.classes is not None, "a layer of classes"
        mapped = self.target.classes.product_codes(values)
        scores, told = self.sureness.scores(mapped, stored)
        found = trusted_pixels(mapped, scores, self.thresholds, self.least) & told
        seen = valid_mask(values, self.target.layer)
        return np.where(seen, np.where(found, TRUSTED, NOT_TRUSTED), NODATA).astype(np.uint8), mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedGround:
    """Ground of each mapped class in km2, (class,), whole and trusted; the last is that of values that are no class."""

    mapped_km2: tuple[float, ...]
    trusted_km2: tuple[float, ...]


def trusted_ground(trust: TrustMap, listener: Listener = silent) -> TrustedGround:
    """How much is trusted, read tile by tile of the absolute lattice: no figure depends on the product's cut.

    Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
    """
    assert trust.target.classes is not None, "a layer of classes"
    grid, n = trust.grid, len(trust.target.classes.names) + 1
    boxes = [tile.intersect(grid.extent) for tile in tiles_in(grid.extent)]
    even = is_uniform(grid)
    parts: list[np.ndarray] = []
    listener(Stage(name="trust", total=len(boxes)))
    with trust.pixels() as pixels:
        for box in boxes:
            layer, mapped = trust.of(box, pixels)
            areas = None if even else np.broadcast_to(pixel_km2(grid, box), box.shape)
            # Classes by what they are: not trusted, trusted, and where nothing is mapped.
            kinds = (mapped + n * np.minimum(layer, TRUSTED + 1)).ravel()
            weights = None if areas is None else areas.ravel()
            found = np.bincount(kinds, weights=weights, minlength=3 * n).reshape(3, n)
            parts.append(np.stack([found[NOT_TRUSTED] + found[TRUSTED], found[TRUSTED]]))
            listener(Advance())
    km2 = np.array([[math.fsum(part[i, j] for part in parts) for j in range(n)] for i in range(2)])
    if even:
        km2 *= mean_pixel_km2(grid, grid.extent)
    whole, some = km2.tolist()
    return TrustedGround(mapped_km2=tuple(whole), trusted_km2=tuple(some))
