"""An index of a product's vectors, by which those that are alike are found without comparing all: nearly, and fast.

Vectors lie in as many lists as the root of their number, by the nearest of as many centres; a search looks into the
lists of some of them. How many that are is measured when the index is made: so many that it finds most of what is
exactly nearest to some of the vectors.

The lists are made piece by piece, so that memory holds a piece and what the centres are trained on, and joined on disk.

Source: faiss, https://github.com/facebookresearch/faiss/wiki/Faiss-indexes, IVF with vectors in float16.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.embeddings.nearest import NOBODY, Nearest, scores
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from tilewright.tasks.embeddings.stored_vectors import StoredVectors, Vectors
    from tilewright.tasks.grid.pixel_box import PixelBox

FORMAT = 3
"""Raised when indexes are made in another way, so that none of an earlier version is used."""

SEAL = b"tilewright find\n"
"""The last bytes of an index's file. Before them stand its facts (JSON) and their length: what an index is of is in the
same file, so that no other one's can stand beside it."""

LENGTH_BYTES, LONGEST_FACTS = 8, 4096
"""Bytes of the length of the facts, and of these."""

SECTION = b"ilar"
"""The word in an index's file before its lists. Source: faiss, impl/index_write.cpp, write_InvertedLists."""

PIECE_BYTES = 2**28
"""Bytes of vectors in float16 that are in memory at a time while an index is made."""

TRAINED_ON = 40
"""Vectors for each list by which its centre is found. Source: faiss warns of fewer than 39."""

ASKED, BEST = 32, 10
"""Vectors whose nearest are looked for, and how many of these, when the recall is measured."""

