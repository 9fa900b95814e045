"""Who is notified of the end of a run, of what, and that nothing of it can harm the run or give a secret away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from tests.support.danube import write_water_job
from tests.support.http_servers import QuietHandler, free_port, running
from tests.support.paths import ROOT
from tilewright.flows.cli.main import app
from tilewright.flows.environment import own_secrets
from tilewright.flows.monitor import notify as module
from tilewright.flows.monitor.notify import NotifyError, check_address, notification, notify

pytestmark = pytest.mark.usefixtures("small_pictures")

TOLD = notification(command="run", state="complete", code=0, seconds=1.25, said="", products=[{"name": "a"}])


@pytest.fixture
def hook():
    """The address of a server that answers as it is told, and the requests that it got: (path, headers, document)."""
    got, answers = [], []

    class Hook(QuietHandler):
        def do_POST(self):  # noqa: N802 -- http.server's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, dict(self.headers), body))
            status = answers.pop(0) if answers else 200
            if callable(status):
                status(self)
                return
            if 300 <= status < 400:
                self.send_response(status)
                self.send_header("Location", f"{place}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.reply({}, status)

    with running(Hook) as place:
        yield place, got, answers


def test_a_small_document_without_secrets_is_posted(hook, monkeypatch):
    place, got, _ = hook
    monkeypatch.setenv("TILEWRIGHT_NOTIFY_TOKEN", "a-token-of-many-letters")
    products = [{"name": f"p{n}", "output": "s3://b/p?sig=S3CR3T"} for n in range(200)]
    told = notification(
        command="watch", state="failed", code=1, seconds=2, said="https://u:pw@h/a?sig=S3CR3T", products=products
    )
    assert notify(f"{place}/hook", told) == ""
    ((path, headers, body),) = got
    assert (path, headers["Authorization"]) == ("/hook", "Bearer a-token-of-many-letters")
    assert headers["Content-Type"] == "application/json"
    assert (body["products_total"], len(body["products"]), body["state"]) == (200, 100, "failed")
    assert body["text"].startswith("tilewright watch p0, p1, p2 ...: failed: https://")
    assert "S3CR3T" not in json.dumps(body)
    assert "pw@" not in json.dumps(body)


def test_nothing_of_other_places_is_sent_along(hook, monkeypatch, tmp_path):
    """No password of the netrc, no token of the STAC API, no cookie of an answer before."""
    place, got, answers = hook
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password S3CR3T\ndefault login me password S3CR3T\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TILEWRIGHT_STAC_TOKEN", "another-token-of-many")

    def with_cookie(handler):
        handler.send_response(500)
        handler.send_header("Set-Cookie", "a=b")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    answers += [with_cookie, 200]
    assert notify(place, TOLD) == ""
    assert len(got) == 2
    for _, headers, _ in got:
        assert not {"authorization", "cookie"} & {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("given", "n_asked", "why"),
    [
        ([503, 503], 2, "it answers 503"),
        ([503, 200], 2, ""),
        ([404], 1, "it answers 404"),
        ([302], 1, "it answers 302, a redirect, which is not followed"),
        ([307], 1, "a redirect, which is not followed"),
    ],
)
def test_a_failure_is_tried_twice_and_told_by_its_host_alone(hook, given, n_asked, why):
    place, got, answers = hook
    answers += given
    said = notify(f"{place}/services/S3CR3T", TOLD)
    assert [path for path, *_ in got] == ["/services/S3CR3T"] * n_asked
    assert said.endswith(f"{why}.") if why else said == ""
    assert "S3CR3T" not in said


def test_silence_takes_a_bounded_time(hook, monkeypatch):
    place, _, answers = hook
    monkeypatch.setattr(module, "SECONDS", 0.3)
    answers += [lambda _: time.sleep(2)] * 2
    began = time.monotonic()
    assert "no answer in time" in notify(place, TOLD)
    assert time.monotonic() - began < 1.5
    assert "cannot be reached" in notify(f"http://127.0.0.1:{free_port()}/S3CR3T", TOLD)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://h/a", "give an http"),
        ("hook", "give an http"),
        ("http://", "give an http"),
        ("http://h:99999/", "give an http"),
        ("http://h/a b", "give an http"),
        ("https://me:S3CR3T@h/", "leave user and password out"),
        ("https://h/a?key=S3CR3T", "put the URL into TILEWRIGHT_NOTIFY"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_its_secret(address, words):
    with pytest.raises(NotifyError, match=words) as refusal:
        check_address(address, given=True)
    assert "S3CR3T" not in str(refusal.value)


def test_the_address_of_the_environment_may_be_a_secret_and_is_none_that_is_printed():
    check_address("https://h/a?key=S3CR3T", given=False)
    assert own_secrets({"TILEWRIGHT_NOTIFY": "https://h/services/S3CR3T"}) == ["https://h/services/S3CR3T"]


def test_a_run_tells_how_it_ended(hook, real, tmp_path, monkeypatch):
    place, got, answers = hook
    monkeypatch.setenv("TILEWRIGHT_NOTIFY", f"{place}/secret")
    monkeypatch.chdir(tmp_path)
    job = write_water_job(tmp_path, real, name="kept")
    made = CliRunner().invoke(app, ["run", str(job), "--json"])
    assert made.exit_code == 0, made.output
    assert got[-1][2]["state"] == "complete"
    assert got[-1][2]["products"] == [
        {"name": "kept", "output": json.loads(made.stdout)["output"], "state": "complete"}
    ]
    refused = CliRunner().invoke(app, ["run", str(job), "--set", "model=nothing", "--notify", f"{place}/other"])
    assert refused.exit_code == 2
    path, _, told = got[-1]
    assert (path, told["state"], told["exit_code"]) == ("/other", "refused", 2)
    assert told["reason"].startswith("model is 'nothing'")
    answers.append(400)
    again = CliRunner().invoke(app, ["run", str(job), "--quiet"])
    assert again.exit_code == 0
    assert (
        again.stderr == f"tilewright: ! The notification to {place.removeprefix('http://')} failed: it answers 400.\n"
    )
    assert again.stdout.splitlines() == [f"kept: complete already, nothing was written: {tmp_path / 'out' / 'kept'}"]
    n_before = len(got)
    wrong = CliRunner().invoke(app, ["run", str(job), "--notify", "hook"])
    assert (wrong.exit_code, len(got)) == (2, n_before)
    table = tmp_path / "table.csv"
    table.write_text("name,west,south,east,north,period\nkept,13.10,48.27,13.17,48.30,1999-06\n")
    failed = CliRunner().invoke(app, ["backfill", str(table), "--job", str(job), "--home", "home", "--json"])
    assert failed.exit_code == 1
    assert [row["state"] for row in json.loads(failed.stdout)] == ["failed"]
    assert (got[-1][2]["command"], got[-1][2]["state"]) == ("backfill", "failed")
    watched = CliRunner().invoke(app, ["watch", str(job), "--quiet"])
    assert (watched.exit_code, watched.stdout) == (0, "1 product: 1 made\n")
    assert got[-1][2]["command"] == "watch"


def test_whoever_is_interrupted_says_so(hook, real, tmp_path):
    place, got, _ = hook
    job = write_water_job(tmp_path, real, output=str(tmp_path / "out"), grid={"resolution": 0.5}, tile={"block": 64})
    words = [sys.executable, "-m", "tilewright.flows.cli", "run", str(job), "--notify", place]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "Mapping blocks" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert [(told["state"], told["exit_code"]) for _, _, told in got] == [("interrupted", 143)]
    assert got[0][2]["reason"].startswith("Ended by SIGTERM. What is finished is kept")
