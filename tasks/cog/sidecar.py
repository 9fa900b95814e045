"""The class names of a GeoTIFF in an `.aux.xml` file next to it, from which GDAL and QGIS read them.

A GeoTIFF has no field for class names: GDAL reads category names and attribute tables of GTiff and COG files only from
this sidecar. The GeoTIFF itself holds them too, as metadata items `CLASS_<value>` of its band.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilewright.tasks.colours import rgb

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.cog.spec import CogSpec


# Source: GDAL 3.10 gdal.h, enums GDALRATFieldType and GDALRATFieldUsage.
INTEGER, STRING = 0, 2

MIN_MAX, NAME, RED, GREEN, BLUE = 5, 2, 6, 7, 8

COLUMNS = (
    ("value", INTEGER, MIN_MAX),
    ("name", STRING, NAME),
    ("red", INTEGER, RED),
    ("green", INTEGER, GREEN),
    ("blue", INTEGER, BLUE),
)


def write_sidecar(path: Path, spec: CogSpec) -> Path:
    """The path of the written `<path>.aux.xml`, with the class names as a list by value and as an attribute table."""
    sidecar = path.with_name(path.name + ".aux.xml")
    sidecar.write_bytes(sidecar_bytes(spec))
    return sidecar


def sidecar_bytes(spec: CogSpec) -> bytes:
    """The content of the sidecar of a layer's file."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    band.append(category_names(spec))
    band.append(_attribute_table(spec))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8") + b"\n"


def category_names(spec: CogSpec) -> ET.Element:
    """GDAL's list of class names for the values from 0 on; empty names for values without a class."""
    names = {entry.value: entry.name for entry in spec.classes}
    element = ET.Element("CategoryNames")
    for value in range(max(names) + 1):
        ET.SubElement(element, "Category").text = names.get(value, "")
    return element


def _attribute_table(spec: CogSpec) -> ET.Element:
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        ET.SubElement(column, "Name").text = name
        ET.SubElement(column, "Type").text = str(kind)
        ET.SubElement(column, "Usage").text = str(usage)
    for index, (entry, colour) in enumerate(zip(spec.classes, spec.colours, strict=True)):
        row = ET.SubElement(table, "Row", index=str(index))
        for cell in (entry.value, entry.name, *rgb(colour)):
            ET.SubElement(row, "F").text = str(cell)
    return table
