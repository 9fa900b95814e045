from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.models.fields import CardField
from tilewright.models.spec.expression import parse_expression
from tilewright.models.spec.inputs import DatesSpec, ExtraInput, InputSpec, MissingSpec
from tilewright.models.spec.scaling import NO_SCALING, Scaling, parse_scaling
from tilewright.models.transforms.extras import WindowFacts, prepare_extra
from tilewright.models.transforms.preprocess import prepare_input
from tilewright.models.transforms.resize import resize

NAN = np.nan
FOLDED = ("batch", "bands", "height", "width")
FULL = ("batch", "time", "bands", "height", "width")


def scaling(**entry: Any) -> Scaling:
    return parse_scaling(CardField(path="s", content=entry))


def spec_of(bands: tuple[str, ...] = ("red", "nir"), dim_order: tuple[str, ...] = FULL, **given: Any) -> InputSpec:
    given.setdefault("value_scaling", (NO_SCALING,) * len(bands))
    given.setdefault("source_bands", bands)
    given.setdefault("shape", (-1,) * len(dim_order))
    given.setdefault("data_type", "float32")
    return InputSpec(name="x", collection="c", bands=bands, dim_order=dim_order, **given)


def steps(n: int = 2, t: int = 1, c: int = 2, h: int = 3, w: int = 4) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(7).random((n, t, c, h, w), dtype=np.float32)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "min-max", "minimum": -30, "maximum": 0}, lambda x: (x + 30) / 30),
        ({"type": "z-score", "mean": 0.2, "stddev": 0.05}, lambda x: (x - 0.2) / 0.05),
        ({"type": "clip", "minimum": 0.2, "maximum": 0.4}, lambda x: np.clip(x, 0.2, 0.4)),
        ({"type": "clip-min", "minimum": 0.3}, lambda x: np.maximum(x, 0.3)),
        ({"type": "clip-max", "maximum": 0.3}, lambda x: np.minimum(x, 0.3)),
        ({"type": "offset", "value": 0.1}, lambda x: x - 0.1),
        ({"type": "scale", "value": 0.0001}, lambda x: x / 0.0001),
        ({"type": "processing", "format": "tilewright", "expression": "log(x + 1)"}, lambda x: np.log(x + 1)),
    ],
)
def test_every_scaling_of_mlm_is_its_formula(entry: dict[str, Any], expected: Any) -> None:
    physical = steps()
    spec = spec_of(value_scaling=(scaling(**entry),) * 2)
    np.testing.assert_allclose(
        prepare_input(spec, physical), expected(physical.astype(np.float64)), rtol=2e-6, atol=1e-6
    )


def test_each_band_has_its_own_scaling_in_the_order_given() -> None:
    spec = spec_of(value_scaling=(scaling(type="offset", value=1), NO_SCALING))
    physical = steps()
    made = prepare_input(spec, physical)
    np.testing.assert_array_equal(made[:, :, 0], physical[:, :, 0] - np.float32(1))
    np.testing.assert_array_equal(made[:, :, 1], physical[:, :, 1])


def test_a_mean_of_three_hundred_kelvin_keeps_its_digits() -> None:
    physical = np.full((1, 1, 1, 1, 1), 300.01, dtype=np.float32)
    spec = spec_of(("t",), value_scaling=(scaling(type="z-score", mean=300, stddev=0.01),))
    assert prepare_input(spec, physical).item() == pytest.approx((float(physical.item()) - 300) / 0.01, rel=1e-5)


def test_time_folded_into_bands_in_both_orders() -> None:
    physical = np.arange(6, dtype=np.float32).reshape(1, 3, 2, 1, 1)
    dates = DatesSpec(kind="series", steps=3)
    major = prepare_input(spec_of(dim_order=FOLDED, dates=dates), physical)
    bands = prepare_input(spec_of(dim_order=FOLDED, dates=dates, fold="band-major"), physical)
    assert major.shape == bands.shape == (1, 6, 1, 1)
    assert major.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert bands.ravel().tolist() == [0, 2, 4, 1, 3, 5]


@given(st.permutations(FULL))
def test_any_arrangement_of_dimensions_is_the_same_numbers_transposed(order: list[str]) -> None:
    physical = steps(2, 3, 2, 4, 4)
    made = prepare_input(spec_of(dim_order=tuple(order), dates=DatesSpec(kind="series", steps=3)), physical)
    np.testing.assert_array_equal(made, physical.transpose([FULL.index(axis) for axis in order]))


