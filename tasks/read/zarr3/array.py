"""What the document of a Zarr v3 array says: its shape, type, chunks, shards and codecs, each checked before use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.read.zarr3.codecs import SHARDS, Codecs, read_codecs, settings_of
from tilewright.tasks.read.zarr3.objects import RefusedArrayError

if TYPE_CHECKING:
    from collections.abc import Mapping


TYPES = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"}
)

MOST_CHUNK = 2**28
"""Bytes of a decoded chunk: a whole Sentinel-2 tile of 10 m in one has 241 million."""

MOST_PARTS = 2**20
"""Chunks of a shard, whose index has 16 bytes for each."""

MOST_BANDS = 4096

LONGEST_SIDE = 2**31 - 1

KEYS = frozenset(
    {
        *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value"),
        *("codecs", "attributes", "storage_transformers", "dimension_names"),
    }
)
"""Of the document of an array."""

LEAST_PIXELS = 64
"""Of a chunk: each costs a request or the opening of a file."""

X_NAMES = ("x", "lon", "longitude", "long", "easting", "projection_x_coordinate", "col", "column", "columns")

Y_NAMES = ("y", "lat", "latitude", "northing", "projection_y_coordinate", "row", "rows")

DATE_NAMES = ("time", "t", "date", "datetime")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFacts:
    """A Zarr v3 array of one to three dimensions.

    ``chunk`` is what is decoded at once; ``shard`` the shape of an object that holds several of them, the chunk's own
    where it holds one. ``index`` are the codecs of a shard's index, None without shards, which lies at its end or, with
    ``index_first``, at its beginning. ``separator`` and ``prefix`` make the names of objects.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    codecs: Codecs
    index: Codecs | None
    index_first: bool
    separator: str
    prefix: str
    fill: float | int
    names: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def parts(self) -> tuple[int, ...]:
        """The chunks of a shard in each dimension."""
        return tuple(a // b for a, b in zip(self.shard, self.chunk, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunk) * self.dtype.itemsize

    def key(self, place: tuple[int, ...]) -> str:
        """The name of the object at a place of the grid of shards."""
        return self.separator.join([*([self.prefix] if self.prefix else []), *map(str, place)])


def read_array(document: Mapping[str, Any]) -> ArrayFacts:
    """The facts of an array from its zarr.json. Raises RefusedArrayError for one that is not read here."""
    if document.get("node_type") != "array":
        raise RefusedArrayError(
            "the href names a group of the Zarr store: name one of its arrays, or state zarr:node_type: group in the "
            "asset, with bands named like the arrays"
        )
    if document.get("storage_transformers"):
        raise RefusedArrayError("it has storage transformers, which are not read")
    if (strange := next((key for key, each in document.items() if _must_be_known(key, each)), None)) is not None:
        raise RefusedArrayError(f"its document has the extension {strange[:40]!r}, which is not known here")
    dtype = _dtype(document.get("data_type"))
    shape = _sizes(document.get("shape"), "shape", most=LONGEST_SIDE)
    grid = document.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise RefusedArrayError("its chunks are no regular grid")
    outer = _sizes(settings_of(grid).get("chunk_shape"), "chunk_shape", most=LONGEST_SIDE, n=len(shape))
    told = document.get("codecs")
    only = told[0] if isinstance(told, list) and len(told) == 1 and isinstance(told[0], dict) else {}
    sharded = only.get("name") == SHARDS
    inner, codecs, index, first = _sharding(only, outer, dtype) if sharded else (outer, None, None, False)
    attributes = document.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    facts = ArrayFacts(
        shape=shape,
        dtype=dtype,
        chunk=inner,
        shard=outer,
        codecs=codecs or read_codecs(told, dtype),
        index=index,
        index_first=first,
        **_naming(document.get("chunk_key_encoding")),
        fill=_fill(document.get("fill_value"), dtype),
        names=_names(document.get("dimension_names"), attributes.get("_ARRAY_DIMENSIONS"), n=len(shape)),
        attributes=attributes,
    )
    if facts.chunk_bytes > MOST_CHUNK or math.prod(facts.parts) > MOST_PARTS:
        raise RefusedArrayError(
            f"its chunks have {facts.chunk_bytes:,} bytes, {math.prod(facts.parts):,} in an object; at most "
            f"{MOST_CHUNK:,} and {MOST_PARTS:,} are read"
        )
    return facts


def _must_be_known(key: str, told: Any) -> bool:
    """True for an extension that may change what chunks mean. Source: Zarr v3 core, "Extension points"."""
    return key not in KEYS and not (isinstance(told, dict) and told.get("must_understand") is False)


def refused_raster(facts: ArrayFacts) -> str | None:
    """The reason why an array is no raster of (y, x), or of bands before them, in chunks of a size to read, or None.

    Names alone tell the order: dimensions without any are taken to be in this one.
    """
    if len(facts.shape) < 2 or (len(facts.shape) == 3 and facts.shape[0] > MOST_BANDS):
        return f"the array has the shape {facts.shape}: rows and columns are read, or bands of them"
    if (pixels := math.prod(facts.chunk[-2:])) < min(LEAST_PIXELS, math.prod(facts.shape[-2:])):
        return f"its chunks are of {pixels} pixels, and of {LEAST_PIXELS} at least they are read"
    if facts.dtype.kind == "i" and str(facts.attributes.get("_Unsigned")).lower() == "true":
        return f"its numbers are stored as {facts.dtype}, and are meant without a sign (_Unsigned), which is not read"
    *before, down, across = (name.lower() for name in facts.names or [""] * len(facts.shape))
    if down in X_NAMES or across in Y_NAMES or any(name in (*X_NAMES, *Y_NAMES) for name in before):
        named = ", ".join(facts.names)[:80]
        return f"its dimensions are {named}: rows (y) and columns (x) are read, in this order, and bands before them"
    if len(before) == 1 and before[0] in DATE_NAMES and facts.shape[0] > 1:
        return f"it holds {facts.shape[0]:,} dates ({facts.names[0]}), and nothing says which of them the item means"
    return None


def number_of(value: Any) -> float | None:
    """A number in a document, NaN and infinity too; None for what is none, or larger than a float can be."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _names(told: Any, in_attributes: Any, *, n: int) -> tuple[str, ...]:
    """The names of the dimensions, an empty one for each that has none; none at all where not all n are told."""
    for each in (told, in_attributes):
        if isinstance(each, list) and len(each) == n:
            return tuple(name if isinstance(name, str) else "" for name in each)
    return ()


def _dtype(told: Any) -> np.dtype:
    if not isinstance(told, str) or told not in TYPES:
        raise RefusedArrayError(f"its numbers are of type {str(told)[:40]!r}, which is not read")
    return np.dtype(told)


def _sizes(told: Any, what: str, *, most: int, n: int | None = None) -> tuple[int, ...]:
    """Whole numbers from 1 on, one to three of them, or n."""
    fits = isinstance(told, list) and 1 <= len(told) <= 3 and (n is None or len(told) == n)
    if not fits or not all(isinstance(each, int) and not isinstance(each, bool) and 1 <= each <= most for each in told):
        raise RefusedArrayError(
            f"its {what} is {str(told)[:60]}: arrays of rows and columns are read, and of bands before them"
        )
    return tuple(told)


def _sharding(
    codec: Mapping[str, Any], outer: tuple[int, ...], dtype: np.dtype
) -> tuple[tuple[int, ...], Codecs, Codecs, bool]:
    """(shape of a chunk, its codecs, those of the index, whether the index comes first) of shards."""
    told = settings_of(codec)
    inner = _sizes(told.get("chunk_shape"), "chunk_shape of shards", most=LONGEST_SIDE, n=len(outer))
    if any(whole % part for whole, part in zip(outer, inner, strict=True)):
        raise RefusedArrayError(f"its shards of {outer} are no whole number of chunks of {inner}")
    index = read_codecs(told.get("index_codecs"), np.dtype("uint64"))
    if any(step != "crc32c" for step in index.steps):
        raise RefusedArrayError("the index of its shards is compressed, which is not read")
    place = told.get("index_location", "end")
    if place not in ("start", "end"):
        raise RefusedArrayError(f"the index of its shards lies at {str(place)[:40]!r}")
    return inner, read_codecs(told.get("codecs"), dtype), index, place == "start"


def _naming(told: Any) -> dict[str, str]:
    """How objects are named. Source: Zarr v3 core, "Chunk key encoding": default (c/0/1) and v2 (0.1)."""
    name = told.get("name") if isinstance(told, dict) else told
    separator = settings_of(told).get("separator", "." if name == "v2" else "/")
    if name not in ("default", "v2") or separator not in ("/", "."):
        raise RefusedArrayError(f"its objects are named by {str(name)[:40]!r}, which is not read")
    return {"separator": separator, "prefix": "c" if name == "default" else ""}


def _fill(told: Any, dtype: np.dtype) -> float | int:
    """The number of chunks that are not there; for floats also by name, or as hexadecimal bits."""
    floats = dtype.kind == "f"
    if floats and isinstance(told, str):
        known = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
        if told in known:
            return known[told]
        try:
            bits = int(told, 16).to_bytes(dtype.itemsize, "big") if told.startswith("0x") else b""
        except (ValueError, OverflowError):
            bits = b""
        if bits:
            return float(np.frombuffer(bits, dtype=dtype.newbyteorder(">"))[0])
    number = number_of(told)
    if floats and number is not None:
        return number
    if not floats and number is not None and number.is_integer():
        limits = np.iinfo(dtype)
        if limits.min <= told <= limits.max:
            return int(told)
    raise RefusedArrayError(f"its fill_value is {str(told)[:40]!r}, which is no {dtype}")
