"""A LightGBM model as ONNX whose float32 thresholds decide as the double ones do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

# The newest that onnxmltools 1.16 writes.
OPSET = 15


def boosting_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The graph (rows of `n_features` float32 -> label and probabilities, or one value) of an estimator or Booster.

    LightGBM compares with double thresholds, ONNX with float32 ones. Rounded to the nearest, a threshold may pass a
    value that lay just below it; rounded down, `x <= threshold` is the same for every float32 `x`.
    """
    from lightgbm import Booster
    from onnxmltools.convert.common.data_types import FloatTensorType
    from onnxmltools.convert.main import convert_lightgbm

    booster = getattr(estimator, "booster_", estimator)
    return convert_lightgbm(
        Booster(model_str=rounded_thresholds(booster.model_to_string())),
        initial_types=[("rows", FloatTensorType([None, n_features]))],
        target_opset=OPSET,
        zipmap=False,
    )


def rounded_thresholds(text: str) -> str:
    """LightGBM's text of a model with every threshold the largest float32 that is not above it."""
    # Sizes of trees in bytes no longer hold; without that line LightGBM reads tree after tree.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^threshold=(.*)$", _rounded_line, text, flags=re.MULTILINE)


def _rounded_line(line: re.Match[str]) -> str:
    return "threshold=" + " ".join(repr(_rounded_down(float(word))) for word in line[1].split())


def _rounded_down(value: float) -> float:
    nearest = np.float32(value)
    return float(nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf)))
