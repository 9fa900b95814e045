"""Runs the model over a block: from its inputs to its layers, with nodata restored."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.window import answers_per_window, windows_per_call
from tilewright.models.transforms.boxes import found_boxes
from tilewright.models.transforms.masks import found_masks
from tilewright.models.transforms.postprocess import check_probabilities, scores
from tilewright.tasks.block.feeds import window_feeds
from tilewright.tasks.block.merge import BlockLayers, covered_by, window_answer
from tilewright.tasks.block.output_grid import at_product, result_size
from tilewright.tasks.block.seams import SampledPlaces, SeamComparison, Seams, core_of, joined_seams, shifted_window
from tilewright.tasks.boxes.parts import NO_BOXES, counted_boxes
from tilewright.tasks.captions.parts import counted_caption
from tilewright.tasks.grid.area_mask import area_mask
from tilewright.tasks.grid.windows import block_windows
from tilewright.tasks.instances.mask_parts import counted_masks
from tilewright.tasks.lossy.rounding import round_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.captions.parts import Caption
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Window
    from tilewright.tasks.instances.mask_parts import CountedMask
    from tilewright.tasks.lossy.tally import LossTally
    from tilewright.tasks.plan.plan import Plan


BOXES, MASKS, WORDS = "boxes of {}", "masks of {}", "words of {}"
"""The keys of boxes, of masks and of words in a window's answer; no table or layer has a blank in its name."""

MIN_WINDOWS = 4
"""Windows that must have run before the fastest counts as undisturbed."""


class CallTimer:
    """Seconds per window of the fastest model call of this run; the floor uses it instead of a benchmark.

    Thread-safe. ``begun`` is set at the first call.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._fastest = float("inf")
        self._n_windows = 0

    @property
    def seconds(self) -> float | None:
        """Seconds per window of the fastest call; None before MIN_WINDOWS windows have run."""
        return self._fastest if self._n_windows >= MIN_WINDOWS else None

    @contextmanager
    def timing(self, windows: int, *, by_cpu: bool) -> Iterator[None]:
        """Times a call of so many windows. ``by_cpu``: by the CPU time of its thread, which other processes do not
        disturb; otherwise by the clock, for a call on another device or with more threads.
        """
        clock = time.thread_time if by_cpu else time.perf_counter
        self.begun.set()
        began = clock()
        yield
        took = (clock() - began) / windows
        with self._lock:
            self._fastest = min(self._fastest, took)
            self._n_windows += windows


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """A block's layers by name, each (height, width) in product pixels and its stored dtype, nodata in place.

    ``boxes`` are the things found in it by table, as BOX in absolute pixels of the model's grid, ``masks`` the objects
    by layer, ``captions`` the answers in words by table. ``seams`` are those of the windows that were compared with
    shifted ones; ``windows_run`` does not count them twice, and ``windows_skipped`` holds those that were
    ``windows_screened`` out. ``losses``: what rounding did to the layers that are stored with an error.
    """

    layers: dict[str, np.ndarray]
    windows_run: int
    windows_skipped: int
    valid_pixels: int
    seams: Seams = field(default_factory=Seams)
    boxes: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, list[CountedMask]] = field(default_factory=dict)
    losses: dict[str, LossTally] = field(default_factory=dict)
    windows_screened: int = 0
    captions: dict[str, list[Caption]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to run: its card, its session, and its batch: windows per call, or rows where the graph fixes them.

    ``timer`` measures its calls, ``sampled`` draws the windows that are compared with shifted ones.
    """

    card: ModelCard
    session: ModelSession
    batch: int = 1
    timer: CallTimer = field(default_factory=CallTimer, compare=False)
    sampled: SampledPlaces = field(default_factory=SampledPlaces, compare=False)

    @property
    def windows_per_call(self) -> int:
        """Windows per model call."""
        return windows_per_call(self.card, batch=self.batch)

    @property
    def rows_per_call(self) -> int | None:
        """Rows per model call for a pixel-wise graph with a fixed batch; None otherwise."""
        return self.card.batch if self.card.pixelwise else None


