"""The files of an evaluation: what is asked of it, where they go, and what the product's Item says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.flows.ask.added_files import ELSEWHERE, AddedFile, add_files, place_of_files
from tilewright.flows.environment import storage_options
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.audit.shown.pairs_file import PAIRS
from tilewright.tasks.audit.shown.words import f1_by_design
from tilewright.tasks.audit.trust.entries import check_coverage, check_free
from tilewright.tasks.audit.trust.layer import FILES
from tilewright.tasks.compare.files import check_outside
from tilewright.tasks.compare.words import short
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.vector_file import path_and_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.flows.ask.added_files import FilesPlace
    from tilewright.tasks.storage.storage import Storage

DOCUMENT, PAGE = "evaluation.json", "evaluation.html"

SCORES = "tw:evaluation"
"""The property of a product's Item that says how good it is."""

MOST_CLASSES = 100
"""Classes in an Item, at most: an Item is read whole by whoever looks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of an evaluation: a column, a layer, mappings of classes, what it is grouped by, the coverage of
    each class at which the map is to be trusted; ``imagery`` of the product's scenes at the worst places, of a product
    in a bucket only if it is ``trusted`` as one's own.
    """

    column: str | None = None
    layer: str | None = None
    maps: Sequence[str] | Mapping[str, Sequence[str]] = ()
    by: str | None = None
    ious: Sequence[float] = ()
    trust: float | None = None
    imagery: bool = False
    trusted: bool = False

    def __post_init__(self) -> None:
        for each in self.ious:
            if not 0 < each <= 1:
                raise LabelError(f"--iou {each}: expected an overlap above 0 and at most 1, such as 0.5.")
        if self.trust is not None:
            check_coverage(self.trust)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files of the evaluation."""
        return (DOCUMENT, PAGE, PAIRS, *(FILES if self.trust is not None else ()))


def places_of(
    storage: Storage, labels: Path, wanted: Wanted, *, to: str | None
) -> tuple[Storage | None, FilesPlace | None]:
    """Where the files of an evaluation go: beside the product, or into it. Refuses what must not be written over."""
    place = None if to is None else open_storage(to, options=storage_options(to))
    if place is not None:
        check_outside(place, (storage,))
    folder = (place or storage).folder
    path, _ = path_and_layer(labels.expanduser())
    if folder is not None and path.resolve() in [(folder / name).resolve() for name in wanted.files]:
        raise LabelError(f"{labels} would be written over by {path.name} of the evaluation: give another --to.")
    if place is not None:
        return place, None
    if wanted.trust is not None:
        check_free(storage, elsewhere=ELSEWHERE)
    return None, place_of_files(storage, wanted.files)


def added(folder: Path, name: str) -> AddedFile:
    """A file of an evaluation that lies in a folder, as it comes into a product."""
    kinds = {
        DOCUMENT: ("evaluation", "application/json", "Scores against labels", ("metadata",)),
        PAGE: ("evaluation-page", "text/html", "How good the map is", ("overview",)),
        PAIRS: ("evaluation-pairs", "text/csv", "Labels beside what the map says", ("metadata",)),
    }
    key, media_type, title, roles = kinds[name]
    return AddedFile(name=name, path=folder / name, key=key, media_type=media_type, title=title, roles=roles)


def put(
    files: Sequence[AddedFile], document: Mapping[str, Any], *, beside: Storage | None, inside: FilesPlace | None
) -> None:
    """Put the files of an evaluation beside the product, or into it, with the scores in its Item.

    Raises as `add_files` does.
    """
    if inside is not None:
        add_files(inside, files, properties={SCORES: item_scores(document)})
        return
    assert beside is not None, "files go into the product or beside it"
    target = open_storage(beside.uri, options=beside.options, create=True)
    for each in files:
        target.upload(each.name, each.path)


def item_scores(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a product's Item says of an evaluation, the short of its document: a list, whose rows have one form in the
    table of Items too. Of a drawn sample the figures are the design's estimates; classes that do not occur are left
    out, and so are those beyond the most frequent `MOST_CLASSES`.
    """
    layers = [_layer_scores(told) for told in (document, *document["others"])]
    return {"labels": short(document["labels"]["name"]), "file": DOCUMENT, "layers": layers}


def _layer_scores(told: Mapping[str, Any]) -> dict[str, Any]:
    shared = {"layer": told["layer"], "kind": told["kind"]}
    if told["kind"] == "value":
        return {**shared, "n": told["n"], **{name: told[name] for name in ("rmse", "mae", "bias", "r2")}}
    if told["kind"] == "objects":
        names = ("n_labels", "n_product", "iou", "precision", "recall", "f1", "average_precision")
        return {**shared, **{name: told[name] for name in names}}
    design, n = told.get("design"), told["n"]
    if design is None:
        right = sum(told["confusion"][i][i] for i in range(len(told["classes"])))
        accuracy, ends = told["overall_accuracy"], wilson(right, n) if told["unit"] == "label" else None
        figures = {name: told["per_class"][name] for name in told["classes"]}
    else:
        n, whole = design["n"], design["overall_accuracy"]
        accuracy, ends = whole["estimate"], None if whole["low"] is None else (whole["low"], whole["high"])
        figures = {
            name: {figure: row[figure]["estimate"] for figure in ("precision", "recall")} | {"f1": f1_by_design(row)}
            for name, row in design["classes"].items()
        }
    often = {name: row["n_labels"] + row["n_product"] for name, row in told["per_class"].items()}
    there = [name for name, row in figures.items() if row["f1"] is not None]
    kept = {*sorted(there, key=lambda name: (-often.get(name, 0), name))[:MOST_CLASSES]}
    return {
        **shared,
        "n": n,
        "unit": told["unit"],
        "design": None if design is None else design["kind"],
        "overall_accuracy": accuracy,
        "interval": None if ends is None else list(ends),
        "classes": [
            {"name": name, **{figure: figures[name][figure] for figure in ("precision", "recall", "f1")}}
            for name in there
            if name in kept
        ],
    }
