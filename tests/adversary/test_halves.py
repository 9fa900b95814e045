"""Nothing half: whatever was cut off, damaged or removed is found, mended or refused, and never taken for a product."""

from __future__ import annotations

import json
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
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import freeze_plan, replace_frozen
from tilewright.tasks.storage.storage import open_storage

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
        lambda: tw.open(str(output)) is not None,
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
def test_a_product_is_in_no_list_before_anything_of_it_changes(jobs, product, changed, tmp_path, replace, after):
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
        assert is_finished(output) == (not gone)
        if done > first_of_pixels:
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
    assert whole.index("item.json") > max(n for n, key in enumerate(whole) if key.endswith((".tif", "collection.json")))
    last = len(whole) + 1
    for at in sorted({*range(1, last, step), *range(last - 8, last)}):
        output = copied(blocks_done, tmp_path / f"at{at}")
        finishing(jobs, output, at=at, after=bool(at % 2))
        published = "item.json" in whole[: at if at % 2 else at - 1]
        assert is_finished(output) == published, whole[at - 1]
        make(jobs[0], output)
        clean_output(str(output))
        assert differing(output, product) == [], whole[at - 1]
        shutil.rmtree(output)


def test_a_publication_that_is_cut_off_is_gone_on_with_and_never_seen(jobs, blocks_done, product, tmp_path):
    every_write(jobs, blocks_done, product, tmp_path, step=7)


@pytest.mark.slow(reason="a run ended at each of its writes, and gone on with: a minute")
def test_a_publication_that_is_cut_off_at_any_write_is_gone_on_with(jobs, blocks_done, product, tmp_path):
    every_write(jobs, blocks_done, product, tmp_path, step=1)
