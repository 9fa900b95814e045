"""The operators of a graph, their versions and counts, and the providers that lack them."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.adversary.graphs import laughing
from tests.support.cards import card_around
from tests.support.graphs import Draft, conv_stack, save
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import load_card
from tilewright.models.measure.check import check_card
from tilewright.models.measure.operators import lacking, tables
from tilewright.models.measure.operators.build import onnxruntime_tables, tensorrt_table, written
from tilewright.models.measure.operators.kernels import OPEN, Kernel, merged
from tilewright.models.measure.operators.lacking import OperatorFacts, OperatorReport, report_operators
from tilewright.models.measure.operators.openvino_probe import lacking_in_openvino
from tilewright.models.measure.operators.tables import installed_cpu, stored_tables

GPUS = ("cuda", "tensorrt")


def chain(
    folder: Path,
    *nodes: onnx.NodeProto,
    opset: int = 17,
    in_type: int = TensorProto.FLOAT,
    functions: tuple[onnx.FunctionProto, ...] = (),
    **stored: np.ndarray,
) -> Path:
    """A graph of nodes from `x` (1, 2, 8, 8) to the last one's result, with stored constants."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", in_type, [1, 2, 8, 8])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    graph.output[0].ClearField("type")
    versions = {"": opset, "ai.onnx.ml": 3, "com.microsoft": 1, "own": 1}
    opsets = [helper.make_opsetid(name, version) for name, version in versions.items()]
    return save(helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions), folder)


def node(kind: str, inputs: str, output: str, domain: str = "", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], domain=domain, **attributes)


def by_name(path: Path) -> dict[str, OperatorFacts]:
    report = report_operators(path, ask_openvino=False)
    found = {each.words(): each for each in report.operators}
    assert len(found) == len(report.operators)
    return found


def loop(nodes: list[onnx.NodeProto]) -> onnx.NodeProto:
    """A loop of three steps over a tensor, whose body makes `out` of `state`."""
    body = helper.make_graph(
        [node("Identity", "on", "still"), *nodes],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["three", "", "x"], ["looped"], body=body)


def test_a_graph_that_all_have_is_told_in_a_sentence(tmp_path: Path) -> None:
    report = report_operators(save(conv_stack(), tmp_path))
    assert {each.words(): each.nodes for each in report.operators} == {"Conv-11": 2, "Relu-14": 1, "Identity-16": 1}
    assert not any(each.lacking or each.unknown for each in report.operators)
    lines = dict(report.lines())
    assert lines["operators"] == "4 nodes of 3 operators; cpu, cuda, tensorrt and openvino have all"
    assert lines.keys() == {"operators", "told by"}
    assert "cuda: the table of ONNX Runtime 1.31.1" in lines["told by"]
    assert "tensorrt: the table of TensorRT 10.15" in lines["told by"]


def test_what_the_gpus_lack_is_named_with_its_nodes(tmp_path: Path) -> None:
    found = by_name(chain(tmp_path, node("Det", "x", "a"), node("Celu", "a", "b"), node("Celu", "b", "c")))
    assert {name: tuple(each.lacking) for name, each in found.items()} == {
        "Det-11": (*GPUS, "openvino"),
        "Celu-12": ("cuda",),
    }
    assert found["Celu-12"].nodes == 2
    sentence = report_operators(tmp_path / "model.onnx", ask_openvino=False).sentence("cuda")
    assert sentence == "3 nodes would run on the CPU: Celu-12 (2) and Det-11 (1)"


def test_the_version_of_an_operator_counts_not_the_opset(tmp_path: Path) -> None:
    """A graph of opset 18 uses Relu of 14; of Pad, a kernel of 13 to 17 does not cover the one of 18."""
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    path = chain(tmp_path, node("Relu", "x", "a"), node("Pad", "a pads", "b"), opset=18, pads=pads)
    assert by_name(path).keys() == {"Relu-14", "Pad-18"}
    kernels = stored_tables()["cuda"].kernels["ai.onnx", "Pad"]
    assert any(each.takes_version(18) for each in kernels)
    assert not Kernel(first=11, last=17).takes_version(18)
    assert Kernel(first=11, last=18).takes_version(18)
    # Without an end it takes the version it begins with: ONNX Runtime does not guess at a later one.
    assert Kernel(first=18, last=OPEN).takes_version(18)
    assert not Kernel(first=13, last=OPEN).takes_version(18)
    assert not Kernel(first=19, last=OPEN).takes_version(18)


