"""Where a map may be trusted as a table of its classes, for the page of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.compare.words import percent_words, short
from tilewright.tasks.report.format import ABSENT, count, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRow:
    """A class: its name and colour, its labels, the threshold and the coverage to be had, and the trusted ground.

    ``width`` is the trusted share in percent.
    """

    name: str
    colour: str
    n_labels: str
    threshold: str
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


def trust_view(told: Mapping[str, Any], colours: Sequence[str]) -> TrustView | None:
    """The table of the entry ``trust`` of a layer's document; None without one. ``colours`` are those of classes."""
    trust = told.get("trust")
    if trust is None:
        return None
    full = trust["full"]
    rows = []
    for (name, row), colour in zip(trust["classes"].items(), colours, strict=False):
        held, share = row["held_out"], row["trusted_share"]
        rows.append(
            TrustRow(
                name=short(name),
                colour=colour,
                n_labels=count(row["n_labels"]),
                threshold=f"{row['threshold'] / full * 100:.4g}" if row["promised"] else "too few labels",
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
    )


def _percent(share: float | None) -> str:
    return ABSENT if share is None else percent_words(share)
