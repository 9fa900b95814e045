"""What a run asks of its scenes and of its storage does not grow with its blocks where it need not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tilewright.flows.run import inputs
from tilewright.flows.run.inputs import ChangedInputsError, check_inputs_stood
from tilewright.flows.runners import shard_runs
from tilewright.tasks.storage.documents import read_many
from tilewright.tasks.storage.ledger import BlockEntry, read_entries, write_entry
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Scenes(list[Any]):
    """Scenes of one file each, `s0` with `s0.tif`, that count how often somebody goes through them."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        self.looks += 1
        return super().__iter__()


def entry(col: int, *, key: str = "new") -> BlockEntry:
    return BlockEntry(row=0, col=col, key=key, written=True, scenes=(f"s{col % 7}",))


def looks_for(n_blocks: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the scenes are gone through to find the blocks of two files that changed."""
    storage = open_storage(str(folder), create=True)
    done = {each.name: each for each in map(entry, range(n_blocks))}
    for each in done.values():
        write_entry(storage, each)
    scenes = Scenes(
        SimpleNamespace(id=f"s{number}", collection="c", assets=[SimpleNamespace(href=f"s{number}.tif", band="red")])
        for number in range(7)
    )
    run = cast("Any", SimpleNamespace(plan=SimpleNamespace(inputs=[SimpleNamespace(scenes=scenes)]), storage=storage))
    monkeypatch.setattr(inputs, "used_files", lambda _plan: {})
    monkeypatch.setattr(inputs, "_changed", lambda _plan, _told: ({"s2.tif": "x", "s5.tif": "x"}, {}))
    stale = {name for name, each in done.items() if each.scenes[0] in {"s2", "s5"}}
    with pytest.raises(ChangedInputsError, match=f"{len(stale)} blocks"):
        check_inputs_stood(run, done, [*done])
    assert done.keys().isdisjoint(stale)
    assert read_entries(storage).keys() == done.keys()
    return scenes.looks


def test_the_blocks_of_changed_files_are_found_without_asking_each_block_for_all_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looks_for(200, tmp_path / "many", monkeypatch) == looks_for(20, tmp_path / "few", monkeypatch)


def test_the_entries_of_shards_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, asked = open_storage(str(tmp_path), create=True), list[list[str]]()
    for col in range(6):
        write_entry(storage, entry(col, key="old" if col == 3 else "new"))
    monkeypatch.setattr(shard_runs, "is_current", lambda _plan, _block, found: found.key == "new")
    monkeypatch.setattr(shard_runs, "read_many", lambda at, keys: asked.append(keys) or read_many(at, keys))
    wanted = cast("Any", {f"0_{col}": None for col in range(1, 9)})
    worker = cast("Any", SimpleNamespace(storage=storage, plan=None))
    assert {each.name for each in shard_runs._finished_entries(worker, wanted)} == {"0_1", "0_2", "0_4", "0_5"}
    assert wanted.keys() == {"0_3", "0_6", "0_7", "0_8"}
    assert [len(keys) for keys in asked] == [5]
