"""Push of an Item to a STAC API by the transaction extension, verified by reading the Item back.

Source: STAC API transaction extension v1.0.0 (POST and PUT of items), collection transaction extension v1.0.0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, local_path, resolve_href, scheme_of
from tilewright.catalogs.publish.collection import merge_bbox, merge_interval
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.catalogs.schemas import ALTERNATE
from tilewright.catalogs.sources.fetch import quoted, send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


STRUCTURAL_LINKS = {"self", "root", "parent", "collection", "items", "item"}
"""Relations that describe a document's place in its catalog; a server writes its own."""


TRANSACTIONS = "/ogcapi-features/extensions/transaction"
"""End of the conformance class of APIs that accept Items. Source: STAC API transaction extension v1.0.0."""


class PushError(RuntimeError):
    """A STAC API that cannot be reached, refuses a document, or stores another; `status` is HTTP's for a refusal."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """The result of a push; `action` is created, updated or unchanged, `href` is the Item's address on the API."""

    action: str
    href: str


def check_transactions(api: str, *, headers: Mapping[str, str] | None = None) -> None:
    """Do nothing for a STAC API that accepts Items.

    Raises:
        CatalogError: the address is no http(s) URL, is none of a STAC API, or its API does not accept Items.
        PushError: the API cannot be reached, or refuses.
    """
    shown = display_href(api)
    if scheme_of(api) not in {"http", "https"}:
        raise CatalogError(f"{shown} is not the address of a STAC API: give an http(s) URL")
    landing = _Client(api.rstrip("/"), dict(headers or {})).get("") or {}
    classes = landing.get("conformsTo")
    if not isinstance(classes, list):
        raise CatalogError(f"{shown} is not the address of a STAC API: its answer names no conformance classes")
    if not any(str(name).rstrip("/").endswith(TRANSACTIONS) for name in classes):
        raise CatalogError(
            f"{shown} does not accept Items: it lacks the transaction extension; give an API that has it"
        )


