from __future__ import annotations

import pytest

from tilewright.flows.errors import RunnerError
from tilewright.flows.runners.run_options import Placement


@pytest.mark.parametrize(
    ("options", "words"), [({"runner": "daskk"}, "give threads, dask or tcp"), ({"shards": 0}, "expected 1 or more")]
)
def test_a_place_that_cannot_be_is_refused(options, words):
    with pytest.raises(RunnerError, match=words):
        Placement(**options)


@pytest.mark.parametrize("runner", ["dask", "tcp://127.0.0.1:8786"])
def test_a_cluster_without_its_library_is_refused_before_anything_is_planned(monkeypatch, runner):
    monkeypatch.setattr("tilewright.flows.runners.run_options.find_spec", lambda name: None)
    with pytest.raises(RunnerError, match=r"-e '.\[flows\]' in Tilewright's folder"):
        Placement(runner=runner)
    Placement(runner="threads")
