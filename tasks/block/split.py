"""A block done in parts when memory is too small for all of it: the same pixels, since the lattice does not move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.drift.sums import add_sums
from tilewright.tasks.block.infer import BlockResult
from tilewright.tasks.block.observed import add_observed
from tilewright.tasks.block.seams import joined_seams
from tilewright.tasks.block.worker import InferredBlock, ReadBlock
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.lossy.tally import joined_tallies
from tilewright.tasks.plan.align import joined_counts

if TYPE_CHECKING:
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


def do_block_in_parts(worker: Worker, block: Block, *, parts: int) -> BlockEntry:
    """Do a block as ``parts`` by ``parts`` smaller ones, one window per call and one read at a time; write it once.

    Needs about 1 / ``parts ** 2`` of the inputs' memory and reads the halos between the parts twice. A block has at
    most as many parts as steps. Raises what ``Worker.do`` raises.
    """
    model, access = worker.model, worker.access
    small_worker = replace(worker, model=replace(model, batch=model.card.batch or 1), access=replace(access, threads=1))
    done: list[InferredBlock] = []
    layers: dict[str, np.ndarray] = {}
    for part in cut_block(block, step=worker.plan.raster.lattice.step, parts=parts):
        framed = worker.plan.raster.framed(part)
        inferred = small_worker.infer(small_worker.read(framed, first=not done))
        _paste(layers, worker, block, framed, inferred.result)
        done.append(replace(inferred, result=replace(inferred.result, layers={})))
    return worker.write(_joined(done, block, layers))


def cut_block(block: Block, *, step: int, parts: int) -> tuple[Block, ...]:
    """The parts of a block, row by row: they cover it once and begin at whole steps.

    ``outer`` still equals ``inner``; ``RasterPlan.framed`` sets it.
    """
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


def _paste(layers: dict[str, np.ndarray], worker: Worker, block: Block, framed: Block, result: BlockResult) -> None:
    whole, part = worker.plan.raster.product_box_of(block.inner), worker.plan.raster.product_box_of(framed.inner)
    for name, array in result.layers.items():
        if name not in layers:
            layers[name] = np.empty((*whole.shape, *array.shape[2:]), dtype=array.dtype)
        layers[name][part.slices_in(whole)] = array


def _joined(parts: list[InferredBlock], block: Block, layers: dict[str, np.ndarray]) -> InferredBlock:
    """The inferred parts as one inferred block, with the layers pasted together."""
    reads, results = [part.read for part in parts], [part.result for part in parts]
    scenes = tuple(sorted({scene for read in reads for scene in read.inputs.scenes}))
    read = ReadBlock(
        inputs=replace(reads[0].inputs, block=block, scenes=scenes),
        observed=add_observed(read.observed for read in reads),
        pixels_read=sum(read.pixels_read for read in reads),
        pixels_needed=sum(read.pixels_needed for read in reads),
        bytes_read=sum(read.bytes_read for read in reads),
        bytes_decoded=sum(read.bytes_decoded for read in reads),
        reads=sum(read.reads for read in reads),
        seconds=sum(read.seconds for read in reads),
        masked=dict(sum((Counter(read.masked) for read in reads), Counter[str]())),
        aligned=joined_counts(read.aligned for read in reads),
        sums=add_sums(read.sums for read in reads),
    )
    result = BlockResult(
        layers=layers,
        windows_run=sum(result.windows_run for result in results),
        windows_skipped=sum(result.windows_skipped for result in results),
        windows_screened=sum(result.windows_screened for result in results),
        valid_pixels=sum(result.valid_pixels for result in results),
        seams=joined_seams(result.seams for result in results),
        boxes={name: np.concatenate([result.boxes[name] for result in results]) for name in results[0].boxes},
        captions={name: [each for one in results for each in one.captions[name]] for name in results[0].captions},
        masks={name: [mask for each in results for mask in each.masks[name]] for name in results[0].masks},
        losses={name: joined_tallies(result.losses[name] for result in results) for name in results[0].losses},
    )
    return InferredBlock(read=read, result=result, seconds=sum(part.seconds for part in parts))
