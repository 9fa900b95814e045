"""The word of constructed scenes on the offset in their DN: made of reflectances, stored with or without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.catalogs.items.test_radiometry import band, claiming
from tilewright.catalogs.items.darkness import BandLook, judge
from tilewright.catalogs.items.radiometry import pixel_verdict, verify_states
from tilewright.catalogs.scene import BandAsset

SIDE = 200
BANDS = ("blue", "green", "red")
WATER, LAND, SHADOW, CLOUD, SNOW, VEGETATION = 6, 5, 3, 9, 11, 4
REFLECTANCE = {
    # blue, green, red and the spread of the noise, as Sentinel-2 sees these surfaces.
    "water": ((0.045, 0.04, 0.02), 0.004, WATER),
    "black lake": ((0.003, 0.002, 0.000), 0.006, WATER),
    "lake over-corrected in red": ((0.02, 0.015, -0.012), 0.004, WATER),
    "turbid": ((0.08, 0.12, 0.11), 0.005, WATER),
    "land": ((0.12, 0.16, 0.2), 0.015, LAND),
    "forest": ((0.02, 0.045, 0.025), 0.006, VEGETATION),
    "shadow": ((0.03, 0.025, 0.02), 0.008, SHADOW),
    "cloud": ((0.6, 0.62, 0.63), 0.05, CLOUD),
    "snow": ((0.9, 0.88, 0.87), 0.03, SNOW),
    "sand": ((0.2, 0.27, 0.35), 0.02, LAND),
}


def scene(*parts: tuple[str, float], offset: bool, rim: float = 0.0, nothing: float = 0.0) -> dict[str, Any]:
    """The DN of three bands and the scene classes; parts are (surface, share of the rows), `rim` columns have DN 1."""
    rng = np.random.default_rng(7)
    dn = {name: np.zeros((SIDE, SIDE), np.uint16) for name in BANDS}
    classes = np.zeros((SIDE, SIDE), np.uint8)
    start = 0
    for surface, share in parts:
        means, spread, number = REFLECTANCE[surface]
        rows = slice(start, start + round(share * SIDE))
        start = rows.stop
        classes[rows] = number
        for name, mean in zip(BANDS, means, strict=True):
            reflectance = rng.normal(mean, spread, dn[name][rows].shape)
            dn[name][rows] = np.clip(np.round(reflectance * 1e4) + (1000 if offset else 0), 1, None)
    assert start == SIDE
    for columns, value in ((round(nothing * SIDE), 0), (round(rim * SIDE), 1)):
        for name in BANDS:
            dn[name][:, :columns] = value if columns else dn[name][:, :columns]
        classes[:, :columns] = 0
    return {**dn, "scl": classes}


TABLE = {
    "true, land and water": (scene(("land", 0.7), ("water", 0.3), offset=True), "agree"),
    "true, a rim of DN 1 on 1 %": (scene(("land", 0.9), ("water", 0.1), offset=True, rim=0.01), "agree"),
    "true, a wide rim of DN 1": (scene(("land", 0.9), ("water", 0.1), offset=True, rim=0.05), "agree"),
    "true, a black lake with 2 % below 1000": (scene(("land", 0.94), ("black lake", 0.06), offset=True), "agree"),
    "true, a black lake over half the scene": (scene(("land", 0.5), ("black lake", 0.5), offset=True), "agree"),
    "true, red below zero over a lake": (
        scene(("land", 0.9), ("lake over-corrected in red", 0.1), offset=True),
        "agree",
    ),
    "true, forest": (scene(("forest", 1.0), offset=True), "agree"),
    "true, half nodata": (scene(("land", 0.8), ("water", 0.2), offset=True, nothing=0.5), "agree"),
    "true, cloud and its shadow": (scene(("cloud", 0.9), ("shadow", 0.1), offset=True), "agree"),
    "true, all cloud": (scene(("cloud", 1.0), offset=True), "undecided"),
    "true, snow": (scene(("snow", 1.0), offset=True), "undecided"),
    "true, sand": (scene(("sand", 1.0), offset=True), "undecided"),
    "missing, land and water": (scene(("land", 0.7), ("water", 0.3), offset=False), "contradict"),
    "missing, 3 % water": (scene(("land", 0.97), ("water", 0.03), offset=False), "contradict"),
    "missing, 3 % water in sand": (scene(("sand", 0.97), ("water", 0.03), offset=False), "contradict"),
    "missing, 3 % shadow among cloud": (scene(("cloud", 0.97), ("shadow", 0.03), offset=False), "contradict"),
    "missing, forest": (scene(("forest", 1.0), offset=False), "contradict"),
    "missing, half nodata": (scene(("land", 0.8), ("water", 0.2), offset=False, nothing=0.5), "contradict"),
    "missing, a rim of DN 1": (scene(("land", 0.9), ("water", 0.1), offset=False, rim=0.02), "contradict"),
    "missing, turbid and clear water": (
        scene(("sand", 0.8), ("turbid", 0.05), ("water", 0.15), offset=False),
        "contradict",
    ),
    "missing, all cloud": (scene(("cloud", 1.0), offset=False), "undecided"),
    "missing, snow": (scene(("snow", 1.0), offset=False), "undecided"),
    "nothing but nodata": (scene(("land", 1.0), offset=True, nothing=1.0), "undecided"),
}


def reader(made: dict[str, Any]) -> Any:
    return lambda asset: made[asset.band]


@pytest.mark.parametrize("name", TABLE)
def test_pixels_say_what_a_scene_was_made_with(name: str) -> None:
    made, word = TABLE[name]
    verdict = pixel_verdict(claiming("s", *BANDS), reader(made))
    assert verdict is not None
    assert (verdict.word, bool(verdict.reason)) == (word, True)


@pytest.mark.parametrize("name", [name for name in TABLE if "turbid" not in name])
def test_the_same_is_said_without_scene_classes_and_by_a_single_band(name: str) -> None:
    made, word = TABLE[name]
    looks = [BandLook(band=each, dn=made[each], nodata=0.0) for each in BANDS]
    assert judge(looks).word == word
    assert judge(looks[:1]).word == word


def test_classes_of_another_pixel_size_are_laid_over_the_band() -> None:
    made, _ = TABLE["missing, 3 % water"]
    coarse = {**made, "scl": made["scl"][::2, ::2]}
    verdict = pixel_verdict(claiming("s", *BANDS), reader(coarse))
    assert verdict is not None
    assert verdict.word == "contradict"
    assert "water and shadow" in verdict.reason


def test_noise_so_wide_that_depth_misleads_is_weighed_by_the_classes() -> None:
    """Water of a true scene with a spread of 0.03: its values below 1000 are deep, but the middle of it is not."""
    rng = np.random.default_rng(3)
    blue = np.full((SIDE, SIDE), 2500, np.uint16)
    blue[:40] = np.clip(rng.normal(1010, 300, (40, SIDE)), 2, None)
    classes = np.full((SIDE, SIDE), LAND, np.uint8)
    classes[:40] = WATER
    assert judge([BandLook(band="blue", dn=blue, nodata=0.0)]).word == "contradict"
    assert judge([BandLook(band="blue", dn=blue, nodata=0.0)], classes).word == "agree"


def test_the_reason_of_a_scene_says_whether_anything_dark_was_seen() -> None:
    def reason(name: str) -> str:
        (scene,) = verify_states([claiming("s", *BANDS)], radiometry="auto", read_overview=reader(TABLE[name][0]))
        assert scene.state == "offset-in-dn"
        return scene.state_reason

    assert reason("true, all cloud").endswith("pixels undecided: nothing dark was seen in blue")
    assert reason("true, forest").endswith("pixels agree")
    lone = replace(claiming("s"), assets=(band("nir"),))
    (blind,) = verify_states([lone], radiometry="auto", read_overview=reader({}))
    assert blind.state_reason.endswith("pixels undecided: no visible band to look at")


def test_a_scene_that_agrees_costs_one_look() -> None:
    looked: list[str] = []

    def look(asset: BandAsset) -> Any:
        looked.append(asset.band)
        return TABLE["true, land and water"][0][asset.band]

    pixel_verdict(claiming("s", *BANDS), look)
    assert looked == ["blue"]
