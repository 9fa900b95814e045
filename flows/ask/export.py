"""Tables of a finished product written for other programs, beside the product, which stays as it is."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyproj.exceptions import ProjError

from tilewright.flows.environment import storage_options
from tilewright.models.fields import did_you_mean
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.compare.files import DOCUMENT
from tilewright.tasks.grid.crs import is_geographic, metres_per_unit
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import Advance, Stage, silent
from tilewright.tasks.report.fields import mapping
from tilewright.tasks.report.format import number
from tilewright.tasks.storage.bucket import download_file
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.convert import PARQUET, SEVERAL, check_target, copy_parquet, write_rows
from tilewright.tasks.tables.table_file import MEDIA_TYPE, table_asset
from tilewright.tasks.tables.table_rows import rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_rows import TableRows

TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A table's name, which is its file's but for the ending: never one that leads to another folder."""

COMPARED = {"layer": str, "others": list, "grid": dict}
"""Keys of the document of a comparison, and what they hold."""

NO_SHAPES = ("manifest", "items")
"""Tables of every product that have no shapes of their own."""


def export_tables(output: str, to: Path, *, table: str | None = None, listener: Listener = silent) -> dict[str, int]:
    """Write a table of a finished product, or of changes that a comparison wrote, to a file, in the format of its
    ending; the rows written, by table.

    Without a ``table`` the only one, or to a GeoPackage all of them, a layer each.

    Raises StoreError for a product that is not finished, has no such table or several, or whose table is not as the
    Item says; VectorFileError for a file that cannot be; StorageError or OSError if storage or the disk refuses.
    """
    check_target(to, product=output)
    storage = open_storage(output, options=storage_options(output))
    item = read_item(storage)
    known = compared_tables(storage) if item is None else exported_tables(item)
    if not known and item is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then export its tables.")
    wanted = _wanted(output, to, known, table)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = {name: local_table(storage, name, known[name], folder) for name in wanted}
        tables = [stack.enter_context(rows_in(path, name)) for name, path in files.items()]
        listener(Stage(name="export", total=sum(each.n_rows for each in tables)))
        if to.suffix.lower() == PARQUET:
            copy_parquet(files[wanted[0]], to)
        else:
            write_rows([_told(each, listener) for each in tables], to, pixel_m=_pixel_m(storage))
        return {each.name: each.n_rows for each in tables}


def exported_tables(item: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The assets of a product's Item that are tables of shapes, by name."""
    named = {key: asset["href"].removeprefix("./").removesuffix(PARQUET) for key, asset in item["assets"].items()}
    return {
        name: item["assets"][key]
        for key, name in named.items()
        if item["assets"][key].get("type") == MEDIA_TYPE
        and name not in NO_SHAPES
        and TABLE_NAME.fullmatch(name)
        and item["assets"][key]["href"].removeprefix("./") == f"{name}{PARQUET}"
        # A layer of objects has its table's name.
        and key in {name, table_asset(name, [name])}
    }


def compared_tables(storage: Storage) -> dict[str, Mapping[str, Any]]:
    """The tables of changed places of a comparison, by name, of which nothing more is known; empty if it is none."""
    told = read_object(storage, DOCUMENT) if storage.root is not None else None
    if told is None or not all(isinstance(told.get(key), kind) for key, kind in COMPARED.items()):
        return {}
    more = [each.get("layer") for each in told["others"] if isinstance(each, dict)]
    names = ["changes", *(f"changes_{layer}" for layer in more if isinstance(layer, str))]
    return {name: {} for name in names if TABLE_NAME.fullmatch(name)}


def _wanted(output: str, to: Path, known: Mapping[str, Any], table: str | None) -> list[str]:
    names = sorted(known)
    if not names:
        raise StoreError(
            f"{output} has no table of shapes: ask for some in its job, as polygons: class, or run tilewright zones."
        )
    if table is not None:
        if table not in known:
            raise StoreError(f"{output} has no table {table[:80]!r}{did_you_mean(table, names)}: {', '.join(names)}.")
        return [table]
    if len(names) > 1 and to.suffix.lower() != SEVERAL:
        raise StoreError(
            f"{output} has several tables, {', '.join(names)}: name one with --table, or write all to a {SEVERAL}."
        )
    return names


def local_table(storage: Storage, name: str, asset: Mapping[str, Any], folder: Path) -> Path:
    """The file of a table on this machine, as the Item says."""
    file = f"{name}.parquet"
    path = folder / file if storage.folder is None else storage.folder / file
    if storage.folder is not None and (path.is_symlink() or not path.is_file()):
        raise StoreError(f"{storage.uri} lacks {file}: run its job again, or restore it.")
    if storage.folder is None:
        try:
            storage.call_with_retries(f"read {file} in", partial(download_file, storage.root, file, path))
        except FileNotFoundError:
            raise StoreError(f"{storage.uri} lacks {file}: run its job again, or restore it.") from None
    told = asset.get("file:checksum")
    if told is not None and told != file_multihash(path):
        raise StoreError(f"{storage.uri}/{file} is not as the product's Item says: run its job again, or restore it.")
    return path


def _pixel_m(storage: Storage) -> float | None:
    """Metres of a pixel of the product; None where its report does not say so."""
    grid = mapping(read_object(storage, "report.json") or read_object(storage, DOCUMENT) or {}, "grid")
    size, crs = number(grid.get("resolution")), grid.get("crs")
    if size is None or size <= 0 or not isinstance(crs, str):
        return None
    try:
        return None if is_geographic(crs) else size * metres_per_unit(crs)
    except (ValueError, ProjError):
        return None


def _told(rows: TableRows, listener: Listener) -> TableRows:
    """The rows, which tell how many of them were taken."""

    def batches() -> Iterator[tuple[Any, np.ndarray]]:
        for columns, shapes in rows.batches():
            yield columns, shapes
            listener(Advance(done=len(shapes)))

    return replace(rows, batches=batches)
