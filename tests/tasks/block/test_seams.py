"""Windows of a run that are run again half a step away: what they show, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import shapely
from onnx import TensorProto

from tests.support.graphs import Draft, conv_stack, window_vector
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.block.seams import LayerSeams, Seams, joined_seams
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.drawn_places import drawn_places, sample_size
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.progress import Advance
from tilewright.tasks.storage.ledger import BlockEntry, read_entries
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 512
ROWS, COLS = (60, 440), (60, 440)
PLATEAU = np.float32(0.4375)
"""A value that noise does not meet."""
IMAGE = {"name": "x", "bands": ["red"]}
VALUE = {"name": "y", "tw:layers": ["value"]}
CLASSES = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A band of noise with squares of one value in it."""
    random = np.random.default_rng(4)
    red = random.uniform(0.05, 0.4, (SIDE, SIDE)).astype(np.float32)
    red[(np.indices(red.shape) // 20 % 3 == 0).all(axis=0)] = PLATEAU
    made = World(tmp_path_factory.mktemp("world"))
    made.add(red, "red", unit="reflectance")
    return made


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    """A band of noise with holes in it."""
    red = np.random.default_rng(4).uniform(0.05, 0.4, (SIDE, SIDE)).astype(np.float32)
    rows, cols = np.indices(red.shape)
    red[(rows // 8 + cols // 8) % 9 == 0] = np.nan
    made = World(tmp_path_factory.mktemp("holed"))
    made.add(red, "red", unit="reflectance")
    return made


def gated(value):
    """`value(draft)` where a pixel has the value of the plateaus, else the pixel itself."""
    draft = Draft()
    gate = draft.node("Equal", "x", draft.constant(np.array(PLATEAU, np.float32)))
    return draft.model(draft.node("Where", gate, value(draft), "x"), n_in=1, n_out=1)


def window_mean(draft):
    return draft.node("GlobalAveragePool", "x")


def mates_mean(draft):
    return draft.node("ReduceMean", "x", axes=[0], keepdims=1)


def seams_of(world, folder, model, *, outputs=VALUE, tile=None, job=None, workers=1, rows=ROWS, **image):
    card = write_card(folder / "card", model, inputs=[{**IMAGE, **image}], outputs=[outputs], tile=tile)
    made = run(pixel_job(world, card, folder / "out", rows=rows, cols=COLS, **(job or {})), workers=workers)
    return made, made.report["seams"]


def test_windows_of_a_bounded_model_show_nothing(world, tmp_path):
    made, seams = seams_of(world, tmp_path, conv_stack((1, 9, 3), n_in=1), outputs=CLASSES)
    assert (made.report["exact"], made.report["exactness"]) == (True, "proven")
    assert 2 <= seams["windows"] <= 4
    assert (seams["differing"], seams["percent"], seams["gap_pixels"]) == (0, 0.0, 0)
    assert {row["name"] for row in seams["layers"]} == {"class", "confidence"}
    assert all(0 < row["pixels"] <= seams["windows"] * 32 * 64 for row in seams["layers"])
    item = open_storage(made.output).read("item.json").decode()
    assert '"exactness": "proven"' in item


def test_a_model_without_bound_has_its_seams_told(world, tmp_path):
    draft = Draft()
    x = draft.node("Add", "x", draft.node("GlobalAveragePool", "x"))
    made, seams = seams_of(world, tmp_path, draft.model(x, n_in=1, n_out=1))
    assert made.report["exactness"] == "no"
    assert seams["windows"]
    assert seams["percent"] > 50
    assert seams["largest"] > 1e-4


def test_the_seam_index_of_values_is_their_mean_change(world, tmp_path):
    """A graph that adds its window's mean: pixels of two windows differ by the difference of these means."""
    draft = Draft()
    x = draft.node("Add", "x", draft.node("GlobalAveragePool", "x"))
    found = {}
    for block in (64, 128, 512):
        _, seams = seams_of(
            world, tmp_path / str(block), draft.model(x, n_in=1, n_out=1), job={"tile": {"block": block}}
        )
        (found[block],) = seams["layers"]
        assert found[block]["of"] == "change"
        assert 0 < found[block]["index"] < found[block]["largest"]
    # Blended windows have room on every side, so that the same ones are compared in every cut.
    assert found[64] == found[128] == found[512]


def test_the_seam_index_of_classes_is_the_share_that_changes(world, tmp_path):
    draft = Draft()
    other = draft.node("Greater", "x", draft.node("GlobalAveragePool", "x"))
    labels = draft.node("Squeeze", draft.node("Cast", other, to=TensorProto.INT64), draft.constant(np.array([1])))
    model = draft.model(
        labels, n_in=1, n_out=1, out_type=TensorProto.INT64, out_shape=["batch", "oh", "ow"]
    )  # fmt: skip
    outputs = {"name": "y", "dims": ("batch", "height", "width"), "classes": ("land", "water"), "tw:layers": ["class"]}
    _, seams = seams_of(world, tmp_path, model, outputs=outputs)
    (row,) = seams["layers"]
    assert row["of"] == "share"
    assert row["index"] == pytest.approx(row["differing"] / row["pixels"], rel=1e-5)
    assert row["index"] > 0


@pytest.mark.parametrize("tile", [None, {"step": 64, "trim": 16, "merge": "trim"}], ids=["blended", "trimmed"])
def test_a_layer_of_the_seams_is_the_same_in_every_cut_and_what_the_index_says(world, tmp_path, tile):
    draft = Draft()
    model = draft.model(draft.node("Add", "x", draft.node("GlobalAveragePool", "x")), n_in=1, n_out=1)
    layers = []
    for block, workers in ((64, 1), (128, 4), (512, 1)):
        job = {"tile": {"block": block}, "seams": True}
        made, seams = seams_of(world, tmp_path / str(block), model, tile=tile, job=job, workers=workers)
        changes = layer(made.output, "value_seam")
        (row,) = seams["layers"]
        assert (row["name"], int(np.isfinite(changes).sum())) == ("value", row["pixels"])
        assert np.nanmean(changes, dtype=np.float64) == pytest.approx(row["index"], rel=1e-4)
        assert np.nanmax(changes) == pytest.approx(row["largest"])
        layers.append((changes, layer(made.output, "value")))
    for others in layers[1:]:
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(layers[0], others, strict=True))


def test_the_seams_of_classes_are_0_and_1_and_those_of_a_proven_map_0(world, tmp_path):
    made, _ = seams_of(world, tmp_path, conv_stack((1, 9, 3), n_in=1), outputs=CLASSES, job={"seams": True})
    names = [row["name"] for row in made.report["layers"]]
    assert names == ["class", "confidence", "class_seam", "confidence_seam"]
    changes = layer(made.output, "class_seam")
    assert set(np.unique(changes[np.isfinite(changes)]).tolist()) == {0.0}
    assert made.report["exactness"] == "proven"
    assert not [words for words in made.report["warnings"] if "seam" in words]
    only = {"seams": True, "layers": ["class"]}
    made, _ = seams_of(world, tmp_path / "only", conv_stack((1, 9, 3), n_in=1), outputs=CLASSES, job=only)
    assert [row["name"] for row in made.report["layers"]] == ["class", "class_seam"]


@pytest.mark.parametrize(
    ("model", "output", "words"),
    [
        (
            window_vector(),
            {**VALUE, "dims": ("batch", "class"), "tw:layers": list("abcde")},
            "gives nothing for each pixel",
        ),
        (conv_stack((1,), n_in=1), {**VALUE, "tw:layers": ["a", "a_seam"]}, "has a layer a_seam of its own"),
    ],
    ids=["vectors", "its own"],
)
def test_seams_that_cannot_be_written_are_refused(world, tmp_path, model, output, words):
    n_bands = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    card = write_card(
        tmp_path / "card", model, inputs=[{"name": "x", "bands": ["red", "green", "blue"][:n_bands]}], outputs=[output]
    )
    with pytest.raises(ValueError, match=words):
        run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, seams=True))


def test_the_seam_index_is_0_where_exact_is_proven_and_not_known_where_nothing_was_compared(world, tmp_path):
    _, seams = seams_of(world, tmp_path / "a", conv_stack((1, 9, 3), n_in=1), outputs=CLASSES)
    assert [(row["name"], row["index"]) for row in seams["layers"]] == [("class", 0), ("confidence", 0)]
    draft = Draft()
    x = draft.node("Add", "x", draft.node("GlobalAveragePool", "x"))
    model, tile = draft.model(x, n_in=1, n_out=1), {"step": 64, "trim": 16, "merge": "trim"}
    _, seams = seams_of(world, tmp_path / "b", model, tile=tile, job={"tile": {"block": 64}})
    assert (seams["windows"], [row["index"] for row in seams["layers"]]) == (0, [None])


def test_what_was_measured_and_shows_a_seam_on_the_jobs_own_pixels_is_no_longer_called_so(world, tmp_path):
    made, seams = seams_of(world, tmp_path, gated(window_mean))
    assert (made.report["exact"], made.report["exactness"]) == (False, "no")
    assert "when it is run again half a step away" in made.report["exact_reason"]
    assert seams["percent"] > 1
    assert any("taken back" in words for words in made.report["warnings"])


def test_a_proof_that_the_runs_windows_contradict_is_taken_back_and_asked_to_be_reported(world, tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.flows.plan.make.judge_exactness", lambda *_: ("proven", "so it was claimed"))
    made, _ = seams_of(world, tmp_path, gated(window_mean))
    assert (made.report["exact"], made.report["exactness"]) == (False, "no")
    assert "please report this model" in made.report["exact_reason"]
    assert '"exact": false' in open_storage(made.output).read("item.json").decode()


def test_windows_that_see_their_batch_mates_are_found_by_running_them_beside_others(world, tmp_path):
    made, seams = seams_of(world, tmp_path, gated(mates_mean), job={"tile": {"batch": 4}})
    assert made.report["exactness"] == "no"
    assert "tile.batch: 1" in made.report["exact_reason"]
    assert seams["mates"]["percent"] > 1
    alone, seams = seams_of(world, tmp_path / "alone", gated(mates_mean), job={"tile": {"batch": 1}})
    assert alone.report["exactness"] == "proven"
    assert "mates" not in seams
    assert seams["differing"] == 0


def test_mates_of_a_model_that_treats_windows_alone_show_nothing(world, tmp_path):
    made, seams = seams_of(world, tmp_path, conv_stack((1, 5), n_in=1), outputs=CLASSES, job={"tile": {"batch": 4}})
    assert made.report["exactness"] == "proven"
    assert seams["windows"] * 32 * 64 < seams["mates"]["pixels"] <= seams["windows"] * 64 * 64
    assert seams["mates"]["differing"] == 0


def test_pixels_beside_missing_ones_are_counted_apart_and_excepted(holed, tmp_path):
    wide = conv_stack((12,), n_in=1)
    made, seams = seams_of(holed, tmp_path, wide, outputs={**VALUE, "tw:layers": ["one", "two"]})
    assert made.report["exactness"] == "proven"
    assert "pixels beside missing ones" in made.report["exact_reason"]
    assert seams["gap_pixels"] > 0
    assert seams["differing"] == 0


def test_missing_pixels_that_are_filled_by_a_number_make_no_seam(holed, tmp_path):
    wide, fill = conv_stack((12,), n_in=1), {"tw:missing": {"fill": 0.2, "pad": "fill"}}
    made, seams = seams_of(holed, tmp_path, wide, outputs={**VALUE, "tw:layers": ["one", "two"]}, **fill)
    assert "missing" not in made.report["exact_reason"]
    assert (seams["gap_pixels"], seams["differing"]) == (0, 0)
    assert seams["pixels"] > 0


def test_the_mean_of_a_window_that_fills_it_shows_beside_missing_pixels_alone(holed, tmp_path):
    layers = {**VALUE, "tw:layers": ["one", "two"]}
    _, seams = seams_of(holed, tmp_path, conv_stack((2,), n_in=1), outputs=layers, **{"tw:missing": {"fill": "mean"}})
    assert seams["gap_differing"] > 0
    assert (seams["differing"], seams["pixels"] > 0) == (0, True)


@pytest.mark.parametrize(("block", "workers"), [(128, 1), (256, 4), (1024, 2)])
def test_neither_block_nor_workers_choose_the_windows(world, tmp_path, block, workers):
    model = conv_stack((1, 9, 3), n_in=1)
    made, seams = seams_of(world, tmp_path, model, outputs=CLASSES, job={"tile": {"block": block}}, workers=workers)
    assert made.report["exactness"] == "proven"
    # Of few windows two are enough to try a proof.
    assert seams["windows"] == 2


def test_a_resumed_run_keeps_what_its_first_part_compared(world, tmp_path):
    model = conv_stack((1, 9, 3), n_in=1)
    _, whole = seams_of(world, tmp_path / "whole", model, outputs=CLASSES, job={"tile": {"block": 128}})
    card = write_card(tmp_path / "card", model, inputs=[IMAGE], outputs=[CLASSES])
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128})
    done = []

    def stop(event):
        if isinstance(event, Advance) and event.km2 and len(done) >= 2:
            raise KeyboardInterrupt
        done.extend([event] if isinstance(event, Advance) else [])

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=stop)
    first = joined_seams(
        Seams.from_json(each.seams) for each in read_entries(open_storage(str(tmp_path / "out"))).values()
    )
    assert 0 < first.windows < whole["windows"]
    assert run(job).report["seams"] == whole


