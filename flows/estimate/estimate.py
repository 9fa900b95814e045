"""The figures of the dry run: bytes to read and store, windows, memory and time of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.flows.estimate.memory import expected_memory
from tilewright.flows.machine import free_memory, n_cores
from tilewright.flows.plan.model_card import model_references
from tilewright.flows.plan.model_graph import load_model
from tilewright.models.run.augment import FLIPS
from tilewright.models.run.providers import GPUS
from tilewright.tasks.block.floor import calibrate, floor_seconds
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.grid.crs import crs_unit
from tilewright.tasks.grid.windows import n_block_windows
from tilewright.tasks.plan.footprints import coverage_words
from tilewright.tasks.plan.identities import input_counts
from tilewright.tasks.report.format import duration, plural
from tilewright.tasks.report.sections import centre_text, input_files_text

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.floor import Rates
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


ASSUMED_DECODE = 1 / 110e6
"""Seconds per pixel of a DEFLATE COG (FACTS, STAC and cubes), if no scene is on a local disk to be timed."""

TYPICAL_FACTOR = 1.6
"""Time of a usual run over its floor: an efficiency of about 0.6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost of a plan: counts, bytes, seconds.

    ``passes`` are the pixels that the model computes per pixel of the area. ``bytes_read`` are those of the pixels
    needed, two each and before compression: no bound, since files are read in whole tiles.
    """

    n_scenes: int
    n_blocks: int
    n_windows: int
    passes: float
    bytes_read: int
    bytes_stored: int
    memory_bytes: int
    seconds: float
    n_cores: int
    provider: str

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def lines(self, plan: Plan) -> list[tuple[str, str]]:
        """The estimate as (label, text), for the terminal."""
        grid, lattice = plan.raster.product_grid, plan.raster.lattice
        crs = grid.crs if len(grid.crs) < 40 else "a CRS given as WKT"
        layers = ", ".join(plan.raster.layers)
        height, width = grid.extent.shape
        centre = centre_text({"crs": grid.crs, "bounds": list(grid.bounds_of(grid.extent))})
        km2 = geometry_km2(plan.raster.aoi_geometry, plan.raster.grid.crs)
        covered = coverage_words(plan.coverage)
        return [
            ("area", f"{km2:,.1f} km² around {centre}"),
            ("grid", f"{width:,} x {height:,} px of {grid.resolution:g} {crs_unit(grid.crs)} in {crs}"),
            (
                "model",
                f"{plan.model.card['name']} on {_provider_words(plan, self.provider)}; layers {layers}",
            ),
            *_repeat_lines(plan),
            *[(f"input {entry.name}", _input_words(entry)) for entry in plan.inputs],
            ("files", input_files_text(input_counts(plan))),
            *([("covered", f"{covered} by the scenes' footprints")] if covered else []),
            ("blocks", f"{self.n_blocks} of {plan.raster.product_block} px, read with a halo of {lattice.halo} px"),
            ("windows", self._window_words(lattice)),
            ("why", plan.model.windows_reason),
            ("exact", f"{plan.model.exactness}: {plan.model.exact_reason}"),
            (
                "to read",
                f"about {_size(self.bytes_read)} before compression, and what else the files' tiles hold",
            ),
            ("to store", f"up to {_size(self.bytes_stored)} before compression"),
            ("memory", f"about {_size(self.memory_bytes)} on {self.n_cores} cores; {_size(free_memory())} are free"),
            ("time", f"{self._time_words()}; start-up, publishing and waiting for a network come on top"),
        ]

    def _window_words(self, lattice: Lattice) -> str:
        cut = f"step {lattice.step}, trim {lattice.trim}, merged by {lattice.merge}"
        return f"{self.n_windows:,} of {lattice.window} px, {cut}; {self.passes:.2f} px computed per px of the area"

    def _time_words(self) -> str:
        about = f"about {duration(round(self.seconds))}" if self.seconds >= 10 else "less than 10 s"
        return f"{about} on {plural(self.n_cores, 'core')}"


def estimate(plan: Plan, card: ModelCard, *, provider: str = "auto") -> Estimate:
    """The estimate of a plan on a provider, with rates calibrated on this machine; reads a sample of one scene at most.

    Raises ProviderError where the requested provider cannot run.
    """
    model = load_model(plan, card, provider=provider)
    rates = calibrate(plan, model.card, model.session)
    on_gpu = model.session.provider in GPUS
    pixels_needed = sum(_pixels_needed(plan, entry) for entry in plan.inputs)
    height, width = plan.raster.product_grid.extent.shape
    specs = [spec for spec in card.layer_specs() if spec.name in plan.raster.layers]
    n_windows = sum(
        n_block_windows(plan.raster.touched_steps(block), plan.raster.lattice) for block in plan.raster.all_blocks()
    )
    return Estimate(
        n_scenes=len({scene.id for entry in plan.inputs for scene in entry.scenes}),
        n_blocks=len(plan.raster.blocks),
        n_windows=n_windows,
        passes=n_windows * plan.raster.lattice.window**2 / _area_pixels(plan),
        bytes_read=2 * pixels_needed,
        bytes_stored=height * width * sum(4 if spec.dtype == "float32" else 1 for spec in specs),
        memory_bytes=int(expected_memory(plan, card, batch=model.batch, on_gpu=on_gpu).total(n_cores())),
        seconds=_seconds(rates, plan, pixels_needed),
        n_cores=n_cores(),
        provider=model.session.provider,
    )


def _seconds(rates: Rates, plan: Plan, pixels_needed: int) -> float:
    height, width = plan.raster.product_grid.extent.shape
    known = (
        rates
        if rates.decode is not None
        else type(rates)(decode=ASSUMED_DECODE, window=rates.window, write=rates.write)
    )
    floor = floor_seconds(known, plan, pixels_needed=pixels_needed, valid_pixels=height * width, n_cores=n_cores())
    assert floor is not None, "the decode rate is known here"
    return floor * TYPICAL_FACTOR


def _pixels_needed(plan: Plan, entry: InputPlan) -> int:
    """Source pixels that an input needs at most: each block once per band and per scene that covers it."""
    coverage = entry.coverage(plan.raster.grid)
    n_bands = len({*entry.bands, *entry.mask.bands})
    total = 0
    for block in plan.raster.all_blocks():
        inside = block.inner.intersect(plan.raster.grid.extent)
        inner = inside.cover(numerator=entry.finer, denominator=entry.coarser)
        total += inner.shape[0] * inner.shape[1] * n_bands * len(coverage.indices(inner))
    return total


def _provider_words(plan: Plan, provider: str) -> str:
    if plan.model.fused:
        return f"{provider}, fused, {plan.model.precision}"
    return f"{provider}, tuned" if plan.model.tuned else provider


def _area_pixels(plan: Plan) -> float:
    """The area within the grid in pixels, by its outline: to count pixels takes long where the outline is."""
    grid = plan.raster.grid
    inside = plan.raster.aoi_geometry.intersection(shapely.box(*grid.bounds_of(grid.extent)))
    return max(1.0, inside.area / grid.resolution**2)


def _repeat_lines(plan: Plan) -> list[tuple[str, str]]:
    """How often a window is run: the sides of an augmentation and the models of an ensemble; empty for one call."""
    augment, ensemble = plan.request.get("augment") or {}, plan.request.get("ensemble") or {}
    n_models, n_sides = 1 + len(ensemble.get("models") or ()), len(FLIPS.get(augment.get("kind", ""), (0,)))
    lines = []
    if n_models > 1:
        disagreement = ", with their disagreement" if ensemble.get("disagreement") else ""
        names = ", ".join(model_references(plan))
        lines.append(("ensemble", f"{ensemble['combine']} of {n_models} models{disagreement}: {names}"))
    if n_sides > 1:
        spread = ", with their spread" if augment.get("spread") else ""
        lines.append(("augment", f"{augment['kind']}: mean over {n_sides} sides of each window{spread}"))
    if lines:
        lines.append(("calls", f"{n_models * n_sides} a window"))
    return lines


def _input_words(entry: Any) -> str:
    days = sorted({day for step in entry.steps for day in step.days})
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days)
    steps = f", {len(entry.steps)} steps" if len(entry.steps) > 1 else ""
    n_passes = len({ids for step in entry.steps for ids in step.passes})
    passes = f" in {plural(n_passes, 'pass', 'passes')}" if n_passes != len(days) else ""
    scenes = f"{plural(len(entry.scenes), 'scene')}{passes} on {plural(len(days), 'day')} ({span})"
    return f"{scenes}{steps}, {entry.reducer} of {' '.join(entry.bands)}"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
