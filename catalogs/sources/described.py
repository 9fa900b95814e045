"""The fields of a source as a person or a plan states them, each of its type: a word is no list, and no yes or no."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import number

UNITS = ("linear", "db", "1")
"""Units of backscatter; 1 is that of uncalibrated amplitudes."""

BAND_FIELDS = frozenset({"asset", "index", "scale", "offset", "unit", "nodata", "dtype", "alpha"})

CLEARABLE = frozenset({"prefer", "s3_endpoint", "title"})
"""Keys whose null clears what `like` brings; for the others it is not clear what an empty value would mean."""

HOST = re.compile(r"[^\s/,:]+|(?=[^:]*:[^:]*:)[0-9a-f:.]+", re.IGNORECASE)
"""A host's or bucket's name, a pattern of them, or an address, without scheme, port and path."""

NUMBERS = {
    "index": "the band's number in its file, from 1",
    "scale": "a number other than 0",
    "offset": "a number",
    "nodata": "one number, or nan",
    "cloud_cover": "percent from 0 to 100",
    "relative_orbit": "a number from 1",
}
"""Fields of a user's description that are numbers, and what is expected of them."""


def check_stated(description: Mapping[str, Any]) -> None:
    """Do nothing for a user's description in which every key that is written says something.

    Raises:
        CatalogError: a key has no value, a list of hosts is empty, or a key that no source keeps has another type.
    """
    for key, value in description.items():
        if value is None and key not in CLEARABLE:
            raise CatalogError(f"source: {key} has no value; give it one, or leave {key} out")
    for key in description.keys() & {"href", "collection", "name"}:
        _name(description[key], f"source: {key}")
    if "defaults" in description:
        _mapping(description["defaults"], "source: defaults", "a mapping like {datetime: 2021-06-17, scale: 0.0001}")
    if description.get("hosts") in ([], ()):
        # An empty list would let the files lie anywhere, which nobody means who narrows them.
        raise CatalogError('source: hosts is empty; name the hosts of its files, or write "*" for any public one')


def source_fields(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a source as `Source` takes them, without those that are null.

    Raises:
        CatalogError: one has another type than it can have; the message names the source and the field.
    """
    stated = {key: value for key, value in fields.items() if value is not None}
    return {
        key: _CHECKS[key](value, f"source {name!r}: {key}") if key in _CHECKS else value
        for key, value in stated.items()
    }


def check_numbers(fields: Mapping[str, Any], shown: str) -> None:
    """Do nothing if the numbers of a band or file that a user describes can be meant.

    Raises:
        CatalogError: one cannot; `shown` says whose it is.
    """
    for key, expected in NUMBERS.items():
        value = fields.get(key)
        if value is not None and not _can_be(key, number(value)):
            raise CatalogError(f"{shown} has {key} {value!r}; expected {expected}")


def _can_be(key: str, value: float | None) -> bool:
    if value is None or (key != "nodata" and not math.isfinite(value)):
        return False
    if key in {"index", "relative_orbit"}:
        return value >= 1 and value == int(value)
    if key == "cloud_cover":
        return 0 <= value <= 100
    return key != "scale" or value != 0


def _refuse(shown: str, value: Any, expected: str) -> CatalogError:
    return CatalogError(
        f"{shown} is {str(value) if isinstance(value, bool) else repr(value)[:80]}; expected {expected}"
    )


def _text(value: Any, shown: str) -> str:
    if not isinstance(value, str):
        raise _refuse(shown, value, "a text" if isinstance(value, list | tuple | Mapping) else "a text, in quotes")
    return value


def _name(value: Any, shown: str) -> str:
    if not _text(value, shown).strip():
        raise _refuse(shown, value, "a text that is not empty")
    return str(value)


def _mapping(value: Any, shown: str, expected: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise _refuse(shown, value, expected)
    return value


def _names(value: Any, shown: str, expected: str) -> tuple[str, ...]:
    """The names in a list; a text is a list of one."""
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) and name.strip() for name in given):
        raise _refuse(shown, value, expected)
    return tuple(given)


def _collections(value: Any, shown: str) -> dict[str, tuple[str, ...]]:
    expected = "a mapping of our names to the source's, like {sentinel-2-l2a: my-s2}"
    found = {ours: _names(theirs, shown, expected) for ours, theirs in _mapping(value, shown, expected).items()}
    if not all(found.values()):
        raise _refuse(shown, value, expected)
    return found


def _bands(value: Any, shown: str) -> dict[str, dict[str, dict[str, Any]]]:
    expected = "a mapping of collections to bands, like {my-own: {red: B3}}"
    return {
        collection: {band: _band(entry) for band, entry in _mapping(bands, shown, expected).items()}
        for collection, bands in _mapping(value, shown, expected).items()
    }


def _band(entry: Any) -> dict[str, Any]:
    fields = {"asset": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, Mapping) or not isinstance(fields.get("asset"), str) or set(fields) - BAND_FIELDS:
        raise CatalogError(f"source: a band is an asset's key or {{{', '.join(sorted(BAND_FIELDS))}}}, not {entry!r}")
    check_numbers(fields, "source: a band")
    if not isinstance(fields.get("alpha"), bool | None):
        raise _refuse("source: alpha of a band", fields["alpha"], "true or false")
    for key in ("unit", "dtype"):
        # A unit of 1 is a number in YAML.
        if not isinstance(fields.get(key), str | None) and (key, fields[key]) != ("unit", 1):
            raise _refuse(f"source: {key} of a band", fields[key], "a text")
    return dict(fields)


def _units(value: Any, shown: str) -> dict[str, str]:
    expected = "a mapping of collections to linear or db, like {sentinel-1-grd: linear}"
    given = _mapping(value, shown, expected)
    if not all(isinstance(unit, str) and unit.lower() in UNITS for unit in given.values()):
        raise _refuse(shown, value, expected)
    return {collection: unit.lower() for collection, unit in given.items()}


def _hosts(value: Any, shown: str) -> tuple[str, ...]:
    expected = 'names of hosts and buckets, without scheme, port and path, like ["*.example.org", my-bucket]'
    found = _names(value, shown, expected)
    if not all(HOST.fullmatch(host) for host in found):
        raise _refuse(shown, value, expected)
    return found


def _yes_or_no(value: Any, shown: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(shown, value, "true or false")
    return value


def _endpoint(value: Any, shown: str) -> str:
    expected = "the address of an S3 server, like https://s3.example.org"
    try:
        parts = urlsplit(_text(value, shown))
        whole = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise _refuse(shown, value, expected)
    return str(value)


def _rewrite(value: Any, shown: str) -> dict[str, str]:
    expected = "a mapping of prefixes of hrefs to their replacements"
    if not all(isinstance(other, str) for other in _mapping(value, shown, expected).values()):
        raise _refuse(shown, value, expected)
    return dict(value)


def _files(value: Any, shown: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, Mapping) for entry in value):
        raise _refuse(shown, value, "a list of entries like {href: red.tif, datetime: 2021-06-17, band: red}")
    return tuple(dict(entry) for entry in value)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("name", "kind", "href"), _name),
    **dict.fromkeys(("title", "signing", "prefer"), _text),
    "collections": _collections,
    "bands": _bands,
    "units": _units,
    "hosts": _hosts,
    "dn_as_esa": _yes_or_no,
    "s3_endpoint": _endpoint,
    "rewrite": _rewrite,
    "keep_query": lambda value, shown: _names(value, shown, "names of parameters"),
    "files": _files,
}
