"""Arrays in Zarr v3: every layout against zarr-python, places from all that may say them, and stores that lie."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

from tests.support.file_server import serve
from tests.support.scenes import UTM, asset_of, write_raster
from tilewright.flows.environment import reading_settings
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError
from tilewright.tasks.read.zarr3.objects import RefusedArrayError
from tilewright.tasks.read.zarr3.raster import ZarrRaster, open_zarr

HEIGHT, WIDTH = 90, 110
NATIVE = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 400_000, 0, -10, 5_400_000), UTM)
ONE_TRY = Reading(retry=RetryPolicy(attempts=1, sleep=lambda seconds: None))

COMPRESSIONS = {
    "none": [],
    "zstd": [ZstdCodec(level=3, checksum=True)],
    "gzip": [GzipCodec()],
    "blosc": [BloscCodec(cname="lz4", shuffle="bitshuffle")],
    "crc32c": [Crc32cCodec()],
    "zstd crc32c": [ZstdCodec(), Crc32cCodec()],
}


def numbers(dtype: str, shape: tuple[int, ...] = (HEIGHT, WIDTH)) -> np.ndarray:
    return (np.random.default_rng(3).random(shape) * 90 + 1).astype(dtype)


def opened(path: Path, array: str = "red") -> ZarrRaster:
    found = open_zarr(f"{path}/{array}" if array else str(path), {}, None)
    assert found is not None
    return found


def written(folder: Path, values: np.ndarray, *, attributes: dict[str, Any] | None = None, **how: Any) -> Path:
    """scene.zarr with the array `red`."""
    how = {"chunks": tuple(min(40, n) for n in values.shape), "compressors": None, "fill_value": 0, **how}
    store = folder / "scene.zarr"
    group = zarr.open_group(store, mode="a", zarr_format=3)
    array = group.create_array("red", shape=values.shape, dtype=values.dtype, **how)
    array[...] = values
    array.attrs.update(attributes or {})
    return store


@pytest.mark.parametrize(("compression", "order"), product(COMPRESSIONS, ["little", "big"]))
@pytest.mark.parametrize("sharded", [False, True])
def test_every_layout_is_read_as_zarr_python_reads_it(
    tmp_path: Path, compression: str, order: str, sharded: bool
) -> None:
    for dtype in ("uint8", "int16", "uint16", "float32"):
        values = numbers(dtype)
        codecs = [BytesCodec(endian=order), *COMPRESSIONS[compression]]
        if sharded:
            place = "start" if order == "big" else "end"
            codecs = [ShardingCodec(chunk_shape=(20, 10), codecs=codecs, index_location=place)]
        path = tmp_path / dtype / "scene.zarr"
        array = zarr.create(
            shape=values.shape, chunks=(40, 40), dtype=dtype, codecs=codecs, store=path, path="red", zarr_format=3
        )
        array[...] = values
        raster = opened(path)
        assert np.array_equal(raster.read(1), values)
        assert np.array_equal(raster.read(1, window=((33, 81), (5, 43))), values[33:81, 5:43])
        out = np.empty((7, 9), values.dtype)
        assert np.array_equal(raster.read(1, window=((83, 90), (101, 110)), out=out), values[83:, 101:])
        assert raster.block_shapes == [(20, 10) if sharded else (40, 40)]


@pytest.mark.parametrize("lead", [1, 2, 5])
@pytest.mark.parametrize("encoding", ["default", "v2"])
def test_bands_before_rows_and_columns(tmp_path: Path, lead: int, encoding: str) -> None:
    values = numbers("int32", (5, HEIGHT, WIDTH))
    naming = {"name": encoding, "separator": "."}
    raster = opened(written(tmp_path, values, chunks=(lead, 40, 50), chunk_key_encoding=naming))
    assert raster.count == 5
    for band in range(5):
        assert np.array_equal(raster.read(band + 1, window=((3, 77), (44, 99))), values[band, 3:77, 44:99])


@pytest.mark.parametrize("shards", [None, (40, 40)])
def test_what_was_not_written_has_the_fill_value(tmp_path: Path, shards: tuple[int, int] | None) -> None:
    values = np.full((HEIGHT, WIDTH), 7, np.uint16)
    values[:20, :20] = 3
    how = {"chunks": (20, 20), "shards": shards, "fill_value": 7}
    store = written(tmp_path, values, config={"write_empty_chunks": False}, **how)
    assert len([*store.glob("red/c/*/*")]) == 1
    assert np.array_equal(opened(store).read(1), values)


@pytest.mark.parametrize(
    ("fill", "expected"), [("NaN", np.nan), ("-Infinity", -np.inf), ("0x7fc00000", np.nan), (-9999.0, -9999)]
)
def test_fill_values_of_floats(tmp_path: Path, fill: Any, expected: float) -> None:
    store = written(tmp_path, numbers("float32"))
    document(store, fill_value=fill)
    shutil.rmtree(store / "red" / "c")
    assert np.array_equal(opened(store).read(1), np.full((HEIGHT, WIDTH), expected, np.float32), equal_nan=True)


def document(store: Path, folder: str = "red", **changes: Any) -> None:
    """Change the document of a folder of the store."""
    path = store / folder / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def coordinates(store: Path, dtype: str = "int64", *, uneven: float = 0.0) -> None:
    """Arrays of the centres of rows and columns beside `red`."""
    group = zarr.open_group(store, mode="a")
    for name, first, step, n in (("y", 5_399_995, -10, HEIGHT), ("x", 400_005, 10, WIDTH)):
        values = (first + step * np.arange(n)).astype(dtype)
        values[n // 2] += uneven
        group.create_array(name, shape=(n,), chunks=(33,), dtype=dtype, dimension_names=(name,))[:] = values


WKT = NATIVE.crs.to_wkt()
PLACES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "code and transform": ({"proj:code": UTM, "proj:transform": [*NATIVE.affine]}, {}, False),
    "number": ({"proj:epsg": 32633, "spatial:transform": [*NATIVE.affine][:6]}, {}, False),
    "words": ({"proj:wkt2": WKT, "proj:transform": [*NATIVE.affine]}, {}, False),
    "coordinates": ({"proj:code": UTM}, {}, True),
    "group": ({}, {"proj:code": UTM, "spatial:transform": [*NATIVE.affine][:6]}, False),
    "its own before its group's": (
        {"proj:code": UTM, "proj:transform": [*NATIVE.affine]},
        {"proj:code": "EPSG:3857", "proj:transform": [1, 0, 0, 0, -1, 0]},
        False,
    ),
    "a grid mapping": ({"grid_mapping": "spatial_ref"}, {}, False),
}


@pytest.mark.parametrize("kind", PLACES)
def test_the_place_is_told_in_many_ways(tmp_path: Path, kind: str) -> None:
    own, of_group, with_coordinates = PLACES[kind]
    store = written(tmp_path, numbers("uint16"), attributes=own, dimension_names=("y", "x"))
    group = zarr.open_group(store, mode="a")
    group.attrs.update(of_group)
    if with_coordinates:
        coordinates(store)
    if "grid_mapping" in own:
        told = {"crs_wkt": WKT, "GeoTransform": " ".join(map(str, NATIVE.affine.to_gdal()))}
        group.create_array("spatial_ref", shape=(), dtype="int64").attrs.update(told)
    raster = opened(store)
    assert raster.transform == NATIVE.affine
    assert raster.crs.to_epsg() == int(UTM.partition(":")[2])


def asset_in(store: Path | str, tmp_path: Path, values: np.ndarray, **changes: Any) -> Any:
    asset = asset_of(write_raster(tmp_path / "plain.tif", values))
    return replace(asset, href=f"{store}/red", **changes)


def test_esas_layout_takes_its_crs_from_the_item(tmp_path: Path) -> None:
    values = numbers("uint16")
    # As in ESA's samples: numbers, scale and fill value at the array, nothing of a CRS, coordinates as float32.
    told = {"scale_factor": 0.0001, "add_offset": -0.1, "fill_value": 0, "dtype": "<u2", "valid_min": 1}
    store = written(tmp_path, values, attributes=told, dimension_names=("y", "x"))
    coordinates(store, "float32")
    asset = asset_in(store, tmp_path, values)
    found = read_asset(asset, NATIVE[10:50, 20:90], resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href)
    assert np.array_equal(found.values, values[10:50, 20:90])
    raster = opened(store)
    assert (raster.scales, raster.offsets, raster.nodatavals) == ((0.0001,), (-0.1,), (0.0,))
    nowhere = replace(asset, crs="", shape=None, transform=None)
    with pytest.raises(UnreadableError, match="no CRS"):
        read_asset(nowhere, NATIVE, resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href)


def test_an_older_store_of_esa_takes_its_crs_from_the_item(tmp_path: Path) -> None:
    values = numbers("uint16")
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    array = group.create_array("red", shape=values.shape, chunks=(40, 40), dtype="uint16", fill_value=0)
    array[...] = values
    array.attrs.update({"_ARRAY_DIMENSIONS": ["y", "x"], "proj:epsg": 32633})
    for name, first, step, n in (("y", 5_399_995, -10, HEIGHT), ("x", 400_005, 10, WIDTH)):
        axis = group.create_array(name, shape=(n,), chunks=(n,), dtype="int64")
        axis[:] = first + step * np.arange(n)
        axis.attrs["_ARRAY_DIMENSIONS"] = [name]
    zarr.consolidate_metadata(tmp_path / "old.zarr", zarr_format=2)
    asset = asset_in(tmp_path / "old.zarr", tmp_path, values)
    found = read_asset(asset, NATIVE, resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href)
    assert np.array_equal(found.values, values)


def test_markers_of_floats_in_base64(tmp_path: Path) -> None:
    marker = base64.standard_b64encode(struct.pack("<d", -9999.0)).decode()
    assert opened(written(tmp_path, numbers("float32"), attributes={"_FillValue": marker})).nodatavals == (-9999.0,)


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "huge chunks": ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 10**6]}}}, "bytes"),
    "no chunks": ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 40]}}}, "chunk_shape"),
    "another grid": ({"chunk_grid": {"name": "rectilinear"}}, "regular"),
    "a shape of words": ({"shape": ["a", "b"]}, "shape"),
    "four dimensions": ({"shape": [1, 1, 90, 110]}, "rows and columns"),
    "complex numbers": ({"data_type": "complex64"}, "complex64"),
    "a type of lists": ({"data_type": [1]}, "type"),
    "unknown codecs": ({"codecs": [{"name": "bytes"}, {"name": "lerc"}]}, "lerc"),
    "two compressions": ({"codecs": [{"name": "bytes"}, {"name": "zstd"}, {"name": "gzip"}]}, "one compression"),
    "no codecs": ({"codecs": []}, "codecs are none"),
    "transformers": ({"storage_transformers": [{"name": "x"}]}, "transformers"),
    "a fill of words": ({"fill_value": "none"}, "fill_value"),
    "a fill beyond its type": ({"fill_value": 70_000}, "fill_value"),
    "another naming": ({"chunk_key_encoding": {"name": "secret"}}, "named by"),
    "a path as separator": ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/../"}}}, "named by"),
    "version 4": ({"zarr_format": 4}, "Zarr v3"),
    "a group": ({"node_type": "group"}, "group"),
}


@pytest.mark.parametrize("kind", LIES)
def test_documents_that_lie_are_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    changes, words = LIES[kind]
    store = written(tmp_path, numbers("uint16"))
    document(store, **changes)
    with pytest.raises(RefusedArrayError, match=words) as refused:
        opened(store)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("damage", ["cut", "longer", "noise", "empty", "another size"])
def test_damaged_chunks_are_errors_and_no_pixels(tmp_path: Path, compression: str, damage: str) -> None:
    values = numbers("uint16")
    store = written(tmp_path, values, compressors=COMPRESSIONS[compression])
    (path,) = store.glob("red/c/1/1")
    content = path.read_bytes()
    larger = written(
        tmp_path / "other", numbers("uint16", (160, 160)), chunks=(160, 160), compressors=COMPRESSIONS[compression]
    )
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "longer": content + content,
            "noise": content[:20] + np.random.default_rng(1).bytes(len(content) - 20),
            "empty": b"",
            "another size": (larger / "red/c/0/0").read_bytes(),
        }[damage]
    )
    raster = opened(store)
    if damage == "noise" and compression == "none":
        # Numbers like any others: nothing tells.
        return
    if damage == "longer" and compression == "gzip":
        # The reader stops at the end of the first member, whose numbers are the chunk's.
        assert np.array_equal(raster.read(1), values)
        return
    with pytest.raises(OSError, match=r"damaged|expected|more than"):
        raster.read(1)


def test_a_damaged_chunk_on_a_disk_is_tried_three_times(tmp_path: Path) -> None:
    values = numbers("uint16")
    told = {"proj:code": UTM, "proj:transform": [*NATIVE.affine]}
    store = written(tmp_path, values, compressors=COMPRESSIONS["zstd"], attributes=told)
    (store / "red/c/0/0").write_bytes(b"damaged")
    waits: list[float] = []
    asset = asset_in(store, tmp_path, values)
    reading = Reading(retry=RetryPolicy(attempts=6, sleep=waits.append))
    with pytest.raises(UnreadableError, match="damaged.* after 3 attempts") as refused:
        read_asset(asset, NATIVE, resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert (len(waits), refused.value.final) == (2, True)


@pytest.mark.parametrize("damage", ["offset", "size", "cut", "checksum"])
def test_damaged_shards_are_errors(tmp_path: Path, damage: str) -> None:
    values = numbers("uint16")
    store = written(tmp_path, values, chunks=(20, 20), shards=(40, 40))
    (path,) = store.glob("red/c/0/0")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[100:]
    elif damage == "checksum":
        content[-1] ^= 1
    else:
        import google_crc32c

        index = np.frombuffer(bytes(content[-68:-4]), "<u8").copy()
        index[0 if damage == "offset" else 1] = 2**40
        content[-68:-4] = index.tobytes()
        content[-4:] = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"damaged|expected"):
        opened(store).read(1)


def test_uneven_coordinates_are_refused(tmp_path: Path) -> None:
    store = written(tmp_path, numbers("uint16"), attributes={"proj:code": UTM}, dimension_names=("y", "x"))
    coordinates(store, "float64", uneven=3.0)
    with pytest.raises(RefusedArrayError, match="no even grid"):
        opened(store)
    asset = asset_in(store, tmp_path, numbers("uint16"))
    with pytest.raises(UnreadableError, match="no even grid") as refused:
        read_asset(asset, NATIVE, resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href)
    assert refused.value.final


def test_a_store_names_its_only_array_or_is_asked_for_one(tmp_path: Path) -> None:
    values = numbers("uint16")
    store = written(tmp_path, values)
    with pytest.warns(match="onsolidated"):
        zarr.consolidate_metadata(store)
    assert np.array_equal(opened(store, "").read(1), values)
    zarr.open_group(store, mode="a").create_array("nir", shape=(4, 4), dtype="u1")
    with pytest.warns(match="onsolidated"):
        zarr.consolidate_metadata(store)
    with pytest.raises(RefusedArrayError, match=r"which of its arrays: nir, red"):
        opened(store, "")


@pytest.mark.parametrize("fault", ["500", "429", "503", "cut", "short"])
def test_faults_over_http_change_no_pixel(tmp_path: Path, fault: str) -> None:
    values = numbers("uint16")
    told = {"proj:code": UTM, "proj:transform": [*NATIVE.affine]}
    store = written(tmp_path, values, chunks=(20, 20), shards=(40, 60), attributes=told)
    reading = Reading(retry=RetryPolicy(attempts=6, first_wait_s=0.001, longest_wait_s=0.002))
    for when in range(0, 12, 3):
        close_files()
        with serve(tmp_path, lambda number, when=when: fault if when <= number < when + 2 else None) as server:
            asset = asset_in(server.href(store.name), tmp_path, values)
            sign = partial(str, asset.href)
            found = read_asset(asset, NATIVE, resampling="nearest", reading=reading, sign=sign)
        assert np.array_equal(found.values, values)


def test_a_chunk_that_is_refused_over_http_is_no_fill(tmp_path: Path) -> None:
    values = numbers("uint16")
    told = {"proj:code": UTM, "proj:transform": [*NATIVE.affine]}
    store = written(tmp_path, values, attributes=told)
    with serve(tmp_path, lambda number: "403" if number > 2 else None) as server:
        asset = asset_in(server.href(store.name), tmp_path, values)
        with pytest.raises(UnreadableError, match="403"):
            read_asset(asset, NATIVE, resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href)


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ("X-One: 1,X-Two: 2", ("1", "2")),
        ('"X-One: 1, 2",X-Two: "a \\"b\\" c"', ("1, 2", 'a "b" c')),
        ("X-One: Bearer a.b=,", ("Bearer a.b=", None)),
        ("X-One: 1, 2\r\nX-Two: 3", ("1, 2", "3")),
        ("no header,X-Two: 2,Range: bytes=0-1", (None, "2")),
    ],
)
def test_the_headers_that_a_user_sends_with_every_request_are_sent(
    tmp_path: Path, headers: str, sent: tuple[str | None, ...]
) -> None:
    """As GDAL sends them with requests for other files."""
    values = numbers("uint16")
    store = written(tmp_path, values, attributes={"proj:code": UTM, "proj:transform": [*NATIVE.affine]})
    with serve(tmp_path) as server:
        asset = asset_in(server.href(store.name), tmp_path, values)
        reading = replace(ONE_TRY, gdal={"GDAL_HTTP_HEADERS": headers})
        found = read_asset(asset, NATIVE, resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert {(each.get("x-one"), each.get("x-two")) for each in server.headers} == {sent}
    assert np.array_equal(found.values, values)


@pytest.mark.parametrize("headers", ["X-One: caf\u00e9", "X-One: a\x01b", "X-One: \u20ac,X-Two: 2"])
def test_headers_that_http_does_not_send_are_refused_without_being_shown(tmp_path: Path, headers: str) -> None:
    values = numbers("uint16")
    store = written(tmp_path, values, attributes={"proj:code": UTM, "proj:transform": [*NATIVE.affine]})
    with serve(tmp_path) as server:
        asset = asset_in(server.href(store.name), tmp_path, values)
        reading = replace(ONE_TRY, gdal={"GDAL_HTTP_HEADERS": headers})
        with pytest.raises(UnreadableError, match="write ASCII") as refused:
            read_asset(asset, NATIVE, resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert headers.partition(": ")[2] not in str(refused.value)


@pytest.mark.parametrize("first", [True, False])
def test_shards_in_a_bucket(tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    values = numbers("uint16")
    told = {"proj:code": UTM, "proj:transform": [*NATIVE.affine]}
    store = tmp_path / "scene.zarr"
    place = ShardingCodec(chunk_shape=(20, 20), index_location="start" if first else "end")
    array = zarr.create(
        shape=values.shape, chunks=(40, 60), dtype="uint16", codecs=[place], store=store, path="red", zarr_format=3
    )
    array[...] = values
    array.attrs.update(told)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    bucket = f"shards-{first}".lower()
    client.create_bucket(Bucket=bucket)
    for path in store.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, f"a/{path.relative_to(tmp_path)}")
    asset = asset_in(f"s3://{bucket}/a/scene.zarr", tmp_path, values)
    reading = Reading(gdal=reading_settings(), retry=RetryPolicy(attempts=1))
    found = read_asset(asset, NATIVE, resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert np.array_equal(found.values, values)
