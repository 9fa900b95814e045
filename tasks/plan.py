"""The plan of a product: everything that decides its pixels, frozen by the first run, readable without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from shapely.geometry import mapping, shape

from tilewright.catalogs.scene import Scene
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.reducers import CHOOSING_BY_DATE
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.grid.blocks import Block, block_at, covered_box
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.grid.windows import Lattice
from tilewright.tasks.storage.ledger import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry


PLAN_FORMAT = 1
"""Raised when a plan of an older Tilewright can no longer be run as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """What one model input reads: its scenes in order, its steps, its mask, and its pixels per model-grid pixel.

    ``clearest`` are all days, the least cloudy first, for reducers that choose.
    ``gaps`` says what stands at a step where a pixel was not seen (``tasks/compose/gap_fill.py``).
    ``finer / coarser``: the input's pixels per model-grid pixel along a side (1/2 for a 20 m input on a 10 m grid).
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

    @property
    def uses_middles(self) -> bool:
        """True where the steps' middle days make pixels: then days elsewhere in the area count too."""
        return self.gaps != "leave" or self.reducer in CHOOSING_BY_DATE

    def to_json(self) -> dict[str, Any]:
        """The input's plan as JSON values."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {
            **plain,
            "bands": list(self.bands),
            "mask": asdict(self.mask),
            "clearest": list(self.clearest),
            "scenes": [scene.to_json() for scene in self.scenes],
            "steps": [_step_json(step) for step in self.steps],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> InputPlan:
        """The plan ``to_json`` wrote."""
        return cls(
            **{
                **plain,
                "bands": tuple(plain["bands"]),
                "mask": _mask(plain["mask"]),
                "clearest": tuple(plain["clearest"]),
                "scenes": tuple(Scene.from_json(scene) for scene in plain["scenes"]),
                "steps": tuple(_step(step) for step in plain["steps"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A product's frozen plan.

    ``grid`` is the model's grid; the product's pixels are ``up / down`` per model-grid pixel along a side. ``area`` is
    GeoJSON in the grid's CRS. ``card`` is what finds and proves the model again: reference, name, digest. ``source`` is
    what hrefs are signed by. ``margin`` are pixels read beyond the halo, for masks that grow. ``fused``: the card's
    scaling and layers are made inside its graph, of pixels rounded to uint16; ``precision`` of its own arithmetic.
    ``tuned``: its graph is rewritten for the window on a CPU (``models/optimise/tune.py``), equal but for rounding.
    """

    name: str
    request: dict[str, Any]
    source: dict[str, Any]
    card: dict[str, str]
    grid: Grid
    area: dict[str, Any]
    up: int
    down: int
    lattice: Lattice
    margin: int
    inputs: tuple[InputPlan, ...]
    layers: tuple[str, ...]
    engine: str
    receptive: dict[str, Any]
    exact: bool
    exact_reason: str
    versions: dict[str, str]
    windows_reason: str = ""
    fused: bool = False
    precision: Literal["fp32", "fp16"] = "fp32"
    tuned: bool = False
    warnings: tuple[str, ...] = ()
    blocks: tuple[tuple[int, int], ...] = field(default=())
    _memo: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def product_grid(self) -> Grid:
        """The grid of the layers."""
        return self.grid.rescale(numerator=self.up, denominator=self.down)

    @property
    def product_block(self) -> int:
        """Pixels per side of a block in the layers."""
        return self.lattice.block * self.up // self.down

    @property
    def product_box(self) -> PixelBox:
        """The box of whole blocks the store covers, in product pixels."""
        box = covered_box(self.grid, block=self.lattice.block)
        return self.product_box_of(box)

    @property
    def area_geometry(self) -> BaseGeometry:
        """The area in the grid's CRS."""
        return shape(self.area)

    def product_box_of(self, box: PixelBox) -> PixelBox:
        """A box of model-grid pixels in product pixels."""
        return box.rescale(numerator=self.up, denominator=self.down)

    def block(self, row: int, col: int) -> Block:
        """The block of that place in the lattice, with what is read for it."""
        return self.framed(block_at(row=row, col=col, block=self.lattice.block, halo=0))

    def framed(self, block: Block) -> Block:
        """A block with what is read for its inner box: at the rim of the area not more than windows there see."""
        return replace(block, outer=self.asked_of(block).pad(self.lattice.halo + self.margin))

    def asked_of(self, block: Block) -> PixelBox:
        """The whole steps of a block that hold a pixel of the grid's area; all of it where none does."""
        asked, step = block.inner.intersect(self.grid.area), self.lattice.step
        if asked.empty:
            return block.inner
        return asked.cover(numerator=1, denominator=step).rescale(numerator=step, denominator=1)

    def all_blocks(self) -> tuple[Block, ...]:
        """The plan's blocks, in order."""
        return tuple(self.block(row, col) for row, col in self.blocks)

    def settings_key(self) -> str:
        """Digest of all that makes every block's pixels, but for the scenes: model, grid, lattice, settings."""
        if "settings" not in self._memo:
            self._memo["settings"] = digest(self._settings())
        return self._memo["settings"]

    def _settings(self) -> dict[str, Any]:
        return {
            "card": self.card["digest"],
            "crs": self.grid.crs,
            "resolution": self.grid.resolution,
            "area": self.area,
            "lattice": asdict(self.lattice),
            "layers": list(self.layers),
            "engine": self.engine,
            **({"fused": self.precision} if self.fused else {}),
            **({"tuned": True} if self.tuned else {}),
            # Thousands of scenes would be turned to JSON here for every block's key.
            "inputs": [_without_scenes(replace(entry, scenes=()).to_json()) for entry in self.inputs],
            "version": self.versions["tilewright"],
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "format": PLAN_FORMAT,
            "name": self.name,
            "request": self.request,
            "source": self.source,
            "card": self.card,
            "grid": asdict(self.grid),
            "area": self.area,
            "up": self.up,
            "down": self.down,
            "lattice": asdict(self.lattice),
            "margin": self.margin,
            "inputs": [entry.to_json() for entry in self.inputs],
            "layers": list(self.layers),
            "engine": self.engine,
            "receptive": self.receptive,
            "exact": self.exact,
            "exact_reason": self.exact_reason,
            "versions": self.versions,
            "windows_reason": self.windows_reason,
            "fused": self.fused,
            "precision": self.precision,
            # Left out where it is not, as in plans older than it, which must stay equal to themselves.
            **({"tuned": True} if self.tuned else {}),
            "warnings": list(self.warnings),
            "blocks": [list(place) for place in self.blocks],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Plan:
        """The plan ``to_json`` wrote."""
        known = {key: value for key, value in plain.items() if key != "format"}
        return cls(
            **{
                **known,
                "grid": _grid(plain["grid"]),
                "lattice": Lattice(**plain["lattice"]),
                "inputs": tuple(InputPlan.from_json(entry) for entry in plain["inputs"]),
                "layers": tuple(plain["layers"]),
                "warnings": tuple(plain["warnings"]),
                "blocks": tuple((int(row), int(col)) for row, col in plain["blocks"]),
            }
        )


def area_json(area: BaseGeometry) -> dict[str, Any]:
    """A geometry as GeoJSON values with plain lists, so that it equals itself after a round trip."""
    return _plain(mapping(area))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _step_json(step: StepPlan) -> dict[str, Any]:
    return {
        "label": step.label,
        "start": step.start.isoformat(),
        "end": step.end.isoformat(),
        "days": list(step.days),
    }


def _step(plain: Mapping[str, Any]) -> StepPlan:
    start, end = datetime.fromisoformat(plain["start"]), datetime.fromisoformat(plain["end"])
    return StepPlan(label=plain["label"], start=start, end=end, days=tuple(plain["days"]))


def _mask(plain: Mapping[str, Any]) -> MaskRule:
    said: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    return MaskRule(**said)


def _grid(plain: Mapping[str, Any]) -> Grid:
    return Grid(crs=plain["crs"], resolution=plain["resolution"], area=PixelBox(**plain["area"]))


def _without_scenes(plain: dict[str, Any]) -> dict[str, Any]:
    """An input's settings without its scenes and the days they stand for: those belong to the blocks they touch."""
    kept = {key: value for key, value in plain.items() if key not in {"scenes", "clearest"}}
    return {**kept, "steps": [{key: step[key] for key in step if key != "days"} for step in plain["steps"]]}
