"""What changed, in plain sentences that are computed from the figures, no more precise than these are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.report import format as figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_NAME = 60
"""Characters of a class's name in a sentence, at most."""

MOST_CLASSES = 6
"""Classes whose areas one sentence tells, at most."""

METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceWords:
    """What a sentence says of the largest place: its area in km2, where it is, and its change, which may be empty.

    ``n``: how many places there are, 0 if they were not counted, as in a smaller picture of a large map.
    """

    n: int
    km2: float
    where: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFigures:
    """What the sentences on two products are computed from; areas in km2 on the ground.

    ``n`` pixels were observed in both, ``n_differ`` of them differ, ``n_only`` were observed in one. ``classes`` are
    names; ``a_km2``, ``b_km2`` the areas of each where both observed; ``moved`` holds the changes of class, (name in A,
    name in B, area), the largest first. ``place`` is None where nothing changed.
    """

    n: int
    n_differ: int
    n_only: int
    both_km2: float
    differ_km2: float
    classes: Sequence[str]
    a_km2: Sequence[float]
    b_km2: Sequence[float]
    moved: Sequence[tuple[str, str, float]]
    place: PlaceWords | None


def comparison_sentences(found: ComparisonFigures) -> list[str]:
    """The sentences on two products A and B."""
    if not found.n:
        return ["No pixel was observed in both products, so nothing can be said of a change."]
    sentences = [_observed(found)]
    if not found.n_differ:
        return [*sentences, "Nothing changed: every pixel that both observed has the same class in both."]
    share = percent_words(found.differ_km2 / found.both_km2)
    sentences += [f"{area_words(found.differ_km2)} have another class in B than in A, {share} of what both observed."]
    sentences += _net(found)
    if len(found.moved) > 1:
        before, after, km2 = found.moved[0]
        of_all = percent_words(km2 / found.differ_km2)
        sentences.append(
            f"The largest change is from {short(before)} to {short(after)}: {area_words(km2)}, {of_all} of all change."
        )
    return [*sentences, *place_sentence(found.place)]


def _observed(found: ComparisonFigures) -> str:
    area = area_words(found.both_km2)
    if not found.n_only:
        return f"Both products observed the same pixels, {area}."
    share = percent_words(found.n_only / (found.n + found.n_only))
    return f"Both products observed {area}; {share} of the pixels that either observed were observed in one alone."


def _net(found: ComparisonFigures) -> list[str]:
    """The classes that gained and lost most, on balance."""
    gains = [after - before for before, after in zip(found.a_km2, found.b_km2, strict=True)]
    least = found.both_km2 / found.n / 2
    most, fewest = max(gains), min(gains)
    if most < least and -fewest < least:
        return ["On balance no class gained or lost area: the changes cancel out."]

    def told(number: int, verb: str) -> str:
        amount, before, after = abs(gains[number]), found.a_km2[number], found.b_km2[number]
        spans = f"from {area_words(before)} to {area_words(after)}"
        if area_words(before) == area_words(after):
            spans = f"{percent_words(amount / before)} of its {area_words(before)}"
        return f"{short(found.classes[number])} {verb} most, {area_words(amount)} ({spans})"

    parts = [told(gains.index(most), "gained")] if most >= least else []
    parts += [told(gains.index(fewest), "lost")] if -fewest >= least else []
    return [f"From A to B, {'; '.join(parts)}."]


def better_sentence(told: Mapping[str, Any]) -> str:
    """The sentence on McNemar's test of two products on labels."""
    n_labels = told.get("n_labels", told["n"])
    among = "" if n_labels == told["n"] else f" of the {figures.count(n_labels)}"
    both = f"On {figures.plural(told['n'], 'label')}{among} A alone is right on {figures.count(told['only_a_right'])}"
    both = f"{both}, B alone on {figures.count(told['only_b_right'])}"
    if told.get("weighted"):
        return _plain(f"{both}; they stand for unlike parts of the map, as the sample's design has it.")
    if told["p_value"] is None:
        return _plain(f"{both}: neither is the better one.")
    chance = "less than 0.001" if told["p_value"] < 0.001 else f"{told['p_value']:.3f}"
    verdict = f"{told['better'].upper()} is better" if told["better"] else "neither is better than chance explains"
    return _plain(f"{both}: {verdict} (McNemar's test, p {'is ' if told['p_value'] < 0.001 else '= '}{chance}).")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFigures:
    """What the sentences on a map of change are computed from; areas in km2 on the ground.

    ``classes``: (name, area) in the order of the card; ``unchanged`` the name of that which means no change, None if
    the card does not tell. ``missing`` is the share of the area asked for that has no value.
    """

    classes: Sequence[tuple[str, float]]
    unchanged: str | None
    missing: float
    place: PlaceWords | None


