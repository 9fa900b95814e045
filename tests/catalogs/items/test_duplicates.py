"""Several processings of one scene."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from shapely.geometry import box, mapping

from tilewright.catalogs.items.duplicates import keep_newest
from tilewright.catalogs.scene import Scene

TAKEN = datetime(2021, 6, 17, 10, 5, 59, tzinfo=UTC)
WHOLE = box(13, 48, 14, 49)


def scene(name: str, footprint: Any = WHOLE, **more: Any) -> Scene:
    fields: dict[str, Any] = {
        "id": name,
        "collection": "sentinel-2-l2a",
        "source": "test",
        "datetime": TAKEN,
        "solar_day": "2021-06-17",
        "geometry": mapping(footprint),
        "bbox": footprint.bounds,
        "platform": "sentinel-2b",
        "granule": "33UUP",
        "orbit_state": None,
        "relative_orbit": None,
        "cloud_cover": None,
        "baseline": "03.00",
        "state": "no-offset",
        "state_reason": "",
        "assets": (),
    }
    return Scene(**{**fields, **more})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"baseline": "03.00", "sequence": 9, "generated": "2030"},
            {"baseline": "05.00", "sequence": 0, "generated": "2020"},
        ),
        ({"generated": "2021-06-17T12:00:00+00:00", "sequence": 3}, {"generated": "2023-01-01T00:00:00+00:00"}),
        ({"sequence": 0}, {"sequence": 1}),
        ({"sequence": None}, {"sequence": 0}),
        ({"updated": "2021"}, {"updated": "2022"}),
    ],
)
def test_the_newest_processing_stays_and_names_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    for order in permutations([scene("old", **old), scene("new", **new)]):
        (kept,) = keep_newest(order)
        assert (kept.id, kept.replaces) == ("new", ("old",))


def test_of_three_the_losers_are_all_recorded_whatever_their_order() -> None:
    three = [scene("a", baseline="02.14"), scene("b", baseline="05.09"), scene("c", baseline="03.01")]
    for order in permutations(three):
        (kept,) = keep_newest(order)
        assert (kept.id, kept.replaces) == ("b", ("c", "a"))


def test_processings_differ_by_milliseconds_but_passes_by_more() -> None:
    soon, late = TAKEN + timedelta(seconds=3), TAKEN + timedelta(minutes=100)
    assert len(keep_newest([scene("a"), scene("b", datetime=soon)])) == 1
    assert len(keep_newest([scene("a"), scene("b", datetime=late)])) == 2


def test_two_halves_of_a_granule_are_both_kept() -> None:
    west, east = box(13, 48, 13.5, 49), box(13.45, 48, 14, 49)
    assert [kept.id for kept in keep_newest([scene("w", west), scene("e", east)])] == ["e", "w"]


@pytest.mark.parametrize("other", [{"platform": "sentinel-2a"}, {"granule": "33UVP"}, {"collection": "sentinel-2-l1c"}])
def test_what_differs_in_platform_granule_or_collection_is_no_duplicate(other: dict[str, Any]) -> None:
    assert len(keep_newest([scene("a"), scene("b", **other)])) == 2


def test_scenes_that_do_not_say_what_they_are_stay_alone() -> None:
    bare = {"platform": None, "granule": None}
    assert len(keep_newest([scene("a", **bare), scene("b", **bare)])) == 2


def test_radar_scenes_are_duplicates_by_platform_mode_and_second() -> None:
    radar = {"collection": "sentinel-1-grd", "granule": None, "platform": "sentinel-1a", "mode": "IW", "baseline": None}
    slices = [scene("a", **radar), scene("b", **radar, updated="2024"), scene("c", box(13, 49, 14, 50), **radar)]
    assert [kept.id for kept in keep_newest(slices)] == ["b", "c"]


def test_an_id_met_twice_counts_once_and_order_is_by_date_then_id() -> None:
    later = TAKEN + timedelta(days=1)
    scenes = [
        scene("z", granule="A"),
        scene("a", granule="B", datetime=later),
        scene("b", granule="C"),
        scene("b", granule="C"),
    ]
    assert [kept.id for kept in keep_newest(scenes)] == ["b", "z", "a"]
    assert all(kept.replaces == () for kept in keep_newest(scenes))
