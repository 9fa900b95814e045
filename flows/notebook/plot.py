"""A layer of a product drawn by matplotlib in the colours of its card, with its legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.publish.item import shown_bands
from tilewright.models.spec.outputs import ClassSpec, LayerSpec
from tilewright.tasks.colours import RAMP_STOPS, UNSEEN
from tilewright.tasks.notebook import plain_words
from tilewright.tasks.report.fields import mapping, numbers, rows, text
from tilewright.tasks.report.layer_views import layer_views
from tilewright.tasks.report.picture import legend as legend_of
from tilewright.tasks.report.picture import picture, value_ends
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.zarr.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.report.layer_views import LayerView
    from tilewright.tasks.storage.storage import Storage


MOST_NAMED = 24
"""Classes that a legend names: those with the most ground."""

LONGEST_NAME = 40

NO_VALUE = "no value"

COUNTS = "observations"
"""The array of a product that counts passes; it is no layer of the report."""


def draw_layer(
    storage: Storage,
    report: Mapping[str, Any],
    item: Mapping[str, Any],
    name: str | None,
    *,
    ax: Any = None,
    max_size: int = 1000,
    legend: bool = True,
) -> Any:
    """The axes with a layer drawn on the product's grid, its longer side at most ``max_size`` pixels.

    Classes have their colours, values a ramp and a bar with their unit, an image its own colours. Where there is no
    value it is hatched. ``name``: a layer, an image or ``observations``; None: the first layer. ``ax``: axes to draw
    on, None for new ones. ``legend``: whether colours are named, and values have their bar.

    Raises StoreError for a name that is no such thing, or where matplotlib is missing; StorageError where the layer
    cannot be read.
    """
    if report.get("places"):
        raise StoreError(f"{storage.uri} is a table of places and has no map: look into .tables['places'].")
    views = {view.name: view for view in layer_views(report, {})}
    name = next(iter(views), COUNTS) if name is None else name
    grid = mapping(report, "grid")
    shape, bounds = numbers(grid, "shape", 2), numbers(grid, "bounds", 4)
    if not shape or not bounds or not max_size > 0:
        raise StoreError(f"{storage.uri} has no map that can be drawn: it has no grid.")
    rows_cols, most = (int(shape[0]), int(shape[1])), int(max_size)
    bands = _image_bands(item, name, views)
    view = None if bands else _view(views, name, storage.uri)
    # Counts of passes are whole numbers, of which a mean would be none.
    kind = "value" if view is None else "class" if name == COUNTS else view.kind
    read = [read_thumbnail(storage, each, shape=rows_cols, max_size=most, kind=kind) for each in bands or [name]]
    axes = _new_axes(rows_cols) if ax is None else ax
    if view is None:
        axes.imshow(_true_colours(read), extent=_extent(bounds), interpolation="nearest")
    else:
        _draw(axes, read[0], view, bounds, alone=ax is None, named=legend)
    return _labelled(axes, name, text(grid, "crs"))


def _view(views: Mapping[str, LayerView], name: str, uri: str) -> LayerView:
    if name in views and views[name].kind in {"class", "percent", "value", "id"}:
        return views[name]
    if name == COUNTS:
        (told,) = layer_views({"layers": [{"name": COUNTS, "kind": "value", "unit": "passes"}]}, {})
        return told
    drawn = ", ".join((*views, COUNTS))
    raise StoreError(f"{name!r} is no layer of {uri} that can be drawn: it has {drawn}.")


def _draw(
    axes: Any, pixels: np.ndarray, view: LayerView, bounds: tuple[float, ...], *, alone: bool, named: bool
) -> None:
    listed = [(row, int(row.value)) for row in view.classes if row.value.isdecimal() and int(row.value) < 255]
    classes = tuple(
        ClassSpec(value=value, name=row.name, description=row.name, color=row.colour[1:]) for row, value in listed
    )
    spec = LayerSpec(
        name=view.name,
        kind=view.kind,  # type: ignore[arg-type]  # checked by _view
        source=view.name,
        classes=classes if view.kind == "class" else (),
        unit=view.unit,
    )
    how: dict[str, Any] = {"extent": _extent(bounds), "interpolation": "nearest"}
    if not spec.ranked:
        axes.imshow(picture(pixels, spec), **how)
        colours = [(row.colour, _named(row.name, row.area_km2)) for row in view.found[:MOST_NAMED]]
        if view.kind == "id":
            colours = [(swatch.colour, swatch.label) for swatch in legend_of(pixels, spec).swatches]
        if named:
            _name_colours(axes, colours, alone=alone)
        return
    missing = ~np.isfinite(pixels) if pixels.dtype.kind == "f" else pixels == spec.nodata
    if view.name == COUNTS:
        missing = pixels == 0
    values = np.ma.masked_array(pixels, missing)
    ends = (0.0, float(max(1, pixels.max(initial=0)))) if view.name == COUNTS else _ends(values, view, spec)
    drawn = axes.imshow(values, cmap=_ramp(), vmin=ends[0], vmax=ends[1], **how)
    if named:
        axes.figure.colorbar(drawn, ax=axes, label=plain_words(view.unit, LONGEST_NAME), shrink=0.8)


def _ends(values: np.ma.MaskedArray[Any, Any], view: LayerView, spec: LayerSpec) -> tuple[float, float]:
    """The values at the ends of the ramp: those of the product's pictures, else of these values."""
    return view.ends or value_ends(values.compressed().astype(np.float64), spec) or (0.0, 1.0)


