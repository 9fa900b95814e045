"""Files of the cache: complete under concurrent writers, and in a process folder if the cache is not writable."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tilewright.models import cache
from tilewright.models.cache import find_cached, write_cached


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
    monkeypatch.setattr(cache, "_process_folder", lambda: tmp_path / "cache")
    with pytest.raises(OSError, match="cache"):
        write_cached(tmp_path / "cache" / "graph.onnx", b"content")
