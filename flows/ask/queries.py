"""The vector that is looked for in a product: that of a place, of a file, or of words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tilewright.flows.plan.model_card import load_plan_card, model_references
from tilewright.flows.run.existing import read_existing
from tilewright.models.card.registry import is_remote
from tilewright.models.run.text import open_text
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.embeddings.stored_vectors import StoredVectors
    from tilewright.tasks.storage.storage import Storage

LARGEST_FILE = 2**20
"""Bytes of a file of one vector: that of the longest, as float64, has a fifteenth."""

DEGREES = "OGC:CRS84"


def read_vector(path: Path) -> np.ndarray:
    """The vector (number,) in a file of numpy (.npy). Raises StoreError for anything else."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise StoreError(f"{path} is larger than a vector: give a file of one.")
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} cannot be read as a vector: save one with numpy.save(FILE, vector).") from error
    if not isinstance(found, np.ndarray):
        raise StoreError(f"{path} holds several arrays: save one vector with numpy.save(FILE, vector).")
    return found


def read_place(text: str) -> tuple[float, float]:
    """The longitude and latitude of "LON,LAT". Raises StoreError for anything else."""
    try:
        lon, lat = (float(each) for each in text.split(","))
    except ValueError:
        raise StoreError(f"--like is {text[:60]!r}: write LON,LAT in degrees, such as 13.4,48.2.") from None
    return place_of((lon, lat))


def place_of(like: object) -> tuple[float, float]:
    """The longitude and latitude of a pair of numbers. Raises StoreError for anything else."""
    pair = tuple(like) if isinstance(like, (tuple, list, np.ndarray)) else ()
    if len(pair) != 2 or not all(isinstance(each, (int, float, np.number)) for each in pair):
        raise StoreError("A place is its longitude and latitude in degrees.")
    lon, lat = (float(each) for each in pair)
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise StoreError(
            f"--like is {lon:g},{lat:g}: longitudes are -180 to 180, latitudes -90 to 90, longitude first."
        )
    return lon, lat


def given_vector(vectors: StoredVectors, vector: object) -> np.ndarray:
    """The vector (number,) float32 that is given, as those of a product are. Raises StoreError for another one."""
    found = np.asarray(vector)
    if found.dtype.kind not in "fiu" or found.shape not in {(vectors.length,), (1, vectors.length)}:
        shape = " x ".join(map(str, found.shape)) or "one"
        raise StoreError(
            f"The vector is of {shape} {found.dtype.name[:20]} numbers, and those of the product are of "
            f"{vectors.length}: give one made by the same model."
        )
    with np.errstate(over="ignore"):
        query = found.reshape(-1).astype(np.float32)
    if not np.isfinite(query).all():
        raise StoreError("The vector holds numbers that are not finite: give one without NaN and infinities.")
    return _with_direction(query, vectors)


def _with_direction(query: np.ndarray, vectors: StoredVectors) -> np.ndarray:
    if vectors.metric == "cosine" and not query.any():
        raise StoreError("The vector is all zeros, which is alike no other by the cosine: give another one.")
    return query


def _pixel_of(vectors: StoredVectors, lon: float, lat: float) -> tuple[int, int] | None:
    """The absolute pixel (row, column) that holds a place; None for one outside the product."""
    size, extent = vectors.grid.resolution, vectors.grid.extent
    x, y = transformer(DEGREES, vectors.grid.crs).transform(lon, lat)
    row, col = (math.floor(each / size) if math.isfinite(each) else -(2**62) for each in (-y, x))
    inside = extent.row_start <= row < extent.row_stop and extent.col_start <= col < extent.col_stop
    return (row, col) if inside else None


def vector_at(vectors: StoredVectors, lon: float, lat: float) -> np.ndarray:
    """The vector of the window or pixel in which a place lies. Raises StoreError where there is none."""
    place = _pixel_of(vectors, lon, lat)
    if place is None:
        other = _pixel_of(vectors, lat, lon)
        swapped = f" Longitude comes first: {lat:g},{lon:g} lies in it." if other is not None else ""
        raise StoreError(
            f"--like {lon:g},{lat:g} lies outside the product {vectors.storage.uri}: give a place in it.{swapped}"
        )
    found = vectors.at(*place)
    if found is None:
        raise StoreError(f"--like {lon:g},{lat:g} has no vector: nothing was seen there, or it is outside the area.")
    return _with_direction(found, vectors)


def words_vector(storage: Storage, words: str) -> np.ndarray:
    """The vector of words by the text model of the card that a product was made with.

    Raises StoreError for a product whose plan or model may not be followed, CardError for a card without text model and
    for words that cannot be.
    """
    existing = read_existing(storage)
    if existing is None:
        raise StoreError(f"{storage.uri} has no plan any more, which names the model of its words: restore it.")
    plan = existing.plan()
    # A model is code, and who wrote the plan may have written both.
    if storage.folder is None and (model := next((name for name in model_references(plan) if is_remote(name)), None)):
        raise StoreError(
            f"The plan at {storage.uri} names a model to fetch and run, {model[:80]}, which no product of another "
            "place may choose: copy the product to a folder, if you trust whoever made both."
        )
    return open_text(load_plan_card(plan)).vector(words)
