"""The files of a card: checks that their hrefs stay inside the card's folder and that their checksums match."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.fields import TwiceError, load_json
from tilewright.models.errors import CardError
from tilewright.models.fields import CardField, shorten
from tilewright.models.spec.words import FILES as WORDS_ROLES
from tilewright.models.spec.words import told_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


CARD_NAME: Final = "card.json"

LARGEST_CARD: Final = 4 * 1024 * 1024

MULTIHASH: Final = re.compile(r"^1220([0-9a-f]{64})\Z")
"""sha2-256 (0x12) of 32 bytes (0x20).

Source: multiformats multihash table; STAC file extension v2.1, `file:checksum`.
"""

LONGEST_NAME: Final = 255
"""Bytes of a name on most file systems, and the most folders that a path is given. Source: POSIX, NAME_MAX of ext4."""

TEXT_ROLES: Final = {"model": "tw:text", "tokenizer": "tw:tokenizer"}
"""The files of a text tower by their keys in `tw:text`, and the roles of their assets."""

SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a card: the href as written, its path, its sha256 in hex ("" if the card has none yet)."""

    href: str
    path: Path
    sha256: str


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a card file. Raises CardError when it is absent, above LARGEST_CARD, or no JSON object."""
    if not is_file(path):
        raise CardError(f"{path} is not a file; give a card.json, its folder, or the name of a built-in model")
    if path.stat().st_size > LARGEST_CARD:
        advice = "" if path.suffix.lower() == ".json" else f"; {_instead_of(path)}"
        raise CardError(f"{path} has {path.stat().st_size} bytes; a card has at most {LARGEST_CARD}{advice}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    if path.suffix.lower() != ".json" and content.lstrip()[:1] != b"{":
        raise CardError(f"{path} is no card; {_instead_of(path)}")
    return parse_json(content, origin=str(path))


def _instead_of(path: Path) -> str:
    """What to give in place of a file that is no card."""
    if is_file(path.parent / CARD_NAME) or path.suffix.lower() != ".onnx":
        return f"give the {CARD_NAME} beside it"
    return f"no {CARD_NAME} lies beside it: make one with tilewright models import {path}"


def parse_json(content: bytes, *, origin: str) -> dict[str, Any]:
    """The JSON object in `content`. Raises CardError naming `origin` if there is none."""
    try:
        card = load_json(content)
    except TwiceError as error:
        raise CardError(f"{origin}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"{origin} does not parse as JSON ({str(error)[:100]}); write a STAC MLM Item") from error
    if not isinstance(card, dict):
        raise CardError(f"{origin} holds a JSON {type(card).__name__}; write a STAC MLM Item, an object")
    return card


def model_files(card: Mapping[str, Any], folder: Path, *, verify: bool) -> tuple[ModelFile, ...]:
    """The model file first, then its external weights, all inside `folder`.

    With `verify` every file is checked to exist and to match its checksum.

    Raises CardError naming the asset's field.
    """
    assets = CardField(path="assets", content=CardField(path="", content=card).child("assets").content)
    models = [key for key in assets.content if "mlm:model" in assets.child(key).texts("roles")]
    if len(models) != 1:
        raise CardError(f"assets has {len(models)} entries with the role mlm:model; mark exactly one ONNX file")
    weights = [key for key in assets.content if "mlm:weights" in assets.child(key).texts("roles") and key not in models]
    return tuple(_model_file(assets.child(key), folder, verify=verify) for key in (*models, *weights))


def text_files(card: Mapping[str, Any], folder: Path, *, verify: bool) -> dict[str, ModelFile]:
    """The files of a card's text tower, `model` and `tokenizer`; none without `tw:text`. Checked as `model_files`.

    Raises CardError naming the field.
    """
    properties = _properties(card)
    if not properties.has("tw:text"):
        return {}
    told = properties.child("tw:text")
    told.only(TEXT_ROLES)
    return {key: _told_file(told, key, role, card, folder, verify=verify) for key, role in TEXT_ROLES.items()}


def words_files(card: Mapping[str, Any], folder: Path, *, verify: bool) -> dict[str, ModelFile]:
    """The files of a card's prompts and answers by their keys; none without. Checked as `model_files`.

    Raises CardError naming the field.
    """
    told = told_words(_properties(card))
    if told is None:
        return {}
    wanted = {key: role for key, role in WORDS_ROLES.items() if key == "tokenizer" or told.has(key)}
    return {key: _told_file(told, key, role, card, folder, verify=verify) for key, role in wanted.items()}


def _properties(card: Mapping[str, Any]) -> CardField:
    return CardField(path="properties", content=CardField(path="", content=card).child("properties").content)


def _told_file(
    told: CardField, key: str, role: str, card: Mapping[str, Any], folder: Path, *, verify: bool
) -> ModelFile:
    """The file of the asset that a field names, which has a role."""
    assets = CardField(path="assets", content=CardField(path="", content=card).child("assets").content)
    name = told.text(key)
    if name not in assets.content or role not in assets.child(name).texts("roles"):
        raise told.refuse(key, f"name an asset of the card that has the role {role}")
    return _model_file(assets.child(name), folder, verify=verify)


def _model_file(asset: CardField, folder: Path, *, verify: bool) -> ModelFile:
    path = path_inside(folder, asset.text("href"), field=asset.at("href"))
    match = MULTIHASH.match(asset.text("file:checksum"))
    if match is None and verify:
        raise asset.refuse("file:checksum", "write 1220 and the file's sha256 in lower-case hex (64 digits)")
    file = ModelFile(href=asset.text("href"), path=path, sha256=match.group(1) if match else "")
    if verify:
        _verify_file(file, asset)
    return file


def _verify_file(file: ModelFile, asset: CardField) -> None:
    if not is_file(file.path):
        raise asset.refuse("href", "no such file in the card's folder")
    if (found := file_sha256(file.path)) != file.sha256:
        raise asset.refuse(
            "file:checksum",
            f"{file.path.name} has sha256 {found}; the file was changed or the card is of another one",
        )


def is_file(path: Path) -> bool:
    """Whether there is a file at a path; no path that a file system cannot hold (too long, with a NUL) is one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path; no path that a file system cannot hold is one."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def path_inside(folder: Path, href: str, *, field: str) -> Path:
    """The path of a relative href below `folder`. Raises CardError if it or a symbolic link leads out of the folder."""
    parts = href.split("/")
    if (
        max(map(len, parts)) > LONGEST_NAME
        or len(parts) > LONGEST_NAME
        or SCHEME.match(href)
        or href.startswith("/")
        or ".." in parts
        or "\\" in href
        or not href.isprintable()
        or not href.strip("./")
    ):
        raise CardError(
            f"{field} is {shorten(href)}; write a path inside the card's own folder, such as './model.onnx'"
        )
    path = folder.joinpath(*parts)
    if not _is_below(path, folder):
        raise CardError(
            f"{field} is {shorten(href)}, which leads out of the card's folder by a link; put the file itself there"
        )
    return path


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, links followed; a link that leads to itself leads nowhere."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except RuntimeError:
        return False


def file_sha256(path: Path) -> str:
    """The sha256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
