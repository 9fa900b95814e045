"""Makes the tables of operators anew: `python -m tilewright.models.measure.operators.build operators.md`.

It asks the ONNX Runtime and the OpenVINO that are installed, and reads the table of ONNX-TensorRT (its
docs/operators.md, of the TensorRT that this ONNX Runtime is built for). The kernels of cuda come from a build for GPUs,
which tells them once it could load the libraries of CUDA and TensorRT and start on a device; nothing is computed there.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from tilewright.models.errors import CardError
from tilewright.models.measure.operators.kernels import OPEN, KernelTable, kernel_table
from tilewright.models.measure.operators.openvino_probe import lacking_in_openvino
from tilewright.models.measure.operators.tables import (
    FILE,
    KNOWN_DOMAINS,
    definitions,
    installed_openvino,
    newest_versions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


ML_OPSET = 5


def onnxruntime_tables(state: Any, version: str) -> dict[str, Any]:
    """What ONNX Runtime's compiled module `state` tells: its versions, and the kernels of `cpu` and `cuda`.

    Raises ValueError if it is of a build without CUDA.
    """
    newest = newest_versions(state)
    found = list(definitions(state))
    content: dict[str, Any] = {"onnxruntime": {"version": version, "newest": newest}}
    tables = {
        name: kernel_table(version, newest, [tuple(each[1:]) for each in found if each[0] == provider])  # type: ignore[misc]
        for name, provider in (("cpu", "CPUExecutionProvider"), ("cuda", "CUDAExecutionProvider"))
    }
    if not tables["cuda"].kernels:
        raise ValueError("this onnxruntime has no kernels of CUDA: install onnxruntime-gpu in its place")
    kinds = {
        types
        for table in tables.values()
        for kernels in table.kernels.values()
        for kernel in kernels
        for choice in kernel.choices
        for types in choice.values()
    }
    types = sorted(kinds, key=sorted)
    content["types"] = [" ".join(sorted(each)) for each in types]
    numbers = {each: number for number, each in enumerate(types)}
    return content | {name: _entries(table, numbers) for name, table in tables.items()}


def _entries(table: KernelTable, numbers: Mapping[frozenset[str], int]) -> dict[str, Any]:
    return {
        _name(*key): [
            [
                kernel.first,
                None if kernel.last == OPEN else kernel.last,
                *({name: numbers[types] for name, types in sorted(choice.items())} for choice in kernel.choices),
            ]
            for kernel in kernels
        ]
        for key, kernels in table.kernels.items()
    }


def _name(domain: str, kind: str) -> str:
    return kind if domain == "ai.onnx" else f"{domain}::{kind}"


def tensorrt_table(text: str) -> dict[str, Any]:
    """The operators that ONNX-TensorRT's docs/operators.md calls supported, its version and opsets.

    Raises ValueError if the text is no such document.
    """
    head = re.search(r"TensorRT ([\d.]+) supports operators in the inclusive range of opset (\d+) to opset (\d+)", text)
    rows = re.findall(r"^\| *(\w+) *\| *([YN])\b", text, re.MULTILINE)
    if not head or not rows:
        raise ValueError("this is no docs/operators.md of ONNX-TensorRT")
    operators = sorted(name for name, supported in rows if supported == "Y")
    return {"version": head[1], "oldest": int(head[2]), "newest": int(head[3]), "operators": operators}


def openvino_table(state: Any) -> dict[str, Any]:
    """The operators of ONNX and of ONNX Runtime (its compiled module `state`) that OpenVINO reads, each tried alone.

    Takes some minutes: each operator is read in a process of its own.
    """
    defined = [*state.get_all_operator_schema(), *onnx.defs.get_all_schemas()]
    schemas = {(each.domain or "ai.onnx", each.name): each for each in defined}
    with TemporaryDirectory() as folder:
        read = sorted(
            _name(domain, name)
            for (domain, name), schema in schemas.items()
            if domain in KNOWN_DOMAINS and not schema.deprecated and _is_read(Path(folder), domain, schema)
        )
    return {
        "version": installed_openvino(),
        "oldest": 1,
        "newest": onnx.defs.onnx_opset_version(),
        "operators": read,
    }


def _is_read(folder: Path, domain: str, schema: Any) -> bool:
    """True unless OpenVINO says of a graph of this operator that it has none such: any other end is of the graph."""
    names = [f"x{number}" for number in range(max(schema.min_input, 1))]
    made = helper.make_node(schema.name, names[: schema.min_input], ["y"], domain="" if domain == "ai.onnx" else domain)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in (*names, "y")]
    graph = helper.make_graph([made], "graph", ports[:-1], ports[-1:])
    versions = {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": ML_OPSET, "com.microsoft": 1}
    opsets = [helper.make_opsetid(name, version) for name, version in versions.items()]
    path = folder / "operator.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    with suppress(CardError):
        return not lacking_in_openvino(path)
    return True


def written(content: Mapping[str, Any]) -> str:
    """The tables as JSON with one operator a line, so that two versions of them can be compared."""
    parts = []
    for name, value in content.items():
        text = json.dumps(value)
        if name in {"cpu", "cuda"}:
            text = _lines((f"{json.dumps(kind)}: {json.dumps(entries)}" for kind, entries in value.items()), "{}")
        elif name == "types":
            text = _lines(map(json.dumps, value), "[]")
        elif "operators" in value:
            inner = {key: json.dumps(each) for key, each in value.items()}
            inner["operators"] = _lines(map(json.dumps, value["operators"]), "[]")
            text = _lines((f"{json.dumps(key)}: {each}" for key, each in inner.items()), "{}")
        parts.append(f"{json.dumps(name)}: {text}")
    return _lines(parts, "{}") + "\n"


def _lines(parts: Iterable[str], brackets: str) -> str:
    return f"{brackets[0]}\n" + ",\n".join(parts) + f"\n{brackets[1]}"


def main(arguments: Sequence[str]) -> int:
    """Write the tables beside this file; the exit status of the command."""
    if len(arguments) != 1:
        sys.stderr.write("give the path of ONNX-TensorRT's docs/operators.md\n")
        return 2
    runtime = importlib.import_module("onnxruntime")
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    content = onnxruntime_tables(state, runtime.__version__)
    content["tensorrt"] = tensorrt_table(Path(arguments[0]).read_text("utf-8"))
    content["openvino"] = openvino_table(state)
    FILE.write_text(written(content), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
