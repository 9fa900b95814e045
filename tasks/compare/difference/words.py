"""What layers of values, tables of objects and labels say, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.compare.words import percent_words, place_words, short
from tilewright.tasks.report import format as figures

if TYPE_CHECKING:
    from collections.abc import Mapping


PERCENT = ("%", "percent")


def value_sentence(told: Mapping[str, Any], *, metres: float) -> str:
    """The sentence on a layer of values, from its figures in the document."""
    layer = short(told["layer"])
    if not told["n"]:
        return f"Layer {layer}: no pixel was observed in both products."
    if told["n_equal"] == told["n"]:
        return plain(f"Layer {layer}: every pixel that both observed, {figures.count(told['n'])}, has the same value.")
    # Of shares the difference is one of points: 94 % is 2 points more than 92 %, not 2 % more.
    unit = " points" if told["unit"] in PERCENT else unit_words(told["unit"])
    mean, largest = told["mean_difference"], told["largest"]
    higher = f"{_amount(abs(mean), unit)} {'higher' if mean > 0 else 'lower'} than" if mean else "as"
    apart = percent_words(1 - told["n_equal"] / told["n"])
    text = f"Layer {layer}: B is {higher} A on average, and {_amount(told['mean_absolute_difference'], unit)} away"
    text += f" either way; {apart} of the pixels that both observed differ"
    if largest is not None and largest["difference"] is not None:
        text += f", by up to {_amount(abs(largest['difference']), unit)}"
        if largest["lon"] is not None:
            text += f" at {place_words(largest['lon'], largest['lat'], metres=metres)}"
    return plain(f"{text}.")


def object_sentence(told: Mapping[str, Any]) -> str:
    """The sentence on a table of objects, from its figures in the document."""
    a, b = (figures.count(told[key]) for key in ("n_a", "n_b"))
    at = f"an overlap (IoU) of {told['iou']:g} or more"
    alone = f"{figures.count(told['n_only_a'])} are in A alone and {figures.count(told['n_only_b'])} in B alone"
    return plain(
        f"Table {short(told['table'])}: A has {a} objects and B {b}; {figures.count(told['n_matched'])} are the same "
        f"at {at}, {alone}."
    )


def bootstrap_sentence(told: Mapping[str, Any]) -> str:
    """The sentence on the overall accuracies of two maps."""
    overall = told["overall_accuracy"]
    if overall["difference"] is None:
        return "No label lies where both have a value, so neither can be said to be better."
    a, b = (f"{overall[key] * 100:.1f} %" for key in ("a", "b"))
    how = "by the design of the sample" if told["weighted"] else "labels counted alike"
    apart, low, high = (f"{overall[key] * 100:+.1f}" for key in ("difference", "low", "high"))
    return (
        f"Overall accuracy is {a} for A and {b} for B: {apart} points from A to B, 95 % interval {low} to {high} "
        f"({how})."
    )


def left_out_sentence(told: Mapping[str, Any]) -> str:
    """The sentence on labels that could not be held against both maps; none where all were."""
    n = told.get("n_labels", told["n"]) - told["n"]
    if not n:
        return ""
    words = {"n_outside": "outside", "n_nodata": "where there is no value", "n_unlabelled": "without a label"}
    words |= {"n_unknown": "of a class that the map does not have"}
    parts = {
        which: ", ".join(f"{figures.count(each[key])} {text}" for key, text in words.items() if each[key]) or "none"
        for which, each in told["left_out"].items()
    }
    copies = f"; {figures.count(told['n_copies'])} say what another one says of its pixel" if told["n_copies"] else ""
    said = parts["a"] if parts["a"] == parts["b"] else f"of A {parts['a']}; of B {parts['b']}"
    return plain(f"Left out are {figures.plural(n, 'label')} of {short(told['labels'])}: {said}{copies}.")


def unit_words(unit: str) -> str:
    """A unit as it follows a number."""
    return {"": "", "1": "", "%": " %", "percent": " %"}.get(unit, f" {short(unit)}")


def share_words(share: float) -> str:
    """A share of one as a percentage, to three digits at least, that shows a small one too."""
    return plain(f"{figures.figure(share * 100)} %")


def _amount(amount: float | None, unit: str) -> str:
    return "an amount beyond numbers" if amount is None else f"{figures.figure(amount)}{unit}"


def plain(words: str) -> str:
    """Words with plain spaces, as a terminal and JSON have them."""
    return words.replace("\u202f", " ").replace("\u00a0", " ")
