"""Some objects are looked at as a listing of all would show them, and no others beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory import arrivals as arrivals_module
from tilewright.tasks.inventory.arrivals import Arrivals, ArrivedBlocks
from tilewright.tasks.inventory.listing import list_below, list_some
from tilewright.tasks.storage.ledger import BlockEntry
from tilewright.tasks.storage.storage import Storage, open_storage

if TYPE_CHECKING:
    from pathlib import Path

SIDE, N = 8, 12
"""Pixels of a block's side, and blocks along a side of the product."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    folder = tmp_path / "product"
    storage = open_storage(str(folder), create=True)
    for key in ("a/0/1", "a/0/2", "a/1/1"):
        storage.write(key, key.encode())
    (folder / "a" / "1" / "2#3").write_text("x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1").write_text("x")
    (folder / "a" / "2").symlink_to(elsewhere)
    (folder / "a" / "0" / "3").symlink_to(elsewhere / "1")
    (folder / "a" / "0" / "4").mkdir()
    return storage


@pytest.mark.parametrize(
    ("key", "is_object"),
    [
        ("a/0/1", True),
        ("a/1/1", True),
        ("a/2/1", True),  # through a link to a folder
        ("a/0/3", False),  # a link to a file
        ("a/0/4", False),
        ("a/0/9", False),
        ("a/0/1/1", False),
        ("b/0/1", False),
        ("a/1/2#3", False),  # not complete
    ],
)
def test_an_object_is_seen_as_in_a_listing_of_all(storage: Storage, key: str, is_object: bool) -> None:
    below = list_below(storage, "a")
    found = list_some(storage, [key, "a/0/2"])
    assert found == {name: below[name] for name in (key, "a/0/2") if name in below}
    assert (key in found) is is_object


def test_in_a_bucket_too(moto: str) -> None:
    import requests

    requests.put(f"{moto}/some", timeout=10).raise_for_status()
    keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1", "endpoint": moto}
    storage = open_storage("s3://some/product", options=keys)
    for key in ("a/0/1", "a/0/2", "a/1/1"):
        storage.write(key, key.encode())
    below = list_below(storage, "a")
    assert list_some(storage, ["a/0/1", "a/1/1", "a/1/9", "b/1/1"]) == {key: below[key] for key in ("a/0/1", "a/1/1")}


def test_blocks_that_come_are_looked_at_once_each_however_wide_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(str(tmp_path), create=True)
    places = [(row, col) for row in range(N) for col in range(N)]
    entries = [BlockEntry(row=row, col=col, key="", written=True) for row, col in places]
    arrivals = Arrivals.of([*places, (N, 0)], entries)
    for row, col in places:
        storage.write(f"blocks/class/c/{row}/{col}", b"x")
    looked: list[str] = []
    real = list_some
    monkeypatch.setattr(arrivals_module, "list_some", lambda at, keys: looked.extend(keys) or real(at, keys))
    blocks = ArrivedBlocks(
        storage=storage, arrivals=arrivals, prefix="blocks", folders=("class",), side=SIDE, first=(0, 0)
    )
    for row in range(0, N, 2):
        for col in range(0, N, 2):
            # Boxes of two by two blocks, each asked for twice, as by files and by smaller levels.
            box = PixelBox.at(row * SIDE, col * SIDE, shape=(2 * SIDE, 2 * SIDE))
            blocks.ready(box)
            blocks.ready(box)
    assert sorted(looked) == sorted(f"blocks/class/c/{row}/{col}" for row, col in places)
    assert blocks.changed() == []
    storage.write("blocks/class/c/3/3", b"other")
    assert blocks.changed() == ["blocks/class/c/3/3"]
