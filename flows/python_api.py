"""The functions that `import tilewright` hands on: search, cube, plan, run, open, compare, zones, export."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.flows.job.job import Job, JobError, make_job, read_job
from tilewright.flows.shown import shown
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.report.format import plural
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    import xarray as xr

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.runners.run_options import RunOptions
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage

JobLike = Job | Mapping[str, Any] | str | Path
"""A job: a checked one, its keys as a mapping, or the path of its file."""

TABLES = {"manifest": "manifest.parquet", "items": "items.parquet"}
"""Tables of every product by name: the scenes behind it, and the Items of its Collection. It may have others."""

CUBE_CHUNK = 1024
"""Pixels per side of a Dask chunk of a cube."""


def search(job: JobLike) -> tuple[Scene, ...]:
    """The scenes a job would use, ordered by time, each with its radiometric state.

    Warns of items that are left out because they cannot be used.
    Raises a ValueError that names the key or the source that cannot be.
    """
    from tilewright.catalogs.search import left_out_sentence
    from tilewright.flows.plan.scenes import find_items

    found = find_items(_checked(job))
    if found.left_out:
        warnings.warn(left_out_sentence(found.left_out), stacklevel=2)
    return found.scenes


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

    With ``RunOptions(runner="dask")`` a script needs the guard ``if __name__ == "__main__":``, as all that starts
    processes does.
    Raises a ValueError before pixels are read, or a RuntimeError naming what broke; finished blocks are kept.
    """
    from tilewright.flows.run.predict import run_job
    from tilewright.flows.runners.run_options import RunOptions

    if options is not None and not isinstance(options, RunOptions):
        raise JobError(f"options are tilewright.RunOptions(...), not {type(options).__name__}.")
    return open_product(run_job(_checked(job), options).output)


def open_product(output: str | Path) -> Product:
    """A published product in a folder or bucket. Raises StoreError where there is none."""
    if not isinstance(output, (str, os.PathLike)):
        raise StoreError(f"A product is opened by its folder or URI, not by {type(output).__name__}.")
    storage = open_storage(os.fspath(output), options=storage_options(os.fspath(output)))
    if read_item(storage) is None:
        raise StoreError(
            f"{output} holds no published product: give the output of a finished run, or run its job again."
        )
    return Product(storage)


def compare(a: str | Path | Product, b: str | Path | Product, *, to: str | Path | None = None) -> dict[str, Any]:
    """What changed from one finished product to another, as ``comparison.json`` holds it; ``summary`` says it in words.

    ``to``: the folder or URI into which the page, the figures and the table of changed places are written, if any.
    Raises a ValueError that says why two outputs cannot be compared.
    """
    from tilewright.flows.ask.compare import compare_outputs

    first, second = (each.output if isinstance(each, Product) else each for each in (a, b))
    for each in (first, second, to):
        if each is not None and not isinstance(each, (str, os.PathLike)):
            raise StoreError(f"A product is named by its folder or URI, not by {type(each).__name__}.")
    return compare_outputs(os.fspath(first), os.fspath(second), to=None if to is None else os.fspath(to))


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


def export(output: str | Path | Product, to: str | Path, *, table: str | None = None) -> dict[str, int]:
    """A table of a published product written to a file, in the format of its ending; the rows written, by table.

    Without ``table`` the only one, or to a GeoPackage all of them. Raises a ValueError that names what cannot be.
    """
    from tilewright.flows.ask.export import export_tables

    given = output.output if isinstance(output, Product) else output
    if not all(isinstance(each, (str, os.PathLike)) for each in (given, to)):
        raise StoreError("A product is given by its folder or URI, the file by its path.")
    return export_tables(os.fspath(given), Path(to), table=table)


