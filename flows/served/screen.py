"""The screen of a job: its card checked against the job, planned like a job of its own, and opened in each process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.sensors import canonical_collection
from tilewright.flows.environment import cache_folder
from tilewright.flows.errors import is_own
from tilewright.flows.job.areas.area import Area
from tilewright.flows.job.job import JobError
from tilewright.flows.job.margin import search_area
from tilewright.flows.job.options import AugmentOptions, ClassifyOptions, EnsembleOptions, GridOptions, TileOptions
from tilewright.flows.served.mask_model import class_layer, class_values, served_card
from tilewright.flows.served.scene_masks import load_served, weakened
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.plan.served import ScreenPlan, ServedModel
from tilewright.tasks.serving.kept_blocks import KeptBlocks
from tilewright.tasks.serving.lazy_map import LazyMap
from tilewright.tasks.serving.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan

FIELD = "screen.model"
"""The key of a job under which refusals of a screen's card are said."""

AROUND = 2
"""Steps around the area that the screen sees: the cores of windows at its rim lie in one."""


def screen_card(job: Job) -> ModelCard:
    """The card of a job's screen. Raises JobError for one that is not found, or has no layer of classes."""
    assert job.screen is not None, "the job has a screen"
    card = served_card(job.screen.model, field=FIELD)
    if class_layer(card) is None:
        raise JobError(f"{FIELD}: {card.name} gives no layer of classes, of which some could be looked for.")
    return card


def screen_request(job: Job) -> dict[str, Any]:
    """What a job's request says of its screen: its digest in place of its name; nothing without one."""
    if job.screen is None:
        return {}
    return {"screen": {**job.request()["screen"], "model": screen_card(job).digest}}


def with_screen(plan: Plan, job: Job, card: ModelCard, *, plan_job: Callable[[Job], Plan]) -> Plan:
    """The plan of a job with that of its screen, made like a plan of its own over the windows of the job.

    Raises JobError for classes that the screen or the job's model do not know, for a screen that is coarser than the
    windows, or that cannot be planned, and what else ``plan_job`` raises.
    """
    screen = job.screen
    if screen is None:
        return plan
    cheap = screen_card(job)
    classes = class_values(cheap, screen.classes, field="screen.classes")
    otherwise = _otherwise(job, card, plan)
    lattice, grid = plan.raster.lattice, plan.raster.grid
    resolution = screen.resolution or cheap.resolution or grid.resolution
    if resolution > lattice.step * grid.resolution / 2:
        raise JobError(
            f"screen.resolution: pixels of {resolution:g} are too coarse for the windows of {card.name}, whose cores "
            f"are {lattice.step * grid.resolution:g} wide: give finer ones."
        )
    around = search_area(job.area.geometry, metres=AROUND * lattice.step * max(pixel_metres(grid)))
    read = {canonical_collection(spec.collection) for spec in cheap.inputs}
    own = job.model_copy(
        update={
            "model": screen.model,
            "sources": {name: given for name, given in job.sources.items() if canonical_collection(name) in read},
            "area": Area(geometry=around),
            "grid": GridOptions(crs=grid.crs, resolution=resolution),
            "tile": TileOptions(),
            "layers": (),
            "polygons": {},
            "loss": {},
            "seams": False,
            "screen": None,
            "align": None,
            "augment": AugmentOptions(),
            "ensemble": EnsembleOptions(),
            "classify": ClassifyOptions(),
            "prompt": (),
            "precision": "fp32",
            "fuse": "no",
            "gaps": None,
        }
    )
    try:
        made = plan_job(own)
    except ValueError as error:
        if not is_own(error):
            raise
        # Its keys are those that the screen has of the job: what is wrong is wrong of the screen.
        raise JobError(f"screen: {error}") from error
    layer = class_layer(cheap)
    assert layer is not None, "the card of a screen has a layer of classes"
    served = ServedModel(
        card=made.model.card,
        lattice=made.raster.lattice,
        resolution=made.raster.grid.resolution,
        up=made.raster.up,
        down=made.raster.down,
        layer=layer.name,
        exactness=made.model.exactness,
    )
    of_screen = ScreenPlan(
        served=served,
        raster=replace(made.raster, blocks=(), layers=(layer.name,)),
        inputs=made.inputs,
        classes=classes,
        least_share=screen.least_share,
        otherwise=otherwise,
    )
    word, reason = weakened(plan.model.exactness, plan.model.exact_reason, served, "says where it looks")
    reason = f"{reason}. That is said of the windows in which {served.card['name']} lets the model look"
    model = replace(plan.model, exact=word == "proven", measured=word == "measured", exact_reason=reason)
    return replace(plan, model=model, screen=of_screen, request={**plan.request, **screen_request(job)})


def open_screen(plan: Plan, *, provider: str) -> Screen | None:
    """The screen of this process for a plan, whose map is kept in the cache; None for a plan without one.

    Raises ProviderError where the provider cannot run, JobError where the card has changed since.
    """
    if plan.screen is None:
        return None
    served = plan.screen.served
    model = load_served(served, field=FIELD, provider=provider)
    of_screen = plan.of_screen()
    blocks = KeptBlocks(cache_folder() / "screens")
    return Screen(plan=plan, map=LazyMap(plan=of_screen, model=model, layer=served.layer, blocks=blocks))


def _otherwise(job: Job, card: ModelCard, plan: Plan) -> int | None:
    """The value of the class that is put where nobody looks. Raises JobError for a class that a layer does not know."""
    assert job.screen is not None, "the job has a screen"
    given = job.screen.otherwise
    if given is None:
        return None
    layers = [spec for spec in card.layer_specs() if spec.kind == "class" and spec.name in plan.raster.layers]
    if not layers:
        raise JobError(f"screen.otherwise: {card.name} writes no layer of classes here: leave it out.")
    found: set[int] = set()
    for spec in layers:
        known = {each.name: each.value for each in spec.classes}
        value = known.get(given) if isinstance(given, str) else given
        if value not in known.values():
            raise JobError(f"screen.otherwise: {given!r} is no class of layer {spec.name}: it has {', '.join(known)}.")
        assert value is not None, "a known value"
        found.add(value)
    if len(found) > 1:
        raise JobError(f"screen.otherwise: {given!r} has several values in the layers of {card.name}: give a value.")
    return found.pop()
