"""Areas by the name of an MGRS tile and by a raster's outline; tiles are held against the names of places in them."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from pyproj import Transformer
from shapely.geometry import box

from tests.tasks.audit.test_tiles import PLACES
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import make_job, read_job
from tilewright.flows.maintain.backfill import backfill_jobs, read_table
from tilewright.flows.start.begin import begin_job
from tilewright.tasks.grid.mgrs.tiles import NONE, mgrs_tiles

EDGES = [
    *((6.0, 48.3, "32U"), (11.99, 48.3, "32U"), (0.0, 0.01, "31N"), (0.01, -0.01, "31M"), (177.0, 60.5, "60V")),
    *((-179.9, 65.2, "01W"), (2.9, 60.0, "31V"), (3.1, 60.0, "32V"), (8.9, 75.0, "31X"), (20.9, 80.0, "33X")),
    *((41.9, 83.9, "37X"), (-75.1, -79.9, "18C"), (100.0, 71.9, "47W"), (12.0, 55.99, "33U")),
]


def code_at(lon, lat):
    return mgrs_tiles(np.array([lon]), np.array([lat]), "EPSG:4326")[0]


@pytest.mark.parametrize("place", [*PLACES, *EDGES], ids=str)
def test_a_tile_is_the_ground_of_the_places_that_are_in_it(place):
    lon, lat, name = place
    code = code_at(lon, lat)
    assert code.startswith(name)
    if code == NONE:
        return
    area = read_area(code).geometry
    assert area.covers(shapely.Point(lon, lat))
    rng = np.random.default_rng(3)
    west, south, east, north = area.buffer(0.2).bounds
    lons = rng.uniform(max(west, -180), min(east, 180), 4000)
    lats = rng.uniform(max(south, -80), min(north, 83.9), 4000)
    inside = shapely.contains_xy(area, lons, lats)
    named = mgrs_tiles(lons, lats, "EPSG:4326") == code
    # Edges follow those of the tile to half a metre.
    assert np.count_nonzero(inside != named) <= 1
    assert np.count_nonzero(named) > 100


@pytest.mark.parametrize("text", ["33UUP", "33uup", " T33UUP ", "MGRS-33UUP", "t33Uup"])
def test_a_tile_is_named_as_products_name_it(text):
    assert read_area(text).geometry.equals(read_area("33UUP").geometry)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("33UIP", "33UIP: there is no such tile: zone 33U has columns among TUVWXY and rows among PQRSTUVABC"),
        ("33UUW", "33UUW: there is no such tile: zone 33U"),
        ("32UUP", "32UUP: there is no such tile: zone 32U has columns among KLMNPQ and rows"),
        ("61UUP", "61UUP: there is no zone 61U: zones are 1 to 60, and their bands CDEF"),
        ("0UUP", "00UUP: there is no zone 00U"),
        ("33IUP", "there is no zone 33I"),
        ("33YUP", "there is no zone 33Y"),
        ("32XMG", "there is no zone 32X, which its neighbours cover"),
        ("33U", "the file 33U cannot be read: No such file or directory .*a tile like 33UUP"),
        ("33UUP12", "the file 33UUP12 cannot be read"),
        ("33 UUP", "the file 33 UUP cannot be read"),
    ],
)
def test_what_is_no_tile_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(AreaError, match=sentence) as refusal:
        read_area(text)
    assert "\n" not in str(refusal.value)


def test_a_tile_whose_name_is_a_file_is_ambiguous(tmp_path):
    (tmp_path / "33UUP").write_text("POLYGON ((10 50, 11 50, 11 51, 10 50))")
    with pytest.raises(AreaError, match=r"33UUP is an MGRS tile, and a file of that name is there: write \./33UUP"):
        read_area("33UUP", base=tmp_path)


def raster(path, crs, transform, shape=(40, 60)):
    facts = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8", "crs": crs}
    with rasterio.open(path, "w", transform=transform, **facts):
        return path


def degrees(crs, *corners):
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.array(corners).T)


def test_the_outline_of_a_raster_holds_the_centres_of_its_pixels_and_no_others(tmp_path):
    raster(tmp_path / "a.tif", "EPSG:32633", Affine(10, 0, 380000, 0, -10, 5350000))
    area = read_area("a.tif", base=tmp_path).geometry
    rows, cols = np.indices((44, 64)).reshape(2, -1) - 2
    lon, lat = degrees("EPSG:32633", *zip(380005 + cols * 10, 5349995 - rows * 10, strict=True))
    inside = (rows >= 0) & (rows < 40) & (cols >= 0) & (cols < 60)
    assert (shapely.contains_xy(area, lon, lat) == inside).all()
    plain = {"area": "a.tif", "period": "2021-06", "source": "earth-search", "model": "ndwi-water"}
    job = make_job(plain, base=tmp_path)
    (tmp_path / "a.tif").unlink()
    assert shapely.geometry.shape(job.request()["area"]).equals(area)


@pytest.mark.parametrize(
    ("crs", "transform", "shape", "right"),
    [
        ("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 50), (10, 20), box(10, 49, 12, 50)),
        ("EPSG:4326", Affine(0.1, 0, 10, 0, 0.1, 49), (10, 20), box(10, 49, 12, 50)),
        ("EPSG:4326", Affine(1, 0, 175, 0, -1, 10), (5, 10), box(175, 5, 180, 10) | box(-180, 5, -175, 10)),
        ("EPSG:4326", Affine(1, 0, -185, 0, -1, 10), (5, 10), box(175, 5, 180, 10) | box(-180, 5, -175, 10)),
        ("EPSG:4326", Affine(0.5, 0, -0.25, 0, -0.5, 90.25), (361, 720), box(-180, -90, 180, 90)),
        ("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), (180, 360), box(-180, -90, 180, 90)),
    ],
)
def test_rasters_in_degrees_lie_where_they_are(tmp_path, crs, transform, shape, right):
    raster(tmp_path / "a.tiff", crs, transform, shape)
    assert read_area("a.tiff", base=tmp_path).geometry.symmetric_difference(right).area < 1e-9


def test_a_raster_across_180_degrees_is_cut_there(tmp_path):
    raster(tmp_path / "a.tif", "EPSG:32701", Affine(1000, 0, 150000, 0, -1000, 8200000), (50, 100))
    area = read_area("a.tif", base=tmp_path)
    assert area.bbox[0] > 179
    assert area.bbox[2] < -179


@pytest.mark.parametrize(
    ("crs", "transform", "sentence"),
    [
        (None, Affine(10, 0, 380000, 0, -10, 5350000), "a.tif: the file has no CRS: write one into it"),
        ("EPSG:32633", Affine.translation(380000, 5350000) * Affine.rotation(20) * Affine.scale(10, -10),
         "a.tif is rotated against its CRS: warp it north up"),
        ("EPSG:32633", Affine.identity(), "no geotransform"),
        ("EPSG:32633", Affine(1e-4, 0, 13, 0, -1e-4, 48), "as if its coordinates were degrees"),
        ('LOCAL_CS["nowhere",UNIT["metre",1]]', Affine(10, 0, 1, 0, -10, 1), "has no place on the Earth"),
    ],
)  # fmt: skip
def test_a_raster_without_a_place_is_refused_in_one_sentence(tmp_path, crs, transform, sentence):
    raster(tmp_path / "a.tif", crs, transform)
    with pytest.raises(AreaError, match=sentence) as refusal:
        read_area("a.tif", base=tmp_path)
    assert "\n" not in str(refusal.value)


def test_what_is_no_raster_or_could_name_others_is_not_opened(tmp_path):
    (tmp_path / "a.tif").write_text("POLYGON ((10 50, 11 50, 11 51, 10 50))")
    with pytest.raises(AreaError, match=r"a\.tif cannot be read as a GeoTIFF"):
        read_area("a.tif", base=tmp_path)
    (tmp_path / "b.tif").write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    with pytest.raises(AreaError, match="cannot be read as a GeoTIFF"):
        read_area("b.tif", base=tmp_path)
    (tmp_path / "c.vrt").write_text("<VRTDataset/>")
    with pytest.raises(AreaError, match=r"read are \.geojson, .* \.parquet and \.tif"):
        read_area("c.vrt", base=tmp_path)


def test_areas_of_grids_are_taken_wherever_areas_are(tmp_path, monkeypatch):
    """By `init` and in the rows of a backfill's CSV, with paths from the job's folder."""
    monkeypatch.chdir(tmp_path)
    raster(tmp_path / "a.tif", "EPSG:32633", Affine(10, 0, 380000, 0, -10, 5350000))
    (tmp_path / "jobs").mkdir()
    period = {"period": "2021-06"}
    for area, written in (("33UUP", "33UUP"), ("a.tif", "../a.tif")):
        begun = begin_job(tmp_path / "jobs" / f"{area}.yaml", {**period, "area": area})
        assert yaml.safe_load(begun.job.read_text())["area"] == written
        assert read_job(begun.job).area.geometry.equals(read_area(area, base=tmp_path).geometry)
    (tmp_path / "table.csv").write_text("name,area,period\none,33UUP,2021-06\ntwo,a.tif,2021-07\nthree,1 2 3 4,2021\n")
    template = {"source": "earth-search", "model": "ndwi-water", "output": "out/{name}"}
    jobs = [make_job(plain, base=tmp_path) for plain in backfill_jobs(template, read_table(tmp_path / "table.csv"))]
    assert [job.area.geometry.equals(read_area(area, base=tmp_path).geometry)
            for job, area in zip(jobs, ("33UUP", "a.tif", [1, 2, 3, 4]), strict=True)] == [True] * 3  # fmt: skip
