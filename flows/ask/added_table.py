"""A table added to a finished product, which stays finished throughout: named in its Item and its report, recorded.

And tables beside a product, in other formats.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.ask.added_files import check_can_be_added_to, publish_item, recorded
from tilewright.flows.ask.export import exported_tables
from tilewright.flows.run.output_lock import lock_output
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.inventory.finished import read_item, unfinished
from tilewright.tasks.inventory.record import ProductRecord, write_product_record
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.publish import publish
from tilewright.tasks.report.fields import mapping, numbers, rows, text
from tilewright.tasks.report.outlines.columns import OF_OTHERS
from tilewright.tasks.report.outlines.paths import PictureFrame
from tilewright.tasks.report.outlines.table import product_outlines, read_outlines
from tilewright.tasks.report.render import with_tables
from tilewright.tasks.report.sections import frame_of
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.secrets import kept_of
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.styles.styles import ENDING as STYLE_ENDING
from tilewright.tasks.styles.styles import MEDIA_TYPE as STYLE_TYPE
from tilewright.tasks.styles.styles import style_files
from tilewright.tasks.tables.convert import check_target, write_as
from tilewright.tasks.tables.table_file import MEDIA_TYPE, uploaded_table
from tilewright.tasks.tables.vector_file import read_geometry_table
from tilewright.tasks.zarr.thumbnail import thumbnail_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.tables.vector_file import GeometryTable

PAGE_ASSET, PAGE_FACTS = "report", ("file:size", "file:checksum")
"""The Item's asset of the page, and what it says of its bytes."""

ELSEWHERE = "give --to FILE for a table beside the product"


def check_beside(to: Path, output: str, *, given: Path, what: str) -> None:
    """Check that a table can be written to a path beside a product and the file ``given``, which holds ``what``.

    Raises a ValueError.
    """
    check_target(to, product=output)
    if to.expanduser().resolve() == given.expanduser().resolve():
        raise StoreError(f"--to {to} is the file of {what} itself: give another.")


