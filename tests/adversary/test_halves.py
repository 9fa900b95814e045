"""Nothing half: whatever was cut off, damaged or removed is found, mended or refused, and never taken for a product."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import tilewright as tw
from tests.support.halves import (
    Killed,
    Writes,
    copied,
    counted,
    differing,
    listed_with,
    listing,
    make,
    many_parts,
    write_jobs,
)
from tests.support.products import read
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.push import push_product
from tilewright.flows.maintain.status import product_status
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.run.prepare import clear_output
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.publish.verify import check_published
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import freeze_plan, replace_frozen
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import ChangedStoreError

pytestmark = pytest.mark.usefixtures("parts")


@pytest.fixture(scope="module")
def parts():
    with many_parts():
        yield


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return write_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def product(parts, jobs, tmp_path_factory):
    """The product of the first job; copy it to change it."""
    return Path(make(jobs[0], tmp_path_factory.mktemp("product") / "out").output)


@pytest.fixture(scope="module")
def changed(parts, jobs, tmp_path_factory):
    """The product of the job with another scene."""
    return Path(make(jobs[1], tmp_path_factory.mktemp("changed") / "out").output)


def is_finished(output):
    """Whether a product counts as a finished one: for all who ask the same."""
    asks = (
        lambda: product_status(str(output))["state"] == "complete",
        lambda: push_product(str(output), "http://127.0.0.1:9/none"),
    )
    answers = set()
    for ask in asks:
        try:
            answers.add(ask())
        except StoreError as error:
            answers.add("path of this machine" in str(error))
    assert len(answers) == 1, answers
    return answers.pop()


# --- an update or a replacement that is cut off ----------------------------------------------------------------------


def is_opened(output):
    """Whether somebody who knows its place gets the product, listed or not."""
    try:
        return tw.open(str(output)) is not None
    except StoreError:
        return False


def cleared(output, plan, *, replace, **when):
    """The writes of an output that is cleared for a plan, ended at one of them."""
    with counted(Writes(**when)) as writes:
        try:
            clear_output(open_storage(str(output)), plan, replace=replace, renew=not replace)
        except Killed:
            assert writes.dead
    return writes.keys


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_product_is_in_no_list_before_anything_of_it_changes(  # noqa: PLR0917 -- fixtures
    jobs, product, changed, tmp_path, replace, after
):
    """Ended at every write in turn: from the first on it is unfinished, and who lists others goes on listing them."""
    plan = plan_job(read(jobs[1], tmp_path))
    listed = copied(product, tmp_path / "listed")
    listed_with(listed)
    old = {path: path.read_bytes() for path in listed.rglob("*") if path.is_file() and is_pixels(path)}
    whole = cleared(copied(listed, tmp_path / "all"), plan, replace=replace)
    first_of_pixels = next((n for n, key in enumerate(whole) if is_pixels(Path(key))), len(whole))
    moments = [at for at in range(1, len(whole) + 1) if at < 16 or at % 40 == 0 or len(whole) - at < 4]
    for at in moments:
        output = copied(listed, tmp_path / f"at{at}")
        cleared(output, plan, replace=replace, at=at, after=after)
        hrefs, ids = listing(output)
        assert "./theirs.json" in hrefs
        assert "theirs" in ids
        done = at if after else at - 1
        gone = not (output / "item.json").exists()
        assert gone == ("-item.json" in whole[:done]), whole[:done]
        begun = {"collection.json", "-collection.json", "items.parquet", "-items.parquet"} & {*whole[:done]}
        assert is_finished(output) == (not gone and not begun)
        assert is_opened(output) == (not gone)
        if gone or done > first_of_pixels:
            assert hrefs == {"./theirs.json"}
            assert ids == {"theirs"}
        if {path: (output / path.relative_to(listed)).exists() for path in old} != dict.fromkeys(old, True):
            assert gone
            assert list(output.glob("item_r*.json")) == []
        if at in moments[3::5] or at == len(whole):
            job, options, expected = next_run(
                jobs, replace=replace, at=at, whole=whole[:done], product=product, changed=changed
            )
            make(job, output, **options)
            (output / "theirs.json").unlink()
            assert ours_only(output) == []
            assert [
                name for name in differing(output, expected) if name not in {"collection.json", "items.parquet"}
            ] == []
            assert is_finished(output)
        shutil.rmtree(output)


def is_pixels(path):
    return path.suffix == ".tif" or "data.zarr" in path.parts


def next_run(jobs, *, replace, at, whole, product, changed):
    """The run after one that ended: the same again, or a plain one of the job whose plan is frozen there."""
    if replace:
        return jobs[1], {"replace": True}, changed
    if ".tilewright/plan.json" in whole and at % 2:
        return jobs[1], {}, changed
    if ".tilewright/plan.json" not in whole and at % 2:
        return jobs[0], {}, product
    return jobs[1], {"update": True}, changed


def ours_only(output):
    """What the Collection and the table list beside the product's own Items and theirs."""
    hrefs, ids = listing(output)
    own = {f"./{path.name}" for path in output.glob("item*.json")}
    assert {"./theirs.json", *own} == hrefs
    return sorted(
        ids - {"theirs", "small", *(f"small_{path.stem.removeprefix('item_')}" for path in output.glob("item_*.json"))}
    )


