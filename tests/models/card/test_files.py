from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.cards import good_card, load, write_card, write_graph
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError


def test_a_checksum_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = write_card(tmp_path, good_card())
    card = json.loads(path.read_text())
    del card["assets"]["model"]["file:checksum"]
    path.write_text(json.dumps(card))
    with pytest.raises(CardError, match="file:checksum"):
        load_card(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "card"
    inside.mkdir()
    write_graph(tmp_path / "model.onnx")
    (inside / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(CardError, match="by a link"):
        load(inside, good_card())


@pytest.mark.parametrize("head", [b"\x80\x05\x95", b"PK\x03\x04"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(head + b"rest")
    with pytest.raises(CardError, match="pickle"):
        load(tmp_path, good_card())


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph at all")
    with pytest.raises(CardError, match="ONNX"):
        load(tmp_path, good_card())


def test_an_operator_of_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", domain="evil.ops")
    with pytest.raises(CardError, match=r"operator Add of the domain 'evil.ops'"):
        load(tmp_path, good_card())


def test_an_opset_that_no_runtime_knows_is_refused(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", opset=99)
    with pytest.raises(CardError, match="opset 99"):
        load(tmp_path, good_card())


def external_model(folder: Path, location: str) -> None:
    write_graph(folder / "model.onnx")
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[3]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, location: str) -> None:
    external_model(tmp_path, location)
    with pytest.raises(CardError, match="external weight file"):
        load(tmp_path, good_card())


def test_weights_need_an_asset_with_a_true_checksum(tmp_path: Path) -> None:
    external_model(tmp_path, "weights.bin")
    weights = np.ones(4, dtype=np.float32).tobytes()
    (tmp_path / "weights.bin").write_bytes(weights)
    card = good_card()
    with pytest.raises(CardError, match="mlm:weights"):
        load(tmp_path, card)
    card["assets"]["weights"] = {
        "href": "weights.bin",
        "roles": ["mlm:weights"],
        "file:checksum": "1220" + hashlib.sha256(weights).hexdigest(),
    }
    assert load(tmp_path, card).weights == (tmp_path / "weights.bin",)
    (tmp_path / "weights.bin").write_bytes(weights[::-1])
    with pytest.raises(CardError, match=r"assets.weights.file:checksum"):
        load(tmp_path, card)
