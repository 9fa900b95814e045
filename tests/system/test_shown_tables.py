"""What a product shows of its tables and how QGIS shows it: on its page, beside its files, in what the commands say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pystac
import pytest
from typer.testing import CliRunner

import tilewright as tw
from tests.support.graphs import Draft
from tests.support.halves import many_parts
from tests.support.report_pages import HOSTILE, Page, assert_loads_nothing
from tests.support.worlds import World, pixel_job, run, write_card
from tilewright.flows.cli.main import app
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.maintain.status import product_status
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.outcome import closing_lines
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.storage import open_storage

SIDE = 120
STYLES = {"class.qml", "class_polygons.qml", "confidence.qml"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    for number, band in enumerate(("red", "nir")):
        values = np.random.default_rng(number).integers(1, 6000, (SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1)
        made.add(values.astype(np.uint16), band, day="2023-06-01", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    draft = Draft()
    weights = draft.constant(np.array([[1, -1], [-1, 1]], np.float32)[:, :, None, None])
    graph = draft.model(draft.node("Conv", "x", weights, kernel_shape=[1, 1]), n_in=2, n_out=2)
    head = {"name": "y", "classes": ["low", "high"], "tw:activation": "softmax"}
    return write_card(
        tmp_path_factory.mktemp("card"), graph, inputs=[{"name": "x", "bands": ["red", "nir"]}], outputs=[head]
    )


def job_of(world, card, output, **changes):
    return pixel_job(world, card, output, rows=(4, 100), cols=(8, 112), **{"polygons": "class", **changes})


@pytest.fixture(scope="module", autouse=True)
def whole_pictures():
    """Pictures as they are made for people, also where tests of other files have small ones made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 1400)
        yield


