"""Tables of shapes as GeoJSON for the map: the largest of their rows, bounded in number and in corners."""

from __future__ import annotations

import json
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from shapely.lib import ShapelyError

from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.view.files import MERCATOR_LATITUDE, ViewError, href_of
from tilewright.flows.view.products import size_of
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.report.outlines.columns import cell, listed_columns
from tilewright.tasks.report.outlines.rows import MAX_DRAWN, box_areas, rank
from tilewright.tasks.storage.bucket import download_file
from tilewright.tasks.tables.geoparquet import BBOX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.flows.view.products import ViewedProduct

LARGEST_TABLE = 2**30
"""Bytes of a table in a bucket that is fetched for the page."""

MOST_CORNERS = 400_000
"""Corners of all shapes of a table: a page of some megabytes."""

CORNERS_OF_ONE = 20_000
"""Corners of one shape beyond which its box is drawn."""

MOST_ROWS = 10_000_000
"""Rows of a table that is looked through for those in a part of the map."""

ROWS_AT_ONCE = 4096

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

DECIMALS = 6
"""Those of a degree: a decimetre on the ground."""


class Tables:
    """The tables of products; those that lie elsewhere are fetched once, into a folder that ``close`` removes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tilewright-view-")
        self._fetched: dict[tuple[str, str], Path] = {}

    def close(self) -> None:
        """Remove what was fetched."""
        self._folder.cleanup()

    def outlines(self, product: ViewedProduct, name: str, within: Bounds | None = None) -> dict[str, Any]:
        """A table of a product as a GeoJSON FeatureCollection in degrees, with ``n_rows`` and ``n_drawn``.

        ``within``: of the rows that meet these (west, south, east, north) the largest, None: of all. Each feature has
        the first columns of its row. Shapes that jump across 180 degrees go on beyond it.
        Raises ViewError for a file that is no such table.
        """
        path = self._local(product, name)
        try:
            with pyarrow().parquet.ParquetFile(path) as file:
                drawn = list(_features(file, within))
                n_rows = int(file.metadata.num_rows)
        except (OSError, ValueError, KeyError, TypeError, ShapelyError) as error:
            raise ViewError(f"the table cannot be read ({type(error).__name__})") from error
        return {"type": "FeatureCollection", "features": drawn, "n_rows": n_rows, "n_drawn": len(drawn)}

    def _local(self, product: ViewedProduct, name: str) -> Path:
        storage, size = product.storage, size_of(product.storage, name)
        if size is None or size > LARGEST_TABLE:
            raise ViewError("the table is not in the product" if size is None else "the table is too large for a page")
        href = href_of(storage, name)
        if storage.folder is not None:
            return Path(href)
        key = (storage.uri, name)
        if key not in self._fetched:
            path = Path(self._folder.name) / f"{len(self._fetched)}.parquet"
            storage.call_with_retries(f"read {name} in", partial(download_file, storage.root, name, path))
            self._fetched[key] = path
        return self._fetched[key]


def _features(file: Any, within: Bounds | None) -> Iterator[dict[str, Any]]:
    """The largest rows that fit, in their order in the table."""
    schema = file.schema_arrow
    to_degrees = _to_degrees(schema)
    places = np.sort(rank(file, score=False)[0] if within is None else _within(file, within, to_degrees))
    columns = [column.name for column in listed_columns(schema)]
    if "id" in schema.names:
        columns = ["id", *(name for name in columns if name != "id")]
    left = MOST_CORNERS
    for place, row, geometry in _rows(file, places, columns):
        n_corners = int(shapely.get_num_coordinates(geometry))
        if not n_corners:
            continue
        shape = geometry if n_corners <= CORNERS_OF_ONE else shapely.envelope(geometry)
        left -= min(n_corners, CORNERS_OF_ONE)
        if left < 0:
            return
        in_degrees = _placed(shape, to_degrees)
        if in_degrees is not None:
            told = {name: _plain(row.get(name)) for name in columns}
            yield {"type": "Feature", "id": place, "properties": told, "geometry": in_degrees}


def _within(file: Any, bounds: Bounds, to_degrees: Any) -> np.ndarray:
    """The places of the largest rows whose boxes meet bounds in degrees. Raises a ValueError where rows have no box."""
    if BBOX not in file.schema_arrow.names or file.metadata.num_rows > MOST_ROWS:
        raise ValueError("its rows have no boxes, or are too many")
    west, south, east, north = to_degrees.transform_bounds(*bounds, densify_pts=21, direction="INVERSE")
    found, sizes, start = [], [], 0
    for batch in file.iter_batches(10 * ROWS_AT_ONCE, columns=[BBOX]):
        corners = [
            np.asarray(each.to_numpy(zero_copy_only=False), dtype=float) for each in batch.column(BBOX).flatten()
        ]
        meets = (corners[0] <= east) & (corners[2] >= west) & (corners[1] <= north) & (corners[3] >= south)
        found.append(start + np.flatnonzero(meets))
        sizes.append(box_areas(corners)[meets])
        start += batch.num_rows
    places, areas = np.concatenate(found), np.concatenate(sizes)
    return np.asarray(places[np.argsort(-areas, kind="stable")[:MAX_DRAWN]])


def _rows(file: Any, places: np.ndarray, columns: list[str]) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """The rows at sorted places with their geometries; groups of rows without any of them are not read."""
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        if np.searchsorted(places, start) < np.searchsorted(places, stop):
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[*columns, "geometry"]):
                here = places[np.searchsorted(places, start) : np.searchsorted(places, start + batch.num_rows)]
                taken = batch.take(pyarrow().array(here - start))
                geometries = shapely.from_wkb(taken.column("geometry").to_numpy(zero_copy_only=False))
                yield from zip(here.tolist(), taken.drop_columns(["geometry"]).to_pylist(), geometries, strict=True)
                start += batch.num_rows
        start = stop


def _to_degrees(schema: Any) -> Any:
    """The transformer from a table's CRS to degrees. Raises a ValueError for a table that is no GeoParquet."""
    geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
    column = geo["columns"]["geometry"]
    if column.get("encoding") != "WKB" or "geometry" not in schema.names:
        raise ValueError("its geometries are no WKB")
    told = column.get("crs", "OGC:CRS84")
    try:
        crs = pyproj.CRS.from_user_input(told).to_wkt()
        return transformer(crs, "OGC:CRS84")
    except pyproj.exceptions.CRSError as error:
        raise ValueError("its CRS is not known") from error


def _placed(geometry: Any, to_degrees: Any) -> dict[str, Any] | None:
    """A geometry in degrees as GeoJSON; None for one that lies nowhere."""

    def move(points: np.ndarray) -> np.ndarray:
        lons, lats = to_degrees.transform(points[:, 0], points[:, 1])
        # A shape is one piece on the map, wherever 180 degrees are.
        around = lons[0] + (lons - lons[0] + 180.0) % 360.0 - 180.0
        return np.round(np.column_stack([around, np.clip(lats, -MERCATOR_LATITUDE, MERCATOR_LATITUDE)]), DECIMALS)

    moved = shapely.transform(shapely.force_2d(geometry), move)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        return None
    plain: dict[str, Any] = json.loads(shapely.to_geojson(moved))
    return plain


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return cell(value) if isinstance(value, (str, int, bool)) else None
