"""The table of polygons is the same file in every cut, and says of each what it is."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import ndimage

from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.vector.polygon_table import PolygonTable
from tilewright.tasks.vector.shapes import ShapeStream

NAMES = {0: "land", 1: "water", 2: "forest"}


def some_classes(side: int) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(3).random((side, side)), 1.5)
    return np.digitize(field, np.quantile(field, [0.3, 0.6])).astype(np.uint8)


def write(path: Path, values: np.ndarray, *, strip: int, connectivity: int = 4, least: float = 0.0) -> Path:
    grid = Grid(crs="EPSG:32633", resolution=10.0, extent=PixelBox.at(-500_000, 40_000, shape=values.shape))
    stream = ShapeStream(row=-500_000, col=40_000, width=values.shape[1], connectivity=connectivity)  # type: ignore[arg-type]
    with PolygonTable(path.parent, grid=grid, names=NAMES, least=least) as table:
        for start in range(0, len(values), strip):
            part = values[start : start + strip]
            for some in stream.take(part, np.ones(part.shape, dtype=bool), edge=np.zeros(part.shape, dtype=bool)):
                table.add(some)
        for some in stream.end():
            table.add(some)
        assert table.write(path) == pq.read_metadata(path).num_rows
    return path


@pytest.mark.parametrize("connectivity", [4, 8])
def test_it_is_the_same_file_in_every_cut(tmp_path: Path, connectivity: int) -> None:
    values = some_classes(200)
    files = {
        write(tmp_path / f"{strip}.parquet", values, strip=strip, connectivity=connectivity).read_bytes()
        for strip in (1, 17, 64, 200)
    }
    assert len(files) == 1


def test_areas_and_lengths_are_those_of_the_geometries(tmp_path: Path) -> None:
    values = some_classes(120)
    table = geopandas.read_parquet(write(tmp_path / "polygons.parquet", values, strip=50))
    assert table.id.tolist() == list(range(1, len(table) + 1))
    assert table.is_valid.all()
    assert np.allclose(table.area, table.area_m2, rtol=0, atol=1e-6)
    assert np.allclose(table.length, table.perimeter_m, rtol=0, atol=1e-6)
    assert table.area_m2.sum() == values.size * 100
    for value, name in NAMES.items():
        of_class = table[table.value == value]
        assert set(of_class.name) == {name}
        assert of_class.area_m2.sum() == (values == value).sum() * 100
    assert table.exterior.is_ccw.all()
    assert table.total_bounds.tolist() == [400_000, 5_000_000 - 1200, 401_200, 5_000_000]


def test_areas_are_in_square_metres_where_the_crs_is_in_feet(tmp_path: Path) -> None:
    path = tmp_path / "feet.parquet"
    grid = Grid(crs="EPSG:2263", resolution=30.0, extent=PixelBox.at(-7000, 30_000, shape=(4, 5)))
    stream = ShapeStream(row=-7000, col=30_000, width=5)
    everywhere = np.ones((4, 5), dtype=bool)
    with PolygonTable(tmp_path, grid=grid, names={1: "roof"}, least=1600) as table:
        assert not list(stream.take(everywhere.astype(np.uint8), everywhere, edge=everywhere))
        (left,) = stream.end()
        table.add(left)
        table.write(path)
    foot = 1200 / 3937
    (row,) = pq.read_table(path, columns=["area_m2", "perimeter_m"]).to_pylist()
    assert row == {"area_m2": pytest.approx(20 * (30 * foot) ** 2), "perimeter_m": pytest.approx(18 * 30 * foot)}


def test_neighbours_in_the_table_are_neighbours_on_the_map(tmp_path: Path) -> None:
    table = geopandas.read_parquet(write(tmp_path / "polygons.parquet", some_classes(200), strip=200))
    centres = table.centroid
    following = centres.iloc[:-1].distance(centres.iloc[1:], align=False)
    shuffled = centres.sample(frac=1, random_state=1)
    assert following.median() < 0.3 * shuffled.iloc[:-1].distance(shuffled.iloc[1:], align=False).median()


def test_shapes_below_the_least_area_are_left_out(tmp_path: Path) -> None:
    values = some_classes(120)
    every = geopandas.read_parquet(write(tmp_path / "all.parquet", values, strip=50))
    large = geopandas.read_parquet(write(tmp_path / "large.parquet", values, strip=50, least=500))
    assert 0 < len(large) < len(every)
    assert sorted(large.area_m2) == sorted(every.area_m2[every.area_m2 >= 500])


def test_its_metadata_are_those_of_geoparquet(tmp_path: Path) -> None:
    path = write(tmp_path / "polygons.parquet", some_classes(60), strip=60, connectivity=8)
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0"
    assert column["encoding"] == "WKB"
    assert set(column["geometry_types"]) == {"Polygon", "MultiPolygon"}
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    assert column["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]
    box = pq.read_table(path)["bbox"].combine_chunks().flatten()
    bounds = geopandas.read_parquet(path).bounds.to_numpy()
    assert np.array_equal(np.stack([each.to_numpy() for each in box], axis=1), bounds)
