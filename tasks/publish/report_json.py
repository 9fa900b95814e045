"""report.json: every figure of a finished run, really measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.block.floor import calibrate, floor_seconds
from tilewright.tasks.block.observed import add_observed
from tilewright.tasks.grid.area_mask import n_inside
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.publish.class_areas import measure_areas
from tilewright.tasks.report.picture import value_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    import numpy as np

    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.class_areas import Areas
    from tilewright.tasks.publish.layers import WrittenLayer, WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts of a run that neither its plan nor its ledger holds.

    ``began`` and ``finished`` in UTC; ``seconds`` of wall time from the command's start, imports included;
    ``peak_memory`` in bytes; ``background``: the scenes in true colour, (y, x, 3) uint8, None where there are none.
    """

    began: datetime
    finished: datetime
    seconds: float
    n_workers: int
    peak_memory: int
    background: np.ndarray | None = None


def report_json(
    worker: Worker,
    entries: Mapping[str, BlockEntry],
    finished: WrittenLayers,
    small: Mapping[str, np.ndarray],
    run: RunFacts,
) -> dict[str, Any]:
    """The report of a run; areas are in km2. ``small`` has every layer by name as a small (y, x) array."""
    plan = worker.plan
    blocks = list(entries.values())
    valid = sum(entry.valid_pixels for entry in blocks)
    areas = measure_areas(worker.storage, plan, finished, n_valid=valid)
    needed = worker.stats.needed_pixels or sum(entry.pixels_needed for entry in blocks)
    rates = calibrate(plan, worker.model.card, worker.model.session, window=worker.model.timer.seconds)
    asked = n_inside(plan.raster.grid, plan.raster.aoi_geometry)
    inside = asked * (plan.raster.up / plan.raster.down) ** 2
    floor = floor_seconds(rates, plan, pixels_needed=needed, valid_pixels=valid, n_cores=run.n_workers)
    return {
        **_identity(plan, run.began, run.finished),
        "steps": contributions(plan, blocks, n_inside=asked),
        "area_km2": areas.total,
        "area_asked_km2": geometry_km2(plan.raster.aoi_geometry, plan.raster.grid.crs),
        "missing_percent": _missing_percent(valid, inside),
        "blocks": len(blocks),
        "windows_run": sum(entry.windows_run for entry in blocks),
        "windows_skipped": sum(entry.windows_skipped for entry in blocks),
        "passes": _passes(plan, blocks, valid),
        "read_factor": _read_factor(worker, blocks),
        "bytes_read": sum(entry.bytes_read for entry in blocks),
        "seconds": {**_stage_seconds(blocks), **finished.seconds, "total": run.seconds},
        "floor_seconds": floor,
        "efficiency": floor / run.seconds if floor is not None and run.seconds > 0 else None,
        "km2_per_s": areas.total / run.seconds if run.seconds > 0 else 0.0,
        "peak_memory_mb": run.peak_memory / 1e6,
        "workers": run.n_workers,
        "provider": worker.model.session.provider,
        "fused": plan.model.fused,
        "precision": plan.model.precision,
        "tuned": plan.model.tuned,
        "receptive_field": plan.model.receptive,
        "trim": plan.raster.lattice.trim,
        "window": plan.raster.lattice.window,
        "step": plan.raster.lattice.step,
        "windows_reason": plan.model.windows_reason,
        "exact": plan.model.exact,
        "exact_reason": plan.model.exact_reason,
        "layers": [_layer(layer, small[layer.spec.name], areas, inside=inside) for layer in finished.layers],
        "scenes": _scenes(plan, blocks),
        "failures": [failure for entry in blocks for failure in entry.failures],
        "warnings": [*plan.warnings, *([worker.model.session.note] if worker.model.session.note else [])],
    }


def _identity(plan: Plan, began: datetime, finished_at: datetime) -> dict[str, Any]:
    grid = plan.raster.product_grid
    simulated = any(scene.simulated for entry in plan.inputs for scene in entry.scenes)
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
        "job": {key: value for key, value in plan.request.items() if key not in {"source", "area"}},
        "source": plan.source.get("title") or plan.source["name"],
        "period": periods,
        "grid": {
            "crs": grid.crs,
            "resolution": grid.resolution,
            "shape": list(grid.extent.shape),
            "bounds": list(grid.bounds_of(grid.extent)),
        },
        "key": plan.settings_key(),
        "started": began.isoformat(),
        "finished": finished_at.isoformat(),
        "attribution": "Simulated scenes, not a real place"
        if simulated
        else "Contains modified Copernicus Sentinel data",
    }


def _passes(plan: Plan, blocks: list[BlockEntry], valid: int) -> float | None:
    """Pixels the model computed per valid pixel of the product; None where none is valid."""
    window_pixels = (plan.raster.lattice.window * plan.raster.up / plan.raster.down) ** 2
    return sum(entry.windows_run for entry in blocks) * window_pixels / valid if valid else None


