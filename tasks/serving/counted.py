"""What a mask by a model dropped: pixels of scenes that it judged, and those that count for nothing since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import MODEL_BAND
from tilewright.tasks.grid.area_mask import area_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.resample.pixels import Pixels
    from tilewright.tasks.storage.ledger import BlockEntry


def count_masked(plan: Plan, block: Block, classes_of: Callable[[Scene, GeoBox], Pixels | None]) -> dict[str, int]:
    """Over a block without its halo and inside the area: ``judged`` pixels of all scenes, and ``dropped`` of these.

    A pixel counts once for each scene that has it. ``classes_of`` gives the classes of a scene on a geobox.
    """
    counts = {"judged": 0, "dropped": 0}
    touched = plan.raster.touched_steps(block)
    for entry in plan.inputs:
        if entry.mask.kind != "model":
            continue
        grid, box = entry.grid(plan.raster.grid), entry.box(touched)
        reach = entry.mask.radius_px(grid.resolution)
        geobox, inner = grid.geobox_of(box.pad(reach)), box.slices_in(box.pad(reach))
        inside = area_mask(grid, box, plan.raster.area)
        for scene in entry.touching(plan.raster.grid, box):
            if not all(scene.asset(band) for band in entry.mask.bands):
                continue
            classes = classes_of(scene, geobox)
            if classes is None:
                continue
            dropped = dropped_pixels({MODEL_BAND: classes}, rule=entry.mask, resolution=grid.resolution)[inner]
            judged = inside & (classes.values[inner] != NODATA_BYTE)
            counts["judged"] += int(np.count_nonzero(judged))
            counts["dropped"] += int(np.count_nonzero(judged & dropped))
    return counts


def screen_json(plan: Plan, entries: Iterable[BlockEntry]) -> dict[str, Any]:
    """The key ``screen`` of a report; nothing for a job without one."""
    screen = plan.screen
    if screen is None:
        return {}
    known = [(entry.windows_run, entry.windows_screened) for entry in entries]
    return {
        "screen": {
            "model": screen.served.card["name"],
            "sha256": screen.served.card["sha256"],
            "resolution": screen.served.resolution,
            "classes": list(screen.classes),
            "least_share": screen.least_share,
            "otherwise": screen.otherwise,
            "windows_screened": sum(screened for _, screened in known),
            "windows_run": sum(run for run, _ in known),
        }
    }


def masked_json(plan: Plan, masked: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """The key ``mask`` of a report; nothing for a job whose masks no model makes. ``masked``: those of all blocks."""
    served = plan.mask_model
    if served is None:
        return {}
    parts = [*masked]
    total = {key: sum(int(part.get(key, 0)) for part in parts) for key in ("judged", "dropped", "made", "kept")}
    return {
        "mask": {
            "model": served.card["name"],
            "sha256": served.card["sha256"],
            "resolution": served.resolution,
            "exactness": served.exactness,
            "pixels_judged": total["judged"],
            "dropped_percent": 100.0 * total["dropped"] / total["judged"] if total["judged"] else None,
            "blocks_made": total["made"],
            "blocks_kept": total["kept"],
        }
    }
