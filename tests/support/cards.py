"""A card that is right in everything, its graph, and how tests make it wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.support import worlds
from tests.support.graphs import save
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.card.schema import CARD_EXTENSIONS

SHAPE = ["n", 3, 4, 32, 32]


def write_graph(path: Path, *, domain: str = "", opset: int = 17, extra_input: bool = False) -> None:
    """A graph (n, 3, 4, 32, 32), (n, 2, 16, 16) -> logits (n, 3, 32, 32), height (n, 1, 32, 32)."""
    optical = helper.make_tensor_value_info("optical", TensorProto.FLOAT, SHAPE)
    radar = helper.make_tensor_value_info("radar", TensorProto.FLOAT, ["n", 2, 16, 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, 32, 32])
    height = helper.make_tensor_value_info("height", TensorProto.FLOAT, ["n", 1, 32, 32])
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("three", TensorProto.INT64, [1], [3]),
        helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["optical"], ["bands"], axes=[1], keepdims=0),
        helper.make_node("Slice", ["bands", "zero", "three", "axes"], ["first"]),
        helper.make_node("Resize", ["radar", "", "scales"], ["fine"], mode="nearest"),
        helper.make_node("ReduceMean", ["fine"], ["height"], axes=[1], keepdims=1),
        helper.make_node("Add", ["first", "height"], ["logits"], domain=domain),
    ]
    inputs = [optical, radar]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("doy", TensorProto.FLOAT, ["n", 3]))
    graph = helper.make_graph(nodes, "g", inputs, [logits, height], constants)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def good_card() -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": "fusion",
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "mlm:name": "fusion",
            "mlm:architecture": "mean",
            "mlm:framework": "ONNX",
            "mlm:tasks": ["semantic-segmentation", "regression"],
            "bands": [{"name": name} for name in ("green", "red", "nir", "vv", "vh")],
            "mlm:input": [
                {
                    "name": "optical",
                    "bands": [
                        "green",
                        "red",
                        "nir",
                        {"name": "wet", "format": "tilewright", "expression": "green - nir"},
                    ],
                    "input": {
                        "shape": [-1, 3, 4, 32, 32],
                        "dim_order": ["batch", "time", "bands", "height", "width"],
                        "data_type": "float32",
                    },
                    "value_scaling": [{"type": "z-score", "mean": 0.1, "stddev": 0.2}],
                    "tw:collection": "sentinel-2-l2a",
                    "tw:resolution": 10,
                    "tw:dates": {"kind": "series", "steps": 3, "every": "month"},
                },
                {
                    "name": "radar",
                    "bands": ["vv", "vh"],
                    "input": {
                        "shape": [-1, 2, 16, 16],
                        "dim_order": ["batch", "bands", "height", "width"],
                        "data_type": "float32",
                    },
                    "tw:collection": "sentinel-1-rtc",
                    "tw:unit": "db",
                    "tw:resolution": 20,
                    "tw:missing": {"fill": [-20, "mean"]},
                    "tw:optional": True,
                },
            ],
            "mlm:output": [
                {
                    "name": "logits",
                    "tasks": ["semantic-segmentation"],
                    "result": {
                        "shape": [-1, 3, 32, 32],
                        "dim_order": ["batch", "class", "height", "width"],
                        "data_type": "float32",
                    },
                    "classification:classes": [
                        {"value": 0, "name": "other"},
                        {"value": 1, "name": "crop"},
                        {"value": 7, "name": "water", "color_hint": "2E86DE"},
                    ],
                    "tw:activation": "softmax",
                },
                {
                    "name": "height",
                    "tasks": ["regression"],
                    "result": {
                        "shape": [-1, 1, 32, 32],
                        "dim_order": ["batch", "channel", "height", "width"],
                        "data_type": "float32",
                    },
                    "tw:layers": ["canopy"],
                    "tw:unit": "m",
                    "tw:valid_range": [0, 60],
                },
            ],
            "tw:tile": {"trim": 4},
        },
        "assets": {
            "model": {
                "href": "./model.onnx",
                "type": "application/octet-stream; application=onnx",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
            }
        },
        "links": [],
    }


def write_card(folder: Path, card: dict[str, Any]) -> Path:
    model = folder / "model.onnx"
    if not model.exists():
        write_graph(model)
    asset = card["assets"].get("model", {})
    if "file:checksum" not in asset:
        asset["file:checksum"] = "1220" + hashlib.sha256(model.read_bytes()).hexdigest()
    path = folder / "card.json"
    path.write_text(json.dumps(card))
    return path


def load(folder: Path, card: dict[str, Any]) -> ModelCard:
    return load_card(write_card(folder, card))


def put(card: dict[str, Any], path: str, value: Any) -> None:
    """Set (or with ... remove) what a path such as `mlm:input/0/input/shape` names in properties; `/x` is absolute."""
    *way, last = path.removeprefix("/").split("/")
    place: Any = card if path.startswith("/") else card["properties"]
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    index: Any = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[index]
    elif isinstance(place, list) and index == len(place):
        place.append(value)
    else:
        place[index] = value


def card_around(folder: Path, model: onnx.ModelProto, **changes: Any) -> ModelCard:
    """A card around `model` (input x, output y), made from ndwi-water's with the given output or tile fields."""
    path = save(model, folder)
    raw = json.loads((FOLDER / "ndwi-water/card.json").read_text())
    n_in = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    bands = ["blue", "green", "red", "nir"][:n_in]
    sizes = [each.dim_value or -1 for each in model.graph.output[0].type.tensor_type.shape.dim]
    properties = raw["properties"]
    properties["bands"] = [{"name": band} for band in bands]
    source, result = properties["mlm:input"][0], properties["mlm:output"][0]
    window = changes.pop("size", -1)
    source |= {"name": "x", "bands": bands}
    source["input"]["shape"] = [-1, n_in, window, window]
    result |= {"name": "y", "classification:classes": [_class(value) for value in range(sizes[1])]}
    result["result"]["shape"] = [-1, sizes[1], window, window]
    properties["tw:tile"] = changes.pop("tile", {})
    result |= changes
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    raw["assets"]["model"] |= {"file:checksum": f"1220{digest}", "file:size": path.stat().st_size}
    (folder / "card.json").write_text(json.dumps(raw))
    return load_card(folder / "card.json")


def _class(value: int) -> dict[str, Any]:
    return {"value": value, "name": f"class{value}", "description": f"class {value}"}


def value_card(folder: Path, model: onnx.ModelProto, *, tile: dict[str, Any] | None = None, **output: Any) -> ModelCard:
    """A card around `model` (x to y) of values; `output` holds fields of its output."""
    n_in = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    n_out = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    path = worlds.write_card(
        folder,
        model,
        inputs=[{"name": "x", "bands": ["red", "nir", "green", "blue"][:n_in]}],
        outputs=[{"name": "y", "tw:layers": [f"value{k}" for k in range(n_out)], **output}],
        tile={"step": None, **(tile or {})},
    )
    return load_card(path)
