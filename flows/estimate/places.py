"""The figures of the dry run for a job over places: its windows, what they read, memory and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.flows.estimate.estimate import Estimate
from tilewright.flows.estimate.memory import expected_memory
from tilewright.flows.machine import n_cores
from tilewright.flows.plan.model_graph import load_model
from tilewright.models.run.providers import GPUS
from tilewright.tasks.block.floor import calibrate
from tilewright.tasks.places.matches import Matcher
from tilewright.tasks.places.patches import cut_patches

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.plan import Plan

FILE_BLOCK = 512
"""Pixels per side of the usual block of a file, which is decoded whole. Source: the COG driver of GDAL."""

RUNS, ROWS_OF_RUN = 8, 64
"""Runs of rows along the curve that are looked at, and the rows of each."""

READ_SECONDS, ROW_SECONDS, START_SECONDS = 1e-3, 1e-3, 4.0
"""Seconds of one core: to read a window of a file, for all else of a row, and of start-up and publishing."""

COMPRESSED = 0.6
"""Bytes of a file's block as a share of its pixels' bytes. Source: Sentinel-2 COGs, DEFLATE with predictor."""

ROW_BYTES, PAGE_BYTES = 60, 400_000
"""Bytes of a row of the table beside the given columns and geometry, and of the pages about a product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reads:
    """What all rows read: windows of files, and the files' blocks."""

    reads: float
    blocks: float


def estimate_places(
    plan: Plan, card: ModelCard, rows: PlaceRows, *, provider: str = "auto", workers: int | None = None
) -> Estimate:
    """The estimate of a plan of places on a provider and so many cores, None: all; from rates measured now.

    Raises ProviderError where the requested provider cannot run.
    """
    model = load_model(plan, card, provider=provider)
    used, n_workers = model.session.provider, workers or n_cores()
    rates = calibrate(plan, model.card, model.session)
    found, n_windows = _reads(plan, card, rows), len(rows.order)
    decoded = found.blocks * FILE_BLOCK**2
    busy = n_windows * (rates.window + ROW_SECONDS) + found.reads * READ_SECONDS + decoded * (rates.decode or 0.0)
    memory = expected_memory(plan, card, batch=model.windows_per_call, on_gpu=used in GPUS).total(n_workers)
    seconds = START_SECONDS + busy / n_workers
    return Estimate(
        n_scenes=len({scene.id for entry in plan.inputs for scene in entry.scenes}),
        n_blocks=len(plan.raster.blocks),
        n_windows=n_windows,
        passes=0.0,
        bytes_read=round(decoded * 2 * COMPRESSED),
        bytes_decoded=round(decoded * 2),
        bytes_stored=len(rows) * ROW_BYTES + PAGE_BYTES,
        bytes_pages=PAGE_BYTES,
        memory_bytes=round(memory),
        seconds=seconds,
        seconds_to_report=seconds,
        n_cores=n_cores(),
        n_workers=n_workers,
        provider=used,
        basis="from a short measurement",
        bound="model" if n_windows * rates.window * 2 > busy else "reading",
    )


def _reads(plan: Plan, card: ModelCard, rows: PlaceRows) -> _Reads:
    """What the rows read, from some runs of them along the curve."""
    matcher = Matcher(plan=plan, card=card, rows=rows)
    starts = np.unique(np.linspace(0, max(len(rows.order) - ROWS_OF_RUN, 0), RUNS).astype(np.int64))
    n_rows, n_scenes, n_reads = 0, 0.0, 0.0
    bands = {entry.name: len({*entry.bands, *entry.mask.bands}) for entry in plan.inputs}
    for start in starts:
        run = rows.order[start : start + ROWS_OF_RUN].tolist()
        for patch in cut_patches(rows, run, map(matcher.match, run)):
            n_rows += len(patch.rows)
            inputs = patch.match.plan.inputs if patch.match.plan is not None else ()
            n_scenes += len(patch.rows) * sum(len(entry.scenes) * bands[entry.name] for entry in inputs)
            n_reads += sum(len(entry.scenes) * bands[entry.name] for entry in inputs)
    share = len(rows.order) / max(n_rows, 1)
    tops, lefts = rows.tops[rows.order], rows.lefts[rows.order]
    ends = rows.window - 1
    corners = [np.column_stack([tops + down, lefts + right]) // FILE_BLOCK for down in (0, ends) for right in (0, ends)]
    cells = len(np.unique(np.concatenate(corners), axis=0)) * max(1.0, rows.window / FILE_BLOCK) ** 2
    per_row = n_scenes / max(n_rows, 1)
    return _Reads(reads=n_reads * share, blocks=cells * per_row)
