"""Facts about the sensors: band names, providers' names for them, units, scales, SCL classes and wavelengths.

Sources: Sentinel-2 Products Specification Document 15.1 (bands, SCL, quantification, RADIO_ADD_OFFSET and
BOA_ADD_OFFSET from processing baseline 04.00 on); Landsat Collection 2 Level-2 Science Product Guide 5.0 (scales);
Copernicus DEM Product Handbook 5.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


OFFSET_BASELINE = (4, 0)

ESA_OFFSET = -0.1

ESA_OFFSET_DN = 1000

SCL_CLASSES: Mapping[int, str] = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area",
    3: "cloud shadow",
    4: "vegetation",
    5: "not vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud, medium probability",
    9: "cloud, high probability",
    10: "thin cirrus",
    11: "snow or ice",
}

# Prefixes of hrefs whose files hold ESA's unchanged DN, whichever catalog refers to them.
ESA_DN_PREFIXES = (
    "https://sentinel2l2a01.blob.core.windows.net/",
    "s3://eodata/",
    "s3://sentinel-s2-l1c/",
    "s3://sentinel-s2-l2a/",
)

OPTICAL = ("sentinel-2-l2a", "sentinel-2-l1c", "landsat-c2-l2")

SENTINEL_2 = ("sentinel-2-l2a", "sentinel-2-l1c")

SENTINEL_1 = ("sentinel-1-grd", "sentinel-1-rtc")

# Providers' names of our collections; used if a source has no table of its own.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "sentinel-2-l2a": ("sentinel-s2-l2a-cogs", "sentinel-s2-l2a", "sentinel-2-c1-l2a", "s2_l2a"),
    "sentinel-2-l1c": ("sentinel-s2-l1c", "s2_l1c"),
    "sentinel-1-grd": ("sentinel-s1-l1c",),
    "sentinel-1-rtc": (),
    "landsat-c2-l2": ("landsat-c2l2-sr",),
    "dem": ("cop-dem-glo-30", "cop-dem-glo-30-dged-cog", "copernicus-dem-30m"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFacts:
    """Facts about a band that hold for every provider.

    `sensor` is the producer's name, `keys` are further names that providers use; `resolution` is the native pixel size
    in metres, `wavelength` the centre wavelength in nanometres (Sentinel-2A). DN * scale is in `unit`, before any
    offset. `nodata` is the stored marker for no value, None if the band has none.
    """

    band: str
    unit: str
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    resolution: float
    sensor: str | None = None
    wavelength: float | None = None
    keys: tuple[str, ...] = ()

    @property
    def categorical(self) -> bool:
        """True for classes and flags, which are never scaled or averaged."""
        return self.unit == "class"

    @property
    def names(self) -> frozenset[str]:
        """Every name of the band, in lower case."""
        return frozenset(name.lower() for name in (self.band, self.sensor, *self.keys) if name)


def _optical(band: str, sensor: str, resolution: float, wavelength: float, *keys: str) -> BandFacts:
    return BandFacts(
        band=band,
        unit="reflectance",
        dtype="uint16",
        nodata=0,
        scale=1e-4,
        offset=0.0,
        resolution=resolution,
        sensor=sensor,
        wavelength=wavelength,
        keys=keys,
    )


def _band(
    band: str, *keys: str, unit: str, dtype: str, nodata: float | None, scale: float = 1.0, resolution: float
) -> BandFacts:
    return BandFacts(
        band=band, unit=unit, dtype=dtype, nodata=nodata, scale=scale, offset=0.0, resolution=resolution, keys=keys
    )


def _landsat(band: str, *, scale: float = 2.75e-5, offset: float = -0.2, unit: str = "reflectance") -> BandFacts:
    return BandFacts(band=band, unit=unit, dtype="uint16", nodata=0, scale=scale, offset=offset, resolution=30)


def _backscatter(band: str, dtype: str, nodata: float) -> BandFacts:
    keys = tuple(f"{mode}-{band}" for mode in ("iw", "ew", "sm"))
    return _band(band, *keys, unit="1", dtype=dtype, nodata=nodata, resolution=10)


MULTISPECTRAL = (
    _optical("coastal", "B01", 60, 442.7),
    _optical("blue", "B02", 10, 492.4),
    _optical("green", "B03", 10, 559.8),
    _optical("red", "B04", 10, 664.6),
    _optical("rededge071", "B05", 20, 704.1, "rededge1"),
    _optical("rededge075", "B06", 20, 740.5, "rededge2"),
    _optical("rededge078", "B07", 20, 782.8, "rededge3"),
    _optical("nir", "B08", 10, 832.8),
    _optical("nir08", "B8A", 20, 864.7),
    _optical("nir09", "B09", 60, 945.1),
    _optical("swir16", "B11", 20, 1613.7),
    _optical("swir22", "B12", 20, 2202.4),
)

# Cloud and snow probabilities have no nodata: 0 means certainly clear, even if an item declares 0 as nodata.
LEVEL_2A = (
    _band("scl", unit="class", dtype="uint8", nodata=0, resolution=20),
    _band("aot", unit="1", dtype="uint16", nodata=0, scale=1e-3, resolution=10),
    _band("wvp", unit="1", dtype="uint16", nodata=0, scale=1e-3, resolution=10),
    _band("cloud", "cld", "msk_cldprb", unit="1", dtype="uint8", nodata=None, resolution=20),
    _band("snow", "snw", "msk_snwprb", unit="1", dtype="uint8", nodata=None, resolution=20),
)

PROBABILITY_BANDS = ("cloud", "snow")

BANDS: Mapping[str, tuple[BandFacts, ...]] = {
    "sentinel-2-l2a": (*MULTISPECTRAL, *LEVEL_2A),
    "sentinel-2-l1c": (*MULTISPECTRAL, _optical("cirrus", "B10", 60, 1373.5)),
    "sentinel-1-grd": tuple(_backscatter(band, "uint16", 0) for band in ("vv", "vh", "hh", "hv")),
    "sentinel-1-rtc": tuple(_backscatter(band, "float32", -32768) for band in ("vv", "vh", "hh", "hv")),
    "landsat-c2-l2": (
        *(_landsat(band) for band in ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")),
        _landsat("lwir11", scale=0.00341802, offset=149.0, unit="1"),
        _band("qa_pixel", unit="class", dtype="uint16", nodata=1, resolution=30),
    ),
    "dem": (_band("elevation", "data", "dem", unit="m", dtype="float32", nodata=None, resolution=30),),
}

# Units of backscatter in collections whose items name none. Terrain corrected backscatter is linear by definition; a
# collection that is not listed, such as GRD, holds uncalibrated amplitudes and has the unit "1".
UNITS: Mapping[str, str] = {"sentinel-1-rtc": "linear"}


def band_facts(collection: str, band: str) -> BandFacts | None:
    """The facts about a band of one of our collections, or None for an unknown one."""
    return next((facts for facts in BANDS.get(collection, ()) if facts.band == band), None)


def band_of(collection: str, name: str) -> tuple[BandFacts, float | None] | None:
    """(facts, pixel size) of the band that a provider's name means, or None for an unknown name.

    The pixel size is in metres, and None unless the name contains it, like B04_20m.
    """
    stem, resolution = re.fullmatch(r"(.*?)(?:_(\d+)m)?", name.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    for facts in BANDS.get(collection, ()):
        if stem.lower() in facts.names:
            return facts, float(resolution) if resolution else None
    return None


def known_bands(collection: str) -> tuple[str, ...]:
    """Band names of one of our collections; empty for a collection that only the user knows."""
    return tuple(facts.band for facts in BANDS.get(collection, ()))


def canonical_collection(theirs: str) -> str:
    """Our name of a provider's collection if `ALIASES` has it, else the name unchanged."""
    return next((ours for ours, others in ALIASES.items() if theirs == ours or theirs in others), theirs)


def parse_baseline(value: object) -> str | None:
    """The processing baseline as "NN.NN" from "05.09", "0509", "N0509", "N05.09" or 5.09; None for anything else."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        value = f"{value:05.2f}"
    if not isinstance(value, str):
        return None
    match = re.fullmatch(r"[Nn]?(\d{2})\.?(\d{2})", value.strip())
    return f"{match[1]}.{match[2]}" if match else None


def has_offset(baseline: str) -> bool:
    """True for baselines from 04.00 on, whose DN ESA wrote with an offset of 1000."""
    major, minor = baseline.split(".")
    return (int(major), int(minor)) >= OFFSET_BASELINE
