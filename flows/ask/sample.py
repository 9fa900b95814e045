"""A sample drawn from a finished product, to be labelled: its strata, its size, its rows, and the page to label it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.flows.ask.sample_request import BY_CLASS, BY_CONFIDENCE, NONE, SampleRequest
from tilewright.flows.environment import storage_options
from tilewright.flows.job.areas.outline import cut_at_180
from tilewright.models.fields import did_you_mean
from tilewright.tasks.audit.design.allocation import allocate, deviation, shares, size_for
from tilewright.tasks.audit.design.draw import draw_random, draw_systematic
from tilewright.tasks.audit.design.estimate import APART, RANDOM, STRATIFIED, SYSTEMATIC, DesignError
from tilewright.tasks.audit.design.population import Population, count_strata
from tilewright.tasks.audit.design.spacing import pool_sizes, spaced
from tilewright.tasks.audit.design.strata import (
    NAME_COLUMNS,
    class_strata,
    confidence_strata,
    no_strata,
    zone_strata,
)
from tilewright.tasks.audit.design.table import sample_table
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.tables.vector_file import read_geometry_table
from tilewright.tasks.zones.layers import open_layers
from tilewright.tasks.zones.zones import zones_on_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.tasks.audit.design.population import StrataSizes
    from tilewright.tasks.audit.design.strata import Strata
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.vector_file import GeometryTable
    from tilewright.tasks.zones.layers import ProductLayer, ProductLayers


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample:
    """A drawn sample: its ``table``, and the facts that are told of it."""

    table: GeometryTable
    layer: ProductLayer
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return dict(self.facts)

    def lines(self, *, to: str) -> Iterator[str]:
        """The facts for a person: a line per stratum, then sentences."""
        strata = self.facts["strata"]
        width = min(max(len(each["name"]) for each in strata), 40)
        told = any(each["expected_accuracy"] is not None for each in strata)
        head = f"  {'right, if as expected':>21}" if told else ""
        yield f"  {'stratum':<{width}}  {'pixels':>15}  {'share':>7}  {'places':>7}{head}"
        whole = sum(each["n_pixels"] for each in strata)
        for each in strata:
            share = f"{100 * each['n_pixels'] / whole:.1f} %"
            right = each["expected_accuracy"]
            expected = "" if right is None else f"  {100 * right:>19.1f} %"
            yield f"  {each['name'][:40]:<{width}}  {each['n_pixels']:>15,}  {share:>7}  {each['n']:>7,}{expected}"
        yield from self.facts["notes"]
        if (error := self.facts["expected_standard_error"]) is not None:
            yield f"If so many are right, the overall accuracy has a standard error of {100 * error:.2g} points."
        yield f"{self.facts['n']:,} places to label ({self.facts['design']}, seed {self.facts['seed']}) in {to}"


def draw_sample(output: str, request: SampleRequest, *, listener: Listener = silent) -> DrawnSample:
    """A sample of the observed pixels of a layer of a finished product, the same in every cut of it.

    The product is read twice, tile by tile: once to count strata, once to draw.

    Raises a ValueError that names what cannot be; StorageError if storage refuses, ChangedStoreError for layers that
    are damaged.
    """
    storage = open_storage(output, options=storage_options(output))
    if read_item(storage) is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then draw a sample of it.")
    population = _population(storage, request, listener)
    sizes = count_strata(population, listener)
    if not len(sizes.numbers):
        raise DesignError(
            f"No observed pixel of the layer {population.layer.name} lies in a stratum: nothing to draw from."
        )
    expected = _expected(request, sizes, population)
    wanted = _wanted(request, sizes, expected)
    grid = population.product.grid
    if request.scheme == "systematic":
        drawn = draw_systematic(population, sizes, wanted, seed=request.seed, listener=listener)
        _check_met(np.bincount(drawn.stratum, minlength=len(wanted)), sizes)
    elif request.min_distance:
        pool = pool_sizes(wanted, sizes.n_pixels)
        drawn = draw_random(population, sizes, pool, seed=request.seed, listener=listener)
        drawn = spaced(drawn, wanted, grid, metres=request.min_distance, names=sizes.names)
    else:
        drawn = draw_random(population, sizes, wanted, seed=request.seed, listener=listener)
    design = _design(request, n_strata=len(population.strata.names))
    table = sample_table(drawn, sizes, grid, design=design, label=population.layer.name)
    n = np.bincount(drawn.stratum, minlength=len(wanted))
    facts = _facts(request, population, sizes, n, expected, design=design)
    return DrawnSample(table=table, layer=population.layer, facts=facts)


def _population(storage: Storage, request: SampleRequest, listener: Listener) -> Population:
    told = rows(read_object(storage, "report.json") or {}, "layers")
    name = _layer_name(storage, told, request.layer)
    wanted = request.needs_accuracy or request.strata == BY_CONFIDENCE
    percent = [text(each, "name") for each in told if text(each, "kind") == "percent" and text(each, "name") != name]
    found = BY_CONFIDENCE if BY_CONFIDENCE in percent else percent[0] if len(percent) == 1 else None
    sure = found if wanted else None
    product = open_layers(storage, [name, *([sure] if sure else [])])
    layer, confidence = product.layers[0], product.layers[1] if sure else None
    strata = _strata(request, product, layer, confidence, listener)
    needed = confidence if request.needs_accuracy else None
    return Population(product=product, layer=layer, strata=strata, confidence=needed)


def _layer_name(storage: Storage, told: list[Any], given: str | None) -> str:
    """The layer that is asked for, else the only one of classes, else the only one."""
    named = [text(each, "name") for each in told if text(each, "kind") != "id"]
    if given is not None:
        if given not in named:
            raise StoreError(f"--layer {given!r} is no layer of {storage.uri}: it has {', '.join(named) or 'none'}.")
        return given
    classed = [text(each, "name") for each in told if rows(each, "classes") and text(each, "kind") != "id"]
    found = classed or named
    if not found:
        raise StoreError(f"{storage.uri} has no layer, only tables of what was found: a sample is drawn from a map.")
    if len(found) > 1:
        raise StoreError(f"{storage.uri} has the layers {', '.join(found)}: name one by --layer.")
    return found[0]


def _strata(
    request: SampleRequest,
    product: ProductLayers,
    layer: ProductLayer,
    confidence: ProductLayer | None,
    listener: Listener,
) -> Strata:
    default = BY_CLASS if layer.classes and request.scheme == "stratified" else NONE
    kind = default if request.strata is None else request.strata
    if kind == NONE:
        return no_strata()
    if kind == BY_CLASS:
        return class_strata(layer)
    if kind == BY_CONFIDENCE:
        if confidence is None:
            raise DesignError(
                f"{product.storage.uri} has no layer of confidence: take --strata class, none or a file of zones."
            )
        return confidence_strata(product, confidence)
    return _zones(Path(kind), product, listener)


def _zones(file: Path, product: ProductLayers, listener: Listener) -> Strata:
    if not file.suffix:
        raise DesignError(f"--strata {str(file)!r} is neither class, confidence, none nor a file of zones.")
    table = read_geometry_table(file)
    placed = zones_on_grid(table, product.grid, cut=cut_at_180)
    column = next((name for name in NAME_COLUMNS if name in table.columns.column_names), None)
    told = table.columns[column].to_pylist() if column else [None] * len(placed.pixels)
    labels = [f"zone {number}" if name is None else str(name) for number, name in enumerate(told, start=1)]
    if placed.n_bent:
        listener(
            Notice(
                text=f"{placed.n_bent} zones of {table.name} have long edges that are straight on the product's grid."
            )
        )
    return zone_strata(product, placed.pixels, labels)


def _expected(request: SampleRequest, sizes: StrataSizes, population: Population) -> np.ndarray:
    """The accuracy expected in each stratum, NaN where nothing tells it and nothing asks for it."""
    for name in request.expect:
        if name and name not in sizes.names:
            raise DesignError(
                f"--expect {name}=...: no stratum is called so{did_you_mean(name, sizes.names)}, there are "
                f"{', '.join(sizes.names[:12])}."
            )
    expected = np.array(
        [
            request.expect.get(name, request.expect.get("", sure))
            for name, sure in zip(sizes.names, sizes.accuracy, strict=True)
        ]
    )
    if request.needs_accuracy and np.isnan(expected).any():
        lacking = [name for name, share in zip(sizes.names, expected, strict=True) if math.isnan(share)]
        why = "has no layer of confidence" if population.confidence is None else "has no confidence there"
        raise DesignError(
            f"{population.product.storage.uri} {why}, so say how accurate you expect {', '.join(lacking[:6])}: "
            f"--expect {lacking[0]}=0.8, or --expect 0.8 for all."
        )
    return expected


def _wanted(request: SampleRequest, sizes: StrataSizes, expected: np.ndarray) -> np.ndarray:
    of_each = shares(sizes.n_pixels, request.allocation, expected)
    n = request.n
    if n is None:
        assert request.standard_error is not None, "a sample has a size or a standard error"
        n = size_for(request.standard_error, sizes.n_pixels, expected, of_each)
        n = min(max(n, int(np.minimum(max(request.least, 2), sizes.n_pixels).sum())), int(sizes.n_pixels.sum()))
    return allocate(n, sizes.n_pixels, of_each, least=request.least, names=sizes.names)


def _check_met(n: np.ndarray, sizes: StrataSizes) -> None:
    missed = [name for name, found in zip(sizes.names, n, strict=True) if not found]
    if missed:
        raise DesignError(
            f"The grid met no pixel of {', '.join(missed[:6])}: take --scheme stratified, or more places."
        )


def _design(request: SampleRequest, *, n_strata: int) -> str:
    if request.scheme == "systematic":
        return SYSTEMATIC if n_strata == 1 else f"{SYSTEMATIC} in strata"
    plain = RANDOM if n_strata == 1 else STRATIFIED
    return f"{plain}, least distance {request.min_distance:g} m" if request.min_distance else plain


def _facts(
    request: SampleRequest,
    population: Population,
    sizes: StrataSizes,
    n: np.ndarray,
    expected: np.ndarray,
    *,
    design: str,
) -> dict[str, Any]:
    notes = []
    if request.min_distance:
        notes.append(APART)
    if request.scheme == "systematic":
        notes.append("The grid's start is random: there are about as many places as were asked for.")
    if sizes.n_outside:
        share = sizes.n_outside / (sizes.n_outside + sizes.n_pixels.sum())
        notes.append(f"{sizes.n_outside:,} observed pixels ({share:.1%}) are in no stratum: no estimate covers them.")
    whole = sizes.n_pixels / sizes.n_pixels.sum()
    with np.errstate(invalid="ignore"):
        error = float(np.sqrt((whole**2 * deviation(expected) ** 2 * (1 / n - 1 / sizes.n_pixels)).sum()))
    return {
        "n": int(n.sum()),
        "layer": population.layer.name,
        "design": design,
        "allocation": request.allocation,
        "seed": request.seed,
        "expected_standard_error": error if math.isfinite(error) else None,
        "strata": [
            {
                "name": name,
                "n": int(count),
                "n_pixels": int(pixels),
                "inclusion_probability": int(count) / int(pixels),
                "expected_accuracy": None if math.isnan(share) else float(share),
            }
            for name, count, pixels, share in zip(sizes.names, n, sizes.n_pixels, expected, strict=True)
        ],
        "notes": notes,
    }


def sample(
    output: Any,
    *,
    n: int | None = None,
    standard_error: float | None = None,
    expect: Mapping[str, float] | float | None = None,
    layer: str | None = None,
    strata: str | os.PathLike[str] | None = None,
    scheme: str = "stratified",
    allocation: str = "proportional",
    least: int = 2,
    min_distance: float = 0.0,
    seed: int = 1,
) -> Any:
    """A sample of a published product to label, as the command draws it, as a pyarrow table; writes nothing.

    ``output`` is a folder, a URI or a `Product`; a number as ``expect`` is for all strata. ``geometry`` is WKB in the
    grid's CRS, told by the metadata ``geo`` as in GeoParquet. Raises a ValueError that names what cannot be.
    """
    from tilewright.tasks.tables.geoparquet import whole_table

    given = getattr(output, "output", output)
    if not isinstance(given, (str, os.PathLike)):
        raise StoreError(f"A product is given by its folder or URI, not by {type(output).__name__}.")
    request = SampleRequest(
        n=n,
        standard_error=standard_error,
        expect={} if expect is None else {"": expect} if isinstance(expect, (int, float)) else expect,
        layer=layer,
        strata=None if strata is None else os.fspath(strata),
        scheme=scheme,
        allocation=allocation,
        least=least,
        min_distance=min_distance,
        seed=seed,
    )
    drawn = draw_sample(os.fspath(given), request).table
    return whole_table(drawn.columns, drawn.geometries, crs=drawn.crs)