WANTED = 0.95
"""Share of the exactly nearest that is to be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """Of which product an index is (``key``), how many lists it looks into, the share of the nearest that it found, and
    the ``size`` in bytes of its file without the facts.
    """

    key: str
    vectors: int
    lists: int
    probes: int
    recall: float
    size: int
    format: int = FORMAT


def faiss_library() -> Any:
    """The module faiss. Raises StoreError where it is not installed."""
    try:
        return import_module("faiss")
    except ImportError as error:
        raise StoreError(
            "--index needs faiss: pip install -c constraints.txt -e '.[find]' in Tilewright's folder, or "
            "leave it out: find is exact."
        ) from error


def known_index(path: Path, key: str) -> IndexFacts | None:
    """The facts of an index that is of the product with this ``key``; None for one of another, or for none.

    Raises StoreError for a file that is there and is no whole index of ours.
    """
    try:
        told, size = _sealed(path)
        # One of another version is made anew.
        facts = IndexFacts(**told) if told.get("format") == FORMAT else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path} is there and is no whole index of find: remove it if it was one, or give another place."
        ) from error
    if facts is None or facts.key != key:
        return None
    whole = (
        type(facts.probes) is int and facts.probes > 0 and isinstance(facts.recall, float) and 0 <= facts.recall <= 1
    )
    return facts if whole and facts.size == size else None


def _sealed(path: Path) -> tuple[Any, int]:
    """What a file says of itself at its end, and the bytes before that. Raises ValueError where it says nothing."""
    if not path.is_file():
        # A folder, a pipe or a device is none.
        raise ValueError("no file") if os.path.lexists(path) else FileNotFoundError(path)
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END) - len(SEAL) - LENGTH_BYTES
        file.seek(max(0, end))
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if file.read() != SEAL or not 0 < length <= min(LONGEST_FACTS, end):
            raise ValueError("no seal")
        file.seek(end - length)
        return json.loads(file.read(length)), end - length


def build_index(vectors: StoredVectors, path: Path, key: str) -> IndexFacts:
    """Make the index of all vectors of a product in a file, and measure its recall.

    In memory are at most ``PIECE_BYTES`` of vectors, and those that the centres are trained on: some forty for each of
    as many lists as the root of their number. On disk the vectors lie twice until the lists are joined.

    Raises StoreError where there is no vector or the file cannot be written, and what reading raises.
    """
    faiss = faiss_library()
    extent = vectors.grid.extent
    n = sum(len(each.rows) for each in vectors.batches(extent))
    if not n:
        raise StoreError(f"{vectors.storage.uri} has no vector to make an index of.")
    n_lists = max(1, min(math.isqrt(n), n // TRAINED_ON))
    trained_on = _sample(vectors, n, most=n_lists * TRAINED_ON)
    by_product = vectors.metric != "euclidean"
    metric = faiss.METRIC_INNER_PRODUCT if by_product else faiss.METRIC_L2
    centres = faiss.IndexFlatIP(vectors.length) if by_product else faiss.IndexFlatL2(vectors.length)
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(centres, vectors.length, n_lists, kind, metric)
    index.train(_prepared(trained_on, vectors.metric))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tilewright-") as folder:
            draft = Path(folder) / path.name
            _join(faiss, index, _pieces(faiss, index, vectors, Path(folder)), draft)
            probes, recall = _measured(
                faiss.read_index(str(draft), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY), vectors, trained_on
            )
            size = draft.stat().st_size
            facts = IndexFacts(key=key, vectors=n, lists=n_lists, probes=probes, recall=recall, size=size)
            _put(draft, path, facts)
    except (OSError, RuntimeError) as error:
        if isinstance(error, (StorageError, ChangedStoreError)):
            raise
        raise StoreError(f"The index {path} cannot be written: {str(error)[:160]}.") from error
    return facts


def _pieces(faiss: Any, index: Any, vectors: StoredVectors, folder: Path) -> list[Path]:
    """Files of the trained index with some of the vectors each, in the order in which they are read."""
    pieces: list[Path] = []
    extent = vectors.grid.extent
    at_once = max(1, PIECE_BYTES // (2 * vectors.length))

    def write() -> None:
        pieces.append(folder / f"piece-{len(pieces)}")
        faiss.write_index(index, str(pieces[-1]))
        index.reset()

    for each in vectors.batches(extent):
        index.add_with_ids(_prepared(each.values, vectors.metric), _numbers(each, extent))
        if index.ntotal >= at_once:
            write()
    if index.ntotal:
        write()
    return pieces


def _join(faiss: Any, index: Any, pieces: list[Path], path: Path) -> None:
    """Write the file of the trained index with the lists of all pieces, each list of one piece after another.

    It is the file that faiss writes of lists in memory, which it also reads as they lie on the disk.
    """
    opened = [faiss.read_index(str(piece), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY) for piece in pieces]
    lists = [each.invlists for each in opened]
    sizes = np.array([[own.list_size(number) for own in lists] for number in range(index.nlist)], dtype=np.uint64)
    index.ntotal = int(sizes.sum())
    head = faiss.serialize_index(index).tobytes()
    with path.open("wb") as file:
        file.write(head[: head.rindex(SECTION)] + SECTION)
        file.write(np.array([index.nlist, index.code_size], dtype=np.uint64).tobytes() + b"full")
        file.write(np.uint64(index.nlist).tobytes() + sizes.sum(axis=1, dtype=np.uint64).tobytes())
        for number, own in enumerate(sizes.tolist()):
            some = [(each, n) for each, n in zip(lists, own, strict=True) if n]
            for each, n in some:
                file.write(faiss.rev_swig_ptr(each.get_codes(number), n * index.code_size).tobytes())
            for each, n in some:
                file.write(faiss.rev_swig_ptr(each.get_ids(number), n).tobytes())


def nearest_by_index(vectors: StoredVectors, path: Path, facts: IndexFacts, query: np.ndarray, *, most: int) -> Nearest:
    """At most so many vectors that are most alike a query, nearly; their scores are exact.

    Raises StoreError for a damaged index, and what reading raises.
    """
    faiss, extent = faiss_library(), vectors.grid.extent
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        if (index.d, index.ntotal) != (vectors.length, facts.vectors):
            raise RuntimeError("it holds other vectors")
        if known_index(path, facts.key) != facts:
            raise RuntimeError("another one took its place meanwhile")
        numbers = _asked(index, _prepared(query[np.newaxis], vectors.metric), probes=facts.probes, most=most)[0]
    except (RuntimeError, AttributeError, AssertionError, MemoryError) as error:
        raise StoreError(f"The index {path} cannot be read ({str(error)[:80]}): remove it.") from error
    numbers = numbers[(numbers >= 0) & (numbers < math.prod(extent.shape))]
    rows, cols = (numbers // extent.shape[1] + extent.row_start, numbers % extent.shape[1] + extent.col_start)
    places = zip(rows.tolist(), cols.tolist(), strict=True)
    found = [(row, col, value) for row, col in places if (value := vectors.at(row, col)) is not None]
    if not found:
        return NOBODY
    exact = scores(np.stack([value for _, _, value in found]), query, vectors.metric)
    rows, cols = (np.array([each[axis] for each in found], dtype=np.int64) for axis in (0, 1))
    order = np.lexsort([cols, rows, -exact])
    return Nearest(rows=rows[order], cols=cols[order], scores=exact[order])


def _prepared(values: np.ndarray, metric: str) -> np.ndarray:
    """Vectors (n, number) float32 as they are compared: of length 1 for the cosine."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if metric != "cosine":
        return values
    sizes = np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(np.divide(values, sizes, out=np.zeros_like(values), where=sizes > 0))


