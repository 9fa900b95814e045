"""The readers of documents that others write, each with its hostile documents and the way it is asked to read one."""

# ruff: noqa: E501 -- tables of hostile values read better in long lines
from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.adversary.graphs_bent import bent_graphs
from tests.adversary.mutations import bent_bytes, expressions, json_documents, mutated, spelled, written, yaml_documents
from tests.support.graphs import conv_stack
from tests.support.products import write_job
from tilewright.flows.cli.main import app
from tilewright.flows.shown import shortened, shown
from tilewright.models.errors import CardError
from tilewright.models.spec.expression import parse_expression
from tilewright.tasks.compose.mask_rule import parse_condition

Answer = tuple[int, str]
"""The exit code and everything that was printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader: a good document, the strategy of hostile ones, and the answer on one of them."""

    good: Any
    documents: st.SearchStrategy[Any]
    answer: Callable[[Any], Answer]
    codes: tuple[int, ...] = (0, 2)
    folder: Path = Path()


def command(*words: object) -> Answer:
    """The answer of the command, in this process: a start of Python would take longer than the command."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


def _planning(folder: Path, documents: Callable[[dict[str, Any]], Any], name: str, *words: str) -> Reader:
    job = write_job(folder, side=64)
    plain = {**json.loads(job.read_text()), "mask": {"kind": "rule", "rule": ["nir > 0.5"]}, "filter": {"max_cloud": 90},
             "cog": {"max_side": 512}, "tolerance": {"failed_reads": 1}, "limits": {"blocks": 100, "items": 50}, "seed": 1,
             "grid": {**json.loads(job.read_text())["grid"], "resolution": 10}}  # fmt: skip

    def answer(content: bytes) -> Answer:
        path = folder / name
        path.write_bytes(content)
        return command(*words, path)

    return Reader(good=written(plain).encode(), documents=documents(plain), answer=answer)


def job_yaml(folder: Path) -> Reader:
    return _planning(folder, yaml_documents, "hostile.yaml", "plan")


def job_json(folder: Path) -> Reader:
    return _planning(folder, json_documents, "hostile.json", "plan")


def file_list(folder: Path) -> Reader:
    def lists(plain: dict[str, Any]) -> Any:
        files = [
            {**entry, "cloud_cover": 3, "scale": 1.0, "offset": 0.0, "nodata": 0, "scene": "a"}
            for entry in plain["source"]["files"]
        ]
        return mutated({"files": files}).map(
            lambda source: written({**plain, "source": source}).encode("utf-8", "surrogatepass")
        )

    return _planning(folder, lists, "hostile.json", "plan")


def card(folder: Path) -> Reader:
    plain, path, model = _card(folder)

    def answer(content: bytes) -> Answer:
        path.write_bytes(content)
        return command("models", "show", path.parent)

    assert model.exists()
    return Reader(good=path.read_bytes(), documents=json_documents(plain), answer=answer)


def graph(folder: Path) -> Reader:
    plain, path, model = _card(folder)
    valid = conv_stack(n_in=2).SerializeToString(deterministic=True)
    weights = {
        "href": "./weights.bin",
        "roles": ["mlm:weights"],
        "file:checksum": "1220" + hashlib.sha256(b"0" * 64).hexdigest(),
    }
    (path.parent / "weights.bin").write_bytes(b"0" * 64)
    plain["assets"]["weights"] = weights

    def answer(content: bytes) -> Answer:
        model.write_bytes(content)
        plain["assets"]["model"]["file:checksum"] = "1220" + hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(plain))
        return command("models", "show", path.parent)

    return Reader(good=valid, documents=bent_graphs(valid), answer=answer)


def _card(folder: Path) -> tuple[dict[str, Any], Path, Path]:
    write_job(folder, side=64)
    path = folder / "card" / "card.json"
    return json.loads(path.read_text()), path, path.with_name("model.onnx")


def item(folder: Path) -> Reader:
    job = json.loads(write_job(folder, side=64).read_text())
    catalog = {
        "type": "Catalog",
        "id": "c",
        "stac_version": "1.0.0",
        "description": "d",
        "links": [{"rel": "item", "href": "./item.json"}],
    }
    (folder / "catalog.json").write_text(json.dumps(catalog))
    (folder / "job.json").write_text(json.dumps({**job, "source": {"kind": "static", "href": "catalog.json"}}))

    def answer(content: bytes) -> Answer:
        (folder / "item.json").write_bytes(content)
        return command("plan", folder / "job.json")

    return Reader(good=written(_item(job)).encode(), documents=json_documents(_item(job)), answer=answer)


def _item(job: dict[str, Any]) -> dict[str, Any]:
    """An Item over the job's area with everything that the search looks at."""
    entry = job["source"]["files"][0]
    grid = {"proj:code": "EPSG:32633", "proj:shape": [24, 24], "proj:transform": [10, 0, 400640, 0, -10, 5400320]}
    band = {"data_type": "float32", "nodata": "nan", "scale": 1, "offset": 0, "unit": "reflectance"}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "one", "collection": "optics",
        "geometry": job["area"] if isinstance(job["area"], dict) else None, "bbox": [13.0, 48.0, 14.0, 49.0],
        "properties": {"datetime": "2023-06-10T10:00:00Z", "start_datetime": "2023-06-10T09:00:00Z", "updated": "2023-06-11T10:00:00Z",
                       "end_datetime": "2023-06-10T11:00:00Z", "eo:cloud_cover": 3, "platform": "sentinel-2a", "s2:processing_baseline": "05.09",
                       "sat:orbit_state": "descending", "sat:relative_orbit": 22, "s2:mgrs_tile": "33UUP", "grid:code": "MGRS-33UUP", **grid},
        "assets": {name: {"href": file["href"], "type": "image/tiff", "roles": ["data"], "raster:bands": [band], "gsd": 10,
                          "eo:bands": [{"name": name, "common_name": name}], "bands": [{"name": name}], "file:size": 9, **grid}
                   for name, file in zip(("green", "nir"), [entry, job["source"]["files"][1]], strict=True)},
        "links": [{"rel": "self", "href": "./item.json"}],
    }  # fmt: skip


