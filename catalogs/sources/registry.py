"""The registry of named sources, and the source that a name, a path, a URL or a description means."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, local_path, scheme_of, without_secrets
from tilewright.catalogs.sources.described import check_stated
from tilewright.catalogs.sources.plain import load_plain
from tilewright.catalogs.sources.product import ITEM, STATE
from tilewright.catalogs.sources.signing import signed
from tilewright.catalogs.sources.source import Source, Sources

if TYPE_CHECKING:
    from tilewright.catalogs.s3 import S3Settings

__all__ = [
    "CatalogError",
    "Source",
    "describe_source",
    "known_sources",
    "resolve_source",
    "resolve_sources",
    "sign_href",
]

TABLE = Path(__file__).with_name("sources.yaml")


DOCUMENTS = {".json", ".geojson", ".parquet", ".geoparquet", ".yaml", ".yml"}
"""Endings of documents; what has another name in a bucket lies there like a folder."""

# The keys of a user's description: fields of Source except three, and three keys of the description alone.
SETTABLE = frozenset(field.name for field in dataclasses.fields(Source)) - {"rewrite", "s3", "promised"} | {
    "like",
    "collection",
    "defaults",
}


@cache
def known_sources() -> Mapping[str, Source]:
    """The named sources in the order of the table."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: Source.of_fields(name, fields) for name, fields in table.items()}


def resolve_source(
    source: str | Mapping[str, Any] | Source, *, base: Path | None = None, s3: S3Settings | None = None
) -> Source:
    """The source that a job names by a known name, a path relative to `base`, an http(s) or s3 URL, or a description.

    `s3` are the endpoint and keys it is read with; without them a Source keeps its own, and another has none.

    Raises:
        CatalogError: it is none of these, or the description is not valid.
    """
    found = source if isinstance(source, Source) else _resolved(source, base)
    return found if s3 is None else dataclasses.replace(found, s3=s3)


def resolve_sources(
    given: Mapping[str, str | Mapping[str, Any]], *, base: Path | None = None, s3: S3Settings | None = None
) -> Sources:
    """The sources of several collections, each as `resolve_source` finds it.

    Raises:
        CatalogError: one of them cannot be; the message begins with its key.
    """
    found = {}
    for collection, source in given.items():
        try:
            found[collection] = resolve_source(source, base=base, s3=s3)
        except CatalogError as error:
            raise type(error)(f"sources.{collection}: {error}") from error
    return Sources(by_collection={name: _told_apart(name, found) for name in found})


def _told_apart(collection: str, found: Mapping[str, Source]) -> Source:
    """The source of a collection, under a name with the collection's where another one has the same name."""
    source = found[collection]
    same = all(other == source for other in found.values() if other.name == source.name)
    return source if same else dataclasses.replace(source, name=f"{source.name} ({collection})")


def _resolved(source: str | Mapping[str, Any], base: Path | None) -> Source:
    if isinstance(source, Mapping):
        return _from_description(source, base)
    if not isinstance(source, str) or not source.strip():
        raise CatalogError(f"source is {source!r}; expected a name ({_known_names()}), a path, a URL or a description")
    if source in known_sources():
        return known_sources()[source]
    if scheme_of(source) in {"http", "https", "s3"}:
        _check_address(source)
        known = next((entry for entry in known_sources().values() if entry.href == source.rstrip("/")), None)
        prefer = "s3" if scheme_of(source) == "s3" else "https"
        return known or Source(name=_derived_name(source), kind=_kind_of(source), href=source, prefer=prefer)
    if scheme_of(source) != "file":
        raise CatalogError(f"source {display_href(source)!r}: only paths, http, https and s3 are read")
    return _from_path(source, base)


def _check_address(source: str) -> None:
    """Do nothing for a URL that can be parsed and names a host or bucket."""
    try:
        parts = urlsplit(source)
        whole = bool(parts.hostname) and parts.port != 0 and source.isprintable()
    except ValueError:
        whole = False
    if not whole:
        raise CatalogError(
            f"source {display_href(source)!r} is no address; expected https://host/path or s3://bucket/path"
        )


def sign_href(source: Source, href: str, *, renew: bool = False) -> str:
    """The href with a signature that is valid for a limited time; call this right before reading.

    `renew` requests a new signature instead of a cached one.

    Raises:
        CatalogError: `source.s3` lacks the keys that the source needs.
        SigningError: the signing service could not be reached.
    """
    if source.signing == "none":
        return href
    return signed(href, signing=source.signing, endpoint=source.s3_endpoint, s3=source.s3, renew=renew)


def describe_source(source: Source) -> dict[str, Any]:
    """The source's name, title, kind, href, collections, signing and hosts, for display."""
    return {
        "name": source.name,
        "title": source.title or source.kind,
        "kind": source.kind,
        "href": display_href(source.href),
        "collections": {ours: list(theirs) for ours, theirs in source.collections.items()},
        "signing": source.signing,
        "hosts": list(source.hosts),
    }


