"""Tables of polygons in the words of fiboa, by which field boundaries of different makers are read alike.

Source: fiboa 0.2.0, https://github.com/fiboa/specification/tree/v0.2.0, core and GeoParquet.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.tables.geoparquet import GEOMETRY, Rows, write_geoparquet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

METADATA = "fiboa"
"""The key in the file's metadata under which the Collection stands."""

COLLECTION = {"fiboa_version": "0.2.0", "fiboa_extensions": []}

REQUIRED = ("id", GEOMETRY)
"""Columns without nulls."""

RENAMED = {"area_m2": "area", "perimeter_m": "perimeter"}
"""Columns of ours that fiboa has too, and their names there: hectares, and metres."""

MOST_HECTARES, MOST_METRES = 100_000.0, 125_000.0
"""The largest area and perimeter that fiboa knows; what is larger has null there, and is no field."""

HECTARE_M2 = 10_000.0

METHOD = "auto-imagery"


def table_writer(columns: str, last: datetime | None) -> Callable[..., None]:
    """What writes a table of polygons with the columns asked for: "fiboa", or "tilewright" for our own."""
    return partial(write_fiboa, last=last) if columns == "fiboa" else write_geoparquet


def write_fiboa(
    path: Path,
    rows: Iterable[Rows],
    *,
    columns: Mapping[str, str],
    crs: str,
    kinds: tuple[str, ...],
    bounds: np.ndarray,
    last: datetime | None,
) -> None:
    """Write rows as `write_geoparquet` does, with ``id`` as text, ``area_m2`` and ``perimeter_m`` by fiboa's names, and
    how and when the shapes were determined: ``last`` is the time of the last image, None for none. Other columns stay.
    """
    write_geoparquet(
        path,
        (_renamed(each, last) for each in rows),
        columns=_types(columns),
        crs=crs,
        kinds=kinds,
        bounds=bounds,
        metadata={METADATA: json.dumps(COLLECTION, sort_keys=True)},
        required=REQUIRED,
    )


def _types(columns: Mapping[str, str]) -> dict[str, Any]:
    pa = pyarrow()
    types: dict[str, Any] = {RENAMED.get(name, name): kind for name, kind in columns.items()}
    types |= {"id": "string", **{name: "float" for name in RENAMED.values() if name in types}}
    return {**types, "determination_datetime": pa.timestamp("ms", tz="UTC"), "determination_method": "string"}


def _renamed(rows: Rows, last: datetime | None) -> Rows:
    n = len(rows.bounds)
    columns: dict[str, Sequence[Any] | np.ndarray] = {
        RENAMED.get(name, name): values for name, values in rows.columns.items()
    }
    columns["id"] = [str(each) for each in np.asarray(rows.columns["id"]).tolist()]
    for name, unit, most in (("area", HECTARE_M2, MOST_HECTARES), ("perimeter", 1.0, MOST_METRES)):
        if name in columns:
            figures = np.asarray(columns[name], dtype=np.float64) / unit
            columns[name] = pyarrow().array(figures.astype(np.float32), mask=~((figures > 0) & (figures <= most)))
    columns |= {"determination_datetime": [last] * n, "determination_method": [METHOD] * n}
    return replace(rows, columns=columns)
