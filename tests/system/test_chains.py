"""A chain of jobs from one file: a cloud-free image, its land cover, the change since last year's product."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import tilewright as tw
from tests.support.chains import expected_change, write_chain
from tests.support.output_places import open_place
from tests.support.products import command, entries, tilewright, wait_for_blocks
from tests.support.worlds import layer
from tilewright.flows.chain.chain import read_chain
from tilewright.flows.chain.plan import plan_chain
from tilewright.flows.chain.run import chain_status, run_chain
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.plan.inputs import InputPlan

pytestmark = pytest.mark.usefixtures("small_pictures")

JOBS = ("clear", "cover", "change")
LAYERS = {"clear": ("red",), "cover": ("class", "confidence"), "change": ("change",)}


@pytest.fixture(scope="module")
def chain_file(tmp_path_factory):
    return write_chain(tmp_path_factory.mktemp("chain"))


def read(path, output):
    chain = read_chain(path, output=str(output))
    assert chain is not None
    return chain


@pytest.fixture(scope="module")
def undisturbed(chain_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    outcomes = list(run_chain(read(chain_file, output)))
    assert [outcome.name for outcome in outcomes] == list(JOBS)
    return output


def files(folder: Path) -> dict[str, bytes]:
    """The layers of a chain's products and the objects of their stores, by their paths."""
    found = [*folder.glob("*/*.tif"), *(path for path in folder.glob("*/data.zarr/**/*") if path.is_file())]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_chain_holds_what_its_jobs_one_by_one_must_give(undisturbed):
    made, expected = layer(undisturbed / "change", "change"), expected_change()
    seen = np.isfinite(expected)
    assert np.array_equal(made[seen], expected[seen])
    assert (made[~seen] == 255).all()
    report = json.loads((undisturbed / "change" / "report.json").read_text())
    assert [row["id"] for row in report["scenes"]] == ["cover-2022", "cover"]
    assert rerun_item(str(undisturbed / "change" / "item.json"), output=str(undisturbed / "again"))["identical"]
    shutil.rmtree(undisturbed / "again")


def test_a_plan_of_the_whole_chain_foretells_what_is_planned_when_the_products_are_there(
    chain_file, undisturbed, tmp_path
):
    """The bands, grid and dates of a product that is not there are those that its job's card and plan promise."""

    def seen(entry: InputPlan):
        told = ("band", "index", "dtype", "nodata", "scale", "offset", "unit", "crs", "shape", "transform")
        scenes = [
            (scene.id, scene.collection, scene.datetime, scene.end, scene.geometry, scene.made,
             [tuple(str(getattr(asset, name)) for name in told) for asset in scene.assets])
            for scene in entry.scenes
        ]  # fmt: skip
        return entry.name, scenes, entry.steps, entry.settings_json()

    planned = list(plan_chain(read(chain_file, tmp_path / "out")))
    assert [each.waits_for for each in planned] == [(), ("clear",), ("cover",)]
    again = list(plan_chain(read(chain_file, undisturbed), update=True))
    assert [each.waits_for for each in again] == [(), (), ()]
    for before, after in zip(planned, again, strict=True):
        assert before.plan.raster == after.plan.raster
        assert [seen(entry) for entry in before.plan.inputs] == [seen(entry) for entry in after.plan.inputs]
    assert not (tmp_path / "out").exists(), "a plan writes nothing"


