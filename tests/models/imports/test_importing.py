"""Models of other tools become cards that run: each format in a file made after its documents, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from tests.support.worlds import World, layer, pixel_job, run
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.imports.found import classes_of
from tilewright.models.imports.importing import MissingFactsError, import_model

WORLD = ["collection=optics", "bands=red,green,blue", "unit=1", "resolution=10"]
BYTES = "picture=0:255"
SIZES = ["batch", 3, "height", "width"]


def graph(
    path: Path, *, shape: list[Any] = SIZES, n_out: int = 2, last: str = "", names: tuple[str, str] = ("x", "y"),
    external: str = "", metadata: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """A convolution of one pixel whose class 1 is where the first band is the brightest; fixed weights."""
    weights = np.zeros((n_out, shape[1], 1, 1), np.float32)
    weights[0, 1:], weights[n_out - 1, 0] = 0.5, 1.0
    nodes = [helper.make_node("Conv", [names[0], "w"], ["scores" if last else names[1]], kernel_shape=[1, 1])]
    if last:
        options = {"axis": 1} if last in {"Softmax", "ArgMax"} else {}
        nodes.append(helper.make_node(last, ["scores"], [names[1]], **options))
    if last == "ArgMax":
        out, kind = [shape[0], 1, *shape[2:]], TensorProto.INT64
    else:
        out, kind = [shape[0], n_out, *shape[2:]], TensorProto.FLOAT
    tensor = numpy_helper.from_array(weights, "w")
    ports = [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info(names[1], kind, out)]
    made = helper.make_graph(nodes, "g", ports, results, [tensor])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def detector(path: Path, shape: list[int], **metadata: str) -> Path:
    """A graph that gives zeros of a shape whatever it sees, as a detector that finds nothing."""
    zero = helper.make_node("Mul", ["total", "nought"], ["z"])
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["total"], keepdims=0), zero,
        helper.make_node("Expand", ["z", "size"], ["output0"]),
    ]  # fmt: skip
    constants = [
        numpy_helper.from_array(np.float32(0), "nought"), numpy_helper.from_array(np.array(shape, np.int64), "size"),
    ]  # fmt: skip
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)], constants,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def with_prototypes(path: Path, shape: list[int]) -> Path:
    """The same detector with prototypes of masks as a second output, zeros too."""
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "proto_size"))
    model.graph.node.append(helper.make_node("Expand", ["z", "proto_size"], ["output1"]))
    model.graph.output.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, shape))
    onnx.save(model, path)
    return path


def rdf(folder: Path, **changes: Any) -> Path:
    """A model of bioimage.io 0.5 beside its weights."""
    graph(folder / "weights.onnx", names=("raw", "mask"))
    space = [{"type": "space", "id": each, "size": {"min": 64, "step": 16}} for each in "yx"]
    told = {
        "format_version": "0.5.3", "type": "model", "name": "Water of Lakes", "description": "finds water",
        "inputs": [
            {
                "id": "raw",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["red", "green", "blue"]}, *space],
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    {"id": "scale_linear", "kwargs": {"gain": 0.5, "offset": 1.0}},
                    {"id": "fixed_zero_mean_unit_variance",
                     "kwargs": {"axis": "channel", "mean": [2.0, 3.0, 4.0], "std": [1.0, 2.0, 4.0]}},
                ],
            }
        ],
        "outputs": [
            {
                "id": "mask",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["land", "water"]},
                         *({**each, "halo": 8} for each in space)],
                "postprocessing": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
            }
        ],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": 17}},
        **changes,
    }  # fmt: skip
    (folder / "rdf.yaml").write_text(yaml.safe_dump(told))
    return folder


def card_of(path: Path, folder: Path, *answers: str) -> Any:
    imported = import_model(path, answers=answers, to=folder)
    assert load_card(folder).sha256 == imported.card.sha256
    return imported.card


def scaled(card: Any, values: list[float]) -> list[float]:
    """What the model gets for one value per band."""
    found = []
    spec = card.inputs[0]
    for number, value in enumerate(values):
        array = np.array([value], np.float32)
        if spec.value_scaling:
            spec.value_scaling[min(number, len(spec.value_scaling) - 1)].apply(array, array)
        found.append(float(array[0]))
    return found


DEEPNESS = {
    "model_type": '"Segmentor"', "class_names": '{"0": "land", "1": "water"}', "resolution": "1000",
    "tiles_size": "128",
    "standardization_mean": "[0.5, 0.4, 0.3]", "standardization_std": "[0.2, 0.2, 0.1]",
}  # fmt: skip


def test_deepness(tmp_path: Path) -> None:
    path = graph(tmp_path / "lake.onnx", metadata=DEEPNESS)
    with pytest.raises(MissingFactsError) as refused:
        import_model(path, to=tmp_path / "card")
    words = [line.split(":")[0] for line in refused.value.lines]
    assert words == ["collection", "bands", "unit", "picture", "activation"]
    assert not (tmp_path / "card").exists()
    card = card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert (card.name, card.inputs[0].resolution, card.tile.window) == ("lake", 10.0, 128)
    assert scaled(card, [255, 102, 0]) == pytest.approx([2.5, 0.0, -3.0], abs=1e-6)
    assert [(each.value, each.name) for each in card.outputs[0].classes] == [(0, "land"), (1, "water")]


@pytest.mark.parametrize(
    ("shape", "told", "channels"),
    [
        ([1, 7, 84], {"task": "detect", "names": "{0: 'ship', 1: 'buoy', 2: 'oil rig'}"},
         ["cx", "cy", "w", "h", "score:ship", "score:buoy", "score:oil_rig"]),
        ([1, 6, 84], {"task": "obb", "names": "{0: 'ship'}"}, ["cx", "cy", "w", "h", "score:ship", "angle"]),
        ([1, 300, 6], {"task": "detect", "names": "{0: 'ship', 1: 'buoy'}", "args": "{'nms': True, 'imgsz': [64, 64]}"},
         ["x1", "y1", "x2", "y2", "score", "class"]),
        ([1, 300, 6], {"task": "detect", "names": "{0: 'ship', 1: 'buoy'}", "end2end": "True"},
         ["x1", "y1", "x2", "y2", "score", "class"]),
        ([1, 84, 7], {"names": "['ship', 'buoy']"}, ["cx", "cy", "w", "h", "objectness", "score:ship", "score:buoy"]),
    ],
    ids=["YOLOv8", "turned", "with nms", "end to end", "YOLOv5"],
)  # fmt: skip
def test_ultralytics(tmp_path: Path, shape: list[int], told: dict[str, str], channels: list[str]) -> None:
    path = detector(tmp_path / "best.onnx", shape, stride="32", **told)
    card = card_of(path, tmp_path / "card", *WORLD, BYTES)
    (table,) = card.boxes
    assert list(table.outputs[0].channels) == channels
    assert scaled(card, [255]) == [1.0]
    assert card.tile.window == 64


@pytest.mark.parametrize(
    ("shape", "told", "channels"),
    [
        ([1, 10, 84], {}, ["cx", "cy", "w", "h", "score:ship", "score:buoy"]),
        ([1, 300, 10], {"args": "{'nms': True}"}, ["x1", "y1", "x2", "y2", "score", "class"]),
    ],
    ids=["YOLOv8", "with nms"],
)
def test_ultralytics_masks(tmp_path: Path, shape: list[int], told: dict[str, str], channels: list[str]) -> None:
    plain = {"task": "segment", "names": "{0: 'ship', 1: 'buoy'}", "stride": "32", **told}
    path = with_prototypes(detector(tmp_path / "best.onnx", shape, **plain), [1, 4, 16, 16])
    card = card_of(path, tmp_path / "card", *WORLD, BYTES)
    (masks,) = card.masks
    assert masks.name == "objects"
    coefficients = [f"coefficient:{number}" for number in range(4)]
    assert [list(each.channels) for each in masks.outputs] == [[*channels, *coefficients], ["prototype:*"]]
    assert [spec.kind for spec in card.layer_specs()] == ["id"]


@pytest.mark.parametrize("shapes", [([1, 10, 84], None), ([1, 9, 84], [1, 4, 16, 16]), ([1, 10, 84], [1, 5, 16, 16])])
def test_masks_of_another_shape_are_refused(tmp_path: Path, shapes: tuple[list[int], list[int] | None]) -> None:
    rows, prototypes = shapes
    path = detector(tmp_path / "best.onnx", rows, task="segment", names="{0: 'ship', 1: 'buoy'}", stride="32")
    if prototypes is not None:
        with_prototypes(path, prototypes)
    with pytest.raises(CardError, match="output"):
        card_of(path, tmp_path / "card", *WORLD, BYTES)


def test_an_ultralytics_classifier_is_a_class_per_window(tmp_path: Path) -> None:
    path = graph(tmp_path / "best.onnx", shape=[1, 3, 1, 1], names=("images", "conv"))
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Flatten", ["conv"], ["output0"]))
    model.graph.node.append(helper.make_node("Softmax", ["output0"], ["probs"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("probs", TensorProto.FLOAT, [1, 2]))
    for key, value in {"task": "classify", "stride": "1", "names": "{0: 'rural', 1: 'urban'}"}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    card = card_of(path, tmp_path / "card", *WORLD, BYTES, "layout=batch,bands,height,width")
    assert card.tasks == ("classification",)
    assert card.outputs[0].activation == "none"


def test_bioimage(tmp_path: Path) -> None:
    card = card_of(rdf(tmp_path / "zoo"), tmp_path / "card", "collection=optics", "unit=1", "resolution=10",
                   "classes=land,water")  # fmt: skip
    assert (card.name, card.tile.trim) == ("water-of-lakes", 8)
    assert scaled(card, [6.0, 8.0, 14.0]) == pytest.approx([2.0, 1.0, 1.0])
    assert card.inputs[0].bands == ("red", "green", "blue")
    assert card.outputs[0].activation == "softmax"


def test_bioimage_of_the_older_form(tmp_path: Path) -> None:
    graph(tmp_path / "zoo/weights.onnx", names=("input0", "output0"))
    told = {
        "format_version": "0.4.10", "type": "model", "name": "old",
        "inputs": [{"name": "input0", "axes": "bcyx", "shape": {"min": [1, 3, 64, 64], "step": [0, 0, 16, 16]},
                    "preprocessing": [{"name": "zero_mean_unit_variance", "kwargs":
                                       {"mode": "fixed", "axes": "xy", "mean": [1, 2, 3], "std": [2, 2, 2]}}]}],
        "outputs": [{"name": "output0", "axes": "bcyx", "halo": [0, 0, 16, 16],
                     "shape": {"reference_tensor": "input0", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]}}],
        "weights": {"onnx": {"source": "./weights.onnx"}},
    }  # fmt: skip
    (tmp_path / "zoo/rdf.yaml").write_text(yaml.safe_dump(told))
    card = card_of(tmp_path / "zoo/rdf.yaml", tmp_path / "card", *WORLD, "classes=land,water", "activation=softmax")
    assert card.tile.trim == 16
    assert scaled(card, [3, 4, 7]) == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x", "y"]}}, "takes its numbers from each picture"),
        ({"id": "scale_range", "kwargs": {"min_percentile": 1}}, "takes its numbers from each picture"),
        ({"id": "binarize", "kwargs": {"threshold": 3}}, "has no word in a card"),
    ],
)
def test_a_step_that_depends_on_the_window_is_refused_unless_its_numbers_are_given(
    tmp_path: Path, step: dict[str, Any], words: str
) -> None:
    folder = rdf(tmp_path / "zoo")
    told = yaml.safe_load((folder / "rdf.yaml").read_text())
    told["inputs"][0]["preprocessing"] = [step]
    (folder / "rdf.yaml").write_text(yaml.safe_dump(told))
    answers = ["collection=optics", "unit=1", "resolution=any", "classes=land,water"]
    with pytest.raises(CardError, match=words):
        import_model(folder, answers=answers, to=tmp_path / "card")
    card = card_of(folder, tmp_path / "card", *answers, "scaling=z-score:1,2,3:4,4,4")
    assert scaled(card, [5, 6, 7]) == [1, 1, 1]


def test_a_hubs_cache_of_links_with_transformers_files(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/1"
    graph(blobs / "aa", names=("pixel_values", "logits"), n_out=3)
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "onnx/model.onnx").symlink_to("../../../blobs/aa")
    (blobs / "bb").write_text(json.dumps({"id2label": {"0": "bare", "1": "crop", "2": "water"}}))
    (snapshot / "config.json").symlink_to("../../blobs/bb")
    (snapshot / "preprocessor_config.json").write_text(
        json.dumps({"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.4, 0.4, 0.4],
                    "image_std": [0.2, 0.2, 0.2], "size": {"height": 512, "width": 512}})
    )  # fmt: skip
    card = card_of(snapshot, tmp_path / "card", *WORLD, BYTES, "activation=softmax")
    assert scaled(card, [255, 102, 0]) == pytest.approx([3.0, 0.0, -2.0], abs=1e-6)
    assert [each.name for each in card.outputs[0].classes] == ["bare", "crop", "water"]
    assert not (tmp_path / "card/model.onnx").is_symlink()


def test_terratorch(tmp_path: Path) -> None:
    folder = tmp_path / "burn"
    graph(folder / "model.onnx", shape=["batch", 3, 64, 64], names=("image", "output"))
    told = {
        "data": {"class_path": "GenericNonGeoSegmentationDataModule",
                 "init_args": {"output_bands": ["RED", "NIR_NARROW", "SWIR_1"], "constant_scale": 0.0001,
                               "means": [0.1, 0.2, 0.3], "stds": [0.1, 0.1, 0.1]}},
        "model": {"class_path": "terratorch.tasks.SemanticSegmentationTask",
                  "init_args": {"class_names": ["unburnt", "burnt"], "model_args": {"num_classes": 2}}},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    card = card_of(
        folder, tmp_path / "card", "collection=sentinel-2-l2a", "unit=1", "resolution=10", "activation=softmax"
    )
    assert card.inputs[0].bands == ("red", "nir08", "swir16")
    assert scaled(card, [2000, 2000, 2000]) == pytest.approx([1.0, 0.0, -1.0], abs=1e-6)
    assert [each.name for each in card.outputs[0].classes] == ["unburnt", "burnt"]


def test_prithvis_config(tmp_path: Path) -> None:
    folder = tmp_path / "prithvi"
    graph(folder / "model.onnx", shape=["batch", 3, 64, 64])
    told = {"architecture": "prithvi_eo_v2", "pretrained_cfg": {
        "bands": ["BLUE", "GREEN", "RED"], "mean": [1000.0, 1100.0, 1200.0], "std": [500.0, 500.0, 500.0]}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(told))
    card = card_of(folder, tmp_path / "card", *WORLD[:1], *WORLD[2:], "layers=first,second")
    assert card.inputs[0].bands == ("blue", "green", "red")
    assert scaled(card, [1500, 1600, 1700]) == pytest.approx([1, 1, 1])
    assert [spec.name for spec in card.layer_specs()] == ["first", "second"]


@pytest.mark.parametrize("version", ["old", "new"])
def test_an_item_of_somebody_else(tmp_path: Path, version: str) -> None:
    graph(tmp_path / "theirs/net.onnx")
    entry: dict[str, Any] = {
        "name": "x", "bands": ["red", "green", "blue"],
        "input": {"shape": [-1, 3, -1, -1], "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"},
    }  # fmt: skip
    if version == "old":
        entry |= {
            "norm_by_channel": True,
            "norm_type": "z-score",
            "statistics": [{"mean": 1.0, "stddev": 2.0}, {"mean": 2.0, "stddev": 2.0}, {"mean": 3.0, "stddev": 2.0}],
        }
    else:
        entry["value_scaling"] = [{"type": "z-score", "mean": each, "stddev": 2.0} for each in (1.0, 2.0, 3.0)]
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "theirs", "geometry": None, "links": [],
        "properties": {
            "datetime": "2024-01-01T00:00:00Z", "mlm:name": "Their Net", "mlm:architecture": "U-Net",
            "mlm:input": [entry],
            "mlm:output": [{
                "name": "y", "tasks": ["semantic-segmentation"],
                "classification:classes": [{"value": 0, "name": "land"}, {"value": 1, "name": "water"}],
                "result": {"shape": [-1, 2, -1, -1], "dim_order": ["batch", "class", "height", "width"],
                           "data_type": "float32"}}],
        },
        "assets": {"weights": {"href": "./net.onnx", "roles": ["mlm:model"]}},
    }  # fmt: skip
    (tmp_path / "theirs/item.json").write_text(json.dumps(item))
    answers = ["collection=optics", "unit=1", "resolution=10", "activation=softmax"]
    card = card_of(tmp_path / "theirs", tmp_path / "card", *answers)
    assert card.name == "their-net"
    assert scaled(card, [3, 4, 5]) == [1, 1, 1]


def test_an_imported_model_runs_and_gives_what_it_must(tmp_path: Path) -> None:
    """The whole way: a file of Deepness, a card, a job, the map."""
    random = np.random.default_rng(1)
    world, bands = World(tmp_path / "world"), {}
    for band in ("red", "green", "blue"):
        bands[band] = random.integers(1, 255, (128, 128)).astype(np.uint8)
        world.add(bands[band], band, nodata=0, day="2023-06-10")
    plain = {key: DEEPNESS[key] for key in ("model_type", "class_names", "resolution")}
    path = graph(tmp_path / "lake.onnx", metadata=plain)
    card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    run(pixel_job(world, tmp_path / "card", tmp_path / "out", rows=(0, 128), cols=(0, 128)))
    red, green, blue = (bands[name].astype(np.float64) for name in ("red", "green", "blue"))
    decided = np.abs(red - (green + blue) / 2) > 1e-3
    wanted = (red > (green + blue) / 2).astype(np.uint8)
    assert (layer(tmp_path / "out", "class") == wanted)[decided].all()


def test_a_picture_is_made_of_what_a_satellite_gives(tmp_path: Path) -> None:
    """0 to 0.3 of reflectance are 0 to 255, beyond it is white; then come the model's own mean and deviation."""
    path = graph(tmp_path / "net.onnx", metadata=DEEPNESS)
    answers = ["collection=optics", "bands=red,green,blue", "unit=reflectance", "activation=softmax"]
    with pytest.raises(MissingFactsError) as refused:
        import_model(path, answers=answers, to=tmp_path / "card")
    assert [line.split(":")[0] for line in refused.value.lines] == ["picture"]
    card = card_of(path, tmp_path / "card", *answers, "picture=-0.1:0.3")
    assert scaled(card, [0.3, 0.06, -0.2]) == pytest.approx([2.5, 0.0, -3.0], abs=1e-6)
    assert scaled(card, [0.9, 0.06, 0.1])[::2] == pytest.approx([2.5, 2.0], abs=1e-6)


