"""What a person says of a model beside its files: words of `--set`, each for a field of the card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean, is_number, shorten
from tilewright.models.imports.found import LAYOUT, MODEL, PICTURE, ForeignModel, classes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WHERE: Final = "--set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A word that may be set: the field it gives of an input, an output or the model, and what it is, for a person."""

    of: Literal["input", "output", "model"]
    field: str
    parse: Callable[[str], Any]
    what: str
    example: str


def _text(text: str) -> str:
    return text


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ValueError("a name is empty")
    return words


def _number(text: str) -> float:
    value = float(text)
    if not is_number(value) or value <= 0:
        raise ValueError("expected a number above 0")
    return value


def _resolution(text: str) -> float | None:
    """Pixel size in metres; None: whatever the job's grid has."""
    return None if text == "any" else _number(text)


def _pixels(text: str) -> int:
    return int(text)


def _classes(text: str) -> list[dict[str, Any]]:
    """``land,water`` are classes 0 and 1; ``3=land,7=water`` have values of their own."""
    names: dict[int, str] = {}
    for number, word in enumerate(_words(text)):
        value, sign, name = word.rpartition("=")
        if int(value) in names if sign else number in names:
            raise ValueError(f"{value or number} stands twice")
        names[int(value) if sign else number] = name
    return classes_of(names)


def _scaling(text: str) -> list[dict[str, Any]]:
    """``none``, ``scale:10000``, ``z-score:MEAN:STDDEV``, ``min-max:LOW:HIGH`` (comma-separated per band), or JSON."""
    if text == "none":
        return []
    if text.startswith("["):
        found = json.loads(text)
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValueError("expected a list of value-scaling objects")
        return found
    kind, *parts = text.split(":")
    keys = {"scale": ("value",), "z-score": ("mean", "stddev"), "min-max": ("minimum", "maximum")}.get(kind)
    if keys is None or len(parts) != len(keys):
        raise ValueError("expected none, scale:N, z-score:MEAN:STDDEV, min-max:LOW:HIGH, or JSON")
    lists = [[float(number) for number in _words(part)] for part in parts]
    return [{"type": kind, **dict(zip(keys, values, strict=True))} for values in zip(*lists, strict=True)]


def _picture(text: str) -> tuple[float, float]:
    low, high = (float(number) for number in text.split(":"))
    if not (is_number(low) and is_number(high)) or low >= high:
        raise ValueError("expected LOW:HIGH, the first one the lower")
    return low, high


def _activation(text: str) -> str:
    if text not in {"softmax", "sigmoid", "none"}:
        raise ValueError("expected softmax, sigmoid or none")
    return text


def _dates(text: str) -> dict[str, Any]:
    """``composite``, ``pair``, ``series:3:month``."""
    kind, _, more = text.partition(":")
    steps, _, every = more.partition(":")
    return {"kind": kind, **({"steps": int(steps)} if steps else {}), **({"every": every} if every else {})}


ANSWERS: Final = {
    "collection": Answer(of="input", field="tw:collection", parse=_text, what="the collection it reads",
                         example="sentinel-2-l2a"),
    "bands": Answer(of="input", field="bands", parse=_words, what="its bands, in the order of the channels",
                    example="red,green,blue"),
    "unit": Answer(of="input", field="tw:unit", parse=_text, what="the unit of its values before they are scaled",
                   example="reflectance, db, or 1 for numbers as stored"),
    "resolution": Answer(of="input", field="tw:resolution", parse=_resolution,
                         what="the pixel size in metres it was trained on, or any", example="10"),
    "scaling": Answer(of="input", field="value_scaling", parse=_scaling,
                      what="how values are scaled before the model",
                      example="none, scale:10000, z-score:0.1,0.2:0.03,0.04"),
    "picture": Answer(of="input", field=PICTURE, parse=_picture,
                      what="the values in its unit that are 0 and 255 in the pictures it was trained on",
                      example="0:0.3, or 0:255 for a source of such pictures"),
    "layout": Answer(of="input", field=LAYOUT, parse=_words, what="the meaning of its dimensions",
                     example="batch,bands,height,width"),
    "dates": Answer(of="input", field="tw:dates", parse=_dates, what="the dates it takes", example="series:3:month"),
    "classes": Answer(of="output", field="classification:classes", parse=_classes,
                      what="the names of its classes, in the order of the channels", example="land,water"),
    "layers": Answer(of="output", field="tw:layers", parse=_words, what="names of its layers", example="biomass"),
    "activation": Answer(of="output", field="tw:activation", parse=_activation,
                         what="what turns its scores into probabilities", example="softmax, sigmoid or none"),
    "result": Answer(of="output", field=LAYOUT, parse=_words, what="the meaning of its dimensions",
                     example="batch,class,height,width"),
    "tasks": Answer(of="output", field="tasks", parse=_words, what="its task", example="semantic-segmentation"),
    "result_unit": Answer(of="output", field="tw:unit", parse=_text, what="the unit of its values", example="Mg/ha"),
    "name": Answer(of="model", field="name", parse=_text, what="the model's name", example="water-2024"),
    "title": Answer(of="model", field="title", parse=_text, what="its title", example="Water on Sentinel-2"),
    "window": Answer(of="model", field="window", parse=_pixels, what="the pixels of a window's side", example="512"),
    "step": Answer(of="model", field="step", parse=_pixels, what="the pixels between windows", example="448"),
    "without": Answer(of="model", field="without", parse=_words,
                      what="steps that are left out though its files ask for them", example="seg_small_segment"),
    "trim": Answer(of="model", field="trim", parse=_pixels, what="the pixels cut from a result's sides", example="32"),
}  # fmt: skip
"""Words of `--set`."""


def set_answers(found: ForeignModel, words: Sequence[str]) -> None:
    """Put ``name=value`` or ``PORT.name=value`` in place of what a file says or does not say.

    Raises CardError for a word that is none, a value it cannot have, or an input or output that must be named.
    """
    for word in words:
        key, sign, text = word.partition("=")
        port, answer = _target(found, key.strip())
        if not sign or not text.strip():
            raise CardError(f"--set {shorten(word)} gives no value; write {key.strip()}={answer.example}")
        try:
            value = answer.parse(text.strip())
        except (ValueError, RecursionError) as error:
            raise CardError(f"--set {shorten(word)}: {error}; {answer.what}, such as {answer.example}") from error
        found.overrule(port, answer.field, value, WHERE)


def _target(found: ForeignModel, key: str) -> tuple[str, Answer]:
    """The part of the card that a word is about, and the word."""
    ports = [*found.inputs, *found.outputs]
    named = max((port for port in ports if key.startswith(f"{port}.")), key=len, default=None)
    name = key if named is None else key[len(named) + 1 :]
    answer = ANSWERS.get(name)
    if answer is None:
        raise CardError(f"--set knows no {shorten(name)}{did_you_mean(name, ANSWERS)}; it has {', '.join(ANSWERS)}")
    if answer.of == "model":
        if named is not None:
            raise CardError(f"--set {key}: {name} is the model's; write {name}=...")
        return MODEL, answer
    those = list(found.inputs if answer.of == "input" else found.outputs)
    if named is None and len(those) != 1:
        which = " or ".join(f"{each}.{name}" for each in those[:6])
        raise CardError(f"--set {name}: say of which {answer.of}, {which}")
    if named is not None and named not in those:
        raise CardError(f"--set {key}: {name} is said of an {answer.of}; these are {', '.join(those[:6])}")
    return named or those[0], answer
