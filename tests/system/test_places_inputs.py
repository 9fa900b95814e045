"""What cards ask of their inputs is kept for places: coarser pixels, pairs, every pass, positions, other engines."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest

from tests.support.graphs import Draft
from tests.support.places_cards import FLOAT, WINDOW, label_card, places_job, write_points
from tests.support.worlds import World, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 160
CHANNELS = ("batch", "channel")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three days in red, one of which covers only the west, and one of 20 m pixels in nir."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(9)
    made.days = {day: random.uniform(0.1, 0.6, (SIDE, SIDE)).astype(np.float32) for day in ("01", "11", "21")}
    for day, values in made.days.items():
        here = values[:, : SIDE // 2] if day == "11" else values
        made.add(here, "red", day=f"2023-06-{day}", unit="reflectance")
    made.coarse = random.uniform(0.1, 0.6, (SIDE // 2, SIDE // 2)).astype(np.float32)
    made.add(made.coarse, "nir", size=20.0, day="2023-06-05", collection="coarse", unit="reflectance")
    return made


def mean_card(folder, inputs, names, layers, *, axes):
    """A card that gives the mean of each of its inputs, over `axes` of them."""
    draft = Draft()
    means = []
    for name, _, _ in names:
        means.append(draft.node("ReduceMean", name, axes=axes[name], keepdims=0))
    result = draft.node("Concat", *means, axis=1) if len(means) > 1 else means[0]
    model = draft.model_many(names, [(result, "y", FLOAT, ["batch", len(layers)])])
    outputs = [{"name": "y", "dims": CHANNELS, "tw:layers": list(layers)}]
    return write_card(folder, model, inputs=inputs, outputs=outputs, tile={"window": WINDOW, "step": None})


def table(output):
    return geopandas.read_parquet(Path(output) / "places.parquet")


def cut(values, top, left, side):
    return values[top : top + side, left : left + side]


def test_windows_begin_at_whole_pixels_of_the_coarsest_input(world, tmp_path):
    half = WINDOW // 2
    card = mean_card(
        tmp_path / "card",
        [
            {"name": "x", "bands": ["red"]},
            {"name": "z", "bands": ["nir"], "tw:collection": "coarse", "tw:resolution": 20},
        ],
        [("x", FLOAT, ["batch", 1, WINDOW, WINDOW]), ("z", FLOAT, ["batch", 1, half, half])],
        ("fine", "rough"),
        axes={"x": [2, 3], "z": [2, 3]},
    )
    rows, cols = np.random.default_rng(4).uniform(20, SIDE // 2 - 20, (2, 40))
    write_points(tmp_path / "p.parquet", rows, cols)
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    found = table(tmp_path / "out")
    median = np.median([world.days[day] for day in ("01", "11", "21")], axis=0)
    for row, col, fine, rough in zip(rows, cols, found.fine, found.rough, strict=True):
        down, right = int(row) // 2, int(col) // 2
        top, left = (down - half // 2) * 2, (right - half // 2) * 2
        np.testing.assert_allclose(fine, cut(median, top, left, WINDOW).mean(), rtol=1e-5)
        np.testing.assert_allclose(rough, cut(world.coarse, top // 2, left // 2, half).mean(), rtol=1e-5)


def test_every_pass_is_one_over_the_row_itself(world, tmp_path):
    """In the east the clearest two passes are others than in the west: a row's steps depend on no other row."""
    card = mean_card(
        tmp_path / "card",
        [{"name": "x", "bands": ["red"], "dims": ("batch", "time", "bands", "height", "width"),
          "tw:dates": {"kind": "each", "steps": 2}}],
        [("x", FLOAT, ["batch", 2, 1, WINDOW, WINDOW])],
        ("first", "second"),
        axes={"x": [2, 3, 4]},
    )  # fmt: skip
    write_points(tmp_path / "p.parquet", [80.5, 80.5], [40.5, 120.5])
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out"))
    found = table(tmp_path / "out")
    west, east = (
        {day: cut(values, 72, left, WINDOW).mean() for day, values in world.days.items()} for left in (32, 112)
    )
    np.testing.assert_allclose(found["first"], [west["01"], east["01"]], rtol=1e-5)
    np.testing.assert_allclose(found["second"], [west["11"], east["21"]], rtol=1e-5)


def test_a_pair_needs_both_its_dates_at_the_row(world, tmp_path):
    card = mean_card(
        tmp_path / "card",
        [{"name": "x", "bands": ["red"], "dims": ("batch", "time", "bands", "height", "width"),
          "tw:dates": {"kind": "pair"}}],
        [("x", FLOAT, ["batch", 2, 1, WINDOW, WINDOW])],
        ("before", "after"),
        axes={"x": [2, 3, 4]},
    )  # fmt: skip
    write_points(tmp_path / "p.parquet", [80.5, 80.5], [40.5, 120.5], when=["2023-06", "2023-06"])
    period = {"before": "2023-06-01/2023-06-02", "after": "2023-06-10/2023-06-12"}
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out", period=period))
    found = table(tmp_path / "out")
    expected = [cut(world.days[day], 72, 32, WINDOW).mean() for day in ("01", "11")]
    np.testing.assert_allclose(found.loc[0, ["before", "after"]].astype(float), expected, rtol=1e-5)
    assert found.observed.tolist() == [1.0, 0.0]
    assert found.loc[1, ["before", "after"]].isna().all()
    job = places_job(world, card, {"file": "p.parquet", "period": "when"}, tmp_path / "no", period=period)
    with pytest.raises(ValueError, match=r"places\.period: 2023-06-01/2023-06-30 does not fit input x of small"):
        run_job(job)


WAYS = {
    "odc": {"engine": "odc"},
    "stackstac": {"engine": "stackstac"},
    "flips": {"augment": "flips"},
    "fused": {"fuse": "yes"},
    "one layer": {"layers": ["class"]},
}


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_of_the_job_give_the_same_classes(world, tmp_path, way):
    card = label_card(tmp_path / "card")
    rows, cols = np.random.default_rng(5).uniform(-10, SIDE + 10, (2, 50))
    write_points(tmp_path / "p.parquet", rows, cols)
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "plain"))
    job = places_job(world, card, tmp_path / "p.parquet", tmp_path / "out", **WAYS[way])
    run_job(job, RunOptions(workers=2))
    plain, other = table(tmp_path / "plain"), table(tmp_path / "out")
    assert other["class"].equals(plain["class"])
    assert other.observed.equals(plain.observed)
    assert ("confidence" in other) == (way != "one layer")


def test_a_window_of_free_size_is_that_of_the_job(world, tmp_path):
    card = label_card(tmp_path / "card", window=0)
    write_points(tmp_path / "p.parquet", [80.5], [60.5])
    outcome = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out", tile={"step": 32}))
    assert outcome.report["window"] == 32
