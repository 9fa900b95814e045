"""The windows or pixels of a finished product whose vectors are most alike that of a place, or one given."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.ask.export import exported_tables, local_table
from tilewright.flows.ask.queries import DEGREES, given_vector, place_of, read_vector, vector_at, words_vector
from tilewright.flows.environment import storage_options
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.tasks.embeddings.index import build_index, faiss_library, known_index, nearest_by_index
from tilewright.tasks.embeddings.nearest import nearest
from tilewright.tasks.embeddings.stored_vectors import open_vectors
from tilewright.tasks.embeddings.window_table import window_squares
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.grid.grid import project_area
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.geoparquet import whole_table
from tilewright.tasks.tables.vector_file import GeometryTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.embeddings.index import IndexFacts
    from tilewright.tasks.embeddings.nearest import Nearest
    from tilewright.tasks.embeddings.stored_vectors import StoredVectors
    from tilewright.tasks.progress import Listener

MOST = 10_000
"""Rows that are asked for at most: who wants more wants the table."""

DECIMALS = 7
"""Of degrees: a centimetre, as RFC 7946 recommends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """The rows found, the best first, as a table in the grid's CRS, and their centres (lon, lat) in degrees.

    ``compared``: the vectors that were; None where an ``index`` was asked, which has this ``recall``.
    """

    table: GeometryTable
    centres: np.ndarray
    metric: str
    compared: int | None
    recall: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The rows and what is known of them as JSON values."""
        scores = self.table.columns["score"].to_pylist()
        return {
            "rows": [
                {"rank": rank, "score": score, "lon": lon, "lat": lat}
                for rank, (score, (lon, lat)) in enumerate(zip(scores, self.centres.tolist(), strict=True), start=1)
            ],
            "metric": self.metric,
            "exact": self.recall is None,
            "compared": self.compared,
            **({} if self.recall is None else {"recall": self.recall}),
        }

    def lines(self, to: Path | None) -> Iterator[str]:
        """The rows as text for a person, with what is known of them."""
        yield f"{'rank':>6}  {'score':>12}  {'lon':>12}  {'lat':>11}"
        for row in self.to_json()["rows"]:
            yield f"{row['rank']:>6}  {row['score']:>12.6g}  {row['lon']:>12.6f}  {row['lat']:>11.6f}"
        if self.recall is None:
            yield f"Of {self.compared:,} vectors, all compared by {self.metric}."
        else:
            share = f"{self.recall:.1%} of the nearest of some of the product's own vectors"
            yield f"Found by an index, which finds {share}; scores are exact."
        if to is not None:
            yield f"  rows  {to}"


def find_alike(
    output: str,
    *,
    like: tuple[float, float] | None = None,
    vector: np.ndarray | None = None,
    text: str | None = None,
    k: int = 10,
    within: object = None,
    index: Path | None = None,
    listener: Listener = silent,
) -> Alike:
    """The ``k`` windows (or pixels) of a finished product that are most alike the place ``like`` (longitude, latitude),
    which is among them, a ``vector``, or words (``text``, by the text model of the card); the best first, of equal ones
    the northern, then the western.

    ``within``: an area as in a job, in which a window's centre must lie. ``index``: a file by which they are found
    nearly; it is made where it is not there, or is of another product.

    Raises a ValueError that names what cannot be, StorageError if storage refuses, ChangedStoreError for what is
    damaged.
    """
    _check((like, vector, text), k, within=within, index=index)
    storage = open_storage(output, options=storage_options(output))
    if index is not None and storage.folder is not None and storage.folder.resolve() in index.resolve().parents:
        raise StoreError(f"--index {index} lies in the product, which stays as it is: give a place beside it.")
    item = read_item(storage)
    if item is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then find in it.")
    vectors = open_vectors(storage)
    if text is not None:
        vector = words_vector(storage, text)
    query = given_vector(vectors, vector) if vector is not None else vector_at(vectors, *place_of(like))
    area = None if within is None else _area(within, vectors)
    with ExitStack() as stack:
        assets, key = exported_tables(item), product_key(vectors)
        facts = None if index is None else known_index(index, key)
        if vectors.per_window and vectors.name in assets and facts is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            vectors = replace(vectors, table=local_table(storage, vectors.name, assets[vectors.name], folder))
        if index is not None:
            facts = facts or _made(vectors, index, key, listener)
            best = nearest_by_index(vectors, index, facts, query, most=k)
            return _found(vectors, best, compared=None, recall=facts.recall)
        box, inside = _inside(vectors, area)
        best, n = nearest(vectors.batches(box), query, metric=vectors.metric, most=k, inside=inside)
    if not n and area is not None:
        raise StoreError(f"--within holds the centre of no {_noun(vectors)} of {output} that has a vector: widen it.")
    return _found(vectors, best, compared=n)


def find(
    output: object,
    *,
    like: tuple[float, float] | None = None,
    vector: Any = None,
    text: str | None = None,
    k: int = 10,
    within: object = None,
    index: str | Path | None = None,
) -> Any:
    """What ``find_alike`` finds in a product (its folder, its URI, or a `Product`), as a pyarrow table: ``rank``,
    ``score`` and ``geometry``, WKB in the grid's CRS, told by the metadata ``geo`` as in GeoParquet.

    ``vector``: numbers, or the path of a file of numpy. Raises as ``find_alike`` does.
    """
    given = getattr(output, "output", output)
    if not isinstance(given, (str, os.PathLike)):
        raise StoreError("A product is given by its folder or URI.")
    from_file = isinstance(vector, (str, os.PathLike))
    found = find_alike(
        os.fspath(given),
        like=like,
        vector=read_vector(Path(vector)) if from_file else vector,
        text=text,
        k=k,
        within=within,
        index=None if index is None else Path(index),
    )
    return whole_table(found.table.columns, found.table.geometries, crs=found.table.crs)


def _check(asked: tuple[object, ...], k: object, *, within: object, index: Path | None) -> None:
    if sum(each is not None for each in asked) != 1:
        raise StoreError("Say what to look for, and once: --like LON,LAT, --vector FILE.npy or --text WORDS.")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
        raise StoreError(f"-k is {k}: give a whole number from 1 to {MOST:,}.")
    if index is not None and within is not None:
        raise StoreError("--index looks through the whole product: leave --within or --index out.")
    if index is not None and not index.parent.is_dir():
        raise StoreError(f"--index {index} cannot be written: {index.parent} is no folder.")


def _area(within: object, vectors: StoredVectors) -> BaseGeometry:
    try:
        given = os.fspath(within) if isinstance(within, os.PathLike) else within
        area = project_area(read_area(given, base=Path.cwd()).geometry, vectors.grid.crs)
    except AreaError as error:
        raise StoreError(f"--within: {error}") from error
    if not np.isfinite(area.bounds).all():
        raise StoreError(f"--within lies where {vectors.grid.crs} has no place: give an area in the product.")
    return area


def _inside(
    vectors: StoredVectors, area: BaseGeometry | None
) -> tuple[PixelBox, Callable[[np.ndarray, np.ndarray], np.ndarray] | None]:
    """The box of pixels to look through, and which of them have their centre in the area; None for all."""
    extent, size = vectors.grid.extent, vectors.grid.resolution
    if area is None:
        return extent, None
    left, bottom, right, top = area.bounds
    box = PixelBox(
        row_start=math.floor(-top / size), row_stop=math.ceil(-bottom / size) + 1,
        col_start=math.floor(left / size), col_stop=math.ceil(right / size) + 1,
    )  # fmt: skip
    shapely.prepare(area)

    def inside(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return np.asarray(shapely.intersects_xy(area, (cols + 0.5) * size, -(rows + 0.5) * size))

    return box.intersect(extent), inside


def _made(vectors: StoredVectors, path: Path, key: str, listener: Listener) -> IndexFacts:
    faiss_library()
    listener(Notice(text=f"Making the index {path} of all vectors."))
    return build_index(vectors, path, key)


def product_key(vectors: StoredVectors) -> str:
    """Of what an index is: the product's settings, and when it was made."""
    report = read_object(vectors.storage, "report.json") or {}
    told = [report.get("key"), report.get("finished"), vectors.name, [*vectors.array.shape], vectors.metric]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _found(vectors: StoredVectors, best: Nearest, *, compared: int | None, recall: float | None = None) -> Alike:
    pa, size = pyarrow(), vectors.grid.resolution
    rank = np.arange(1, len(best.rows) + 1)
    x, y = (best.cols + 0.5) * size, -(best.rows + 0.5) * size
    lonlat = transformer(vectors.grid.crs, DEGREES).transform(x, y)
    return Alike(
        table=GeometryTable(
            name="found",
            geometries=window_squares(size, best.rows, best.cols),
            columns=pa.table({"rank": pa.array(rank, type=pa.int64()), "score": pa.array(best.scores)}),
            crs=vectors.grid.crs,
        ),
        centres=np.round(np.stack(lonlat, axis=-1), DECIMALS).reshape(-1, 2),
        metric=vectors.metric,
        compared=compared,
        recall=recall,
    )


def _noun(vectors: StoredVectors) -> str:
    return "window" if vectors.per_window else "pixel"
