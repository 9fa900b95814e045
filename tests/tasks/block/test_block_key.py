"""Keys of blocks stay what they are: a product begun with an older Tilewright of this format goes on."""

from __future__ import annotations

import copy

import pytest

from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.plan.plan import Plan

ASSET = {
    "band": "green",
    "key": "green",
    "href": "https://scenes.invalid/33UVP/green.tif",
    "index": 1,
    "dtype": "uint16",
    "nodata": 0.0,
    "scale": 0.0001,
    "offset": -0.1,
    "unit": "reflectance",
    "crs": "EPSG:32633",
    "shape": [10980, 10980],
    "transform": [10.0, 0.0, 399960.0, 0.0, -10.0, 5400000.0],
    "checksum": None,
}
SCENE = {
    "id": "S2A_33UVP_20210615_0_L2A",
    "collection": "sentinel-2-l2a",
    "source": "test",
    "datetime": "2021-06-15T10:05:00+00:00",
    "solar_day": "2021-06-15",
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[13.6, 48.7], [15.1, 48.7], [15.1, 47.7], [13.6, 47.7], [13.6, 48.7]]],
    },
    "bbox": [13.6, 47.7, 15.1, 48.7],
    "platform": "sentinel-2a",
    "granule": "33UVP",
    "orbit_state": None,
    "relative_orbit": 122,
    "cloud_cover": 3.5,
    "baseline": "05.00",
    "state": "offset-in-dn",
    "state_reason": "baseline 05.00",
    "assets": [ASSET],
    "mode": None,
    "sequence": 0,
    "generated": None,
    "updated": "2021-06-15T14:00:00Z",
    "replaces": [],
    "href": "https://catalog.invalid/items/1",
    "simulated": False,
}
PLAN = {
    "format": 2,
    "name": "golden",
    "request": {},
    "source": {},
    "card": {"reference": "ndwi-water", "name": "ndwi-water", "digest": "ab" * 32, "sha256": "cd" * 32},
    "grid": {
        "crs": "EPSG:32633",
        "resolution": 10.0,
        "area": {"row_start": -540000, "row_stop": -539000, "col_start": 40000, "col_stop": 41000},
    },
    "area": {"type": "Polygon", "coordinates": [[[400000.0, 5390000.0], [410000.0, 5390000.0], [410000.0, 5400000.0]]]},
    "up": 1,
    "down": 1,
    "lattice": {"step": 256, "trim": 8, "window": 272, "block": 512, "stride": 1, "merge": "trim"},
    "margin": 4,
    "inputs": [
        {
            "name": "image",
            "bands": ["green"],
            "unit": "reflectance",
            "resampling": "bilinear",
            "reducer": "median",
            "required": True,
            "every_step": False,
            "mask": {"kind": "scl", "drop": [0, 1, 3, 8, 9, 10], "dilation": 40.0},
            "finer": 1,
            "coarser": 1,
            "scenes": [SCENE],
            "steps": [
                {
                    "label": "2021-06",
                    "start": "2021-06-01T00:00:00+00:00",
                    "end": "2021-06-30T23:59:59+00:00",
                    "passes": [["S2A_33UVP_20210615_0_L2A"]],
                    "days": ["2021-06-15"],
                    "ranks": [0],
                }
            ],
            "gaps": "leave",
        }
    ],
    "layers": ["class", "confidence"],
    "engine": "direct",
    "receptive": {},
    "exact": True,
    "exact_reason": "",
    "versions": {"tilewright": "0.1.0"},
    "windows_reason": "",
    "fused": False,
    "precision": "fp32",
    "warnings": [],
    "blocks": [[-1055, 78], [-1055, 79]],
}
INSIDE, ELSEWHERE = (-1055, 78), (-1055, 200)


def key(plain, row, col):
    plan = Plan.from_json(plain)
    return block_key(plan, plan.raster.block(row, col))


@pytest.mark.parametrize(
    ("changes", "place", "expected"),
    [
        ({}, INSIDE, "b95026d2b572d96241c0570d974b9d47084b163f310f9ad35c77bff1748bc4f8"),
        ({}, ELSEWHERE, "011494b0672a9995a51a2212aaaec1ef80024ae778ab80853f6423c9cd90b66b"),
        (
            {"fused": True, "precision": "fp16"},
            INSIDE,
            "4af0361ecfc3ccaf2e730bc16e4d4a0704a9f8a0427b82633bee09f203a0b715",
        ),
        ({"tuned": True}, INSIDE, "2b87a8e58d14d519399b883ed95b51cbc369c453e00a127bf357bc0d2e447f35"),
    ],
    ids=["under a scene", "without one", "fused", "tuned"],
)
def test_keys_are_those_of_format_2(changes, place, expected):
    assert key({**PLAN, **changes}, *place) == expected


def test_a_plan_read_and_written_is_itself():
    for changes in ({}, {"tuned": True}):
        plain = {**PLAN, **changes}
        assert Plan.from_json(plain).to_json().keys() == plain.keys()
        assert Plan.from_json(Plan.from_json(plain).to_json()).to_json() == Plan.from_json(plain).to_json()