def test_class_names_of_any_letters_keep_them_as_titles(tmp_path: Path) -> None:
    names = {"0": "oil rig", "1": "oil-rig", "2": "oil/rig", "3": "вода"}
    path = graph(tmp_path / "net.onnx", n_out=4, metadata={**DEEPNESS, "class_names": json.dumps(names)})
    card = card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert [each.name for each in card.outputs[0].classes] == ["oil_rig", "oil-rig", "oil_rig_2", "class_3"]
    told = card.raw["properties"]["mlm:output"][0]["classification:classes"]
    assert [each.get("title", each["name"]) for each in told] == list(names.values())


def test_external_weights_come_along(tmp_path: Path) -> None:
    path = graph(tmp_path / "big/net.onnx", external="net.data", metadata=DEEPNESS)
    card = card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert (card.folder / "net.data").read_bytes() == (tmp_path / "big/net.data").read_bytes()


def test_what_the_graph_itself_proves_is_not_asked(tmp_path: Path) -> None:
    for last in ("Softmax", "ArgMax"):
        path = graph(tmp_path / f"{last}.onnx", last=last)
        with pytest.raises(MissingFactsError) as refused:
            import_model(path)
        assert "activation" not in [line.split(":")[0] for line in refused.value.lines]
    card = card_of(tmp_path / "Softmax.onnx", tmp_path / "card", *WORLD, "scaling=none", "classes=land,water")
    assert card.outputs[0].activation == "none"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("lakes.onnx", "lakes"),
        ("Lakes of 2024/model.onnx", "lakes-of-2024"),
        ("lakes/onnx/best.onnx", "lakes"),
        ("models--me--lakes/snapshots/0123456789abcdef0123456789abcdef01234567/onnx/model.onnx", "lakes"),
        ("lakes/snapshots/1/model.onnx", "lakes"),
    ],
)
def test_a_file_that_is_called_as_all_are_has_the_name_of_its_folder(tmp_path: Path, place: str, name: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    graph(path, metadata=DEEPNESS)
    imported = import_model(path, answers=[*WORLD[:3], BYTES, "activation=softmax"], to=tmp_path / "card")
    assert imported.card.name == name


def test_a_bare_file_is_asked_for_everything(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx")
    with pytest.raises(MissingFactsError) as refused:
        import_model(path)
    words = [line.split(":")[0] for line in refused.value.lines]
    assert words == ["collection", "bands", "unit", "resolution", "scaling", "classes", "with classes, activation"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("colection=optics", "did you mean 'collection'"),
        ("bands=", "gives no value"),
        ("bands", "gives no value"),
        ("resolution=-3", "above 0"),
        ("resolution=nan", "above 0"),
        ("scaling=z-score:1,2:3", "argument 2 is shorter|shorter"),
        ("scaling=[1]", "expected a list"),
        ("classes=a,,b", "empty"),
        ("classes=1=a,1=b", "twice"),
        ("activation=relu", "expected softmax"),
        ("x.classes=a,b", "is said of an output"),
        ("y.bands=red", "is said of an input"),
        ("x.window=3", "is the model's"),
        ("without=everything", "names no step"),
        ("layout=batch,bands", "4"),
        ("bands=red,green", r"bands are 2 \(red, green\), and the graph takes 3; name each of its channels"),
        ("picture=3", "LOW:HIGH|values to unpack"),
        ("picture=5:1", "LOW:HIGH"),
    ],
)
def test_a_wrong_answer_is_refused_by_its_name(tmp_path: Path, answer: str, words: str) -> None:
    path = graph(tmp_path / "net.onnx", metadata=DEEPNESS)
    with pytest.raises(CardError, match=words):
        import_model(path, answers=[*WORLD[:3], BYTES, "activation=softmax", answer], to=tmp_path / "card")
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"model_type": "Segmentor"}, "no JSON"),
        ({"model_type": '"Painter"'}, "run are segmentor"),
        ({**DEEPNESS, "class_names": '{"a": "b"}'}, "class_names"),
        ({**DEEPNESS, "resolution": '"ten"'}, "expected a number above 0"),
        ({**DEEPNESS, "standardization_std": "[0.1]"}, "3 means and 1 deviations"),
        ({**DEEPNESS, "standardization_std": "[0.1, 0, 0.1]"}, "deviation is 0"),
        ({**DEEPNESS, "seg_small_segment": "7"}, "least_area"),
        ({"model_type": '"Regressor"', "reg_output_scaling": "3.0"}, "put the factor into the graph"),
        ({"model_type": '"Detector"', "class_names": '{"0": "a"}'}, "gives 6 numbers for each box"),
        ({"model_type": '"Detector"', "det_type": '"mine"', "class_names": '{"0": "a"}'}, "det_type"),
        ({"stride": "32", "names": "__import__('os')"}, "no plain value"),
        ({"stride": "32", "names": "{" * 3000}, "no plain value"),
        ({"stride": "32", "names": "{'a': 1}"}, "expected names such as"),
        ({"stride": "32", "names": "{0: 'a'}", "task": "pose"}, "imported are"),
    ],
)
def test_metadata_that_cannot_be_honoured_is_refused(tmp_path: Path, metadata: dict[str, str], words: str) -> None:
    path = graph(tmp_path / "net.onnx", metadata=metadata)
    with pytest.raises(CardError, match=words):
        import_model(path, answers=[*WORLD[:3], BYTES, "activation=softmax"], to=tmp_path / "card")
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": {"pytorch_state_dict": {"source": "w.pt"}}}, "none in ONNX"),
        ({"weights": {"onnx": {"source": "../weights.onnx"}}}, "inside the card's own folder"),
        ({"weights": {"onnx": {"source": "gone.onnx"}}}, "put the file there"),
        ({"inputs": []}, "name other inputs and outputs"),
        ({"inputs": 3}, "cannot be read"),
        ({"type": "dataset"}, "no model of bioimage.io"),
    ],
)
def test_a_description_that_cannot_be_honoured_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(CardError, match=words):
        import_model(rdf(tmp_path / "zoo", **change), to=tmp_path / "card")


