"""Identities: what each place tells of a file, what changes them, and what holds a server to them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pytest
import zarr

from tests.support.http_servers import QuietHandler
from tests.support.places import BucketPlace, web_place
from tilewright.catalogs.hrefs import without_secrets
from tilewright.catalogs.s3 import S3Settings
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sources.source import Source
from tilewright.tasks.identity.disk import disk_identity, store_identity
from tilewright.tasks.identity.identity import headers_identity, precondition, strength, tag_identity
from tilewright.tasks.identity.register import Register
from tilewright.tasks.identity.take import changed_identities, present_identity, take_identities
from tilewright.tasks.identity.web import NoIdentityError

HERE = Source(name="here", kind="files", href="/")
"""A source on this disk, whose files may lie anywhere."""

DATE = "Sat, 01 Jan 2022 00:00:00 GMT"
SECONDS = 1_640_995_200


def same(href: str) -> str:
    return href


@pytest.mark.parametrize(
    ("headers", "size", "identity", "condition", "told"),
    [
        ({"ETag": '"abc-12"', "Last-Modified": DATE}, 7, "etag:abc-12", ("If-Match", '"abc-12"'), "exact"),
        ({"ETag": '"0x8D=="'}, 7, "etag-hex:307838443d3d", ("If-Match", '"0x8D=="'), "exact"),
        ({"ETag": '"a b,c\\d"'}, 7, "etag-hex:6120622c635c64", ("If-Match", '"a b,c\\d"'), "exact"),
        ({"ETag": '"\xe9"'}, 7, "etag-hex:c3a9", None, "exact"),
        ({"Last-Modified": DATE}, 7, f"seen:7:{SECONDS}", ("If-Unmodified-Since", DATE), "weak"),
        ({"Last-Modified": DATE}, None, f"seen::{SECONDS}", ("If-Unmodified-Since", DATE), "weak"),
        ({"ETag": 'W/"abc"'}, 7, "seen:7::6212f2152be6ad0f", None, "weak"),
        ({"ETag": "abc"}, 7, "seen:7::ba7816bf8f01cfea", None, "weak"),
        ({"ETag": '""'}, 7, "seen:7::12ae32cb1ec02d01", None, "weak"),
        ({"Last-Modified": "yesterday"}, 7, "size:7", None, "untold"),
        ({}, 0, "size:0", None, "untold"),
        ({}, None, None, None, None),
    ],
)
def test_what_a_server_says_of_a_file(headers, size, identity, condition, told):
    found = headers_identity(headers, size=size)
    assert found == identity
    assert precondition(found) == condition
    assert (None if found is None else strength(found)) == told


@pytest.mark.parametrize("tag", ["sig=abc", "token=1&key=2", "https://user:pw@host/x?sig=1", "Bearer abcdefgh1234"])
def test_no_tag_of_a_server_looks_like_a_secret_that_is_cut_from_plans(tag):
    assert without_secrets(tag_identity(tag)) == tag_identity(tag)


def test_a_tag_of_endless_length_is_none_that_is_sent_back():
    found = headers_identity({"ETag": f'"{"a" * 100_000}"'}, size=1)
    assert found is not None
    assert len(found) < 100
    assert precondition(found) is None


@pytest.mark.parametrize(
    "name", ["a.tif.msk", "a.tif.ovr", "a.tif.aux.xml", "a.tfw", "a.tifw", "a.wld", "a.tif.msk.ovr"]
)
def test_files_that_gdal_reads_beside_one_belong_to_it(tmp_path, name):
    path = tmp_path / "a.tif"
    path.write_bytes(b"1")
    before = disk_identity(str(path))
    (tmp_path / name).write_bytes(b"2")
    beside = disk_identity(str(path))
    (tmp_path / name).write_bytes(b"33")
    assert len({before, beside, disk_identity(str(path))}) == 3


def test_a_file_that_is_replaced_with_its_size_and_mtime_is_another_one(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"1")
    before, status = disk_identity(str(path)), path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert disk_identity(str(path)) != before


def write_store(path: Path, zarr_format: int) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    for name in ("red", "nir"):
        array = group.create_array(name, shape=(8, 8), chunks=(4, 4), dtype="uint16")
        array[:] = np.arange(64).reshape(8, 8)
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_chunk_of_an_array_in_a_local_store_belongs_to_it_and_no_other_array(tmp_path, zarr_format):
    store = write_store(tmp_path / "a.zarr", zarr_format)
    before = {name: store_identity(str(store), name) for name in ("red", "nir")}
    zarr.open_group(store)["red"][0, 0] = 7  # type: ignore[index]
    assert store_identity(str(store), "red") != before["red"]
    assert store_identity(str(store), "nir") == before["nir"]
    with pytest.raises(NoIdentityError):
        present_identity(str(tmp_path / "no.zarr"), signed=str(tmp_path / "no.zarr"), source=HERE)


def test_of_a_store_on_a_server_the_documents_alone_are_seen(tmp_path):
    write_store(tmp_path / "a.zarr", 2)
    with web_place(tmp_path, "etag") as place:
        href = place.href("a.zarr/red")
        before = present_identity(href, signed=href, source=HERE)
        assert before is not None
        assert strength(before) == "weak"
        (tmp_path / "a.zarr/red/.zarray").touch()
        assert present_identity(href, signed=href, source=HERE) != before


def test_an_object_and_a_store_in_a_bucket_are_told_by_their_tags(moto, tmp_path, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto,
        "AWS_REQUEST_PAYER": "requester",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    client.create_bucket(Bucket="inputs")
    files = tmp_path / "files"
    files.mkdir()
    (files / "one.tif").write_bytes(b"1")
    place = BucketPlace(files, client, "inputs")
    s3 = S3Settings(endpoint=moto, key="testing", secret="testing", request_payer="requester")  # noqa: S106

    def now(name: str) -> str | None:
        return present_identity(place.href(name), signed=place.href(name), source=replace(HERE, s3=s3))

    first = now("one.tif")
    place.put("one.tif", files / "one.tif")
    assert now("one.tif") == first, "the same bytes are the same object"
    (tmp_path / "two").write_bytes(b"2")
    place.put("one.tif", tmp_path / "two")
    assert now("one.tif") != first
    with pytest.raises(NoIdentityError):
        now("none.tif")
    store = write_store(tmp_path / "a.zarr", 2)
    for path in (path for path in store.rglob("*") if path.is_file()):
        client.upload_file(str(path), "inputs", f"a.zarr/{path.relative_to(store)}")
    before = {name: now(f"a.zarr/{name}") for name in ("red", "nir")}
    client.put_object(Bucket="inputs", Key="a.zarr/red/0.0", Body=b"other")
    assert now("a.zarr/red") != before["red"]
    assert now("a.zarr/nir") == before["nir"]
    with pytest.raises(NoIdentityError):
        now("b.zarr/red")


def test_a_page_to_log_in_is_no_file(serve):
    class Login(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.send_response(200)
            for name, value in (("Content-Type", "text/html; charset=utf-8"), ("ETag", '"1"'), ("Content-Length", "2")):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"<>")

    with pytest.raises(NoIdentityError, match="HTML"):
        present_identity("x", signed=f"{serve(Login)}/a.tif", source=HERE)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://169.254.169.254/latest", "/again"])
def test_a_redirect_leads_nowhere_else(serve, target):
    class Elsewhere(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(NoIdentityError):
        present_identity("x", signed=f"{serve(Elsewhere)}/a.tif", source=HERE)


def test_behind_one_name_there_may_be_servers_with_tags_of_their_own(serve):
    class Turns(QuietHandler):
        n = 0

        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            type(self).n += 1
            self.send_response(206)
            self.send_header("ETag", f'"{self.n % 2}"')
            self.send_header("Content-Range", "bytes 0-0/9")
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"x")

    href = f"{serve(Turns)}/a.tif"
    planned = {href: present_identity(href, signed=href, source=HERE) or ""}
    assert [changed_identities(planned, sign=same, source=HERE)[0] for _ in range(4)] == [{}] * 4


def test_a_host_that_does_not_answer_is_not_asked_for_every_file():
    hrefs = [f"http://127.0.0.1:9/{number}.tif" for number in range(2000)]
    found = take_identities(hrefs, sign=same, source=HERE, budget_s=20)
    assert {taken.identity for taken in found.values()} == {None}
    assert sum(taken.reason == "its host does not answer" for taken in found.values()) > 1000


def test_what_is_not_told_in_time_is_left_for_later(serve):
    import time

    class Late(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            time.sleep(2)

    began = time.monotonic()
    url = serve(Late)
    found = take_identities([f"{url}/{n}.tif" for n in range(8)], sign=same, source=HERE, budget_s=0.3)
    assert time.monotonic() - began < 2
    assert {taken.reason for taken in found.values()} == {"no answer in 0.3 s"}


def test_an_href_is_asked_for_once_and_through_its_signature(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"1")
    with web_place(tmp_path, "etag") as place:
        hrefs = [place.href("a.tif")] * 5
        found = take_identities(hrefs, sign=lambda href: f"{href}?sig=abc", source=HERE)
        assert place.asked == ["/a.tif?sig=abc"]
        assert list(found) == hrefs[:1]


def test_a_file_without_an_identity_in_the_plan_is_held_to_the_first_one_that_was_read(tmp_path):
    told = iter(["etag:1", "etag:2"])
    register = Register()
    asset = BandAsset(
        band="red", key="red", href="h", index=1, dtype="uint8", nodata=None, scale=1, offset=0, unit="1", crs="",
        shape=None, transform=None, checksum=None,
    )  # fmt: skip
    held = [register.held(asset, lambda: "h", lambda href, signed: next(told)) for _ in range(2)]
    assert [each.holding for each in held] == ["etag:1", "etag:1"]


def test_a_link_is_the_file_that_it_leads_to(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    link = tmp_path / "link.tif"
    link.symlink_to(tmp_path / "a")
    before = disk_identity(str(link))
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert disk_identity(str(link)) != before
    shutil.rmtree(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        disk_identity(str(link))
