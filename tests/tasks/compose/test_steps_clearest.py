"""A composite of the n clearest days: which days take part is decided by what scenes state of their clouds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.support.graphs import pointwise
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job

pytestmark = pytest.mark.usefixtures("small_pictures")

INPUT = {"name": "x", "bands": ("red", "nir"), "tw:dates": {"kind": "composite", "reducer": "max"}}
HEAD = {"name": "y", "classes": ("dry", "wet"), "tw:layers": ["class"]}
COVERS = {"2023-06-02": 60, "2023-06-10": 5, "2023-06-17": 90, "2023-06-25": 20}
BOX = {"rows": (40, 100), "cols": (40, 100)}


def world_of(folder, days):
    made = World(folder)
    for number, (day, cover) in enumerate(days.items()):
        for band in INPUT["bands"]:
            values = np.random.default_rng(number).normal(0, 5, (128, 128)).astype(np.float32)
            made.add(values, band, day=day, unit="reflectance", cloud_cover=cover)
    return made


def card_of(folder):
    return write_card(folder / "card", pointwise(), inputs=[INPUT], outputs=[HEAD])


def card_over_time(folder, **dates):
    """A card whose model takes the mean of two steps."""
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["b", 2, 2, "h", "w"]), ("y", ["b", 2, "h", "w"]))
    ]
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    graph = onnx.helper.make_graph([node], "mean", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    dims = ("batch", "time", "bands", "height", "width")
    entry = {**INPUT, "dims": dims, "tw:dates": dates}
    return write_card(folder / "card", model, inputs=[entry], outputs=[HEAD])


def test_the_clearest_days_alone_make_the_composite(tmp_path):
    card, all_days = card_of(tmp_path), world_of(tmp_path / "all", COVERS)
    made = run(pixel_job(all_days, card, tmp_path / "two", filter={"clearest": 2}, **BOX))
    assert [step["days"] for step in made.report["steps"]] == [["2023-06-10", "2023-06-25"]]
    assert [row["datetime"][:10] for row in made.report["scenes"]] == ["2023-06-10", "2023-06-25"]
    only = world_of(tmp_path / "only", COVERS)
    only.files = [entry for entry in only.files if entry["datetime"][:10] in {"2023-06-10", "2023-06-25"}]
    same = run(pixel_job(only, card, tmp_path / "same", **BOX))
    every = run(pixel_job(all_days, card, tmp_path / "every", **BOX))
    assert np.array_equal(layer(made.output, "class"), layer(same.output, "class"))
    assert not np.array_equal(layer(made.output, "class"), layer(every.output, "class"))


def test_each_step_of_a_series_has_its_own(tmp_path):
    names = {"before": "2023-06-01/2023-06-15", "after": "2023-06-16/2023-06-30"}
    card = card_over_time(tmp_path, kind="pair")
    job = pixel_job(
        world_of(tmp_path / "world", COVERS), card, tmp_path / "out",
        period=names, filter={"clearest": 1}, **BOX,
    )  # fmt: skip
    steps = plan_job(job).inputs[0].steps
    assert [step.days for step in steps] == [("2023-06-10",), ("2023-06-25",)]


def test_days_that_are_steps_are_the_cards_to_choose(tmp_path):
    card = card_over_time(tmp_path, kind="each", steps=2)
    job = pixel_job(world_of(tmp_path / "world", COVERS), card, tmp_path / "out", filter={"clearest": 1}, **BOX)
    with pytest.raises(JobError, match="leave filter.clearest out"):
        plan_job(job)
