"""What readers of xarray take for missing in a product's Zarr: nodata, and no 0 that was counted or mapped."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.support.graphs import echo, pointwise
from tests.support.worlds import World, pixel_job, run, write_card

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE = 1100
SEEN = 1060
"""Rows and columns that the scene covers; nothing was observed beyond."""


@pytest.fixture(scope="module", params=[3, 2], ids=["zarr 3", "zarr 2"])
def stores(request, tmp_path_factory):
    """The Zarr of a map of values and one of classes, half of whose scene is 0."""
    folder = tmp_path_factory.mktemp("missing")
    world = World(folder / "world")
    red = np.ones((SEEN, SEEN), np.float32)
    red[:, : SEEN // 2] = 0
    world.add(red, "red", unit="reflectance")
    world.add(red, "green", unit="reflectance")
    values = write_card(
        folder / "values",
        echo(),
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    classes = write_card(
        folder / "classes",
        pointwise(2, 2),
        inputs=[{"name": "x", "bands": ["red", "green"]}],
        outputs=[{"name": "y", "classes": ("a", "b"), "tw:activation": "softmax", "tw:layers": ["class"]}],
    )
    made = {}
    for name, card in (("value", values), ("class", classes)):
        job = pixel_job(world, card, folder / f"out-{name}", rows=(0, SIDE), cols=(0, SIDE), zarr_format=request.param)
        made[name] = run(job).output + "/data.zarr"
    return made


@pytest.mark.parametrize("level", [None, "overviews/2"])
def test_an_observation_count_of_0_is_0_and_nodata_is_missing(stores, level):
    scale = 1 if level is None else 2
    seen, side = SEEN // scale, SIDE // scale
    for name, path in stores.items():
        with xr.open_zarr(path, group=level, consolidated=level is None) as data:
            counts = data["observations"]
            assert np.issubdtype(counts.dtype, np.integer), "a reader that masks makes floats of it"
            assert counts.shape == (side, side)
            assert (counts[:seen, :seen] == 1).all()
            assert (counts[seen:] == 0).all()
            assert "_FillValue" not in counts.encoding
            layer = data[name]
            assert layer[:seen, :seen].notnull().all()
            assert layer[seen:].isnull().all()
            if name == "value":
                assert (layer[:seen, : seen // 2 - 1] == 0).all()
        with xr.open_zarr(path, group=level, consolidated=level is None, mask_and_scale=False) as data:
            nodata = 255 if name == "class" else np.nan
            assert np.array_equal(np.unique(data[name][seen:]), [nodata], equal_nan=True)
