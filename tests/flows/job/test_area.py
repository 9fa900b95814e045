"""Areas as people and their GIS write them; right values are the coordinates written, or pyproj's of single points."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import box, mapping

from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import make_job, read_job
from tilewright.tasks.grid.areas import geometry_km2

SQUARE = box(10, 50, 11, 51)
OTHER = box(12, 50, 13, 51)
HOLED = SQUARE.difference(box(10.25, 50.25, 10.5, 50.5))


def ring(*corners: tuple[float, ...]) -> dict:
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in (*corners, corners[0])]]}


def raised(geometry, *more: float) -> dict:
    """GeoJSON with further numbers at each position."""
    plain = mapping(geometry)
    return {**plain, "coordinates": [[[*place, *more] for place in line] for line in plain["coordinates"]]}


def collection(*geometries, **more) -> dict:
    features = [{"type": "Feature", "properties": {}, "geometry": each} for each in geometries]
    return {"type": "FeatureCollection", "features": features, **more}


METRES = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
WEB = ring(*(METRES.transform(*corner) for corner in ((10, 50), (11, 50), (11, 51), (10, 51))))


EAST_AND_WEST = box(177, -20, 180, -15).union(box(-180, -20, -178, -15))
ARCTIC = box(179, 60, 180, 61).union(box(-180, 60, -179, 61))
BOTH = {"type": "GeometryCollection", "geometries": [mapping(SQUARE), mapping(OTHER)]}
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
OVERLAPPING = [mapping(box(low, low, low + 2, low + 2))["coordinates"] for low in (0, 1)]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("10,50,11,51", SQUARE),
        (" 10.0 , 50, 1.1e1, 51 ", SQUARE),
        ("10 50 11 51", SQUARE),
        ("POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))", SQUARE),
        ("polygon z((10 50 3,11 50 3,11 51 3,10 51 3,10 50 3));", SQUARE),
        ("MULTIPOLYGON M (((10 50 3, 11 50 3, 11 51 3, 10 51 3, 10 50 3)))", SQUARE),
        ("SRID=4326;" + HOLED.wkt, HOLED),
        (f"GEOMETRYCOLLECTION ({SQUARE.wkt}, {OTHER.wkt}, POLYGON EMPTY)", SQUARE.union(OTHER)),
        (raised(HOLED, 312.5), HOLED),
        (raised(HOLED, 312.5, 7.0), HOLED),
        (collection(raised(SQUARE, float(1)), mapping(OTHER)), SQUARE.union(OTHER)),
        (collection(mapping(SQUARE), None, {"type": "Polygon", "coordinates": []}), SQUARE),
        (collection(BOTH), SQUARE.union(OTHER)),
        (collection(mapping(SQUARE), mapping(box(10.5, 50, 12, 51))), box(10, 50, 12, 51)),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}, SQUARE),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}}, SQUARE),
        ({**mapping(SQUARE), "crs": None}, SQUARE),
        (collection(WEB, crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}), SQUARE),
        (collection({**WEB, "crs": {"type": "EPSG", "properties": {"code": 3857}}}), SQUARE),
        # Across 180 degrees, and around the world.
        (ring((177, -20), (-178, -20), (-178, -15), (177, -15)), EAST_AND_WEST),
        (ring((-178, -15), (177, -15), (177, -20), (-178, -20)), EAST_AND_WEST),
        (ring((170, 0), (180, 0), (-180, 0), (-170, 0), (-170, 9), (-180, 9), (180, 9), (170, 9)),
         box(170, 0, 180, 9).union(box(-180, 0, -170, 9))),
        (ring((179, 60), (180, 60), (-179, 60), (-179, 61), (179, 61)), ARCTIC),
        (ring((-180, -60), (180, -60), (180, 60), (-180, 60)), box(-180, -60, 180, 60)),
        (ring((-180, 84), (0, 84), (180, 84), (180, 90), (-180, 90)), box(-180, 84, 180, 90)),
        (ring((-170, 0), (0, 0), (170, 0), (170, 9), (0, 9), (-170, 9)), box(-170, 0, 170, 9)),
        ({"type": "Polygon", "coordinates": [
            [[178, -20], [-178, -20], [-178, -15], [178, -15], [178, -20]],
            [[179, -19], [179, -16], [-179, -16], [-179, -19], [179, -19]]]},
         EAST_AND_WEST - box(177, -20, 178, -15) - box(179, -19, 180, -16) - box(-180, -19, -179, -16)),
    ],
)  # fmt: skip
def test_an_area_is_the_polygon_that_is_meant(given, right):
    found = read_area(given).geometry
    assert found.is_valid
    assert not found.has_z
    assert found.symmetric_difference(right).area < 1e-6 * right.area


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("POINT (1 2)", "a Point has no area"),
        ("LINESTRING (1 2, 3 4)", "a LineString has no area"),
        ("POLYGON EMPTY", "no geometry in it, or only null and empty ones"),
        ("POLYGON ((10 50, 11 50", "no WKT of a polygon"),
        ("POLYGON ((10 50, 11 x, 12 13, 10 50))", "cannot be read as WKT"),
        ("SRID=999999;" + SQUARE.wkt, "its crs '999999' is not known"),
        ("SRID=4978;" + SQUARE.wkt, "has no map coordinates"),
        ("SRID=104903;" + SQUARE.wkt, "is not known"),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "IAU_2015:30100"}}}, "of another body"),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "ESRI:104905"}}}, "of another body"),
        ({**mapping(SQUARE), "crs": "IAU_2015:49910"}, "than the Earth: give the outlines in EPSG:4326"),
        ([180, 10, -180, 20], "is empty"),
        ([180.0, -5, -180.0, 5], "is empty"),
        ("180,10,-180,20", "is empty"),
        ("10;50;11;51", r"\(a box is minx,miny,maxx,maxy with points in decimals, a tile like 33UUP\)"),
        ("10,5;50,5;11,5;51,5", "with points in decimals"),
        ("bbox=10,50,11,51", "with points in decimals"),
        ("BOX(10 50, 11 51)", "with points in decimals"),
        ("10E,50N,11E,51N", "with points in decimals"),
        ("fields.geojson", "cannot be read: No such file or directory.$"),
        ("10,50,11", "four numbers"),
        ("11,50,10,51", "more than half the globe"),
        ("POLYGON ((500000 5e6, 600000 5e6, 600000 6e6, 500000 5e6))", r"leaves the globe \(x from 500000 to 600000"),
        (WEB, "or a crs that says what these are"),
        (collection(), "no feature in it"),
        (collection(None, None), "no geometry in it"),
        ({"type": "Feature", "properties": {}, "geometry": None}, "no geometry in it"),
        ({"type": "FeatureCollection", "features": None}, "has no features"),
        ({"type": "GeometryCollection", "geometries": []}, "no feature in it"),
        (collection(mapping(SQUARE), {"type": "Point", "coordinates": [0, 0]}), "a Point has no area"),
        (collection({"type": "GeometryCollection", "geometries": [mapping(SQUARE), LINE]}),
         "a LineString has no area"),
        ({"type": "Topology", "objects": {}}, "'Topology' cannot be read: expected coordinates and a type of"),
        ({"type": "Polygon", "coordinates": None}, "'Polygon' cannot be read: expected coordinates"),
        ({}, "the GeoJSON None cannot be read"),
        (ring((0, 0), (2, 2), (2, 0), (0, 2)), r"not valid \(Self-intersection\[1 1\]\): mend it"),
        (ring((0, 0), (1, 1), (2, 2)), "not valid|is empty"),
        ({"type": "MultiPolygon", "coordinates": OVERLAPPING},
         "its parts overlap"),
        ({**mapping(SQUARE), "crs": {"type": "link", "properties": {"href": "http://x/y"}}}, "its crs .* has no name"),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "EPSG:999999"}}}, "is not known"),
        # Read two ways: a strip across 180 degrees, or the rest of the world.
        (ring((-179.9, -23), (179.9, -23), (179.9, 23), (-179.9, 23)), "can be read two ways: cut it at 180 degrees"),
        (ring((-179, -60), (179, -60), (179, 75), (-179, 75)), "can be read two ways"),
        (ring((100, 0), (-100, 0), (-100, 10), (100, 10)), "an edge of 200 degrees"),
        (ring((0, 80), (90, 80), (180, 80), (-90, 80)), "around a pole, give the box"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_words(given, sentence, tmp_path):
    with pytest.raises(AreaError, match=sentence):
        read_area(given, base=tmp_path)


PROJECTED = {
    "utm": ("EPSG:32633", box(500_000, 5_300_000, 620_000, 5_400_000)),
    "laea, 2500 km": ("EPSG:3035", box(2_600_000, 1_500_000, 5_100_000, 4_000_000)),
    "utm across 180": ("EPSG:32760", box(700_000, 8_000_000, 950_000, 8_200_000)),
    "web mercator": ("EPSG:3857", box(1_000_000, 6_000_000, 1_100_000, 6_050_000)),
    "us feet": ("EPSG:2263", box(900_000, 120_000, 1_000_000, 250_000)),
    "around the north pole": ("EPSG:3995", box(-900_000, -700_000, 800_000, 1_000_000)),
    "around the south pole": ("EPSG:3031", box(-900_000, -700_000, 800_000, 1_000_000)),
    "corner at the pole": ("EPSG:3413", box(0, 0, 600_000, 600_000)),
    "ring around the pole": ("EPSG:3995", box(-9e5, -9e5, 9e5, 9e5).difference(box(-4e5, -4e5, 4e5, 4e5))),
    "beside the pole": ("EPSG:3031", box(20_000, -500_000, 800_000, 500_000)),
}


@pytest.mark.parametrize("name", PROJECTED)
def test_a_projected_outline_covers_the_places_it_covers_on_its_map(name, tmp_path):
    crs, outline = PROJECTED[name]
    frame = geopandas.GeoDataFrame(geometry=[outline], crs=crs)
    frame.to_file(tmp_path / "a.gpkg", layer="area")
    found = read_area("a.gpkg", base=tmp_path).geometry
    assert found.is_valid
    minx, miny, maxx, maxy = outline.bounds
    spread = (maxx - minx) * 0.2
    chance = np.random.default_rng(5)
    x, y = chance.uniform(minx - spread, maxx + spread, 4000), chance.uniform(miny - spread, maxy + spread, 4000)
    # An edge may miss by the bow of its pieces.
    clear = shapely.distance(outline.boundary, shapely.points(x, y)) > 5
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    right = shapely.contains_xy(outline, x, y)
    assert right.sum() > 500
    assert (shapely.contains_xy(found, lon, lat) == right)[clear].all()


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb", ".parquet", ".geojson", ".wkt"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:25833"])
def test_every_format_gives_the_same_area(tmp_path, suffix, crs):
    frame = geopandas.GeoDataFrame(
        {"n": [1, 2]}, geometry=[shapely.force_3d(HOLED, 7.0), shapely.force_3d(OTHER, 7.0)], crs="EPSG:4326"
    )
    moved = frame.to_crs(crs)
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        moved.to_parquet(path)
    elif suffix == ".wkt":
        path.write_text(f"SRID={crs[5:]};{shapely.GeometryCollection(list(moved.geometry)).wkt}")
    elif suffix == ".geojson":
        named = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{crs[5:]}"}}
        path.write_text(json.dumps({**json.loads(moved.to_json()), "crs": named}))
    else:
        moved.to_file(path)
    found = read_area(path.name, base=tmp_path).geometry
    assert not found.has_z
    # Edges that were straight on the map of 25833 bow by 200 m or so in degrees: corners are the same, areas nearly.
    right = HOLED.union(OTHER)
    assert found.symmetric_difference(right).area < (1e-9 if crs == "EPSG:4326" else 0.004) * right.area
    corners = shapely.points(shapely.get_coordinates(right))
    assert shapely.distance(found.boundary, corners).max() < 1e-6
    projected = shapely.union_all(shapely.force_2d(moved.to_crs("EPSG:6933").geometry.values))
    assert geometry_km2(found, "EPSG:4326") == pytest.approx(projected.area / 1e6, rel=4e-3)


def test_a_layer_is_asked_for_where_there_are_several(tmp_path):
    path = tmp_path / "fields.gpkg"
    geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326").to_file(path, layer="parcels")
    assert read_area("fields.gpkg", base=tmp_path).bbox == (10, 50, 11, 51)
    geopandas.GeoDataFrame(geometry=[OTHER], crs="EPSG:4326").to_file(path, layer="roads")
    pyogrio.write_dataframe(geopandas.pd.DataFrame({"n": [1]}), path, layer="table")
    with pytest.raises(AreaError, match=r"several layers, parcels, roads: write fields.gpkg#parcels"):
        read_area("fields.gpkg", base=tmp_path)
    with pytest.raises(AreaError, match="has no layer woods; it has: parcels, roads"):
        read_area("fields.gpkg#woods", base=tmp_path)
    assert read_area("fields.gpkg#roads", base=tmp_path).bbox == (12, 50, 13, 51)
    (tmp_path / "a#1.geojson").write_text(json.dumps(mapping(OTHER)))
    assert read_area("a#1.geojson", base=tmp_path).bbox == (12, 50, 13, 51)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path):
    frame = geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326")
    frame.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(tmp_path / "points.gpkg")
    geopandas.pd.DataFrame({"n": [1]}).to_parquet(tmp_path / "table.parquet")
    (tmp_path / "virtual.gpkg").write_text('<OGRVRTDataSource><OGRVRTLayer name="x"/></OGRVRTDataSource>')
    (tmp_path / "virtual.fgb").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "cut.shp").write_bytes((tmp_path / "bare.shp").read_bytes()[:60])
    (tmp_path / "noise.parquet").write_bytes(b"PAR1nonsense")
    (tmp_path / "a.zip").write_bytes(b"PK")
    (tmp_path / "latin.geojson").write_bytes(
        json.dumps({"type": "x", "n": "Fl\xe4che"}, ensure_ascii=False).encode("latin-1")
    )
    (tmp_path / "list.geojson").write_text("[1, 2]")
    (tmp_path / "empty.geojson").write_text("")
    (tmp_path / "deep.geojson").write_text("[" * 100_000)
    for name, sentence in (
        ("bare.shp", "does not say its CRS: assign it"),
        ("points.gpkg", "a Point has no area"),
        ("table.parquet", "no GeoParquet: it lacks the metadata geo"),
        ("virtual.gpkg", "is no GPKG, as its first bytes show"),
        ("virtual.fgb", "is no FlatGeobuf, as its first bytes show"),
        ("cut.shp", "cannot be read as ESRI Shapefile"),
        ("noise.parquet", "cannot be read as GeoParquet"),
        ("a.zip", r"read are .geojson, .json, .wkt, .gpkg, .shp, .fgb, .parquet and .tif"),
        ("latin.geojson", "is not GeoJSON: .*utf-8.* codec can't decode"),
        ("list.geojson", "holds no GeoJSON object"),
        ("empty.geojson", "is not GeoJSON"),
        ("deep.geojson", "is not GeoJSON"),
        ("missing.gpkg", "cannot be read: No such file"),
        ("empty.geojson#layer", "only a GeoPackage has layers"),
    ):
        with pytest.raises(AreaError, match=sentence):
            read_area(name, base=tmp_path)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_byte_order_marks_and_sequences_are_read(tmp_path, coding):
    features = [
        {"type": "Feature", "properties": {"name": "Fläche"}, "geometry": mapping(each)} for each in (SQUARE, OTHER)
    ]
    whole = {"type": "FeatureCollection", "features": features}
    (tmp_path / "a.geojson").write_bytes(json.dumps(whole, ensure_ascii=False).encode(coding))
    lines = "\x1e" + "\n\x1e".join(json.dumps(feature, ensure_ascii=False) for feature in features) + "\n"
    (tmp_path / "b.geojsons").write_bytes(lines.encode("utf-8"))
    for name in ("a.geojson", "b.geojsons"):
        assert read_area(name, base=tmp_path).geometry.equals(SQUARE.union(OTHER))


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_job_with_a_byte_order_mark_is_read(tmp_path, coding):
    text = "area: 10,50,11,51\nperiod: 2021-06\nsource: s\nmodel: m\nname: x\n"
    (tmp_path / "job.yaml").write_bytes(text.encode(coding))
    assert read_job(tmp_path / "job.yaml").area.bbox == (10, 50, 11, 51)


def test_corners_that_need_no_move_stay_as_they_were_given(tmp_path):
    plain = {"type": "MultiPolygon", "coordinates": [
        [[[3.5, 1.0], [3.0, 1.0], [3.0, 0.0], [4.0, 0.0], [3.5, 1.0]]],
        [[[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]]]}  # fmt: skip
    job = make_job({"area": plain, "period": "2021", "source": "s", "model": "m"}, base=tmp_path)
    assert job.request()["area"] == plain
    assert (
        make_job({"area": job.request()["area"], "period": "2021", "source": "s", "model": "m"}, base=Path()).area
        == job.area
    )
