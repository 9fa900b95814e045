"""What a run pays for its promises: the identity of its inputs, one owner, and the check of what is published.

`python -m tests.benchmarks.safety FOLDER [--side 4096] [--times 5] [--model PATH]` prints one JSON line. Each promise
is left out in turn, then all of them, in processes of their own and in alternating order. The share is what the whole
run takes more than the one without, by medians of CPU seconds, which neighbours on the machine disturb less than the
clock, and of wall seconds. `--model ndwi-water` is an almost free model, and so the worst case.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path

from tests.benchmarks.field import build_field, measured

WITHOUT_IDENTITY = """
from tilewright.tasks.identity import take
take.present_identity = lambda href, *, signed, source: None
"""

WITHOUT_OWNER = """
from tilewright.flows.run import output_lock
def unfenced(self, storage, owner, fence):
    self.storage, self.owner, self.fence, self.lost = storage, owner, fence, False
output_lock.OutputLock.__init__ = unfenced
"""

WITHOUT_CHECK = """
from tilewright.tasks.publish import verify
verify.check_published = verify.check_written = lambda *_words, **_more: None
"""

WAYS = {
    "all": "",
    "no identity": WITHOUT_IDENTITY,
    "no owner": WITHOUT_OWNER,
    "no check": WITHOUT_CHECK,
    "none": WITHOUT_IDENTITY + WITHOUT_OWNER + WITHOUT_CHECK,
}

RUN = "import sys; from tilewright.flows.cli.main import app; app(sys.argv[1:])"


def main() -> None:
    """Run every way so many times and print the medians and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--model")
    given = parser.parse_args()
    field = build_field(given.folder, side=given.side)
    options = ["--set", f"model={given.model}"] if given.model else []
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(given.times):
        for way, before in WAYS.items():
            output = given.folder / "out"
            shutil.rmtree(output, ignore_errors=True)
            command = [sys.executable, "-c", before + RUN, "run", str(field.job), "--output", str(output), *options]
            runs[way].append(measured(command))
    medians = {way: {kind: statistics.median(run[kind] for run in runs[way]) for kind in KINDS} for way in WAYS}
    shares = {
        way.replace("no ", "").replace("none", "all three"): {
            kind: round(medians["all"][kind] / medians[way][kind] - 1, 4) for kind in KINDS
        }
        for way in WAYS
        if way != "all"
    }
    rounded = {way: {kind: round(value, 2) for kind, value in each.items()} for way, each in medians.items()}
    print(json.dumps({"benchmark": "safety", "side": given.side, "medians": rounded, "shares": shares}))


KINDS = ("cpu", "wall")


if __name__ == "__main__":
    main()
