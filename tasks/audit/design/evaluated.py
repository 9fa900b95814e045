"""What an evaluation says by the design of its labels, where they are a sample that was drawn from the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.design.estimate import DesignError, LabelledSample, estimate_design
from tilewright.tasks.audit.design.population import class_sizes
from tilewright.tasks.audit.design.table import ID, pixel_areas, sample_design
from tilewright.tasks.audit.evaluate.targets import opened
from tilewright.tasks.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.audit.design.table import SampleDesign
    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.progress import Listener

NO_CLASS = (
    "{n} labels name no class of the layer and are left out as if they had not been drawn: if there is such ground, "
    "the map is less accurate than this says."
)
A_PART = "The sample's strata hold {share:.1%} of the map's observed pixels: the estimates cover them alone."
TOO_LARGE = (
    "The sample's strata are {share:.2f} times as large as what the map observed: they are of another map, or were "
    "changed, and areas are as wrong."
)
SAME = 0.005
"""Part by which two sizes of what was observed may differ: pixels of two grids do not cover quite the same."""

NOT_SEEN = "{n} labelled places have no value in the product: the estimates do not cover such ground."


def design_entry(evaluation: LayerEvaluation, listener: Listener = silent) -> dict[str, Any]:
    """The entry ``design`` of an evaluation's document (`estimate_design`); none for labels that are no drawn sample,
    no points, or held against values, and where no label could be compared.

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
    _check_once(evaluation)
    own = pixel_areas(evaluation.grid, pairs.rows, pairs.cols)
    areas = own if drawn.pixel_km2 is None else drawn.pixel_km2[pairs.owners]
    sizes = class_sizes(opened(evaluation.storage, evaluation.target), evaluation.target.layer, listener)
    sample = LabelledSample(
        design=drawn.design,
        stratum=drawn.stratum[pairs.owners],
        stratum_pixels=drawn.stratum_pixels[pairs.owners],
        mapped=pairs.product,
        reference=pairs.labels,
        pixel_km2=areas,
    )
    found = estimate_design(
        sample,
        dict(enumerate(classes.names)),
        all_strata=drawn.all_strata(),
        class_pixels=_class_pixels(evaluation, drawn, sizes),
    )
    # Strata may be of a part, rows of some may be gone, and the map may be another than the one that was drawn from.
    told = sum(drawn.all_strata().values()) * float((areas / own).mean()) / sum(sizes.values())
    alike = abs(told - 1) <= SAME
    found["whole_map"] = alike and drawn.all_strata().keys() == set(sample.stratum.tolist())
    if not alike:
        found["notes"].insert(0, (A_PART if told < 1 else TOO_LARGE).format(share=told))
    uncounted = evaluation.uncounted
    if uncounted.n_unknown:
        found["notes"].append(NO_CLASS.format(n=uncounted.n_unknown))
    if uncounted.n_nodata + uncounted.n_outside:
        found["notes"].append(NOT_SEEN.format(n=uncounted.n_nodata + uncounted.n_outside))
    return {"design": found}


def _check_once(evaluation: LayerEvaluation) -> None:
    """Refuse a sample that holds a place twice, which none without replacement does: it would count as two."""
    table, pairs = evaluation.table, evaluation.pairs
    assert table is not None, "a sample is a table"
    assert pairs is not None, "a sample is points"
    ids = table.columns[ID].take(pairs.owners).to_pylist() if ID in table.columns.column_names else [None] * len(pairs)
    seen: dict[tuple[str, int, int], int] = {}
    for told, row, col, owner in zip(ids, pairs.rows.tolist(), pairs.cols.tolist(), pairs.owners.tolist(), strict=True):
        # Two places of a finer map may lie in one pixel: they have numbers of their own.
        before = seen.setdefault((str(told), row, col), owner)
        if before != owner:
            raise DesignError(
                f"Rows {before + 1:,} and {owner + 1:,} of {table.name} are the same place of the sample: keep one."
            )


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