def _read_factor(worker: Worker, blocks: list[BlockEntry]) -> float:
    """File pixels decoded per distinct file pixel needed; per block, and so a little high, where workers read apart."""
    if worker.stats.needed_pixels:
        return float(worker.stats.read_factor)
    needed = sum(entry.pixels_needed for entry in blocks)
    return sum(entry.pixels_read for entry in blocks) / needed if needed else 1.0


def _stage_seconds(blocks: list[BlockEntry]) -> dict[str, float]:
    """Busy seconds per stage summed over blocks: stages overlap, so that their sum may exceed the total."""
    total: Counter[str] = Counter()
    for entry in blocks:
        total.update(entry.seconds)
    return dict(total)


def _missing_percent(valid: int, inside: float) -> float:
    """Percent of the ``inside`` pixels of the area asked for that have no value."""
    # Where outputs are coarser than the model's pixels, those on the rim count whole.
    return 100.0 * max(0.0, 1 - valid / inside) if inside else 0.0


def _layer(layer: WrittenLayer, small: np.ndarray, areas: Areas, *, inside: float) -> dict[str, Any]:
    spec, facts = layer.spec, layer.facts
    statistics = facts.statistics
    ends = value_ends(small, spec) if spec.kind != "class" else None
    plain: dict[str, Any] = {
        "name": spec.name,
        "kind": spec.kind,
        "href": layer.href,
        "unit": spec.unit,
        "description": spec.description,
        "dtype": spec.dtype,
        "min": statistics.minimum if statistics else None,
        "max": statistics.maximum if statistics else None,
        "mean": statistics.mean if statistics else None,
        "nodata_percent": _missing_percent(facts.valid_pixels, inside),
        "size": layer.size,
    }
    if layer.parts:
        plain["parts"] = [part.path.name for _, part in layer.parts]
    if ends is not None:
        plain["display"] = list(ends)
    if spec.classes:
        plain["classes"] = [
            {
                "value": entry.value,
                "name": entry.name,
                "color": entry.color,
                "pixels": (pixels := facts.counts.get(entry.value, 0)),
                "area_km2": areas.classes[spec.name].get(entry.value, 0.0),
                "percent": 100.0 * pixels / facts.valid_pixels if facts.valid_pixels else 0.0,
            }
            for entry in spec.classes
        ]
    return plain


def _scenes(plan: Plan, blocks: list[BlockEntry]) -> list[dict[str, Any]]:
    used = Counter(scene_id for entry in blocks for scene_id in entry.scenes)
    rows: dict[str, dict[str, Any]] = {}
    for entry in plan.inputs:
        for scene in entry.scenes:
            steps = [step.label for step in entry.steps if scene.solar_day in step.days]
            row = rows.setdefault(
                scene.id,
                {
                    "id": scene.id,
                    "collection": scene.collection,
                    "datetime": scene.datetime.isoformat(),
                    "cloud_cover": scene.cloud_cover,
                    "baseline": scene.baseline,
                    "state": scene.state,
                    "state_reason": scene.state_reason,
                    "used_in_blocks": used[scene.id],
                    "steps": [],
                },
            )
            row["steps"] = list(dict.fromkeys([*row["steps"], *steps]))
    return sorted(rows.values(), key=lambda row: (row["datetime"], row["id"]))


def contributions(plan: Plan, blocks: Iterable[BlockEntry], *, n_inside: int) -> list[dict[str, Any]]:
    """Each step once by its label: its span, the solar days that any input takes for it, and what each input saw.

    ``n_inside`` are the pixels of the model grid inside the area. Per input ``observed_percent`` is the share of them
    with a valid observation, ``mean_observations`` how many there are on average over all of them; both are None where
    a block was made by an older Tilewright, which did not count.
    """
    entries = list(blocks)
    known = all(_is_counted(plan, entry) for entry in entries)
    total = add_observed(entry.observed for entry in entries) if known else {}
    rows: dict[str, dict[str, Any]] = {}
    for entry in plan.inputs:
        counts = total.get(entry.name) or (None,) * len(entry.steps)
        for step, count in zip(entry.steps, counts, strict=True):
            plain = {"label": step.label, "start": step.start.isoformat(), "end": step.end.isoformat()}
            row = rows.setdefault(step.label, {**plain, "days": [], "inputs": []})
            # The span is that of an input which has something there.
            row.update(plain if step.days else {})
            row["days"] = sorted({*row["days"], *step.days})
            row["inputs"].append(_saw(entry, step, count, n_inside=n_inside))
    return list(rows.values())


def _is_counted(plan: Plan, entry: BlockEntry) -> bool:
    steps = {planned.name: len(planned.steps) for planned in plan.inputs}
    return {name: len(counts) for name, counts in entry.observed.items()} == steps


def _saw(entry: InputPlan, step: StepPlan, count: tuple[int, int] | None, *, n_inside: int) -> dict[str, Any]:
    known = count is not None and n_inside > 0
    pixels, observations = count or (0, 0)
    return {
        "name": entry.name,
        "collections": sorted({scene.collection for scene in entry.scenes}),
        "days": list(step.days),
        "middle": step.middle.isoformat() if step.days else None,
        "observed_percent": 100.0 * pixels / n_inside if known else None,
        "mean_observations": observations / n_inside if known else None,
    }
