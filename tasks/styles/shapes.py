"""The style of a table of shapes: an outline in the colour of its class, and nothing inside that hides the map."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilewright.tasks.colours import CLASS_COLOURS, rgb
from tilewright.tasks.styles.document import label, options, style_document, with_alpha

if TYPE_CHECKING:
    from tilewright.tasks.cog.spec import CogSpec

ATTRIBUTE = "value"
"""The column that holds the class of a row."""

COMMON = {"symbollevels": "0", "enableorderby": "0", "forceraster": "0"}

WIDTH_MM = "0.46"

FAINT = 26
"""Opacity of the colour inside, of 255: enough to tell inside from outside."""


def shapes_style(spec: CogSpec) -> bytes:
    """The style of the shapes of a layer: by the values of its classes, or all alike for one without classes."""
    return style_document(_by_class(spec) if spec.classes else _alike())


def _alike() -> ET.Element:
    renderer = ET.Element("renderer-v2", {"type": "singleSymbol", **COMMON})
    ET.SubElement(renderer, "symbols").append(_outline("0", rgb(CLASS_COLOURS[0])))
    return renderer


def _by_class(spec: CogSpec) -> ET.Element:
    renderer = ET.Element("renderer-v2", {"type": "categorizedSymbol", "attr": ATTRIBUTE, **COMMON})
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, (entry, colour) in enumerate(zip(spec.classes, spec.colours, strict=True)):
        values = {"value": str(entry.value), "type": "long", "label": label(entry.name), "symbol": str(number)}
        ET.SubElement(categories, "category", {**values, "render": "true"})
        symbols.append(_outline(str(number), rgb(colour)))
    return renderer


def _outline(name: str, channels: tuple[int, int, int]) -> ET.Element:
    symbol = ET.Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    fill = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    fill.append(
        options(
            {
                "color": with_alpha(channels, FAINT),
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
