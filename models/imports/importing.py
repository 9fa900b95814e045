"""Imports a model that was made elsewhere: a card from what its files say, or the list of what they do not say."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.card.card import load_card
from tilewright.models.card.files import CARD_NAME, file_sha256, is_file, is_folder, path_inside
from tilewright.models.card.parse_bands import INDICES
from tilewright.models.card.schema import CARD_EXTENSIONS
from tilewright.models.errors import CardError
from tilewright.models.fields import shorten
from tilewright.models.imports.answers import WHERE, set_answers
from tilewright.models.imports.bioimage import bioimage_file, read_bioimage
from tilewright.models.imports.deepness import is_deepness, read_deepness
from tilewright.models.imports.found import LAYOUT, PICTURE, ForeignModel
from tilewright.models.imports.hub import hub_files, read_hub
from tilewright.models.imports.missing import complete, missing_words
from tilewright.models.imports.mlm import is_mlm, read_mlm
from tilewright.models.imports.signature import read_signature
from tilewright.models.imports.ultralytics import is_ultralytics, read_ultralytics
from tilewright.models.spec.expression import parse_expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.imports.signature import Signature

TILE: Final = ("window", "step", "trim")

REVISION: Final = re.compile(r"[0-9a-f]{40}|[0-9]*")
"""The name of a folder that is one version of a model."""

NAME: Final = re.compile(r"[a-z][a-z0-9-]+[a-z0-9]")
"""The name of a model. Source: MLM extension 1.4, mlm:name."""

COMMON_NAMES: Final = ("model", "best", "last", "weights")
"""Names of files that say nothing of what is in them."""


class MissingFactsError(CardError):
    """A model of which too little is known; ``lines`` says what is missing, one fact each."""

    def __init__(self, found: ForeignModel, lines: Sequence[str]) -> None:
        self.found, self.lines = found, tuple(lines)
        open_ = "one fact open, which is" if len(lines) == 1 else f"{len(lines)} facts open, which are"
        super().__init__(f"{found.graph.name} ({found.format}) leaves {open_} never guessed; give each with --set")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A card that was written, and for each of its fields the place that said so: (part, field, value, place)."""

    card: ModelCard
    format: str
    facts: tuple[tuple[str, str, Any, str], ...]


def import_model(path: Path, *, answers: Sequence[str] = (), to: Path | None = None) -> Imported:
    """Write ``model.onnx`` and ``card.json`` for a model of another tool to a new folder, by default one of its name.

    ``path`` is an ONNX file, a description or their folder; links are followed, since a hub's cache consists of them.
    Raises MissingFactsError where facts are missing, CardError for files that cannot be read, what no card can say, or
    a folder that is there; nothing is written then.
    """
    found, signature, lines = looked_at(path, answers)
    if lines:
        raise MissingFactsError(found, lines)
    name, target = new_folder(found, to)
    write_card(found, signature, name=name, target=target)
    facts = tuple((part, field, found.fields(part)[field], place) for (part, field), place in found.where.items())
    return Imported(card=load_card(target), format=found.format, facts=facts)


def looked_at(path: Path, answers: Sequence[str]) -> tuple[ForeignModel, Signature, list[str]]:
    """What is known of the model at a path with these answers, its graph, and a line for each fact that is missing."""
    found, signature = _look(path)
    unlike = found.inputs.keys() ^ signature.inputs.keys() | found.outputs.keys() ^ signature.outputs.keys()
    if unlike:
        names = ", ".join(sorted(unlike))
        raise CardError(f"{found.format} and {found.graph.name} name other inputs and outputs: {names}; mend the one")
    set_answers(found, answers)
    complete(found, signature)
    _refuse_impossible(found)
    return found, signature, missing_words(found)


def new_folder(found: ForeignModel, to: Path | None) -> tuple[str, Path]:
    """The name of a card, and the folder that it goes to. Raises CardError for one that is there."""
    name = _name(found)
    target = to or Path(name)
    if os.path.lexists(target):
        raise CardError(f"{target} is there already; name another folder with --to")
    return name, target


