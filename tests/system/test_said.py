"""What a plan, a run, an update and a repeat say of their own work is what they did."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from tests.support.products import read, write_job
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.outcome import closing_lines
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Notice
from tilewright.tasks.report.render import _job_text
from tilewright.tasks.report.sections import input_files_text
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")


def said_by(work):
    """The notices of some work, as one text, and its result."""
    notices = []
    result = work(lambda event: notices.append(event.text) if isinstance(event, Notice) else None)
    return "\n".join(notices), result


def touch_one(folder: Path) -> str:
    """The name of a file of the world that counts as another one from now on."""
    path = min((folder / "scenes").rglob("*.tif"))
    later = time.time() + 5
    os.utime(path, (later, later))
    return path.name


CHANGES = {
    "plain": {},
    "augmented": {"augment": {"kind": "flips", "spread": True}},
    "asked for more": {"layers": ["class"], "filter": {"max_cloud": 50}, "mask": {"kind": "none"}, "zarr_format": 2},
    "two periods": {"period": ["2023-06-01/2023-06-10", "2023-06-11/2023-06-30"]},
    "open": {"period": "2023-06-01/.."},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_the_job_of_a_report_is_the_job_again(tmp_path, changes):
    job = read(write_job(tmp_path, side=64), tmp_path / "out", **changes)
    report = run_job(job).report
    page = _job_text(report["job"])
    again = make_job(yaml.safe_load(page), base=job.base)
    assert again.request() | {"source": 0, "model": 0} == job.request() | {"source": 0, "model": 0}
    assert resolve_source(again.source, base=again.base) == resolve_source(job.source, base=job.base)
    assert again.output_uri == job.output_uri
    assert run_job(again).already_complete


def test_an_update_names_the_changed_file_and_the_blocks_made_anew(tmp_path):
    job = read(write_job(tmp_path, side=64), tmp_path / "out")
    run_job(job)
    name = touch_one(tmp_path)
    said, outcome = said_by(lambda listener: run_job(job, RunOptions(update=True), listener=listener))
    assert "1 input file changed since the product was made: " in said
    assert name in said
    assert "1 of 4 blocks is made anew, 3 kept." in said
    assert outcome.report["blocks_made"] == 1
    said, outcome = said_by(lambda listener: run_job(job, RunOptions(update=True), listener=listener))
    assert (outcome.already_complete, "made anew" in said) == (True, False)


def test_a_resumed_run_tells_the_time_and_the_speed_of_its_own_blocks(tmp_path):
    job, output = read(write_job(tmp_path, side=64), tmp_path / "out"), tmp_path / "out"
    first = run_job(job).report
    assert (first["blocks_made"], first["windows_made"]) == (4, first["windows_run"])
    (output / "item.json").unlink()
    none = run_job(job)
    assert (none.report["blocks_made"], none.report["km2_per_s"], none.report["efficiency"]) == (0, 0.0, None)
    assert none.report["windows_run"] == first["windows_run"], "the product's"
    words = "\n".join(closing_lines(none))
    assert "this call mapped none" in words
    assert "efficiency" not in words
    (output / "item.json").unlink()
    min((output / ".tilewright" / "ledger").glob("*.json")).unlink()
    one = run_job(job)
    assert one.report["blocks_made"] == 1
    assert "this call mapped 1 block" in "\n".join(closing_lines(one))


def test_a_rerun_in_its_own_folder_says_whether_it_did_anything_and_why(tmp_path):
    output = Path(run_job(read(write_job(tmp_path, side=64), tmp_path / "out")).output)
    item, again = str(output / "item.json"), str(tmp_path / "again")
    first = rerun_item(item, output=again)
    assert (first["already_complete"], "was rebuilt" in first["sentence"]) == (False, True)
    second = rerun_item(item, output=again)
    assert (second["already_complete"], "stands rebuilt" in second["sentence"]) == (True, True)
    name = touch_one(tmp_path)
    said, third = said_by(lambda listener: rerun_item(item, output=again, listener=listener))
    assert (third["identical"], third["already_complete"], len(third["inputs_changed"])) == (True, False, 1)
    assert f"{name}." in said
    assert "1 of 4 blocks is made anew" in said
    assert rerun_item(item, output=again)["already_complete"]


def test_a_rerun_into_another_product_is_still_refused(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    one = run_job(read(write_job(tmp_path / "a", side=64), tmp_path / "one"))
    other = run_job(read(write_job(tmp_path / "b", side=64), tmp_path / "other", name="other"))
    before = Path(other.output, "item.json").read_bytes()
    with pytest.raises(StoreError, match="holds another product"):
        rerun_item(f"{one.output}/item.json", output=other.output)
    assert Path(other.output, "item.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, {}),
        ({"augment": "flips"}, {"augment": "flips: mean over 4 sides of each window", "calls": "4 a window"}),
        ({"augment": "d4"}, {"augment": "d4: mean over 8 sides of each window", "calls": "8 a window"}),
        ({"augment": {"kind": "d4", "spread": True}}, {"augment": "with their spread"}),
        ({"ensemble": "own"}, {"ensemble": "mean of 2 models", "calls": "2 a window"}),
        ({"ensemble": "own", "augment": "d4"}, {"ensemble": "mean of 2 models", "calls": "16 a window"}),
    ],
)
def test_a_plan_says_how_often_a_window_is_run(tmp_path, changes, lines):
    path = write_job(tmp_path, side=64)
    own = json.loads(path.read_text())["model"]
    changes = {key: [own] if value == "own" else value for key, value in changes.items()}
    job = read(path, tmp_path / "out", **changes)
    card = job_card(job)
    plan = plan_job(job, card)
    found = dict(estimate(plan, card, provider="cpu").lines(plan))
    repeated = {*changes, "calls"} if changes else set()
    assert {key for key in ("augment", "ensemble", "calls") if key in found} == repeated
    assert all(words in found[key] for key, words in lines.items())
    assert found["files"] == "2 files; none states a checksum"
    assert "px computed per px of the area" in found["windows"]
    assert "measured" not in found["why"]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((2, 0, 0), "2 files; none states a checksum"),
        ((1, 1, 0), "1 file; 1 states a checksum, which verify: checksums compares"),
        ((1, 1, 1), "1 file; 1 states a checksum, it was verified"),
        ((4, 4, 0), "4 files; 4 state a checksum, which verify: checksums compares"),
        ((4, 3, 2), "4 files; 3 state a checksum, 2 were verified"),
        ((4, 4, 4), "4 files; 4 state a checksum, all were verified"),
    ],
)
def test_how_many_files_state_a_checksum_and_were_verified_is_said(counts, said):
    assert input_files_text(dict(zip(("files", "checksums_stated", "checksums_verified"), counts, strict=True))) == said
    assert input_files_text({}) == ""
