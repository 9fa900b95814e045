"""Print what an image needs beside Tilewright itself: its dependencies and the named extras', one a line."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The project's dependencies and those of its extras, in order, each once.

    Raises KeyError where an extra is unknown.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    found = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in requirements(Path(sys.argv[1]), sys.argv[2:])))