def test_without_height_and_width_each_pixel_is_a_row() -> None:
    physical = steps(2, 3, 2, 4, 5)
    spec = spec_of(dim_order=("batch", "time", "bands"), dates=DatesSpec(kind="series", steps=3))
    made = prepare_input(spec, physical)
    assert made.shape == (40, 3, 2)
    np.testing.assert_array_equal(made[20 + 1 * 5 + 2], physical[1, :, :, 1, 2])


def test_derived_bands_are_arithmetic_and_missing_where_it_has_no_answer() -> None:
    physical = np.array([0.1, 0.0, 0.3, 0.0], dtype=np.float32).reshape(1, 1, 2, 1, 2)
    ndvi = parse_expression("(nir - red) / (nir + red)", field="f")
    spec = spec_of(
        ("ndvi", "red"),
        source_bands=("red", "nir"),
        expressions={"ndvi": ndvi},
        missing=MissingSpec(fill=-1.0),
        value_scaling=(NO_SCALING,) * 2,
    )
    np.testing.assert_allclose(prepare_input(spec, physical).ravel(), [0.5, -1, 0.1, 0.0], atol=1e-6)


def test_power_becomes_decibel_and_no_power_is_missing() -> None:
    physical = np.array([0.1, 0.0], dtype=np.float32).reshape(1, 1, 1, 1, 2)
    spec = spec_of(("vv",), unit="db", missing=MissingSpec(fill=-40.0))
    np.testing.assert_allclose(prepare_input(spec, physical, unit="linear").ravel(), [-10, -40], atol=1e-5)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (0.5, [[1, 0.5, 3, 4], [0.5, 0.5, 0.5, 0.5]]),
        ("mean", [[1, 8 / 3, 3, 4], [8 / 3] * 4]),
        ("nearest", [[1, 1, 3, 4], [1, 1, 3, 4]]),
        ("nearest-date", [[1, 1, 3, 4], [1, 1, 3, 4]]),
    ],
)
def test_missing_values_are_filled_by_the_rule(fill: Any, expected: list[list[float]]) -> None:
    physical = np.array([[1, NAN, 3, 4], [NAN] * 4], dtype=np.float32).reshape(1, 2, 1, 1, 4)
    spec = spec_of(("red",), missing=MissingSpec(fill=fill), dates=DatesSpec(kind="series", steps=2))
    np.testing.assert_allclose(prepare_input(spec, physical)[0, :, 0, 0], expected, rtol=1e-6)


