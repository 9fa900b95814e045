"""A STAC Item of the Machine Learning Model extension that somebody else wrote: the language of a card, without `tw:`.

Source: MLM 1.2 to 1.5. Up to 1.3 an input is normalised by `norm_type` and `statistics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.models.card.files import is_file, path_inside, read_json
from tilewright.models.errors import CardError
from tilewright.models.fields import is_number, shorten
from tilewright.models.imports.found import LAYOUT, MODEL, ForeignModel

if TYPE_CHECKING:
    from pathlib import Path

OF_INPUT: Final = ("bands", "value_scaling", "resize_type", "description")

OF_OUTPUT: Final = ("tasks", "classification:classes", "description")

OF_MODEL: Final = {
    "title": "title",
    "description": "description",
    "mlm:name": "name",
    "mlm:architecture": "architecture",
}


def is_mlm(path: Path) -> bool:
    """Whether a JSON file is an Item of the extension that is no card of ours."""
    told = read_json(path).get("properties")
    return isinstance(told, dict) and "mlm:input" in told


def read_mlm(path: Path) -> ForeignModel:
    """What an Item says. Raises CardError for one that cannot be read, or whose model is no ONNX file beside it."""
    item = read_json(path)
    try:
        return _read(item, path)
    except CardError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CardError(f"{path} cannot be read as an Item of the MLM extension: {shorten(str(error))}") from error


def _read(item: dict[str, Any], path: Path) -> ForeignModel:
    told = item["properties"]
    found = ForeignModel(format="Item of the MLM extension", graph=_graph(item, path))
    for key, to in OF_MODEL.items():
        if isinstance(told.get(key), str):
            found.tell(MODEL, to, told[key][:500], key)
    for entry in told["mlm:input"]:
        name = str(entry["name"])
        found.inputs[name] = {}
        _copy(found, name, entry, OF_INPUT)
        _tell_layout(found, name, entry.get("input"))
        if "norm_type" in entry and entry["norm_type"] is not None:
            _tell_norm(found, name, entry)
        if entry.get("pre_processing_function"):
            words = f"of {name} is code, which no card runs: give the scaling it makes by --set scaling=..."
            found.cannot("pre_processing_function", words, instead=(name, "value_scaling"))
    for entry in told["mlm:output"]:
        name = str(entry["name"])
        found.outputs[name] = {}
        _copy(found, name, entry, OF_OUTPUT)
        _tell_layout(found, name, entry.get("result"))
        if entry.get("post_processing_function"):
            found.cannot("post_processing_function", f"of {name} is code, which no card runs: put it into the graph")
    return found


def _graph(item: dict[str, Any], path: Path) -> Path:
    """The ONNX file of the Item's model."""
    assets = [asset for asset in item["assets"].values() if "mlm:model" in (asset.get("roles") or ())]
    onnx = [asset for asset in assets if str(asset["href"]).lower().endswith(".onnx")]
    if len(onnx) != 1:
        raise CardError(
            f"{path} has {len(onnx)} ONNX files with the role mlm:model among its assets; export the model to ONNX and "
            "name that one"
        )
    href = str(onnx[0]["href"])
    graph = path_inside(path.parent, href, field="href of the model")
    if not is_file(graph):
        raise CardError(f"href of the model is {shorten(href)}, which is not beside {path.name}; put the file there")
    return graph


def _copy(found: ForeignModel, name: str, entry: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if entry.get(key):
            found.tell(name, key, entry[key], f"{key} of the Item")
    for key, value in entry.items():
        if key.startswith("tw:"):
            found.tell(name, key, value, f"{key} of the Item")


def _tell_layout(found: ForeignModel, name: str, array: Any) -> None:
    if isinstance(array, dict) and isinstance(array.get("dim_order"), list):
        # "channel" stands for the bands of a picture in Items that other tools write.
        found.tell(name, LAYOUT, [str(axis) for axis in array["dim_order"]], "dim_order of the Item")


def _tell_norm(found: ForeignModel, name: str, entry: dict[str, Any]) -> None:
    """`value_scaling` of the older fields `norm_type` and `statistics`."""
    kind, each = str(entry["norm_type"]), entry.get("statistics") or []
    keys = {"z-score": ("mean", "stddev"), "min-max": ("minimum", "maximum")}.get(kind)
    if keys is None or not each or not all(is_number(one.get(key)) for one in each for key in keys):
        words = f"{shorten(kind)} of {name} has no numbers in statistics: give them by --set scaling=..."
        found.cannot("norm_type", words, instead=(name, "value_scaling"))
        return
    scaling = [{"type": kind, **{key: one[key] for key in keys}} for one in each]
    found.tell(name, "value_scaling", scaling, "norm_type, statistics")
