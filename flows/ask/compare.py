"""Two finished products compared, on a disk or in buckets; on labels too."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.storage.storage import Storage


def compare_outputs(a: str, b: str, *, to: str | None = None, labels: Path | None = None) -> dict[str, Any]:
    """The comparison of two finished products by their folders or URIs; its files are written ``to`` a place, if any.

    ``labels``: a file of points, on which it is tested whether one of them is better.

    Raises StoreError, CompareError for what cannot be compared, a ValueError for labels that cannot be used,
    StorageError or ChangedStoreError where reading or writing fails.
    """
    # A slow import: pictures, tables and the page come with it.
    from tilewright.tasks.compare.files import compare_products

    place = None if to is None else _storage(to)
    first, second = _storage(a), _storage(b)
    if labels is not None and place is not None and place.folder is not None:
        check_labels_stay(labels, place.folder)
    tests = None if labels is None else better_on_labels(first, second, labels)
    return compare_products(first, second, (a, b), place, tests=tests)


def check_labels_stay(labels: Path, to: Path) -> None:
    """Refuse labels in the folder that a comparison is written to, whose files are named after layers too."""
    from tilewright.tasks.audit.evaluate.label_file import LabelError
    from tilewright.tasks.tables.vector_file import path_and_layer

    path, _ = path_and_layer(labels.expanduser())
    if path.resolve().parent == to.resolve():
        raise LabelError(f"--labels {path.name} lies in --to {to}, where it could be written over: give another --to.")


def better_on_labels(a: Storage, b: Storage, labels: Path) -> dict[str, dict[str, Any]]:
    """McNemar's test of two products on the points of a file, by layer: on the labels that both can be held against.

    Raises as `evaluate_layers` does, and LabelError for labels that are no points.
    """
    from tilewright.tasks.audit.evaluate.scores import mcnemar

    first, second = _by_layer(a, labels), _by_layer(b, labels)
    tests = {}
    for layer, one in first.items():
        if (other := second.get(layer)) is None:
            continue
        right = [
            dict(zip(each.pairs.owners.tolist(), (each.pairs.labels == each.pairs.product).tolist(), strict=True))
            for each in (one, other)
            if each.pairs is not None
        ]
        both = right[0].keys() & right[1].keys()
        only_a = sum(right[0][owner] and not right[1][owner] for owner in both)
        only_b = sum(right[1][owner] and not right[0][owner] for owner in both)
        tests[layer] = mcnemar(len(both), only_a, only_b)
    return tests


def _by_layer(storage: Storage, path: Path) -> dict[str, LayerEvaluation]:
    """The layers of classes of a product held against labels."""
    from tilewright.flows.job.outline import cut_at_180
    from tilewright.tasks.audit.evaluate.evaluate import evaluate_layers, open_labels
    from tilewright.tasks.audit.evaluate.label_file import LabelError
    from tilewright.tasks.inventory.report_grid import report_grid
    from tilewright.tasks.storage.documents import read_object

    grid = report_grid(storage, read_object(storage, "report.json") or {})
    with ExitStack() as stack:
        labels = open_labels(path, grid, stack, cut=cut_at_180)
        if labels.table is None or labels.table.shapes is not None:
            raise LabelError(
                f"--labels {labels.name} holds no points: pixels of polygons and rasters are not independent of each "
                "other, as the test needs them. Give points."
            )
        found = evaluate_layers(storage, labels, grid, groups=lambda _: None, take=lambda *_: None)
    return {each.target.layer.name: each for each in found if each.target.classes}


def _storage(uri: str) -> Storage:
    return open_storage(uri, options=storage_options(uri))


def comparison_lines(document: Mapping[str, Any], to: str | None) -> Iterator[str]:
    """The lines for a person: the two products, the sentences, and where the page is."""
    for letter in ("a", "b"):
        told = document[letter]
        facts = ", ".join(each for each in (told["model"], told["period"]) if each)
        yield f"{letter.upper()}: {told['name']}{f' ({facts})' if facts else ''}"
    yield from document["summary"]
    if to is not None:
        yield f"  page     {to.rstrip('/')}/comparison.html"
        yield f"  figures  {to.rstrip('/')}/comparison.json"
        yield f"  places   {to.rstrip('/')}/{document['table']}"
