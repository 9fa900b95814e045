"""The dates of a plan moved onto one of them: a smooth field of shifts per step, and what a report says of it.

A node's shift is the median of those measured at it and at its eight neighbours, none where fewer than LEAST_NODES
were; between nodes it is bilinear. All scenes of a step have the step's field. No pixel depends on the cut: nodes lie
on the CRS's own lattice, and what is measured at one depends on its window alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.cube.moved import PARTS, Piece, cut_pieces
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.align import STEP, joined_counts
from tilewright.tasks.read.resample.cells import locate
from tilewright.tasks.serving.shifts import PairMatcher, Shifts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access

LEAST_NODES = 3
"""Nodes of nine with a shift below which there is none: one or two may be a matter of chance."""

CENTIMETRES = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepField:
    """The field of shifts of a step: what ``after`` shows lies so far from where the reference shows it."""

    shifts: Shifts
    step: int
    _last: list[tuple[PixelBox, tuple[Piece, ...]]] = field(default_factory=list, init=False, repr=False, compare=False)

    def pieces(self, geobox: GeoBox, access: Access) -> tuple[Piece, ...]:
        """A geobox in pieces that are read with one shift each."""
        _, box = locate(geobox)
        # Bands and scenes ask for the same pixels, one after the other.
        for known, pieces in self._last:
            if known == box:
                return pieces
        nodes = PixelBox(
            row_start=box.row_start // STEP,
            row_stop=(box.row_stop - 1) // STEP + 2,
            col_start=box.col_start // STEP,
            col_stop=(box.col_stop - 1) // STEP + 2,
        )
        east, north = self.filtered(self.shifts.nodes(self.step, nodes.pad(1), access)[:2])
        rows, cols = (
            _between(np.arange(start, stop), first)
            for start, stop, first in (
                (box.row_start, box.row_stop, nodes.row_start),
                (box.col_start, box.col_stop, nodes.col_start),
            )
        )
        parts = [np.rint(PARTS * _bilinear(plane, rows, cols)).astype(np.int32) for plane in (-north, east)]
        pieces = cut_pieces(parts[0], parts[1])
        self._last[:] = [(box, pieces)]
        return pieces

    def filtered(self, measured: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shifts (2, rows - 2, columns - 2) of nodes by the medians of what was measured at (2, rows, columns)."""
        height, width = (size - 2 for size in measured.shape[1:])
        around = np.stack([measured[:, row : row + height, col : col + width] for row, col in np.ndindex(3, 3)])
        enough = np.isfinite(around[:, 0]).sum(axis=0) >= LEAST_NODES
        # Medians of nothing would be warned of.
        filled = np.where(enough, around, 0.0)
        return np.asarray(np.nanmedian(filled, axis=0))

    def counted(self, box: PixelBox, access: Access) -> dict[str, list[int]]:
        """Of the nodes in a box of the input's pixels: how many there are, and in centimetres what was measured.

        ``windows`` [all, with a shift, with a longer one than allowed], and of those used ``x``, ``y`` and what the
        field leaves of them, ``left``.
        """
        nodes = PixelBox(
            row_start=-(-box.row_start // STEP),
            row_stop=-(-box.row_stop // STEP),
            col_start=-(-box.col_start // STEP),
            col_stop=-(-box.col_stop // STEP),
        )
        told: dict[str, list[int]] = {"windows": [0, 0, 0], "x": [], "y": [], "left": []}
        if nodes.empty:
            return told
        measured = self.shifts.nodes(self.step, nodes.pad(1), access)
        moved = self.filtered(measured[:2])
        for place in np.ndindex(nodes.shape):
            metres = self.shifts.metres(nodes.row_start + place[0], nodes.col_start + place[1])
            east, north, longer = measured[:, place[0] + 1, place[1] + 1]
            told["windows"][0] += 1
            told["windows"][2] += int(longer)
            if np.isfinite(east):
                told["windows"][1] += 1
                left = np.hypot(east - moved[(0, *place)], north - moved[(1, *place)])
                for key, value in (("x", east), ("y", north), ("left", left)):
                    told[key].append(round(float(value) * metres * CENTIMETRES))
        return told


@dataclass(slots=True, kw_only=True)
class StepMoves:
    """The fields of a plan's steps, measured where blocks are read and kept by this process."""

    plan: Plan
    matcher: PairMatcher
    _shifts: dict[str, Shifts] = field(default_factory=dict, init=False, repr=False)

    def of_step(self, entry: InputPlan, step: int) -> StepField | None:
        """The field of a step of an input; None where it is not moved."""
        align = self.plan.align
        reference = None if align is None else align.reference(entry)
        if align is None or reference is None or step == reference or not entry.steps[step].passes:
            return None
        if entry.name not in self._shifts:
            made = Shifts(
                entry=replace(entry, bands=(align.band_of(entry),)),
                model_grid=self.plan.raster.grid,
                reference=reference,
                most=align.most,
                matcher=self.matcher,
            )
            # Threads that come here together keep the first.
            self._shifts.setdefault(entry.name, made)
        return StepField(shifts=self._shifts[entry.name], step=step)

    def counts(self, plan: Plan, block: Block, access: Access) -> dict[str, dict[str, list[int]]]:
        """What was measured in the windows whose middle lies in a block, by input and step, for its ledger entry."""
        found = {}
        inside = block.inner.intersect(plan.raster.grid.extent)
        for entry in plan.inputs if not inside.empty else ():
            box = inside.cover(numerator=entry.finer, denominator=entry.coarser)
            for number, step in enumerate(entry.steps):
                moved = self.of_step(entry, number)
                if moved is not None:
                    found[f"{entry.name} {step.label}"] = moved.counted(box, access)
        return found


def align_json(plan: Plan, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The key ``align`` of a report; nothing for a job that moves no date. ``parts``: the counts of all blocks."""
    align = plan.align
    if align is None:
        return {}
    joined = joined_counts(parts)
    rows = []
    for entry in plan.inputs:
        for step in entry.steps:
            told = joined.get(f"{entry.name} {step.label}")
            if told is not None:
                rows.append({"input": entry.name, "step": step.label, "band": align.band_of(entry), **_row(told)})
    return {"align": {"to": align.to, "most": align.most, "steps": rows}}


def _row(told: Mapping[str, list[int]]) -> dict[str, Any]:
    n_all, n_used, n_longer = told["windows"]
    middle = {key: median(told[key]) / CENTIMETRES if told[key] else None for key in ("x", "y", "left")}
    return {
        "windows": n_all,
        "windows_used": n_used,
        "windows_beyond_most": n_longer,
        "used_percent": 100.0 * n_used / n_all if n_all else None,
        "shift_x": middle["x"],
        "shift_y": middle["y"],
        "residual": middle["left"],
    }


def _between(pixels: NDArray[np.int64], first: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The place of the node before each pixel, counted from ``first``, and the share of the way to the next one."""
    before = pixels // STEP
    return before - first, (pixels - before * STEP + 0.5) / STEP


def _bilinear(
    plane: NDArray[np.float64],
    rows: tuple[NDArray[np.int64], NDArray[np.float64]],
    cols: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    (top, down), (left, right) = rows, cols
    lines = plane[top] * (1 - down)[:, None] + plane[top + 1] * down[:, None]
    return np.asarray(lines[:, left] * (1 - right) + lines[:, left + 1] * right)
