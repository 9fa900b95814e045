"""Asks the OpenVINO that is installed for the operators of a graph that it lacks, in a process of its own.

`python -m tilewright.models.measure.operators.openvino_probe PATH` is that process: on some graphs OpenVINO ends the
process it runs in, and no check of a card may end by that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tilewright.models.errors import CardError
from tilewright.models.run.openvino import operators_lacking

TIMEOUT_S = 120


def lacking_in_openvino(path: Path) -> frozenset[tuple[str, str]]:
    """The operators of the graph at `path` that OpenVINO lacks, by domain (`ai.onnx` is ONNX's own) and name.

    Raises CardError where it refuses the graph for another reason, or ends on it.
    """
    # Not the working folder's modules (-P): that may be the folder of the model.
    command = [sys.executable, "-P", "-m", "tilewright.models.measure.operators.openvino_probe", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)  # noqa: S603
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise CardError(f"it was not read within {TIMEOUT_S} s") from error
    except (subprocess.SubprocessError, ValueError, OSError) as error:
        raise CardError("OpenVINO ends the process that reads it") from error
    if "refused" in answer:
        raise CardError(answer["refused"])
    return frozenset((domain, name) for domain, name in answer["lacking"])


def main(path: str) -> None:
    """Print as JSON the operators that OpenVINO lacks, or why it refuses the graph at `path`."""
    try:
        answer: dict[str, object] = {"lacking": sorted(operators_lacking(Path(path)))}
    except ValueError as error:
        answer = {"refused": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