def infer_block(
    plan: Plan,
    model: LoadedModel,
    inputs: BlockInputs,
    *,
    map_calls: Callable[..., Iterable[list[dict[str, np.ndarray]]]] = map,
) -> BlockResult:
    """The layers of a block, and its observation counts as the layer ``observations``.

    ``map_calls`` is ``map`` or an executor's ``map``: it must yield results in the order of the batches.
    """
    block = inputs.block
    touched = plan.raster.touched_steps(block)
    in_area = area_mask(plan.raster.grid, block.outer, plan.raster.area)
    usable = inputs.valid & in_area
    windows = list(block_windows(touched, plan.raster.lattice))
    skipped = inputs.screened.skipped if inputs.screened else frozenset[tuple[int, int]]()
    looked_at = [window for window in windows if (window.row, window.col) not in skipped]
    with_pixels = [window for window in windows if usable[window.kept.slices_in(block.outer)].any()]
    to_run = [window for window in with_pixels if (window.row, window.col) not in skipped]
    block_layers = BlockLayers.over(plan, model.card, block.inner)

    def run_batch(batch: Sequence[Window]) -> list[dict[str, np.ndarray]]:
        return _run_windows(plan, model, inputs, batch)

    batches = list(_batched(to_run, model.windows_per_call))
    pairs = _pairs(plan, model, inputs, to_run)
    compared: dict[Window, dict[str, np.ndarray]] = {}
    boxes: dict[str, list[np.ndarray]] = {table.name: [NO_BOXES] for table in model.card.boxes}
    masks: dict[str, list[CountedMask]] = {each.name: [] for each in model.card.masks}
    captions: dict[str, list[Caption]] = {name: [] for name in model.card.answers}
    for batch, answers in zip(batches, map_calls(run_batch, batches), strict=True):
        for window, answer in zip(batch, answers, strict=True):
            block_layers.add(window, answer)
            whole = core_of(window, plan.raster.lattice)
            core = whole.intersect(block.inner)
            for name, found in boxes.items():
                found.append(
                    counted_boxes(
                        answer[BOXES.format(name)], window=window.outer, core=core, usable=usable, over=block.outer
                    )
                )
            for name, counted in masks.items():
                objects = answer[MASKS.format(name)]
                counted.extend(counted_masks(objects, window=window.outer, core=core, inside=in_area, over=block.outer))
            for name, said in captions.items():
                text = str(answer[WORDS.format(name)])
                said.extend(counted_caption(text, core=whole, inner=block.inner, usable=usable, over=block.outer))
            if window in pairs:
                compared[window] = answer
    comparison = SeamComparison(
        plan=plan, card=model.card, inputs=inputs, usable=usable, provider=model.session.provider
    )
    again = model.windows_per_call > 1
    seams = _seams(comparison, compared, pairs, map_calls, run_batch, again=again, told=block_layers)
    inner_usable = at_product(_over_inner(usable, block, touched), plan)
    inside = at_product(area_mask(plan.raster.grid, block.inner, plan.raster.area), plan)
    n_otherwise = 0
    if inputs.screened is None:
        layers = block_layers.layers(inner_usable)
    else:
        covered = covered_by(looked_at, plan, block.inner)
        inner_usable &= covered
        layers = block_layers.layers(inner_usable)
        n_otherwise = block_layers.put_otherwise(layers, inside & ~covered & inputs.screened.seen)
    counts = at_product(_over_inner(inputs.observations, block, touched), plan)
    layers["observations"] = np.where(inside, counts, 0).astype(np.uint16)
    layers, losses = round_layers(plan, model.card.outputs, layers)
    return BlockResult(
        layers=layers,
        windows_run=len(to_run),
        windows_skipped=sum(1 for _ in block_windows(block.inner, plan.raster.lattice)) - len(to_run),
        windows_screened=len(with_pixels) - len(to_run),
        valid_pixels=int(inner_usable.sum()) + n_otherwise,
        seams=seams,
        boxes={name: np.concatenate(found) for name, found in boxes.items()},
        masks=masks,
        losses=losses,
        captions=captions,
    )


def _pairs(plan: Plan, model: LoadedModel, inputs: BlockInputs, windows: Sequence[Window]) -> dict[Window, Window]:
    """The windows of a block to compare, each with the shifted one; none for a model that takes single pixels."""
    if model.card.pixelwise or all(answers_per_window(output, model.card) for output in model.card.outputs):
        return {}
    # What a layer tells must not hang on the number of windows of a call.
    told = bool(model.card.seams)
    places = model.sampled.of(plan, windows_per_call=1 if told else model.windows_per_call, told=told)
    inner = inputs.block.inner
    drawn = (window for window in windows if (window.row, window.col) in places)
    # A blended window beyond the block is compared in the block that its core lies in.
    own = (window for window in drawn if not core_of(window, plan.raster.lattice).intersect(inner).empty)
    return {window: shifted for window in own if (shifted := shifted_window(window, inputs, plan.raster))}