def test_a_plan_that_was_replaced_without_the_rest_is_gone_on_with(jobs, product, changed, tmp_path):
    output = copied(product, tmp_path / "out")
    (output / "item.json").unlink()
    replace_frozen(open_storage(str(output)), plan_job(read(jobs[1], output)).to_json())
    make(jobs[1], output)
    assert differing(output, changed) == []


# --- a publication that is cut off ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks_done(parts, jobs, tmp_path_factory):
    """The output of a run that ended after its last block."""
    output = tmp_path_factory.mktemp("blocks") / "out"

    def end(event):
        if getattr(event, "name", "") == "cogs":
            raise Killed

    with pytest.raises(Killed):
        run_job(read(jobs[0], output), RunOptions(workers=1), listener=end)
    return output


def finishing(jobs, output, **when):
    """The writes of a run that has all blocks, ended at one of them."""
    with counted(Writes(only=lambda key: "progress" not in key and "lock" not in key, **when)) as writes:
        try:
            make(jobs[0], output)
        except Killed:
            assert writes.dead
    return writes.keys


def every_write(jobs, blocks_done, product, tmp_path, *, step):
    whole = finishing(jobs, copied(blocks_done, tmp_path / "all"))
    *_, item, table, collection = [key for key in whole if key.endswith((".tif", ".json", ".parquet"))]
    assert (item, table, collection) == ("item.json", "items.parquet", "collection.json"), "listed when it is there"
    last = len(whole) + 1
    for at in sorted({*range(1, last, step), *range(last - 8, last)}):
        output = copied(blocks_done, tmp_path / f"at{at}")
        finishing(jobs, output, at=at, after=bool(at % 2))
        published = "collection.json" in whole[: at if at % 2 else at - 1]
        assert is_finished(output) == published, whole[at - 1]
        assert is_opened(output) == ("item.json" in whole[: at if at % 2 else at - 1])
        make(jobs[0], output)
        clean_output(str(output))
        assert differing(output, product) == [], whole[at - 1]
        shutil.rmtree(output)


def test_a_publication_that_is_cut_off_is_gone_on_with_and_never_seen(jobs, blocks_done, product, tmp_path):
    every_write(jobs, blocks_done, product, tmp_path, step=7)


@pytest.mark.skipif(
    "TILEWRIGHT_EVERY" not in os.environ,
    reason="a run ended at each of its writes, and gone on with: a minute; with TILEWRIGHT_EVERY=1",
)
def test_a_publication_that_is_cut_off_at_any_write_is_gone_on_with(jobs, blocks_done, product, tmp_path):
    every_write(jobs, blocks_done, product, tmp_path, step=1)


# --- what is removed or changed before it is published ---------------------------------------------------------------


def gone(path):
    path.unlink()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path):
    path.write_bytes(b"")


def another(path):
    """Bytes of the same length, as of another writer."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(bytes(content))


def swapped(path):
    """A whole block, but not this one's."""
    other = next(each for each in sorted(path.parent.parent.rglob("*")) if each.is_file() and each != path)
    path.write_bytes(other.read_bytes())


BLOCKS_OF, STORE_OF = ".tilewright/blocks.zarr", "data.zarr"

