"""Nothing half: whatever is cut off while it is cleared or published is found and gone on with, never seen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tilewright as tw
from tests.support.halves import Killed, Writes, copied, counted, differing, is_finished, listed_with, listing, make
from tests.support.products import read
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.run.prepare import clear_output
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.publish.verify import check_published
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import replace_frozen
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import ChangedStoreError

pytestmark = pytest.mark.usefixtures("parts")


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
