"""Statistics of zones over a finished product: its file read, checked, measured, and made a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.ask.added_table import add_table, place_for
from tilewright.flows.environment import storage_options
from tilewright.flows.job.areas.outline import cut_at_180
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import Notice, Stage, silent
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.styles.shapes import graduated_style
from tilewright.tasks.tables.plain_columns import plain_columns
from tilewright.tasks.tables.vector_file import GeometryTable, read_geometry_table
from tilewright.tasks.zones.layers import open_layers
from tilewright.tasks.zones.measure import measure_zones
from tilewright.tasks.zones.zones import ID, OBSERVED, check_names, figure_names, zones_on_grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.zones.layers import ProductLayers

TABLE_NAME = "zones"
"""Of the table in a product, whose file is ``zones.parquet``."""

SHORT, MOST_KNOWN = 24, 10_000
"""Characters of a text by which a zone is known, and zones that people know by one."""

MEASURED = b"tilewright:measured"
"""The key, in the metadata of a column, that says that it was measured and is none of the file's."""


def zone_statistics(
    output: str, zones: Path, *, layers: Sequence[str] | None = None, listener: Listener = silent
) -> GeometryTable:
    """The zones of a file in its order with its columns, and the statistics of a finished product's layers.

    ``id`` is 1..n unless the file has a column of that name. Geometries are in the grid's CRS.

    Raises a ValueError that names what cannot be, before pixels are read; StorageError if storage refuses, and
    ChangedStoreError for layers that are damaged.
    """
    storage = open_storage(output, options=storage_options(output))
    if read_item(storage) is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then ask for its zones.")
    product = open_layers(storage, layers)
    table = read_geometry_table(zones)
    check_names(table.columns.column_names, product.layers, name=table.name)
    placed = zones_on_grid(table, product.grid, cut=cut_at_180)
    if placed.n_bent:
        listener(Notice(text=_bent_sentence(placed.n_bent, table.name, product.grid.crs)))
    listener(Stage(name="zones", total=len(placed.pixels)))
    observed, figures = measure_zones(product, placed.pixels, listener)
    observed[placed.distant] = 0.0
    columns = _with_figures(table.columns, observed, figures, figure_names(product.layers))
    return GeometryTable(name=table.name, geometries=placed.places, columns=columns, crs=product.grid.crs)


def add_zones(output: str, zones: Path, *, layers: Sequence[str] | None = None, listener: Listener) -> GeometryTable:
    """The statistics of zones, added to the product as its table ``zones``. Raises as `zone_statistics`, `add_table`
    and, before pixels are read, `place_for` do.
    """
    storage = open_storage(output, options=storage_options(output))
    place = place_for(storage, TABLE_NAME)
    table = zone_statistics(output, zones, layers=layers, listener=listener)
    add_table(place, table, style=_style(table, open_layers(storage, layers)), listener=listener)
    return table


def _style(table: GeometryTable, product: ProductLayers) -> bytes:
    """By the first figure: the share of the first class, or the mean of a layer of values."""
    column = figure_names(product.layers)[0]
    values = table.columns[column].cast("float64").to_numpy()
    found = values[np.isfinite(values)]
    ends = (0.0, 1.0) if product.layers[0].classes or not len(found) else (float(found.min()), float(found.max()))
    return graduated_style(column, ends)


def zone_rows(table: GeometryTable) -> list[dict[str, Any]]:
    """The rows of the table without their geometries, as JSON values; what is no number there is null."""
    return [
        {name: _json_value(value) for name, value in row.items()} for row in plain_columns(table.columns).to_pylist()
    ]


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _with_figures(given: Any, observed: np.ndarray, figures: np.ndarray, names: Sequence[str]) -> Any:
    pa = pyarrow()
    columns: dict[str, Any] = {}
    if ID not in given.column_names:
        columns[ID] = pa.array(np.arange(1, len(observed) + 1), type=pa.int64())
    columns |= {name: given[name] for name in given.column_names}
    added = {name: pa.array(figures[:, number], from_pandas=True) for number, name in enumerate(names)}
    added[OBSERVED] = pa.array(observed, from_pandas=True)
    table = pa.table(columns | added)
    for name in added:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place).with_metadata({MEASURED: "1"}), table[name])
    return table


def columns_by_worth(columns: Any) -> list[str]:
    """The names of a table's columns as a narrow terminal should have them: the first, which tells the zones apart,
    the first of short texts that do so too, how much was observed, the statistics, and the other columns of the file.
    """
    names = list(columns.column_names)
    measured = [field.name for field in columns.schema if MEASURED in (field.metadata or {})]
    known = [name for name in names[1:] if name not in {OBSERVED, *measured} and _tells_apart(columns[name])][:1]
    told = [*names[:1], *known, OBSERVED, *(name for name in measured if name != OBSERVED)]
    return [*told, *(name for name in names if name not in told)]


def _tells_apart(column: Any) -> bool:
    """True for texts by which people know a zone: short ones, each once."""
    texts = column.to_pylist() if str(column.type) == "string" and len(column) <= MOST_KNOWN else [None]
    return all(isinstance(text, str) and 0 < len(text) <= SHORT for text in texts) and len({*texts}) == len(texts) > 0


def _bent_sentence(n_bent: int, name: str, crs: str) -> str:
    have = "1 zone has" if n_bent == 1 else f"{n_bent} zones have"
    return (
        f"{have} edges in {name} that bend in {crs} by over half a pixel: only vertices are projected, and edges are "
        "straight between them. Give such edges more vertices where it matters."
    )
