"""A card that a person fills in: an empty text wherever a fact is missing, and the list of these places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.models.imports.answers import ANSWERS, WHERE
from tilewright.models.imports.found import LAYOUT, PICTURE, ForeignModel
from tilewright.models.imports.importing import looked_at, new_folder, write_card
from tilewright.models.imports.missing import OF_INPUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tilewright.models.imports.signature import Signature

GAP: Final = ""
"""What stands for a missing fact: no text of a card is empty, so that its place is refused until it is filled."""

GAPS: Final[dict[str, Any]] = {"value_scaling": [{"type": GAP}], "tasks": [GAP], "tw:layers": [GAP]}
"""The form that a gap has in fields that hold lists."""

EXAMPLES: Final = {
    "collection": '"sentinel-2-l2a"',
    "bands": '["red", "green", "blue"]',
    "unit": '"reflectance", "db", or "1" for numbers as stored',
    "resolution": "10; leave it out for any",
    "scaling": '[{"type": "scale", "value": 10000}], one entry or one per band; leave it out for none',
    "layout": '["batch", "bands", "height", "width"]',
    "layers": '["biomass"]; or classification:classes in its place, like [{"value": 0, "name": "land"}, ...]',
    "activation": '"softmax", "sigmoid" or "none"',
    "result": '["batch", "class", "height", "width"]',
    "tasks": '["semantic-segmentation"], here and in properties.mlm:tasks',
}
"""How a card holds each fact, by the word of `--set` that gives it."""


def begin_card(path: Path, *, answers: Sequence[str] = (), to: Path | None = None) -> tuple[Path, list[str]]:
    """Write a card as far as the files of a model tell, with an empty text wherever a fact is missing, beside a copy of
    the model; returns its folder and a line for each fact that is missing, by its place in the card.

    `load_card` refuses an empty text by its place, so that none is taken for a fact. Raises CardError as
    ``import_model`` does, but not for missing facts.
    """
    found, signature, _ = looked_at(path, answers)
    name, target = new_folder(found, to)
    lines = fill_gaps(found, signature)
    write_card(found, signature, name=name, target=target, whole=not lines)
    return target, lines


def fill_gaps(found: ForeignModel, signature: Signature) -> list[str]:
    """Put a gap wherever a fact is missing; returns a line for each: its place in the card, what it is, an example."""
    lines: list[str] = []
    for number, (name, fields) in enumerate(found.inputs.items()):
        pictures = name in found.of_pictures and PICTURE not in fields and found.where[name, "value_scaling"] != WHERE
        if pictures:
            del fields["value_scaling"]
        place, words = f"properties.mlm:input[{number}]", _of_input(fields, signature.inputs[name].shape)
        lines += [_line(place, word) for word in words]
    if any("bands" in line for line in lines):
        lines.append('properties.bands: each of these bands once, like {"name": "red"}')
    for number, (name, fields) in enumerate(found.outputs.items()):
        place, words = f"properties.mlm:output[{number}]", _of_output(fields, signature.outputs[name].shape)
        lines += [_line(place, word) for word in words]
    return lines


def _of_input(fields: dict[str, Any], shape: Sequence[int] | None) -> list[str]:
    """The words of what is missing of an input, with a gap put there; its dimensions first, which tell of its bands."""
    missing = [word for word in OF_INPUT if ANSWERS[word].field not in fields]
    if "layout" in missing:
        fields[LAYOUT] = [GAP] * len(shape or ())
    for word in missing:
        field = ANSWERS[word].field
        gap = [GAP] * _channels(fields[LAYOUT], shape) if field == "bands" else GAPS.get(field, GAP)
        fields.setdefault(field, gap)
    return missing


def _of_output(fields: dict[str, Any], shape: Sequence[int] | None) -> list[str]:
    """The words of what is missing of an output, with a gap put there."""
    missing = []
    if LAYOUT not in fields:
        fields[LAYOUT] = [GAP] * len(shape or ())
        missing.append("result")
    if "classification:classes" not in fields and "tw:layers" not in fields:
        missing.append("layers")
    elif "tw:activation" not in fields and "classification:classes" in fields:
        missing.append("activation")
    if "tasks" not in fields:
        missing.append("tasks")
    for word in missing:
        field = ANSWERS[word].field
        fields.setdefault(field, GAPS.get(field, GAP))
    return missing


def _channels(axes: Sequence[str], shape: Sequence[int] | None) -> int:
    """The number of channels of an input as far as the graph has it, 1 where it is free."""
    known = dict(zip(axes, shape or (), strict=False))
    return max(1, int(known.get("bands", known.get("channel", 1))))


def _line(place: str, word: str) -> str:
    answer = ANSWERS[word]
    inner = {"layout": "input.", "result": "result."}.get(word, "")
    return f"{place}.{inner}{answer.field}: {answer.what}, like {EXAMPLES[word]}"
