"""Hundreds of hostile documents per reader: each is refused in one sentence or read, soon and in little memory.

`TILEWRIGHT_FUZZ=500 pytest tests/adversary/test_fuzz.py` reads so many per reader.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.adversary.readers import READERS
from tests.support.paths import ROOT

DOCUMENTS = int(os.environ.get("TILEWRIGHT_FUZZ", "60"))


@pytest.mark.parametrize("reader", READERS)
def test_hostile_documents_are_read_or_refused_in_one_sentence(reader):
    command = [sys.executable, "-W", "ignore", "-m", "tests.adversary.fuzz", reader, str(DOCUMENTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30 + 6 * DOCUMENTS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == {}
    assert found["documents"] >= DOCUMENTS
    # A run mends what is damaged of its own product.
    least = 0 if reader == "product" else DOCUMENTS // 10
    assert found["codes"].get("2", 0) + found["codes"].get("1", 0) > least, "most of them are no good"
    assert found["slowest"][0] < 5
    assert found["peak_mb"][1] < 1024
