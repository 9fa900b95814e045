"""Some of a job's own windows, spread over its plan: a precision is calibrated and compared on them, and drift seen."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import shapely

from tilewright.flows.access import plan_sources, scene_access
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.read.failures import FailureLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan


N_WINDOWS: Final = 4
"""Windows with valid pixels that are compared, and as many others that a quantised graph is calibrated on."""

MAX_READ: Final = 16
"""Windows that are read at most to find them."""

MAX_DRAWN: Final = 20_000
"""Places that are looked at most to find windows that touch the area."""

GOLDEN: Final = (5**0.5 - 1) / 2
"""The golden section."""


def compared_windows(plan: Plan) -> Iterator[BlockInputs]:
    """The inputs of up to N_WINDOWS windows with valid pixels, none of which was calibrated on."""
    if plan.model.precision == "int8":
        return islice(_valid_windows(plan, 2 * N_WINDOWS), 1, None, 2)
    return _valid_windows(plan, N_WINDOWS)


def calibration_windows(plan: Plan) -> Iterator[BlockInputs]:
    """The inputs of up to N_WINDOWS windows with valid pixels, each between two that are compared."""
    return islice(_valid_windows(plan, 2 * N_WINDOWS), 0, None, 2)


def usual_windows(plan: Plan, count: int) -> Iterator[BlockInputs]:
    """The inputs of up to so many windows with valid pixels."""
    return _valid_windows(plan, count)


def _valid_windows(plan: Plan, count: int) -> Iterator[BlockInputs]:
    threads = WorkerSettings().reads_at_once(remote=plan.remote)
    access = scene_access(plan_sources(plan), FailureLog(tolerance=0), threads=threads)
    n_found = 0
    for candidate in islice(spread_blocks(plan, side=plan.raster.lattice.step), MAX_READ * count // N_WINDOWS):
        inputs = read_inputs(plan, candidate, access)
        if inputs.valid[candidate.inner.slices_in(candidate.outer)].any():
            n_found += 1
            yield inputs
        if n_found == count:
            return


def spread_blocks(plan: Plan, *, side: int) -> Iterator[Block]:
    """Blocks of so many pixels per side that touch the area, spread over it, however many are taken.

    They depend on the area and the lattice alone, not on the plan's blocks: what is calibrated on them decides pixels,
    and a product is the same however it is cut.
    """
    ends = map(tuple, block_range(plan.raster.grid.extent, block=side))
    rows, cols = (range(each[0], each[-1] + 1) for each in ends)
    n_blocks, area = len(rows) * len(cols), plan.raster.area
    # The fractions of the golden section's multiples fill an interval evenly, however many are taken.
    drawn = (int(number * GOLDEN % 1 * n_blocks) for number in range(1, MAX_DRAWN))
    for place in dict.fromkeys(chain(drawn, range(min(n_blocks, MAX_DRAWN)))):
        row, col = rows[place // len(cols)], cols[place % len(cols)]
        block = block_at(row=row, col=col, block=side, halo=plan.raster.read_halo)
        if area.touches(shapely.box(*plan.raster.grid.bounds_of(block.inner))):
            yield block
