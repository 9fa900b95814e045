"""Rows of a stac-geoparquet file that lack what every item has: found by what they do have, or left out by name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box

from tests.support.small_catalogs import BOTH, item, links, names, search, write
from tilewright.catalogs.search import Found, search_items
from tilewright.catalogs.sources.registry import resolve_source

SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 46], [10, 45]]]}


def with_null(column: str, path: Path) -> Found:
    """The search of four items, the second of which has null in a column."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet
    import stac_geoparquet.arrow as sga

    items: list[dict[str, Any]] = [{**item(f"i{n}", n + 1), "geometry": SQUARE} for n in range(4)]
    table = sga.parse_stac_items_to_arrow(items)
    table = table.read_all() if hasattr(table, "read_all") else pa.table(table)
    stored = table[column].combine_chunks()
    plain = stored.storage if hasattr(stored, "storage") else stored
    values = [None if n == 1 else value for n, value in enumerate(plain.to_pylist())]
    changed = pa.array(values, plain.type)
    if hasattr(stored, "storage"):
        changed = pa.ExtensionArray.from_storage(stored.type, changed)
    field = table.schema.field(column).with_nullable(True)
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index(column), field, changed), path)
    question: dict[str, Any] = {"collection": "sentinel-2-l2a", "aoi": BOTH, "start": None, "end": None}
    return search_items(resolve_source(str(path)), **question, bands=["red"])


@pytest.mark.parametrize("column", ["geometry", "bbox"])
def test_either_a_geometry_or_a_box_is_enough(column: str, tmp_path: Path) -> None:
    found = with_null(column, tmp_path / "x.parquet")
    assert names(found.scenes) == ["i0", "i1", "i2", "i3"]
    assert {scene.bbox for scene in found.scenes} == {(10.0, 45.0, 11.0, 46.0)}


@pytest.mark.parametrize(
    ("column", "name", "reason"),
    [("datetime", "i1", "datetime"), ("id", "(no id)", "no id"), ("assets", "i1", "")],
)
def test_a_row_without_the_rest_leaves_the_others(column: str, name: str, reason: str, tmp_path: Path) -> None:
    found = with_null(column, tmp_path / "x.parquet")
    assert names(found.scenes) == ["i0", "i2", "i3"]
    if column == "assets":
        assert found.counts() == {"without any of the bands": 1, "kept": 3}
    else:
        assert [entry.item for entry in found.left_out] == [name]
        assert reason in found.left_out[0].reason


def rewritten(items: list[dict[str, Any]], path: Path, change: Any = None) -> str:
    """The items as a stac-geoparquet file, its column `datetime` as `change` makes it."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet
    import stac_geoparquet.arrow as sga

    table = sga.parse_stac_items_to_arrow(items)
    table = table.read_all() if hasattr(table, "read_all") else pa.table(table)
    if change is not None:
        position = table.schema.get_field_index("datetime")
        table = table.set_column(position, "datetime", change(pa, table["datetime"]))
    pyarrow.parquet.write_table(table, path)
    return str(path)


def in_zone(unit: str, zone: str | None) -> Any:
    def change(pa: Any, column: Any) -> Any:
        # A column without a zone holds the numbers of UTC.
        utc = column.cast(pa.timestamp(unit, "UTC"))
        return utc.cast(pa.timestamp(unit, zone))

    return change


def as_text(pa: Any, column: Any) -> Any:
    return pa.array([moment.isoformat().replace("+00:00", "Z") for moment in column.to_pylist()])


@pytest.mark.parametrize(
    "change",
    [
        in_zone("us", "Europe/Vienna"),
        in_zone("ms", "America/Los_Angeles"),
        in_zone("s", "Asia/Kolkata"),
        in_zone("ns", "+05:30"),
        in_zone("us", "Etc/UTC"),
        in_zone("ms", None),
        in_zone("s", "UTC"),
        as_text,
    ],
)
def test_moments_are_the_same_in_whatever_zone_or_unit_a_column_holds_them(change: Any, tmp_path: Path) -> None:
    """Two lie on the ends of the period, two a second beyond them."""
    moments = ["2020-05-31T23:59:59Z", "2020-06-01T00:00:00Z", "2020-06-30T23:59:59Z", "2020-07-01T00:00:00Z"]
    items = [{**item(f"i{n}", 1, datetime=moment), "geometry": SQUARE} for n, moment in enumerate(moments)]
    path = rewritten(items, tmp_path / "x.parquet", change)
    question: dict[str, Any] = {"collection": "sentinel-2-l2a", "aoi": BOTH, "bands": ["red"]}
    period = {"start": datetime(2020, 6, 1, tzinfo=UTC), "end": datetime(2020, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)}
    found = search_items(resolve_source(path), **question, **period)
    assert [(scene.id, scene.datetime.isoformat()) for scene in found.scenes] == [
        ("i1", "2020-06-01T00:00:00+00:00"),
        ("i2", "2020-06-30T23:59:59+00:00"),
    ]
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("west", "east", "place"),
    [
        (180.5, 181.5, -179.0),
        (179.5, 181.5, -179.0),
        (179.5, 181.5, 179.8),
        (-180.5, -179.5, 179.8),
        (-182.0, -181.0, 178.5),
        (350.0, 351.0, -9.5),
        (179.5, -178.5, -179.0),
        (10.0, 11.0, 10.5),
    ],
)
def test_longitudes_may_be_counted_from_0_to_360(west: float, east: float, place: float, tmp_path: Path) -> None:
    """From a table and from a collection's extent alike; a place on the other side of the world is not in it."""
    outer = east + 360 if west > east else east
    ring = [[west, 45], [outer, 45], [outer, 46], [west, 46], [west, 45]]
    entry = {**item("i", 1), "bbox": [west, 45, east, 46], "geometry": {"type": "Polygon", "coordinates": [ring]}}
    table = rewritten([entry], tmp_path / "x.parquet")
    extent = {"spatial": {"bbox": [[west, 45, east, 46]]}, "temporal": {"interval": [[None, None]]}}
    tree = {"type": "Collection", "id": "sentinel-2-l2a", "extent": extent, "links": links("i.json")}
    write(tmp_path / "i.json", entry)
    for source in (table, write(tmp_path / "collection.json", tree)):
        assert names(search(source, aoi=box(place, 45.2, place + 0.1, 45.3))) == ["i"]
        assert names(search(source, aoi=box(place / 2, 45.2, place / 2 + 0.1, 45.3))) == []
