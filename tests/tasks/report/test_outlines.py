"""The shapes of tables on the page: the largest, as they are, in bounded bytes, whatever they are called."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from obstore.store import MemoryStore

from tests.support.report_pages import HOSTILE, REPORT, Page, assert_loads_nothing, solid
from tilewright.tasks.report.outlines import table as module
from tilewright.tasks.report.outlines.columns import OF_OTHERS, ClassColumn, enough_digits
from tilewright.tasks.report.outlines.paths import LONGEST_PATH, PictureFrame, path
from tilewright.tasks.report.outlines.payload import UNCLASSED, layer_of, payload, table_view
from tilewright.tasks.report.outlines.rows import MAX_DRAWN, MAX_LISTED, Largest
from tilewright.tasks.report.outlines.table import product_outlines, read_outlines
from tilewright.tasks.report.render import render_report, with_tables
from tilewright.tasks.storage.storage import Storage
from tilewright.tasks.tables.geoparquet import Rows, whole_table, write_geoparquet
from tilewright.tasks.vector.polygon_table import COLUMNS

FRAME = PictureFrame(bounds=(0, 0, 1000, 600), shape=(60, 100), shrunk=1)
"""A picture of pixels of 10 m: four parts of a pixel are 10 m."""


def write_table(file, geometries, *, names=None, group=1000, **columns):
    """A table like those of products, of rows of 10 m squares or of what is given."""
    n = len(geometries)
    areas = shapely.area(geometries)
    plain = {
        "id": np.arange(1, n + 1),
        "value": np.arange(n) % 2,
        "name": names or [("other", "water")[number % 2] for number in range(n)],
        "area_m2": areas,
        "perimeter_m": shapely.length(geometries),
        "touches_edge": np.zeros(n, dtype=bool),
        **columns,
    }
    kinds = {**COLUMNS, **{name: "double" for name in columns if name not in COLUMNS}}
    stored, bounds = shapely.to_wkb(np.asarray(geometries, dtype=object)), shapely.bounds(geometries).reshape(-1, 4)
    rows = (
        Rows(
            geometry=stored[start : start + group],
            bounds=bounds[start : start + group],
            columns={name: values[start : start + group] for name, values in plain.items()},
        )
        for start in range(0, max(n, 1), group)
    )
    write_geoparquet(file, rows, columns=kinds, crs="EPSG:32633", kinds=("Polygon",), bounds=np.full(4, np.nan))
    return file


def squares(*sides, left=0.0, top=600.0):
    """Squares beside each other, along the upper edge of the picture."""
    lefts = left + np.concatenate([[0], np.cumsum(np.asarray(sides) + 10.0)[:-1]])
    return shapely.box(lefts, top - np.asarray(sides), lefts + sides, top)


def read(file, frame=FRAME, **options):
    return read_outlines(file, "class_polygons", frame, **options)


def page(*tables):
    html = render_report(REPORT, maps={"class": solid((31, 111, 181, 255))}, tables=tables)
    return html, Page(html)


def viewer(found):
    return json.loads(next(text for attributes, text in found.scripts if attributes.get("type") == "application/json"))


@pytest.mark.parametrize(
    ("geometry", "wanted"),
    [
        (shapely.box(0, 0, 40, 40), {"M40 0v40h-40v-40z"}),
        (shapely.Polygon([(0, 0), (4, 0), (8, 0), (8, 4), (0, 4)]), {"M0 0h8v4h-8z", "M0 4v-4h8v4z"}),
        (shapely.Polygon([(0, 0), (8, 3), (0, 6)]), {"M0 0l8 3l-8 3z"}),
        (shapely.box(0, 0, 0.3, 0.3), {""}),
        (shapely.Point(3, 3), {""}),
        (shapely.Polygon(), {""}),
    ],
    ids=["a box", "a point on a straight line", "a triangle", "nothing left of it", "a point", "empty"],
)
def test_a_path_has_the_corners_alone(geometry, wanted):
    assert path(geometry, step=1) in wanted


def rings_of(text):
    """The rings of a path, as a drawing program would follow it."""
    rings = []
    for piece in text.split("z")[:-1]:
        x = y = 0
        places = []
        for word, numbers in re.findall(r"([Mhvl])([-\d ]+)", piece):
            values = [int(each) for each in re.findall(r"-?\d+", numbers)]
            x, y = {
                "M": lambda v: (v[0], v[1]), "h": lambda v, x=x, y=y: (x + v[0], y),
                "v": lambda v, x=x, y=y: (x, y + v[0]), "l": lambda v, x=x, y=y: (x + v[0], y + v[1]),
            }[word](values)  # fmt: skip
            places.append((x, y))
        rings.append(places)
    return rings


def test_holes_and_parts_are_rings_of_their_own_and_a_drawn_shape_is_the_shape():
    donut = shapely.Polygon(shapely.box(0, 0, 12, 12).exterior, [shapely.box(4, 4, 8, 8).exterior])
    stairs = shapely.union_all([shapely.box(20 + 4 * n, 4 * n, 24 + 4 * n, 4 * n + 8) for n in range(9)])
    both = shapely.MultiPolygon([donut, stairs])
    outer, hole, other = (shapely.Polygon(ring) for ring in rings_of(path(both, step=1)))
    assert outer.difference(hole).equals(donut)
    assert other.equals(stairs)


def test_a_path_that_is_too_long_is_coarser_and_still_where_the_shape_is():
    teeth = np.arange(60_000) * 4.0
    comb = np.stack([np.repeat(teeth, 2), np.tile([0.0, 8.0, 8.0, 0.0], 30_000)], axis=1)
    shape = shapely.Polygon([*comb, (teeth[-1], 400), (0, 400)])
    text = path(shape, step=1)
    assert 0 < len(text) <= LONGEST_PATH
    drawn = shapely.Polygon(rings_of(text)[0])
    assert shapely.area(drawn) == pytest.approx(shapely.area(shape), rel=0.05)


def test_the_largest_are_listed_first_and_drawn_where_they_lie(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", squares(20, 50, 30, 50)))
    assert (found.n_rows, found.n_drawn, found.ranked_by) == (4, 4, "area")
    # Two of one size stand in the order of the table.
    assert [row.number for row in found.listed] == [2, 4, 3, 1]
    assert found.listed[0].cells == ("water", 2500.0, 200.0, False)
    second = found.shapes[0]
    assert (second.number, second.box) == (2, (12, 0, 32, 20))
    assert shapely.Polygon(rings_of(second.path)[0]).equals(shapely.box(12, 0, 32, 20))


def of_others(file, classes, **columns):
    points = shapely.points([[105, 595], [205, 595], [305, 595]])
    rows = Rows(
        geometry=shapely.to_wkb(points),
        bounds=shapely.bounds(points),
        columns={"value": [7.5, 8.5, 9.5], "name": ["pt 1", "pt 2", "pt 3"], "class": np.array([2, 4, 2]), **columns},
    )
    kinds = {"value": "double", "name": "string", "class": "int64", **dict.fromkeys(columns, "double")}
    write_geoparquet(file, [rows], columns=kinds, crs="EPSG:32633", kinds=("Point",), bounds=np.full(4, np.nan))
    return read_outlines(file, "places", FRAME, classes=classes)


def test_the_columns_of_others_are_theirs_and_the_class_is_that_of_the_layer(tmp_path):
    told = ClassColumn(value="class", name="", names={2: "water", 4: "forest"}, layer="class")
    found = of_others(tmp_path / "p.parquet", told, lon=[15.0003, 15.0101, 15.0205])
    assert [column.title for column in found.columns] == ["Class", "value", "name", "lon"]
    assert [row.cells for row in found.listed] == [
        ("water", 7.5, "pt 1", 15.0003), ("forest", 8.5, "pt 2", 15.0101), ("water", 9.5, "pt 3", 15.0205),
    ]  # fmt: skip
    assert [shape.name for shape in found.shapes] == ["water", "forest", "water"]
    view = table_view(found, {"class": {"2": "#2e86de", "4": "#117733"}})
    assert [view.colour(row) for row in found.listed] == ["#2e86de", "#117733", "#2e86de"]
    html, _ = page(found)
    assert "15.0003</td>" in html
    assert "15.0101</td>" in html
    plain = of_others(tmp_path / "z.parquet", OF_OTHERS)
    assert [column.title for column in plain.columns] == ["value", "name", "class"]
    assert {column.kind for column in plain.columns} == {"number", "text"}
    assert {row.value for row in plain.listed} == {None}


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        ([], 3), ([15.0, None], 3), ([15.0, 15.0], 3), ([15.01, 15.09], 6), ([1, 2, 3], 3), ([-180.0, 180.0], 3),
        ([1.0, 1.0 + 1e-15], 12), ([0.001, 0.0011], 4), ([float("nan"), 5.0], 3), ([-1.7e308, 1.7e308], 3),
        ([533_001, 533_101], 6),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_have_the_digits_by_which_they_differ(values, digits):
    assert enough_digits(values) == digits


def test_groups_of_rows_are_read_one_by_one_and_the_result_is_that_of_one(tmp_path):
    shapes = squares(*np.random.default_rng(3).permutation(np.arange(1, 900)))
    whole = read(write_table(tmp_path / "one.parquet", shapes, group=1000))
    assert read(write_table(tmp_path / "many.parquet", shapes, group=7)) == whole
    assert len(whole.listed) == MAX_LISTED
    areas = [row.cells[1] for row in whole.listed]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] == 899.0**2


def test_no_more_than_the_largest_are_drawn_and_the_page_stays_small(tmp_path):
    n = 30_000
    random = np.random.default_rng(5)
    left, low, side = random.uniform(0, 900, n), random.uniform(0, 500, n), random.uniform(10, 60, n)
    found = read(write_table(tmp_path / "t.parquet", shapely.box(left, low, left + side, low + side)))
    assert found.n_rows == n
    assert found.n_drawn == MAX_DRAWN
    assert {shape.number for shape in found.shapes} == set((np.argsort(-side, kind="stable")[:MAX_DRAWN] + 1).tolist())
    html, _ = page(found)
    assert len(html) < 1_000_000
    text = Page(html).text
    assert "30 000 rows; the 200 largest are listed" in text
    assert "4 000 of 30 000 are drawn, the largest that the picture can show" in text


def test_what_is_smaller_than_a_pixel_of_the_picture_is_listed_and_not_drawn(tmp_path):
    small = PictureFrame(bounds=(0, 0, 1000, 600), shape=(6, 10), shrunk=10)
    found = read(write_table(tmp_path / "t.parquet", squares(400, 60, 300)), small)
    assert [(shape.number, bool(shape.path)) for shape in found.shapes] == [(1, True), (3, True), (2, False)]
    assert found.n_drawn == 2
    # Its place is known all the same: a click leads there.
    assert found.shapes[2].box == (16, 0, 19, 3)


def test_a_coarse_picture_gets_few_corners_that_stay_within_a_pixel(tmp_path):
    stairs = shapely.union_all([shapely.box(10 * n, 5 * n, 10 * n + 10, 5 * n + 100) for n in range(80)])
    file = write_table(tmp_path / "t.parquet", [stairs])
    fine, coarse = read(file), read(file, PictureFrame(bounds=(0, 0, 1000, 600), shape=(15, 25), shrunk=4))
    assert shapely.Polygon(rings_of(fine.shapes[0].path)[0]).area == stairs.area / 2.5**2
    corners = rings_of(coarse.shapes[0].path)[0]
    assert 4 < len(corners) < len(rings_of(fine.shapes[0].path)[0]) / 3
    drawn = shapely.transform(shapely.Polygon(corners), lambda places: places * [10, -10] + [0, 600])
    # Half a pixel of 40 m.
    assert shapely.hausdorff_distance(drawn, stairs) <= 20


def test_letters_are_bounded_and_what_is_listed_keeps_its_place(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", squares(50, 40, 30, 20)), letters=40)
    assert sum(len(shape.path) for shape in found.shapes) <= 40
    assert found.n_drawn == 2
    assert [shape.number for shape in found.shapes] == [1, 2, 3, 4]


def test_a_table_with_scores_is_ranked_by_them_and_drawn_by_size(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", squares(50, 20, 30), score=np.array([0.2, np.nan, 0.9])))
    assert found.ranked_by == "score"
    assert [row.number for row in found.listed] == [3, 1, 2]
    assert [shape.number for shape in found.shapes] == [1, 3, 2]
    assert [column.title for column in found.columns][:2] == ["Class", "Score"]


def test_a_table_of_other_columns_is_ranked_by_its_boxes_and_rows_without_a_geometry_are_listed(tmp_path):
    shapes = [shapely.box(0, 0, 50, 50), None, shapely.box(100, 100, 300, 300), shapely.Point(5, 5)]
    table = pa.table(
        {
            "geometry": [shapely.to_wkb(each) for each in shapes],
            "bbox": [
                dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) if box else None
                for box in ((0, 0, 50, 50), None, (100, 100, 300, 300), (5, 5, 5, 5))
            ],
            "owner": ["a" * 500, None, "b", "c"],
            "height": [1.5, None, 3.0, math.nan],
            "blob": [b"x"] * 4,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert [column.name for column in found.columns] == ["owner", "height"]
    assert [row.number for row in found.listed] == [3, 1, 4, 2]
    assert found.listed[1].cells == ("a" * 60, 1.5)
    assert [shape.number for shape in found.shapes] == [3, 1, 4]
    assert found.n_drawn == 2
    _, shown = page(found)
    assert "owner" in shown.text


def test_an_empty_table_says_so(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", np.zeros(0, dtype=object)))
    assert (found.n_rows, found.n_drawn, found.listed, found.shapes) == (0, 0, (), ())
    _, shown = page(found)
    assert "The table has no rows." in shown.text


def test_names_of_others_stay_text_and_the_page_loads_nothing(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", squares(50, 40), names=[HOSTILE, "</script>\u202e\x00"]))
    html, shown = page(found)
    assert_loads_nothing(shown)
    assert not [attributes for tag, attributes in shown.tags if tag == "img" and "evil" in str(attributes)]
    assert len(shown.scripts) == 2
    kinds = viewer(shown)["tables"][0]["kinds"]
    assert kinds == [["d8d2c2", HOSTILE[:60]], ["1f6fb5", "</script>\\u202e\\x00"]]
    assert "\u202e" not in html
    for tag, attributes in shown.tags:
        if "aria-label" in attributes and tag == "button":
            assert "script" not in (attributes["aria-label"] or "")


def test_shapes_have_the_colours_of_their_layer_or_their_own(tmp_path):
    found = read(write_table(tmp_path / "t.parquet", squares(50, 40)))
    own = table_view(found, {"class": {"0": "#112233", "1": "#445566"}, "clas": {"0": "#ffffff"}})
    assert own.colours == {0: "#112233", 1: "#445566"}
    assert len(set(table_view(found, {"other": {"0": "#112233"}}).colours.values())) == 2
    assert payload([own])[0]["kinds"] == [["112233", "other"], ["445566", "water"]]


@pytest.mark.parametrize(
    ("table", "layers", "layer"),
    [
        ("class_polygons", ["class", "class_2"], "class"),
        ("class_2_polygons", ["class", "class_2"], "class_2"),
        ("classes", ["class"], ""),
        ("fields", ["fields"], "fields"),
    ],
)
def test_a_table_belongs_to_the_layer_whose_name_it_begins_with(table, layers, layer):
    assert layer_of(table, layers) == layer


def test_every_row_can_be_reached_by_keys_and_the_page_says_how_it_is_sorted(tmp_path):
    _, shown = page(read(write_table(tmp_path / "t.parquet", squares(50, 40, 30))))
    picks = [each for each in shown.all("button") if each.get("class") == "pick"]
    assert [each["aria-label"] for each in picks] == [f"Show number {n} on the map" for n in (1, 2, 3)]
    assert [each["aria-sort"] for each in shown.all("th") if "aria-sort" in each].count("descending") == 1
    assert [each for each in shown.all("input") if "data-outlines" in each]
    assert shown.all("canvas")
    assert "2 500 m²" in shown.text


def zone_table(file, **columns):
    shapes = squares(50, 40)
    table = pa.table({**columns})
    pq.write_table(whole_table(table, shapes, crs="EPSG:32633"), file)
    return file


def test_zones_are_listed_with_their_areas_and_what_was_observed(tmp_path):
    figures = {f"class_{name}{unit}": [0.5, 0.25] for name in "abcd" for unit in ("", "_m2")}
    found = read(zone_table(tmp_path / "t.parquet", id=[1, 2], crop=["x", "y"], **figures, observed=[1.0, 0.5]))
    assert [(each.title, each.kind) for each in found.columns] == [
        *(("crop", "text"), ("class a", "number"), ("class a area", "area"), ("class b", "number")),
        *(("class b area", "area"), ("class c", "number"), ("Observed", "number")),
    ]
    _, shown = page(found)
    assert [each["aria-sort"] for each in shown.all("th") if "aria-sort" in each].count("descending") == 0


def test_columns_of_others_that_are_called_as_ours_are_what_they_hold(tmp_path):
    n = 300
    table = pa.table({"id": [number % 7 for number in range(n)], "value": range(n), "name": range(n),
                      "area_m2": ["x"] * n, "score": pa.nulls(n), "touches_edge": [1.5] * n, "observed": ["no"] * n,
                      "perimeter_m": [None] * n})  # fmt: skip
    shapes = [shapely.box(10 * (at % 50), 10 * (at // 50), 10 * (at % 50) + 9, 10 * (at // 50) + 9) for at in range(n)]
    pq.write_table(whole_table(table, np.array(shapes), crs="EPSG:32633"), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    kinds = {each.name: each.kind for each in found.columns}
    assert kinds == {"name": "number", "area_m2": "text", "touches_edge": "number", "observed": "text"}
    assert (found.ranked_by, found.sorted_by) == ("area", "bbox")
    assert sorted(shape.number for shape in found.shapes) == [*range(1, n + 1)], "ids that are alike are no numbers"
    assert {*table_view(found, {}).colours.values()} == {UNCLASSED}
    page(found)


def test_columns_of_fiboa_are_hectares_there_alone(tmp_path):
    given = zone_table(tmp_path / "t.parquet", id=["a", "b"], area=[2.5, None], perimeter=[10.0, 20.0])
    assert [each.kind for each in read(given).columns] == ["number", "number"], "of somebody else"
    table = pq.read_table(given)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, "fiboa": "{}"}), given)
    found = read(given)
    assert [each.kind for each in found.columns] == ["hectares", "length"]
    assert [row.number for row in found.listed] == [2, 1], "no number is that of the largest"
    assert [shape.area for shape in found.shapes if shape.number == 1] == [25_000]
    _, shown = page(found)
    assert "2.5 ha" in " ".join(shown.text.split())


def test_a_page_without_tables_is_as_it_was():
    html, shown = page()
    assert not shown.all("canvas")
    assert ".shape-told" not in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    assert viewer(shown)["tables"] == []


@pytest.mark.parametrize("name", ["t", "class_polygons", HOSTILE, "<!--tables-rows-->"])
def test_tables_put_into_a_page_make_the_page_that_is_rendered_with_them(tmp_path, name):
    first = read(write_table(tmp_path / "t.parquet", squares(50, 40, 30)))
    second = replace(read(write_table(tmp_path / "u.parquet", squares(20, 80), names=[name, "b"])), name=name)
    told = [{"name": each.name, "file": f"{each.name}.parquet", "rows": each.n_rows} for each in (first, second)]
    maps = {"class": solid((1, 2, 3, 255), (60, 100))}
    for pictures in (maps, {}):
        whole = render_report({**REPORT, "tables": told}, maps=pictures, tables=[first, second])
        for known, tables in (([], []), (told[:1], [first]), (told, [second, first])):
            page = render_report({**REPORT, "tables": known}, maps=pictures, tables=tables)
            assert with_tables(page, {**REPORT, "tables": told}, [first, second]) == whole
    assert with_tables(whole.replace("<!--/tables-files-->", ""), REPORT, []) is None
    assert with_tables(whole.replace('"crs"', "crs"), REPORT, []) is None
    assert with_tables("", REPORT, []) is None


@pytest.mark.parametrize("bad", [b"", b"PAR1 no table PAR1", b"\x00" * 4000])
def test_a_file_that_is_no_table_is_an_error_of_its_kind(tmp_path, bad):
    (tmp_path / "t.parquet").write_bytes(bad)
    with pytest.raises((OSError, ValueError)):
        read(tmp_path / "t.parquet")


def test_a_table_in_a_bucket_is_fetched_and_its_copy_goes(tmp_path):
    content = write_table(tmp_path / "t.parquet", squares(50, 40)).read_bytes()
    storage = Storage(uri="s3://bucket/x", root=MemoryStore())
    storage.write("class_polygons.parquet", content)
    folder = tmp_path / "staging"
    folder.mkdir()
    assert product_outlines(storage, ["class_polygons.parquet"], FRAME, folder=folder) == (
        read(tmp_path / "t.parquet", letters=module.MAX_PATHS),
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 3, 10, 1000])
def test_the_largest_numbers_are_the_same_however_they_come(cut):
    values = np.array([3.0, np.nan, 7, 7, -np.inf, 2, 9, 7, 0, 9])
    largest = Largest(5)
    for start in range(0, len(values), cut):
        largest.add(values[start : start + cut])
    assert largest.places.tolist() == [6, 9, 2, 3, 7]
