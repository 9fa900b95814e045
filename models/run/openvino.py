"""Sessions of OpenVINO on a processor: one compiled model per set of shapes, shared by all callers.

OpenVINO computes in bfloat16 by itself where the processor can, so the precision is always said. It stands beside
onnxruntime (`pip install openvino`) and is no execution provider of it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from tilewright.models.errors import CardError
from tilewright.models.run.providers import REMEDIES, ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


DEVICE: Final = "CPU"

HINTS: Final = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""OpenVINO's precision of what is not quantised. Source: OpenVINO documentation, "Precision Control"."""

MAX_COMPILED: Final = 4
"""Compiled models kept, one per set of shapes: a job has one, measurements of a model a few."""

NO_BF16: Final = (
    "precision bf16 was asked for, and this processor computes no bfloat16: take precision fp32 or int8, or a "
    "processor with AVX-512 BF16 or AMX"
)

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def import_openvino() -> Any:
    """The openvino module, without its telemetry. Raises ProviderError where it is not installed.

    OpenVINO's converters report their use over the network if `openvino_telemetry` can be imported. None is used
    here, and the package is barred from this process: OpenVINO then takes its own empty stand-in.
    """
    # None in place of a module makes its import fail. Source: Python documentation, `sys.modules`.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ProviderError(
            f"provider 'openvino' needs the package openvino, which cannot be imported here "
            f"({' '.join(str(error).split())}): {REMEDIES['openvino']}, or leave out provider openvino and "
            "precision bf16"
        ) from error


@cache
def _core() -> Any:
    if _processes.get("core", os.getpid()) != os.getpid():
        raise ProviderError(
            "OpenVINO was used before this process was forked, and its threads do not survive that: start processes by "
            "spawn or forkserver, or take provider 'cpu'"
        )
    core = import_openvino().Core()
    _processes["core"] = os.getpid()
    return core


_processes: dict[str, int] = {}
"""The process whose threads OpenVINO has, once it has any. A call in a fork of it would wait for them for ever."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.cache_clear)


def computes_bf16() -> bool:
    """True if this processor has instructions for bfloat16. Raises ProviderError where openvino is not installed."""
    return "BF16" in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def check_precision_here(precision: str) -> None:
    """Check that OpenVINO is here and this processor has the precision. Raises ProviderError."""
    import_openvino()
    if precision not in HINTS:
        raise ProviderError(
            f"precision {precision} does not run on provider 'openvino': give one of {', '.join(HINTS)}"
        )
    if precision == "bf16" and not computes_bf16():
        raise ProviderError(NO_BF16)


class OpenVinoRunner:
    """A runner: feeds by name in, outputs by name out. Thread-safe; `callers` calls compute at a time, each alone.

    Every call runs on `threads` threads, whatever the number of callers, so that no result depends on who else calls.
    A model is compiled on the first call with each set of shapes: fixed shapes have faster kernels.
    """

    def __init__(self, path: Path, *, precision: str, threads: int, callers: int) -> None:
        check_precision_here(precision)
        core = _core()
        try:
            self._model = core.read_model(str(path))
            self._graph = onnx.load(str(path), load_external_data=False).graph
        except Exception as error:
            # OpenVINO's exceptions share no base class but Exception.
            raise CardError(f"openvino cannot load {path.name}: {load_failure(str(error))}") from error
        self.inputs, self.outputs = tuple(self._model.inputs), tuple(self._model.outputs)
        # OpenVINO keeps the graph's order, and may know a tensor by several names.
        self.output_names = tuple(value.name for value in self._graph.output)
        self._dtypes = {node.any_name: np.dtype(node.element_type.to_dtype()) for node in self.inputs}
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": callers,
            "INFERENCE_NUM_THREADS": callers * threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: OrderedDict[Shapes, _Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name, as arrays that the caller owns."""
        if wrong := [name for name, feed in feeds.items() if feed.dtype != self._dtypes.get(name)]:
            # OpenVINO would convert numbers without a word.
            raise ValueError(f"input {wrong[0]} takes {self._dtypes.get(wrong[0], 'nothing: there is none')}")
        if lacking := self._dtypes.keys() - feeds.keys():
            raise ValueError(f"input {min(lacking)} is not given")
        return dict(zip(self.output_names, self._compiled_for(feeds).run(feeds), strict=True))

    def _compiled_for(self, feeds: Mapping[str, NDArray[Any]]) -> _Compiled:
        shapes = tuple((name, feed.shape) for name, feed in sorted(feeds.items()))
        with self._lock:
            if shapes not in self._compiled:
                self._compiled[shapes] = self._compile(dict(shapes))
                while len(self._compiled) > MAX_COMPILED:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shapes)
            return self._compiled[shapes]

    def _compile(self, shapes: Mapping[str, tuple[int, ...]]) -> _Compiled:
        model = self._model.clone()
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        return _Compiled(_core().compile_model(model, DEVICE, self._settings))


class _Compiled:
    """A model compiled for one set of shapes, with one request for each call that runs at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        # Taking from and adding to a list are atomic.
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        results = request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        outputs = [np.array(results[number]) for number in range(len(self._compiled.outputs))]
        self._idle.append(request)
        return outputs


WITHOUT = "take provider 'cpu', which has no bf16, for this model"
"""What a job can do whose model OpenVINO does not load."""


UNCONVERTED: Final = re.compile(r"No conversion rule found for operations: ([^\n;]+)")
"""Its message on operators that it lacks, all of which it names. Source: messages of OpenVINO 2026.4."""


def load_failure(message: str) -> str:
    """Why OpenVINO does not load a graph, without the places in its own source. Source: messages of OpenVINO 2026.4."""
    if found := UNCONVERTED.search(message):
        return f"it has no operator {found[1].split(',')[0].strip().rpartition('.')[2]}; {WITHOUT}"
    lines = [" ".join(line.split()) for line in message.splitlines()]
    # Its messages begin with the place of each check that failed, one a line.
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check ", "While validating"))]
    words = " ".join(told or lines)[:300].rstrip(". ")
    return f"{words}; {WITHOUT}"


def operators_lacking(path: Path) -> frozenset[tuple[str, str]]:
    """The operators of the graph at `path` that OpenVINO lacks, by domain (`ai.onnx` is ONNX's own) and name.

    Raises CardError where it refuses the graph for another reason, ProviderError where it is not installed.
    """
    core = _core()
    try:
        model = core.read_model(str(path))
        known = core.query_model(model, DEVICE)
    except Exception as error:
        # OpenVINO's exceptions share no base class but Exception.
        if found := UNCONVERTED.search(str(error)):
            return frozenset(_operator(each) for each in found[1].split(","))
        raise CardError(load_failure(str(error))) from error
    if unknown := sorted({node.get_type_name() for node in model.get_ops() if node.get_friendly_name() not in known}):
        raise CardError(f"its {DEVICE} plugin lacks {', '.join(unknown)}; {WITHOUT}")
    return frozenset()


def _operator(words: str) -> tuple[str, str]:
    """An operator in OpenVINO's words: `Det-17`, or `com.microsoft.CDist`."""
    domain, _, name = words.strip().rpartition(".")
    return (domain, name) if domain else ("ai.onnx", name.rpartition("-")[0] or name)
