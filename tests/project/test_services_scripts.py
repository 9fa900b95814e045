"""What `make services` is made of, as far as it can be tested without the services themselves."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys

import psutil
import pytest

from deploy.services import browser, packages, postgres, processes
from deploy.services.__main__ import main
from deploy.services.addresses import read_addresses, write_addresses
from deploy.services.browser import install_browser
from deploy.services.errors import ServiceError
from deploy.services.postgres import find_programs, install_postgres
from deploy.services.records import collection_record, item_record, write_records
from deploy.services.settings import load_settings
from deploy.services.web_server import make_app


def settle(folder, *, running=()):
    return load_settings(folder, running=frozenset(running), place_cluster=lambda: str(folder / "postgres"))


def serve(name, folder, port):
    """A web server of the standard library, started as a service."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return processes.start(name, command, folder=folder, health=f"http://127.0.0.1:{port}/", env={}, timeout=30)


def test_settings_are_the_same_at_the_next_start(tmp_path):
    first = settle(tmp_path)
    assert settle(tmp_path) == first
    assert len(set(first.ports.values())) == len(first.ports)
    assert stat.S_IMODE((tmp_path / "settings.json").stat().st_mode) == 0o600


def test_a_port_taken_by_somebody_else_is_given_up_unless_the_service_runs_on_it(tmp_path):
    first = settle(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.ports["s3"]))
        other.listen()
        assert settle(tmp_path, running={"s3"}) == first
        second = settle(tmp_path)
    assert second.ports["s3"] != first.ports["s3"]
    assert second.ports["web"] == first.ports["web"]


def test_a_service_is_started_once_and_ended_by_its_number(tmp_path):
    port = settle(tmp_path).ports["web"]
    try:
        assert serve("web", tmp_path, port)
        assert not serve("web", tmp_path, port), "a second start finds it running"
        number = json.loads((tmp_path / "pids" / "web.json").read_text())["pid"]
        assert psutil.pid_exists(number)
    finally:
        processes.stop("web", folder=tmp_path)
    assert not processes.answers(f"http://127.0.0.1:{port}/")
    assert not processes.is_running("web", folder=tmp_path)
    processes.stop("web", folder=tmp_path)


def test_a_process_that_inherited_the_number_is_left_alone(tmp_path):
    (tmp_path / "pids").mkdir()
    record = tmp_path / "pids" / "web.json"
    record.write_text(json.dumps({"pid": os.getpid(), "born": psutil.Process().create_time() - 3600}))
    assert not processes.is_running("web", folder=tmp_path)
    processes.stop("web", folder=tmp_path)
    assert not record.exists()


def test_a_service_that_ends_at_once_is_named_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such database')"]
    with pytest.raises(ServiceError, match=r"(?s)prefect did not start; its log is .*prefect\.log\nno such database"):
        processes.start("prefect", command, folder=tmp_path, health="http://127.0.0.1:9/", env={}, timeout=30)


def test_a_command_that_hangs_is_ended_and_named():
    with pytest.raises(ServiceError, match=r"(?s)the archive is out of reach\nIt took longer than 1 s"):
        processes.run(
            [sys.executable, "-c", "import time; time.sleep(60)"], timeout=1, failure="the archive is out of reach"
        )


def test_the_newest_postgresql_that_postgis_knows_is_taken(tmp_path):
    for version, has_postgis in (("9.6", True), ("15", True), ("17", False)):
        programs = tmp_path / "usr/lib/postgresql" / version / "bin"
        extensions = tmp_path / "usr/share/postgresql" / version / "extension"
        programs.mkdir(parents=True)
        extensions.mkdir(parents=True)
        (programs / "initdb").touch()
        if has_postgis:
            (extensions / "postgis.control").touch()
    assert find_programs(tmp_path) == tmp_path / "usr/lib/postgresql/15/bin"
    assert find_programs(tmp_path / "empty") is None


MISSING = {
    "PostGIS": (postgres, "find_programs", install_postgres, "package", "postgresql-postgis"),
    "a browser": (browser, "find_browser", install_browser, "packages", "chromium fonts-liberation"),
}


