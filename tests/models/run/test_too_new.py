"""Graphs that onnxruntime does not load: refused in words of ours, without its error codes, files and signatures."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.external_data_helper import convert_model_to_external_data

from tests.support.graphs import conv_stack
from tests.support.worlds import write_card
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card

OUTPUT = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax"}
INPUT = {"name": "x", "bands": ["red"]}


def ir(version):
    def change(model):
        model.ir_version = version

    return change


def opset(version, domain=""):
    def change(model):
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, version))
        else:
            model.opset_import[0].version = version

    return change


def renamed(kind, domain=""):
    def change(model):
        model.graph.node[0].op_type, model.graph.node[0].domain = kind, domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def attribute(model):
    model.graph.node[0].attribute.append(helper.make_attribute("flavour", 3))


def dangling(model):
    model.graph.node[0].input[1] = "nothing"


def of_two_types(model):
    whole = onnx.numpy_helper.from_array(np.ones(1, np.int64), "whole")
    model.graph.initializer.append(whole)
    model.graph.node.insert(1, helper.make_node("Add", [model.graph.node[0].output[0], "whole"], ["sum"]))


REFUSED = {
    "an IR version of the future": (ir(99), ["IR version 99", "up to"]),
    "the IR version after the last": (ir(14), ["IR version 14", "up to 13"]),
    "an opset of the future": (opset(99), ["opset 99"]),
    "an opset that onnx has and onnxruntime has not": (opset(28), ["opset 28", "up to 26"]),
    "an opset of trees of the future": (opset(99, "ai.onnx.ml"), ["opset 99 of ai.onnx.ml", "up to 5"]),
    "an unknown operator": (renamed("ConvolutionOfTomorrow"), ["no operator ConvolutionOfTomorrow"]),
    "an unknown operator of onnxruntime": (renamed("NoSuch", "com.microsoft"), ["NoSuch"]),
    "an operator of somebody's own": (renamed("Conv", "com.mine"), ["com.mine"]),
    "an unknown attribute": (attribute, ["flavour", "Conv"]),
    "an input from nowhere": (dangling, ["'nothing'"]),
    "two types added": (of_two_types, ["Add", "int64"]),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_graph_that_cannot_be_loaded_is_refused_in_plain_words(tmp_path, change, words):
    model = conv_stack(n_in=1)
    change(model)
    with pytest.raises(CardError) as refusal:
        check_card(load_card(write_card(tmp_path, model, inputs=[INPUT], outputs=[OUTPUT])))
    said = str(refusal.value)
    assert all(each in said for each in ("model.onnx", *words)), said
    assert not any(each in said for each in ("[ONNX", "onnxruntime_src", "::Model", "ErrorCode", str(tmp_path)))


def outside_weights(folder, change):
    """A card whose weights lie in `model.onnx.data`, listed with its checksum, after `change` of that file."""
    model = conv_stack(n_in=1)
    convert_model_to_external_data(model, all_tensors_to_one_file=True, location="model.onnx.data", size_threshold=0)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    graph, weights = (folder / "model.onnx").read_bytes(), folder / "model.onnx.data"
    content = weights.read_bytes()
    change(weights, content)
    kept = folder.parent / "kept"
    write_card(kept, conv_stack(n_in=1), inputs=[INPUT], outputs=[OUTPUT])
    card = json.loads((kept / "card.json").read_text())
    card["assets"]["model"]["file:checksum"] = "1220" + hashlib.sha256(graph).hexdigest()
    digest = hashlib.sha256(weights.read_bytes() if weights.exists() else content).hexdigest()
    card["assets"]["weights"] = {
        "href": "./model.onnx.data",
        "roles": ["mlm:weights"],
        "file:checksum": f"1220{digest}",
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_weights_beside_the_graph_are_run(tmp_path):
    assert check_card(load_card(outside_weights(tmp_path / "card", lambda file, content: None))).warnings == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file, content: file.unlink(), id="gone"),
        pytest.param(lambda file, content: file.write_bytes(content[:40]), id="cut short"),
        pytest.param(lambda file, content: file.write_bytes(b""), id="empty"),
    ],
)
def test_weights_that_are_gone_or_cut_short_are_refused_by_the_name_of_their_file(tmp_path, change):
    with pytest.raises(CardError, match=r"model\.onnx\.data") as refusal:
        check_card(load_card(outside_weights(tmp_path / "card", change)))
    assert "[ONNX" not in str(refusal.value)
