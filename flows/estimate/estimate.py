"""The figures of the dry run: bytes to read and store, windows, memory and time of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.flows.estimate.memory import expected_memory, inputs_memory
from tilewright.flows.estimate.promise import foretell, keep_promise
from tilewright.flows.estimate.rates import read_runs
from tilewright.flows.estimate.samples import sample_files
from tilewright.flows.estimate.workload import count_workload
from tilewright.flows.job.options import AugmentOptions
from tilewright.flows.machine import free_memory, n_cores
from tilewright.flows.plan.model_card import model_references
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.policies import MIN_BLOCKS_IN_MEMORY
from tilewright.models.run.augment import NOISE
from tilewright.models.run.providers import GPUS
from tilewright.tasks.block.floor import calibrate
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.grid.crs import crs_unit
from tilewright.tasks.grid.windows import n_block_windows
from tilewright.tasks.plan.chosen import chosen_json, chosen_words
from tilewright.tasks.plan.footprints import coverage_words
from tilewright.tasks.plan.identities import input_counts
from tilewright.tasks.report.format import duration, plural
from tilewright.tasks.report.sections import centre_text, input_files_text
from tilewright.tasks.vector.layer_polygons import table_names

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost of a plan: counts, bytes, seconds.

    ``passes`` are the pixels that the model computes per pixel of the area. ``bytes_read`` are those of the files'
    tiles as they are stored, which is what a network transfers; ``bytes_decoded`` those of their pixels.
    ``bytes_stored`` is all that lies under the output in the end, ``bytes_pages`` of it the pages about the product.
    ``seconds`` are those of the whole command on ``n_workers`` cores, ``seconds_to_report`` those until its report is
    written. ``basis`` says from what, ``bound`` what the blocks wait for, ``draws`` in how many passes a graph runs
    that draws random numbers.
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
    bytes_decoded: int = 0
    bytes_pages: int = 0
    seconds_to_report: float = 0.0
    n_workers: int = 0
    basis: str = ""
    bound: str = ""
    draws: str = ""

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def lines(self, plan: Plan) -> list[tuple[str, str]]:
        """The estimate as (label, text), for the terminal."""
        if plan.places is not None:
            return self._place_lines(plan)
        grid, lattice = plan.raster.product_grid, plan.raster.lattice
        crs = grid.crs if len(grid.crs) < 40 else "a CRS given as WKT"
        layers = ", ".join(plan.named_layers)
        height, width = grid.extent.shape
        centre = centre_text({"crs": grid.crs, "bounds": list(grid.bounds_of(grid.extent))})
        km2 = geometry_km2(plan.raster.aoi_geometry, plan.raster.grid.crs)
        covered, cores = coverage_words(plan.coverage), plural(self.n_workers, "core")
        return [
            ("area", f"{km2:,.1f} km² around {centre}"),
            ("grid", f"{width:,} x {height:,} px of {grid.resolution:g} {crs_unit(grid.crs)} in {crs}"),
            (
                "model",
                f"{plan.model.card['name']} on {_provider_words(plan, self.provider)}; layers {layers}",
            ),
            *_mask_lines(plan),
            *_screen_lines(plan),
            *_align_lines(plan),
            *_repeat_lines(plan),
            *([("draws", self.draws)] if self.draws else []),
            *[(f"input {entry.name}", _input_words(entry, of_rows=plan.places is not None)) for entry in plan.inputs],
            *[("clearest", f"input {row['input']}: {chosen_words(row)}") for row in chosen_json(plan.inputs)],
            ("files", input_files_text(input_counts(plan))),
            *([("covered", f"{covered} by the scenes' footprints")] if covered else []),
            ("blocks", self._block_words(plan)),
            ("windows", self._window_words(lattice)),
            ("why", plan.model.windows_reason),
            ("exact", f"{plan.model.exactness}: {plan.model.exact_reason}"),
            (
                "to read",
                f"about {_size(self.bytes_read)} of the files' tiles, {_size(self.bytes_decoded)} as pixels",
            ),
            ("to store", f"about {_size(self.bytes_stored)}, {_size(self.bytes_pages)} of it pages and records"),
            *_table_lines(plan),
            ("memory", f"about {_size(self.memory_bytes)} on {cores}; {_size(free_memory())} are free"),
            ("time", f"{self._time_words()}, {self.basis}"),
        ]

    def _place_lines(self, plan: Plan) -> list[tuple[str, str]]:
        """The same for a job over places."""
        assert plan.places is not None, "a plan of places"
        grid, lattice, places = plan.raster.grid, plan.raster.lattice, plan.places
        crs = grid.crs if len(grid.crs) < 40 else "a CRS given as WKT"
        layers, cores = ", ".join(plan.raster.layers), plural(self.n_workers, "core")
        around = centre_text({"crs": grid.crs, "bounds": list(grid.bounds_of(grid.extent))})
        return [
            ("places", f"{plural(places.n_rows, 'row')} of {plan.request['places']['file']} around {around}"),
            ("grid", f"pixels of {grid.resolution:g} {crs_unit(grid.crs)} in {crs}"),
            ("model", f"{plan.model.card['name']} on {_provider_words(plan, self.provider)}; columns {layers}"),
            *_mask_lines(plan),
            *_screen_lines(plan),
            *_repeat_lines(plan),
            *([("draws", self.draws)] if self.draws else []),
            *[(f"input {entry.name}", _input_words(entry, of_rows=plan.places is not None)) for entry in plan.inputs],
            ("files", input_files_text(input_counts(plan))),
            ("units", f"{self.n_blocks} of up to {places.unit} rows"),
            ("windows", f"{self.n_windows:,} of {lattice.window} px, one for each row that has a place"),
            ("why", plan.model.windows_reason),
            ("exact", f"{plan.model.exactness}: {plan.model.exact_reason}"),
            (
                "to read",
                f"about {_size(self.bytes_read)} of the files' tiles, {_size(self.bytes_decoded)} as pixels",
            ),
            ("to store", f"about {_size(self.bytes_stored)}, {_size(self.bytes_pages)} of it pages and records"),
            ("memory", f"about {_size(self.memory_bytes)} on {cores}; {_size(free_memory())} are free"),
            ("time", f"{self._time_words()}, {self.basis}"),
        ]

    def _block_words(self, plan: Plan) -> str:
        in_memory = f"the inputs of {MIN_BLOCKS_IN_MEMORY} in memory take {_size(inputs_memory(plan))}"
        halo = f"read with a halo of {plan.raster.lattice.halo} px"
        return f"{self.n_blocks} of {plan.raster.product_block} px, {halo}; {in_memory}"

    def _window_words(self, lattice: Lattice) -> str:
        cut = f"step {lattice.step}, trim {lattice.trim}, merged by {lattice.merge}"
        return f"{self.n_windows:,} of {lattice.window} px, {cut}; {self.passes:.2f} px computed per px of the area"

    def _time_words(self) -> str:
        about = f"about {duration(round(self.seconds))}" if self.seconds >= 10 else "less than 10 s"
        return f"{about} on {plural(self.n_workers, 'core')}, start-up and publishing included"


def estimate(plan: Plan, card: ModelCard, *, provider: str = "auto", workers: int | None = None) -> Estimate:
    """The estimate of a plan on a provider and so many cores, None: all; it is kept, so that a run can compare.

    From the runs that are known of the model on this machine, or else from rates that are measured now. Looks into a
    few of the files. Raises ProviderError where the requested provider cannot run.
    """
    model = load_model(plan, card, provider=provider)
    used, n_workers = model.session.provider, workers or n_cores()
    runs = read_runs(plan, provider=used)
    short = None if runs.of_model else calibrate(plan, model.card, model.session)
    work = count_workload(plan, sample_files(plan), windows_per_call=model.windows_per_call)
    memory = expected_memory(plan, card, batch=model.windows_per_call, on_gpu=used in GPUS).total(n_workers)
    promise = foretell(work, runs, short, memory=memory, workers=n_workers)
    assert promise is not None, "a rate is known or was measured"
    keep_promise(plan, promise, provider=used)
    windows = sum(
        n_block_windows(plan.raster.touched_steps(block), plan.raster.lattice) for block in plan.raster.all_blocks()
    )
    return Estimate(
        n_scenes=len({scene.id for entry in plan.inputs for scene in entry.scenes}),
        n_blocks=len(plan.raster.blocks),
        n_windows=windows,
        passes=windows * plan.raster.lattice.window**2 / _area_pixels(plan),
        bytes_read=round(promise.bytes_read),
        bytes_decoded=round(work.decoded),
        bytes_stored=round(promise.bytes_stored),
        bytes_pages=round(promise.pages),
        memory_bytes=round(promise.peak_memory),
        seconds=promise.seconds,
        seconds_to_report=promise.to_report,
        n_cores=n_cores(),
        n_workers=n_workers,
        provider=used,
        basis=promise.basis,
        bound=promise.bound,
        draws=card.stochastic.words() if card.stochastic else "",
    )


def _provider_words(plan: Plan, provider: str) -> str:
    if plan.model.fused:
        return f"{provider}, fused, {plan.model.precision}"
    if plan.model.precision != "fp32":
        return f"{provider}, {plan.model.precision}"
    return f"{provider}, tuned" if plan.model.tuned else provider


def _area_pixels(plan: Plan) -> float:
    """The area within the grid in pixels, by its outline: to count pixels takes long where the outline is."""
    grid = plan.raster.grid
    inside = plan.raster.aoi_geometry.intersection(shapely.box(*grid.bounds_of(grid.extent)))
    return max(1.0, inside.area / grid.resolution**2)


def _repeat_lines(plan: Plan) -> list[tuple[str, str]]:
    """How often a window is run: the sides of an augmentation and the models of an ensemble; empty for one call."""
    augment, ensemble = plan.request.get("augment") or {}, plan.request.get("ensemble") or {}
    runs = AugmentOptions.model_validate(augment)
    n_models = 1 + len(ensemble.get("models") or ())
    lines = []
    if n_models > 1:
        disagreement = ", with their disagreement" if ensemble.get("disagreement") else ""
        names = ", ".join(model_references(plan))
        lines.append(("ensemble", f"{ensemble['combine']} of {n_models} models{disagreement}: {names}"))
    if runs.n_runs > 1:
        spread = ", with their spread" if runs.spread else ""
        split = ", the entropy in its parts" if runs.split else ""
        versions = "passes with noise on" if runs.kind == NOISE else "sides of"
        lines.append(("augment", f"{runs.kind}: mean over {runs.n_runs} {versions} each window{spread}{split}"))
    if lines:
        lines.append(("calls", f"{n_models * runs.n_runs} a window"))
    return lines


def _mask_lines(plan: Plan) -> list[tuple[str, str]]:
    """The model that makes the masks of scenes; empty where no model does."""
    served = plan.mask_model
    if served is None:
        return []
    n_scenes = len({scene.id for entry in plan.inputs if entry.mask.kind == "model" for scene in entry.scenes})
    exactness = {"proven": "tiled equals whole", "measured": "tiled equals whole as far as was tried"}
    known = exactness.get(served.exactness, "its map depends on its windows")
    seen = f"{served.card['name']} on each of {plural(n_scenes, 'scene')} at {served.resolution:g} m, where it is read"
    return [("mask", f"{seen}; {known}. What it makes is kept for other jobs")]


def _screen_lines(plan: Plan) -> list[tuple[str, str]]:
    """The model that says where the job's own looks; empty without one."""
    screen = plan.screen
    if screen is None:
        return []
    share = f"{100 * screen.least_share:.3g} % of its pixels"
    seen = (
        f"{screen.served.card['name']} at {screen.served.resolution:g}: windows with less than {share} of its classes"
    )
    return [("screen", f"{seen} are left out; the time is told as if none were")]


