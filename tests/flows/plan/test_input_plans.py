"""No map from bands that are not there: refused while planning, naming what is needed and what there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.support.graphs import conv_stack
from tests.support.scenes import asset_of, scene_of, write_raster
from tests.support.worlds import World, pixel_job, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.input_plans import plan_inputs
from tilewright.flows.plan.rules import lacking_band_warnings, season_warnings
from tilewright.flows.plan.scenes import InputScenes
from tilewright.models.card.card import load_card
from tilewright.models.spec.inputs import ExtraInput
from tilewright.tasks.compose.steps import StepPlan

SIDE = 64
OUTPUT = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}
IMAGE = {"name": "x", "bands": ("green", "nir")}


@pytest.fixture
def planned(tmp_path):
    """Plans the one input of a card from scenes, each a (day, bands)."""
    folder = write_card(tmp_path / "card", conv_stack(n_in=2), inputs=[IMAGE], outputs=[OUTPUT])
    card = load_card(folder)
    job = pixel_job(World(tmp_path / "scenes"), folder, tmp_path / "out", rows=(0, SIDE), cols=(0, SIDE))
    path = tmp_path / "band.tif"
    write_raster(path, np.zeros((SIDE, SIDE), np.uint16))

    def plan(*days, optional=False, extras=()):
        scenes = tuple(scene_of(*(asset_of(path, band) for band in bands), day=day) for day, bands in days)
        (spec,) = card.inputs
        chosen = replace(card, inputs=(replace(spec, optional=optional),), extras=extras)
        return plan_inputs(job, chosen, {"x": InputScenes(scenes=scenes, touching=scenes)})[0]

    return plan


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ([("2023-06-05", ["green"])], "none of its 1 scene has nir: they have green"),
        ([("2023-06-05", ["green"]), ("2023-06-10", ["green"])], "none of its 2 scenes has nir: they have green"),
        ([("2023-06-05", ["green", "red", "scl"])], "none of its 1 scene has nir: they have green red scl"),
        ([("2023-06-05", ["nir"]), ("2023-06-10", ["red"])], "none of its 2 scenes has green: they have nir red"),
        ([("2023-06-05", ["red"])], "none of its 1 scene has green or nir: they have red"),
    ],
)
def test_a_band_that_no_scene_has_is_refused(planned, days, words):
    with pytest.raises(JobError, match=f"Input x needs green nir, and {words}"):
        planned(*days)


def test_a_band_that_some_scene_has_is_planned(planned):
    assert len(planned(("2023-06-05", ["green"]), ("2023-06-10", ["green", "nir"])).scenes) == 2


def test_bands_that_only_some_scenes_have_are_told_with_steps_and_platforms(planned):
    entry = planned(("2023-06-05", ["green"]), ("2023-06-10", ["green", "nir"]), ("2023-06-15", ["green", "nir"]))
    (lacking,) = entry.lacking_bands(entry.steps[0])
    assert lacking.to_json() == {"band": "nir", "scenes": 1, "of": 3, "platforms": ["unnamed platform"]}
    (warning,) = lacking_band_warnings(entry)
    assert warning.startswith("Input x: 1 of 3 scenes has no nir (unnamed platform): observations counts")
    assert not list(lacking_band_warnings(planned(("2023-06-10", ["green", "nir"]))))


@pytest.mark.parametrize(
    ("before", "after", "apart"),
    [
        (["2021-06-17"], ["2021-09-25"], 100),
        (["2021-01-10"], ["2021-12-10"], 31),
        (["2021-12-31"], ["2022-03-01"], 60),
        (["2021-06-01", "2021-06-20", "2021-08-30"], ["2022-07-01"], 11),
        (["2020-07-05"], ["2022-07-05"], 1),
        (["2021-06-17"], [], 0),
    ],
)
def test_days_that_are_compared_across_seasons_are_warned_of(planned, before, after, apart):
    moment = datetime(2021, 1, 1, tzinfo=UTC)
    steps = [
        StepPlan(
            label=label, start=moment, end=moment, passes=tuple((day,) for day in days), days=tuple(days),
            ranks=tuple(range(len(days))),
        )
        for label, days in (("before", before), ("after", after))
    ]  # fmt: skip
    entry = replace(planned(("2023-06-10", ["green", "nir"])), steps=tuple(steps))
    told = list(season_warnings(entry))
    assert len(told) == (apart > 45)
    assert all(f"lie {apart} days apart in the year" in words for words in told)


def test_an_input_that_the_model_can_do_without_is_planned(planned):
    assert not planned(("2023-06-05", ["green"]), optional=True).required


@pytest.mark.parametrize(
    ("kind", "of", "dated"),
    [
        ("day_of_year", "x", True),
        ("day_of_year", "", True),
        ("valid_mask", "x", False),
        ("lonlat", "x", False),
        ("constant", "x", False),
    ],
)
def test_the_days_of_an_input_are_part_of_its_plan_where_the_model_is_told_them(planned, kind, of, dated):
    extra = ExtraInput(
        name="e", kind=kind, of=of, parts=("day_of_year",), values=(), shape=(), dim_order=(), data_type="float32"
    )
    day = ("2023-06-01", ("green", "nir"))
    assert planned(day, extras=(extra,)).dated == dated
    assert not planned(day).dated
