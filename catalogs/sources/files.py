"""Items of a plain list of GeoTIFFs with dates, made from the list's entries and the files' headers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.warp
import shapely
from rasterio.errors import RasterioError
from shapely.geometry import box, mapping, shape

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.fields import first, instant, integer, stated_span, text
from tilewright.catalogs.gdal import gdal_name, look_settings
from tilewright.catalogs.hrefs import display_href, resolve_href, split_store
from tilewright.catalogs.network.check import check_href
from tilewright.catalogs.network.rules import refusal
from tilewright.catalogs.sources.described import check_numbers
from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import RawItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from tilewright.catalogs.sources.source import Query, Source

    TimeSpan = tuple[datetime, datetime | None]


AT_ONCE = 8

PROPERTIES = {
    "baseline": "s2:processing_baseline",
    "cloud_cover": "eo:cloud_cover",
    "platform": "platform",
    "orbit_state": "sat:orbit_state",
    "relative_orbit": "sat:relative_orbit",
    "mode": "sar:instrument_mode",
}

CALIBRATION_FIELDS = ("scale", "offset", "unit", "nodata")

TIME_FIELDS = ("datetime", "start_datetime", "end_datetime")

FIELDS = frozenset(
    {"href", *TIME_FIELDS, "collection", "band", "bands", "scene", "alpha", *PROPERTIES, *CALIBRATION_FIELDS}
)

# The sides of a footprint are curved in geographic coordinates; each is divided into about this many segments.
SEGMENTS_PER_SIDE = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One entry of the list with the header of its file; `footprint` is GeoJSON in EPSG:4326.

    `taken` is the entry's moment and `end` None, or the start and end of the interval it states.
    """

    entry: Mapping[str, Any]
    href: str
    taken: datetime
    end: datetime | None
    bands: tuple[str | None, ...]
    header: Mapping[str, Any]
    footprint: Mapping[str, Any]


