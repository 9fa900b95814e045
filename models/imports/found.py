"""What is known of a model that was made elsewhere: fields of a card, each with the place that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.fields import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL: Final = ""
"""The part of fields that belong to no input or output; no port of a graph is without a name."""

OTHERS: Final = re.compile(r"[^0-9A-Za-z_-]+")
"""Characters that a class's name does not have. Source: STAC classification extension 2.0."""

VALUE: Final = re.compile(r"-?[0-9]+", re.ASCII)
"""The value of a class as text; Python would read 1_0 and digits of other scripts too."""

LONGEST_VALUE: Final = 20

PICTURE: Final = "picture"
"""Stands for the two values of an input that are 0 and 255 in the pictures a model was trained on."""

LAYOUT: Final = "dim_order"
"""Stands for the `dim_order` of an input's or output's array, whose shape the graph has."""


@dataclass(slots=True, kw_only=True)
class ForeignModel:
    """What a file of a format says. ``graph`` is the ONNX file it says it of.

    ``inputs`` and ``outputs`` have the fields of a card by the graph's own names, ``model`` those of `tw:tile` and of
    the Item's properties; ``where`` says for (part, field) what they were read from. ``impossible``: by its name, what
    the file asks for that no card can say, and the (part, field) that may be given in its place. ``of_pictures``:
    inputs whose scaling is one of pictures of 0 to 255, which a satellite does not take.
    """

    format: str
    graph: Path
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    where: dict[tuple[str, str], str] = field(default_factory=dict)
    of_pictures: set[str] = field(default_factory=set)
    impossible: dict[str, tuple[str, tuple[str, str] | None]] = field(default_factory=dict)

    def tell(self, part: str, name: str, value: Any, where: str) -> None:
        """Note a field of an input, an output or the model; what is known already stays."""
        fields = self.fields(part)
        if name not in fields:
            fields[name] = value
            self.where[part, name] = where

    def tell_picture(self, part: str, scaling: list[dict[str, Any]], where: str) -> None:
        """Note the scaling of an input that takes pictures of 0 to 255."""
        self.tell(part, "value_scaling", scaling, where)
        self.of_pictures.add(part)

    def overrule(self, part: str, name: str, value: Any, where: str) -> None:
        """Note a field whatever was known."""
        self.fields(part)[name] = value
        self.where[part, name] = where

    def cannot(self, name: str, words: str, *, instead: tuple[str, str] | None = None) -> None:
        """Note a step that no card can say; ``words`` follow its name and say what to do."""
        self.impossible.setdefault(name, (f"{name} {words}", instead))

    def fields(self, part: str) -> dict[str, Any]:
        """The fields of an input, an output or the model."""
        return self.model if part == MODEL else self.inputs[part] if part in self.inputs else self.outputs[part]


def classes_of(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """`classification:classes` of names by value, in the order of the values.

    A name has letters, digits, - and _ alone there; what was another one is the title, too.
    """
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for value in sorted(names):
        name = OTHERS.sub("_", names[value]).strip("_") or f"class_{value}"
        if name in taken:
            name = f"{name}_{value}"
        taken.add(name)
        found.append({"value": value, "name": name, **({"title": names[value]} if name != names[value] else {})})
    return found


def numbered(names: Any, *, where: str) -> dict[int, str]:
    """Names of classes by their values, as a list or a mapping says them. Raises CardError for what is neither, for a
    value that is no whole number or stands twice, and for a name that is none.
    """
    pairs = list(enumerate(names)) if isinstance(names, (list, tuple)) else []
    pairs = list(names.items()) if isinstance(names, dict) else pairs
    found: dict[int, str] = {}
    for key, name in pairs:
        value = _class_value(key)
        if value is None or isinstance(name, bool) or not isinstance(name, (str, int, float)):
            raise CardError(f"{where} has {shorten(key)}: {shorten(name)}; expected names such as {{'0': 'land'}}")
        if value in found:
            raise CardError(f"{where} names the class {shorten(value)} twice, {shorten(found[value])} and "
                            f"{shorten(name)}; mend the file")  # fmt: skip
        found[value] = str(name)
    if not found:
        raise CardError(f"{where} is {shorten(names)}; expected names such as {{'0': 'land'}}")
    return found


def _class_value(key: Any) -> int | None:
    """The value of a class, written as a whole number or as its digits."""
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    return int(key) if isinstance(key, str) and len(key) <= LONGEST_VALUE and VALUE.fullmatch(key) else None


def z_score(mean: list[float], deviation: list[float], *, scale: float) -> list[dict[str, Any]]:
    """`value_scaling` of (x * scale - mean) / deviation, per band.

    Raises CardError for lists of unlike length and for a deviation of 0 or below.
    """
    if len(mean) != len(deviation):
        raise CardError(
            f"there are {len(mean)} means and {len(deviation)} deviations, one each per band; mend the file"
        )
    if min(deviation) <= 0:
        raise CardError(f"a deviation is {min(deviation):g}; expected numbers above 0")
    return [
        {"type": "z-score", "mean": one / scale, "stddev": other / scale}
        for one, other in zip(mean, deviation, strict=True)
    ]


def of_bytes() -> list[dict[str, Any]]:
    """`value_scaling` of pictures of 0 to 255 that a model takes as 0 to 1."""
    return [{"type": "scale", "value": 255.0}]
