"""A model of a hub: `config.json` (transformers, timm, Prithvi) with `preprocessor_config.json`, or TerraTorch's YAML.

Source: transformers, PretrainedConfig and BaseImageProcessor; timm, pretrained_cfg; TerraTorch, HLSBands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.sources.plain import load_plain
from tilewright.models.card.files import LARGEST_CARD, is_file
from tilewright.models.errors import CardError
from tilewright.models.fields import is_number, shorten
from tilewright.models.imports.found import MODEL, ForeignModel, classes_of, numbered, z_score

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.imports.signature import Signature

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"

TERRATORCH: Final = ("config.yaml", "config.yml", "config_deploy.yaml")

HLS: Final = {
    "COASTAL_AEROSOL": "coastal", "BLUE": "blue", "GREEN": "green", "RED": "red", "RED_EDGE_1": "rededge1",
    "RED_EDGE_2": "rededge2", "RED_EDGE_3": "rededge3", "NIR_BROAD": "nir", "NIR_NARROW": "nir08",
    "WATER_VAPOR": "nir09", "SWIR_1": "swir16", "SWIR_2": "swir22",
}  # fmt: skip
"""Bands by their names in TerraTorch, which are those of Sentinel-2 (narrow near infrared: B8A)."""


def hub_files(folder: Path) -> list[Path]:
    """The descriptions in a folder, if any."""
    return [folder / name for name in (CONFIG, PROCESSOR, *TERRATORCH) if is_file(folder / name)]


def read_hub(graph: Path, signature: Signature, files: list[Path]) -> ForeignModel:
    """What the descriptions beside a graph say. Raises CardError for one that cannot be read."""
    found = ForeignModel(
        format="description of a hub" if files else "file without a description",
        graph=graph,
        inputs={name: {} for name in signature.inputs},
        outputs={name: {} for name in signature.outputs},
    )
    for path in files:
        if path.stat().st_size > LARGEST_CARD:
            raise CardError(f"{path} has {path.stat().st_size} bytes; a description has at most {LARGEST_CARD}")
        try:
            told = load_plain(path.read_bytes())
            if not isinstance(told, dict):
                raise CardError(f"{path} holds no mapping; give the description that came with the model")
            readers = {CONFIG: _read_config, PROCESSOR: _read_processor}
            readers.get(path.name, _read_terratorch)(found, told, path.name)
        except CardError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, OSError) as error:
            raise CardError(f"{path} cannot be read as a description of a model: {shorten(str(error))}") from error
    return found


def _read_config(found: ForeignModel, told: dict[str, Any], file: str) -> None:
    """`config.json`; fields of timm and Prithvi stand one level deeper."""
    inner = told.get("pretrained_cfg") if isinstance(told.get("pretrained_cfg"), dict) else {}
    told = {**told, **(inner or {})}
    names = told.get("id2label")
    if isinstance(names, dict) and names:
        classes = numbered(names, where=f"id2label of {file}")
        # What transformers writes where nobody gave names.
        if any(name != f"LABEL_{value}" for value, name in classes.items()):
            for output in found.outputs:
                found.tell(output, "classification:classes", classes_of(classes), f"id2label of {file}")
    for name in found.inputs:
        bands = told.get("bands")
        if isinstance(bands, list) and bands:
            found.tell(name, "bands", [_band(each) for each in bands], f"bands of {file}")
        if _are_numbers(told.get("mean")) and _are_numbers(told.get("std")):
            found.tell(name, "value_scaling", z_score(told["mean"], told["std"], scale=1.0), f"mean, std of {file}")
    if isinstance(told.get("architecture"), str):
        found.tell(MODEL, "architecture", told["architecture"][:100], f"architecture of {file}")


def _read_processor(found: ForeignModel, told: dict[str, Any], file: str) -> None:
    """`preprocessor_config.json`: (x * rescale_factor - image_mean) / image_std, of pictures of 0 to 255."""
    factor = float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0
    if not is_number(factor) or factor <= 0:
        raise ValueError("rescale_factor is no number above 0")
    if not told.get("do_normalize", False):
        scaling: list[dict[str, Any]] = [] if factor == 1 else [{"type": "scale", "value": 1 / factor}]
    else:
        mean, deviation = told["image_mean"], told["image_std"]
        if not (_are_numbers(mean) and _are_numbers(deviation)):
            raise ValueError("image_mean and image_std are no lists of numbers")
        scaling = z_score(mean, deviation, scale=factor)
    for name in found.inputs:
        found.fields(name).pop("value_scaling", None)
        where = f"rescale_factor, image_mean, image_std of {file}"
        if factor == 1:
            found.tell(name, "value_scaling", scaling, where)
        else:
            found.tell_picture(name, scaling, where)


def _read_terratorch(found: ForeignModel, told: dict[str, Any], file: str) -> None:
    """TerraTorch's YAML: bands, means and deviations of the data module, classes of the task."""
    data, model = ((told.get(part) or {}).get("init_args") or {} for part in ("data", "model"))
    bands = data.get("output_bands") or data.get("dataset_bands") or data.get("bands")
    for name in found.inputs:
        if isinstance(bands, list) and bands:
            found.tell(name, "bands", [_band(each) for each in bands], f"data.output_bands of {file}")
        if _are_numbers(data.get("means")) and _are_numbers(data.get("stds")):
            scaling = z_score(data["means"], data["stds"], scale=_scale_of(data))
            found.tell(name, "value_scaling", scaling, f"data.means, data.stds of {file}")
    names = model.get("class_names") or data.get("class_names")
    if isinstance(names, list) and names:
        for output in found.outputs:
            classes = classes_of(numbered(names, where=f"class_names of {file}"))
            found.tell(output, "classification:classes", classes, f"class_names of {file}")
    for output in found.outputs:
        task = str((told.get("model") or {}).get("class_path", "")).rsplit(".", 1)[-1]
        if task == "PixelwiseRegressionTask":
            found.tell(output, "tasks", ["regression"], f"model.class_path of {file}")


def _scale_of(data: dict[str, Any]) -> float:
    """`constant_scale` multiplies values before their mean is taken off."""
    scale = data.get("constant_scale", 1)
    if not is_number(scale) or scale <= 0:
        raise ValueError(f"constant_scale is {scale!r}, no number above 0")
    return float(scale)


def _band(word: Any) -> str:
    return HLS.get(str(word), str(word))


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(is_number(value) for value in values)
