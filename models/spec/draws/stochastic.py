"""What a graph draws, how often it runs, and what is told of its passes (`tw:stochastic`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from tilewright.models.fields import CardField


FIELD: Final = "tw:stochastic"

KEYS: Final = ("passes", "seed", "spread", "split")

PASSES: Final = 8
"""Passes of a card that states none."""

FEWEST_PASSES, MOST_PASSES = 2, 256
"""One pass has no spread; the error of a mean falls with the root of the passes, so that more are seldom worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What is drawn: `kept`, True but for a share; `uniform` between two numbers; `normal` of a mean and deviation."""

    law: Literal["kept", "uniform", "normal"]
    numbers: tuple[float, ...]

    @property
    def ends(self) -> tuple[float, float]:
        """Numbers between which almost all lie that are drawn."""
        if self.law == "normal":
            mean, deviation = self.numbers
            return mean - 3 * deviation, mean + 3 * deviation
        return (0.0, 1.0) if self.law == "kept" else (self.numbers[0], self.numbers[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class StochasticSpec:
    """The passes of a graph and the seed of what they draw. `spread` adds the deviation over the passes as layers,
    `split` for classes the two parts of the entropy.
    """

    passes: int = PASSES
    seed: int = 0
    spread: bool = False
    split: bool = False

    def words(self) -> str:
        """The passes as text for a person."""
        return f"mean over {self.passes} passes with what the graph draws, of seed {self.seed}"


def read_stochastic(properties: CardField) -> StochasticSpec | None:
    """The passes of a card, None where it asks for none. Raises CardError naming the field."""
    if not properties.has(FIELD):
        return None
    field = properties.child(FIELD)
    field.only(KEYS)
    passes = field.integer("passes", PASSES, minimum=FEWEST_PASSES)
    if passes > MOST_PASSES:
        raise field.refuse("passes", f"write {FEWEST_PASSES} to {MOST_PASSES}")
    return StochasticSpec(
        passes=passes,
        seed=field.integer("seed", 0, minimum=0),
        spread=field.flag("spread", default=False),
        split=field.flag("split", default=False),
    )