def test_a_step_may_be_left_out_by_its_name(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", metadata={**DEEPNESS, "seg_small_segment": "7"})
    card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax", "without=seg_small_segment")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    path = graph(tmp_path / "net.onnx", metadata=DEEPNESS)
    with pytest.raises(CardError, match="is there already"):
        import_model(path, answers=[*WORLD[:3], BYTES, "activation=softmax"], to=tmp_path / "card")
    assert list((tmp_path / "card").iterdir()) == []
    with pytest.raises(CardError, match="no file or folder"):
        import_model(tmp_path / "nothing")


ENDLESS = {
    "device": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "nothing": lambda path: path.symlink_to("gone"),
    "itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("made", ENDLESS)
def test_what_is_no_file_is_never_read(tmp_path: Path, made: str) -> None:
    ENDLESS[made](tmp_path / "net.onnx")
    with pytest.raises(CardError, match="net.onnx leads to no file"):
        import_model(tmp_path)
    path = graph(tmp_path / "big/net.onnx", external="net.data", metadata=DEEPNESS)
    (path.parent / "net.data").unlink()
    ENDLESS[made](path.parent / "net.data")
    with pytest.raises(CardError, match=r"(which is not beside it|leads out of the card's folder)"):
        card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert not list(tmp_path.glob(".import-*"))


def test_weights_of_a_hubs_cache_are_found_by_their_link_and_others_are_not_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/1"
    graph(blobs / "aa", external="net.data", metadata=DEEPNESS)
    (blobs / "net.data").rename(blobs / "bb")
    snapshot.mkdir(parents=True)
    (snapshot / "net.onnx").symlink_to("../../blobs/aa")
    (snapshot / "net.data").symlink_to("../../blobs/bb")
    card = card_of(snapshot, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert (card.folder / "net.data").read_bytes() == (blobs / "bb").read_bytes()
    (tmp_path / "secret").write_text("key")
    (snapshot / "net.data").unlink()
    (snapshot / "net.data").symlink_to("../../secret")
    with pytest.raises(CardError, match="which is not beside it"):
        card_of(snapshot, tmp_path / "other", *WORLD[:3], BYTES, "activation=softmax")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_weights_never_take_the_place_of_a_cards_own_file(tmp_path: Path, name: str) -> None:
    path = graph(tmp_path / "big/net.onnx", external=name, metadata=DEEPNESS)
    with pytest.raises(CardError, match="the name of a card's own file"):
        card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")


def test_weights_for_which_there_is_no_room_are_not_begun(tmp_path: Path) -> None:
    path = graph(tmp_path / "big/net.onnx", external="net.data", metadata=DEEPNESS)
    os.truncate(path.parent / "net.data", shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(CardError, match="has room for"):
        card_of(path, tmp_path / "card", *WORLD[:3], BYTES, "activation=softmax")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["big"]


def test_many_classes_take_no_square_of_their_number(tmp_path: Path) -> None:
    started = time.perf_counter()
    assert len({each["name"] for each in classes_of({number: f"c {number}" for number in range(200_000)})}) == 200_000
    assert time.perf_counter() - started < 20


TWICE = {
    "Deepness, one value by two texts": ({"model_type": '"segmentor"', "class_names": '{"0": "land", "00": "sea"}'},
                                         "names the class 0 twice, 'land' and 'sea'"),
    "Deepness, one key twice": ({"model_type": '"segmentor"', "class_names": '{"0": "land", "0": "sea"}'},
                                "class_names .*0 is written twice"),
    "Deepness, digits that Python joins": ({"model_type": '"segmentor"', "class_names": '{"1_0": "land"}'},
                                           "has '1_0': 'land'"),
    "Deepness, a name that is none": ({"model_type": '"segmentor"', "class_names": '{"0": null}'}, "has '0': None"),
    "Ultralytics": ({"stride": "32", "names": "{0: 'land', 0: 'sea'}"}, "names .* is no plain value"),
    "Ultralytics, true": ({"stride": "32", "names": "{True: 'land', 0: 'sea'}"}, "has True: 'land'"),
}  # fmt: skip


@pytest.mark.parametrize("case", TWICE)
def test_classes_of_one_value_are_refused(tmp_path: Path, case: str) -> None:
    metadata, words = TWICE[case]
    with pytest.raises(CardError, match=words):
        import_model(graph(tmp_path / "some.onnx", metadata=metadata))


OTHER_KIND = {
    "a band that is a list": ("input", "bands", [["red"], "green", "blue"]),
    "a band whose name is one": ("input", "bands", [{"name": ["red"]}, "green", "blue"]),
    "an expression that is a number": ("input", "bands", [{"name": "red", "expression": 5}, "green", "blue"]),
    "bands that are a number": ("input", "bands", 5),
    "a task that is a list": ("output", "tasks", [["regression"]]),
    "tasks that are a number": ("output", "tasks", 5),
    "a mean beyond all floats": ("input", "statistics", [{"mean": 10**320, "stddev": 1}]),
}


@pytest.mark.parametrize("case", OTHER_KIND)
def test_fields_of_another_kind_are_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    of, field, value = OTHER_KIND[case]
    graph(tmp_path / "some.onnx", last="Softmax")
    axes = {"input": ["batch", "bands", "height", "width"], "result": ["batch", "class", "height", "width"]}
    ports = {
        "input": {"name": "x", "bands": ["red", "green", "blue"], "input": {"dim_order": axes["input"]}},
        "output": {"name": "y", "tasks": ["semantic-segmentation"], "result": {"dim_order": axes["result"]},
                   "classification:classes": [{"value": 0, "name": "a"}, {"value": 1, "name": "b"}]},
    }  # fmt: skip
    ports[of][field] = value
    if field == "statistics":
        ports[of]["norm_type"] = "z-score"
    item = {
        "type": "Feature", "id": "some", "assets": {"m": {"href": "./some.onnx", "roles": ["mlm:model"]}},
        "properties": {"mlm:name": "some", "mlm:input": [ports["input"]], "mlm:output": [ports["output"]]},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    said = "has a field of another kind|has no numbers in statistics"
    more = () if field == "statistics" else ("scaling=none",)
    with pytest.raises(CardError, match=said):
        import_model(tmp_path / "item.json", answers=["collection=optics", "unit=1", "resolution=10", *more],
                     to=tmp_path / "card")  # fmt: skip
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize("halo", [-5, 1.9, "3", float("nan"), [4]])
def test_a_halo_that_is_no_number_of_pixels_is_refused(tmp_path: Path, halo: object) -> None:
    graph(tmp_path / "some.onnx")
    sides = [{"type": "space", "id": axis} for axis in "yx"]
    told = {
        "name": "some", "weights": {"onnx": {"source": "some.onnx"}},
        "inputs": [{"id": "x", "axes": [{"type": "batch"}, {"type": "channel"}, *sides]}],
        "outputs": [
            {"id": "y", "axes": [{"type": "batch"}, {"type": "channel"}, {**sides[0], "halo": halo}, sides[1]]},
        ],
    }  # fmt: skip
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(CardError, match="halo is .*, no whole number of pixels"):
        import_model(tmp_path)


def test_a_factor_beyond_all_floats_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"rescale_factor": 2**1090}))
    with pytest.raises(CardError, match="too large"):
        import_model(graph(tmp_path / "some.onnx"))


@pytest.mark.parametrize("names", [("model", "y"), ("x", "model")])
def test_a_port_may_be_called_model(tmp_path: Path, names: tuple[str, str]) -> None:
    path = graph(tmp_path / "some.onnx", names=names, last="Softmax")
    made = import_model(path, answers=[*WORLD, "scaling=none", "classes=a,b"], to=tmp_path / "card").card
    assert (made.inputs[0].name, made.outputs[0].name) == names


@pytest.mark.parametrize("name", ["q", "7-labels", "../x", "\u2026"])
def test_a_name_that_no_card_may_have_is_asked_for(tmp_path: Path, name: str) -> None:
    answers = [*WORLD, "scaling=none", "classes=a,b", f"name={name}"]
    with pytest.raises(CardError, match="a letter first, with --set name="):
        import_model(graph(tmp_path / "some.onnx", last="Softmax"), answers=answers)


@pytest.mark.parametrize("kind", ["[]", "{}", "3", "null"])
def test_a_type_of_detector_that_is_no_word(tmp_path: Path, kind: str) -> None:
    told = {"model_type": '"Detector"', "det_type": kind, "class_names": '{"0": "a"}'}
    with pytest.raises(CardError, match="det_type is"):
        import_model(detector(tmp_path / "net.onnx", [1, 6, 100], **told))


def test_half_a_character_is_refused_before_a_card_is_written(tmp_path: Path) -> None:
    graph(tmp_path / "hub/net.onnx")
    (tmp_path / "hub/config.json").write_text('{"architecture": "\\ud800"}')
    with pytest.raises(CardError, match="half of a character"):
        card_of(tmp_path / "hub", tmp_path / "card", *WORLD, "scaling=none", "classes=a,b", "activation=softmax")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hub"]


TARGETS = {
    "in a file": ("file/x", "cannot be written"),
    "a file": ("file", "is there already"),
    "a link to nothing": ("link", "is there already"),
    "too long": ("x" * 300, "cannot be written"),
    "the system's": ("/proc/x", "cannot be written"),
    "in a device": ("/dev/null/x", "cannot be written"),
}


@pytest.mark.parametrize("where", TARGETS)
def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path, where: str) -> None:
    path = graph(tmp_path / "net.onnx", metadata=DEEPNESS)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("gone")
    name, words = TARGETS[where]
    with pytest.raises(CardError, match=words):
        card_of(path, tmp_path / name, *WORLD[:3], BYTES, "activation=softmax")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link", "net.onnx"]
