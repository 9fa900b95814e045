"""Products on gs://, before a server that speaks the part of Google's XML API a product needs: the same as local ones.

The server keeps Google's generations and its condition (x-goog-if-generation-match) and hands everything else to moto;
what is shown is what we send and how we take the answers, not Google's own service.
"""

from __future__ import annotations

import json
import threading
from typing import ClassVar

import pytest
import requests

from tests.support.http_servers import QuietHandler, running
from tests.support.products import assert_same_product, fetched, read
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run import lock_wait
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.predict import run_job
from tilewright.tasks.storage import bucket as bucket_module
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.ledger import read_entries
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import ChangedStoreError

pytestmark = pytest.mark.usefixtures("small_pictures")

UNSIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}
OURS = {"content-length", "transfer-encoding", "connection", "date", "server"}


class Bridge(QuietHandler):
    """Google's XML API on one side, moto's S3 on the other; notes every condition it is given.

    `refuses` answers every condition as one that does not hold; `loses_copies` makes an empty object of each copy.
    """

    behind = ""
    refuses = False
    loses_copies = False
    conditions: ClassVar[list[str]] = []
    generations: ClassVar[dict[str, int]] = {}
    order = threading.Lock()

    def handle_request(self):
        # One request at a time, so that nothing comes between a condition and its put.
        with self.order:
            self._hand_on()

    def _hand_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {
            k.lower(): v
            for k, v in self.headers.items()
            if k.lower() not in {"host", "authorization", "content-length"}
        }
        condition = asked.pop("x-goog-if-generation-match", None)
        key = self.path.partition("?")[0]
        if condition is not None:
            self.conditions.append(condition)
            if self.refuses or int(condition) != self.generations.get(key, 0):
                self.send_response(412)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        if (source := asked.pop("x-goog-copy-source", None)) is not None and not self.loses_copies:
            asked["x-amz-copy-source"] = source
        answer = requests.request(
            self.command, self.behind + self.path, headers={**asked, **UNSIGNED}, data=body, timeout=30
        )
        if answer.ok and self.command in {"PUT", "POST"}:
            self.generations[key] = max(self.generations.values(), default=0) + 1
        elif answer.ok and self.command == "DELETE":
            self.generations.pop(key, None)
        head = self.command == "HEAD"
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in OURS:
                self.send_header(name, value)
        self.send_header("x-goog-generation", str(self.generations.get(key, 0)))
        self.send_header(
            "Content-Length", answer.headers.get("Content-Length", "0") if head else str(len(answer.content))
        )
        self.end_headers()
        if not head:
            self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815 -- http.server's names


@pytest.fixture
def gs(moto, tmp_path, monkeypatch):
    Bridge.behind, Bridge.conditions, Bridge.generations, Bridge.refuses = moto, [], {}, False
    Bridge.loses_copies = False
    requests.put(f"{Bridge.behind}/maps", headers=UNSIGNED, timeout=10)
    account = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    path = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(path))
    real = bucket_module.from_url

    def plain_http(uri, **settings):
        return real(uri, **{**settings, "client_options": {**settings["client_options"], "allow_http": True}})

    # Google's own endpoint is https alone; only this server is not.
    monkeypatch.setattr(bucket_module, "from_url", plain_http)
    with running(Bridge) as url:
        path.write_text(json.dumps({**account, "gcs_base_url": url}))
        yield Bridge


def test_the_product_is_the_local_one_and_a_stopped_run_goes_on(gs, job, whole, tmp_path):
    class StopError(RuntimeError):
        pass

    storage = open_storage("gs://maps/one")

    def stop(_event):
        if len(list(storage.keys(".tilewright/ledger"))) >= 5:
            raise StopError

    with pytest.raises(StopError):
        run_job(read(job, storage.uri), listener=stop)
    kept = read_entries(storage)
    outcome = run_job(read(job, storage.uri))
    assert {name: read_entries(storage)[name].seconds for name in kept} == {n: kept[n].seconds for n in kept}
    assert_same_product(fetched(outcome.output, tmp_path / "down"), whole)
    assert product_status(outcome.output)["state"] == "complete"
    assert run_job(read(job, outcome.output)).already_complete
    assert "0" in gs.conditions, "entries are put where there is none yet"
    assert len(set(gs.conditions)) > 1, "the lock is put over the one that was seen"


def test_of_eight_writers_of_one_entry_one_wins_and_none_fails(gs):
    storage = open_storage("gs://maps/race", create=True)
    start, won = threading.Barrier(8), []

    def work(number):
        start.wait()
        if storage.create_json("once.json", {"by": number}):
            won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read_json("once.json") == {"by": won[0]}


@pytest.mark.parametrize("held", [False, True])
def test_a_server_that_refuses_all_conditions_ends_a_run_in_a_sentence(gs, monkeypatch, held):
    monkeypatch.setattr(lock_wait, "REFUSED_SECONDS", 0.01)
    storage = open_storage("gs://maps/stuck", create=True)
    if held:
        # Released: whoever comes next may have it.
        with lock_output(storage):
            pass
    gs.refuses = True
    with pytest.raises(StorageError, match=r"lock\.json .* does not keep to the conditions"), lock_output(storage):
        pass


def test_an_item_that_the_server_makes_empty_is_not_listed_and_made_anew(gs, job, whole, tmp_path):
    storage = open_storage("gs://maps/lost")
    gs.loses_copies = True
    with pytest.raises(ChangedStoreError, match=r"item\.json .* changed"):
        run_job(read(job, storage.uri))
    assert storage.read("collection.json") is None
    assert product_status(storage.uri)["state"] == "failed"
    gs.loses_copies = False
    run_job(read(job, storage.uri))
    assert_same_product(fetched(storage.uri, tmp_path / "down"), whole)
