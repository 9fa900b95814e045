"""What a labelled sample says of the map that it was drawn from: accuracies and areas, by the sample's design."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.design.estimators import StratifiedRows, ratio, total
from tilewright.tasks.compare.words import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.audit.design.estimators import Estimated

RANDOM, SYSTEMATIC, STRATIFIED = "simple random", "systematic", "stratified random"
"""Designs as a sample names them. What is systematic within strata is named by both."""

PER_ROW = ("stratum", "stratum_pixels", "mapped", "reference", "pixel_km2")
"""What a labelled sample has of each row."""

LISTED = 8
"""Names in a note, at most."""

LEAST_ROWS = 2
"""Rows of a stratum below which nothing tells how much they vary."""

UNLABELLED = (
    "Without a label are the strata {names}, which hold {share:.1%} of the pixels: the estimates do not cover them."
)
ONE_ROW = "{names}: one label alone tells no variance, so standard errors and intervals are not known."
ALIKE = (
    "No two labels of a stratum differ in {names}: that tells no standard error, and the interval is that of Clopper "
    "and Pearson, wider than where a label or two differ."
)
AS_RANDOM = "A systematic sample is treated as a random one: its standard errors are too large rather than too small."
NO_POST = "Too few labels in {names} to weigh the mapped classes by their sizes: it is estimated without."
APART = "Places keep a least distance: inclusion probabilities, and so all estimates, are approximate."


class DesignError(ValueError):
    """A sample that tells no design, or one that cannot be drawn; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSample:
    """The labelled rows of a sample that was drawn by design; rows without a label are left out.

    ``design`` is that of the sample's column, ``stratum`` (row,) texts, ``stratum_pixels`` (row,) the pixels N_h of the
    row's stratum. ``mapped`` and ``reference`` (row,): values of the map and of the label; a value that the map lacks
    is an error of the map. ``pixel_km2`` (row,): area on the ground of the row's pixel.
    """

    design: str
    stratum: np.ndarray
    stratum_pixels: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    pixel_km2: np.ndarray

    def __post_init__(self) -> None:
        assert {len(getattr(self, name)) for name in PER_ROW} == {len(self.stratum)}, "all columns have a value per row"


def estimate_design(
    sample: LabelledSample,
    classes: Mapping[int, str],
    *,
    all_strata: Mapping[str, int] | None = None,
    class_pixels: Mapping[int, int] | None = None,
    finite: bool = True,
) -> dict[str, Any]:
    """The mapping ``design`` of an evaluation: overall accuracy, and of each class precision (user's accuracy), recall
    (producer's accuracy) and area in km2 on the ground, each ``{estimate standard_error low high}`` or null.

    ``all_strata``: the pixels of every stratum of the sample, of which those without a labelled row are said to be
    missing. ``class_pixels``: those of each mapped value, by which a sample without strata is weighted after it was
    drawn (post-stratified). ``finite`` as in `StratifiedRows`. ``notes`` are sentences that a reader must know.

    Sources: as in `estimators`; post-stratification: Olofsson et al. (2014), section 4.2 and equations 1-11.
    Raises DesignError for a sample without a labelled row, or whose strata are smaller than its rows.
    """
    if not len(sample.stratum):
        raise DesignError("No row of the sample has a label: label some, then evaluate it.")
    # Sums of floats hang on the order of rows, which people change.
    order = np.lexsort([sample.pixel_km2, sample.reference, sample.mapped, sample.stratum.astype(str)])
    sample = replace(sample, **{name: getattr(sample, name)[order] for name in PER_ROW})
    notes = _sampling_notes(sample, all_strata)
    kind, used = sample.design, sample
    if class_pixels is not None and len(np.unique(sample.stratum)) == 1:
        used, lacking = _post_stratified(sample, classes, class_pixels)
        if lacking:
            notes.append(NO_POST.format(names=_listed(lacking)))
        else:
            kind = f"{kind}, post-stratified"
    names, of_row = np.unique(used.stratum, return_inverse=True)
    rows = _rows(used, names, of_row, finite=finite)
    alone = [str(name) for name, n, whole in zip(names, rows.n_rows, rows.whole, strict=True) if n == 1 and not whole]
    if alone:
        notes.append(ONE_ROW.format(names=_listed(alone)))
    found = _figures(used, rows, names, classes)
    agreed = [name.replace("area_km2", "area") for name, each in found.items() if each.alike]
    if agreed:
        notes.append(ALIKE.format(names=_listed(agreed)))
    per_class = {
        name: {figure: found[f"{figure} of {name}"].to_json() for figure in ("precision", "recall", "area_km2")}
        for name in classes.values()
    }
    return {
        "kind": kind,
        "n": len(used.stratum),
        "strata": {
            str(name): {"n": int(n), "n_pixels": int(pixels)}
            for name, n, pixels in zip(names, rows.n_rows, rows.n_pixels, strict=True)
        },
        "overall_accuracy": found["overall accuracy"].to_json(),
        "classes": per_class,
        "notes": notes,
    }


