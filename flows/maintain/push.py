"""A finished product's Items written into a STAC API, where a second push updates them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tilewright.catalogs.hrefs import display_href, scheme_of
from tilewright.catalogs.publish.push import PushError, check_transactions, push_item
from tilewright.flows.environment import STAC_TOKEN, stac_token, storage_options
from tilewright.tasks.inventory.finished import part_item_names, read_item, unfinished
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import REMOTE, open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.storage.storage import Storage


BUCKETS = ("s3", "gs")
"""Schemes of products whose URI names their bucket alone, which programs beside it read without the web."""

REFUSED = (401, 403)
"""HTTP's answers to a request without sufficient authorization."""


def push_product(output: str, api: str, *, address: str | None = None) -> dict[str, Any]:
    """Push a finished product's Items, those of its parts first; returns what was done.

    Hrefs are made absolute from ``address``, the product's public URL, without one from its own URI; where the product
    lies in a bucket, assets with a public URL say their place in it as an alternate. The result holds
    ``output``, ``api``, ``collection`` and ``items``, each with ``id``, ``action`` (created, updated or unchanged) and
    ``href`` on the API; the product's own Item is the last. The API gets the token of the environment, if there is one.

    Raises StoreError for an output that holds no finished product or has no public address, CatalogError for an API
    that accepts no Items, PushError where the API cannot be reached or refuses.
    """
    _check_api(api)
    storage, documents = _read_documents(output)
    home = _public_address(storage, output, address)
    own = display_href(storage.uri).rstrip("/")
    bucket = own if scheme_of(own) in BUCKETS and own != home else None
    token = stac_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    collection = documents.pop("collection.json")
    try:
        check_transactions(api, headers=headers)
        pushed = [
            (
                item,
                push_item(
                    api,
                    collection,
                    item,
                    base=f"{home}/{name}",
                    bucket=None if bucket is None else f"{bucket}/{name}",
                    headers=headers,
                ),
            )
            for name, item in documents.items()
        ]
    except PushError as error:
        if error.status in REFUSED:
            advice = f"put a token that may write into {STAC_TOKEN}"
            raise PushError(f"{display_href(api)} refuses the push: {advice}. {error}", status=error.status) from error
        raise
    items = [{"id": item["id"], "action": result.action, "href": result.href} for item, result in pushed]
    return {"output": storage.uri, "api": display_href(api), "collection": collection["id"], "items": items}


def _check_api(api: str) -> None:
    """Refuse an address to which paths cannot be added, or that holds a second credential beside the token."""
    try:
        parts = urlsplit(api)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StoreError(f"{display_href(api)} is no http(s) address of a STAC API.")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise StoreError(
            f"{display_href(api)}: give the API's address alone, without user, query or fragment, and its token in "
            f"{STAC_TOKEN}."
        )


def _read_documents(output: str) -> tuple[Storage, dict[str, dict[str, Any]]]:
    """The storage of a product; its Collection and Items by file name, the product's own Item last.

    Raises StoreError where the product is not finished, or one of them is missing.
    """
    storage = open_storage(output, options=storage_options(output))
    item = read_item(storage)
    if item is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then push it.")
    found: dict[str, Any] = {name: read_object(storage, name) for name in ("collection.json", *part_item_names(item))}
    lacking = unfinished(storage)
    if lacking:
        raise StoreError(
            f"{output} lacks {lacking[0]}, which its Item belongs with, or it is damaged: restore it, or run the job "
            "again."
        )
    return storage, {**found, "item.json": item}


def _public_address(storage: Storage, output: str, address: str | None) -> str:
    """The absolute URL of the product, without credentials and without a slash at its end."""
    home = address or storage.uri
    try:
        netloc = urlsplit(home).netloc
    except ValueError:
        netloc = ""
    if REMOTE.match(home.lower()) and (not netloc or any(letter.isspace() for letter in home)):
        raise StoreError(f"--address {home!r} is no URL: give one such as https://files.example.org/map.")
    if not REMOTE.match(home.lower()):
        where = f"--address {address}" if address else output
        raise StoreError(
            f"{where} is a path of this machine, which nobody finds from a catalog: give the product's public URL with "
            "--address."
        )
    return display_href(home).rstrip("/")


def push_lines(pushed: Mapping[str, Any]) -> list[str]:
    """The lines for a person: the product's own Item, and how many of its parts were created, updated or unchanged."""
    *parts, whole = pushed["items"]
    lines = [f"{whole['id']}: {whole['action']}, {whole['href']}"]
    if parts:
        actions = [part["action"] for part in parts]
        counts = [f"{actions.count(action)} {action}" for action in sorted(set(actions))]
        lines.append(f"and {len(parts)} Items of its parts: {', '.join(counts)}")
    return lines
