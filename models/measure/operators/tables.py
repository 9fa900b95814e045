"""The tables of operators that come along, and what the runtimes that are installed say themselves."""

from __future__ import annotations

import importlib
import json
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.measure.operators.kernels import ANY_VERSION, OPEN, Kernel, KernelTable, Types, kernel_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE: Final = Path(__file__).with_name("tables.json")

KNOWN_DOMAINS: Final = ("ai.onnx", "ai.onnx.ml", "com.microsoft")

PROCESSORS: Final = frozenset(("CPUExecutionProvider", "AzureExecutionProvider"))
"""Providers of a build of ONNX Runtime without GPUs."""

TENSOR: Final = re.compile(r"tensor\((\w+)\)")


@cache
def stored_tables() -> Mapping[str, KernelTable]:
    """The table of each provider that comes along: `cpu`, `cuda`, `tensorrt`, `openvino` (`build.py` makes them)."""
    content = json.loads(FILE.read_text("utf-8"))
    runtime, named = content["onnxruntime"], {}
    types = [frozenset(words.split()) for words in content["types"]]
    for provider in ("cpu", "cuda"):
        kernels = {
            _key(name): tuple(_kernel(entry, types) for entry in entries) for name, entries in content[provider].items()
        }
        source = f"the table of ONNX Runtime {runtime['version']}"
        named[provider] = KernelTable(source=source, newest=runtime["newest"], kernels=kernels)
    for provider, title in (("tensorrt", "TensorRT"), ("openvino", "OpenVINO")):
        table = content[provider]
        anything = (Kernel(first=0, last=ANY_VERSION),)
        named[provider] = KernelTable(
            source=f"the table of {title} {table['version']}",
            newest={"ai.onnx": table["newest"]},
            oldest=table["oldest"],
            kernels={_key(name): anything for name in table["operators"]},
        )
    return named


def _key(name: str) -> tuple[str, str]:
    domain, _, kind = name.rpartition("::")
    return domain or "ai.onnx", kind


def _kernel(entry: list[Any], types: list[frozenset[str]]) -> Kernel:
    first, last, *choices = entry
    return Kernel(
        first=first,
        last=OPEN if last is None else last,
        choices=tuple({name: types[number] for name, number in choice.items()} for choice in choices),
    )


@cache
def installed_cpu() -> KernelTable | None:
    """The kernels of the ONNX Runtime that is installed; None where its build does not tell them.

    A build for GPUs is not asked: it ends the process where the libraries of CUDA or TensorRT are missing.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
        state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ImportError:
        return None
    if not PROCESSORS.issuperset(runtime.get_available_providers()) or not hasattr(state, "get_all_opkernel_def"):
        return None
    return kernel_table(
        f"the installed ONNX Runtime {runtime.__version__}",
        newest_versions(state),
        (each for provider, *each in definitions(state) if provider == "CPUExecutionProvider"),  # type: ignore[misc]
    )


def newest_versions(state: Any) -> dict[str, int]:
    """The newest version of each domain that ONNX Runtime's compiled module `state` defines operators of."""
    newest: dict[str, int] = {}
    for schema in state.get_all_operator_schema():
        domain = schema.domain or "ai.onnx"
        if domain in KNOWN_DOMAINS:
            newest[domain] = max(newest.get(domain, 1), schema.since_version)
    return newest


def definitions(state: Any) -> Iterator[tuple[str, str, str, int, int, Types]]:
    """Every kernel that ONNX Runtime's compiled module `state` has: provider, domain, operator, versions, types."""
    for each in state.get_all_opkernel_def():
        if (each.domain or "ai.onnx") in KNOWN_DOMAINS:
            types = {
                name: frozenset(found[1] for kind in kinds if (found := TENSOR.fullmatch(kind)))
                for name, kinds in each.type_constraints.items()
            }
            first, last = each.version_range
            yield each.provider, each.domain, each.op_name, first, last, types


def installed_openvino() -> str:
    """The version of OpenVINO that is installed, empty if none is."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return ""
