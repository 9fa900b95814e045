"""Named STAC sources: endpoint or file, collections, how hrefs are signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalogs.errors import CatalogError

__all__ = ["CatalogError", "Source"]

KINDS = ("api", "static", "geoparquet", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place scenes come from, and everything that is particular to it."""

    name: str
    kind: str
    href: str
    collections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bands: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    signing: str = "none"
    hosts: tuple[str, ...] = ()
    dn_as_esa: bool = False
    prefer: str | None = None
    s3_endpoint: str | None = None
    files: tuple[Mapping[str, Any], ...] = ()
    title: str = ""
