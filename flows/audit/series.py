"""Products of several dates held against labels: each against those of its dates, and all together."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.flows.audit.dates import periods_of, rows_of_dates
from tilewright.flows.audit.evaluate import evaluate_output
from tilewright.flows.audit.files import DOCUMENT, PAGE
from tilewright.flows.environment import storage_options
from tilewright.tasks.audit.evaluate.label_dates import DATES, date_column, label_days
from tilewright.tasks.audit.evaluate.label_file import LabelError, is_raster
from tilewright.tasks.audit.evaluate.scores import class_scores
from tilewright.tasks.audit.evaluate.tally import N_BINS, ClassCounts
from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import silent
from tilewright.tasks.report.format import plural
from tilewright.tasks.report.sections import period_text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import json_bytes, open_storage
from tilewright.tasks.tables.csv_points import read_points_csv
from tilewright.tasks.tables.vector_file import path_and_layer, read_geometry_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tilewright.flows.audit.files import Wanted
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage

MOST_PRODUCTS = 1000

BY_DATE = "date"
"""What --by calls the dates of the products, which is how several are told anyway."""


def evaluate_at(
    output: str,
    labels: Path,
    wanted: Wanted,
    *,
    to: str | None = None,
    write: bool = True,
    listener: Listener = silent,
) -> dict[str, Any]:
    """What `evaluate_output` says of a product; of a folder of products of several dates what it says of each, under
    ``dates``, and of all together.

    A label with a date is held against the products of whose period it is, labels without a column of dates against
    all. Its files come ``to`` a place, those of each product into a folder of its name there.

    Raises as `evaluate_output` does, and a ValueError for labels of which none can be held against any product.
    """
    storage = open_storage(output, options=storage_options(output))
    found = [] if read_item(storage) is not None else _products(storage)
    if not found:
        return evaluate_output(output, labels, wanted, to=to, write=write, listener=listener)
    if write and to is None:
        raise StoreError(f"{output} is a folder of {plural(len(found), 'product')}: give --to DIR for what is said.")
    if wanted.trust is not None:
        raise LabelError("--trust is about one product: evaluate each by itself.")
    columns = None if is_raster(labels) else _columns(labels)
    column = None if columns is None else date_column(columns)
    if wanted.by == BY_DATE and (columns is None or BY_DATE not in columns.column_names or column == BY_DATE):
        wanted = replace(wanted, by=None)
    held = np.zeros(0 if columns is None else columns.num_rows, dtype=bool)
    dates = []
    for name, uri, report in found:
        rows = None if column is None else rows_of_dates(columns, column, report, name=labels.name)
        held[slice(0) if rows is None else rows] = True
        told, refused = None, None if rows is None or len(rows) else "no label is of its dates"
        if refused is None:
            place = None if to is None else f"{to.rstrip('/')}/{name}"
            told, refused = _one(uri, labels, wanted, to=place, write=write, rows=rows, listener=listener)
        dates.append({"name": name, "output": uri, "period": _plain(report), "refused": refused, "evaluation": told})
    document = _document(output, dates, labels.name, column=column, counts=_counts(columns, column, held, labels.name))
    if write and to is not None:
        open_storage(to, options=storage_options(to), create=True).write(DOCUMENT, json_bytes(document))
    return document


def _one(output: str, labels: Path, wanted: Wanted, **more: Any) -> tuple[dict[str, Any] | None, str | None]:
    """What is said of one product, or why its labels cannot be used: of other dates or areas they may be."""
    try:
        return evaluate_output(output, labels, wanted, **more), None
    except LabelError as error:
        return None, str(error)


def _document(
    output: str, dates: Sequence[Mapping[str, Any]], name: str, *, column: str | None, counts: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of all dates. Raises LabelError where no label could be held against any product."""
    evaluated = [each["evaluation"] for each in dates if each["evaluation"] is not None]
    if not evaluated:
        why = sorted({str(each["refused"]) for each in dates})
        raise LabelError(f"No label of {name} can be held against a product of {output}: {why[0].rstrip('.')}.")
    document = {
        "kind": "dates",
        "output": output,
        "column_of_dates": column,
        **counts,
        "total": _total(evaluated),
        "dates": dates,
    }
    return {**document, "summary": [*_sentences(document, name)]}


def series_lines(document: Mapping[str, Any], to: str) -> Iterator[str]:
    """The lines for a person: the sentences, and where the files of all and of each product are."""
    yield from document["summary"]
    place = to.rstrip("/")
    yield f"  figures  {place}/{DOCUMENT}"
    for each in document["dates"]:
        if each["evaluation"] is not None:
            yield f"  page     {place}/{each['name']}/{PAGE}"


