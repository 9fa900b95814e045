"""A product for each row of a table of areas and periods: resumable, several at a time, failures kept by class."""

from __future__ import annotations

import contextvars
import csv
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.sources.plain import load_plain
from tilewright.flows.environment import storage_options
from tilewright.flows.errors import ErrorClass, classify, sentence
from tilewright.flows.job.template import fill
from tilewright.tasks.progress import Advance, Notice, Stage, silent
from tilewright.tasks.storage.documents import json_value
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


LIST_FILE = "backfill.json"
"""The state of every row, in the backfill's home."""

BOX_COLUMNS = (("west", "south", "east", "north"), ("minx", "miny", "maxx", "maxy"))
"""Columns of a CSV table that hold a box in place of an area."""

RunJob = Callable[[dict[str, Any]], Any]
"""Runs one job, given as a mapping; raises what the run raises."""


class BackfillError(ValueError):
    """A table that cannot be backfilled."""


class RowsFailedError(RuntimeError):
    """Rows of a backfill that failed; the others are done. ``rows`` are all that were asked for."""

    def __init__(self, words: str, rows: Sequence[Row] = ()) -> None:
        super().__init__(words)
        self.rows = list(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The state of one row's product: ``state`` is done or failed, the latter with its error class and reason."""

    name: str
    state: str
    error_class: str = ""
    reason: str = ""

    def summary(self) -> dict[str, str]:
        """The row as JSON values: why it failed only where it did."""
        return {name: value for name, value in asdict(self).items() if value}

    def line(self) -> str:
        """The row in words."""
        return f"{self.name}: {self.state}{f' ({self.error_class}: {self.reason})' if self.reason else ''}"


def backfill_jobs(template: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The job of each row: the template with the row's keys (area, period, ...) over it and its texts filled in.

    Raises BackfillError for a row without a name, and for rows with the same name or output.
    """
    jobs = []
    for number, row in enumerate(table, start=1):
        if not row.get("name"):
            raise BackfillError(f"Row {number} of the table has no name: each product needs its own.")
        texts = {str(key): str(value) for key, value in row.items()}
        jobs.append(fill({**template, **row}, texts))
    for key in ("name", "output"):
        values = [str(job.get(key)) for job in jobs]
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated and (key == "name" or repeated != ["None"]):
            raise BackfillError(f"Several rows have the {key} {repeated[0]}: put {{name}} into the template's {key}.")
    return jobs


def run_backfill(
    jobs: Sequence[dict[str, Any]],
    run_job: RunJob,
    *,
    home: str,
    at_once: int = 1,
    only: str | None = None,
    listener: Listener = silent,
) -> list[Row]:
    """Run every job that is not done, ``at_once`` at a time; returns their rows and keeps all rows in ``home``.

    ``only`` limits it to rows that failed with that class. Raises RowsFailedError at the end where rows failed, naming
    the first.
    """
    storage = open_storage(home, options=storage_options(home), create=True)
    rows = {row.name: row for row in _read_rows(storage)}
    waiting = [job for job in jobs if _is_wanted(rows.get(job["name"]), only)]
    listener(Stage(name="backfill", total=len(waiting)))
    with ThreadPoolExecutor(at_once, thread_name_prefix="tilewright-backfill") as pool:
        running = [pool.submit(contextvars.copy_context().run, _run_row, job, run_job) for job in waiting]
        for future in as_completed(running):
            row = future.result()
            rows[row.name] = row
            listener(Advance())
            if row.state == "failed":
                listener(Notice(text=f"{row.name} failed ({row.error_class}): {row.reason}"))
            storage.write_json(LIST_FILE, [asdict(entry) for entry in rows.values()])
    requested = [rows[job["name"]] for job in jobs if job["name"] in rows]
    failed = [row for row in requested if row.state == "failed"]
    if failed:
        raise RowsFailedError(
            f"{len(failed)} of {len(jobs)} products failed; the first: {failed[0].name} ({failed[0].error_class}): "
            f"{failed[0].reason} All are in {storage.uri}/{LIST_FILE}: run again for those that are missing, or with "
            f"only={failed[0].error_class} for those alone.",
            requested,
        )
    return requested


def _read_rows(storage: Storage) -> list[Row]:
    """The rows of the last backfill, without those that are none: their jobs run again, and find what stands."""
    plain = json_value(storage.read(LIST_FILE))
    names = {entry.name for entry in fields(Row)}
    return [
        Row(**row)
        for row in (plain if isinstance(plain, list) else ())
        if isinstance(row, dict) and {"name", "state"} <= row.keys() <= names and all(map(_is_text, row.values()))
    ]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV, YAML or JSON table. In CSV ``area`` is whatever a job's is, as text; a box may also stand in
    four columns, ``west,south,east,north`` or ``minx,miny,maxx,maxy``.

    Raises BackfillError for a table that cannot be read or holds no rows.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackfillError(f"The table {path} cannot be read: {error}.") from error
    if path.suffix.lower() == ".csv":
        rows: Any = [_csv_row(row) for row in csv.DictReader(text.splitlines())]
    else:
        try:
            rows = load_plain(text)
        except ValueError as error:
            raise BackfillError(f"The table {path} is not valid YAML: {error}.") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BackfillError(f"The table {path} holds no rows: expected a list with name, area and period each.")
    return rows


def _csv_row(row: Mapping[str, str | None]) -> dict[str, Any]:
    if None in row:
        raise BackfillError(
            f"The row {row.get('name')!r} has more values than the table has columns: put an area with commas into "
            'quotes, "13.1,48.2,13.2,48.3", or give it in the columns west,south,east,north.'
        )
    plain: dict[str, Any] = {
        key.strip(): value.strip() for key, value in row.items() if key and value and value.strip()
    }
    for names in BOX_COLUMNS:
        given = [name for name in names if name in plain]
        if not given:
            continue
        if len(given) < len(names) or "area" in plain:
            raise BackfillError(
                f"The row {plain.get('name')!r} has {', '.join(given)}: a box has {','.join(names)} and no area."
            )
        plain["area"] = ",".join(plain.pop(name) for name in names)
    if "area" in plain:
        with suppress(ValueError):
            # A box is one in the record of the product, as in jobs that have it as a list.
            plain["area"] = [float(number) for number in plain["area"].replace(",", " ").split()]
    return plain


def _is_wanted(row: Row | None, only: str | None) -> bool:
    if only is None:
        return row is None or row.state != "done"
    return row is not None and row.state == "failed" and row.error_class == only


def _run_row(job: dict[str, Any], run_job: RunJob) -> Row:
    try:
        run_job(job)
    except Exception as error:
        kind = classify(error)
        if kind is ErrorClass.FAULT:
            raise
        return Row(name=job["name"], state="failed", error_class=kind.value, reason=sentence(error))
    return Row(name=job["name"], state="done")