def push_item(
    api: str,
    collection: Mapping[str, Any],
    item: Mapping[str, Any],
    *,
    base: str,
    bucket: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> PushResult:
    """The action that was needed: an Item that the API lacks is created, one that differs is updated.

    A missing Collection is created, and an existing one's extent is widened if the Item's Collection is larger. `base`
    is the absolute address of the Item's document; relative hrefs are resolved against it. `bucket` is the document's
    URI in the bucket in which it lies, if that is another: each asset then says it as its alternate place. `headers`
    (authorization) are sent to the API alone and never appear in a message. The Item is read back and compared field
    by field.

    Raises:
        CatalogError: the documents are not valid STAC, or `base` is a local path.
        PushError: the API cannot be reached, refuses, or returns something else than was sent.
    """
    if scheme_of(base) == "file":
        raise CatalogError(
            f"{base} is a local path, which nobody finds from a catalog; give the product's public address"
        )
    client = _Client(api.rstrip("/"), dict(headers or {}))
    collection_path = f"/collections/{quote(str(collection['id']), safe='')}"
    absolute = _with_alternates(absolute_document(item, base), item, bucket)
    absolute["links"].append({"rel": "collection", "href": client.address(collection_path), "type": "application/json"})
    validate_item(absolute)
    _ensure_collection(client, collection_path, absolute_document(collection, base))
    path = f"{collection_path}/items/{quote(str(item['id']), safe='')}"
    action = _write_item(client, collection_path, path, absolute)
    found = client.get(path)
    differing = differences(absolute, found or {})
    if differing:
        raise PushError(f"{client.address(path)} reads back differently in {', '.join(differing[:5])}")
    return PushResult(action=action, href=client.address(path))


def absolute_document(document: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The Item or Collection with absolute hrefs, without its structural links and links to files of this machine."""
    links = [
        {**link, "href": resolve_href(link["href"], base)}
        for link in document.get("links", ())
        if link["rel"] not in STRUCTURAL_LINKS and not _is_local_path(link["href"])
    ]
    assets = {
        key: {**asset, "href": resolve_href(asset["href"], base)} for key, asset in document.get("assets", {}).items()
    }
    return {**document, "links": links, **({"assets": assets} if "assets" in document else {})}


def _with_alternates(absolute: dict[str, Any], item: Mapping[str, Any], bucket: str | None) -> dict[str, Any]:
    """The Item whose assets beside it also say where they lie in a bucket.

    Source: the alternate assets extension, v1.2.0.
    """
    if bucket is None:
        return absolute
    scheme, assets = scheme_of(bucket), dict(absolute["assets"])
    for key, asset in item["assets"].items():
        place = resolve_href(asset["href"], bucket)
        if place != asset["href"]:
            assets[key] = {**assets[key], "alternate": {scheme: {"href": place}}}
    return {**absolute, "assets": assets, "stac_extensions": sorted({*absolute["stac_extensions"], ALTERNATE})}


def _is_local_path(href: str) -> bool:
    return scheme_of(href) == "file" and local_path(href).is_absolute()


def differences(sent: Any, found: Any, path: str = "") -> list[str]:
    """Paths of the fields that `found` lacks or that differ from `sent`; fields that only `found` has are ignored.

    Datetimes are compared as instants, numbers to nine digits, links as a set; null equals a missing field.
    """
    if isinstance(sent, dict) and isinstance(found, dict):
        return [field for key in sent for field in differences(sent[key], found.get(key), f"{path}/{key}".lstrip("/"))]
    if path == "links":
        missing = _links(sent) - _links(found)
        return sorted({f"links/{rel}" for rel, _ in missing if rel not in STRUCTURAL_LINKS})
    if isinstance(sent, (list, tuple)) and isinstance(found, (list, tuple)) and len(sent) == len(found):
        pairs = enumerate(zip(sent, found, strict=True))
        return [field for n, (one, other) in pairs for field in differences(one, other, f"{path}/{n}")]
    return [] if _equal(sent, found) else [path]


def _links(found: Any) -> set[tuple[str, str]]:
    """(rel, href) of the links in a document, whatever stands there in their place."""
    listed = found if isinstance(found, list) else []
    return {(str(link.get("rel")), str(link.get("href"))) for link in listed if isinstance(link, dict)}


def _equal(sent: Any, found: Any) -> bool:
    if isinstance(sent, str) and isinstance(found, str):
        return sent == found or _instant(sent) == _instant(found) is not None
    if isinstance(sent, bool) != isinstance(found, bool):
        return False
    if isinstance(sent, (int, float)) and isinstance(found, (int, float)):
        return math.isclose(sent, found, rel_tol=1e-9, abs_tol=1e-12)
    return bool(sent == found)


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text[4:5] == "-" else None
    except ValueError:
        return None


def _ensure_collection(client: _Client, collection_path: str, collection: dict[str, Any]) -> None:
    existing = client.get(collection_path)
    if existing is None:
        validate_collection(collection)
        if client.send("POST", "/collections", collection) != 409:
            return
        existing = client.get(collection_path)
        if existing is None:
            raise PushError(
                f"{client.address(collection_path)} exists, but is not shown: use a token that may read and write it"
            )
    wider = _with_wider_extent(existing, collection)
    if differences(wider, existing):
        client.send("PUT", collection_path, wider)


def _with_wider_extent(existing: Mapping[str, Any], collection: Mapping[str, Any]) -> dict[str, Any]:
    """The API's Collection with an extent that includes ours; its other fields are unchanged.

    Raises PushError where the API's Collection states no extent that one can read.
    """
    theirs: Any = existing.get("extent")
    ours = collection["extent"]
    try:
        box = merge_bbox(_flat(theirs["spatial"]["bbox"][0]), _flat(ours["spatial"]["bbox"][0]))
        interval = merge_interval(theirs["temporal"]["interval"][0], ours["temporal"]["interval"][0])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PushError(
            f"the Collection {collection['id']} on the API has no extent that can be read: mend it there first"
        ) from error
    spatial = {**theirs["spatial"], "bbox": [box, *theirs["spatial"]["bbox"][1:]]}
    temporal = {**theirs["temporal"], "interval": [interval, *theirs["temporal"]["interval"][1:]]}
    return {**existing, "extent": {"spatial": spatial, "temporal": temporal}}


def _flat(bbox: Sequence[float]) -> list[float]:
    """A bounding box of 4 or (with heights) 6 numbers as minx, miny, maxx, maxy; ValueError for another length."""
    if len(bbox) == 6:
        return [bbox[0], bbox[1], bbox[3], bbox[4]]
    if len(bbox) != 4:
        raise ValueError(f"a bounding box has 4 or 6 numbers, not {len(bbox)}")
    return list(bbox)


def _write_item(client: _Client, collection_path: str, path: str, item: dict[str, Any]) -> str:
    existing = client.get(path)
    if existing is not None and not differences(item, existing):
        return "unchanged"
    # 409: another client, or our own repeated request, has created the Item in the meantime; it is updated then.
    if existing is None and client.send("POST", f"{collection_path}/items", item) != 409:
        return "created"
    client.send("PUT", path, item)
    return "created" if existing is None else "updated"


@dataclass(frozen=True, slots=True)
class _Client:
    """Requests to one API; a status outside 2xx raises PushError, except 404 for GET and 409 for POST."""

    api: str
    headers: Mapping[str, str]

    def address(self, path: str) -> str:
        """The absolute address of a path on the API, without credentials."""
        return display_href(self.api + path)

    def get(self, path: str) -> dict[str, Any] | None:
        """The document at the path, None if there is none."""
        status, body = self._request("GET", path, None)
        if status == 404:
            return None
        self._check(status, "GET", path, body)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise PushError(f"{self.address(path)} answers with something that is not JSON") from error
        if not isinstance(document, dict):
            raise PushError(f"{self.address(path)} answers with something that is no STAC document")
        return document

    def send(self, method: str, path: str, document: Mapping[str, Any]) -> int:
        """The status of a POST or PUT, 2xx or (POST) 409."""
        status, body = self._request(method, path, json.dumps(document).encode())
        if (method, status) != ("POST", 409):
            self._check(status, method, path, body)
        return status

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        import requests  # noqa: PLC0415  a quarter second of import that only a push pays

        if not all(value.isascii() and value.isprintable() for value in self.headers.values()):
            raise PushError("the token holds characters that no HTTP header can carry")
        headers = {"Accept": "application/json", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/geo+json" if "/items" in path else "application/json"
        request = requests.Request(method, self.api + path, headers=headers, data=body)
        try:
            # The API is the user's own choice, wherever its name leads.
            return send(request, origin=self.api, hosts=(urlsplit(self.api).hostname or "",))
        except CatalogError as error:
            raise PushError(f"{method} failed: {error}") from error
        except ValueError as error:
            raise PushError(f"{method} {self.address(path)} is redirected to what is no address") from error

    def _check(self, status: int, method: str, path: str, body: bytes) -> None:
        if not 200 <= status < 300:
            import requests  # noqa: PLC0415

            # What is published may be quoted.
            answer = quoted(body, requests.Request(method, self.api, headers=dict(self.headers)), most=200)
            raise PushError(f"{method} {self.address(path)} was answered with HTTP {status}: {answer}", status=status)
