"""Items that state an interval and no moment: they meet a period by overlap, whatever the kind of source."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stac_geoparquet.arrow
from shapely.geometry import box

from tests.support.http_servers import QuietHandler, running
from tests.support.scenes import write_raster
from tests.support.small_catalogs import item, names, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.sources.registry import resolve_source

HERE = box(14.99, 47, 15.02, 48)
COVERS = {
    "year": ("2020-01-01T00:00:00Z", "2020-12-31T23:59:59Z"),
    "winter": ("2019-12-15", "2020-01-15"),
    "to-noon": ("2020-06-01T00:00:00z", "2020-06-30T12:00:00.000z"),
    "leap": ("2016-12-31T00:00:00Z", "2016-12-31T23:59:60Z"),
}


def feature(name: str) -> dict[str, Any]:
    start, end = COVERS[name]
    made = item(name, collection="own", datetime=None, start_datetime=start, end_datetime=end)
    return {**made, "bbox": [14.9, 47, 15.1, 48], "assets": {"red": {"href": "https://example.com/red.tif"}}}


def static(folder: Path) -> str:
    return write(folder / "items.json", {"type": "FeatureCollection", "features": [feature(name) for name in COVERS]})


def geoparquet(folder: Path) -> str:
    square = {"type": "Polygon", "coordinates": [[[14.9, 47], [15.1, 47], [15.1, 48], [14.9, 48], [14.9, 47]]]}
    rows = [{**feature(name), "geometry": square} for name in COVERS]
    for row in rows:
        # The table has one kind of instant per column.
        for key in ("start_datetime", "end_datetime"):
            row["properties"][key] = {"2019-12-15": "2019-12-15T00:00:00Z", "2020-01-15": "2020-01-15T23:59:59Z"}.get(
                row["properties"][key], row["properties"][key].upper().replace(":60Z", ":59Z")
            )
    path = folder / "items.parquet"
    stac_geoparquet.arrow.to_parquet(stac_geoparquet.arrow.parse_stac_items_to_arrow(rows), str(path))
    return str(path)


def files(folder: Path) -> dict[str, Any]:
    write_raster(folder / "red.tif", np.ones((20, 20), np.float32), left=500_000, top=5_300_000, crs="EPSG:32633")
    return {
        "collection": "own",
        "files": [
            {"href": str(folder / "red.tif"), "band": "red", "unit": "reflectance", "scene": name}
            | {"start_datetime": start, "end_datetime": end}
            for name, (start, end) in COVERS.items()
        ],
    }


PERIODS = [
    # One moment more or less at each end decides.
    ("2020-05-01T00:00:00", "2020-05-31T23:59:59", {"year"}),
    ("2020-01-15T20:00:00", "2020-01-31T00:00:00", {"year", "winter"}),
    ("2020-01-16T00:00:00", "2020-01-31T00:00:00", {"year"}),
    ("2020-06-30T12:00:00", "2020-06-30T13:00:00", {"year"}),
    ("2020-06-30T11:59:59", "2020-06-30T13:00:00", {"year", "to-noon"}),
    ("2019-12-01T00:00:00", "2019-12-15T00:00:00", set()),
    ("2019-12-01T00:00:00", "2019-12-15T00:00:01", {"winter"}),
    ("2017-01-01T00:00:00", "2017-12-31T00:00:00", set()),
    ("2016-12-31T23:59:58", "2016-12-31T23:59:59", {"leap"}),
    (None, "2019-12-31T00:00:00", {"winter", "leap"}),
    ("2020-06-30T12:00:00", None, {"year"}),
    (None, None, {"year", "winter", "to-noon", "leap"}),
]


@pytest.fixture(params=["static", "geoparquet", "files", "api"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The same items in each kind of source; the API answers any search with all of them."""
    makers: dict[str, Callable[[Path], Any]] = {"static": static, "geoparquet": geoparquet, "files": files}
    if request.param in makers:
        yield makers[request.param](tmp_path)
        return
    landing = {"type": "Catalog", "id": "a", "stac_version": "1.0.0", "description": "", "conformsTo": ["item-search"]}

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            collections = self.path.startswith("/collections")
            self.reply({"collections": [{"id": "own"}], "links": []} if collections else {**landing, "links": []}, 200)

        def do_POST(self) -> None:  # noqa: N802
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert "1900" not in asked.get("datetime", "")
            found = {"type": "FeatureCollection", "features": [feature(name) for name in COVERS], "links": []}
            self.reply(found, 200)

    with running(Handler) as address:
        yield address


def test_an_interval_is_found_where_it_meets_the_period(source: Any) -> None:
    for start, end, right in PERIODS:
        ends = [moment and datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (start, end)]
        found = search(source, collection="own", aoi=HERE, start=ends[0], end=ends[1])
        assert set(names(found)) == right, (start, end)


def test_a_scene_keeps_both_ends_of_its_interval(tmp_path: Path) -> None:
    source = resolve_source(static(tmp_path))
    scene = normalise_item(feature("winter"), source)
    assert scene.datetime == datetime(2019, 12, 15, tzinfo=UTC)
    assert scene.end == datetime(2020, 1, 15, 23, 59, 59, 999999, tzinfo=UTC)
    moment = feature("winter")
    moment["properties"]["datetime"] = "2020-01-01T00:00:00Z"
    assert normalise_item(moment, source).end is None


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        ("2020-02-01", "2020-01-01", "its interval ends at 2020-01-01T23:59:59.999999.00:00, before it starts"),
        ("soon", "2020-01-01", "its date 'soon' cannot be read; expected like 2021-06-17T10:05:59Z"),
        (None, "2020-01-01", "it has neither datetime nor start_datetime"),
    ],
)
def test_an_interval_that_is_none_is_refused(tmp_path: Path, start: Any, end: Any, sentence: str) -> None:
    broken = item("x", datetime=None, start_datetime=start, end_datetime=end)
    with pytest.raises(CatalogError, match=sentence):
        normalise_item(broken, resolve_source(static(tmp_path)))


@pytest.mark.parametrize(
    ("dates", "sentence"),
    [
        ({"start_datetime": "2020-01-01"}, "needs href, datetime, collection and band"),
        ({"start_datetime": "2020-02-01", "end_datetime": "2020-01-01"}, "end_datetime before its start_datetime"),
        ({"start_datetime": "2020-02-01", "end_datetime": "soon"}, "has end_datetime 'soon'; expected like"),
        ({"datetime": "soon", "start_datetime": "2020", "end_datetime": "2021"}, "has datetime 'soon'; expected like"),
    ],
)
def test_a_file_whose_interval_is_none_is_refused(tmp_path: Path, dates: dict[str, str], sentence: str) -> None:
    listed = {"href": str(tmp_path / "red.tif"), "band": "red", **dates}
    with pytest.raises(CatalogError, match=sentence):
        search({"collection": "own", "files": [listed]}, collection="own")
