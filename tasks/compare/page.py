"""comparison.html: one page that opens offline, with the pictures of the change inside."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilewright.tasks.colours import UNSEEN
from tilewright.tasks.compare.pictures import box_around, change_picture, place_uri
from tilewright.tasks.compare.words import area_words, percent_words, place_words, short
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.report.format import fixed
from tilewright.tasks.report.layer_views import map_uri, with_unseen
from tilewright.tasks.report.render import page_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.compare.compare import LayerComparison
    from tilewright.tasks.compare.finished import FinishedProduct, MapClass
    from tilewright.tasks.grid.grid import Grid

MOST_MOVES = 8
"""Changes of class listed beside the picture."""

MOST_TABLED = 20
"""Classes of which the page shows a table of changes, at most: those with the largest areas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the table of changes: its area in words, and how strongly it is coloured (0-1); ``same``: no change."""

    words: str
    strength: float
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """A row of the table of changes: a class of A, its area, and one cell per class of B."""

    kind: MapClass
    total: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceView:
    """A changed place as the page shows it; ``pictures`` are (title, data: URI, drawn as pixels)."""

    title: str
    area: str
    where: str
    pictures: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveView:
    """A change of class in the legend of the picture."""

    words: str
    area: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPage:
    """All that the page shows of one layer. ``more_classes`` and ``more_moves`` are not shown."""

    title: str
    image: str
    unseen: bool
    ratio: float
    moves: tuple[MoveView, ...]
    more_moves: int
    classes: tuple[MapClass, ...]
    rows: tuple[MatrixRow, ...]
    totals: tuple[str, ...]
    more_classes: int
    places: tuple[PlaceView, ...]
    n_places: int
    table: str
    map: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueView:
    """A layer of values on the page: its map of B - A, the amount in words at the ends of its colours, its figures."""

    title: str
    image: str
    unseen: bool
    ratio: float
    low: str
    high: str
    stops: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    map: str


def render_comparison(
    document: Mapping[str, Any],
    a: FinishedProduct,
    b: FinishedProduct,
    grid: Grid,
    layers: Sequence[LayerComparison],
    *,
    values: Sequence[ValueView],
) -> str:
    """The page of a comparison as one HTML text that loads no other file; every text in it is treated as hostile.

    Raises StorageError or ChangedStoreError where the pixels of a place cannot be read.
    """
    documents = [document, *document["others"]][: len(layers)]
    pages = [_layer_page(each, plain, a, b, grid) for each, plain in zip(layers, documents, strict=True)]
    return page_environment().get_template("comparison.html.j2").render(
        summary=document["summary"],
        products=[("A", a, document["a"]), ("B", b, document["b"])],
        grid=document["grid"],
        layers=pages,
        values=values,
        objects=document.get("objects", ()),
        attributions=sorted({each.attribution for each in (a, b)} - {""}),
        unseen_css=UNSEEN,
    )  # fmt: skip


def _layer_page(
    each: LayerComparison, plain: Mapping[str, Any], a: FinishedProduct, b: FinishedProduct, grid: Grid
) -> LayerPage:
    picture = change_picture(each.found, each.moves, each.classes)
    kept = _largest_classes(each)
    moves = each.moves[:MOST_MOVES]
    largest = float(each.found.km2.sum(axis=1).max())
    decimals = next((n for n, above in ((0, 1000), (1, 100), (2, 1), (3, 0.1)) if largest >= above), 4)
    return LayerPage(
        title=each.layer.replace("_", " "),
        image=map_uri(with_unseen(picture)),
        unseen=bool((picture[..., 3] == 0).any()),
        ratio=min(max(picture.shape[1] / picture.shape[0], 0.6), 2.4),
        moves=tuple(
            MoveView(
                words=_move_words(each, move.before, move.after),
                area=area_words(move.km2),
                colour=move.colour,
            )
            for move in moves
        ),
        more_moves=len(each.moves) - len(moves),
        classes=kept,
        rows=_matrix(each, kept, decimals=decimals),
        totals=tuple(fixed(float(each.found.km2[:, kind.value].sum()), decimals) for kind in kept),
        more_classes=len(each.classes) - len(kept),
        places=tuple(_places(each, a, b, grid)),
        n_places=each.places.n,
        table=each.table.name,
        map=plain["map"],
        cells=tuple((_bbox_words(cell["bbox"]), percent_words(cell["share"])) for cell in plain["most_different"]),
    )


def _largest_classes(each: LayerComparison) -> tuple[MapClass, ...]:
    """The classes that occur, in their order; of many those with the largest areas."""
    km2 = each.found.km2.sum(axis=0) + each.found.km2.sum(axis=1)
    there = sorted((kind for kind in each.classes if km2[kind.value] > 0), key=lambda kind: -km2[kind.value])
    kept = {kind.value for kind in there[:MOST_TABLED]}
    return tuple(replace(kind, name=short(kind.name)) for kind in each.classes if kind.value in kept)


def _move_words(each: LayerComparison, before: int, after: int) -> str:
    return f"{short(each.name_of(before))} → {short(each.name_of(after))}"


def _matrix(each: LayerComparison, kept: Sequence[MapClass], *, decimals: int) -> tuple[MatrixRow, ...]:
    """The table of changes in km2; a cell is the stronger the larger its share of what its class in A covers."""
    km2 = each.found.km2
    return tuple(
        MatrixRow(
            kind=kind,
            total=fixed(float(km2[kind.value].sum()), decimals),
            cells=tuple(
                Cell(
                    words=fixed(float(km2[kind.value, other.value]), decimals) if km2[kind.value, other.value] else "",
                    strength=math.sqrt(km2[kind.value, other.value] / max(km2[kind.value].sum(), 1e-300)),
                    same=other.value == kind.value,
                )
                for other in kept
            ),
        )
        for kind in kept
    )


def _places(each: LayerComparison, a: FinishedProduct, b: FinishedProduct, grid: Grid) -> list[PlaceView]:
    metres = max(pixel_metres(grid))
    views = []
    for place in each.places.largest:
        box = box_around(place.box, grid.extent)
        shown = [
            (title, place_uri(product, each.layer, each.classes, box, place.geometry), True)
            for title, product in (("A", a), ("B", b))
        ]
        views.append(
            PlaceView(
                title=_move_words(each, place.before, place.after),
                area=area_words(place.km2),
                where=place_words(place.lon, place.lat, metres=metres),
                pictures=tuple(shown),
            )
        )
    return views


def _bbox_words(bbox: Sequence[float] | None) -> str:
    return "–" if bbox is None else ", ".join(f"{edge:.4f}" for edge in bbox)
