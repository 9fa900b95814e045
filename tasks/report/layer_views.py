"""The layers as the report shows them: kind, classes with their areas, ends of the colour ramp, picture."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tilewright.tasks.colours import GROUND, OBJECT_COLOURS, UNSEEN, class_colours, rgb, slanted_lines
from tilewright.tasks.report.fields import mapping, numbers, rows, text
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.tasks.report.fields import Fields


LONGEST_SIDE = 2048
"""Pixels on the longer side of an embedded picture: enough for a large screen, in a file small enough for mail."""


THINGS = "things"
"""The kind of a picture that is no layer of the product: a map of a table's shapes. It has no areas and no values."""


IDS = "id"
"""The kind of a layer of ids of objects, which have no mean and no range."""

AREAS = ("total", "least", "median", "mean", "most")
"""What is told of the areas of objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class of a layer with its colour on the map; a figure is None if the report does not hold it."""

    value: str
    name: str
    colour: str
    pixels: float | None
    area_km2: float | None
    percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerView:
    """One layer as the report shows it.

    `ends` are the values at the two ends of the colour ramp, None for classes. `image` is a data: URI, empty for a
    layer without a picture. `objects` are those of a layer of ids: how many (`count`), and areas in square metres.
    """

    name: str
    title: str
    kind: str
    unit: str
    description: str
    classes: tuple[ClassRow, ...]
    ends: tuple[float, float] | None
    lowest: float | None
    highest: float | None
    mean: float | None
    nodata_percent: float | None
    image: str
    objects: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def named_colours(self) -> list[tuple[str, str]]:
        """The colours ("#rrggbb") of its picture that stand for something, and for what."""
        if self.kind == IDS:
            return [(GROUND, "nothing found"), *((colour, "object") for colour in OBJECT_COLOURS)]
        return [(row.colour, row.name) for row in self.classes]

    @property
    def decimals(self) -> int:
        """Decimals of the areas, the same for all classes: the largest area shows three digits."""
        largest = max((row.area_km2 or 0 for row in self.classes), default=0)
        return next((decimals for decimals, above in ((0, 1000), (1, 100), (2, 1), (3, 0.1)) if largest >= above), 4)

    @property
    def found(self) -> tuple[ClassRow, ...]:
        """Classes that cover at least one pixel, the largest first; every class if areas are not known."""
        known = [row for row in self.classes if row.pixels != 0 and row.area_km2 != 0]
        return tuple(sorted(known, key=lambda row: -(row.area_km2 or row.percent or row.pixels or 0)))

    @property
    def empty(self) -> tuple[ClassRow, ...]:
        """Classes that the model knows and that cover no pixel."""
        return tuple(row for row in self.classes if row.pixels == 0 or row.area_km2 == 0)


def layer_views(report: Fields, maps: Mapping[str, NDArray[np.uint8]]) -> tuple[LayerView, ...]:
    """The layers of the report in its order; those that have only a picture behind them, or before them if they are so
    in ``maps``.
    """
    listed = rows(report, "layers")
    names = {text(layer, "name") for layer in listed}
    tables = {text(table, "name"): table.get("classes") for table in rows(report, "tables")}
    first = next((place for place, name in enumerate(maps) if name in names), 0)
    others: list[Fields] = [{"name": name, "classes": tables.get(name), "kind": THINGS} for name in maps]
    before, behind = ([each for each in part if each["name"] not in names] for part in (others[:first], others[first:]))
    return tuple(_layer_view(layer, maps.get(text(layer, "name"))) for layer in [*before, *listed, *behind])


def _layer_view(layer: Fields, picture: NDArray[np.uint8] | None) -> LayerView:
    name, unit = text(layer, "name") or "unnamed", text(layer, "unit")
    classes, lowest, highest = _class_rows(layer), number(layer.get("min")), number(layer.get("max"))
    kind = text(layer, "kind") or ("class" if classes else "percent" if unit in {"%", "percent"} else "value")
    ends = numbers(layer, "display", 2)
    if not ends and kind == "percent":
        ends = (0.0, 100.0)
    elif not ends and lowest is not None and highest is not None:
        ends = (lowest, highest)
    return LayerView(
        name=name,
        title=name.replace("_", " "),
        kind=kind,
        unit="%" if kind == "percent" else "" if unit == "1" else unit,
        description=text(layer, "description"),
        classes=classes,
        ends=(ends[0], ends[1]) if ends and kind not in {"class", IDS} else None,
        lowest=lowest,
        highest=highest,
        mean=number(layer.get("mean")),
        nodata_percent=number(layer.get("nodata_percent")),
        image="" if picture is None else map_uri(with_unseen(picture)),
        objects=_objects(mapping(layer, "objects")) if kind == IDS else {},
    )


def _objects(told: Fields) -> dict[str, float | None]:
    areas = mapping(told, "area_m2")
    return {"count": number(told.get("count")), **{name: number(areas.get(name)) for name in AREAS}}


def _class_rows(layer: Fields) -> tuple[ClassRow, ...]:
    listed = rows(layer, "classes")
    colours = class_colours([text(entry, "color") or None for entry in listed])
    return tuple(
        ClassRow(
            value=text(entry, "value"),
            name=text(entry, "name") or f"class {text(entry, 'value')}",
            colour=colour,
            pixels=number(entry.get("pixels")),
            area_km2=number(entry.get("area_km2")),
            percent=number(entry.get("percent")),
        )
        for entry, colour in zip(listed, colours, strict=True)
    )


def with_unseen(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The RGBA picture (y, x, 4), thinned to be embedded, with lines of the colour `UNSEEN` where it is transparent."""
    shown = np.array(_subsampled(picture))
    lines = slanted_lines(*shown.shape[:2], apart=4, thick=1)
    shown[lines & (shown[..., 3] == 0)] = (*rgb(UNSEEN), 255)
    return shown


def map_uri(picture: NDArray[np.uint8]) -> str:
    """A PNG data: URI of an RGBA picture (y, x, 4) with exact colours; indexed if it has at most 256 colours."""
    shown = np.ascontiguousarray(_subsampled(picture))
    colours, index = np.unique(shown.view(np.uint32).reshape(shown.shape[:2]), return_inverse=True)
    if colours.size > 256:
        return _data_uri(Image.fromarray(shown), "PNG", compress_level=6)
    table = colours.view(np.uint8).reshape(-1, 4)
    image = Image.frombytes("P", (shown.shape[1], shown.shape[0]), index.astype(np.uint8).tobytes())
    image.putpalette(table[:, :3].tobytes(), "RGB")
    return _data_uri(image, "PNG", compress_level=6, transparency=table[:, 3].tobytes())


def scene_uri(picture: NDArray[np.uint8]) -> str:
    """A WebP data: URI of a true-colour picture (y, x, 3); pixels of (0, 0, 0) are transparent."""
    shown = _subsampled(picture)
    alpha = np.where(shown.any(axis=-1), 255, 0).astype(np.uint8)
    return _data_uri(Image.fromarray(np.dstack([shown, alpha])), "WEBP", quality=88, method=4)


def _subsampled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Every n-th pixel, not an average: an averaged class colour would be the colour of no class.
    stride = max(1, math.ceil(max(picture.shape[:2]) / LONGEST_SIDE))
    return picture[stride // 2 :: stride, stride // 2 :: stride]


def _data_uri(image: Image.Image, encoding: str, **options: object) -> str:
    encoded = io.BytesIO()
    image.save(encoded, format=encoding, **options)
    return f"data:image/{encoding.lower()};base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
