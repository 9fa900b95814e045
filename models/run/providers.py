"""Execution providers: the requested one, the one that really runs, and its settings.

Names are ours (`cpu`, `cuda`, `tensorrt`, `openvino`, and `auto`). onnxruntime's list of available providers is not
proof: it lists CUDA even if CUDA's libraries fail to load, and a session then runs on the CPU without an error.
"""

from __future__ import annotations

import importlib
import re
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Mapping


EXECUTION_PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

PROVIDERS = ("auto", *EXECUTION_PROVIDERS, "openvino")
"""What may be asked for. `openvino` is no execution provider of onnxruntime: `openvino.py` runs it."""

# TensorRT takes minutes to build an engine per shape, and OpenVINO rounds differently: both only on request.
AUTO_ORDER = ("cuda", "cpu")

REMEDIES: Mapping[str, str] = {
    "cpu": "pip install -c constraints.txt -e '.[cpu]' in Tilewright's folder",
    "cuda": "pip install -c constraints.txt -e '.[gpu]' in Tilewright's folder",
    "tensorrt": "pip install -c constraints.txt -e '.[gpu]' in Tilewright's folder and NVIDIA's TensorRT libraries",
    "openvino": "pip install -c constraints.txt -e '.[openvino]' in Tilewright's folder",
}

GPUS = ("cuda", "tensorrt")

GPU_BATCH = 8
"""Windows per call on a GPU, where a batch hides the transfers. On a CPU a batch gains nothing. Source: measured for
this project."""

MAPPED_BYTES = 2**30
"""Bytes of external weights from which all processes of a machine share them."""

# Severity 4 is "fatal": errors arrive as exceptions and are reported once, where they are caught.
LOG_SEVERITY = 4


