"""Files of the cache: complete under concurrent writers, and in a process folder if the cache is not writable."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tilewright.models import cache
from tilewright.models.cache import find_cached, read_kept, write_cached, write_kept

if TYPE_CHECKING:
    from collections.abc import Callable


def test_what_is_kept_is_found_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "graph.onnx"
    assert find_cached(path) is None
    assert write_cached(path, b"content") == path
    assert find_cached(path) == path
    assert [each.name for each in path.parent.iterdir()] == ["graph.onnx"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    content = bytes(2**20)
    writers = [threading.Thread(target=write_cached, args=(path, content)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_where_the_cache_cannot_be_written_it_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    path = tmp_path / "cache" / "graph.onnx"
    kept = write_cached(path, b"content")
    assert kept != path
    assert kept.read_bytes() == b"content"
    assert find_cached(path) == kept


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setattr(cache, "process_folder", lambda: tmp_path / "cache")
    with pytest.raises(OSError, match="cache"):
        write_cached(tmp_path / "cache" / "graph.onnx", b"content")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"", lambda content: content[:-5], lambda content: content.replace(b"40", b"48"),
        lambda content: b'{"radius": 40}', lambda content: b"[]", lambda content: b"7", lambda content: b"[" * 90_000,
        lambda content: b"\xff" + content, lambda content: content.replace(b"sha256", b"sha512"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_as_it_was_written_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "deep" / "facts.json"
    assert read_kept(path) is None
    write_kept(path, {"radius": 40, "reason": "é", "seen": [0.1, None]})
    assert read_kept(path) == {"radius": 40, "reason": "é", "seen": [0.1, None]}
    path.write_bytes(damage(path.read_bytes()))
    assert read_kept(path) is None


def test_the_value_of_another_name_is_none(tmp_path: Path) -> None:
    write_kept(tmp_path / "one.json", {"radius": 1})
    (tmp_path / "one.json").rename(tmp_path / "two.json")
    assert read_kept(tmp_path / "two.json") is None
