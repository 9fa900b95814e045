"""The model run over a block: windows in, layers out, nodata restored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from models.extras import WindowFacts, prepare_extra
from models.postprocess import layers_from_scores, scores
from models.preprocess import prepare_input
from tasks.area import area_mask
from tasks.merge import blend_weights, kept_scores, start_blend
from tasks.tiles import block_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from models.card import ModelCard
    from models.outputs import OutputSpec
    from models.session import ModelSession
    from tasks.dates import StepPlan
    from tasks.grid import Grid, PixelBox
    from tasks.inputs import BlockInputs
    from tasks.merge import Blend
    from tasks.plan import InputPlan, Plan
    from tasks.tiles import Lattice, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """A block's layers by name, each (height, width) in product pixels and its stored dtype, nodata in place."""

    layers: dict[str, np.ndarray]
    windows_run: int
    windows_skipped: int
    valid_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A model ready to run: its card, its session, windows per call, and how calls are spread over cores."""

    card: ModelCard
    session: ModelSession
    batch: int = 1


def infer_block(
    plan: Plan,
    engine: Engine,
    inputs: BlockInputs,
    *,
    spread: Callable[..., Iterable[list[dict[str, np.ndarray]]]] = map,
) -> BlockResult:
    """Every layer of a block, and its observation counts as the layer ``observations``.

    ``spread`` is ``map`` or an executor's ``map``: it must yield answers in the order of the batches.
    """
    block = inputs.block
    usable = inputs.valid & area_mask(plan.grid, block.outer, plan.area_geometry)
    windows = list(block_windows(block.inner, plan.lattice))
    to_run = [window for window in windows if usable[window.kept.slices_in(block.outer)].any()]
    canvas = _Canvas.over(plan, engine.card, block.inner)

    def call(batch: Sequence[Window]) -> list[dict[str, np.ndarray]]:
        return _run_windows(plan, engine, inputs, batch)

    batches = list(_batched(to_run, engine.batch))
    for batch, answers in zip(batches, spread(call, batches), strict=True):
        for window, answer in zip(batch, answers, strict=True):
            canvas.add(window, answer)
    inner_usable = _at_product(usable[block.inner.slices_in(block.outer)], plan)
    layers = canvas.layers(inner_usable)
    counts = _at_product(inputs.observations[block.inner.slices_in(block.outer)], plan)
    layers["observations"] = np.where(_inside(plan, block.inner), counts, 0).astype(np.uint16)
    return BlockResult(
        layers=layers,
        windows_run=len(to_run),
        windows_skipped=len(windows) - len(to_run),
        valid_pixels=int(inner_usable.sum()),
    )


def output_scale(output: OutputSpec, card: ModelCard, lattice: Lattice) -> Fraction:
    """Output pixels per model-grid pixel along a side; one per window where the model answers with one vector."""
    if answers_per_window(output, card):
        return Fraction(1, lattice.step)
    return Fraction(output.scale).limit_denominator(256)


def answers_per_window(output: OutputSpec, card: ModelCard) -> bool:
    """True where an output is one vector for a whole window."""
    return output.rows and not all(entry.pixelwise for entry in card.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canvas:
    """The layers of a block being filled."""

    plan: Plan
    card: ModelCard
    inner: PixelBox
    stored: dict[str, np.ndarray]
    blends: dict[str, Blend]

    @classmethod
    def over(cls, plan: Plan, card: ModelCard, inner: PixelBox) -> _Canvas:
        shape = plan.product_box_of(inner).shape
        stored = {
            spec.name: np.full(shape, spec.nodata, dtype=spec.dtype)
            for output in card.outputs
            for spec in output.layer_specs()
        }
        blends: dict[str, Blend] = {}
        if plan.lattice.merge == "blend":
            for output in card.outputs:
                if not answers_per_window(output, card):
                    blends[output.name] = start_blend(_scaled(inner, output, plan, card), n_scores=output.n_scores)
        return cls(plan=plan, card=card, inner=inner, stored=stored, blends=blends)

    def add(self, window: Window, answer: dict[str, np.ndarray]) -> None:
        for output in self.card.outputs:
            if output.name in self.blends:
                outer = _scaled(window.outer, output, self.plan, self.card)
                weights = blend_weights(self.plan.lattice, size=outer.shape)
                self.blends[output.name].add(outer, answer[output.name], weights)
            else:
                self._paste(output, window, answer)

    def layers(self, usable: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer with nodata where a pixel is not usable; blends are turned into layers first."""
        for output in self.card.outputs:
            if output.name in self.blends:
                made = layers_from_scores(output, self.blends[output.name].scores())
                for name, array in made.items():
                    self.stored[name][:] = _repeat_to(array, self.stored[name].shape)
        for output in self.card.outputs:
            for spec in output.layer_specs():
                self.stored[spec.name][~usable] = spec.nodata
        return dict(self.stored)

    def _paste(self, output: OutputSpec, window: Window, answer: dict[str, np.ndarray]) -> None:
        core = window.outer.intersect(window.kept) if self.plan.lattice.merge == "trim" else _core_of(window, self.plan)
        seen = self.plan.product_box_of(core).intersect(self.plan.product_box_of(self.inner))
        place = seen.slices_in(self.plan.product_box_of(self.inner))
        for name, array in answer.items():
            if name in {spec.name for spec in output.layer_specs()} and not seen.empty:
                self.stored[name][place] = _repeat_to(array, seen.shape)


