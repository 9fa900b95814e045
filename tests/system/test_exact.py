"""Tiled equals whole, and no pixel knows how the area was cut: through the real pipeline, from GeoTIFF to COG."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.models.measure import test_proof as made_to_look_local
from tests.models.measure.test_proof import rare_value_gate, scan_line
from tests.support.graphs import global_pool, unet, unet_radius
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance

SIDE = 512
SEAM = 256
"""Column at which one granule ends and the next begins."""

pytestmark = pytest.mark.usefixtures("small_pictures")
BANDS = ("blue", "green", "red", "nir")
CLASSES = ("water", "green", "built")
REFLECTANCE = {"name": "x", "bands": BANDS, "value_scaling": [{"type": "z-score", "mean": 0.3, "stddev": 0.2}]}
IMAGE = {"unit": "reflectance"}
DEPTH = 3
RADIUS = unet_radius(DEPTH)


@pytest.fixture(scope="module")
def pixels():
    """(4, SIDE, SIDE) float32: smooth noise and sharp edges, so that far pixels matter."""
    random = np.random.default_rng(7)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    waves = np.stack([np.sin(rows / (9 + n)) * np.cos(cols / (7 + 2 * n)) for n in range(4)])
    return (0.3 + 0.15 * waves + random.normal(0, 0.05, (4, SIDE, SIDE))).astype(np.float32)


@pytest.fixture(scope="module")
def world(pixels, tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    for band, values in zip(BANDS, pixels, strict=True):
        made.add(values[:, :SEAM], band, scene="west", **IMAGE)
        made.add(values[:, SEAM:], band, scene="east", at=(0, SEAM), **IMAGE)
    return made


def network():
    return unet(depth=DEPTH, width=4, seed=3)


@pytest.fixture(scope="module")
def classes_card(tmp_path_factory):
    return write_card(tmp_path_factory.mktemp("classes"), network(), inputs=[REFLECTANCE], outputs=[CLASS_HEAD])


CLASS_HEAD = {"name": "y", "classes": CLASSES, "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}
VALUE_HEAD = {"name": "y", "tw:layers": ["one", "two", "three"]}


@pytest.fixture(scope="module")
def whole(pixels):
    """Scores (3, SIDE, SIDE) of the whole image in one call."""
    session = onnxruntime.InferenceSession(network().SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": ((pixels - np.float32(0.3)) / np.float32(0.2))[None]})[0][0]


@pytest.fixture(scope="module")
def reference(world, classes_card, tmp_path_factory):
    """The map all others are compared with: class and confidence over rows 40-470, columns 24-488."""
    job = pixel_job(world, classes_card, tmp_path_factory.mktemp("reference") / "out", rows=(40, 470), cols=(24, 488))
    return run(job).output


def softmax(scores):
    made = np.exp(scores - scores.max(axis=0))
    return made / made.sum(axis=0)


def scores_of(world, folder, trim):
    """Value layers (3, 250, 250) over rows and columns 120-370, and the report."""
    tile = {"step": 64, "trim": trim}
    card = write_card(folder / "card", network(), inputs=[REFLECTANCE], outputs=[VALUE_HEAD], tile=tile)
    outcome = run(pixel_job(world, card, folder / "out", rows=(120, 370), cols=(120, 370)))
    return np.stack([layer(outcome.output, name) for name in VALUE_HEAD["tw:layers"]]), outcome.report


def test_tiled_equals_whole_and_one_stride_less_trim_does_not(world, whole, tmp_path):
    made, report = scores_of(world, tmp_path / "right", "measured")
    assert report["exact"]
    assert report["trim"] % 8 == 0
    assert report["receptive_field"]["radius"] == RADIUS
    right = np.abs(made - whole[:, 120:370, 120:370]).max()
    short, short_report = scores_of(world, tmp_path / "short", report["trim"] - 8)
    wrong = np.abs(short - whole[:, 120:370, 120:370]).max()
    print(f"\ntrim {report['trim']}: error {right:.1e}; trim {report['trim'] - 8}: error {wrong:.1e}")
    assert right <= 1e-5
    assert wrong > 100 * max(right, 1e-7), f"one stride less trim must show: {wrong:.1e} against {right:.1e}"
    assert not short_report["exact"]
    assert "less than" in short_report["exact_reason"]


def test_the_class_map_of_tiles_is_the_whole_images(whole, reference):
    inner = slice(RADIUS + 40, 470 - RADIUS), slice(RADIUS + 24, 488 - RADIUS)
    there = slice(RADIUS, 470 - 40 - RADIUS), slice(RADIUS, 488 - 24 - RADIUS)
    shares = softmax(whole)[(slice(None), *inner)]
    assert np.array_equal(layer(reference, "class")[there], shares.argmax(axis=0))
    percent = np.rint(shares.max(axis=0) * 100)
    assert np.abs(layer(reference, "confidence")[there] - percent).max() <= 1


@pytest.mark.parametrize("cut", [(512, 4), (1024, 1), (2048, 4)], ids=str)
def test_neither_block_nor_workers_change_a_pixel(world, classes_card, reference, tmp_path, cut):
    block, workers = cut
    job = pixel_job(world, classes_card, tmp_path / "out", rows=(40, 470), cols=(24, 488), tile={"block": block})
    made = run(job, workers=workers)
    assert made.report["blocks"] == {512: 4, 1024: 2, 2048: 1}[block]
    for name in ("class", "confidence"):
        assert np.array_equal(layer(made.output, name), layer(reference, name))


@pytest.mark.parametrize("corner", [(77, 171), (153, 61)])
def test_moving_the_area_moves_no_pixel(world, classes_card, reference, tmp_path, corner):
    """The second area lies in one granule and ends near the next, whose pixels its windows see all the same."""
    row, col = corner
    job = pixel_job(world, classes_card, tmp_path / "out", rows=(row, row + 210), cols=(col, col + 187))
    made = run(job)
    there = slice(row - 40, row + 210 - 40), slice(col - 24, col + 187 - 24)
    for name in ("class", "confidence"):
        assert np.array_equal(layer(made.output, name), layer(reference, name)[there])


class StoppedError(Exception):
    """The test's own interruption."""