@given(seed=st.integers(0, 200), share=st.floats(0.02, 0.9))
def test_nearest_is_as_near_as_any_valid_pixel(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    physical = np.arange(63, dtype=np.float32).reshape(1, 1, 1, 7, 9)
    gaps = rng.random((7, 9)) < share
    gaps[rng.integers(7), rng.integers(9)] = False
    physical[0, 0, 0][gaps] = NAN
    filled = prepare_input(spec_of(("red",), missing=MissingSpec(pad="fill")), physical)[0, 0, 0].astype(int)
    valid = np.argwhere(~gaps)
    for row, col in np.argwhere(gaps):
        least = ((valid - (row, col)) ** 2).sum(axis=1).min()
        source = divmod(filled[row, col], 9)
        assert not gaps[source]
        assert (source[0] - row) ** 2 + (source[1] - col) ** 2 == least


def test_rims_without_any_observation_are_mirrored_and_gaps_inside_are_filled() -> None:
    physical = np.array([[NAN, NAN, NAN, 1, NAN, 3, NAN], [NAN, NAN, NAN, NAN, 5, 6, NAN]], dtype=np.float32)
    spec = spec_of(("red",), missing=MissingSpec(fill=9.0), dates=DatesSpec(kind="series", steps=2))
    made = prepare_input(spec, physical.reshape(1, 2, 1, 1, 7))[0, :, 0, 0]
    assert made.tolist() == [[9, 3, 9, 1, 9, 3, 9], [5, 6, 5, 9, 5, 6, 5]]
    assert np.isnan(physical[0, 0]), "what was given is not changed"
    filled = spec_of(("red",), missing=MissingSpec(fill=9.0, pad="fill"), dates=DatesSpec(kind="series", steps=2))
    assert prepare_input(filled, physical.reshape(1, 2, 1, 1, 7))[0, 0, 0, 0].tolist() == [9, 9, 9, 1, 9, 3, 9]


def test_nearest_date_takes_the_same_pixel_from_the_nearest_step_and_the_earlier_of_two() -> None:
    physical = np.array([[1, 5], [NAN, NAN], [3, NAN]], dtype=np.float32).reshape(1, 3, 1, 1, 2)
    spec = spec_of(("red",), missing=MissingSpec(fill="nearest-date"), dates=DatesSpec(kind="series", steps=3))
    assert prepare_input(spec, physical)[0, :, 0, 0].tolist() == [[1, 5], [1, 5], [3, 5]]


def test_each_band_has_its_own_rule() -> None:
    physical = np.array([1, NAN, NAN, 4], dtype=np.float32).reshape(1, 1, 2, 1, 2)
    spec = spec_of(missing=MissingSpec(fill=(9.0, "nearest")))
    assert prepare_input(spec, physical).ravel().tolist() == [1, 9, 4, 4]


def test_a_band_with_no_valid_pixel_at_all_is_the_middle_of_its_training_values() -> None:
    spec = spec_of(
        value_scaling=(scaling(type="z-score", mean=0.3, stddev=0.1), scaling(type="min-max", minimum=-30, maximum=0))
    )
    made = prepare_input(spec, np.full((2, 1, 2, 4, 4), NAN, dtype=np.float32))
    assert made.shape == (2, 1, 2, 4, 4)
    np.testing.assert_allclose(made[:, :, 0], 0, atol=1e-6)
    np.testing.assert_allclose(made[:, :, 1], 0.5, atol=1e-6)


@given(seed=st.integers(0, 50), fill=st.sampled_from(["nearest", "mean", "nearest-date", 0.0]), n=st.integers(2, 4))
def test_a_batch_mate_never_changes_a_bit(seed: int, fill: Any, n: int) -> None:
    rng = np.random.default_rng(seed)
    physical = rng.random((n, 2, 2, 9, 9), dtype=np.float32)
    physical[rng.random(physical.shape) < 0.3] = NAN
    ndvi = parse_expression("log((nir - red) / (nir + red) + 2)", field="f")
    spec = spec_of(
        ("ndvi", "nir"),
        source_bands=("red", "nir"),
        expressions={"ndvi": ndvi},
        missing=MissingSpec(fill=fill),
        value_scaling=(scaling(type="z-score", mean=0.3, stddev=0.07),) * 2,
        dates=DatesSpec(kind="series", steps=2),
        resize="interpolation-cubic",
        shape=(-1, 2, 2, 14, 14),
    )
    together = prepare_input(spec, physical)
    for i in range(n):
        np.testing.assert_array_equal(together[i], prepare_input(spec, physical[i : i + 1])[0])


def test_the_steps_given_are_never_changed() -> None:
    physical = steps()
    physical[0, 0, 0, 0, 0] = NAN
    before = physical.copy()
    prepare_input(spec_of(value_scaling=(scaling(type="scale", value=2),) * 2), physical)
    np.testing.assert_array_equal(physical, before)


@pytest.mark.parametrize(
    ("data_type", "expected"),
    [("uint8", [0, 0, 2, 2, 255]), ("int16", [-3, 0, 2, 2, 300]), ("float16", [-3, 0.5, 1.5, 2.5, 300])],
)
def test_the_cast_rounds_half_to_even_and_stays_in_range(data_type: str, expected: list[float]) -> None:
    physical = np.array([-3, 0.5, 1.5, 2.5, 300], dtype=np.float32).reshape(1, 1, 1, 1, 5)
    made = prepare_input(spec_of(("red",), data_type=data_type), physical)
    assert made.dtype == data_type
    assert made.ravel().tolist() == expected


def test_a_window_is_resized_to_the_training_size_before_it_is_scaled() -> None:
    physical = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 2, 2)
    spec = spec_of(
        ("red",),
        resize="interpolation-nearest",
        shape=(-1, 1, 1, 4, 4),
        value_scaling=(scaling(type="scale", value=2),),
    )
    assert prepare_input(spec, physical)[0, 0, 0, 0].tolist() == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "area", "max"])
