"""The page on which a sample is labelled in a browser: one file, which loads no other and keeps what is labelled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.design.estimate import DesignError
from tilewright.tasks.audit.design.strata import class_names
from tilewright.tasks.audit.design.table import DESIGN, ID, OWN
from tilewright.tasks.colours import class_colours
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.report.layer_views import map_uri
from tilewright.tasks.report.render import csp_hash, page_environment, script_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.tables.vector_file import GeometryTable
    from tilewright.tasks.zones.layers import ProductLayer

CHIP = 63
"""Pixels along a side of a place's picture, with that of the place in the middle."""

MOST_PLACES = 2_000
"""Places of a page at most: each brings about 20 kB of pictures per date."""

KEY = "tilewright-labels-"
"""How the key begins under which a page keeps labels."""

NO_NAMES = frozenset({"true", "false", "nan", "inf", "infinity", "null", "none", "na", "n/a"})
"""Names that a column of a CSV may be taken for something else by."""

DECIMALS = 7
"""Of degrees: a centimetre, as RFC 7946 recommends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What a page is told of its product: names as others wrote them, and the colours of classes, "" for none."""

    product: str
    period: str
    attribution: str
    colours: tuple[str | None, ...]


def check_places(n: int) -> None:
    """Check that a page takes ``n`` places. Raises DesignError."""
    if n > MOST_PLACES:
        raise DesignError(f"A page takes at most {MOST_PLACES:,} places: ask for fewer, or leave --page out.")


def chip_boxes(table: GeometryTable, resolution: float) -> list[PixelBox]:
    """The pixels around each point of a sample, `CHIP` along a side, which may reach beyond the product.

    Raises DesignError for more than `MOST_PLACES` points.
    """
    check_places(len(table.geometries))
    half = CHIP // 2
    cells = [(int(np.floor(-point.y / resolution)), int(np.floor(point.x / resolution))) for point in table.geometries]
    return [PixelBox.at(row - half, col - half, shape=(CHIP, CHIP)) for row, col in cells]


def labelling_page(
    table: GeometryTable,
    layer: ProductLayer,
    grid: Grid,
    *,
    facts: PageFacts,
    mapped: Sequence[int],
    dates: Sequence[str],
    pictures: Iterable[Sequence[np.ndarray | None]],
) -> str:
    """The page of a sample as one HTML text; every text in it is treated as hostile.

    ``mapped`` are the values of the map at the places, which the page shows only to whoever asks for them. ``pictures``
    gives for each place one (y, x, 3) uint8 per date, or None.
    Raises DesignError for a layer without classes, whose places are labelled elsewhere.
    """
    if not layer.classes:
        raise DesignError(f"The layer {layer.name} has no classes to choose from: label its places in another program.")
    names = class_names(layer)
    rows = table.columns.to_pylist()
    lon, lat = _degrees(table, grid)
    places: list[dict[str, Any]] = [
        {
            "row": {name: row[name] for name in OWN},
            "lon": lon[number],
            "lat": lat[number],
            "mapped": names.get(mapped[number], f"value {mapped[number]}"),
            "chips": ["" if each is None else map_uri(opaque(each)) for each in shown],
        }
        for number, (row, shown) in enumerate(zip(rows, pictures, strict=True))
    ]
    colours = class_colours(facts.colours)
    given = [name for _, name in layer.classes]
    plain = all(_is_plain(name) for name in given) and len({*given}) == len(given)
    data = {
        "key": _key(places, layer.name),
        "layer": layer.name,
        "side": CHIP,
        "dates": list(dates),
        "named": "" if plain else f"{layer.name}_name",
        "columns": list(OWN),
        "classes": [
            {"name": name, "colour": colour, "told": name if plain else value}
            for (value, name), colour in zip(names.items(), colours, strict=True)
        ],
        "places": places,
    }
    environment = page_environment()
    script = environment.get_template("labelling.js").render()
    return environment.get_template("labelling.html.j2").render(
        facts=facts,
        n=len(places),
        design=rows[0][DESIGN] if rows else "",
        pictured=any(each for place in places for each in place["chips"]),
        data=script_json(data),
        script=script,
        script_hash=csp_hash(script),
    )


def _degrees(table: GeometryTable, grid: Grid) -> tuple[list[float], list[float]]:
    x, y = (np.array([getattr(point, axis) for point in table.geometries]) for axis in "xy")
    lon, lat = transformer(grid.crs, "OGC:CRS84").transform(x, y)
    return np.round(lon, DECIMALS).tolist(), np.round(lat, DECIMALS).tolist()


def _is_plain(name: str) -> bool:
    """True for a name that every format gives back as this text: the column of labels holds names then, else values."""
    return name[:1].isalpha() and name.isprintable() and name == name.strip() and name.casefold() not in NO_NAMES


def opaque(picture: np.ndarray) -> np.ndarray:
    """A picture (y, x, 3) uint8 as RGBA, transparent where it is black: no scene was there."""
    alpha = np.where(picture.any(axis=-1), np.uint8(255), np.uint8(0))
    return np.dstack([picture, alpha])


def _key(places: Sequence[dict[str, Any]], layer: str) -> str:
    """By it a browser finds what was labelled before: the same sample has the same one, wherever its page lies."""
    told = [layer, *([place["row"][ID], place["lon"], place["lat"], place["row"][DESIGN]] for place in places)]
    return f"{KEY}{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]}"
