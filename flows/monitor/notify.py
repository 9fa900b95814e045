"""A notification at the end of a command: a small JSON document, sent by POST to an address of the user's own."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.flows.environment import NOTIFY, notify_token, s3_settings
from tilewright.flows.shown import shown_json

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 5.0
"""Seconds that each try may take, connecting and answer included."""

TRIES = 2

MOST_PRODUCTS = 100
"""Products that one notification names; of more it says how many there are."""

LONGEST_ANSWER = 64 * 2**10
"""Bytes of an answer that are read, so that a connection is not cut off in the middle of it."""


class NotifyError(ValueError):
    """An address to which nothing can be sent."""


def check_address(address: str, *, given: bool) -> None:
    """Do nothing for an http(s) URL; one that was ``given`` on the command line must hold no secret.

    Raises NotifyError, without the address in its words.
    """
    try:
        parts = urlsplit(address)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and address.isprintable()
        whole = whole and (parts.port is None or parts.port > 0) and " " not in address
    except ValueError:
        whole = False
    name = "--notify" if given else NOTIFY
    if not whole:
        raise NotifyError(f"{name}: give an http(s) URL, to which a JSON document is posted at the end.")
    if parts.username or parts.password:
        raise NotifyError(f"{name}: leave user and password out of the URL, and put a token into {NOTIFY}_TOKEN.")
    if given and (parts.query or parts.fragment):
        raise NotifyError(
            f"{name}: what stands behind the URL's ? may be a secret, which others see on a command line: put the URL "
            f"into {NOTIFY}."
        )


def notification(
    *, command: str, state: str, code: int, seconds: float, said: str, products: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is told of an end: the command, its state and exit code, one sentence (``text``, which chats show).

    ``state`` is complete, failed, refused, busy (another run owns the output) or interrupted; ``products`` have a name,
    an output and a state.
    """
    names = ", ".join(str(each["name"]) for each in products[:3])
    of = f" {names}{' ...' if len(products) > 3 else ''}" if names else ""
    return {
        "text": f"tilewright {command}{of}: {state}{f': {said}' if said else ''}",
        "command": command,
        "state": state,
        "exit_code": code,
        "seconds": round(seconds, 1),
        "reason": said,
        "products": products[:MOST_PRODUCTS],
        "products_total": len(products),
        "version": version("tilewright"),
    }


def notify(address: str, document: Mapping[str, Any], *, tries: int = TRIES) -> str:
    """Post a document as JSON without secrets; returns why it did not arrive, in words, empty where it did.

    Redirects are not followed. The token of the environment goes along and nothing else: no cookie, and no password
    of the user's netrc.
    """
    host = urlsplit(address).netloc
    why = ""
    for _ in range(tries):
        status = _answer(address, shown_json(dict(document)).encode())
        if isinstance(status, str):
            why = status
            continue
        if 200 <= status < 300:
            return ""
        why = f"it answers {status}"
        if 300 <= status < 400:
            why += ", a redirect, which is not followed"
        if status < 500:
            break
    return f"The notification to {host} failed: {why}."


def _answer(address: str, body: bytes) -> int | str:
    """The status with which a server answers, or why there is none; it takes SECONDS, whatever hangs."""
    found: list[int | str] = []

    def ask() -> None:
        try:
            found.append(_posted(address, body))
        except CatalogError:
            found.append("no answer in time")
        except (OSError, ValueError):
            # The words of libraries hold the URL, which may be a secret as a whole.
            found.append("it cannot be reached")

    # Names are looked up without a time limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return found[0] if found else "no answer in time"


def _posted(address: str, body: bytes) -> int:
    """The status with which a server answers. Raises OSError or CatalogError without an answer in time."""
    import requests  # A quarter second of import that runs without a notification do not pay.

    from tilewright.catalogs.network.client import JudgedSession

    headers = {"Content-Type": "application/json", "User-Agent": f"tilewright/{version('tilewright')}"}
    if token := notify_token():
        headers["Authorization"] = f"Bearer {token}"
    # The address is the user's own, and may be one of the own network.
    with JudgedSession(None, 0) as session:
        settings = session.merge_environment_settings(
            address, {}, True, s3_settings().checked_ca_bundle() or True, None
        )
        # Not the netrc of the user, whose passwords are for others.
        session.trust_env = False
        try:
            with (
                session.watch.within(SECONDS, href=address),
                session.post(
                    address, data=body, headers=headers, timeout=SECONDS, allow_redirects=False, **settings
                ) as answer,
            ):
                answer.raw.read(LONGEST_ANSWER, decode_content=False)
                return answer.status_code
        except requests.RequestException as error:
            raise OSError(type(error).__name__) from error
