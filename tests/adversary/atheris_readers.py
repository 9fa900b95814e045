"""Hostile documents found by the branches they take.

`python -m tests.adversary.atheris_readers READER -max_total_time=180` needs atheris (`pip install -e '.[fuzz]'`), which
is no part of the tests. It stops at the first fault and prints it.
Options after the reader's name are libFuzzer's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris
from hypothesis import HealthCheck, given, settings

with atheris.instrument_imports(include=["tilewright", "yaml"]):
    from tests.adversary.fuzz import Tally
    from tests.adversary.readers import READERS


def main() -> None:
    """Read documents until a fault, or until libFuzzer's options say stop."""
    folder = Path(tempfile.mkdtemp(prefix="tilewright-atheris-"))
    tally = Tally(READERS[sys.argv.pop(1)](folder), folder / "document.txt")

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tally.reader.documents)
    def read(document: Any) -> None:
        tally.read(document)
        if tally.faults:
            raise SystemExit("\n".join(f"{fault}\n{document}" for fault, document in tally.faults.items()))

    atheris.Setup(sys.argv, read.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