@pytest.mark.parametrize("name", JOBS)
def test_killed_in_any_of_its_jobs_it_goes_on_and_ends_with_the_same_bytes(chain_file, undisturbed, tmp_path, name):
    process = command("run", chain_file, "--output", tmp_path)
    wait_for_blocks(tmp_path / name, 16, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    kept = {job: entries(tmp_path / job) for job in JOBS}
    states = {each["name"]: each["state"] for each in chain_status(read(chain_file, tmp_path))}
    before, after = JOBS[: JOBS.index(name)], JOBS[JOBS.index(name) + 1 :]
    assert all(states[job] == "complete" for job in before)
    assert all(states[job] == "planned" for job in after)
    answer = tilewright("run", chain_file, "--output", tmp_path)
    assert answer.returncode == 0, answer.stderr
    for job in JOBS:
        now = entries(tmp_path / job)
        assert {block: now[block] for block in kept[job]} == kept[job], "finished blocks are not done again"
    assert files(tmp_path) == files(undisturbed)


def test_a_call_on_a_finished_chain_writes_nothing_and_status_tells_each(chain_file, undisturbed):
    def state():
        return {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}

    before, began = state(), time.monotonic()
    assert all(outcome.already_complete for outcome in run_chain(read(chain_file, undisturbed)))
    print(f"a call on a finished chain of three jobs: {time.monotonic() - began:.2f} s")
    assert state() == before
    assert [each["state"] for each in chain_status(read(chain_file, undisturbed))] == ["complete"] * 3


def test_the_command_plans_runs_and_tells_a_chain(chain_file, undisturbed, tmp_path):
    path = chain_file.with_name("elsewhere.json")
    path.write_text(json.dumps({**json.loads(chain_file.read_text()), "output": str(undisturbed)}))
    planned = tilewright("plan", path)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("complete already in") == 3
    told = json.loads(tilewright("plan", path, "--json", "--output", tmp_path / "new").stdout)["jobs"]
    assert [(each["name"], each["state"], each["waits_for"]) for each in told] == [
        ("clear", "to do", []), ("cover", "to do", ["clear"]), ("change", "to do", ["cover"]),
    ]  # fmt: skip
    states = json.loads(tilewright("status", path, "--json").stdout)["jobs"]
    assert [(each["name"], each["state"]) for each in states] == [(name, "complete") for name in JOBS]
    ran = json.loads(tilewright("run", path, "--json").stdout)["jobs"]
    assert [(each["name"], each["already_complete"]) for each in ran] == [(name, True) for name in JOBS]
    for words in (("search", path), ("watch", path), ("run", path, "--to", tmp_path / "a.csv")):
        refused = tilewright(*words)
        assert refused.returncode == 2
        assert "chain" in refused.stderr


def test_what_reads_a_product_that_is_made_anew_is_brought_up_to_date(chain_file, undisturbed, tmp_path):
    chain = read(chain_file, tmp_path)
    assert not any(outcome.already_complete for outcome in run_chain(chain))
    shutil.rmtree(tmp_path / "cover")
    assert [outcome.already_complete for outcome in run_chain(chain)] == [True, False, False]
    assert files(tmp_path) == files(undisturbed)
    assert [outcome.already_complete for outcome in run_chain(chain)] == [True, True, True]
    # Its product was made anew by a call that ended there.
    shutil.rmtree(tmp_path / "clear")
    run_job(chain.job("clear"))
    # The next one is made anew from the same pixels: its file is kept as it is, so that nothing after it is stale.
    assert [outcome.already_complete for outcome in run_chain(chain)] == [True, False, True]
    assert files(tmp_path) == files(undisturbed)


def test_a_chain_runs_from_python(chain_file, undisturbed, tmp_path, monkeypatch):
    plain = {**json.loads(chain_file.read_text()), "output": str(tmp_path / "out")}
    monkeypatch.chdir(chain_file.parent)
    products = tw.run_chain(plain)
    assert tuple(products) == JOBS
    assert [str(each.output) for each in products.values()] == [str(tmp_path / "out" / name) for name in JOBS]
    assert files(tmp_path / "out") == files(undisturbed)
    again = chain_file.parent / "again.json"
    again.write_text(json.dumps({**plain, "jobs": plain["jobs"][:1]}))
    (one,) = tw.run_chain(again, tw.RunOptions(workers=1)).values()
    assert one.report == products[JOBS[0]].report
    for wrong, said in ((plain["jobs"][0], "give it to tilewright.run"), (3, "not int")):
        with pytest.raises(JobError, match=said):
            tw.run_chain(wrong)
    with pytest.raises(JobError, match="RunOptions"):
        tw.run_chain(plain, 3)
    with pytest.raises(JobError, match="run_chain"):
        tw.run(plain)


def test_a_chain_whose_products_lie_in_a_bucket_gives_the_same(chain_file, undisturbed, tmp_path, moto, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    chain = read(chain_file, storage.uri)
    outcomes = list(run_chain(chain))
    assert [outcome.output for outcome in outcomes] == [f"{storage.uri}/{name}" for name in JOBS]
    assert storage.read("change/change.tif") == (undisturbed / "change" / "change.tif").read_bytes()
    assert all(outcome.already_complete for outcome in run_chain(chain))
    assert [each["state"] for each in chain_status(chain)] == ["complete"] * 3


def test_replace_begins_all_of_the_chain_anew(chain_file, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    outcomes = list(run_chain(read(chain_file, tmp_path), RunOptions(replace=True)))
    assert not any(outcome.already_complete for outcome in outcomes)
    assert files(tmp_path) == files(undisturbed)


def test_another_request_in_a_later_job_is_refused_before_the_first_one_begins(chain_file, undisturbed, tmp_path):
    shutil.copytree(undisturbed / "change", tmp_path / "change")
    chain = read_chain(chain_file, output=str(tmp_path), changes=("change.mask.kind=none",))
    with pytest.raises(JobError, match="Job change: .* was begun with another request: mask"):
        list(run_chain(chain))
    assert not (tmp_path / "clear").exists()


def put(path, value):
    """A change of the chain's mapping at a path of keys and positions; None takes the key away."""

    def change(plain):
        *way, last = path
        for key in way:
            plain = plain[key]
        if value is None:
            del plain[last]
        else:
            plain[last] = value

    return change


WRONG = {
    "no list": (put(["jobs"], {}), r"jobs: expected a list of jobs"),
    "none": (put(["jobs"], []), r"jobs: expected a list of jobs"),
    "no mapping": (put(["jobs", 1], "cover"), r"jobs: expected a list of jobs"),
    "no name": (put(["jobs", 1, "name"], None), r"jobs: job number 2 has no name"),
    "one name twice": (put(["jobs", 1, "name"], "clear"), r"jobs: two jobs have the name clear"),
    "the name of a source": (put(["jobs", 0, "name"], "cdse"), r"jobs: cdse is the name of a known source"),
    "a name of other letters": (put(["jobs", 0, "name"], "a b"), r"Job a b: name: "),
    "a later job": (
        put(["jobs", 0, "source"], "cover"),
        r"Job clear: source: job cover stands after clear, .*: put cover before it\. If cover reads clear too, they go",
    ),
    "itself": (put(["jobs", 1, "source"], "cover"), r"Job cover: source: a job cannot read its own product"),
    "an unknown name": (
        put(["jobs", 2, "sources", "map"], "covr"),
        r"Job change: sources\.map: 'covr' is no earlier job \(clear, cover\), .* no file \(did you mean 'cover'\?\)",
    ),
    "one output twice": (put(["jobs", 1, "output"], "{out}/clear"), r"Job .*: its output .*clear is that of job "),
    "an output in another": (
        put(["jobs", 1, "output"], "{out}/clear/in"),
        r"Job cover: its output .*/clear/in lies in that of job clear",
    ),
    "a wrong key": (put(["jobs", 1, "modle"], "m"), r"Job cover: modle: unknown key \(did you mean 'model'\?\)"),
    "a wrong shared key": (put(["perid"], "2023"), r"Job clear: perid: unknown key \(did you mean 'period'\?\)"),
    "a model that is none": (put(["jobs", 2, "model"], "none"), r"Job change: "),
    "source beside sources": (put(["jobs", 2, "source"], "clear"), r"Job change: sources: each collection has its own"),
    "no source": (put(["jobs", 1, "source"], None), r"Job cover: source: the job does not say it"),
    "a collection without a source": (
        put(["jobs", 2, "sources"], {"map": "cover"}),
        r"Job change: sources: none for prior, which input before of change needs",
    ),
    "a band that the earlier job will not have": (
        put(["jobs", 1, "layers"], ["confidence"]),
        r"Job change: .*map has no band class; it has: confidence",
    ),
    "a product without the band": (
        put(["jobs", 1], {"name": "cover", "model": "{cover}", "source": "{last}", "period": "2022"}),
        r"Job cover: optics has no band red; it has: class, confidence",
    ),
    "a period that it will not cover": (
        put(["jobs", 1, "period"], "2021"),
        r"Job cover: No scenes for input x: clear has none with red over the area .* outside the period",
    ),
    "an area beside the earlier one": (
        put(["jobs", 1, "area"], [10.0, 48.0, 10.1, 48.1]),
        r"Job cover: ",
    ),
    "an output that is no text": (put(["output"], 5), r"output: write the folder"),
    "too many": (put(["jobs"], [{"name": f"j{number}"} for number in range(65)]), r"65 jobs are more than the 64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_chain_that_cannot_be_is_refused_before_anything_is_made(chain_file, tmp_path, case):
    change, words = WRONG[case]
    last = chain_file.parent / "last"
    plain = json.loads(chain_file.read_text().replace('"last"', json.dumps(str(last))))
    plain["output"] = str(tmp_path / "out")
    change(plain)
    path = tmp_path / "chain.json"
    path.write_text(
        json.dumps(plain)
        .replace("{out}", str(tmp_path / "out"))
        .replace("{last}", str(last))
        .replace("{cover}", str(last.with_name("card-cover")))
    )
    with pytest.raises(JobError, match=words):
        list(run_chain(read_chain(path)))
    assert not (tmp_path / "out").exists()
