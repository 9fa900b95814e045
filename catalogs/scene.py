"""A normalised acquisition: the value that every later step reads instead of a provider's item."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Moment = datetime
"""The type under a second name, since a Scene's own field takes the first one."""

STATES = ("no-offset", "offset-in-dn", "offset-applied", "not-applicable")


@dataclass(frozen=True, slots=True, kw_only=True)
class BandAsset:
    """One band in one file: its href and the conversion of its stored numbers to physical values.

    physical = DN * scale + offset, where the offset already follows from the scene's radiometric state. `href` is
    absolute and unsigned; `index` counts from 1; `crs` is "EPSG:n" or WKT, empty if the item has none; `shape` is
    (height, width); `transform` holds the six numbers a b c d e f of an affine. If `shape` or `transform` is None, it
    must be read from the file. `unit` is reflectance, linear, db, class, m or 1 ("1" also for uncalibrated numbers).

    `nodata` and `more_nodata` are the markers that source and item state; the file's own signs are in force beside
    them. `usual_nodata` is the usual one of the collection, in force only if neither they nor the file name a number
    that the file's type holds.
    `zero_is_value`: 0 is a value even if a marker says otherwise. `alpha`: True or False if the source says whether the
    file's alpha band is one; `band_names` are the names of the file's bands as stated, empty for an unnamed one.
    `calibration` is "stated" if scale and offset hold whatever the file's header says, "item" if a header that says
    others is refused, "none" if nobody states them, or "header" if they are the file's own.
    `identity` tells the file from any that takes its place (tasks/identity); None where it is not known. Where it is
    the verified checksum, `stamp` is what the file is held to while it is read; no pixel depends on it.
    """

    band: str
    key: str
    href: str
    index: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str
    crs: str
    shape: tuple[int, int] | None
    transform: tuple[float, ...] | None
    checksum: str | None
    more_nodata: tuple[float, ...] = ()
    usual_nodata: float | None = None
    zero_is_value: bool = False
    alpha: bool | None = None
    band_names: tuple[str, ...] = ()
    calibration: str = "stated"
    identity: str | None = None
    stamp: str | None = None

    @property
    def holding(self) -> str | None:
        """The identity that the file is held to while it is read; None if it is not known."""
        return self.stamp if self.stamp is not None or (self.identity or "").startswith("sum:") else self.identity

    def to_json(self) -> dict[str, Any]:
        """The band as JSON values; a nodata of NaN or infinity becomes its name, since JSON has no such number.

        Fields with a default are left out where they have it, so that plans stay small and keys of blocks stay.
        """
        plain = dataclasses.asdict(self)
        for item in dataclasses.fields(self):
            if item.default is not dataclasses.MISSING and plain[item.name] == item.default:
                del plain[item.name]
        if self.nodata is not None:
            plain["nodata"] = _marker_json(self.nodata)
        if self.more_nodata:
            plain["more_nodata"] = [_marker_json(marker) for marker in self.more_nodata]
        if self.band_names:
            plain["band_names"] = list(self.band_names)
        plain["shape"] = None if self.shape is None else list(self.shape)
        plain["transform"] = None if self.transform is None else list(self.transform)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> BandAsset:
        """The band that `to_json` wrote, equal to it in every field."""
        nodata, shape, transform = plain["nodata"], plain["shape"], plain["transform"]
        return cls(
            **{
                **plain,
                "nodata": None if nodata is None else float(nodata),
                "shape": None if shape is None else (int(shape[0]), int(shape[1])),
                "transform": None if transform is None else tuple(float(number) for number in transform),
                "more_nodata": tuple(float(marker) for marker in plain.get("more_nodata", ())),
                "band_names": tuple(plain.get("band_names", ())),
            }
        )


def _marker_json(marker: float) -> float | str:
    return marker if math.isfinite(marker) else str(marker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One item of a source in normal form, with its radiometric state and the reason for that state.

    `geometry` is GeoJSON in EPSG:4326, split at 180 degrees; `bbox` has minx > maxx if it crosses the antimeridian.
    `datetime` is the moment of the acquisition, or the start of an item that states an interval and no moment; `end` is
    that interval's end, else None. `solar_day` is the date in local solar time at the footprint's centre. `replaces`
    holds the ids of the older processings that this one replaces. `mode` is the radar's instrument mode; `generated`
    and `updated` are the ISO times of processing and of the record, `sequence` the provider's running number of
    processings. `href` is the item's address, `simulated` the item's own `tw:simulated`. `made`: it is no acquisition,
    but a product of Tilewright, whose layers are its bands.
    """

    id: str
    collection: str
    source: str
    datetime: datetime
    solar_day: str
    geometry: dict[str, Any] = field(hash=False)
    bbox: tuple[float, float, float, float]
    platform: str | None
    granule: str | None
    orbit_state: str | None
    relative_orbit: int | None
    cloud_cover: float | None
    baseline: str | None
    state: str
    state_reason: str
    assets: tuple[BandAsset, ...]
    mode: str | None = None
    sequence: int | None = None
    generated: str | None = None
    updated: str | None = None
    replaces: tuple[str, ...] = ()
    href: str = ""
    simulated: bool = False
    end: Moment | None = None
    made: bool = False

    def __post_init__(self) -> None:
        assert self.state in STATES, f"radiometric state {self.state!r} is none of {STATES}"
        assert self.datetime.tzinfo is not None, f"the date of {self.id} has no time zone"
        assert self.end is None or self.end >= self.datetime, f"the interval of {self.id} ends before it starts"

    def within(self, start: Moment, end: Moment) -> bool:
        """True if the scene's moment lies in a span with both ends, or its interval shares more than one instant."""
        if self.end is None or self.end == self.datetime:
            return start <= self.datetime <= end
        return self.datetime < end and start < self.end

    def asset(self, band: str) -> BandAsset | None:
        """The asset of the band with that name, or None if the scene does not have it."""
        return next((asset for asset in self.assets if asset.band == band), None)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the scene's bands in the order of its assets."""
        return tuple(asset.band for asset in self.assets)

    def to_json(self) -> dict[str, Any]:
        """The scene as JSON values, for a frozen plan."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        plain["datetime"] = self.datetime.astimezone(UTC).isoformat()
        if self.end is None:
            # Left out, so that the keys of blocks do not change with it.
            del plain["end"]
        else:
            plain["end"] = self.end.astimezone(UTC).isoformat()
        if not self.made:
            del plain["made"]
        plain["bbox"] = list(self.bbox)
        plain["assets"] = [asset.to_json() for asset in self.assets]
        plain["replaces"] = list(self.replaces)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Scene:
        """The scene that `to_json` wrote, equal to it in every field."""
        minx, miny, maxx, maxy = plain["bbox"]
        return cls(
            **{
                **plain,
                "datetime": datetime.fromisoformat(plain["datetime"]),
                "end": datetime.fromisoformat(plain["end"]) if plain.get("end") else None,
                "bbox": (minx, miny, maxx, maxy),
                "assets": tuple(BandAsset.from_json(asset) for asset in plain["assets"]),
                "replaces": tuple(plain.get("replaces", ())),
            }
        )
