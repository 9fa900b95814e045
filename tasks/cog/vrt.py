"""The VRT (GDAL) that joins several COGs of one layer to one raster, with the colours and names of its classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pyproj import CRS

from tilewright.tasks.cog.sidecar import category_names
from tilewright.tasks.cog.staging import COG_TILE
from tilewright.tasks.colours import rgb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from affine import Affine

    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.cog.spec import CogSpec
    from tilewright.tasks.cog.write import CogFacts


# Source: GDAL 3.10 raster data model, names of GDALDataType.
GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}


def write_vrt(
    path: Path,
    parts: Sequence[tuple[CogPart, CogFacts]],
    *,
    transform: Affine,
    crs: str,
    spec: CogSpec,
    more: Sequence[CogSpec] = (),
) -> Path:
    """The path of the written VRT over parts in the same folder, by relative names; it uses the parts' overviews.

    `more` are the further bands of an image.
    """
    height, width = max(part.row_stop for part, _ in parts), max(part.col_stop for part, _ in parts)
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    system = CRS.from_user_input(crs)
    # GDAL needs the mapping: x comes first in the file, although the first axis of some CRSs is northing.
    mapping = "2,1" if system.axis_info[0].direction == "north" else "1,2"
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping=mapping).text = system.to_wkt("WKT2_2019")
    ET.SubElement(root, "GeoTransform").text = ", ".join(f"{number:.17g}" for number in transform.to_gdal())
    for number, each in enumerate((spec, *more), start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=GDAL_TYPES[each.dtype], band=str(number))
        _describe(band, each)
        for part, facts in parts:
            _add_source(band, part, facts.path.name, GDAL_TYPES[each.dtype], number)
    ET.indent(root)
    path.write_bytes(ET.tostring(root, encoding="utf-8") + b"\n")
    return path


def _describe(band: ET.Element, spec: CogSpec) -> None:
    fields: dict[str, str] = {"Description": spec.name, "UnitType": spec.unit}
    fields |= (
        {"Scale": f"{spec.scale:.17g}", "Offset": f"{spec.offset:.17g}"} if (spec.scale, spec.offset) != (1, 0) else {}
    )
    if spec.nodata is not None:
        fields["NoDataValue"] = "nan" if math.isnan(spec.nodata) else f"{spec.nodata:.17g}"
    for name, text in fields.items():
        if text:
            ET.SubElement(band, name).text = text
    ET.SubElement(band, "ColorInterp").text = "Palette" if spec.classes else "Gray"
    if spec.classes:
        band.append(_colour_table(spec))
        band.append(category_names(spec))


def _colour_table(spec: CogSpec) -> ET.Element:
    colours = {entry.value: rgb(colour) for entry, colour in zip(spec.classes, spec.colours, strict=True)}
    table = ET.Element("ColorTable")
    for value in range(256):
        red, green, blue = colours.get(value, (0, 0, 0))
        alpha = 0 if value == spec.nodata else 255
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
    return table


def _add_source(band: ET.Element, part: CogPart, name: str, kind: str, number: int) -> None:
    height, width = (str(side) for side in part.shape)
    source = ET.SubElement(band, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = name
    ET.SubElement(source, "SourceBand").text = str(number)
    size = {"RasterXSize": width, "RasterYSize": height, "BlockXSize": str(COG_TILE), "BlockYSize": str(COG_TILE)}
    ET.SubElement(source, "SourceProperties", {**size, "DataType": kind})
    size = {"xSize": width, "ySize": height}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", {"xOff": str(part.col_start), "yOff": str(part.row_start), **size})
