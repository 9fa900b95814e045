"""Parses the `mlm:input` list of a card into typed inputs; an error names the path of the field it refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from tilewright.models.card.parse_bands import BandList, read_bands
from tilewright.models.card.parse_extras import EXTRA_FIELDS, read_extra
from tilewright.models.fields import CardField, is_number
from tilewright.models.spec.arrays import AXES, LARGEST_SIDE, input_axes, read_shape
from tilewright.models.spec.inputs import REDUCERS, DatesSpec, InputSpec, MissingSpec
from tilewright.models.spec.scaling import NO_SCALING, Scaling, parse_scaling
from tilewright.models.spec.statistics import KEY, read_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilewright.models.spec.inputs import DatesKind, ExtraInput, Fill, Gaps


UNITS: Final = ("reflectance", "linear", "db", "m", "1", "class")

DEFAULT_UNITS: Final = {
    "sentinel-2": "reflectance",
    "landsat-c2": "reflectance",
    "sentinel-1": "linear",
    "dem": "m",
    "cop-dem": "m",
}
"""Unit of a collection's bands, by the first words of the collection's name."""

RESAMPLING: Final = ("nearest", "bilinear", "cubic", "average", "mode", "min", "max", "lanczos")

PERCENTILE: Final = re.compile(r"^percentile:(?:100|[0-9]{1,2}(?:\.[0-9]+)?)\Z")

DATES: Final = ("composite", "pair", "series", "each", "static")

EVERY: Final = re.compile(r"^(?:[1-9]\d{0,3} ?)?(?:D|days?|weeks?|months?|years?)\Z")

RESIZES: Final = (
    "interpolation-nearest",
    "interpolation-linear",
    "interpolation-cubic",
    "interpolation-area",
    "interpolation-max",
)

FILTERS: Final = ("max_cloud", "orbit_state", "relative_orbit", "mode", "platforms")

GAPS: Final = ("leave", "carry", "interpolate")

FILLS: Final = ("nearest", "mean", "nearest-date")

PIXEL_FIELDS: Final = (
    "tw:collection",
    "tw:unit",
    "tw:resolution",
    "tw:resampling",
    "tw:dates",
    "tw:missing",
    "tw:optional",
    "tw:fold",
    "tw:filter",
    KEY,
)


def read_inputs(properties: CardField, declared: Sequence[str]) -> tuple[tuple[InputSpec, ...], tuple[ExtraInput, ...]]:
    """The pixel inputs and the extra inputs of the card, each in the card's order.

    Raises CardError naming the field: a repeated name, only optional inputs, or an entry that cannot be honoured.
    """
    entries = properties.children("mlm:input")
    names = [entry.text("name") for entry in entries]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise entries[i].refuse("name", "give each input the name of its own graph input")
    pixels = tuple(read_input(entry, declared) for entry in entries if not entry.has("tw:extra"))
    if all(spec.optional for spec in pixels):
        raise properties.refuse("mlm:input", "give at least one input with bands and without tw:optional")
    extras = tuple(read_extra(entry, pixels) for entry in entries if entry.has("tw:extra"))
    return pixels, extras


def read_input(field: CardField, declared: Sequence[str]) -> InputSpec:
    """The input of one entry of `mlm:input` that is filled with pixels. Raises CardError naming the field."""
    field.only((*PIXEL_FIELDS, *EXTRA_FIELDS), prefix="tw:")
    if field.has("pre_processing_function"):
        raise field.refuse(
            "pre_processing_function",
            "remove it: say it with derived bands and value_scaling, or put it into the graph",
        )
    bands = read_bands(field, declared)
    collection = field.text("tw:collection")
    array = read_shape(field, "input")
    scalings = _scalings(field, bands)
    spec = InputSpec(
        name=field.text("name"),
        collection=collection,
        bands=bands.names,
        source_bands=bands.source,
        derived={name: expression.text for name, expression in bands.expressions.items()},
        expressions=bands.expressions,
        unit=field.choice("tw:unit", UNITS, _default_unit(collection)),
        resolution=field.number("tw:resolution", positive=True) if field.has("tw:resolution") else None,
        resampling=field.choice("tw:resampling", RESAMPLING, "bilinear"),
        dates=read_dates(field, array.shape, array.dim_order),
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        value_scaling=scalings,
        missing=read_missing(field.child("tw:missing"), len(bands.names)),
        optional=field.flag("tw:optional", default=False),
        resize=field.choice("resize_type", RESIZES) if field.has("resize_type") else None,
        fold="band-major"
        if field.choice("tw:fold", ("time-major", "band-major"), "time-major") == "band-major"
        else "time-major",
        filter=_filter(field.child("tw:filter")),
        statistics=read_statistics(field, bands.names, scalings),
    )
    _refuse_layout(field, spec)
    return spec


def _default_unit(collection: str) -> str:
    return next((unit for words, unit in DEFAULT_UNITS.items() if f"{collection}-".startswith(f"{words}-")), "1")


def _filter(field: CardField) -> dict[str, object]:
    """The conditions that scenes must satisfy, each value in the type that the search takes."""
    field.only(FILTERS)
    readers: dict[str, Callable[[str], object]] = {
        "max_cloud": field.number,
        "relative_orbit": field.integer,
        "orbit_state": lambda key: field.choice(key, ("ascending", "descending")),
        "mode": field.text,
        "platforms": field.texts,
    }
    return {key: readers[key](key) for key in field.content}


def _scalings(field: CardField, bands: BandList) -> tuple[Scaling, ...]:
    """One scaling per band: NO_SCALING for an empty list, a single entry for all bands, else one entry per band."""
    n_bands = len(bands.names)
    entries = field.content.get("value_scaling") or []
    if not isinstance(entries, list) or len(entries) not in {0, 1, n_bands}:
        raise field.refuse("value_scaling", f"write one entry for all bands or one for each of the {n_bands} bands")
    scalings = tuple(_scaling(field, i, entry) for i, entry in enumerate(entries))
    return scalings if len(scalings) == n_bands else (scalings or (NO_SCALING,)) * n_bands


def _scaling(field: CardField, index: int, entry: object) -> Scaling:
    path = f"{field.at('value_scaling')}[{index}]"
    if not isinstance(entry, dict):
        raise field.refuse("value_scaling", "write a list of objects with a type")
    return parse_scaling(CardField(path=path, content=entry))


def read_dates(field: CardField, shape: Sequence[int], dim_order: Sequence[str]) -> DatesSpec:
    """The dates of one input; `steps` is completed from the kind and the time axis.

    Raises CardError if kind, steps and the length of the time axis disagree.
    """
    dates = field.child("tw:dates")
    dates.only(("kind", "reducer", "steps", "every"))
    kind = cast("DatesKind", dates.choice("kind", DATES, "composite"))
    axes = input_axes(dim_order) or ()
    length = shape[axes.index("time")] if "time" in axes else None
    steps = _steps(dates, kind, length)
    if length is not None and length > 0 and steps != length:
        raise field.child("input").refuse("shape", f"its time axis must be {steps}, as tw:dates of kind {kind!r} gives")
    every = dates.text("every") if dates.has("every") else None
    if every is not None and (kind != "series" or not EVERY.match(every)):
        raise dates.refuse(
            "every", "write day, week, month, year, 10D or a number such as '2 months', with kind 'series'"
        )
    return DatesSpec(kind=kind, reducer=_reducer(dates), steps=steps, every=every)


def _reducer(dates: CardField) -> str:
    name = dates.text("reducer", "median")
    if PERCENTILE.match(name):
        return name
    return dates.choice("reducer", (*REDUCERS, "percentile:p"), "median")


def _steps(dates: CardField, kind: DatesKind, length: int | None) -> int | None:
    """The number of steps: from the kind, the card or a fixed time axis; None for `each` with a free time axis."""
    implied = {"composite": 1, "static": 1, "pair": 2}.get(kind)
    fixed = length if length is not None and length > 0 else None
    if implied is not None:
        if dates.has("steps") and dates.integer("steps") != implied:
            raise dates.refuse("steps", f"kind {kind!r} has {implied}; leave steps out or write kind 'series'")
        return implied
    if kind == "each" and length is None:
        raise dates.refuse(
            "kind", "'each' gives a number of dates known only later; give the input a time axis in dim_order"
        )
    if dates.has("steps"):
        steps = dates.integer("steps")
        if steps > LARGEST_SIDE:
            raise dates.refuse("steps", f"write at most {LARGEST_SIDE}")
        return steps
    if fixed is None and kind == "series":
        raise dates.refuse("steps", "write how many steps the series has")
    return fixed


def read_missing(field: CardField, n_bands: int) -> MissingSpec:
    """The rule for missing values of one input. Raises CardError naming the field."""
    field.only(("fill", "pad", "steps", "gaps"))
    fill = field.content.get("fill", "nearest")
    rules = fill if isinstance(fill, list) else [fill]
    if not all(is_number(rule) or rule in FILLS for rule in rules):
        raise field.refuse("fill", f"write a number, one of {', '.join(FILLS)}, or a list of these with one per band")
    if isinstance(fill, list) and len(fill) != n_bands:
        raise field.refuse("fill", f"write one entry for each of the {n_bands} bands")
    typed: tuple[Fill, ...] = tuple(rule if rule in FILLS else float(rule) for rule in rules)
    return MissingSpec(
        fill=typed if isinstance(fill, list) else typed[0],
        pad="fill" if field.choice("pad", ("mirror", "fill"), "mirror") == "fill" else "mirror",
        steps="refuse" if field.choice("steps", ("fill", "refuse"), "fill") == "refuse" else "fill",
        gaps=cast("Gaps", field.choice("gaps", GAPS)) if field.has("gaps") else None,
    )


def _refuse_layout(field: CardField, spec: InputSpec) -> None:
    """Refuse a shape or dim_order that the input's bands and steps cannot fill."""
    array = field.child("input")
    axes = input_axes(spec.dim_order)
    if axes is None or "token" in axes or "batch" not in axes or ("height" in axes) != ("width" in axes):
        raise array.refuse(
            "dim_order", f"write batch, and height with width or neither; known names: {', '.join(AXES)}"
        )
    steps = spec.dates.steps or 1
    expected = len(spec.bands) * (steps if spec.folded else 1)
    if "bands" not in axes and expected != 1:
        raise array.refuse("dim_order", f"it has no bands axis for {expected} channels; add 'bands'")
    if (spec.size("bands") or expected) != expected:
        product = f"{len(spec.bands)} bands" + (f" x {steps} steps" if spec.folded else "")
        raise array.refuse("shape", f"its bands axis must be {expected} ({product})")
    if spec.size("height") != spec.size("width"):
        raise array.refuse("shape", "write the same height and width: windows are square")
    if spec.resize is not None and spec.window is None:
        raise field.refuse("resize_type", "fix height and width in input.shape: that is the size to resize to")
