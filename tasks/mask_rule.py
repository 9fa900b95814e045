"""What makes a pixel unusable: the rule, before any pixel is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tasks.condition import parse_condition

SCL_DROPPED = (0, 1, 3, 8, 9, 10)
"""No data, saturated or defective, cloud shadow, cloud of medium and of high probability, thin cirrus.

Source: Sentinel-2 Products Specification Document, issue 14.9, section 3.7.10 (scene classification).
"""

QA_PIXEL_DROPPED = (1, 2, 3, 4)
"""Bits of dilated cloud, cirrus, cloud, cloud shadow.

Source: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), version 5.0, table 6-2.
"""

NOT_CLOUD = frozenset({0, 1})
"""SCL classes that are dropped but not grown by a dilation: they say nothing of the sky."""

DEFAULT_BAND = {"scl": "scl", "probability": "cloud", "bits": "qa_pixel", "values": "", "rule": "", "none": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """What makes a pixel unusable.

    `kind` "scl" and "values" drop the classes in `drop`; "probability" drops values above `threshold`; "bits" drops
    pixels that have any of the bits numbered in `drop`; "rule" drops where any of the `conditions` over bands in their
    physical units is true, or cannot be answered; "none" drops nothing. `band` is the band that tells, each kind's
    usual one if empty. `dilation` in metres grows what is dropped for clouds and shadows (not missing pixels).
    """

    kind: Literal["none", "scl", "probability", "bits", "values", "rule"] = "scl"
    band: str = ""
    drop: tuple[int, ...] = SCL_DROPPED
    threshold: float = 50.0
    conditions: tuple[str, ...] = ()
    dilation: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in DEFAULT_BAND:
            raise ValueError(f"mask kind {self.kind!r} is not known: give one of {', '.join(sorted(DEFAULT_BAND))}")
        if not (math.isfinite(self.dilation) and self.dilation >= 0):
            raise ValueError(f"mask dilation is {self.dilation}: give metres, 0 or more")
        if self.kind == "bits" and not all(0 <= bit < 64 for bit in self.drop):
            raise ValueError(f"mask bits are {self.drop}: give bit numbers from 0 on")
        if self.kind == "values" and not self.band:
            raise ValueError("mask kind 'values' needs the band whose values tell")
        if (self.kind == "rule") != bool(self.conditions):
            raise ValueError("conditions belong to mask kind 'rule', and that kind needs at least one")
        for text in self.conditions:
            parse_condition(text, field="mask condition")

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands the rule needs, some of which may be measured ones."""
        if self.kind == "none":
            return ()
        if self.kind == "rule":
            parsed = [parse_condition(text, field="mask condition") for text in self.conditions]
            return tuple(dict.fromkeys(name for condition in parsed for name in condition.difference.names))
        return (self.band or DEFAULT_BAND[self.kind],)

    def radius_px(self, resolution: float) -> int:
        """Pixels by which the mask reaches beyond a pixel: to be added to the halo of a block."""
        return math.ceil(self.dilation / resolution) if self.kind != "none" else 0
