"""The rules of docs/observed.md, each in a world that one can see whole: scenes and answers typed by hand.

The program and the slow reference of the random worlds must both give the answer that is typed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio

from tests.reference.by_hand import ANSWERS, Shot, Wish, _, assert_rows, asset, item_of, write_file

MORNING = "2023-06-10T10:00:00Z"


@pytest.fixture(params=list(ANSWERS))
def mapped(request, tmp_path):
    """The layers of a world by whom is asked: `mapped(scenes or items, size=..., ...)`."""

    def made(*them, **wish):
        items = [each.item(tmp_path) if isinstance(each, Shot) else each for each in them]
        return ANSWERS[request.param](tmp_path, items, Wish(**wish))

    return made


# ------------------------------------------------------------------ section 1: a pixel of a file is there, or not


def test_section_1_signs_of_missing_pixels_are_a_set(tmp_path, mapped):
    path = tmp_path / "red.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        write_file(path, np.array([[20, 0, 99, 40, 50, 60]], np.uint16), header=99)
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.array([[255, 255, 255, 255, 0, 255]], np.uint8))
    item = item_of("a", {"datetime": MORNING}, {"red": asset(path, scale=0.01, nodata=0)}, size=(1, 6))
    found = mapped(item, size=(1, 6))
    # Header 99, said 0, masked out 50: none overrules another.
    assert_rows(found["red"], [[0.2, _, _, 0.4, _, 0.6]])
    assert_rows(found["observations"], [[1, 0, 0, 1, 0, 1]])


@pytest.mark.parametrize("stated", [-9999, 65536, "nan", 0.5])
def test_section_1_a_stated_value_that_the_type_cannot_hold_marks_nothing(tmp_path, mapped, stated):
    path = tmp_path / "red.tif"
    write_file(path, np.array([[20, 7, 0, 65535]], np.uint16), header=7)
    item = item_of("a", {"datetime": MORNING}, {"red": asset(path, scale=0.01, nodata=stated)}, size=(1, 4))
    assert_rows(mapped(item, size=(1, 4))["red"], [[0.2, _, 0.0, 655.35]])


def test_section_1_not_a_number_and_infinity_are_missing_beside_the_value_that_is_named(tmp_path, mapped):
    path = tmp_path / "red.tif"
    write_file(path, np.array([[0.1, np.nan, np.inf, -np.inf, 0.2, 5]], np.float32), header=5)
    item = item_of("a", {"datetime": MORNING}, {"red": asset(path)}, size=(1, 6))
    assert_rows(mapped(item, size=(1, 6))["red"], [[0.1, _, _, _, 0.2, _]])


def test_section_1_nearest_takes_the_pixel_at_the_centre_there_or_not_and_none_beyond_the_edge(tmp_path, mapped):
    fine, coarse = tmp_path / "red.tif", tmp_path / "nir.tif"
    write_file(fine, np.full((4, 6), 0.1, np.float32))
    write_file(coarse, np.array([[0.5, _], [_, 0.8]], np.float32), pixel=20.0)
    item = item_of("a", {"datetime": MORNING}, {"red": asset(fine), "nir": asset(coarse)}, size=(4, 6))
    found = mapped(item, size=(4, 6), bands=("red", "nir"))
    upper, lower = [0.5, 0.5, _, _, _, _], [_, _, 0.8, 0.8, _, _]
    assert_rows(found["nir"], [upper, upper, lower, lower])
    assert_rows(found["observations"], [[1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 0, 0]] * 2)


@pytest.mark.parametrize("sign", ["header", "stated", "masked", "table"])
def test_section_1_the_check_of_an_offset_counts_only_pixels_that_are_there(tmp_path, mapped, sign):
    # Dark pixels would contradict an offset of -0.1; here all of them are missing.
    dark = 0 if sign == "table" else 5
    path = tmp_path / "red.tif"
    numbers = np.array([[2000, dark, 3000, dark] * 16] * 64, np.uint16)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        write_file(path, numbers, header=5 if sign == "header" else None)
        if sign == "masked":
            with rasterio.open(path, "r+") as file:
                file.write_mask(np.array([[255, 0, 255, 0] * 16] * 64, np.uint8))
    said = {"nodata": 5} if sign == "stated" else {}
    assets = {"red": asset(path, scale=0.0001, offset=-0.1, **said)}
    properties = {"datetime": MORNING, "s2:processing_baseline": "05.09"}
    item = item_of("a", properties, assets, size=(64, 64), collection="sentinel-2-l2a")
    found = mapped(item, size=(64, 64), collection="sentinel-2-l2a")
    assert_rows(found["red"], [[0.1, _, 0.2, _] * 16] * 64)


# --------------------------------------------------------------------------------- section 2: a scene sees a pixel


def test_section_2_a_scene_does_not_see_a_pixel_at_which_one_of_its_bands_is_missing(mapped):
    whole = Shot(id="a", when=MORNING, bands={"red": [[0.1, 0.1, 0.1]], "nir": [[0.3, 0.3, 0.3]]})
    holed = Shot(id="b", when="2023-06-12T10:00:00Z", bands={"red": [[0.5, _, 0.5]], "nir": [[0.7, 0.7, _]]})
    found = mapped(whole, holed, size=(1, 3), bands=("red", "nir"))
    # The second scene's near infrared of the second pixel, and its red of the third, count for nothing.
    assert_rows(found["red"], [[0.3, 0.1, 0.1]])
    assert_rows(found["nir"], [[0.5, 0.3, 0.3]])
    assert_rows(found["observations"], [[2, 1, 1]])


def test_section_2_clouds_grow_inside_their_own_scene_and_a_scene_without_mask_sees_all(mapped):
    cloudy = Shot(id="a", when=MORNING, bands={"red": [[0.1] * 5], "quality": [[0, 0, 1, 0, 0]]})
    clear = Shot(id="b", when="2023-06-12T10:00:00Z", bands={"red": [[0.3] * 5], "quality": [[0, 0, 0, 0, 1]]})
    bare = Shot(id="c", when="2023-06-14T10:00:00Z", bands={"red": [[0.5] * 5]})
    found = mapped(cloudy, clear, bare, size=(1, 5), clouds=True, dilation=10)
    # Seen by: a b c, b c, b c, c, a c.
    assert_rows(found["red"], [[0.3, 0.4, 0.4, 0.5, 0.3]])
    assert_rows(found["observations"], [[3, 2, 2, 1, 2]])


# --------------------------------------------------------------------------- section 3: a pass is one observation


def test_section_3_a_pixel_takes_all_its_bands_from_the_first_scene_of_the_pass_that_sees_it(mapped):
    rows = {"red": [[0.1, _, 0.1, 0.1]], "nir": [[0.2, 0.2, _, 0.2]], "quality": [[0, 0, 0, 1]]}
    first = Shot(id="a", when=MORNING, bands=rows)
    rows = {"red": [[0.5, 0.5, 0.5, 0.5]], "nir": [[0.6, 0.6, 0.6, 0.6]], "quality": [[0, 0, 0, 0]]}
    second = Shot(id="b", when="2023-06-10T10:00:20Z", bands=rows)
    found = mapped(second, first, size=(1, 4), bands=("red", "nir"), clouds=True)
    assert_rows(found["red"], [[0.1, 0.5, 0.5, 0.5]])
    assert_rows(found["nir"], [[0.2, 0.6, 0.6, 0.6]])
    assert_rows(found["observations"], [[1, 1, 1, 1]])


RED, BOTH = {"red": [[0.1]]}, {"red": [[0.5]], "nir": [[0.6]]}
OTHER = {"red": [[0.7]], "nir": [[0.8]]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(("b", "10:00:10", BOTH), ("a", "10:00:00", RED), id="most bands before the earlier"),
        pytest.param(("b", "10:00:00", BOTH), ("a", "10:00:00", RED), id="most bands before the lesser id"),
        pytest.param(("b", "10:00:00", BOTH), ("a", "10:00:10", OTHER), id="the earlier before the lesser id"),
        pytest.param(("a", "10:00:00", BOTH), ("b", "10:00:00", OTHER), id="the lesser id"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_section_3_first_are_most_bands_then_the_earlier_then_the_lesser_id(mapped, first, second, turned):
    them = [Shot(id=name, when=f"2023-06-10T{clock}Z", bands=bands) for name, clock, bands in (first, second)]
    found = mapped(*(reversed(them) if turned else them), size=(1, 1), bands=("red", "nir"))
    assert_rows(found["red"], [[0.5]])
    assert_rows(found["nir"], [[0.6]])
    assert_rows(found["observations"], [[1]])


def at(*moments: str, **changes: dict[str, Any]) -> list[Shot]:
    """Scenes of one pixel, 0.1, 0.2, 0.3 ... at those moments; changes by id (a, b, c, d)."""
    return [
        Shot(**{"id": name, "when": when, "bands": {"red": [[number / 10]]}, **changes.get(name, {})})
        for number, (name, when) in enumerate(zip("abcd", moments, strict=False), start=1)
    ]


def side_by_side(*moments: str, **changes: dict[str, Any]) -> list[Shot]:
    """Scenes of four pixels in a row, each with one in common with the one before: 0.1, 0.2, 0.3."""
    rows = [{"bands": {"red": [[number / 10] * 4]}, "col": 3 * number - 3} for number in (1, 2, 3)]
    return at(*moments, **{name: {**row, **changes.get(name, {})} for name, row in zip("abc", rows, strict=True)})


@pytest.mark.parametrize(
    ("them", "are_one"),
    [
        pytest.param(side_by_side(MORNING, "2023-06-10T10:30:00Z"), True, id="30 minutes"),
        pytest.param(side_by_side(MORNING, "2023-06-10T10:30:01Z"), False, id="more than 30 minutes"),
        pytest.param(side_by_side("2023-06-10T23:50:00Z", "2023-06-11T00:10:00Z"), True, id="across midnight"),
        pytest.param(side_by_side("2023-06-10T22:50:00Z", "2023-06-10T23:10:00Z"), True, id="across solar midnight"),
        pytest.param(side_by_side(MORNING, MORNING, b={"platform": "two"}), False, id="another platform"),
        pytest.param(side_by_side(MORNING, "2023-06-10T10:00:10Z", b={"orbit": 2}), False, id="another orbit"),
        pytest.param(side_by_side(MORNING, "2023-06-10T18:00:00Z"), False, id="two passes of a day"),
        pytest.param(at(MORNING, "2023-06-10T10:01:00Z"), True, id="the same place a minute later"),
        pytest.param(at(MORNING, "2023-06-10T10:03:00Z"), False, id="the same place three minutes later"),
        pytest.param(side_by_side(MORNING, "2023-06-10T10:20:00Z", b={"col": 1}), False, id="most of the place"),
    ],
)
def test_section_3_scenes_of_one_platform_and_orbit_minutes_apart_are_a_pass(mapped, them, are_one):
    n_cols = 7 if len(them[0].bands["red"][0]) == 4 else 1
    found = mapped(*them, size=(1, n_cols))
    shared = them[1].col
    assert_rows(found["red"][:, shared : shared + 1], [[0.1 if are_one else 0.15]])
    assert_rows(found["observations"][:, shared : shared + 1], [[1 if are_one else 2]])


@pytest.mark.parametrize(
    ("orbit", "red", "observed"),
    [
        pytest.param(1, [[0.1] * 4 + [0.2] * 3 + [0.3] * 3], [[1] * 10], id="each follows the one before"),
        pytest.param(
            2,
            [[0.1] * 3 + [0.15] + [0.2] * 2 + [0.25] + [0.3] * 3],
            [[1, 1, 1, 2, 1, 1, 2, 1, 1, 1]],
            id="another orbit between",
        ),
    ],
)
def test_section_3_a_pass_is_a_chain(mapped, orbit, red, observed):
    them = side_by_side(MORNING, "2023-06-10T10:30:00Z", "2023-06-10T11:00:00Z", b={"orbit": orbit})
    found = mapped(*them, size=(1, 10))
    assert_rows(found["red"], red)
    assert_rows(found["observations"], observed)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param({"platform": "two"}, id="another platform"),
        pytest.param({"platform": "two", "orbit": 2}, id="another platform and orbit"),
        pytest.param({"orbit": 2}, id="another orbit"),
    ],
)
@pytest.mark.parametrize("clock", ["10:05:00", "10:25:00"])
def test_section_3_a_scene_of_another_pass_between_parts_no_pass(mapped, between, clock):
    them = [
        Shot(id="a", when=MORNING, bands={"red": [[0.1] * 4]}),
        Shot(**{"id": "b", "when": f"2023-06-10T{clock}Z", "bands": {"red": [[_] * 3 + [0.2]]}, "col": 3, **between}),
        Shot(id="c", when="2023-06-10T10:30:00Z", bands={"red": [[0.3] * 4]}, col=3),
    ]
    found = mapped(*them, size=(1, 7))
    assert_rows(found["red"][:, 3:4], [[0.1]])
    assert_rows(found["observations"][:, 3:4], [[1]])


# --------------------------------------------------------------------------------------------- section 4: a step


def test_section_4_a_step_holds_both_its_ends_and_parts_a_pass(mapped):
    them = at("2023-06-01T00:00:00Z", "2023-06-30T23:59:59Z", "2023-07-01T00:00:00Z", "2023-07-31T23:59:59Z")
    found = mapped(*them, size=(1, 1), kind="pair")
    # 0.1 and 0.2 of June, 0.3 and 0.4 of July; 0.2 and 0.3 are a second apart.
    assert_rows(found["red_0"], [[0.15]])
    assert_rows(found["red_1"], [[0.35]])
    assert_rows(found["observations"], [[4]])


def test_section_4_an_item_that_states_an_interval_is_in_every_step_it_overlaps(mapped):
    mosaic = Shot(id="m", when=("2023-06-20T00:00:00Z", "2023-07-10T00:00:00Z"), bands={"red": [[0.5]]}, orbit=9)
    june, july = at(MORNING, "2023-07-20T10:00:00Z")
    found = mapped(mosaic, june, july, size=(1, 1), kind="series")
    assert_rows(found["red_0"], [[0.3]])
    assert_rows(found["red_1"], [[0.35]])
    assert_rows(found["observations"], [[4]])


def test_section_4_a_pixel_has_the_observations_of_its_least_observed_band(mapped):
    whole = Shot(id="a", when=MORNING, bands={"red": [[0.1, 0.1, _]], "nir": [[0.3, 0.3, _]]})
    lacking = Shot(id="b", when="2023-06-12T10:00:00Z", bands={"red": [[0.5, _, 0.5]]})
    found = mapped(whole, lacking, size=(1, 3), bands=("red", "nir"))
    # Red was seen twice, once, once; near infrared once, once, never.
    assert_rows(found["red"], [[0.3, 0.1, _]])
    assert_rows(found["nir"], [[0.3, 0.3, _]])
    assert_rows(found["observations"], [[1, 1, 0]])


@pytest.mark.parametrize("reducer", ["first", "last", "min", "max", "median", "mean"])
def test_section_4_each_reducer_takes_passes_and_not_scenes(mapped, reducer):
    # Three passes: 0.4 (of two scenes, 0.9 beneath), 0.1, 0.2.
    them = [
        Shot(id="a", when=MORNING, bands={"red": [[0.4]]}),
        Shot(id="b", when="2023-06-10T10:00:10Z", bands={"red": [[0.9]]}),
        Shot(id="c", when="2023-06-10T15:00:00Z", bands={"red": [[0.1]]}, orbit=2),
        Shot(id="d", when="2023-06-11T10:00:00Z", bands={"red": [[0.2]]}),
    ]
    right = {"first": 0.4, "last": 0.2, "min": 0.1, "max": 0.4, "median": 0.2, "mean": 0.7 / 3}
    found = mapped(*them, size=(1, 1), reducer=reducer)
    assert_rows(found["red"], [[right[reducer]]])
    assert_rows(found["observations"], [[3]])


@pytest.mark.parametrize(
    ("june", "july"),
    [
        (({"red": [[0.1]]},), ({"red": [[0.1]], "nir": [[0.3]]},)),
        (({"red": [[0.1]], "nir": [[0.3]]},), ({"nir": [[0.3]]}, {"nir": [[0.3]]})),
    ],
)
@pytest.mark.parametrize("kind", ["pair", "series"])
def test_section_4_a_step_in_which_no_scene_has_one_of_the_bands_is_refused(mapped, june, july, kind):
    them = [Shot(id=f"a{n}", when=f"2023-06-1{n}T10:00:00Z", bands=bands) for n, bands in enumerate(june)]
    them += [Shot(id=f"b{n}", when=f"2023-07-1{n}T10:00:00Z", bands=bands) for n, bands in enumerate(july)]
    with pytest.raises(ValueError, match=r"red|nir"):
        mapped(*them, size=(1, 1), bands=("red", "nir"), kind=kind)


# --------------------------------------------------------------------------------------------- section 5: the map


@pytest.mark.parametrize(
    ("kind", "june", "july"),
    [
        ("pair", [[0.1, _, _, _]], [[0.5, _, _, _]]),
        ("series", [[0.1, 0.1, -1, _]], [[0.5, -1, 0.5, _]]),
    ],
)
def test_section_5_a_pair_needs_both_its_steps_and_a_series_one(mapped, kind, june, july):
    first = Shot(id="a", when=MORNING, bands={"red": [[0.1, 0.1, _, _]]})
    second = Shot(id="b", when="2023-07-10T10:00:00Z", bands={"red": [[0.5, _, 0.5, _]]})
    found = mapped(first, second, size=(1, 4), kind=kind)
    assert_rows(found["red_0"], june)
    assert_rows(found["red_1"], july)
    assert_rows(found["observations"], [[2, 1, 1, 0]])


def test_section_5_inputs_of_the_same_scenes_count_once(mapped):
    them = [
        Shot(id="a", when=MORNING, bands={"red": [[0.1, 0.1]], "nir": [[0.3, 0.3]]}),
        Shot(id="b", when="2023-06-12T10:00:00Z", bands={"red": [[0.3, _]], "nir": [[0.5, _]]}),
    ]
    found = mapped(*them, size=(1, 2), bands=("red", "nir"), apart=True)
    assert_rows(found["red"], [[0.2, 0.1]])
    assert_rows(found["nir"], [[0.4, 0.3]])
    assert_rows(found["observations"], [[2, 1]])
