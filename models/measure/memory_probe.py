"""Memory that a graph takes per pixel of its window, measured in a process of its own.

`python -m models.memory REQUEST` is that process: it runs the windows named in the JSON request one after the other
and prints the largest resident size after each.
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

PATIENCE_S = 600


def bytes_per_pixel(path: Path, windows: Sequence[dict[str, Any]], *, areas: Sequence[int]) -> float | None:
    """Bytes the CPU session needs for each further pixel of a window, inputs and outputs included.

    `windows` are two sets of feeds, by name the shape and dtype, the smaller first, of `areas` pixels (0: only load the
    graph). None where the measuring process fails, as where memory does not suffice.
    """
    request = json.dumps({"path": str(path), "windows": [_plain(each) for each in windows]})
    command = [sys.executable, "-m", "tilewright.models.measure.memory_probe", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)  # noqa: S603
        first, second = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError, OSError):
        return None
    return max(0.0, (second - first) / (areas[1] - areas[0]))


def _plain(feeds: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [list(feed.shape), feed.dtype.name] for name, feed in feeds.items()}


def main(request: str) -> None:
    """Runs the request's windows and prints the peaks in bytes as a JSON list."""
    wanted = json.loads(request)
    session, _, _ = create_session(Path(wanted["path"]), provider="cpu", threads=1)
    peaks = []
    for window in wanted["windows"]:
        if window:
            session.run(None, {name: np.ones(shape, dtype) for name, (shape, dtype) in window.items()})
        peaks.append(_peak())
    sys.stdout.write(json.dumps(peaks))


def _peak() -> int:
    """The largest resident size so far; the present one where the system does not tell, which the arena keeps near."""
    if STATUS.exists():
        line = next(each for each in STATUS.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    present: int = psutil.Process().memory_info().rss
    return present


if __name__ == "__main__":
    main(sys.argv[1])
