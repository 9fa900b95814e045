"""What a map of change says: the area that changed, the largest places, and sentences, for the report of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from tilewright.tasks.compare.pictures import MOST_SIDE, box_around
from tilewright.tasks.compare.places import lonlat_bounds
from tilewright.tasks.compare.words import PairFigures, PlaceWords, pair_sentences, place_words, short
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.grid.ground import mean_pixels_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.vector.parts import label_parts
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.pyramid import pyramid_levels
from tilewright.tasks.zarr.store import read_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage

MOST_PIXELS = 1 << 23
"""Pixels of the largest level in which places are sought: 2896 on a side take up to 180 MB."""

MOST_PLACES = 6
"""Places listed, the largest ones; each costs a read of both dates."""

CANDIDATES = 16
"""Parts with the most pixels, of which those with the largest area on the ground are listed."""

SAYS_UNCHANGED = {"unchanged", "no change", "nochange", "not changed", "no changes", "stable"}
"""Names by which a card says that a class means no change."""

SAYS_NOTHING = {"none", "nothing", "no"}
"""Names that say so in a layer of changes, and only there: of a layer called change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePart:
    """A place of a map of change: its class, km2 on the ground, pixels around it, and a point inside it (EPSG:4326).

    ``shown``: the square around it, of which ``values`` are the map and ``inside`` the place, both (y, x) and smaller
    where the place is large.
    """

    value: int
    km2: float
    box: PixelBox
    lon: float
    lat: float
    shown: PixelBox
    values: np.ndarray
    inside: np.ndarray


def unchanged_class(spec: LayerSpec) -> int | None:
    """The value of the class that means no change, by its name; None if no class says so, or several do."""
    in_changes = "change" in spec.name.lower()
    names = SAYS_UNCHANGED | (SAYS_NOTHING if in_changes else set())
    found = [each.value for each in spec.classes if " ".join(_parts_of(each.name)) in names]
    return found[0] if len(found) == 1 else None


def _parts_of(name: str) -> list[str]:
    return name.lower().replace("_", " ").replace("-", " ").split()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFound:
    """The places of a map of change: how many, the largest, and how many pixels along a side each was found by."""

    n: int
    largest: tuple[ChangePart, ...]
    factor: int


def find_changes(storage: Storage, grid: Grid, spec: LayerSpec) -> ChangeFound:
    """The places of a layer of classes: its parts, joined by edges, of classes other than that of no change.

    They are sought in the largest level of at most `MOST_PIXELS` pixels. Raises as `read_stored` does.
    """
    levels = pyramid_levels(grid.extent.shape)
    level = next((each for each in levels if math.prod(each.shape) <= MOST_PIXELS), levels[-1])

    def read() -> np.ndarray:
        array: Any = zarr.open_array(storage.zarr(STORE, read_only=True), path=level.path_of(spec.name), mode="r")
        return np.asarray(array[:])

    values = read_stored(storage, f"layer {spec.name}", read)
    return find_parts(values, grid, nodata=spec.nodata, unchanged=unchanged_class(spec), factor=level.factor)


def find_parts(values: np.ndarray, grid: Grid, *, nodata: float, unchanged: int | None, factor: int = 1) -> ChangeFound:
    """The places of a map (y, x) of which each pixel stands for ``factor`` along a side of the grid's."""
    valid = values != nodata
    if unchanged is not None:
        valid &= values != unchanged
    parts, kinds = label_parts(values, valid)
    n_pixels = np.bincount(parts.ravel(), minlength=len(kinds))
    n_pixels[0] = 0
    # Parts are numbered value by value: of equal ones the order of values, then of rows, decides.
    chosen = np.argsort(-n_pixels, kind="stable")[: min(CANDIDATES, len(kinds) - 1)]
    places = [_part(parts == number, values, int(kinds[number]), grid, factor) for number in chosen.tolist()]
    places.sort(key=lambda place: -place.km2)
    return ChangeFound(n=len(kinds) - 1, largest=tuple(places[:MOST_PLACES]), factor=factor)


