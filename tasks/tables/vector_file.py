"""A file of geometries and their columns: GeoParquet, GeoJSON, FlatGeobuf, GeoPackage or Shapefile."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from shapely.lib import GEOSException

from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNATURES = {
    ".gpkg": ("GPKG", b"SQLite format 3\x00"),
    ".shp": ("ESRI Shapefile", b"\x00\x00\x27\x0a"),
    ".fgb": ("FlatGeobuf", b"fgb\x03"),
    ".geojson": ("GeoJSON", b"{"),
    ".json": ("GeoJSON", b"{"),
}
"""GDAL's driver and the file's first bytes, by suffix: GDAL would otherwise choose one of its drivers by content."""

PARQUET = (".parquet", ".geoparquet")

READ = ".parquet, .geojson, .json, .fgb, .gpkg and .shp"

MOST_BYTES = 2**29
"""Bytes of a file, and of its geometries in memory."""

MOST_ROWS = 2_000_000

MOST_VERTICES = 20_000_000

ROWS_AT_ONCE = 256
"""Rows of Parquet that are unpacked before their size is looked at: a small file may hold one large geometry often."""


VALUES_AT_ONCE = 2**16
"""Values of a column that are looked at together."""


class VectorFileError(ValueError):
    """A file that is refused; the message names it, says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryTable:
    """Rows of a file called ``name``: shapely ``geometries`` (row,), None for none, and a pyarrow table of the others.

    ``crs`` is WKT, x before y.
    """

    name: str
    geometries: np.ndarray
    columns: Any
    crs: str


def read_geometry_table(path: Path, *, columns: bool = True) -> GeometryTable:
    """The rows of a file; ``fields.gpkg#parcels`` names a layer of it. Without ``columns``: the geometries alone.

    GeoJSON without a member crs is longitude, latitude (RFC 7946).

    Raises VectorFileError for a file that is missing, too large, damaged, of no format that is read, or without a CRS.
    """
    path, layer = path_and_layer(path)
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VectorFileError(f"The file {path} cannot be read: {reason}.") from error
    if suffix not in {*SIGNATURES, *PARQUET} or not path.is_file():
        hint = " A CSV says neither shapes nor their CRS: export one of those." if suffix == ".csv" else ""
        raise VectorFileError(f"{path} cannot be read as a table of shapes: read are {READ}.{hint}")
    if size > MOST_BYTES:
        raise VectorFileError(f"{path} is larger than {MOST_BYTES // 2**20} MiB: cut it into several.")
    if suffix in PARQUET and layer is not None:
        raise VectorFileError(f"{path}#{layer}: only a GeoPackage has layers, give the file alone.")
    return _parquet_table(path, columns=columns) if suffix in PARQUET else _gdal_table(path, layer, columns=columns)


def path_and_layer(path: Path) -> tuple[Path, str | None]:
    """The file of ``fields.gpkg#parcels`` and the layer, None where none is named.

    A path may hold ``#`` itself: where there is such a file, nothing is a layer.
    """
    name, sign, layer = str(path).rpartition("#")
    try:
        whole = path.exists()
    except (OSError, ValueError):
        whole = False
    return (type(path)(name), layer) if sign and name and not whole else (path, None)


