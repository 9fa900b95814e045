"""One shared session of onnxruntime or OpenVINO per process and model, thread-safe, its batch shape fixed."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilewright.models.errors import InferenceError
from tilewright.models.run.binding import BufferRing
from tilewright.models.run.openvino import OpenVinoRunner
from tilewright.models.run.providers import ProviderError, create_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


__all__ = ["ModelSession", "ProviderError", "Tensor", "open_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of the graph: its name, shape (-1 where free) and numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Runner(Protocol):
    """Anything that turns arrays by input name into arrays by output name."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output for the inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSession:
    """A loaded model. `provider` is the one that really runs; `note` says which one `auto` could not start."""

    sha256: str
    provider: str
    threads: int
    note: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    runner: Runner

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output of the graph by name, for `feeds` by name, in the graph's own dtypes and layouts.

        Safe to call from many threads at once; the GIL is free while the model computes.
        Raises InferenceError if the graph refuses the shapes or fails.
        """
        try:
            return self.runner.run(feeds)
        except Exception as error:
            # The exceptions of onnxruntime and OpenVINO share no base class but Exception.
            shapes = ", ".join(f"{name} {feed.dtype} {list(feed.shape)}" for name, feed in feeds.items())
            reason = " ".join(str(error).split())
            raise InferenceError(f"the model failed on {shapes or 'no input'}: {reason}") from error

    def run_batch(
        self, feeds: Mapping[str, NDArray[Any]], *, batch: int, windows: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """The outputs of `run` for `windows` <= `batch` windows along the first axis.

        The feeds are padded to `batch` windows by repeating the last one, and the outputs are cut back: the session
        runs one shape only, so a window's result never depends on the number of windows in its batch.
        A window may be several rows of the first axis (its pixels, for example); `windows` is then required, else it is
        the length of that axis. Inputs whose first axis the graph fixes (constants) are passed unchanged.
        Raises InferenceError for an empty or too large batch, and as `run`.
        """
        fixed = {node.name: node.shape[0] for node in self.inputs if node.shape and node.shape[0] > 0}
        rows = {name: feed for name, feed in feeds.items() if len(feed) != fixed.get(name)}
        if windows is None:
            windows = 1 if batch == 1 else max((len(feed) for feed in rows.values()), default=batch)
        if not 1 <= windows <= batch:
            raise InferenceError(f"a batch of 1 to {batch} windows was expected, {windows} were given")
        if windows == batch:
            return self.run(feeds)
        outputs = self.run({**feeds, **{name: _padded(feed, windows, batch) for name, feed in rows.items()}})
        return {name: output[: len(output) // batch * windows] for name, output in outputs.items()}


def _padded(feed: NDArray[Any], windows: int, batch: int) -> NDArray[Any]:
    last = feed[len(feed) - len(feed) // windows :]
    return np.concatenate([feed, *[last] * (batch - windows)])


_Key = tuple[str, str, int, str, int, bool]

_sessions: dict[_Key, ModelSession] = {}

_lock = threading.Lock()


def _forget_sessions() -> None:
    global _lock  # noqa: PLW0603  the lock may be held by a thread that a fork did not copy
    _lock = threading.Lock()
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    # A session's threads do not survive a fork: the child process opens its own sessions.
    os.register_at_fork(after_in_child=_forget_sessions)


def open_graph(
    path: Path,
    *,
    sha256: str,
    provider: str = "auto",
    threads: int = 1,
    precision: str = "fp32",
    callers: int | None = None,
    growing: bool = False,
) -> ModelSession:
    """The process's session for a graph without a card, whose file has the hash `sha256`; see `open_session`.

    `growing`: the shapes of its inputs change from call to call, so that no buffers are kept for them on a device.
    """
    n_callers = callers or os.cpu_count() or 1
    key = (sha256, provider, threads, precision, n_callers if provider == "openvino" else 0, growing)
    with _lock:
        if key not in _sessions:
            _sessions[key] = (
                _open_openvino(path, sha256=sha256, threads=threads, precision=precision, callers=n_callers)
                if provider == "openvino"
                else _open_graph(path, sha256=sha256, provider=provider, threads=threads, growing=growing)
            )
        return _sessions[key]


def _open_openvino(path: Path, *, sha256: str, threads: int, precision: str, callers: int) -> ModelSession:
    runner = OpenVinoRunner(path, precision=precision, threads=threads, callers=callers)
    return ModelSession(
        sha256=sha256,
        provider="openvino",
        threads=threads,
        note="",
        inputs=tuple(_openvino_tensor(node.any_name, node) for node in runner.inputs),
        outputs=tuple(map(_openvino_tensor, runner.output_names, runner.outputs)),
        runner=runner,
    )


def _openvino_tensor(name: str, node: Any) -> Tensor:
    shape = tuple(-1 if size.is_dynamic else size.get_length() for size in node.get_partial_shape())
    return Tensor(name=name, shape=shape, dtype=np.dtype(node.element_type.to_dtype()).name)


def _open_graph(path: Path, *, sha256: str, provider: str, threads: int, growing: bool) -> ModelSession:
    session, active, note = create_session(path, provider=provider, threads=threads)
    if note:
        warnings.warn(note, RuntimeWarning, stacklevel=4)
    bound = active in {"cuda", "tensorrt"} and not growing
    runner: Runner = BufferRing(session, device="cuda") if bound else _DirectRunner(session)
    return ModelSession(
        sha256=sha256,
        provider=active,
        threads=threads,
        note=note,
        inputs=tuple(_tensor(node) for node in session.get_inputs()),
        outputs=tuple(_tensor(node) for node in session.get_outputs()),
        runner=runner,
    )


class _DirectRunner:
    """Runs the session directly: on a CPU the feeds are read in place, so bound buffers would only add a copy."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [node.name for node in session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))


# onnxruntime's names of the element types that numpy names differently.
_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(string)": "object"}


def _tensor(node: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    dtype = _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return Tensor(name=node.name, shape=shape, dtype=dtype)
