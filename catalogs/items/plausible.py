"""Type, scale and offset of a band: as source and item state them, whether they can be meant, and what would fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import first, number
from tilewright.catalogs.items.assets import entry_at
from tilewright.catalogs.sensors import ESA_OFFSET, SENTINEL_2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.catalogs.items.assets import BandCandidate
    from tilewright.catalogs.sensors import BandFacts


# Aerosol and water vapour never carry ESA's offset, although some items state it for every asset.
WITHOUT_OFFSET = ("aot", "wvp")

MOST_SCALE = {1: 0.02, 2: 1e-3}
"""The largest scale of a known sensor's whole numbers by their bytes: 1 / 255 for bytes, and less for 16 bits."""

LEAST_OF_USUAL = 1 / 50
"""The smallest scale of a known sensor as a share of its usual one: below it every surface would be black."""

PERCENT = 0.01


def item_field(candidate: BandCandidate, name: str) -> Any:
    """The band's field in STAC 1.1 `bands`, else in `raster:bands`, else in the asset itself; None if absent."""
    asset, prefixed = candidate.asset, f"raster:{name}"
    band, raster = (entry_at(asset, key, candidate.position) for key in ("bands", "raster:bands"))
    return first(band.get(name), band.get(prefixed), raster.get(name), asset.get(name), asset.get(prefixed))


def dtype_of(stated: Any, facts: BandFacts | None) -> str:
    """The data type as stated, else that of the table; float32 where neither tells."""
    try:
        return np.dtype(stated).name if isinstance(stated, str) else (facts.dtype if facts else "float32")
    except TypeError:
        return facts.dtype if facts else "float32"


def calibrated_by(candidate: BandCandidate) -> str:
    """The word "stated" if the source says scale or offset, "item" if item or our table do, else "none"."""
    if any(candidate.override.get(name) is not None for name in ("scale", "offset")):
        return "stated"
    stated = any(item_field(candidate, name) is not None for name in ("scale", "offset"))
    return "item" if stated or candidate.facts is not None else "none"


def calibration_of(candidate: BandCandidate, dtype: str) -> tuple[float, float]:
    """(scale, offset) as stated, else of the table. The table's apply to integers; floats are already physical."""
    scale = number(first(candidate.override.get("scale"), item_field(candidate, "scale")))
    offset = advertised_offset(candidate)
    facts = candidate.facts
    if _is_for_others(candidate, dtype):
        # The item's own are those of whole numbers, which the source says that the files do not hold.
        own = (number(candidate.override.get(name)) for name in ("scale", "offset"))
        scale, offset = (value if value is not None else usual for value, usual in zip(own, (1.0, 0.0), strict=True))
    default = (facts.scale, facts.offset) if facts and np.dtype(dtype).kind in "ui" else (1.0, 0.0)
    if facts and facts.band in WITHOUT_OFFSET and not candidate.override:
        return default
    if scale is None and offset is None:
        return default
    if scale is None:
        return (default[0], offset or 0.0)
    return (scale, offset or 0.0)


def _is_for_others(candidate: BandCandidate, dtype: str) -> bool:
    """True where the source says that files hold floats, of an item that says no such thing."""
    stated = dtype_of(item_field(candidate, "data_type"), candidate.facts)
    return "dtype" in candidate.override and np.dtype(dtype).kind == "f" and np.dtype(stated).kind != "f"


def is_physical(candidate: BandCandidate) -> bool:
    """True for a band whose files are said to hold reflectance itself: floats with no scale, or one of 1."""
    dtype = dtype_of(first(candidate.override.get("dtype"), item_field(candidate, "data_type")), candidate.facts)
    return np.dtype(dtype).kind == "f" and calibration_of(candidate, dtype)[0] == 1


def advertised_offset(candidate: BandCandidate) -> float | None:
    """The offset that the source or the item states for the band, or None."""
    return number(first(candidate.override.get("offset"), item_field(candidate, "offset")))


def offset_of_state(candidate: BandCandidate, esa_offset: float) -> float:
    """The offset of reflectance of Sentinel-2: none where the source says so, or where files hold it already."""
    own = number(candidate.override.get("offset"))
    if own == 0:
        return 0.0
    if is_physical(candidate):
        stated = number(item_field(candidate, "offset")) if "dtype" not in candidate.override else None
        return own or stated or 0.0
    return (advertised_offset(candidate) or esa_offset) if esa_offset else 0.0


