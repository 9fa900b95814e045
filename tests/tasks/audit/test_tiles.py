"""Scores by MGRS tile: names against published ones, groups of points and rasters, and across a border of tiles."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

import tilewright as tw
from tests.support.layers import write_layers
from tilewright.tasks.grid.mgrs.tiles import NONE, mgrs_tiles

# Source: Sentinel-2 tiles as the Copernicus tiling grid names them, and the exceptions of NGA.STND.0037.
PLACES = [
    (13.41, 48.29, "33UUP"),
    (11.58, 48.14, "32UPU"),
    (-0.13, 51.51, "30UXC"),
    (-74.0, 40.71, "18TWL"),
    (151.21, -33.87, "56HLH"),
    (-58.4, -34.6, "21HUB"),
    (36.82, -1.29, "37MBU"),
    (32.58, 0.32, "36NVF"),
    (5.32, 60.39, "32VKN"),
    (15.63, 78.22, "33XWG"),
    (-179.99, -16.5, "01KAB"),
    (0.0, 85.0, NONE),
    (0.0, -85.0, NONE),
    (np.nan, 10.0, NONE),
]


def test_tiles_have_the_names_that_others_give_them():
    lon, lat, names = zip(*PLACES, strict=True)
    assert mgrs_tiles(np.array(lon), np.array(lat), "EPSG:4326").tolist() == [*names]


@pytest.mark.parametrize("labels", ["points", "raster"])
def test_scores_by_tile_are_those_of_its_pixels(tmp_path, labels):
    """Over the corner of four tiles, 33UVP to 33UWQ, at 500 km east and 5 400 km north."""
    shape = (60, 90)
    rng = np.random.default_rng(1)
    mapped, said = rng.integers(0, 2, shape, dtype=np.uint8), rng.integers(0, 2, shape, dtype=np.uint8)
    corner = (500_000 - 40 * 10.0, 5_400_000 + 25 * 10.0)
    product = write_layers(tmp_path / "p", {"class": mapped}, classes={"class": ["a", "b"]}, corner=corner)
    if labels == "raster":
        file = tmp_path / "l.tif"
        facts = {"driver": "GTiff", "height": 60, "width": 90, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
        with rasterio.open(file, "w", transform=rasterio.transform.from_origin(*corner, 10, 10), **facts) as raster:
            raster.write(said, 1)
    else:
        import geopandas
        import shapely

        rows, cols = np.indices(shape).reshape(2, -1)
        points = shapely.points(corner[0] + cols * 10 + 5, corner[1] - rows * 10 - 5)
        frame = geopandas.GeoDataFrame({"class": said.ravel().astype(int)}, geometry=points, crs=32633)
        file = tmp_path / "l.parquet"
        frame.to_parquet(file)
    groups = tw.evaluate(product, file, by="tile")["groups"]
    parts = {
        "33UVP": np.s_[25:, :40],
        "33UVQ": np.s_[:25, :40],
        "33UWP": np.s_[25:, 40:],
        "33UWQ": np.s_[:25, 40:],
    }
    assert [*groups] == [*parts]
    for name, part in parts.items():
        assert groups[name]["n"] == mapped[part].size
        assert groups[name]["overall_accuracy"] == (mapped[part] == said[part]).mean()


def test_a_column_called_tile_comes_before_the_tiles(tmp_path):
    product = write_layers(tmp_path / "p", {"class": np.zeros((9, 9), np.uint8)}, classes={"class": ["a", "b"]})
    (tmp_path / "l.csv").write_text("lon,lat,class,tile\n13.6406,48.7446,a,mine\n")
    assert [*tw.evaluate(product, tmp_path / "l.csv", by="tile")["groups"]] == ["mine"]
    (tmp_path / "l.csv").write_text("lon,lat,class\n13.6406,48.7446,a\n")
    assert [*tw.evaluate(product, tmp_path / "l.csv", by="tile")["groups"]] == ["33UVP"]
