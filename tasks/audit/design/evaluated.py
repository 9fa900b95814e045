"""What an evaluation says by the design of its labels, where they are a sample that was drawn from the product."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.design.estimate import DesignError, LabelledSample, estimate_design
from tilewright.tasks.audit.design.population import class_sizes
from tilewright.tasks.audit.design.strata import valid_mask
from tilewright.tasks.audit.design.table import ID, pixel_areas, sample_design
from tilewright.tasks.audit.evaluate.classes import UNKNOWN
from tilewright.tasks.audit.evaluate.pairs import gathered, label_values
from tilewright.tasks.audit.evaluate.targets import opened
from tilewright.tasks.compare.words import short
from tilewright.tasks.progress import silent
from tilewright.tasks.zones.layers import LayerPixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.audit.design.table import SampleDesign
    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.audit.evaluate.label_file import LabelTable
    from tilewright.tasks.progress import Listener

NO_CLASS = (
    "{n} of the sample's labels are of {names}, which the map does not have: each is an error of the map. --map says "
    "which class a label means, and a place that cannot be told has no label."
)
OTHERS = "other classes that the map does not have"

MOST_BEYOND = 20
"""Classes that the map does not have of which figures are estimated, at most: those with the most labels."""

A_PART = "The sample's strata hold {share:.1%} of the map's observed pixels: the estimates cover them alone."
TOO_LARGE = (
    "The sample's strata are {share:.2f} times as large as what the map observed: they are of another map, or were "
    "changed, and areas are as wrong."
)
SAME = 0.005
"""Part by which two sizes of what was observed may differ: pixels of two grids do not cover quite the same."""

NOT_SEEN = "{n} labelled places have no value in the product: the estimates do not cover such ground."


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """The labelled rows of a sample that lie on the map, (row,): ``owners`` in the table, absolute pixels, and codes of
    the mapped and the labelled class. ``names`` are those of all labelled classes by code, ``beyond`` those of them
    that the map does not have, with the number of their labels. ``n_unseen``: rows of such a class without a map.
    """

    owners: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    names: Mapping[int, str]
    beyond: Mapping[str, int]
    n_unseen: int


def design_entry(evaluation: LayerEvaluation, listener: Listener = silent) -> dict[str, Any]:
    """The entry ``design`` of an evaluation's document (`estimate_design`); none for labels that are no drawn sample,
    no points, or held against values, and where no label could be compared. A label of a class that the layer does not
    have is an error of the map: that class has a recall of 0, an area, and no precision.

    The layer is read once more: ``whole_map`` is true if the sample's strata are as large as what it observed, and
    each has a label. A sample without strata that is as large is weighted by the sizes of the mapped classes.

    Raises DesignError for columns that tell no design, or a place twice; StorageError or ChangedStoreError where pixels
    cannot be read.
    """
    classes, table, pairs = evaluation.target.classes, evaluation.table, evaluation.pairs
    if classes is None or table is None or pairs is None or not len(pairs):
        return {}
    drawn = sample_design(table.columns)
    if drawn is None:
        return {}
    placed = _sample_rows(evaluation)
    _check_once(table, placed)
    own = pixel_areas(evaluation.grid, placed.rows, placed.cols)
    areas = own if drawn.pixel_km2 is None else drawn.pixel_km2[placed.owners]
    sizes = class_sizes(opened(evaluation.storage, evaluation.target), evaluation.target.layer, listener)
    sample = LabelledSample(
        design=drawn.design,
        stratum=drawn.stratum[placed.owners],
        stratum_pixels=drawn.stratum_pixels[placed.owners],
        mapped=placed.mapped,
        reference=placed.reference,
        pixel_km2=areas,
    )
    found = estimate_design(
        sample,
        placed.names,
        all_strata=drawn.all_strata(),
        class_pixels=_class_pixels(evaluation, drawn, sizes),
    )
    # Strata may be of a part, rows of some may be gone, and the map may be another than the one that was drawn from.
    told = sum(drawn.all_strata().values()) * float((areas / own).mean()) / sum(sizes.values())
    alike = abs(told - 1) <= SAME
    found["whole_map"] = alike and drawn.all_strata().keys() == set(sample.stratum.tolist())
    if not alike:
        found["notes"].insert(0, (A_PART if told < 1 else TOO_LARGE).format(share=told))
    if placed.beyond:
        n = sum(placed.beyond.values())
        found["notes"].append(NO_CLASS.format(n=n, names=", ".join(map(short, placed.beyond))))
    n_unseen = evaluation.uncounted.n_nodata + evaluation.uncounted.n_outside + placed.n_unseen
    if n_unseen:
        found["notes"].append(NOT_SEEN.format(n=n_unseen))
    return {"design": found}


def _sample_rows(evaluation: LayerEvaluation) -> SampleRows:
    """The rows of a sample, those of classes that the layer does not have too, in the order of the table."""
    table, pairs, target = evaluation.table, evaluation.pairs, evaluation.target
    assert table is not None, "a sample is a table"
    assert pairs is not None, "a sample is points"
    assert target.classes is not None, "a sample is of classes"
    names = dict(enumerate(target.classes.names))
    labels, labelled, _ = label_values(table, target)
    owners = np.flatnonzero(labelled & table.placed & (labels == UNKNOWN))
    rows, cols = table.rows[owners], table.cols[owners]
    with LayerPixels(opened(evaluation.storage, target)) as pixels:
        values = gathered(pixels, target.layer, rows, cols, evaluation.grid)
    seen = valid_mask(values, target.layer)
    owners, rows, cols, values = owners[seen], rows[seen], cols[seen], values[seen]
    texts = [str(label).strip() for label in table.columns[target.column].take(owners).to_pylist()]
    often = sorted(Counter(texts).items(), key=lambda each: (-each[1], each[0]))
    kept = {label for label, _ in often[:MOST_BEYOND]}
    told = [label if label in kept else OTHERS for label in texts]
    beyond = dict(Counter(sorted(told, key=lambda label: (label not in kept, label))))
    codes = {label: target.classes.other + 1 + number for number, label in enumerate(beyond)}
    # A number that is no value may be written as the name of a class is.
    named = {code: f"{label} (no class)" if label in names.values() else label for label, code in codes.items()}
    everyone = np.concatenate([pairs.owners, owners])
    order = np.argsort(everyone, kind="stable")
    beside = np.array([codes[label] for label in told], dtype=np.int64)
    return SampleRows(
        owners=everyone[order],
        rows=np.concatenate([pairs.rows, rows])[order],
        cols=np.concatenate([pairs.cols, cols])[order],
        mapped=np.concatenate([pairs.product, target.classes.product_codes(values)])[order],
        reference=np.concatenate([pairs.labels, beside])[order],
        names=names | named,
        beyond={named[codes[label]]: n for label, n in beyond.items()},
        n_unseen=int((~seen).sum()),
    )


def _check_once(table: LabelTable, placed: SampleRows) -> None:
    """Refuse a sample that holds a place twice, which none without replacement does: it would count as two."""
    n = len(placed.owners)
    ids = table.columns[ID].take(placed.owners).to_pylist() if ID in table.columns.column_names else [None] * n
    seen: dict[tuple[str, int, int], int] = {}
    places = (each.tolist() for each in (placed.rows, placed.cols, placed.owners))
    for told, row, col, owner in zip(ids, *places, strict=True):
        # Two places of a finer map may lie in one pixel: they have numbers of their own.
        before = seen.setdefault((str(told), row, col), owner)
        if before != owner:
            rows = f"Rows {table.number(before):,} and {table.number(owner):,}"
            raise DesignError(f"{rows} of {table.name} are the same place of the sample: keep one.")


def _class_pixels(evaluation: LayerEvaluation, drawn: SampleDesign, sizes: Mapping[int, int]) -> dict[int, int] | None:
    """The pixels of each scored class, if the sample is one of all pixels without strata."""
    strata, classes = drawn.all_strata(), evaluation.target.classes
    if len(strata) != 1 or classes is None:
        return None
    if [*strata.values()] != [sum(sizes.values())]:
        return None
    found: dict[int, int] = {}
    for value, n in sizes.items():
        scored = classes.of_value.get(value, classes.other)
        found[scored] = found.get(scored, 0) + n
    return found
