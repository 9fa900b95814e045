"""One look of one satellite is one pass, however it is cut; two looks are two."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.support.scenes import asset_of, scene_of, write_raster
from tilewright.catalogs.passes import Pass, group_passes, seeing_order

START = datetime.fromisoformat("2021-06-17T10:00:00+00:00")


def box(west, south, east, north):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


HERE, NORTH, HALF, EAST = box(10, 50, 11, 51), box(10, 50.9, 11, 51.9), box(10.4, 50, 11.4, 51), box(179, 0, 180, 1)
WEST = box(-180, 0, -179, 1)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return scene_of(asset_of(write_raster(tmp_path_factory.mktemp("one") / "a.tif", np.ones((1, 1), np.uint8))))


def look(template, name, *, after=0.0, at=HERE, platform="sentinel-2a", orbit=22, day="2021-06-17", **more):
    """A scene some minutes after START."""
    return replace(
        template,
        id=name,
        datetime=START + timedelta(minutes=after),
        geometry=at,
        platform=platform,
        relative_orbit=orbit,
        solar_day=day,
        **more,
    )


TABLE = {
    "granules of one pass": ([{"after": 0}, {"after": 0.3, "at": NORTH}], [["a", "b"]]),
    "one place twice within seconds": ([{"after": 0}, {"after": 0.2, "at": HALF}], [["a", "b"]]),
    "another satellite in tandem": ([{"after": 0}, {"after": 0.5, "platform": "sentinel-2c"}], [["a"], ["b"]]),
    "a gap over the sea": ([{"after": 0}, {"after": 29, "at": NORTH}], [["a", "b"]]),
    "the next orbit": ([{"after": 0}, {"after": 98, "at": NORTH}], [["a"], ["b"]]),
    "another orbit by number": ([{"after": 0}, {"after": 20, "at": NORTH, "orbit": 23}], [["a"], ["b"]]),
    "an orbit that is not said": ([{"after": 0}, {"after": 1, "at": NORTH, "orbit": None}], [["a", "b"]]),
    "across midnight of the solar day": (
        [{"after": 0}, {"after": 1, "at": NORTH, "day": "2021-06-18"}],
        [["a", "b"]],
    ),
    "across 180 degrees": ([{"after": 0, "at": EAST}, {"after": 0.1, "at": WEST, "day": "2021-06-16"}], [["a", "b"]]),
    "a satellite that stands still": (
        [
            {"after": 0, "platform": "goes-18"},
            {"after": 10, "platform": "goes-18"},
            {"after": 20, "platform": "goes-18"},
        ],
        [["a"], ["b"], ["c"]],
    ),
    "files of one's own on one day": (
        [{"platform": None, "orbit": None}, {"platform": None, "orbit": None, "at": HALF}],
        [["a", "b"]],
    ),
    "files of one's own, hours apart": (
        [{"platform": None, "orbit": None}, {"platform": None, "orbit": None, "after": 300}],
        [["a"], ["b"]],
    ),
    "two satellites without a name, one after the other": (
        [
            {"platform": None, "orbit": 22},
            {"platform": None, "orbit": 65, "after": 0.1},
            {"platform": None, "orbit": 22, "after": 0.3, "at": NORTH},
        ],
        [["a", "c"], ["b"]],
    ),
    "two collections": ([{}, {"collection": "landsat-c2-l2"}], [["b"], ["a"]]),
}


@pytest.mark.parametrize(("scenes", "expected"), TABLE.values(), ids=TABLE)
def test_scenes_are_grouped_into_passes(template, scenes, expected):
    made = [look(template, name, **options) for name, options in zip("abc", scenes, strict=False)]
    for given in (made, made[::-1]):
        found = [list(one.ids) for one in group_passes(given)]
        assert sorted(found) == sorted(expected)
        assert [one.moment for one in group_passes(given)] == sorted(one.moment for one in group_passes(given))


def test_a_pass_is_on_the_day_of_its_first_scene_and_as_cloudy_as_its_mean(template):
    one = Pass(
        (
            look(template, "a", cloud_cover=10.0),
            look(template, "b", cloud_cover=None),
            look(template, "c", cloud_cover=40.0),
        )
    )
    assert (one.day, one.cloud_cover) == ("2021-06-17", 25.0)
    assert Pass((look(template, "a", cloud_cover=None),)).cloud_cover is None


def test_scenes_with_most_bands_are_asked_first(template):
    red, nir = template.assets[0], replace(template.assets[0], band="nir")
    scenes = [
        look(template, "late", after=1, assets=(red, nir)),
        look(template, "poor", after=0, assets=(red,)),
        look(template, "early", after=0.5, assets=(red, nir)),
    ]
    assert [scene.id for scene in seeing_order(scenes, ["red", "nir"])] == ["early", "late", "poor"]