def _sampling_notes(sample: LabelledSample, all_strata: Mapping[str, int] | None) -> list[str]:
    notes = []
    if SYSTEMATIC in sample.design:
        notes.append(AS_RANDOM)
    if "least distance" in sample.design:
        notes.append(APART)
    labelled = set(sample.stratum.tolist())
    lacking = {name: n for name, n in (all_strata or {}).items() if name not in labelled}
    if lacking and all_strata:
        share = sum(lacking.values()) / sum(all_strata.values())
        notes.append(UNLABELLED.format(names=_listed(sorted(lacking)), share=share))
    return notes


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: a file may tell any number of them, of any length."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"{', '.join(map(short, names[:LISTED]))}{more}"


def _post_stratified(
    sample: LabelledSample, classes: Mapping[int, str], class_pixels: Mapping[int, int]
) -> tuple[LabelledSample, list[str]]:
    """The sample with its mapped classes as strata, and the names of those that have too few rows for it."""
    told = {value: int((sample.mapped == value).sum()) for value, n in class_pixels.items() if n}
    lacking = [classes.get(value, f"value {value}") for value, n in told.items() if n < LEAST_ROWS]
    if lacking or not {int(value) for value in np.unique(sample.mapped)} <= {*told}:
        return sample, lacking or ["classes that the map has no longer"]
    values = sample.mapped.tolist()
    stratum = np.array([classes.get(value, f"value {value}") for value in values], dtype=object)
    sizes = np.array([class_pixels[value] for value in values])
    return replace(sample, stratum=stratum, stratum_pixels=sizes), []


def _rows(sample: LabelledSample, names: np.ndarray, of_row: np.ndarray, *, finite: bool) -> StratifiedRows:
    """The rows by the numbers of their strata, each of which has one size."""
    sizes = stratum_sizes(of_row, sample.stratum_pixels, [str(name) for name in names])
    return StratifiedRows(stratum=of_row, n_pixels=sizes, finite=finite)


def stratum_sizes(of_row: np.ndarray, pixels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The pixels of each stratum (stratum,) float64, from the stratum's number and pixels of each row (row,).

    Raises DesignError where rows of one tell different sizes, or it has more rows than pixels.
    """
    sizes = np.zeros(len(names), dtype=np.float64)
    sizes[of_row] = pixels
    for number in of_row[pixels != sizes[of_row]].tolist():
        name = short(names[number])
        raise DesignError(f"The rows of the stratum {name!r} tell different sizes of it: draw the sample anew.")
    n_rows = np.bincount(of_row, minlength=len(names))
    for number in np.flatnonzero(n_rows > sizes).tolist():
        told = f"{n_rows[number]} rows, but {sizes[number]:g} pixels"
        raise DesignError(f"The stratum {short(names[number])!r} has {told}: draw the sample anew.")
    return sizes


def _figures(
    sample: LabelledSample, rows: StratifiedRows, names: np.ndarray, classes: Mapping[int, str]
) -> dict[str, Estimated]:
    """Each figure by its name in words."""
    right, ones = sample.mapped == sample.reference, np.ones(len(sample.mapped))
    most = rows.total(sample.pixel_km2)
    found = {"overall accuracy": ratio(rows, right * ones, ones)}
    for value, name in classes.items():
        mapped, true = sample.mapped == value, sample.reference == value
        found[f"precision of {name}"] = _precision(sample, rows, names, mapped, right)
        found[f"recall of {name}"] = ratio(rows, (true & right) * ones, true * ones)
        found[f"area_km2 of {name}"] = total(rows, true * sample.pixel_km2, most=most)
    return found


def _precision(
    sample: LabelledSample, rows: StratifiedRows, names: np.ndarray, mapped: np.ndarray, right: np.ndarray
) -> Estimated:
    """The share of a mapped class that is right. Where the class is a stratum, other strata say nothing of it.

    Source: Olofsson et al. (2014), equations 2 and 6; of other strata Stehman (2014), equations 18 and 19.
    """
    inside = np.flatnonzero(np.bincount(rows.stratum, weights=mapped, minlength=len(names)) == rows.n_rows)
    alone = len(inside) == 1 and (mapped == (rows.stratum == inside[0])).all()
    if not alone:
        return ratio(rows, (mapped & right) * 1.0, mapped * 1.0)
    own = StratifiedRows(
        stratum=np.zeros(int(mapped.sum()), dtype=np.int64), n_pixels=rows.n_pixels[inside], finite=rows.finite
    )
    return ratio(own, right[mapped] * 1.0, np.ones(int(mapped.sum())))
