"""The cards of the built-in models, as STAC MLM Items."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tilewright.models.builtin.graphs import CVA_THRESHOLD, CVA_VOTERS, NDWI_THRESHOLD
from tilewright.models.builtin.shifts import FARTHEST, LEAST_SCORE, WINDOW
from tilewright.models.card.schema import CARD_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


def _item(name: str, model: bytes, properties: Mapping[str, Any], *, source: str = "graphs.py") -> dict[str, Any]:
    digest = hashlib.sha256(model).hexdigest()
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": name,
        "geometry": None,
        "properties": {"datetime": "2026-01-01T00:00:00Z", "mlm:name": name, "mlm:framework": "ONNX", **properties},
        "assets": {
            "model": {
                "href": "./model.onnx",
                "type": "application/octet-stream; application=onnx",
                "title": f"The graph, built by models/builtin/{source}",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
                "file:size": len(model),
                "file:checksum": f"1220{digest}",
            }
        },
        "links": [],
    }


def _bands(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "eo:common_name": name} for name in names]


def _class(value: int, name: str, description: str, colour: str) -> dict[str, Any]:
    return {"value": value, "name": name, "description": description, "color_hint": colour}


def _result(n_channels: int, channel_axis: str) -> dict[str, Any]:
    return {
        "shape": [-1, n_channels, -1, -1],
        "dim_order": ["batch", channel_axis, "height", "width"],
        "data_type": "float32",
    }


def ndwi_water_card(model: bytes) -> dict[str, Any]:
    """The card of `ndwi-water` for the graph with the bytes `model`."""
    return _item("ndwi-water", model, {
        "title": "Open water by NDWI",
        "description": "Arithmetic, not learned: NDWI = (green - nir) / (green + nir), turned into two-class logits "
        f"around {NDWI_THRESHOLD:g}. Snow, cloud shadow and dark roofs can look like water.",
        "mlm:architecture": "index threshold",
        "mlm:tasks": ["semantic-segmentation"],
        "bands": _bands("green", "nir"),
        "mlm:input": [{
            "name": "image",
            "bands": ["green", "nir"],
            "input": {
                "shape": [-1, 2, -1, -1],
                "dim_order": ["batch", "bands", "height", "width"],
                "data_type": "float32",
            },
            "tw:collection": "sentinel-2-l2a",
            "tw:unit": "reflectance",
            "tw:resolution": 10,
            "tw:resampling": "bilinear",
            "tw:dates": {"kind": "composite", "reducer": "median"},
            "tw:missing": {"fill": "nearest"},
        }],
        "mlm:output": [{
            "name": "logits",
            "tasks": ["semantic-segmentation"],
            "result": _result(2, "class"),
            "classification:classes": [
                _class(0, "other", "Everything that is not open water", "D9D4C7"),
                _class(1, "water", "Open water in the composite of the period", "2E86DE"),
            ],
            "tw:activation": "softmax",
            "tw:layers": ["class", "confidence"],
        }],
        "tw:tile": {"trim": "measured", "merge": "trim"},
    })  # fmt: skip


def cva_change_card(model: bytes) -> dict[str, Any]:
    """The card of `cva-change` for the graph with the bytes `model`."""
    return _item("cva-change", model, {
        "title": "Change between two dates by change vector analysis",
        "description": "Arithmetic, not learned: the length of the difference vector over blue, green, red and nir, "
        f"and a mask where most of {CVA_VOTERS} x {CVA_VOTERS} pixels have one above {CVA_THRESHOLD:g} reflectance. "
        "It marks every change of surface: a harvested field, muddy water that cleared, a felled forest.",
        "mlm:architecture": "change vector analysis",
        "mlm:tasks": ["semantic-segmentation", "regression"],
        "bands": _bands("blue", "green", "red", "nir"),
        "mlm:input": [{
            "name": "pair",
            "bands": ["blue", "green", "red", "nir"],
            "input": {
                "shape": [-1, 2, 4, -1, -1],
                "dim_order": ["batch", "time", "bands", "height", "width"],
                "data_type": "float32",
            },
            "tw:collection": "sentinel-2-l2a",
            "tw:unit": "reflectance",
            "tw:resolution": 10,
            "tw:resampling": "bilinear",
            "tw:dates": {"kind": "pair", "reducer": "median"},
            "tw:missing": {"fill": "nearest"},
        }],
        "mlm:output": [
            {
                "name": "change",
                "tasks": ["semantic-segmentation"],
                "result": _result(2, "class"),
                "classification:classes": [
                    _class(0, "unchanged", "Most pixels around differ less than the threshold", "D9D4C7"),
                    _class(1, "changed", "Most pixels around differ more than the threshold", "E4572E"),
                ],
                "tw:activation": "none",
                "tw:layers": ["change"],
            },
            {
                "name": "magnitude",
                "tasks": ["regression"],
                "description": "Length of the change vector over the four bands",
                "result": _result(1, "channel"),
                "tw:activation": "none",
                "tw:layers": ["magnitude"],
                "tw:unit": "reflectance",
            },
        ],
        "tw:tile": {"trim": "measured", "merge": "trim"},
    })  # fmt: skip


def phase_shift_card(model: bytes) -> dict[str, Any]:
    """The card of `phase-shift` for the graph with the bytes `model`."""
    picture = {
        "shape": [-1, 2, 1, WINDOW, WINDOW],
        "dim_order": ["batch", "time", "bands", "height", "width"],
        "data_type": "float32",
    }
    return _item("phase-shift", model, {
        "title": "How far a date lies from another by phase correlation",
        "description": "Arithmetic, not learned: for each window the metres by which what the second date shows lies "
        "east (shift_x) and north (shift_y) of where the first one shows it, to a fraction of a pixel, with a score "
        f"from 0 to 1. Shifts of up to {FARTHEST} pixels along each axis; none where the score is below "
        f"{LEAST_SCORE:g}: clouds, water, ground that changed.",
        "mlm:architecture": "phase correlation",
        "mlm:tasks": ["regression"],
        "bands": _bands("red"),
        "mlm:input": [
            {
                "name": "pair",
                "bands": ["red"],
                "input": picture,
                "tw:collection": "sentinel-2-l2a",
                "tw:unit": "reflectance",
                "tw:resolution": 10,
                "tw:resampling": "bilinear",
                "tw:dates": {"kind": "pair", "reducer": "median"},
                "tw:missing": {"fill": "nearest", "pad": "fill"},
            },
            {"name": "seen", "bands": [], "input": picture, "tw:extra": {"kind": "valid_mask", "of": "pair"}},
            {
                "name": "pixel",
                "bands": [],
                "input": {"shape": [-1, 2], "dim_order": ["batch", "features"], "data_type": "float32"},
                "tw:extra": {"kind": "pixel_size", "of": "pair"},
            },
        ],
        "mlm:output": [{
            "name": "shift",
            "tasks": ["regression"],
            "description": "Shift of the second date against the first, and its score",
            "result": {"shape": [-1, 3], "dim_order": ["batch", "channel"], "data_type": "float32"},
            "tw:activation": "none",
            "tw:layers": ["shift_x", "shift_y", "score"],
            "tw:unit": ["m", "m", "1"],
        }],
        "tw:tile": {"window": WINDOW, "step": WINDOW // 2, "trim": WINDOW // 4, "merge": "trim"},
    }, source="shifts.py")  # fmt: skip
