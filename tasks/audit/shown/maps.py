"""Where a map errs: points or cells over a pale picture of the layer, and pictures of the worst places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from tilewright.tasks.audit.design.labelling import opaque
from tilewright.tasks.audit.evaluate.tally import CELL
from tilewright.tasks.colours import UNLISTED, class_colours, ramp_table, rgb
from tilewright.tasks.compare.page import PlaceView
from tilewright.tasks.compare.pictures import faded
from tilewright.tasks.compare.places import lonlat_bounds
from tilewright.tasks.compare.words import place_words, short
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.report.format import figure, plural
from tilewright.tasks.report.layer_views import map_uri
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.zarr.thumbnail import read_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation

RIGHT, WRONG, LOW = "#0072b2", "#d55e00", "#56b4e9"
"""Source: Okabe and Ito (2008), told apart by any eye. ``LOW`` is of values that are too low."""

BASE_SIZE = 1024
"""Pixels of the longer side of the picture below the points, about."""

PALE = 0.38

MOST_DRAWN = 2500
"""Points that are drawn of those that agree, and of those that do not."""

MOST_PLACES = 8

SHOT = 64
"""Pixels of a side of the picture of a place."""

ZOOM = 5
"""Pixels of a picture for one of the map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point on the map, in pixels from the upper left corner of the product; ``size`` is its radius there."""

    x: float
    y: float
    size: float
    colour: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMap:
    """A map (width, height in pixels): the picture below, that of cells with their place, and points over it.

    ``unseen``: the picture below is clear somewhere, where the map has no value.
    """

    width: int
    height: int
    image: str
    cells: str
    cell_box: tuple[int, int, int, int]
    unseen: bool
    marks: tuple[Mark, ...]
    n_left_out: int


def layer_colours(evaluation: LayerEvaluation) -> list[str]:
    """The colours of the classes that are scored, and one for values that are none."""
    classes = evaluation.target.classes
    if classes is None:
        return []
    of_value = _value_colours(evaluation)
    first = {index: value for value, index in reversed([*classes.of_value.items()])}
    return [*(of_value.get(first[i], UNLISTED) for i in range(len(classes.names))), UNLISTED]


def _value_colours(evaluation: LayerEvaluation) -> dict[int, str]:
    report = read_object(evaluation.storage, "report.json") or {}
    name = evaluation.target.layer.name
    told = next((each for each in rows(report, "layers") if text(each, "name") == name), {})
    listed = rows(told, "classes")
    colours = class_colours([text(each, "color") or None for each in listed])
    pairs = ((each.get("value"), colour) for each, colour in zip(listed, colours, strict=True))
    return {value: colour for value, colour in pairs if isinstance(value, int)}


def error_map(evaluation: LayerEvaluation) -> ErrorMap:
    """The map of where a layer errs. Raises StorageError or ChangedStoreError where its pixels cannot be read."""
    extent = evaluation.grid.extent
    height, width = extent.shape
    marks, left_out = _marks(evaluation) if evaluation.pairs is not None else ((), 0)
    top, left = evaluation.tally.first_cell
    n_rows, n_cols = evaluation.tally.cell_n.shape
    picture = _picture(evaluation, extent, max_size=BASE_SIZE, share=PALE)
    return ErrorMap(
        width=width,
        height=height,
        image=map_uri(picture),
        unseen=bool((picture[..., 3] == 0).any()),
        cells="" if evaluation.pairs is not None else map_uri(_cells(evaluation)),
        cell_box=(left * CELL - extent.col_start, top * CELL - extent.row_start, n_cols * CELL, n_rows * CELL),
        marks=marks,
        n_left_out=left_out,
    )


def _picture(evaluation: LayerEvaluation, box: PixelBox, *, max_size: int, share: float) -> np.ndarray:
    """A layer in a box as RGBA, with a share of its colours; transparent where it has no value."""
    layer = evaluation.target.layer
    extent = evaluation.grid.extent
    values, _, _ = read_window(evaluation.storage, layer.name, extent, box, max_size=max_size)
    there = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    if layer.nodata is not None:
        there &= values != layer.nodata
    if evaluation.target.classes is None:
        found = values[there].astype(np.float64)
        low, high = np.quantile(found, (0.02, 0.98)) if found.size else (0.0, 1.0)
        # By their ends first, so that no difference is beyond numbers.
        shown = np.clip(np.where(there, values, low).astype(np.float64), low, high) / 2 - low / 2
        colours = ramp_table()[np.clip(shown / max(high / 2 - low / 2, 1e-300) * 255, 0, 255).astype(np.uint8)]
    else:
        table = np.tile(np.array(rgb(UNLISTED), dtype=np.uint8), (2**16, 1))
        for value, colour in _value_colours(evaluation).items():
            table[value % 2**16] = rgb(colour)
        colours = table[values.astype(np.int64) % 2**16]
    return np.dstack([faded(colours, share), np.where(there, np.uint8(255), np.uint8(0))])


def _cells(evaluation: LayerEvaluation) -> np.ndarray:
    """The cells as RGBA: the more of their pixels are wrong, or the larger the mean error, the stronger."""
    n, off = evaluation.tally.cell_n, evaluation.tally.cell_off
    share = off / np.maximum(n, 1)
    if evaluation.target.classes is None:
        share = share / max(float(share.max()), 1e-300)
    alpha = np.where(n > 0, np.rint(40 + 200 * np.sqrt(share)), 0)
    alpha[(n > 0) & (off == 0)] = 24
    colour = np.where((off > 0)[..., None], np.array(rgb(WRONG)), np.array(rgb(RIGHT)))
    return np.dstack([colour, alpha]).astype(np.uint8)


def _marks(evaluation: LayerEvaluation) -> tuple[tuple[Mark, ...], int]:
    """The points of a map, those that err on top; of many every n-th."""
    pairs = evaluation.pairs
    assert pairs is not None, "these labels are points"
    extent = evaluation.grid.extent
    radius = max(extent.shape) / 170
    classes = evaluation.target.classes
    off = (pairs.labels != pairs.product) if classes else np.ones(len(pairs), dtype=bool)
    largest = float(np.abs(pairs.product - pairs.labels).max()) if classes is None and len(pairs) else 1.0
    marks, left_out = [], 0
    for wrong in (False, True):
        these = np.flatnonzero(off == wrong)
        stride = max(1, -(-len(these) // MOST_DRAWN))
        left_out += len(these) - len(these[::stride])
        for number in these[::stride].tolist():
            label, product = pairs.labels[number].item(), pairs.product[number].item()
            if classes:
                colour, size = (WRONG, 1.0) if wrong else (RIGHT, 0.7)
            else:
                colour = WRONG if product >= label else LOW
                size = 0.4 + 1.1 * (abs(product - label) / max(largest, 1e-300)) ** 0.5
            marks.append(
                Mark(
                    x=round(float(pairs.cols[number]) - extent.col_start + 0.5, 2),
                    y=round(float(pairs.rows[number]) - extent.row_start + 0.5, 2),
                    size=round(radius * size, 2),
                    colour=colour,
                    words=_pair_words(evaluation, label, product),
                )
            )
    return tuple(marks), left_out


def _pair_words(evaluation: LayerEvaluation, label: float, product: float) -> str:
    classes = evaluation.target.classes
    if classes is None:
        return f"{figure(product)}, labelled {figure(label)}"
    names = [*map(short, classes.names), "no class"]
    mapped, meant = names[int(product)], names[int(label)]
    return mapped if mapped == meant else f"{mapped}, labelled {meant}"


Imagery = Callable[["Sequence[PixelBox]"], "tuple[tuple[str, ...], Iterator[Sequence[np.ndarray | None]]]"]
"""Gives the labels of dates, and of each box in turn its true-colour picture (y, x, 3) uint8 of each date, or None."""


def worst_places(evaluation: LayerEvaluation, imagery: Imagery | None = None) -> list[PlaceView]:
    """The places where a layer errs most, with a picture of the layer each, and those that ``imagery`` has of it.

    Raises as `error_map` does.
    """
    found = _worst_points(evaluation) if evaluation.pairs is not None else _worst_cells(evaluation)
    metres = max(pixel_metres(evaluation.grid))
    dates, pictures = ((), iter([()] * len(found))) if imagery is None or not found else imagery([f[0] for f in found])
    titles = ("scenes",) if len(dates) == 1 else dates
    views = []
    for (box, title, words, marks), seen in zip(found, pictures, strict=True):
        bounds = lonlat_bounds(evaluation.grid, box)
        where = "" if bounds is None else (
            place_words((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, metres=metres)
        )  # fmt: skip
        mapped = _picture(evaluation, box, max_size=SHOT * 4, share=0.8)
        dated = zip(titles, seen, strict=True)
        shots = (
            (evaluation.target.layer.name, _shot(mapped, box, marks), True),
            *((date, _shot(opaque(each), box, marks), True) for date, each in dated if each is not None),
        )
        views.append(PlaceView(title=title, area=words, where=where, pictures=shots))
    return views


Found = tuple[PixelBox, str, str, "Sequence[tuple[int, int]]"]


def _worst_points(evaluation: LayerEvaluation) -> list[Found]:
    """The surest of the wrong points, or those with the largest errors; none in the picture of another one."""
    pairs, target, table = evaluation.pairs, evaluation.target, evaluation.table
    assert pairs is not None, "these labels are points"
    assert table is not None, "points are a table"
    rank = np.nan_to_num(pairs.confidence, nan=-1.0) if target.classes else np.abs(pairs.product - pairs.labels)
    wrong = np.flatnonzero(pairs.labels != pairs.product)
    order = wrong[np.lexsort([wrong, -rank[wrong]])]
    found: list[Found] = []
    taken: list[tuple[int, int]] = []
    for number in order.tolist():
        row, col = int(pairs.rows[number]), int(pairs.cols[number])
        if any(abs(row - other[0]) < SHOT // 2 and abs(col - other[1]) < SHOT // 2 for other in taken):
            continue
        taken.append((row, col))
        sure = pairs.confidence[number]
        words = f"row {table.number(int(pairs.owners[number])):,} of the labels"
        words = words if np.isnan(sure) else f"confidence {sure * 100:.0f} %, {words}"
        title = _pair_words(evaluation, pairs.labels[number].item(), pairs.product[number].item())
        found.append((_around(row, col, evaluation.grid.extent), title, words, [(row, col)]))
        if len(found) == MOST_PLACES:
            break
    return found


def _worst_cells(evaluation: LayerEvaluation) -> list[Found]:
    """The cells with most that is wrong; of equal ones the northern, then the western."""
    n, off = evaluation.tally.cell_n, evaluation.tally.cell_off
    rank = off if evaluation.target.classes else off / np.maximum(n, 1)
    order = np.argsort(-rank.ravel(), kind="stable")[:MOST_PLACES]
    top, left = evaluation.tally.first_cell
    found: list[Found] = []
    for place in order.tolist():
        row, col = divmod(place, n.shape[1])
        if not off[row, col]:
            break
        box = PixelBox.at((top + row) * CELL, (left + col) * CELL, shape=(CELL, CELL)).intersect(evaluation.grid.extent)
        pixels = plural(int(n[row, col]), "labelled pixel")
        share = off[row, col] / n[row, col]
        title = f"{share * 100:.1f} % wrong" if evaluation.target.classes else f"mean error {figure(share)}"
        found.append((box, title, f"of {pixels}", []))
    return found


def _around(row: int, col: int, extent: PixelBox) -> PixelBox:
    return PixelBox.at(row - SHOT // 2, col - SHOT // 2, shape=(SHOT, SHOT)).intersect(extent)


def _shot(picture: np.ndarray, box: PixelBox, marks: Sequence[tuple[int, int]]) -> str:
    """The picture (y, x, 4) uint8 of a place, which may have larger pixels than the map, its marks ringed."""
    height, width = box.shape
    large = Image.fromarray(np.ascontiguousarray(picture)).resize(
        (width * ZOOM, height * ZOOM), Image.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(large)
    for row, col in marks:
        x, y = ((col - box.col_start + 0.5) * ZOOM, (row - box.row_start + 0.5) * ZOOM)
        for radius, colour in ((14, "#ffffff"), (11, WRONG)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=4)
    return map_uri(np.asarray(large))
