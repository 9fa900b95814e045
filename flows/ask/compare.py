"""Two finished products compared, on a disk or in buckets; on labels too."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.compare.difference.bootstrap import PairedLabels
    from tilewright.tasks.compare.difference.tolerance import Given, Tolerances
    from tilewright.tasks.storage.storage import Storage


class NotSameError(RuntimeError):
    """Two products that are further apart than they may be; the message says what differs most, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPoints:
    """The points on which two maps are held against each other: their file, the ``column`` of labels (None: that named
    as a layer), the ``layer`` (None: all that there are columns for), and ``maps``, the labels that mean a class.
    """

    path: Path
    column: str | None = None
    layer: str | None = None
    maps: Sequence[str] | Mapping[str, Sequence[str]] = ()


def compare_outputs(
    a: str, b: str, *, to: str | None = None, labels: LabelledPoints | None = None, same: Tolerances | None = None
) -> dict[str, Any]:
    """The comparison of two finished products by their folders or URIs; its files are written ``to`` a place, if any.

    ``labels``: points, on which it is tested whether one of them is better. ``same``: the tolerances within
    which they are the same.

    Raises StoreError, CompareError for what cannot be compared, a ValueError for labels that cannot be used,
    StorageError or ChangedStoreError where reading or writing fails.
    """
    # A slow import: pictures, tables and the page come with it.
    from tilewright.tasks.compare.difference.products import compare_products

    place = None if to is None else _storage(to)
    first, second = _storage(a), _storage(b)
    if labels is not None and place is not None and place.folder is not None:
        check_labels_stay(labels.path, place.folder)
    tests, draws = ({}, {}) if labels is None else better_on_labels(first, second, labels)
    return compare_products(first, second, (a, b), place, tests=tests, draws=draws, tolerances=same)


def asked_points(
    labels: Path | None,
    *,
    column: str | None = None,
    layer: str | None = None,
    maps: Sequence[str] | Mapping[str, Sequence[str]] = (),
) -> LabelledPoints | None:
    """The points on which two maps are held against each other, None without labels.

    Raises CompareError for words on labels that are not there.
    """
    from tilewright.tasks.compare.lattice import CompareError

    if labels is not None:
        return LabelledPoints(path=labels, column=column, layer=layer, maps=maps)
    if column or layer or maps:
        raise CompareError("column, layer and map speak of --labels: give it too.")
    return None


def wanted_tolerances(
    *, same: bool, differ: Given = None, atol: Given = None, rtol: Given = None, iou: Given = None
) -> Tolerances | None:
    """The tolerances within which two products are to be the same; None if that is not asked.

    Raises CompareError for what is none, and for tolerances of nothing.
    """
    from tilewright.tasks.compare.difference.tolerance import any_given, read_tolerances
    from tilewright.tasks.compare.lattice import CompareError

    if not same:
        if any_given(differ, atol, rtol, iou):
            raise CompareError("differ, atol, rtol and iou are the tolerances of --same: give it too.")
        return None
    return read_tolerances(differ=differ, atol=atol, rtol=rtol, iou=iou)


def check_labels_stay(labels: Path, to: Path) -> None:
    """Refuse labels in the folder that a comparison is written to, whose files are named after layers too."""
    from tilewright.tasks.audit.evaluate.label_file import LabelError
    from tilewright.tasks.tables.vector_file import path_and_layer

    path, _ = path_and_layer(labels.expanduser())
    if path.resolve().parent == to.resolve():
        raise LabelError(f"--labels {path.name} lies in --to {to}, where it could be written over: give another --to.")


def better_on_labels(
    a: Storage, b: Storage, labels: LabelledPoints
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """McNemar's test and the intervals of two products on points, each by layer: on the labels that both can be held
    against. Where the points are a sample by strata (`sample_design`) they count by its design.

    Raises as `evaluate_layers` does, LabelError for labels that are no points, and DesignError for a sample whose
    columns tell no design.
    """
    from tilewright.tasks.audit.evaluate.scores import mcnemar
    from tilewright.tasks.compare.difference.bootstrap import bootstrap

    first, second = _by_layer(a, labels), _by_layer(b, labels)
    tests, draws = {}, {}
    for layer, one in first.items():
        if (other := second.get(layer)) is None:
            continue
        pairs = _paired(one, other)
        right_a, right_b = pairs.a == pairs.labels, pairs.b == pairs.labels
        tested = mcnemar(len(pairs.labels), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()))
        # The test counts labels alike: of a sample by strata it says nothing of the map.
        unsaid = {"statistic": None, "p_value": None, "better": None} if pairs.weighted else {}
        told = {"weighted": pairs.weighted, "n_copies": pairs.n_copies, **_labels_told(one, other)}
        tests[layer] = tested | unsaid | told
        draws[layer] = bootstrap(pairs) | told
    return tests, draws


