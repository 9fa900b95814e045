"""Processes that end: a run asked to end at any step, by whom ever, and what it started for itself."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.chaos.checks import Reference, bad_words, differences, leftovers, lock_holder
from tests.support.chaos.places import FolderPlace
from tests.support.chaos.processes import Forks, Launch, Within
from tests.support.paths import ROOT
from tests.support.products import assert_same_product, command, entries, read, wait_until
from tilewright.flows.run.predict import run_job

pytestmark = pytest.mark.usefixtures("small_pictures")

STEPS = {
    "planning": ("tilewright.flows.plan.make", "search_inputs"),
    "preparing": ("tilewright.flows.run.pipeline", "declare_product"),
    "reading": ("tilewright.tasks.block.worker", "read_inputs"),
    "inference": ("tilewright.tasks.block.worker", "infer_block"),
    "recording a block": ("tilewright.tasks.block.worker", "write_entry"),
    "cutting and pyramid": ("tilewright.tasks.publish.layers", "write_pyramid"),
    "COGs": ("tilewright.tasks.publish.layers", "ensure_cog"),
    "publishing": ("tilewright.tasks.publish.publish", "_stage_files"),
    "after the Item": ("tilewright.tasks.publish.publish", "drop_published"),
}

CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}

OTHERS = (signal.SIGHUP, signal.SIGINT)

GRACE_S = 30.0
"""Seconds that Kubernetes gives by default."""


@pytest.fixture(scope="module")
def runs(job, tmp_path_factory):
    """Starts the job into an output in a process that is forked, so that a start costs little."""
    forks = Forks(tmp_path_factory.mktemp("forks"))

    def start(output, **how):
        return forks.start(Launch(words=("run", str(job), "--output", str(output), "--workers", "1"), **how))

    return start


@pytest.fixture(scope="module")
def reference(whole):
    return Reference.of(FolderPlace(uri=str(whole)).objects())


@pytest.mark.parametrize(
    ("step", "number"),
    [*((step, signal.SIGTERM) for step in STEPS), *itertools.product(("reading", "publishing"), OTHERS)],
)
def test_a_run_asked_to_end_at_any_step_ends_in_time_and_the_next_one_finishes(runs, reference, tmp_path, step, number):
    output, began = tmp_path / "out", time.monotonic()
    run = runs(output, within=Within(module=STEPS[step][0], name=STEPS[step][1], signal=number))
    code = run.ended(60)
    assert code == CODES[number], run.said()
    assert time.monotonic() - began < GRACE_S
    assert bad_words(code, run.said()) == []
    begun = "What is finished is kept: the same command goes on from there."
    assert ("Nothing was begun yet: the same command begins it." if step == "planning" else begun) in run.said()
    place = FolderPlace(uri=str(output))
    assert lock_holder(place.objects()) is None
    kept = entries(output)
    if step != "after the Item":
        assert not (output / "item.json").exists()
    last = runs(output)
    assert last.ended(60) == 0, last.said()
    assert {name: entries(output)[name] for name in kept} == kept
    assert differences(place.objects(), reference) == []
    assert leftovers(place.objects()) == []


HEARS = """
import hashlib, os, signal, sys, time
{before}
from tilewright.flows import ending
from tilewright.flows.cli.exits import exit_codes
from typer import Exit
try:
    with exit_codes(resumable=True):
        print(os.getpid(), flush=True)
        {words}
except Exit as end:
    sys.exit(end.exit_code)
"""


def in_python(words: str, before: str = "") -> subprocess.Popen[str]:
    """A process that hears signals as a run does, and does what the words say."""
    text = HEARS.format(before=before, words=words.strip())
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, text=True, **streams)


def ended(process, *numbers, seconds=GRACE_S):
    """Exit code, words and seconds of a process that was sent signals one after the other once it was ready."""
    try:
        assert process.stdout.readline().strip() == str(process.pid)
        # It says so just before it begins with its words.
        time.sleep(0.7)
        began = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.05)
        _, said = process.communicate(timeout=seconds)
        return process.returncode, said, time.monotonic() - began
    finally:
        process.kill()


BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)"
"""Minutes in a library, which holds no lock of the interpreter and lets no handler of Python run."""


def test_a_run_that_is_in_a_library_for_minutes_ends_at_the_deadline_after_its_last_act(tmp_path):
    words = f"""
        ending.GRACE_SECONDS = 0.5
        with ending.last_act(lambda: open({str(tmp_path / "done")!r}, "w").close()):
            {BUSY}
