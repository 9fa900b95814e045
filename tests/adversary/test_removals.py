"""Whose files are removed: what a product wrote, and nothing that lies beside or within it."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.halves import copied, differing, is_finished, make
from tests.support.products import read
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("parts")


THEIRS = (
    "class_r0c0_mine.tif",
    "class_mine.tif",
    "class.tif.bak",
    "item_r1c1.json",
    "my.parquet",
    "roads.vrt",
    "mine.tif.aux.xml",
    "notes#123",
    "class.tif#old",
    "sub/class.tif",
    "sub/item.json",
    "class/readme.txt",
    "data.zarr/notes.txt",
    "data.zarr/mine/zarr.json",
    "data.zarr/class/notes.txt",
    "data.zarr.bak/class/c/0/0",
    ".tilewright/notes.txt",
    ".tilewright/ledger/mine.json",
    ".tilewright/cogs/roads.tif.json",
    "with\nnewline.tif",
)
"""Files of somebody in an output, whatever they are called."""


def with_theirs(output, elsewhere):
    """Somebody's files and links in an output; returns them with their content."""
    for name in THEIRS:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(b"{}" if name.endswith("zarr.json") else name.encode())
    elsewhere.mkdir()
    (elsewhere / "class.tif").write_bytes(b"elsewhere")
    (elsewhere / "sub").mkdir()
    (elsewhere / "sub" / "0_0.json").write_bytes(b"elsewhere")
    (output / "link.tif").symlink_to(elsewhere / "class.tif")
    (output / "folder").symlink_to(elsewhere)
    (output / "nowhere").symlink_to(elsewhere / "nothing")
    (output / "round").symlink_to(output)


def assert_theirs(output, elsewhere):
    assert [name for name in THEIRS if not (output / name).is_file()] == []
    assert [name for name in ("link.tif", "folder", "nowhere", "round") if not (output / name).is_symlink()] == []
    assert (elsewhere / "class.tif").read_bytes() == b"elsewhere"
    assert (elsewhere / "sub" / "0_0.json").read_bytes() == b"elsewhere"


def without_record(output):
    (output / ".tilewright/files.json").unlink()


def without_record_and_plan(output):
    (output / ".tilewright/files.json").write_text("[]")
    (output / ".tilewright/plan.json").write_text("")


def linked_layer(output):
    """A layer's file replaced by a link to one elsewhere."""
    (output / "class_r00c00.tif").unlink()
    (output / "class_r00c00.tif").symlink_to(output.parent / "elsewhere" / "class.tif")


def linked_store(output):
    """The store moved elsewhere, with a link in its place."""
    shutil.move(output / "data.zarr", output.parent / "elsewhere" / "data.zarr")
    (output / "data.zarr").symlink_to(output.parent / "elsewhere" / "data.zarr")


@pytest.mark.parametrize(
    ("options", "before"),
    [
        ({"replace": True}, lambda _output: None),
        ({"replace": True}, without_record),
        ({"replace": True}, without_record_and_plan),
        ({"replace": True}, linked_layer),
        ({"update": True}, lambda _output: None),
        ({"update": True}, without_record),
        ({"update": True}, linked_layer),
    ],
)
def test_only_what_the_product_wrote_is_removed(options, before, jobs, product, tmp_path):
    output, elsewhere = copied(product, tmp_path / "out"), tmp_path / "elsewhere"
    with_theirs(output, elsewhere)
    before(output)
    run_job(read(jobs[0], output, layers=["class"]), RunOptions(workers=1, **options))
    clean_output(str(output))
    assert_theirs(output, elsewhere)
    ours = [path.name for path in output.rglob("*") if "confidence" in path.name and not path.is_symlink()]
    assert ours == []
    assert is_finished(output)


def test_a_store_that_is_a_link_is_not_followed_when_it_is_replaced(jobs, product, tmp_path):
    output, elsewhere = copied(product, tmp_path / "out"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked_store(output)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    make(jobs[0], output, replace=True)
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    assert differing(output, product) == []


@pytest.mark.parametrize("name", ["confidence.vrt", "confidence_r00c00.tif", "confidence_r01c01.tif.aux.xml"])
def test_a_file_of_somebody_is_not_written_over(name, jobs, product, tmp_path):
    output = tmp_path / "out"
    run_job(read(jobs[0], output, layers=["class"]), RunOptions(workers=1))
    (output / name).write_bytes(b"mine")
    for options in ({"update": True}, {"replace": True}):
        with pytest.raises(StoreError, match=f"holds {name}, which this product did not write"):
            make(jobs[0], output, **options)
        assert (output / name).read_bytes() == b"mine"
        assert is_finished(output)


def test_a_record_that_names_what_lies_elsewhere_removes_nothing_there(jobs, product, tmp_path):
    output = copied(product, tmp_path / "out")
    (tmp_path / "precious.tif").write_bytes(b"mine")
    record = json.loads((output / ".tilewright/files.json").read_text())
    record["files"] += ["../precious.tif", "..", "", ".", "sub/../../precious.tif", str(tmp_path / "precious.tif")]
    (output / ".tilewright/files.json").write_text(json.dumps(record))
    make(jobs[0], output, replace=True)
    assert (tmp_path / "precious.tif").read_bytes() == b"mine"
    assert differing(output, product) == []


def test_clean_removes_unfinished_files_of_the_product_and_no_others(product, tmp_path):
    output = copied(product, tmp_path / "out")
    ours = ["class.vrt#1", "data.zarr/class/c/0/0#7", ".tilewright/ledger/1_2.json#3", ".tilewright/.secrets.json.77"]
    theirs = ["notes#123", "mine.tif#4", "data.zarr/mine/c/0/0#7", "sub/class.tif#1", ".tilewright/mine#1"]
    for name in (*ours, *theirs):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("half")
    assert [key for key in clean_output(str(output)) if key != ".tilewright/.taking"] == sorted(ours)
    assert [name for name in theirs if not (output / name).exists()] == []


@pytest.mark.parametrize("name", [".tilewright/blocks.zarr", ".tilewright/staging", ".tilewright"])
def test_clean_follows_no_link(name, product, tmp_path):
    output, theirs = copied(product, tmp_path / "out"), tmp_path / "theirs"
    (theirs / "deep" / "empty").mkdir(parents=True)
    for file in ("a.tif", "deep/b.tif", "blocks.zarr"):
        (theirs / file).write_text("mine")
    shutil.rmtree(output / name, ignore_errors=True)
    (output / name).symlink_to(theirs)
    if name == ".tilewright":
        with pytest.raises(StoreError, match="is a link"):
            clean_output(str(output))
    else:
        clean_output(str(output))
    kept = sorted(str(path.relative_to(theirs)) for path in theirs.rglob("*"))
    assert kept == ["a.tif", "blocks.zarr", "deep", "deep/b.tif", "deep/empty"]
