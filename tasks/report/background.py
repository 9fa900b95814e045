"""The true-colour pictures of the report: that behind its map, read from overviews, and places before and after."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compose.composite import reduce_passes, scene_ranks
from tilewright.tasks.cube.coverage import Coverage
from tilewright.tasks.cube.read_pass import FileReads, read_pass
from tilewright.tasks.plan.pass_request import pass_request
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.report.picture import true_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access


VISIBLE = ("red", "green", "blue")

MAX_DAYS = 6
"""Days composited: the clearest ones; more would only cost time."""

PAIR_DAYS = 3
"""The same for the picture of one place at one date, and for the ground beneath a table of places."""

MOST_SCENES = 60
"""Scenes beneath a table of places: those of a country on a few days, and no more."""

MOST_DATES = 4
"""Dates of a series that are shown of a place that somebody is to judge."""

SHOTS_AT_ONCE = 4
"""Pictures of places that are read at a time: most of it is waiting, where scenes come over a network."""


def background_picture(plan: Plan, access: Access, *, max_size: int) -> np.ndarray | None:
    """True-colour picture (y, x, 3) uint8 of the product's area, its longer side at most ``max_size`` pixels.

    It shows the last step that has scenes with red, green and blue: the median of the cloud-free pixels if the input
    has a mask, and the clearest scene in all other pixels. None if no step has such scenes: a picture is not worth a
    failed product.
    """
    visible = _last_visible_step(plan, n_days=MAX_DAYS)
    if visible is None:
        return None
    entry, scenes = visible
    geobox = plan.raster.product_grid.geobox
    # A power of two reads an overview unchanged; any other factor is a warp, which took longer than a small job.
    shrink = 2.0 ** max(0, math.ceil(math.log2(max(geobox.shape) / max_size)))
    height, width = (max(1, round(side / shrink)) for side in geobox.shape)
    small_geobox = geobox.zoom_to((height, width))
    return _shown(entry, scenes, access, small_geobox)


def ground_picture(plan: Plan, access: Access, geobox: GeoBox) -> np.ndarray | None:
    """The same (y, x, 3) on any geobox, of fewer days; None also where that takes more than `MOST_SCENES` of them."""
    visible = _last_visible_step(plan, n_days=PAIR_DAYS)
    if visible is None or len(visible[1]) > MOST_SCENES:
        return None
    return _shown(*visible, access, geobox)


def _shown(entry: InputPlan, scenes: Sequence[Scene], access: Access, geobox: GeoBox) -> np.ndarray:
    """The picture (y, x, 3) uint8 of scenes on a geobox."""
    # Its reads are neither counted nor among the failures of the product.
    failures = FailureLog(tolerance=len(scenes) * len(VISIBLE) * 2)
    own = replace(access, failures=failures, stats=None, block="picture")
    return true_colour(*_bands(entry, scenes, FileReads(geobox, own)))


def pair_pictures(
    plan: Plan, access: Access, boxes: Sequence[PixelBox], *, max_size: int
) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """True-colour pictures (y, x, 3) uint8 of boxes of the product's pixels, before and after.

    They are those of the first input of which both dates have scenes with red, green and blue, of the `PAIR_DAYS`
    clearest days over each box; None without such scenes. A side is at most about ``max_size`` pixels.
    """
    dated = _visible_pair(plan)
    if dated is None:
        return [(None, None)] * len(boxes)
    entry, *dates = dated
    read = _Shots(plan, access, entry, dates, max_size=max_size)
    return [(first, second) for first, second in read.of(boxes)]


def place_pictures(
    plan: Plan, access: Access, boxes: Sequence[PixelBox], *, max_size: int
) -> tuple[tuple[str, ...], Iterator[tuple[np.ndarray | None, ...]]]:
    """The labels of dates, and for each box of the product's pixels its true-colour picture (y, x, 3) uint8 of each.

    The dates are those of the first input with scenes with red, green and blue: of a long series `MOST_DATES`, spread
    over it, and the last. They are the clearest `PAIR_DAYS` days over each box; None without such scenes, or where
    none can be read. No dates without such an input.
    """
    for entry in plan.inputs:
        dated = [(step.label, scenes) for step in entry.steps if (scenes := _visible_scenes(entry, step))]
        if dated:
            every = np.unique(np.linspace(len(dated) - 1, 0, MOST_DATES).round().astype(int)) if len(dated) > 1 else [0]
            chosen = [dated[place] for place in every]
            read = _Shots(plan, access, entry, [scenes for _, scenes in chosen], max_size=max_size)
            return tuple(label for label, _ in chosen), read.of(boxes)
    return (), iter([()] * len(boxes))


class _Shots:
    """Pictures of places at dates, each of some scenes of an input."""

    def __init__(
        self, plan: Plan, access: Access, entry: InputPlan, dates: Sequence[list[Scene]], *, max_size: int
    ) -> None:
        self._grid, self._access, self._entry, self._max_size = plan.raster.product_grid, access, entry, max_size
        self._dates = [(scenes, Coverage(scenes, self._grid)) for scenes in dates]

    def of(self, boxes: Sequence[PixelBox]) -> Iterator[tuple[np.ndarray | None, ...]]:
        """The pictures of each box in turn."""
        with ThreadPoolExecutor(SHOTS_AT_ONCE) as pool:
            shots = [[pool.submit(self._shot, box, *date) for date in self._dates] for box in boxes]
            try:
                for each in shots:
                    yield tuple(shot.result() for shot in each)
            finally:
                pool.shutdown(cancel_futures=True)

    def _shot(self, box: PixelBox, scenes: Sequence[Scene], covered: Coverage) -> np.ndarray | None:
        here = _clearest_scenes([scenes[index] for index in covered.indices(box)], n_days=PAIR_DAYS)
        if not here:
            return None
        whole = self._grid.geobox_of(box)
        shrink = 2 ** max(0, math.ceil(math.log2(max(box.shape) / self._max_size)))
        small = whole if shrink == 1 else whole.zoom_to(tuple(max(1, round(side / shrink)) for side in box.shape))
        shown = _shown(self._entry, here, self._access, small)
        return shown if shown.any() else None


def _visible_pair(plan: Plan) -> tuple[InputPlan, list[Scene], list[Scene]] | None:
    """The first input with visible scenes before and after, and those scenes."""
    for entry in plan.inputs:
        if [step.label for step in entry.steps] == ["before", "after"]:
            before, after = (_visible_scenes(entry, step) for step in entry.steps)
            if before and after:
                return entry, before, after
    return None


def _visible_scenes(entry: InputPlan, step: StepPlan) -> list[Scene]:
    of_step = step.scenes
    return [scene for scene in entry.scenes if scene.id in of_step and all(scene.asset(band) for band in VISIBLE)]


def _bands(entry: InputPlan, scenes: Sequence[Scene], reads: FileReads) -> np.ndarray:
    """The visible bands (band, y, x) of the picture; NaN where no scene is."""
    shape, resolution = reads.geobox.shape.yx, float(reads.geobox.affine.a)
    # Overviews serve bilinear; an average would be of the full pixels wherever any are missing.
    request = pass_request(entry, VISIBLE, resampling="bilinear", resolution=resolution)
    shown = np.full((len(VISIBLE), *shape), np.nan, dtype=np.float32)
    if request.judge is not None:
        days = sorted({scene.solar_day for scene in scenes})
        stack = np.empty((len(VISIBLE), len(days), *shape), dtype=np.float32)
        for number, day in enumerate(days):
            of_day = sorted((s for s in scenes if s.solar_day == day), key=lambda scene: (scene.datetime, scene.id))
            read_pass(of_day, reads, request, out=stack[:, number], threads=reads.access.threads)
        shown = reduce_passes(stack, "median")
    # A pixel that is cloudy on every date shows the cloud: the truth is a better picture than a hole.
    holes = np.asarray(np.isnan(shown).any(axis=0))
    if holes.any():
        ranks = scene_ranks(scenes, "least-cloudy")
        clearest = sorted(scenes, key=lambda scene: ranks[scene.id])
        clouds = np.empty_like(shown)
        read_pass(clearest, reads, replace(request, judge=None), out=clouds, wanted=holes, threads=reads.access.threads)
        np.copyto(shown, clouds, where=holes)
    return shown


def _last_visible_step(plan: Plan, *, n_days: int) -> tuple[InputPlan, tuple[Scene, ...]] | None:
    for entry in plan.inputs:
        for step in reversed(entry.steps):
            if scenes := _visible_scenes(entry, step):
                return entry, _clearest_scenes(scenes, n_days=n_days)
    return None


def _clearest_scenes(scenes: list[Scene], *, n_days: int) -> tuple[Scene, ...]:
    """The scenes of the days with the least cloud, in the order of `scenes`; a day is as cloudy as its worst scene."""
    cloud: dict[str, float] = {}
    for scene in scenes:
        cover = 100.0 if scene.cloud_cover is None else scene.cloud_cover
        cloud[scene.solar_day] = max(cloud.get(scene.solar_day, 0.0), cover)
    days = sorted(cloud, key=lambda day: (cloud[day], day))[:n_days]
    return tuple(scene for scene in scenes if scene.solar_day in days)
