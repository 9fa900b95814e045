"""The part of a plan that a job over places has instead of an area: how many rows there are, and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACES = "places"
"""The name of the table that such a job makes, and of its asset."""

PLACES_FILE = f"{PLACES}.parquet"

ROWS_PER_UNIT = 256
"""Rows of a unit of work: some seconds of work, and some hundred units of a hundred thousand rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesPlan:
    """The places of a plan: ``n_rows`` of a table with the SHA-256 ``digest``, ``unit`` of them a unit of work.

    ``align``: windows start at multiples of so many pixels, 1 unless an input has coarser pixels than the grid.
    ``start`` and ``end`` (UTC) hold the periods of all rows.
    """

    n_rows: int
    digest: str
    unit: int
    align: int
    start: datetime
    end: datetime

    def to_json(self) -> dict[str, Any]:
        """This part as JSON values."""
        return {
            "n_rows": self.n_rows,
            "digest": self.digest,
            "unit": self.unit,
            "align": self.align,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PlacesPlan:
        """The part that ``to_json`` wrote."""
        start, end = (datetime.fromisoformat(plain[key]) for key in ("start", "end"))
        return cls(**{**plain, "start": start, "end": end})
