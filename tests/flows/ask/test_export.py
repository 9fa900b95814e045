"""`tilewright export` over a real product: read by what people have, from a folder or a bucket, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from typer.testing import CliRunner

import tilewright as tw
from tests.support.chaos.places import s3_server
from tests.support.output_places import KEYS
from tests.support.products import read, write_job
from tilewright.flows.cli.main import app
from tilewright.flows.run.predict import run_job
from tilewright.tasks.tables.vector_file import VectorFileError

pytestmark = pytest.mark.usefixtures("small_pictures")

ZONES = [shapely.box(13.6, 48.6, 13.65, 48.74), shapely.box(13.6, 48.735, 13.61, 48.738)]


def command(*words: object):
    return CliRunner().invoke(app, ["export", *map(str, words)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return Path(run_job(read(write_job(folder, polygons="class"), folder / "out")).output)


@pytest.fixture
def product(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "product"))


@pytest.fixture
def two(product, tmp_path) -> Path:
    """The product with a second table."""
    geopandas.GeoDataFrame({"crop": ["a", "b"]}, geometry=ZONES, crs=4326).to_file(tmp_path / "z.gpkg")
    assert CliRunner().invoke(app, ["zones", str(product), str(tmp_path / "z.gpkg")]).exit_code == 0
    return product


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_is_the_same_in_every_format(product, tmp_path):
    before, wanted = content(product), geopandas.read_parquet(product / "class_polygons.parquet")
    assert len(wanted) > 500
    for suffix in ("parquet", "fgb", "gpkg", "geojson", "csv"):
        answer = command(product, "--to", tmp_path / f"t.{suffix}")
        assert answer.exit_code == 0, answer.output
        told = f"class_polygons: {len(wanted):,} rows in {tmp_path / f't.{suffix}'}".replace(",", "\u2009")
        assert "".join(answer.stdout.split()) == "".join(told.split())
    assert content(product) == before, "nothing in the product changed"
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    assert (tmp_path / "t.parquet").read_bytes() == before["class_polygons.parquet"]
    for suffix in ("fgb", "gpkg"):
        found = geopandas.read_file(tmp_path / f"t.{suffix}")
        assert found.crs == wanted.crs
        assert found.geometry.geom_equals_exact(wanted.geometry, 0).all()
    found = geopandas.read_file(tmp_path / "t.geojson")
    assert found.crs == "EPSG:4326"
    back = found.geometry.to_crs(wanted.crs)
    assert shapely.hausdorff_distance(back.values, wanted.geometry.values).max() < 0.02
    plain = pd.read_csv(tmp_path / "t.csv")
    for table in (found, geopandas.read_file(tmp_path / "t.gpkg"), geopandas.read_file(tmp_path / "t.fgb"), plain):
        for column in ("id", "value", "name", "area_m2", "perimeter_m", "touches_edge"):
            assert list(table[column]) == list(wanted[column]), column
    at = geopandas.GeoSeries.from_xy(plain["lon"], plain["lat"], crs=4326).to_crs(wanted.crs)
    assert shapely.contains(wanted.geometry.values, at.values).all(), "each point in its shape"


def test_tiles_hold_every_shape_at_the_deepest_level(product, tmp_path):
    assert command(product, "--to", tmp_path / "t.pmtiles").exit_code == 0
    wanted = geopandas.read_parquet(product / "class_polygons.parquet")
    found = pyogrio.read_dataframe(tmp_path / "t.pmtiles", use_arrow=False)
    assert found.crs == "EPSG:3857"
    assert set(found["id"]) == set(wanted["id"])
    found["geometry"] = shapely.make_valid(found.geometry.values)
    parts = found.dissolve("id").geometry.to_crs(wanted.crs)
    apart = np.abs(parts.area.sort_index().to_numpy() / wanted.sort_values("id").area.to_numpy() - 1)
    assert np.quantile(apart, 0.99) < 0.1, "corners are those of pixels but for a sixteenth"
    assert pyogrio.list_layers(tmp_path / "t.pmtiles")[0][0] == "class_polygons"


def test_several_tables_go_into_one_geopackage_or_one_by_one(two, tmp_path):
    answer = command(two, "--to", tmp_path / "t.fgb")
    assert answer.exit_code == 2
    assert "has several tables, class_polygons, zones: name one with --table, or write all to a .gpkg" in " ".join(
        answer.output.split()
    )
    assert not (tmp_path / "t.fgb").exists()
    answer = command(two, "--to", tmp_path / "t.gpkg", "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["tables"] == {
        "class_polygons": len(geopandas.read_parquet(two / "class_polygons.parquet")),
        "zones": 2,
    }
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "t.gpkg")] == ["class_polygons", "zones"]
    assert list(geopandas.read_file(tmp_path / "t.gpkg", layer="zones")["crop"]) == ["a", "b"]
    assert tw.export(two, tmp_path / "z.geojson", table="zones") == {"zones": 2}
    assert tw.export(tw.open(two), tmp_path / "z.geojson", table="zones") == {"zones": 2}, "a file there is replaced"
    assert len(json.loads((tmp_path / "z.geojson").read_text())["features"]) == 2
    with pytest.raises(ValueError, match="has no table 'zone' .did you mean 'zones'"):
        tw.export(two, tmp_path / "z.geojson", table="zone")


def test_a_product_in_a_bucket_is_exported(product, tmp_path, monkeypatch):
    with s3_server(tmp_path / "s3.log") as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="maps")
        for path in product.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "maps", f"one/{path.relative_to(product)}")
        assert command("s3://maps/one", "--to", tmp_path / "remote.fgb").exit_code == 0
        assert command(product, "--to", tmp_path / "local.fgb").exit_code == 0
        assert (tmp_path / "remote.fgb").read_bytes() == (tmp_path / "local.fgb").read_bytes()
        client.delete_object(Bucket="maps", Key="one/class_polygons.parquet")
        answer = command("s3://maps/one", "--to", tmp_path / "gone.fgb")
        assert answer.exit_code == 2
        assert "lacks class_polygons.parquet" in answer.output


def bent(folder: Path, change) -> None:
    plain = json.loads((folder / "item.json").read_text())
    change(plain["assets"])
    (folder / "item.json").write_text(json.dumps(plain))


def climbing(assets) -> None:
    assets["class_polygons"]["href"] = "../secret.parquet"


def named(assets) -> None:
    assets["../secret"] = {**assets.pop("class_polygons"), "href": "./../secret.parquet"}


def link(folder: Path) -> None:
    path = folder / "class_polygons.parquet"
    path.rename(folder.parent / "secret.parquet")
    path.symlink_to(folder.parent / "secret.parquet")


def no_table(folder: Path) -> None:
    (folder / "class_polygons.parquet").write_bytes(b"PAR1 no more PAR1")
    bent(folder, lambda assets: assets["class_polygons"].pop("file:checksum"))


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (lambda folder: bent(folder, climbing), "has no table of shapes"),
        (lambda folder: bent(folder, named), "has no table of shapes"),
        (link, "lacks class_polygons.parquet"),
        (lambda folder: (folder / "class_polygons.parquet").unlink(), "lacks class_polygons.parquet"),
        (lambda folder: (folder / "class_polygons.parquet").write_bytes(b"x"), "is not as the product's Item says"),
        (no_table, "class_polygons.parquet cannot be read as GeoParquet"),
        (lambda folder: (folder / "item.json").unlink(), "holds no finished product"),
        (lambda folder: (folder / "item.json").write_text("{"), "holds no finished product"),
        (shutil.rmtree, "holds no finished product"),
    ],
)  # fmt: skip
def test_a_product_that_is_half_or_bent_is_refused_in_one_sentence(product, tmp_path, attack, words):
    attack(product)
    (tmp_path / "t.gpkg").write_text("the old one")
    answer = command(product, "--to", tmp_path / "t.gpkg")
    assert answer.exit_code == 2, answer.output
    assert words in " ".join(answer.output.split())
    assert answer.output.startswith("tilewright: ")
    assert answer.output.count("\n") == 1
    assert (tmp_path / "t.gpkg").read_text() == "the old one"


def test_a_report_that_says_nothing_of_pixels_still_gives_tiles(product, tmp_path):
    for grid in ({}, {"resolution": -1, "crs": "EPSG:32633"}, {"resolution": 1e-300, "crs": "x"}, []):
        plain = json.loads((product / "report.json").read_text())
        (product / "report.json").write_text(json.dumps({**plain, "grid": grid}))
        assert command(product, "--to", tmp_path / "t.pmtiles").exit_code == 0
        (tmp_path / "t.pmtiles").unlink()


def test_what_is_asked_wrongly_is_refused(product, tmp_path):
    (tmp_path / "taken.csv").mkdir()
    before = content(product)
    for words, told in (
        ((product, "--to", tmp_path / "t.kml"), "names no format of a table"),
        ((product, "--to", tmp_path / "no" / "t.csv"), "is no folder"),
        ((product, "--to", tmp_path / "taken.csv"), "is there and is no file"),
        ((product, "--to", product / "class_polygons.parquet"), "lies in the product"),
        ((product, "--to", product / "x.csv"), "lies in the product"),
        ((product, "--to", tmp_path / "t.csv", "--table", "../class_polygons"), "has no table"),
        ((product, "--to", tmp_path / "t.csv", "--table", "manifest"), "has no table"),
        (("ftp://example.com/x", "--to", tmp_path / "t.csv"), "has an unknown scheme"),
    ):
        answer = command(*words)
        assert answer.exit_code == 2, answer.output
        assert told in " ".join(answer.output.split())
        assert answer.output.count("\n") == 1
    assert content(product) == before
    with pytest.raises(ValueError, match="given by its folder or URI"):
        tw.export(1, tmp_path / "t.csv")


SMALL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["tilewright", *sys.argv[2:]]
from tilewright.flows.cli.__main__ import program
program()
"""


@pytest.mark.parametrize("suffix", ["fgb", "gpkg", "geojson", "csv", "pmtiles", "parquet"])
def test_a_full_disk_leaves_the_file_that_was_there(product, tmp_path, suffix):
    target = tmp_path / f"t.{suffix}"
    assert command(product, "--to", target).exit_code == 0
    size = target.stat().st_size
    target.write_text("the old one")
    for limit in (1, size // 2, size - 1):
        words = [sys.executable, "-c", SMALL_DISK, str(limit), "export", str(product), "--to", str(target)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert ended.returncode == 1, (limit, ended.stdout, ended.stderr)
        assert ended.stderr.count("tilewright: ") == 1
        assert "Traceback" not in ended.stderr
        assert target.read_text() == "the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"product", target.name}


def test_a_gdal_without_the_driver_says_so(product, tmp_path, monkeypatch):
    monkeypatch.setattr(pyogrio, "list_drivers", lambda: {"GPKG": "rw", "PMTiles": "r"})
    with pytest.raises(VectorFileError, match="writes no PMTiles: take another format"):
        tw.export(product, tmp_path / "t.pmtiles")
