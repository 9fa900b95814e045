"""The content of report.json: the measured figures of a finished run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.drift.words import drift_json, drift_warnings
from tilewright.tasks.block.floor import calibrate, floor_seconds
from tilewright.tasks.grid.area_mask import n_inside
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.lossy.tally import loss_json
from tilewright.tasks.plan.chosen import chosen_json
from tilewright.tasks.plan.identities import input_counts, input_warnings
from tilewright.tasks.publish.class_areas import blocks_km2, class_rows, measure_areas
from tilewright.tasks.publish.copied_job import job_json, source_words
from tilewright.tasks.publish.exactness import contradictions, exactness_json
from tilewright.tasks.publish.scene_rows import scene_rows, step_rows
from tilewright.tasks.report.picture import value_ends
from tilewright.tasks.serving.counted import masked_json, screen_json
from tilewright.tasks.serving.moves import align_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.instances.numbering import ObjectFigures
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.class_areas import Areas
    from tilewright.tasks.publish.written import WrittenLayer, WrittenLayers
    from tilewright.tasks.read.counters import ReadStats
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.tables.table_file import UploadedTable


ALL_PERCENT = 99.995
"""Percent without a value from which a product holds nothing, as its figures are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts of a run that neither its plan nor its ledger holds.

    ``began`` and ``finished`` are in UTC; ``seconds`` is wall time from the command's start, imports included;
    ``peak_memory`` is in bytes; ``made`` names the blocks that the run made, None: all; ``background`` is the scenes
    in true colour, (y, x, 3) uint8, None if there are none, and ``scene_image`` the same as a page embeds it, if that
    is made already; ``precision`` is how the precision compares with fp32.
    ``promised`` and ``measured`` are seconds, bytes_read, bytes_stored and peak_memory_mb until the report is
    written, as ``plan`` foretold them with its ``basis`` (None: nothing was foretold) and as they were.
    """

    began: datetime
    finished: datetime
    seconds: float
    n_workers: int
    peak_memory: int
    made: frozenset[str] | None = None
    background: np.ndarray | None = None
    precision: dict[str, Any] | None = None
    scene_image: str = ""
    promised: Mapping[str, Any] | None = None
    measured: Mapping[str, float] | None = None


def report_json(
    worker: Worker,
    entries: Mapping[str, BlockEntry],
    written: WrittenLayers,
    small: Mapping[str, np.ndarray],
    run: RunFacts,
) -> dict[str, Any]:
    """The report of a run as JSON values; areas are in km2.

    ``small`` has every layer by name as a small (y, x) array in its stored dtype.
    """
    plan = worker.plan
    blocks = list(entries.values())
    n_valid = sum(entry.valid_pixels for entry in blocks)
    n_model_pixels = n_inside(plan.raster.grid, plan.raster.area)
    n_requested = n_model_pixels * (plan.raster.up / plan.raster.down) ** 2
    areas = measure_areas(worker.storage, plan, written, blocks)
    exactness = exactness_json(plan, blocks, worker.model.card.layer_specs())
    made = [entry for name, entry in entries.items() if run.made is None or name in run.made]
    drift = drift_json(worker.model.card.inputs, (entry.sums for entry in blocks))
    return {
        **identity_json(plan, run, output=worker.storage.uri),
        "steps": step_rows(plan, blocks, n_inside=n_model_pixels),
        "area_km2": areas.total,
        "area_asked_km2": geometry_km2(plan.raster.aoi_geometry, plan.raster.grid.crs),
        "missing_percent": _missing_percent(n_valid, n_requested),
        **_work(worker, blocks, n_valid=n_valid),
        **_cost(worker, made, written, run),
        **_promises(run, whole=len(made) == len(blocks)),
        **_model(worker),
        **({"precision_check": run.precision} if run.precision else {}),
        **exactness,
        "layers": [
            _layer(layer, small[layer.spec.name], areas, written.objects.get(layer.spec.name), n_requested=n_requested)
            for layer in written.layers
        ],
        **drift,
        **screen_json(plan, blocks),
        **align_json(plan, (entry.aligned for entry in blocks)),
        **masked_json(plan, (entry.masked for entry in blocks)),
        **loss_json(plan, blocks, {layer.spec.name: layer.facts.statistics for layer in written.layers}),
        **({"tables": [_table(table, worker.model.card) for table in written.tables]} if written.tables else {}),
        "scenes": scene_rows(plan, blocks),
        "input_files": input_counts(plan),
        **({"clearest": chosen} if (chosen := chosen_json(plan.inputs)) else {}),
        "failures": [failure for entry in blocks for failure in entry.failures],
        **({"outside_valid_for": list(plan.model.outside_valid_for)} if plan.model.outside_valid_for else {}),
        **plan.search_json(),
        "warnings": [
            *contradictions(plan, exactness),
            *drift_warnings(drift.get("drift", ())),
            *_unseen_warning(_missing_percent(n_valid, n_requested)),
            *([] if plan.request.get("classify") else _unclassed_warnings(written, n_valid=n_valid)),
            *plan.warnings,
            *input_warnings(plan),
            *([worker.model.session.note] if worker.model.session.note else []),
        ],
    }


def _table(table: UploadedTable, card: ModelCard) -> dict[str, Any]:
    name = table.name.removesuffix(".parquet")
    listed = card.table_classes.get(name, ())
    classes = [{"value": each.value, "name": each.name, "color": each.color} for each in listed]
    return {
        "name": name,
        "file": table.name,
        "rows": table.n_rows,
        "bytes": table.size,
        "checksum": table.checksum,
        **({"classes": classes} if classes else {}),
    }


def identity_json(plan: Plan, run: RunFacts, *, output: str) -> dict[str, Any]:
    """What a report says of the product and of what made it."""
    grid = plan.raster.product_grid
    periods = {period["name"]: f"{period['start']}/{period['end']}" for period in plan.request["period"]}
    return {
        "name": plan.name,
        "tilewright_version": plan.versions["tilewright"],
        "versions": plan.versions,
        "model": {
            "name": plan.model.card["name"],
            "sha256": plan.model.card["sha256"],
            "card": plan.model.card["reference"],
        },
        "job": job_json(plan, output=output),
        "source": source_words(plan.source),
        "period": periods,
        "grid": {
            "crs": grid.crs,
            "resolution": grid.resolution,
            "shape": list(grid.extent.shape),
            "bounds": list(grid.bounds_of(grid.extent)),
        },
        "key": plan.settings_key(),
        "started": run.began.isoformat(),
        "finished": run.finished.isoformat(),
        "attribution": "Simulated scenes, not a real place"
        if plan.simulated
        else "Contains modified Copernicus Sentinel data",
    }


def _work(worker: Worker, blocks: list[BlockEntry], *, n_valid: int) -> dict[str, Any]:
    return {
        "blocks": len(blocks),
        "windows_run": sum(entry.windows_run for entry in blocks),
        "windows_skipped": sum(entry.windows_skipped for entry in blocks),
        "passes": _passes(worker.plan, blocks, n_valid),
        "read_factor": read_factor(worker.stats, blocks),
        "bytes_read": sum(entry.bytes_read for entry in blocks),
        "bytes_decoded": sum(entry.bytes_decoded for entry in blocks),
    }


def _passes(plan: Plan, blocks: list[BlockEntry], n_valid: int) -> float | None:
    """Pixels that the model computed per valid pixel of the product; None if no pixel is valid."""
    window_pixels = (plan.raster.lattice.window * plan.raster.up / plan.raster.down) ** 2
    return sum(entry.windows_run for entry in blocks) * window_pixels / n_valid if n_valid else None


def read_factor(stats: ReadStats, blocks: list[BlockEntry]) -> float:
    """File pixels decoded per distinct file pixel needed.

    If other processes read, distinct pixels are counted per block: a slightly higher factor, or for units of places,
    which share what is decoded, a lower one.
    """
    if stats.needed_pixels:
        return float(stats.read_factor)
    needed = sum(entry.pixels_needed for entry in blocks)
    return sum(entry.pixels_read for entry in blocks) / needed if needed else 1.0


def _cost(worker: Worker, made: list[BlockEntry], written: WrittenLayers, run: RunFacts) -> dict[str, Any]:
    """The time that the run took for the blocks that it made: those that stood from before took none."""
    needed = worker.stats.needed_pixels or sum(entry.pixels_needed for entry in made)
    n_valid = sum(entry.valid_pixels for entry in made)
    km2 = sum(blocks_km2(worker.plan, made))
    rates = calibrate(worker.plan, worker.model.card, worker.model.session, window=worker.model.timer.seconds)
    floor = floor_seconds(rates, worker.plan, pixels_needed=needed, valid_pixels=n_valid, n_cores=run.n_workers)
    floor = floor if made else None
    return {
        "blocks_made": len(made),
        "windows_made": sum(entry.windows_run for entry in made),
        "seconds": {**_stage_seconds(made), **written.seconds, "total": run.seconds},
        "floor_seconds": floor,
        "efficiency": floor / run.seconds if floor is not None and run.seconds > 0 else None,
        "km2_per_s": km2 / run.seconds if run.seconds > 0 else 0.0,
        "peak_memory_mb": run.peak_memory / 1e6,
        "workers": run.n_workers,
    }


def _promises(run: RunFacts, *, whole: bool) -> dict[str, Any]:
    """What was promised, what was measured, and the ratios of the second to the first.

    A ratio is None where nothing was promised, or where blocks from before took this run no time.
    """
    if run.measured is None:
        return {}
    promised = dict(run.promised or {})
    ratios = {name: None if not whole else _ratio(value, promised.get(name)) for name, value in run.measured.items()}
    return {"promised": promised or None, "measured": dict(run.measured), "ratios": ratios}


def _ratio(measured: float, promised: float | None) -> float | None:
    return measured / promised if promised else None


def _stage_seconds(blocks: list[BlockEntry]) -> dict[str, float]:
    """Busy seconds per stage, summed over blocks. Stages overlap, so that their sum may exceed the total."""
    total: Counter[str] = Counter()
    for entry in blocks:
        total.update(entry.seconds)
    return dict(total)


def _model(worker: Worker) -> dict[str, Any]:
    model, lattice = worker.plan.model, worker.plan.raster.lattice
    return {
        "provider": worker.model.session.provider,
        "fused": model.fused,
        "precision": model.precision,
        **({"usual_scores": model.usual} if model.usual else {}),
        "tuned": model.tuned,
        "receptive_field": model.receptive,
        "trim": lattice.trim,
        "window": lattice.window,
        "step": lattice.step,
        "windows_reason": model.windows_reason,
    }


def _unseen_warning(missing: float) -> list[str]:
    """The warning of a product without a single value, which else would look like a success."""
    if missing < ALL_PERCENT:
        return []
    return [
        "No pixel of the area has a value: none was observed. Widen the period, or look at how cloudy its scenes are."
    ]


def _unclassed_warnings(written: WrittenLayers, *, n_valid: int) -> list[str]:
    """The warnings of layers of classes in which observed pixels came out as nodata: they are no class of the card."""
    found = ((layer.spec, n_valid - layer.facts.valid_pixels) for layer in written.layers if layer.spec.kind == "class")
    return [
        f"Layer {spec.name}: {100 * lacking / n_valid:.3g} % of the observed pixels have no class, as the model gave "
        "numbers that its card does not name."
        for spec, lacking in found
        if lacking > 0
    ]


def _missing_percent(n_valid: int, n_requested: float) -> float:
    """Percentage of the requested area's product pixels that are not valid."""
    # Pixels at the edge of the area count whole if outputs are coarser than the model's pixels.
    return 100.0 * max(0.0, 1 - n_valid / n_requested) if n_requested else 0.0


def _layer(
    layer: WrittenLayer, small: np.ndarray, areas: Areas, objects: ObjectFigures | None, *, n_requested: float
) -> dict[str, Any]:
    spec, facts = layer.spec, layer.facts
    statistics = facts.statistics
    ends = value_ends(small, spec) if spec.ranked else None
    plain: dict[str, Any] = {
        "name": spec.name,
        "kind": spec.kind,
        "href": layer.href,
        **({"band": layer.band} if spec.image else {}),
        "unit": spec.unit,
        "description": spec.description,
        "dtype": spec.dtype,
        "min": statistics.minimum if statistics else None,
        "max": statistics.maximum if statistics else None,
        "mean": statistics.mean if statistics else None,
        "nodata_percent": _missing_percent(facts.valid_pixels, n_requested),
        "size": layer.size,
    }
    if layer.parts:
        plain["parts"] = [part.path.name for _, part in layer.parts]
    if ends is not None:
        plain["display"] = list(ends)
    if objects is not None:
        told = {name: value if np.isfinite(value) else None for name, value in asdict(objects).items()}
        plain["objects"] = {"count": told.pop("count"), "area_m2": told}
    if spec.kind == "class":
        plain["classes"] = class_rows(layer, areas)
    return plain
