"""What to say where no scene was found: what was asked for, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shapely

from catalogs.errors import CatalogError
from flows.area import Area
from flows.job import SceneFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from catalogs.scene import Scene
    from catalogs.sources import Source
    from flows.job import Job
    from models.inputs import InputSpec


def nothing_found(
    job: Job, spec: InputSpec, source: Source, *, search: Callable[[Job, InputSpec, Source], Sequence[Scene]]
) -> str:
    """One or two sentences on an input without scenes; ``search`` finds those of any job."""
    periods = ", ".join(period.text for period in job.period)
    asked = f"{source.name} has none with {' '.join(spec.source_bands)} over the area in {periods}."
    return f"No scenes for input {spec.name}: {asked} {_advice(job, spec, source, search)}"


def _advice(
    job: Job, spec: InputSpec, source: Source, search: Callable[[Job, InputSpec, Source], Sequence[Scene]]
) -> str:
    turned = with_axes_swapped(job)
    try:
        if turned is not None and search(turned, spec, source):
            return "There are some with latitude and longitude swapped: an area is written longitude first."
    except CatalogError:
        # The advice is a courtesy: what is wrong there was not asked for.
        pass
    loosen = "loosen filter, " if job.filter != SceneFilter() else ""
    return f"Widen the period or the area, {loosen}or choose another source."


def with_axes_swapped(job: Job) -> Job | None:
    """The job with x and y of its area swapped, None where that would leave the globe."""
    west, _, east, _ = job.area.geometry.bounds
    if west < -90 or east > 90:
        return None
    turned = shapely.transform(job.area.geometry, lambda places: places[:, ::-1])
    # Only whether there are scenes is asked: no pixel is read for it.
    return job.model_copy(update={"area": Area(geometry=turned), "radiometry": "metadata"})