"""
    code, _, seconds = ended(in_python(words), signal.SIGTERM)
    assert code == 143
    assert 0.5 <= seconds < GRACE_S
    assert (tmp_path / "done").exists()


def test_a_last_act_that_never_ends_or_fails_does_not_keep_the_process():
    for act in ("lambda: time.sleep(100)", "lambda: 1 / 0"):
        words = f"""
        ending.GRACE_SECONDS, ending.LAST_ACT_SECONDS = 0.2, 0.5
        with ending.last_act({act}):
            {BUSY}
"""
        assert ended(in_python(words), signal.SIGHUP)[0] == 129


UNWINDS = """
        try:
            time.sleep(60)
        finally:
            time.sleep(0.5)
            print("unwound", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("numbers", "code", "unwound"),
    [
        ((signal.SIGTERM, signal.SIGTERM), 143, True),
        ((signal.SIGTERM, signal.SIGHUP), 143, True),
        ((signal.SIGHUP, signal.SIGTERM), 129, True),
        ((signal.SIGTERM, signal.SIGINT), 143, False),
        ((signal.SIGTERM, signal.SIGTERM, signal.SIGTERM), 143, True),
    ],
)
def test_a_second_request_does_not_break_off_what_the_first_one_began(numbers, code, unwound):
    answer, said, _ = ended(in_python(UNWINDS), *numbers)
    assert answer == code
    assert ("unwound" in said) == unwound
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(number):
    process = in_python("time.sleep(1)", before=f"signal.signal({int(number)}, signal.SIG_IGN)")
    assert ended(process, number)[0] == 0


def test_a_forked_child_is_no_run_and_its_end_is_not_its_parents():
    words = """
        ending.GRACE_SECONDS = 0.2
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        time.sleep(0.3)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        time.sleep(1)
"""
    assert ended(in_python(words))[0] == 0


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a namespace of processes needs root")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_first_process_of_a_container_hears_signals_too(number):
    """The kernel keeps signals without a handler from the first process of a namespace."""
    text = HEARS.format(before="", words="time.sleep(60)")
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", text],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert outer.stdout is not None
    assert outer.stdout.readline().strip() == "1"
    (first,) = psutil.Process(outer.pid).children()
    first.send_signal(number)
    _, said = outer.communicate(timeout=20)
    assert outer.returncode == CODES[number]
    assert f"Ended by {number.name}" in said


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both", "a reader that leaves"])
def test_a_run_whose_words_nobody_hears_ends_without_a_trace_and_can_go_on(job, whole, tmp_path, closed):
    output = tmp_path / "out"
    redirect = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-", "a reader that leaves": "| true"}[closed]
    words = f'{sys.executable} -m tilewright.flows.cli run "{job}" --output "{output}" --workers 1 {redirect}'
    answer = subprocess.run(["bash", "-c", words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in answer.stdout + answer.stderr
    run_job(read(job, output))
    assert_same_product(output, whole)


def test_no_process_of_a_dask_run_remains_when_its_own_is_killed(job, tmp_path):
    run = command("run", job, "--output", tmp_path / "out", "--runner", "dask", "--workers", "2")
    wait_until(lambda: len(entries(tmp_path / "out")) >= 1 or run.poll() is not None, 120)
    others = psutil.Process(run.pid).children(recursive=True)
    assert len(others) >= 2
    run.kill()
    run.communicate(timeout=20)
    wait_until(lambda: all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in others), 30)


@pytest.mark.slow(reason="a Prefect server for each way to end: half a minute each")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGKILL", "Ctrl-C in the terminal", "an error"])
def test_no_server_remains_of_a_run_under_prefect(job, prefect_home, tmp_path, how):
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    shutil.copytree(prefect_home, home)
    temporary.mkdir()
    before = ""
    if how == "an error":
        before = "import tilewright.tasks.publish.publish as p; p.product_facts = None"
    env = {"PREFECT_HOME": str(home), "TMPDIR": str(temporary)}
    run = command("run", job, "--output", tmp_path / "out", "--prefect", env=env, before=before, start_new_session=True)
    wait_until(lambda: len(entries(tmp_path / "out")) >= 1 or run.poll() is not None, 180)
    others = psutil.Process(run.pid).children(recursive=True)
    assert any("uvicorn" in " ".join(each.cmdline()) for each in others)
    began = time.monotonic()
    if how.startswith("SIG"):
        run.send_signal(getattr(signal, how))
    elif how.startswith("Ctrl-C"):
        os.killpg(run.pid, signal.SIGINT)
    said = "".join(run.communicate(timeout=120))
    assert run.returncode in {"SIGTERM": {143}, "SIGHUP": {129}, "SIGKILL": {-9}, "an error": {1}}.get(how, {130}), said
    wait_until(lambda: all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in others), 20)
    print(f"{how}: {time.monotonic() - began:.1f} s to the last process")
    if how != "an error":
        assert time.monotonic() - began < GRACE_S
    assert sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file()) < 5e6
