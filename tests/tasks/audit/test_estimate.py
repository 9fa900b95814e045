"""Estimates by design equal the worked tables of Olofsson et al. (2014) and Stehman (2014)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilewright.tasks.audit.design.estimate import DesignError, LabelledSample, estimate_design
from tilewright.tasks.audit.design.estimators import StratifiedRows, ratio, total

NAMES = {1: "deforestation", 2: "forest gain", 3: "stable forest", 4: "stable non-forest"}
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED = {1: 200_000, 2: 150_000, 3: 3_200_000, 4: 6_450_000}
HECTARES_OF_PIXEL = 0.09

# Stehman (2014), table 2, in the order of R's mapaccuracy: stratum, map, reference.
STRATA = "A" * 10 + "B" * 10 + "C" * 10 + "D" * 10
MAP = "A" * 7 + "B" * 3 + "A" + "B" * 11 + "C" * 6 + "BB" + "D" * 10
TRUTH = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
SIZES = {"A": 40_000, "B": 30_000, "C": 20_000, "D": 10_000}
LETTERS = dict(enumerate("ABCD"))


def olofsson(**changes):
    rows = [(i + 1, j + 1) for i in range(4) for j in range(4) for _ in range(COUNTS[i, j])]
    mapped, reference = np.array(rows).T
    given = {
        "design": "stratified random",
        "stratum": np.array([NAMES[value] for value in mapped]),
        "stratum_pixels": np.array([MAPPED[value] for value in mapped]),
        "mapped": mapped,
        "reference": reference,
        "pixel_km2": np.full(len(mapped), HECTARES_OF_PIXEL / 100),
    }
    return LabelledSample(**{**given, **changes})


def stehman(keep=slice(None), **changes):
    numbers = {letter: value for value, letter in LETTERS.items()}
    given = {
        "stratum": np.array([*STRATA])[keep],
        "stratum_pixels": np.array([SIZES[each] for each in STRATA])[keep],
        "mapped": np.array([numbers[each] for each in MAP])[keep],
        "reference": np.array([numbers[each] for each in TRUTH])[keep],
        "pixel_km2": np.full(40, 0.0009)[keep],
    }
    return LabelledSample(**{"design": "stratified random", **given, **changes})


def around(figure, decimals):
    return round(figure["estimate"], decimals), round(1.96 * figure["standard_error"], decimals)


def test_the_table_of_olofsson_comes_out_to_its_printed_digits():
    """Printed on page 54. Two printed half-widths do not follow from the paper's own equation 7: the producer's
    accuracies of forest gain (0.23) and of stable non-forest (0.01), which are 0.25 and 0.02 by it, as R's mapaccuracy
    has them too.
    """
    found = estimate_design(olofsson(), NAMES, finite=False)
    assert around(found["overall_accuracy"], 2) == (0.95, 0.02)
    users = [around(found["classes"][name]["precision"], 2) for name in NAMES.values()]
    assert users == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    producers = [around(found["classes"][name]["recall"], 2) for name in NAMES.values()]
    assert producers == [(0.75, 0.21), (0.85, 0.25), (0.93, 0.03), (0.96, 0.02)]
    hectares = [
        tuple(round(100 * number) for number in (each["estimate"], 1.96 * each["standard_error"]))
        for each in (found["classes"][name]["area_km2"] for name in NAMES.values())
    ]
    assert hectares == [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    assert found["notes"] == []


def test_the_table_of_olofsson_equals_what_mapaccuracy_computes():
    """Its version 0.1.2, with the quantile of the normal distribution in place of 1.96."""
    found, quantile = estimate_design(olofsson(), NAMES, finite=False), 1.959963985
    recalls = [found["classes"][name]["recall"] for name in NAMES.values()]
    assert [each["estimate"] for each in recalls] == pytest.approx(
        [0.7486614, 0.8471564, 0.9345089, 0.9616090], abs=1e-6
    )
    widths = [quantile * each["standard_error"] for each in recalls]
    assert widths == pytest.approx([0.21330593, 0.25440369, 0.03432379, 0.01836120], abs=1e-7)
    assert quantile * found["overall_accuracy"]["standard_error"] == pytest.approx(0.01848328, abs=1e-7)


def test_the_table_of_stehman_comes_out_to_its_printed_digits():
    """The paper prints 0.114 for the standard error of B's producer's accuracy; its equation 28 gives 0.117, as R's
    mapaccuracy does (0.1165479).
    """
    found = estimate_design(stehman(), LETTERS)
    classes = found["classes"]
    assert [round(classes[name]["area_km2"]["estimate"] / 90, 2) for name in "ABCD"] == [0.35, 0.34, 0.20, 0.11]
    assert [round(classes[name]["area_km2"]["standard_error"] / 90, 3) for name in "AC"] == [0.082, 0.064]
    assert {key: round(found["overall_accuracy"][key], 3) for key in ("estimate", "standard_error")} == {
        "estimate": 0.63,
        "standard_error": 0.085,
    }
    assert [round(number, 3) for number in list(classes["B"]["precision"].values())[:2]] == [0.574, 0.125]
    assert [round(number, 3) for number in list(classes["B"]["recall"].values())[:2]] == [0.794, 0.117]
    assert classes["B"]["recall"]["standard_error"] == pytest.approx(0.1165479, abs=1e-7)
    assert [classes[name]["area_km2"]["standard_error"] / 90 for name in "AC"] == pytest.approx(
        [0.0822478, 0.06427977], abs=1e-7
    )


def test_a_cell_of_the_matrix_of_stehman_is_the_printed_one():
    rows = StratifiedRows(
        stratum=np.repeat(np.arange(4), 10), n_pixels=np.array([40_000.0, 30_000.0, 20_000.0, 10_000.0])
    )
    cell = np.array([mapped == "B" and true == "C" for mapped, true in zip(MAP, TRUTH, strict=True)])
    assert ratio(rows, cell * 1.0, np.ones(40)).estimate == pytest.approx(0.08)


def test_rows_without_a_label_lower_n_and_leave_weights_whole():
    keep = np.arange(40) % 10 < 8
    found = estimate_design(stehman(keep), LETTERS)
    assert found["n"] == 32
    assert found["strata"]["A"] == {"n": 8, "n_pixels": 40_000}
    areas = [each["area_km2"]["estimate"] for each in found["classes"].values()]
    assert sum(areas) == pytest.approx(100_000 * 0.0009)


def test_a_stratum_with_one_label_has_no_variance_and_none_is_invented():
    keep = np.array([number < 31 for number in range(40)])
    found = estimate_design(stehman(keep), LETTERS)
    accuracy = found["overall_accuracy"]
    assert accuracy["estimate"] == pytest.approx((4 * 0.6 + 3 * 0.8 + 2 * 0.4 + 1) / 10)
    assert accuracy["standard_error"] is accuracy["low"] is accuracy["high"] is None
    assert found["notes"][:1] == [
        "D: one label alone tells no variance, so standard errors and intervals are not known."
    ]


def test_where_strata_are_classes_one_label_elsewhere_does_not_hide_the_others_precision():
    sample = olofsson()
    keep = (sample.mapped != 1) | (np.cumsum(sample.mapped == 1) == 1)
    names = ("stratum", "stratum_pixels", "mapped", "reference", "pixel_km2")
    found = estimate_design(olofsson(**{name: getattr(sample, name)[keep] for name in names}), NAMES)
    assert found["classes"]["deforestation"]["precision"]["standard_error"] is None
    assert found["classes"]["forest gain"]["precision"]["standard_error"] == pytest.approx(0.0514, abs=1e-4)
    assert found["overall_accuracy"]["standard_error"] is None


def test_a_stratum_without_a_label_is_said_with_its_share():
    found = estimate_design(stehman(slice(0, 30)), LETTERS, all_strata=SIZES)
    assert found["notes"][:1] == [
        "Without a label are the strata D, which hold 10.0% of the pixels: the estimates do not cover them."
    ]


def test_a_stratum_labelled_whole_adds_no_variance():
    rows = StratifiedRows(stratum=np.array([0, 0, 1]), n_pixels=np.array([2.0, 1.0]))
    found = ratio(rows, np.array([1.0, 0.0, 1.0]), np.ones(3))
    assert (found.estimate, found.standard_error) == pytest.approx((2 / 3, 0))
    assert found.low == found.high == pytest.approx(2 / 3)


def test_no_error_seen_is_no_proof_that_there_is_none():
    """Of 59 labels without an error the rule of three says that up to 5 in 100 may be; exactly, two-sided, 6.06."""
    rows = StratifiedRows(stratum=np.zeros(59, dtype=int), n_pixels=np.array([1e6]))
    found = ratio(rows, np.ones(59), np.ones(59))
    assert (found.estimate, found.standard_error, found.high) == (1.0, 0.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 59))
    never = total(rows, np.zeros(59), most=1000.0)
    assert (never.low, never.high) == (0.0, pytest.approx(1000 * (1 - 0.025 ** (1 / 59))))


def test_strata_that_are_each_of_one_mind_have_an_interval_around_the_estimate():
    rows = StratifiedRows(stratum=np.repeat([0, 1], 20), n_pixels=np.array([7e5, 3e5]))
    found = ratio(rows, np.repeat([1.0, 0.0], 20), np.ones(40))
    assert found.alike
    assert found.estimate == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((0.53, 0.83), abs=0.02)


def test_a_class_that_no_label_names_has_no_recall():
    found = estimate_design(olofsson(), {**NAMES, 9: "ice"})["classes"]["ice"]
    nothing = {"estimate": None, "standard_error": None, "low": None, "high": None}
    assert (found["precision"], found["recall"]) == (nothing, nothing)
    assert found["area_km2"]["estimate"] == 0


def test_a_random_sample_is_weighted_by_the_sizes_of_the_mapped_classes():
    """With strata that are the classes it is Olofsson's table again, whatever the design said before."""
    plain = olofsson(design="simple random", stratum=np.full(640, "all"), stratum_pixels=np.full(640, 10_000_000))
    weighted = estimate_design(plain, NAMES, class_pixels=MAPPED, finite=False)
    assert weighted["kind"] == "simple random, post-stratified"
    assert weighted["classes"] == estimate_design(olofsson(), NAMES, finite=False)["classes"]
    unweighted = estimate_design(plain, NAMES)
    assert unweighted["overall_accuracy"]["estimate"] == pytest.approx(COUNTS.trace() / COUNTS.sum())


