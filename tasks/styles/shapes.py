"""The style of a table of shapes: an outline in the colour of its class, and nothing inside that hides the map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilewright.tasks.colours import CLASS_COLOURS, RAMP_STOPS, rgb
from tilewright.tasks.styles.document import label, options, style_document, with_alpha

if TYPE_CHECKING:
    from tilewright.tasks.cog.spec import CogSpec

ATTRIBUTE = "value"
"""The column that holds the class of a row."""

COMMON = {"symbollevels": "0", "enableorderby": "0", "forceraster": "0"}

WIDTH_MM = "0.46"

FAINT = 26
"""Opacity of the colour inside, of 255: enough to tell inside from outside."""


PARTS = RAMP_STOPS[::2]
"""Colours of the parts into which a range of values is cut."""

RIM = "35,35,35,255"
"""The colour of the rim of points, which tells light ones from a light map."""

SIZE_MM = "2.6"
"""Of points."""

HALF = 128
"""Opacity of the colour inside of shapes that a value colours."""


def shapes_style(spec: CogSpec, *, attribute: str = ATTRIBUTE, points: bool = False) -> bytes:
    """The style of the shapes of a layer: by the values of its classes in a column, or all alike for one without.

    `points`: they are points, and not areas.
    """
    return style_document(_by_class(spec, attribute, points=points) if spec.classes else _alike(points=points))


def graduated_style(column: str, ends: tuple[float, float], *, points: bool = False) -> bytes:
    """The style of shapes by the values of a column, whose range between two ends is cut into equal parts."""
    low, high = ends
    high = high if high > low else low + 1.0
    assert math.isfinite(high - low), "the ends are numbers"
    edges = [low + (high - low) * number / len(PARTS) for number in range(len(PARTS) + 1)]
    settings = {"type": "graduatedSymbol", "attr": column, "graduatedMethod": "GraduatedColor", **COMMON}
    renderer = ET.Element("renderer-v2", settings)
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    for number, colour in enumerate(PARTS):
        below, above = edges[number], edges[number + 1]
        values = {"lower": repr(below), "upper": repr(above), "label": f"{below:.4g} - {above:.4g}"}
        ET.SubElement(ranges, "range", {**values, "symbol": str(number), "render": "true"})
        symbols.append(_symbol(str(number), rgb(colour), points=points, inside=HALF))
    ET.SubElement(renderer, "classificationMethod", id="EqualInterval")
    return style_document(renderer)


def _alike(*, points: bool) -> ET.Element:
    renderer = ET.Element("renderer-v2", {"type": "singleSymbol", **COMMON})
    ET.SubElement(renderer, "symbols").append(_symbol("0", rgb(CLASS_COLOURS[0]), points=points))
    return renderer


def _by_class(spec: CogSpec, attribute: str, *, points: bool) -> ET.Element:
    renderer = ET.Element("renderer-v2", {"type": "categorizedSymbol", "attr": attribute, **COMMON})
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, (entry, colour) in enumerate(zip(spec.classes, spec.colours, strict=True)):
        values = {"value": str(entry.value), "type": "long", "label": label(entry.name), "symbol": str(number)}
        ET.SubElement(categories, "category", {**values, "render": "true"})
        symbols.append(_symbol(str(number), rgb(colour), points=points))
    return renderer


def _symbol(name: str, channels: tuple[int, int, int], *, points: bool, inside: int = FAINT) -> ET.Element:
    return _dot(name, channels) if points else _outline(name, channels, inside=inside)


def _dot(name: str, channels: tuple[int, int, int]) -> ET.Element:
    symbol = ET.Element("symbol", type="marker", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    marker = ET.SubElement(symbol, "layer", {"class": "SimpleMarker", "enabled": "1", "locked": "0", "pass": "0"})
    settings = {"name": "circle", "color": with_alpha(channels), "outline_color": RIM, "outline_style": "solid"}
    marker.append(options({**settings, "outline_width": "0.2", "size": SIZE_MM, "size_unit": "MM"}))
    return symbol


def _outline(name: str, channels: tuple[int, int, int], *, inside: int = FAINT) -> ET.Element:
    symbol = ET.Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    fill = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    fill.append(
        options(
            {
                "color": with_alpha(channels, inside),
                "style": "solid",
                "joinstyle": "miter",
                "outline_color": with_alpha(channels),
                "outline_style": "solid",
                "outline_width": WIDTH_MM,
                "outline_width_unit": "MM",
            }
        )
    )
    return symbol
