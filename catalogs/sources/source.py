"""The values that describe a source of scenes, those of several collections, a query, and an item it returns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import holds_key
from tilewright.catalogs.network.check import address_scope
from tilewright.catalogs.network.rules import asset_rules
from tilewright.catalogs.s3 import AMAZON, S3Settings
from tilewright.catalogs.sensors import canonical_collection
from tilewright.catalogs.sources.described import source_fields
from tilewright.catalogs.sources.signing import SIGNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.network.connect import HostRules


KINDS = ("api", "static", "geoparquet", "files", "product")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A named catalog, API or list of files, with everything that is particular to it.

    `collections` maps our collection names to the source's names; if it is empty, the aliases in `sensors` apply.
    `bands` maps, per collection (our name), our band names to {asset, index, scale, offset, unit, nodata, dtype,
    alpha}; `alpha` says whether the band that the asset's file calls alpha is one.
    `units` maps collections (our names) to the unit of backscatter whose items name none. `hosts` are patterns of the
    hosts and buckets that hold assets; empty means any public one. `dn_as_esa` is True if the source serves ESA's
    unchanged Sentinel-2 DN. `prefer` is the preferred scheme among alternate hrefs, `rewrite` maps prefixes of hrefs to
    their replacements. `keep_query` names parameters in queries of hrefs that are no secret and published with them.
    `files` are the entries of a plain list of GeoTIFFs.

    `s3` are the endpoint and keys of whoever reads from the source: no part of its description, JSON, repr or equality.
    Neither is `promised`, the Item of a product that is not there yet, by which what is to be made of it is planned.
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
    keep_query: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    s3: S3Settings = field(default=AMAZON, repr=False, compare=False)
    promised: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

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
        if secret := next((name for name in self.keep_query if holds_key(name)), None):
            raise CatalogError(f"source {self.name!r}: keep_query: {secret!r} belongs to keys and signatures")

    @property
    def local(self) -> bool:
        """True for a source on a local disk."""
        return address_scope(self.href) == "file"

    @property
    def rules(self) -> HostRules | None:
        """Where requests for its files may go; None where the user's own proxy decides."""
        return None if self.s3.proxied else asset_rules(self.href, self.hosts)

    def to_json(self) -> dict[str, Any]:
        """The source as JSON values for a frozen plan; they contain no secret."""
        plain = dataclasses.asdict(dataclasses.replace(self, promised=None))
        del plain["s3"], plain["keep_query"], plain["promised"]
        plain["collections"] = {ours: list(theirs) for ours, theirs in self.collections.items()}
        # Left out where it is empty, since plans of older versions must stay equal to themselves.
        kept = {"keep_query": list(self.keep_query)} if self.keep_query else {}
        return {**plain, **kept, "hosts": list(self.hosts), "files": [dict(entry) for entry in self.files]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, s3: S3Settings = AMAZON) -> Source:
        """The source that `to_json` wrote, equal to it, with the S3 settings of whoever reads from it."""
        return cls.of_fields(str(plain.get("name")), plain, s3=s3)

    @classmethod
    def of_fields(cls, name: str, fields: Mapping[str, Any], *, s3: S3Settings = AMAZON) -> Source:
        """The source of fields as a person or a plan states them; the name is `name` unless they say one.

        Raises:
            CatalogError: a field is unknown, missing or of another type.
        """
        stated = {"name": name, **source_fields(name, fields)}
        try:
            return cls(**{**stated, "s3": s3, "promised": None})
        except TypeError as error:
            raise CatalogError(f"source {name!r} is not described as expected: {error}") from error


ALL = ""
"""The key of a source from which all collections come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where collections come from: one source for all of them (`ALL`), or one for each, by the card's name of it.

    Sources that are not equal have names of their own, since a scene tells its source by name.
    """

    by_collection: Mapping[str, Source]

    @classmethod
    def one(cls, source: Source) -> Sources:
        """One source of all collections."""
        return cls(by_collection={ALL: source})

    def __iter__(self) -> Iterator[Source]:
        """The sources, each once."""
        return iter({source.name: source for source in self.by_collection.values()}.values())

    @property
    def single(self) -> Source | None:
        """The source of all collections; None if each has its own."""
        return self.by_collection.get(ALL)

    def of(self, collection: str) -> Source | None:
        """The source of a collection; None if it has none."""
        ours = canonical_collection(collection)
        exact = self.single or self.by_collection.get(collection)
        others = (each for name, each in self.by_collection.items() if canonical_collection(name) == ours)
        return exact or next(others, None)

    def named(self, name: str) -> Source:
        """The source that a scene tells by this name.

        Raises:
            CatalogError: there are several sources, and none of them has the name.
        """
        found = self.single or next((source for source in self if source.name == name), None)
        if found is None:
            raise CatalogError(f"{name!r} is none of the sources {', '.join(source.name for source in self)}")
        return found

    def to_json(self) -> dict[str, Any]:
        """The JSON values of the one source, or those of each by collection under the key `sources`."""
        single = self.single
        if single is not None:
            return single.to_json()
        return {"sources": {collection: source.to_json() for collection, source in self.by_collection.items()}}

    def request_json(self) -> dict[str, Any]:
        """The same under the key that a job has for it: `source`, or `sources`."""
        plain = self.to_json()
        return plain if self.single is None else {"source": plain}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, s3: S3Settings = AMAZON) -> Sources:
        """The sources that `to_json` wrote.

        Raises:
            CatalogError: it is of another form.
        """
        several = plain.get("sources")
        if several is None:
            return cls.one(Source.from_json(plain, s3=s3))
        if not isinstance(several, dict) or not several or ALL in several:
            raise CatalogError("the sources are not described as expected")
        return cls(by_collection={name: Source.from_json(each, s3=s3) for name, each in several.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Collections by the source's names, an area (EPSG:4326) and a period that includes both ends; None is an open end.

    `limit_items` is the largest number of items that a source may return.
    """

    collections: tuple[str, ...]
    aoi: BaseGeometry
    start: datetime | None
    end: datetime | None
    limit_items: int

    def in_period(self, start: datetime, end: datetime | None = None) -> bool:
        """True for a moment in the period, or for an interval (`end` later) that shares more than one instant with it.

        The rule is that of `Scene.within`.
        """
        if end is None or end == start:
            return (self.start is None or start >= self.start) and (self.end is None or start <= self.end)
        return (self.start is None or self.start < end) and (self.end is None or start < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawItem:
    """An item as the source wrote it, and the href it was read from; None if no relative href depends on it.

    `problem`: why it cannot be used, where that is known already.
    """

    item: Mapping[str, Any]
    location: str | None
    problem: str = ""
