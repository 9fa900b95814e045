from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from tests.support.cubes import cube
from tests.support.scenes import real_scenes
from tilewright.models.spec.inputs import REDUCERS
from tilewright.tasks.compose import reducers, selection
from tilewright.tasks.compose.composite import count_passes, reduce_passes
from tilewright.tasks.compose.lazy import composite, valid_mask
from tilewright.tasks.compose.mask_rule import SCL_DROPPED, MaskRule
from tilewright.tasks.compose.reducers import reducer_radius_px
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.read.resample.pixels import convert_unit, to_db

RANDOM = np.random.default_rng(7)


def stack(*pixels: list[float]) -> np.ndarray:
    """(time, 1, x): one list per pixel, in time's order."""
    return np.array(pixels, dtype=np.float32).T[:, None]


def reduce(
    values: np.ndarray, reducer: str, *, unit: str | None = None, units: str = "1", **options: object
) -> xr.Dataset:
    made = cube(values.shape, red=values)
    made.red.attrs["units"] = units
    return composite(
        made, valid_mask(made, rule=MaskRule(kind="none")), reducer=reducer, unit=unit, **options
    ).compute()


@pytest.mark.parametrize(
    ("reducer", "expected"),
    [
        ("first", [3, 5, np.nan]),
        ("last", [2, 5, np.nan]),
        ("min", [1, 5, np.nan]),
        ("max", [3, 5, np.nan]),
        ("mean", [2, 5, np.nan]),
        ("median", [2, 5, np.nan]),
        ("percentile:50", [2, 5, np.nan]),
        ("percentile:0", [1, 5, np.nan]),
        ("percentile:75", [2.5, 5, np.nan]),
        ("medoid", [2, 5, np.nan]),
    ],
)
def test_reducers_by_eye(reducer: str, expected: list[float]) -> None:
    nan = np.nan
    made = reduce(stack([3, 1, 2], [nan, 5, nan], [nan, nan, nan]), reducer)
    assert np.array_equal(made.red.values[0], np.array(expected, np.float32), equal_nan=True)
    assert made.observations.values.tolist() == [[3, 1, 0]]
    assert made.observations.dtype == np.uint16
    assert made.red.dtype == np.float32


def test_least_cloudy_takes_the_plans_ranks_and_else_the_cover() -> None:
    values = stack([1, 2, 3], [1, np.nan, 3], [1, np.nan, np.nan])
    assert reduce_passes(values[None], "least-cloudy", ranks=[2, 0, 1])[0, 0].tolist() == [2, 3, 1]
    made = cube(values.shape, red=values).assign_coords(cloud_cover=("time", np.array([50, np.nan, 1], np.float32)))
    chosen = composite(made, valid_mask(made, rule=MaskRule(kind="none")), reducer="least-cloudy")
    assert chosen.red.values[0].tolist() == [3, 3, 1]


