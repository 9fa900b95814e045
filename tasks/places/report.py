"""The report of a table of places: its figures as JSON, and what the page for people makes of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.audit.drift.words import drift_json, drift_warnings
from tilewright.tasks.colours import class_colours
from tilewright.tasks.places.answers import OBSERVED
from tilewright.tasks.places.texts import TEXT
from tilewright.tasks.plan.identities import input_counts, input_warnings
from tilewright.tasks.plan.places import PLACES, PLACES_FILE
from tilewright.tasks.publish.report_json import identity_json, read_factor
from tilewright.tasks.publish.scene_rows import scene_rows
from tilewright.tasks.report.format import count, figure, plural
from tilewright.tasks.styles.styles import ENDING as STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.publish.report_json import RunFacts
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.tables.table_file import UploadedTable

BARS = 20
"""Bars of a histogram."""

BAR = "#4C78A8"
"""The colour of a bar of values."""

FILES = (
    (PLACES_FILE, "rows, GeoParquet"),
    (f"{PLACES}.qml", "its colours and class names in QGIS"),
    ("item.json", "STAC Item"),
    ("report.json", "the figures of this page"),
    ("preview.png", "preview"),
)


def places_json(records: np.ndarray, specs: Mapping[str, LayerSpec]) -> dict[str, Any]:
    """The counts of a table's records as JSON values: ``rows``, those ``observed``, and of each layer its figures."""
    return {
        "rows": len(records),
        "observed": int(np.count_nonzero(records[OBSERVED])),
        "observed_mean": float(records[OBSERVED].mean()),
        "layers": [_layer(np.ascontiguousarray(records[name]), spec) for name, spec in specs.items()],
    }


def _valid_mask(stored: np.ndarray, spec: LayerSpec) -> np.ndarray:
    """True where a layer's stored numbers are none of nodata."""
    return np.asarray(~np.isnan(stored) if spec.kind == "value" else stored != NODATA_BYTE)


def value_range(records: np.ndarray, spec: LayerSpec) -> tuple[float, float]:
    """The least and the largest value of a layer of values or percents; 0 and 1 for one without a value."""
    stored = np.ascontiguousarray(records[spec.name])
    known = stored[_valid_mask(stored, spec)].astype(np.float64)
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _layer(stored: np.ndarray, spec: LayerSpec) -> dict[str, Any]:
    known = stored[_valid_mask(stored, spec)]
    plain: dict[str, Any] = {
        "name": spec.name,
        "kind": TEXT if spec.source == TEXT else spec.kind,
        "unit": spec.unit,
        "places": len(known),
    }
    if spec.kind == "class":
        counts = np.bincount(known, minlength=NODATA_BYTE + 1)
        total = max(len(known), 1)
        plain["classes"] = [
            {
                "value": each.value,
                "name": each.name,
                "color": each.color,
                "places": int(counts[each.value]),
                "percent": 100.0 * int(counts[each.value]) / total,
            }
            for each in spec.classes
        ]
        return plain
    if len(known):
        numbers = known.astype(np.float64)
        plain |= {"min": float(numbers.min()), "mean": float(numbers.mean()), "max": float(numbers.max())}
        ends = (0.0, 100.0) if spec.kind == "percent" else (float(numbers.min()), float(numbers.max()))
        counts, edges = np.histogram(numbers, bins=BARS, range=ends)
        plain["histogram"] = {"edges": [float(edge) for edge in edges], "places": [int(count) for count in counts]}
    return plain


def report_of_places(
    worker: PlacesWorker,
    entries: Mapping[str, BlockEntry],
    table: UploadedTable,
    records: np.ndarray,
    *,
    specs: Mapping[str, LayerSpec],
    run: RunFacts,
) -> dict[str, Any]:
    """The report of a run over places as JSON values; ``records`` are those of all rows."""
    plan, blocks = worker.plan, list(entries.values())
    made = [entry for name, entry in entries.items() if run.made is None or name in run.made]
    seconds: Counter[str] = Counter()
    for entry in made:
        seconds.update(entry.seconds)
    n_made = sum(entry.windows_run + entry.windows_skipped for entry in made)
    drift = drift_json(worker.model.card.inputs, (entry.sums for entry in blocks))
    return {
        **identity_json(plan, run, output=worker.storage.uri),
        **_row_periods(worker),
        PLACES: places_json(records, specs),
        "layers": [],
        "tables": [
            {
                "name": PLACES,
                "file": table.name,
                "rows": table.n_rows,
                "bytes": table.size,
                "checksum": table.checksum,
            }
        ],
        "blocks": len(blocks),
        "blocks_made": len(made),
        "windows_run": sum(entry.windows_run for entry in blocks),
        "windows_skipped": sum(entry.windows_skipped for entry in blocks),
        "windows_made": sum(entry.windows_run for entry in made),
        "bytes_read": sum(entry.bytes_read for entry in blocks),
        "bytes_decoded": sum(entry.bytes_decoded for entry in blocks),
        "read_factor": read_factor(worker.stats, made),
        "seconds": {**seconds, "total": run.seconds},
        **({"places_per_s": n_made / run.seconds} if n_made and run.seconds > 0 else {}),
        "peak_memory_mb": run.peak_memory / 1e6,
        "workers": run.n_workers,
        "provider": worker.model.session.provider,
        "fused": plan.model.fused,
        "precision": plan.model.precision,
        "tuned": plan.model.tuned,
        "receptive_field": plan.model.receptive,
        "window": plan.raster.lattice.window,
        "windows_reason": plan.model.windows_reason,
        "exact": plan.model.exact,
        "exactness": plan.model.exactness,
        "exact_reason": plan.model.exact_reason,
        **drift,
        "scenes": scene_rows(plan, blocks),
        "input_files": input_counts(plan),
        "failures": [failure for entry in blocks for failure in entry.failures],
        **({"outside_valid_for": list(plan.model.outside_valid_for)} if plan.model.outside_valid_for else {}),
        **plan.search_json(),
        "warnings": [
            *_unseen_warning(worker, records),
            *drift_warnings(drift.get("drift", ())),
            *plan.warnings,
            *input_warnings(plan),
            *([worker.model.session.note] if worker.model.session.note else []),
        ],
    }


