"""The bands and the mask of an input as they are asked of the scenes of a pass."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import CLASS_KINDS
from tilewright.tasks.cube.read_pass import PassRequest
from tilewright.tasks.cube.scene_band import BandRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.plan.inputs import InputPlan


def pass_request(entry: InputPlan, names: Sequence[str], *, resampling: str, resolution: float) -> PassRequest:
    """The bands of these names and the input's mask, as they are read of each scene on pixels of `resolution`."""
    rule = entry.mask
    bands = tuple(BandRequest(band=name, unit=entry.working_unit, resampling=resampling) for name in names)
    if rule.kind == "none":
        return PassRequest(bands=bands)
    units = ["class" if rule.kind in CLASS_KINDS else entry.stored_unit(band) for band in rule.judged]
    return PassRequest(
        bands=bands,
        quality=tuple(
            BandRequest(band=band, unit=unit, resampling=resampling)
            for band, unit in zip(rule.judged, units, strict=True)
        ),
        needs=rule.bands,
        judge=partial(dropped_pixels, rule=rule, resolution=resolution),
        reach=rule.radius_px(resolution),
    )
