"""A model of the BioImage Model Zoo: `rdf.yaml` beside its weights, format 0.4 and 0.5.

Source: bioimage.io, model description 0.4 (axes as letters) and 0.5 (axes as mappings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.sources.plain import load_plain
from tilewright.models.card.files import LARGEST_CARD, is_file, path_inside
from tilewright.models.errors import CardError
from tilewright.models.fields import is_number, shorten
from tilewright.models.imports.found import LAYOUT, MODEL, ForeignModel

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = ("rdf.yaml", "bioimageio.yaml", "model.yaml", "rdf.yml")

AXES: Final = {
    "b": "batch", "batch": "batch", "c": "bands", "channel": "bands", "y": "height", "x": "width", "t": "time",
    "time": "time",
}  # fmt: skip
"""Dimensions by the letter of 0.4, and by the type or id of 0.5; depth and the like have no place in a map."""

ACTIVATIONS: Final = {"sigmoid": "sigmoid", "softmax": "softmax"}

OF_PICTURE: Final = ("zero_mean_unit_variance", "scale_range", "scale_mean_variance")
"""Steps whose numbers come from the picture itself."""

PASSED: Final = {"ensure_dtype"}
"""Steps that change no value."""


def bioimage_file(folder: Path) -> Path | None:
    """The description in a folder, if there is one."""
    return next((folder / name for name in NAMES if is_file(folder / name)), None)


def read_bioimage(path: Path) -> ForeignModel:
    """What a description says. Raises CardError for one that cannot be read, or without weights in ONNX."""
    if path.stat().st_size > LARGEST_CARD:
        raise CardError(f"{path} has {path.stat().st_size} bytes; a description has at most {LARGEST_CARD}")
    try:
        told = load_plain(path.read_bytes())
        return _read(told, path)
    except CardError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, OSError) as error:
        raise CardError(f"{path} cannot be read as a model of bioimage.io: {shorten(str(error))}") from error


def _read(told: dict[str, Any], path: Path) -> ForeignModel:
    if told.get("type", "model") != "model" or "weights" not in told:
        raise CardError(f"{path} is no model of bioimage.io; expected type: model, and weights")
    weights = told["weights"].get("onnx")
    if weights is None:
        kinds = ", ".join(told["weights"])
        raise CardError(f"{path} has weights for {kinds} and none in ONNX; export the model to ONNX")
    source = str(weights["source"])
    graph = path_inside(path.parent, source, field="weights.onnx.source")
    if not is_file(graph):
        raise CardError(f"weights.onnx.source is {shorten(source)}, not beside {path.name}; put the file there")
    found = ForeignModel(format=f"bioimage.io {told.get('format_version', '')}".strip(), graph=graph)
    for key in ("name", "description"):
        if isinstance(told.get(key), str):
            found.tell(MODEL, {"name": "title"}.get(key, key), told[key][:500], f"{key} of {path.name}")
    for entry in told["inputs"]:
        found.inputs[_name(entry)] = {}
        _tell_input(found, entry)
    for entry in told["outputs"]:
        found.outputs[_name(entry)] = {}
        _tell_output(found, entry)
    return found


def _name(entry: dict[str, Any]) -> str:
    return str(entry["id"] if "id" in entry else entry["name"])


def _axes(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The meaning of each dimension, and what 0.5 says of it. Raises CardError for one that a map does not have."""
    given = [each if isinstance(each, dict) else {"type": each} for each in entry["axes"]]
    found = []
    for axis in given:
        kind = str(axis["type"])
        # A place's axis is called x, y or z; 0.4 has letters alone.
        word = str(axis.get("id", kind)) if kind == "space" else kind
        if word not in AXES:
            known = ", ".join(sorted(set(AXES.values())))
            raise CardError(f"{_name(entry)} has an axis {shorten(word)}; a card knows {known}")
        found.append((AXES[word], axis))
    return found


def _tell_input(found: ForeignModel, entry: dict[str, Any]) -> None:
    name, axes = _name(entry), _axes(entry)
    found.tell(name, LAYOUT, [axis for axis, _ in axes], "axes")
    channels = next((axis.get("channel_names") for kind, axis in axes if kind == "bands"), None)
    if isinstance(channels, list) and not all(str(each).startswith("channel") for each in channels):
        found.tell(name, "bands", [str(each) for each in channels], "channel_names")
    scaling = _scaling(found, name, entry.get("preprocessing") or [])
    if scaling is not None:
        found.tell(name, "value_scaling", scaling, "preprocessing")