@pytest.fixture(scope="module")
def made(world, card, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / "out"
    return run(job_of(world, card, output)), output


@pytest.fixture
def product(world, card, tmp_path):
    """A product of its own, to be changed."""
    run(job_of(world, card, tmp_path / "out"))
    return tmp_path / "out"


def shapes_on_page(output):
    found = Page((Path(output) / "report.html").read_text())
    viewer = next(text for attributes, text in found.scripts if attributes.get("type") == "application/json")
    return json.loads(viewer)["tables"], found


def test_the_page_draws_every_shape_and_lists_the_largest(made):
    outcome, output = made
    (table,), found = shapes_on_page(output)
    n_rows = outcome.report["tables"][0]["rows"]
    assert len(table["shapes"]) == n_rows > 30
    areas = [shape[2] for shape in table["shapes"]]
    assert areas == sorted(areas, reverse=True)
    # What is drawn covers the map: each pixel is 4 x 4 parts.
    assert sum(areas) == 96 * 104 * 100
    assert table["size"] == [96 * 4, 104 * 4]
    assert_loads_nothing(found)
    assert len([tag for tag, attributes in found.tags if tag == "tr" and "data-row" in attributes]) == min(n_rows, 200)


def test_every_cut_and_number_of_workers_draws_the_same(made, world, card, tmp_path):
    run(job_of(world, card, tmp_path / "cut", tile={"block": 64}), workers=4)
    assert shapes_on_page(tmp_path / "cut")[0] == shapes_on_page(made[1])[0]
    for name in STYLES:
        assert (tmp_path / "cut" / name).read_bytes() == (made[1] / name).read_bytes()


def test_a_picture_coarser_than_the_product_draws_fewer_shapes_and_says_so(world, card, tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 13)
    run(job_of(world, card, tmp_path / "out", polygons={"class": {"classes": ["high"]}}))
    (table,), found = shapes_on_page(tmp_path / "out")
    drawn = [shape for shape in table["shapes"] if shape[3]]
    assert table["size"] == [12 * 4, 13 * 4]
    assert 0 < len(drawn) < len(table["shapes"])
    assert f"{len(drawn)} of {len(table['shapes'])} are drawn" in found.text


def test_styles_are_assets_of_a_valid_item(made):
    output = made[1]
    assert {path.name for path in output.glob("*.qml")} == STYLES
    item = json.loads((output / "item.json").read_text())
    found = {asset["href"]: asset for asset in item["assets"].values() if asset.get("roles") == ["style"]}
    assert set(found) == {f"./{name}" for name in STYLES}
    assert {asset["type"] for asset in found.values()} == {"application/xml"}
    read = pystac.Item.from_dict(item)
    assert read.assets["class_style"].media_type == "application/xml"
    for name in STYLES:
        root = ET.parse(output / name).getroot()  # noqa: S314 -- our own
        assert root.tag == "qgis"
    names = [each.get("label") for each in ET.parse(output / "class.qml").iter("paletteEntry")]  # noqa: S314
    assert names == ["low", "high"]


def test_a_second_run_keeps_styles_as_a_user_changed_them_and_makes_a_removed_one_again(world, card, product):
    job = job_of(world, card, product)
    content = (product / "class.qml").read_bytes()
    (product / "confidence.qml").write_text("<qgis>mine, saved by QGIS as the default of the layer</qgis>")
    assert unfinished(open_storage(str(product))) == ()
    assert run(job).already_complete
    assert "mine" in (product / "confidence.qml").read_text()
    (product / "class.qml").unlink()
    assert unfinished(open_storage(str(product))) == ("class.qml",)
    assert not run(job).already_complete
    assert (product / "class.qml").read_bytes() == content


def older(output):
    """The product as a version wrote it that knew no styles."""
    for name in STYLES:
        (output / name).unlink()
    item = json.loads((output / "item.json").read_text())
    item["assets"] = {key: asset for key, asset in item["assets"].items() if asset.get("roles") != ["style"]}
    (output / "item.json").write_text(json.dumps(item))
    record = json.loads((output / ".tilewright/files.json").read_text())
    record["files"] = [name for name in record["files"] if name not in STYLES]
    (output / ".tilewright/files.json").write_text(json.dumps(record))


def test_a_product_of_an_older_version_stays_what_it_is(world, card, product, tmp_path):
    older(product)
    assert product_status(str(product))["state"] == "complete"
    assert run(job_of(world, card, product)).already_complete
    assert clean_output(str(product), older_than="0d", dry_run=True, say=print) == []
    assert rerun_item(str(product / "item.json"), output=str(tmp_path / "again"))["identical"] is True
    assert not list(product.glob("*.qml"))
    # One that was not finished gets them.
    (product / "item.json").unlink()
    run(job_of(world, card, product))
    assert {path.name for path in product.glob("*.qml")} == STYLES


def damaged_record(output):
    """The product without a record of what it wrote."""
    (output / ".tilewright/files.json").write_text("{")


@pytest.mark.parametrize("options", [{}, {"update": True}, {"replace": True}], ids=["resume", "update", "replace"])
@pytest.mark.parametrize("before", [older, damaged_record, lambda _: None], ids=["older", "no record", "ours before"])
def test_a_style_of_somebody_stays_and_ours_is_left_out(world, card, product, options, before):
    before(product)
    (product / "class.qml").write_text("<qgis>mine</qgis>")
    (product / "item.json").unlink()
    run_job(job_of(world, card, product), RunOptions(workers=1, **options))
    assert (product / "class.qml").read_text() == "<qgis>mine</qgis>"
    assert (product / "class_polygons.qml").exists()
    assets = json.loads((product / "item.json").read_text())["assets"]
    assert "class_style" not in assets
    assert "confidence_style" in assets
    assert unfinished(open_storage(str(product))) == ()
    assert clean_output(str(product), older_than="0d", dry_run=True, say=print) == []
    assert (product / "class.qml").read_text() == "<qgis>mine</qgis>"


def test_styles_of_layers_that_go_go_with_them(world, card, product):
    run_job(job_of(world, card, product, polygons={}), RunOptions(workers=1, update=True))
    assert {path.name for path in product.glob("*.qml")} == {"class.qml", "confidence.qml"}
    assert not (product / "class_polygons.parquet").exists()


def test_a_layer_in_several_files_has_one_style_beside_its_vrt(world, card, tmp_path):
    with many_parts():
        run(job_of(world, card, tmp_path / "out"))
    assert (tmp_path / "out/class.vrt").exists()
    assert {path.name for path in (tmp_path / "out").glob("*.qml")} == STYLES


def test_commands_name_tables_with_their_rows(made, world, card):
    outcome, output = made
    n_rows = outcome.report["tables"][0]["rows"]
    assert f"  table    {output}/class_polygons.parquet, {n_rows} rows" in closing_lines(outcome)
    again = run(job_of(world, card, output))
    assert again.already_complete
    assert f"  table    {output}/class_polygons.parquet, {n_rows} rows" in closing_lines(again)
    assert [table["rows"] for table in product_status(str(output))["tables"]] == [n_rows]
    said = CliRunner().invoke(app, ["status", str(output)]).output
    assert f"table class_polygons.parquet: {n_rows} rows" in " ".join(said.split())


def test_a_plan_says_that_it_does_not_know_the_rows(world, card, tmp_path):
    job = job_of(world, card, tmp_path / "out")
    known = job_card(job)
    lines = dict(estimate(plan_job(job, known), known).lines(plan_job(job, known)))
    assert lines["tables"].startswith("class_polygons.parquet; its rows, and so its bytes, are known once")
    without = plan_job(job_of(world, card, tmp_path / "out", polygons={}), known)
    assert "tables" not in dict(estimate(without, known).lines(without))


def test_a_notebook_shows_layers_and_tables_as_text(made, product):
    n_rows = made[0].report["tables"][0]["rows"]
    assert re.search(rf"<td[^>]*>class_polygons</td><td[^>]*>{n_rows} rows</td>", tw.open(made[1])._repr_html_())
    report = json.loads((product / "report.json").read_text())
    report["tables"][0]["name"] = HOSTILE
    report["layers"][0]["unit"] = 7
    (product / "report.json").write_text(json.dumps(report))
    shown = tw.open(product)._repr_html_()
    assert not re.search(r"<script|<img (?!src=.data:image/webp;base64,)", shown)
    (product / "report.json").write_text("{}")
    assert "<table" in tw.open(product)._repr_html_()


def test_the_bytes_of_tables_teach_nothing_about_other_products(world, card, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("tilewright.flows.estimate.measured.keep_run", lambda _plan, record, **_: kept.append(record))
    run(job_of(world, card, tmp_path / "with"))
    pages = sum(
        path.stat().st_size
        for path in (tmp_path / "with").iterdir()
        if path.is_file() and path.suffix != ".tif" and path.name != "class_polygons.parquet"
    )
    assert kept[0].pages == pytest.approx(pages, abs=1000)
    assert (tmp_path / "with/class_polygons.parquet").stat().st_size > 2000
