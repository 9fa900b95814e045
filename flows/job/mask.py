"""The mask options of a job: which observations are dropped, and by which band or rule."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tilewright.flows.job.options import Options, as_list
from tilewright.tasks.compose.mask_rule import QA_PIXEL_DROPPED, SCL_DROPPED, parse_condition

KEYS_OF_KIND: dict[str, frozenset[str]] = {
    "auto": frozenset({"drop", "dilation"}),
    "none": frozenset({"drop", "dilation"}),
    "scl": frozenset({"drop", "dilation"}),
    "probability": frozenset({"band", "threshold", "dilation"}),
    "bits": frozenset({"band", "drop", "dilation"}),
    "values": frozenset({"band", "drop", "dilation"}),
    "rule": frozenset({"rule", "dilation"}),
    "model": frozenset({"model", "drop", "dilation"}),
}
"""The keys that each kind of mask takes."""

MAX_VALUE = {"auto": 11, "none": 11, "scl": 11, "bits": 63, "values": 65535}
"""The largest value of ``drop`` by kind."""


def _classes(given: Any) -> Any:
    """A list of whole numbers and names, or one of them alone. Raises ValueError for anything else in it."""
    listed = as_list(given)
    for each in listed if isinstance(listed, (list, tuple)) else ():
        if isinstance(each, bool) or not isinstance(each, (int, str)):
            # Only a ValueError becomes a refusal of the field.
            message = "expected a whole number, or the name of a class"
            raise ValueError(message)  # noqa: TRY004
    return listed


class MaskOptions(Options):
    """The observations that are dropped: by scene classes, cloud probability, bits, values, a rule or a model.

    ``drop`` holds numbers, for kind ``model`` the names or values of its classes.
    """

    kind: Literal["auto", "none", "scl", "probability", "bits", "values", "rule", "model"] = "auto"
    band: str = ""
    drop: Annotated[tuple[int | str, ...], BeforeValidator(_classes)] = SCL_DROPPED
    threshold: float = Field(default=50.0, ge=-1e9, le=1e9)
    rule: Annotated[tuple[str, ...], BeforeValidator(as_list), Field(max_length=20)] = ()
    dilation: float = Field(default=0.0, ge=0, le=5000)
    model: str = ""

    @model_validator(mode="before")
    @classmethod
    def _default_bits(cls, given: Any) -> Any:
        """``kind: bits`` alone means Landsat's clouds and shadows."""
        use_default = isinstance(given, dict) and given.get("kind") == "bits" and "drop" not in given
        return {**given, "drop": QA_PIXEL_DROPPED} if use_default and given.get("band") in {None, "qa_pixel"} else given

    @model_validator(mode="after")
    def _check_keys(self) -> MaskOptions:
        unused = sorted(self.model_fields_set - {"kind"} - KEYS_OF_KIND[self.kind])
        if unused:
            taken = ", ".join(sorted(KEYS_OF_KIND[self.kind]))
            raise ValueError(f"mask.{unused[0]} means nothing to mask.kind {self.kind!r}, which takes {taken}")
        if self.kind == "values" and not self.band:
            raise ValueError("mask.band: name the band whose values tell which pixels to drop")
        if self.kind == "model" and not (self.model and self.drop and "drop" in self.model_fields_set):
            raise ValueError("mask.model and mask.drop: name the model, and which of its classes are not used")
        names = [value for value in self.drop if isinstance(value, str)]
        if self.kind != "model" and names:
            raise ValueError(f"mask.drop: expected a whole number, as mask.kind {self.kind!r} takes, not {names[0]!r}")
        if self.kind in {"values", "bits"} and "drop" not in self.model_fields_set:
            raise ValueError(f"mask.drop: list the {self.kind} of band {self.band!r} that are not used")
        bad = [value for value in self.numbers if not 0 <= value <= MAX_VALUE.get(self.kind, math.inf)]
        if bad:
            raise ValueError(f"mask.drop: {bad[0]} is none of 0 to {MAX_VALUE[self.kind]} of mask.kind {self.kind!r}")
        if self.kind == "rule" and not self.rule:
            raise ValueError("mask.rule: say when a pixel is dropped, e.g. rule: 'blue > 0.25'")
        for text in self.rule:
            parse_condition(text, field="mask.rule")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in ``drop``."""
        return tuple(value for value in self.drop if isinstance(value, int))

    def request(self) -> dict[str, Any]:
        """The options that decide pixels, as JSON: the kind and its keys."""
        plain = self.model_dump(mode="json")
        return {key: plain[key] for key in plain if key == "kind" or key in KEYS_OF_KIND[self.kind]}
