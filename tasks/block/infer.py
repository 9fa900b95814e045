"""The model run over a block: windows in, layers out, nodata restored."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.window import windows_per_call
from tilewright.models.transforms.postprocess import scores
from tilewright.tasks.block.feeds import window_feeds
from tilewright.tasks.block.merge import BlockLayers, window_answer
from tilewright.tasks.block.output_grid import at_product, result_size
from tilewright.tasks.grid.area_mask import area_mask
from tilewright.tasks.grid.windows import block_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Window
    from tilewright.tasks.plan.plan import Plan


ENOUGH = 4
"""Windows of which the fastest may stand for an undisturbed one."""


class CallTimer:
    """Seconds of the fastest window so far; safe to use from many threads. ``begun`` is set with the first call."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._fastest = float("inf")
        self._seen = 0

    @property
    def seconds(self) -> float | None:
        """Seconds per window of the fastest call; None before enough windows have run."""
        return self._fastest if self._seen >= ENOUGH else None

    @contextmanager
    def timing(self, windows: int, *, by_cpu: bool) -> Iterator[None]:
        """Time a call for so many windows: ``by_cpu`` by what its thread computed, whoever else disturbs the machine;
        else, where another device or more threads compute, by the clock.
        """
        clock = time.thread_time if by_cpu else time.perf_counter
        self.begun.set()
        began = clock()
        yield
        took = (clock() - began) / windows
        with self._lock:
            self._fastest = min(self._fastest, took)
            self._seen += windows


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """A block's layers by name, each (height, width) in product pixels and its stored dtype, nodata in place."""

    layers: dict[str, np.ndarray]
    windows_run: int
    windows_skipped: int
    valid_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to run: its card, its session, and windows per call (for a fixed number of rows: rows).

    ``timer`` notes how fast it runs.
    """

    card: ModelCard
    session: ModelSession
    batch: int = 1
    timer: CallTimer = field(default_factory=CallTimer, compare=False)

    @property
    def windows_per_call(self) -> int:
        """Windows one call takes."""
        return windows_per_call(self.card, batch=self.batch)

    @property
    def rows_per_call(self) -> int | None:
        """Rows one call takes where the graph fixes them and each pixel is a row; None otherwise."""
        return self.card.batch if self.card.pixelwise else None


def infer_block(
    plan: Plan,
    model: LoadedModel,
    inputs: BlockInputs,
    *,
    spread: Callable[..., Iterable[list[dict[str, np.ndarray]]]] = map,
) -> BlockResult:
    """Every layer of a block, and its observation counts as the layer ``observations``.

    ``spread`` is ``map`` or an executor's ``map``: it must yield answers in the order of the batches.
    """
    block = inputs.block
    asked = plan.raster.touched_steps(block)
    usable = inputs.valid & area_mask(plan.raster.grid, block.outer, plan.raster.aoi_geometry)
    windows = list(block_windows(asked, plan.raster.lattice))
    to_run = [window for window in windows if usable[window.kept.slices_in(block.outer)].any()]
    canvas = BlockLayers.over(plan, model.card, block.inner)

    def call(batch: Sequence[Window]) -> list[dict[str, np.ndarray]]:
        return _run_windows(plan, model, inputs, batch)

    batches = list(_batched(to_run, model.windows_per_call))
    for batch, answers in zip(batches, spread(call, batches), strict=True):
        for window, answer in zip(batch, answers, strict=True):
            canvas.add(window, answer)
    inner_usable = at_product(_over_inner(usable, block, asked), plan)
    layers = canvas.layers(inner_usable)
    counts = at_product(_over_inner(inputs.observations, block, asked), plan)
    layers["observations"] = np.where(_inside(plan, block.inner), counts, 0).astype(np.uint16)
    return BlockResult(
        layers=layers,
        windows_run=len(to_run),
        windows_skipped=sum(1 for _ in block_windows(block.inner, plan.raster.lattice)) - len(to_run),
        valid_pixels=int(inner_usable.sum()),
    )


def _run_windows(
    plan: Plan, model: LoadedModel, inputs: BlockInputs, windows: Sequence[Window]
) -> list[dict[str, np.ndarray]]:
    """Per window what a canvas takes of it."""
    feeds = window_feeds(plan, model.card, inputs, windows)
    session = model.session
    with model.timer.timing(model.windows_per_call, by_cpu=session.provider == "cpu" and session.threads == 1):
        if model.rows_per_call:
            raw = _run_rows(session, feeds, rows=model.rows_per_call)
        else:
            raw = session.run_batch(feeds, batch=model.windows_per_call, windows=len(windows))
    answers: list[dict[str, np.ndarray]] = [{} for _ in windows]
    for output in model.card.outputs:
        size = result_size(output, model.card, plan.raster.lattice)
        made = scores(output, raw[output.name], size=size, votes=plan.raster.lattice.merge == "blend")
        for number, window in enumerate(windows):
            answers[number] |= window_answer(plan, model.card, output, window, made[number])
    return answers


def _run_rows(session: ModelSession, feeds: dict[str, np.ndarray], *, rows: int) -> dict[str, np.ndarray]:
    """A graph that takes a fixed number of rows, called until all are done; the last call is padded and cut back."""
    total = max(len(feed) for feed in feeds.values())
    parts = []
    for start in range(0, total, rows):
        part = {name: feed[start : start + rows] if len(feed) == total else feed for name, feed in feeds.items()}
        parts.append(session.run_batch(part, batch=rows, windows=min(rows, total - start)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batched(windows: Sequence[Window], size: int) -> Iterator[tuple[Window, ...]]:
    walk = iter(windows)
    while batch := tuple(itertools.islice(walk, size)):
        yield batch


def _over_inner(array: np.ndarray, block: Block, asked: PixelBox) -> np.ndarray:
    """What an array over the block's outer box says of its inner one, (height, width); zero beyond the asked part."""
    whole = np.zeros(block.inner.shape, dtype=array.dtype)
    whole[asked.slices_in(block.inner)] = array[asked.slices_in(block.outer)]
    return whole


def _inside(plan: Plan, inner: PixelBox) -> np.ndarray:
    return at_product(area_mask(plan.raster.grid, inner, plan.raster.aoi_geometry), plan)
