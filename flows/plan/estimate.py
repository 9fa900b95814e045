"""The dry run's figures: what a plan will read, compute, hold and write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.flows.machine import free_memory, n_cores
from tilewright.flows.plan.engine import open_engine
from tilewright.flows.plan.memory import expected_memory
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.models.run.providers import GPUS
from tilewright.tasks.block.floor import calibrate, floor_seconds
from tilewright.tasks.cube.coverage import scenes_near
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.grid.crs import unit_word
from tilewright.tasks.grid.windows import block_windows
from tilewright.tasks.report.format import duration, plural
from tilewright.tasks.report.sections import place

if TYPE_CHECKING:
    from tilewright.tasks.block.floor import Rates
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan import Plan


ASSUMED_DECODE = 1 / 110e6
"""Seconds per pixel of a DEFLATE COG (FACTS, STAC and cubes), where no scene is at hand to be timed."""

OVER_FLOOR = 1.6
"""How much longer a run takes than its floor as a rule: an efficiency of about 0.6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job will take: counts, bytes and seconds. ``bytes_read`` is before compression, so an upper bound."""

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
        """The estimate for machines."""
        return {name: getattr(self, name) for name in self.__slots__}

    def lines(self, plan: Plan) -> list[tuple[str, str]]:
        """(label, words) for a person."""
        grid, lattice = plan.product_grid, plan.lattice
        height, width = grid.area.shape
        km2 = geometry_km2(plan.area_geometry, plan.grid.crs)
        return [
            ("area", f"{km2:,.1f} km² around {place({'crs': grid.crs, 'bounds': list(grid.bounds_of(grid.area))})}"),
            ("grid", f"{width:,} x {height:,} px of {grid.resolution:g} {unit_word(grid.crs)} in {_short(grid.crs)}"),
            ("model", f"{plan.card['name']} on {_way(plan, self.provider)}; layers {', '.join(plan.layers)}"),
            *[(f"input {entry.name}", _input_words(entry)) for entry in plan.inputs],
            ("blocks", f"{self.n_blocks} of {plan.product_block} px, read with a halo of {lattice.halo} px"),
            ("windows", self._window_words(lattice)),
            ("why", plan.windows_reason),
            ("exact", f"{'yes' if plan.exact else 'no'}: {plan.exact_reason}"),
            ("to read", f"up to {_size(self.bytes_read)} of pixels before compression"),
            ("to store", f"up to {_size(self.bytes_stored)} before compression"),
            ("memory", f"about {_size(self.memory_bytes)} on {self.n_cores} cores; {_size(free_memory())} are free"),
            ("time", f"{self._time_words()}; start-up, publishing and waiting for a network come on top"),
        ]

    def _window_words(self, lattice: Lattice) -> str:
        cut = f"step {lattice.step}, trim {lattice.trim}, merged by {lattice.merge}"
        return f"{self.n_windows:,} of {lattice.window} px, {cut}; {self.passes:.2f} passes over the grid"

    def _time_words(self) -> str:
        about = f"about {duration(round(self.seconds))}" if self.seconds >= 10 else "less than 10 s"
        return f"{about} on {plural(self.n_cores, 'core')}"


def estimate(plan: Plan, *, provider: str = "auto") -> Estimate:
    """The figures of a plan on a provider, with rates calibrated on this machine. Reads a sample of one scene at most.

    Raises ProviderError where the provider asked for cannot run.
    """
    card = load_plan_card(plan)
    engine = open_engine(plan, card, provider=provider)
    rates = calibrate(plan, engine.card, engine.session)
    on_gpu = engine.session.provider in GPUS
    needed = sum(_pixels_read(plan, name) for name in (entry.name for entry in plan.inputs))
    height, width = plan.product_grid.area.shape
    specs = [spec for spec in card.layer_specs() if spec.name in plan.layers]
    n_windows = sum(sum(1 for _ in block_windows(plan.asked_of(block), plan.lattice)) for block in plan.all_blocks())
    return Estimate(
        n_scenes=len({scene.id for entry in plan.inputs for scene in entry.scenes}),
        n_blocks=len(plan.blocks),
        n_windows=n_windows,
        passes=n_windows * plan.lattice.window**2 / math.prod(plan.grid.area.shape),
        bytes_read=2 * needed,
        bytes_stored=height * width * sum(4 if spec.dtype == "float32" else 1 for spec in specs),
        memory_bytes=int(expected_memory(plan, card, batch=engine.batch, on_gpu=on_gpu).total(n_cores())),
        seconds=_seconds(rates, plan, needed),
        n_cores=n_cores(),
        provider=engine.session.provider,
    )


def _seconds(rates: Rates, plan: Plan, needed: int) -> float:
    height, width = plan.product_grid.area.shape
    known = (
        rates
        if rates.decode is not None
        else type(rates)(decode=ASSUMED_DECODE, window=rates.window, write=rates.write)
    )
    floor = floor_seconds(known, plan, pixels_needed=needed, valid_pixels=height * width, n_cores=n_cores())
    assert floor is not None, "the decode rate is known here"
    return floor * OVER_FLOOR


def _pixels_read(plan: Plan, name: str) -> int:
    """Source pixels an input needs at most: the area once per band and per scene, as far as its footprint reaches."""
    entry = next(found for found in plan.inputs if found.name == name)
    grid = plan.grid.rescale(numerator=entry.finer, denominator=entry.coarser)
    n_bands = len({*entry.bands, *entry.mask.bands})
    total = 0
    for block in plan.all_blocks():
        inner = block.inner.intersect(plan.grid.area).cover(numerator=entry.finer, denominator=entry.coarser)
        total += inner.shape[0] * inner.shape[1] * n_bands * len(scenes_near(entry.scenes, grid, inner))
    return total


def _way(plan: Plan, provider: str) -> str:
    if plan.fused:
        return f"{provider}, fused, {plan.precision}"
    return f"{provider}, tuned" if plan.tuned else provider


def _input_words(entry: Any) -> str:
    days = sorted({day for step in entry.steps for day in step.days})
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days)
    steps = f", {len(entry.steps)} steps" if len(entry.steps) > 1 else ""
    scenes = f"{plural(len(entry.scenes), 'scene')} on {plural(len(days), 'day')} ({span})"
    return f"{scenes}{steps}, {entry.reducer} of {' '.join(entry.bands)}"


def _short(crs: str) -> str:
    return crs if len(crs) < 40 else "a CRS given as WKT"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
