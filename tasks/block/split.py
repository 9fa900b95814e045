"""A block done in parts, where memory is too short for it whole: the same pixels, since the lattice does not move."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.block.block import ReadBlock, read_block, write_block
from tilewright.tasks.block.infer import BlockResult, infer_block
from tilewright.tasks.block.observed import add_observed
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from tilewright.tasks.block.block import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


def do_block_in_parts(worker: Worker, block: Block, *, parts: int) -> BlockEntry:
    """Do a block as ``parts`` by ``parts`` smaller ones, one window per call and one read at a time, and write it once.

    Takes about a ``parts ** 2``th of the inputs' memory and reads the halos between the parts again. As many parts as
    the block has steps at most. Raises what ``do_block`` raises.
    """
    frugal = replace(worker, engine=replace(worker.engine, batch=worker.engine.card.batch or 1), read_threads=1)
    reads: list[ReadBlock] = []
    results: list[BlockResult] = []
    layers: dict[str, np.ndarray] = {}
    seconds = 0.0
    for part in cut_block(block, step=worker.plan.lattice.step, parts=parts):
        piece = worker.plan.framed(part)
        read = read_block(frugal, piece, begins=not reads)
        began = time.perf_counter()
        result = infer_block(frugal.plan, frugal.engine, read.inputs)
        seconds += time.perf_counter() - began
        _paste(layers, worker, block, piece, result)
        reads.append(read.emptied())
        results.append(replace(result, layers={}))
    return write_block(worker, _all_read(reads, block), _all_done(results, layers), infer_seconds=seconds)


def cut_block(block: Block, *, step: int, parts: int) -> tuple[Block, ...]:
    """The block's parts in rows: they cover it once and begin at whole steps. What each sees beyond is not yet said."""
    rows = _edges(block.inner.row_start, block.inner.row_stop, step=step, parts=parts)
    cols = _edges(block.inner.col_start, block.inner.col_stop, step=step, parts=parts)
    inner = [
        PixelBox(row_start=top, row_stop=bottom, col_start=left, col_stop=right)
        for (top, bottom), (left, right) in product(pairwise(rows), pairwise(cols))
    ]
    return tuple(replace(block, inner=box, outer=box) for box in inner)


def _edges(start: int, stop: int, *, step: int, parts: int) -> list[int]:
    steps = (stop - start) // step
    parts = max(1, min(parts, steps))
    return [*(start + step * (steps * number // parts) for number in range(parts)), stop]


def _paste(layers: dict[str, np.ndarray], worker: Worker, block: Block, piece: Block, result: BlockResult) -> None:
    whole, part = worker.plan.product_box_of(block.inner), worker.plan.product_box_of(piece.inner)
    for name, array in result.layers.items():
        if name not in layers:
            layers[name] = np.empty(whole.shape, dtype=array.dtype)
        layers[name][part.slices_in(whole)] = array


def _all_read(reads: list[ReadBlock], block: Block) -> ReadBlock:
    scenes = tuple(sorted({scene for read in reads for scene in read.inputs.scenes}))
    return ReadBlock(
        inputs=replace(reads[0].inputs, block=block, scenes=scenes),
        observed=add_observed(read.observed for read in reads),
        pixels_read=sum(read.pixels_read for read in reads),
        pixels_needed=sum(read.pixels_needed for read in reads),
        bytes_read=sum(read.bytes_read for read in reads),
        seconds=sum(read.seconds for read in reads),
    )


def _all_done(results: list[BlockResult], layers: dict[str, np.ndarray]) -> BlockResult:
    return BlockResult(
        layers=layers,
        windows_run=sum(result.windows_run for result in results),
        windows_skipped=sum(result.windows_skipped for result in results),
        valid_pixels=sum(result.valid_pixels for result in results),
    )
