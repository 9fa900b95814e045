"""Zones measured by Tilewright against exactextract on the whole layer by hand: any shape, grid, size and cut."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from tests.support.layers import write_layers
from tilewright.flows.ask.zones import zone_statistics
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.ground import pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.zones import measure
from tilewright.tasks.zones.totals import share_of

NAMES = ("land", "open water", "forest")
CORNER, SIZE = (400_000.0, 5_400_000.0), 10.0
STATISTICS = {
    "mean": "mean",
    "std": "stdev",
    "min": "min",
    "max": "max",
    "median": "median",
    "sum": "sum",
}


def drawn(n: int, shape: tuple[int, int], *, seed: int = 3) -> list[shapely.Geometry]:
    """Stars, slivers, polygons with holes and in parts, some smaller than a pixel, some beyond the grid; in pixels."""
    rng = np.random.default_rng(seed)
    found: list[shapely.Geometry] = []
    while len(found) < n:
        reach = rng.choice([0.2, 1.5, 9.0, 40.0])
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 25)))
        radii = reach * rng.uniform(0.2, 1.0, len(angles))
        middle = rng.uniform((-5, -5), (shape[1] + 5, shape[0] + 5))
        star = shapely.Polygon(np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + middle)
        if not star.is_valid:
            continue
        if len(found) % 5 == 1:
            star = star.difference(shapely.Point(middle).buffer(reach / 4))
        if len(found) % 7 == 2:
            star = shapely.union_all([star, shapely.affinity.translate(star, 2.5 * reach, reach)])
        if star.is_valid and star.area > 0 and star.geom_type in {"Polygon", "MultiPolygon"}:
            found.append(star)
    return found


def on_map(zones, corner=CORNER, size=SIZE):
    return shapely.transform(np.array(zones), lambda at: at * [size, -size] + corner)


def written(folder: Path, zones, crs="EPSG:32633", name="zones.parquet") -> Path:
    frame = geopandas.GeoDataFrame({"key": [f"z{n}" for n in range(len(zones))]}, geometry=zones, crs=crs)
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}))
    return path


def pixels(shape=(90, 130), seed=1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), shape, p=[0.5, 0.2, 0.2, 0.1])
    height = rng.normal(300, 80, shape).astype(np.float32)
    height[rng.random(shape) < 0.1] = np.nan
    confidence = rng.integers(40, 101, shape).astype(np.uint8)
    confidence[classes == 255] = 255
    temperature = rng.integers(-300, 300, shape).astype(np.int16)
    temperature[:8] = -32768
    return {"class": classes, "height": height, "confidence": confidence, "temperature": temperature}


def by_hand(layer: np.ndarray, zones, operations, corner=CORNER, size=SIZE):
    nodata = {"u": 255, "i": -32768, "f": None}[layer.dtype.kind]
    height, width = layer.shape
    bounds = {
        "xmin": corner[0], "xmax": corner[0] + width * size, "ymin": corner[1] - height * size, "ymax": corner[1],
    }  # fmt: skip
    source = NumPyRasterSource(layer, **bounds, nodata=nodata, name="x", srs_wkt=pyproj.CRS("EPSG:32633").to_wkt())
    frame = geopandas.GeoDataFrame(geometry=list(zones), crs="EPSG:32633")
    return exact_extract(source, frame, operations, output="pandas")


def check(table, layers, zones, corner=CORNER, size=SIZE) -> None:
    """Every figure of the table to 1e-6 of what exactextract says of the layer, but for areas."""
    for name, layer in layers.items():
        if name == "class":
            told = by_hand(layer, zones, ["count", "frac", "unique"], corner, size)
            for value, class_name in enumerate(NAMES):
                pairs = zip(told["unique"], told["frac"], told["count"], strict=True)
                wanted = [dict(zip(u, f, strict=True)).get(value, 0.0) if n > 0 else np.nan for u, f, n in pairs]
                np.testing.assert_allclose(table[f"class_{class_name}"], wanted, atol=1e-6)
            continue
        told = by_hand(layer, zones, ["count", *STATISTICS.values()], corner, size)
        for ours, theirs in STATISTICS.items():
            wanted = np.where(told["count"] > 0, told[theirs].astype(float), np.nan)
            np.testing.assert_allclose(table[f"{name}_{ours}"], wanted, rtol=1e-6, atol=1e-6, err_msg=f"{name} {ours}")


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    return write_layers(tmp_path_factory.mktemp("product"), pixels(), classes={"class": NAMES})


@pytest.mark.parametrize("name", ["zones.parquet", "zones.geojson", "zones.fgb", "zones.gpkg", "zones.shp"])
def test_zones_of_any_shape_are_measured_as_exactextract_measures_them(product, tmp_path, name):
    zones = on_map(drawn(120, (90, 130)))
    crs = "EPSG:32633"
    if name.endswith("geojson"):
        # The file has seven decimals: what it holds is what is measured.
        path = written(tmp_path, geopandas.GeoSeries(zones, crs=crs).to_crs(4326), "EPSG:4326", name)
        zones = geopandas.read_file(path).to_crs(crs).geometry.to_numpy()
    else:
        path = written(tmp_path, zones, crs, name)
    table = zone_statistics(str(product), path)
    frame = table.columns.to_pandas()
    assert list(frame["key"]) == [f"z{n}" for n in range(len(zones))], "the order and the columns of the file"
    assert list(frame["id"]) == list(range(1, len(zones) + 1))
    check(frame, pixels(), zones)
    any_value = np.zeros((90, 130), dtype=np.uint8)
    for layer in pixels().values():
        any_value |= ~np.isnan(layer) if layer.dtype.kind == "f" else layer != (255 if layer.dtype == "u1" else -32768)
    told = by_hand(np.where(any_value == 1, 1, 255).astype(np.uint8), zones, ["count"])
    np.testing.assert_allclose(frame["observed"], told["count"] * SIZE**2 / shapely.area(zones), atol=1e-6)
    assert (frame["observed"] == 0).any()
    assert ((frame["observed"] > 0) & (frame["observed"] < 1)).any()


def test_large_zones_are_measured_in_pieces_as_in_one(product, tmp_path, monkeypatch):
    zones = on_map([*drawn(60, (90, 130)), shapely.box(-10, -10, 200, 200), shapely.Point(60, 40).buffer(60)])
    path = written(tmp_path, zones)
    monkeypatch.setattr(measure, "WHOLE", 50)
    monkeypatch.setattr(measure, "PIECE", 16)
    frame = zone_statistics(str(product), path).columns.to_pandas()
    check(frame, pixels(), zones)


@pytest.mark.parametrize(
    ("crs", "corner", "size"),
    [
        ("EPSG:32633", CORNER, SIZE),
        ("EPSG:3857", (1_500_000.0, 8_400_000.0), 100.0),
        ("EPSG:4326", (13.0, 60.0), 0.01),
        ("EPSG:3035", (4_500_000.0, 2_900_000.0), 20.0),
    ],
)
def test_areas_are_those_on_the_ground_in_any_crs(tmp_path, crs, corner, size):
    layers = pixels()
    folder = write_layers(
        tmp_path / "product", layers, classes={"class": NAMES}, crs=crs, resolution=size, corner=corner
    )
    zones = on_map(drawn(40, (90, 130)), corner, size)
    frame = zone_statistics(str(folder), written(tmp_path, zones, crs)).columns.to_pandas()
    check(frame, layers, zones, corner, size)
    extent = PixelBox.at(round(-corner[1] / size), round(corner[0] / size), shape=(90, 130))
    ground = np.broadcast_to(pixel_km2(Grid(crs=crs, resolution=size, extent=extent), extent), (90, 130)) * 1e6
    for value, name in enumerate(NAMES):
        told = by_hand(np.where(layers["class"] == value, ground, 0.0), zones, ["sum"], corner, size)
        wanted = np.where(frame[f"class_{name}"].isna(), np.nan, told["sum"].astype(float))
        np.testing.assert_allclose(frame[f"class_{name}_m2"], wanted, rtol=1e-6, atol=1e-6 * ground.max())


def test_a_zone_smaller_than_a_pixel_has_its_pixel_s_values(product, tmp_path):
    layers = pixels()
    row, col = np.argwhere((layers["class"] == 1) & ~np.isnan(layers["height"]) & (np.arange(90)[:, None] > 10))[0]
    zone = on_map([shapely.box(col + 0.3, row + 0.2, col + 0.4, row + 0.25)])
    found = zone_statistics(str(product), written(tmp_path, zone)).columns.to_pylist()[0]
    assert found["class_open water"] == 1
    assert found["class_open water_m2"] == pytest.approx(0.1 * 0.05 * SIZE**2, rel=2e-3)
    assert found["height_median"] == found["height_min"] == pytest.approx(layers["height"][row, col])
    assert found["observed"] == pytest.approx(1)


@pytest.mark.parametrize(("part", "share"), [(3 - 1e-11, 1), (3 + 1e-11, 1), (3 - 1e-7, 1 - 1e-7 / 3), (0, 0)])
def test_a_share_is_whole_but_for_rounding(part, share):
    assert share_of(part, 3) == pytest.approx(share, rel=1e-15)


def test_rows_without_a_place_stay(product, tmp_path):
    inside = on_map([shapely.box(10, 20, 20, 30)])[0]
    far = on_map([shapely.box(1000, 1000, 1010, 1010)])[0]
    path = written(tmp_path, [None, inside, shapely.Polygon(), far])
    rows = zone_statistics(str(product), path).columns.to_pylist()
    assert [row["observed"] for row in rows] == [None, 1.0, None, 0.0]
    for row in (rows[0], rows[2], rows[3]):
        assert {row[name] for name in row if name not in {"id", "key", "observed"}} == {None}


def test_layers_that_are_asked_for_are_the_only_ones(product, tmp_path):
    path = written(tmp_path, on_map([shapely.box(0, 0, 3, 3)]))
    named = zone_statistics(str(product), path, layers=["height"]).columns.column_names
    assert named == ["id", "key", *(f"height_{each}" for each in STATISTICS), "observed"]


def test_a_zone_does_not_depend_on_the_product_s_extent(tmp_path):
    layers = pixels()
    part = {name: layer[30:70, 40:100].copy() for name, layer in layers.items()}
    whole = write_layers(tmp_path / "whole", layers, classes={"class": NAMES})
    cut = write_layers(
        tmp_path / "cut", part, classes={"class": NAMES}, corner=(CORNER[0] + 40 * SIZE, CORNER[1] - 30 * SIZE)
    )
    path = written(tmp_path, on_map([shapely.Point(70, 50).buffer(17.3)]))
    assert zone_statistics(str(whole), path).columns.equals(zone_statistics(str(cut), path).columns)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32660"])
def test_a_zone_across_180_degrees_is_measured_where_it_lies(tmp_path, crs):
    layers = {"class": np.zeros((60, 60), dtype=np.uint8)}
    corner, size = {
        "EPSG:4326": ((179.4, 0.3), 0.01),
        "EPSG:3857": ((19_980_000.0, 33_000.0), 1000.0),
        "EPSG:32660": ((805_000.0, 33_000.0), 1000.0),
    }[crs]
    folder = write_layers(tmp_path / "p", layers, classes={"class": NAMES}, crs=crs, resolution=size, corner=corner)
    jumping = shapely.Polygon([(179.8, -0.1), (-179.8, -0.1), (-179.8, 0.1), (179.8, 0.1)])
    apart = shapely.multipolygons([shapely.box(179.8, -0.1, 180, 0.1), shapely.box(-180, -0.1, -179.8, 0.1)])
    rows = zone_statistics(str(folder), written(tmp_path, [jumping, apart], "EPSG:4326")).columns.to_pylist()
    share = 1.0 if crs == "EPSG:32660" else 0.5
    for row in rows:
        assert row["observed"] == pytest.approx(share, abs=0.01)
        assert row["class_land_m2"] == pytest.approx(share * 44_500 * 22_100, rel=0.02)


def test_zones_all_over_the_world_are_outside_of_a_small_product(product, tmp_path):
    world = [
        shapely.box(west, south, west + 9, south + 9) for west in range(-180, 171, 10) for south in range(-80, 71, 10)
    ]
    rows = zone_statistics(str(product), written(tmp_path, world, "EPSG:4326")).columns.to_pylist()
    seen = {row["key"]: row["observed"] for row in rows}
    inside = [f"z{n}" for n, zone in enumerate(world) if zone.intersects(shapely.box(13.63, 48.73, 13.66, 48.75))]
    assert len(inside) == 1
    assert {key for key, observed in seen.items() if observed != 0} == set(inside)


def test_edges_that_bend_on_the_grid_are_told_of(product, tmp_path):
    from tilewright.tasks.progress import Notice

    said = []
    wide = [shapely.box(13.0, 48.0, 14.5, 49.0), shapely.box(13.63, 48.73, 13.632, 48.731)]
    zone_statistics(str(product), written(tmp_path, wide, "EPSG:4326"), listener=said.append)
    notices = [event.text for event in said if isinstance(event, Notice)]
    assert len(notices) == 1
    assert notices[0].startswith("1 zone has edges in zones.parquet that bend in EPSG:32633")
