"""A model that serves the job's own: what a plan holds of the card that makes the masks of its scenes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.grid.windows import Lattice

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A card, and the grid and the windows that it runs on.

    ``card`` finds and verifies it again: reference, name, digest, sha256. ``resolution`` is that of its pixels in units
    of the grid's CRS; its map has ``up / down`` pixels per pixel along a side. ``layer`` is the layer of classes that
    is used, and ``exactness`` the word for what is known of tiled and whole.
    """

    card: dict[str, str]
    lattice: Lattice
    resolution: float
    up: int
    down: int
    layer: str
    exactness: str

    def settings(self) -> dict[str, Any]:
        """What decides its pixels beside the scenes."""
        facts = self.to_json()
        return {**facts, "card": self.card["digest"], "exactness": None}

    def to_json(self) -> dict[str, Any]:
        """The value as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ServedModel:
        """The value that ``to_json`` wrote."""
        return cls(**{**plain, "lattice": Lattice(**plain["lattice"])})
