"""An Item brought into a STAC API by its transaction extension, and proved to be there.

Source: STAC API transaction extension v1.0.0 (POST and PUT of items), collection transaction extension v1.0.0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, resolve_href, scheme_of
from tilewright.catalogs.publish.collection import merge_bbox, merge_interval
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.catalogs.sources.fetch import send

if TYPE_CHECKING:
    from collections.abc import Mapping


OWN_LINKS = {"self", "root", "parent", "collection", "items", "item"}
"""Links that say where a document lies; a server writes its own."""


class PushError(RuntimeError):
    """A STAC API that did not take an Item, or took something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What a push did: `action` is created, updated or unchanged; `href` is the Item's address on the API."""

    action: str
    href: str


def push_item(
    api: str,
    collection: Mapping[str, Any],
    item: Mapping[str, Any],
    *,
    base: str,
    headers: Mapping[str, str] | None = None,
) -> PushResult:
    """What it took to have the Item on the API: posted where it was missing, put where it differed, else nothing.

    The Collection is created where it is missing and its extent widened where it is narrower. `base` is the absolute
    address of the Item's document: relative hrefs are resolved against it. `headers` (authorization) go to the API
    alone and never into a message. The Item is read back and compared field by field.

    Raises CatalogError: the documents are not valid STAC, or `base` is a local path.
    Raises PushError: the API cannot be reached, refuses, or gives back something else than was sent.
    """
    if scheme_of(base) == "file":
        raise CatalogError(
            f"{base} is a local path, which nobody finds from a catalog; give the product's public address"
        )
    client = _Client(api.rstrip("/"), dict(headers or {}))
    home = f"/collections/{quote(str(collection['id']), safe='')}"
    absolute = absolute_document(item, base)
    absolute["links"].append({"rel": "collection", "href": client.shown(home), "type": "application/json"})
    validate_item(absolute)
    _ensure_collection(client, home, absolute_document(collection, base))
    place = f"{home}/items/{quote(str(item['id']), safe='')}"
    action = _place_item(client, home, place, absolute)
    found = client.get(place)
    differing = differences(absolute, found or {})
    if differing:
        raise PushError(f"{client.shown(place)} reads back differently in {', '.join(differing[:5])}")
    return PushResult(action=action, href=client.shown(place))


def absolute_document(document: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The Item or Collection with absolute hrefs and without the links that say where it lay."""
    links = [
        {**link, "href": resolve_href(link["href"], base)}
        for link in document.get("links", ())
        if link["rel"] not in OWN_LINKS
    ]
    assets = {
        key: {**asset, "href": resolve_href(asset["href"], base)} for key, asset in document.get("assets", {}).items()
    }
    return {**document, "links": links, **({"assets": assets} if "assets" in document else {})}


def differences(sent: Any, found: Any, where: str = "") -> list[str]:
    """Places where what was found lacks or changes what was sent; what a server adds is its own business.

    Instants are compared as instants, numbers to nine digits, links as a set, a null and its absence as one.
    """
    if isinstance(sent, dict) and isinstance(found, dict):
        return [spot for key in sent for spot in differences(sent[key], found.get(key), f"{where}/{key}".lstrip("/"))]
    if where == "links":
        known = {(link.get("rel"), link.get("href")) for link in found or ()}
        lost = [link["rel"] for link in sent if (link["rel"], link["href"]) not in known]
        return [f"links/{rel}" for rel in lost if rel not in OWN_LINKS]
    if isinstance(sent, (list, tuple)) and isinstance(found, (list, tuple)) and len(sent) == len(found):
        pairs = enumerate(zip(sent, found, strict=True))
        return [spot for n, (one, other) in pairs for spot in differences(one, other, f"{where}/{n}")]
    return [] if _same(sent, found) else [where]


def _same(sent: Any, found: Any) -> bool:
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


def _ensure_collection(client: _Client, home: str, collection: dict[str, Any]) -> None:
    known = client.get(home)
    if known is None:
        validate_collection(collection)
        if client.send("POST", "/collections", collection) != 409:
            return
        known = client.get(home) or {}
    wider = _widened(known, collection)
    if differences(wider, known):
        client.send("PUT", home, wider)


def _widened(known: Mapping[str, Any], collection: Mapping[str, Any]) -> dict[str, Any]:
    """The Collection as the API knows it, its extent widened to hold ours; all else stays the API's."""
    theirs, ours = known["extent"], collection["extent"]
    box = merge_bbox(theirs["spatial"]["bbox"][0], ours["spatial"]["bbox"][0])
    interval = merge_interval(theirs["temporal"]["interval"][0], ours["temporal"]["interval"][0])
    spatial = {**theirs["spatial"], "bbox": [box, *theirs["spatial"]["bbox"][1:]]}
    temporal = {**theirs["temporal"], "interval": [interval, *theirs["temporal"]["interval"][1:]]}
    return {**known, "extent": {"spatial": spatial, "temporal": temporal}}


def _place_item(client: _Client, home: str, place: str, item: dict[str, Any]) -> str:
    known = client.get(place)
    if known is not None and not differences(item, known):
        return "unchanged"
    # 409: somebody, or our own repeated request, was first; then it is an update.
    if known is None and client.send("POST", f"{home}/items", item) != 409:
        return "created"
    client.send("PUT", place, item)
    return "created" if known is None else "updated"


@dataclass(frozen=True, slots=True)
class _Client:
    """Requests to one API; answers but 2xx, and 404 and 409 where they mean something, are PushErrors."""

    api: str
    headers: Mapping[str, str]

    def shown(self, place: str) -> str:
        """The address of a place on the API, without credentials."""
        return display_href(self.api + place)

    def get(self, place: str) -> dict[str, Any] | None:
        """The document there, None where there is none."""
        status, body = self._exchange("GET", place, None)
        if status == 404:
            return None
        self._check(status, "GET", place, body)
        try:
            document = json.loads(body)
        except ValueError as error:
            raise PushError(f"{self.shown(place)} answers with something that is not JSON") from error
        if not isinstance(document, dict):
            raise PushError(f"{self.shown(place)} answers with something that is no STAC document")
        return document

    def send(self, method: str, place: str, document: Mapping[str, Any]) -> int:
        """The status of a POST or PUT, 2xx or (POST) 409."""
        status, body = self._exchange(method, place, json.dumps(document).encode())
        if (method, status) != ("POST", 409):
            self._check(status, method, place, body)
        return status

    def _exchange(self, method: str, place: str, body: bytes | None) -> tuple[int, bytes]:
        import requests  # noqa: PLC0415  a quarter second of import that only a push pays

        headers = {"Accept": "application/json", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/geo+json" if "/items" in place else "application/json"
        request = requests.Request(method, self.api + place, headers=headers, data=body)
        try:
            return send(request, origin=self.api)
        except CatalogError as error:
            raise PushError(f"{method} failed: {error}") from error

    def _check(self, status: int, method: str, place: str, body: bytes) -> None:
        if not 200 <= status < 300:
            said = " ".join(body[:200].decode(errors="replace").split())
            raise PushError(f"{method} {self.shown(place)} was answered with HTTP {status}: {said}")
