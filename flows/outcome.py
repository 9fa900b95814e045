"""What a run leaves: where the product is and its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run. ``output`` is the product's folder or URI, ``report`` what report.json holds."""

    name: str
    output: str
    report: dict[str, Any]
    already_complete: bool = False

    def place(self, name: str) -> str:
        """Where a file of the product is."""
        return f"{self.output.rstrip('/')}/{name}"

    def summary(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "name": self.name,
            "state": "complete",
            "already_complete": self.already_complete,
            "output": self.output,
            "item": self.place("item.json"),
            "report": self.report,
        }
