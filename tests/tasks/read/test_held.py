"""Reads of files that are replaced while they are read: refused at once, and never half of one and half of another."""

from __future__ import annotations

import pickle
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.support.places import web_place
from tests.support.scenes import asset_of, grid, write_raster
from tilewright.catalogs.gdal import gdal_name, look_settings
from tilewright.catalogs.s3 import AMAZON
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sources.source import Source
from tilewright.tasks.identity.take import present_identity
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.failures import ChangedInputError
from tilewright.tasks.read.gdal import read_header
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.retry import ChangedError, RetryPolicy, UnreadableError

SIDE = 1024
HERE = Source(name="home", kind="files", href="/data/files", hosts=("127.0.0.1",))
QUICK = RetryPolicy(attempts=6, first_wait_s=0.001, longest_wait_s=0.002)


def present(href: str, signed: str) -> str | None:
    return present_identity(href, signed=signed, source=HERE)


HELD = Reading(retry=QUICK, identify=present)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rasters of one layout, 0 everywhere and 1 everywhere but noise in one row of blocks, of one size."""
    folder = tmp_path_factory.mktemp("rasters")
    random = np.random.default_rng(2)
    for name, base in (("zeros.tif", 1), ("ones.tif", 30_000)):
        write_raster(folder / name, random.integers(base, base + 20_000, (SIDE, SIDE), dtype=np.uint16), nodata=None)
    return folder


@pytest.fixture
def folder(rasters: Path, tmp_path: Path) -> Path:
    shutil.copy(rasters / "zeros.tif", tmp_path / "one.tif")
    return tmp_path


def held_asset(folder: Path, href: str) -> BandAsset:
    asset = asset_of(folder / "one.tif", href=href)
    return replace(asset, identity=present(href, href))


def read(asset: BandAsset, rows: tuple[int, int], reading: Reading = HELD) -> np.ndarray:
    box = grid(SIDE, SIDE)[rows[0] : rows[1], 0:SIDE]
    return read_asset(asset, box, resampling="nearest", reading=reading, sign=lambda: asset.href).values


@pytest.mark.parametrize("habit", ["etag", "date"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_server_is_asked_for_the_planned_file_in_every_request(folder, rasters, habit, closed):
    with web_place(folder, habit) as place:
        place.put("one.tif", rasters / "zeros.tif")
        asset = held_asset(folder, place.href("one.tif"))
        assert read(asset, (0, 64)).max() <= 20_000
        place.put("one.tif", rasters / "ones.tif")
        if closed:
            close_files()
        before, began = len(place.asked), time.monotonic()
        with pytest.raises(ChangedError, match="changed since it was planned"):
            read(asset, (800, 1000))
        assert len(place.asked) - before <= 12, place.asked[before:]
        assert time.monotonic() - began < 5
        # The identity of today opens the file of today, in the same process, and no byte of the other one is in it.
        fresh = held_asset(folder, place.href("one.tif"))
        assert fresh.identity != asset.identity
        assert read(fresh, (0, SIDE)).min() >= 30_000


def test_a_file_that_grows_stale_in_gdals_memory_is_not_mixed_with_the_one_of_today(folder, rasters):
    with web_place(folder, "deaf") as place:
        place.put("one.tif", rasters / "zeros.tif")
        old = held_asset(folder, place.href("one.tif"))
        first = read(old, (0, 256))
        place.put("one.tif", rasters / "ones.tif")
        new = held_asset(folder, place.href("one.tif"))
        values = read(new, (0, SIDE))
        assert values.min() >= 30_000
        assert first.max() <= 20_000


def test_a_look_at_a_header_sees_the_file_of_today(folder, rasters):
    def look() -> tuple[tuple[int, int], tuple[int, int]]:
        href = place.href("one.tif")
        with rasterio.Env(**look_settings(href, AMAZON)), rasterio.open(gdal_name(href)) as dataset:
            return dataset.shape, read_header(href, signed=href, extra={}).shape

    write_raster(folder / "small.tif", np.ones((64, 64), dtype=np.uint16))
    with web_place(folder, "etag") as place:
        assert look() == ((SIDE, SIDE), (SIDE, SIDE))
        place.put("one.tif", folder / "small.tif")
        assert look() == ((64, 64), (64, 64))


@pytest.mark.parametrize("way", ["rename", "in place", "removed"])
def test_a_local_file_is_looked_at_before_and_after_each_read(folder, rasters, way):
    path = folder / "one.tif"
    asset = held_asset(folder, str(path))
    assert read(asset, (0, 64)).max() <= 20_000
    if way == "rename":
        shutil.copy(rasters / "ones.tif", folder / "draft")
        (folder / "draft").replace(path)
    elif way == "in place":
        shutil.copyfile(rasters / "ones.tif", path)
    else:
        path.unlink()
    with pytest.raises(UnreadableError) as refused:
        read(asset, (64, 128))
    assert isinstance(refused.value, ChangedError) is (way != "removed")
    assert refused.value.final


def test_while_a_local_file_is_rewritten_no_read_gives_pixels_of_both(folder, rasters):
    path = folder / "one.tif"
    asset = held_asset(folder, str(path))
    halt = threading.Event()

    def rewrite() -> None:
        while not halt.is_set():
            shutil.copyfile(rasters / "ones.tif", path)
            shutil.copyfile(rasters / "zeros.tif", path)

    seen: list[Any] = [read(asset, (0, SIDE))]
    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(20):
            try:
                seen.append(read(asset, (0, SIDE)))
            except UnreadableError as error:
                seen.append(error)
    finally:
        halt.set()
        writer.join()
    assert all(np.array_equal(one, seen[0]) for one in seen if isinstance(one, np.ndarray))
    assert any(isinstance(one, ChangedError) for one in seen)


def test_a_server_that_refuses_a_precondition_that_holds_is_read_without_one(folder, rasters):
    with web_place(folder, "etag") as place:
        place.put("one.tif", rasters / "zeros.tif")
        asset = held_asset(folder, place.href("one.tif"))
        place.refuses = lambda path, asked: bool(asked.get("If-Match"))  # type: ignore[method-assign]
        assert read(asset, (0, 64)).max() <= 20_000


@pytest.mark.parametrize("allowed", [".tif", ".tif,.tiff"])
def test_the_endings_that_a_user_allows_gdal_stay_allowed(folder, rasters, allowed):
    with web_place(folder, "etag") as place:
        place.put("one.tif", rasters / "zeros.tif")
        asset = held_asset(folder, place.href("one.tif"))
        reading = replace(HELD, gdal={"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": allowed})
        assert read(asset, (0, 64), reading).max() <= 20_000


def test_headers_of_the_user_are_sent_beside_the_precondition(folder, rasters):
    with web_place(folder, "etag") as place:
        place.put("one.tif", rasters / "zeros.tif")
        asset, sent = held_asset(folder, place.href("one.tif")), []
        place.refuses = lambda path, asked: sent.append(dict(asked)) and False  # type: ignore[method-assign]
        read(asset, (0, 64), replace(HELD, gdal={"GDAL_HTTP_HEADERS": "X-One: 1,X-Two: 2"}))
        assert sent
        for headers in sent:
            assert (headers["X-One"], headers["X-Two"], "If-Match" in headers) == ("1", "2", True)


@pytest.mark.parametrize(
    "error", [ChangedError("changed"), ChangedInputError(item="i", band="b", href="h", reason="r", block="0_0")]
)
def test_the_errors_keep_their_kind_between_processes(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert str(again) == str(error)
