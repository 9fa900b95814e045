"""Where it runs: a whole job on a system that tells as little as macOS, and one sentence on Windows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from tests.support.graphs import conv_stack
from tests.support.paths import ROOT
from tests.support.worlds import World, area, layer, run, write_card
from tilewright.flows.job.job import make_job

BARE = """
import json, os, sys, time
from pathlib import Path

for module, name in ((os, "sched_getaffinity"), (time, "pthread_getcpuclockid")):
    delattr(module, name)

def hidden(method):
    def asked(path, *given, **more):
        if str(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file", str(path))
        return method(path, *given, **more)
    return asked

Path.read_text, Path.read_bytes, Path.open = (hidden(each) for each in (Path.read_text, Path.read_bytes, Path.open))
there = Path.exists
Path.exists = lambda path, **more: not str(path).startswith("/proc") and there(path, **more)
os.readlink = hidden(os.readlink)

import tilewright as tw

product = tw.run(json.loads(sys.argv[1]))
print(product.report["peak_memory_mb"])
"""


def test_a_job_runs_where_the_system_tells_nothing_of_itself(tmp_path, small_pictures):
    world, random = World(tmp_path / "scenes"), np.random.default_rng(5)
    for band in ("green", "nir"):
        world.add(random.random((64, 64), dtype=np.float32), band, unit="reflectance")
    card = write_card(
        tmp_path / "card",
        conv_stack(n_in=2),
        inputs=[{"name": "x", "bands": ("green", "nir")}],
        outputs=[{"name": "y", "classes": ("dry", "wet"), "tw:layers": ["class"]}],
    )
    job = {
        "name": "bare",
        "area": area((8, 56), (8, 56)),
        "period": "2023-06",
        "source": world.source,
        "model": str(card),
        "grid": {"crs": "EPSG:32633"},
        "output": str(tmp_path / "bare"),
    }
    done = subprocess.run(
        [sys.executable, "-c", BARE, json.dumps(job)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 50
    here = run(make_job({**job, "output": str(tmp_path / "here")}, base=tmp_path))
    assert np.array_equal(layer(tmp_path / "bare", "class"), layer(here.output, "class"))


def test_windows_is_told_what_to_take():
    words = "import sys; sys.platform = 'win32'; import tilewright"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("on Windows take WSL 2 or its container (README, Install)")