def _align_lines(plan: Plan) -> list[tuple[str, str]]:
    """Which dates are moved; empty for a plan that moves none."""
    if plan.align is None:
        return []
    words = []
    for entry in plan.inputs:
        reference = plan.align.reference(entry)
        if reference is not None:
            band = plan.align.band_of(entry)
            words.append(f"input {entry.name} onto {entry.steps[reference].label}, as seen in {band}")
    said = (
        f"{'; '.join(words)}, by at most {plan.align.most:g} m; that band is read once more, which the time leaves out"
    )
    return [("align", said)]


def _table_lines(plan: Plan) -> list[tuple[str, str]]:
    """The tables of shapes: how many shapes there are, and so their bytes, nobody knows before the map is made."""
    names = [f"{name}.parquet" for name in table_names(plan)]
    if not names:
        return []
    whose = "its rows, and so its bytes, are" if len(names) == 1 else "their rows, and so their bytes, are"
    return [("tables", f"{', '.join(names)}; {whose} known once the map is made, and not part of what is to store")]


def _input_words(entry: Any, *, of_rows: bool) -> str:
    """``of_rows``: rows make their own steps of the scenes."""
    days = sorted({day for step in entry.steps for day in step.days})
    if of_rows:
        days = sorted({scene.datetime.date().isoformat() for scene in entry.scenes})
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days)
    if of_rows:
        scenes = f"{plural(len(entry.scenes), 'scene')} on {plural(len(days), 'day')} ({span})"
        return f"{scenes}, {entry.reducer} of {' '.join(entry.bands)}"
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
