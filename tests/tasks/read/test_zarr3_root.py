"""A Zarr store whose href names no array: its one raster, or what to do, in both versions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.support.file_server import serve
from tests.tasks.read.test_zarr3 import numbers
from tilewright.tasks.read.gdal import open_dataset, reading_env, settings_for
from tilewright.tasks.read.retry import UnreadableError
from tilewright.tasks.read.zarr3 import root

VALUES = numbers("uint16")

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")


def store_of(folder: Path, *names: str, version: int = 3, consolidated: bool = False) -> Path:
    """A store with rasters of these names, groups before a slash, and with coordinates."""
    store = folder / "scene.zarr"
    group = zarr.open_group(store, mode="w", zarr_format=version)
    for name in names:
        group.create_array(name, shape=VALUES.shape, chunks=(40, 40), dtype="uint16")[...] = VALUES
    for name, n in zip("yx", VALUES.shape, strict=True):
        group.create_array(name, shape=(n,), chunks=(n,), dtype="float64")[:] = np.arange(n)
    if consolidated:
        zarr.consolidate_metadata(store, zarr_format=version)
    return store


def read(store: Path | str) -> np.ndarray:
    with reading_env(settings_for(str(store), {})), open_dataset(str(store), overview=None, fresh=True) as dataset:
        return np.asarray(dataset.read(1))


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize(("version", "name"), [(2, "red"), (3, "red"), (3, "r10m/red"), (3, "a/b/c/red")])
def test_the_one_raster_of_a_store_is_found(tmp_path: Path, version: int, name: str, consolidated: bool) -> None:
    assert np.array_equal(read(store_of(tmp_path, name, version=version, consolidated=consolidated)), VALUES)


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_of_several_one_is_to_be_named(tmp_path: Path, version: int, consolidated: bool) -> None:
    store = store_of(tmp_path, "red", "nir", version=version, consolidated=consolidated)
    with pytest.raises(UnreadableError, match=r"which of its arrays: nir, red.*zarr:node_type: group") as refused:
        read(store)
    assert len(str(refused.value)) < 300
    assert refused.value.final


@pytest.mark.parametrize("consolidated", [False, True])
def test_over_http_only_metadata_tells(tmp_path: Path, consolidated: bool) -> None:
    store = store_of(tmp_path, "red", consolidated=consolidated)
    with serve(tmp_path) as server:
        if consolidated:
            assert np.array_equal(read(server.href(store.name)), VALUES)
            return
        with pytest.raises(UnreadableError, match=r"zarr\.consolidate_metadata.*name the array in the href"):
            read(server.href(store.name))


def _linked(store: Path) -> None:
    shutil.move(store / "red", store.parent / "red")
    (store / "red").symlink_to(store.parent / "red", target_is_directory=True)


def _around(store: Path) -> None:
    (store / "red" / "zarr.json").unlink()
    (store / "loop").symlink_to(store, target_is_directory=True)


def _damaged(store: Path) -> None:
    (store / "red" / "zarr.json").write_text("{")


def _fewer_dimensions(store: Path) -> None:
    shutil.rmtree(store / "red")


BROKEN: dict[str, Any] = {
    "a link out of it": _linked,
    "a link to itself": _around,
    "no document": _damaged,
    "no raster": _fewer_dimensions,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_store_in_whose_folders_is_none_says_so(tmp_path: Path, kind: str) -> None:
    store = store_of(tmp_path, "red")
    BROKEN[kind](store)
    with pytest.raises(UnreadableError, match="none with rows and columns"):
        read(store)


def test_endless_folders_are_not_all_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "MOST_FOLDERS", 50)
    store = store_of(tmp_path, "red")
    for number in range(200):
        (store / f"empty{number}").mkdir()
    with pytest.raises(UnreadableError, match="more than 50 folders"):
        read(store)
