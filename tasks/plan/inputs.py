"""The plan of one model input: its scenes, its steps, its mask, and the grid on which it is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.scene import Scene
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.reducers import DATE_SCORING_REDUCERS
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.cube.coverage import Coverage
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """The plan of one model input.

    ``scenes`` in order. ``clearest``: all days, the least cloudy first, for reducers that choose. ``gaps`` is the rule
    for pixels without an observation in a step (``tasks/compose/gap_fill.py``). ``finer / coarser``: the input's pixels
    per model-grid pixel along a side (1/2 for a 20 m input on a 10 m grid).
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
    clearest: tuple[str, ...] = ()
    gaps: str = "leave"
    _coverage: dict[Grid, Coverage] = field(default_factory=dict, init=False, repr=False, compare=False)
    _digests: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def uses_middles(self) -> bool:
        """True if pixels depend on the middle days of steps, and so on days with scenes elsewhere in the area."""
        return self.gaps != "leave" or self.reducer in DATE_SCORING_REDUCERS

    @property
    def density(self) -> float:
        """The input's pixels per pixel of the model's grid."""
        return (self.finer / self.coarser) ** 2

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
        """SHA-256 in hex of a scene without `href`, `replaces` and `updated`, which do not affect pixels."""
        if index not in self._digests:
            plain = self.scenes[index].to_json()
            facts = {name: value for name, value in plain.items() if name not in {"href", "replaces", "updated"}}
            self._digests[index] = json_digest(facts)
        return self._digests[index]

    def to_json(self) -> dict[str, Any]:
        """The input's plan as JSON values."""
        return {
            **self.settings_json(),
            "clearest": list(self.clearest),
            "scenes": [scene.to_json() for scene in self.scenes],
            "steps": [{**_step_json(step), "days": list(step.days)} for step in self.steps],
        }

    def settings_json(self) -> dict[str, Any]:
        """The input's plan without its scenes and their days, which are part of the keys of the blocks they touch."""
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
                "clearest": tuple(plain["clearest"]),
                "scenes": tuple(Scene.from_json(scene) for scene in plain["scenes"]),
                "steps": tuple(_step(step) for step in plain["steps"]),
            }
        )


def _step_json(step: StepPlan) -> dict[str, Any]:
    return {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}


def _step(plain: Mapping[str, Any]) -> StepPlan:
    start, end = datetime.fromisoformat(plain["start"]), datetime.fromisoformat(plain["end"])
    return StepPlan(label=plain["label"], start=start, end=end, days=tuple(plain["days"]))