def test_blocks_of_one_window_have_none_to_compare(world, tmp_path):
    made, seams = seams_of(world, tmp_path, conv_stack((2,), n_in=1), outputs=CLASSES, job={"tile": {"block": 64}})
    assert made.report["exact"]
    assert seams["windows"] == 0


def test_outputs_on_a_coarser_and_a_finer_grid_are_compared(world, tmp_path):
    draft = Draft()
    half = draft.node("AveragePool", draft.conv("x", 1, 2), kernel_shape=[2, 2], strides=[2, 2])
    fine = draft.up(draft.conv("x", 1, 2), 2)
    kinds = [("x", TensorProto.FLOAT, ["n", 1, "h", "w"])]
    model = draft.model_many(
        kinds,
        [
            (half, "y", TensorProto.FLOAT, ["n", 2, "hh", "hw"]),
            (fine, "z", TensorProto.FLOAT, ["n", 2, "fh", "fw"]),
        ],
    )
    outputs = [
        {"name": "y", "tw:layers": ["a", "b"], "tw:scale": 0.5},
        {"name": "z", "tw:layers": ["c", "d"], "tw:scale": 2},
    ]
    card = write_card(tmp_path / "card", model, inputs=[IMAGE], outputs=outputs)
    report = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS)).report
    pixels = {row["name"]: row["pixels"] for row in report["seams"]["layers"]}
    assert pixels["c"] == 16 * pixels["a"] > 0
    assert report["seams"]["differing"] == 0


