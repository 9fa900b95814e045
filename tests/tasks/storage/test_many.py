"""Small objects of a product are asked for by many at a time, and answered in the order of their keys."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tilewright.tasks.storage.bucket import AHEAD, MANY, many_at_once
from tilewright.tasks.storage.documents import read_many
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path


def test_answers_keep_the_order_of_their_keys() -> None:
    keys = list(range(AHEAD + 10))
    assert list(many_at_once(lambda key: -key, keys)) == [-key for key in keys]


def test_as_many_as_said_are_under_way_together() -> None:
    gathered = threading.Barrier(MANY)

    def ask(key: int) -> int:
        gathered.wait(10)  # broken, and an error, if fewer are asked at a time
        return key

    assert list(many_at_once(ask, range(MANY))) == list(range(MANY))


def test_the_first_failure_in_order_is_raised() -> None:
    def ask(key: int) -> int:
        if key == 3:
            time.sleep(0.05)
        if key >= 3:
            raise ValueError(str(key))
        return key

    with pytest.raises(ValueError, match="^3$"):
        list(many_at_once(ask, range(20)))


@pytest.mark.parametrize("remote", [False, True])
def test_reads_and_removals_of_many(tmp_path: Path, moto: str, remote: bool) -> None:
    if remote:
        import requests

        requests.put(f"{moto}/many", timeout=10).raise_for_status()
        keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1", "endpoint": moto}
        storage = open_storage("s3://many/product", options=keys)
    else:
        storage = open_storage(str(tmp_path / "product"), create=True)
    for number in range(20):
        storage.write(f"a/{number}", str(number).encode())
    names = [f"a/{number}" for number in range(22)]
    assert list(read_many(storage, names)) == [*(str(number).encode() for number in range(20)), None, None]
    storage.delete(names[5:])
    assert sorted(storage.keys("a")) == sorted(names[:5])
