"""The rule that decides which pixels are unusable."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilewright.models.spec.expression import Expression, parse_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SCL_DROPPED = (0, 1, 3, 8, 9, 10)
"""SCL classes: no data, saturated or defective, cloud shadow, cloud of medium and of high probability, thin cirrus.

Source: Sentinel-2 Products Specification Document, issue 14.9, section 3.7.10 (scene classification).
"""

QA_PIXEL_DROPPED = (1, 2, 3, 4)
"""Bits of dilated cloud, cirrus, cloud, cloud shadow.

Source: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), version 5.0, table 6-2.
"""

NOT_CLOUD = frozenset({0, 1})
"""SCL classes that a dilation does not grow: they are neither clouds nor shadows."""

DEFAULT_BAND = {
    "scl": "scl",
    "probability": "cloud",
    "bits": "qa_pixel",
    "values": "",
    "rule": "",
    "none": "",
    "model": "",
}

MODEL_BAND = "tw:mask"
"""The name under which the classes that a model gave to a scene are judged; no source has a band of it."""

CLASS_KINDS = frozenset({"scl", "bits", "values", "model"})
"""Kinds of masks that judge stored integers."""

_COMPARISON = re.compile(r"<=|>=|<|>")

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """The rule that drops unusable pixels.

    `kind` "scl" and "values" drop the classes in `drop`; "probability" drops values above `threshold`; "bits" drops
    pixels with any of the bits numbered in `drop`; "rule" drops pixels for which any of the `conditions` over bands in
    physical units is true or undefined; "model" drops the classes in `drop` that the model with the digest `model` sees
    in each scene, from the bands `sees`; "none" drops nothing. `band` is the quality band, the kind's default if empty.
    `dilation` (metres) grows the pixels dropped for clouds and shadows, but not missing pixels.
    """

    kind: Literal["none", "scl", "probability", "bits", "values", "rule", "model"] = "scl"
    band: str = ""
    drop: tuple[int, ...] = SCL_DROPPED
    threshold: float = 50.0
    conditions: tuple[str, ...] = ()
    dilation: float = 0.0
    model: str = ""
    sees: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in DEFAULT_BAND:
            raise ValueError(f"mask kind {self.kind!r} is not known: give one of {', '.join(sorted(DEFAULT_BAND))}")
        if not (math.isfinite(self.dilation) and self.dilation >= 0):
            raise ValueError(f"mask dilation is {self.dilation}: give metres, 0 or more")
        if self.kind == "bits" and not all(0 <= bit < 64 for bit in self.drop):
            raise ValueError(f"mask bits are {self.drop}: give bit numbers from 0 on")
        if self.kind == "values" and not self.band:
            raise ValueError("mask kind 'values' needs the band whose values tell")
        if (self.kind == "model") != bool(self.model) or bool(self.model) != bool(self.sees):
            raise ValueError("a model and what it sees belong to mask kind 'model', and that kind needs both")
        if (self.kind == "rule") != bool(self.conditions):
            raise ValueError("conditions belong to mask kind 'rule', and that kind needs at least one")
        for text in self.conditions:
            parse_condition(text, field="mask condition")

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the rule needs, some of which may be measured ones."""
        if self.kind in {"none", "model"}:
            return self.sees
        if self.kind == "rule":
            parsed = [parse_condition(text, field="mask condition") for text in self.conditions]
            return tuple(dict.fromkeys(name for condition in parsed for name in condition.difference.names))
        return (self.band or DEFAULT_BAND[self.kind],)

    @property
    def judged(self) -> tuple[str, ...]:
        """The names of what `dropped_pixels` judges: the bands, or what a model made of them."""
        return (MODEL_BAND,) if self.kind == "model" else self.bands

    def radius_px(self, resolution: float) -> int:
        """The radius of the dilation in pixels, which the halo of a block must include."""
        return math.ceil(self.dilation / resolution) if self.kind != "none" else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A comparison of two sides: their difference, and its comparison with 0."""

    text: str
    difference: Expression
    comparison: str

    def __call__(self, bands: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(true, unknown) per pixel, bool, in the shape of the bands; unknown where a side is NaN or infinite."""
        value = self.difference(bands)
        unknown = ~np.isfinite(value)
        return _OPERATORS[self.comparison](value, 0) & ~unknown, unknown


def parse_condition(text: str, *, field: str) -> Condition:
    """The condition in `text`: arithmetic over bands, one of < <= > >=, arithmetic again.

    Raises ValueError naming `field` for anything else.
    """
    found = _COMPARISON.findall(text)
    left, right = [*_COMPARISON.split(text), ""][:2]
    if len(found) != 1 or not left.strip() or not right.strip():
        raise ValueError(f"{field} is {text!r}: compare two sides once with <, <=, > or >=, e.g. 'blue > 0.25'")
    # Each side is parsed alone first: a bracket must not close on the other side.
    for side in (left, right):
        parse_expression(f"({side}) + band", field=field)
    return Condition(text=text, difference=parse_expression(f"({left}) - ({right})", field=field), comparison=found[0])
