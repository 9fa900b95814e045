"""The scenes of a search on the terminal, and as the Items of a STAC ItemCollection."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from tilewright.catalogs.hrefs import display_href
from tilewright.catalogs.schemas import EXTENSIONS, STAC_VERSION
from tilewright.catalogs.search import left_out_sentence
from tilewright.flows.cli.printed.console import print_columns, print_facts, print_line, shown_console
from tilewright.tasks.grid.areas import covered_share
from tilewright.tasks.plan.footprints import percent_below
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.search import Found


MOST_LETTERS = 24
"""Of a platform or granule: no known one has more."""


def print_scenes(scenes: Sequence[Scene], area: BaseGeometry) -> None:
    """Print the scenes of a job, one a line with its share of the area, then why their radiometric states are so.

    A platform or granule that all of them share is said once above; where they differ it is a column.
    """
    console = shown_console()
    days = sorted({scene.datetime.date().isoformat() for scene in scenes})
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else days[0]
    print_line(console, f"{plural(len(scenes), 'scene')} on {plural(len(days), 'day')}, {span}")
    stated = {
        "platform": [(scene.platform or "")[:MOST_LETTERS] for scene in scenes],
        "granule": [(scene.granule or "")[:MOST_LETTERS] for scene in scenes],
    }
    shared = [f"{name} {cells[0]}" for name, cells in stated.items() if len({*cells}) == 1 and cells[0]]
    if shared:
        print_line(console, ", ".join(shared))
    columns = {
        "date": [scene.datetime.date().isoformat() for scene in scenes],
        "cloud": ["" if scene.cloud_cover is None else f"{scene.cloud_cover:.0f} %" for scene in scenes],
        "area": [percent_below(covered_share(area, [shape(scene.geometry)])) for scene in scenes],
        **{name: cells for name, cells in stated.items() if len({*cells}) > 1},
        "baseline": [scene.baseline or "" for scene in scenes],
        "radiometry": [scene.state for scene in scenes],
        "scene": [scene.id for scene in scenes],
    }
    print_columns(console, [*columns], [*zip(*columns.values(), strict=True)], right={1, 2})
    print_line(console, "Why this radiometry:")
    reasons = Counter((scene.state, scene.state_reason) for scene in scenes)
    print_facts(console, [(state, f"{reason} ({plural(n, 'scene')})") for (state, reason), n in reasons.items()])


def search_words(found: Found, shares: Mapping[str, float]) -> Iterator[str]:
    """The sentences on a search beside its scenes: the items left out, and how much of the area is covered."""
    if found.left_out:
        yield left_out_sentence(found.left_out)
    for period, share in shares.items() if found.scenes else ():
        words = "all" if share == 1 else percent_below(share)
        yield f"The footprints of the scenes cover {words} of the area in {period}."


def search_rows(found: Found, area: BaseGeometry, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """The scenes as JSON values, each with the share (0-1) of the area that it covers, and all of each period."""
    return [
        {
            **scene.to_json(),
            "area_share": covered_share(area, [shape(scene.geometry)]),
            "period_shares": dict(shares),
        }
        for scene in found.scenes
    ]


MOST_LEFT_OUT = 50
"""Items that are named of those left out."""


def item_collection(found: Found, area: BaseGeometry, shares: Mapping[str, float]) -> dict[str, Any]:
    """The scenes as an ItemCollection, each with the share (0-1) of the area that it covers; beside them that of all
    for each period, and the items that were left out.

    Source: STAC API, ItemCollection.
    """
    features = [_item(scene, covered_share(area, [shape(scene.geometry)])) for scene in found.scenes]
    left_out = [{"item": each.item, "reason": each.reason} for each in found.left_out[:MOST_LEFT_OUT]]
    return {
        "type": "FeatureCollection",
        "features": features,
        "numberReturned": len(features),
        "tw:period_shares": dict(shares),
        "tw:left_out": left_out,
        "tw:n_left_out": len(found.left_out),
    }


def _item(scene: Scene, area_share: float) -> dict[str, Any]:
    """A scene as a STAC Item, whose assets are its bands."""
    stated = {
        "platform": scene.platform,
        "eo:cloud_cover": scene.cloud_cover,
        "sat:orbit_state": scene.orbit_state,
        "sat:relative_orbit": scene.relative_orbit,
        "sar:instrument_mode": scene.mode,
        "tw:granule": scene.granule,
        "tw:baseline": scene.baseline,
    }
    plain = scene.to_json()
    properties: dict[str, Any] = {"datetime": plain["datetime"]}
    if scene.end is not None:
        properties = {"datetime": None, "start_datetime": plain["datetime"], "end_datetime": plain["end"]}
    properties |= {key: value for key, value in stated.items() if value is not None}
    properties |= {
        # An Item may name its collection only where it links to it.
        "tw:collection": scene.collection,
        "tw:source": scene.source,
        "tw:radiometry": scene.state,
        "tw:radiometry_reason": scene.state_reason,
        "tw:area_share": area_share,
    }
    extensions = [f"{EXTENSIONS}/eo/v1.1.0/schema.json"] if scene.cloud_cover is not None else []
    assets = {
        asset.band: {"href": display_href(asset.href), "roles": ["data"], "bands": [{"name": asset.band}]}
        for asset in scene.assets
    }
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions,
        "id": scene.id,
        "geometry": scene.geometry,
        "bbox": list(scene.bbox),
        "properties": properties,
        "links": [{"rel": "self", "href": display_href(scene.href)}] if scene.href else [],
        "assets": assets,
    }
