"""The scenes in true colour behind the map: a small picture from overviews, for the report and the preview."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dask import threaded
from dask.base import compute

from tilewright.tasks.compose.composite import composite
from tilewright.tasks.compose.mask import valid_mask
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.read.reader import Reading
from tilewright.tasks.report.picture import true_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.plan import InputPlan, Plan


VISIBLE = ("red", "green", "blue")

MOST_DAYS = 6
"""Days that take part: the clearest ones; more would only cost time."""


def background_picture(
    plan: Plan, *, max_size: int, sign: Callable[[Scene, str], str] | None, gdal: Mapping[str, str]
) -> np.ndarray | None:
    """True colour (y, x, 3) uint8 over the product's area, its longer side at most ``max_size``.

    Of the last step that has scenes with red, green and blue: the median without clouds where a mask tells them, else
    the clearest scene that is there. None where no step has any: a picture is not worth a failed product.
    """
    found = _visible(plan)
    if found is None:
        return None
    entry, scenes = found
    geobox = plan.product_grid.geobox
    # A power of two is an overview as it is; anything between is a warp, which took longer than small jobs themselves.
    shrink = 2.0 ** max(0, math.ceil(math.log2(max(geobox.shape) / max_size)))
    small = geobox.zoom_to((round(geobox.shape[0] / shrink), round(geobox.shape[1] / shrink)))
    failures = FailureLog(tolerance=len(scenes) * len(VISIBLE) * 2)
    bands = tuple(dict.fromkeys((*VISIBLE, *entry.mask.bands)))
    cube = load_cube(
        scenes, small, bands, resampling="average" if shrink > 1 else "bilinear", sign=sign, failures=failures,
        block="picture", reading=Reading(gdal=gdal),
    )  # fmt: skip
    anything = valid_mask(cube, rule=MaskRule(kind="none"), bands=VISIBLE)
    clearest = composite(cube, anything, bands=VISIBLE, reducer="least-cloudy")
    if entry.mask.kind == "none":
        (seen,) = compute(clearest, scheduler=threaded.get)
        return true_colour(*(seen[band].to_numpy() for band in VISIBLE))
    without = composite(cube, valid_mask(cube, rule=entry.mask, bands=VISIBLE), bands=VISIBLE, reducer="median")
    masked, unmasked = compute(without, clearest, scheduler=threaded.get)
    # Under clouds on every date the clouds themselves are shown: the truth is a better picture than a hole.
    return true_colour(*(masked[band].fillna(unmasked[band]).to_numpy() for band in VISIBLE))


def _visible(plan: Plan) -> tuple[InputPlan, tuple[Scene, ...]] | None:
    for entry in plan.inputs:
        for step in reversed(entry.steps):
            scenes = [
                scene
                for scene in entry.scenes
                if scene.solar_day in step.days and all(scene.asset(band) for band in VISIBLE)
            ]
            if scenes:
                return entry, _clearest(scenes)
    return None


def _clearest(scenes: list[Scene]) -> tuple[Scene, ...]:
    cloud: dict[str, float] = {}
    for scene in scenes:
        cover = 100.0 if scene.cloud_cover is None else scene.cloud_cover
        cloud[scene.solar_day] = max(cloud.get(scene.solar_day, 0.0), cover)
    days = sorted(cloud, key=lambda day: (cloud[day], day))[:MOST_DAYS]
    return tuple(scene for scene in scenes if scene.solar_day in days)
