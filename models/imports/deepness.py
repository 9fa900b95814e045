"""The metadata that Deepness, a plugin of QGIS, reads from an ONNX file: JSON values by key.

Source: Deepness documentation, "Adding metadata to ONNX model"; its models take RGB pictures of 0 to 255 as 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.fields import TwiceError, load_json
from tilewright.models.errors import CardError
from tilewright.models.fields import is_number, shorten
from tilewright.models.imports.found import MODEL, ForeignModel, classes_of, numbered, of_bytes, z_score
from tilewright.models.imports.yolo import tell_boxes

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.imports.signature import Signature

DETECTORS: Final = {
    "YOLO_v5_or_v7_default": "objectness",
    "YOLO_v6": "objectness",
    "YOLO_v9": "classes",
    "YOLO_Ultralytics": "classes",
    "YOLO_Ultralytics_obb": "turned",
}
"""What stands in the output of a detector, by `det_type`."""

TYPES: Final = ("segmentor", "regressor", "detector")


def is_deepness(signature: Signature) -> bool:
    """Whether a graph has such metadata."""
    return "model_type" in signature.metadata


def read_deepness(path: Path, signature: Signature) -> ForeignModel:
    """What the metadata of a graph says. Raises CardError for metadata that is no JSON, and for a type not run."""
    told = {key: _value(key, text) for key, text in signature.metadata.items() if key in _KEYS}
    kind = str(told["model_type"]).lower()
    if kind not in TYPES:
        raise CardError(f"model_type is {shorten(told['model_type'])} in {path.name}; run are {', '.join(TYPES)}")
    if len(signature.inputs) != 1:
        raise CardError(f"{path.name} has {len(signature.inputs)} inputs; Deepness knows models of one")
    found = ForeignModel(
        format="metadata of Deepness",
        graph=path,
        inputs={name: {} for name in signature.inputs},
        outputs={name: {} for name in signature.outputs},
    )
    _tell_input(found, told)
    if kind == "detector":
        _tell_detector(found, told, signature)
    for name in signature.outputs if kind != "detector" else ():
        _tell_raster(found, name, kind, told)
    return found


_KEYS: Final = (
    "model_type", "class_names", "resolution", "tile_size", "tiles_size", "tiles_overlap", "seg_thresh",
    "seg_small_segment", "reg_output_scaling", "det_conf", "det_iou_thresh", "det_type", "standardization_mean",
    "standardization_std",
)  # fmt: skip


def _value(key: str, text: str) -> Any:
    try:
        return load_json(text)
    except TwiceError as error:
        raise CardError(f"{key} of the ONNX file's metadata: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"{key} of the ONNX file's metadata is {shorten(text)}, which is no JSON; mend it") from error


def _tell_input(found: ForeignModel, told: dict[str, Any]) -> None:
    (name,) = found.inputs
    mean, deviation = (told.get(f"standardization_{each}") for each in ("mean", "std"))
    if mean is None and deviation is None:
        found.tell_picture(name, of_bytes(), "pictures of 0 to 255, as Deepness gives them")
    else:
        means, deviations = _numbers("standardization_mean", mean), _numbers("standardization_std", deviation)
        scaling = z_score(means, deviations, scale=1 / 255)
        found.tell_picture(name, scaling, "standardization_mean, standardization_std")
    if "resolution" in told:
        found.tell(name, "tw:resolution", _number("resolution", told["resolution"]) / 100, "resolution, in centimetres")
    size = told.get("tile_size", told.get("tiles_size"))
    if size is not None:
        found.tell(MODEL, "window", int(_number("tiles_size", size)), "tiles_size")


def _tell_raster(found: ForeignModel, name: str, kind: str, told: dict[str, Any]) -> None:
    if kind == "regressor":
        if told.get("reg_output_scaling", 1) != 1:
            found.cannot("reg_output_scaling", "multiplies the result: put the factor into the graph")
        found.tell(name, "tasks", ["regression"], "model_type")
        return
    found.tell(name, "tasks", ["semantic-segmentation"], "model_type")
    names = _class_names(told)
    if names:
        found.tell(name, "classification:classes", classes_of(names), "class_names")
    if len(names) == 2 and "seg_thresh" in told:
        found.tell(name, "tw:threshold", _number("seg_thresh", told["seg_thresh"]), "seg_thresh")
    if told.get("seg_small_segment"):
        found.cannot("seg_small_segment", "takes small shapes out: ask for polygons with least_area in the job")


def _tell_detector(found: ForeignModel, told: dict[str, Any], signature: Signature) -> None:
    kind = told.get("det_type", "YOLO_v5_or_v7_default")
    if not isinstance(kind, str) or kind not in DETECTORS:
        raise CardError(f"det_type is {shorten(kind)}; read are {', '.join(DETECTORS)}")
    names = _class_names(told)
    if not names:
        raise CardError("class_names is missing in the ONNX file's metadata: they tell a detector's channels")
    rule: dict[str, float] = {}
    for key, to in (("det_conf", "least_score"), ("det_iou_thresh", "iou")):
        if key in told:
            rule[to] = _number(key, told[key])
    tell_boxes(found, signature, names, form=DETECTORS[kind], rule=rule, where="det_type, class_names")


def _class_names(told: dict[str, Any]) -> dict[int, str]:
    names = told.get("class_names")
    return numbered(names, where="class_names of the ONNX file's metadata") if names else {}


def _number(key: str, value: Any) -> float:
    if not is_number(value) or value <= 0:
        raise CardError(f"{key} of the ONNX file's metadata is {shorten(value)}; expected a number above 0")
    return float(value)


def _numbers(key: str, values: Any) -> list[float]:
    if not isinstance(values, list) or not values or not all(is_number(value) for value in values):
        raise CardError(f"{key} of the ONNX file's metadata is {shorten(values)}; expected a number per band")
    return [float(value) for value in values]