def file_items(source: Source, query: Query) -> Iterator[RawItem]:
    """One item per scene; a scene is the files with one `scene`, or else with one date, grid and collection.

    Files outside the period are not opened; files must be GeoTIFFs.

    Raises:
        CatalogError: an entry is not as documented, its file cannot be read, or no entry has a wanted collection.
    """
    entries = [_checked_entry(entry, source) for entry in source.files]
    available = {str(entry["collection"]) for entry, _ in entries}
    if not available & set(query.collections):
        raise UnknownCollectionError(
            f"{source.name} has no collection {query.collections[0]}; it has: {', '.join(sorted(available))}"
        )
    wanted = [
        (entry, span) for entry, span in entries if entry["collection"] in query.collections and query.in_period(*span)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        files = list(pool.map(lambda pair: _read_header(pair[0], pair[1], source), wanted))
    for name, scene in _files_by_scene(files).items():
        yield RawItem(item=_item(name, scene), location=source.href)


def _checked_entry(entry: Mapping[str, Any], source: Source) -> tuple[Mapping[str, Any], TimeSpan]:
    """The entry and its date: (moment, None), or (start, end) of an interval.

    Raises:
        CatalogError: a field is missing, unknown or of the wrong form.
    """
    shown = display_href(str(entry.get("href", entry)))
    unknown = sorted(set(entry) - FIELDS)
    if unknown:
        raise CatalogError(
            f"{source.name}: {shown} has unknown fields {', '.join(unknown)}; known: {', '.join(sorted(FIELDS))}"
        )
    missing = [key for key in ("href", "collection") if not entry.get(key)]
    dated = entry.get("datetime") or (entry.get("start_datetime") and entry.get("end_datetime"))
    if missing or not dated or not (entry.get("band") or entry.get("bands")):
        raise CatalogError(
            f"{source.name}: {shown} needs href, datetime, collection and band (or bands); start_datetime and "
            "end_datetime may replace datetime"
        )
    if not isinstance(entry.get("alpha", True), bool):
        raise CatalogError(f"{source.name}: {shown} has alpha {entry['alpha']!r}; expected true or false")
    _check_names(entry, f"{source.name}: {shown}")
    check_numbers(entry, f"{source.name}: {shown}")
    return entry, _span(entry, f"{source.name}: {shown}")


def _check_names(entry: Mapping[str, Any], shown: str) -> None:
    """Do nothing if the collection and the names of bands are texts."""
    bands = entry.get("bands") or [entry["band"]]
    if not isinstance(entry["collection"], str):
        raise CatalogError(f"{shown} has the collection {str(entry['collection'])[:80]}; expected its name")
    if not isinstance(bands, list | tuple | dict) or not all(name and isinstance(name, str) for name in bands):
        raise CatalogError(
            f"{shown} has bands {str(bands)[:80]}; expected names in the order of the bands, or names and numbers"
        )


def _span(entry: Mapping[str, Any], shown: str) -> TimeSpan:
    """(moment, None) or (start, end) of an entry.

    Raises:
        CatalogError: a date that the entry states cannot be read, or its interval ends before it starts.
    """
    for key in TIME_FIELDS:
        if entry.get(key) is not None and instant(entry[key]) is None:
            raise CatalogError(f"{shown} has {key} {entry[key]!r}; expected like 2021-06-17T10:05:59Z")
    span = stated_span(entry)
    assert span is not None, "an entry has a moment or both ends of an interval"
    if span[1] is not None and span[1] < span[0]:
        raise CatalogError(f"{shown} has an end_datetime before its start_datetime: write the earlier date first")
    return span


def _read_header(entry: Mapping[str, Any], span: TimeSpan, source: Source) -> ListedFile:
    href = check_href(resolve_href(str(entry["href"]), source.href), origin=source.href, hosts=source.hosts)
    if _in_store(href):
        raise CatalogError(
            f"{source.name}: {display_href(href)} is in a Zarr store, and a list holds GeoTIFFs: describe the store by "
            "a STAC item whose assets name its arrays (docs/how/data.md, Data in Zarr)"
        )
    try:
        with (
            rasterio.Env(**look_settings(href, source.s3, source.rules)),
            rasterio.open(gdal_name(sign_href(source, href)), driver="GTiff") as file,
        ):
            if file.crs is None:
                raise CatalogError(f"{source.name}: {display_href(href)} has no CRS")
            bands = _band_names(entry, file.count, f"{source.name}: {display_href(href)}")
            return ListedFile(
                entry=entry,
                href=href,
                taken=span[0],
                end=span[1],
                bands=bands,
                header=_header_fields(file),
                footprint=_footprint(file),
            )
    except RasterioError as error:
        reason = refusal(error, source.rules)
        said = "" if reason is None else f": {reason}"
        raise CatalogError(f"{source.name}: {display_href(href)} cannot be read as GeoTIFF{said}") from error


def _in_store(href: str) -> bool:
    try:
        return split_store(href) is not None
    except ValueError:
        return True


def _band_names(entry: Mapping[str, Any], n_bands: int, shown: str) -> tuple[str | None, ...]:
    """Band names in the order of the file's bands, None for a band without a name."""
    named = entry.get("bands") or [entry["band"]]
    places = dict(named) if isinstance(named, dict) else {name: place for place, name in enumerate(named, start=1)}
    names: list[str | None] = [None] * n_bands
    for name, place in places.items():
        position = integer(place)
        if position is None or not 1 <= position <= n_bands:
            raise CatalogError(f"{shown} has {n_bands} bands; {name} cannot be number {place}")
        names[position - 1] = str(name)
    return tuple(names)


def _header_fields(file: Any) -> dict[str, Any]:
    """The fields of the projection and raster extensions that the open file determines."""
    bands = [
        {
            "data_type": dtype,
            "nodata": nodata,
            **({"scale": scale, "offset": offset} if (scale, offset) != (1, 0) else {}),
        }
        for dtype, nodata, scale, offset in zip(file.dtypes, file.nodatavals, file.scales, file.offsets, strict=True)
    ]
    epsg = file.crs.to_epsg()
    crs = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": file.crs.to_wkt()}
    return {**crs, "proj:shape": list(file.shape), "proj:transform": list(file.transform)[:6], "raster:bands": bands}


def _footprint(file: Any) -> Mapping[str, Any]:
    outline = box(*file.bounds)
    corners = mapping(outline.segmentize(outline.length / (4 * SEGMENTS_PER_SIDE)))
    return rasterio.warp.transform_geom(file.crs, "EPSG:4326", corners)


def _files_by_scene(files: Sequence[ListedFile]) -> dict[str, list[ListedFile]]:
    """Files by scene name; a scene without one is named after its collection, its date and a running number.

    Raises:
        CatalogError: files of one scene have different dates, or give one band twice.
    """
    scenes: dict[str, list[ListedFile]] = {}
    names: dict[tuple[Any, ...], str] = {}
    for file in files:
        stem = f"{file.entry['collection']}_{file.taken:%Y%m%dT%H%M%S}"
        grid = (stem, _extent(file.header), file.header.get("proj:code"))
        n_known = sum(1 for known in names if known[0] == stem)
        name = text(file.entry.get("scene")) or names.setdefault(grid, f"{stem}_{n_known}" if n_known else stem)
        scenes.setdefault(name, []).append(file)
        if (file.taken, file.end) != (scenes[name][0].taken, scenes[name][0].end):
            raise CatalogError(f"scene {name}: its files have different dates")
        _check_bands(name, scenes[name])
    return scenes


def _check_bands(name: str, scene: Sequence[ListedFile]) -> None:
    """Do nothing if the last file of a scene gives no band that another one gives."""
    known = {band: file for file in scene[:-1] for band in file.bands if band}
    twice = next((band for band in scene[-1].bands if band in known), None)
    if twice is not None:
        first_file, second = display_href(known[twice].href), display_href(scene[-1].href)
        raise CatalogError(
            f"scene {name}: {first_file} and {second} both give {twice}; say `scene` where they are different ones"
        )


def _extent(header: Mapping[str, Any]) -> tuple[float, ...]:
    """The file's bounds rounded to a thousandth of a unit, so that bands of different pixel sizes have the same."""
    a, _, c, _, e, f = header["proj:transform"]
    height, width = header["proj:shape"]
    return tuple(round(edge, 3) for edge in (c, f, c + a * width, f + e * height))


def _item(name: str, scene: Sequence[ListedFile]) -> dict[str, Any]:
    """The scene as a STAC Item."""
    taken, end = scene[0].taken, scene[0].end
    properties: dict[str, Any] = {"datetime": taken.isoformat()}
    if end is not None:
        properties = {"datetime": None, "start_datetime": taken.isoformat(), "end_datetime": end.isoformat()}
    for field, key in PROPERTIES.items():
        value = first(*(file.entry.get(field) for file in scene))
        if value is not None:
            properties[key] = value
    assets = {_asset_key(file, number): _asset(file) for number, file in enumerate(scene, start=1)}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": str(scene[0].entry["collection"]),
        "geometry": _joined([file.footprint for file in scene]),
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def _joined(footprints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The area that any of the files covers."""
    if all(footprint == footprints[0] for footprint in footprints):
        return footprints[0]
    return mapping(shapely.union_all([shape(footprint) for footprint in footprints]))


def _asset_key(file: ListedFile, number: int) -> str:
    named = [band for band in file.bands if band]
    return named[0] if len(file.bands) == 1 else f"file_{number}"


def _asset(file: ListedFile) -> dict[str, Any]:
    """The file as an asset; the entry's scale, offset, unit and nodata take precedence over the header's."""
    stated = {key: file.entry[key] for key in CALIBRATION_FIELDS if file.entry.get(key) is not None}
    bands = [{**band, **stated} for band in file.header["raster:bands"]]
    names = [{"name": band} if band else {} for band in file.bands]
    alpha = {"tw:alpha": file.entry["alpha"]} if "alpha" in file.entry else {}
    return {**file.header, "href": file.href, "raster:bands": bands, "bands": names, **alpha}