def _refuse_impossible(found: ForeignModel) -> None:
    """Refuse what no card can say, unless a person gave something in its place or leaves it out."""
    left_out = found.model.get("without", [])
    unknown = [name for name in left_out if name not in found.impossible]
    if unknown:
        steps = ", ".join(found.impossible) or "none"
        raise CardError(f"--set without={unknown[0]} names no step that has to be left out; these are: {steps}")
    for name, (sentence, instead) in found.impossible.items():
        if name not in left_out and (instead is None or found.where.get(instead) != WHERE):
            raise CardError(f"{sentence}; or leave it out with --set without={name}")


def _look(path: Path) -> tuple[ForeignModel, Signature]:
    """The description of a model at a path, and its graph."""
    if is_folder(path):
        return _look_in(path)
    if not is_file(path):
        raise CardError(f"{path} is no file or folder; give an ONNX file, its description or their folder")
    if path.suffix.lower() in {".yaml", ".yml"}:
        found = read_bioimage(path)
        return found, read_signature(found.graph)
    if path.suffix.lower() == ".json":
        found = read_mlm(path)
        return found, read_signature(found.graph)
    signature = read_signature(path)
    if is_deepness(signature):
        return read_deepness(path, signature), signature
    if is_ultralytics(signature):
        return read_ultralytics(path, signature), signature
    return read_hub(path, signature, hub_files(path.parent)), signature


def _look_in(folder: Path) -> tuple[ForeignModel, Signature]:
    described = bioimage_file(folder)
    if described is not None:
        return _look(described)
    items = [each for each in sorted(folder.glob("*.json")) if is_file(each) and _is_item(each)]
    if items:
        return _look(items[0])
    graphs = sorted(each for pattern in ("*.onnx", "onnx/*.onnx") for each in folder.glob(pattern))
    if len(graphs) != 1:
        names = ", ".join(str(each.relative_to(folder)) for each in graphs[:6]) or "none"
        raise CardError(f"{folder} has {len(graphs)} ONNX files ({names}); give the one to import")
    signature = read_signature(graphs[0])
    if is_deepness(signature) or is_ultralytics(signature):
        return _look(graphs[0])
    return read_hub(graphs[0], signature, hub_files(folder)), signature


def _is_item(path: Path) -> bool:
    try:
        return is_mlm(path)
    except CardError:
        return False


def _name(found: ForeignModel) -> str:
    given = str(found.model.get("name") or found.model.get("title") or _file_name(found.graph))
    name = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:60]
    if not NAME.fullmatch(name):
        told = (
            f"{shorten(given)}, of which a card keeps {name!r}" if name else f"{shorten(given)}, of no letter or digit"
        )
        raise CardError(
            f"the model's name is {told}; give one of at least three letters and digits, a letter first, with "
            "--set name=..."
        )
    return name


def _file_name(graph: Path) -> str:
    """The name of a graph's file, or of a file that is called as all are that of its folder.

    In a hub's cache that is the model's: ``models--<owner>--<name>/snapshots/<revision>/onnx/model.onnx``.
    """
    if graph.stem.lower() not in COMMON_NAMES:
        return graph.stem
    folders = (folder.name for folder in graph.absolute().parents)
    told = (name for name in folders if name not in {"onnx", "snapshots"} and not REVISION.fullmatch(name))
    return next(told, "").rpartition("--")[2] or graph.stem