def _products(storage: Storage) -> list[tuple[str, str, dict[str, Any]]]:
    """The finished maps right below a folder or prefix: name, URI and report, by their periods."""
    found = []
    if storage.uri.startswith(("http://", "https://")):
        # What lies there cannot be listed.
        return []
    for name in storage.top_names():
        if name.startswith(".") or (storage.folder is not None and not (storage.folder / name).is_dir()):
            continue
        uri = f"{storage.uri.rstrip('/')}/{name}"
        below = open_storage(uri, options=storage.options)
        if read_item(below) is None:
            continue
        report = read_object(below, "report.json") or {}
        if not report.get("places"):
            found.append((name, uri, report))
        if len(found) > MOST_PRODUCTS:
            raise StoreError(f"{storage.uri} holds over {MOST_PRODUCTS:,} products: evaluate fewer at a time.")
    return sorted(found, key=lambda each: (min(periods_of(each[2]), default=(date.max, date.max)), each[0]))


def _columns(labels: Path) -> Any:
    plain, _ = path_and_layer(labels)
    return (read_points_csv(labels) if plain.suffix.lower() == ".csv" else read_geometry_table(labels)).columns


def _plain(report: Mapping[str, Any]) -> str:
    return " ".join(period_text(report).split())


def _counts(columns: Any, column: str | None, held: np.ndarray, name: str) -> dict[str, Any]:
    """How many labels there are, and how many are of no date and of a date of no product."""
    if column is None:
        return {"n_rows": None if columns is None else columns.num_rows, "n_undated": 0, "n_other_dates": 0}
    undated = np.array([days is None for days in label_days(columns, column, name=name)], dtype=bool)
    return {
        "n_rows": columns.num_rows,
        "n_undated": int(undated.sum()),
        "n_other_dates": int((~held & ~undated).sum()),
    }


def _total(told: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The scores of all pairs of all products; None where these are of unlike layers, or things."""
    kinds = {(each["kind"], each["layer"], each["unit"]) for each in told}
    if len(kinds) != 1:
        return None
    kind, layer, unit = kinds.pop()
    shared = {"layer": layer, "kind": kind, "unit": unit}
    if kind == "value":
        counted = [each for each in told if each["n"]]
        n = sum(each["n"] for each in counted)
        means = {key: math.fsum(each[key] * each["n"] for each in counted) for key in ("mae", "bias")}
        squared = math.fsum(each["rmse"] ** 2 * each["n"] for each in counted)
        shares = {key: total / n if n else None for key, total in means.items()}
        return {**shared, "n": n, "rmse": math.sqrt(squared / n) if n else None, **shares}
    if kind != "class":
        return None
    names = list(dict.fromkeys(name for each in told for name in each["classes"]))
    confusion = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for each in told:
        at = np.array([names.index(name) for name in each["classes"]], dtype=np.int64)
        confusion[np.ix_(at, at)] += np.array(each["confusion"], dtype=np.int64).reshape(len(at), len(at))
    scores = class_scores(names, ClassCounts(confusion=confusion, bins=np.zeros((3, N_BINS))))
    del scores["calibration"]
    return {**shared, **scores}


def _sentences(document: Mapping[str, Any], name: str) -> Iterator[str]:
    dates, total, column = document["dates"], document["total"], document["column_of_dates"]
    if total is not None and total["n"] and total["kind"] == "class":
        right = percent_words(total["overall_accuracy"])
        yield f"All dates together: {right} of {plural(total['n'], total['unit'])} agree with the maps."
    elif total is not None and total["n"]:
        yield f"All dates together: RMSE {total['rmse']:.4g} of {plural(total['n'], total['unit'])}."
    for each in dates:
        head = f"{short(each['name'])} ({each['period']})" if each["period"] else short(each["name"])
        yield f"{head}: {each['refused'] or each['evaluation']['summary'][0]}"
    if column is None:
        listed = ", ".join(DATES[:3])
        yield f"{name} has no column of dates ({listed}): its labels are held against each of the products."
        return
    parts = [
        (document["n_other_dates"], "of a date of no product (a month must lie in a period as a whole)"),
        (document["n_undated"], f"without a date in {column!r}"),
    ]
    kept = [f"{plural(n, 'label')} {words}" for n, words in parts if n]
    if kept:
        yield f"Not compared: {'; '.join(kept)}."