def _paired(a: LayerEvaluation, b: LayerEvaluation) -> PairedLabels:
    """The labels of both, by their rows in the file, with what both maps say there.

    Of labels that say the same of one pixel the first counts: copies would make anything significant.
    """
    import numpy as np

    from tilewright.tasks.audit.evaluate.scores import OTHER
    from tilewright.tasks.compare.difference.bootstrap import PairedLabels

    assert a.pairs is not None, "labels are points"
    assert b.pairs is not None, "labels are points"
    assert a.target.classes, "layers are classes"
    assert b.target.classes, "layers are classes"
    own = a.target.classes.names, b.target.classes.names
    names = list(dict.fromkeys([*own[0], *own[1]]))
    # What is no class of its layer comes last, apart from a class of that name.
    tables = [np.array([*map(names.index, each), len(names)]) for each in own]
    owners, of_a, of_b = np.intersect1d(a.pairs.owners, b.pairs.owners, assume_unique=True, return_indices=True)
    places = np.stack([each[of_a] for each in (a.pairs.rows, a.pairs.cols, a.pairs.labels)])
    once = np.sort(np.unique(places, axis=1, return_index=True)[1])
    stratum, sizes = _strata(a, owners[once])
    of_a, of_b = of_a[once], of_b[once]
    return PairedLabels(
        n_copies=len(owners) - len(once),
        stratum=stratum,
        sizes=sizes,
        names=[*names, OTHER],
        scored=len(names),
        labels=tables[0][a.pairs.labels[of_a]],
        a=tables[0][a.pairs.product[of_a]],
        b=tables[1][b.pairs.product[of_b]],
    )


def _strata(a: LayerEvaluation, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """The number of each row's stratum (row,), in the order of their names, and the pixels of each; none without.

    Raises DesignError for a sample whose columns tell no design.
    """
    import numpy as np

    from tilewright.tasks.audit.design.estimate import stratum_sizes
    from tilewright.tasks.audit.design.table import sample_design

    drawn = None if a.table is None else sample_design(a.table.columns)
    if drawn is None or not len(owners):
        return None, None
    names, number = np.unique(drawn.stratum[owners].astype(str), return_inverse=True)
    if len(names) == 1:
        return None, None
    return number, stratum_sizes(number, drawn.stratum_pixels[owners], names.tolist())


def _labels_told(a: LayerEvaluation, b: LayerEvaluation) -> dict[str, Any]:
    """The labels' file, how many it has, and how many of them each map could not be held against, by reason."""
    assert a.table is not None, "labels are a table"
    reasons = ("n_outside", "n_nodata", "n_unlabelled", "n_unknown")
    left_out = {
        which: {reason: getattr(each.uncounted, reason) for reason in reasons} for which, each in (("a", a), ("b", b))
    }
    return {"labels": a.table.name, "n_labels": a.table.n, "left_out": left_out}


def _by_layer(storage: Storage, points: LabelledPoints) -> dict[str, LayerEvaluation]:
    """The layers of classes of a product held against labels."""
    from tilewright.flows.job.areas.outline import cut_at_180
    from tilewright.tasks.audit.evaluate.classes import given_maps
    from tilewright.tasks.audit.evaluate.evaluate import evaluate_layers, open_labels
    from tilewright.tasks.audit.evaluate.label_file import LabelError
    from tilewright.tasks.inventory.report_grid import report_grid
    from tilewright.tasks.storage.documents import read_object

    grid = report_grid(storage, read_object(storage, "report.json") or {})
    with ExitStack() as stack:
        labels = open_labels(points.path, grid, stack, cut=cut_at_180)
        if labels.table is None or labels.table.shapes is not None:
            raise LabelError(
                f"--labels {labels.name} holds no points: pixels of polygons and rasters are not independent of each "
                "other, as the test needs them. Give points."
            )
        found = evaluate_layers(
            storage,
            labels,
            grid,
            column=points.column,
            layer=points.layer,
            maps=given_maps(points.maps),
            groups=lambda _: None,
            take=lambda *_: None,
        )
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
        place = to.rstrip("/")
        yield f"  page     {place}/comparison.html"
        yield f"  figures  {place}/comparison.json"
        if document["table"] is not None:
            yield f"  places   {place}/{document['table']}"
        for told in (document, *document["others"], *document["value_layers"]):
            if "map" in told:
                yield f"  map      {place}/{told['map']}"