class ProviderError(ValueError):
    """A requested provider that cannot run, or an onnxruntime that is missing or installed twice. Names the remedy."""


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises ProviderError if none is installed, naming the extras, or if both the CPU and the GPU package are installed,
    because they share one folder and overwrite each other's files.
    """
    if len(installed := _installed_packages()) > 1:
        raise ProviderError(
            f"{' and '.join(installed)} are both installed and overwrite each other's files: "
            f"`pip uninstall {' '.join(installed)}`, then {REMEDIES['cpu']} or {REMEDIES['cuda']}"
        )
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ProviderError(
            f"running a model needs onnxruntime, which is not installed: {REMEDIES['cpu']}, "
            f"or on a machine with an NVIDIA GPU {REMEDIES['cuda']}"
        ) from error


def _installed_packages() -> tuple[str, ...]:
    installed = []
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        installed.append(package)
    return tuple(installed)


def candidates(requested: str, available: tuple[str, ...]) -> tuple[str, ...]:
    """The providers to try, in order, for `requested` if onnxruntime lists `available` (its own names).

    Raises ProviderError for an unknown name and for a provider that this onnxruntime lacks.
    """
    if requested == "auto":
        return tuple(name for name in AUTO_ORDER if EXECUTION_PROVIDERS[name] in available)
    if requested not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise ProviderError(f"provider {requested!r} is not known; give one of {known}")
    if requested == "openvino":
        return (requested,)
    if EXECUTION_PROVIDERS[requested] not in available:
        known = ", ".join(name for name, ort_name in EXECUTION_PROVIDERS.items() if ort_name in available)
        raise ProviderError(
            f"provider {requested!r} was asked for, but this onnxruntime has only {known}: {REMEDIES[requested]}, "
            "or ask for provider 'auto'"
        )
    return (requested,)


def create_session(graph: Path | bytes, *, provider: str, threads: int) -> tuple[Any, str, str]:
    """A session on the graph in a file or in bytes, the name of the provider that really runs it, and a note why a
    preferred provider does not run it (empty if none failed).

    Raises ProviderError if the requested provider is not active, CardError if onnxruntime refuses the graph.
    """
    runtime = import_onnxruntime()
    available = tuple(runtime.get_available_providers())
    note = ""
    for name in candidates(provider, available):
        if name in {"cuda", "tensorrt"} and hasattr(runtime, "preload_dlls"):
            runtime.preload_dlls()
        session = _create(runtime, graph, provider=name, threads=threads)
        if session.get_providers()[0] == EXECUTION_PROVIDERS[name]:
            return session, name, note
        note = (
            f"provider {name!r} is installed but could not start (driver or libraries missing); "
            f"onnxruntime fell back to {session.get_providers()[0]}"
        )
    raise ProviderError(f"{note}: {REMEDIES[provider]}, or ask for provider 'auto' or 'cpu'")


def _create(runtime: Any, graph: Path | bytes, *, provider: str, threads: int) -> Any:
    requested: list[Any] = [(EXECUTION_PROVIDERS[provider], provider_options(provider, threads=threads))]
    if provider != "cpu":
        requested.append((EXECUTION_PROVIDERS["cpu"], {}))
    try:
        content = graph if isinstance(graph, bytes) else str(graph)
        options = session_options(runtime, threads=threads)
        if isinstance(graph, Path) and maps_weights(graph):
            # Packed copies for faster products would be each process's own.
            options.add_session_config_entry("session.disable_prepacking", "1")
        return runtime.InferenceSession(content, options, providers=requested)
    except Exception as error:
        # onnxruntime's own exceptions share no base class but Exception.
        name = "the graph" if isinstance(graph, bytes) else graph.name
        raise CardError(f"onnxruntime cannot load {name}: {load_failure(str(error))}") from error


@lru_cache(maxsize=64)
def maps_weights(path: Path) -> bool:
    """True for a graph with MAPPED_BYTES of weights in external files or more, which all processes of a machine share.

    They are mapped into memory and used where they lie. It hangs on the graph alone, as results differ in their last
    digits. Measured with a transformer of 86 M parameters in two processes: 62 MB instead of 401 MB are a process's
    own, and a call takes 4 % longer.
    """
    try:
        if sum(entry.stat().st_size for entry in path.parent.iterdir() if entry.is_file()) < MAPPED_BYTES:
            return False
        # ONNX takes a quarter of a second to import, which only such models pay.
        from tilewright.models.card.graph import graph_facts, read_graph

        places = graph_facts(read_graph(path), path).external
        return sum((path.parent / place).stat().st_size for place in places) >= MAPPED_BYTES
    except (OSError, CardError):
        return False


def load_failure(message: str) -> str:
    """Why a graph cannot be loaded and what to do, from onnxruntime's message without its error codes and addresses.

    Source: messages of onnxruntime 1.31.
    """
    words = " ".join(message.split())
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", words):
        return (
            f"it has IR version {found[1]}, and this onnxruntime reads up to {found[2]}; export it with an older onnx"
        )
    if found := re.search(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)", words):
        return (
            f"it has opset {found[1]} of {found[2]}, and this onnxruntime up to {found[3]}; export it with that opset"
        )
    if found := re.search(r"No Op registered for (\S+) with domain_version of (\d+)", words):
        return f"opset {found[2]} has no operator {found[1]}; correct the graph or its opset"
    for noise in (
        r"\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"Load model from .*? failed: ?",
        r"/\S+\.(cc|h):\d+ .*?\) (?=[A-Z])",
    ):
        words = re.sub(noise, "", words)
    return f"{words.rstrip('. ')}; correct the graph or its opset"


def session_options(runtime: Any, *, threads: int) -> Any:
    """Session options for many callers on one shared session: no spinning, arena on, full optimisation.

    Source: measured for this project; spinning threads cost 4.5 times the CPU with eight sessions, the arena and
    full optimisation each save 55 % on U-Nets.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    # A memory pattern allocates each call's whole memory at once, and the arena keeps the largest one per caller: for a
    # U-Net a third more memory at the same speed.
    options.enable_mem_pattern = False
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = LOG_SEVERITY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


@cache
def _share_arena() -> None:
    """Register one arena for all sessions of the process, which grows by the requested size instead of doubling."""
    runtime = importlib.import_module("onnxruntime")
    memory = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    settings = {
        "max_mem": 0,
        "arena_extend_strategy": 1,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    runtime.create_and_register_allocator(memory, runtime.OrtArenaCfg(settings))


def provider_options(provider: str, *, threads: int) -> dict[str, str]:
    """Settings of one provider in onnxruntime's format.

    Source: onnxruntime documentation, "CUDA Execution Provider" and "TensorRT Execution Provider", configuration
    options. `use_tf32` is off because its 10-bit mantissa breaks agreement with the CPU within 1e-3.
    """
    if provider == "cuda":
        return {
            "device_id": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "1",
            "arena_extend_strategy": "kSameAsRequested",
            "do_copy_in_default_stream": "1",
            "use_tf32": "0",
        }
    if provider == "tensorrt":
        return {"device_id": "0", "trt_fp16_enable": "0"}
    return {}


def cpu_fallback(path: Path, *, provider: str) -> str:
    """Why the graph cannot run on `provider` alone, without CPU fallback, in onnxruntime's words; empty if it can."""
    runtime = import_onnxruntime()
    options = session_options(runtime, threads=1)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        runtime.InferenceSession(str(path), options, providers=[EXECUTION_PROVIDERS[provider]])
    except Exception as error:
        return f"some operators run on the CPU beside it: {' '.join(str(error).split())}"
    return ""
