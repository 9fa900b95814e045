"""Tables of geometries as GeoParquet, written row group by row group, and the curve along which their rows lie.

Source: GeoParquet 1.1.0, https://geoparquet.org/releases/v1.1.0/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely

from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

GEOMETRY, BBOX = "geometry", "bbox"
"""Columns of every table: WKB, and its bounds, by which readers skip row groups."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")

WORDS = {
    "POINT": "Point", "LINESTRING": "LineString", "POLYGON": "Polygon", "MULTIPOINT": "MultiPoint",
    "MULTILINESTRING": "MultiLineString", "MULTIPOLYGON": "MultiPolygon", "GEOMETRYCOLLECTION": "GeometryCollection",
}  # fmt: skip
"""GEOS's types of geometries, and their names in GeoParquet."""

BITS = 31
"""Bits of a coordinate on the curve; two of them fit 64."""

ROWS_PER_GROUP = 20_000
"""Rows of a row group: some megabytes, and few enough to leave most of them out of a look at one place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a table: WKB, or `packed_geometries`, bounds (row, 4) in the order of CORNERS, other columns by name."""

    geometry: Sequence[bytes | None]
    bounds: np.ndarray
    columns: Mapping[str, Sequence[Any] | np.ndarray]


def packed_geometries(stored: np.ndarray, begins: np.ndarray) -> Any:
    """The geometries of Rows whose WKB lies one after another in uint8 from these places on, and ends at the last."""
    pa = pyarrow()
    buffers = [None, pa.py_buffer(begins.astype(np.int32)), pa.py_buffer(stored)]
    return pa.Array.from_buffers(pa.binary(), len(begins) - 1, buffers)


def write_geoparquet(
    path: Path,
    rows: Iterable[Rows],
    *,
    columns: Mapping[str, Any],
    crs: str,
    kinds: tuple[str, ...],
    bounds: np.ndarray,
    metadata: Mapping[str, str] | None = None,
    required: Collection[str] = (),
    plain: Collection[str] = (),
) -> None:
    """Write rows to a file, a row group each. `columns` are the types, pyarrow's or as it names them, of those beside
    geometry and bbox; `kinds` are the types of geometries that occur ("Polygon", ...), `bounds` those of all together,
    in `crs`. `metadata` beside that of GeoParquet; columns that are `required` hold no nulls,
    and those that are `plain` no value twice: they are stored without a dictionary, in a quarter of the time.
    """
    pa = pyarrow()
    box = pa.struct([(corner, pa.float64()) for corner in CORNERS])
    types = {name: pa.type_for_alias(kind) if isinstance(kind, str) else kind for name, kind in columns.items()}
    types |= {GEOMETRY: pa.binary(), BBOX: box}
    schema = pa.schema([pa.field(name, kind, nullable=name not in required) for name, kind in types.items()])
    schema = schema.with_metadata({"geo": json.dumps(_geo(crs, kinds, bounds), sort_keys=True), **(metadata or {})})
    leaves = [name for name in types if name not in {*plain, BBOX}] + [f"{BBOX}.{corner}" for corner in CORNERS]
    coding: dict[str, Any] = {"use_dictionary": leaves} if plain else {}
    with pa.parquet.ParquetWriter(path, schema, compression="zstd", write_statistics=True, **coding) as writer:
        for group in rows:
            writer.write_table(_table(group, schema), row_group_size=ROWS_PER_GROUP)


def whole_table(table: Any, geometries: np.ndarray, *, crs: str) -> Any:
    """A pyarrow table with a column of shapely geometries, None for none, as GeoParquet holds it."""
    pa = pyarrow()
    geometries = shapely.orient_polygons(geometries)
    without, bounds = shapely.is_missing(geometries), shapely.bounds(geometries)
    corners = [pa.array(bounds[:, number]) for number in range(4)]
    covering = pa.StructArray.from_arrays(corners, names=CORNERS, mask=pa.array(without | np.isnan(bounds).any(axis=1)))
    table = table.append_column(GEOMETRY, pa.array(shapely.to_wkb(geometries, byte_order=1).tolist(), type=pa.binary()))
    found = shapely.total_bounds(geometries) if len(geometries) else np.full(4, np.nan)
    geo = json.dumps(_geo(crs, tuple(kinds_of(geometries)), found), sort_keys=True)
    return table.append_column(BBOX, covering).replace_schema_metadata({"geo": geo})


def write_whole_table(path: Path, table: Any) -> None:
    """Write what ``whole_table`` returns, in the order of its rows."""
    pyarrow().parquet.write_table(table, path, compression="zstd", write_statistics=True, row_group_size=ROWS_PER_GROUP)


def _table(rows: Rows, schema: Any) -> Any:
    pa = pyarrow()
    corners = [pa.array(rows.bounds[:, number]) for number in range(4)]
    covering = pa.StructArray.from_arrays(corners, names=CORNERS)
    columns = {**rows.columns, GEOMETRY: rows.geometry}
    arrays = {name: pa.array(values, type=schema.field(name).type) for name, values in columns.items()}
    return pa.table({**arrays, BBOX: covering}, schema=schema)


def _geo(crs: str, kinds: tuple[str, ...], bounds: np.ndarray) -> dict[str, Any]:
    covering = {corner: [BBOX, corner] for corner in CORNERS}
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(kinds),
        "crs": pyproj.CRS.from_user_input(crs).to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": covering},
    }
    if np.isfinite(bounds).all():
        column["bbox"] = [float(number) for number in bounds]
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def kinds_of(geometries: np.ndarray) -> set[str]:
    """The types of geometries, by their names in GeoParquet."""
    names = {number.value: number.name for number in shapely.GeometryType}
    return {WORDS[names[int(number)]] for number in np.unique(shapely.get_type_id(geometries)) if number >= 0}


def xy_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X and y of shapely points (n,), NaN for none and for an empty one, of which GEOS says so by an error."""
    held = np.array(points, dtype=object)
    held[shapely.is_empty(held)] = None
    return shapely.get_x(held), shapely.get_y(held)


def hilbert_places(cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The places on a Hilbert curve, int64, of absolute columns and rows, integers within 2**30 of 0.

    Rows in their order lie near each other on the map, in any cut of it.

    Source: J. Skilling, Programming the Hilbert curve, AIP Conference Proceedings 707, 2004, for two dimensions.
    """
    x, y = (np.asarray(each, dtype=np.int64) + (1 << (BITS - 1)) for each in (cols, rows))
    assert ((x | y) >> BITS == 0).all(), "absolute pixels are within 2**30 of 0"
    place = np.zeros(x.shape, dtype=np.int64)
    for bit in reversed(range(BITS)):
        right, below = (x >> bit) & 1, (y >> bit) & 1
        place = (place << 2) | ((3 * right) ^ below)
        # The quarter's own curve begins and ends where its neighbours' do: turned, and mirrored, where needed.
        turned = below == 0
        mirrored = turned & (right == 1)
        low = (1 << bit) - 1
        x, y = x & low, y & low
        x, y = np.where(mirrored, low - x, x), np.where(mirrored, low - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
    return place
