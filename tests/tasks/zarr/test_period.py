"""The period of a product in its Zarr and its Item, and months of one area joined along time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 -- registers .rio
import xarray as xr

from tests.support.graphs import echo
from tests.support.worlds import World, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")
RED = np.random.default_rng(8).uniform(0, 1, (700, 700)).astype(np.float32)


def card(folder):
    """The card of a model that answers with its input."""
    output = {"name": "y", "tw:layers": ["value"]}
    return write_card(folder, echo(), inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    made.add(RED, "red", unit="reflectance")
    return made


MONTHS = {"2023-04": 1, "2023-05": 2, "2023-06": 4}


@pytest.fixture(scope="module", params=[3, 2])
def months(request, tmp_path_factory):
    folder, outputs = tmp_path_factory.mktemp("months"), []
    model = card(folder / "card")
    made = World(folder / "world")
    for month, factor in MONTHS.items():
        made.add(RED * factor, "red", day=f"{month}-10", unit="reflectance")
    for month in MONTHS:
        asked = pixel_job(made, model, folder / month, rows=(40, 610), cols=(50, 120), period=month)
        outputs.append(run(asked.model_copy(update={"zarr_format": request.param})).output + "/data.zarr")
    return outputs


def assert_months(joined, *, bounds=True):
    assert joined["value"].dims[0] == "time"
    assert list(joined.time.dt.strftime("%Y-%m-%d").to_numpy()) == [f"{month}-01" for month in MONTHS]
    for number, factor in enumerate(MONTHS.values()):
        expected = RED[40:610, 50:120] * np.float32(factor)
        np.testing.assert_array_equal(joined["value"].isel(time=number), expected)
    if bounds:
        days = joined.time_bounds.to_numpy().astype("datetime64[D]").astype(str).tolist()
        assert days == [["2023-04-01", "2023-05-01"], ["2023-05-01", "2023-06-01"], ["2023-06-01", "2023-07-01"]]
    assert joined["value"].rio.crs.to_epsg() == 32633
    assert float(joined["value"].sel(time="2023-05-01", x=joined.x[3], y=joined.y[5])) == RED[45, 53] * 2


def test_months_are_joined_along_time_one_by_one(months):
    opened = [xr.open_zarr(path) for path in months]
    assert_months(xr.concat(opened, "time"))
    assert_months(xr.concat(opened, dim="time", join="exact"))


def test_months_are_joined_along_time_when_they_are_opened(months):
    with xr.open_mfdataset(months, engine="zarr", combine="nested", concat_dim="time") as joined:
        assert_months(joined)
    with (
        xr.set_options(use_new_combine_kwarg_defaults=True),
        xr.open_mfdataset(months, engine="zarr", combine="nested", concat_dim="time") as joined,
    ):
        # These keep coordinates that have no dimension `time` as the first month has them.
        assert_months(joined, bounds=False)


# What a person writes, the first and the last moment, and the second of the time bounds.
PERIODS = [
    ("2023-06-10", "2023-06-10T00:00:00", "2023-06-10T23:59:59.999999", "2023-06-11T00:00:00"),
    ("2023-06", "2023-06-01T00:00:00", "2023-06-30T23:59:59.999999", "2023-07-01T00:00:00"),
    (
        "2023-06-10T09:30/2023-06-10T12:00",
        "2023-06-10T09:30:00",
        "2023-06-10T12:00:59.999999",
        "2023-06-10T12:01:00",
    ),
    ("2023-06-01/2023-06-10T23:59:59.5", "2023-06-01T00:00:00", "2023-06-10T23:59:59.500000", "2023-06-11T00:00:00"),
    ("2023-06-01T02:00+02:00/2023-06-15", "2023-06-01T00:00:00", "2023-06-15T23:59:59.999999", "2023-06-16T00:00:00"),
]


@pytest.mark.parametrize("case", PERIODS, ids=[case[0] for case in PERIODS])
def test_the_period_is_the_one_asked_for(world, tmp_path, case):
    period, start, end, last = case
    asked = pixel_job(world, card(tmp_path / "card"), tmp_path / "out", rows=(64, 90), cols=(64, 90), period=period)
    output = Path(run(asked).output)
    fields = json.loads((output / "item.json").read_text())["properties"]
    assert (fields["start_datetime"], fields["end_datetime"]) == (f"{start}Z", f"{end}Z")
    with xr.open_zarr(output / "data.zarr") as opened:
        assert str(opened.time.to_numpy())[:19] == start[:19]
        assert [str(edge)[:19] for edge in opened.time_bounds.to_numpy()] == [start[:19], last]
