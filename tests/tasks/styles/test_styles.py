"""The styles for QGIS: XML whatever the names are, the colours of the layer, the same bytes for the same layer."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.support.report_pages import HOSTILE
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.colours import RAMP_STOPS
from tilewright.tasks.styles.raster import image_style, raster_style
from tilewright.tasks.styles.shapes import graduated_style, shapes_style
from tilewright.tasks.styles.styles import ImageStyle, LayerStyle, style_files, write_styles

CLASSES = (CogClass(value=0, name="other", color="D8D2C2"), CogClass(value=7, name="open water"))


def classed(*classes):
    return CogSpec(name="class", dtype="uint8", nodata=255, kind="class", classes=classes or CLASSES)


def valued(unit="m"):
    return CogSpec(name="height", dtype="float32", nodata=float("nan"), kind="value", unit=unit)


def read(content):
    assert content.startswith(b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<!-- ")
    return ET.fromstring(content)  # noqa: S314 -- our own


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3.5, 1e9), (2.0, 2.0), (5.0, 4.0)])
def test_a_table_by_a_value_is_coloured_in_equal_parts_that_meet(ends):
    renderer = read(graduated_style(HOSTILE, ends)).find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("graduatedSymbol", HOSTILE)
    ranges = [(float(each.get("lower")), float(each.get("upper"))) for each in renderer.iterfind("ranges/range")]
    assert ranges[0][0] == ends[0]
    assert ranges[-1][1] == pytest.approx(max(ends[1], ends[0] + (ends[1] <= ends[0])))
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert all(low < high for low, high in ranges)
    symbols = [each.get("name") for each in renderer.iterfind("symbols/symbol")]
    assert symbols == [each.get("symbol") for each in renderer.iterfind("ranges/range")]


def test_a_layer_of_classes_is_a_palette_of_their_colours_and_names():
    root = read(raster_style(classed(), None))
    renderer = root.find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [dict(entry.attrib) for entry in renderer.iterfind("colorPalette/paletteEntry")]
    assert entries == [
        {"value": "0", "color": "#d8d2c2", "label": "other", "alpha": "255"},
        {"value": "7", "color": "#0072b2", "label": "open water", "alpha": "255"},
    ]


@pytest.mark.parametrize(
    ("unit", "ends", "labels"),
    [
        ("m", (-2.0, 7.0), ("-2 m", "7 m")),
        ("percent", (0.0, 100.0), ("0 %", "100 %")),
        ("1", (0.25, 0.5), ("0.25", "0.5")),
        ("m", (3.0, 3.0), ("3 m", "4 m")),
        ("m", None, ("0 m", "1 m")),
    ],
    ids=["a range", "percent", "no unit", "one value alone", "no value at all"],
)
def test_a_layer_of_values_is_a_ramp_over_its_range(unit, ends, labels):
    shader = read(raster_style(valued(unit), ends)).find("pipe/rasterrenderer/rastershader/colorrampshader")
    items = shader.findall("item")
    assert tuple(items[place].get("label") for place in (0, -1)) == labels
    assert [item.get("color") for item in items] == list(RAMP_STOPS)
    values = [float(item.get("value")) for item in items]
    assert values == sorted(set(values))
    assert (float(shader.get("minimumValue")), float(shader.get("maximumValue"))) == (values[0], values[-1])


@pytest.mark.parametrize("ends", [(0.02, 0.3), (0.2, 0.2), None])
def test_an_image_is_shown_in_its_colours_by_one_stretch(ends):
    renderer = read(image_style([3, 2, 1], ends)).find("pipe/rasterrenderer")
    assert renderer.get("type") == "multibandcolor"
    assert [renderer.get(f"{colour}Band") for colour in ("red", "green", "blue")] == ["3", "2", "1"]
    low, high = ends or (0.0, 1.0)
    for colour in ("red", "green", "blue"):
        found = renderer.find(f"{colour}ContrastEnhancement")
        assert float(found.findtext("minValue")) == low
        assert float(found.findtext("maxValue")) == (high if high > low else low + 1)
        assert found.findtext("algorithm") == "StretchToMinimumMaximum"
    assert renderer.get("band") is None


def test_an_image_without_three_colours_is_shown_in_grey():
    renderer = read(image_style([1], (0.0, 2.0))).find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("grayBand")) == ("singlebandgray", "1")
    assert renderer.findtext("contrastEnhancement/maxValue") == "2.0"
    assert [*ImageStyle(name="clear", bands=(1,), ends=None).documents()] == ["clear.qml"]


def test_shapes_have_an_outline_in_the_colour_of_their_class():
    root = read(shapes_style(classed()))
    renderer = root.find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "value")
    categories = [(each.get("value"), each.get("label"), each.get("symbol")) for each in renderer.find("categories")]
    assert categories == [("0", "other", "0"), ("7", "open water", "1")]
    symbols = {symbol.get("name"): symbol for symbol in renderer.find("symbols")}
    colours = {
        name: next(each.get("value") for each in symbol.iter("Option") if each.get("name") == "outline_color")
        for name, symbol in symbols.items()
    }
    assert colours == {"0": "216,210,194,255", "1": "0,114,178,255"}


def test_shapes_without_classes_are_all_alike():
    root = read(shapes_style(valued()))
    assert root.find("renderer-v2").get("type") == "singleSymbol"
    assert len(root.findall("renderer-v2/symbols/symbol")) == 1


@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "&lt;",
        "]]>",
        "\x00\x08\x0b\x1f",
        "\ud800",
        "\ufffe\uffff",
        "a\nb",
        "\u202e",
        "<!ENTITY x>",
        "",
        "水",
        "\U0001f30a",
    ],
)
def test_any_name_is_text(name):
    spec = classed(CogClass(value=0, name=name), CogClass(value=1, name="fine"))
    for content in (raster_style(spec, None), shapes_style(spec), raster_style(valued(name), (0.0, 1.0))):
        root = read(content)
        tags = {element.tag for element in root.iter()}
        assert tags.isdisjoint({"script", "img"})
    entries = read(raster_style(spec, None)).findall("pipe/rasterrenderer/colorPalette/paletteEntry")
    assert [entry.get("value") for entry in entries] == ["0", "1"]
    shown = entries[0].get("label")
    assert shown == name if name.isprintable() and "\ufffe" not in name else "\\" in shown


def test_the_same_layer_has_the_same_bytes():
    assert raster_style(classed(), None) == raster_style(classed(), None)
    assert shapes_style(classed()) == shapes_style(classed())
    assert raster_style(valued(), (0.1, 0.2)) != raster_style(valued(), (0.1, 0.3))


def test_files_and_assets_have_names_of_their_own():
    assert style_files(["class", "class_polygons"]) == {
        "class.qml": "class_style", "class_polygons.qml": "class_polygons_style",
    }  # fmt: skip
    # A layer that has the name of the asset keeps it.
    assert style_files(["class", "class_style"]) == {"class_style.qml": "class_style_style"}


def test_only_what_is_wanted_is_written(tmp_path):
    styles = [LayerStyle(spec=classed(), ends=None, tables=("class_polygons",)), LayerStyle(spec=valued(), ends=None)]
    assert write_styles(tmp_path, styles, {"class_polygons.qml", "height.qml", "other.qml"}) == (
        "class_polygons.qml",
        "height.qml",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"class_polygons.qml", "height.qml"}
    assert (tmp_path / "class_polygons.qml").read_bytes() == shapes_style(classed())
