"""Zarr v3 stores that somebody else wrote, badly or to do harm: what they say is used as it is meant, or refused."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import google_crc32c
import numpy as np
import pytest
import zarr
from affine import Affine
from numcodecs.zstd import Zstd
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError
from zarr.codecs import BytesCodec, ShardingCodec

from tests.support.http_servers import QuietHandler, running
from tests.support.paths import ROOT
from tests.support.scenes import UTM, asset_of, write_raster
from tilewright.catalogs.network.rules import asset_rules
from tilewright.tasks.read import gdal
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError
from tilewright.tasks.read.zarr3 import objects
from tilewright.tasks.read.zarr3.codecs import read_codecs
from tilewright.tasks.read.zarr3.objects import RefusedArrayError
from tilewright.tasks.read.zarr3.raster import ZarrRaster, open_zarr

SHAPE = (30, 40)
PLACE = Affine(10, 0, 400_000, 0, -10, 5_400_000)
ONE_TRY = Reading(retry=RetryPolicy(attempts=1, sleep=lambda seconds: None))
VALUES = np.arange(1, 1201, dtype="uint16").reshape(SHAPE)
DEEP = json.loads("[" * 900 + "]" * 900)


def written(folder: Path, values: np.ndarray = VALUES, *, told: dict[str, Any] | None = None, **document: Any) -> Path:
    """scene.zarr with the array `red`, attributes `told`, and changes to its document."""
    group = zarr.open_group(folder / "scene.zarr", mode="a", zarr_format=3)
    chunks = tuple(min(20, n) for n in values.shape)
    array = group.create_array(
        "red", shape=values.shape, chunks=chunks, dtype=values.dtype, compressors=None, fill_value=0
    )
    array[...] = values
    array.attrs.update(told or {})
    path = folder / "scene.zarr/red/zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **document}))
    return folder / "scene.zarr"


def opened(store: Path | str, array: str = "red") -> ZarrRaster:
    found = open_zarr(f"{store}/{array}" if array else str(store), {}, None)
    assert found is not None
    return found


def frame_without_size(content: bytes) -> bytes:
    """A frame of zstd as streams are written: one raw block, and no word on how many bytes come."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + (len(content) << 3 | 1).to_bytes(3, "little") + content


BYTES = np.arange(1600, dtype="uint16").tobytes()
FRAMES = {
    "whole": (Zstd().encode(BYTES), True),
    "in two": (Zstd().encode(BYTES[:99]) + Zstd().encode(BYTES[99:]), True),
    "of a stream": (frame_without_size(BYTES), True),
    "after another's": (b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + Zstd().encode(BYTES), True),
    "short": (Zstd().encode(BYTES[:99]), False),
    "short after another's": (b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + Zstd().encode(BYTES[:99]), False),
    "short of a stream": (frame_without_size(BYTES[:99]), False),
    "none": (b"", False),
    "of nothing": (Zstd().encode(b""), False),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_zstd_gives_every_byte_or_an_error(kind: str) -> None:
    content, whole = FRAMES[kind]
    codecs = read_codecs([{"name": "bytes"}, {"name": "zstd"}], np.dtype("uint16"))
    if whole:
        assert codecs.decode(content, (40, 40), np.dtype("uint16")).tobytes() == BYTES
    else:
        with pytest.raises(OSError, match="damaged"):
            codecs.decode(content, (40, 40), np.dtype("uint16"))


def test_gzip_without_its_checksum_is_damaged() -> None:
    codecs = read_codecs([{"name": "bytes"}, {"name": "gzip"}], np.dtype("uint16"))
    with pytest.raises(OSError, match="damaged"):
        codecs.decode(gzip.compress(BYTES)[:-8], (40, 40), np.dtype("uint16"))


def codecs_with(**settings: Any) -> list[dict[str, Any]]:
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}]
    shards = {"chunk_shape": [10, 10], "codecs": plain, "index_codecs": plain, **settings}
    return [{"name": "sharding_indexed", "configuration": shards}]


