"""A scikit-learn or LightGBM estimator as ONNX with one output: probabilities, or values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tilewright.models.export.facts import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.export.facts import ExportFacts


SKLEARN_OPSETS = {"": 17, "ai.onnx.ml": 3}

MAX_REASON = 200

LABEL_OUTPUTS = ("label", "output_label")

# The newest opset that onnxmltools 1.16 writes.
LIGHTGBM_OPSET = 15


def tree_graph(estimator: Any, facts: ExportFacts) -> bytes:
    """The bytes of the ONNX file of a fitted estimator: rows of features in, scores or values out.

    Raises ExportError if a converter is missing, or the estimator does not fit the facts.
    """
    entry, output = _input_and_output(facts)
    n_features = facts.input_shape(entry)[1]
    n_fitted = getattr(estimator, "n_features_in_", n_features)
    if n_fitted != n_features:
        raise ExportError(
            f"{facts.name}: the estimator was fitted on {n_fitted} features, the facts name {len(entry.bands)} bands "
            f"of {entry.n_steps} steps: {n_features}"
        )
    if output.classes:
        _check_classes(estimator, facts)
    model = _converted(estimator, n_features)
    return _one_output(model, entry.name, output.name, scores=bool(output.classes))


def tree_outputs(estimator: Any, facts: ExportFacts, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    """The estimator's own outputs for the rows: (row, class) probabilities or (row, value) values, in a list of one."""
    _, output = _input_and_output(facts)
    if output.classes:
        return [np.asarray(estimator.predict_proba(rows))]
    return [np.asarray(estimator.predict(rows)).reshape(len(rows), -1)]


def _input_and_output(facts: ExportFacts) -> tuple[Any, Any]:
    if not facts.rows or len(facts.inputs) != 1 or len(facts.outputs) != 1:
        raise ExportError(f"{facts.name}: an estimator takes rows and has one input and one output; set rows=True")
    return facts.inputs[0], facts.outputs[0]


def _check_classes(estimator: Any, facts: ExportFacts) -> None:
    values = [each.value for each in facts.outputs[0].classes]
    fitted = [int(each) for each in getattr(estimator, "classes_", values)]
    if fitted != values:
        raise ExportError(f"{facts.name}: the estimator was fitted on classes {fitted}, the facts list {values}")
    if not hasattr(estimator, "predict_proba"):
        raise ExportError(f"{facts.name}: the estimator has no predict_proba, so it gives no scores of classes")


def _converted(estimator: Any, n_features: int) -> onnx.ModelProto:
    boosting = type(estimator).__module__.partition(".")[0] == "lightgbm"
    try:
        return boosting_graph(estimator, n_features) if boosting else _sklearn_graph(estimator, n_features)
    except ImportError as error:
        raise ExportError(
            f"{error.name} is not installed here; pip install -c constraints.txt -e '.[export]' in Tilewright's folder"
        ) from error
    except Exception as error:
        # The converters raise errors of any class, and some messages hold the whole model.
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise ExportError(f"{type(estimator).__name__} cannot be converted to ONNX: {reason}") from error


def _sklearn_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.convert import to_onnx

    rows: Any = [("rows", FloatTensorType([None, n_features]))]
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    return to_onnx(estimator, initial_types=rows, target_opset=SKLEARN_OPSETS, options=options)


def _one_output(model: onnx.ModelProto, input_name: str, output_name: str, *, scores: bool) -> bytes:
    """The graph with its one input and its one output renamed, without the nodes that only compute labels."""
    outputs = [each.name for each in model.graph.output]
    kept = next((name for name in outputs if name not in LABEL_OUTPUTS), outputs[0]) if scores else outputs[0]
    extractor = onnx.utils.Extractor(model)
    small = extractor.extract_model([model.graph.input[0].name], [kept])
    names = {model.graph.input[0].name: input_name, kept: output_name}
    for node in small.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*small.graph.input, *small.graph.output):
        value.name = names.get(value.name, value.name)
    serialised: bytes = small.SerializeToString(deterministic=True)
    return serialised


def boosting_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The graph (rows of `n_features` float32 -> label and probabilities, or one value) of an estimator or Booster.

    LightGBM compares with double thresholds, ONNX with float32 ones. A threshold rounded up to a float32
    would let pass a value that is above the double; rounded down, `x <= threshold` is the same for every float32 `x`.
    """
    from lightgbm import Booster
    from onnxmltools.convert.common.data_types import FloatTensorType
    from onnxmltools.convert.main import convert_lightgbm

    booster = getattr(estimator, "booster_", estimator)
    return convert_lightgbm(
        Booster(model_str=rounded_thresholds(booster.model_to_string())),
        initial_types=[("rows", FloatTensorType([None, n_features]))],
        target_opset=LIGHTGBM_OPSET,
        zipmap=False,
    )


def rounded_thresholds(text: str) -> str:
    """The text of a LightGBM model in which each threshold is the largest float32 that is not above the original."""
    # The sizes of the trees in bytes no longer hold; without that line LightGBM reads tree after tree.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^threshold=(.*)$", _rounded_line, text, flags=re.MULTILINE)


def _rounded_line(line: re.Match[str]) -> str:
    return "threshold=" + " ".join(repr(_rounded_down(float(word))) for word in line[1].split())


def _rounded_down(value: float) -> float:
    nearest = np.float32(value)
    return float(nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf)))
