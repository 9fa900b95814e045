"""A run that is killed goes on where it was: the real command, real kills, the same product in the end."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.support.products import (
    N_BLOCKS,
    assert_same_product,
    command,
    entries,
    read,
    tilewright,
    wait_for_blocks,
    write_job,
)
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.tasks.storage.lock import read_lock
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return write_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    return Path(run_job(read(job, tmp_path_factory.mktemp("undisturbed") / "out")).output)


def killed(job, output, n_blocks, how=signal.SIGKILL):
    """A run ended by a signal once so many blocks were finished."""
    process = command("run", job, "--output", output)
    wait_for_blocks(output, n_blocks, process)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def test_killed_at_tenth_half_and_nine_tenths_it_ends_with_the_same_product(job, undisturbed, tmp_path):
    output = tmp_path / "out"
    kept: dict[str, int] = {}
    for share in (0.1, 0.5, 0.9):
        code, said = killed(job, output, int(share * N_BLOCKS))
        assert code == -signal.SIGKILL, said
        assert not (output / "item.json").exists()
        now = entries(output)
        assert len(now) < N_BLOCKS, "killed too late to show anything"
        assert {name: now.get(name) for name in kept} == kept, "finished blocks are not done again"
        assert product_status(str(output))["state"] == "stopped"
        kept = now
    answer = tilewright("run", job, "--output", output)
    assert answer.returncode == 0, answer.stderr
    assert {name: entries(output)[name] for name in kept} == kept
    assert_same_product(output, undisturbed)
    plans = [json.loads((place / ".tilewright" / "plan.json").read_text()) for place in (output, undisturbed)]
    assert plans[0] == plans[1]


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_call_on_a_finished_product_is_quick_and_writes_nothing(job, undisturbed):
    def state():
        return {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}

    before, began, used = state(), time.monotonic(), cpu_of_children()
    answer = tilewright("run", job, "--output", undisturbed)
    seconds, cpu = time.monotonic() - began, cpu_of_children() - used
    print(f"a call on a finished product: {seconds:.2f} s, {cpu:.2f} CPU s")
    assert answer.returncode == 0, answer.stderr
    assert "complete already" in answer.stdout
    assert state() == before
    # By what it computes, which is what it takes on a machine that has nothing else to do.
    assert cpu < 3


def test_ctrl_c_leaves_a_sentence_and_a_state_to_go_on_from(job, tmp_path):
    output = tmp_path / "out"
    code, said = killed(job, output, N_BLOCKS // 4, signal.SIGINT)
    assert code == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert read_lock(open_storage(str(output))) is None, "it is released"
    assert product_status(str(output))["state"] == "stopped"
    kept = entries(output)
    run_job(read(job, output))
    assert {name: entries(output)[name] for name in kept} == kept


def test_a_product_begun_before_graphs_were_tuned_goes_on_as_it_was_planned(job, undisturbed, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    frozen = output / ".tilewright" / "plan.json"
    older = json.loads(frozen.read_text())
    older.pop("tuned", None)
    frozen.write_text(json.dumps(older))
    (output / "item.json").unlink()
    assert not run_job(read(job, output)).report["tuned"]
    assert json.loads(frozen.read_text()) == older


def test_blocks_without_a_scene_are_finished_too_and_leave_no_object(undisturbed):
    existing = [json.loads((undisturbed / ".tilewright/ledger" / name).read_text()) for name in entries(undisturbed)]
    assert len(existing) == N_BLOCKS
    empty = [entry for entry in existing if not entry["written"]]
    assert 0 < len(empty) < N_BLOCKS
    shards = [path for path in (undisturbed / "data.zarr/class/c").rglob("*") if path.is_file()]
    assert len(shards) == N_BLOCKS - len(empty)


def test_a_shard_that_should_not_be_there_is_found_and_removed(job, undisturbed, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(undisturbed, output)
    (output / "item.json").unlink()
    empty = next(
        json.loads(path.read_text())
        for path in sorted((output / ".tilewright/ledger").iterdir())
        if not json.loads(path.read_text())["written"]
    )
    plan = json.loads((output / ".tilewright/plan.json").read_text())
    first = min(row for row, _ in plan["blocks"]), min(col for _, col in plan["blocks"])
    shard = output / f"data.zarr/class/c/{empty['row'] - first[0]}/{empty['col'] - first[1]}"
    shard.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(next(path for path in (output / "data.zarr/class/c").rglob("*") if path.is_file()), shard)
    run_job(read(job, output))
    assert not shard.exists()
    assert_same_product(output, undisturbed)
