"""Files of places that are broken, hostile or do not fit their job: each refused in one sentence, before any pixel."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import yaml
from typer.testing import CliRunner

from tests.support.detectors import FORMS, detector
from tests.support.places_cards import label_card, write_points
from tests.support.worlds import CRS, World
from tilewright.flows.cli.main import app
from tilewright.tasks.tables import csv_points, vector_file


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    made.add(np.full((64, 64), 0.3, np.float32), "red", unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return label_card(tmp_path_factory.mktemp("card"))


def refused(world, card, folder, places, command="run", **changes):
    """The one sentence by which the command refuses a job, which has written nothing."""
    job = {
        "name": "world", "places": places, "period": "2023-06-01/2023-06-30", "source": world.source,
        "model": str(card), "grid": {"crs": CRS}, "output": str(folder / "out"), **changes,
    }  # fmt: skip
    job = {key: value for key, value in job.items() if value is not ...}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    answer = CliRunner().invoke(app, [command, str(folder / "job.yaml")])
    assert answer.exit_code == 2, answer.output
    assert not (folder / "out").exists()
    words = " ".join(answer.output.split())
    assert "Traceback" not in words
    return words.rpartition("tilewright: ")[2]


def csv(text):
    return lambda path: path.write_text(text)


def octets(content):
    return lambda path: path.write_bytes(content)


def points(n=3, **columns):
    return lambda path: write_points(path, [30.0] * n, [30.0] * n, **columns)


def shape(geometry, crs=CRS):
    return lambda path: geopandas.GeoDataFrame({"a": [1]}, geometry=[geometry], crs=crs).to_parquet(path)


def column(values, kind):
    """A table with a column of whole numbers or bytes that are looked at as another type."""

    def make(path):
        points()(path)
        read = pq.read_table(path)
        stored = pa.array(values)
        shown = stored.view(kind) if pa.types.is_string(kind) or stored.type != pa.int64() else stored.cast(kind)
        pq.write_table(read.append_column("k", shown), path)

    return make


FILES = {
    "missing": ("p.parquet", lambda path: None, "cannot be read: No such file"),
    "a folder": ("p.parquet", Path.mkdir, "cannot be read as a table of shapes"),
    "no format": ("p.xlsx", csv("a"), "read are .parquet"),
    "no rows": ("p.csv", csv("lon,lat\n"), "has no rows"),
    "no columns": ("p.csv", csv("x,y\n1,2\n"), "needs one column 'lon'"),
    "nothing": ("p.csv", csv(""), "cannot be read as CSV"),
    "ragged": ("p.csv", csv("lon,lat\n1,2\n1,2,3\n"), "cannot be read as CSV"),
    "words": ("p.csv", csv("lon,lat\neast,48\n"), "holds string, no numbers"),
    "infinite": ("p.csv", csv("lon,lat\n13,48\ninf,48\n"), "Row 2 of p.csv has lon inf"),
    "off the globe": ("p.csv", csv("lon,lat\n13,148\n"), "Row 1 of p.csv has lat 148"),
    "half": ("p.csv", csv("lon,lat\n13,\n"), "Row 1 of p.csv has only one of lon and lat"),
    "nowhere": ("p.csv", csv("lon,lat\n,\n"), "none of the rows of p.csv has a geometry"),
    "no crs": ("p.parquet", shape(shapely.Point(1, 2), crs=None), "does not say its CRS"),
    "no geometry": ("p.parquet", lambda path: pd.DataFrame({"a": [1]}).to_parquet(path), "is no GeoParquet"),
    "infinite shape": ("p.parquet", shape(shapely.Point(np.inf, 2)), "coordinates that are no numbers"),
    "not json": ("p.geojson", csv("{"), "cannot be read as GeoJSON"),
    "a column of ours": ("p.parquet", points(confidence=[1, 2, 3]), "has a column 'confidence', which the result has"),
    "an id": ("p.parquet", points(id=[1, 2, 3]), "has a column 'id', which the result numbers itself"),
    "csv names twice": ("p.csv", csv("lon,lat,a,a\n13,48,1,2\n"), "has several columns called 'a'"),
    "csv names empty": ("p.csv", csv("lon,lat,,\n13,48,1,2\n"), "has several columns called ''"),
    "csv name of latin-1": ("p.csv", octets(b"lon,lat,gr\xf6\n13,48,1\n"), "cannot be read as CSV"),
    "csv text of latin-1": ("p.csv", octets(b"lon,lat,a\n13,48,gr\xf6\n"), "The column 'a' of p.csv is no UTF-8"),
    "year 146,000": ("p.parquet", column([2**62, 1, 2], pa.timestamp("us")), "'k' of p.parquet has values that no"),
    "year -33,000": ("p.parquet", column([-(2**50), 1, 2], pa.timestamp("ms")), "has values that no text can say"),
    "no time zone": ("p.parquet", column([1, 2, 3], pa.timestamp("us", tz="Mars/Olympus")), "has values that no text"),
    "no day": ("p.parquet", column(pa.array([2**30, 1, 2], pa.int32()), pa.date32()), "has values that no text can"),
    "no duration": ("p.parquet", column([2**62, 1, 2], pa.duration("s")), "has values that no text can say"),
    "no text": ("p.parquet", column([b"\xff\xfe", b"a", b"b"], pa.string()), "has values that no text can say"),
    "a bbox": ("p.parquet", points(bbox=[1, 2, 3]), "has a column 'bbox'"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_is_refused_in_one_sentence(world, card, tmp_path, case):
    name, make, words = FILES[case]
    make(tmp_path / name)
    assert words in refused(world, card, tmp_path, name)


JOBS = {
    "both": ({"area": [13, 48, 14, 49]}, "a job is over an area or over places, not both"),
    "neither": ({"places": ...}, "A job needs area (or places), period, source and model"),
    "a number": ({"places": 7}, "places: give the path of a file of points or parcels"),
    "no file": ({"places": {"id": "key"}}, "places: give the path of a file of points or parcels"),
    "unknown key": ({"places": {"file": "p.parquet", "ids": "key"}}, "places.ids: unknown key (did you mean 'id'?)"),
    "a list": ({"places": {"file": ["p.parquet"]}}, "places.file: expected the path of a file"),
    "no such key": ({"places": {"file": "p.parquet", "id": "kye"}}, "has no column 'kye' (did you mean 'key'?)"),
    "twice": ({"places": {"file": "p.parquet", "id": "twice"}}, "rows 1 and 3 of p.parquet both have twice 'x'"),
    "without": ({"places": {"file": "p.parquet", "id": "hole"}}, "row 2 of p.parquet has no 'hole'"),
    "no such period": ({"places": {"file": "p.parquet", "period": "wen"}}, "p.parquet has no column 'wen'"),
    "no period": ({"places": {"file": "p.parquet", "period": "word"}}, "row 1 of p.parquet: 'soon' is not a period"),
    "open period": ({"places": {"file": "p.parquet", "period": "open"}}, "has an open end"),
    "polygons": ({"polygons": "class"}, "polygons: a job over places makes a table"),
    "bounds": ({"grid": {"crs": CRS, "bounds": [0, 0, 10, 10]}}, "grid.bounds: a job over places makes a table"),
    "block": ({"tile": {"block": 64}}, "tile.block: a job over places makes a table"),
    "files": ({"cog": {"max_side": 512}}, "cog.max_side: a job over places makes a table"),
    "clearest": ({"filter": {"clearest": 3}}, "filter.clearest: a job over places makes a table"),
    "precision": ({"precision": "int8"}, "precision: a job over places makes a table"),
    "layers": ({"layers": ["klass"]}, "layers: klass not given by small"),
    "no scenes": ({"period": "2021-01"}, "No scenes for input x"),
    "elsewhere": ({"grid": {"crs": "EPSG:32633", "resolution": 1e-9}}, "places: none of them lies where"),
    "degrees": ({"grid": {"crs": "EPSG:4326"}}, "give grid.resolution in degrees"),
    "too many": ({"limits": {"blocks": 1}, "places": "many.parquet"}, "are over limits.blocks = 1 units"),
}  # fmt: skip


@pytest.mark.parametrize("case", JOBS)
def test_a_job_is_refused_in_one_sentence_that_names_the_key(world, card, tmp_path, case):
    changes, words = JOBS[case]
    columns = {"key": ["a", "b", "c"], "twice": ["x", "y", "x"], "hole": ["a", None, "b"], "word": ["soon"] * 3}
    write_points(tmp_path / "p.parquet", [30.0] * 3, [30.0] * 3, **columns, open=["2023-06-01/.."] * 3)
    write_points(tmp_path / "many.parquet", [30.0] * 300, [30.0] * 300)
    changes = {"places": "p.parquet", **changes}
    assert words in refused(world, card, tmp_path, **changes)


def test_a_detector_and_shards_are_refused(world, card, tmp_path):
    points()(tmp_path / "p.parquet")
    boxes = detector(tmp_path / "boxes", FORMS[0])
    assert "finds boxes, which lie anywhere in a window" in refused(world, boxes, tmp_path, "p.parquet")
    answer = CliRunner().invoke(app, ["run", str(_job(world, card, tmp_path)), "--shards", "2"])
    assert (answer.exit_code, "leave --shards out" in " ".join(answer.output.split())) == (2, True)


def _job(world, card, folder):
    job = {
        "name": "world", "places": "p.parquet", "period": "2023-06", "source": world.source, "model": str(card),
        "grid": {"crs": CRS}, "output": str(folder / "out"),
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def test_files_that_are_too_large_are_refused(world, card, tmp_path, monkeypatch):
    (tmp_path / "p.csv").write_text("lon,lat\n" + "13.69,48.72\n" * 50)
    monkeypatch.setattr(csv_points, "MOST_ROWS", 20)
    assert "has over 20 rows" in refused(world, card, tmp_path, "p.csv")
    monkeypatch.setattr(csv_points, "MOST_BYTES", 20)
    assert "is larger than" in refused(world, card, tmp_path, "p.csv")
    points(50)(tmp_path / "p.parquet")
    monkeypatch.setattr(vector_file, "MOST_ROWS", 20)
    assert "has over 20 rows" in refused(world, card, tmp_path, "p.parquet")


def test_the_commands_tell_of_places(world, card, tmp_path):
    points()(tmp_path / "p.parquet")
    job = _job(world, card, tmp_path)
    planned = CliRunner().invoke(app, ["plan", str(job), "--json"])
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["n_windows"] == 3
    told = CliRunner().invoke(app, ["plan", str(job)])
    assert "3 rows of p.parquet" in told.output
    made = CliRunner().invoke(app, ["run", str(job)])
    assert made.exit_code == 0, made.output
    assert "world: 3 places by small" in made.output
    copied = CliRunner().invoke(app, ["run", str(job), "--to", str(tmp_path / "copy.geojson")])
    assert copied.exit_code == 0, copied.output
    assert geopandas.read_file(tmp_path / "copy.geojson")["class"].tolist() == [0, 0, 0]
    for wrong, words in (
        ("copy.tif", "names no format of a table"),
        ("p.parquet", "is the file of places itself"),
        ("out/copy.csv", "lies in the product"),
    ):
        refusal = CliRunner().invoke(app, ["run", str(job), "--to", str(tmp_path / wrong)])
        assert (refusal.exit_code, words in " ".join(refusal.output.split())) == (2, True)
    status = CliRunner().invoke(app, ["status", str(tmp_path / "out")])
    assert "table places.parquet: 3 rows" in " ".join(status.output.split())
    assert CliRunner().invoke(app, ["clean", str(tmp_path / "out")]).output.startswith("Nothing to clean")
    again = CliRunner().invoke(app, ["rerun", str(tmp_path / "out/item.json"), "--output", str(tmp_path / "again")])
    assert (again.exit_code, "is a table of places" in " ".join(again.output.split())) == (2, True)
    assert not (tmp_path / "again").exists()
    replaced = CliRunner().invoke(app, ["run", str(job), "--replace"])
    assert replaced.exit_code == 0, replaced.output
    zones = CliRunner().invoke(app, ["zones", str(tmp_path / "out"), str(tmp_path / "p.parquet")])
    assert zones.exit_code == 2
    compared = CliRunner().invoke(app, ["compare", str(tmp_path / "out"), str(tmp_path / "out")])
    assert (compared.exit_code, "is a table of places" in compared.output) == (2, True)
