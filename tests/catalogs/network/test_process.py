from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import rasterio

from tests.support.file_server import serve_elsewhere
from tilewright.catalogs.gdal import BLOCK_SETTINGS
from tilewright.catalogs.network import process
from tilewright.catalogs.network.connect import HostRules
from tilewright.catalogs.network.process import close_all, egress_settings
from tilewright.catalogs.network.rules import network_settings
from tilewright.flows.environment import s3_settings

RULES = HostRules(scope="loopback", own="127.0.0.1:80")


@pytest.fixture(autouse=True)
def _closed():
    close_all()
    yield
    close_all()


def test_nothing_is_started_for_files_buckets_and_where_nothing_is_judged():
    assert network_settings("/data/a.tif", RULES) == {}
    assert network_settings("s3://bucket/a.tif", RULES) == {}
    assert network_settings("https://example.org/a.tif", None) == {}
    assert not process._running


def test_one_process_serves_all_reads_under_the_same_rules():
    first, again = egress_settings(RULES), egress_settings(HostRules.from_json(RULES.to_json()))
    assert first == again
    assert egress_settings(HostRules()) != first
    assert len(process._running) == 2


def test_a_process_that_was_killed_is_started_anew(tmp_path, noise):
    path, values = noise
    with serve_elsewhere(path.parent) as url:
        for _ in range(2):
            env = rasterio.Env(**BLOCK_SETTINGS, **egress_settings(RULES))
            with env, rasterio.open(f"/vsicurl/{url}/{path.name}") as file:
                assert (file.read(1) == values).all()
            child = process._running[RULES]._process
            os.kill(child.pid, signal.SIGKILL)
            child.wait()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("end", ["it ends", "SIGKILL", "SIGINT"])
def test_the_process_ends_with_its_reader_and_not_before(end):
    program = (
        "import time\n"
        "from tilewright.catalogs.network import process\n"
        "from tilewright.catalogs.network.connect import HostRules\n"
        "process.egress_settings(HostRules())\n"
        "print(process._running[HostRules()]._process.pid, flush=True)\n"
        f"time.sleep({0 if end == 'it ends' else 60})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as reader:
        assert reader.stdout is not None
        pid = int(reader.stdout.readline())
        if end != "it ends":
            os.kill(pid, signal.SIGINT)
            time.sleep(0.1)
            assert _alive(pid)
            reader.send_signal(getattr(signal, end))
        reader.wait(10)
    until = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _alive(pid)


def test_exceptions_from_a_proxy_do_not_lead_around_the_judgement(monkeypatch):
    """Curl obeys NO_PROXY for a proxy that GDAL sets too."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "GDAL_HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "*")
    assert not s3_settings().proxied
    assert not {"NO_PROXY", "no_proxy"} & set(os.environ)
    outside = HostRules(scope="public", own="stac.example.org:443")
    refused = pytest.raises(rasterio.errors.RasterioIOError, match=r"SOCKS5 connection to 127.0.0.1. \(2\)")
    with rasterio.Env(**BLOCK_SETTINGS, **egress_settings(outside)), refused:
        rasterio.open("/vsicurl/http://127.0.0.1:9/a.tif")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "GDAL_HTTP_PROXY"])
def test_a_proxy_of_the_users_own_decides(name, monkeypatch):
    from tilewright.catalogs.sources.registry import resolve_source

    monkeypatch.setenv(name, "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")
    settings = s3_settings()
    assert settings.proxied
    assert os.environ["NO_PROXY"] == "localhost"
    assert resolve_source("https://stac.example.org/v1", s3=settings).rules is None