def _scaling(found: ForeignModel, name: str, steps: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """`value_scaling` of the steps before a model; None where they cannot be said by a card."""
    shift, gain = [0.0], [1.0]
    for step in steps:
        kind, options = _step(step)
        if kind in PASSED:
            continue
        if kind == "scale_linear":
            more, add = _numbers(options.get("gain", 1.0)), _numbers(options.get("offset", 0.0))
            # x * more + add, after (x - shift) * gain.
            shift, gain, more, add = _together(shift, gain, more, add)
            gain = [one * other for one, other in zip(gain, more, strict=True)]
            shift = [low - plus / factor for low, plus, factor in zip(shift, add, gain, strict=True)]
        elif _is_fixed(kind, options):
            mean, deviation = _numbers(options["mean"]), _numbers(options["std"])
            shift, gain, mean, deviation = _together(shift, gain, mean, deviation)
            shift = [low + middle / factor for low, middle, factor in zip(shift, mean, gain, strict=True)]
            gain = [one / other for one, other in zip(gain, deviation, strict=True)]
        elif kind == "clip" and (shift, gain) == ([0.0], [1.0]) and len(steps) == 1:
            return [{"type": "clip", "minimum": float(options["min"]), "maximum": float(options["max"])}]
        else:
            _refuse_step(found, name, kind, options)
            return None
    if (set(shift), set(gain)) == ({0.0}, {1.0}):
        return []
    entries = [{"type": "z-score", "mean": low, "stddev": 1 / factor} for low, factor in zip(shift, gain, strict=True)]
    return entries[:1] if len({tuple(entry.values()) for entry in entries}) == 1 else entries


def _refuse_step(found: ForeignModel, name: str, kind: str, options: dict[str, Any]) -> None:
    if kind in OF_PICTURE:
        mode = f" ({shorten(str(options['mode']))})" if "mode" in options else ""
        words = (
            f"of {name}{mode} takes its numbers from each picture, so that a pixel would depend on its window: give "
            "those of the training data by --set scaling=..."
        )
    else:
        words = f"of {name} has no word in a card: put it into the graph, or give the scaling by --set scaling=..."
    found.cannot(kind, words, instead=(name, "value_scaling"))


def _step(step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return str(step["id"] if "id" in step else step["name"]), dict(step.get("kwargs") or {})


def _is_fixed(kind: str, options: dict[str, Any]) -> bool:
    fixed = kind == "zero_mean_unit_variance" and options.get("mode") == "fixed"
    return kind == "fixed_zero_mean_unit_variance" or fixed


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(is_number(each) for each in values):
        raise ValueError(f"{value!r} is no number, nor one per channel")
    return [float(each) for each in values]


def _together(*lists: list[float]) -> tuple[list[float], ...]:
    """Lists of one length: one number stands for all channels."""
    n = max(map(len, lists))
    if any(len(each) not in {1, n} for each in lists):
        raise ValueError(f"numbers for {sorted(set(map(len, lists)))} channels")
    return tuple(each * n if len(each) == 1 else each for each in lists)


def _tell_output(found: ForeignModel, entry: dict[str, Any]) -> None:
    name, axes = _name(entry), _axes(entry)
    found.tell(name, LAYOUT, ["channel" if axis == "bands" else axis for axis, _ in axes], "axes")
    for kind, options in map(_step, entry.get("postprocessing") or []):
        if kind in ACTIVATIONS:
            found.tell(name, "tw:activation", ACTIVATIONS[kind], "postprocessing")
        elif kind not in PASSED:
            words = f" {shorten(str(options))}" if options else ""
            found.cannot(kind, f"of {name}{words} has no word in a card: put it into the graph")
    halo = _halo(entry, axes)
    if halo:
        found.tell(MODEL, "trim", halo, "halo")


def _halo(entry: dict[str, Any], axes: list[tuple[str, dict[str, Any]]]) -> int:
    """The pixels at each side of a result that are cut off."""
    listed = entry.get("halo")
    sizes = listed if isinstance(listed, list) else [axis.get("halo") or 0 for _, axis in axes]
    of_sides = [size for (kind, _), size in zip(axes, sizes, strict=True) if kind in {"height", "width"}]
    for size in of_sides:
        if not is_number(size) or size < 0 or size != int(size):
            raise ValueError(f"halo is {size!r}, no whole number of pixels")
    return int(max(of_sides, default=0))
