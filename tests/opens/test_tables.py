"""Tables of a product in geopandas and pyogrio, and the styles that QGIS finds beside files."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio

import tilewright as tw


@pytest.fixture(scope="module")
def areas(pixels):
    """Square metres of each class of the product."""
    return {value: int((pixels == value).sum()) * 100 for value in (0, 1)}


def test_geopandas_reads_the_polygons(product, areas):
    table = geopandas.read_parquet(product / "class_polygons.parquet")
    assert table.crs.to_epsg() == 32633
    by_class = table.assign(area=table.area).groupby("value")["area"].sum()
    assert {value: round(area) for value, area in by_class.items()} == areas


@pytest.mark.parametrize("ending", ["gpkg", "fgb"])
def test_pyogrio_reads_the_exported_polygons(product, areas, tmp_path, ending):
    path = tmp_path / f"polygons.{ending}"
    tw.export(product, path, table="class_polygons")
    table = pyogrio.read_dataframe(path)
    assert table.crs.to_epsg() == 32633
    assert {value: round(table[table["value"] == value].area.sum()) for value in areas} == areas


def test_the_style_for_qgis_lies_beside_the_file_and_says_its_colours(product):
    """QGIS takes the .qml of a layer's name when it opens the layer; here is no QGIS, so that its elements are read."""
    root = ET.parse(product / "class.qml").getroot()  # noqa: S314 - our own
    renderer = root.find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    with rasterio.open(product / "class.tif") as dataset:
        table, tags = dataset.colormap(1), dataset.tags(1)
    entries = renderer.findall("colorPalette/paletteEntry")
    assert [int(each.get("value")) for each in entries] == [0, 1]
    for each in entries:
        value = int(each.get("value"))
        assert tuple(bytes.fromhex(each.get("color")[1:])) == table[value][:3]
        assert each.get("label") == tags[f"CLASS_{value}"]
    ramp = ET.parse(product / "confidence.qml").getroot().find("pipe/rasterrenderer")  # noqa: S314 - our own
    assert ramp.get("type") == "singlebandpseudocolor"
    stops = [float(each.get("value")) for each in ramp.iter("item")]
    assert stops == sorted(stops)
    assert np.isclose((stops[0], stops[-1]), (0, 100)).all()
    shapes = ET.parse(product / "class_polygons.qml").getroot().find("renderer-v2")  # noqa: S314 - our own
    assert (shapes.get("type"), shapes.get("attr")) == ("categorizedSymbol", "value")