def _image_bands(item: Mapping[str, Any], name: str, views: Mapping[str, LayerView]) -> list[str]:
    """The layers that are shown of an image, red, green and blue or one; none if the name is no image's."""
    asset = mapping(mapping(item, "assets"), name)
    names = [text(band, "name") for band in rows(asset, "bands")]
    if name in views or not names or not set(names) <= views.keys():
        return []
    return [names[number - 1] for number in shown_bands(names)]


def _true_colours(bands: list[np.ndarray]) -> np.ndarray:
    """RGBA (y, x, 4) of three bands or of one as grey, from the 2nd to the 98th percentile of all their values."""
    stacked = np.stack(bands * (3 if len(bands) == 1 else 1), axis=-1).astype(np.float64)
    missing = ~np.isfinite(stacked).all(axis=-1)
    known = stacked[~missing]
    low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
    share = np.clip((np.nan_to_num(stacked) - low) / ((high - low) or 1.0), 0, 1)
    return np.dstack([np.rint(255 * share).astype(np.uint8), np.where(missing, 0, 255).astype(np.uint8)])


def _new_axes(shape: tuple[int, int]) -> Any:
    try:
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        raise StoreError(
            "A picture needs the library matplotlib: pip install -c constraints.txt -e '.[notebook]' in Tilewright's "
            "folder."
        ) from error
    # As wide as a notebook; a map that is very long or very wide is not drawn as a thread.
    _, axes = plt.subplots(figsize=(8, min(10.0, max(2.5, 6.5 * shape[0] / shape[1]))), layout="constrained")
    return axes


def _ramp() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("tilewright", RAMP_STOPS)


def _name_colours(axes: Any, named: list[tuple[str, str]], *, alone: bool) -> None:
    """The legend beside the map: outside the axes where they are alone on their figure, else at their right edge."""
    from matplotlib.patches import Patch

    unseen = Patch(facecolor="white", edgecolor=UNSEEN, hatch="////", linewidth=0)
    handles = [*(Patch(facecolor=colour, edgecolor="#00000033") for colour, _ in named), unseen]
    words = [*(label for _, label in named), NO_VALUE]
    # A label that begins with an underscore would be left out, were it not for the blank.
    told = {"handles": handles, "labels": [f" {label}" for label in words], "frameon": False}
    if alone:
        axes.figure.legend(**told, loc="outside right upper")
    else:
        axes.legend(**told, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _named(name: str, km2: float | None) -> str:
    ground = "" if km2 is None else f"  {km2:,.4g} km²"
    return plain_words(name, LONGEST_NAME) + ground


def _labelled(axes: Any, title: str, crs: str) -> Any:
    axes.patch.set(facecolor="white", hatch="////", edgecolor=UNSEEN, linewidth=0)
    axes.set_title(plain_words(title.replace("_", " "), LONGEST_NAME))
    axes.set_xlabel(f"x in {plain_words(crs, LONGEST_NAME)}")
    axes.set_ylabel("y")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize="small")
    return axes


def _extent(bounds: tuple[float, ...]) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    return west, east, south, north
