"""What an evaluation says in plain sentences, computed from its document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.models.fields import did_you_mean
from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.report.format import count, figure, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTED = 4
"""Unknown labels, or classes, in a sentence, at most."""

MOST_SHARES = 8
"""Classes in a sentence whose trusted share is said, at most."""


def evaluation_sentences(told: Mapping[str, Any], *, name: str, several: bool) -> list[str]:
    """The sentences on one layer held against labels of a file called ``name``."""
    unit, n = told["unit"], told["n"]
    head = f"Layer {short(told['layer'])}: " if several else ""
    sentences = []
    if not n:
        sentences.append(f"{head}No {unit} of {name} could be compared.")
    elif told["kind"] == "value":
        sentences.append(_value_sentence(told, head))
    else:
        sentences += _class_sentences(told, head)
    notes, trust = (told.get("design") or {}).get("notes", ()), _trust_sentences(told.get("trust"))
    return [*sentences, *notes, *_temperature_sentences(told.get("temperature")), *trust, *_left_out(told)]


def object_sentences(told: Mapping[str, Any], *, name: str) -> list[str]:
    """The sentences on a table of objects held against labels of a file called ``name``."""
    if not told["n_labels"]:
        return [f"No label of {name} could be compared.", *_left_out(told)]
    n, right = told["n_labels"], told["n_right"]
    sentences = [
        f"{plural(right, 'label')} of {count(n)} found, {percent_words(right / n)}, at an IoU of {told['iou']:g}."
    ]
    if told["n_product"]:
        share = percent_words(right / told["n_product"])
        sentences.append(
            f"Of {plural(told['n_product'], 'object')} on the map {share} are right; F1 is {told['f1']:.3f}."
        )
    if told["average_precision"] is not None:
        steps = [float(step) for step in told["by_iou"]]
        span = f"{steps[0]:g}" if len(steps) == 1 else f"{steps[0]:g} to {steps[-1]:g}"
        sentences.append(f"Average precision is {told['average_precision']:.3f} over an IoU of {span}.")
    sentences.append("Objects where nothing was labelled count as wrong: label the whole product, or cut it.")
    return [*sentences, *_left_out(told)]


def _class_sentences(told: Mapping[str, Any], head: str) -> list[str]:
    n, unit, design = told["n"], told["unit"], told.get("design")
    right = sum(told["confusion"][i][i] for i in range(len(told["classes"])))
    agree = f"{percent_words(right / n)} of {plural(n, unit)} agree with the map"
    kappa = f"; kappa is {told['kappa']:.2f}" if told["kappa"] is not None else ""
    if design is not None:
        # What is counted of labels that were drawn unequally is no estimate of the map.
        unequal = "where strata are labelled unequally that is no estimate of the map"
        counted = f"Counted without the design's weights {agree}{kappa}; {unequal}."
        sentences = [f"{head}{_design_sentence(design)}", *_weakest_by_design(told, design), counted]
    else:
        between = wilson(right, n) if unit == "label" else None
        spread = f" (95 % interval {between[0] * 100:.1f} to {between[1] * 100:.1f} %)" if between else ""
        sentences = [f"{head}{agree}{spread}{kappa}.", *_weakest(told)]
    if told["calibration"]:
        sentences.append(_calibration_sentence(told["calibration"]))
    return sentences


def _weakest(told: Mapping[str, Any]) -> list[str]:
    """The class with the least F1, if there are several."""
    scored = {each: row for each, row in told["per_class"].items() if row["n_labels"]}
    if len(scored) < 2:
        return []
    worst = min(scored, key=lambda each: (scored[each]["f1"] or 0.0, each))
    row = scored[worst]
    held = "" if row["precision"] is None else f", and {percent_words(row['precision'])} of what is mapped so is"
    return [f"Weakest is {short(worst)}: {percent_words(row['recall'])} of it was found{held}."]


def _weakest_by_design(told: Mapping[str, Any], design: Mapping[str, Any]) -> list[str]:
    """The class with the least F1 as the design estimates it, if there are several."""
    scored = {name: row for name, row in design["classes"].items() if row["recall"]["estimate"] is not None}
    if len(scored) < 2:
        return []
    worst = min(scored, key=lambda each: (f1_by_design(scored[each]) or 0.0, each))
    row = scored[worst]
    found = f"an estimated {_estimate_words(row['recall'])} of it was found"
    if row["precision"]["estimate"] is not None:
        held = f", and {_estimate_words(row['precision'])} of what is mapped so is"
    else:
        held = "" if worst in told["classes"] else ": the map does not have it"
    return [f"Weakest is {short(worst)}: {found}{held}."]


def f1_by_design(row: Mapping[str, Any]) -> float | None:
    """The F1 of a class from its estimated precision and recall; None where neither labels nor the map have it."""
    precision, recall = row["precision"]["estimate"], row["recall"]["estimate"]
    if not precision or not recall:
        return None if precision is None and recall is None else 0.0
    return float(2 * precision * recall / (precision + recall))


def _design_sentence(design: Mapping[str, Any]) -> str:
    """What a sample drawn by design says of the whole map."""
    of_what = "the whole map" if design["whole_map"] else "what was sampled"
    accuracy = _estimate_words(design["overall_accuracy"])
    return f"By the sample's design ({short(design['kind'])}) {accuracy} of {of_what} is right."


def _estimate_words(told: Mapping[str, Any]) -> str:
    share = percent_words(told["estimate"])
    if told["low"] is None:
        return f"{share} (with an unknown error)"
    return f"{share} (95 % interval {told['low'] * 100:.1f} to {told['high'] * 100:.1f} %)"


def _calibration_sentence(told: Mapping[str, Any]) -> str:
    n = sum(row["n"] for row in told["bins"])
    sure = sum(row["confidence"] * row["n"] for row in told["bins"] if row["n"]) / n
    right = sum(row["accuracy"] * row["n"] for row in told["bins"] if row["n"]) / n
    verdict = "about as sure as it is right" if abs(sure - right) < 0.03 else (
        "surer than it is right" if sure > right else "less sure than it is right"
    )  # fmt: skip
    return (
        f"The model is {verdict}: its confidence is {sure * 100:.1f} % on average, and it is right in "
        f"{right * 100:.1f} %."
    )


def _temperature_sentences(told: Mapping[str, Any] | None) -> list[str]:
    if told is None or told["temperature"] is None:
        return []
    before, after = told["before"]["ece"], told["after"]["ece"]
    change = "falls" if after < before else "does not fall"
    fits = f"A temperature of {told['temperature']:.2f} fits its {told['of']} best"
    return [f"{fits}: on labels held out the calibration error {change}, {before:.3f} before and {after:.3f} after."]


def _trust_sentences(told: Mapping[str, Any] | None) -> list[str]:
    """What is trusted of the map, what is promised and what not, and what labels held out say of it."""
    if told is None:
        return []
    asked = f"{told['coverage'] * 100:g} %"
    # A class that neither labels nor the map have is of no matter.
    classes = {name: row for name, row in told["classes"].items() if row["n_labels"] or row["mapped_km2"]}
    mapped = {name: row for name, row in classes.items() if row["mapped_km2"]}
    shares = [f"{short(name)} {percent_words(row['trusted_share'])}" for name, row in mapped.items()]
    more = f" and {count(len(shares) - MOST_SHARES)} more" if len(shares) > MOST_SHARES else ""
    listed = f": {', '.join(shares[:MOST_SHARES])}{more}" if shares else ""
    part = "Nothing" if told["trusted_share"] is None else f"{percent_words(told['trusted_share'])} of the map"
    kept = [name for name, row in classes.items() if row["promised"]]
    which = "each class" if len(kept) == len(classes) else _listed(kept)
    promise = f"{asked} or more of it keep their class among the possible ones"
    sentences = [
        f"{part} is trusted{listed}.",
        f"Trusted is where the mapped class alone is possible, from a score on from which {asked} of labels are right.",
        f"Promised of the ground of {which}, on average over such labels: {promise}.",
    ]
    few = [name for name, row in classes.items() if not row["promised"]]
    if few:
        needed = plural(told["labels_needed"], "label")
        has = ", ".join(f"{short(name)} {count(classes[name]['n_labels'])}" for name in few[:LISTED])
        rest = f" and {count(len(few) - LISTED)} more" if len(few) > LISTED else ""
        unequal = " whose pixels stand for like parts of the map" if told["weighted"] else ""
        sentences.append(
            f"Nothing is promised of {_listed(few)}: {needed} of a class are needed{unequal} ({has}{rest}); what is "
            "mapped so is not trusted, and such ground may be trusted as another class."
        )
    doubtful = [name for name, row in mapped.items() if row["promised"] and row["least_score"] is None]
    if doubtful:
        why = "too few such labels, or too many that are wrong"
        sentences.append(f"Nothing is trusted that is mapped as {_listed(doubtful)}: {why}.")
    if told["weighted"] and (few or doubtful):
        sentences.append(
            "Labels that stand for unlike parts of the map promise less than as many of like ones: label more of these "
            "classes, or draw a sample with --allocation proportional."
        )
    held = told["held_out"]
    if held["right"] is not None:
        trusted, whole = percent_words(held["right"]), percent_words(held["right_of_all"])
        n = plural(held["n_trusted"], "label")
        sentences.append(f"Of {n} held out and trusted {trusted} are right, of all {count(held['n'])} {whole}.")
    return [*sentences, *told["notes"]]


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence, as many as it takes."""
    words = [short(name) for name in names[:LISTED]]
    if len(names) > LISTED:
        return f"{', '.join(words)} and {count(len(names) - LISTED)} more"
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _value_sentence(told: Mapping[str, Any], head: str) -> str:
    unit = plural(told["n"], told["unit"])
    r2 = "" if told["r2"] is None else f", R² {told['r2']:.3f}"
    side = "too high" if told["bias"] > 0 else "too low"
    bias = "no bias" if told["bias"] == 0 else f"on average {figure(abs(told['bias']))} {side}"
    errors = f"RMSE {figure(told['rmse'])}, mean absolute error {figure(told['mae'])}"
    return f"{head}The error of {unit}: {errors}, {bias}{r2}."


