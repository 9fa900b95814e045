"""A plan on a GPU tells of operators that would run on the CPU beside it, by the table of kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.cards import card_around
from tests.support.graphs import Draft
from tilewright.flows.job.job import make_job
from tilewright.flows.plan.model_graph import gpu_warnings
from tilewright.models.measure.facts import measure_model


def job(**more):
    return make_job(
        {
            "name": "gpu", "area": [15.6, 48.7, 15.61, 48.71], "period": "2022-06", "model": "ndwi-water",
            "source": "sample", "output": "out", **more,
        },
        base=Path(),
    )  # fmt: skip


@pytest.fixture
def card(tmp_path):
    draft = Draft()
    bent = draft.node("Celu", draft.conv("x", 2, 2, (1, 1)))
    grid = draft.constant([[[[0.0, 0.0]] * 8] * 8])
    shape = draft.node("Shape", bent)
    sampled = draft.node("GridSample", bent, grid)
    kept = draft.node("Expand", draft.node("ReduceMean", sampled, axes=[2, 3]), shape)
    return card_around(tmp_path, draft.model(draft.node("Add", bent, kept), n_in=2, n_out=2))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "cpu", "openvino"])
def test_only_a_gpu_that_lacks_operators_is_told_of(card, tmp_path, provider):
    facts = replace(
        measure_model(card, provider="cpu", cache=tmp_path / "cache"), provider=provider, fuse_obstacle="no"
    )
    told = gpu_warnings(job(), card, facts)
    if provider != "cuda":
        assert told == []
        return
    (sentence,) = told
    assert sentence.startswith(
        f"Of {card.name}, 1 node would run on the CPU: Celu-12 (1) (provider cuda, by the table of"
    )


def test_half_precision_is_told_of_the_graph_that_runs(card, tmp_path):
    facts = measure_model(card, provider="cpu", cache=tmp_path / "cache")
    facts = replace(facts, provider="cuda", fuse_obstacle="")
    (sentence,) = gpu_warnings(job(precision="fp16", provider="cuda"), card, facts)
    assert "GridSample-16 (1, not for float16)" in sentence


def test_members_are_told_of_once(card, tmp_path):
    facts = replace(measure_model(card, provider="cpu", cache=tmp_path / "cache"), provider="cuda", fuse_obstacle="no")
    assert len(gpu_warnings(job(), replace(card, members=(card, card)), facts)) == 1