REMOVALS = {
    "a block that waits": ("cogs", f"{BLOCKS_OF}/class/c/0/1", gone),
    "a block that waits, cut off": ("cogs", f"{BLOCKS_OF}/confidence/c/1/1", cut_off),
    "a block that waits, another's": ("cogs", f"{BLOCKS_OF}/class/c/1/1", swapped),
    "counts that wait, cut off": ("cogs", f"{BLOCKS_OF}/observations/c/0/0", cut_off),
    "the metadata of blocks": ("cogs", f"{BLOCKS_OF}/class/zarr.json", another),
    "a chunk": ("publish", f"{STORE_OF}/class/c/0/1", gone),
    "a chunk, cut off": ("publish", f"{STORE_OF}/confidence/c/1/0", cut_off),
    "a chunk, of other bytes": ("publish", f"{STORE_OF}/observations/c/0/0", another),
    "a chunk of a smaller level": ("publish", f"{STORE_OF}/overviews/2/class/c/0/0", gone),
    "a chunk of the smallest level, cut off": ("publish", f"{STORE_OF}/overviews/8/confidence/c/0/0", cut_off),
    "an axis": ("publish", f"{STORE_OF}/x/c/0", gone),
    "an axis of a smaller level": ("publish", f"{STORE_OF}/overviews/4/y_4/c/0", gone),
    "the period": ("publish", f"{STORE_OF}/time/c", emptied),
    "metadata of a layer": ("publish", f"{STORE_OF}/class/zarr.json", cut_off),
    "metadata of the store": ("publish", f"{STORE_OF}/zarr.json", gone),
    "a file": ("publish", "class_r00c00.tif", gone),
    "a file, cut off": ("publish", "confidence_r01c01.tif", cut_off),
    "a file, of other bytes": ("publish", "class_r00c01.tif", another),
    "the names of classes": ("publish", "class_r00c00.tif.aux.xml", emptied),
    "the mosaic of parts": ("publish", "class.vrt", another),
    "the report": ("check", "report.json", gone),
    "the page": ("check", "report.html", cut_off),
    "the picture": ("check", "preview.png", emptied),
    "the manifest": ("check", "manifest.parquet", gone),
    "an Item of a part": ("check", "item_r01c00.json", gone),
    "an Item of a part, of other bytes": ("check", "item_r00c00.json", another),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_what_is_removed_before_it_is_published_is_made_again(  # noqa: PLR0917 -- fixtures
    name, jobs, blocks_done, product, tmp_path, monkeypatch
):
    moment, key, damage = REMOVALS[name]
    output, done = copied(blocks_done, tmp_path / "out"), []

    def spoil(now):
        if now == moment and not done:
            done.append(now)
            damage(output / key)

    def check(*given, **named):
        spoil("check")
        check_published(*given, **named)

    monkeypatch.setattr("tilewright.tasks.publish.publish.check_published", check)
    run_job(read(jobs[0], output), RunOptions(workers=1), listener=lambda event: spoil(getattr(event, "name", "")))
    assert done
    assert differing(output, product) == []
    assert is_finished(output)


def test_what_somebody_goes_on_changing_is_not_published(jobs, blocks_done, tmp_path):
    output = copied(blocks_done, tmp_path / "out")

    def spoil(event):
        if getattr(event, "name", "") == "publish":
            cut_off(output / STORE_OF / "class/c/0/0")

    with pytest.raises(ChangedStoreError, match=r"class.* of .* nothing is published"):
        run_job(read(jobs[0], output), RunOptions(workers=1), listener=spoil)
    assert not is_finished(output)
    assert not make(jobs[0], output).already_complete
    assert is_finished(output)


# --- whose files are removed ------------------------------------------------------------------------------------------


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


# --- documents that are damaged ---------------------------------------------------------------------------------------


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


def test_a_folder_in_place_of_a_plan_is_refused_in_words(jobs, blocks_done, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    (output / ".tilewright/plan.json").unlink()
    (output / ".tilewright/plan.json").mkdir()
    with pytest.raises(StorageError, match=r"plan\.json in .* is not a file"):
        make(jobs[0], output)


def test_a_folder_in_place_of_the_lock_is_refused_in_words(jobs, blocks_done, tmp_path):
    output = copied(blocks_done, tmp_path / "out")
    (output / ".tilewright/lock.json").unlink()
    (output / ".tilewright/lock.json").mkdir()
    with pytest.raises(StorageError, match=r"Cannot read \.tilewright/lock\.json in .* directory"):
        make(jobs[0], output)
