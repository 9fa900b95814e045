"""Runs a session through a small ring of device buffers that are bound once, so that copies overlap computation.

On a GPU the inputs go through page-locked host memory into fixed device buffers, and the outputs stay on the device
until they are copied back. The same code runs with the device `cpu`, which is how it is tested without a GPU.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.run.providers import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


RING_SIZE = 3

# File names of the CUDA runtime in onnxruntime-gpu's wheels, newest first.
CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")

Shapes = tuple[tuple[str, tuple[int, ...], str], ...]


class BufferRing:
    """A runner: feeds by name in, outputs by name out. Thread-safe; at most `size` runs at a time.

    Buffers are created on the first call with each set of shapes and live as long as the ring; a job has one such set.
    """

    def __init__(self, session: Any, *, device: str, size: int = RING_SIZE) -> None:
        self._session = session
        self._device = device
        self._size = size
        self._rings: dict[Shapes, queue.LifoQueue[_BufferSet]] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name, as arrays that the caller owns."""
        ring = self._ring_of(feeds)
        buffers = ring.get()
        try:
            return buffers.run(feeds)
        finally:
            ring.put(buffers)

    def _ring_of(self, feeds: Mapping[str, NDArray[Any]]) -> queue.LifoQueue[_BufferSet]:
        shapes = tuple((name, feed.shape, feed.dtype.str) for name, feed in sorted(feeds.items()))
        with self._lock:
            if shapes not in self._rings:
                ring: queue.LifoQueue[_BufferSet] = queue.LifoQueue()
                for _ in range(self._size):
                    ring.put(_BufferSet(self._session, feeds, device=self._device))
                self._rings[shapes] = ring
            return self._rings[shapes]


class _BufferSet:
    """One set of bound buffers: host (page-locked where possible), device, and the binding that joins them."""

    def __init__(self, session: Any, feeds: Mapping[str, NDArray[Any]], *, device: str) -> None:
        ort_value = import_onnxruntime().OrtValue
        self._session = session
        self._binding = session.io_binding()
        self._host = {name: np.zeros(feed.shape, feed.dtype) for name, feed in feeds.items()}
        self._on_device = {}
        for name, host in self._host.items():
            if device != "cpu":
                pin(host)
            device_buffer = ort_value.ortvalue_from_numpy(host, device, 0)
            self._binding.bind_ortvalue_input(name, device_buffer)
            self._on_device[name] = device_buffer
        self._device = device
        self._outputs = [output.name for output in session.get_outputs()]
        for name in self._outputs:
            self._binding.bind_output(name, device, 0)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for name, host in self._host.items():
            np.copyto(host, feeds[name])
            if self._device != "cpu":
                self._on_device[name].update_inplace(host)
        self._session.run_with_iobinding(self._binding)
        outputs = self._binding.copy_outputs_to_cpu()
        # On the CPU the arrays are views of the session's own memory, which the next run overwrites.
        return {name: np.array(output) for name, output in zip(self._outputs, outputs, strict=True)}


def pin(array: NDArray[Any]) -> bool:
    """True if the memory of `array` is now page-locked, which makes copies to a GPU two to three times faster.

    False if the CUDA runtime is not loaded or refuses; the copy is then slower and nothing else changes.
    """
    for name in CUDA_RUNTIMES:
        try:
            runtime = ctypes.CDLL(name)
        except OSError:
            continue
        pointer, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        return int(runtime.cudaHostRegister(pointer, size, 0)) == 0
    return False