@pytest.mark.parametrize("what", MISSING)
def test_without_root_the_missing_package_is_named(monkeypatch, what):
    module, find, install, word, package = MISSING[what]
    monkeypatch.setattr(module, find, lambda: None)
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match=f"run `sudo apt-get install {package}` first"):
        install(print)
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(ServiceError, match=f"the services need Debian's {word} {package}"):
        install(print)


@pytest.mark.parametrize("what", MISSING)
def test_a_missing_package_is_installed_by_root(monkeypatch, what):
    module, find, install, _, package = MISSING[what]
    done: list[list[str]] = []
    monkeypatch.setattr(module, find, lambda: "/usr/bin/it" if len(done) == 2 else None)
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "run", lambda command, **how: done.append(command))
    assert install(lambda text: None) == "/usr/bin/it"
    assert done[0][:2] == ["apt-get", "update"]
    assert done[1][:2] == ["apt-get", "install"]
    assert " ".join(done[1]).endswith(package)
    monkeypatch.setattr(module, find, lambda: None)
    with pytest.raises(ServiceError, match="is installed, but brought no"):
        install(lambda text: None)


def test_an_unreachable_archive_is_reported(monkeypatch):
    def refuse(command, *, timeout, failure, env):
        assert timeout <= 400
        raise ServiceError(failure)

    monkeypatch.setattr(postgres, "find_programs", lambda: None)
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "run", refuse)
    with pytest.raises(ServiceError, match="cannot be installed: is the package archive within reach"):
        install_postgres(lambda text: None)


def test_records_lead_to_where_the_files_lie(sample, tmp_path):
    path = next(sample.glob("sentinel-2-l2a/*/*.json"))
    item = item_record(path, sample=sample, suffix="-http", home="http://127.0.0.1:1")
    red = item["assets"]["red"]["href"]
    assert red == f"http://127.0.0.1:1/sentinel-2-l2a/{path.stem}/B04.tif"
    assert (sample / red.removeprefix("http://127.0.0.1:1/")).exists()
    assert (item["collection"], item["links"]) == ("sentinel-2-l2a-http", [])
    collection = collection_record(sample / "sentinel-2-l2a" / "collection.json", suffix="")
    assert (collection["id"], collection["links"]) == ("sentinel-2-l2a", [])

    homes = {"": "s3://bucket", "-http": "http://127.0.0.1:1"}
    write_records(sample, tmp_path, homes=homes)
    items = [json.loads(line) for line in (tmp_path / "items.ndjson").read_text().splitlines()]
    assert len(items) == 2 * len(list(sample.glob("*/*/*.json")))
    assert {item["collection"].endswith("-http") for item in items} == {True, False}
    assert len((tmp_path / "collections.ndjson").read_text().splitlines()) == 2 * len(
        list(sample.glob("*/collection.json"))
    )


def test_addresses_come_back_as_they_were_written(tmp_path):
    settings = settle(tmp_path)
    write_addresses(tmp_path / "env", settings, sample=tmp_path / "a sample", browser="/usr/bin/chromium", prefect=True)
    found = read_addresses(tmp_path / "env")
    assert found["STAC_API"] == settings.url("stac")
    assert found["BROWSER"] == "/usr/bin/chromium"
    assert found["SAMPLE"] == str(tmp_path / "a sample")
    assert found["PREFECT_API"] == settings.url("prefect") + "/api"
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert read_addresses(tmp_path / "nothing") == {}


def test_the_web_server_gives_parts_of_files(tmp_path):
    from starlette.testclient import TestClient

    (tmp_path / "numbers").write_text("0123456789")
    answer = TestClient(make_app(str(tmp_path))).get("/numbers", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.text, answer.headers["content-range"]) == (206, "234", "bytes 2-4/10")


def test_stopping_what_was_never_started_is_no_error(tmp_path):
    assert main(["stop", "--folder", str(tmp_path / "never")]) == 0
    assert not (tmp_path / "never").exists()