def _run_windows(
    plan: Plan, engine: Engine, inputs: BlockInputs, windows: Sequence[Window]
) -> list[dict[str, np.ndarray]]:
    """Per window: layers of its kept part (trim) or whole scores by output (blend)."""
    raw = engine.session.run_batch(_feeds(plan, engine.card, inputs, windows), batch=engine.batch)
    answers: list[dict[str, np.ndarray]] = [{} for _ in windows]
    for output in engine.card.outputs:
        made = scores(output, raw[output.name], size=_result_size(plan, engine.card, output))
        for number, window in enumerate(windows):
            answers[number] |= _answer(plan, engine.card, output, window, made[number])
    return answers


def _answer(plan: Plan, card: ModelCard, output: OutputSpec, window: Window, made: np.ndarray) -> dict[str, np.ndarray]:
    if answers_per_window(output, card):
        return layers_from_scores(output, made)
    if plan.lattice.merge == "blend":
        return {output.name: made}
    scale = output_scale(output, card, plan.lattice)
    return layers_from_scores(output, kept_scores(window, made, up=scale.numerator, down=scale.denominator))


def _result_size(plan: Plan, card: ModelCard, output: OutputSpec) -> tuple[int, int] | None:
    if answers_per_window(output, card):
        return None
    scale = output_scale(output, card, plan.lattice)
    side = plan.lattice.window * scale.numerator // scale.denominator
    return side, side


def _feeds(plan: Plan, card: ModelCard, inputs: BlockInputs, windows: Sequence[Window]) -> dict[str, np.ndarray]:
    feeds: dict[str, np.ndarray] = {}
    for spec, entry in zip(card.inputs, plan.inputs, strict=True):
        steps = [_cut(inputs.steps[spec.name], entry, inputs, window) for window in windows]
        feeds[spec.name] = prepare_input(spec, np.stack(steps))
    for extra in card.extras:
        entry = next((found for found in plan.inputs if found.name == extra.of), plan.inputs[0])
        feeds[extra.name] = prepare_extra(extra, _window_facts(plan, entry, inputs, windows, kind=extra.kind))
    return feeds


def _cut(array: np.ndarray, entry: InputPlan, inputs: BlockInputs, window: Window) -> np.ndarray:
    outer = inputs.block.outer.rescale(numerator=entry.finer, denominator=entry.coarser)
    seen = window.outer.rescale(numerator=entry.finer, denominator=entry.coarser)
    return array[(..., *seen.slices_in(outer))]


def _window_facts(
    plan: Plan, entry: InputPlan, inputs: BlockInputs, windows: Sequence[Window], *, kind: str
) -> WindowFacts:
    valid = np.stack([_cut(inputs.seen[entry.name], entry, inputs, window) > 0 for window in windows])
    boxes = [window.outer.rescale(numerator=entry.finer, denominator=entry.coarser) for window in windows]
    grid = plan.grid.rescale(numerator=entry.finer, denominator=entry.coarser)
    lonlat = np.stack([_lonlat(grid, box) for box in boxes]) if kind == "lonlat" else None
    height, width = boxes[0].shape
    days = tuple(_middle(step) for step in entry.steps)
    return WindowFacts(n=len(windows), height=height, width=width, days=days, valid=valid, lonlat=lonlat)


def _middle(step: StepPlan) -> date:
    """The day in the middle of a step's scenes, else of its span."""
    first, last = (step.days[0], step.days[-1]) if step.days else (step.start.date(), step.end.date())
    first, last = (date.fromisoformat(str(day)) for day in (first, last))
    return first + (last - first) / 2


def _lonlat(grid: Grid, box: PixelBox) -> np.ndarray:
    """Longitude and latitude (2, height, width) in degrees of the pixel centres."""
    size = grid.resolution
    x = (np.arange(box.col_start, box.col_stop) + 0.5) * size
    y = -(np.arange(box.row_start, box.row_stop) + 0.5) * size
    transformer = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return np.stack(transformer.transform(*np.meshgrid(x, y)))


def _batched(windows: Sequence[Window], size: int) -> Iterator[tuple[Window, ...]]:
    walk = iter(windows)
    while batch := tuple(itertools.islice(walk, size)):
        yield batch


def _scaled(box: PixelBox, output: OutputSpec, plan: Plan, card: ModelCard) -> PixelBox:
    scale = output_scale(output, card, plan.lattice)
    return box.rescale(numerator=scale.numerator, denominator=scale.denominator)


def _core_of(window: Window, plan: Plan) -> PixelBox:
    step, trim = plan.lattice.step, plan.lattice.trim
    core = window.outer.pad(-trim)
    return type(core)(
        row_start=core.row_start,
        row_stop=core.row_start + step,
        col_start=core.col_start,
        col_stop=core.col_start + step,
    )


def _inside(plan: Plan, inner: PixelBox) -> np.ndarray:
    return _at_product(area_mask(plan.grid, inner, plan.area_geometry), plan)


def _at_product(array: np.ndarray, plan: Plan) -> np.ndarray:
    """An array on the model grid in product pixels: repeated where finer; any, or the most, where coarser."""
    if plan.down > 1:
        height, width = array.shape
        array = array.reshape(height // plan.down, plan.down, width // plan.down, plan.down).max(axis=(1, 3))
    return array.repeat(plan.up, axis=0).repeat(plan.up, axis=1) if plan.up > 1 else array


def _repeat_to(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if array.shape == shape:
        return array
    rows, cols = shape[0] // array.shape[0], shape[1] // array.shape[1]
    return array.repeat(rows, axis=0).repeat(cols, axis=1)
