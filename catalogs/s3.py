"""S3, certificates and proxies as the variables of an environment describe them: the one place that interprets them.

Nothing is read here: flows/environment.py hands the environment in. Others bring the result into the form that GDAL
(catalogs/gdal.py, tasks/read/gdal.py) or obstore (sources/fetch.py, sources/signing.py, flows/environment.py) takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping


ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""Variables of a process that has a role instead of keys; obstore exchanges the role for keys."""

PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "GDAL_HTTP_PROXY", "GDAL_HTTPS_PROXY")
"""Variables with which clients are told a proxy. Source: curl(1), "Environment"; GDAL, "Configuration options"."""

CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")
"""Variables of common clients with the file of the trusted authorities (certificates): the first counts for all.

Source: the documentations of requests (SSL Cert Verification), curl (--cacert), OpenSSL, and of the AWS SDKs.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """The endpoint, region and keys of S3; the default is Amazon without keys. The repr shows no credential.

    `endpoint` is as written, and its buckets are folders of it, not hosts. `default_region` is the region of the user's
    own account where `region` is None. `role` is True for a process whose keys come from a role. `request_payer` and
    `no_sign_request` have the values that GDAL knows. The keys of the Copernicus Data Space (CDSE) are for its own
    endpoint alone. `ca_bundle` is the PEM file of the authorities that every client trusts, buckets or not; None for
    those that each client brings along. `proxied`: a proxy of the user's own connects for every client, and decides
    where requests may go.
    """

    endpoint: str | None = None
    region: str | None = None
    default_region: str | None = None
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    role: bool = False
    request_payer: str | None = None
    no_sign_request: str | None = None
    cdse_key: str | None = field(default=None, repr=False)
    cdse_secret: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    proxied: bool = False

    @property
    def plain_http(self) -> bool:
        """True for an endpoint without TLS, which obstore refuses unless plain http is allowed."""
        return self.endpoint is not None and urlsplit(self.endpoint).scheme == "http"

    @property
    def anonymous(self) -> bool:
        """True without keys and without a role: requests are sent unsigned, which public buckets answer."""
        return self.key is None and not self.role

    @property
    def bucket_region(self) -> str | None:
        """The region of buckets at `endpoint` or at Amazon."""
        return self.region or self.default_region

    def checked_endpoint(self) -> str | None:
        """The endpoint, None for Amazon.

        Raises:
            CatalogError: it is no http(s) URL.
        """
        if self.endpoint is not None:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in {"http", "https"} or not parts.netloc:
                raise CatalogError(
                    f"AWS_ENDPOINT_URL is {without_secrets(self.endpoint)!r}: give an http(s) URL such as https://s3.example.com."
                )
        return self.endpoint

    def checked_ca_bundle(self) -> str | None:
        """The path of the authorities' file, None for those that each client brings along.

        Raises:
            CatalogError: there is no such file.
        """
        if self.ca_bundle is not None and not Path(self.ca_bundle).is_file():
            raise CatalogError(f"{CA_BUNDLES[0]} is {self.ca_bundle!r}, and there is no such file: give a PEM file.")
        return self.ca_bundle


AMAZON = S3Settings()
"""Amazon's public buckets: no keys, no other endpoint."""


def s3_settings_of(environ: Mapping[str, str]) -> S3Settings:
    """The S3 settings that an environment means; an empty variable counts as unset.

    Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints" (AWS_ENDPOINT_URL_S3 before
    AWS_ENDPOINT_URL) and "Environment variables".
    """

    def value(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    return S3Settings(
        endpoint=value("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=value("AWS_REGION"),
        default_region=value("AWS_DEFAULT_REGION"),
        key=value("AWS_ACCESS_KEY_ID"),
        secret=value("AWS_SECRET_ACCESS_KEY"),
        token=value("AWS_SESSION_TOKEN"),
        role=value(*ROLES) is not None,
        request_payer=value("AWS_REQUEST_PAYER"),
        no_sign_request=value("AWS_NO_SIGN_REQUEST"),
        cdse_key=value("CDSE_S3_ACCESS_KEY"),
        cdse_secret=value("CDSE_S3_SECRET_KEY"),
        ca_bundle=value(*CA_BUNDLES),
        proxied=value(*PROXIES, "HTTP_PROXY") is not None,
    )
