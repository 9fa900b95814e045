"""What the doctor finds: true of this machine, of a broken one, and of sources that answer, refuse or are not there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tilewright.catalogs.sources.registry import known_sources
from tilewright.flows.start import doctor
from tilewright.flows.start.doctor import BROKEN, HAS, LACKS, look_around

COMMAND = "from tilewright.flows.cli.__main__ import program; program(['doctor', '--offline', *{words!r}])"


def command(*words, before=""):
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{COMMAND.format(words=words)}"], capture_output=True, text=True, check=False
    )


def test_this_machine_runs_models_and_writes_products():
    done = command("--json")
    assert done.returncode == 0, done.stderr
    found = {(each["topic"], each["name"]): each for each in json.loads(done.stdout)}
    assert found["providers", "cpu"]["state"] == HAS
    assert {found["GDAL drivers", name]["state"] for name in ("GTiff", "COG", "VRT")} == {HAS}
    assert not [each for each in found.values() if each["state"] == BROKEN]
    assert "numpy" in found["program", "libraries"]["words"]


def test_a_machine_without_a_runtime_is_told_so_with_the_remedy():
    done = command(before="import sys; sys.modules['onnxruntime'] = None")
    assert done.returncode == 1
    assert "! cpu" in done.stdout
    assert "pip install -c constraints.txt -e '.[cpu]'" in " ".join(done.stdout.split())
    assert "mended" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"find": (("no_such_module",), "find by words")})
    found = [each for each in look_around(offline=True) if each.topic == "extras"]
    assert [(each.state, "'.[find]'" in each.words) for each in found] == [(LACKS, True)]


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "file" / "cache"))
    cache = next(each for each in look_around(offline=True) if each.name == "cache")
    assert cache.state == LACKS
    assert "TILEWRIGHT_CACHE" in cache.words


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "ill" in self.path else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_sources_are_asked_whether_they_answer(monkeypatch, server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        known = known_sources()["earth-search"]
        places = {"well": f"{server}/v1", "ill": f"{server}/ill", "gone": f"{nobody}/v1"}
        sources = {name: replace(known, name=name, href=href) for name, href in places.items()}
        monkeypatch.setattr(doctor, "known_sources", lambda: sources)
        found = {each.name: each for each in look_around() if each.topic == "sources"}
    assert {name: each.state for name, each in found.items()} == {"well": HAS, "ill": LACKS, "gone": LACKS}
    assert "HTTP 503" in found["ill"].words
    assert "no connection" in found["gone"].words