def test_an_address_of_the_record_and_its_date_of_change_make_no_pixels():
    moved = copy.deepcopy(PLAN)
    moved["inputs"][0]["scenes"][0] |= {"href": "elsewhere", "updated": "2022-01-01T00:00:00Z", "replaces": ["x"]}
    assert key(moved, *INSIDE) == key(PLAN, *INSIDE)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["inputs"][0]["scenes"][0]["assets"][0].update(offset=0.0),
        lambda plain: plain["inputs"][0]["scenes"][0].update(state="no-offset"),
        lambda plain: plain["card"].update(digest="ef" * 32),
        lambda plain: plain["inputs"][0]["mask"].update(dilation=0.0),
        lambda plain: plain.update(layers=["class"]),
        lambda plain: plain["inputs"][0].update(scenes=[]),
    ],
    ids=["offset", "state", "model", "mask", "layers", "no scene"],
)
def test_what_makes_pixels_changes_the_key(change):
    changed = copy.deepcopy(PLAN)
    change(changed)
    assert key(changed, *INSIDE) != key(PLAN, *INSIDE)


NEIGHBOUR = {
    **SCENE,
    "id": "far",
    "datetime": "2021-06-15T09:50:00+00:00",
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[16.6, 48.7], [17.1, 48.7], [17.1, 47.7], [16.6, 47.7], [16.6, 48.7]]],
    },
    "bbox": [16.6, 47.7, 17.1, 48.7],
    "assets": [{**ASSET, "crs": "", "shape": None, "transform": None}],
}
RULE = {"kind": "rule", "conditions": ["vv > -5"], "drop": []}


def with_neighbour(*, reducer="median", mask=None, units=("reflectance", "reflectance"), day="2021-06-15"):
    """Keys of the block under a scene, without and with a scene elsewhere that starts its pass on some day."""
    plain = copy.deepcopy(PLAN)
    step = plain["inputs"][0]["steps"][0]
    plain["inputs"][0].update(reducer=reducer, mask=mask or {"kind": "none"})
    # Passes at both ends keep the step's middle where it is.
    step.update(passes=[[], [SCENE["id"]], []], days=["2021-06-01", "2021-06-15", "2021-06-29"], ranks=[0, 1, 2])
    scenes = [copy.deepcopy(SCENE), copy.deepcopy(NEIGHBOUR)]
    for scene, unit in zip(scenes, units, strict=True):
        scene["assets"][0].update(unit=unit, band="green" if unit == "reflectance" else "vv")
    plain["inputs"][0]["scenes"] = scenes[:1]
    alone = key(plain, *INSIDE)
    plain["inputs"][0]["scenes"] = scenes
    step.update(passes=[[], ["far", SCENE["id"]], []], days=["2021-06-01", day, "2021-06-29"])
    return alone, key(plain, *INSIDE)


def days_changed(**changes):
    """Keys of a block under a scene, before and after a scene elsewhere moves the middle of the step's days."""
    plain = copy.deepcopy(PLAN)
    plain["inputs"][0].update(changes)
    before = key(plain, *INSIDE)
    plain["inputs"][0]["scenes"].append(copy.deepcopy(NEIGHBOUR))
    plain["inputs"][0]["steps"][0].update(
        passes=[[SCENE["id"]], ["far"]], days=["2021-06-15", "2021-06-29"], ranks=[0, 1]
    )
    return before, key(plain, *INSIDE)


@pytest.mark.parametrize(
    ("changes", "changed"), [({}, False), ({"dated": True}, True), ({"gaps": "interpolate"}, True)]
)
def test_a_scene_elsewhere_redoes_the_blocks_of_a_model_that_is_told_the_days(changes, changed):
    before, after = days_changed(**changes)
    assert (before != after) == changed


def test_a_dated_plan_read_and_written_is_itself():
    plain = copy.deepcopy(PLAN)
    plain["inputs"][0]["dated"] = True
    assert Plan.from_json(Plan.from_json(plain).to_json()) == Plan.from_json(plain)
    assert Plan.from_json(plain).to_json()["inputs"][0]["dated"]


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, False),
        ({"day": "2021-06-14"}, False),
        ({"reducer": "last", "day": "2021-06-14"}, False),
        ({"reducer": "best-pixel"}, False),
        ({"reducer": "best-pixel", "day": "2021-06-14"}, True),
        ({"mask": RULE, "units": ("db", "db")}, False),
        ({"mask": RULE, "units": ("db", "linear")}, True),
        ({"mask": RULE, "units": ("linear", "db")}, False),
        ({"units": ("db", "linear")}, False),
    ],
)
def test_a_scene_elsewhere_redoes_a_block_only_where_it_decides_its_pixels(changes, changed):
    alone, beside = with_neighbour(**changes)
    assert (alone != beside) == changed
