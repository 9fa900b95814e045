"""The rules for the requests of a source, from its address and the hosts it names; and GDAL's settings under them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tilewright.catalogs.hrefs import scheme_of
from tilewright.catalogs.network.addresses import plain_host
from tilewright.catalogs.network.check import address_scope
from tilewright.catalogs.network.connect import HostRules, RefusedError
from tilewright.catalogs.network.process import egress_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


PORTS = {"http": 80, "https": 443}

_SOCKS = re.compile(r"SOCKS5 connection to (\S+?)\.? ?\((\d+)\)")
"""Curl's words on an answer of the process that judges connections, with the host and the code (RFC 1928)."""

ANSWERS = {2: "refused", 4: "its name cannot be resolved", 5: "no connection", 6: "no connection in time"}


def document_rules(origin: str, hosts: Sequence[str] = ()) -> HostRules:
    """The rules for documents of a source at `origin`; those of `hosts` that are no patterns may have any address."""
    own = ""
    if scheme_of(origin) in PORTS:
        parts = urlsplit(origin)
        own = f"{plain_host(parts.hostname or '')}:{parts.port or PORTS[parts.scheme.lower()]}"
    opened = tuple(host.lower() for host in hosts if not re.search(r"[*?\[]", host))
    return HostRules(scope=address_scope(origin), own=own, opened=opened)


def asset_rules(origin: str, hosts: Sequence[str] = ()) -> HostRules:
    """The rules for the files of a source at `origin`, which `hosts` narrow to names."""
    rules = document_rules(origin, hosts)
    return HostRules(scope=rules.scope, own=rules.own, only=tuple(hosts), opened=rules.opened)


def network_settings(href: str, rules: HostRules | None) -> dict[str, str]:
    """GDAL's settings for a href under the rules; empty without rules, for a file, and for a bucket.

    Where a bucket is, the user's own settings say.
    """
    return {} if rules is None or scheme_of(href) not in PORTS else egress_settings(rules)


def refusal(error: BaseException, rules: HostRules | None) -> str | None:
    """The sentence on a request of GDAL's that was refused, None where the error speaks of another fault."""
    found, cause = _SOCKS.search(str(error)), error.__cause__
    while found is None and cause is not None:
        found, cause = _SOCKS.search(str(cause)), cause.__cause__
    if rules is None or found is None or int(found[2]) != 2:
        return None
    host = found[1].strip("[]").rstrip(".")
    try:
        rules.addresses(host, PORTS["https"])
    except RefusedError as refused:
        return f"{refused}; refused"
    except OSError:
        pass
    return f"it leads to an address or a port of {host} to which a {rules.scope} catalog must not lead; refused"


def plain_words(message: str) -> str:
    """GDAL's message with the words of curl on the process in between replaced by those on the host behind it."""
    return _SOCKS.sub(lambda found: f"{found[1].rstrip('.')}: {ANSWERS.get(int(found[2]), 'no connection')}", message)
