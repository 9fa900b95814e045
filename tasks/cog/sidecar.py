"""The names of classes where GDAL, and so QGIS, looks for them: the `.aux.xml` beside a GeoTIFF.

A GeoTIFF has no field for them: GDAL keeps category names and attribute tables of GTiff and COG files only there.
The file itself carries them too, as metadata items `CLASS_<value>` of its band.
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
    """`<path>.aux.xml` with the class names of the layer, by value and as an attribute table."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    band.append(category_names(spec))
    band.append(_attribute_table(spec))
    ET.indent(root)
    sidecar = path.with_name(path.name + ".aux.xml")
    sidecar.write_bytes(ET.tostring(root, encoding="utf-8") + b"\n")
    return sidecar


def category_names(spec: CogSpec) -> ET.Element:
    """GDAL's list of names by value from 0 on, empty where no class has the value."""
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