@dataclass(frozen=True, eq=False)
class Product(Mapping[str, "xr.DataArray"]):
    """A published product: its layers by name, lazily, as (y, x) with CRS and coordinates, nodata as NaN.

    ``tables`` are read when they are first used: ``manifest`` (the scenes) and ``items`` (the Items of the Collection).
    """

    storage: Storage

    @property
    def output(self) -> str:
        """The folder or URI."""
        return self.storage.uri

    @cached_property
    def layers(self) -> xr.Dataset:
        """All layers and ``observations`` on the grid of the product, with its period as the coordinate ``time``."""
        import rioxarray  # noqa: F401 - gives a layer its .rio
        import xarray as xr

        from tilewright.tasks.zarr.declare import STORE

        if self.report.get("places"):
            # A table of places has no raster.
            return xr.Dataset()
        try:
            opened = xr.open_zarr(self.storage.zarr(STORE, read_only=True))
        except Exception as error:
            # Zarr, obstore and xarray each have words of their own for what is not there.
            raise StoreError(f"{self.output}/{STORE} cannot be opened ({type(error).__name__}): restore it.") from error
        try:
            height, width = self.report["grid"]["shape"]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self.output}/report.json does not say the grid of the product: restore it.") from error
        found = opened.sizes.get("y"), opened.sizes.get("x")
        if found != (height, width):
            raise StoreError(
                f"{self.output}/{STORE} has the shape {found}, the product {(height, width)}: an older Tilewright made "
                "it. Run the job again with --replace."
            )
        return opened

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of report.json; empty where there is none."""
        return self._document("report.json")

    @cached_property
    def item(self) -> dict[str, Any]:
        """The STAC Item."""
        return self._document("item.json")

    @property
    def tables(self) -> Mapping[str, Any]:
        """Tables by name as pyarrow tables, read when they are first used."""
        told = self.report.get("tables")
        more = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
        names = {str(each.get("name")): str(each.get("file")) for each in more}
        return _Tables(self.storage, {**TABLES, **names})

    def _repr_html_(self) -> str:
        """The product in a notebook: its layers, and its tables of shapes with their rows."""
        layers = [(text(row, "name"), text(row, "kind"), text(row, "unit")) for row in rows(self.report, "layers")]
        tables = [(text(row, "name"), "table", plural(row.get("rows"), "row")) for row in rows(self.report, "tables")]
        vectors = [
            (text(row, "name"), "vectors", plural(row.get("dimensions"), "number"))
            for row in rows(self.report, "embeddings")
        ]
        lines = ("".join(f"<td>{escape(shown(cell))}</td>" for cell in line) for line in (*layers, *vectors, *tables))
        return f"<b>{escape(shown(self.output))}</b><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _document(self, name: str) -> dict[str, Any]:
        return read_object(self.storage, name) or {}

    def __getitem__(self, name: str) -> xr.DataArray:
        if name not in self:
            if self.report.get("places"):
                raise KeyError(f"{name!r} is no layer of {self.output}: look for its columns in .tables['places']")
            raise KeyError(f"{name!r} is no layer of {self.output}: it has {', '.join(map(str, self)) or 'none'}")
        return self.layers[name]

    def __iter__(self) -> Any:
        return iter(self.layers.data_vars)

    def __len__(self) -> int:
        return len(self.layers.data_vars)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.layers.data_vars


class _Tables(Mapping[str, Any]):
    """The tables of a product by name, as pyarrow tables."""

    def __init__(self, storage: Storage, files: Mapping[str, str]) -> None:
        self._storage, self._files = storage, files

    def __repr__(self) -> str:
        return f"tables({', '.join(map(repr, self._files))})"

    def __getitem__(self, name: str) -> Any:
        import pyarrow.parquet as pq

        file = self._files[name]
        content = self._storage.read(file)
        if content is None:
            raise KeyError(name)
        try:
            return pq.read_table(io.BytesIO(content))
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._storage.uri}/{file} is no table that can be read: restore it.") from error

    def __iter__(self) -> Any:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _checked(job: JobLike) -> Job:
    """The job, checked. Paths in a mapping may be `Path`s; those that are relative are so to the working folder."""
    if isinstance(job, Job):
        return job
    if isinstance(job, Mapping):
        plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in job.items()}
        return make_job(plain, base=Path.cwd())
    if isinstance(job, (str, os.PathLike)):
        return read_job(Path(job))
    raise JobError(f"A job is the path of its file, a mapping with its keys, or a Job, not {type(job).__name__}.")
