"""Sentences are computed from figures: singular and plural, nothing hidden, nothing more precise than meant."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tilewright.tasks.compare.words import (
    ComparisonFigures,
    PairFigures,
    PlaceWords,
    area_words,
    comparison_sentences,
    pair_sentences,
    percent_words,
    place_words,
    short,
)

PLACE = PlaceWords(n=3, km2=0.0123, where="48.29° N, 13.14° E", change="went from land to water")
SOME = ComparisonFigures(
    n=1000,
    n_differ=79,
    n_only=35,
    both_km2=12.36,
    differ_km2=0.98,
    classes=["land", "water"],
    a_km2=[10.74, 1.62],
    b_km2=[9.8, 2.56],
    moved=[("land", "water", 0.96), ("water", "land", 0.02)],
    place=PLACE,
)
PAIR = PairFigures(classes=[("same", 9.0), ("felled", 1.0), ("built", 0.0)], unchanged="same", missing=0.0, place=PLACE)


NET = (
    "From A to B, water gained most, 0.94 km² (from 1.62 km² to 2.56 km²); land lost most, 0.94 km² (from 10.7 km² "
    "to 9.8 km²)."
)
HIDDEN = (
    "From A to B, water gained most, 1 km² (from 1 km² to 2 km²); land lost most, 1 km² (less than 0.1 % of its "
    "10 000 km²)."
)
MANY = (
    "Of what changed: c0 1 km² (12.5 %); c1 1 km² (12.5 %); c2 1 km² (12.5 %); c3 1 km² (12.5 %); c4 1 km² (12.5 %); "
    "c5 1 km² (12.5 %); and 2 more classes."
)


def test_the_sentences_of_a_comparison() -> None:
    assert comparison_sentences(SOME) == [
        "Both products observed 12.4 km²; 3.4 % of the pixels that either observed were observed in one alone.",
        "0.98 km² have another class in B than in A, 7.9 % of what both observed.",
        NET,
        "The largest change is from land to water: 0.96 km², 98.0 % of all change.",
        "The largest of 3 changed places covers 0.0123 km², went from land to water, and lies at 48.29° N, 13.14° E.",
    ]


LARGEST = "covers 0.0123 km², went from land to water, and lies at 48.29° N, 13.14° E."

COMPARISONS = {
    "nothing seen in both": (
        {"n": 0, "n_differ": 0, "both_km2": 0.0, "differ_km2": 0.0, "moved": [], "place": None},
        ["No pixel was observed in both products, so nothing can be said of a change."],
    ),
    "nothing changed": (
        {"n_differ": 0, "differ_km2": 0.0, "moved": [], "place": None, "n_only": 0},
        ["Both products observed the same pixels, 12.4 km².",
         "Nothing changed: every pixel that both observed has the same class in both."],
    ),
    "one change, one place": (
        {"moved": [("land", "water", 0.98)], "place": replace(PLACE, n=1)},
        [..., ..., ..., f"The only changed place {LARGEST}"],
    ),
    "changes cancel out": (
        {"b_km2": [10.74, 1.62]},
        [..., ..., "On balance no class gained or lost area: the changes cancel out.", ..., ...],
    ),
    "a gain that digits hide": (
        {"a_km2": [10000.0, 1.0], "b_km2": [9999.0, 2.0], "both_km2": 10001.0, "n": 10**6},
        [..., ..., HIDDEN, ..., ...],
    ),
    "nearly all of it": (
        {"differ_km2": 12.3599},
        [..., "12.4 km² have another class in B than in A, more than 99.9 % of what both observed.", ..., ..., ...],
    ),
    "hardly any of it": (
        {"differ_km2": 1e-4, "n_only": 0},
        [..., "100 m² have another class in B than in A, less than 0.1 % of what both observed.", ..., ..., ...],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPARISONS)
def test_other_comparisons(case: str) -> None:
    changes, wanted = COMPARISONS[case]
    said = comparison_sentences(replace(SOME, **changes))
    assert len(said) == len(wanted)
    assert said == [ours if theirs is ... else theirs for ours, theirs in zip(said, wanted, strict=True)]


PAIRS = {
    "several kinds": ({}, [
        "1 km² changed, 10.0 % of the 10 km² observed.", "Of what changed: felled 1 km² (100 %).",
        "The largest of 3 changed places covers 0.0123 km², went from land to water, and lies at 48.29° N, 13.14° E.",
    ]),
    "one kind": ({"classes": [("same", 9.0), ("felled", 1.0)], "place": replace(PLACE, change="")}, [
        "1 km² changed, 10.0 % of the 10 km² observed.",
        "The largest of 3 changed places covers 0.0123 km² and lies at 48.29° N, 13.14° E.",
    ]),
    "no change": ({"classes": [("same", 9.0), ("felled", 0.0)], "place": None, "missing": 0.25}, [
        "Nothing changed on the 9 km² that were observed.", "Of the area asked for, 25.0 % has no value."]),
    "nothing seen": ({"classes": [("same", 0.0), ("felled", 0.0)], "place": None, "missing": 1.0}, [
        "No pixel was observed, so nothing can be said of a change."]),
    "a card that does not tell": ({"unchanged": None, "place": replace(PLACE, n=1, change="is of class same")}, [
        "The card does not say which of its classes means no change.",
        "Of 10 km² observed: same 9 km² (90.0 %); felled 1 km² (10.0 %).",
        "The only patch covers 0.0123 km², is of class same, and lies at 48.29° N, 13.14° E."]),
    "places that were not counted": ({"place": replace(PLACE, n=0, change="")}, [
        ..., ..., "The largest changed place covers about 0.0123 km² and lies at 48.29° N, 13.14° E."]),
    "many classes": ({"classes": [("same", 1.0), *((f"c{i}", 1.0) for i in range(8))], "place": None}, [
        "8 km² changed, 88.9 % of the 9 km² observed.",
        MANY]),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_maps_of_change(case: str) -> None:
    changes, wanted = PAIRS[case]
    said = pair_sentences(replace(PAIR, **changes))
    assert len(said) == len(wanted)
    assert said == [ours if theirs is ... else theirs for ours, theirs in zip(said, wanted, strict=True)]


@pytest.mark.parametrize(
    ("km2", "words"),
    [(0, "0 km²"), (1e-6, "1 m²"), (1.2345e-4, "123 m²"), (0.0049, "4 900 m²"), (0.009949, "9 950 m²"),
     (0.01234, "0.0123 km²"), (0.99999, "1 km²"), (12.345, "12.3 km²"), (123.9, "124 km²"), (1234.5, "1 230 km²"),
     (5.1006e8, "510 000 000 km²")],
)  # fmt: skip
def test_areas_have_three_digits(km2: float, words: str) -> None:
    assert area_words(km2) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (1e-9, "less than 0.1 %"), (0.0004, "less than 0.1 %"), (0.001, "0.1 %"), (0.5, "50.0 %"),
     (0.9994, "99.9 %"), (0.9999, "more than 99.9 %"), (1, "100 %"), (1 + 1e-12, "100 %")],
)  # fmt: skip
def test_shares_hide_no_part(share: float, words: str) -> None:
    assert percent_words(share) == words


@pytest.mark.parametrize(
    ("place", "metres", "words"),
    [((13.14159, 48.28999), 10.0, "48.2900° N, 13.1416° E"), ((-0.5, -33.25), 100.0, "33.250° S, 0.500° W"),
     ((170.0, 10.0), 0.5, "10.000000° N, 170.000000° E"), ((170.04, 10.04), 20000.0, "10.0° N, 170.0° E"),
     ((math.inf, 1.0), 10.0, "a place that has no coordinates")],
)  # fmt: skip
def test_places_have_the_decimals_of_a_pixel(place: tuple[float, float], metres: float, words: str) -> None:
    assert place_words(*place, metres=metres) == words


def test_a_name_of_others_is_one_short_line() -> None:
    assert short("a\n b") == "a b"
    assert short(" ") == "unnamed"
    assert len(short("x" * 5000)) == 60