def _left_out(told: Mapping[str, Any]) -> list[str]:
    outside = "polygon" if told["unit"] == "pixel" else "label"
    unit = "label" if told["unit"] == "object" else told["unit"]
    # A polygon between the centres of pixels lies nowhere on the lattice.
    beyond = (
        "outside the product or between the centres of its pixels" if outside == "polygon" else "outside the product"
    )
    parts = [
        (told["n_outside"], f"{plural(told['n_outside'], outside)} {beyond}"),
        (told["n_nodata"], f"{plural(told['n_nodata'], unit)} where the map has no value"),
        (told["n_unlabelled"], f"{plural(told['n_unlabelled'], 'row' if unit == 'label' else unit)} without a label"),
        (told["n_unknown"], f"{plural(told['n_unknown'], unit)} of {_unknown(told)}"),
    ]
    kept = [words for n, words in parts if n]
    said = [f"Not compared: {'; '.join(kept)}."] if kept else []
    if n_repeated := told.get("n_repeated"):
        said.append(
            f"{plural(n_repeated, 'label')} of a pixel that has the same label already: all count, and intervals are "
            "too narrow for it."
        )
    return said


def _unknown(told: Mapping[str, Any]) -> str:
    known = told.get("classes") or ()
    classes = [each for each in known if isinstance(each, str)]
    names = [f"{short(each)}{did_you_mean(str(each), classes)}" for each in told["unknown"]]
    more = f" and {count(len(names) - LISTED)} more" if len(names) > LISTED else ""
    word = "a class" if len(names) == 1 else "classes"
    return f"{word} that the map does not have ({', '.join(names[:LISTED])}{more})"
