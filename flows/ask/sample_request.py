"""A sample as a person asks for it, checked before a product is opened."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING

from tilewright.models.fields import did_you_mean
from tilewright.tasks.audit.design.allocation import ALLOCATIONS, MOST
from tilewright.tasks.audit.design.estimate import DesignError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMES = ("stratified", "random", "systematic")

LEAST_METRES, MOST_METRES = 0.001, 12_800_000
"""A least distance that means anything: none on Earth is longer in a straight line."""

BY_CLASS, BY_CONFIDENCE, NONE = "class", "confidence", "none"
"""Strata by their names; any other word is a file of zones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """A sample as it is asked for: ``n`` places, or as many as give the overall accuracy a ``standard_error``.

    ``strata``: `class`, `confidence`, `none` or a file of zones; None: classes where the layer has some and the scheme
    is stratified. ``expect``: the accuracy (0-1) that is expected in strata by their names, and under "" in all others;
    where it says nothing, the mean confidence counts. ``min_distance`` in metres.
    """

    n: int | None = None
    standard_error: float | None = None
    expect: Mapping[str, float] = field(default_factory=dict)
    layer: str | None = None
    strata: str | None = None
    scheme: str = "stratified"
    allocation: str = "proportional"
    least: int = 2
    min_distance: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("n", "least", "seed", "standard_error", "min_distance"):
            _check_number(name, getattr(self, name), whole=name in {"n", "least", "seed"})
        for name, share in self.expect.items():
            _check_number(f"expect {name}".strip(), share, whole=False)
        for refused, words in (*_of_size(self), *_of_design(self), *_of_numbers(self)):
            if refused:
                raise DesignError(words)

    @property
    def needs_accuracy(self) -> bool:
        """True if the sample's size or parts go by how accurate the map is expected to be."""
        return self.allocation == "neyman" or self.standard_error is not None


def expectations(words: Iterable[str]) -> dict[str, float]:
    """What `--expect` says: ``name=0.7`` of a stratum, ``0.8`` of all others, under "".

    Raises DesignError for words that are no numbers, and for a stratum named twice.
    """
    found: dict[str, float] = {}
    for word in words:
        name, sign, share = word.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            raise DesignError(
                f"--expect {word}: write NAME=SHARE of a stratum, or SHARE of all, such as 0.8."
            ) from None
        if name in found or (sign and not name):
            raise DesignError(f"--expect {word}: name each stratum once.")
        found[name] = value
    return found


def _check_number(name: str, value: object, *, whole: bool) -> None:
    """Refuse what is no number, which only Python can give."""
    if value is None and name in {"n", "standard_error"}:
        return
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        kind = "whole number" if whole else "number"
        raise DesignError(f"{name} = {str(value)[:40]!r}: give a {kind}.")


def _of_size(asked: SampleRequest) -> list[tuple[bool, str]]:
    """(refused, in which words): the number of places, or the standard error."""
    n, error = asked.n, asked.standard_error
    return [
        (
            (n is None) == (error is None),
            "Give either --n, the number of places, or --standard-error, that of the overall accuracy.",
        ),
        (n is not None and not 1 <= n <= MOST, f"--n {n}: give 1 to {MOST:,} places."),
        (
            error is not None and not 0 < error < 1,
            f"--standard-error {error}: give a share between 0 and 1, such as 0.01.",
        ),
    ]


def _of_design(asked: SampleRequest) -> list[tuple[bool, str]]:
    """The same of schemes and allocations, and what of them does not go together."""
    scheme, allocation, metres = asked.scheme, asked.allocation, asked.min_distance
    hints = did_you_mean(scheme, SCHEMES), did_you_mean(allocation, ALLOCATIONS)
    return [
        (scheme not in SCHEMES, f"--scheme {scheme!r} is none of {', '.join(SCHEMES)}{hints[0]}."),
        (allocation not in ALLOCATIONS, f"--allocation {allocation!r} is none of {', '.join(ALLOCATIONS)}{hints[1]}."),
        (
            scheme == "random" and asked.strata not in {None, NONE},
            "--scheme random has no strata: leave --strata out, or take --scheme stratified.",
        ),
        (
            scheme == "random" and allocation != ALLOCATIONS[0],
            (
                f"--scheme random has no strata to allocate to: leave --allocation {allocation} out, or take --scheme "
                "stratified."
            ),
        ),
        (not 0 <= metres < math.inf, f"--min-distance {metres:g}: give metres, 0 or more."),
        (
            metres > 0 and not LEAST_METRES <= metres <= MOST_METRES,
            f"--min-distance {metres:g}: give 0, or {LEAST_METRES:g} to {MOST_METRES:,} metres.",
        ),
        (
            bool(metres) and scheme == "systematic",
            "--min-distance is for random samples: places of a systematic one lie on a grid already.",
        ),
    ]


def _of_numbers(asked: SampleRequest) -> list[tuple[bool, str]]:
    """The same of seeds, least numbers and expected accuracies."""
    return [
        (not -(2**63) <= asked.seed < 2**63, "--seed is a whole number of at most 63 bits: give a smaller one."),
        (not 0 <= asked.least <= MOST, f"--least-per-stratum {asked.least}: give 0 to {MOST:,} places."),
        *(
            (not 0 <= share <= 1, f"--expect {name or 'of all'} = {share:g}: an accuracy is a share from 0 to 1.")
            for name, share in asked.expect.items()
        ),
    ]
