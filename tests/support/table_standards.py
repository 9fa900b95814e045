"""What GeoParquet 1.1 and fiboa 0.2 ask of a file, as their specifications say it, for tests to hold tables against.

Sources: https://geoparquet.org/releases/v1.1.0/ and https://github.com/fiboa/specification/tree/v0.2.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

SHAPE = "^(GeometryCollection|(Multi)?(Point|LineString|Polygon))( Z)?$"


def corner(name: str) -> dict[str, Any]:
    """The path of a column of the covering: of two names, the last one the corner's."""
    return {"type": "array", "items": [{"type": "string"}, {"const": name}], "minItems": 2, "additionalItems": False}


ENCODINGS = ("WKB", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon")

COLUMN = {
    "type": "object",
    "required": ["encoding", "geometry_types"],
    "properties": {
        "encoding": {"enum": [*ENCODINGS]},
        "geometry_types": {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": SHAPE}},
        "crs": {"type": ["object", "null"]},
        "edges": {"enum": ["planar", "spherical"]},
        "orientation": {"const": "counterclockwise"},
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "epoch": {"type": "number"},
        "covering": {
            "type": "object",
            "required": ["bbox"],
            "properties": {
                "bbox": {
                    "type": "object",
                    "required": ["xmin", "xmax", "ymin", "ymax"],
                    "properties": {name: corner(name) for name in ("xmin", "xmax", "ymin", "ymax")},
                }
            },
        },
    },
}  # fmt: skip

GEO = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["version", "primary_column", "columns"],
    "properties": {
        "version": {"const": "1.1.0"},
        "primary_column": {"type": "string", "minLength": 1},
        "columns": {"type": "object", "minProperties": 1, "additionalProperties": COLUMN},
    },
}
"""The metadata "geo"."""

FIBOA: dict[str, tuple[pa.DataType, bool]] = {
    "id": (pa.string(), False),
    "geometry": (pa.binary(), False),
    "area": (pa.float32(), True),
    "perimeter": (pa.float32(), True),
    "determination_datetime": (pa.timestamp("ms", tz="UTC"), True),
    "determination_method": (pa.string(), True),
}
"""Columns with their types, and whether they may hold nulls."""


def assert_geoparquet(path: Path) -> Any:
    """Check a file against GeoParquet 1.1: its metadata, and its rows against these. Returns its pyarrow table."""
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    jsonschema.Draft7Validator(GEO).validate(geo)
    name = geo["primary_column"]
    column = geo["columns"][name]
    pyproj.CRS.from_json_dict(column["crs"])
    assert table.schema.field(name).type == pa.binary()
    shapes = shapely.from_wkb(table[name].to_numpy(zero_copy_only=False))
    there = shapes[~shapely.is_missing(shapes)]
    assert {each.geom_type for each in there} <= {*column["geometry_types"]}
    assert all(shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(there))))
    holder, corners = column["covering"]["bbox"]["xmin"][0], ("xmin", "ymin", "xmax", "ymax")
    for box, shape in zip(table[holder].to_pylist(), shapes, strict=True):
        assert (box is None) == (shape is None)
        assert box is None or tuple(box[name] for name in corners) == shape.bounds
    if len(there):
        assert tuple(column["bbox"]) == tuple(shapely.total_bounds(there))
    return table


def assert_fiboa(path: Path) -> Any:
    """Check a file against fiboa 0.2, and GeoParquet. Returns its pyarrow table."""
    table = assert_geoparquet(path)
    assert json.loads(table.schema.metadata[b"fiboa"])["fiboa_version"] == "0.2.0"
    for name, (kind, nullable) in FIBOA.items():
        field = table.schema.field(name)
        assert (field.type, field.nullable) == (kind, nullable), name
    ids = table["id"].to_pylist()
    assert len({*ids}) == len(ids)
    assert all(ids)
    for name, most in (("area", 100_000), ("perimeter", 125_000)):
        assert all(each is None or 0 < each <= most for each in table[name].to_pylist()), name
    assert {*table["determination_method"].to_pylist()} <= {"auto-imagery"}
    return table
