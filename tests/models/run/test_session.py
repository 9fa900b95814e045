from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.support.graphs import Draft, conv_stack, down_up, save, unet
from tilewright.models.errors import CardError, InferenceError
from tilewright.models.run import providers
from tilewright.models.run.binding import BufferRing, pin
from tilewright.models.run.providers import ProviderError
from tilewright.models.run.session import open_graph


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return save(unet(depth=2), tmp_path)


def _images(n: int, *, seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, 4, size, size)).astype(np.float32)


def test_one_session_per_model_provider_and_threads(graph: Path) -> None:
    session = open_graph(graph, sha256="a", provider="cpu")
    assert open_graph(graph, sha256="a", provider="cpu") is session
    assert open_graph(graph, sha256="a", provider="cpu", threads=2) is not session
    assert open_graph(graph, sha256="b", provider="cpu") is not session
    assert (session.provider, session.note) == ("cpu", "")


def test_many_threads_opening_at_once_get_the_same_session(graph: Path) -> None:
    barrier = threading.Barrier(8)

    def opened() -> int:
        barrier.wait()
        return id(open_graph(graph, sha256="many", provider="cpu"))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: opened(), range(8)))) == 1


def test_many_callers_share_a_session_and_get_their_own_results(graph: Path) -> None:
    session = open_graph(graph, sha256="share", provider="cpu")
    images = [_images(1, seed=seed) for seed in range(16)]
    alone = [session.run({"x": image})["y"] for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: session.run({"x": image})["y"], images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_graphs_tensors_are_described(graph: Path) -> None:
    session = open_graph(graph, sha256="tensors", provider="cpu")
    (given,), (made,) = session.inputs, session.outputs
    assert (given.name, given.shape, given.dtype) == ("x", (-1, 4, -1, -1), "float32")
    assert (made.name, made.shape) == ("y", (-1, 3, -1, -1))


def test_a_short_batch_is_padded_and_its_windows_come_out_as_in_a_full_one(graph: Path) -> None:
    session = open_graph(graph, sha256="batch", provider="cpu")
    images = _images(4)
    full = session.run_batch({"x": images}, batch=4)["y"]
    for n in (1, 2, 3):
        assert np.array_equal(session.run_batch({"x": images[:n]}, batch=4)["y"], full[:n])
    with pytest.raises(InferenceError, match="1 to 4 windows"):
        session.run_batch({"x": _images(5)}, batch=4)
    with pytest.raises(InferenceError, match="1 to 4 windows"):
        session.run_batch({"x": _images(0)}, batch=4)


def test_a_window_of_many_rows_is_padded_whole_and_constants_are_not(tmp_path: Path) -> None:
    draft = Draft()
    total = draft.node("Mul", "rows", "factor")
    model = draft.model_many(
        [("rows", onnx.TensorProto.FLOAT, ["n", 3]), ("factor", onnx.TensorProto.FLOAT, [3])],
        [(total, "y", onnx.TensorProto.FLOAT, ["n", 3])],
    )
    session = open_graph(save(model, tmp_path), sha256="rows", provider="cpu")
    rows, factor = np.arange(30, dtype=np.float32).reshape(10, 3), np.array([1, 2, 3], np.float32)
    made = session.run_batch({"rows": rows, "factor": factor}, batch=4, windows=2)["y"]
    assert np.array_equal(made, rows * factor)
    one = session.run_batch({"rows": rows, "factor": factor}, batch=1)["y"]
    assert np.array_equal(one, made)


def test_a_window_the_graph_cannot_take_fails_with_its_shape(graph: Path) -> None:
    session = open_graph(graph, sha256="odd", provider="cpu")
    with pytest.raises(InferenceError, match=r"x float32 \[1, 4, 31, 31\]"):
        session.run({"x": _images(1, size=31)})


def test_a_broken_graph_is_refused_with_onnxruntimes_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(CardError, match=r"cannot load broken\.onnx"):
        open_graph(path, sha256="broken", provider="cpu")


def test_an_unknown_provider_is_refused_with_the_known_ones(graph: Path) -> None:
    with pytest.raises(ProviderError, match="one of auto, cpu, cuda, tensorrt, openvino"):
        open_graph(graph, sha256="unknown", provider="gpu")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_this_onnxruntime_lacks_is_refused_with_what_to_install(provider: str) -> None:
    with pytest.raises(ProviderError, match=r"has only cpu: pip install"):
        providers.candidates(provider, ("CPUExecutionProvider",))


def test_auto_takes_cuda_where_it_is_listed_and_never_tensorrt() -> None:
    listed = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert providers.candidates("auto", listed) == ("cuda", "cpu")


class _Silent:
    """An onnxruntime that lists CUDA, whose sessions then run on the CPU without a word."""

    def __init__(self) -> None:
        self.ExecutionMode = onnxruntime.ExecutionMode
        self.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
        self.SessionOptions = onnxruntime.SessionOptions
        self.preloaded = 0

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Any:  # noqa: N802
        del providers
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_a_listed_cuda_that_does_not_start_is_an_error_when_asked_for(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = _Silent()
    monkeypatch.setattr(providers, "import_onnxruntime", lambda: silent)
    with pytest.raises(ProviderError, match="'cuda' is installed but could not start"):
        open_graph(graph, sha256="silent", provider="cuda")
    assert silent.preloaded == 1


def test_auto_warns_once_about_a_cuda_that_does_not_start_and_records_it(
    graph: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(providers, "import_onnxruntime", _Silent)
    sessions = [open_graph(graph, sha256="warns", provider="auto") for _ in range(3)]
    assert len([each for each in recwarn if "could not start" in str(each.message)]) == 1
    assert sessions[0].provider == "cpu"
    assert "fell back to CPUExecutionProvider" in sessions[0].note


def test_a_missing_onnxruntime_is_reported_with_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(metadata, "version", _no_package)
    with pytest.raises(ProviderError, match=r"-e .\.\[cpu\]. .*-e .\.\[gpu\]."):
        providers.import_onnxruntime()


def _no_package(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_both_onnxruntime_packages_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "1.31.1")
    with pytest.raises(ProviderError, match="onnxruntime and onnxruntime-gpu are both installed"):
        providers.import_onnxruntime()


def test_cuda_is_set_to_heuristic_search_and_exact_arithmetic() -> None:
    options = providers.provider_options("cuda", threads=1)
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["use_tf32"] == "0"


def test_sessions_use_one_thread_and_never_spin() -> None:
    options = providers.session_options(onnxruntime, threads=1)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


def _raw(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_bound_buffers_give_the_same_as_plain_runs(graph: Path) -> None:
    session = _raw(graph)
    ring = BufferRing(session, device="cpu")
    for seed, size in ((0, 32), (1, 32), (2, 64), (3, 32)):
        image = _images(2, seed=seed, size=size)
        assert np.array_equal(ring.run({"x": image})["y"], session.run(None, {"x": image})[0])


def test_bound_results_are_the_callers_own_though_buffers_are_used_again(tmp_path: Path) -> None:
    ring = BufferRing(_raw(save(conv_stack(), tmp_path)), device="cpu", size=1)
    images = [np.random.default_rng(seed).normal(0, 1, (1, 3, 16, 16)).astype(np.float32) for seed in (0, 1)]
    first = ring.run({"x": images[0]})["y"]
    kept = first.copy()
    ring.run({"x": images[1]})
    assert np.array_equal(first, kept)


def test_more_callers_than_buffers_wait_for_their_turn(tmp_path: Path) -> None:
    session = _raw(save(down_up(), tmp_path))
    ring = BufferRing(session, device="cpu", size=2)
    images = [np.random.default_rng(seed).normal(0, 1, (1, 3, 64, 64)).astype(np.float32) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda image: ring.run({"x": image})["y"], images))
    assert all(np.array_equal(session.run(None, {"x": x})[0], y) for x, y in zip(images, made, strict=True))


def test_a_failed_bound_run_gives_its_buffers_back(tmp_path: Path) -> None:
    ring = BufferRing(_raw(save(conv_stack(size=(16, 16)), tmp_path)), device="cpu", size=1)
    good = np.zeros((1, 3, 16, 16), np.float32)
    for _ in range(3):
        with pytest.raises(Exception, match=r"(?i)invalid|dimension"):
            ring.run({"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert ring.run({"x": good})["y"].shape == (1, 2, 16, 16)


def test_memory_is_not_called_locked_without_a_cuda_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilewright.models.run.binding.ctypes", SimpleNamespace(CDLL=_no_library))
    assert pin(np.zeros(4)) is False


def _no_library(name: str) -> Any:
    raise OSError(name)
