"""Memory of a graph per pixel of its window, measured in a separate process.

`python -m tilewright.models.measure.memory_probe REQUEST` is that process: it runs the windows of the JSON request one
after the other and prints the peak resident size after each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from tilewright.models.run.providers import create_session

if TYPE_CHECKING:
    from collections.abc import Sequence


STATUS = Path("/proc/self/status")

TIMEOUT_S = 600


def bytes_per_pixel(path: Path, windows: Sequence[dict[str, Any]], *, areas: Sequence[int]) -> float | None:
    """Bytes the CPU session needs per additional pixel of a window, inputs and outputs included.

    `windows` are two sets of feeds, the smaller first, of `areas` pixels each (an empty set and 0: only load the
    graph). None if the measuring process fails, for example for lack of memory.
    """
    shapes = [{name: [list(feed.shape), feed.dtype.name] for name, feed in feeds.items()} for feeds in windows]
    request = json.dumps({"path": str(path), "windows": shapes})
    # Not the working folder's modules (-P): that may be the folder of the model.
    command = [sys.executable, "-P", "-m", "tilewright.models.measure.memory_probe", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)  # noqa: S603
        first, second = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError, OSError):
        return None
    return max(0.0, (second - first) / (areas[1] - areas[0]))


def main(request: str) -> None:
    """Runs the windows of the request and prints the peak resident sizes in bytes as a JSON list."""
    content = json.loads(request)
    session, _, _ = create_session(Path(content["path"]), provider="cpu", threads=1)
    peaks = []
    for window in content["windows"]:
        if window:
            session.run(None, {name: np.ones(shape, dtype) for name, (shape, dtype) in window.items()})
        peaks.append(_peak_bytes())
    sys.stdout.write(json.dumps(peaks))


def _peak_bytes() -> int:
    """The peak resident size so far, or the current size if the system reports no peak (the arena keeps it close)."""
    if STATUS.exists():
        line = next(each for each in STATUS.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    current: int = psutil.Process().memory_info().rss
    return current


if __name__ == "__main__":
    main(sys.argv[1])
