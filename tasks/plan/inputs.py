"""The plan of one model input: its scenes, its steps, its mask, and the grid on which it is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.scene import Scene
from tilewright.tasks.compose.composite import working_unit
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.cube.coverage import Coverage
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


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
    _coverage: dict[Grid, Coverage] = field(default_factory=dict, init=False, repr=False, compare=False)
    _units: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _digests: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

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
            "mask": asdict(self.mask),
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
        return cls(
            **{
                **plain,
                "bands": tuple(plain["bands"]),
                "mask": MaskRule(**mask),
                "scenes": tuple(Scene.from_json(scene) for scene in plain["scenes"]),
                "steps": tuple(_step(step) for step in plain["steps"]),
            }
        )


def _step_json(step: StepPlan) -> dict[str, Any]:
    return {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}


def _passes_json(step: StepPlan) -> dict[str, Any]:
    return {"passes": [list(ids) for ids in step.passes], "days": list(step.days), "ranks": list(step.ranks)}


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
    )
