"""The trial of a precision before a run's first block: seconds to calibrate, make and compare its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tilewright.flows.precision.windows import N_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Mapping


MADE: Final[Mapping[str, float]] = {"fp16": 0.4, "bf16": 0.4, "int8": 1.1}
"""Seconds to convert or quantise a graph of a few megabytes and to open it, with the imports for that."""

SINGLE: Final = 1.5
"""Seconds of a window in single precision by those in the other one."""

EXTREMES: Final = 1.5
"""Seconds of a window whose tensors are measured by those of one that is only run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the trial of a precision takes: windows that are read, ``calls`` of the model in calls of that precision,
    and ``fixed`` seconds. A cache spares none of it: calibration is made anew by each plan, the comparison by each run.
    """

    reads: float
    calls: float
    fixed: float

    @classmethod
    def of(cls, precision: str, *, windows: float) -> Trial:
        """The trial of a precision over an area of so many windows; nothing for single precision."""
        if precision not in MADE:
            return cls(reads=0.0, calls=0.0, fixed=0.0)
        quantised = precision == "int8"
        # Every second window that has a valid pixel is calibrated on, and those between are compared.
        read = min(windows, (2 if quantised else 1) * N_WINDOWS)
        compared = read / 2 if quantised else read
        calls = (compared + 1) * (1 + SINGLE) + (compared * SINGLE * (1 + EXTREMES) if quantised else 0.0)
        return cls(reads=2 * read if quantised else read, calls=calls, fixed=MADE[precision])

    def seconds(self, *, read: float, call: float) -> float:
        """Seconds, where the inputs of a window are read in ``read`` and the model takes ``call`` for one."""
        return self.fixed + self.reads * read + self.calls * call
