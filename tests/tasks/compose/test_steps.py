from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.scenes import asset_of, scene_of, write_raster
from tilewright.catalogs.scene import Scene
from tilewright.models.spec.inputs import DatesSpec
from tilewright.tasks.compose.steps import DatesError, StepPlan, clearest_passes, plan_steps


@dataclass(frozen=True)
class TheoreticalReach:
    name: str
    start: datetime
    end: datetime


def span(first: str, last: str, name: str = "period") -> TheoreticalReach:
    end = datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1, microseconds=-1)
    return TheoreticalReach(name, datetime.fromisoformat(first).replace(tzinfo=UTC), end)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    path = write_raster(tmp_path_factory.mktemp("dates") / "x.tif", np.ones((4, 4), np.uint16))
    return scene_of(asset_of(path))


def on(template: Scene, **days: float | None) -> list[Scene]:
    """Scenes on days of 2023 given as m01_31=cloud cover."""
    dates = {f"2023-{name[1:3]}-{name[4:]}": cover for name, cover in days.items()}
    return [
        replace(
            template,
            id=day,
            solar_day=day,
            datetime=datetime.fromisoformat(f"{day}T10:00:00").replace(tzinfo=UTC),
            cloud_cover=cover,
        )
        for day, cover in dates.items()
    ]


def days(steps: tuple[StepPlan, ...]) -> list[tuple[str, ...]]:
    return [step.days for step in steps]


def labels(steps: tuple[StepPlan, ...]) -> list[str]:
    return [step.label for step in steps]


def test_a_composite_is_one_step_over_every_period(template: Scene) -> None:
    scenes = on(template, m01_05=1, m02_05=1, m03_05=1)
    steps = plan_steps(scenes, DatesSpec(kind="composite"), [span("2023-01-01", "2023-02-28")])
    assert days(steps) == [("2023-01-05", "2023-02-05")]
    both = plan_steps(
        scenes, DatesSpec(), [span("2023-03-01", "2023-03-31", "b"), span("2023-01-01", "2023-01-31", "a")]
    )
    assert days(both) == [("2023-01-05", "2023-03-05")]


def test_both_ends_of_a_period_belong_to_it(template: Scene) -> None:
    scenes = on(template, m01_01=1, m01_31=1, m02_01=1)
    assert days(plan_steps(scenes, DatesSpec(), [span("2023-01-01", "2023-01-31")])) == [("2023-01-01", "2023-01-31")]


def test_a_pair_is_before_and_after_by_name_then_by_time(template: Scene) -> None:
    scenes = on(template, m01_05=1, m06_05=1)
    early, late = span("2023-01-01", "2023-01-31", "before"), span("2023-06-01", "2023-06-30", "after")
    steps = plan_steps(scenes, DatesSpec(kind="pair", steps=2), [late, early])
    assert labels(steps) == ["before", "after"]
    assert days(steps) == [("2023-01-05",), ("2023-06-05",)]
    swapped = plan_steps(scenes, DatesSpec(kind="pair"), [replace(late, name="before"), replace(early, name="after")])
    assert days(swapped) == [("2023-06-05",), ("2023-01-05",)]
    with pytest.raises(DatesError, match=r"two dates, the job has 1: give period.before and period.after"):
        plan_steps(scenes, DatesSpec(kind="pair"), [early])


def test_a_monthly_series_follows_the_calendar(template: Scene) -> None:
    scenes = on(template, m01_31=1, m03_01=1)
    spec = DatesSpec(kind="series", steps=3, every="month")
    steps = plan_steps(scenes, spec, [span("2023-01-15", "2023-03-20")])
    assert labels(steps) == ["2023-01", "2023-02", "2023-03"]
    assert days(steps) == [("2023-01-31",), (), ("2023-03-01",)]
    with pytest.raises(DatesError, match=r"takes 3 steps, one every month, and the period .* holds 4"):
        plan_steps(scenes, spec, [span("2023-01-01", "2023-04-02")])


