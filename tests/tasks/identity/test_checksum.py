"""Stated checksums: every hash that is known, and texts that are none."""

from __future__ import annotations

import hashlib

import pytest

from tilewright.catalogs.sources.source import Source
from tilewright.tasks.identity.checksum import ChecksumError, Multihash, hashed
from tilewright.tasks.identity.web import NoIdentityError

HERE = Source(name="here", kind="files", href="/")
"""A source on this disk, whose files may lie anywhere."""

CONTENT = bytes(range(256)) * 9000

STATED = [
    ("sha1", "1114"),
    ("sha224", "93201c"),
    ("sha256", "1220"),
    ("sha384", "2030"),
    ("sha512", "1340"),
    ("sha3_224", "171c"),
    ("sha3_256", "1620"),
    ("sha3_384", "1530"),
    ("sha3_512", "1440"),
    ("md5", "d50110"),
    ("blake2b", "c0e40240"),
    ("blake2s", "e0e40220"),
]
"""Hashes and how their multihashes begin: the code, a varint, and the length. Source: multicodec, table.csv."""


@pytest.mark.parametrize(("name", "prefix"), STATED)
@pytest.mark.parametrize("upper", [False, True])
def test_every_known_hash_is_that_of_the_whole_file(tmp_path, name, prefix, upper):
    path = tmp_path / "a.tif"
    path.write_bytes(CONTENT)
    digest = hashlib.new(name, CONTENT).hexdigest()
    stated = Multihash.of(prefix + (digest.upper() if upper else digest))
    assert (stated.name, stated.digest) == (name, digest)
    assert hashed(str(path), stated, signed=str(path), identity=None, source=HERE) == digest


def test_shorter_blake2_is_a_hash_of_its_own(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(CONTENT)
    digest = hashlib.blake2b(CONTENT, digest_size=32).hexdigest()
    stated = Multihash.of(f"a0e40220{digest}")
    assert hashed(str(path), stated, signed=str(path), identity=None, source=HERE) == digest


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("", "no multihash"),
        ("zz", "no multihash"),
        ("12", "no multihash"),
        ("1220", "has 0 bytes and states 32"),
        ("1220" + "00" * 31, "has 31 bytes and states 32"),
        ("1210" + "00" * 16, "has 16 bytes and states 16"),
        ("1e20" + "00" * 32, "the code 0x1e is not known"),
        ("0020" + "00" * 32, "the code 0x0 is not known"),
        ("80" * 12, "no multihash"),
        ("ff" * 8 + "7f20" + "00" * 32, "is not known"),
        ("sha256:" + "00" * 32, "no multihash"),
    ],
)
def test_what_is_no_checksum_of_a_known_kind_is_named(stated, words):
    with pytest.raises(ChecksumError, match=words):
        Multihash.of(stated)


def test_a_store_and_a_file_that_is_not_there_have_none(tmp_path):
    stated = Multihash.of("1220" + "00" * 32)
    for name in ("a.zarr/red", "none.tif"):
        with pytest.raises(NoIdentityError):
            hashed(str(tmp_path / name), stated, signed=str(tmp_path / name), identity=None, source=HERE)