def _part(here: np.ndarray, values: np.ndarray, value: int, grid: Grid, factor: int) -> ChangePart:
    of_row, of_col = here.sum(axis=1), here.sum(axis=0)
    rows, cols = np.flatnonzero(of_row), np.flatnonzero(of_col)
    top, left, bottom, right = (int(edge) for edge in (rows[0], cols[0], rows[-1] + 1, cols[-1] + 1))
    n_pixels = int(of_row.sum())
    down = (np.arange(top, bottom) - np.average(np.arange(len(of_row)), weights=of_row)) ** 2
    across = (np.arange(left, right) - np.average(np.arange(len(of_col)), weights=of_col)) ** 2
    # The pixel of the place that lies nearest to its middle is a point inside it, which the middle may not be.
    far = np.add.outer(down.astype(np.float32), across.astype(np.float32))
    far[~here[top:bottom, left:right]] = np.inf
    row, col = (int(each) for each in np.unravel_index(np.argmin(far), far.shape))
    extent = grid.extent
    x = (extent.col_start + (left + col + 0.5) * factor) * grid.resolution
    y = -(extent.row_start + (top + row + 0.5) * factor) * grid.resolution
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    box = PixelBox(
        row_start=extent.row_start + top * factor,
        row_stop=extent.row_start + bottom * factor,
        col_start=extent.col_start + left * factor,
        col_stop=extent.col_start + right * factor,
    ).intersect(extent)
    km2 = n_pixels * factor**2 * mean_pixels_km2(grid, [box])[0]
    shown = box_around(box, extent)
    every = -(-max(shown.shape) // (factor * MOST_SIDE))
    spans = shown.slices_in(extent)
    small = tuple(slice(span.start // factor, -(-span.stop // factor), every) for span in spans)
    return ChangePart(
        value=value,
        km2=km2,
        box=box,
        lon=float(lon),
        lat=float(lat),
        shown=shown,
        values=values[small].copy(),
        inside=here[small].copy(),
    )


def change_json(
    spec: LayerSpec, found: ChangeFound, grid: Grid, *, classes: Sequence[Mapping[str, Any]], missing: float
) -> dict[str, Any]:
    """What ``report.json`` tells of change: areas, the largest places, and sentences.

    ``classes`` are those of the layer in the report, ``missing`` the share of the area asked for without a value.
    """
    unchanged, names = unchanged_class(spec), {each.value: each.name for each in spec.classes}
    km2 = {int(each["value"]): float(each["area_km2"]) for each in classes}
    observed = math.fsum(km2.values())
    changed = math.fsum(area for value, area in km2.items() if value != unchanged)
    told = PairFigures(
        classes=[(names[value], km2.get(value, 0.0)) for value in names],
        unchanged=None if unchanged is None else names[unchanged],
        missing=missing,
        place=_words(found, grid, names, several=len(names) > 2 or unchanged is None),
    )
    known = unchanged is not None
    return {
        "layer": spec.name,
        "unchanged": names[unchanged] if unchanged is not None else None,
        "observed_km2": observed,
        "changed_km2": changed if known else None,
        "changed_percent": 100 * changed / observed if known and observed else None,
        "n_places": found.n if found.factor == 1 else None,
        "places": [
            {
                "value": place.value,
                "name": names.get(place.value, f"value {place.value}"),
                "area_m2": place.km2 * 1e6,
                "lon": _degrees(place.lon),
                "lat": _degrees(place.lat),
                "bbox": lonlat_bounds(grid, place.box),
            }
            for place in found.largest
        ],
        "places_from": f"pixels of {found.factor} x {found.factor}" if found.factor > 1 else "every pixel",
        "summary": pair_sentences(told),
    }


def _words(found: ChangeFound, grid: Grid, names: Mapping[int, str], *, several: bool) -> PlaceWords | None:
    if not found.largest:
        return None
    place = found.largest[0]
    where = place_words(place.lon, place.lat, metres=found.factor * max(pixel_metres(grid)))
    change = f"is of class {short(names[place.value])}" if several and place.value in names else ""
    return PlaceWords(n=found.n if found.factor == 1 else 0, km2=place.km2, where=where, change=change)


def _degrees(angle: float) -> float | None:
    return round(angle, 7) if math.isfinite(angle) else None
