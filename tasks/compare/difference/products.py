"""Two finished products compared: classes, values and objects, the maps of difference, the verdict, and the files."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.tasks.colours import APART_STOPS
from tilewright.tasks.compare.cells import most_apart
from tilewright.tasks.compare.compare import MOST_CELLS, compare_layers
from tilewright.tasks.compare.difference.classes import ClassDifference, change_codes, change_legend
from tilewright.tasks.compare.difference.maps import (
    map_name,
    read_through,
    value_picture,
    write_change_map,
    write_value_map,
)
from tilewright.tasks.compare.difference.objects import compare_objects
from tilewright.tasks.compare.difference.same import (
    file_check,
    form_checks,
    object_check,
    pixel_check,
    polygons_table,
    same_json,
)
from tilewright.tasks.compare.difference.tolerance import SameLimits
from tilewright.tasks.compare.difference.values import ValueDifference
from tilewright.tasks.compare.difference.words import (
    bootstrap_sentence,
    left_out_sentence,
    object_sentence,
    unit_words,
    value_sentence,
)
from tilewright.tasks.compare.files import (
    DOCUMENT,
    PAGE,
    check_outside,
    comparison_json,
    places_style,
    write_style,
)
from tilewright.tasks.compare.finished import open_finished
from tilewright.tasks.compare.lattice import (
    check_common,
    common_grid,
    common_layers,
    common_tables,
    common_values,
    joined_classes,
)
from tilewright.tasks.compare.page import ValueView, render_comparison
from tilewright.tasks.compare.places import lonlat_bounds, lonlat_middle
from tilewright.tasks.compare.words import percent_words
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.report import format as figures
from tilewright.tasks.report.layer_views import map_uri, with_unseen
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.storage import json_bytes, open_storage
from tilewright.tasks.styles.styles import ENDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.compare.compare import LayerComparison
    from tilewright.tasks.compare.difference.same import SameCheck
    from tilewright.tasks.compare.difference.tolerance import Tolerances
    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage


@dataclass(kw_only=True)
class _Pair:
    """Two products on their common grid, what was found of them, and the local ``folder`` of files."""

    a: FinishedProduct
    b: FinishedProduct
    grid: Grid
    folder: Path
    write: bool
    tolerances: Tolerances | None
    checks: list[SameCheck] = field(default_factory=list)

    def limits(self, name: str) -> SameLimits:
        """The tolerances of a layer or table."""
        return SameLimits() if self.tolerances is None else self.tolerances.of(name)

    def rows_of(self, layer: str) -> tuple[Any, Any]:
        """The rows of a layer of both, to be read once."""
        return self.a.rows_of(layer, self.grid.extent), self.b.rows_of(layer, self.grid.extent)


def compare_products(
    a: Storage,
    b: Storage,
    given: tuple[str, str],
    to: Storage | None = None,
    *,
    tests: Mapping[str, Mapping[str, Any]] | None = None,
    draws: Mapping[str, Mapping[str, Any]] | None = None,
    tolerances: Tolerances | None = None,
) -> dict[str, Any]:
    """The comparison of two finished products, ``given`` under these names, written ``to`` a storage if there is one.

    ``tests`` are McNemar's of both on labels and ``draws`` the intervals, by layer. With ``tolerances`` the document
    says whether the two are the ``same``. Nothing is written into a product. The same products give the same files,
    however their layers are stored.

    Raises StoreError where one is not finished, CompareError where they cannot be compared or ``to`` is of a product,
    StorageError or ChangedStoreError where something cannot be read or written, CogError for a map that cannot be.
    """
    first, second = open_finished(a, given[0]), open_finished(b, given[1])
    grid = common_grid(first.grid, second.grid)
    check_common(first, second)
    if to is not None:
        check_outside(to, (a, b))
    checks = []
    if tolerances is not None:
        names = common_layers(first, second), common_values(first, second), common_tables(first, second)
        tolerances.check_names(*names)
        checks = form_checks(first, second)
    with tempfile.TemporaryDirectory(prefix="tilewright-compare-") as name:
        pair = _Pair(
            a=first, b=second, grid=grid, folder=Path(name), write=to is not None, tolerances=tolerances, checks=checks
        )
        try:
            layers = compare_layers(first, second, grid, pair.folder)
        except OSError as error:
            raise storage_error(error, operation="write tables to", uri=tempfile.gettempdir()) from error
        document = comparison_json(first, second, grid, layers, tests or {})
        for each, told in zip(layers, [document, *document["others"]], strict=False):
            told |= {"map": map_name(each.layer), "bootstrap": (draws or {}).get(each.layer)}
            told["map_classes"] = _changes(pair, each)
        values = {name: _values(pair, name) for name in common_values(first, second)}
        document["value_layers"] = [value_json(each, grid) for each in values.values()]
        document["objects"] = [_objects(pair, name) for name in common_tables(first, second)]
        document["same"] = None if tolerances is None else same_json(pair.checks)
        document["summary"] = _summary(document, grid, draws or {})
        if to is not None:
            views = [_view(each, told) for each, told in zip(values.values(), document["value_layers"], strict=True)]
            page = render_comparison(document, first, second, grid, layers, values=views)
            _write(to, pair.folder, layers, page, document)
    return document


def _changes(pair: _Pair, each: LayerComparison) -> list[dict[str, Any]]:
    """What the values of the map of changes mean; it is written if files are, and its pixels checked if asked for."""
    layer = each.layer
    listed = joined_classes(layer, pair.a.layers[layer].classes, pair.b.layers[layer].classes)
    codes = change_codes(listed, [(move.before, move.after) for move in each.moves])
    legend = change_legend(each, codes)
    if pair.write or pair.tolerances is not None:
        nodata = pair.a.layers[layer].nodata, pair.b.layers[layer].nodata
        difference = ClassDifference(codes, pair.rows_of(layer), pair.grid.extent, nodata)
        if pair.write:
            write_change_map(pair.folder, layer, difference.rows, pair.grid, legend)
        else:
            read_through(difference.rows, pair.grid.extent.shape[0])
        if pair.tolerances is not None:
            check = pixel_check(
                layer, "classes", difference.cells, difference.n_apart, limits=pair.limits(layer), grid=pair.grid
            )
            pair.checks.append(check)
            polygons = polygons_table(layer)
            if not difference.n_apart and polygons in pair.a.tables and polygons in pair.b.tables:
                pair.checks.append(file_check(pair.a, pair.b, polygons))
    return [{"value": entry.value, "name": entry.name} for entry in legend]


def _values(pair: _Pair, name: str) -> ValueDifference:
    """A layer of values, subtracted; its map is written if files are."""
    limits = pair.limits(name)
    of_both = pair.a.values[name], pair.b.values[name]
    difference = ValueDifference(*of_both, pair.rows_of(name), pair.grid.extent, limits)
    if pair.write:
        write_value_map(pair.folder, difference, pair.grid)
    else:
        read_through(difference.rows, pair.grid.extent.shape[0])
    if pair.tolerances is not None:
        check = pixel_check(
            name, "values", difference.cells, difference.n_apart, unit=difference.unit, limits=limits, grid=pair.grid
        )
        pair.checks.append(replace(check, near=difference.n_near))
    return difference


def value_json(found: ValueDifference, grid: Grid) -> dict[str, Any]:
    """The figures of a layer of values as JSON values; ``difference`` is B - A, null where nothing is a number."""

    def mean(amount: float) -> float | None:
        return amount / found.n if found.n and math.isfinite(amount) else None

    largest = None
    if found.largest is not None and found.largest.difference:
        lon, lat = lonlat_middle(grid, PixelBox.at(found.largest.row, found.largest.col, shape=(1, 1)))
        largest = {"difference": _finite(found.largest.difference), "lon": lon, "lat": lat}
    squared = mean(found.sum_squared)
    cells = most_apart(found.cells.n, found.cells.differ, first=found.cells.first, extent=grid.extent, most=MOST_CELLS)
    return {
        "layer": found.layer,
        "unit": found.unit,
        "n": found.n,
        "n_only_a": found.n_only_a,
        "n_only_b": found.n_only_b,
        "n_equal": found.n_equal,
        "mean_a": mean(found.sum_a),
        "mean_b": mean(found.sum_b),
        "mean_difference": mean(found.sum_difference),
        "mean_absolute_difference": mean(found.sum_absolute),
        "root_mean_square_difference": None if squared is None else math.sqrt(squared),
        "least_difference": _finite(found.least),
        "greatest_difference": _finite(found.greatest),
        "largest": largest,
        "most_different": [{"bbox": lonlat_bounds(grid, cell.box), "share": cell.share, "n": cell.n} for cell in cells],
        "map": map_name(found.layer),
    }


def _finite(amount: float) -> float | None:
    return amount if math.isfinite(amount) else None


def _objects(pair: _Pair, name: str) -> dict[str, Any]:
    limits = None if pair.tolerances is None else pair.limits(name)
    found = compare_objects(pair.a, pair.b, name, pair.grid, limits)
    if limits is not None:
        pair.checks.append(object_check(found, limits=limits, grid=pair.grid))
    return {
        "table": name,
        "iou": found.iou,
        "n_a": found.n_a,
        "n_b": found.n_b,
        "n_matched": found.n_matched,
        "n_only_a": found.n_a - found.n_matched,
        "n_only_b": found.n_b - found.n_matched,
        "mean_iou": found.mean_iou,
    }


def _summary(document: Mapping[str, Any], grid: Grid, draws: Mapping[str, Mapping[str, Any]]) -> list[str]:
    metres = max(pixel_metres(grid))
    return [
        *([document["same"]["sentence"]] if document["same"] else []),
        *document["summary"],
        *(words for told in draws.values() for words in (bootstrap_sentence(told), left_out_sentence(told)) if words),
        *(value_sentence(told, metres=metres) for told in document["value_layers"]),
        *map(object_sentence, document["objects"]),
    ]


def _view(found: ValueDifference, told: Mapping[str, Any]) -> ValueView:
    """A layer of values as the page shows it."""
    picture, unit = value_picture(found), unit_words(found.unit)

    def words(key: str) -> str:
        return figures.ABSENT if told[key] is None else f"{figures.figure(told[key])}{unit}"

    equal = percent_words(found.n_equal / found.n) if found.n else figures.ABSENT
    return ValueView(
        title=found.layer.replace("_", " "),
        image=map_uri(with_unseen(picture)),
        unseen=bool((picture[..., 3] == 0).any()),
        ratio=min(max(picture.shape[1] / picture.shape[0], 0.6), 2.4),
        low=f"-{figures.figure(found.limit)}{unit}",
        high=f"+{figures.figure(found.limit)}{unit}",
        stops=APART_STOPS,
        facts=(
            ("mean of A", words("mean_a")),
            ("mean of B", words("mean_b")),
            ("mean of B - A", words("mean_difference")),
            ("mean amount of B - A", words("mean_absolute_difference")),
            ("least B - A", words("least_difference")),
            ("greatest B - A", words("greatest_difference")),
            ("the same value", equal),
        ),
        map=map_name(found.layer),
    )


def _write(to: Storage, folder: Path, layers: list[LayerComparison], page: str, document: Mapping[str, Any]) -> None:
    """Write all files, the document last."""
    place = open_storage(to.uri, options=to.options, create=True)
    for each in layers:
        write_style(place, f"{each.table.stem}{ENDING}", places_style(each))
    for path in sorted(folder.iterdir()):
        if path.suffix == ENDING:
            write_style(place, path.name, path.read_bytes())
        else:
            place.upload(path.name, path)
    place.write(PAGE, page.encode())
    place.write(DOCUMENT, json_bytes(document))
