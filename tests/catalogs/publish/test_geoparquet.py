from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.published import JUNE, PRODUCT, VALUE, later
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.publish.geoparquet import EXCLUDED_PROPERTY, add_items, read_items, write_items
from tilewright.catalogs.publish.item import build_item, item_json
from tilewright.catalogs.publish.push import differences
from tilewright.catalogs.publish.validate import validate_item


def test_items_gather_in_a_geoparquet_table(tmp_path: Path, item: dict[str, Any]) -> None:
    table = tmp_path / "items.parquet"
    july = item_json(later(30, "july"))
    add_items(table, [july])
    add_items(table, [item])
    add_items(table, [july])
    found = read_items(table)
    assert [entry["id"] for entry in found] == ["danube-water", "july"]
    for entry, sent in zip(found, (item, july), strict=True):
        assert differences(sent, entry) == [f"properties/{EXCLUDED_PROPERTY}"]
    for entry in found:
        validate_item(entry)
    assert b"geo" in pq.read_schema(table).metadata


def test_items_of_different_shape_share_a_table(tmp_path: Path, item: dict[str, Any]) -> None:
    time = dataclasses.replace(PRODUCT.time, end=JUNE)
    bare = item_json(build_item(dataclasses.replace(PRODUCT, id="bare", layers=(VALUE,), files=(), time=time)))
    write_items(tmp_path / "items.parquet", [item, bare])
    found = {entry["id"]: entry for entry in read_items(tmp_path / "items.parquet")}
    assert differences(item, found["danube-water"]) == [f"properties/{EXCLUDED_PROPERTY}"]
    assert differences(bare, found["bare"]) == [f"properties/{EXCLUDED_PROPERTY}"]
    assert "class" not in found["bare"]["assets"]


def test_jobs_of_any_shape_share_a_table(tmp_path: Path) -> None:
    one = {"job": {"area": {"coordinates": [[[0.0, 1.0]]]}, "source": {"collections": {}}}}
    other = {"job": {"area": {"coordinates": [[[[0.0, 1.0]]]]}, "source": "earth-search"}}
    for name, expression in (("one", one), ("other", other)):
        provenance = dataclasses.replace(PRODUCT.provenance, expression=expression)
        made = build_item(dataclasses.replace(PRODUCT, id=name, provenance=provenance))
        add_items(tmp_path / "items.parquet", [item_json(made)])
    assert [entry["id"] for entry in read_items(tmp_path / "items.parquet")] == ["one", "other"]


def test_a_table_that_is_not_one_is_refused(tmp_path: Path, item: dict[str, Any]) -> None:
    (tmp_path / "items.parquet").write_bytes(b"not parquet")
    with pytest.raises(CatalogError, match=r"items\.parquet is not a stac-geoparquet table"):
        add_items(tmp_path / "items.parquet", [item])
    with pytest.raises(CatalogError, match="no item to write"):
        write_items(tmp_path / "none.parquet", [])
