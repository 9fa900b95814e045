"""The true-colour picture behind the map in the report and the preview, read from overviews."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dask import threaded
from dask.base import compute

from tilewright.tasks.compose.lazy import composite, valid_mask
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.report.picture import true_colour

if TYPE_CHECKING:
    import numpy as np

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


VISIBLE = ("red", "green", "blue")

MAX_DAYS = 6
"""Days composited: the clearest ones; more would only cost time."""


def background_picture(plan: Plan, access: Access, *, max_size: int) -> np.ndarray | None:
    """True-colour picture (y, x, 3) uint8 of the product's area, its longer side at most ``max_size`` pixels.

    It shows the last step that has scenes with red, green and blue: the median of the cloud-free pixels if the input
    has a mask, and the clearest scene in all other pixels. None if no step has such scenes: a picture is not worth a
    failed product.
    """
    visible = _last_visible_step(plan)
    if visible is None:
        return None
    entry, scenes = visible
    geobox = plan.raster.product_grid.geobox
    # A power of two reads an overview unchanged; any other factor is a warp, which took longer than a small job.
    shrink = 2.0 ** max(0, math.ceil(math.log2(max(geobox.shape) / max_size)))
    small_geobox = geobox.zoom_to((round(geobox.shape[0] / shrink), round(geobox.shape[1] / shrink)))
    failures = FailureLog(tolerance=len(scenes) * len(VISIBLE) * 2)
    bands = tuple(dict.fromkeys((*VISIBLE, *entry.mask.bands)))
    # Overviews serve bilinear; an average would be of the full pixels wherever any are missing.
    resampling = "bilinear"
    # Its reads are neither counted nor among the failures of the product.
    own = replace(access, failures=failures, stats=None, block="picture")
    cube = load_cube(scenes, small_geobox, bands, resampling=resampling, access=own)
    all_valid = valid_mask(cube, rule=MaskRule(kind="none"), bands=VISIBLE)
    clearest = composite(cube, all_valid, bands=VISIBLE, reducer="least-cloudy")
    if entry.mask.kind == "none":
        (unmasked,) = compute(clearest, scheduler=threaded.get)
        return true_colour(*(unmasked[band].to_numpy() for band in VISIBLE))
    cloud_free = composite(cube, valid_mask(cube, rule=entry.mask, bands=VISIBLE), bands=VISIBLE, reducer="median")
    masked, unmasked = compute(cloud_free, clearest, scheduler=threaded.get)
    # A pixel that is cloudy on every date shows the cloud: the truth is a better picture than a hole.
    return true_colour(*(masked[band].fillna(unmasked[band]).to_numpy() for band in VISIBLE))


def _last_visible_step(plan: Plan) -> tuple[InputPlan, tuple[Scene, ...]] | None:
    for entry in plan.inputs:
        for step in reversed(entry.steps):
            of_step = step.scenes
            scenes = [
                scene for scene in entry.scenes if scene.id in of_step and all(scene.asset(band) for band in VISIBLE)
            ]
            if scenes:
                return entry, _clearest_scenes(scenes)
    return None


def _clearest_scenes(scenes: list[Scene]) -> tuple[Scene, ...]:
    """The scenes of the days with the least cloud, in the order of `scenes`; a day is as cloudy as its worst scene."""
    cloud: dict[str, float] = {}
    for scene in scenes:
        cover = 100.0 if scene.cloud_cover is None else scene.cloud_cover
        cloud[scene.solar_day] = max(cloud.get(scene.solar_day, 0.0), cover)
    days = sorted(cloud, key=lambda day: (cloud[day], day))[:MAX_DAYS]
    return tuple(scene for scene in scenes if scene.solar_day in days)
