"""Where a map may be trusted as a table of its classes, for the page of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.report.format import ABSENT, count, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_ROWS = 60
"""Classes that the page lists, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRow:
    """A class: its name and colour, its labels, its threshold and least score, and the trusted ground.

    ``width`` is the trusted share in percent.
    """

    name: str
    colour: str
    n_labels: str
    threshold: str
    least: str
    covered: str
    low: str
    right: str
    km2: str
    width: float
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustView:
    """The table with its heading: the coverage asked for, and what scores are."""

    coverage: str
    score: str
    needed: str
    rows: tuple[TrustRow, ...]
    n_more: int


def trust_view(told: Mapping[str, Any], colours: Sequence[str]) -> TrustView | None:
    """The table of the entry ``trust`` of a layer's document; None without one. ``colours`` are those of classes."""
    trust = told.get("trust")
    if trust is None:
        return None
    full = trust["full"]
    there = [
        (name, row, colour)
        # Colours may have one more, of values that are no class.
        for (name, row), colour in zip(trust["classes"].items(), colours, strict=False)
        if row["n_labels"] or row["mapped_km2"]
    ]
    rows = []
    for name, row, colour in there[:MOST_ROWS]:
        held, share = row["held_out"], row["trusted_share"]
        rows.append(
            TrustRow(
                name=short(name),
                colour=colour,
                n_labels=count(row["n_labels"]),
                threshold=f"{row['threshold'] / full * 100:.4g}" if row["promised"] else "too few labels",
                least=ABSENT if row["least_score"] is None else f"{row['least_score'] / full * 100:.4g}",
                covered=_percent(held["covered"]),
                low=_percent(row["coverage_low"]),
                right=_percent(held["right"]),
                km2=figure(row["trusted_km2"]),
                width=0.0 if share is None else round(share * 100, 2),
                share=_percent(share),
            )
        )
    return TrustView(
        coverage=f"{trust['coverage'] * 100:g}\u00a0%",
        score="its probability" if trust["of"] == "probabilities" else "the confidence, or what it leaves to others",
        needed=count(trust["labels_needed"]),
        rows=tuple(rows),
        n_more=len(there) - len(rows),
    )


def _percent(share: float | None) -> str:
    return ABSENT if share is None else percent_words(share)