def area_text(folder: Path) -> Reader:
    square = [[13.0, 48.0], [13.1, 48.0], [13.1, 48.1], [13.0, 48.1], [13.0, 48.0]]
    plain = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        "features": [
            {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [square]}},
            {"type": "Feature", "properties": None, "geometry": {"type": "MultiPolygon", "coordinates": [[square]]}},
            {
                "type": "Feature",
                "geometry": {
                    "type": "GeometryCollection",
                    "geometries": [{"type": "Polygon", "coordinates": [square]}],
                },
            },
        ],
    }
    wkt = ("POLYGON((13 48,13.1 48,13.1 48.1,13 48.1,13 48))", "SRID=3035;POLYGON((4321000 3210000,4331000 3210000,4331000 3220000,4321000 3210000))",
           "POLYGON((" + "13 48," * 50_000 + "13 48))", "POLYGON((1e400 0,nan nan,inf 1,0 0))", "GEOMETRYCOLLECTION(" * 3000, "POLYGON((0 0,1 1)" + ")" * 3000,
           "POLYGON Z((13 48 nan,13.1 48 1,13.1 48.1 1,13 48 1))", "SRID=" + "9" * 5000 + ";POLYGON((0 0,1 0,1 1,0 0))")  # fmt: skip

    def answer(given: tuple[str, bytes]) -> Answer:
        suffix, content = given
        (folder / f"area{suffix}").write_bytes(content)
        return _area(folder, f"area{suffix}")

    texts = st.sampled_from(wkt).flatmap(spelled).map(lambda content: (".wkt", content))
    documents = json_documents(plain).map(lambda content: (".geojson", content)) | texts
    return Reader(good=(".geojson", written(plain).encode()), documents=documents, answer=answer)