def test_a_number_for_the_whole_window_is_not_compared(world, tmp_path):
    draft = Draft()
    vector = draft.node("Flatten", draft.node("GlobalAveragePool", "x"))
    model = draft.model(vector, n_in=1, n_out=1, out_shape=["batch", 1])
    made, seams = seams_of(world, tmp_path, model, outputs={**VALUE, "dims": ("batch", "channel")})
    assert made.report["exactness"] == "no"
    assert seams["windows"] == 0


def test_a_blended_model_is_compared_where_windows_have_their_core(world, tmp_path):
    made, seams = seams_of(world, tmp_path, global_pool_of_one(), outputs=CLASSES, job={"tile": {"block": 128}})
    assert made.report["exactness"] == "no"
    assert 0 < seams["windows"] <= 4


def global_pool_of_one():
    draft = Draft()
    three = draft.node("Concat", "x", "x", "x", axis=1)
    mean = draft.node("GlobalAveragePool", three)
    return draft.model(draft.conv(draft.node("Add", three, mean), 3, 2, (1, 1)), n_in=1, n_out=2)


GRID = Grid(
    crs="EPSG:32633", resolution=10.0, extent=PixelBox(row_start=-900, row_stop=900, col_start=-900, col_stop=900)
)


def test_the_draw_hangs_on_places_alone_and_is_spread():
    every = shapely.box(*GRID.bounds_of(GRID.extent))
    drawn = list(islice(drawn_places(GRID, PreparedArea(every), step=10), 3240))
    assert len(set(drawn)) == 3240
    rows, cols = np.array(drawn).T
    for quarter in (rows < 0, rows >= 0, cols < 0, cols >= 0):
        assert abs(quarter.mean() - 0.5) < 0.03
    half = shapely.box(*GRID.bounds_of(replace(GRID.extent, col_stop=1)))
    smaller = replace(GRID, extent=replace(GRID.extent, row_stop=0))
    kept = [place for place in drawn_places(GRID, PreparedArea(every), step=10) if place[1] <= 0 and place[0] < 0]
    assert list(drawn_places(smaller, PreparedArea(half), step=10)) == kept