STRANGE: dict[str, dict[str, Any]] = {
    "an endless fill": {"fill_value": 1e400},
    "no number as fill": {"fill_value": float("nan")},
    "a fill beyond floats": {"data_type": "float32", "fill_value": 10**400},
    "a list as name": {"chunk_key_encoding": {"name": []}},
    "a list as separator": {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": []}}},
    "a list as endian": {"codecs": [{"name": "bytes", "configuration": {"endian": []}}]},
    "a list as place of the index": {"codecs": codecs_with(index_location=[])},
    "a deep shape": {"shape": DEEP},
    "columns before rows": {"dimension_names": ["x", "y"]},
    "columns before rows, in attributes": {
        "dimension_names": None,
        "attributes": {"_ARRAY_DIMENSIONS": ["lon", "lat"]},
    },
    "bands last": {
        "shape": [30, 40, 3],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [30, 40, 3]}},
        "dimension_names": ["y", "x", "band"],
    },
    "an extension": {"shifted_by": {"name": "one"}},
    "numbers meant without a sign": {"data_type": "int16", "attributes": {"_Unsigned": "true"}},
    "chunks of a pixel": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1]}}},
    "dates": {
        "shape": [3, 30, 40],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 30, 40]}},
        "dimension_names": ["time", "y", "x"],
    },
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_documents_are_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    with pytest.raises(RefusedArrayError) as refused:
        opened(written(tmp_path, **STRANGE[kind]))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("dtype", "told", "expected"),
    [
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("int64", -(2**63), -(2**63)),
        ("float16", -9999, -10000.0),
        ("float16", "AAAAAICHw8A=", -10000.0),
        ("float16", 1e20, np.inf),
        ("uint16", 7.0, 7),
        ("uint16", 10**400, None),
        ("uint16", True, None),
        ("uint16", "0", None),
        ("float32", 10**400, None),
    ],
)
def test_markers_are_numbers_that_the_array_holds(tmp_path: Path, dtype: str, told: Any, expected: Any) -> None:
    values = VALUES.astype(dtype)
    values[3, 5] = 0 if expected is None else expected
    raster = opened(written(tmp_path, values, told={"_FillValue": told, "scale_factor": 10**400}))
    (found,) = raster.nodatavals
    assert raster.scales == (1.0,)
    assert (None if found is None or np.isnan(found) else found) == expected
    assert expected is None or raster.read(1)[3, 5] == expected


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_floats_of_16_bits_are_read_as_those_of_32(tmp_path: Path, resampling: str) -> None:
    values = VALUES.astype("float16") / 7
    values[4:9, 4:9] = np.nan
    told = {"proj:code": UTM, "proj:transform": [*PLACE]}
    store = written(tmp_path, values, told=told)
    tif = write_raster(tmp_path / "plain.tif", values.astype("float32"))
    grids = GeoBox(SHAPE, PLACE, UTM), GeoBox((20, 20), Affine(11, 0, 400_003, 0, -11, 5_399_997), UTM)
    found = [
        read_asset(
            replace(asset_of(tif), href=href), grid, resampling=resampling, reading=ONE_TRY, sign=partial(str, href)
        )
        for href in (str(tif), f"{store}/red")
        for grid in grids
    ]
    assert found[2].values.dtype == np.float32
    assert np.array_equal(found[0].values, found[2].values, equal_nan=True)
    assert np.allclose(found[1].values, found[3].values, rtol=1e-5, equal_nan=True)


def axes(store: Path, x: np.ndarray, y: np.ndarray, *, chunk: int = 7, **told: Any) -> None:
    """Arrays of coordinates beside `red`."""
    group = zarr.open_group(store, mode="a")
    for name, values in (("y", y), ("x", x)):
        array = group.create_array(name, shape=values.shape, chunks=(chunk,), dtype=values.dtype)
        array[:] = values
        array.attrs.update(told)


ACROSS, DOWN = 400_005 + 10 * np.arange(40), 5_399_995 - 10 * np.arange(30)
UPWARDS = Affine(10, 0, 400_000, 0, 10, 5_399_700)
NODES: dict[str, tuple[dict[str, Any], Affine]] = {
    "a shape that is its own": ({"proj:transform": [*PLACE][:6], "proj:shape": [30, 40]}, PLACE),
    "a shape of another level": ({"proj:transform": [20, 0, 0, 0, -20, 0], "proj:shape": [15, 20]}, PLACE),
    "centres": ({"spatial:transform": [10, 0, 400_005, 0, -10, 5_399_995], "spatial:registration": "node"}, PLACE),
    "corners": ({"spatial:transform": [*PLACE], "spatial:registration": "pixel"}, PLACE),
    "too large a number": ({"proj:transform": [10**400, 0, 0, 0, -10, 0]}, PLACE),
    "many numbers": ({"proj:transform": [0] * 10_000}, PLACE),
    "turned": ({"proj:transform": [8, 3, 400_000, 2, -9, 5_400_000]}, Affine(8, 3, 400_000, 2, -9, 5_400_000)),
}