def test_post_strata_with_too_few_labels_are_left_and_said():
    keep = np.arange(640) >= 74
    sample = olofsson(design="simple random", stratum=np.full(640, "all"), stratum_pixels=np.full(640, 10_000_000))
    names = ("stratum", "stratum_pixels", "mapped", "reference", "pixel_km2")
    few = LabelledSample(design=sample.design, **{name: getattr(sample, name)[keep] for name in names})
    found = estimate_design(few, NAMES, class_pixels=MAPPED)
    assert found["kind"] == "simple random"
    assert found["notes"][0] == (
        "Too few labels in deforestation to weigh the mapped classes by their sizes: it is estimated without."
    )


def test_pixels_of_unequal_size_count_by_their_ground():
    """Two rows of pixels, the northern half as large: all pixels labelled, so the areas are the true ones."""
    sample = LabelledSample(
        design="simple random",
        stratum=np.full(4, "all"),
        stratum_pixels=np.full(4, 4),
        mapped=np.array([0, 0, 1, 1]),
        reference=np.array([0, 1, 1, 1]),
        pixel_km2=np.array([1.0, 1.0, 2.0, 2.0]),
    )
    areas = estimate_design(sample, {0: "land", 1: "water"})["classes"]
    assert areas["water"]["area_km2"] == {"estimate": 5.0, "standard_error": 0.0, "low": 5.0, "high": 5.0}


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (stehman(slice(0, 0)), "No row of the sample has a label"),
        (stehman(stratum_pixels=np.arange(40) + 100), "The rows of the stratum 'A' tell different sizes of it"),
        (stehman(stratum_pixels=np.full(40, 5)), "The stratum 'A' has 10 rows, but 5 pixels"),
    ],
)
def test_what_cannot_be_estimated_is_refused(sample, words):
    with pytest.raises(DesignError, match=words):
        estimate_design(sample, LETTERS)


def test_numbers_that_are_not_known_are_null_and_never_nan():
    found = estimate_design(stehman(slice(0, 31)), LETTERS)
    figures = [found["overall_accuracy"], *(each for one in found["classes"].values() for each in one.values())]
    assert all(number is None or math.isfinite(number) for each in figures for number in each.values())