def test_a_version_newer_than_a_table_is_unknown_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = stored_tables()["cpu"]
    monkeypatch.setattr(lacking, "installed_cpu", lambda: None)
    assert cpu.newest["ai.onnx"] < onnx.defs.onnx_opset_version()
    found = by_name(chain(tmp_path, node("SpaceToDepth", "x", "a", blocksize=2), opset=28))
    (each,) = found.values()
    assert each.opset == 28
    assert not each.lacking
    assert each.unknown == ("cpu", *GPUS)
    report = report_operators(tmp_path / "model.onnx", ask_openvino=False)
    words = f"1 node unknown to the table of ONNX Runtime 1.31.1: {each.words()} (1)"
    assert report.sentence("cuda") == words
    assert "all" not in dict(report.lines())["on cuda"]


def test_an_opset_older_than_a_table_is_unknown_to_it(tmp_path: Path) -> None:
    (each,) = by_name(chain(tmp_path, node("Relu", "x", "a"), opset=8)).values()
    assert (each.words(), each.unknown) == ("Relu-6", ("tensorrt",))


@pytest.mark.parametrize(
    ("in_type", "lacks"), [(TensorProto.FLOAT, ""), (TensorProto.FLOAT16, ""), (TensorProto.INT64, "not for int64")]
)
def test_types_that_a_kernel_does_not_take_are_lacking(tmp_path: Path, in_type: int, lacks: str) -> None:
    (each,) = by_name(chain(tmp_path, node("ArgMax", "x", "a", axis=1), in_type=in_type)).values()
    assert each.lacking.get("cuda", "") == lacks
    if lacks:
        report = report_operators(tmp_path / "model.onnx", ask_openvino=False)
        assert report.sentence("cuda") == "1 node would run on the CPU: ArgMax-13 (1, not for int64)"


def test_a_grid_sample_in_half_precision_runs_on_the_cpu(tmp_path: Path) -> None:
    grid = np.zeros((1, 8, 8, 2), np.float16)
    path = chain(tmp_path, node("GridSample", "x grid", "a"), in_type=TensorProto.FLOAT16, grid=grid)
    assert by_name(path)["GridSample-16"].lacking["cuda"] == "not for float16"
    grid = grid.astype(np.float32)
    assert "cuda" not in by_name(chain(tmp_path, node("GridSample", "x grid", "a"), grid=grid))["GridSample-16"].lacking


def test_the_same_operator_of_two_types_is_told_apart_only_where_it_matters(tmp_path: Path) -> None:
    nodes = (
        node("ArgMax", "x", "a", axis=1),
        node("ArgMax", "a", "b", axis=1),
        node("Cast", "b", "c", to=TensorProto.FLOAT16),
        node("ArgMax", "c", "d", axis=1),
    )
    report = report_operators(chain(tmp_path, *nodes), ask_openvino=False)
    rows = [(each.nodes, dict(each.lacking).get("cuda")) for each in report.operators if each.operator == "ArgMax"]
    assert rows == [(1, "not for int64"), (2, None)]


def test_the_bodies_of_loops_and_branches_count(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [node("Celu", "state", "then")], "branch", [], [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)]
    )
    inner = helper.make_node("If", ["on"], ["out"], then_branch=branch, else_branch=branch)
    found = by_name(chain(tmp_path, loop([inner]), three=np.array(3)))
    assert {name: each.nodes for name, each in found.items()} == {
        "Celu-12": 2,
        "If-16": 1,
        "Loop-16": 1,
        "Identity-16": 1,
    }
    assert {name for name, each in found.items() if "cuda" in each.lacking} == {"Celu-12"}


