"""`tilewright zones` over a real product: published into it, beside it, in a bucket, cut off at any step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import boto3
import geopandas
import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from typer.testing import CliRunner

import tilewright as tw
from tests.support.chaos.places import s3_server
from tests.support.layers import write_layers
from tests.support.output_places import KEYS
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.flows.ask import added_files, added_table
from tilewright.flows.cli.main import app
from tilewright.flows.run.predict import run_job
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


def command(*words: object):
    return CliRunner().invoke(app, [*map(str, words)])


def sums(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in but
    }


LOCK = ("lock.json", "generation.json")
"""What a second owner of a product writes though it changes nothing."""


@pytest.fixture
def product(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "product"))


@pytest.fixture
def zones(product, tmp_path) -> Path:
    west, south, east, north = json.loads((product / "report.json").read_text())["grid"]["bounds"]
    crs = json.loads((product / "item.json").read_text())["properties"]["proj:code"]
    rng = np.random.default_rng(2)
    shapes = [shapely.Point(rng.uniform(west, east), rng.uniform(south, north)).buffer(r) for r in (3, 90, 400, 900)]
    path = tmp_path / "parcels.gpkg"
    geopandas.GeoDataFrame({"crop": list("abcd")}, geometry=shapes, crs=crs).to_file(path)
    return path


def test_without_a_place_the_table_is_published_with_the_product(product, zones):
    before = sums(product, but=LOCK)
    answer = command("zones", product, zones)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == f"4 zones in {product}/zones.parquet"
    table = geopandas.read_parquet(product / "zones.parquet")
    told = exact_extract(str(product / "class.tif"), table, ["count", "frac", "unique"], output="pandas")
    for value, name in enumerate(("land", "water")):
        wanted = [dict(zip(u, f, strict=True)).get(value, 0) for u, f in zip(told["unique"], told["frac"], strict=True)]
        np.testing.assert_allclose(table[f"class_{name}"].fillna(0), wanted, atol=1e-6)
    item = json.loads((product / "item.json").read_text())
    validate_item(item)
    validate_collection(json.loads((product / "collection.json").read_text()))
    content = (product / "zones.parquet").read_bytes()
    assert item["assets"]["zones"] == {
        "href": "./zones.parquet",
        "type": "application/vnd.apache.parquet",
        "title": "4 rows",
        "roles": ["data"],
        "file:size": len(content),
        "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
    }
    opened = tw.open(product)
    assert [(each["name"], each["rows"]) for each in opened.report["tables"]] == [("zones", 4)]
    assert opened.tables["zones"].column("crop").to_pylist() == list("abcd")
    assert "zones" in opened.tables["items"].column("assets").to_pylist()[0]
    changed = {name for name, digest in sums(product, but=LOCK).items() if before.get(name) != digest}
    named = {"zones.parquet", "report.json", "item.json", "items.parquet", "collection.json", ".tilewright/files.json"}
    assert changed == {*named, "zones.qml", "report.html"}
    assert item["assets"]["zones_style"]["href"] == "./zones.qml"
    style = ET.fromstring((product / "zones.qml").read_bytes())  # noqa: S314 -- our own
    assert style.find("renderer-v2").get("attr") == "class_land"
    page = (product / "report.html").read_bytes()
    assert item["assets"]["report"]["file:size"] == len(page)
    assert item["assets"]["report"]["file:checksum"] == "1220" + hashlib.sha256(page).hexdigest()
    (drawn,) = json.loads(page.decode().partition('id="viewer">')[2].partition("</script>")[0])["tables"]
    assert (drawn["title"], len(drawn["shapes"])) == ("zones", 4)
    assert "zones.parquet" in page.decode()
    assert unfinished(open_storage(str(product))) == ()
    assert "Nothing to clean" in command("clean", product).output
    again = sums(product, but=LOCK)
    assert command("zones", product, zones).exit_code == 0
    assert sums(product, but=LOCK) == again, "the same table is left"
    assert command("zones", product, zones, "--layers", "class").exit_code == 0
    assert len(tw.open(product).report["tables"]) == 1
    assert "confidence_mean" not in tw.open(product).tables["zones"].column_names


def test_a_narrow_terminal_shows_what_was_measured_before_the_files_other_columns(product, tmp_path, monkeypatch):
    west, south, east, north = json.loads((product / "report.json").read_text())["grid"]["bounds"]
    crs = json.loads((product / "item.json").read_text())["properties"]["proj:code"]
    own = {"parcel": ["p1"], **{f"own_{number}": ["something of the owner's"] for number in range(9)}}
    shape = shapely.Point((west + east) / 2, (south + north) / 2).buffer(200)
    path = tmp_path / "parcels.gpkg"
    geopandas.GeoDataFrame(own, geometry=[shape], crs=crs).to_file(path)
    monkeypatch.setenv("COLUMNS", "80")
    answer = command("zones", product, path, "--to", tmp_path / "z.csv")
    assert answer.exit_code == 0, answer.output
    heads = answer.stdout.splitlines()[0].split()
    assert heads[:4] == ["id", "parcel", "observed", "class_land"]
    assert "columns more" in answer.stdout
    columns = (tmp_path / "z.csv").read_text(encoding="utf-8-sig").splitlines()[0].replace('"', "").split(",")
    assert columns[:3] == ["id", "parcel", "own_0"], "the file's order is as it was"


def test_a_run_leaves_the_table_and_a_replaced_product_has_none(job, product, zones):
    from tests.support.products import read

    assert command("zones", product, zones).exit_code == 0
    kept = sums(product)
    run_job(read(job, product))
    assert sums(product, but=LOCK) == {name: each for name, each in kept.items() if Path(name).name not in LOCK}
    from tilewright.flows.runners.run_options import RunOptions

    run_job(read(job, product), RunOptions(replace=True))
    assert not (product / "zones.parquet").exists(), "it would tell of pixels that are gone"
    assert "zones" not in json.loads((product / "item.json").read_text())["assets"]


def test_a_place_elsewhere_leaves_the_product_untouched(product, zones, tmp_path):
    before = sums(product)
    for suffix in ("parquet", "geojson", "fgb", "csv"):
        answer = command("zones", product, zones, "--to", tmp_path / f"out.{suffix}", "--json")
        assert answer.exit_code == 0, answer.output
        assert [row["crop"] for row in json.loads(answer.stdout)["rows"]] == list("abcd")
    assert sums(product) == before
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    table = tw.zones(product, zones)
    assert sums(product) == before
    assert table.equals(__import__("pyarrow.parquet").parquet.read_table(tmp_path / "out.parquet"))


def test_zones_are_drawn_beside_the_shapes_of_other_tables(job, zones, tmp_path):
    from tests.support.products import read

    plain = tmp_path / "plain"
    run_job(read(job, plain, polygons="class"))
    before = (plain / "report.html").read_text()
    assert command("zones", plain, zones).exit_code == 0
    page = (plain / "report.html").read_text()
    tables = json.loads(page.partition('id="viewer">')[2].partition("</script>")[0])["tables"]
    assert [each["title"] for each in tables] == ["class polygons", "zones"]
    assert tables[0] == json.loads(before.partition('id="viewer">')[2].partition("</script>")[0])["tables"][0]
    for name in ("<header>", 'class="base"', "</footer>"):
        assert page.count(name) == before.count(name), "the rest is as it was"
    # With other columns they take the place of those that stood there.
    assert command("zones", plain, zones, "--layers", "confidence").exit_code == 0
    again = (plain / "report.html").read_text()
    assert [
        each["title"] for each in json.loads(again.partition('id="viewer">')[2].partition("</script>")[0])["tables"]
    ]
    assert "class land" not in again
    assert unfinished(open_storage(str(plain))) == ()


def test_a_page_of_an_older_version_and_a_style_of_somebody_stay(product, zones):
    page = (product / "report.html").read_text().replace("<!--tables-rows-->", "")
    item = json.loads((product / "item.json").read_text())
    item["assets"]["report"]["file:size"] = len(page.encode())
    (product / "report.html").write_text(page)
    (product / "item.json").write_text(json.dumps(item))
    (product / "zones.qml").write_text("<qgis>mine</qgis>")
    answer = command("zones", product, zones)
    assert answer.exit_code == 0, answer.output
    assert "report.html does not draw zones.parquet: an older version wrote that page." in answer.output
    assert (product / "report.html").read_text() == page
    assert (product / "zones.qml").read_text() == "<qgis>mine</qgis>"
    assert "zones_style" not in json.loads((product / "item.json").read_text())["assets"]
    assert unfinished(open_storage(str(product))) == ()


def test_files_of_others_are_not_written_over(product, zones):
    (product / "zones.parquet").write_bytes(zones.read_bytes())
    before = sums(product)
    answer = command("zones", product, zones)
    assert answer.exit_code == 2
    assert "holds zones.parquet, which it did not write" in answer.output
    assert sums(product) == before


STEPS = (
    "write_product_record",
    "uploaded_table",
    "_write_report",
    "table_with",
    "collection_with",
    "check_written",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("standing", [False, True])
def test_a_product_is_finished_wherever_adding_is_cut_off(product, zones, monkeypatch, step, standing):
    if standing:
        assert command("zones", product, zones, "--layers", "confidence").exit_code == 0

    def fail(*_: object, **__: object) -> None:
        raise StorageError(f"Cannot go on with {step}.")

    with monkeypatch.context() as patch:
        patch.setattr(added_table if hasattr(added_table, step) else added_files, step, fail)
        answer = command("zones", product, zones)
    assert answer.exit_code == 1
    assert answer.output.count("tilewright:") == 1
    assert unfinished(open_storage(str(product))) == ()
    assert command("zones", product, zones).exit_code == 0
    assert tw.open(product).tables["zones"].num_rows == 4
    assert "class_water" in tw.open(product).tables["zones"].column_names
    assert unfinished(open_storage(str(product))) == ()


def test_a_product_in_a_bucket_is_measured_and_published(product, zones, tmp_path, monkeypatch):
    with s3_server(tmp_path / "s3.log") as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="maps")
        for path in product.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "maps", f"one/{path.relative_to(product)}")
        answer = command("zones", "s3://maps/one", zones, "--to", tmp_path / "out.parquet")
        assert answer.exit_code == 0, answer.output
        assert command("zones", "s3://maps/one", zones).exit_code == 0
        found = tw.open("s3://maps/one").tables["zones"]
        local = tw.zones(product, zones)
        assert found.equals(local)


def test_ctrl_c_ends_it_in_one_sentence_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(1).normal(size=(3000, 3000)).astype(np.float32)
    folder = write_layers(tmp_path / "large", {"height": noise})
    shapes = [shapely.Point(415_000, 5_385_000).buffer(14_900 - n) for n in range(20)]
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_parquet(tmp_path / "zones.parquet")
    words = [sys.executable, "-m", "tilewright.flows.cli", "zones", str(folder), str(tmp_path / "zones.parquet")]
    with subprocess.Popen(
        [*words, "--to", str(tmp_path / "out.csv")], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as run:
        assert run.stderr is not None
        assert "Measuring zones" in run.stderr.readline()
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        said = run.stderr.read()
        assert run.wait(20) == 130, said
    assert time.monotonic() - began < 10
    assert said == "tilewright: Interrupted.\n"
    assert {path.name for path in tmp_path.iterdir()} == {"large", "zones.parquet"}
