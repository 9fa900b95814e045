"""Values stored with a stated error, from the job to the files: never more off than asked, alike however it was cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import zarr

from tests.support.families import COLS, FLOAT, ROWS, noise
from tests.support.graphs import Draft
from tests.support.worlds import layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job

pytestmark = pytest.mark.usefixtures("small_pictures")

MOST = 0.004


@pytest.fixture
def card(world, tmp_path):
    """A card of two values, of which `share` lies in 0.1-0.5, and of two classes."""
    red = noise(1)
    red[60:90, 40:90] = np.nan
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    half = draft.node("Mul", "x", draft.constant([0.5]))
    one, two = ["batch", 1, "h", "w"], ["batch", 2, "h", "w"]
    answers = [
        (draft.node("Identity", "x"), "share", FLOAT, one),
        (half, "half", FLOAT, one),
        (draft.node("Concat", "x", half, axis=1), "which", FLOAT, two),
    ]
    model = draft.model_many([("x", FLOAT, one)], answers)
    return write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[
            {"name": "share", "tw:layers": ["share"], "tw:valid_range": [0.1, 0.5]},
            {"name": "half", "tw:layers": ["half"]},
            {"name": "which", "classes": ["no", "yes"], "tw:layers": ["class", "confidence"]},
        ],
    )


def job_of(world, card, output, **changes):
    return pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes)


def test_values_are_off_by_no_more_than_the_error_and_files_agree(world, card, tmp_path):
    exact = run(job_of(world, card, tmp_path / "exact"))
    outcome = run(job_of(world, card, tmp_path / "lossy", loss={"share": MOST}))
    told = outcome.report["loss"]
    share, rounded_share = layer(exact.output, "share"), layer(outcome.output, "share")
    np.testing.assert_array_equal(np.isnan(share), np.isnan(rounded_share))
    off = np.abs(rounded_share.astype(np.float64) - share)
    assert 0 < np.nanmax(off) <= MOST
    assert (np.nanmin(rounded_share), np.nanmax(rounded_share)) >= (np.float32(0.1), np.float32(0.1))
    assert np.nanmax(rounded_share) <= np.float32(0.5)
    # Layers without a loss stay as they are.
    for name in ("half", "class", "confidence"):
        np.testing.assert_array_equal(layer(outcome.output, name), layer(exact.output, name))
    stored = zarr.open_group(str(tmp_path / "lossy" / "data.zarr"), mode="r")["share"]
    np.testing.assert_array_equal(stored[:], rounded_share)
    assert stored.attrs["quantization_maximum_absolute_error"] == MOST
    with rasterio.open(tmp_path / "lossy" / "share.tif") as dataset:
        assert float(dataset.tags()["TILEWRIGHT_MAX_ERROR"]) == MOST
    assert list(told) == ["share"]
    assert told["share"]["allowed"] == MOST
    assert told["share"]["max_error"] == np.nanmax(off)
    assert told["share"]["bytes_saved"] > 0
    peak = float(np.nanmax(rounded_share)) - float(np.nanmin(rounded_share))
    assert told["share"]["psnr"] == pytest.approx(10 * np.log10(peak**2 / np.nanmean(off**2)), abs=1e-6)
    assert (tmp_path / "lossy" / "share.tif").stat().st_size < (tmp_path / "exact" / "share.tif").stat().st_size
    assert "Saved in share" in (tmp_path / "lossy" / "report.html").read_text()
    assert outcome.report["job"]["loss"] == {"share": MOST}


@pytest.mark.parametrize(("block", "workers"), [(64, 1), (128, 4)])
def test_values_do_not_depend_on_how_the_work_was_cut(world, card, tmp_path, block, workers):
    whole = run(job_of(world, card, tmp_path / "whole", loss={"share": MOST}))
    cut = run(
        job_of(world, card, tmp_path / "cut", loss={"share": MOST}, tile={"block": block}),
        workers=workers,
    )
    np.testing.assert_array_equal(layer(cut.output, "share"), layer(whole.output, "share"))
    assert cut.report["loss"]["share"]["max_error"] == whole.report["loss"]["share"]["max_error"]


def test_a_product_is_complete_under_its_loss_alone(world, card, tmp_path):
    run(job_of(world, card, tmp_path / "out", loss={"share": MOST}))
    again = run(job_of(world, card, tmp_path / "out", loss={"share": MOST}))
    assert again.report["loss"]["share"]["allowed"] == MOST
    entries = list((tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"))
    assert all(json.loads(entry.read_text())["losses"]["share"]["values"] >= 0 for entry in entries)
    with pytest.raises(ValueError, match="loss"):
        run(job_of(world, card, tmp_path / "out", loss={"share": 2 * MOST}))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"shares": 0.1}, "did you mean 'share'"),
        ({"class": 0.1}, "its numbers are classes"),
        ({"confidence": 0.1}, "whole percents"),
        ({"share": 0.4}, "leaves nothing of values from 0.1 to 0.5"),
    ],
)
def test_a_loss_that_means_nothing_is_refused_before_pixels_are_read(world, card, tmp_path, loss, said):
    with pytest.raises(JobError, match=f"loss.*{said}"):
        plan_job(job_of(world, card, tmp_path / "out", loss=loss))


@pytest.mark.parametrize(
    "loss",
    [{"share": 0}, {"share": -1}, {"share": float("nan")}, {"share": float("inf")}, {"share": True}, 0.1, ["share"]],
)
def test_an_error_that_is_none_is_refused(world, card, tmp_path, loss):
    with pytest.raises(JobError, match="loss"):
        job_of(world, card, tmp_path / "out", loss=loss)


def test_a_table_of_places_takes_no_loss(world, card, tmp_path):
    (tmp_path / "places.csv").write_text("lon,lat\n15,48\n")
    plain = {"places": "places.csv", "period": "2023-06-01/2023-06-30", "source": world.source, "model": str(card)}
    with pytest.raises(JobError, match="loss: a job over places"):
        make_job({**plain, "loss": {"share": MOST}}, base=tmp_path)


def test_a_layer_that_is_not_written_takes_no_loss(world, card, tmp_path):
    job = job_of(world, card, tmp_path / "out", loss={"half": MOST}, layers=["share", "class"])
    with pytest.raises(JobError, match="'half' is no layer of this job's product"):
        plan_job(job)
