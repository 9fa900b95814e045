"""The weighted median of cells that come in pieces, against exactextract's."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from tilewright.tasks.zones import median
from tilewright.tasks.zones.median import weighted_median


def drawn(rng, kind):
    shape = tuple(rng.integers(1, 25, 2))
    if kind.startswith("float"):
        return rng.normal(0, 5, shape).round(rng.integers(0, 6)).astype(kind)
    if kind == "uint8":
        return rng.integers(0, rng.choice([2, 10, 255]), shape).astype(kind)
    return rng.integers(-5000, 5000, shape).astype(kind)


@pytest.mark.parametrize("at_once", [2, 1024])
@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_the_median_of_pieces_is_that_of_exactextract(kind, at_once, monkeypatch):
    monkeypatch.setattr(median, "BEGINNINGS_AT_ONCE", at_once)
    rng = np.random.default_rng(len(kind))
    n_found = 0
    for _ in range(12):
        layer = drawn(rng, kind)
        zone = shapely.convex_hull(shapely.multipoints(rng.uniform((0, 0), layer.shape[::-1], (7, 2))))
        feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(zone)}
        told = exact_extract(NumPyRasterSource(layer, name="x"), [feature], ["values", "coverage", "median"])
        values, shares, wanted = (told[0]["properties"][name] for name in ("values", "coverage", "median"))
        order = rng.permutation(len(values))
        parts = np.array_split(order, 3)
        found = weighted_median(lambda: [(values[part], shares[part]) for part in parts], np.dtype(kind))  # noqa: B023
        tolerance = 1e-6 if kind == "float32" else 1e-9
        assert found == pytest.approx(wanted, rel=tolerance, abs=tolerance)
        n_found += 1
    assert n_found == 12


def test_no_cells_have_no_median():
    for kind in ("uint8", "float32", "int64"):
        assert weighted_median(list, np.dtype(kind)) is None
