"""The section on change in the report of a run that compares two dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.compare.page import PlaceView
from tilewright.tasks.compare.pair import change_json, find_changes, unchanged_class
from tilewright.tasks.compare.pictures import BESIDE, faded
from tilewright.tasks.compare.words import area_words, place_words, short
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.report.background import pair_pictures
from tilewright.tasks.report.format import plural
from tilewright.tasks.report.layer_views import map_uri, scene_uri
from tilewright.tasks.report.picture import picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.compare.pair import ChangeFound
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.storage.storage import Storage

SHOT_SIZE = 256
"""Pixels of a side of a place's picture, about, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """What the report's page tells of change: ``title`` of the section, sentences, and places with pictures.

    ``note`` says how many places there are, and from which picture, if that is a smaller one.
    """

    title: str
    summary: tuple[str, ...]
    places: tuple[PlaceView, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldChange:
    """What ``report.json`` tells of change, under its key, and what the page shows; nothing of another run."""

    keys: Mapping[str, Any]
    view: ChangeView | None


def tell_change(
    storage: Storage, plan: Plan, specs: Sequence[LayerSpec], report: Mapping[str, Any], access: Access
) -> ToldChange:
    """What changed, of a run with a step before and one after and a layer of classes; ``report`` is its report so far.

    Raises as `read_stored` does; a scene that cannot be read is left out of the pictures.
    """
    spec = _change_layer(plan, specs)
    if spec is None:
        return ToldChange(keys={}, view=None)
    grid = plan.raster.product_grid
    found = find_changes(storage, grid, spec)
    classes = next(layer["classes"] for layer in report["layers"] if layer["name"] == spec.name)
    told = change_json(spec, found, grid, classes=classes, missing=report["missing_percent"] / 100)

    scenes = pair_pictures(plan, access, [place.shown for place in found.largest], max_size=SHOT_SIZE)
    return ToldChange(keys={"change": told}, view=_change_view(told, found, spec, grid, scenes))


def _change_layer(plan: Plan, specs: Sequence[LayerSpec]) -> LayerSpec | None:
    """The layer of classes of a run that compares: the first in which a class means no change, else the first."""
    if not any([step.label for step in entry.steps] == ["before", "after"] for entry in plan.inputs):
        return None
    with_classes = [spec for spec in specs if spec.classes]
    return next((spec for spec in with_classes if unchanged_class(spec) is not None), next(iter(with_classes), None))


def _change_view(
    told: Mapping[str, Any],
    found: ChangeFound,
    spec: LayerSpec,
    grid: Grid,
    scenes: Sequence[tuple[np.ndarray | None, np.ndarray | None]],
) -> ChangeView:
    """What the page tells of change; ``scenes`` are true-colour pictures (y, x, 3) of each place before and after."""
    metres = found.factor * max(pixel_metres(grid))
    views = []
    for place, entry, shots in zip(found.largest, told["places"], scenes, strict=True):
        dated = zip(("before", "after"), shots, strict=True)
        pictures = [(title, scene_uri(shot), False) for title, shot in dated if shot is not None and shot.any()]
        drawn = picture(place.values, spec)
        drawn[~place.inside, :3] = faded(drawn[~place.inside, :3], BESIDE)
        drawn[drawn[..., 3] == 0] = 0
        views.append(
            PlaceView(
                title=short(entry["name"]),
                area=area_words(place.km2),
                where=place_words(place.lon, place.lat, metres=metres),
                pictures=(*pictures, ("map", map_uri(drawn), True)),
            )
        )
    return ChangeView(
        title="Largest patches" if told["unchanged"] is None else "What changed",
        summary=tuple(told["summary"]),
        places=tuple(views),
        note=_note(told, found, dated=any(len(view.pictures) > 1 for view in views)),
    )


def _note(told: Mapping[str, Any], found: ChangeFound, *, dated: bool) -> str:
    nouns = ("patch", "patches") if told["unchanged"] is None else ("changed place", "")
    of_all = f"The largest of {plural(found.n, *nouns)}"
    if found.factor > 1:
        of_all = f"The largest, found on {told['places_from']}"
    return f"{of_all}: {'true colour before and after, and the map' if dated else 'the map around each'}"
