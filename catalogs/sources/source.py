"""One place scenes come from: the value that says all that is particular to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import reach_of
from tilewright.catalogs.sources.signing import SIGNINGS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shapely.geometry.base import BaseGeometry


KINDS = ("api", "static", "geoparquet", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place scenes come from, and everything that is particular to it.

    `collections` maps our collection names to theirs; empty means that the well-known names apply. `bands` maps, per
    collection of ours, our band names to {asset, index, scale, offset, unit, nodata, dtype}. `units` gives the unit of
    backscatter whose items name none. `hosts` are patterns of hosts and buckets assets may lie on; empty means any
    public one. `dn_as_esa`: Sentinel-2 DN are served as ESA made them. `prefer` is the scheme chosen among alternate
    hrefs, `rewrite` replaces beginnings of hrefs. `files` are the entries of a plain list of GeoTIFFs.
    """

    name: str
    kind: str
    href: str
    title: str = ""
    collections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bands: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    signing: str = "none"
    s3_endpoint: str | None = None
    hosts: tuple[str, ...] = ()
    dn_as_esa: bool = False
    prefer: str | None = None
    rewrite: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("kind", self.kind, KINDS),
            ("signing", self.signing, SIGNINGS),
            ("prefer", self.prefer, (None, "https", "http", "s3", "file")),
        ):
            if value not in allowed:
                expected = ", ".join(str(choice) for choice in allowed if choice)
                raise CatalogError(f"source {self.name!r}: {name} is {value!r}; expected one of {expected}")
        if self.files and self.kind != "files":
            raise CatalogError(f"source {self.name!r}: 'files' belongs to the kind files, not {self.kind}")

    @property
    def local(self) -> bool:
        """True for a source on this machine's disk."""
        return reach_of(self.href) == "file"

    def to_json(self) -> dict[str, Any]:
        """The source as JSON values, for a frozen plan; it holds no secret."""
        plain = dataclasses.asdict(self)
        plain["collections"] = {ours: list(theirs) for ours, theirs in self.collections.items()}
        return {**plain, "hosts": list(self.hosts), "files": [dict(entry) for entry in self.files]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Source:
        """The source that `to_json` wrote, equal to it in every field."""
        collections = {ours: tuple(theirs) for ours, theirs in plain["collections"].items()}
        return cls(
            **{**plain, "collections": collections, "hosts": tuple(plain["hosts"]), "files": tuple(plain["files"])}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Collections in the source's own names, an area (EPSG:4326) and a period with both ends, None where open.

    `limit_items` is what a source may hand back at most.
    """

    collections: tuple[str, ...]
    aoi: BaseGeometry
    start: datetime | None
    end: datetime | None
    limit_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawItem:
    """An item as the source wrote it, and where it was read; None where it says so itself or it does not matter."""

    item: Mapping[str, Any]
    location: str | None
