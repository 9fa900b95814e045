"""Documents of a product that are damaged, empty, odd or replaced: mended or refused, and never a dead end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import tilewright as tw
from tests.support.halves import copied, differing, is_finished, listing, make
from tests.support.products import read
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.push import push_product
from tilewright.flows.maintain.status import product_status
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import freeze_plan
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("parts")


DAMAGES = {
    "empty": lambda _content: b"",
    "cut off": lambda content: content[: len(content) * 2 // 3],
    "garbage": lambda _content: bytes(range(256)) * 3,
    "a list": lambda _content: b"[1, null]",
    "an empty object": lambda _content: b"{}",
    "of another version": lambda _content: (
        b'{"format": 99, "type": "Feature", "version": "9.9", "layers": {}, "links": 3}'
    ),
    "deep": lambda _content: b"[" * 5000,
    "null": lambda _content: b"null",
}

DOCUMENTS = (
    ".tilewright/plan.json",
    ".tilewright/files.json",
    ".tilewright/ledger/{first}",
    ".tilewright/failures.ndjson",
    ".tilewright/pyramid/class.json",
    ".tilewright/cogs/class_r00c00.tif.json",
    ".tilewright/watch.json",
    "progress.json",
    "item.json",
    "item_r00c00.json",
    "collection.json",
    "items.parquet",
    "manifest.parquet",
    "report.json",
    "data.zarr/zarr.json",
    "data.zarr/class/zarr.json",
    "data.zarr/overviews/2/class/zarr.json",
    "data.zarr/overviews/2/y_2/c/0",
)
"""Every kind of document that a product has, published and not."""

UNREAD = (
    *(f".tilewright/{name}" for name in ("ledger", "pyramid", "cogs", "files", "failures")),
    "progress",
    "data.zarr/",
)
"""Documents of a finished product at which a call that finds it finished does not look."""


def damaged_path(output, name):
    first = min(path.name for path in (output / ".tilewright/ledger").iterdir())
    path = output / name.format(first=first)
    path.parent.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_damaged_document_is_a_dead_end(name, jobs, product, tmp_path):
    """Three damages of each, in turn: after each the next run ends with the same product."""
    first = DOCUMENTS.index(name)
    for number, words in enumerate(list(DAMAGES)[first % 3 :: 3]):
        damaged_and_run(name, words, jobs, copied(product, tmp_path / words), product, published=number % 2 == 0)


@pytest.mark.skipif("TILEWRIGHT_EVERY" not in os.environ, reason="300 runs: minutes; with TILEWRIGHT_EVERY=1")
@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("words", DAMAGES)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_with_any_damage_is_a_dead_end(  # noqa: PLR0917 -- fixtures
    name, words, published, jobs, product, tmp_path
):
    damaged_and_run(name, words, jobs, copied(product, tmp_path / "out"), product, published=published)


def damaged_and_run(name, words, jobs, output, product, *, published):
    if not published:
        (output / "item.json").unlink(missing_ok=True)
    path = damaged_path(output, name)
    path.write_bytes(DAMAGES[words](path.read_bytes() if path.exists() else b"{}" * 9))
    ask_all(output)
    make(jobs[0], output)
    (output / ".tilewright/watch.json").unlink(missing_ok=True)
    if published and name.startswith(UNREAD):
        # A finished product is not made again for what no reader of it reads; the next update looks there.
        (output / "item.json").unlink(missing_ok=True)
        make(jobs[0], output)
    assert differing(output, product) == [], words
    assert is_finished(output), words


def ask_all(output):
    """What a person may ask of a damaged output has an answer, or a refusal in a sentence."""
    for ask in (product_status, clean_output, tw.open, lambda place: push_product(place, "http://127.0.0.1:9/none")):
        try:
            ask(str(output))
        except (StoreError, StorageError) as error:
            said = str(error)
        else:
            said = ""
        assert "\n" not in said


@pytest.mark.parametrize("damage", ["empty", "cut off", "of another version", "of another plan"])
def test_damaged_secrets_are_refused_with_a_way_out_that_works(damage, jobs, tmp_path):
    plain = json.loads(jobs[0].read_text())
    for entry in plain["source"]["files"]:
        entry["href"] += "?token=hidden"
    output = tmp_path / "out"
    storage = open_storage(str(output), create=True)
    plan = plan_job(read(jobs[0], output)).to_json()
    first = plan["inputs"][0]["scenes"][0]["assets"][0]
    first["href"] = "https://example.com/a.tif?token=hidden"
    assert freeze_plan(storage, plan)
    path = output / ".tilewright/secrets.json"
    other = json.dumps([[path, value.replace("/a.tif", "/b.tif")] for path, value in json.loads(path.read_text())])
    path.write_bytes({**DAMAGES, "of another plan": lambda _content: other.encode()}[damage](path.read_bytes()))
    with pytest.raises(StoreError, match=r"not there or not of this plan: restore it, or .* --update or --replace"):
        make(jobs[0], output)
    make(jobs[0], output, update=True)
    assert is_finished(output)


def test_a_damaged_plan_over_blocks_of_another_job_is_refused_and_replaced(jobs, blocks_done, product, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    (output / ".tilewright/plan.json").write_text("{")
    for options in ({}, {"update": True}):
        with pytest.raises(StoreError, match="is damaged, and none of its 9 finished blocks .*--replace"):
            run_job(read(jobs[0], output, layers=["class"]), RunOptions(workers=1, **options))
    make(jobs[0], output, replace=True)
    assert differing(output, product) == []


def test_a_damaged_plan_keeps_the_blocks_that_its_keys_prove(jobs, blocks_done, product, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    (output / ".tilewright/plan.json").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in (output / ".tilewright/ledger").iterdir()}
    make(jobs[0], output)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert differing(output, product) == []


# --- what others put beside a product and into it --------------------------------------------------------------------


def an_item(output, product, **changes):
    item = {**json.loads((product / "item_r00c00.json").read_text()), "id": "theirs", **changes}
    (output / "theirs.json").write_text(json.dumps(item))


NEIGHBOURS = {
    "a folder": lambda output, _product: (output / "a.json").mkdir(),
    "a link to nothing": lambda output, _product: (output / "a.json").symlink_to("/nothing/there"),
    "a link to itself": lambda output, _product: (output / "a.json").symlink_to("a.json"),
    "a pipe": lambda output, _product: os.mkfifo(output / "a.json"),
    "a name of no letters": lambda output, _product: Path(os.fsdecode(bytes(output) + b"/a\xff.json")).write_text("{}"),
    "a name of two lines": lambda output, _product: (output / "a\nb.json").write_text("{}"),
    "a name of marks": lambda output, _product: (output / "a%2f*?<#1.json").write_text("{}"),
    "an Item of no place": lambda output, product: an_item(output, product, geometry={"type": "Nowhere"}),
    "an Item of odd types": lambda output, product: an_item(
        output, product, bbox=["a", 1], links=[5], stac_extensions=7
    ),
    "an Item of an odd asset": lambda output, product: an_item(output, product, assets={"a": {"href": "", "roles": 5}}),
    "a whole Item": an_item,
}


@pytest.mark.parametrize("words", NEIGHBOURS)
def test_whatever_lies_beside_a_product_keeps_it_from_nothing(words, jobs, blocks_done, product, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    NEIGHBOURS[words](output, product)
    make(jobs[0], output)
    hrefs, ids = listing(output)
    assert ("./theirs.json" in hrefs) == ("theirs" in ids) == (words == "a whole Item")
    assert json.loads((output / "item.json").read_text())["id"] in ids
    assert is_finished(output)
    for path in output.glob("*.json"):
        if path.name not in {entry.name for entry in product.iterdir()}:
            path.rmdir() if path.is_dir() else path.unlink()
    if words != "a whole Item":
        assert differing(output, product) == []


ODD_ENTRIES = (
    {"inputs": [1]},
    {"inputs": {"a": []}},
    {"inputs": "abc"},
    {"checksums": None},
    {"checksums": {"class": 5}},
    {"seconds": None},
    {"seconds": {"read": float("nan")}},
    {"seams": "abc"},
    {"observed": {"x": [[-1, 10**20]]}},
    {"valid_pixels": 10**40},
    {"windows_run": -1},
    {"failures": [{"item": 1, "band": 2, "block": 3, "reason": None}]},
    {"row": None},
)


@pytest.mark.parametrize("odd", ODD_ENTRIES, ids=str)
def test_a_ledger_entry_with_any_odd_value_is_none_and_its_block_is_done_again(
    odd, jobs, blocks_done, product, tmp_path
):
    output = copied(blocks_done, tmp_path / "out")
    path = min((output / ".tilewright/ledger").iterdir())
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    make(jobs[0], output)
    assert differing(output, product) == []


@pytest.mark.parametrize("options", [{"update": True}, {"replace": True}], ids=["update", "replace"])
@pytest.mark.parametrize(
    "folder",
    ["data.zarr", "data.zarr/class", "data.zarr/overviews", ".tilewright/ledger", ".tilewright/blocks.zarr"],
)
def test_a_product_part_of_which_was_given_room_elsewhere_is_made_there_or_anew(  # noqa: PLR0917 -- fixtures
    folder, options, jobs, product, changed, tmp_path
):
    output = copied(product, tmp_path / "out")
    (output / folder).mkdir(exist_ok=True)
    shutil.move(output / folder, tmp_path / "elsewhere")
    (output / folder).symlink_to(tmp_path / "elsewhere")
    make(jobs[1], output, **options)
    assert is_finished(output)
    assert differing(Path(shutil.copytree(output, tmp_path / "whole")), changed) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plan.json", r"plan\.json in .* is not a file"),
        ("lock.json", r"Cannot read \.tilewright/lock\.json in .* directory"),
    ],
)
def test_a_folder_in_place_of_a_document_is_refused_in_words(name, words, jobs, blocks_done, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    (output / ".tilewright" / name).unlink()
    (output / ".tilewright" / name).mkdir()
    with pytest.raises(StorageError, match=words):
        make(jobs[0], output)
