"""tasks/README.md keeps its word: its example runs as it stands, on scenes at hand."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from tests.support.paths import ROOT

README = (ROOT / "tasks" / "README.md").read_text("utf-8")
EXAMPLE = README.split("```python\n")[1].split("```")[0]


@pytest.fixture(scope="module")
def made(real):
    source = '"earth-search"'
    assert EXAMPLE.count(source) == 1
    names: dict[str, object] = {}
    exec(compile(EXAMPLE.replace(source, repr(str(real / "catalog.json"))), "README", "exec"), names)  # noqa: S102 -- our own text
    return names


def test_the_cube_is_lazy_and_knows_its_place(made):
    cube, grid = made["cube"], made["grid"]
    assert isinstance(cube.green.data, dask.array.Array)
    assert cube.green.dims == ("time", "y", "x")
    assert cube.green.dtype == np.float32
    assert cube.rio.crs.to_epsg() == 32633
    assert cube.green.rio.transform() == grid.geobox.affine
    assert np.isnan(cube.green.rio.nodata)
    assert cube.scl.rio.nodata == 0


def test_the_composite_is_the_median_of_the_usable_days(made):
    cube, valid, month = made["cube"].compute(), made["valid"].compute(), made["month"]
    assert isinstance(month.green.data, dask.array.Array)
    assert np.array_equal(month.observations.values, valid.sum("time").values)
    expected = cube.green.where(valid).median("time", skipna=True).values
    assert np.isfinite(expected).mean() > 0.4  # the rest lies outside the scenes at hand, or under cloud
    np.testing.assert_array_equal(month.green.values, expected)
