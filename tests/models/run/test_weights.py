"""Weights in files beside the graph: read where they lie, and shared by processes where they are large."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto

from tests.support.backbones import Transformer, class_output, write_backbone
from tests.support.graphs import Draft
from tilewright.models.card.registry import find_card
from tilewright.models.run import providers
from tilewright.models.run.open import open_session
from tilewright.models.run.providers import create_session, maps_weights

WIDE = 2048


def write_wide(folder, *, external=True):
    """A graph of one matrix of 16 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = Draft()
    matrix = draft.random.normal(0, 0.1, (WIDE, WIDE)).astype(np.float32)
    made = draft.node("MatMul", "x", draft.constant(matrix))
    model = draft.model_many([("x", TensorProto.FLOAT, [1, WIDE])], [(made, "y", TensorProto.FLOAT, [1, WIDE])])
    path = folder / "model.onnx"
    if external:
        onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1024)
    else:
        path.write_bytes(model.SerializeToString())
    return path, matrix


@pytest.fixture
def small_limit(monkeypatch):
    """Weights of 8 MB are large."""
    monkeypatch.setattr(providers, "MAPPED_BYTES", 8 * 2**20)
    maps_weights.cache_clear()
    yield
    maps_weights.cache_clear()


def test_small_weights_are_packed_and_large_ones_are_used_where_they_lie(tmp_path, small_limit, monkeypatch):
    path, matrix = write_wide(tmp_path)
    assert maps_weights(path)
    session, _, _ = create_session(path, provider="cpu", threads=1)
    x = np.random.default_rng(1).normal(size=(1, WIDE)).astype(np.float32)
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], x @ matrix, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(providers, "MAPPED_BYTES", 2**30)
    maps_weights.cache_clear()
    assert not maps_weights(path)


def test_what_lies_beside_a_graph_without_being_its_weights_decides_nothing(tmp_path, small_limit):
    path, _ = write_wide(tmp_path, external=False)
    (tmp_path / "notes.bin").write_bytes(bytes(9 * 2**20))
    assert not maps_weights(path)


@pytest.mark.parametrize("broken", ["no graph", "no weights", "no folder"])
def test_a_broken_graph_is_left_to_onnxruntime(tmp_path, small_limit, broken):
    path, _ = write_wide(tmp_path / "model")
    if broken == "no graph":
        path.write_bytes(b"x" * (9 * 2**20))
    elif broken == "no weights":
        (tmp_path / "model" / "weights.bin").unlink()
    else:
        shutil.rmtree(tmp_path / "model")
    assert not maps_weights(path)


HOLDER = """
import sys
import numpy as np
from pathlib import Path
from tilewright.models.run import providers
providers.MAPPED_BYTES = int(sys.argv[2])
session, _, _ = providers.create_session(Path(sys.argv[1]), provider="cpu", threads=1)
session.run(None, {"x": np.zeros((1, 4096), np.float32)})
print("ready", flush=True)
sys.stdin.read()
"""


def own_bytes(path, limit):
    """The bytes that each of two processes has for itself while both hold the model."""
    argv = [sys.executable, "-c", HOLDER, str(path), str(limit)]
    holders = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for holder in holders:
            assert holder.stdout.readline() == "ready\n"
        return max(psutil.Process(holder.pid).memory_full_info().uss for holder in holders)
    finally:
        for holder in holders:
            holder.communicate(timeout=60)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is a process's own")
def test_two_processes_share_large_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.models.run.test_weights.WIDE", 4096)
    path, matrix = write_wide(tmp_path)
    packed, mapped = own_bytes(path, 2**40), own_bytes(path, 1)
    assert packed - mapped > 0.8 * matrix.nbytes


def test_a_transformer_with_its_weights_beside_it_runs_as_a_card(tmp_path):
    sizes = Transformer(width=32, depth=1, heads=2, window=64)
    folder = write_backbone(
        tmp_path / "card", sizes, bands=("red", "green", "blue"), trim=16, outputs=(class_output(sizes),)
    )
    card = find_card(str(folder), base=tmp_path, cache=tmp_path / "cache")
    assert [file.name for file in card.weights] == ["weights.bin"]
    session = open_session(card, provider="cpu")
    made = session.run({"x": np.zeros((1, 3, 64, 64), np.float32)})
    assert made["classes"].shape == (1, 4, 64, 64)
    assert made["vector"].shape == (1, 32)