def test_a_restart_in_the_middle_changes_no_pixel(world, classes_card, reference, tmp_path):
    job = pixel_job(world, classes_card, tmp_path / "out", rows=(40, 470), cols=(24, 488), tile={"block": 192})

    def stop(event):
        if isinstance(event, Advance) and event.km2:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_job(job, RunOptions(workers=1), listener=stop)
    ledger = tmp_path / "out" / ".tilewright" / "ledger"
    begun = {path.name: path.stat().st_mtime_ns for path in ledger.iterdir()}
    made = run(job)
    assert 0 < len(begun) < made.report["blocks"]
    assert all((ledger / name).stat().st_mtime_ns == at for name, at in begun.items())
    for name in ("class", "confidence"):
        assert np.array_equal(layer(made.output, name), layer(reference, name))


def test_blended_windows_know_nothing_of_the_cut_either(world, tmp_path):
    tile = {"step": 64, "merge": "blend"}
    card = write_card(tmp_path / "card", network(), inputs=[REFLECTANCE], outputs=[CLASS_HEAD], tile=tile)
    one = run(pixel_job(world, card, tmp_path / "one", rows=(150, 350), cols=(160, 370), tile={"block": 512}))
    two = run(
        pixel_job(world, card, tmp_path / "two", rows=(203, 300), cols=(181, 330), tile={"block": 128}), workers=4
    )
    assert not two.report["exact"]
    for name in ("class", "confidence"):
        assert np.array_equal(layer(two.output, name), layer(one.output, name)[53:150, 21:170])


