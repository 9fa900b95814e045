"""The plan of one model input: its scenes, its steps, its mask, and the grid on which it is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.scene import Scene
from tilewright.tasks.compose.cell_choice import CellChoice
from tilewright.tasks.compose.composite import working_unit
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.cube.coverage import Coverage
from tilewright.tasks.read.resample.cells import locate
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    import numpy as np
    from odc.geo.geobox import GeoBox

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


Place = tuple[int, int]
"""(number of a pass in a step, place of a scene in that pass)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingBand:
    """A band that ``n_scenes`` of the ``n_all`` scenes of a step do not have, which are of these platforms."""

    band: str
    n_scenes: int
    n_all: int
    platforms: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The value as JSON values."""
        return {"band": self.band, "scenes": self.n_scenes, "of": self.n_all, "platforms": list(self.platforms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """The plan of one model input.

    ``scenes`` in order. ``gaps`` is the rule for pixels without an observation in a step
    (``tasks/compose/gap_fill.py``). ``finer / coarser``: the input's pixels
    per model-grid pixel along a side (1/2 for a 20 m input on a 10 m grid).
    ``dated``: the model is told the middle days of the steps, which scenes anywhere in the area decide.
    ``choice``: the passes that each cell takes, None: all of them everywhere.
    """

    name: str
    bands: tuple[str, ...]
    unit: str
    resampling: str
    reducer: str
    required: bool
    every_step: bool
    mask: MaskRule
    finer: int
    coarser: int
    scenes: tuple[Scene, ...]
    steps: tuple[StepPlan, ...]
    gaps: str = "leave"
    dated: bool = False
    choice: CellChoice | None = None
    _coverage: dict[Grid, Coverage] = field(default_factory=dict, init=False, repr=False, compare=False)
    _units: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _digests: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _places: dict[int, dict[str, list[Place]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _middles: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def density(self) -> float:
        """The input's pixels per pixel of the model's grid."""
        return (self.finer / self.coarser) ** 2

    @property
    def working_unit(self) -> str:
        """The unit in which the input's bands are read and composited."""
        return working_unit(self.unit, self.reducer)

    def stored_unit(self, band: str) -> str:
        """The unit of a band in all scenes of the input; linear power if only some are in decibels."""
        if band not in self._units:
            units = {asset.unit for scene in self.scenes if (asset := scene.asset(band)) is not None}
            self._units[band] = next(iter(units)) if len(units) == 1 else "linear" if "linear" in units else "1"
        return self._units[band]

    def lacking_bands(self, step: StepPlan) -> tuple[LackingBand, ...]:
        """The input's bands that some scenes of a step do not have, in the order of the bands."""
        of_step = step.scenes
        members = [scene for scene in self.scenes if scene.id in of_step]
        without = ((band, [scene for scene in members if scene.asset(band) is None]) for band in self.bands)
        return tuple(
            LackingBand(
                band=band,
                n_scenes=len(lacking),
                n_all=len(members),
                platforms=tuple(sorted({scene.platform or "unnamed platform" for scene in lacking})),
            )
            for band, lacking in without
            if lacking
        )

    def grid(self, model_grid: Grid) -> Grid:
        """The input's own grid."""
        return model_grid.rescale(numerator=self.finer, denominator=self.coarser)

    def box(self, model_box: PixelBox) -> PixelBox:
        """A box of model-grid pixels in the input's own pixels."""
        return model_box.rescale(numerator=self.finer, denominator=self.coarser)

    def coverage(self, model_grid: Grid) -> Coverage:
        """The input's scenes with a spatial index over its own grid, made once."""
        if model_grid not in self._coverage:
            self._coverage[model_grid] = Coverage(self.scenes, self.grid(model_grid))
        return self._coverage[model_grid]

    def passes_of(self, number: int, ids: Iterable[str]) -> dict[int, list[str]]:
        """The passes of step ``number`` that hold some of these scenes, by their numbers and in their order.

        Each is its scenes of these alone. It costs as much as the scenes asked for, not as all of the step.
        """
        if number not in self._places:
            places: dict[str, list[Place]] = {}
            for of_pass, members in enumerate(self.steps[number].passes):
                for place, scene in enumerate(members):
                    places.setdefault(scene, []).append((of_pass, place))
            self._places[number] = places
        known = self._places[number]
        found: dict[int, list[str]] = {}
        for (of_pass, _), scene in sorted((at, name) for name in ids for at in known.get(name, ())):
            found.setdefault(of_pass, []).append(scene)
        return found

    def middles(self) -> list[str]:
        """The middle day of each step (ISO)."""
        if not self._middles:
            # Threads that come here together put the same days, in one step each.
            self._middles[:] = [step.middle.isoformat() for step in self.steps]
        return list(self._middles)

    def touching(self, model_grid: Grid, box: PixelBox) -> tuple[Scene, ...]:
        """The scenes that a box of the input's pixels reads, in their order."""
        return tuple(self.scenes[index] for index in self.touching_indices(model_grid, box))

    def touching_indices(self, model_grid: Grid, box: PixelBox) -> list[int]:
        """The indices in ``scenes`` of those that touch a box and that one of its cells takes, ascending."""
        touching = self.coverage(model_grid).indices(box)
        if self.choice is None:
            return touching
        taken = {
            scene
            for index, step in enumerate(self.steps)
            for number in self.choice.passes_in(index, box)
            for scene in step.passes[number]
        }
        return [index for index in touching if self.scenes[index].id in taken]

    def parts_of(self, box: PixelBox) -> list[PixelBox]:
        """A box of the input's pixels in parts that take the same passes: itself, unless cells choose theirs."""
        if self.choice is None or not self.steps:
            return [box]
        return [piece for piece, _ in self.choice.pieces(0, box)]

    def takes(self, step: int, number: int, geobox: GeoBox) -> bool:
        """True if some pixel of a geobox on the input's grid takes a pass of a step."""
        return self.choice is None or number in self.choice.passes_in(step, locate(geobox)[1])

    def wanted(self, step: int, number: int, geobox: GeoBox) -> np.ndarray | None:
        """True where the pixels of a geobox take a pass of a step, (y, x) bool; None: everywhere."""
        return None if self.choice is None else self.choice.wanted(step, number, geobox)

    def choice_facts(self, box: PixelBox, scenes: Container[str]) -> dict[str, Any]:
        """The passes, by the ids of their ``scenes``, that each cell of a box takes; empty without a choice."""
        if self.choice is None:
            return {}
        steps = [
            [
                [kept for number in taken if (kept := [scene for scene in step.passes[number] if scene in scenes])]
                for _, taken in self.choice.pieces(index, box)
            ]
            for index, step in enumerate(self.steps)
        ]
        return {"cells": {"side": self.choice.side, "steps": steps}}

    def scene_digest(self, index: int) -> str:
        """SHA-256 in hex of a scene without `href`, `replaces`, `updated` and stamps, which do not affect pixels.

        The identities of its files are part of it.
        """
        if index not in self._digests:
            plain = self.scenes[index].to_json()
            for asset in plain["assets"]:
                asset.pop("stamp", None)
                if asset.get("calibration") == "item":
                    # Which headers are refused decides about no pixel.
                    del asset["calibration"]
            facts = {name: value for name, value in plain.items() if name not in {"href", "replaces", "updated"}}
            self._digests[index] = json_digest(facts)
        return self._digests[index]

    def to_json(self) -> dict[str, Any]:
        """The input's plan as JSON values."""
        return {
            **self.settings_json(),
            # Left out if false, since older plans do not have it and must stay equal to themselves.
            **({"dated": True} if self.dated else {}),
            **({} if self.choice is None else {"choice": self.choice.to_json()}),
            "scenes": [scene.to_json() for scene in self.scenes],
            "steps": [{**_step_json(step), **_passes_json(step)} for step in self.steps],
        }

    def settings_json(self) -> dict[str, Any]:
        """The input's plan without its scenes and their passes, which are part of the keys of the blocks they touch."""
        return {
            "name": self.name,
            "bands": list(self.bands),
            "unit": self.unit,
            "resampling": self.resampling,
            "reducer": self.reducer,
            "required": self.required,
            "every_step": self.every_step,
            "mask": _mask_json(self.mask),
            "finer": self.finer,
            "coarser": self.coarser,
            "steps": [_step_json(step) for step in self.steps],
            "gaps": self.gaps,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> InputPlan:
        """The plan that ``to_json`` wrote."""
        mask: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain["mask"].items()
        }
        choice = CellChoice.from_json(plain["choice"]) if plain.get("choice") else None
        assert choice is None or choice.fits([len(step["passes"]) for step in plain["steps"]]), "a choice of its passes"
        return cls(
            **{
                **plain,
                "bands": tuple(plain["bands"]),
                "mask": MaskRule(**mask),
                "choice": choice,
                "scenes": tuple(Scene.from_json(scene) for scene in plain["scenes"]),
                "steps": tuple(_step(step) for step in plain["steps"]),
            }
        )


def _mask_json(mask: MaskRule) -> dict[str, Any]:
    plain = asdict(mask)
    # Left out if empty, so that keys of blocks without such a mask stay.
    return {key: value for key, value in plain.items() if value or key not in {"model", "sees"}}


def _step_json(step: StepPlan) -> dict[str, Any]:
    return {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}


def _passes_json(step: StepPlan) -> dict[str, Any]:
    found = {} if step.found is None else {"found": list(step.found)}
    return {"passes": [list(ids) for ids in step.passes], "days": list(step.days), "ranks": list(step.ranks), **found}


def _step(plain: Mapping[str, Any]) -> StepPlan:
    start, end = datetime.fromisoformat(plain["start"]), datetime.fromisoformat(plain["end"])
    passes = tuple(tuple(ids) for ids in plain["passes"])
    return StepPlan(
        label=plain["label"],
        start=start,
        end=end,
        passes=passes,
        days=tuple(plain["days"]),
        ranks=tuple(plain["ranks"]),
        found=(plain["found"][0], plain["found"][1]) if plain.get("found") else None,
    )
