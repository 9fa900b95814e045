"""A STAC API on this machine that accepts Items, as strict as the real ones and with faults on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.http_servers import QuietHandler, running

TOKEN = "sesame"  # noqa: S105 -- of this API alone
TRANSACTIONS = "https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"


class Api:
    """A STAC API with the transaction extension: POST refuses what exists (409), PUT what does not (404)."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.lose_answer_to: str | None = None
        self.alter: dict[str, Any] = {}
        self.landing: Any = {"type": "Catalog", "id": "api", "links": [], "conformsTo": [TRANSACTIONS]}

    def answer(self, method: str, path: str, sent: dict[str, Any] | None) -> tuple[int, Any]:
        self.calls.append((method, path))
        if method == "GET":
            found = self.landing if path == "/" else self.documents.get(path)
            return (200, self.served(path, found)) if found else (404, {"code": "NotFound"})
        assert sent is not None
        place = f"{path}/{sent['id']}" if method == "POST" else path
        if method == "POST" and place in self.documents:
            return 409, {"code": "ConflictError"}
        if method == "PUT" and place not in self.documents:
            return 404, {"code": "NotFound"}
        if place.rpartition("/items/")[0] and place.rpartition("/items/")[0] not in self.documents:
            return 404, {"code": "NotFound", "description": "no such collection"}
        self.documents[place] = sent
        if self.lose_answer_to == method:
            self.lose_answer_to = None
            return 503, {"code": "lost"}
        return (201 if method == "POST" else 200), self.served(place, sent)

    def served(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """As pgstac does: own links in front, microseconds in instants, floats for whole numbers."""
        served = json.loads(json.dumps(document).replace('T00:00:00Z"', 'T00:00:00.000000+00:00"'))
        served["links"] = [{"rel": "self", "href": place}, *served.get("links", [])]
        return served | self.alter


@contextmanager
def stac_api() -> Iterator[tuple[str, Api]]:
    """The address of an API that wants the token, and its state."""
    state = Api()

    class Handler(QuietHandler):
        def exchange(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, document = 401, {"code": "Unauthorized"}
            else:
                status, document = state.answer(self.command, self.path, sent)
            self.reply(document, status)

        do_GET = do_POST = do_PUT = exchange  # noqa: N815

    with running(Handler) as address:
        yield address, state
