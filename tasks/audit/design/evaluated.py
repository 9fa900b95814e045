"""What an evaluation says by the design of its labels, where they are a sample that was drawn from the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.design.estimate import LabelledSample, estimate_design
from tilewright.tasks.audit.design.population import class_sizes
from tilewright.tasks.audit.design.table import pixel_areas, sample_design
from tilewright.tasks.audit.evaluate.targets import opened
from tilewright.tasks.progress import silent

if TYPE_CHECKING:
    from tilewright.tasks.audit.design.table import SampleDesign
    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.progress import Listener

NO_CLASS = (
    "{n} labels name no class of the layer and are left out as if they had not been drawn: if there is such ground, "
    "the map is less accurate than this says."
)
NOT_SEEN = "{n} labelled places have no value in the product: the estimates do not cover such ground."


def design_entry(evaluation: LayerEvaluation, listener: Listener = silent) -> dict[str, Any]:
    """The entry ``design`` of an evaluation's document (`estimate_design`); none for labels that are no drawn sample,
    no points, or held against values, and where no label could be compared.

    A sample without strata is weighted by the sizes of the mapped classes, for which the layer is read once more, if
    it was drawn from all observed pixels.

    Raises DesignError for columns that tell no design, StorageError or ChangedStoreError where pixels cannot be read.
    """
    classes, table, pairs = evaluation.target.classes, evaluation.table, evaluation.pairs
    if classes is None or table is None or pairs is None or not len(pairs):
        return {}
    drawn = sample_design(table.columns)
    if drawn is None:
        return {}
    if drawn.pixel_km2 is not None:
        areas = drawn.pixel_km2[pairs.owners]
    else:
        areas = pixel_areas(evaluation.grid, pairs.rows, pairs.cols)
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
        class_pixels=_class_pixels(evaluation, drawn, listener),
    )
    uncounted = evaluation.uncounted
    if uncounted.n_unknown:
        found["notes"].append(NO_CLASS.format(n=uncounted.n_unknown))
    if uncounted.n_nodata + uncounted.n_outside:
        found["notes"].append(NOT_SEEN.format(n=uncounted.n_nodata + uncounted.n_outside))
    return {"design": found}


def _class_pixels(evaluation: LayerEvaluation, drawn: SampleDesign, listener: Listener) -> dict[int, int] | None:
    """The pixels of each scored class, if the sample is one of all pixels without strata."""
    strata, classes = drawn.all_strata(), evaluation.target.classes
    if len(strata) != 1 or classes is None:
        return None
    product = opened(evaluation.storage, evaluation.target)
    sizes = class_sizes(product, evaluation.target.layer, listener)
    if [*strata.values()] != [sum(sizes.values())]:
        return None
    found: dict[int, int] = {}
    for value, n in sizes.items():
        scored = classes.of_value.get(value, classes.other)
        found[scored] = found.get(scored, 0) + n
    return found
