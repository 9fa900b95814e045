"""Models that serve the job's own: what a plan holds of cards that mask its scenes, or say where its model looks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.grid.windows import Lattice
from tilewright.tasks.plan.inputs import InputPlan
from tilewright.tasks.plan.raster import RasterPlan

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPlan:
    """A cheap model that says in which windows the job's own one looks: those with a share of pixels of some classes.

    ``raster`` and ``inputs`` are its grid, on the CRS of the product, and what it reads. A window runs where at least
    ``least_share`` of the screen's pixels in its core that have a class are of the ``classes``. Outside the job's
    layers of classes are ``otherwise`` where the screen saw something, None: nothing, as all other layers.
    """

    served: ServedModel
    raster: RasterPlan
    inputs: tuple[InputPlan, ...]
    classes: tuple[int, ...]
    least_share: float
    otherwise: int | None

    def settings(self) -> dict[str, Any]:
        """What decides where windows run, beside scenes."""
        plain = self.to_json()
        return {
            "model": self.served.settings(),
            "inputs": [entry.settings_json() for entry in self.inputs],
            **{key: plain[key] for key in ("classes", "least_share", "otherwise")},
        }

    def to_json(self) -> dict[str, Any]:
        """The value as JSON values."""
        return {
            "served": self.served.to_json(),
            "raster": self.raster.to_json(),
            "inputs": [entry.to_json() for entry in self.inputs],
            "classes": list(self.classes),
            "least_share": self.least_share,
            "otherwise": self.otherwise,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ScreenPlan:
        """The value that ``to_json`` wrote."""
        parsed = {
            "served": ServedModel.from_json(plain["served"]),
            "raster": RasterPlan.from_json(plain["raster"]),
            "inputs": tuple(InputPlan.from_json(entry) for entry in plain["inputs"]),
            "classes": tuple(plain["classes"]),
        }
        return cls(**{**plain, **parsed})
