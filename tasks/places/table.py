"""The table of places: the given columns and what was found for each row, in the order of the file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.places.answers import OBSERVED, no_answers
from tilewright.tasks.plan.places import PLACES_FILE
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.tables.geoparquet import BBOX, GEOMETRY, whole_table, write_whole_table
from tilewright.tasks.tables.plain_columns import with_class_names
from tilewright.tasks.tables.table_file import UploadedTable, uploaded_table
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.places.texts import Texts
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage

ID = "id"


class ColumnsError(ValueError):
    """A file whose columns have the names of columns that the table adds."""


def added_columns(layers: Sequence[str], *, key: str | None) -> tuple[str, ...]:
    """The names of the columns that the table adds to the given ones; ``key`` is the user's own, None for none."""
    return (*(() if key else (ID,)), *layers, OBSERVED)


def check_columns(given: Sequence[str], layers: Sequence[str], *, name: str, key: str | None) -> None:
    """Check that no column of the file called ``name`` has the name of one that is added. Raises ColumnsError."""
    added = added_columns(layers, key=key)
    for column, n in Counter([*added, GEOMETRY, BBOX]).items():
        if n > 1:
            raise ColumnsError(
                f"layers: the layer {column!r} has the name of another column of the table of places: leave it out."
            )
    for column in given:
        if column == ID in added:
            raise ColumnsError(
                f"places: {name} has a column 'id', which the result numbers itself: write places: {{file: {name}, "
                "id: id}} if it is the key of the rows, or rename it.".replace("}}", "}")
            )
        if column in added:
            raise ColumnsError(f"places: {name} has a column {column!r}, which the result has too: rename it.")


def joined_records(worker: PlacesWorker, entries: Mapping[str, BlockEntry]) -> tuple[np.ndarray, Texts]:
    """The records of all rows in the order of the file, those of rows without a window empty; and the texts said of
    them by column, None where nothing is.

    Raises ChangedStoreError for records that are not as they were written.
    """
    whole = no_answers(worker.model.card, worker.plan.raster.layers, len(worker.rows))
    texts: Texts = {name: [None] * len(whole) for name in worker.model.card.answers}
    for name, entry in sorted(entries.items()):
        done = worker.done(entry)
        if done is None:
            raise ChangedStoreError(
                f"The records of unit {name} in {worker.storage.uri} changed after they were written"
            )
        rows = worker.unit(entry.row)
        whole[rows] = done[0]
        for column, said in done[1].items():
            for row, text in zip(rows.tolist(), said, strict=True):
                texts[column][row] = text
    return whole, texts


def places_table(
    given: Any, records: np.ndarray, specs: Mapping[str, LayerSpec], *, key: str | None, texts: Texts
) -> Any:
    """The columns of the table, a pyarrow table: ``given`` ones, then those named after the layers, the ``texts`` and
    ``observed``.

    Classes are the values of their classes, whose names are kept beside the column in the schema; percents are whole
    numbers, values float32; null for none.
    """
    pa = pyarrow()
    columns: dict[str, Any] = {} if key else {ID: pa.array(np.arange(1, len(records) + 1), type=pa.int64())}
    columns |= {name: given[name] for name in given.column_names}
    for name, spec in specs.items():
        stored = np.ascontiguousarray(records[name])
        if spec.kind == "value":
            columns[name] = pa.array(stored, type=pa.float32(), mask=np.isnan(stored))
        else:
            columns[name] = pa.array(stored.astype(np.int64), mask=stored == NODATA_BYTE)
    columns |= {name: pa.array(column, type=pa.string()) for name, column in texts.items()}
    columns[OBSERVED] = pa.array(np.ascontiguousarray(records[OBSERVED]))
    table = pa.table(columns)
    for name, spec in specs.items():
        if spec.kind == "class":
            table = with_class_names(table, name, {each.value: each.name for each in spec.classes})
    return table


def upload_places(
    storage: Storage, table: Any, geometries: np.ndarray, *, crs: str, folder: Path, entries: Mapping[str, BlockEntry]
) -> UploadedTable:
    """The table as GeoParquet, moved into storage; made in a local ``folder``. Raises StorageError if that refuses."""
    path = folder / PLACES_FILE
    try:
        write_whole_table(path, whole_table(table, shapely.force_2d(geometries), crs=crs))
    except OSError as error:
        raise storage_error(error, operation=f"write {PLACES_FILE} to", uri=storage.uri) from error
    key = json_digest({name: [entry.key, entry.checksums] for name, entry in sorted(entries.items())})
    return uploaded_table(storage, path, key=key, n_rows=table.num_rows)
