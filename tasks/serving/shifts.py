"""Shifts between two steps of an input, measured by a model in windows of a fixed lattice where they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.transforms.extras import WindowFacts, prepare_extra
from tilewright.models.transforms.preprocess import prepare_input
from tilewright.tasks.block.inputs import seen_passes
from tilewright.tasks.block.step_composite import BlockInput, SeenPasses, composite_step
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.align import STEP, WINDOW, composed_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.read.access import Access

SIDE = 4
"""Nodes a side of the squares that are measured at once: their windows overlap, and pixels are read once for all."""

KEPT_SQUARES = 4096
"""Squares of measured nodes that a process keeps of a step."""

KEPT_PICTURES = 16
"""Pictures of the reference that a process keeps: several steps are held against one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMatcher:
    """The model that tells the shift of a pair of windows, ready to run."""

    card: ModelCard
    session: ModelSession

    def shift(self, pair: NDArray[np.float32]) -> tuple[float, float]:
        """Pixels east and north that the second picture of a pair (2, 256, 256) lies from the first; NaN for none."""
        seen = np.isfinite(pair)
        if not seen.all(axis=0).any():
            return np.nan, np.nan
        (spec,) = self.card.inputs
        feeds = {spec.name: prepare_input(spec, pair[None, :, None])}
        facts = WindowFacts(n=1, height=WINDOW, width=WINDOW, valid=seen[None], pixel_size=np.ones((1, 2)))
        for extra in self.card.extras:
            feeds[extra.name] = prepare_extra(extra, facts)
        east, north, _ = self.session.run(feeds)[self.card.outputs[0].name][0].tolist()
        return east, north


@dataclass(slots=True, kw_only=True)
class Shifts:
    """Shifts of the steps of an input against its step ``reference``, in the input's pixels.

    The node (row, col) is the middle of the window that begins STEP pixels above and left of pixel (row, col) * STEP of
    the CRS's own lattice. ``most``: metres of the longest shift. ``entry`` reads the band alone. Thread-safe.
    """

    entry: InputPlan
    model_grid: Grid
    reference: int
    most: float
    matcher: PairMatcher
    _squares: dict[int, OrderedDict[tuple[int, int], NDArray[np.float64]]] = field(default_factory=dict, init=False)
    _pictures: OrderedDict[tuple[int, int], NDArray[np.float32]] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _making: dict[tuple[int, int, int], threading.Lock] = field(default_factory=dict, init=False, repr=False)

    def nodes(self, step: int, box: PixelBox, access: Access) -> NDArray[np.float64]:
        """What was measured at a box of nodes, (3 [east, north, 1 for a shift that is too long], rows, columns).

        East and north are NaN where there is no shift, or one that is too long.

        Raises ReadError for a file that cannot be read, however many failures are tolerated.
        """
        found = np.empty((3, *box.shape))
        for row in range(box.row_start // SIDE, -(-box.row_stop // SIDE)):
            for col in range(box.col_start // SIDE, -(-box.col_stop // SIDE)):
                square = PixelBox.at(row * SIDE, col * SIDE, shape=(SIDE, SIDE))
                shared = square.intersect(box)
                measured = self._square(step, row, col, access)
                found[(slice(None), *shared.slices_in(box))] = measured[(slice(None), *shared.slices_in(square))]
        return found

    def metres(self, row: int, col: int) -> float:
        """Metres of a pixel at a node: the same in every job."""
        grid = self.entry.grid(self.model_grid)
        return pixel_metres(replace(grid, extent=_window(row, col)))[0]

    def _square(self, step: int, row: int, col: int, access: Access) -> NDArray[np.float64]:
        with self._lock:
            kept = self._squares.setdefault(step, OrderedDict())
            turn = self._making.setdefault((step, row, col), threading.Lock())
        with turn:
            with self._lock:
                if (row, col) in kept:
                    return kept[row, col]
            made = self._measure(step, row, col, access)
            with self._lock:
                kept[row, col] = made
                self._making.pop((step, row, col), None)
                while len(kept) > KEPT_SQUARES:
                    kept.popitem(last=False)
        return made

    def _measure(self, step: int, row: int, col: int, access: Access) -> NDArray[np.float64]:
        """What ``nodes`` tells at the nodes of a square, (3, SIDE, SIDE)."""
        first, last = _window(row * SIDE, col * SIDE), _window(row * SIDE + SIDE - 1, col * SIDE + SIDE - 1)
        box = PixelBox(
            row_start=first.row_start, row_stop=last.row_stop, col_start=first.col_start, col_stop=last.col_stop
        )
        made = np.full((3, SIDE, SIDE), np.nan)
        made[2] = 0
        after = self._picture(step, box, access)
        if not np.isfinite(after).any():
            return made
        before = self._reference_picture(row, col, box, access)
        for node in np.ndindex(SIDE, SIDE):
            window = _window(row * SIDE + node[0], col * SIDE + node[1])
            place = window.slices_in(box)
            shift = self.matcher.shift(np.stack([before[place], after[place]]))
            if np.hypot(*shift) * self.metres(row * SIDE + node[0], col * SIDE + node[1]) > self.most:
                made[(2, *node)] = 1
            else:
                made[(slice(2), *node)] = shift
        return made

    def _reference_picture(self, row: int, col: int, box: PixelBox, access: Access) -> NDArray[np.float32]:
        with self._lock:
            if (row, col) in self._pictures:
                return self._pictures[row, col]
        made = self._picture(self.reference, box, access)
        with self._lock:
            self._pictures[row, col] = made
            while len(self._pictures) > KEPT_PICTURES:
                self._pictures.popitem(last=False)
        return made

    def _picture(self, step: int, box: PixelBox, access: Access) -> NDArray[np.float32]:
        """The band's composite of a step (y, x) as it lies, NaN = not seen."""
        # What is kept was read without any failure, and nothing is moved before it is measured.
        access = replace(access, failures=None, moves=None, move=None)
        grid = self.entry.grid(self.model_grid)
        wide = box.pad(composed_around(self.entry, grid.resolution))
        block_input = BlockInput(engine="direct", entry=self.entry, geobox=grid.geobox_of(wide))
        by_id = {scene.id: scene for scene in self.entry.touching(self.model_grid, wide)}
        seen: SeenPasses = seen_passes(block_input, step, by_id)
        values = np.full((1, *wide.shape), np.nan, dtype=np.float32)
        if seen.looks:
            counts = np.empty(wide.shape, dtype=np.uint16)
            composite_step(block_input, seen, access, values=values, counts=counts)
        return values[(0, *box.slices_in(wide))]


def _window(row: int, col: int) -> PixelBox:
    return PixelBox.at(row * STEP - STEP, col * STEP - STEP, shape=(WINDOW, WINDOW))
