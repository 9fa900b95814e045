"""What a job asks of masks: which observations are dropped, and by what."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tilewright.tasks.compose.mask_rule import QA_PIXEL_DROPPED, SCL_DROPPED, parse_condition

ASKS: dict[str, frozenset[str]] = {
    "auto": frozenset({"drop", "dilation"}),
    "none": frozenset({"drop", "dilation"}),
    "scl": frozenset({"drop", "dilation"}),
    "probability": frozenset({"band", "threshold", "dilation"}),
    "bits": frozenset({"band", "drop", "dilation"}),
    "values": frozenset({"band", "drop", "dilation"}),
    "rule": frozenset({"rule", "dilation"}),
}
"""What each kind of mask can be told."""

HIGHEST = {"auto": 11, "none": 11, "scl": 11, "bits": 63, "values": 65535}


def _as_rules(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class MaskOptions(BaseModel):
    """Which observations are dropped: by scene classes, cloud probability, bits, values or a rule of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["auto", "none", "scl", "probability", "bits", "values", "rule"] = "auto"
    band: str = ""
    drop: tuple[int, ...] = SCL_DROPPED
    threshold: float = Field(default=50.0, ge=-1e9, le=1e9)
    rule: Annotated[tuple[str, ...], BeforeValidator(_as_rules), Field(max_length=20)] = ()
    dilation: float = Field(default=0.0, ge=0, le=5000)

    @model_validator(mode="before")
    @classmethod
    def _usual_bits(cls, given: Any) -> Any:
        """``kind: bits`` alone means Landsat's clouds and shadows."""
        usual = isinstance(given, dict) and given.get("kind") == "bits" and "drop" not in given
        return {**given, "drop": QA_PIXEL_DROPPED} if usual and given.get("band") in {None, "qa_pixel"} else given

    @model_validator(mode="after")
    def _of_one_kind(self) -> MaskOptions:
        idle = sorted(self.model_fields_set - {"kind"} - ASKS[self.kind])
        if idle:
            heard = ", ".join(sorted(ASKS[self.kind]))
            raise ValueError(f"mask.{idle[0]} means nothing to mask.kind {self.kind!r}, which takes {heard}")
        if self.kind == "values" and not self.band:
            raise ValueError("mask.band: name the band whose values tell which pixels to drop")
        if self.kind in {"values", "bits"} and "drop" not in self.model_fields_set:
            raise ValueError(f"mask.drop: list the {self.kind} of band {self.band!r} that are not used")
        bad = [value for value in self.drop if not 0 <= value <= HIGHEST.get(self.kind, math.inf)]
        if bad:
            raise ValueError(f"mask.drop: {bad[0]} is none of 0 to {HIGHEST[self.kind]} of mask.kind {self.kind!r}")
        if self.kind == "rule" and not self.rule:
            raise ValueError("mask.rule: say when a pixel is dropped, e.g. rule: 'blue > 0.25'")
        for text in self.rule:
            parse_condition(text, field="mask.rule")
        return self

    def request(self) -> dict[str, Any]:
        """What decides pixels, as JSON: the kind and what it takes."""
        plain = self.model_dump(mode="json")
        return {key: plain[key] for key in plain if key == "kind" or key in ASKS[self.kind]}
