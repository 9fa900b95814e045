"""Cards of one answer a window whose answer numpy computes, and jobs over places of a small world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import COL, CRS, ROW, World, write_card
from tilewright.flows.job.job import Job, make_job

WINDOW = 16
FLOAT = TensorProto.FLOAT
CUT = 0.31
VECTOR = {"dims": ("batch", "class"), "classes": ["low", "high"], "tw:activation": "softmax"}


def label_card(folder: Path, *, window: int = WINDOW, **entry: Any) -> Path:
    """The card of a label and its confidence: "high" where the window's mean is above CUT."""
    draft = Draft()
    mean = draft.node("Flatten", draft.node("GlobalAveragePool", "x"))
    away = draft.node("Mul", draft.node("Sub", mean, draft.constant([CUT])), draft.constant([20.0]))
    scores = draft.node("Concat", draft.node("Neg", away), away, axis=1)
    size = window or "side"
    model = draft.model_many([("x", FLOAT, ["batch", 1, size, size])], [(scores, "y", FLOAT, ["batch", 2])])
    tile = {"window": window, "step": None} if window else None
    outputs = [{"name": "y", "tw:layers": ["class", "confidence"], **VECTOR}]
    return write_card(folder, model, inputs=[{"name": "x", "bands": ["red"], **entry}], outputs=outputs, tile=tile)


def expected_label(mean: float) -> tuple[int, int]:
    """The class and the confidence in percent of a window of that mean."""
    high = 1 / (1 + np.exp(-40 * (np.float64(mean) - CUT)))
    return int(high > 0.5), round(100 * max(high, 1 - high))


def write_points(path: Path, rows: Any, cols: Any, **columns: Any) -> Path:
    """Points at (row, col) of the world's pixels, fractions of pixels included, as GeoParquet."""
    points = [shapely.Point((COL + col) * 10.0, -(ROW + row) * 10.0) for row, col in zip(rows, cols, strict=True)]
    geopandas.GeoDataFrame(columns, geometry=points, crs=CRS).to_parquet(path)
    return path


def places_job(world: World, card: Path, places: object, output: Path, **changes: Any) -> Job:
    """A job over places on the world's grid."""
    plain = {
        "name": "world",
        "places": str(places) if isinstance(places, Path) else places,
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "grid": {"crs": CRS},
        **changes,
    }
    return make_job(plain, base=output.parent, output=str(output))


def window_of(values: np.ndarray, row: float, col: float, *, window: int = WINDOW) -> np.ndarray:
    """The window around the pixel that holds a point, NaN beyond the world."""
    rows = np.arange(window) + int(np.floor(row)) - window // 2
    cols = np.arange(window) + int(np.floor(col)) - window // 2
    height, width = values.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    here = values[np.clip(rows, 0, height - 1)[:, None], np.clip(cols, 0, width - 1)]
    return np.where(inside, here, np.nan)
