"""The codecs of a Zarr v3 array, decoded into no more bytes than the array says: nothing in a chunk decides on memory.

Source: Zarr v3 core specification and its codecs bytes, gzip, zstd, blosc, crc32c and sharding_indexed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd

from tilewright.tasks.read.zarr3.objects import RefusedArrayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


CHECKSUM_BYTES = 4

ZSTD_FRAME = b"\x28\xb5\x2f\xfd"

SHARDS = "sharding_indexed"

READ = "bytes, zstd, gzip, blosc, crc32c and sharding_indexed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """The way from the bytes of a chunk to its numbers: their byte order, and the ``steps`` in which they were written.

    A step is zstd, gzip, blosc or crc32c; at most one of them compresses.
    """

    order: Literal["<", ">", "|"]
    steps: tuple[str, ...]

    def decode(self, content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> NDArray[Any]:
        """The numbers (of ``shape``) of a chunk, in the machine's byte order.

        Raises OSError for content that is not that of such a chunk.
        """
        stored = dtype.newbyteorder(self.order)
        sizes = [int(np.prod(shape, dtype=object)) * stored.itemsize]
        for step in self.steps:
            sizes.append(sizes[-1] + CHECKSUM_BYTES if step == "crc32c" else -1)
        for step, size in zip(reversed(self.steps), reversed(sizes[:-1]), strict=True):
            content = _STEPS[step](content, size)
        if len(content) != sizes[0]:
            raise OSError(f"a chunk has {len(content):,} bytes decoded, and {sizes[0]:,} are expected")
        return np.frombuffer(content, dtype=stored).reshape(shape).astype(dtype, copy=False)


def read_codecs(told: Any, dtype: np.dtype) -> Codecs:
    """The codecs of a chunk from a list in a document. Raises RefusedArrayError for those that are not read here."""
    names = [_name(each) for each in told] if isinstance(told, list) else []
    if not names or names[0] != "bytes" or SHARDS in names:
        _refuse(names)
    steps = tuple(names[1:])
    if any(step not in _STEPS for step in steps) or sum(step != "crc32c" for step in steps) > 1:
        _refuse(names)
    endian = settings_of(told[0]).get("endian", "little")
    if endian not in ("little", "big"):
        _refuse([f"bytes with endian {endian!r}"[:60]])
    return Codecs(order="|" if dtype.itemsize == 1 else ">" if endian == "big" else "<", steps=steps)


def settings_of(codec: Any) -> dict[str, Any]:
    """The configuration of a codec, empty without one."""
    found = codec.get("configuration") if isinstance(codec, dict) else None
    return found if isinstance(found, dict) else {}


def _name(codec: Any) -> str:
    name = codec.get("name") if isinstance(codec, dict) else codec
    return name if isinstance(name, str) else "?"


def _refuse(names: list[str]) -> None:
    listed = ", ".join(names)[:200] or "none"
    raise RefusedArrayError(f"its codecs are {listed}, of which {READ} are read, one compression at most")


def _zstd(content: bytes, size: int) -> bytes:
    out = np.empty(size, np.uint8)
    try:
        Zstd().decode(content, out)
        # The library leaves what a shorter content does not reach as it was, and by now it is known to be no longer.
        n_bytes = size if _zstd_size(content) in (None, size) else len(Zstd().decode(content))
    except (RuntimeError, ValueError) as error:
        raise OSError(f"a chunk is damaged (zstd: {error})") from None
    if n_bytes != size:
        raise OSError(f"a chunk is damaged (zstd: it has {n_bytes:,} bytes, and {size:,} are expected)")
    return out.tobytes()


def _zstd_size(content: bytes) -> int | None:
    """The bytes that the first frame says to have; None without a word. Source: RFC 8878, section 3.1.1.1."""
    if content[:4] != ZSTD_FRAME:
        return 0
    kind, single, dictionary = content[4] >> 6, content[4] >> 5 & 1, (0, 1, 2, 4)[content[4] & 3]
    length = (single, 2, 4, 8)[kind]
    start = 5 + (1 - single) + dictionary
    told = int.from_bytes(content[start : start + length], "little") + (256 if kind == 1 else 0)
    return told if length else None


def _blosc(content: bytes, size: int) -> bytes:
    # Its header says how many bytes come out and go in, and the library believes it; source: Blosc chunk format.
    told = int.from_bytes(content[4:8], "little"), int.from_bytes(content[12:16], "little")
    if len(content) < 16 or told != (size, len(content)):
        raise OSError(f"a chunk is damaged (blosc: its header does not say {size:,} of {len(content):,} bytes)")
    out = np.empty(size, np.uint8)
    try:
        Blosc().decode(content, out)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"a chunk is damaged (blosc: {error})") from None
    return out.tobytes()


def _gzip(content: bytes, size: int) -> bytes:
    unpack = zlib.decompressobj(wbits=31)
    try:
        found = unpack.decompress(content, size + 1)
    except zlib.error as error:
        raise OSError(f"a chunk is damaged (gzip: {error})") from None
    if not unpack.eof:
        raise OSError("a chunk is damaged (gzip: it goes on, or ends before its checksum)")
    return found


def _crc32c(content: bytes, size: int) -> bytes:
    body, stated = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if len(stated) != CHECKSUM_BYTES or google_crc32c.value(body) != int.from_bytes(stated, "little"):
        raise OSError("a chunk is damaged: its checksum (crc32c) is another one")
    return body


_STEPS: dict[str, Callable[[bytes, int], bytes]] = {"zstd": _zstd, "blosc": _blosc, "gzip": _gzip, "crc32c": _crc32c}