def test_own_functions_are_written_out_and_never_lacking(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = helper.make_function("own", "Bend", ["a"], ["b"], [node("Celu", "a", "b")], opsets)
    twice = [node("Bend", "a", "m", "own"), node("Bend", "m", "n", "own"), node("Relu", "n", "b")]
    outer = helper.make_function("own", "Twice", ["a"], ["b"], twice, opsets)
    nodes = (node("Twice", "x", "a", "own"), node("Bend", "a", "b", "own"), node("Twice", "b", "c", "own"))
    found = by_name(chain(tmp_path, *nodes, functions=(inner, outer)))
    assert {name: (each.nodes, each.function) for name, each in found.items()} == {
        "own.Twice-1": (2, "the model"),
        "own.Bend-1": (5, "the model"),
        "Celu-12": (5, ""),
        "Relu-14": (2, ""),
    }
    assert {name for name, each in found.items() if each.lacking} == {"Celu-12"}
    report = report_operators(tmp_path / "model.onnx", ask_openvino=False)
    assert report.n_nodes == 7
    assert dict(report.lines())["operators"].startswith("7 nodes of 2 operators; ")


def test_functions_of_onnx_without_a_kernel_are_written_out(tmp_path: Path) -> None:
    """ONNX Runtime writes out what neither the GPU nor the CPU has; what the CPU alone has runs there."""
    nodes = (
        node("GroupNormalization", "x one one", "a", num_groups=2),
        node("Mish", "a", "b"),
        node("HardSwish", "b", "c"),
        node("MeanVarianceNormalization", "c", "d"),
    )
    found = by_name(chain(tmp_path, *nodes, opset=21, one=np.ones(2, np.float32)))
    assert {name: (each.function, tuple(each.lacking)) for name, each in found.items()} == {
        "GroupNormalization-21": ("ONNX", ()),
        "Mish-18": ("ONNX", ()),
        "HardSwish-14": ("ONNX", ()),
        "MeanVarianceNormalization-13": ("", ("cuda",)),
    }


def test_other_domains_are_named(tmp_path: Path) -> None:
    found = by_name(
        chain(
            tmp_path,
            node("CDist", "x x", "a", "com.microsoft"),
            node("QuickGelu", "a", "b", "com.microsoft"),
            node("Binarizer", "b", "c", "ai.onnx.ml"),
        )
    )
    assert {name: (each.domain, tuple(each.lacking)) for name, each in found.items()} == {
        "com.microsoft.CDist-1": ("com.microsoft", (*GPUS, "openvino")),
        "com.microsoft.QuickGelu-1": ("com.microsoft", ("tensorrt",)),
        "ai.onnx.ml.Binarizer-1": ("ai.onnx.ml", (*GPUS, "openvino")),
    }


@pytest.mark.parametrize("name", [each.name for each in sorted(FOLDER.iterdir()) if (each / "card.json").exists()])
def test_the_built_in_models_run_on_a_gpu_but_for_trees(name: str) -> None:
    report = report_operators(load_card(FOLDER / name).model_path)
    lacking_in = {provider for each in report.operators for provider in each.lacking}
    assert lacking_in == ({*GPUS, "openvino"} if name in {"sample-forest", "sample-boosting"} else set())
    assert not any(each.unknown for each in report.operators)


def test_names_of_one_domain_are_one(tmp_path: Path) -> None:
    path = chain(tmp_path, node("Relu", "x", "a"), node("Relu", "a", "b", "ai.onnx"))
    assert [(each.words(), each.nodes) for each in report_operators(path, ask_openvino=False).operators] == [
        ("Relu-14", 2)
    ]


def test_a_function_that_calls_itself_is_counted_as_it_stands(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    body = [node("Relu", "a", "m"), node("Round", "m", "b", "own")]
    function = helper.make_function("own", "Round", ["a"], ["b"], body, opsets)
    found = by_name(chain(tmp_path, node("Round", "x", "a", "own"), functions=(function,)))
    assert {name: each.nodes for name, each in found.items()} == {"own.Round-1": 2, "Relu-14": 1}


def test_functions_that_call_each_other_a_million_million_times_are_counted_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    report = report_operators(save(laughing(), tmp_path), ask_openvino=False)
    assert time.monotonic() - began < 5
    assert report.n_nodes == 1


def test_openvino_names_what_it_lacks_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = chain(tmp_path, node("Det", "x", "a"), node("CDist", "x x", "b", "com.microsoft"), node("Add", "a b", "c"))
    assert lacking_in_openvino(path) == {("ai.onnx", "Det"), ("com.microsoft", "CDist")}
    report = report_operators(path)
    assert "the installed OpenVINO" in report.sources["openvino"]
    assert report.sentence("openvino").startswith("2 nodes are refused: ")


def test_a_graph_that_openvino_refuses_otherwise_is_said_to_be(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(save(conv_stack(), tmp_path).read_bytes().replace(b"Conv", b"Covn", 1))
    report = OperatorReport(operators=(), sources=dict.fromkeys(lacking.PROVIDERS, "a table"), refused="no rank")
    assert report.sentence("openvino") == "the graph is refused: no rank"
    assert "cpu, cuda and tensorrt have all" in dict(report.lines())["operators"]
    assert lacking_in_openvino(tmp_path / "model.onnx") == {("ai.onnx", "Covn")}


def test_the_table_stands_in_where_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacking, "installed_cpu", lambda: None)
    monkeypatch.setattr(lacking, "installed_openvino", lambda: "")
    report = report_operators(chain(tmp_path, node("Det", "x", "a"), node("Binarizer", "a", "b", "ai.onnx.ml")))
    assert [tuple(each.lacking) for each in report.operators] == [(*GPUS, "openvino")] * 2
    assert report.sources["openvino"].startswith("the table of OpenVINO 2")


def test_a_build_for_gpus_is_not_asked_for_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the process where a library of CUDA is missing."""
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert installed_cpu.__wrapped__() is None


def test_the_installed_runtime_says_what_the_table_says() -> None:
    runtime = pytest.importorskip("onnxruntime")
    installed, stored = installed_cpu(), stored_tables()["cpu"]
    if installed is None or runtime.__version__ not in stored.source:
        pytest.skip("another onnxruntime than the table's")
    assert installed.newest == stored.newest
    assert installed.kernels == stored.kernels


def test_the_tables_are_made_of_what_the_runtimes_say() -> None:
    def kernel(kind: str, first: int, last: int, **types: list[str]) -> SimpleNamespace:
        return SimpleNamespace(
            provider="CUDAExecutionProvider",
            domain="",
            op_name=kind,
            version_range=(first, last),
            type_constraints=types,
        )

    state = SimpleNamespace(
        get_all_operator_schema=lambda: [SimpleNamespace(domain="", since_version=21)],
        get_all_opkernel_def=lambda: [
            kernel("Relu", 6, 12, T=["tensor(float)"]),
            kernel("Relu", 6, 12, T=["tensor(double)", "seq(tensor(float))"]),
            kernel("Relu", 13, OPEN, T=["tensor(float)"]),
        ],
    )
    content = onnxruntime_tables(state, "9.9")
    assert content["cuda"] == {"Relu": [[6, 12, {"T": 0}], [13, None, {"T": 1}]]}
    assert content["types"] == ["double float", "float"]
    assert content["onnxruntime"] == {"version": "9.9", "newest": {"ai.onnx": 21}}
    assert '"Relu": [[6, 12, {"T": 0}], [13, null, {"T": 1}]]\n' in written(content)
    state.get_all_opkernel_def = list
    with pytest.raises(ValueError, match="onnxruntime-gpu"):
        onnxruntime_tables(state, "9.9")


def test_the_table_of_tensorrt_is_read_from_its_document() -> None:
    text = (
        "TensorRT 10.15 supports operators in the inclusive range of opset 9 to opset 24. Latest\n\n"
        "| Operator | Supported | Supported Types |\n|---|---|---|\n"
        "| Abs      | Y          | FP32, FP16 |\n| Det      | N          |\n| GridSample | Y | FP32 | 4D\n"
    )
    assert tensorrt_table(text) == {
        "version": "10.15",
        "oldest": 9,
        "newest": 24,
        "operators": ["Abs", "GridSample"],
    }
    with pytest.raises(ValueError, match=r"operators\.md"):
        tensorrt_table("# Something else")


def test_choices_of_types_are_one_where_they_differ_in_one_name() -> None:
    a, b, c = (frozenset((each,)) for each in "abc")
    assert merged([{"T": a}, {"T": b}, {"T": a}]) == [{"T": a | b}]
    assert merged([{"T": a, "U": a}, {"T": b, "U": b}]) == [{"T": a, "U": a}, {"T": b, "U": b}]
    assert merged([{"T": a, "U": c}, {"T": b, "U": c}]) == [{"T": a | b, "U": c}]
    assert merged([{"T": a}, {"T": a, "U": b}]) == [{"T": a}, {"T": a, "U": b}]


def test_the_check_tells_it_as_json_and_in_lines(tmp_path: Path) -> None:
    draft = Draft()
    root = draft.node("Celu", draft.conv("x", 2, 2, (1, 1)))
    report = check_card(card_around(tmp_path, draft.model(root, n_in=2, n_out=2)))
    told = report.to_json()["operators"]
    assert told["used"][0] == {
        "domain": "ai.onnx",
        "operator": "Celu",
        "opset": 12,
        "nodes": 1,
        "function": "",
        "unknown": (),
        "lacking": {"cuda": "no such operator"},
    }
    assert told["sources"]["tensorrt"] == "the table of TensorRT 10.15"
    lines = dict(report.lines())
    assert lines["operators"] == "3 nodes of 3 operators; cpu, tensorrt and openvino have all"
    assert lines["on cuda"] == "1 node would run on the CPU: Celu-12 (1)"


def test_every_table_is_whole() -> None:
    found = stored_tables()
    assert list(found) == ["cpu", "cuda", "tensorrt", "openvino"]
    assert all(len(each.kernels) > 150 for each in found.values())
    # An operator that is not there has no kernel anywhere, and Constant needs none.
    assert not any(("ai.onnx", "Nothing") in each.kernels for each in found.values())
    assert ("ai.onnx", "Constant") not in found["cuda"].kernels
    assert tables.FILE.stat().st_size < 100_000
