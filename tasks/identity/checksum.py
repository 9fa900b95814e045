"""The checksum that a source states for a file, as a multihash, and the whole file hashed to compare with it.

Source: multiformats, "Multihash" and its table multicodec/table.csv; STAC extension `file`, `file:checksum`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import scheme_of, split_store
from tilewright.tasks.identity.bucket import open_bucket
from tilewright.tasks.identity.identity import precondition
from tilewright.tasks.identity.web import LONGEST_S, NoIdentityError, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tilewright.catalogs.s3 import S3Settings
    from tilewright.catalogs.sources.source import Source


PIECE = 1 << 20
"""Bytes hashed at a time."""

HASHES = {
    0x11: "sha1",
    0x12: "sha256",
    0x13: "sha512",
    0x14: "sha3_512",
    0x15: "sha3_384",
    0x16: "sha3_256",
    0x17: "sha3_224",
    0x20: "sha384",
    0x1013: "sha224",
    0xD5: "md5",
}
"""Hashes by their code; BLAKE2 has one for each length."""

BLAKE2B, BLAKE2S = 0xB200, 0xB240
"""The codes before those of blake2b with 1 to 64 bytes and of blake2s with 1 to 32."""


class ChecksumError(ValueError):
    """A stated checksum that is none, or of a kind that is not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multihash:
    """A stated checksum: `new()` starts the hash, `digest` is what it must end with, in hex."""

    name: str
    digest: str
    new: Callable[[], Any]

    @classmethod
    def of(cls, stated: str) -> Multihash:
        """The checksum that a text states, in hex of either case. Raises ChecksumError."""
        try:
            content = bytes.fromhex(stated.strip())
            code, rest = _varint(content)
            length, digest = _varint(rest)
        except (ValueError, IndexError) as error:
            raise ChecksumError(f"{stated[:80]!r} is no multihash in hex") from error
        name, new = _hash_of(code)
        if length != len(digest) or length != new().digest_size:
            raise ChecksumError(f"{stated[:80]!r} is no {name}: it has {len(digest)} bytes and states {length}")
        return cls(name=name, digest=digest.hex(), new=new)


def hashed(href: str, like: Multihash, *, signed: str, identity: str | None, source: Source) -> str:
    """The digest in hex of a whole file by the hash of a stated checksum, read in pieces.

    Raises NoIdentityError where the file cannot be read to its end, or is not the one with that identity.
    """
    began, hash_ = time.monotonic(), like.new()
    if split_store(href) is not None:
        raise NoIdentityError("a Zarr store is many files and has no checksum")
    try:
        for piece in _pieces(signed, identity, source):
            hash_.update(piece)
            if time.monotonic() - began > LONGEST_S:
                raise NoIdentityError(f"it takes longer than {LONGEST_S:.0f} s to read")
    except (OSError, ValueError, CatalogError) as error:
        raise NoIdentityError(f"it cannot be read ({type(error).__name__})") from error
    return str(hash_.hexdigest())


def _pieces(signed: str, identity: str | None, source: Source) -> Iterator[bytes]:
    scheme, condition = scheme_of(signed), precondition(identity)
    if scheme == "file":
        with open(signed.removeprefix("file://"), "rb") as file:  # noqa: PTH123
            yield from iter(partial(file.read, PIECE), b"")
    elif scheme == "s3":
        yield from _object_pieces(signed, source.s3)
    else:
        yield from body_of(signed, dict([condition]) if condition else {}, piece=PIECE, source=source)


def _object_pieces(href: str, s3: S3Settings) -> Iterator[bytes]:
    import obstore  # noqa: PLC0415

    bucket, _, key = href[len("s3://") :].partition("/")
    try:
        for piece in obstore.get(open_bucket(bucket, s3), key).stream(PIECE):
            yield bytes(piece)
    except obstore.exceptions.BaseError as error:
        raise NoIdentityError(f"the bucket does not give it ({type(error).__name__})") from error


def _hash_of(code: int) -> tuple[str, Callable[[], Any]]:
    if code in HASHES:
        return HASHES[code], partial(hashlib.new, HASHES[code], usedforsecurity=False)
    if BLAKE2B < code <= BLAKE2S:
        return "blake2b", partial(hashlib.blake2b, digest_size=code - BLAKE2B)
    if BLAKE2S < code <= BLAKE2S + 32:
        return "blake2s", partial(hashlib.blake2s, digest_size=code - BLAKE2S)
    raise ChecksumError(f"the hash with the code {code:#x} is not known here")


def _varint(content: bytes) -> tuple[int, bytes]:
    """(number, rest) of bytes that begin with an unsigned varint of at most 9 bytes."""
    number = 0
    for place, byte in enumerate(content[:9]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, content[place + 1 :]
    raise ValueError("a varint that does not end")
