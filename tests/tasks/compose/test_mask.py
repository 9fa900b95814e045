from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from tests.support.cubes import cube
from tilewright.tasks.compose.lazy import valid_mask
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import NOT_CLOUD, MaskRule
from tilewright.tasks.read.resample.pixels import Pixels


def row(*values: float, dtype: str = "uint8") -> np.ndarray:
    return np.array(values, dtype=dtype)[None, None]


def test_the_default_drops_the_documented_classes() -> None:
    classes = row(*range(12))
    valid = valid_mask(cube((1, 1, 12), scl=classes), rule=MaskRule())
    assert np.flatnonzero(valid.values).tolist() == [2, 4, 5, 6, 7, 11]
    assert valid.dims == ("time", "y", "x")
    assert valid.dtype == bool


def test_a_pixel_without_a_value_is_not_valid_under_any_rule() -> None:
    red = row(0.1, np.nan, dtype="float32")
    assert valid_mask(cube((1, 1, 2), red=red, scl=row(4, 4)), rule=MaskRule()).values.tolist() == [[[True, False]]]
    assert valid_mask(cube((1, 1, 2), red=red), rule=MaskRule(kind="none")).values.tolist() == [[[True, False]]]


def test_a_day_without_the_band_is_not_masked() -> None:
    without = cube((1, 1, 2), scl=row(0, 0), present=False)
    assert valid_mask(without, rule=MaskRule()).values.all()
    assert valid_mask(cube((1, 1, 2)), rule=MaskRule()).values.all()


def test_probabilities_bits_and_values_of_ones_own() -> None:
    cloud = row(10, 60, np.nan, dtype="float32")
    rule = MaskRule(kind="probability", threshold=40)
    assert valid_mask(cube((1, 1, 3), cloud=cloud), rule=rule).values.tolist() == [[[True, False, False]]]
    bits = row(0b00000, 0b01000, 0b10000, 0b00001, dtype="uint16")
    rule = MaskRule(kind="bits", drop=(3, 4))
    assert valid_mask(cube((1, 1, 4), qa_pixel=bits), rule=rule).values.tolist() == [[[True, False, False, True]]]
    rule = MaskRule(kind="values", band="land", drop=(7,))
    assert valid_mask(cube((1, 1, 2), land=row(7, 8)), rule=rule).values.tolist() == [[[False, True]]]
    assert rule.bands == ("land",)


@pytest.mark.parametrize("metres", [10.0, 25.0, 70.0])
def test_dilation_is_a_disc_in_metres_and_ignores_missing_pixels(metres: float) -> None:
    classes = np.full((2, 40, 50), 4, np.uint8)
    classes[0, 20, 25], classes[1, 3, 2], classes[1, 30, 49] = 9, 3, 0
    valid = valid_mask(cube(classes.shape, scl=classes), rule=MaskRule(dilation=metres)).values
    for day in range(2):
        cloud = np.isin(classes[day], [3, 8, 9, 10])
        expected = (distance_transform_edt(~cloud) * 10 > metres + 1e-6) & (classes[day] != 0)
        assert np.array_equal(valid[day], expected)


def test_dilation_does_not_see_chunks_or_the_cut() -> None:
    random = np.random.default_rng(2)
    classes = np.where(random.random((2, 60, 70)) < 0.01, 9, 4).astype(np.uint8)
    rule = MaskRule(dilation=55.0)
    whole = valid_mask(cube(classes.shape, scl=classes), rule=rule).values
    chunked = valid_mask(cube(classes.shape, scl=classes, chunks=16), rule=rule).values
    assert np.array_equal(whole, chunked)
    halo = rule.radius_px(10.0)
    assert halo == 6
    part = classes[:, 10:50, 5:60]
    cut = valid_mask(cube(part.shape, scl=part), rule=rule).values
    assert np.array_equal(cut[:, halo:-halo, halo:-halo], whole[:, 10 + halo : 50 - halo, 5 + halo : 60 - halo])


def test_the_mask_is_lazy() -> None:
    assert isinstance(valid_mask(cube((1, 4, 4), scl=np.full((1, 4, 4), 4, np.uint8)), rule=MaskRule()).data, da.Array)


def test_rules_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="mask kind 'clouds' is not known"):
        MaskRule(kind="clouds")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give metres"):
        MaskRule(dilation=-1)
    with pytest.raises(ValueError, match="needs a measured one"):
        valid_mask(cube((1, 1, 2), scl=row(0, 0))[["scl"]], rule=MaskRule())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32"])
@pytest.mark.parametrize("n_dropped", [0, 1, 8, 9, 60, 119, 120])
def test_however_many_numbers_are_dropped_each_is_compared_with_all_of_them(dtype: str, n_dropped: int) -> None:
    random = np.random.default_rng(n_dropped)
    drop = tuple(int(number) for number in random.permutation(120)[:n_dropped])
    values = random.integers(0, 120, (2, 700, 240)).astype(dtype)[:, ::2, 1::2]
    for nodata in (None, 5):
        pixels = Pixels(values=values, nodata=nodata, valid=None)
        found = dropped_pixels({"land": pixels}, rule=MaskRule(kind="values", band="land", drop=drop), resolution=10.0)
        assert np.array_equal(found, np.isin(values, drop))
        assert dropped_pixels(
            {"land": replace(pixels, values=values[:, :0])},
            rule=MaskRule(kind="values", band="land", drop=drop),
            resolution=10.0,
        ).shape == (2, 0, 120)


@pytest.mark.parametrize("dilation", [0, 30])
def test_of_the_scene_classes_clouds_alone_grow(dilation: int) -> None:
    random = np.random.default_rng(3)
    classes = random.choice(12, (60, 90), p=[0.02, 0.02, *[0.1] * 6, 0.02, 0.1, 0.12, 0.12]).astype(np.uint8)
    classes[:30] = random.choice([0, 1, 4, 9], (30, 90), p=[0.02, 0.01, 0.95, 0.02])
    rule = MaskRule(kind="scl", dilation=dilation)
    found = dropped_pixels({"scl": Pixels(values=classes, nodata=0, valid=None)}, rule=rule, resolution=10.0)
    clouds = np.isin(classes, [number for number in rule.drop if number not in NOT_CLOUD])
    near = distance_transform_edt(~clouds) <= dilation / 10.0 + 1e-9
    assert np.array_equal(found, near | np.isin(classes, rule.drop) | (classes == 0))