def _from_description(description: Mapping[str, Any], base: Path | None) -> Source:
    """The source of a job's description; `like` names a source whose fields are the defaults."""
    unknown = sorted(str(key) for key in description if key not in SETTABLE)
    if unknown:
        similar = get_close_matches(unknown[0], SETTABLE, n=1)
        hint = f" (did you mean {similar[0]!r}?)" if similar else ""
        raise CatalogError(
            f"source has unknown keys {', '.join(unknown)}{hint}; known are {', '.join(sorted(SETTABLE))}"
        )
    check_stated(description)
    borrowed = resolve_source(description["like"], base=base).to_json() if "like" in description else {}
    if "href" in description:
        named = description.get("kind") == "product"
        plain = _product(description["href"], base) if named else resolve_source(description["href"], base=base)
        borrowed = {**borrowed, "href": plain.href, "kind": plain.kind, "name": plain.name, "files": plain.files}
    elif "files" in description:
        origin = str((base or Path()).resolve() / "files")
        borrowed = {"href": origin, "kind": "files", "name": "files", "prefer": None, **borrowed}
    elif not borrowed:
        raise CatalogError("source needs 'href', 'files' or 'like'")
    stated = {key: description[key] for key in description if key not in {"like", "href", "collection", "defaults"}}
    fields = {**borrowed, **stated}
    if "files" in description:
        fields["files"] = _file_entries(description)
    return Source.of_fields(str(fields["name"]), fields)


def _product(href: str, base: Path | None) -> Source:
    """The product at an href, whether it is there yet or not."""
    if scheme_of(href) == "file":
        path = local_path(href).expanduser()
        href = str((path if path.is_absolute() else (base or Path()) / path).absolute())
    folder = href.rstrip("/").removesuffix(f"/{ITEM}").removesuffix("/collection.json")
    return Source(name=folder.rpartition("/")[2] or "product", kind="product", href=href)


def _from_path(source: str, base: Path | None) -> Source:
    path = local_path(source).expanduser()
    path = path if path.is_absolute() else (base or Path()) / path
    if (product := _product_at(path)) is not None:
        return product
    inner = (path / name for name in ("catalog.json", "collection.json"))
    path = next((each for each in inner if _is_file(each)), path)
    if not _is_file(path):
        similar = get_close_matches(source.lower().replace("_", "-"), known_sources(), n=1)
        # A password that lacks its scheme would stand in the middle of a path.
        missing = f"; no such file: {path}" if without_secrets(source) == source else ""
        hint = f"; did you mean {similar[0]!r}?" if similar else missing
        raise CatalogError(f"source {source!r} is neither a known source ({_known_names()}) nor a file{hint}")
    resolved = path.resolve()
    kind = _kind_of(str(resolved))
    if kind == "files":
        return _from_description({"name": path.stem, **_read_description(resolved)}, resolved.parent)
    return Source(name=path.stem if path.stem != "catalog" else path.parent.name, kind=kind, href=str(resolved))


def _product_at(path: Path) -> Source | None:
    """The finished product that a path leads to by its folder, Item or Collection, or the products in a folder.

    Raises:
        CatalogError: it leads to a product that is not finished.
    """
    of_file = path.name in {ITEM, "collection.json"}
    folder = path.parent if of_file else path
    try:
        if (folder / STATE).is_dir():
            if not (folder / ITEM).is_file():
                raise CatalogError(
                    f"source {str(path)!r} is a product that is not finished, since it has no {ITEM}: run its job to "
                    "the end first"
                )
            resolved = (path if of_file else folder / ITEM).resolve()
            return Source(name=resolved.parent.name, kind="product", href=str(resolved))
        known = any((folder / name).is_file() for name in ("catalog.json", "collection.json", ITEM))
        if of_file or known or not folder.is_dir():
            return None
        several = any((each / STATE).is_dir() for each in folder.iterdir())
    except OSError:
        return None
    resolved = folder.resolve()
    return Source(name=resolved.name, kind="product", href=str(resolved)) if several else None


def _is_file(path: Path) -> bool:
    """Whether there is a file at a path; a path that no file system can hold is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_description(path: Path) -> Mapping[str, Any]:
    try:
        description = load_plain(path.read_bytes())
    except ValueError as error:
        raise CatalogError(f"source {path.name} is not readable YAML: {error}") from error
    if not isinstance(description, Mapping):
        raise CatalogError(f"source {path.name} holds no description; expected keys such as 'href' or 'files'")
    return description


def _file_entries(description: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The entries of a list of files, completed with the list's collection and defaults; YAML dates become text."""
    entries = description["files"]
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries) or not entries:
        raise CatalogError("source: 'files' is a list of entries like {href: red.tif, datetime: 2021-06-17, band: red}")
    shared = {**description.get("defaults", {})}
    if "collection" in description:
        shared["collection"] = description["collection"]
    completed = [{**shared, **entry} for entry in entries]
    return tuple(
        {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in entry.items()}
        for entry in completed
    )


def _kind_of(href: str) -> str:
    suffix = PurePosixPath(urlsplit(href).path if scheme_of(href) != "file" else href).suffix.lower()
    if scheme_of(href) == "s3" and suffix not in DOCUMENTS:
        # A bucket answers no search: what lies like a folder there is a product, or holds some.
        return "product"
    if suffix in {".parquet", ".geoparquet"}:
        return "geoparquet"
    if suffix in {".yaml", ".yml"}:
        return "files"
    return "api" if scheme_of(href) in {"http", "https"} and suffix not in {".json", ".geojson"} else "static"


def _derived_name(href: str) -> str:
    """A name for a remote source without one: its host and a digest of its href without credentials."""
    digest = hashlib.sha256(display_href(href).encode(errors="replace")).hexdigest()[:8]
    return f"{urlsplit(href).hostname or 'source'}-{digest}"


def _known_names() -> str:
    return ", ".join(known_sources())
