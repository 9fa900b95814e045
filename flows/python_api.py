"""The functions that `import tilewright` hands on: search, cube, plan, run, open, compare, evaluate, export."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.ask.product import Product, open_product
from tilewright.flows.job.job import JOBS, Job, JobError, make_job, read_job
from tilewright.tasks.progress import silent
from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    import xarray as xr

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.runners.run_options import RunOptions
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener

JobLike = Job | Mapping[str, Any] | str | Path
"""A job: a checked one, its keys as a mapping, or the path of its file."""

Tolerance = float | Mapping[str, float] | None
"""A tolerance for all layers and tables, or by their names."""

CUBE_CHUNK = 1024
"""Pixels per side of a Dask chunk of a cube."""


def search(job: JobLike) -> tuple[Scene, ...]:
    """The scenes a job would use, ordered by time, each with its radiometric state.

    Warns of items that are left out because they cannot be used.
    Raises a ValueError that names the key or the source that cannot be.
    """
    from tilewright.catalogs.search import left_out_sentence
    from tilewright.flows.notebook.cards import FoundScenes
    from tilewright.flows.plan.scenes import find_items

    found = find_items(_checked(job))
    if found.left_out:
        warnings.warn(left_out_sentence(found.left_out), stacklevel=2)
    return FoundScenes(found.scenes)


def cube(job: JobLike, *, model_input: str | None = None) -> xr.DataArray:
    """The scenes of one input of a job's model as a lazy cube (time, band, y, x), float32 in the input's unit.

    ``model_input`` names the input, None: the first. ``time`` holds the moments of passes, NaN is no value; nothing is
    masked. The grid is that of the job in the input's own resolution. Pixels are read by Dask when they are computed.
    Raises a ValueError that names the key or the source that cannot be.
    """
    from tilewright.flows.access import job_sources, scene_access
    from tilewright.flows.plan.model_card import job_card
    from tilewright.flows.plan.raster import DEFAULT_RESOLUTION
    from tilewright.flows.plan.scenes import input_scenes
    from tilewright.tasks.cube.load import load_cube
    from tilewright.tasks.grid.grid import plan_grid

    checked = _checked(job)
    if checked.places is not None:
        raise JobError("places: a cube is the pixels of an area, and places have windows of their own: give an area.")
    card = job_card(checked)
    spec = next((each for each in card.inputs if model_input in {None, each.name}), None)
    if spec is None:
        names = ", ".join(each.name for each in card.inputs)
        raise JobError(f"model_input {model_input!r} is no input of {card.name}: give one of {names}.")
    sources = job_sources(checked, card)
    source = sources.of(spec.collection)
    scenes = () if source is None else input_scenes(checked, spec, source)
    resolution = checked.grid.resolution or (card.resolution or DEFAULT_RESOLUTION) * card.ratio(spec)
    area, options = checked.area.geometry, checked.grid
    grid = plan_grid(area, crs=options.crs, resolution=resolution, bounds=options.bounds)
    bands = spec.source_bands
    loaded = load_cube(
        scenes,
        grid.geobox,
        bands,
        engine=checked.engine,
        resampling=spec.resampling,
        chunks=CUBE_CHUNK,
        as_numbers=bands,
        access=scene_access(sources),
    )
    return loaded[list(bands)].to_dataarray("band").transpose("time", "band", "y", "x").rename(checked.name)


def plan(job: JobLike) -> Plan:
    """The plan of a job: scenes, grid, blocks, windows. Writes nothing but measurements of the model in the cache.

    Raises a ValueError that names the key or the source that cannot be.
    """
    from tilewright.flows.plan.make import plan_job

    return plan_job(_checked(job))


def run(job: JobLike, options: RunOptions | None = None) -> Product:
    """The published product of a job; a second call does what is missing, or finds it complete.

    A notebook shows how far it is.
    With ``RunOptions(runner="dask")`` a script needs the guard ``if __name__ == "__main__":``, as all that starts
    processes does.
    Raises a ValueError before pixels are read, or a RuntimeError naming what broke; finished blocks are kept.
    """
    from tilewright.flows.run.predict import run_job

    checked, chosen = _checked(job), _options(options)
    with _seen(checked.name) as listener:
        return open_product(run_job(checked, chosen, listener=listener).output)


def run_chain(jobs: Mapping[str, Any] | str | Path, options: RunOptions | None = None) -> dict[str, Product]:
    """The published products of a chain's jobs by their names, in their order; a second call goes on where it ended.

    ``jobs``: the path of a file with ``jobs``, or its keys as a mapping, of which paths are relative to where you are.
    Raises as ``run``, with the job's name; what is done is kept.
    """
    from tilewright.flows.chain.chain import make_chain, read_chain
    from tilewright.flows.chain.run import run_chain as run_each

    if isinstance(jobs, Mapping):
        chain = make_chain(_plain(jobs), base=Path.cwd()) if JOBS in jobs else None
    elif isinstance(jobs, (str, os.PathLike)):
        chain = read_chain(Path(jobs))
    else:
        raise JobError(f"A chain is the path of its file, or a mapping with jobs, not {type(jobs).__name__}.")
    if chain is None:
        raise JobError("jobs: this is a job of one product: give it to tilewright.run.")
    chosen = _options(options)
    with _seen("Chain") as listener:
        return {each.name: open_product(each.output) for each in run_each(chain, chosen, listener=listener)}


def compare(
    a: str | Path | Product,
    b: str | Path | Product,
    *,
    to: str | Path | None = None,
    labels: str | Path | None = None,
    column: str | None = None,
    layer: str | None = None,
    maps: Mapping[str, Sequence[str]] | None = None,
    same: bool = False,
    differ: Tolerance = None,
    atol: Tolerance = None,
    rtol: Tolerance = None,
    iou: Tolerance = None,
) -> dict[str, Any]:
    """What changed from one finished product to another, as ``comparison.json`` holds it; ``summary`` says it in words.

    ``to``: the folder or URI into which the page, the figures, the table of changed places and the maps of difference
    are written, if any. ``labels``: points with a ``column`` of classes (that named as a ``layer`` unless given), on
    which McNemar's test (``mcnemar``) and intervals (``bootstrap``) say whether one is better, by the design of the
    sample where they are one; ``maps`` are the labels that mean each class.
    ``same``: the document says in ``same`` whether both are the same, within tolerances that are 0 unless given, for
    all or by layer: ``differ``, the share of pixels or objects that may differ; ``atol`` + ``rtol`` times A's amount,
    by which a value may; ``iou``, the overlap from which two objects are one.
    Raises a ValueError that says why two outputs cannot be compared.
    """
    from tilewright.flows.ask.compare import asked_points, compare_outputs, wanted_tolerances

    first, second = (each.output if isinstance(each, Product) else each for each in (a, b))
    for each in (first, second, to, labels):
        if each is not None and not isinstance(each, (str, os.PathLike)):
            raise StoreError(f"A product is named by its folder or URI, not by {type(each).__name__}.")
    place, file = (None if each is None else os.fspath(each) for each in (to, labels))
    tolerances = wanted_tolerances(same=same, differ=differ, atol=atol, rtol=rtol, iou=iou)
    points = asked_points(None if file is None else Path(file), column=column, layer=layer, maps=maps or {})
    return compare_outputs(os.fspath(first), os.fspath(second), to=place, labels=points, same=tolerances)


def zones(output: str | Path, file: str | Path, layers: Sequence[str] | None = None) -> Any:
    """The statistics of a published product's layers in each zone of a file, as a pyarrow table; writes nothing.

    ``geometry`` is WKB in the grid's CRS, told by the metadata ``geo`` as in GeoParquet. ``layers``: only these.
    Warns of zones whose edges bend. Raises a ValueError that names what cannot be, before pixels are read.
    """
    from tilewright.flows.ask.zones import zone_statistics
    from tilewright.tasks.progress import Notice
    from tilewright.tasks.tables.geoparquet import whole_table

    def listen(event: object) -> None:
        if isinstance(event, Notice):
            warnings.warn(event.text, stacklevel=4)

    if not all(isinstance(each, (str, os.PathLike)) for each in (output, file)):
        raise StoreError("A product is given by its folder or URI, zones by the path of their file.")
    if isinstance(layers, str):
        raise StoreError(f"layers is a list of names, not the text {layers!r}.")
    table = zone_statistics(os.fspath(output), Path(file), layers=layers, listener=listen)
    return whole_table(table.columns, table.geometries, crs=table.crs)


def evaluate(
    output: str | Path | Product,
    labels: str | Path,
    *,
    column: str | None = None,
    layer: str | None = None,
    maps: Mapping[str, str | Sequence[str]] | None = None,
    by: str | None = None,
    ious: Sequence[float] = (),
    trust: float | None = None,
    imagery: bool = False,
    trusted: bool = False,
    to: str | Path | None = None,
) -> dict[str, Any]:
    """A published product held against labels (points, polygons or a raster), as ``evaluation.json`` holds it; of a
    folder of products each against the labels of its dates (key ``dates``).

    ``maps`` names the labels that mean a class: ``{"forest": ["tree", "shrub"]}``. ``by``: scored by a column of the
    labels, their season, MGRS tile or zones of a file too. ``ious``: the overlaps from which objects of a table count.
    ``trust``: the coverage of each class at which the map is to be trusted (key ``trust``). ``imagery``: the page shows
    the worst places in the product's scenes, of one in a bucket if it is ``trusted`` as your own. ``to``: a folder or
    URI for the page, the figures, the pairs and ``trusted.tif``, if any; nothing is written into the product.
    Raises a ValueError that names what cannot be, before pixels are read.
    """
    from tilewright.flows.audit.files import Wanted
    from tilewright.flows.audit.series import evaluate_at

    given = output.output if isinstance(output, Product) else output
    for each in (given, labels, to):
        if each is not None and not isinstance(each, (str, os.PathLike)):
            raise StoreError("A product is given by its folder or URI, labels by the path of their file.")
    wanted = Wanted(
        column=column,
        layer=layer,
        maps=maps or {},
        by=by,
        ious=tuple(ious),
        trust=trust,
        imagery=imagery,
        trusted=trusted,
    )
    place = None if to is None else os.fspath(to)
    return evaluate_at(os.fspath(given), Path(labels), wanted, to=place, write=to is not None)


def export(output: str | Path | Product, to: str | Path, *, table: str | None = None) -> dict[str, int]:
    """A table of a published product written to a file, in the format of its ending; the rows written, by table.

    Without ``table`` the only one, or to a GeoPackage all of them. Raises a ValueError that names what cannot be.
    """
    from tilewright.flows.ask.export import export_tables

    given = output.output if isinstance(output, Product) else output
    if not all(isinstance(each, (str, os.PathLike)) for each in (given, to)):
        raise StoreError("A product is given by its folder or URI, the file by its path.")
    return export_tables(os.fspath(given), Path(to), table=table)


def sample_catalog() -> str:
    """The path of the catalog of simulated scenes that ``tilewright demo`` maps, for trying things without a network.

    They are made in the cache folder the first time, which takes about half a minute.
    """
    from tilewright.flows.start.demo import demo_sample

    with _seen("Sample") as listener:
        return str(demo_sample(None, listener=listener))


@contextmanager
def _seen(title: str) -> Iterator[Listener]:
    """A listener that draws into a notebook, if this runs in one."""
    from tilewright.flows.notebook.live import live

    drawn = live(title)
    try:
        yield silent if drawn is None else drawn
    finally:
        if drawn is not None:
            drawn.close()


def _options(options: RunOptions | None) -> RunOptions | None:
    """The options themselves. Raises JobError for anything else."""
    from tilewright.flows.runners.run_options import RunOptions

    if options is not None and not isinstance(options, RunOptions):
        raise JobError(f"options are tilewright.RunOptions(...), not {type(options).__name__}.")
    return options


def _plain(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys with paths as texts."""
    return {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in keys.items()}


def _checked(job: JobLike) -> Job:
    """The job, checked. Paths in a mapping may be `Path`s; those that are relative are so to the working folder."""
    if isinstance(job, Job):
        return job
    if isinstance(job, Mapping):
        return make_job(_plain(job), base=Path.cwd())
    if isinstance(job, (str, os.PathLike)):
        return read_job(Path(job))
    raise JobError(f"A job is the path of its file, a mapping with its keys, or a Job, not {type(job).__name__}.")
