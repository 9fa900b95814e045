"""What the page asks for, by its path: each answer is bounded, and made of numbers and texts alone."""

from __future__ import annotations

import importlib.resources
import json
import math
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tilewright.flows.view.files import MERCATOR_LATITUDE, ViewError
from tilewright.flows.view.ground import Grounds
from tilewright.flows.view.outlines import Tables
from tilewright.flows.view.scenes import scenes_of
from tilewright.flows.view.series import SeriesReader
from tilewright.flows.view.tiles import MOST_ZOOM, Tiles
from tilewright.flows.view.values import values_at
from tilewright.tasks.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilewright.flows.view.files import Files
    from tilewright.flows.view.products import ViewedProduct

PAGE = Path(__file__).parent / "page"

LEAFLET = "js_lib_leaflet"
"""The package that carries Leaflet's own files; it is found, and its application for Django is never imported."""

JSON, PNG = "application/json", "image/png"

STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "map.js": ("map.js", "text/javascript; charset=utf-8"),
    "panel.js": ("panel.js", "text/javascript; charset=utf-8"),
    "chart.js": ("chart.js", "text/javascript; charset=utf-8"),
}

LIBRARY = {
    "leaflet.js": "text/javascript; charset=utf-8",
    "leaflet.css": "text/css; charset=utf-8",
}

LARGEST_NUMBER = 100_000.0
"""Degrees of a place that has been turned round the world some times."""

_NUMBER = r"(0|[1-9][0-9]{0,8})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAnswer:
    """One answer: its body and media type."""

    body: bytes
    media: str


class NoAnswerError(LookupError):
    """A path that the page does not have."""


class PageAnswers:
    """The answers to the page's requests; they may be asked for by several threads."""

    def __init__(self, products: Sequence[ViewedProduct], files: Files) -> None:
        self._products, self._files = tuple(products), files
        self._tiles, self._series, self._tables, self._grounds = Tiles(files), SeriesReader(), Tables(), Grounds(files)
        self._kept: dict[str, PageAnswer] = {}
        self._one_at_a_time = threading.Lock()
        self._routes: tuple[tuple[re.Pattern[str], Callable[..., PageAnswer]], ...] = (
            (re.compile(rf"tiles/{_NUMBER}/{_NUMBER}/{_NUMBER}/{_NUMBER}/{_NUMBER}\.png"), self._tile),
            (re.compile(rf"tiles/{_NUMBER}/ground/{_NUMBER}/{_NUMBER}/{_NUMBER}\.png"), self._ground_tile),
            (re.compile(rf"ground/{_NUMBER}\.json"), self._ground),
            (re.compile(rf"tables/{_NUMBER}/{_NUMBER}\.json"), self._table),
            (re.compile(rf"scenes/{_NUMBER}\.json"), self._scenes),
            (re.compile(r"values\.json"), self._values),
            (re.compile(rf"series/{_NUMBER}\.json"), self._series_of),
            (re.compile(r"products\.json"), self._described),
        )

    def of(self, path: str, query: str) -> PageAnswer:
        """The answer to a path below the page's own, without a leading "/".

        Raises NoAnswerError for a path that is none, ViewError for what cannot be shown.
        """
        if path in STATIC:
            name, media = STATIC[path]
            return PageAnswer(body=(PAGE / name).read_bytes(), media=media)
        if path in LIBRARY:
            return PageAnswer(body=library_file(path), media=LIBRARY[path])
        for pattern, answer in self._routes:
            if (found := pattern.fullmatch(path)) is not None:
                return answer(query, *map(int, found.groups()))
        raise NoAnswerError(path)

    def close(self) -> None:
        """Remove what was fetched for the page."""
        self._tables.close()
        self._grounds.close()

    def _product(self, number: int) -> ViewedProduct:
        if number >= len(self._products):
            raise NoAnswerError(str(number))
        return self._products[number]

    def _described(self, _query: str) -> PageAnswer:
        return _json([product.to_json() for product in self._products])

    def _tile(self, _query: str, product: int, layer: int, zoom: int, col: int, row: int) -> PageAnswer:
        layers = self._product(product).layers
        if layer >= len(layers) or zoom > MOST_ZOOM or max(col, row) >= 2**zoom:
            raise NoAnswerError(str(layer))
        return PageAnswer(body=self._tiles.tile(layers[layer], zoom, col, row), media=PNG)

    def _ground(self, _query: str, product: int) -> PageAnswer:
        return _json(self._grounds.layer(self._product(product)).to_json())

    def _ground_tile(self, _query: str, product: int, zoom: int, col: int, row: int) -> PageAnswer:
        asked = self._product(product)
        if zoom > MOST_ZOOM or max(col, row) >= 2**zoom:
            raise NoAnswerError(str(zoom))
        return PageAnswer(body=self._tiles.tile(self._grounds.layer(asked), zoom, col, row), media=PNG)

    def _table(self, query: str, product: int, table: int) -> PageAnswer:
        asked = self._product(product)
        if table >= len(asked.tables):
            raise NoAnswerError(str(table))
        if not query:
            return self._once(f"{product} {table}", lambda: self._tables.outlines(asked, asked.tables[table]))
        west, south, east, north = _numbers(query, "west", "south", "east", "north")
        if not (west < east and south < north):
            raise NoAnswerError(query)
        with self._one_at_a_time:
            return _json(self._tables.outlines(asked, asked.tables[table], (west, south, east, north)))

    def _scenes(self, _query: str, product: int) -> PageAnswer:
        return self._once(f"{product}", lambda: scenes_of(self._product(product)))

    def _values(self, query: str) -> PageAnswer:
        lon, lat = _place(query)
        return _json([values_at(product, self._files, lon, lat) for product in self._products])

    def _series_of(self, query: str, product: int) -> PageAnswer:
        return _json(self._series.at(self._product(product), *_place(query)))

    def _once(self, key: str, make: Callable[[], Any]) -> PageAnswer:
        """An answer that is made once: what is large is made for one request at a time."""
        with self._one_at_a_time:
            if key not in self._kept:
                try:
                    self._kept[key] = _json(make())
                except StorageError as error:
                    raise ViewError("its storage does not answer") from error
            return self._kept[key]


def library_file(name: str) -> bytes:
    """A file of Leaflet, as its package carries it. Raises ModuleNotFoundError without the package."""
    return (importlib.resources.files(LEAFLET) / "static" / LEAFLET / name).read_bytes()


def _place(query: str) -> tuple[float, float]:
    """The longitude, in -180..180, and the latitude that a query names. Raises NoAnswerError for any other query."""
    lon, lat = _numbers(query, "lon", "lat")
    if abs(lat) > MERCATOR_LATITUDE + 1:
        raise NoAnswerError(query)
    return (lon + 180.0) % 360.0 - 180.0 if abs(lon) > 180 else lon, lat


def _numbers(query: str, *names: str) -> list[float]:
    """The numbers that a query gives these names, and no others. Raises NoAnswerError for any other query."""
    try:
        asked = dict(parse_qsl(query, strict_parsing=True, max_num_fields=len(names)))
        found = [float(asked[name]) for name in names]
    except (ValueError, KeyError) as error:
        raise NoAnswerError(query) from error
    if not all(math.isfinite(each) and abs(each) <= LARGEST_NUMBER for each in found):
        raise NoAnswerError(query)
    return found


def _json(plain: Any) -> PageAnswer:
    return PageAnswer(body=json.dumps(plain, ensure_ascii=True, allow_nan=False).encode(), media=JSON)
