"""The way of a job through the files, from the command to the frozen plan. `python -m tests.project.walk JOB`.

Every call from one function of ours to another is noted once. A file is *entered* each time the walk comes to it from
another one; a *return* is an entry into a file already left. Few returns mean that the code reads in one direction.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from tilewright.flows.cli.main import app

PACKAGES = ("catalogs", "models", "tasks", "flows")


class Frozen(Exception):  # noqa: N818 - no error: the walk is over
    """The plan is frozen."""


def way(job: Path) -> list[str]:
    """The files of ours in the order in which the way to the frozen plan enters them, each as ``flows/cli/main.py``.

    A call from one function to another is noted once: a file is entered again where another caller comes to it.
    """
    names: dict[Any, str] = {}
    seen: set[tuple[Any, Any]] = set()
    files: list[str] = []
    owner = threading.get_ident()

    def name_of(code: Any) -> str:
        """The file of a function of ours; empty for bodies of modules and classes, and for others' code."""
        if code not in names:
            parts = Path(code.co_filename).parts
            ours = "site-packages" not in parts and set(PACKAGES) & set(parts) and code.co_flags & inspect.CO_OPTIMIZED
            start = next((place for place, part in enumerate(parts) if part in PACKAGES), 0)
            names[code] = "/".join(parts[start:]) if ours else ""
        return names[code]

    def note(frame: Any, event: str, _: Any) -> None:
        if event != "call" or not (name := name_of(frame.f_code)) or threading.get_ident() != owner:
            return
        caller = frame.f_back
        while caller is not None and not name_of(caller.f_code):
            caller = caller.f_back
        edge = (caller and caller.f_code, frame.f_code)
        if edge in seen:
            return
        seen.add(edge)
        if not files or files[-1] != name:
            files.append(name)
        if frame.f_code.co_name == "freeze_plan":
            raise Frozen

    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(note)
        try:
            app(["run", str(job), "--output", f"{folder}/out"], standalone_mode=False)
        except Frozen:
            pass
        finally:
            sys.setprofile(None)
    return files


def main() -> None:
    """Print how often files are entered, and which ones are returned to most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--list", action="store_true", help="list every entry")
    asked = parser.parse_args()
    files = way(asked.job.resolve())
    entries = {name: files.count(name) for name in files}
    figures = {"files": len(entries), "entries": len(files), "returns": len(files) - len(entries)}
    print(json.dumps(figures))
    for name, count in sorted(entries.items(), key=lambda entry: -entry[1])[:10]:
        print(f"  {count} x {name}")
    if asked.list:
        print("\n".join(files))


if __name__ == "__main__":
    main()
