"""Which keys of an output are the product's own."""

from __future__ import annotations

import json

import pytest

from tilewright.tasks.inventory.record import (
    RECORD,
    ProductRecord,
    read_product_record,
    remove_recorded,
    write_product_record,
)
from tilewright.tasks.storage.storage import open_storage

OURS = ProductRecord(files=frozenset({"class.tif", "item.json"}), layers=frozenset({"class"}), ids=frozenset({"one"}))


@pytest.mark.parametrize(
    "key",
    [
        "class.tif",
        "class.tif#12",
        "data.zarr/zarr.json",
        "data.zarr/.zmetadata",
        "data.zarr/class/c/0/11",
        "data.zarr/class/0.11",
        "data.zarr/class/c/0/0#3",
        "data.zarr/overviews/zarr.json",
        "data.zarr/overviews/16/class/c/0/0",
        "data.zarr/overviews/16/x_16/c/0",
        "data.zarr/time/c",
        ".tilewright/plan.json",
        ".tilewright/ledger/-3_12.json",
        ".tilewright/cogs/class.tif.json",
        ".tilewright/pyramid/observations.json",
        ".tilewright/blocks.zarr/class/c/0/0",
        ".tilewright/.secrets.json.99",
    ],
)
def test_what_a_product_writes_is_its_own(key):
    assert OURS.holds(key)


@pytest.mark.parametrize(
    "key",
    [
        "other.tif",
        "class_mine.tif",
        "class.tif/x",
        "sub/class.tif",
        "notes#12",
        "data.zarr",
        "data.zarr/notes.txt",
        "data.zarr/7",
        "data.zarr/mine/zarr.json",
        "data.zarr/class/notes.txt",
        "data.zarr/class/c/x",
        "data.zarr/overviews/mine/zarr.json",
        "data.zarr2/zarr.json",
        ".tilewright/notes.txt",
        ".tilewright/lock.json",
        ".tilewright/ledger/mine.json",
        ".tilewright/cogs/roads.tif.json",
        ".tilewright/pyramid/roads.json",
        "",
    ],
)
def test_what_has_another_name_is_not(key):
    assert not OURS.holds(key)


def test_a_record_reads_back_and_a_damaged_one_is_none(tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    assert read_product_record(storage) is None
    write_product_record(storage, OURS)
    assert read_product_record(storage) == OURS
    good = json.loads(storage.read(RECORD) or b"")
    for damage in ({"format": 9}, {"files": 3}, {"files": [1]}, {"layers": None}, {"ids": {}}):
        storage.write_json(RECORD, {**good, **damage})
        assert read_product_record(storage) is None
    storage.write_json(RECORD, {**good, "files": ["a.tif", "../b.tif", "/c.tif", "..", ".tilewright", "d\\e"]})
    found = read_product_record(storage)
    assert found is not None
    assert found.files == {"a.tif"}


def test_nothing_is_removed_through_a_link_and_a_folder_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "3_4.json").write_text("{}")
    output = tmp_path / "out"
    storage = open_storage(str(output), create=True)
    (output / ".tilewright").mkdir()
    (output / ".tilewright" / "ledger").symlink_to(tmp_path / "elsewhere")
    (output / "class.tif").mkdir()
    (output / "item.json").symlink_to(tmp_path / "elsewhere" / "3_4.json")
    remove_recorded(storage, OURS, [".tilewright/ledger/3_4.json", "class.tif", "item.json", "theirs.txt"])
    assert (tmp_path / "elsewhere" / "3_4.json").exists()
    assert (output / "class.tif").is_dir()
    assert not (output / "item.json").is_symlink()
