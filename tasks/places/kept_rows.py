"""The rows of a run over places, kept in its output for the processes on other machines that do its units."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.places.rows import PlaceRows
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from tilewright.tasks.storage.storage import Storage

ROWS_FILE = f"{STATE_FOLDER}/places/rows.parquet"

ABOUT = b"tilewright"
"""The key of the file's own facts in its metadata."""

NO_PLACE = -1
"""The place along the curve of a row without a window."""


class KeptPeriod(NamedTuple):
    """A span of time of rows, both ends included, as a job's periods are."""

    name: str
    start: datetime
    end: datetime


def keep_rows(storage: Storage, rows: PlaceRows) -> str:
    """Write the rows into the output; returns the SHA-256 of what was written. Raises StorageError."""
    pa = pyarrow()
    along = np.full(len(rows), NO_PLACE, dtype=np.int64)
    along[rows.order] = np.arange(len(rows.order))
    periods = [[[each.name, each.start.isoformat(), each.end.isoformat()] for each in of] for of in rows.periods]
    table = pa.table(
        {
            "place": pa.array(shapely.to_wkb(rows.places).tolist(), type=pa.binary()),
            "top": rows.tops,
            "left": rows.lefts,
            "row": rows.centres[:, 0],
            "col": rows.centres[:, 1],
            "along": along,
            "period": rows.of_row.astype(np.int64),
        },
        metadata={ABOUT: json.dumps({"window": rows.window, "periods": periods})},
    )
    file = io.BytesIO()
    pa.parquet.write_table(table, file, compression="zstd")
    content = file.getvalue()
    storage.write(ROWS_FILE, content)
    return hashlib.sha256(content).hexdigest()


def kept_rows(storage: Storage, sha256: str) -> PlaceRows:
    """The rows that a run with this digest of them wrote. Raises StoreError where others lie there, or none."""
    content = storage.read(ROWS_FILE)
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"{storage.uri} does not hold the rows of this run: start the run again.")
    table = pyarrow().parquet.read_table(io.BytesIO(content))
    about = json.loads(table.schema.metadata[ABOUT])
    along = _numbers(table, "along")
    found = np.flatnonzero(along != NO_PLACE)
    return PlaceRows(
        places=shapely.from_wkb(np.array(table["place"].to_pylist(), dtype=object)),
        window=about["window"],
        tops=_numbers(table, "top"),
        lefts=_numbers(table, "left"),
        centres=np.column_stack([_numbers(table, "row"), _numbers(table, "col")]),
        order=found[np.argsort(along[found])],
        periods=tuple(
            tuple(
                KeptPeriod(name, datetime.fromisoformat(start), datetime.fromisoformat(end)) for name, start, end in of
            )
            for of in about["periods"]
        ),
        of_row=_numbers(table, "period"),
    )


def _numbers(table: Any, name: str) -> np.ndarray:
    return np.array(table[name].to_numpy())