@pytest.mark.parametrize("kind", NODES)
def test_a_transform_is_that_of_the_corners_of_this_array(tmp_path: Path, kind: str) -> None:
    told, expected = NODES[kind]
    store = written(tmp_path, told={"proj:code": UTM, **told}, dimension_names=["y", "x"])
    axes(store, ACROSS, DOWN)
    assert opened(store).transform == expected


@pytest.mark.parametrize("kind", ["plain", "float32", "packed", "upwards"])
def test_coordinates_are_the_centres_however_they_are_stored(tmp_path: Path, kind: str) -> None:
    store = written(tmp_path, told={"proj:code": UTM}, dimension_names=["y", "x"])
    if kind == "packed":
        axes(store, np.arange(40, dtype="int16"), -np.arange(30, dtype="int16"), scale_factor=10, add_offset=400_005)
    elif kind == "upwards":
        axes(store, ACROSS, DOWN[::-1])
    else:
        axes(store, *(each.astype("float32" if kind == "float32" else "int64") for each in (ACROSS, DOWN)))
    expected = {"packed": Affine(10, 0, 400_000, 0, -10, 400_010), "upwards": UPWARDS}.get(kind, PLACE)
    assert opened(store).transform == expected


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_part_of_an_array_lies_where_its_coordinates_do(tmp_path: Path, cut: int) -> None:
    store = written(tmp_path, told={"grid_mapping": "spatial_ref"}, dimension_names=["y", "x"])
    mapping = zarr.open_group(store, mode="a").create_array("spatial_ref", shape=(), dtype="int64")
    # As xarray writes the part of a larger array: the words on the whole, and the coordinates of the part.
    mapping.attrs.update(
        {"crs_wkt": GeoBox(SHAPE, PLACE, UTM).crs.to_wkt(), "GeoTransform": "400000 10 0 5400000 0 -10"}
    )
    axes(store, ACROSS + 10 * cut, (DOWN - 10 * cut).astype("float64"))
    assert opened(store).transform == PLACE * Affine.translation(cut, cut)


@pytest.mark.parametrize("kind", ["units", "chunks"])
def test_coordinates_that_cannot_be_taken_as_they_are_are_refused(tmp_path: Path, kind: str) -> None:
    store = written(tmp_path, told={"proj:code": UTM}, dimension_names=["y", "x"])
    axes(store, ACROSS, DOWN, chunk=1, **({"units": "km"} if kind == "units" else {}))
    if kind == "chunks":
        shape = {"shape": [100_000], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}}
        rewritten(store, "y", **shape)
        rewritten(store, "red", shape=[100_000, 40])
    with pytest.raises(RefusedArrayError, match="too many chunks, or in km"):
        opened(store)


def rewritten(store: Path, folder: str, **changes: Any) -> None:
    path = store / folder / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "name", [None, 7, "", "..", "../red", "red/../red", "a\0b", "\ud800", "%2e%2e", "a?b", "x" * 999]
)
def test_names_that_are_no_names_lead_nowhere(tmp_path: Path, name: Any) -> None:
    store = written(tmp_path, told={"proj:code": UTM, "grid_mapping": name}, dimension_names=[name, name])
    assert opened(store).transform.is_identity
    if not isinstance(name, str):
        return
    group = {"metadata": {name: json.loads((store / "red/zarr.json").read_text())}}
    rewritten(store, "", consolidated_metadata=group)
    with pytest.raises(RefusedArrayError, match="which of its arrays"):
        opened(store, "")


