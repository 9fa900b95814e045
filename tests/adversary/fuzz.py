"""Reads hostile documents with one reader in a process of bounded memory: `python -m tests.adversary.fuzz READER N`.

Prints one JSON object: how many documents were refused and accepted, the slowest one, the memory, and the failures.
"""

from __future__ import annotations

import faulthandler
import json
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.adversary.readers import READERS, Answer
from tests.support.paths import ROOT
from tilewright.flows.shown import visible

SECONDS = 5.0
"""The longest that one document may take."""

MEGABYTES = 1024
"""The most address space that the documents may take beside what the program itself has."""

LONGEST = 2500
"""Characters of the longest answer to a document that is refused."""


def fault_of(answer: Answer, seconds: float, allowed: tuple[int, ...]) -> str | None:
    """What is wrong with an answer, None for a good one."""
    code, said = answer
    plain = said.replace("\n", "")
    faults = {
        f"slow: {seconds:.1f} s": seconds > SECONDS,
        f"exit {code}: {said[-300:]}": code not in allowed or "Traceback" in said or "not foreseen" in said,
        "refused without a word": code == 2 and not said.strip(),
        f"an answer of {len(said)} characters: {said[:200]}": code == 2 and len(said) > LONGEST,
        f"acts on a terminal: {said[:300]!r}": visible(plain) != plain,
    }
    return next((fault for fault, holds in faults.items() if holds), None)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "tilewright" in frame.filename or "/flows/" in frame.filename] or frames
    last = ours[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {str(error)[:200]}"


class Tally:
    """What came of the documents so far."""

    def __init__(self, reader: Any, watched: Path) -> None:
        self.reader, self.watched = reader, watched
        self.codes: Counter[int] = Counter()
        self.faults: dict[str, str] = {}
        self.slowest: tuple[float, str] = (0.0, "")

    def read(self, document: Any) -> None:
        """One document: its answer is judged."""
        self.watched.write_text(repr(document))
        faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
        began = time.perf_counter()
        try:
            answer = self.reader.answer(document)
            fault = fault_of(answer, time.perf_counter() - began, self.reader.codes)
            if fault and "not foreseen" in answer[1]:
                fault = f"{fault} at {self.traced(document)}"
            self.codes[answer[0]] += 1
        except Exception as error:  # every kind of error is a finding here
            fault = _place(error)
            self.codes[-1] += 1
        seconds = time.perf_counter() - began
        faulthandler.cancel_dump_traceback_later()
        if seconds > self.slowest[0]:
            self.slowest = (round(seconds, 3), repr(document)[:200])
        if fault:
            self.faults.setdefault(fault, repr(document)[:3000])

    def traced(self, document: Any) -> str:
        """Where an answer that nobody foresaw comes from."""
        sys.argv.append("--debug")
        said = self.reader.answer(document)[1]
        sys.argv.pop()
        frames = [
            line.strip() for line in said.splitlines() if line.strip().startswith("File") and "/flows/cli/" not in line
        ]
        return " < ".join(frame.partition(f"{ROOT}/")[2] or frame for frame in frames[-1:-4:-1])


def peak_megabytes() -> int:
    """The most memory of this process since its program began; getrusage counts that of its parent too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, "a process has a peak"
    return int(found[1]) // 1024


def swept(name: str, count: int, folder: Path) -> dict[str, Any]:
    """What came of so many documents of a reader."""
    tally = Tally(READERS[name](folder), folder / "document.txt")
    assert tally.reader.answer(tally.reader.good)[0] == 0, tally.reader.answer(tally.reader.good)
    before = peak_megabytes()
    _bound_memory()

    @seed(13)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tally.reader.documents)
    def read(document: Any) -> None:
        tally.read(document)

    read()
    return {
        "reader": name,
        "documents": sum(tally.codes.values()),
        "codes": {str(code): number for code, number in sorted(tally.codes.items())},
        "slowest": tally.slowest,
        "peak_mb": [before, peak_megabytes()],
        "faults": tally.faults,
    }


def _bound_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEGABYTES * 2**20,) * 2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = swept(sys.argv[1], int(sys.argv[2]), Path(scratch))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