def write_beside(storage: Storage, name: str, to: Path) -> None:
    """Write a table of a product, the file of that name, to a path in the format of its ending.

    Raises StoreError where the product has no such table, OSError if the disk refuses.
    """
    content = storage.read(name)
    if content is None:
        raise StoreError(f"{storage.uri} has no {name}: run its job again.")
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        local.write_bytes(content)
        table = read_geometry_table(local)
    write_as(table, to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a table may be added: a finished product, and its Item as it was when that was looked at."""

    storage: Storage
    name: str
    item: bytes

    @property
    def file(self) -> str:
        """The name of the table's file."""
        return f"{self.name}.parquet"


def place_for(storage: Storage, name: str) -> Place:
    """The place of a table in a finished product, looked for before the table is made; nothing is written.

    Raises StoreError for a product that is not finished or cannot be written, and where something else has the name.
    """
    check_can_be_added_to(storage, elsewhere=ELSEWHERE)
    place = Place(storage=storage, name=name, item=storage.read(ITEM) or b"")
    asset = (read_item(storage) or {"assets": {}})["assets"].get(name)
    if asset is not None and asset["href"].removeprefix("./") != place.file:
        raise StoreError(f"{storage.uri} has {name!r} already, as {asset['href']}: {ELSEWHERE}.")
    if place.file in storage.top_names() and place.file not in recorded(storage).files:
        raise StoreError(f"{storage.uri} holds {place.file}, which it did not write: move it, or {ELSEWHERE}.")
    return place


def add_table(place: Place, table: GeometryTable, *, style: bytes, listener: Listener = silent) -> None:
    """Write a table into its place, its style beside it, draw it on the page of the report, and name it in the report,
    the Item, the table of Items and the Collection.

    A table that is there with the same bytes is left, and a style that somebody keeps there. Whenever this is cut off,
    the product is finished: its Item names the table only while the file that it names is there.

    Raises LockHeldError where a run is in progress, StoreError for a product that changed since the place was looked
    for or another table of which is damaged, StorageError if storage refuses.
    """
    with lock_output(place.storage) as lock:
        storage = lock.storage
        if storage.read(ITEM) != place.item or unfinished(storage):
            raise StoreError(f"{storage.uri} changed while its pixels were read: give the same command again.")
        with staging_folder(storage) as folder:
            draft = folder / place.file
            # The staging folder of a bucket's product is the system's.
            write_as(table, draft)
            item = read_item(storage) or {}
            known = item["assets"].get(place.name)
            checksum = file_multihash(draft)
            if known is not None and known.get("file:checksum") == checksum:
                return
            n_rows = table.columns.num_rows
            entry = {"rows": n_rows, "bytes": draft.stat().st_size, "checksum": checksum}
            report = _report_with(storage, {"name": place.name, "file": place.file, **entry})
            page = _page_with(storage, report, item, draft)
            if page is None:
                listener(Notice(text=f"report.html does not draw {place.file}: an older version wrote that page."))
            _add(storage, place, draft, item, n_rows=n_rows, report=report, page=page, style=style)


def _add(
    storage: Storage,
    place: Place,
    draft: Path,
    item: dict[str, Any],
    *,
    n_rows: int,
    report: Mapping[str, Any],
    page: bytes | None,
    style: bytes,
) -> None:
    kept = kept_of((read_object(storage, PLAN) or {}).get("source"))
    record, assets = recorded(storage), item["assets"]
    styles = _style_names(storage, place, record, assets)
    record = replace(record, files=record.files | {place.file, *styles})
    write_product_record(storage, record)
    # While its files are written anew the Item says nothing of them that may not be true.
    for name in (place.name, *styles.values()):
        assets.pop(name, None)
    if page is not None:
        for fact in PAGE_FACTS:
            assets.get(PAGE_ASSET, {}).pop(fact, None)
    storage.write_json(ITEM, item, kept)
    made = uploaded_table(storage, draft, key="", n_rows=n_rows)
    for name, key in styles.items():
        storage.write(name, style)
        assets[key] = {"href": f"./{name}", "type": STYLE_TYPE, "title": "Style for QGIS", "roles": ["style"]}
    _write_report(storage, report, page, kept)
    assets[place.name] = _asset(made)
    if page is not None and PAGE_ASSET in assets:
        assets[PAGE_ASSET] |= dict(zip(PAGE_FACTS, (len(page), "1220" + hashlib.sha256(page).hexdigest()), strict=True))
    publish_item(storage, item, record, kept)


def _style_names(
    storage: Storage, place: Place, record: ProductRecord, assets: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The file of the table's style with its key among the assets; none where either is taken."""
    files = style_files((place.name, *record.layers))
    file = next((name for name in files if name == f"{place.name}{STYLE_ENDING}"), None)
    if file is None or (file in storage.top_names() and file not in record.files):
        return {}
    key = files[file]
    return {file: key} if assets.get(key, {"href": file})["href"].removeprefix("./") == file else {}


def _report_with(storage: Storage, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The report with a table's entry, in place of one of that name."""
    report = read_object(storage, "report.json") or {}
    others = [each for each in rows(report, "tables") if each.get("name") != entry["name"]]
    return {**report, "tables": [*others, entry]}


def _page_with(storage: Storage, report: Mapping[str, Any], item: Mapping[str, Any], draft: Path) -> bytes | None:
    """The page of the report with the shapes of all tables, one of them a draft; None if it is of an older version.

    Raises StoreError for another table that is damaged, StorageError if storage refuses.
    """
    grid = mapping(report, "grid")
    frame, shape = frame_of(grid), numbers(grid, "shape", 2)
    if frame is None or not shape or min(shape) < 1:
        return None
    height, width = round(shape[0]), round(shape[1])
    picture = thumbnail_shape((height, width), publish.PICTURE_SIZE)
    shrunk = max(height / picture[0], width / picture[1])
    drawn = PictureFrame(bounds=frame.bounds, shape=picture, shrunk=shrunk)
    vectors = {text(each, "name") for each in rows(report, "embeddings")}
    names = [name for each in rows(report, "tables") if (name := text(each, "name")) not in vectors]
    files = [f"{name}.parquet" for name in names if name in exported_tables(item) and name != draft.stem]
    try:
        others = product_outlines(storage, files, drawn, folder=draft.parent)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"A table of {storage.uri} cannot be read ({str(error)[:200]}): restore it.") from error
    page = (storage.read("report.html") or b"").decode("utf-8", "replace")
    tables = {each.name: each for each in (*others, read_outlines(draft, draft.stem, drawn, classes=OF_OTHERS))}
    changed = with_tables(page, report, [tables[name] for name in names if name in tables])
    return None if changed is None else changed.encode("utf-8")


def _write_report(storage: Storage, report: Mapping[str, Any], page: bytes | None, kept: tuple[str, ...]) -> None:
    storage.write_json("report.json", report, kept)
    if page is not None:
        storage.write("report.html", page)


def _asset(made: UploadedTable) -> Mapping[str, Any]:
    return {
        "href": f"./{made.name}",
        "type": MEDIA_TYPE,
        "title": f"{made.n_rows:,} rows",
        "roles": ["data"],
        "file:size": made.size,
        "file:checksum": made.checksum,
    }
