"""Named STAC sources: endpoint or file, what they call things, where their assets lie, how hrefs are signed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, local_path, scheme_of
from tilewright.catalogs.sources.signing import signed
from tilewright.catalogs.sources.source import Source

__all__ = ["CatalogError", "Source", "describe_source", "known_sources", "resolve_source", "sign_href"]

TABLE = Path(__file__).with_name("sources.yaml")


# A user's own description may set everything but the rewriting of hrefs, and say three things more.
SETTABLE = frozenset(field.name for field in dataclasses.fields(Source)) - {"rewrite"} | {
    "like",
    "collection",
    "defaults",
}


@cache
def known_sources() -> Mapping[str, Source]:
    """The sources known by name, in the order of the table."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: _from_fields(name, fields) for name, fields in table.items()}


def resolve_source(text: str | Mapping[str, Any] | Source, *, base: Path | None = None) -> Source:
    """The source a job names: a known name, a path relative to `base`, an http(s) or s3 URL, or its own description.

    Raises:
        CatalogError: it is none of these, or the description does not hold together.
    """
    if isinstance(text, Source):
        return text
    if isinstance(text, Mapping):
        return _described(text, base)
    if not isinstance(text, str) or not text.strip():
        raise CatalogError(f"source is {text!r}; expected a name ({_names()}), a path, a URL or a description")
    if text in known_sources():
        return known_sources()[text]
    if scheme_of(text) in {"http", "https", "s3"}:
        known = next((one for one in known_sources().values() if one.href == text.rstrip("/")), None)
        return known or Source(name=_name_of(text), kind=_kind_of(text), href=text, prefer=_preferred(text))
    if scheme_of(text) != "file":
        raise CatalogError(f"source {display_href(text)!r}: only paths, http, https and s3 are read")
    return _from_path(text, base)


def sign_href(source: str | Source, href: str, *, renew: bool = False) -> str:
    """The href made readable for a while; call it when reading, never before. `renew` asks for a fresh signature.

    A name that is not in the table stands for a source that needs no signing. Pass the Source where one is at hand.

    Raises:
        CatalogError: the keys the source needs are not in the environment.
        SigningError: the signing service could not be reached.
    """
    found = known_sources().get(source) if isinstance(source, str) else source
    if found is None or found.signing == "none":
        return href
    return signed(href, signing=found.signing, endpoint=found.s3_endpoint, renew=renew)


def describe_source(source: Source) -> dict[str, Any]:
    """What a person wants to know of a source: name, title, kind, href, collections, signing, hosts."""
    return {
        "name": source.name,
        "title": source.title or source.kind,
        "kind": source.kind,
        "href": display_href(source.href),
        "collections": {ours: list(theirs) for ours, theirs in source.collections.items()},
        "signing": source.signing,
        "hosts": list(source.hosts),
    }


def _described(text: Mapping[str, Any], base: Path | None) -> Source:
    """The source of a job's own description; `like` borrows what is not said from another source."""
    unknown = sorted(str(key) for key in text if key not in SETTABLE)
    if unknown:
        raise CatalogError(f"source has unknown keys {', '.join(unknown)}; known are {', '.join(sorted(SETTABLE))}")
    borrowed = resolve_source(text["like"], base=base).to_json() if "like" in text else {}
    if "href" in text:
        plain = resolve_source(str(text["href"]), base=base)
        borrowed = {**borrowed, "href": plain.href, "kind": plain.kind, "name": plain.name, "files": plain.files}
    elif "files" in text:
        origin = str((base or Path()).resolve() / "files")
        borrowed = {"href": origin, "kind": "files", "name": "files", "prefer": None, **borrowed}
    elif not borrowed:
        raise CatalogError("source needs 'href', 'files' or 'like'")
    fields = {**borrowed, **{key: text[key] for key in text if key not in {"like", "href", "collection", "defaults"}}}
    if "files" in text:
        fields["files"] = _entries(text)
    return _from_fields(str(fields.pop("name")), fields)


def _from_path(text: str, base: Path | None) -> Source:
    path = local_path(text).expanduser()
    path = path if path.is_absolute() else (base or Path()) / path
    if path.is_dir():
        path = next((path / name for name in ("catalog.json", "collection.json") if (path / name).exists()), path)
    if not path.is_file():
        near = get_close_matches(text.lower().replace("_", "-"), known_sources(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; no such file: {path}"
        raise CatalogError(f"source {text!r} is neither a known source ({_names()}) nor a file{hint}")
    resolved = path.resolve()
    kind = _kind_of(str(resolved))
    if kind == "files":
        return _described({"name": path.stem, **_read_description(resolved)}, resolved.parent)
    return Source(name=path.stem if path.stem != "catalog" else path.parent.name, kind=kind, href=str(resolved))


def _read_description(path: Path) -> Mapping[str, Any]:
    try:
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"source {path.name} is not readable YAML: {error}") from error
    if not isinstance(text, Mapping):
        raise CatalogError(f"source {path.name} holds no description; expected keys such as 'href' or 'files'")
    return text


def _entries(text: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The entries of a list of files, each complete: the list's collection and defaults are written into them."""
    entries = text["files"]
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries) or not entries:
        raise CatalogError("source: 'files' is a list of entries like {href: red.tif, datetime: 2021-06-17, band: red}")
    shared = {**(text.get("defaults") or {})}
    if "collection" in text:
        shared["collection"] = text["collection"]
    return tuple({key: _plain(value) for key, value in {**shared, **entry}.items()} for entry in entries)


def _plain(value: Any) -> Any:
    """YAML's dates as text, everything else as it is."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def _from_fields(name: str, fields: Mapping[str, Any]) -> Source:
    wanted = {key: value for key, value in fields.items() if value is not None}
    try:
        wanted["collections"] = {
            ours: (theirs,) if isinstance(theirs, str) else tuple(theirs)
            for ours, theirs in dict(wanted.get("collections", {})).items()
        }
        wanted["bands"] = {
            collection: {band: _band_fields(entry) for band, entry in dict(bands).items()}
            for collection, bands in dict(wanted.get("bands", {})).items()
        }
        wanted["hosts"] = tuple(str(host) for host in wanted.get("hosts", ()))
        wanted["files"] = tuple(wanted.get("files", ()))
        return Source(**{**wanted, "name": name})
    except CatalogError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise CatalogError(f"source {name!r} is not described as expected: {error}") from error


def _band_fields(entry: Any) -> dict[str, Any]:
    known = {"asset", "index", "scale", "offset", "unit", "nodata", "dtype"}
    fields = {"asset": entry} if isinstance(entry, str) else dict(entry)
    if not isinstance(fields.get("asset"), str) or set(fields) - known:
        raise CatalogError(f"source: a band is an asset's key or {{{', '.join(sorted(known))}}}, not {entry!r}")
    return fields


def _kind_of(href: str) -> str:
    suffix = PurePosixPath(urlsplit(href).path if scheme_of(href) != "file" else href).suffix.lower()
    if suffix in {".parquet", ".geoparquet"}:
        return "geoparquet"
    if suffix in {".yaml", ".yml"}:
        return "files"
    return "api" if scheme_of(href) in {"http", "https"} and suffix not in {".json", ".geojson"} else "static"


def _preferred(href: str) -> str:
    return "s3" if scheme_of(href) == "s3" else "https"


def _name_of(href: str) -> str:
    """A short name for an unnamed remote source: its host and a mark of its address, free of anything secret."""
    mark = hashlib.sha256(display_href(href).encode()).hexdigest()[:8]
    return f"{urlsplit(href).hostname or 'source'}-{mark}"


def _names() -> str:
    return ", ".join(known_sources())
