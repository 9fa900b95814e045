"""Families of models that need several sources, end to end on pixels of known values; numpy says what must come out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from pyproj import Transformer

from tests.support.families import (
    COLS,
    FLOAT,
    HERE,
    ROWS,
    SIDE,
    VALUE,
    noise,
)
from tests.support.graphs import Draft, pointwise
from tests.support.worlds import COL, CRS, ROW, pixel_job, run, write_card
from tilewright.flows.job.job import JobError

pytestmark = pytest.mark.usefixtures("small_pictures")


def fusion_card(folder):
    """y = optical (10 m) + the radar's dB (20 m, brought to 10 m by repeating)."""
    draft = Draft()
    total = draft.node("Add", "optical", draft.up("radar", 2))
    model = draft.model_many(
        [("optical", FLOAT, ["batch", 1, "h", "w"]), ("radar", FLOAT, ["batch", 1, "rh", "rw"])],
        [(total, "y", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    radar = {"tw:collection": "sentinel-1-rtc", "tw:unit": "db", "tw:resolution": 20}
    missing = {"tw:optional": True, "tw:missing": {"fill": -20}}
    inputs = [{"name": "optical", "bands": ["red"]}, {"name": "radar", "bands": ["vv"], **radar, **missing}]
    return write_card(folder, model, inputs=inputs, outputs=[{"name": "y", "tw:layers": ["total"]}])


def test_f03_optical_at_10_m_and_radar_at_20_m_meet_and_power_becomes_decibel(world, produce, tmp_path):
    red, power = noise(1), noise(2, low=0.001, high=0.3, side=SIDE // 2)
    world.add(red, "red", unit="reflectance")
    world.add(power, "vv", collection="sentinel-1-rtc", size=20.0, unit="linear")
    made = produce(fusion_card(tmp_path / "card"))["total"]
    decibel = (10 * np.log10(power.astype(np.float64))).repeat(2, 0).repeat(2, 1)
    assert np.abs(made - (red + decibel)[HERE]).max() < 1e-5


def test_f03_a_source_without_radar_is_enough_where_radar_is_optional(world, produce, tmp_path):
    red = noise(1)
    world.add(red, "red", unit="reflectance")
    made = produce(fusion_card(tmp_path / "card"))["total"]
    assert np.abs(made - (red - 20)[HERE]).max() < 1e-5


def test_f03_power_of_no_known_unit_is_refused_for_a_card_that_takes_decibel(world, produce, tmp_path):
    world.add(noise(1), "red", unit="reflectance")
    world.add(noise(2, side=SIDE // 2), "vv", collection="sentinel-1-grd", size=20.0)
    folder = fusion_card(tmp_path / "card")
    text = (folder / "card.json").read_text().replace("sentinel-1-rtc", "sentinel-1-grd")
    (folder / "card.json").write_text(text)
    with pytest.raises(JobError, match=r"takes vv in db .* has it in 1"):
        produce(folder)


def test_a_unit_that_does_not_fit_is_refused(world, produce, tmp_path):
    world.add(noise(1), "red", unit="m")
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[{"name": "x", "bands": ["red"]}], outputs=[VALUE])
    with pytest.raises(JobError, match=r"takes red in reflectance .* has it in m"):
        produce(card)


def test_a_filter_that_contradicts_the_cards_is_refused(world, produce, tmp_path):
    world.add(noise(1), "red", unit="reflectance", orbit_state="ascending")
    entry = {"name": "x", "bands": ["red"], "tw:filter": {"orbit_state": "ascending"}}
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[entry], outputs=[VALUE])
    with pytest.raises(JobError, match=r"filter\.orbit_state is 'descending', but input x"):
        produce(card, filter={"orbit_state": "descending"})


def test_f04_elevation_whatever_its_date_place_and_day_beside_the_pixels(world, produce, tmp_path):
    red, metres = noise(1), noise(2, low=100, high=900, side=SIDE // 2)
    world.add(red, "red", unit="reflectance")
    world.add(metres, "height", collection="terrain", day="2011-01-01", size=20.0, unit="m")
    draft = Draft()
    hills = draft.up("dem", 2)
    place = draft.node("ReduceSum", "place", draft.constant(np.array([1])), keepdims=1)
    day = draft.node("Unsqueeze", "day", draft.constant(np.array([2, 3])))
    total = draft.node("Add", draft.node("Add", "x", hills), draft.node("Add", place, day))
    model = draft.model_many(
        [
            ("x", FLOAT, ["batch", 1, "h", "w"]),
            ("dem", FLOAT, ["batch", 1, "dh", "dw"]),
            ("place", FLOAT, ["batch", 2, "h", "w"]),
            ("day", FLOAT, ["batch", 1]),
        ],
        [(total, "y", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    terrain = {"tw:collection": "terrain", "tw:unit": "m", "tw:resolution": 20, "tw:dates": {"kind": "static"}}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {"name": "x", "bands": ["red"]},
            {"name": "dem", "bands": ["height"], **terrain},
            {"name": "place", "dims": ("batch", "features", "height", "width"), "tw:extra": "lonlat"},
            {"name": "day", "dims": ("batch", "features"), "tw:extra": "day_of_year"},
        ],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    made = produce(card)["value"]
    x, y = (COL + np.arange(SIDE) + 0.5) * 10, -(ROW + np.arange(SIDE) + 0.5) * 10
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    expected = red + metres.repeat(2, 0).repeat(2, 1) + lon + lat + 161
    np.testing.assert_allclose(made, expected[HERE], rtol=1e-6)


def test_f09_a_cloud_model_is_a_job_before_and_its_map_the_next_jobs_mask(world, produce, tmp_path):
    clear, cloudy = noise(1, high=0.4), noise(2, high=0.4)
    cloudy[30:70, 40:110] = 0.9
    for day, values in (("2023-06-05", clear), ("2023-06-15", cloudy)):
        world.add(values, "red", day=day, unit="reflectance", scene=f"scene-{day}")
    draft = Draft()
    bright = draft.node("Cast", draft.node("Greater", "x", draft.constant([0.8])), to=TensorProto.INT64)
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])], [(bright, "y", TensorProto.INT64, ["batch", 1, "oh", "ow"])]
    )
    clouds = write_card(
        tmp_path / "clouds",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["clear", "cloud"], "tw:layers": ["cloud"]}],
    )
    for day in ("2023-06-05", "2023-06-15"):
        outcome = run(pixel_job(world, clouds, tmp_path / day, rows=ROWS, cols=COLS, period=day))
        stored = {"collection": "optics", "unit": "class", "datetime": f"{day}T10:00:00Z", "band": "cloud"}
        world.files.append({"href": f"{outcome.output}/cloud.tif", "scene": f"scene-{day}", **stored})
    mean = write_card(
        tmp_path / "mean",
        pointwise(1, 1),
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": "composite", "reducer": "mean"}}],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    weight, bias = (onnx.numpy_helper.to_array(each).item() for each in pointwise(1, 1).graph.initializer)
    made = produce(mean, mask={"kind": "values", "band": "cloud", "drop": [1]})["value"]
    expected = np.where(cloudy > 0.8, clear, (clear.astype(np.float64) + cloudy) / 2) * weight + bias
    np.testing.assert_allclose(made, expected[HERE], rtol=1e-5, atol=1e-7)