def write_card(found: ForeignModel, signature: Signature, *, name: str, target: Path, whole: bool = True) -> None:
    """Write both files to a folder beside the target, check the card there, if it is ``whole``, and rename it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=".import-"))
    except OSError as error:
        raise CardError(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        assets = {"model": _asset(found.graph.resolve(), staged, "model.onnx", "mlm:model")}
        for number, location in enumerate(signature.external):
            source = _weights(found.graph, location)
            assets[f"weights{number or ''}"] = _asset(source, staged, location, "mlm:weights")
        try:
            card = _card(found, signature, name=name, assets=assets)
        except (TypeError, AttributeError, KeyError) as error:
            # An Item of others may have a list for a name, or a number for a list.
            raise CardError(
                f"{found.format} has a field of another kind than the extension's ({shorten(str(error))}): look at "
                "bands, tasks and names of its inputs and outputs"
            ) from error
        text = json.dumps(card, indent=2, ensure_ascii=False)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise CardError(f"{found.format} holds half of a character, which no text has; save it anew in UTF-8")
        (staged / CARD_NAME).write_text(text + "\n", encoding="utf-8")
        if whole:
            load_card(staged)
        staged.chmod(0o755)
        staged.rename(target)
    except OSError as error:
        raise CardError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _weights(graph: Path, location: str) -> Path:
    """The file of a graph's external weights: beside it, or, where it is a link, beside the graph that it leads to.

    A link is followed as far as the folder that the graph itself lies in, as in a hub's cache. Raises CardError.
    """
    home = graph.resolve().parent
    linked = path_inside(home, location, field="the location of external weights")
    beside = graph.parent / location
    path = beside if is_file(beside) and beside.resolve().is_relative_to(home) else linked
    if location.casefold() in {"model.onnx", CARD_NAME}:
        raise CardError(
            f"{graph.name} keeps weights in {location}, the name of a card's own file; export it to another"
        )
    if not is_file(path):
        raise CardError(f"{graph.name} takes weights from {shorten(location)}, which is not beside it; put it there")
    return path


def _asset(source: Path, folder: Path, location: str, role: str) -> dict[str, Any]:
    path = path_inside(folder, location, field="the location of external weights")
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = source.stat().st_size, shutil.disk_usage(folder).free
    if needed > free:
        raise CardError(f"{source.name} has {needed:,} bytes, and {folder.parent} has room for {free:,}; free some")
    shutil.copyfile(source, path)
    is_model = role == "mlm:model"
    return {
        "href": f"./{location}",
        "type": "application/octet-stream; application=onnx" if is_model else "application/octet-stream",
        "roles": [role],
        **({"mlm:artifact_type": "onnx"} if is_model else {}),
        "file:size": path.stat().st_size,
        "file:checksum": f"1220{file_sha256(path)}",
    }


def _card(found: ForeignModel, signature: Signature, *, name: str, assets: dict[str, Any]) -> dict[str, Any]:
    model = found.model
    inputs = [_port(name, fields, signature, "input") for name, fields in found.inputs.items()]
    outputs = [_port(name, fields, signature, "result") for name, fields in found.outputs.items()]
    tile = {key: model[key] for key in TILE if key in model}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": name,
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "title": model.get("title", name),
            "description": model.get("description", f"Imported from the {found.format}."),
            "mlm:name": name,
            "mlm:architecture": model.get("architecture", "unknown"),
            "mlm:framework": "ONNX",
            "mlm:tasks": list(dict.fromkeys(task for entry in outputs for task in entry["tasks"])),
            "bands": [{"name": band} for band in _bands(inputs) if band],
            "mlm:input": inputs,
            "mlm:output": outputs,
            **({"tw:tile": tile} if tile else {}),
        },
        "assets": assets,
        "links": [],
    }


def _port(name: str, fields: dict[str, Any], signature: Signature, key: str) -> dict[str, Any]:
    port = (signature.inputs if key == "input" else signature.outputs)[name]
    axes, shape = fields[LAYOUT], port.shape
    if shape is not None and len(shape) != len(axes):
        raise CardError(f"{name}: {', '.join(axes)} are {len(axes)} dimensions, and the graph's array has {len(shape)}")
    if key == "input" and shape is not None and "bands" in axes:
        wanted = shape[axes.index("bands")]
        if wanted not in {len(fields["bands"]), -1}:
            named = ", ".join(str(band) for band in fields["bands"])[:200]
            raise CardError(
                f"{name}: bands are {len(fields['bands'])} ({named}), and the graph takes {wanted}; name each of its "
                "channels in their order"
            )
    array = {"shape": list(shape or [-1] * len(axes)), "dim_order": list(axes), "data_type": port.data_type}
    # None stands for what a person left open, and an empty list for no scaling.
    kept = {field: value for field, value in fields.items() if value not in (None, [])}
    return {"name": name, key: array, **{field: kept[field] for field in kept if field not in {LAYOUT, PICTURE}}}


def _bands(inputs: Sequence[dict[str, Any]]) -> list[str]:
    """Every band that an input reads, once, in order of first use."""
    names: list[str] = []
    for entry in inputs:
        for band in entry["bands"]:
            text = band.get("expression") if isinstance(band, dict) else INDICES.get(band)
            plain = band.get("name", "") if isinstance(band, dict) else band
            names += parse_expression(text, field=f"input {entry['name']}").names if text else (plain,)
    return list(dict.fromkeys(names))