@pytest.mark.parametrize(
    ("n_windows", "calls", "compared", "proven"),
    [
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (7, 1, 4, 2),
        (8, 1, 4, 2),
        (400, 1, 4, 4),
        (1000, 1, 10, 10),
        (1000, 8, 4, 2),
        (8000, 8, 10, 10),
        (10**6, 1, 64, 64),
    ],
)
def test_one_window_in_a_hundred_is_compared_within_bounds(n_windows, calls, compared, proven):
    assert sample_size(n_windows, windows_per_call=calls) == compared
    assert sample_size(n_windows, windows_per_call=calls, proven=True) == proven


def test_seams_add_up_and_outlive_their_json():
    one = Seams(windows=1, layers={"a": LayerSeams(pixels=10, differing=1, largest=0.5)})
    two = Seams(windows=2, layers={"a": LayerSeams(pixels=30, gap_pixels=4, largest=0.25), "b": LayerSeams(pixels=1)})
    total = joined_seams([one, two])
    assert total.layers["a"] == LayerSeams(pixels=40, differing=1, largest=0.5, gap_pixels=4)
    assert Seams.from_json(total.to_json()) == total
    assert Seams().to_json() == {}


@pytest.mark.parametrize(
    "plain",
    [
        *({}, [], "text", {"windows": 3}, {"windows": "x", "layers": {}, "mates": {}}),
        *({"windows": 1, "layers": {"a": {"pixels": "4"}}, "mates": {}}, {"windows": 1, "layers": [1], "mates": {}}),
        {"windows": 1, "layers": {"a": {"other": 4}}, "mates": {}},
    ],
)
def test_numbers_that_are_none_are_no_seams(plain):
    assert Seams.from_json(plain) == Seams()


def test_a_fused_graph_is_compared_by_the_layers_that_it_gives(world, tmp_path):
    made, seams = seams_of(world, tmp_path, conv_stack((1, 5), n_in=1), outputs=CLASSES, job={"fuse": "yes"})
    assert made.report["fused"]
    assert made.report["exactness"] == "proven"
    assert seams["windows"] > 0
    assert seams["differing"] == 0


def test_entries_of_before_hold_no_seams():
    plain = BlockEntry(row=0, col=0, key="k", written=True).to_json()
    plain.pop("seams")
    assert BlockEntry.from_json(plain).seams == {}
    assert Seams.from_json({}) == Seams()
