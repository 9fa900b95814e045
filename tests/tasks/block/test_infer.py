"""Card fields that decide how windows are run: fixed batches, rows with places, coarser outputs, missing inputs."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from onnx import TensorProto
from pyproj import Transformer

from tests.support.graphs import Draft, unet
from tests.support.worlds import COL, CRS, ROW, World, layer, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 160
ROWS, COLS = (10, 130), (14, 142)
HERE = slice(*ROWS), slice(*COLS)
FLOAT = TensorProto.FLOAT
IMAGE = {"name": "x", "bands": ["red"]}
VALUE = {"name": "y", "tw:layers": ["value"]}


@pytest.fixture
def red():
    return np.random.default_rng(5).uniform(0, 1, (SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def world(red, tmp_path):
    made = World(tmp_path / "world")
    made.add(red, "red", unit="reflectance")
    return made


@pytest.fixture
def produce(world, tmp_path):
    def run_card(card, name="out", **changes):
        return run(pixel_job(world, card, tmp_path / name, rows=ROWS, cols=COLS, **changes))

    return run_card


def test_a_graph_that_takes_four_windows_at_a_time_gives_what_one_at_a_time_gives(produce, tmp_path):
    single = unet(1, 2, width=4, depth=2)
    fixed = unet(1, 2, width=4, depth=2)
    for port in (*fixed.graph.input, *fixed.graph.output):
        port.type.tensor_type.shape.dim[0].ClearField("dim_param")
        port.type.tensor_type.shape.dim[0].dim_value = 4
    head = {"name": "y", "tw:layers": ["one", "two"]}
    cards = [
        write_card(tmp_path / name, graph, inputs=[IMAGE], outputs=[head])
        for name, graph in zip("ab", (single, fixed), strict=True)
    ]
    one, four = (produce(card, name) for card, name in zip(cards, ("one", "four"), strict=True))
    assert one.report["windows_run"] % 4, "the last batch is not full"
    for name in ("one", "two"):
        assert np.abs(layer(one.output, name) - layer(four.output, name)).max() < 1e-5


def test_rows_of_pixels_know_where_and_when_they_are(produce, red, tmp_path):
    draft = Draft()
    total = draft.node("Add", draft.node("ReduceSum", "place", draft.constant(np.array([1])), keepdims=1), "x")
    total = draft.node("Add", total, "day")
    model = draft.model_many(
        [("x", FLOAT, ["n", 1]), ("place", FLOAT, ["n", 2]), ("day", FLOAT, ["n", 1])], [(total, "y", FLOAT, ["n", 1])]
    )
    rows = ("batch", "features")
    extras = [
        {"name": "place", "dims": rows, "tw:extra": "lonlat"},
        {"name": "day", "dims": rows, "tw:extra": "day_of_year"},
    ]
    card = write_card(
        tmp_path / "card", model, inputs=[{**IMAGE, "dims": rows}, *extras], outputs=[{**VALUE, "dims": rows}]
    )
    outcome = produce(card)
    x, y = (COL + np.arange(SIDE) + 0.5) * 10, -(ROW + np.arange(SIDE) + 0.5) * 10
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    assert np.abs(layer(outcome.output, "value") - (lon + lat + red + 161)[HERE]).max() < 1e-4
    assert outcome.report["exact"]


def test_a_place_of_the_whole_window_makes_a_map_inexact(produce, tmp_path):
    draft = Draft()
    place = draft.node("Unsqueeze", "place", draft.constant(np.array([2, 3])))
    model = draft.model_many(
        [("x", FLOAT, ["n", 1, "h", "w"]), ("place", FLOAT, ["n", 1])],
        [(draft.node("Add", "x", place), "y", FLOAT, ["n", 1, "oh", "ow"])],
    )
    extra = {"name": "place", "dims": ("batch", "features"), "tw:extra": {"kind": "lonlat", "parts": ["lat"]}}
    outcome = produce(write_card(tmp_path / "card", model, inputs=[IMAGE, extra], outputs=[VALUE]))
    assert not outcome.report["exact"]
    assert "one number for a whole window" in outcome.report["exact_reason"]


def test_an_output_of_half_the_pixels_lies_on_a_grid_of_20_m(produce, world, red, tmp_path):
    draft = Draft()
    half = draft.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    model = draft.model_many([("x", FLOAT, ["n", 1, "h", "w"])], [(half, "y", FLOAT, ["n", 1, "oh", "ow"])])
    card = write_card(tmp_path / "card", model, inputs=[IMAGE], outputs=[{**VALUE, "tw:scale": 0.5}])
    outcome = produce(card)
    assert outcome.report["grid"]["resolution"] == 20
    halves = red[HERE].reshape(60, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(layer(outcome.output, "value") - halves).max() < 1e-6
    small = run(pixel_job(world, card, tmp_path / "small", rows=(32, 96), cols=(40, 100), tile={"block": 64}))
    assert np.array_equal(layer(small.output, "value"), layer(outcome.output, "value")[11:43, 13:43])


def test_an_optional_series_of_every_date_without_any_scene_is_one_missing_step(produce, red, tmp_path):
    draft = Draft()
    depth = draft.node("ReduceSum", "radar", draft.constant(np.array([1, 2])), keepdims=0)
    total = draft.node("Add", "x", draft.node("Unsqueeze", depth, draft.constant(np.array([1]))))
    model = draft.model_many(
        [("x", FLOAT, ["n", 1, "h", "w"]), ("radar", FLOAT, ["n", "t", 1, "h", "w"])],
        [(total, "y", FLOAT, ["n", 1, "oh", "ow"])],
    )
    radar = {
        "name": "radar",
        "bands": ["vv"],
        "dims": ("batch", "time", "bands", "height", "width"),
        "tw:collection": "sentinel-1-rtc",
        "tw:unit": "db",
        "tw:dates": {"kind": "each"},
        "tw:missing": {"fill": -7},
        "tw:optional": True,
    }
    outcome = produce(write_card(tmp_path / "card", model, inputs=[IMAGE, radar], outputs=[VALUE]))
    assert np.abs(layer(outcome.output, "value") - (red - 7)[HERE]).max() < 1e-5
    assert layer_counts(outcome).max() == 1


def layer_counts(outcome):

    return zarr.open_group(f"{outcome.output}/data.zarr", mode="r")["observations"][:]
