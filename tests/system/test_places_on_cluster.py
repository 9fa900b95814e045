"""Jobs over places on a Dask cluster: the same table as on threads, and nothing done for other rows."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely

from tests.support.places_cards import label_card, places_job, write_points
from tests.support.worlds import World
from tilewright.flows.errors import RunnerError
from tilewright.flows.job.period import read_period
from tilewright.flows.plan import make, raster
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.places.kept_rows import ROWS_FILE, keep_rows, kept_rows
from tilewright.tasks.places.rows import place_rows
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.vector_file import read_geometry_table

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 320


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A day in June with a hole, and another one in September."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(5)
    june = random.uniform(0.1, 0.5, (SIDE, SIDE)).astype(np.float32)
    june[100:130, 200:240] = np.nan
    made.add(june, "red", unit="reflectance")
    made.add((june[::-1, ::-1] * 0.5).copy(), "red", day="2023-09-10", unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return label_card(tmp_path_factory.mktemp("card"))


def table_of(folder, n=400, seed=1):
    """Points in and around the world, the first two of them one, each with a period of its own."""
    rows, cols = np.random.default_rng(seed).uniform(-30, SIDE + 30, (2, n))
    rows[1], cols[1] = rows[0], cols[0]
    when = ["2023-06", "2023-09-01/2023-09-30", "", "2023-07"] * (n // 4)
    write_points(folder / "p.parquet", rows, cols, when=when)
    return {"file": "p.parquet", "period": "when"}


def test_a_cluster_makes_the_table_that_threads_make(world, card, tmp_path, monkeypatch):
    for module in (make, raster):
        monkeypatch.setattr(module, "ROWS_PER_UNIT", 40)
    places = table_of(tmp_path)
    here = run_job(places_job(world, card, places, tmp_path / "here"), RunOptions(workers=2))
    there = run_job(places_job(world, card, places, tmp_path / "there"), RunOptions(runner="dask", workers=2))
    one, other = ((tmp_path / name / "places.parquet").read_bytes() for name in ("here", "there"))
    assert one == other
    assert there.report["blocks_made"] == here.report["blocks_made"] > 5
    assert there.report["read_factor"] > 0.0
    # A later change of the table redoes what it touches, on the other kind of runner.
    moved = table_of(tmp_path, n=404)
    again = run_job(places_job(world, card, moved, tmp_path / "there"), RunOptions(update=True))
    run_job(places_job(world, card, moved, tmp_path / "anew"))
    assert (tmp_path / "there/places.parquet").read_bytes() == (tmp_path / "anew/places.parquet").read_bytes()
    assert again.report["places"]["rows"] == 404


def test_shards_of_places_are_refused(world, card, tmp_path):
    job = places_job(world, card, table_of(tmp_path), tmp_path / "out")
    with pytest.raises(RunnerError, match="places are not cut into shards: leave --shards out, or take --runner dask"):
        run_job(job, RunOptions(shards=2))
    assert not (tmp_path / "out").exists()


def kept(folder, *, broken=()):
    shapes = [shapely.Point(8.0, 50.0), None, shapely.box(8.0, 50.0, 8.001, 50.001), shapely.MultiPoint(), *broken]
    path = folder / "rows.parquet"
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_parquet(path)
    return place_rows(
        read_geometry_table(path),
        crs="EPSG:32632",
        resolution=10.0,
        window=16,
        align=2,
        periods=((read_period("2023-06"),), (read_period("2023-01-01/2023-02-01"), read_period("2023-Q2"))),
        of_row=np.array([0, 1, 1, 0, *([0] * len(broken))]),
    )


def test_rows_are_read_as_they_were_kept(tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    rows = kept(tmp_path, broken=[shapely.Point(-120.0, -89.0)])
    found = kept_rows(storage, keep_rows(storage, rows))
    for name in ("tops", "lefts", "centres", "order", "of_row"):
        np.testing.assert_array_equal(getattr(found, name), getattr(rows, name))
    assert shapely.to_wkb(found.places).tolist() == shapely.to_wkb(rows.places).tolist()
    assert found.window == rows.window
    assert [[(p.name, p.start, p.end) for p in of] for of in found.periods] == [
        [(p.name, p.start, p.end) for p in of] for of in rows.periods
    ]


@pytest.mark.parametrize("content", [None, b"", b"other rows"], ids=["none", "empty", "others"])
def test_other_rows_are_not_taken(tmp_path, content):
    storage = open_storage(str(tmp_path / "out"), create=True)
    sha256 = keep_rows(storage, kept(tmp_path))
    storage.delete([ROWS_FILE])
    if content is not None:
        storage.write(ROWS_FILE, content)
    with pytest.raises(StoreError, match="does not hold the rows of this run"):
        kept_rows(storage, sha256)
