"""A style of QGIS as a file: XML that is the same for the same style, whatever names it holds.

Source: QGIS 3.22, QgsMapLayer::exportNamedStyle; https://docs.qgis.org/3.22/en/docs/user_manual/appendices/qgis_file_formats.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilewright.catalogs.fields import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "3.22.0"
"""The version of QGIS whose words are used; later ones read them too."""

HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

OURS = HEAD + b"<!-- Written by Tilewright -->\n"
"""The beginning of our files. QGIS writes none of it: a style that a user saved in place of ours is told from it."""

OPAQUE = 255


def style_document(*parts: ET.Element) -> bytes:
    """The file of a style with these parts."""
    root = ET.Element("qgis", version=VERSION, styleCategories="Symbology|Rendering")
    root.extend(parts)
    root.append(leaf("blendMode", "0"))
    ET.indent(root)
    return OURS + ET.tostring(root, encoding="utf-8") + b"\n"


def leaf(name: str, text: str) -> ET.Element:
    """An element of text alone."""
    element = ET.Element(name)
    element.text = text
    return element


def label(name: str) -> str:
    """A name of others as XML can hold it: what cannot be seen is written as its escape, and what no text may hold."""
    return visible(name).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def options(values: Mapping[str, str]) -> ET.Element:
    """Settings by name, in the order of their names."""
    element = ET.Element("Option", type="Map")
    for name, value in sorted(values.items()):
        ET.SubElement(element, "Option", name=name, type="QString", value=value)
    return element


def with_alpha(channels: tuple[int, int, int], alpha: int = OPAQUE) -> str:
    """A colour as settings have it: "31,111,181,255"."""
    return ",".join(str(channel) for channel in (*channels, alpha))
