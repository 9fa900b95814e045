"""What a card still needs and no file said. Nothing is guessed: a default that is only likely counts as missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.models.imports.answers import ANSWERS, WHERE
from tilewright.models.imports.found import LAYOUT, PICTURE, ForeignModel
from tilewright.models.imports.signature import ACTIVATED
from tilewright.models.spec.scaling import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.imports.signature import Signature

OF_INPUT = ("collection", "bands", "unit", "resolution", "scaling", "layout")


def complete(found: ForeignModel, signature: Signature) -> None:
    """Add what the graph itself proves: layouts that leave no doubt, and scores that are probabilities already."""
    for name in (*found.inputs, *found.outputs):
        axes = signature.layout(name)
        if axes is not None:
            found.tell(name, LAYOUT, list(axes), "the shape in the graph")
    for name in found.of_pictures:
        if PICTURE in found.inputs[name] and found.where[name, "value_scaling"] != WHERE:
            _stretch(found, name)
    for name, fields in found.outputs.items():
        last = signature.last.get(name, "")
        if last in ACTIVATED:
            found.tell(name, "tw:activation", "none", f"{last}, the graph's last operator")
        if last == "ArgMax" or signature.outputs[name].data_type.startswith(("int", "uint", "bool")):
            found.tell(name, "tw:activation", "none", "class values, which the graph gives itself")
        if "tasks" not in fields and "classification:classes" in fields:
            spatial = "height" in fields.get(LAYOUT, ())
            found.tell(name, "tasks", ["semantic-segmentation" if spatial else "classification"], "classes")
        if "tasks" not in fields and "tw:layers" in fields:
            found.tell(name, "tasks", ["regression"], "layers without classes")


def _stretch(found: ForeignModel, name: str) -> None:
    """The scaling of a picture of 0 to 255, said of the values that it was made of; beyond its ends it is full.

    That a picture holds whole numbers is left out.
    """
    low, high = found.inputs[name][PICTURE]
    above = f"x - {low!r}" if low >= 0 else f"x + {-low!r}"
    share = f"min(max(({above}) / {high - low!r}, 0), 1)"
    scaling = []
    for entry in found.inputs[name]["value_scaling"]:
        mean, deviation = entry.get("mean", 0.0) / 255, entry.get("stddev", entry.get("value")) / 255
        expression = f"({share} - {mean!r}) / {deviation!r}"
        scaling.append({"type": "processing", "format": FORMAT, "expression": expression})
    where = found.where[name, "value_scaling"]
    found.overrule(name, "value_scaling", scaling, f"{where}; picture")


def missing_words(found: ForeignModel) -> list[str]:
    """A line for each fact that is missing: the word of `--set`, what it is, an example."""
    return [*_of_inputs(found), *_of_outputs(found)]


def _of_inputs(found: ForeignModel) -> Iterator[str]:
    several = len(found.inputs) > 1
    for name, fields in found.inputs.items():
        for word in OF_INPUT:
            if ANSWERS[word].field not in fields:
                yield _line(word, name, several=several)
        if name in found.of_pictures and PICTURE not in fields and found.where[name, "value_scaling"] != WHERE:
            yield _line("picture", name, several=several)


def _of_outputs(found: ForeignModel) -> Iterator[str]:
    several = len(found.outputs) > 1
    for name, fields in found.outputs.items():
        if LAYOUT not in fields:
            yield _line("result", name, several=several)
        if "classification:classes" not in fields and "tw:layers" not in fields:
            yield f"{_line('classes', name, several=several)}; for values: layers=biomass"
            if "tw:activation" not in fields:
                yield f"with classes, {_line('activation', name, several=several)}"
        elif "tw:activation" not in fields and "classification:classes" in fields:
            yield _line("activation", name, several=several)


def _line(word: str, port: str, *, several: bool) -> str:
    answer = ANSWERS[word]
    key = f"{port}.{word}" if several else word
    of = f" of {port!r}" if several else ""
    return f"{key}: {answer.what}{of}, such as {answer.example}"