def _numbers(each: Vectors, extent: PixelBox) -> np.ndarray:
    return np.asarray((each.rows - extent.row_start) * extent.shape[1] + each.cols - extent.col_start, dtype=np.int64)


def _sample(vectors: StoredVectors, n: int, *, most: int) -> np.ndarray:
    """At most so many of ``n`` vectors (number, length), spread evenly over the order in which they are read."""
    wanted = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
    found: list[np.ndarray] = []
    first = 0
    for each in vectors.batches(vectors.grid.extent):
        inside = wanted[(wanted >= first) & (wanted < first + len(each.rows))] - first
        found.append(each.values[inside])
        first += len(each.rows)
    return np.concatenate(found)


def _asked(index: Any, queries: np.ndarray, *, probes: int, most: int) -> np.ndarray:
    index.nprobe = probes
    return np.asarray(index.search(queries, min(most, index.ntotal))[1])


def _measured(index: Any, vectors: StoredVectors, sample: np.ndarray) -> tuple[int, float]:
    """The fewest lists (a power of two) by which enough of what is exactly nearest is found, and the share found.

    What is as much alike as the last of the exactly nearest counts as one of them.
    """
    queries = sample[np.linspace(0, len(sample) - 1, min(ASKED, len(sample))).astype(np.int64)]
    prepared = _prepared(queries, vectors.metric)
    settings = [1 << bit for bit in range((index.nlist - 1).bit_length())] + [index.nlist]
    answers = {probes: _asked(index, prepared, probes=probes, most=BEST) for probes in settings}
    least, known = _exact(vectors, queries, [np.unique(each) for each in zip(*answers.values(), strict=True)])
    recalls = {
        probes: float(np.mean([_share(*each) for each in zip(answer, known, least, strict=True)]))
        for probes, answer in answers.items()
    }
    probes = next((probes for probes, recall in recalls.items() if recall >= WANTED), index.nlist)
    return probes, recalls[probes]


def _share(numbers: np.ndarray, known: dict[int, float], last: float) -> float:
    """The share of the vectors found that are as much alike as the ``last`` of the nearest."""
    asked = numbers[numbers >= 0].tolist()
    return sum(known[number] >= last for number in asked) / len(numbers)


def _exact(
    vectors: StoredVectors, queries: np.ndarray, asked: list[np.ndarray]
) -> tuple[list[float], list[dict[int, float]]]:
    """For each query the score of the last of the nearest, and the scores of the vectors ``asked`` for by number; of
    one reading of all vectors.
    """
    best: list[np.ndarray] = [np.zeros(0)] * len(queries)
    known: list[dict[int, float]] = [{} for _ in queries]
    for each in vectors.batches(vectors.grid.extent):
        numbers, values = _numbers(each, vectors.grid.extent), each.values.astype(np.float64)
        for place, query in enumerate(queries):
            found = scores(values, query, vectors.metric)
            best[place] = np.sort(np.concatenate([best[place], found]))[-BEST:]
            there = np.isin(numbers, asked[place])
            known[place].update(zip(numbers[there].tolist(), found[there].tolist(), strict=True))
    return [float(each[0]) for each in best], known


def _put(draft: Path, path: Path, facts: IndexFacts) -> None:
    """Seal an index with its facts and put it in its place at once: whoever reads finds it, or what was there."""
    told = json.dumps(asdict(facts), sort_keys=True).encode()
    with draft.open("ab") as file:
        file.write(told + len(told).to_bytes(LENGTH_BYTES, "little") + SEAL)
    draft.replace(path)
