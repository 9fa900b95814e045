"""The metadata that Ultralytics' exporter writes into an ONNX file: Python values by key.

Source: ultralytics/engine/exporter.py, `metadata`; YOLOv5 and v7 write `stride` and `names` alone.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.fields import shorten
from tilewright.models.imports.found import LAYOUT, MODEL, ForeignModel, classes_of, numbered, of_bytes
from tilewright.models.imports.yolo import tell_boxes, tell_masks

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.imports.signature import Signature

TASKS: Final = ("detect", "obb", "segment", "classify")
"""What is imported; `pose` gives key points beside its boxes."""

LONGEST: Final = 100_000
"""Characters of a value that are parsed."""


def is_ultralytics(signature: Signature) -> bool:
    """Whether a graph has such metadata."""
    return {"names", "stride"} <= signature.metadata.keys()


def read_ultralytics(path: Path, signature: Signature) -> ForeignModel:
    """What the metadata of a graph says. Raises CardError for metadata that cannot be read, or a task not run."""
    told = signature.metadata
    new = "task" in told
    task = told.get("task", "detect")
    if task not in TASKS:
        raise CardError(f"task is {shorten(task)} in {path.name}; imported are {', '.join(TASKS)}")
    if len(signature.inputs) != 1:
        raise CardError(f"{path.name} has {len(signature.inputs)} inputs; an export of Ultralytics has one")
    names = _names(told["names"])
    found = ForeignModel(
        format="metadata of Ultralytics" if new else "metadata of YOLOv5",
        graph=path,
        inputs={name: {} for name in signature.inputs},
        outputs={name: {} for name in signature.outputs},
    )
    (image,) = found.inputs
    found.tell_picture(image, of_bytes(), "pictures of 0 to 255, as the exporter's models take them")
    if told.get("description"):
        found.tell(MODEL, "description", told["description"][:500], "description")
    if task == "classify":
        _tell_classes(found, signature, names)
        return found
    rows = told.get("end2end", "").lower() == "true" or _args(told).get("nms") is True
    form = "objectness" if not new else "turned" if task == "obb" else "rows" if rows else "classes"
    if task == "obb" and rows:
        raise CardError(f"{path.name} suppresses turned boxes itself; export it without nms")
    if task == "segment":
        tell_masks(found, signature, names, form=form, where="task, names")
    else:
        tell_boxes(found, signature, names, form=form, rule={}, where="task, names")
    return found


def _tell_classes(found: ForeignModel, signature: Signature, names: dict[int, str]) -> None:
    ((name, port),) = signature.outputs.items()
    if port.shape is None or len(port.shape) != 2:
        raise CardError(f"output {name!r} has the shape {port.shape}; a classifier gives (batch, class)")
    found.tell(name, LAYOUT, ["batch", "class"], "the shape of the output")
    found.tell(name, "tasks", ["classification"], "task")
    found.tell(name, "classification:classes", classes_of(names), "names")


def _names(text: str) -> dict[int, str]:
    return numbered(_literal("names", text), where="names of the ONNX file's metadata")


def _args(told: dict[str, str]) -> dict[str, Any]:
    args = _literal("args", told["args"]) if "args" in told else {}
    return args if isinstance(args, dict) else {}


def _literal(key: str, text: str) -> Any:
    """A Python literal, which is parsed and never run."""
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        tree = ast.parse(text.lstrip(" \t"), mode="eval")
        keys = [ast.dump(key) for key in getattr(tree.body, "keys", ()) if key is not None]
        if len({*keys}) < len(keys):
            raise ValueError("a key stands twice")
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise CardError(f"{key} of the ONNX file's metadata is {shorten(text)}, which is no plain value") from error
