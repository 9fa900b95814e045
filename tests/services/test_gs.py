"""Products on gs://, before a server that speaks the part of Google's XML API a product needs: the same as local ones.

The server puts Google's condition (x-goog-if-generation-match: 0) into S3's words and hands everything to moto; what is
shown is what we send and how we take the answers, not Google's own service.
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
from tilewright.flows.run.predict import run_job
from tilewright.tasks.storage import bucket as bucket_module
from tilewright.tasks.storage.ledger import read_entries
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

UNSIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}
OURS = {"content-length", "transfer-encoding", "connection", "date", "server"}


class Bridge(QuietHandler):
    """Google's XML API on one side, moto's S3 on the other; notes every condition it is given."""

    behind = ""
    conditions: ClassVar[list[str]] = []

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {
            k.lower(): v
            for k, v in self.headers.items()
            if k.lower() not in {"host", "authorization", "content-length"}
        }
        condition = asked.pop("x-goog-if-generation-match", None)
        if condition is not None:
            self.conditions.append(condition)
            asked["if-none-match"] = "*"
        answer = requests.request(
            self.command, self.behind + self.path, headers={**asked, **UNSIGNED}, data=body, timeout=30
        )
        head = self.command == "HEAD"
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in OURS:
                self.send_header(name, value)
        self.send_header("x-goog-generation", "1")
        self.send_header(
            "Content-Length", answer.headers.get("Content-Length", "0") if head else str(len(answer.content))
        )
        self.end_headers()
        if not head:
            self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815 -- http.server's names


@pytest.fixture
def gs(moto, tmp_path, monkeypatch):
    Bridge.behind, Bridge.conditions = moto, []
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
    assert set(gs.conditions) == {"0"}, "entries are put where there is none yet"


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