@pytest.mark.parametrize("kind", ["file", "URL", "deep", "half a character", "number", "a list of mappings", "words"])
def test_a_crs_of_strangers_is_looked_up_and_never_fetched(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "place.txt"
    file.write_text(GeoBox(SHAPE, PLACE, UTM).crs.to_wkt())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        told = {
            "file": str(file),
            "URL": f"http://127.0.0.1:{listening.getsockname()[1]}/place",
            "deep": {"a": DEEP},
            "half a character": "\ud800",
            "number": 10**400,
            "a list of mappings": "[{}]",
            "words": "EPSG:abc",
        }[kind]
        assert opened(written(tmp_path, told={"proj:code": told, "crs_wkt": told})).crs is None
        with pytest.raises(TimeoutError):
            listening.accept()


class Web:
    """A store on a web server that answers as a test says: (path, headers) to (status, headers, body) or None."""

    def __init__(self, store: Path) -> None:
        self.store, self.url = store, ""

    def plain(self, path: str) -> tuple[int, dict[str, str], bytes]:
        file = self.store.parent / path.lstrip("/")
        return (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")

    def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
        return self.plain(path)


@contextmanager
def served(web: Web) -> Iterator[str]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            status, headers, body = web.answer(self.path, self.headers.get("Range"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:  # noqa: N802 -- http.server's name
            status, _, body = web.plain(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()

    with running(Handler) as url:
        yield f"{url}/{web.store.name}"


def sharded(folder: Path, place: str = "end") -> Path:
    store = folder / "scene.zarr"
    shards = ShardingCodec(chunk_shape=(10, 10), codecs=[BytesCodec()], index_location=place)
    array = zarr.create(
        shape=SHAPE, chunks=(30, 20), dtype="uint16", codecs=[shards], store=store, path="red", zarr_format=3
    )
    array[...] = VALUES
    return store


@pytest.mark.parametrize("place", ["start", "end"])
def test_a_server_without_ranges_is_read(tmp_path: Path, place: str) -> None:
    with served(Web(sharded(tmp_path, place))) as url:
        assert np.array_equal(opened(url).read(1), VALUES)


@pytest.mark.parametrize(("slowest", "enough"), [(2**30, False), (2**13, True)])
def test_large_objects_may_take_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowest: int, enough: bool
) -> None:
    class Slow(Web):
        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            time.sleep(0.4 if "/c/" in path else 0)
            return self.plain(path)

    with served(Slow(written(tmp_path))) as url:
        raster = opened(url)
        monkeypatch.setattr(objects, "SECONDS", 0.2)
        monkeypatch.setattr(objects, "SLOWEST", slowest)
        if enough:
            assert np.array_equal(raster.read(1), VALUES)
        else:
            with pytest.raises(OSError, match="longer than"):
                raster.read(1)


def test_each_index_of_a_shard_is_asked_for_once(tmp_path: Path) -> None:
    class Counting(Web):
        asked: list[str | None]

        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            self.asked.append(span)
            return self.plain(path)

    web = Counting(sharded(tmp_path))
    web.asked = []
    with served(web) as url:
        assert np.array_equal(opened(url).read(1), VALUES)
    assert web.asked.count("bytes=-100") == 2


RANGES = {
    "another range": {"Content-Range": "bytes 0-199/1268"},
    "no range": {},
    "several ranges": {"Content-Type": "multipart/byteranges; boundary=x"},
    "compressed": {"Content-Encoding": "gzip"},
}


@pytest.mark.parametrize("kind", RANGES)
def test_an_answer_that_is_not_what_was_asked_for_is_no_pixels(tmp_path: Path, kind: str) -> None:
    class Lying(Web):
        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            status, headers, body = self.plain(path)
            if span is None:
                return status, headers, body
            first, _, last = span.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(body) - int(last)
            stop = int(last) + 1 if first else len(body)
            told = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
            if not first:
                return 206, told, body[start:stop]
            wrong = body[: stop - start]
            if kind == "compressed":
                return 206, told | RANGES[kind], gzip.compress(wrong)
            return 206, RANGES[kind], wrong

    with served(Lying(sharded(tmp_path))) as url, pytest.raises(OSError, match=r"range|compressed"):
        opened(url).read(1)


def test_a_document_that_comes_as_a_page_is_asked_for_again(tmp_path: Path) -> None:
    class Busy(Web):
        asked = 0

        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            self.asked += 1
            return (200, {}, b"<html>") if self.asked == 1 else self.plain(path)

    with served(Busy(written(tmp_path, told={"proj:code": UTM, "proj:transform": [*PLACE]}))) as url:
        found = read_asset(
            replace(asset_of(write_raster(tmp_path / "plain.tif", VALUES)), href=f"{url}/red"),
            GeoBox(SHAPE, PLACE, UTM),
            resampling="nearest",
            reading=Reading(retry=RetryPolicy(attempts=2, sleep=lambda seconds: None)),
            sign=lambda: f"{url}/red",
        )
    assert np.array_equal(found.values, VALUES)


def test_a_chunk_that_leads_to_a_refused_place_is_refused_for_good(tmp_path: Path) -> None:
    class Leading(Web):
        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            away = {"Location": "http://169.254.169.254/latest/meta-data"}
            return (302, away, b"") if "/c/" in path else self.plain(path)

    with served(Leading(written(tmp_path, told={"proj:code": UTM, "proj:transform": [*PLACE]}))) as url:
        asset = replace(asset_of(write_raster(tmp_path / "plain.tif", VALUES)), href=f"{url}/red")
        reading = Reading(retry=RetryPolicy(sleep=lambda seconds: None), rules=asset_rules(url))
        with pytest.raises(UnreadableError, match="refused") as refused:
            read_asset(asset, GeoBox(SHAPE, PLACE, UTM), resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert refused.value.final


def test_an_older_store_is_read_where_what_is_not_there_is_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bucket(Web):
        def answer(self, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
            return 403, {}, b""

    monkeypatch.setattr(gdal, "_open_with_gdal", lambda signed, **how: signed)
    with served(Bucket(tmp_path / "old.zarr")) as url:
        assert gdal.open_dataset(f"{url}/red", overview=None, fresh=True) == f"{url}/red"
        monkeypatch.setattr(gdal, "_open_with_gdal", Mock(side_effect=RasterioIOError("no such file")))
        with pytest.raises(PermissionError, match="403"):
            gdal.open_dataset(f"{url}/red", overview=None, fresh=True)


def test_an_extension_that_need_not_be_known_is_none(tmp_path: Path) -> None:
    assert np.array_equal(opened(written(tmp_path, remarks={"must_understand": False})).read(1), VALUES)


@pytest.mark.parametrize("href", ["gs://bucket/scene.zarr/red", "ftp://host/scene.zarr", "/vsicurl/http://a/s.zarr/b"])
def test_other_places_are_refused_at_once(href: str) -> None:
    with pytest.raises(ValueError, match=r"readable are|of GDAL's own"):
        gdal.open_dataset(href, overview=None, fresh=False)


def test_an_object_is_forgotten_without_asking_for_it_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Mock()
    monkeypatch.setattr(gdal, "_open_with_gdal", asked)
    with patch("tilewright.tasks.read.zarr3.raster.open_zarr") as opening:
        gdal.forget_object("s3://bucket/scene.zarr/red")
    assert (asked.call_count, opening.call_count) == (1, 0)


@pytest.mark.parametrize("row", [(2**64 - 1, 200), (2**63, 200), (0, 0), (0, 2**64 - 1)])
def test_an_index_that_points_far_beyond_is_damaged(tmp_path: Path, row: tuple[int, int]) -> None:
    store = sharded(tmp_path)
    path = store / "red/c/0/0"
    content = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(content[-100:-4]), "<u8").copy()
    index[:2] = row
    content[-100:] = index.tobytes() + google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(OSError, match="damaged"):
        opened(store).read(1)


def test_a_read_of_very_many_chunks_holds_few_of_them(tmp_path: Path) -> None:
    chunks = {"name": "regular", "configuration": {"chunk_shape": [8, 8]}}
    raster = opened(written(tmp_path, shape=[2**20, 2**20], chunk_grid=chunks))
    asked: list[int] = []

    def at(places: list[tuple[int, ...]]) -> dict[tuple[int, ...], None]:
        asked.append(len(places))
        return dict.fromkeys(places)

    raster._chunks.at = at  # type: ignore[method-assign, assignment]
    tracemalloc.start()
    raster.read(1, window=((0, 80), (0, 24_000)))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(asked) == 30_000
    assert max(asked) <= 1024
    assert held < 2**22


def test_a_damaged_store_on_a_disk_is_given_up_like_a_damaged_file(tmp_path: Path) -> None:
    store = written(tmp_path, told={"proj:code": UTM, "proj:transform": [*PLACE]})
    (store / "red/c/1/1").write_bytes(b"short")
    asset = replace(asset_of(write_raster(tmp_path / "plain.tif", VALUES)), href=f"{store}/red")
    reading = Reading(retry=RetryPolicy(sleep=lambda seconds: None))
    with pytest.raises(UnreadableError, match="after 3 attempts"):
        read_asset(asset, GeoBox(SHAPE, PLACE, UTM), resampling="nearest", reading=reading, sign=lambda: asset.href)


def test_a_forked_child_has_threads_of_its_own() -> None:
    words = """
import os, signal, time
from tilewright.tasks.read.zarr3 import chunks
list(chunks._pool().map(time.sleep, [0.01] * 8))
child = os.fork()
if not child:
    signal.alarm(5)
    os._exit(list(chunks._pool().map(int, "0")).pop())
print(os.waitpid(child, 0)[1])
"""
    ended = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "0"


def test_an_array_that_was_removed_meanwhile_is_no_fill(tmp_path: Path) -> None:
    store = written(tmp_path)
    raster = opened(store)
    shutil.rmtree(store / "red")
    with pytest.raises(OSError, match="there no longer"):
        raster.read(1)
