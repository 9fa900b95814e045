"""The card of a model from its facts: the STAC Item with MLM fields that `load_card` reads."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tilewright.models.card.parse_bands import INDICES
from tilewright.models.card.schema import CARD_EXTENSIONS
from tilewright.models.spec.embedding import TASK
from tilewright.models.spec.expression import parse_expression
from tilewright.models.spec.scaling import FORMAT

if TYPE_CHECKING:
    from tilewright.models.export.facts import ExportFacts, InputFacts, OutputFacts
    from tilewright.models.spec.inputs import DatesSpec, MissingSpec
    from tilewright.models.spec.outputs import ClassSpec


def card_json(facts: ExportFacts, model: bytes) -> dict[str, Any]:
    """The card of the graph whose bytes are `model`, as JSON values in a fixed order."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": facts.name,
        "geometry": None,
        "properties": {
            "datetime": facts.datetime,
            "title": facts.title,
            "description": facts.description,
            "mlm:name": facts.name,
            "mlm:architecture": facts.architecture,
            "mlm:framework": "ONNX",
            "mlm:tasks": list(dict.fromkeys(_task(facts, entry) for entry in facts.outputs)),
            **facts.properties,
            "bands": [{"name": name} for name in _source_bands(facts)],
            "mlm:input": [_input(facts, entry) for entry in facts.inputs],
            "mlm:output": [_output(facts, entry) for entry in facts.outputs],
            **({} if facts.rows else {"tw:tile": _tile(facts)}),
        },
        "assets": {"model": _asset(model)},
        "links": [],
    }


def _source_bands(facts: ExportFacts) -> list[str]:
    """Every band that an input reads, once, in order of first use; a derived band reads those in its expression."""
    names: list[str] = []
    for entry in facts.inputs:
        for band in entry.bands:
            text = entry.derived.get(band, INDICES.get(band))
            field = f"input {entry.name}: derived {band}"
            names += parse_expression(text, field=field).names if text else (band,)
    return list(dict.fromkeys(names))


def _input(facts: ExportFacts, entry: InputFacts) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": entry.name,
        "bands": [_band(entry, name) for name in entry.bands],
        "input": {
            "shape": list(facts.input_shape(entry)),
            "dim_order": list(facts.input_axes(entry)),
            "data_type": "float32",
        },
    }
    if entry.scaling:
        fields["value_scaling"] = [dict(each) for each in entry.scaling]
    fields |= {
        "tw:collection": entry.collection,
        "tw:unit": entry.unit,
        "tw:resolution": entry.resolution,
        "tw:resampling": entry.resampling,
        "tw:dates": _dates(entry.dates),
        "tw:missing": _missing(entry.missing),
    }
    if entry.statistics:
        fields["tw:statistics"] = [dict(each) for each in entry.statistics]
    if entry.n_steps > 1 and "time" not in facts.input_axes(entry):
        fields["tw:fold"] = entry.fold or "time-major"
    return fields | ({"tw:optional": True} if entry.optional else {})


def _band(entry: InputFacts, name: str) -> str | dict[str, str]:
    if name not in entry.derived:
        return name
    return {"name": name, "format": FORMAT, "expression": entry.derived[name]}


def _dates(dates: DatesSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": dates.kind, "reducer": dates.reducer}
    if dates.kind in {"series", "each"} and dates.steps:
        fields["steps"] = dates.steps
    return fields | ({"every": dates.every} if dates.every else {})


def _missing(missing: MissingSpec) -> dict[str, Any]:
    fill = list(missing.fill) if isinstance(missing.fill, tuple) else missing.fill
    gaps = {} if missing.gaps is None else {"gaps": missing.gaps}
    return {"fill": fill, "pad": missing.pad, "steps": missing.steps, **gaps}


def _output(facts: ExportFacts, entry: OutputFacts) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": entry.name,
        "tasks": [_task(facts, entry)],
        "result": {
            "shape": list(facts.output_shape(entry)),
            "dim_order": list(facts.output_axes(entry)),
            "data_type": "float32",
        },
    }
    if entry.description:
        fields["description"] = entry.description
    if entry.classes:
        fields["classification:classes"] = [_class(each) for each in entry.classes]
    if entry.embedding is not None:
        fields["tw:embedding"] = {"metric": entry.embedding.metric, "storage": entry.embedding.storage}
    else:
        fields["tw:activation"] = entry.activation
    layers = entry.values or entry.layers
    if layers:
        fields["tw:layers"] = list(layers)
    if entry.threshold is not None:
        fields["tw:threshold"] = entry.threshold
    if entry.valid_range is not None:
        fields |= {"tw:valid_range": list(entry.valid_range), "tw:outside": entry.outside}
    if entry.units:
        fields["tw:unit"] = list(entry.units)
    if any(entry.crop):
        fields["tw:crop"] = list(entry.crop)
    return fields | ({"tw:scale": entry.scale} if entry.scale != 1 else {})


def _class(each: ClassSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {"value": each.value, "name": each.name, "description": each.description or each.name}
    return fields | ({"color_hint": each.color.upper()} if each.color else {})


def _task(facts: ExportFacts, entry: OutputFacts) -> str:
    if entry.embedding is not None:
        return TASK
    if not entry.classes:
        return "regression"
    if entry.per_window:
        return "scene-classification"
    return "classification" if facts.rows else "semantic-segmentation"


def _tile(facts: ExportFacts) -> dict[str, Any]:
    tile = facts.tile
    fields = {"window": tile.window, "step": tile.step, "trim": tile.trim, "merge": tile.merge}
    return {key: value for key, value in fields.items() if value is not None}


def _asset(model: bytes) -> dict[str, Any]:
    return {
        "href": "./model.onnx",
        "type": "application/octet-stream; application=onnx",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "onnx",
        "file:size": len(model),
        "file:checksum": f"1220{hashlib.sha256(model).hexdigest()}",
    }
