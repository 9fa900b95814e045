"""Rows of a stac-geoparquet file that lack what every item has: found by what they do have, or left out by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_catalogs import BOTH, item, names
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
