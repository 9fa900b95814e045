"""The plan of a product: everything that decides its pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from tilewright.tasks.notebook import card, lines
from tilewright.tasks.plan.align import AlignPlan
from tilewright.tasks.plan.inputs import InputPlan
from tilewright.tasks.plan.places import PlacesPlan
from tilewright.tasks.plan.raster import RasterPlan
from tilewright.tasks.plan.served import ScreenPlan, ServedModel
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

OPEN = ".."
"""An open end of a period in a request."""

OPTIONAL = frozenset(
    {"tuned", "outside_valid_for", "measured", "runtime", "ranges", "quantised", "tables", "vectors", "images", "usual"}
)
"""Keys of a model's part that are left out where they say nothing."""

PLAN_FORMAT = 2
"""Increased when a plan of an older Tilewright can no longer be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """The model part of a plan.

    ``card`` finds and verifies the model again: references, name, digests. ``receptive``: the measured receptive field.
    ``exact``: tiled equals whole, proven from the graph's operators, with the reason; ``measured``: it does as far as
    was tried, but that is not proven. ``fused``: the card's scaling and layers are computed inside its graph, from
    pixels rounded to uint16, in ``precision``. ``tuned``: the graph is rewritten for the window on a CPU
    (``models/optimise/tune.py``), equal but for rounding. ``runtime``: the library that computes, empty for
    onnxruntime. ``ranges``: of a graph in int8, the lowest and the highest value of each tensor; they make the graph
    with the sha256 ``quantised`` (``models/optimise/quantise.py``). ``outside_valid_for``: how the job leaves the range
    that its models were made for, one entry per model (``flows/plan/valid_for.py``). ``tables``: of the things that the
    model finds, by name. ``vectors``: layers that are in the store alone, of a vector for each "window" or "pixel", or
    their "scale". ``images``: the layers that are bands of one file, by its name. ``usual``: mean and deviation
    of each word's scores over the area, of a map by words that is calibrated.
    """

    card: dict[str, str]
    receptive: dict[str, Any]
    exact: bool
    exact_reason: str
    windows_reason: str = ""
    fused: bool = False
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    tuned: bool = False
    outside_valid_for: tuple[dict[str, Any], ...] = ()
    measured: bool = False
    runtime: Literal["", "openvino"] = ""
    ranges: dict[str, list[float]] = field(default_factory=dict)
    quantised: str = ""
    tables: tuple[str, ...] = ()
    vectors: dict[str, str] = field(default_factory=dict)
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    usual: dict[str, list[float]] = field(default_factory=dict)

    @property
    def exactness(self) -> Literal["proven", "measured", "no"]:
        """The word for what is known of tiled and whole: proven equal, measured equal, or neither."""
        return "proven" if self.exact else "measured" if self.measured else "no"

    def to_json(self) -> dict[str, Any]:
        """The keys of the plan's JSON that this part holds."""
        plain = {**asdict(self), "outside_valid_for": list(self.outside_valid_for), "tables": list(self.tables)}
        plain["images"] = {name: list(layers) for name, layers in self.images.items()}
        # Left out if false or empty, since older plans do not have them and must stay equal to themselves.
        return {key: value for key, value in plain.items() if value or key not in OPTIONAL}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ModelPlan:
        """The part that ``to_json`` wrote, from the keys of a whole plan."""
        known = {key: plain[key] for key in cls.__slots__ if key in plain}
        lists = {name: tuple(plain.get(name, ())) for name in ("outside_valid_for", "tables")}
        images = {name: tuple(layers) for name, layers in plain.get("images", {}).items()}
        return cls(**{**known, **lists, "images": images})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan:
    """A product's frozen plan. ``source`` signs the scenes' hrefs; a second run must have the same ``request``.

    ``items_left_out`` are the first of the items that cannot be used, {item, reason}; ``n_items_left_out`` counts them
    all. ``coverage`` is {input, step, share}: the share (0-1) of the area that the footprints of a step's scenes cover.
    ``places``: the rows of a job over places, whose blocks are units of rows; None for a job over an area.
    ``mask_model`` makes the masks of scenes, None where no model does; ``screen`` says where the model looks, None:
    everywhere.
    Its JSON is flat: the keys of its parts are on one level.
    """

    name: str
    request: dict[str, Any]
    source: dict[str, Any]
    model: ModelPlan
    raster: RasterPlan
    inputs: tuple[InputPlan, ...]
    engine: str
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
    items_left_out: tuple[dict[str, str], ...] = ()
    n_items_left_out: int = 0
    coverage: tuple[dict[str, Any], ...] = ()
    places: PlacesPlan | None = None
    mask_model: ServedModel | None = None
    screen: ScreenPlan | None = None
    _memo: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def period(self) -> tuple[datetime, datetime]:
        """The first and the last moment of the periods asked for, both included, in UTC.

        An open end, which a request writes as "..", is that of the steps, which end with their scenes there.
        """
        if self.places is not None:
            return self.places.start, self.places.end
        steps = [step for entry in self.inputs for step in entry.steps]
        dated = [step for step in steps if step.label != "static"] or steps
        asked = [(each["start"], each["end"]) for each in self.request["period"]]
        starts = [
            min(step.start for step in dated) if start == OPEN else datetime.fromisoformat(start) for start, _ in asked
        ]
        ends = [max(step.end for step in dated) if end == OPEN else datetime.fromisoformat(end) for _, end in asked]
        return min(starts), max(ends)

    @property
    def last_image(self) -> datetime | None:
        """The time of the last scene of the steps, or the end of its interval, in UTC; None without scenes.

        What lies beside all dates, as terrain, is no image unless there is nothing else.
        """
        dated = [
            scene.end or scene.datetime
            for entry in self.inputs
            for step in entry.steps
            for scene in entry.scenes
            if step.label != "static" and scene.id in step.scenes
        ]
        others = [scene.end or scene.datetime for entry in self.inputs for scene in entry.scenes]
        return max(dated or others, default=None)

    def of_screen(self) -> Plan:
        """The plan of the screen's map, which has no area of its own. Only for a plan with a screen."""
        assert self.screen is not None, "the plan has a screen"
        return replace(
            self,
            request={},
            model=ModelPlan(card=self.screen.served.card, receptive={}, exact=False, exact_reason=""),
            raster=self.screen.raster,
            inputs=self.screen.inputs,
            screen=None,
            places=None,
        )

    @property
    def align(self) -> AlignPlan | None:
        """How dates are moved onto one of them; None: they are not."""
        asked = self.request.get("align")
        return AlignPlan(**asked) if asked else None

    @property
    def losses(self) -> dict[str, float]:
        """The greatest error allowed of each layer that is stored with one, in the layer's unit; in order of names."""
        asked = self.request.get("loss") or {}
        return {name: float(asked[name]) for name in sorted(asked)}

    @property
    def maps(self) -> tuple[str, ...]:
        """The layers that have files: all but those of vectors."""
        return tuple(name for name in self.raster.layers if name not in self.model.vectors)

    @property
    def vector_tables(self) -> tuple[str, ...]:
        """The layers of a vector for each window, which have a table."""
        return tuple(name for name, kind in self.model.vectors.items() if kind == "window")

    @property
    def named_layers(self) -> tuple[str, ...]:
        """The layers that a person is told of: all but scales."""
        return tuple(name for name in self.raster.layers if self.model.vectors.get(name) != "scale")

    @property
    def remote(self) -> bool:
        """True if some pixels come over a network."""
        scenes = (scene for entry in self.inputs for scene in entry.scenes)
        return any("://" in asset.href for scene in scenes for asset in scene.assets)

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """The layers by the names of their files, each in the order of the layers; an image's are its bands."""
        of_image = {layer: image for image, layers in self.model.images.items() for layer in layers}
        found: dict[str, tuple[str, ...]] = {}
        for layer in self.maps:
            name = of_image.get(layer, layer)
            found[name] = (*found.get(name, ()), layer)
        return found

    @property
    def simulated(self) -> bool:
        """True if some scenes were not seen by any satellite, or some product was made of such."""
        return any(scene.simulated for entry in self.inputs for scene in entry.scenes)

    def __repr__(self) -> str:
        n_scenes = sum(len(entry.scenes) for entry in self.inputs)
        return f"<Plan {self.name}: {len(self.raster.blocks)} blocks, {n_scenes} scenes>"

    def _repr_html_(self) -> str:
        """The plan in a notebook: what will be made, from what, cut how."""
        raster, lattice = self.raster, self.raster.lattice
        grid, (start, end) = raster.product_grid, self.period
        height, width = grid.extent.shape
        scenes = {entry.name: f"{len(entry.scenes)} scenes in steps: {len(entry.steps)}" for entry in self.inputs}
        facts: dict[str, object] = {
            "model": f"{self.model.card['name']}, {self.model.exactness}: {self.model.exact_reason}",
            "layers": ", ".join((*self.named_layers, *self.model.tables)),
            "period": f"{start:%Y-%m-%d} to {end:%Y-%m-%d}",
            **{f"input {name}": told for name, told in scenes.items()},
            "grid": f"{width:,} x {height:,} px of {grid.resolution:g} in {grid.crs}",
            "blocks": f"{len(raster.blocks)} of {raster.product_block} px",
            "windows": f"{lattice.window} px, step {lattice.step}, trim {lattice.trim}",
            **({"left out": f"{self.n_items_left_out} items"} if self.n_items_left_out else {}),
        }
        return card(f"Plan {self.name}", facts.items(), pieces=[lines(self.warnings)])

    def settings_key(self) -> str:
        """Digest of everything but scenes that decides the pixels of all blocks: model, grid, lattice, settings."""
        if "settings" not in self._memo:
            self._memo["settings"] = json_digest(self._settings())
        return self._memo["settings"]

    def _settings(self) -> dict[str, Any]:
        raster, model = self.raster, self.model
        return {
            "card": model.card["digest"],
            "crs": raster.grid.crs,
            "resolution": raster.grid.resolution,
            # Neither other places nor their scenes decide what a place gets: its own are in the keys of units.
            **({"area": raster.aoi} if self.places is None else {"align": self.places.align}),
            "lattice": asdict(raster.lattice),
            "layers": list(raster.layers),
            **({"loss": self.losses} if self.losses else {}),
            **({"moved": self.request["align"]} if self.align is not None else {}),
            "engine": self.engine,
            **({"fused": model.precision} if model.fused else {}),
            **({"tuned": True} if model.tuned else {}),
            **({"runtime": model.runtime} if model.runtime else {}),
            **({"precision": model.precision} if model.precision in {"bf16", "int8"} else {}),
            **({"quantised": model.quantised} if model.quantised else {}),
            **({"usual": model.usual} if model.usual else {}),
            **({} if self.mask_model is None else {"mask_model": self.mask_model.settings()}),
            **({} if self.screen is None else {"screen": self.screen.settings()}),
            "inputs": [self._input_settings(entry) for entry in self.inputs],
            "version": self.versions["tilewright"],
        }

    def _input_settings(self, entry: InputPlan) -> dict[str, Any]:
        return {**entry.settings_json(), **({"steps": []} if self.places is not None else {})}

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "format": PLAN_FORMAT,
            "name": self.name,
            "request": self.request,
            "source": self.source,
            **self.model.to_json(),
            **self.raster.to_json(),
            **({} if self.places is None else {"places": self.places.to_json()}),
            **({} if self.mask_model is None else {"mask_model": self.mask_model.to_json()}),
            **({} if self.screen is None else {"screen": self.screen.to_json()}),
            "inputs": [entry.to_json() for entry in self.inputs],
            "engine": self.engine,
            "versions": self.versions,
            "warnings": list(self.warnings),
            **self.search_json(),
        }

    def search_json(self) -> dict[str, Any]:
        """The items left out with their count, and the coverage; without a key that would be empty."""
        left_out = {"items_left_out": list(self.items_left_out), "n_items_left_out": self.n_items_left_out}
        coverage = {"coverage": list(self.coverage)} if self.coverage else {}
        return {**(left_out if self.items_left_out else {}), **coverage}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote."""
        return cls(
            name=plain["name"],
            request=plain["request"],
            source=plain["source"],
            model=ModelPlan.from_json(plain),
            raster=RasterPlan.from_json(plain),
            inputs=tuple(InputPlan.from_json(entry) for entry in plain["inputs"]),
            engine=plain["engine"],
            versions=plain["versions"],
            warnings=tuple(plain["warnings"]),
            items_left_out=tuple(plain.get("items_left_out", ())),
            n_items_left_out=plain.get("n_items_left_out", 0),
            coverage=tuple(plain.get("coverage", ())),
            places=PlacesPlan.from_json(plain["places"]) if plain.get("places") else None,
            mask_model=ServedModel.from_json(plain["mask_model"]) if plain.get("mask_model") else None,
            screen=ScreenPlan.from_json(plain["screen"]) if plain.get("screen") else None,
        )