def _row_periods(worker: PlacesWorker) -> dict[str, Any]:
    """The span of all rows' periods, in place of the job's, where rows have their own."""
    if not worker.rows.of_row.any():
        return {}
    start, end = worker.plan.period
    return {"period": {"rows": f"{start.isoformat()}/{end.isoformat()}"}}


def _unseen_warning(worker: PlacesWorker, records: np.ndarray) -> list[str]:
    """The warning of rows without a value, which else would look like a success, and why they have none."""
    unseen = np.flatnonzero(records[OBSERVED] == 0)
    if not len(unseen):
        return []
    if len(unseen) < len(records):
        windowed = np.isin(unseen, worker.rows.order)
        n_nowhere = int(np.count_nonzero(~windowed))
        n_without = sum(1 for row in unseen[windowed].tolist() if worker.matcher.match(row).plan is None)
        n_hidden = len(unseen) - n_nowhere - n_without
        reasons = (
            (n_without, "outside all scenes of their period, or without enough of them"),
            (n_hidden, "within scenes that have no usable pixel there"),
            (n_nowhere, "without a geometry that the grid can show"),
        )
        told = "; ".join(f"{n:,} {reason}" for n, reason in reasons if n)
        return [f"{plural(len(unseen), 'place')} of {len(records):,} without a usable observation: {told}."]
    return ["No place has a value: none was observed. Widen the period, or look at how cloudy its scenes are."]


def page_report(report: Mapping[str, Any], *, bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    """The report as the page shows it: the layers as those of a map of points, within these bounds."""
    places = report[PLACES]
    layers = [
        {
            **layer,
            "kind": "things",
            "classes": layer.get("classes", []),
            "display": [0.0, 100.0] if layer["kind"] == "percent" else _ends(layer),
            "unit": "%" if layer["kind"] == "percent" else layer["unit"],
            "description": f"{count(layer['places'])} of {plural(places['rows'], 'place')} have one",
        }
        for layer in places["layers"]
    ]
    styled = any(layer["kind"] != TEXT for layer in places["layers"])
    files = [{"href": name, "title": title} for name, title in FILES if styled or not name.endswith(STYLE)]
    return {
        **{key: value for key, value in report.items() if key not in {"grid", "read_factor"}},
        "grid": {"crs": report["grid"]["crs"], "resolution": report["grid"]["resolution"], "bounds": list(bounds)},
        "layers": layers,
        "histograms": [_bars(layer) for layer in places["layers"]],
        "files": files,
    }


def _ends(layer: Mapping[str, Any]) -> list[float]:
    return [layer["min"], layer["max"]] if "min" in layer and layer["kind"] == "value" else []


def _without_empty_ends(steps: Sequence[tuple[str, str, int]]) -> Sequence[tuple[str, str, int]]:
    """The steps (low, high, places) from the first to the last in which there is a place."""
    held = [number for number, step in enumerate(steps) if step[2]]
    return steps[held[0] : held[-1] + 1] if held else ()


def _bars(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's places by class, or by steps of its values, each with its share (0-100) of the largest."""
    if "classes" in layer:
        colours = class_colours([each["color"] for each in layer["classes"]])
        rows = [(each["name"], each["places"], colour) for each, colour in zip(layer["classes"], colours, strict=True)]
    else:
        found = layer.get("histogram", {"edges": [0.0], "places": []})
        edges = [figure(edge) for edge in found["edges"]]
        steps = [*zip(edges, edges[1:], found["places"], strict=False)]
        rows = [(f"{low} – {high}", n, BAR) for low, high, n in _without_empty_ends(steps)]
    most = max((n for _, n, _ in rows), default=0) or 1
    bars = [
        {"label": label, "places": n, "colour": colour, "width": round(100 * n / most, 2)} for label, n, colour in rows
    ]
    return {"title": layer["name"].replace("_", " "), "bars": bars}