def pair_sentences(found: PairFigures) -> list[str]:
    """The sentences on the product of two periods."""
    observed = math.fsum(km2 for _, km2 in found.classes)
    if observed <= 0:
        return ["No pixel was observed, so nothing can be said of a change."]
    missing = [f"Of the area asked for, {percent_words(found.missing)} has no value."] if found.missing > 0 else []
    listed = sorted((item for item in found.classes if item[1] > 0), key=lambda item: -item[1])
    if found.unchanged is None:
        return [
            "The card does not say which of its classes means no change.",
            f"Of {area_words(observed)} observed: {_listed(listed, observed)}.",
            *missing,
            *place_sentence(found.place, noun="patch", plural="patches"),
        ]
    changed = [(name, km2) for name, km2 in listed if name != found.unchanged]
    km2 = math.fsum(each for _, each in changed)
    if not changed:
        return [f"Nothing changed on the {area_words(observed)} that were observed.", *missing]
    share = percent_words(km2 / observed)
    sentences = [f"{area_words(km2)} changed, {share} of the {area_words(observed)} observed.", *missing]
    if len(found.classes) > 2:
        sentences.append(f"Of what changed: {_listed(changed, km2)}.")
    return [*sentences, *place_sentence(found.place)]


def _listed(classes: Sequence[tuple[str, float]], whole: float) -> str:
    """The areas of classes in words, the first few of them."""
    words = "; ".join(_class_words(name, km2, whole) for name, km2 in classes[:MOST_CLASSES])
    more = len(classes) - MOST_CLASSES
    return f"{words}; and {figures.plural(more, 'more class', 'more classes')}" if more > 0 else words


def _class_words(name: str, km2: float, whole: float) -> str:
    return f"{short(name)} {area_words(km2)} ({percent_words(km2 / whole)})"


def place_sentence(place: PlaceWords | None, *, noun: str = "changed place", plural: str = "") -> list[str]:
    """The sentence on the largest place, if there is any."""
    if place is None:
        return []
    many = _plain(figures.plural(place.n, noun, plural))
    heads = {0: f"The largest {noun} covers about", 1: f"The only {noun} covers"}
    head = heads.get(place.n, f"The largest of {many} covers")
    change = f", {place.change}," if place.change else ""
    return [f"{head} {area_words(place.km2)}{change} and lies at {place.where}."]


def short(name: str) -> str:
    """A class's name as a sentence holds it: one line, not too long."""
    plain = " ".join(name.split()) or "unnamed"
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 3]}..."


def area_words(km2: float) -> str:
    """An area to three digits: "12.3 km²", below a hundredth of one "4 500 m²"."""
    if km2 == 0:
        return "0 km²"
    if abs(km2) >= 0.00995:
        return _plain(f"{figures.figure(km2)} km²") if abs(km2) < 1000 else _plain(f"{_digits(km2)} km²")
    return _plain(f"{_digits(km2 * 1e6)} m²")


def percent_words(share: float) -> str:
    """A share of one as a percentage that never hides a part: "all", "> 99.9 %", "7.9 %", "< 0.1 %", "0 %"."""
    if share >= 1:
        return "100 %"
    if share > 0.9995:
        return "more than 99.9 %"
    if 0 < share < 0.0005:
        return "less than 0.1 %"
    return "0 %" if share <= 0 else f"{share * 100:.1f} %"


def place_words(lon: float, lat: float, *, metres: float) -> str:
    """A place in degrees, "48.2910° N, 13.1410° E", with as many decimals as pixels of ``metres`` can tell."""
    if not (math.isfinite(lon) and math.isfinite(lat)):
        return "a place that has no coordinates"
    decimals = min(6, max(0, math.ceil(math.log10(METRES_PER_DEGREE / max(metres, 1e-3)) - 0.1)))
    north, east = "NS"[lat < 0], "EW"[lon < 0]
    return f"{abs(lat):.{decimals}f}° {north}, {abs(lon):.{decimals}f}° {east}"


def _digits(amount: float) -> str:
    """A number to three significant digits, whole from 100 on: its other digits are 0."""
    power = 10.0 ** (math.floor(math.log10(abs(amount))) - 2)
    rounded = round(amount / power) * power
    return figures.count(rounded) if abs(rounded) >= 100 else figures.figure(rounded)


def _plain(words: str) -> str:
    return words.replace("\u202f", " ").replace("\u00a0", " ")
