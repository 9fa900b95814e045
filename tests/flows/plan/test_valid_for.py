"""Jobs that leave the range of their model: said in plan, report and Item, with numbers made by hand."""

from __future__ import annotations

import json
from math import radians, sin
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer
from shapely.geometry import box

from tests.support.graphs import conv_stack
from tests.support.worlds import COL, CRS, ROW, World, pixel_job, run, write_card
from tilewright.flows.job.areas.area import read_area
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.valid_for import outside_valid_for, outside_warnings
from tilewright.models.card.card import load_card
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox

SIDE = 64
ROWS, COLS = (0, SIDE), (0, SIDE)
OUTPUT = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}


def lonlats() -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of every pixel's centre of the world's box."""
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    cols, rows = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    lon, lat = to_lonlat.transform((COL + cols) * 10.0, -(ROW + rows) * 10.0)
    return np.asarray(lon), np.asarray(lat)


def model(folder: Path, dates: dict | None = None, **fields) -> Path:
    """A card of one input `x` of red, whose properties have those further fields."""
    image = {"name": "x", "bands": ("red",), **({"tw:dates": dates} if dates else {})}
    card = write_card(folder, conv_stack(n_in=1), inputs=[image], outputs=[OUTPUT], name=folder.name)
    path = card / "card.json"
    content = json.loads(path.read_text())
    content["properties"] |= fields
    path.write_text(json.dumps(content))
    return card


@pytest.fixture
def world(tmp_path):
    """Red of four days: two of May, one of June and one of July, by three satellites and one unknown."""
    made = World(tmp_path / "world")
    for day, platform in (
        ("2023-05-05", "sentinel-2a"),
        ("2023-05-10", "sentinel-2b"),
        ("2023-06-14", "sentinel-2c"),
        ("2023-07-01", None),
    ):
        values = np.full((SIDE, SIDE), 0.2, np.float32)
        made.add(values, "red", day=day, unit="reflectance", **({"platform": platform} if platform else {}))
    return made


def planned(world, card, tmp_path, **changes):
    period = {"period": "2023-05-01/2023-07-31", **changes}
    return plan_job(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **period))


INSIDE = {
    "nothing said": {},
    "all months": {"months": list(range(1, 13))},
    "the months there are": {"months": [7, 6, 5]},
    "the platforms there are": {"platforms": ["SENTINEL-2A", "sentinel-2b", "sentinel-2c"]},
    "the whole earth": {"area": [-180, -90, 180, 90]},
    "an area around": {"area": [0, 40, 30, 60]},
}


@pytest.mark.parametrize("valid_for", INSIDE.values(), ids=INSIDE.keys())
def test_a_job_within_the_range_says_nothing(world, tmp_path, valid_for):
    plan = planned(world, model(tmp_path / "card", **({"tw:valid_for": valid_for} if valid_for else {})), tmp_path)
    assert plan.model.outside_valid_for == ()
    assert not any("made for" in words or "simulated" in words for words in plan.warnings)
    assert "outside_valid_for" not in plan.to_json()


SCENES = {
    "May alone": ({"months": [5]}, {"months": [6, 7], "month_scenes": 2}, "2 of 4 scenes are of June, July"),
    "winter": (
        {"months": [1, 2, 12]},
        {"months": [5, 6, 7], "month_scenes": 4},
        "4 of 4 scenes are of May, June, July",
    ),
    "not June": ({"months": [5, 7]}, {"months": [6], "month_scenes": 1}, "1 of 4 scenes is of June"),
    "one satellite": (
        {"platforms": ["sentinel-2a"]},
        {"platforms": ["sentinel-2b", "sentinel-2c"], "platform_scenes": 2},
        "2 of 4 scenes are of sentinel-2b, sentinel-2c",
    ),
    "another sensor": (
        {"platforms": ["landsat-8"]},
        {"platforms": ["sentinel-2a", "sentinel-2b", "sentinel-2c"], "platform_scenes": 3},
        "3 of 4 scenes are of sentinel-2a, sentinel-2b, sentinel-2c",
    ),
}


@pytest.mark.parametrize(("valid_for", "found", "words"), SCENES.values(), ids=SCENES.keys())
def test_months_and_platforms_outside_are_named_with_their_scenes(world, tmp_path, valid_for, found, words):
    plan = planned(world, model(tmp_path / "card", **{"tw:valid_for": valid_for}), tmp_path)
    assert plan.model.outside_valid_for == ({"model": "card", **found, "scenes": 4},)
    assert any(words in each for each in plan.warnings)


def test_only_scenes_of_the_jobs_period_count(world, tmp_path):
    card = model(tmp_path / "card", **{"tw:valid_for": {"months": [5], "platforms": ["sentinel-2a"]}})
    plan = planned(world, card, tmp_path, period="2023-05-01/2023-05-31")
    found = {"platforms": ["sentinel-2b"], "platform_scenes": 1, "scenes": 2}
    assert plan.model.outside_valid_for == ({"model": "card", **found},)


def test_an_input_that_is_the_same_whatever_the_period_has_no_month(world, tmp_path):
    card = model(tmp_path / "card", {"kind": "static"}, **{"tw:valid_for": {"months": [1]}})
    assert planned(world, card, tmp_path).model.outside_valid_for == ()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("side", ["west", "north"])
def test_the_share_of_the_area_outside_is_that_of_its_pixels(world, tmp_path, share, side):
    lon, lat = lonlats()
    across = lon if side == "west" else -lat
    limit = float(np.quantile(across, 1 - share))
    area = [-10, 0, limit, 80] if side == "west" else [0, -limit, 40, 80]
    plan = planned(world, model(tmp_path / "card", **{"tw:valid_for": {"area": area}}), tmp_path)
    (found,) = plan.model.outside_valid_for
    percent = 100 * float((across > limit).mean())
    assert found["area_percent"] == pytest.approx(percent, abs=0.1)
    assert found["area_km2"] == pytest.approx(percent / 100 * 0.64**2, rel=0.01)
    assert any(f"{found['area_percent']:.1f} % of the job's" in words for words in plan.warnings)


GLOBE = Grid(crs="EPSG:4326", resolution=1.0, extent=PixelBox(row_start=-90, row_stop=90, col_start=-180, col_stop=180))
NORTH = Grid(crs="EPSG:4326", resolution=1.0, extent=PixelBox(row_start=-60, row_stop=0, col_start=0, col_stop=10))


@pytest.mark.parametrize(
    ("grid", "asked", "valid", "share"),
    [
        # A zone's area on a sphere goes with the sine of its latitudes; the ellipsoid's differs by some 0.2 %.
        (NORTH, [0, 0, 10, 60], [0, 0, 10, 30], (sin(radians(60)) - sin(radians(30))) / sin(radians(60))),
        (GLOBE, [0, 0, 10, 80], [0, 0, 10, 60], (sin(radians(80)) - sin(radians(60))) / sin(radians(80))),
        (GLOBE, [-10, -30, 10, 30], [-10, 0, 10, 90], 0.5),
        (GLOBE, [20, 10, 30, 20], [40, 10, 50, 20], 1.0),
        (GLOBE, [20, 10, 30, 20], [22, 10, 30, 20], 0.2),
        (GLOBE, [170, -10, -170, 10], [170, -10, 180, 10], 0.5),
        (GLOBE, [170, -10, -170, 10], [175, -10, -175, 10], 0.5),
    ],
)
def test_the_share_is_one_of_the_ground_and_not_of_degrees(tmp_path, grid, asked, valid, share):
    card = load_card(model(tmp_path / "card", **{"tw:valid_for": {"area": valid}}))
    (found,) = outside_valid_for(card, (), area=read_area(asked).geometry, grid=grid)
    assert found["area_percent"] == pytest.approx(100 * share, abs=0.3)


def test_a_sliver_is_said_and_rounding_is_not(tmp_path):
    card = load_card(model(tmp_path / "card", **{"tw:valid_for": {"area": [0, 0, 10, 10]}}))
    sliver = outside_valid_for(card, (), area=box(0, 0, 10.005, 10), grid=GLOBE)
    assert "less than 0.1 %" in next(outside_warnings(sliver))
    assert outside_valid_for(card, (), area=box(0, 0, 10 + 1e-9, 10), grid=GLOBE) == []


def test_a_model_of_simulated_data_says_so_on_real_scenes_and_each_of_an_ensemble_for_itself(world, tmp_path):
    one = model(tmp_path / "dreamt", **{"mlm:pretrained_source": "simulated fields"})
    two = model(tmp_path / "summer", **{"tw:valid_for": {"months": [6, 7, 8]}})
    plan = planned(world, one, tmp_path, ensemble={"models": [str(two)]})
    assert plan.model.outside_valid_for == (
        {"model": "dreamt", "simulated": True, "scenes": 4},
        {"model": "summer", "months": [5], "month_scenes": 2, "scenes": 4},
    )
    assert any("dreamt was trained on simulated data" in words for words in plan.warnings)


@pytest.mark.usefixtures("small_pictures")
def test_report_page_and_item_say_it_too(world, tmp_path):
    lon, _ = lonlats()
    valid_for = {"area": [0, 0, float(np.median(lon)), 80], "months": [5], "platforms": ["sentinel-2a"]}
    card = model(tmp_path / "card", **{"tw:valid_for": valid_for, "tw:simulated": True})
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, period="2023-05-01/2023-07-31")
    output = Path(run(job).output)
    item, report = (json.loads((output / name).read_text()) for name in ("item.json", "report.json"))
    (said,) = item["properties"]["tw:outside_valid_for"]
    assert report["outside_valid_for"] == [said]
    assert said["area_percent"] == pytest.approx(50, abs=0.2)
    assert (said["months"], said["platforms"]) == ([6, 7], ["sentinel-2b", "sentinel-2c"])
    assert said["simulated"] is True
    page = (output / "report.html").read_text()
    for words in ("outside its tw:valid_for.area", "June, July", "sentinel-2b, sentinel-2c", "simulated data"):
        assert any(words in each for each in report["warnings"])
        assert words in page
    # The plan that is kept gives the same again.
    assert run(job).output == str(output)