def test_a_model_without_bound_is_independent_of_the_cut_and_says_that_it_is_not_exact(world, tmp_path):
    entry = {**REFLECTANCE, "bands": BANDS[:3]}
    head = {**CLASS_HEAD, "classes": CLASSES[:2]}
    card = write_card(tmp_path / "card", global_pool(), inputs=[entry], outputs=[head])
    one = run(pixel_job(world, card, tmp_path / "one", rows=(100, 380), cols=(100, 380), tile={"block": 512}))
    two = run(
        pixel_job(world, card, tmp_path / "two", rows=(171, 333), cols=(199, 371), tile={"block": 128}), workers=4
    )
    for name in ("class", "confidence"):
        assert np.array_equal(layer(two.output, name), layer(one.output, name)[71:233, 99:271])
    report = json.loads(Path(one.output, "report.json").read_text())
    assert report["exact"] is False
    assert "no bound" in report["exact_reason"]
    assert "GlobalAveragePool" in report["exact_reason"]


ONE_BAND = {**REFLECTANCE, "bands": BANDS[2:3]}
ONE_VALUE = {"name": "y", "tw:layers": ["one"]}


def test_a_reach_that_rare_values_show_is_trimmed(world, pixels, tmp_path):
    """A gate lets in pixels 100 px away at rare values: the map is that of the whole image all the same."""
    model = rare_value_gate()
    card = write_card(tmp_path / "card", model, inputs=[ONE_BAND], outputs=[ONE_VALUE], tile={"step": 64})
    made = run(pixel_job(world, card, tmp_path / "out", rows=(110, 370), cols=(110, 370)))
    assert made.report["exact"] is True
    assert made.report["trim"] == 100
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = ((pixels[2:3] - np.float32(0.3)) / np.float32(0.2))[None]
    whole = session.run(None, {"x": image})[0][0, 0]
    assert (whole != image[0, 0]).any(), "the gate must open somewhere"
    assert np.abs(layer(made.output, "one") - whole[110:370, 110:370]).max() <= 1e-5


def test_what_is_only_measured_is_not_called_exact(world, tmp_path):
    card = write_card(tmp_path / "card", scan_line(), inputs=[ONE_BAND], outputs=[ONE_VALUE], tile={"step": 64})
    made = run(pixel_job(world, card, tmp_path / "out", rows=(110, 200), cols=(110, 200)))
    assert (made.report["exact"], made.report["exactness"]) == (False, "measured")
    assert "that is not proven" in made.report["exact_reason"]
    assert "CumSum" in made.report["exact_reason"]
    assert "plateaus" in made.report["exact_reason"]


MADE_TO_LOOK_LOCAL = {
    "corner taps": (made_to_look_local.corner_taps, 64, "proven"),
    "texture gate": (made_to_look_local.texture_gate, 64, "proven"),
    "rare value gate": (made_to_look_local.rare_value_gate, 64, "proven"),
    "gated global pool": (made_to_look_local.gated_pool, 64, "no"),
    "otherwise above 300 px": (made_to_look_local.otherwise_when_large, 320, "no"),
    "cropped positions": (made_to_look_local.cropped_positions, 64, "measured"),
}


@pytest.mark.parametrize("name", MADE_TO_LOOK_LOCAL)
def test_a_model_made_to_look_local_is_mapped_as_the_whole_image_or_not_called_exact(name, world, pixels, tmp_path):
    make, step, word = MADE_TO_LOOK_LOCAL[name]
    card = write_card(tmp_path / "card", make(), inputs=[ONE_BAND], outputs=[ONE_VALUE], tile={"step": step})
    made = run(pixel_job(world, card, tmp_path / "out", rows=(110, 370), cols=(110, 370), tile={"block": 1024}))
    report = made.report
    assert (report["exact"], report["exactness"]) == (word == "proven", word)
    if word == "proven":
        image = ((pixels[2:3] - np.float32(0.3)) / np.float32(0.2))[None]
        session = onnxruntime.InferenceSession(make().SerializeToString(), providers=["CPUExecutionProvider"])
        whole = session.run(None, {"x": image})[0][0, 0]
        assert np.abs(layer(made.output, "one") - whole[110:370, 110:370]).max() <= 1e-5
        assert report["seams"]["windows"] > 0
        assert report["seams"]["differing"] == 0