def check_numbers(
    scale: float,
    offset: float,
    *,
    unit: str,
    dtype: str,
    facts: BandFacts | None,
    collection: str,
    band: str,
    key: str,
) -> None:
    """Do nothing if DN * scale + offset can be in a unit: in reflectance as ``_check_reflectance``; else a scale of 0
    is none, but of classes, which have no scale.

    Raises:
        CatalogError: they cannot.
    """
    if unit == "reflectance":
        _check_reflectance(scale, offset, dtype=dtype, facts=facts, collection=collection, band=band, key=key)
    elif scale == 0 and unit != "class":
        raise CatalogError(
            f"its band {band} has scale 0, which makes one number of all pixels; say its scale in the source: "
            f"bands: {{{collection}: {{{band}: {{asset: {key}, scale: ...}}}}}}"
        )


def _check_reflectance(
    scale: float,
    offset: float,
    *,
    dtype: str,
    facts: BandFacts | None,
    collection: str,
    band: str,
    key: str,
) -> None:
    """Do nothing if DN * scale + offset can be reflectance (unitless, about 0 to 1).

    `facts` are those of a known sensor's band, None for a collection of the user's own, of which only impossible
    numbers are refused: a scale above 1 or not above 0, an offset beyond 1, numbers that are all below 0.

    Raises:
        CatalogError: they cannot; the sentence names the reading that would fit and how the source says it.
    """
    if _fits(scale, offset, dtype=dtype, facts=facts, collection=collection):
        return
    dn = 3000 if np.dtype(dtype).itemsize > 1 else 100
    said = f"its band {band} has scale {scale:g} and offset {offset:g}, which make DN {dn} a reflectance of "
    fitting = _fitting(scale, offset, dtype=dtype, facts=facts, collection=collection)
    shown = "..." if fitting is None else f"{fitting[0]:g}"
    shift = "..." if fitting is None else f"{fitting[1]:g}"
    hint = "none that we know would fit" if fitting is None else f"scale {shown} and offset {shift} would fit"
    if fitting is not None and fitting[1] == 0 and collection in SENTINEL_2:
        hint += " (offset -0.1 if these are ESA's own DN of processing baseline 04.00 or later)"
    if (scale, offset) == (1.0, 0.0):
        hint += ", and dtype: float32 with scale 1 where files hold reflectance itself"
    raise CatalogError(
        f"{said}{dn * scale + offset:g}; {hint}. If that is how the files are, say it in the source: "
        f"bands: {{{collection}: {{{band}: {{asset: {key}, scale: {shown}, offset: {shift}}}}}}}"
    )


def _fits(scale: float, offset: float, *, dtype: str, facts: BandFacts | None, collection: str) -> bool:
    if not (math.isfinite(scale) and math.isfinite(offset)) or not 0 < scale <= 1 or abs(offset) > 1:
        return False
    number = np.dtype(dtype)
    whole = number.kind in "ui"
    if whole and float(np.iinfo(number).max) * scale + offset <= 0:
        return False
    if facts is None:
        return True
    least = facts.scale * LEAST_OF_USUAL
    signed = offset <= 0 if collection in SENTINEL_2 or facts.offset < 0 else True
    return signed and (not whole or least <= scale <= MOST_SCALE.get(number.itemsize, MOST_SCALE[2]))


def _fitting(
    scale: float, offset: float, *, dtype: str, facts: BandFacts | None, collection: str
) -> tuple[float, float] | None:
    """The first reading of the two numbers that fits, None without one."""
    usual = (facts.offset or ESA_OFFSET) if facts else None
    found = [
        reading
        for reading in _readings(scale, offset, facts)
        if _fits(*reading, dtype=dtype, facts=facts, collection=collection)
    ]
    # Of several, the sensor's own offset is likelier than a chance one.
    known = [reading for reading in found if usual is not None and math.isclose(reading[1], usual)]
    return next(iter(known or found), None)


def _readings(scale: float, offset: float, facts: BandFacts | None) -> Iterator[tuple[float, float]]:
    """The ways in which the two numbers may have been meant: upside down, in percent, in DN, with the other sign."""
    scales = [abs(scale), *([1 / abs(scale)] if scale else []), *([facts.scale] if facts else [])]
    for meant in scales:
        yield from ((meant, offset), (meant, -offset), (meant, offset * meant), (meant, -offset * meant))
    yield abs(scale) * PERCENT, offset * PERCENT
