"""The units of a layer are recorded while they are filled, at a cost that grows with their number and no faster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tilewright.tasks.storage.storage import Storage, open_storage
from tilewright.tasks.zarr.units import WRITTEN_SHARE, FilledUnits

if TYPE_CHECKING:
    from pathlib import Path


def written_units(storage: Storage, n_units: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The units that all writes of a layer's record hold together; the layer is filled, and then left."""
    behind = {f"0_{number}": [(0, number)] for number in range(n_units)}
    filled = FilledUnits(
        storage=storage, key="record.json", known={}, behind=behind, checksums={(0, n): str(n) for n in range(n_units)}
    )
    sizes: list[int] = []
    real = Storage.write_json
    monkeypatch.setattr(Storage, "write_json", lambda at, key, plain: sizes.append(len(plain)) or real(at, key, plain))
    for unit in behind:
        filled.record(unit, (f"{unit}/a",), {f"{unit}/a"}, kept=True)
    monkeypatch.undo()
    return sum(sizes)


def test_ten_times_the_units_cost_hardly_more_than_ten_times_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(str(tmp_path), create=True)
    few, many = (written_units(storage, n_units, monkeypatch) for n_units in (200, 2000))
    assert many < 12 * few


@pytest.mark.parametrize("n_units", [1, 2, WRITTEN_SHARE - 1, 100, 1000])
def test_a_run_that_breaks_off_loses_little(tmp_path: Path, n_units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path), create=True)
    written_units(storage, n_units, monkeypatch)
    recorded = len(json.loads(storage.read("record.json") or b"{}"))
    assert n_units - n_units / WRITTEN_SHARE <= recorded <= n_units


def test_all_units_are_recorded_when_the_layer_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path), create=True)
    filled = FilledUnits(
        storage=storage,
        key="record.json",
        known={},
        behind={str(n): [(0, n)] for n in range(50)},
        checksums={(0, n): "x" for n in range(50)},
    )
    for number in range(50):
        filled.record(str(number), (f"{number}/a",), set(), kept=True)
    assert filled.settle({}) == []
    assert len(json.loads(storage.read("record.json") or b"{}")) == 50
