"""Facts of the sensors: our band names, the keys providers file them under, units, scales, SCL classes, wavelengths.

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

# Places known to hold ESA's DN unchanged, whichever catalog leads there.
ESA_DN_PLACES = (
    "https://sentinel2l2a01.blob.core.windows.net/",
    "s3://eodata/",
    "s3://sentinel-s2-l1c/",
    "s3://sentinel-s2-l2a/",
)

OPTICAL = ("sentinel-2-l2a", "sentinel-2-l1c", "landsat-c2-l2")

SENTINEL_2 = ("sentinel-2-l2a", "sentinel-2-l1c")

SENTINEL_1 = ("sentinel-1-grd", "sentinel-1-rtc")

# What providers call our collections; used where a source brings no table of its own.
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
    """What is true of a band wherever it is served.

    `sensor` is the producer's name, `keys` further names providers use; `resolution` the native pixel size in metres;
    `wavelength` the centre in nanometres (Sentinel-2A). `scale` turns DN into `unit` before any offset.
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
        """Every name the band is known under, in lower case."""
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


def _layer(
    band: str, *keys: str, unit: str, dtype: str, nodata: float | None, scale: float = 1.0, resolution: float
) -> BandFacts:
    return BandFacts(
        band=band, unit=unit, dtype=dtype, nodata=nodata, scale=scale, offset=0.0, resolution=resolution, keys=keys
    )


def _landsat(band: str, *, scale: float = 2.75e-5, offset: float = -0.2, unit: str = "reflectance") -> BandFacts:
    return BandFacts(band=band, unit=unit, dtype="uint16", nodata=0, scale=scale, offset=offset, resolution=30)


def _backscatter(band: str, dtype: str, nodata: float) -> BandFacts:
    keys = tuple(f"{mode}-{band}" for mode in ("iw", "ew", "sm"))
    return _layer(band, *keys, unit="1", dtype=dtype, nodata=nodata, resolution=10)


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

# Cloud and snow probabilities have no nodata: 0 is "surely clear", whatever an item says.
LEVEL_2A = (
    _layer("scl", unit="class", dtype="uint8", nodata=0, resolution=20),
    _layer("aot", unit="1", dtype="uint16", nodata=0, scale=1e-3, resolution=10),
    _layer("wvp", unit="1", dtype="uint16", nodata=0, scale=1e-3, resolution=10),
    _layer("cloud", "cld", "msk_cldprb", unit="1", dtype="uint8", nodata=None, resolution=20),
    _layer("snow", "snw", "msk_snwprb", unit="1", dtype="uint8", nodata=None, resolution=20),
)

PROBABILITIES = ("cloud", "snow")

BANDS: Mapping[str, tuple[BandFacts, ...]] = {
    "sentinel-2-l2a": (*MULTISPECTRAL, *LEVEL_2A),
    "sentinel-2-l1c": (*MULTISPECTRAL, _optical("cirrus", "B10", 60, 1373.5)),
    "sentinel-1-grd": tuple(_backscatter(band, "uint16", 0) for band in ("vv", "vh", "hh", "hv")),
    "sentinel-1-rtc": tuple(_backscatter(band, "float32", -32768) for band in ("vv", "vh", "hh", "hv")),
    "landsat-c2-l2": (
        *(_landsat(band) for band in ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")),
        _landsat("lwir11", scale=0.00341802, offset=149.0, unit="1"),
        _layer("qa_pixel", unit="class", dtype="uint16", nodata=1, resolution=30),
    ),
    "dem": (_layer("elevation", "data", "dem", unit="m", dtype="float32", nodata=None, resolution=30),),
}

# Backscatter in a collection whose items name no unit: the terrain corrected one is linear by definition; plain GRD
# holds uncalibrated amplitudes, which "1" says.
UNITS: Mapping[str, str] = {"sentinel-1-rtc": "linear"}


def band_facts(collection: str, band: str) -> BandFacts | None:
    """What is known of our band in our collection, or None."""
    return next((facts for facts in BANDS.get(collection, ()) if facts.band == band), None)


def band_of(collection: str, name: str) -> tuple[BandFacts, float | None] | None:
    """The band a provider's name stands for, with the pixel size in metres the name carries ("B04_20m"), or None."""
    stem, resolution = re.fullmatch(r"(.*?)(?:_(\d+)m)?", name.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    for facts in BANDS.get(collection, ()):
        if stem.lower() in facts.names:
            return facts, float(resolution) if resolution else None
    return None


def known_bands(collection: str) -> tuple[str, ...]:
    """Names of the bands of one of our collections; empty for a collection of the user's own."""
    return tuple(facts.band for facts in BANDS.get(collection, ()))


def our_collection(theirs: str) -> str:
    """Our name of a provider's collection where it is a well-known one, else the name as it is."""
    return next((ours for ours, others in ALIASES.items() if theirs == ours or theirs in others), theirs)


def parse_baseline(value: object) -> str | None:
    """The processing baseline as "NN.NN" from "05.09", "0509", "N0509", "N05.09" or 5.09; None where it is none."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        value = f"{value:05.2f}"
    if not isinstance(value, str):
        return None
    found = re.fullmatch(r"[Nn]?(\d{2})\.?(\d{2})", value.strip())
    return f"{found[1]}.{found[2]}" if found else None


def has_offset(baseline: str) -> bool:
    """True for baselines from 04.00 on, whose DN were made with an offset of 1000."""
    major, minor = baseline.split(".")
    return (int(major), int(minor)) >= OFFSET_BASELINE