def _gdal_table(path: Path, layer: str | None, *, columns: bool) -> GeometryTable:
    import pyogrio  # noqa: PLC0415 -- GDAL's vector part is needed for these files alone

    driver, opening = SIGNATURES[path.suffix.lower()]
    with path.open("rb") as file:
        start = file.read(256)
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n" if opening == b"{" else b"").startswith(opening):
        raise VectorFileError(f"{path.name} is no {driver}, as its first bytes show: export it again.")
    try:
        layer = _chosen_layer(path, layer)
        facts = pyogrio.read_info(path, layer=layer, force_feature_count=True)
        if facts["driver"] != driver:
            raise VectorFileError(f"{path.name} is no {driver} but {facts['driver']}: export it again.")
        if facts["features"] > MOST_ROWS:
            raise VectorFileError(_too_many(path))
        # GDAL 3.12's own way gives rows without a geometry one of a negative size; what all formats share does not.
        pyogrio.set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": "YES"})
        meta, table = pyogrio.read_arrow(path, layer=layer, columns=None if columns else [])
    except (RuntimeError, ValueError, TypeError, SystemError) as error:
        if isinstance(error, VectorFileError):
            raise
        raise VectorFileError(f"{path.name} cannot be read as {driver}: {str(error)[:200]}.") from error
    name = meta["geometry_name"] or "wkb_geometry"
    if name not in table.column_names:
        raise VectorFileError(f"{path.name} holds no geometries: give a file of shapes.")
    return _table(path, table.drop_columns([name]), _unpacked(path, table[name].chunks), meta["crs"])


def _chosen_layer(path: Path, layer: str | None) -> str:
    """The layer named, else the only one with geometries."""
    import pyogrio  # noqa: PLC0415

    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if layer is None and len(names) == 1:
        return names[0]
    if layer in names:
        return str(layer)
    listed = ", ".join(names[:20]) or "none"
    if layer is None and names:
        raise VectorFileError(
            f"{path.name} has several layers, {listed}: write {path.name}#{names[0]} or another of them."
        )
    raise VectorFileError(f"{path.name} has no layer {layer or 'with geometries'}; it has: {listed}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetTable:
    """An open GeoParquet file: pyarrow's, the column of its geometries, its others, and what it states of geometries:
    their CRS, bounds and types.
    """

    file: Any
    geometry: str
    others: list[str]
    crs: object
    bounds: object
    kinds: object


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Whatever pyarrow says of a damaged file, as a VectorFileError."""
    pa = pyarrow()
    try:
        yield
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        if isinstance(error, VectorFileError):
            raise
        raise VectorFileError(f"{path.name} cannot be read as GeoParquet: {str(error)[:200]}.") from error


def open_parquet(path: Path) -> ParquetTable:
    """A GeoParquet file, opened. Raises VectorFileError for one that is none, or is damaged."""
    with read_errors(path):
        file = pyarrow().parquet.ParquetFile(path)
        facts = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"null"))
        if not facts:
            raise VectorFileError(f"{path.name} is no GeoParquet: it lacks the metadata geo.")
        name = facts["primary_column"]
        column: dict[str, Any] = facts["columns"][name]
        if column["encoding"] != "WKB":
            raise VectorFileError(f"{path.name} has geometries as {column['encoding']}: write them as WKB.")
        names = file.schema_arrow.names
        twice = [each for each, n in Counter(names).items() if n > 1]
        if twice:
            raise VectorFileError(f"{path.name} has several columns called {twice[0]!r}: rename them.")
        covering = {part[0] for part in column.get("covering", {}).get("bbox", {}).values()}
        # Source: GeoParquet 1.1, "crs": longitude, latitude if it is left out, unknown if it is null.
        return ParquetTable(
            file=file,
            geometry=name,
            others=[field for field in names if field not in {name, *covering}],
            crs=column.get("crs", "OGC:CRS84"),
            bounds=column.get("bbox"),
            kinds=column.get("geometry_types"),
        )


def _parquet_table(path: Path, *, columns: bool) -> GeometryTable:
    table = open_parquet(path)
    with table.file as file, read_errors(path):
        if file.metadata.num_rows > MOST_ROWS:
            raise VectorFileError(_too_many(path))
        batches = file.iter_batches(ROWS_AT_ONCE, columns=[table.geometry])
        geometries = _unpacked(path, (batch.column(0) for batch in batches))
        others = _bounded(path, file, table.others if columns else [])
        return _table(path, others, geometries, table.crs)


def _bounded(path: Path, file: Any, names: list[str]) -> Any:
    """The other columns, unpacked a little at a time until they are too large."""
    pa = pyarrow()
    batches, size = [], 0
    for batch in file.iter_batches(ROWS_AT_ONCE * 16, columns=names) if names else ():
        size += batch.nbytes
        if size > MOST_BYTES:
            raise VectorFileError(f"The columns of {path.name} unpack to over {MOST_BYTES // 2**20} MiB: drop some.")
        batches.append(batch)
    schema = pa.schema([file.schema_arrow.field(name) for name in names])
    if not names:
        return pa.table({"row": pa.nulls(file.metadata.num_rows)}).select([])
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema)


def _unpacked(path: Path, chunks: Any) -> np.ndarray:
    """The geometries of chunks of WKB. Raises VectorFileError for what is none, and for too much of it."""
    found, size, n_vertices = [], 0, 0
    for chunk in chunks:
        size += chunk.nbytes
        if size > MOST_BYTES:
            raise VectorFileError(f"The shapes of {path.name} take over {MOST_BYTES // 2**20} MiB: simplify them.")
        geometries = geometries_in(path.name, chunk)
        n_vertices += int(shapely.get_num_coordinates(geometries).sum())
        if n_vertices > MOST_VERTICES:
            raise VectorFileError(f"The shapes of {path.name} have over {MOST_VERTICES:,} vertices: simplify them.")
        found.append(geometries)
    return np.concatenate(found) if found else np.array([], dtype=object)


def geometries_in(name: str, chunk: Any) -> np.ndarray:
    """The geometries of a pyarrow array of WKB, None for none. Raises VectorFileError, naming the file, for no WKB."""
    try:
        return np.asarray(shapely.from_wkb(np.array(chunk.to_pylist(), dtype=object)))
    except (GEOSException, TypeError, ValueError) as error:
        raise VectorFileError(f"{name} has geometries that are no WKB: {str(error)[:120]}.") from error


def _table(path: Path, columns: Any, geometries: np.ndarray, crs: object) -> GeometryTable:
    known = known_crs(path.name, crs)
    check_values(path.name, columns)
    check_finite(path.name, geometries)
    return GeometryTable(name=path.name, geometries=geometries, columns=columns, crs=known)


def check_values(name: str, columns: Any) -> None:
    """Check that a table's columns can be told apart and their values written down. Raises VectorFileError.

    Arrow holds texts that are no UTF-8, and moments beyond every calendar.
    """
    pa = pyarrow()
    twice = [each for each, n in Counter(columns.column_names).items() if n > 1]
    if twice:
        raise VectorFileError(f"{name} has several columns called {twice[0]!r}: rename them.")
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    for column, kind in zip(columns.column_names, columns.schema.types, strict=True):
        try:
            columns[column].validate(full=True)
            if pa.types.is_string(kind) or any(test(kind) for test in numbers):
                continue
            for chunk in columns[column].chunks:
                # A small file may refer to one long text often.
                values = chunk.dictionary if pa.types.is_dictionary(kind) else chunk
                for start in range(0, len(values), VALUES_AT_ONCE):
                    values.slice(start, VALUES_AT_ONCE).to_pylist()
        except (pa.ArrowException, ValueError, OverflowError, LookupError) as error:
            raise VectorFileError(
                f"The column {column!r} of {name} has values that no text can say ({str(error)[:90]}): mend it."
            ) from error


def known_crs(name: str, crs: object) -> str:
    """The CRS that a file states, as WKT. Raises VectorFileError, naming the file, for none and for one of no map."""
    if crs is None:
        raise VectorFileError(
            f"{name} does not say its CRS: assign it and export again (a Shapefile needs its .prj file)."
        )
    try:
        known = pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, TypeError, ValueError, RecursionError) as error:
        raise VectorFileError(f"{name} names a CRS that is not known, {str(crs)[:80]!r}: reproject it.") from error
    if not (known.is_projected or known.is_geographic):
        raise VectorFileError(f"{name} is in {known.name!r}, which has no map coordinates: reproject it.")
    return str(known.to_wkt())


def check_finite(name: str, geometries: np.ndarray, *, first: int = 0) -> None:
    """Check the coordinates of geometries, the first one's row in the file counted from 0. Raises VectorFileError."""
    coordinates, owners = shapely.get_coordinates(geometries, return_index=True)
    for number in owners[~np.isfinite(coordinates).all(axis=1)].tolist():
        raise VectorFileError(f"Row {first + number + 1} of {name} has coordinates that are no numbers: mend it.")


def _too_many(path: Path) -> str:
    return f"{path.name} has over {MOST_ROWS:,} rows: cut it into several."
