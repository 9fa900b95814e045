"""Finds the card for a model's name, path or URL; downloads and verifies the files of a remote one."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import HTTPStore, S3Store

from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.card.files import (
    CARD_NAME,
    LARGEST_CARD,
    is_file,
    is_folder,
    model_files,
    parse_json,
    text_files,
    words_files,
)
from tilewright.models.card.schema import check_schemas
from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.files import ModelFile


BUILTIN: Final = Path(__file__).parents[1] / "builtin"

LARGEST_FILE: Final = 8 * 1024**3

REMOTE: Final = re.compile(r"^(https?|s3)://", re.IGNORECASE)

TIMEOUT: Final = "60s"


def builtin_names() -> tuple[str, ...]:
    """The names of the built-in models, sorted."""
    return tuple(sorted(path.parent.name for path in BUILTIN.glob(f"*/{CARD_NAME}")))


def builtin_titles() -> dict[str, str]:
    """What each built-in model is, by its name."""
    files = {name: BUILTIN / name / CARD_NAME for name in builtin_names()}
    cards = {name: parse_json(file.read_bytes(), origin=str(file)) for name, file in files.items()}
    return {name: str(card["properties"]["title"]) for name, card in cards.items()}


def find_card(
    reference: str, *, base: Path | None = None, cache: Path | None = None, certificates: bytes | None = None
) -> ModelCard:
    """The verified card of a built-in name, a `card.json`, a folder that holds one, or an http(s) or s3 URL of either.

    Paths are relative to `base` (the working folder when None). Downloaded files are kept in `cache`
    (`~/.cache/tilewright/models` when None) under the card's sha256. `certificates` are those of further authorities
    that are trusted, as PEM.
    Raises CardError for an unknown name (the message lists the known ones) and for a card that cannot be used.
    """
    if is_remote(reference):
        cache = cache or Path.home() / ".cache" / "tilewright" / "models"
        return load_card(fetch_card(reference, cache, certificates=certificates))
    if reference in builtin_names():
        return load_card(BUILTIN / reference / CARD_NAME)
    path = (base or Path()) / reference
    if is_file(path) or is_file(path / CARD_NAME):
        return load_card(path)
    hint = did_you_mean(reference, builtin_names())
    raise CardError(
        f"model is {shorten(reference)}{hint}{_missing(reference, path)}; write a built-in name "
        f"({', '.join(builtin_names())}), the path of a card.json or its folder, or an http(s) or s3 URL of it"
    )


def _missing(reference: str, path: Path) -> str:
    """A clause on what is not there, for a reference that may be a path; else an empty text."""
    if is_folder(path):
        models = [each for each in sorted(path.glob("*.onnx")) if is_file(each)]
        if len(models) == 1:
            return f", a folder without a {CARD_NAME}: make one with tilewright models import {models[0]}"
        return f", a folder without a {CARD_NAME}"
    if not reference.isprintable():
        return ""
    written = "/" in reference or "\\" in reference or "." in reference.strip(".")
    return f": no such file or folder, {path.resolve()}" if written else f": no such folder in {path.parent.resolve()}"


def is_remote(reference: str) -> bool:
    """Whether the reference is a URL from which a card can be downloaded."""
    return REMOTE.match(reference) is not None


def fetch_card(url: str, cache: Path, *, certificates: bytes | None = None) -> Path:
    """The path of `card.json` in `cache/<sha256 of the card>/`, a folder that also holds its model and weights.

    The card is downloaded every time, its files once. A failed download leaves nothing behind.
    Raises CardError for an unusable URL, a file above the size limits, an invalid card or a wrong checksum.
    """
    if "?" in url or "#" in url or "@" in url.split("://", 1)[1].split("/", 1)[0]:
        raise CardError(
            "the model's URL holds a query, fragment or user name; write the plain address of card.json or its folder"
        )
    if not _is_address(url):
        raise CardError(
            f"model is {shorten(url)}, no address of a card; write http(s)://host/folder or s3://bucket/folder"
        )
    prefix, name = url.rsplit("/", 1) if url.endswith(".json") else (url.rstrip("/"), "card.json")
    store = _store(prefix, certificates)
    content = b"".join(_object_chunks(store, name, prefix=prefix, limit=LARGEST_CARD))
    folder = cache / hashlib.sha256(content).hexdigest()
    if not (folder / "card.json").is_file():
        _install(folder, content, store, prefix)
    return folder / "card.json"


def _is_address(url: str) -> bool:
    """Whether a URL can be parsed and names a host or bucket; clients of storage fall over others."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        return False


def _store(prefix: str, certificates: bytes | None) -> Any:
    """The store at a URL. Plain http is allowed, because the user chose the URL."""
    options: Any = {"timeout": TIMEOUT, "connect_timeout": "10s", "allow_http": True}
    if certificates is not None:
        options["root_certificate"] = certificates
    retries: Any = {"max_retries": 2}
    kind = S3Store if prefix.lower().startswith("s3://") else HTTPStore
    try:
        return kind.from_url(prefix, client_options=options, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise CardError(f"model is {shorten(prefix)}, no address of a card; write http(s)://host/folder") from error


def _object_chunks(store: Any, path: str, *, prefix: str, limit: int) -> Iterator[bytes]:
    """The bytes of one object, in chunks. Raises CardError if it cannot be read or has more than `limit` bytes."""
    total = 0
    try:
        for chunk in store.get(path).stream():
            total += len(chunk)
            if total > limit:
                raise CardError(f"{prefix}/{path} has more than {limit} bytes, the most that is fetched")
            yield bytes(chunk)
    except (BaseError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise CardError(
            f"{prefix}/{path} cannot be read ({reason}); check the address and that the file is there"
        ) from error


def _install(folder: Path, content: bytes, store: Any, prefix: str) -> None:
    """Create the complete folder with one rename, so that a concurrent run sees all of it or nothing."""
    card = parse_json(content, origin=prefix)
    check_schemas(card)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        texts, words = (read(card, staged, verify=False).values() for read in (text_files, words_files))
        for file in (*model_files(card, staged, verify=False), *texts, *words):
            _download(file, store, prefix)
        (staged / "card.json").write_bytes(content)
        try:
            staged.rename(folder)
        except OSError:
            if not (folder / "card.json").is_file():
                raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _download(file: ModelFile, store: Any, prefix: str) -> None:
    if not file.sha256:
        raise CardError(f"file:checksum of {file.href} is no sha256; write 1220 and 64 hex digits")
    file.path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with file.path.open("wb") as target:
        for chunk in _object_chunks(store, file.href.removeprefix("./"), prefix=prefix, limit=LARGEST_FILE):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != file.sha256:
        raise CardError(
            f"file:checksum of {file.href} is {file.sha256}; {prefix} serves a file with {digest.hexdigest()}"
        )
