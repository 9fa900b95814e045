"""`filter.clearest` by pixels: the passes of each cell are seen in the masks, and no pixel depends on the cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import zarr

from tests.support.graphs import conv_stack
from tests.support.worlds import COL, ROW, World, layer, pixel_job, run, write_card
from tilewright.flows.access import scene_access
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.flows.runners.worker import plan_sources
from tilewright.models.card.card import load_card
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.plan.chosen import chosen_json
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.ledger import read_entries, remove_entries
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE = 640
EDGE = 384
"""Pixels from the world's corner to the edges of cells, rows and columns: 512 divides its place and 384 together."""

INPUT = {"name": "x", "bands": ("red",), "tw:dates": {"kind": "composite", "reducer": "mean"}}
OUTPUT = {"name": "y", "classes": ("low", "high"), "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}
LOOK = {"most": 1, "by": "pixels", "holes": "leave"}
CLEAR, CLOUD = 4, 9


def ground():
    return np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def west_clear():
    scl = np.full((SIDE, SIDE), CLOUD, np.uint8)
    scl[:, :EDGE] = CLEAR
    return scl


def patched(share):
    """Clear in stripes of 40 rows, so many of every 80."""
    rows = np.arange(SIDE)[:, None] % 80 < 80 * share
    return np.where(np.broadcast_to(rows, (SIDE, SIDE)), CLEAR, CLOUD).astype(np.uint8)


DAYS = {
    "2023-06-02": west_clear(),
    "2023-06-10": np.where(west_clear() == CLEAR, CLOUD, CLEAR).astype(np.uint8),
    "2023-06-17": patched(0.5),
    "2023-06-25": np.full((SIDE, SIDE), CLOUD, np.uint8),
}
"""One day is clear in the west, one in the east, one in half of each; one nowhere, and its statement is the best."""

COVERS = {"2023-06-02": 60, "2023-06-10": 60, "2023-06-17": 50, "2023-06-25": 1}


def world_of(folder, days=DAYS, *, overviews=True):
    made = World(folder)
    for number, (day, scl) in enumerate(days.items()):
        said = {"day": day, "cloud_cover": COVERS.get(day, 30)}
        # Each day has a value of its own, so that a pixel tells which days it is of.
        made.add(ground() + 10 * (number + 1), "red", unit="reflectance", **said)
        made.add(scl, "scl", unit="class", nodata=0, **said)
        if overviews:
            with rasterio.open(made.files[-1]["href"], "r+") as file:
                file.build_overviews([2, 4, 8, 16], rasterio.enums.Resampling.nearest)
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return world_of(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(tmp_path_factory.mktemp("card"), conv_stack(n_in=1), inputs=[INPUT], outputs=[OUTPUT])


def job_of(world, card, output, *, rows=(0, SIDE), cols=(0, SIDE), clearest=LOOK, **changes):
    return pixel_job(world, card, output, rows=rows, cols=cols, filter={"clearest": clearest}, **changes)


def composite(plan, block):
    """(pixels of the only step over a block with its halo, observations), read as a run reads them."""
    read = read_inputs(plan, block, scene_access(plan_sources(plan)))
    return read.steps["x"][0, 0], read.step_counts["x"][0]


def mosaic(plan):
    """The composite over the world, pasted from the blocks with their halos, NaN where no block reads."""
    whole = np.full((SIDE, SIDE), np.nan, np.float32)
    for block in plan.raster.all_blocks():
        box = block.outer.shift(-ROW, -COL)
        top, left = max(0, -box.row_start), max(0, -box.col_start)
        found = composite(plan, block)[0][top : SIDE - box.row_start, left : SIDE - box.col_start]
        place = whole[box.row_start + top :, box.col_start + left :][: found.shape[0], : found.shape[1]]
        assert np.array_equal(np.where(np.isnan(place) | np.isnan(found), found, place), found, equal_nan=True)
        place[...] = found
    return whole


def test_each_cell_takes_its_own_clearest_day(world, card, tmp_path):
    plan = plan_job(job_of(world, card, tmp_path))
    assert plan.inputs[0].steps[0].days == ("2023-06-02", "2023-06-10"), "of the others no cell takes any"
    by_hand = ground() + np.where(np.arange(SIDE) < EDGE, 10, 20)
    assert np.allclose(mosaic(plan), by_hand)
    (row,) = chosen_json(plan.inputs)
    assert (row["taken"], row["found"], row["cell"]) == (1, 4, 512)
    shares = {each["day"]: (each["cells"], each["clear"]) for each in row["passes"]}
    # Three quarters and a half of the two rows and columns of cells lie in the world.
    assert shares == {"2023-06-02": (2, 0.234), "2023-06-10": (2, 0.156)}
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()


def test_two_days_and_what_they_leave(card, tmp_path):
    days = {
        "2023-06-02": patched(0.5),
        "2023-06-10": patched(0.4),
        "2023-06-17": np.where(patched(0.5) == CLEAR, CLOUD, CLEAR).astype(np.uint8),
        "2023-06-25": patched(0.2),
    }
    world = world_of(tmp_path / "world", days)
    kept = plan_job(job_of(world, card, tmp_path, clearest={"most": 1, "by": "pixels"}))
    assert kept.inputs[0].steps[0].days == ("2023-06-02", "2023-06-17")
    assert not np.isnan(mosaic(kept)).any()
    left = plan_job(job_of(world, card, tmp_path))
    assert left.inputs[0].steps[0].days == ("2023-06-02",)
    assert np.array_equal(np.isnan(mosaic(left)), patched(0.5) == CLOUD)


CUTS = {
    "one block": {"tile": {"block": 1024}},
    "blocks across the edges of cells": {"tile": {"block": 192}},
    "an area in one cell": {"rows": (300, 383), "cols": (330, 383), "tile": {"block": 64}},
    "an area on four cells": {"rows": (350, 420), "cols": (350, 500), "tile": {"block": 128}},
}


def test_a_composite_is_the_same_in_all_cuts(world, card, tmp_path):
    whole = mosaic(plan_job(job_of(world, card, tmp_path)))
    for name, cut in CUTS.items():
        plan = plan_job(job_of(world, card, tmp_path, **cut))
        area = plan.raster.grid.extent.pad(plan.raster.lattice.halo).shift(-ROW, -COL)
        place = slice(max(0, area.row_start), area.row_stop), slice(max(0, area.col_start), area.col_stop)
        assert np.array_equal(mosaic(plan)[place], whole[place]), name


def observations(output):
    return zarr.open_array(Path(output) / "data.zarr" / "observations", mode="r")[:]


def test_a_product_is_the_same_in_all_cuts_and_after_a_stop(world, card, tmp_path):
    whole = run(job_of(world, card, tmp_path / "whole", tile={"block": 1024}))
    (row,) = whole.report["clearest"]
    assert row["taken"] == 1
    assert "Passes chosen" in (Path(whole.output) / "report.html").read_text("utf-8")
    assert np.all(observations(whole.output) == 1), "it counts what was composited"
    cut_job = job_of(world, card, tmp_path / "cut", tile={"block": 256})
    cut = run(cut_job, workers=2)
    part = run(job_of(world, card, tmp_path / "part", rows=(300, 450), cols=(310, 480)))
    stopped = open_storage(str(cut.output))
    remove_entries(stopped, sorted(read_entries(stopped))[:4])
    (Path(cut.output) / "item.json").unlink()
    again = run(cut_job)
    assert again.report["blocks_made"] == 4
    for name in ("class", "confidence"):
        everywhere = layer(whole.output, name)
        assert np.array_equal(layer(cut.output, name), everywhere), name
        assert np.array_equal(layer(part.output, name), everywhere[300:450, 310:480]), name


def test_an_update_makes_the_blocks_whose_choice_changed_and_no_others(world, card, tmp_path):
    first = World(world.folder)
    first.files = [entry for entry in world.files if entry["datetime"][:10] != "2023-06-10"]
    jobs = [job_of(one, card, tmp_path / "out", tile={"block": 128}) for one in (first, world)]
    before, after = map(plan_job, jobs)
    blocks = list(after.raster.all_blocks())
    changed = {block.name for block in blocks if block_key(before, block) != block_key(after, block)}
    assert changed == {block.name for block in blocks if block.outer.col_stop - COL > EDGE}
    assert 0 < len(changed) < len(blocks)
    run(jobs[0])
    updated = run_job(jobs[1], RunOptions(workers=1, update=True))
    assert updated.report["blocks_made"] == len(changed)
    fresh = run(job_of(world, card, tmp_path / "fresh"))
    assert np.array_equal(layer(updated.output, "confidence"), layer(fresh.output, "confidence"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": {"kind": "none"}}, "and no input has one. Leave mask.kind none out, choose a source"),
        ({"clearest": {"most": 1, "by": "statement", "holes": "fill"}}, "holes means nothing by statement"),
        ({"clearest": {"most": 0, "by": "pixels"}}, "filter.clearest.most: expected a number greater than 0"),
        ({"clearest": {"most": 1, "by": "look"}}, "filter.clearest.by: expected 'statement' or 'pixels'"),
        (
            {"clearest": {"most": 1, "bye": "pixels"}},
            r"filter.clearest.bye: unknown key.*'by'.*most, by, holes",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_refused(world, card, tmp_path, changes, words):
    with pytest.raises(JobError, match=words):
        plan_job(job_of(world, card, tmp_path, **changes))


def test_a_day_without_a_mask_comes_last(card, tmp_path):
    world = world_of(tmp_path / "world")
    world.files = [entry for entry in world.files if (entry["band"], entry["datetime"][:10]) != ("scl", "2023-06-02")]
    plan = plan_job(job_of(world, card, tmp_path))
    assert plan.inputs[0].steps[0].days == ("2023-06-10", "2023-06-17")


def test_the_look_reads_overviews_and_asks_no_more_than_it_needs(world, card, tmp_path):
    flat = world_of(tmp_path / "flat", overviews=False)
    plans = [plan_job(job_of(one, card, tmp_path)) for one in (world, flat)]
    costs = [plan.inputs[0].choice.cost for plan in plans]
    assert plans[0].inputs[0].choice == plans[1].inputs[0].choice
    assert costs[0].n_bytes < costs[1].n_bytes / 4
    few = plan_job(job_of(world, card, tmp_path, clearest={"most": 4, "by": "pixels"}))
    assert few.inputs[0].choice is None, "where all are taken nobody has to look"


def test_by_statement_is_a_number_as_before(world, card, tmp_path):
    alone, said = (
        job_of(world, card, tmp_path, clearest=clearest).request() for clearest in (2, {"most": 2, "by": "statement"})
    )
    assert alone == said
    assert alone["filter"]["clearest"] == 2
    again = make_job({"name": "x", **job_of(world, card, tmp_path).request()}, base=Path())
    assert again.filter.clearest.by == "pixels"


def test_an_area_is_chosen_for_from_all_scenes_of_its_cells(card, tmp_path):
    world = World(tmp_path / "world")
    # The western scene shows more of the cell, and lies farther from the area than its windows reach.
    for day, value, cols in (("2023-06-02", 10, (0, 200)), ("2023-06-10", 20, (200, 380))):
        shape = (SIDE, cols[1] - cols[0])
        said = {"day": day, "at": (0, cols[0])}
        world.add(np.full(shape, value, np.float32), "red", unit="reflectance", **said)
        world.add(np.full(shape, CLEAR, np.uint8), "scl", unit="class", nodata=0, **said)
    whole = mosaic(plan_job(job_of(world, card, tmp_path)))
    assert np.all(whole[:EDGE, :200] == 10)
    assert np.isnan(whole[:EDGE, 200:EDGE]).all()
    plan = plan_job(job_of(world, card, tmp_path, rows=(100, 200), cols=(320, 370), tile={"block": 64}))
    assert np.isnan(mosaic(plan)[100:200, 320:370]).all()


def test_a_coarser_input_has_cells_of_the_same_ground(tmp_path):
    entry = {**INPUT, "tw:resolution": 20}
    graph = conv_stack(n_in=1)
    folder = write_card(tmp_path / "card", graph, inputs=[entry], outputs=[OUTPUT], tile={"step": 64})
    world = World(tmp_path / "world")
    for number, (day, scl) in enumerate(DAYS.items()):
        world.add(np.full((SIDE // 2,) * 2, number, np.float32), "red", size=20.0, day=day, unit="reflectance")
        world.add(scl, "scl", day=day, unit="class", nodata=0)
    plan = plan_job(job_of(world, folder, tmp_path, grid={"resolution": 20.0}, rows=(0, SIDE), cols=(0, SIDE)))
    assert plan.inputs[0].choice.side * plan.inputs[0].coarser == 512 * plan.inputs[0].finer


def test_each_date_of_a_pair_chooses_for_itself(world, tmp_path):
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["b", 2, 1, "h", "w"]), ("y", ["b", 1, "h", "w"]))
    ]
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    graph = onnx.helper.make_graph([node], "mean", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    dims = ("batch", "time", "bands", "height", "width")
    entry = {**INPUT, "dims": dims, "tw:dates": {"kind": "pair", "reducer": "mean"}}
    folder = write_card(tmp_path / "card", model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["mean"]}])
    period = {"before": "2023-06-01/2023-06-15", "after": "2023-06-16/2023-06-30"}
    plan = plan_job(job_of(world, folder, tmp_path, period=period))
    assert [step.days for step in plan.inputs[0].steps] == [("2023-06-02", "2023-06-10"), ("2023-06-17",)]
    # The middle of a step stays that of all its days, whatever was chosen.
    assert [step.middle.isoformat() for step in plan.inputs[0].steps] == ["2023-06-06", "2023-06-21"]


def test_days_that_are_steps_are_the_cards_to_choose(world, tmp_path):
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["b", "t", 1, "h", "w"]), ("y", ["b", 1, "h", "w"]))
    ]
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    graph = onnx.helper.make_graph([node], "mean", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    dims = ("batch", "time", "bands", "height", "width")
    entry = {**INPUT, "dims": dims, "tw:dates": {"kind": "each", "steps": 2}}
    folder = write_card(tmp_path / "card", model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["mean"]}])
    with pytest.raises(JobError, match=r"leave filter\.clearest out"):
        plan_job(job_of(world, folder, tmp_path))


def test_the_plan_says_what_was_chosen_and_counts_only_that(world, card, tmp_path):
    loaded = load_card(card)
    every, chosen = (
        plan_job(pixel_job(world, card, tmp_path, rows=(0, SIDE), cols=(0, SIDE), **wanted), loaded)
        for wanted in ({}, {"filter": {"clearest": LOOK}})
    )
    figures = [estimate(plan, loaded) for plan in (every, chosen)]
    said = dict(figures[1].lines(chosen))["clearest"]
    assert said.startswith("input x: 1 of 4 passes in the mean, chosen in 4 cells of 512 px; the look at 4 mask files")
    assert "clearest" not in dict(figures[0].lines(every))
    # One pass of four in each place, but of the files' tiles, which lie over several places.
    assert figures[1].bytes_read * 2 < figures[0].bytes_read
