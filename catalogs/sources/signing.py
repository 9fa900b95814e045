"""Signing: hrefs that are readable for a limited time. They are signed right before reading and never stored."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, scheme_of
from tilewright.catalogs.s3 import AMAZON
from tilewright.catalogs.sources.fetch import parse_json, send

if TYPE_CHECKING:
    from tilewright.catalogs.s3 import S3Settings


SIGNINGS = ("none", "planetary-computer", "s3")

S3_LIFETIME = timedelta(hours=1)

TOKEN_SECONDS = 60.0

RENEWED_S = 60.0
"""A token that ends within these seconds is renewed. Source: planetary_computer.sas.get_token."""

PUBLIC_ACCOUNT = "ai4edatasetspublicassets.blob.core.windows.net"
"""The account whose files need no token. Source: planetary_computer.sas.sign_url."""

CDSE_HOST = "eodata.dataspace.copernicus.eu"

CDSE_KEYS = ("CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY")

AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

_token_lock = threading.Lock()


class SigningError(RuntimeError):
    """The signing service gave no signature although the request was valid."""


def signed(
    href: str, *, signing: str, endpoint: str | None = None, s3: S3Settings = AMAZON, renew: bool = False
) -> str:
    """The href with a signature that is valid from now on; unchanged if `signing` does not apply to it.

    `endpoint` is the source's, None for Amazon; `s3` holds the keys.

    Raises:
        CatalogError: `s3` lacks the keys.
        SigningError: the signing service did not answer.
    """
    if signing == "planetary-computer":
        return _planetary_computer(href, renew=renew)
    return _presigned(href, endpoint, s3) if signing == "s3" and scheme_of(href) == "s3" else href


def _planetary_computer(href: str, *, renew: bool) -> str:
    """The href with a SAS token. Tokens are kept in the library's cache, and renewed in their last minute."""
    from planetary_computer import sas  # noqa: PLC0415  half a second of import that only its users pay

    with _token_lock:
        if renew:
            sas.TOKEN_CACHE.clear()
        try:
            return _with_token(href, sas)
        except Exception as error:  # requests, pydantic and ValueError all come out of the library
            reason = f"{type(error).__name__}: Planetary Computer gave no token"
            # What the library says of an answer holds the token, and its causes decide nothing.
            cause = error if isinstance(error, CatalogError) else None
            raise SigningError(f"{display_href(href)} could not be signed ({reason})") from cause


def _with_token(href: str, sas: Any) -> str:
    """The href as the library signs it, with a token from its cache or of our own request."""
    parts = urlsplit(href)
    signed_already = {"st", "se", "sp"} & set(parse_qs(parts.query))
    if not parts.netloc.endswith(sas.BLOB_STORAGE_DOMAIN) or parts.netloc == PUBLIC_ACCOUNT or signed_already:
        return href
    settings = sas.Settings.get()
    url = "/".join([settings.sas_url, *sas.parse_blob_url(parts)])
    token = sas.TOKEN_CACHE.get(url)
    if token is None or token.ttl() < RENEWED_S:
        token = sas.TOKEN_CACHE[url] = sas.SASToken(**_token(url, settings.subscription_key))
    return str(token.sign(href).href)


def _token(url: str, key: str | None) -> dict[str, Any]:
    """The service's answer. The library's own request waits for ever, and takes the key to wherever it is redirected.

    Raises CatalogError without an answer, ValueError for one that is no token.
    """
    import requests  # noqa: PLC0415

    headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
    # The service is the user's own choice (PC_SDK_SAS_URL), wherever its name leads.
    own = (urlsplit(url).hostname or "",)
    status, body = send(requests.Request("GET", url, headers=headers), origin=url, hosts=own, seconds=TOKEN_SECONDS)
    if status != 200:
        raise ValueError(f"HTTP {status}")
    return parse_json(body, url)


def _presigned(href: str, endpoint: str | None, s3: S3Settings) -> str:
    """The https URL of an s3 object with the signature in its query, valid for an hour."""
    import obstore  # noqa: PLC0415

    bucket, _, key = href[len("s3://") :].partition("/")
    store = obstore.store.S3Store(bucket, **_bucket_options(endpoint, s3))
    return str(obstore.sign(store, "GET", key, S3_LIFETIME))


def _bucket_options(endpoint: str | None, s3: S3Settings) -> dict[str, Any]:
    """Options of obstore's S3Store; keys go through a provider, so that no token of another account comes along."""
    foreign = endpoint is not None and urlsplit(endpoint).hostname == CDSE_HOST
    key, secret = (s3.cdse_key, s3.cdse_secret) if foreign else (s3.key, s3.secret)
    if not key or not secret:
        names = CDSE_KEYS if foreign else AWS_KEYS
        raise CatalogError(f"the source's S3 needs keys: set {names[0]} and {names[1]} in the environment")
    token = None if foreign else s3.token
    credential = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}
    options: dict[str, Any] = {"credential_provider": lambda: credential}
    if endpoint is None:
        return options
    if endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    # The endpoint is the source's: the default region of the user's own account says nothing about it.
    region = "default" if foreign else s3.region or "us-east-1"
    return {**options, "endpoint": endpoint, "virtual_hosted_style_request": False, "region": region}