def area_binary(folder: Path) -> Reader:
    shapes = np.array([shapely.to_wkb(shapely.box(13, 48, 13.1, 48.1))], dtype=object)
    valid = {}
    for suffix, driver in ((".gpkg", "GPKG"), (".shp", "ESRI Shapefile"), (".fgb", "FlatGeobuf")):
        path = folder / f"valid{suffix}"
        pyogrio.raw.write(path, shapes, [], [], crs="EPSG:4326", geometry_type="Polygon", driver=driver)
        valid[suffix] = path.read_bytes()
    valid[".parquet"] = _geoparquet(folder / "valid.parquet", shapes)

    def answer(given: tuple[str, bytes]) -> Answer:
        suffix, content = given
        path = folder / f"bent{suffix}"
        if suffix == ".shp":
            for other in (".shx", ".prj"):
                shutil.copy(folder / f"valid{other}", path.with_suffix(other))
        path.write_bytes(content)
        return _area(folder, path.name)

    documents = st.sampled_from(sorted(valid)).flatmap(
        lambda suffix: bent_bytes(valid[suffix]).map(lambda bent: (suffix, bent))
    )
    return Reader(good=(".gpkg", valid[".gpkg"]), documents=documents, answer=answer)


def _geoparquet(path: Path, shapes: np.ndarray[Any, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table({"geometry": list(shapes)}).replace_schema_metadata({b"geo": json.dumps(facts).encode()})
    pq.write_table(table, path)
    return path.read_bytes()


def _area(folder: Path, name: str) -> Answer:
    from tilewright.flows.job.areas.area import AreaError, read_area

    try:
        found = read_area(name, base=folder)
    except AreaError as error:
        return 2, shown(shortened(str(error)))
    assert found.geometry.is_valid
    assert found.geometry.area > 0
    assert all(-180 <= edge <= 180 for edge in found.bbox)
    json.dumps(found.geojson(), allow_nan=False)
    return 0, ""


def expression(folder: Path) -> Reader:
    del folder
    bands = {name: np.ones((2, 2), np.float32) for name in ("nir", "red")}

    def answer(text: str) -> Answer:
        refused = 0
        try:
            found = parse_expression(text, field="bands[0]")
            if set(found.names) <= set(bands):
                assert found(bands).shape == (2, 2)
        except CardError as error:
            refused, said = 2, shown(shortened(str(error)))
        try:
            parse_condition(f"{text} > 0.5", field="mask.rule")
        except ValueError as error:
            return 2, shown(shortened(str(error)))
        return (refused, said) if refused else (0, "")

    good = "(nir - red) / (nir + red)"
    return Reader(good=good, documents=expressions(good), answer=answer)


def product(folder: Path) -> Reader:
    job = write_job(folder, side=64)
    assert command("run", job, "--output", folder / "whole")[0] == 0
    whole = folder / "whole"
    names = sorted(
        str(path.relative_to(whole)) for path in whole.rglob("*")
        if path.is_file() and path.suffix in {".json", ".ndjson"} and "data.zarr" not in str(path)
        # A lock that cannot be read is another run's, which is waited for (test_owners.py).
        and not path.name.startswith("lock")
    )  # fmt: skip

    def answer(given: tuple[str, bytes, str]) -> Answer:
        name, content, how = given
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.rmtree(folder / "again", ignore_errors=True)
        shutil.copytree(whole, folder / "out")
        (folder / "out" / name).write_bytes(content)
        if how == "resume" and name != "item.json":
            (folder / "out" / "item.json").unlink(missing_ok=True)
        words = {
            "status": ("status", folder / "out", "--json"),
            "rerun": ("rerun", folder / "out" / "item.json", "--output", folder / "again"),
            "resume": ("run", job, "--output", folder / "out"),
            "run": ("run", job, "--output", folder / "out", "--update"),
            "clean": ("clean", folder / "out"),
        }[how]
        return command(*words)

    def documents(name: str) -> Any:
        plain = whole.joinpath(name).read_bytes()
        grown = bent_bytes(plain) if name.endswith(".ndjson") else json_documents(json.loads(plain))
        return st.tuples(st.just(name), grown, st.sampled_from(("status", "rerun", "resume", "run", "clean")))

    good = (names[0], (whole / names[0]).read_bytes(), "status")
    return Reader(
        good=good, documents=st.sampled_from(names).flatmap(documents), answer=answer, codes=(0, 1, 2), folder=folder
    )


READERS: dict[str, Callable[[Path], Reader]] = {
    "job-yaml": job_yaml,
    "job-json": job_json,
    "files": file_list,
    "card": card,
    "graph": graph,
    "item": item,
    "area-text": area_text,
    "area-binary": area_binary,
    "expression": expression,
    "product": product,
}