@settings(max_examples=60, deadline=None)
@given(n_dates=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_median_is_numpys_to_the_bit(n_dates: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-9, 9, (n_dates, 5, 7)).astype(np.float32) / 7
    values[random.random(values.shape) < share] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(values, axis=0)
        quarter = np.nanpercentile(values, 25, axis=0)
    assert np.array_equal(reducers.median(values), expected, equal_nan=True)
    assert np.allclose(reducers.percentile(values, 25), quarter, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_the_network_sorts_every_pattern_of_zeros_and_ones() -> None:
    for size in range(1, 13):
        patterns = ((np.arange(2**size)[None] >> np.arange(size)[:, None]) & 1).astype(np.float32)
        ordered, _ = reducers.sort_valid(patterns[:, None])
        assert np.array_equal(ordered[:, 0], np.sort(patterns, axis=0))


@pytest.mark.parametrize("reducer", [*REDUCERS, "percentile:30"])
def test_no_reducer_depends_on_the_chunks(reducer: str) -> None:
    values = RANDOM.random((7, 40, 50), dtype=np.float32)
    values[RANDOM.random(values.shape) < 0.4] = np.nan
    results = []
    for chunks in (None, 16):
        made = cube(values.shape, chunks=chunks, red=values, nir=values**2)
        lazy = composite(made, valid_mask(made, rule=MaskRule(kind="none")), reducer=reducer)
        assert isinstance(lazy.red.data, da.Array)
        results.append(lazy.compute())
    assert np.array_equal(results[0].red.values, results[1].red.values, equal_nan=True)
    assert np.array_equal(results[0].nir.values, results[1].nir.values, equal_nan=True)
    assert np.array_equal(results[0].observations.values, np.isfinite(values).sum(axis=0))


def test_the_medoid_takes_one_date_for_all_bands() -> None:
    bands = np.stack([stack([0.0, 1.0, 10.0]), stack([0.0, 1.0, 10.0])])
    assert selection.medoid(bands).tolist() == [[1]]
    bands[0, 1] = np.nan
    assert selection.medoid(bands).tolist() == [[0]]
    assert selection.medoid(np.full_like(bands, np.nan)).tolist() == [[-1]]


def test_the_best_pixel_is_far_from_clouds_and_near_the_middle() -> None:
    valid = np.ones((3, 1, 400), dtype=bool)
    days = np.array([0.0, 15.0, 30.0])
    assert (selection.best_pixel(valid, days, middle=15.0, resolution=10.0) == 1).all()
    valid[1, 0, 0] = False
    chosen = selection.best_pixel(valid, days, middle=15.0, resolution=10.0)[0]
    assert chosen[0] == chosen[10] == 0
    assert chosen[399] == 1
    assert reducer_radius_px("best-pixel", 10.0) == 150
    assert reducer_radius_px("median", 10.0) == 0


def test_the_best_pixel_is_exact_inside_its_reach() -> None:
    valid = RANDOM.random((4, 90, 100)) < 0.98
    days = np.array([0.0, 9.0, 20.0, 50.0])
    options = {"middle": 25.0, "resolution": 100.0}
    halo = reducer_radius_px("best-pixel", 100.0)
    whole = selection.best_pixel(valid, days, **options)
    cut = selection.best_pixel(valid[:, 20:80, 30:90], days, **options)
    assert np.array_equal(cut[halo:-halo, halo:-halo], whole[20 + halo : 80 - halo, 30 + halo : 90 - halo])


def test_power_is_averaged_before_it_becomes_decibels() -> None:
    power = stack([1.0, 0.01])
    expected = 10 * np.log10(0.505)
    assert np.allclose(reduce(power, "mean", unit="db", units="linear").red.values, expected, atol=1e-6)
    decibels = reduce(to_db(power), "mean", unit="db", units="db")
    assert np.allclose(decibels.red.values, expected, atol=1e-5)
    assert decibels.red.attrs["units"] == "db"
    assert np.isnan(reduce(stack([0.0, -1.0]), "mean", unit="db", units="linear").red.values).all()
    assert reduce(to_db(power), "last", unit="db", units="db").red.values.tolist() == [[-20.0]]


def test_what_cannot_be_done_is_refused() -> None:
    for wrong in ("mode", "percentile", "percentile:101", "percentile:x", "median:3"):
        with pytest.raises(ValueError, match="is not known: give one of"):
            reduce(stack([1.0]), wrong)
    with pytest.raises(ValueError, match="only linear and db"):
        convert_unit(np.zeros(1, np.float32), source="reflectance", target="db")


def test_a_cube_without_days_is_all_missing() -> None:
    made = reduce(np.zeros((0, 2, 2), np.float32), "median")
    assert np.isnan(made.red.values).all()
    assert (made.observations.values == 0).all()


def test_april_2023_has_pixels_from_clear_dates_alone(real: Path) -> None:
    scenes = real_scenes(real, "sentinel-2-l2a/S2_2023*/S2*.json")
    with rasterio.open(scenes[0].assets[0].href) as source:
        geobox = GeoBox(source.shape, source.transform, str(source.crs))
    lazy = load_cube(scenes, geobox, ["red", "nir", "scl"])
    valid = valid_mask(lazy, rule=MaskRule())
    made = composite(lazy, valid, reducer="median").compute()
    dn, scl = (np.stack([rasterio.open(scene.asset(band).href).read(1) for scene in scenes]) for band in ("red", "scl"))
    clear = ~np.isin(scl, SCL_DROPPED) & (dn > 0)
    assert np.array_equal(valid.values, clear)
    assert np.array_equal(made.observations.values, clear.sum(axis=0))
    days = [scene.solar_day for scene, share in zip(scenes, clear.mean(axis=(1, 2)), strict=True) if share > 0.5]
    assert days == ["2023-04-05", "2023-04-15"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(np.where(clear, (dn * 1e-4).astype(np.float32), np.nan), axis=0)
    assert np.array_equal(made.red.values, expected, equal_nan=True)


def test_the_radars_april_is_averaged_as_power(real: Path) -> None:
    scenes = real_scenes(real, "sentinel-1-grd/S1_*/S1*.json")
    with rasterio.open(scenes[0].assets[0].href) as source:
        geobox = GeoBox(source.shape, source.transform, str(source.crs))
    lazy = load_cube(scenes, geobox, ["vv"])
    made = composite(lazy, valid_mask(lazy, rule=MaskRule(kind="none")), reducer="mean", unit="db")
    power = np.stack([rasterio.open(scene.asset("vv").href).read(1) for scene in scenes]).astype(float)
    expected = 10 * np.log10(np.nanmean(np.where(power == -9999, np.nan, power), axis=0))
    assert np.allclose(made.vv.values, expected, atol=2e-6)


def test_the_best_pixel_prefers_dates_near_the_middle_it_is_given():
    """Two clear days: which is nearer the plan's middle decides, not which days a block happens to have."""
    cube, valid = two_clear_days()
    for middle, value in ((date(2021, 6, 1), 0.1), (date(2021, 6, 30), 0.2)):
        made = composite(cube, valid, reducer="best-pixel", middle=middle)
        assert made["red"].to_numpy() == pytest.approx(value)


def two_clear_days():
    times = np.array(["2021-06-05", "2021-06-25"], dtype="datetime64[ns]")
    values = np.stack([np.full((8, 8), 0.1), np.full((8, 8), 0.2)]).astype(np.float32)
    geobox = GeoBox((8, 8), Affine(10, 0, 500_000, 0, -10, 5_400_000), "EPSG:32633")
    coords = {"time": times, **xr_coords(geobox, crs_coord_name="spatial_ref")}
    red = (("time", "y", "x"), da.from_array(values), {"units": "reflectance", "grid_mapping": "spatial_ref"})
    cube = xr.Dataset({"red": red}, coords=coords)
    return cube, cube["red"].notnull()


def test_observations_are_those_of_the_least_observed_band():
    nan = np.nan
    red, nir = stack([1, 1, 1], [1, nan, 1], [1, 1, 1]), stack([1, nan, 1], [nan, nan, 1], [nan, nan, nan])
    assert count_passes(np.stack([red, nir])).tolist() == [[2, 1, 0]]
    assert count_passes(red[None]).tolist() == [[3, 2, 3]]
