"""Pictures of a change: where it is, and each of the largest places before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from rasterio.features import geometry_mask

from tilewright.tasks.colours import UNLISTED, rgb
from tilewright.tasks.compare.transitions import N_VALUES
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.report.layer_views import map_uri
from tilewright.tasks.zarr.thumbnail import read_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.compare.finished import FinishedProduct, MapClass
    from tilewright.tasks.compare.transitions import Transitions

PAPER = (250, 249, 245)
"""The colour towards which all that did not change is made paler."""

PALE, BESIDE = 0.22, 0.35
"""The share of its own colour that an unchanged pixel keeps in the picture of changes, and one beside a place."""

# Source: Okabe and Ito (2008) and Paul Tol, "muted", as in tasks/colours.py, the strongest against pale ground first.
MOVE_COLOURS = ("#d55e00", "#0072b2", "#cc79a7", "#009e73", "#e69f00", "#332288", "#56b4e9", "#882255")
"""Colours of the largest changes of class; all others share a grey."""

LEAST_SIDE, MOST_SIDE = 32, 256
"""Pixels of the side of a place's picture: at least of the map, and about at most of the picture."""

MARGIN = 1.5
"""Length of a picture's side in longer sides of its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of class as the picture shows it: values in A and B, its area in km2, and its colour."""

    before: int
    after: int
    km2: float
    colour: str


def moves_of(found: Transitions) -> tuple[Move, ...]:
    """The changes of class that occur, the largest area first."""
    before, after = np.nonzero(found.counts)
    listed = [(int(a), int(b)) for a, b in zip(before, after, strict=True) if a != b]
    listed.sort(key=lambda move: (-found.km2[move], move))
    return tuple(
        Move(
            before=a, after=b, km2=float(found.km2[a, b]), colour=MOVE_COLOURS[i] if i < len(MOVE_COLOURS) else UNLISTED
        )
        for i, (a, b) in enumerate(listed)
    )


def change_picture(found: Transitions, moves: Sequence[Move], classes: Sequence[MapClass]) -> np.ndarray:
    """The map of changes as RGBA (y, x, 4): changes in their colours over a pale map of B.

    It is transparent where not both observed.
    """
    pale = faded(_class_table(classes)[found.base], PALE)
    of_move = np.tile(np.array(rgb(UNLISTED), dtype=np.uint8), (N_VALUES**2, 1))
    for move in moves:
        of_move[move.before * N_VALUES + move.after] = rgb(move.colour)
    changed = found.picture >= 2
    shown = np.where(changed[..., None], of_move[np.where(changed, found.picture - 2, 0)], pale)
    alpha = np.where(found.picture > 0, np.uint8(255), np.uint8(0))
    shown[alpha == 0] = 0
    return np.dstack([shown, alpha]).astype(np.uint8)


def box_around(place: PixelBox, within: PixelBox) -> PixelBox:
    """The square around a place that its picture shows, as far as it lies in the map."""
    height, width = place.shape
    half = max(LEAST_SIDE, round(max(height, width) * MARGIN)) // 2 + 1
    row, col = (place.row_start + place.row_stop) // 2, (place.col_start + place.col_stop) // 2
    return PixelBox.at(row - half, col - half, shape=(2 * half, 2 * half)).intersect(within)


def place_uri(
    product: FinishedProduct, layer: str, classes: Sequence[MapClass], box: PixelBox, geometry: BaseGeometry
) -> str:
    """The map of classes inside a box as a data: URI; what lies beside the geometry is paler.

    It is read from the store's smaller levels where the box is large. Raises as `read_stored` does.
    """
    read_from = product.store.storage
    values, covered, factor = read_window(read_from, layer, product.grid.extent, box, max_size=MOST_SIDE)
    known = product.layers[layer]
    shown = _class_table(classes)[values]
    transform = product.grid.transform_of(covered)
    outside = geometry_mask([geometry], values.shape, transform * Affine.scale(factor))
    shown[outside] = faded(shown[outside], BESIDE)
    alpha = np.where(values == known.nodata, np.uint8(0), np.uint8(255))
    shown[alpha == 0] = 0
    return map_uri(np.dstack([shown, alpha]))


def _class_table(classes: Sequence[MapClass]) -> np.ndarray:
    """The colour of every value, (256, 3) uint8."""
    table = np.tile(np.array(rgb(UNLISTED), dtype=np.uint8), (N_VALUES, 1))
    for each in classes:
        table[each.value] = rgb(each.colour)
    return table


def faded(colours: np.ndarray, share: float) -> np.ndarray:
    """Colours (..., 3) uint8 of which a share (0-1) is left, the rest is that of paper."""
    paler: np.ndarray = np.rint(colours * share + np.array(PAPER) * (1 - share)).astype(np.uint8)
    return paler
