"""Sessions of OpenVINO: the answers of onnxruntime but for rounding, whoever calls, or one sentence of refusal."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.external_data_helper import convert_model_to_external_data

from tests.support.graphs import Draft, save, unet
from tilewright.models.errors import CardError, InferenceError
from tilewright.models.run import openvino
from tilewright.models.run.session import ProviderError, open_graph

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


def opened(path: Path, provider: str = "openvino", **options):
    return open_graph(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), provider=provider, **options)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def many() -> onnx.ModelProto:
    """Two inputs, one of whole numbers, and outputs of four types, one of them an input passed through."""
    draft = Draft()
    taken = draft.node("Add", draft.conv("x", 2, 3), draft.node("Cast", "n", to=TensorProto.FLOAT))
    labels = draft.node("ArgMax", taken, axis=1, keepdims=0)
    return draft.model_many(
        [("x", TensorProto.FLOAT, ["b", 2, "h", "w"]), ("n", TensorProto.UINT8, [1, 3, 1, 1])],
        [
            (taken, "scores", TensorProto.FLOAT, ["b", 3, "h", "w"]),
            (labels, "labels", TensorProto.INT64, ["b", "h", "w"]),
            (draft.node("Cast", labels, to=TensorProto.UINT8), "small", TensorProto.UINT8, ["b", "h", "w"]),
            (draft.node("Greater", taken, draft.constant([0.0])), "above", TensorProto.BOOL, ["b", 3, "h", "w"]),
            ("x", "same", TensorProto.FLOAT, ["b", 2, "h", "w"]),
        ],
    )


def test_names_types_and_answers_are_those_of_onnxruntime(tmp_path: Path) -> None:
    path = save(many(), tmp_path)
    one, other = opened(path, "cpu"), opened(path)
    assert (other.provider, other.note) == ("openvino", "")
    assert other.inputs == one.inputs
    assert [(each.name, each.dtype) for each in other.outputs] == [(each.name, each.dtype) for each in one.outputs]
    for size in ((1, 2, 8, 8), (3, 2, 5, 9)):
        feeds = {"x": noise(*size), "n": np.array([0, 1, 2], np.uint8).reshape(1, 3, 1, 1)}
        mine, theirs = other.run(feeds), one.run(feeds)
        assert mine.keys() == theirs.keys()
        for name, expected in theirs.items():
            assert mine[name].dtype == expected.dtype, name
            np.testing.assert_allclose(mine[name], expected, atol=1e-5, err_msg=name)


def test_single_precision_is_single_even_where_the_processor_has_bfloat16(tmp_path: Path) -> None:
    path, feeds = save(unet(depth=2), tmp_path), {"x": noise(1, 4, 64, 64)}
    expected, made = (opened(path, provider).run(feeds)["y"] for provider in ("cpu", "openvino"))
    assert np.abs(made - expected).max() < 1e-4
    if openvino.computes_bf16():
        rough = opened(path, precision="bf16").run(feeds)["y"]
        assert 1e-4 < np.abs(rough - expected).max() < 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_answer_depends_neither_on_the_callers_nor_on_their_number(tmp_path: Path, precision: str) -> None:
    if precision == "bf16" and not openvino.computes_bf16():
        pytest.skip("this processor has no bfloat16")
    path = save(unet(depth=2), tmp_path)
    windows = [noise(1, 4, 96, 96, seed=seed) for seed in range(6)]
    alone = opened(path, precision=precision, callers=1)
    expected = [alone.run({"x": window})["y"] for window in windows]
    shared = opened(path, precision=precision, callers=4)
    assert shared is not alone
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            made = list(pool.map(lambda window: shared.run({"x": window})["y"], windows))
            assert all(map(np.array_equal, made, expected))
    # A neighbour in a padded batch changes nothing, and what a caller owns is not written again.
    both = shared.run_batch({"x": np.concatenate(windows[:2])}, batch=3)["y"]
    assert both.shape == (2, 3, 96, 96)
    assert np.array_equal(made[0], expected[0])


def test_external_weights_and_arrays_in_any_memory_order_are_read(tmp_path: Path) -> None:
    model = unet(depth=1)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=500)
    onnx.save(model, tmp_path / "model.onnx")
    path = tmp_path / "model.onnx"
    assert (tmp_path / "weights.bin").stat().st_size > 1000
    turned = noise(1, 4, 48, 32).transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    mine, theirs = (opened(path, provider).run({"x": turned})["y"] for provider in ("openvino", "cpu"))
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_what_the_graph_does_not_take_fails_with_its_shape(tmp_path: Path) -> None:
    session = opened(save(unet(depth=2), tmp_path))
    for feeds, words in (
        ({"x": noise(1, 3, 32, 32)}, r"x float32 \[1, 3, 32, 32\]"),
        ({"x": noise(1, 4, 32, 32).astype(np.float64)}, "input x takes float32"),
        ({"x": noise(1, 4, 32, 32), "z": noise(1)}, "input z takes nothing"),
        ({}, "input x is not given"),
    ):
        with pytest.raises(InferenceError, match=words):
            session.run(feeds)


def test_a_graph_that_openvino_does_not_run_is_refused_with_its_operator(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no graph")
    with pytest.raises(CardError, match=r"^openvino cannot load bad\.onnx: .*take provider 'cpu', which has no bf16"):
        opened(bad)
    trees = Path(__file__).parents[3] / "models/builtin/sample-forest/model.onnx"
    with pytest.raises(CardError, match="it has no operator TreeEnsembleClassifier; take provider 'cpu'"):
        opened(trees)


def test_a_precision_that_the_processor_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(unet(depth=1), tmp_path)
    with pytest.raises(ProviderError, match="precision fp16 does not run on provider 'openvino'"):
        opened(path, precision="fp16")
    monkeypatch.setattr(openvino, "computes_bf16", lambda: False)
    with pytest.raises(ProviderError, match="this processor computes no bfloat16"):
        opened(path, precision="bf16", callers=7)


def in_python(code: str, *, paths: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    env_path = [*paths, *(place for place in sys.path if place)]
    code_env = {"PYTHONPATH": ":".join(env_path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=code_env, check=False)


def test_its_telemetry_is_never_loaded(tmp_path: Path) -> None:
    package = tmp_path / "openvino_telemetry"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()\nclass Telemetry: pass\n")
    model = save(unet(depth=1), tmp_path)
    ended = in_python(
        f"""
        import numpy as np
        from pathlib import Path
        from tilewright.models.run.session import open_graph
        session = open_graph(Path({str(model)!r}), sha256="a", provider="openvino")
        session.run({{"x": np.zeros((1, 4, 8, 8), "float32")}})
        """,
        paths=(str(tmp_path),),
    )
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "loaded").exists()
    # The package is found there, were it not barred.
    assert in_python("import openvino_telemetry", paths=(str(tmp_path),)).returncode == 0
    assert (tmp_path / "loaded").exists()


def test_without_openvino_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProviderError, match=r"needs the package openvino.*-e '\.\[openvino\]'.*, or leave out"):
        opened(save(unet(depth=1), tmp_path))


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the system does not fork")
def test_a_fork_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    model = save(unet(depth=1), tmp_path)
    ended = in_python(
        f"""
        import os, sys
        from pathlib import Path
        from tilewright.models.run.session import ProviderError, open_graph
        model = Path({str(model)!r})
        open_graph(model, sha256="a", provider="openvino")
        child = os.fork()
        if not child:
            try:
                open_graph(model, sha256="a", provider="openvino")
            except ProviderError as error:
                print(error, flush=True)
                os._exit(0)
            os._exit(1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert ended.returncode == 0, ended.stderr
    assert "start processes by spawn or forkserver" in ended.stdout