def test_equal_parts_cover_the_period_without_overlap(template: Scene) -> None:
    scenes = on(template, m01_01=1, m01_05=1, m01_06=1, m01_10=1)
    steps = plan_steps(scenes, DatesSpec(kind="series", steps=2), [span("2023-01-01", "2023-01-10")])
    assert days(steps) == [("2023-01-01", "2023-01-05"), ("2023-01-06", "2023-01-10")]
    assert steps[0].end + timedelta(microseconds=1) == steps[1].start
    assert steps[1].end == span("2023-01-01", "2023-01-10").end
    every = plan_steps(scenes, DatesSpec(kind="series", steps=None, every="5D"), [span("2023-01-01", "2023-01-10")])
    assert days(every) == days(steps)


def test_named_periods_are_the_steps_of_a_series(template: Scene) -> None:
    scenes = on(template, m01_05=1, m06_05=1)
    periods = [span("2023-06-01", "2023-06-30", "summer"), span("2023-01-01", "2023-01-31", "winter")]
    steps = plan_steps(scenes, DatesSpec(kind="series", steps=2), periods)
    assert labels(steps) == ["winter", "summer"]
    with pytest.raises(DatesError, match="takes 3 steps, the job names 2 periods"):
        plan_steps(scenes, DatesSpec(kind="series", steps=3), periods)


def test_each_day_or_the_clearest_of_them_in_times_order(template: Scene) -> None:
    scenes = on(template, m01_05=80, m01_10=5, m01_15=None, m01_20=20)
    period = [span("2023-01-01", "2023-01-31")]
    assert labels(plan_steps(scenes, DatesSpec(kind="each", steps=None), period)) == [scene.id for scene in scenes]
    assert labels(plan_steps(scenes, DatesSpec(kind="each", steps=2), period)) == ["2023-01-10", "2023-01-20"]
    lacking = plan_steps(scenes[:1], DatesSpec(kind="each", steps=3), period)
    assert days(lacking) == [("2023-01-05",), (), ()]


def test_passes_are_ranked_by_the_mean_cover_of_their_scenes_on_the_area(template: Scene) -> None:
    scenes = on(template, m01_05=80, m01_10=30, m01_15=None)
    scenes.append(replace(scenes[0], id="twin", cloud_cover=0.0))
    scenes.append(replace(scenes[1], id="far", cloud_cover=100.0))
    period = [span("2023-01-01", "2023-01-31")]
    (step,) = plan_steps(scenes, DatesSpec(), period)
    assert step.ranks == (0, 1, 2)
    (step,) = plan_steps(scenes, DatesSpec(), period, touching={"2023-01-05", "twin", "2023-01-10", "2023-01-15"})
    assert step.passes == (("2023-01-05", "twin"), ("2023-01-10", "far"), ("2023-01-15",))
    assert step.ranks == (1, 0, 2)
    assert clearest_passes(step, 1).passes == (("2023-01-10", "far"),)
    (step,) = plan_steps(scenes, DatesSpec(), period, touching={"2023-01-15"})
    assert clearest_passes(step, 1).passes == (("2023-01-15",),), "only a pass on the area is chosen"


def test_a_static_input_takes_everything_there_is(template: Scene) -> None:
    scenes = on(template, m01_05=None, m06_05=None)
    (step,) = plan_steps(scenes, DatesSpec(kind="static"), [span("2030-01-01", "2030-01-31")])
    assert step.days == ("2023-01-05", "2023-06-05")
    assert plan_steps([], DatesSpec(kind="static"), [])[0].days == ()


def test_what_cannot_be_cut_is_refused(template: Scene) -> None:
    period = [span("2023-01-01", "2023-01-31")]
    with pytest.raises(DatesError, match=r"dates.every is 'moon'"):
        plan_steps([], DatesSpec(kind="series", steps=2, every="moon"), period)
    with pytest.raises(DatesError, match="names no period"):
        plan_steps([], DatesSpec(), [])


def test_the_plan_does_not_open_a_file(template: Scene, tmp_path: Path) -> None:
    gone = replace(template, assets=(replace(template.assets[0], href=str(tmp_path / "gone.tif")),))
    assert plan_steps([gone], DatesSpec(), [span("2023-06-01", "2023-06-30")])[0].days == ("2023-06-01",)