def test_resizing_keeps_a_flat_field_flat(method: str) -> None:
    flat = np.full((2, 7, 7), 3.25, dtype=np.float32)
    for size in ((14, 14), (3, 3), (7, 7), (10, 5)):
        made = resize(flat, size=size, method=f"interpolation-{method}")
        assert made.shape == (2, *size)
        np.testing.assert_allclose(made, 3.25, rtol=1e-6)


def test_resizing_is_what_it_says() -> None:
    row = np.array([[0, 4]], dtype=np.float32)
    assert resize(row, size=(1, 4), method="interpolation-linear")[0].tolist() == [0, 1, 3, 4]
    four = np.array([[1, 3, 5, 9]], dtype=np.float32)
    assert resize(four, size=(1, 2), method="interpolation-area")[0].tolist() == [2, 7]
    assert resize(four, size=(1, 2), method="interpolation-max")[0].tolist() == [3, 9]
    # The cubic kernel with a = -0.75 at a quarter of a pixel, by hand.
    weights = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    ramp = np.array([[0, 0, 8, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(
        resize(ramp, size=(1, 10), method="interpolation-cubic")[0, 3], 8 * weights[2], rtol=1e-6
    )


def extra_of(kind: Any, dim_order: tuple[str, ...], shape: tuple[int, ...], **given: Any) -> ExtraInput:
    given = {"parts": (), "values": (), "data_type": "float32"} | given
    return ExtraInput(name="e", kind=kind, of="x", dim_order=dim_order, shape=shape, **given)


def test_day_of_year_is_per_step_and_can_have_several_parts() -> None:
    facts = WindowFacts(n=2, height=4, width=4, days=(date(2021, 12, 31), date(2022, 1, 2)))
    days = extra_of("day_of_year", ("batch", "time"), (-1, 2), parts=("day_of_year",), gain=1 / 365)
    np.testing.assert_allclose(prepare_extra(days, facts), [[1, 2 / 365]] * 2)
    both = extra_of("day_of_year", ("batch", "time", "features"), (-1, 2, 2), parts=("year", "days_since_first"))
    assert prepare_extra(both, facts)[1].tolist() == [[2021, 0], [2022, 2]]


def test_the_size_of_pixels_is_told_per_window_in_the_order_of_its_parts() -> None:
    sizes = WindowFacts(n=2, height=4, width=4, pixel_size=np.array([[10.0, 20.0], [5.0, 6.0]]))
    both = extra_of("pixel_size", ("batch", "features"), (-1, 2), parts=("height", "width"), gain=0.1)
    assert prepare_extra(both, sizes) == pytest.approx(np.array([[2.0, 1.0], [0.6, 0.5]]))
    one = extra_of("pixel_size", ("batch",), (-1,), parts=("width",))
    assert prepare_extra(one, sizes).tolist() == [10.0, 5.0]


def test_places_masks_wavelengths_and_constants_fill_their_shapes() -> None:
    lonlat = np.zeros((2, 2, 4, 4))
    lonlat[:, 0], lonlat[:, 1] = 13.0, 48.0
    valid = np.zeros((2, 1, 4, 4), dtype=bool)
    valid[:, :, 0] = True
    facts = WindowFacts(n=2, height=4, width=4, valid=valid, lonlat=lonlat)
    place = extra_of("lonlat", ("batch", "features"), (-1, 2), parts=("lat", "lon"))
    assert prepare_extra(place, facts).tolist() == [[48, 13], [48, 13]]
    grid = extra_of("lonlat", ("batch", "height", "width", "features"), (-1, 4, 4, 2), parts=("lon", "lat"))
    assert prepare_extra(grid, facts)[1, 2, 3].tolist() == [13, 48]
    mask = extra_of("valid_mask", ("batch", "bands", "height", "width"), (-1, 1, 4, 4), data_type="uint8")
    assert prepare_extra(mask, facts)[0, 0, :, 0].tolist() == [1, 0, 0, 0]
    share = extra_of("valid_mask", ("batch", "bands"), (-1, 1))
    assert prepare_extra(share, facts).tolist() == [[0.25], [0.25]]
    waves = extra_of("wavelengths", ("batch", "bands"), (-1, 2), values=(0.665, 0.842))
    np.testing.assert_allclose(prepare_extra(waves, facts), [[0.665, 0.842]] * 2)
    constant = extra_of("constant", ("batch", "bands"), (-1, 3), values=(7.0,), data_type="int64")
    assert prepare_extra(constant, facts).tolist() == [[7, 7, 7]] * 2
