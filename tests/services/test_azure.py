"""Products in Azure's blob storage, on Microsoft's own emulator: the same as local ones, put on the same conditions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import threading
import time
from datetime import UTC, datetime

import pytest
import requests

from tests.support.http_servers import free_port
from tests.support.products import assert_same_product, fetched, read
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.ledger import BlockEntry, read_entries, write_entry
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Source: Azurite's README, "Default Storage Account": published, the same everywhere, of no account."""


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("no emulator of Azure's blob storage here: npm install -g azurite, then run again")
    port = free_port()
    words = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(tmp_path_factory.mktemp("azure"))]
    process = subprocess.Popen(
        [program, *words, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        make_container(url, "maps")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def make_container(url, name):
    """A container by a request of Azure's "Shared Key": the object store's client makes none."""
    for _ in range(100):
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        stamp = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
        lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in stamp.items())]
        text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"])
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        headers = {**stamp, "Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        try:
            answer = requests.put(f"{url}/{ACCOUNT}/{name}?restype=container", headers=headers, timeout=10)
        except requests.ConnectionError:
            time.sleep(0.1)
            continue
        assert answer.status_code == 201, answer.text
        return
    raise AssertionError("the emulator did not answer in ten seconds")


@pytest.fixture
def azure(azurite, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", azurite)


def test_the_product_is_the_local_one_and_a_second_call_finds_it_complete(azure, job, whole, tmp_path):
    outcome = run_job(read(job, "az://maps/one"))
    assert_same_product(fetched(outcome.output, tmp_path / "down"), whole)
    assert product_status(outcome.output)["state"] == "complete"
    assert run_job(read(job, outcome.output)).already_complete
    assert clean_output(outcome.output) == []


def test_a_run_that_stops_in_the_middle_goes_on_from_there(azure, job):
    class StopError(RuntimeError):
        pass

    storage = open_storage("az://maps/stopped")

    def stop(_event):
        if len(list(storage.keys(".tilewright/ledger"))) >= 5:
            raise StopError

    with pytest.raises(StopError):
        run_job(read(job, storage.uri), listener=stop)
    kept = read_entries(storage)
    assert product_status(storage.uri)["state"] == "failed"
    run_job(read(job, storage.uri))
    assert {name: read_entries(storage)[name].seconds for name in kept} == {n: kept[n].seconds for n in kept}
    run_job(read(job, storage.uri), RunOptions(replace=True))
    assert product_status(storage.uri)["state"] == "complete"


def test_of_eight_writers_of_one_entry_one_wins_and_none_fails(azure):
    storage = open_storage("az://maps/race")
    start, won = threading.Barrier(8), []

    def work(number):
        start.wait()
        for block in range(10):
            if storage.create_json(f"once/{block}.json", {"by": number}):
                won.append(block)
            write_entry(storage, BlockEntry(row=0, col=block, key="same", written=True, windows_run=number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(won) == list(range(10)), "each was put once, on the condition that it was not there"
    assert len(read_entries(storage)) == 10
