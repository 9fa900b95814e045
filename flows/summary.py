"""report.json: every figure of a finished run, really measured."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flows.areas import measure_areas
from flows.contributions import contributions
from flows.places import peak_memory
from tasks.area import n_inside
from tasks.floor import calibrate, floor_seconds
from tasks.ground import geometry_km2
from tasks.picture import value_ends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import numpy as np

    from flows.areas import Areas
    from flows.layers import Finished, FinishedLayer
    from tasks.ledger import BlockEntry
    from tasks.plan import Plan
    from tasks.work import Workshop


def report_json(
    shop: Workshop,
    entries: Mapping[str, BlockEntry],
    finished: Finished,
    small: Mapping[str, np.ndarray],
    *,
    began: datetime,
    finished_at: datetime,
    seconds: float,
    n_workers: int,
) -> dict[str, Any]:
    """The report of a run.

    ``small`` has every layer by name as a small (y, x) array; ``seconds`` is the wall time from the command's start to
    here; areas are in km2.
    """
    plan = shop.plan
    blocks = list(entries.values())
    valid = sum(entry.valid_pixels for entry in blocks)
    areas = measure_areas(shop.storage, plan, finished, n_valid=valid)
    needed = shop.stats.needed_pixels or sum(entry.pixels_needed for entry in blocks)
    rates = calibrate(plan, shop.engine.card, shop.engine.session, window=shop.engine.pace.seconds)
    asked = n_inside(plan.grid, plan.area_geometry)
    inside = asked * (plan.up / plan.down) ** 2
    floor = floor_seconds(rates, plan, pixels_needed=needed, valid_pixels=valid, n_cores=n_workers)
    return {
        **_identity(plan, began, finished_at),
        "steps": contributions(plan, blocks, n_inside=asked),
        "area_km2": areas.total,
        "area_asked_km2": geometry_km2(plan.area_geometry, plan.grid.crs),
        "missing_percent": _missing_percent(valid, inside),
        "blocks": len(blocks),
        "windows_run": sum(entry.windows_run for entry in blocks),
        "windows_skipped": sum(entry.windows_skipped for entry in blocks),
        "passes": _passes(plan, blocks, valid),
        "read_factor": _read_factor(shop, blocks),
        "bytes_read": sum(entry.bytes_read for entry in blocks),
        "seconds": {**_stage_seconds(blocks), **finished.seconds, "total": seconds},
        "floor_seconds": floor,
        "efficiency": floor / seconds if floor is not None and seconds > 0 else None,
        "km2_per_s": areas.total / seconds if seconds > 0 else 0.0,
        "peak_memory_mb": peak_memory() / 1e6,
        "workers": n_workers,
        "provider": shop.engine.session.provider,
        "fused": plan.fused,
        "precision": plan.precision,
        "tuned": plan.tuned,
        "receptive_field": plan.receptive,
        "trim": plan.lattice.trim,
        "window": plan.lattice.window,
        "step": plan.lattice.step,
        "windows_reason": plan.windows_reason,
        "exact": plan.exact,
        "exact_reason": plan.exact_reason,
        "layers": [_layer(layer, small[layer.spec.name], areas, inside=inside) for layer in finished.layers],
        "scenes": _scenes(plan, blocks),
        "failures": [failure for entry in blocks for failure in entry.failures],
        "warnings": [*plan.warnings, *([shop.engine.session.note] if shop.engine.session.note else [])],
    }


def _identity(plan: Plan, began: datetime, finished_at: datetime) -> dict[str, Any]:
    grid = plan.product_grid
    simulated = any(scene.simulated for entry in plan.inputs for scene in entry.scenes)
    periods = {period["name"]: f"{period['start']}/{period['end']}" for period in plan.request["period"]}
    return {
        "name": plan.name,
        "tilewright_version": plan.versions["tilewright"],
        "versions": plan.versions,
        "model": {"name": plan.card["name"], "sha256": plan.card["sha256"], "card": plan.card["reference"]},
        "job": {key: value for key, value in plan.request.items() if key not in {"source", "area"}},
        "source": plan.source.get("title") or plan.source["name"],
        "period": periods,
        "grid": {
            "crs": grid.crs,
            "resolution": grid.resolution,
            "shape": list(grid.area.shape),
            "bounds": list(grid.bounds_of(grid.area)),
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
    window_pixels = (plan.lattice.window * plan.up / plan.down) ** 2
    return sum(entry.windows_run for entry in blocks) * window_pixels / valid if valid else None


def _read_factor(shop: Workshop, blocks: list[BlockEntry]) -> float:
    """File pixels decoded per distinct file pixel needed; per block, and so a little high, where workers read apart."""
    if shop.stats.needed_pixels:
        return float(shop.stats.read_factor)
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


def _layer(layer: FinishedLayer, small: np.ndarray, areas: Areas, *, inside: float) -> dict[str, Any]:
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
