"""What of an area cannot be mapped (null and empty geometries, parts between pixel centres) is counted and said."""

from __future__ import annotations

import json

import geopandas
import pytest
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape

from tests.support.products import write_job
from tests.support.worlds import COL, CRS, ROW, area
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import JobError, read_job
from tilewright.flows.plan.make import plan_job

LARGE = shape(area((2, 10), (2, 10)))
OTHER = shape(area((14, 20), (2, 10)))


def metres(row: float, col: float, side: float) -> Polygon:
    """A square in the world's CRS, its upper left corner and side in pixels."""
    left, top = (COL + col) * 10, -(ROW + row) * 10
    return box(left, top - side * 10, left + side * 10, top)


def degrees(*parts: Polygon) -> list[Polygon]:
    return list(geopandas.GeoSeries(parts, crs=CRS).to_crs(4326))


TINY = degrees(metres(15.6, 15.6, 0.3), metres(16.1, 12.1, 0.3))
CENTRED = degrees(metres(15.4, 15.4, 0.2))


def features(*geometries) -> dict:
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {}, "geometry": None if each is None else mapping(each)}
            for each in geometries
        ],
    }


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    job = write_job(tmp_path_factory.mktemp("world"), side=64)
    plain = json.loads(job.read_text())

    def warnings(given) -> list[str]:
        path = job.with_name("changed.json")
        path.write_text(json.dumps({**plain, "area": given, "grid": {"crs": CRS}}))
        return [text for text in plan_job(read_job(path)).warnings if text.startswith("area:")]

    return warnings


EMPTY = Polygon()
CASES = {
    "one polygon": (features(LARGE), []),
    "two polygons": (features(LARGE, OTHER), []),
    "a null geometry": (features(LARGE, None), ["1 null or empty geometry without"]),
    "null and empty ones": (features(LARGE, None, EMPTY, MultiPolygon()), ["3 null or empty geometries without"]),
    "a polygon between centres": (features(LARGE, TINY[0]), ["1 of its 2 parts hold no pixel's centre"]),
    "several between centres": (features(LARGE, *TINY, OTHER), ["2 of its 4 parts hold no pixel's centre"]),
    "a small one around a centre": (features(LARGE, *CENTRED), []),
    "a small one that joins a large one": (features(LARGE, LARGE.centroid.buffer(1e-7)), []),
    "parts of a MultiPolygon": (mapping(MultiPolygon([LARGE, *TINY])), ["2 of its 3 parts"]),
    "both": (features(None, LARGE, TINY[0]), ["1 null or empty geometry without", "1 of its 2 parts"]),
    "members of a collection": (
        {"type": "GeometryCollection", "geometries": [mapping(LARGE), mapping(EMPTY)]},
        ["1 null or empty geometry without"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_of_an_area_is_not_mapped_is_counted_in_the_plan(said, name):
    given, expected = CASES[name]
    found = said(given)
    assert len(found) == len(expected)
    for text, words in zip(found, expected, strict=True):
        assert words in text


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb", ".parquet", ".geojson"])
def test_null_geometries_of_every_format_are_counted(tmp_path, suffix):
    frame = geopandas.GeoDataFrame({"name": ["a", "b", "c"]}, geometry=[LARGE, None, OTHER], crs=4326)
    path = tmp_path / f"fields{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if suffix == ".fgb" else {}))
    assert read_area(str(path)).n_without_place == 1


@pytest.mark.parametrize("given", [features(None), features(EMPTY, None), features()])
def test_an_area_of_nothing_is_refused(given):
    with pytest.raises(AreaError, match="give at least one polygon"):
        read_area(given)


def test_an_area_of_parts_between_centres_alone_is_refused(said):
    with pytest.raises(JobError, match="holds no pixel's centre"):
        said(features(*TINY))
