"""The key ``places`` of a job: its file read and checked, with the columns that it names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.job.places.columns import PlacesError, ReadPeriod, check_key, row_periods
from tilewright.flows.job.places.footprint import footprint, lonlats, middle
from tilewright.models.fields import did_you_mean
from tilewright.tasks.tables.csv_points import read_points_csv
from tilewright.tasks.tables.geoparquet import BBOX, GEOMETRY
from tilewright.tasks.tables.vector_file import GeometryTable, VectorFileError, read_geometry_table

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

KEYS = ("file", "id", "period")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobPlaces:
    """The places of a job: the rows of ``file``, of which ``digest`` is a SHA-256 in hex.

    ``id`` and ``period`` name columns of it, None for none. ``periods`` are the different ones of its rows, ``of_row``
    the number of each row's among them, -1: the job's. ``footprint``: boxes in EPSG:4326 around all rows;
    ``middle``: (longitude, latitude) amid them.
    """

    file: str
    id: str | None
    period: str | None
    table: GeometryTable
    digest: str
    periods: tuple[Any, ...]
    of_row: np.ndarray
    footprint: BaseGeometry
    middle: tuple[float, float]

    @property
    def text(self) -> str:
        """The places in words."""
        return f"{len(self.of_row):,} rows of {self.file}"

    def request(self) -> dict[str, Any]:
        """What of the places decides the product, as JSON: the rows themselves, wherever their file lies."""
        named = {key: value for key, value in (("id", self.id), ("period", self.period)) if value is not None}
        return {"file": self.file, **named, "sha256": self.digest}


def read_places(value: object, *, base: Path, read_period: ReadPeriod) -> JobPlaces:
    """The places that a job names: a path relative to ``base``, or a mapping {file, id, period}.

    Raises PlacesError for another value, a file that cannot be read or holds no place, and columns that it lacks or
    that do not fit.
    """
    named = _named(value)
    try:
        path = base / Path(named["file"]).expanduser()
        table = read_points_csv(path) if path.suffix.lower() == ".csv" else read_geometry_table(path)
    except VectorFileError as error:
        raise PlacesError(f"places: {error}") from error
    table = GeometryTable(
        name=table.name, geometries=shapely.force_2d(table.geometries), columns=table.columns, crs=table.crs
    )
    if not len(table.geometries):
        raise PlacesError(f"places: {table.name} has no rows: give one place at least.")
    places = lonlats(table.geometries, table.crs)
    located = places[~np.isnan(places).any(axis=1)]
    if not len(located):
        raise PlacesError(f"places: none of the rows of {table.name} has a geometry on the globe: give points.")
    for reserved in (GEOMETRY, BBOX):
        if reserved in table.columns.column_names:
            raise PlacesError(f"places: {table.name} has a column {reserved!r}, which the result has too: rename it.")
    if named.get("id"):
        check_key(table, named["id"])
    periods: tuple[Any, ...] = ()
    of_row = np.full(len(table.geometries), -1, dtype=np.int64)
    if named.get("period"):
        periods, of_row = row_periods(table, named["period"], read_period)
    return JobPlaces(
        file=named["file"],
        id=named.get("id"),
        period=named.get("period"),
        table=table,
        digest=_digest(table),
        periods=periods,
        of_row=of_row,
        footprint=footprint(located),
        middle=middle(located),
    )


def _named(value: object) -> dict[str, str]:
    plain = {"file": value} if isinstance(value, (str, Path)) else value
    if not isinstance(plain, dict) or "file" not in plain:
        raise PlacesError("places: give the path of a file of points or parcels, or {file, id, period}.")
    for key, text in plain.items():
        if key not in KEYS:
            raise PlacesError(f"places.{key}: unknown key{did_you_mean(str(key), KEYS)}. Known: {', '.join(KEYS)}.")
        if not isinstance(text, (str, Path)) or not str(text).strip() or "\0" in str(text):
            what = "the path of a file" if key == "file" else "the name of a column"
            raise PlacesError(f"places.{key}: expected {what} (given: {str(text)[:80]!r}).")
    return {key: str(text) for key, text in plain.items()}


def _digest(table: GeometryTable) -> str:
    """The SHA-256 in hex of a table's rows: geometries, columns with their types, CRS."""
    pa = pyarrow()
    found = hashlib.sha256(table.crs.encode())
    for wkb in shapely.to_wkb(table.geometries, byte_order=1):
        found.update(b"-" if wkb is None else wkb)
    columns = table.columns.combine_chunks().replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    found.update(sink.getvalue())
    return found.hexdigest()
