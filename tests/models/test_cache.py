"""Files of the cache: whole whoever writes them at once, and in a place of the process's own where there is none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tilewright.models import cache as keeping
from tilewright.models.cache import find, keep


def test_what_is_kept_is_found_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "graph.onnx"
    assert find(path) is None
    assert keep(path, b"content") == path
    assert find(path) == path
    assert [each.name for each in path.parent.iterdir()] == ["graph.onnx"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    content = bytes(2**20)
    writers = [threading.Thread(target=keep, args=(path, content)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_where_the_cache_cannot_be_written_it_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    path = tmp_path / "cache" / "graph.onnx"
    kept = keep(path, b"content")
    assert kept != path
    assert kept.read_bytes() == b"content"
    assert find(path) == kept


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setattr(keeping, "_own_folder", lambda: tmp_path / "cache")
    with pytest.raises(OSError, match="cache"):
        keep(tmp_path / "cache" / "graph.onnx", b"content")
