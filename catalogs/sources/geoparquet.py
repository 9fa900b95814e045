"""Items of a stac-geoparquet file: rows outside the query are filtered out before they become items."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.hrefs import display_href, local_path
from tilewright.catalogs.parquet import pyarrow
from tilewright.catalogs.sources.fetch import TABLE_BYTES, read_bytes
from tilewright.catalogs.sources.source import RawItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.catalogs.sources.source import Query, Source


def geoparquet_items(source: Source, query: Query) -> Iterator[RawItem]:
    """Items of the wanted collections in the period whose bboxes intersect the area's, in the order of the file.

    Raises:
        CatalogError: the file cannot be read, is no stac-geoparquet, has more matching rows than the limit, or has none
            of the wanted collections (the message names those it has).
    """
    pa = pyarrow()

    try:
        file = _open(source)
        if not {"id", "geometry", "assets", "collection"} <= set(file.schema_arrow.names):
            raise CatalogError(f"{display_href(source.href)} is no stac-geoparquet: it lacks id, geometry or assets")
        _check_collections(file, source, query)
        rows = _matching_rows(file, query)
        for item in _items(rows):
            yield RawItem(item=item, location=None)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(f"{display_href(source.href)} cannot be read as Parquet ({type(error).__name__})") from error


def _items(rows: Any) -> Iterator[dict[str, Any]]:
    """The rows as items; one that the library cannot convert comes with what its columns hold, for the search to judge.

    One row without a geometry or a box spoils the whole table for the library, so that rows are then converted singly.
    """
    rows = _in_utc(rows)
    items = _converted(rows)
    if items is not None:
        yield from items
        return
    for position in range(rows.num_rows):
        row = rows.slice(position, 1)
        yield from _converted(row) or [_bare_item(row.to_pylist()[0])]


def _in_utc(rows: Any) -> Any:
    """The same rows with every moment in UTC: the library writes the clock of a column's zone as if it were UTC."""
    pa = pyarrow()
    for position, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type) and column.type.tz not in {None, "UTC"}:
            moments = rows.column(position).cast(pa.timestamp(column.type.unit, "UTC"))
            rows = rows.set_column(position, column.name, moments)
    return rows


def _converted(rows: Any) -> list[dict[str, Any]] | None:
    """The rows as items, None if the library fails on one of them."""
    from stac_geoparquet.arrow import stac_table_to_items  # noqa: PLC0415

    try:
        return [_without_absent_fields(item) for item in stac_table_to_items(rows)]
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError):
        return None


def _bare_item(row: dict[str, Any]) -> dict[str, Any]:
    """The item of a row that holds a geometry, a box or a date which the library cannot read."""
    outside = ("id", "collection", "type", "links", "assets", "bbox", "geometry", "stac_version", "stac_extensions")
    edges = row.get("bbox") or {}
    box = [edges[name] for name in ("xmin", "ymin", "xmax", "ymax")] if edges else None
    properties = {key: value for key, value in row.items() if key not in outside and value is not None}
    plain = {key: row.get(key) for key in ("id", "collection", "links")} | {"type": "Feature", "bbox": box}
    geometry = shapely.from_wkb(row.get("geometry"), on_invalid="ignore")
    outline = None if geometry is None else shapely.geometry.mapping(geometry)
    return _without_absent_fields({**plain, "geometry": outline, "properties": properties, "assets": row.get("assets")})


def _open(source: Source) -> Any:
    pa = pyarrow()

    if source.local:
        return pa.parquet.ParquetFile(local_path(source.href))
    content = read_bytes(source.href, origin=source.href, hosts=source.hosts, s3=source.s3, limit=TABLE_BYTES)
    return pa.parquet.ParquetFile(pa.BufferReader(content))


def _check_collections(file: Any, source: Source, query: Query) -> None:
    available = {name for name in file.read(columns=["collection"])["collection"].unique().to_pylist() if name}
    if not available & set(query.collections):
        named = ", ".join(sorted(available)[:30]) or "none"
        raise UnknownCollectionError(f"{source.name} has no collection {query.collections[0]}; it has: {named}")


def _matching_rows(file: Any, query: Query) -> Any:
    """The table of the rows that match the query, filtered row group by row group.

    Raises:
        CatalogError: more rows than the limit match.
    """
    pa = pyarrow()

    condition = _row_filter(file.schema_arrow, query)
    kept: list[Any] = []
    n_rows = 0
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group).filter(condition)
        n_rows += rows.num_rows
        if n_rows > query.limit_items:
            raise CatalogError(
                f"more than {query.limit_items} items; take a smaller area or period, or raise limits.items"
            )
        kept.append(rows)
    return pa.concat_tables(kept) if kept else file.schema_arrow.empty_table()


def _row_filter(schema: Any, query: Query) -> Any:
    """The filter over the columns that the file has; every bbox across the antimeridian passes, for a later test."""
    pa = pyarrow()

    collection = pa.compute.field("collection")
    # The search leaves out by name what says no collection.
    condition = collection.isin(list(query.collections)) | collection.is_null()
    if "bbox" in schema.names and pa.types.is_struct(schema.field("bbox").type):
        minx, miny, maxx, maxy = query.aoi.bounds
        edge = {name: pa.compute.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax")}
        crosses = edge["xmin"] > edge["xmax"]
        overlaps = (edge["xmin"] <= maxx) & (edge["xmax"] >= minx)
        # Some boxes leave -180..180 and reach the area from the other side.
        overlaps |= (edge["xmax"] > 180.0) & (edge["xmax"] - 360.0 >= minx)
        overlaps |= (edge["xmin"] < -180.0) & (edge["xmin"] + 360.0 <= maxx)
        inside = (crosses | overlaps) & (edge["ymin"] <= maxy) & (edge["ymax"] >= miny)
        # A row without a box may lie anywhere; the search judges its geometry.
        condition &= inside | pa.compute.field("bbox").is_null() | edge["xmin"].is_null()
    if "datetime" in schema.names and pa.types.is_timestamp(schema.field("datetime").type):
        taken = pa.compute.field("datetime")
        timestamp = schema.field("datetime").type
        for moment, comparison in ((query.start, "__ge__"), (query.end, "__le__")):
            if moment is not None:
                condition &= taken.is_null() | getattr(taken, comparison)(pa.scalar(moment, timestamp))
    return condition


def _without_absent_fields(item: dict[str, Any]) -> dict[str, Any]:
    """The item without the assets and null fields that come from the table's union of all items' columns."""
    assets = item.get("assets")
    parsed = json.loads(assets) if isinstance(assets, str) else assets
    return {**item, "assets": {key: _without_nulls(asset) for key, asset in (parsed or {}).items() if asset}}


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
