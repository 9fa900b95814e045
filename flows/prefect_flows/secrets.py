"""Refuses flow parameters that hold secrets, because the server stores and shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tilewright.catalogs.hrefs import holds_key, without_secrets

SECRET_KEYS = re.compile(
    r"^(sig|se|sp|sv|skoid|token|access_token|api_?key|key|signature|password|secret|authorization"
    r"|x-amz-(signature|credential|security-token)|x-goog-(signature|credential)|awsaccesskeyid)$",
    re.IGNORECASE,
)
"""Query keys of signed URLs (Azure SAS, S3 and GCS V4 signatures) and of the usual tokens."""

SECRET_NAMES = re.compile(r"(password|secret|token|api_?key|access_?key|credential)", re.IGNORECASE)


class SecretError(ValueError):
    """A request that would store a secret."""


def refuse_secrets(plain: Any, name: str) -> None:
    """Check that no text in a value holds a signature, password or key.

    Raises SecretError naming the field, never its value.
    """
    found = _first_secret(plain, name)
    if found is not None:
        raise SecretError(
            f"{found}: it carries a signature, password or key, and a flow run's parameters are kept by the server. "
            "Give the plain href and let the source sign it when reading; keys belong in the environment."
        )


def _first_secret(plain: Any, name: str) -> str | None:
    if isinstance(plain, Mapping):
        for key, value in plain.items():
            if SECRET_NAMES.search(str(key)) and value:
                return f"{name}.{key}"
            found = _first_secret(value, f"{name}.{key}")
            if found is not None:
                return found
    elif isinstance(plain, (list, tuple)):
        return next((found for entry in plain if (found := _first_secret(entry, name)) is not None), None)
    elif isinstance(plain, str) and ("://" in plain or "@" in plain) and _is_signed(plain):
        return name
    return None


def _is_signed(href: str) -> bool:
    # Parameters of other names are no secrets here: catalogs are asked with them.
    plain = [name for name in re.findall(r"[?&]([\w.-]+)=", href) if not _is_key(name)]
    return without_secrets(href, plain) != href


def _is_key(name: str) -> bool:
    return bool(SECRET_KEYS.match(name)) or holds_key(name)
