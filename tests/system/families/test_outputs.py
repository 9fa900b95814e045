"""Families of models by what they answer, end to end on pixels of known values; numpy says what must come out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from onnx import TensorProto
from typer.testing import CliRunner

from tests.support.families import (
    COLS,
    FLOAT,
    HERE,
    ROWS,
    VALUE,
    blocky,
    noise,
)
from tests.support.graphs import Draft, finer, pointwise
from tests.support.worlds import area, layer, pixel_job, run, write_card
from tilewright.flows.cli.main import app

pytestmark = pytest.mark.usefixtures("small_pictures")


def test_f12_values_have_a_unit_and_a_range_and_outputs_may_differ_in_scale(world, produce, tmp_path):
    red = blocky(1, size=4)
    red[28:48, 32:60] = np.nan
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    tonnes = draft.node("Mul", "x", draft.constant([500.0]))
    coarse = draft.node("AveragePool", tonnes, kernel_shape=[4, 4], strides=[4, 4])
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])],
        [(tonnes, "fine", FLOAT, ["batch", 1, "h", "w"]), (coarse, "coarse", FLOAT, ["batch", 1, "ch", "cw"])],
    )
    common = {"tw:unit": "t/ha", "tw:valid_range": [50, 200]}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[
            {"name": "fine", "tw:layers": ["biomass"], **common},
            {"name": "coarse", "tw:layers": ["stock"], "tw:scale": 0.25, **common, "tw:outside": "clip"},
        ],
    )
    made = produce(card)
    expected = (red * 500)[HERE]
    inside = np.where((expected >= 50) & (expected <= 200), expected, np.nan)
    np.testing.assert_allclose(made["biomass"], inside, rtol=1e-5)
    np.testing.assert_allclose(made["stock"], np.clip(expected, 50, 200), rtol=1e-5)
    with rasterio.open(tmp_path / "out" / "biomass.tif") as dataset:
        assert (dataset.units[0], np.isnan(dataset.nodata)) == ("t/ha", True)


def test_f11_an_output_of_twice_the_pixels_lies_on_a_grid_of_5_m(world, tmp_path):
    import onnxruntime

    bands = [noise(seed) for seed in range(3)]
    for band, values in zip(("blue", "green", "red"), bands, strict=True):
        world.add(values, band, unit="reflectance")
    card = write_card(
        tmp_path / "card",
        finer(2),
        inputs=[{"name": "x", "bands": ["blue", "green", "red"]}],
        outputs=[{**VALUE, "tw:scale": 2}],
    )
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    made = layer(outcome.output, "value")
    session = onnxruntime.InferenceSession(finer(2).SerializeToString(), providers=["CPUExecutionProvider"])
    whole = session.run(None, {"x": np.stack(bands)[None]})[0][0, 0]
    assert outcome.report["grid"]["resolution"] == 5
    assert outcome.report["exact"]
    assert np.abs(made - whole[2 * ROWS[0] : 2 * ROWS[1], 2 * COLS[0] : 2 * COLS[1]]).max() < 1e-5


@pytest.mark.parametrize(
    ("family", "task"),
    [("F16", "object-detection"), ("F17", "instance-segmentation"), ("F17", "panoptic-segmentation"),
     ("F23", "image-captioning")],
)  # fmt: skip
def test_what_is_no_raster_is_refused_by_its_task(world, tmp_path, family, task):
    world.add(noise(1), "red", unit="reflectance")
    head = {"name": "y", "tasks": [task], "tw:layers": [family]}
    card = write_card(tmp_path / "card", pointwise(1, 1), inputs=[{"name": "x", "bands": ["red"]}], outputs=[head])
    job = {"area": area(ROWS, COLS), "period": "2023-06", "source": world.source, "model": str(card)}
    (tmp_path / "job.json").write_text(json.dumps(job))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2, answer.output
    assert f"{task} gives no raster" in answer.stderr


def test_f16_centres_of_objects_as_a_map_that_can_be_said(world, produce, tmp_path):
    """A detector that ends in a heat map: peaks above all neighbours, whole across seams by the measured halo."""
    bright = noise(1)
    world.add(bright, "red", unit="reflectance")
    draft = Draft()
    best = draft.node("MaxPool", "x", kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    peak = draft.node("And", draft.node("Equal", "x", best), draft.node("Greater", "x", draft.constant([0.5])))
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])],
        [(draft.node("Cast", peak, to=TensorProto.INT64), "y", TensorProto.INT64, ["batch", 1, "oh", "ow"])],
    )
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["none", "object"], "tw:layers": ["peak"]}],
    )
    made = produce(card)["peak"]
    around = np.lib.stride_tricks.sliding_window_view(np.pad(bright, 2, constant_values=-1), (5, 5)).max(axis=(2, 3))
    peaks = (bright == around) & (bright > 0.5)
    assert made.sum() == peaks[HERE].sum() > 50
    assert np.array_equal(made, peaks[HERE])