def _seams(
    comparison: SeamComparison,
    compared: Mapping[Window, dict[str, np.ndarray]],
    pairs: Mapping[Window, Window],
    map_calls: Callable[..., Iterable[list[dict[str, np.ndarray]]]],
    run_batch: Callable[[Sequence[Window]], list[dict[str, np.ndarray]]],
    *,
    again: bool,
    told: BlockLayers,
) -> Seams:
    """The seams of the windows that were kept, ``told`` to the block's layers of them.

    ``again``: each is also run beside its shifted one in one batch.
    """
    calls = [(window, pairs[window]) if again else (pairs[window],) for window in compared]
    found = []
    for (window, answer), answers in zip(compared.items(), map_calls(run_batch, calls), strict=True):
        repeated = answers[0] if again else None
        both, told_by_both = (window, pairs[window]), (answer, answers[-1])
        found.append(comparison.seams(both, told_by_both, repeated))
        if comparison.card.seams:
            told.add_changes(*comparison.changes(both, told_by_both))
    return joined_seams(found)


def _run_windows(
    plan: Plan, model: LoadedModel, inputs: BlockInputs, windows: Sequence[Window]
) -> list[dict[str, np.ndarray]]:
    """The arguments of ``BlockLayers.add`` for each window, layers or scores by name, and its boxes by table."""
    raw = raw_outputs(model, window_feeds(plan, model.card, inputs, windows), windows=len(windows))
    answers: list[dict[str, np.ndarray]] = [{} for _ in windows]
    of_windows = (inputs.valid[window.kept.slices_in(inputs.block.outer)] for window in windows)
    seen = [valid.mean() if valid.size else 0.0 for valid in of_windows]
    for output in model.card.outputs:
        size = result_size(output, model.card, plan.raster.lattice)
        output_scores = scores(output, raw[output.name], size=size, votes=plan.raster.lattice.merge == "blend")
        check_probabilities(output, output_scores, seen=seen)
        for number, window in enumerate(windows):
            answers[number] |= window_answer(plan, model.card, output, window, output_scores[number])
    for table in model.card.boxes:
        found = found_boxes(table, raw, windows=len(windows), window=plan.raster.lattice.window)
        for number, boxes in enumerate(found):
            answers[number][BOXES.format(table.name)] = boxes
    for masks in model.card.masks:
        objects = found_masks(masks, raw, windows=len(windows), window=plan.raster.lattice.window)
        for answer, of_window in zip(answers, objects, strict=True):
            answer[MASKS.format(masks.name)] = np.array([*of_window, None], dtype=object)[:-1]
    for name in model.card.answers:
        for answer, text in zip(answers, raw[name], strict=True):
            answer[WORDS.format(name)] = np.array(text, dtype=object)
    return answers


def raw_outputs(model: LoadedModel, feeds: dict[str, np.ndarray], *, windows: int) -> dict[str, np.ndarray]:
    """The outputs of a graph by name for so many windows, at most as many as a call takes; the call is timed."""
    session = model.session
    with model.timer.timing(model.windows_per_call, by_cpu=session.provider == "cpu" and session.threads == 1):
        if model.rows_per_call:
            return _run_rows(session, feeds, rows=model.rows_per_call)
        return session.run_batch(feeds, batch=model.windows_per_call, windows=windows)


def _run_rows(session: ModelSession, feeds: dict[str, np.ndarray], *, rows: int) -> dict[str, np.ndarray]:
    """The outputs of a graph with a fixed number of rows, called until all rows are done; the last call is padded."""
    total = max(len(feed) for feed in feeds.values())
    parts = []
    for start in range(0, total, rows):
        part = {name: feed[start : start + rows] if len(feed) == total else feed for name, feed in feeds.items()}
        parts.append(session.run_batch(part, batch=rows, windows=min(rows, total - start)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batched(windows: Sequence[Window], size: int) -> Iterator[tuple[Window, ...]]:
    remaining = iter(windows)
    while batch := tuple(itertools.islice(remaining, size)):
        yield batch


def _over_inner(array: np.ndarray, block: Block, touched: PixelBox) -> np.ndarray:
    """An array over a block's outer box cut to its inner box, (height, width); zero outside the touched steps."""
    inner = np.zeros(block.inner.shape, dtype=array.dtype)
    inner[touched.slices_in(block.inner)] = array[touched.slices_in(block.outer)]
    return inner
