from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tilewright.tasks.storage.ledger import (
    ENTRIES,
    BlockEntry,
    freeze_plan,
    json_digest,
    read_entries,
    read_failures,
    read_plan,
    remove_entries,
    write_entry,
    write_failures,
)
from tilewright.tasks.storage.storage import open_storage

ENTRY = BlockEntry(row=-3, col=7, key="k", written=True, checksums={"class": "c"}, scenes=("a", "b"))


@pytest.fixture
def storage(tmp_path):
    return open_storage(str(tmp_path), create=True)


def test_an_entry_comes_back_as_it_was_under_its_block_name(storage):
    write_entry(storage, ENTRY)
    assert read_entries(storage) == {"-3_7": ENTRY}
    assert [key.rsplit("/", 1)[-1] for key in storage.keys(ENTRIES)] == ["-3_7.json"]
    remove_entries(storage, ["-3_7"])
    assert read_entries(storage) == {}


def test_of_two_workers_with_one_block_the_first_stays_and_a_new_key_replaces(storage):
    write_entry(storage, ENTRY)
    write_entry(storage, BlockEntry(row=-3, col=7, key="k", written=True, windows_run=99))
    assert read_entries(storage)["-3_7"].windows_run == 0
    write_entry(storage, BlockEntry(row=-3, col=7, key="new", written=True, windows_run=99))
    assert read_entries(storage)["-3_7"].windows_run == 99


def test_a_broken_entry_is_left_out(storage):
    storage.write(f"{ENTRIES}/1_1.json", b"{")
    storage.write(f"{ENTRIES}/1_2.json", b'{"row": 1}')
    storage.write(f"{ENTRIES}/.1_3.json", b"{}")
    assert read_entries(storage) == {}


SUMS = [
    ("not a mapping", [[1, 2, 3, 0, 0]]),
    ("no list of bands", {"x": 5}),
    ("no band", {"x": [None]}),
    ("too few numbers", {"x": [[1, 2, 3]]}),
    ("a fraction", {"x": [[1, 2.5, 3, 0, 0]]}),
    ("a text", {"x": [["1", 2, 3, 0, 0]]}),
    ("a negative count", {"x": [[-1, 2, 3, 0, 0]]}),
    ("a truth value for a count", {"x": [[True, 2, 3, 0, 0]]}),
    ("a number of any length", {"x": [[1, 10**60, 3, 0, 0]]}),
    ("a count beyond all pixels", {"x": [[2**60, 1, 1, 0, 0]]}),
]


@pytest.mark.parametrize("sums", [pytest.param(sums, id=name) for name, sums in SUMS])
def test_an_entry_with_sums_that_are_none_is_left_out(storage, sums):
    whole = {"x": [[10, -(2**70), 2**130, 0, 3], []]}
    write_entry(storage, replace(ENTRY, sums=whole))
    assert read_entries(storage)["-3_7"].sums == whole
    plain = {**ENTRY.to_json(), "sums": sums}
    storage.write(f"{ENTRIES}/-3_7.json", json.dumps(plain).encode())
    assert read_entries(storage) == {}


def test_the_first_plan_is_kept(storage):
    assert read_plan(storage) is None
    plan = {"format": 1, "name": "a", "request": {}, "versions": {}, "layers": [], "blocks": []}
    assert freeze_plan(storage, plan)
    assert not freeze_plan(storage, {**plan, "name": "b"})
    assert read_plan(storage) == plan


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert json_digest({"a": 1, "b": [1, 2]}) == json_digest({"b": [1, 2], "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})


def test_failures_come_back_in_order(storage):
    failures = [{"item": "b", "reason": "404"}, {"item": "a", "reason": "cut"}]
    write_failures(storage, failures)
    assert list(read_failures(storage)) == failures
