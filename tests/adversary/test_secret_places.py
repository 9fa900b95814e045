"""Secrets beyond the hrefs of a job: what servers send back, what libraries say, and what Prefect's server keeps."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.adversary.test_secrets import KINDS
from tests.support.file_server import serve
from tests.support.graphs import conv_stack
from tests.support.http_servers import QuietHandler, running
from tests.support.products import tilewright
from tests.support.small_catalogs import item
from tests.support.worlds import World, area, bounds, write_card
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import without_secrets
from tilewright.catalogs.publish.push import PushError, check_transactions
from tilewright.catalogs.sources.signing import SigningError, signed
from tilewright.flows.cli.main import app
from tilewright.flows.errors import ErrorClass, classify, without_secrets_of
from tilewright.flows.monitor.logs import clean_records
from tilewright.tasks.storage.errors import storage_error

WORD = "hUnTeR2zQ9xAbCdEf"
"""One word that is part of every planted secret, long enough to be a key of the environment."""

FORMS = (WORD, quote(WORD), base64.b64encode(WORD.encode()).decode()[:16], json.dumps(WORD)[1:-1])


def holds_secret(content: str | bytes) -> bool:
    text = content if isinstance(content, str) else content.decode("latin-1")
    return any(form in text for form in FORMS)


ECHOES = {
    "a line of a log": '{{"url": "/more?after={0}"}}',
    "a request": "GET /more?{0} HTTP/1.1",
    "a client": "Max retries exceeded with url: /more?token=x&{0} (Caused by X)",
    "one slash": "http:/user:{0}@h.org/a",
    "no slash": "http:user:{0}@h.org/a",
    "no scheme": "//user:{0}@h.org/a?sig={0}",
    "a host alone": "user:{0}@h.org",
    "cut off before the host": "cannot read http://user:{0}",
    "urllib": "netloc 'user:{0}@K\u2100.org' contains invalid characters",
    "JSON": '{{"X-Api-Key": "{0}", "token": "{0}"}}',
    "JSON of lists": '{{"X-Api-Key": ["{0}"]}}',
    "JSON in JSON": '{{\\"token\\": \\"{0}\\"}}',
    "Python": "{{'Authorization': 'Token {0}'}}",
    "a header": "X-Api-Key: {0}",
    "another scheme": "Authorization: Token {0}",
    "a cookie": "Cookie: session={0}",
    "signed headers": "x-amz-security-token:{0}",
    "XML": "<AWSAccessKeyId>{0}</AWSAccessKeyId><StringToSign>AWS4\n{0}\n</StringToSign><Key>a.tif</Key>",
}


@pytest.mark.parametrize("kind", ECHOES)
def test_no_way_of_sending_a_secret_back_keeps_it(kind):
    kept = without_secrets(ECHOES[kind].format(WORD))
    assert not holds_secret(kept)
    assert without_secrets(kept) == kept, "a second cut takes no more"


@pytest.mark.parametrize(
    "text",
    [
        "https://h.org:8080, then",
        "http://127.0.0.1:{port}/x",
        "/data/a:b@c.tif",
        "s3://bucket/a:b@c.tif",
        "me@h.org",
        "source.token: it carries a signature",
        "<Key>a.tif</Key>",
        "why/not?",
        "2020-01-01T10:00:00Z",
    ],
)
def test_what_only_looks_like_one_stays(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text", ["/a" * 3000 + "?=", "a:" * 5000 + "@", "-key" * 3000 + ":", "'token" * 3000, "<" * 9000]
)
def test_a_long_text_is_cut_in_a_short_time(text):
    began = time.monotonic()
    without_secrets(text + " http://h.org </")
    assert time.monotonic() - began < 2


NEXT = {
    "query": {"href": f"/more?token={WORD}"},
    "a query's unknown name": {"href": f"/more?after={WORD}"},
    "a query without a name": {"href": f"/more?{WORD}"},
    "body": {"href": "/more", "method": "POST", "body": {"token": WORD}, "merge": True},
    "a part of the body": {"href": "/more", "method": "POST", "body": {"page": f"next:{WORD}"}},
    "headers": {"href": "/more", "method": "POST", "headers": {"X-Api-Key": WORD, "Authorization": f"Token {WORD}"}},
}
"""Links to the next page, below the server's address."""

ANSWERS = {
    "JSON": lambda asked, headers, body: json.dumps({"url": asked, "headers": headers, "body": body}),
    "words": lambda asked, headers, body: f"invalid: {asked.partition('?')[2]} {list(headers.values())} {body}",
    "a value": lambda asked, headers, body: f"no page {WORD} for you",
    "a long one": lambda asked, headers, body: f"{'x' * 270} http://user:{WORD}@h.org/a",
}
"""How a server says what it was asked for."""


def echoing(*, link=None, answer="JSON", status=403):
    """A STAC API whose second page, and all but a search, is refused with what was asked for."""

    class Handler(QuietHandler):
        def exchange(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            path, base = self.path.partition("?")[0], f"http://127.0.0.1:{self.server.server_port}"
            if path == "/api":
                search = {"rel": "search", "href": f"{base}/search", "method": "POST"}
                self.reply({"conformsTo": [], "links": [search]})
            elif path == "/search":
                links = [{"rel": "next", **link, "href": base + link["href"]}]
                self.reply({"type": "FeatureCollection", "features": [item("first")], "links": links})
            elif path.endswith("/collections"):
                self.reply({"collections": [{"id": "sentinel-2-l2a"}], "links": []})
            else:
                content = ANSWERS[answer](self.path, dict(self.headers), body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = exchange  # noqa: N815

    return running(Handler)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(
        tmp_path_factory.mktemp("card"),
        conv_stack(n_in=1),
        inputs=[{"name": "x", "bands": ("red",), "tw:collection": "sentinel-2-l2a"}],
        outputs=[{"name": "y", "classes": ("a", "b"), "tw:activation": "softmax", "tw:layers": ["class"]}],
    )


@pytest.fixture
def searched(card, tmp_path, monkeypatch):
    """A function that searches a source with --debug and gives all that is printed."""

    def search(source):
        fields = {"name": "s", "area": [10, 45, 11, 46], "period": "2020-01-01/2020-02-01", "source": source}
        (tmp_path / "job.json").write_text(json.dumps({**fields, "model": str(card)}))
        words = ["--debug", "search", str(tmp_path / "job.json")]
        monkeypatch.setattr(sys, "argv", ["tilewright", *words])
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 2, answer.output
        assert "Traceback" in answer.output, "the trace is shown too"
        return answer.output

    return search


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("kind", NEXT)
def test_an_api_that_sends_back_what_its_next_link_carried_is_quoted_without_it(searched, kind, answer):
    with echoing(link=NEXT[kind], answer=answer) as address:
        said = searched(f"{address}/api")
    assert "refused the search: HTTP 403" in said
    assert not holds_secret(said)


TARGETS = {
    "a signature": f"/nothing?sig={WORD}",
    "no address": f"http://[user:{WORD}@h]/x?sig={WORD}",
    "an open bracket": f"http://user:{WORD}@[h/x",
    "characters of other scripts": f"http://user:{WORD}@K\u2100.org/x".encode().decode("latin-1"),
    "another scheme": f"ftp://user:{WORD}@h.org/x",
    "a wrong port": f"http://user:{WORD}@127.0.0.1:99999999/x",
    "a loop": f"/api?sig={WORD}",
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_redirect_to_a_secret_ends_without_it(searched, kind):
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(404 if self.path.startswith("/nothing") else 302)
            self.send_header("Location", TARGETS[kind])
            self.send_header("Content-Length", "0")
            self.end_headers()

    with running(Handler) as address:
        said = searched(f"{address.replace('//', f'//user:{WORD}@')}/api?token={WORD}&{WORD}")
    assert not holds_secret(said)
    assert "not foreseen" not in said


def test_a_server_that_hangs_up_is_told_of_without_the_query(searched):
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.close_connection = True

    with running(Handler) as address:
        assert not holds_secret(searched(f"{address}/api?token=x&{WORD}"))


@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "a long one"])
def test_an_api_that_sends_back_the_token_of_a_push_is_quoted_without_it(answer):
    with echoing(answer=answer) as address, pytest.raises(PushError) as refusal:
        check_transactions(f"{address}/other", headers={"Authorization": f"Bearer {WORD}"})
    assert "HTTP 403" in str(refusal.value)
    assert not holds_secret(str(refusal.value))


@pytest.mark.parametrize("document", [{"token": [WORD]}, {"token": WORD, "msft:expiry": WORD}, [WORD], WORD])
def test_a_token_service_that_answers_no_token_is_told_of_without_it(monkeypatch, document):
    from planetary_computer import sas

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.reply(document)

    sas.Settings.get.cache_clear()
    with running(Handler) as address:
        monkeypatch.setenv("PC_SDK_SAS_URL", address)
        with pytest.raises(SigningError) as failure:
            signed("https://a.blob.core.windows.net/c/x.tif", signing="planetary-computer")
    sas.Settings.get.cache_clear()
    chain, error = [], failure.value
    while error is not None:
        chain, error = [*chain, str(error)], error.__cause__
    assert not holds_secret(" ".join(chain))


@pytest.mark.parametrize("endpoint", [f"user:{WORD}@127.0.0.1:1", f"ftp://user:{WORD}@127.0.0.1"])
def test_an_endpoint_that_is_none_is_named_without_its_password(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    answer = CliRunner().invoke(app, ["status", "s3://bucket/x"])
    assert answer.exit_code == 2
    assert "AWS_ENDPOINT_URL" in answer.output
    assert not holds_secret(answer.output)


@pytest.mark.parametrize("kind", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_an_s3_server_that_sends_back_the_keys_is_told_of_without_them(monkeypatch, kind):
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            signed_by = self.headers["Authorization"]
            body = (
                f"<Error><Code>{kind}</Code><Message>The key {WORD} is wrong</Message><AWSAccessKeyId>{WORD}"
                f"</AWSAccessKeyId><StringToSign>{signed_by} x-amz-security-token:{WORD}</StringToSign></Error>"
            ).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    with running(Handler) as address:
        for name in names:
            monkeypatch.setenv(name, WORD)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        words = ["status", "s3://bucket/x", "--debug"]
        monkeypatch.setattr(sys, "argv", ["tilewright", *words])
        answer = CliRunner().invoke(app, words)
    assert "access was refused" in answer.output
    assert not holds_secret(answer.output)
    reason = OSError(f"<AWSAccessKeyId>{WORD}</AWSAccessKeyId> http://user:{WORD}@h.org/{'x' * 400}")
    assert not holds_secret(without_secrets(str(storage_error(reason, operation="read", uri="s3://b"))))


class _StubbornError(RuntimeError):
    """An error that makes its words anew."""

    def __str__(self) -> str:
        return f"timed out: http://h.org/?sig={WORD}"


@contextmanager
def _caused(words):
    try:
        raise OSError(5, words, f"http://user:{WORD}@h.org/a")
    except OSError as error:
        yield error


@pytest.mark.parametrize("error", [CatalogError(f"see http://h.org?sig={WORD}"), _StubbornError()])
def test_an_error_that_another_program_keeps_holds_no_secret_and_stays_of_its_class(error):
    with _caused(f"see http://h.org?sig={WORD}") as cause:
        error.__cause__ = cause
    kind = classify(error)
    clean = without_secrets_of(error)
    assert not holds_secret("".join(traceback.format_exception(clean)))
    assert classify(clean) is kind
    assert kind in {ErrorClass.BAD_REQUEST, ErrorClass.TRANSIENT}


def test_what_libraries_log_and_warn_of_holds_no_secret(capsys):
    before, handler = logging.getLogRecordFactory(), logging.StreamHandler()
    logger = logging.getLogger("tests.secret_places")
    logger.propagate = False
    logger.addHandler(handler)
    words = warnings.formatwarning
    clean_records()
    try:
        logger.warning("Retrying %s", f"/a?sig={WORD}")
        try:
            raise ValueError(f"http://user:{WORD}@h.org")
        except ValueError:
            logger.exception("failed")
        print(warnings.formatwarning(f"http://h.org/?sig={WORD}", UserWarning, "a.py", 1))
    finally:
        logging.setLogRecordFactory(before)
        warnings.formatwarning = words
        logger.removeHandler(handler)
    said = "".join(capsys.readouterr())
    assert "Retrying" in said
    assert "Traceback" in said
    assert not holds_secret(said)


FLOW = """
import sys
from tilewright.catalogs.errors import CatalogError
from tilewright.flows.prefect_flows import flows
from tilewright.flows.prefect_steps import step
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Notice, Stage, silent

WORD = sys.argv[1]
SAID = f"no user:{WORD}@h.org, http://user:{WORD}@h.org/a?sig={WORD}"


@step("plan")
def plan(kind):
    try:
        raise KeyError(SAID)
    except KeyError as error:
        raise kind(SAID) from error


class Job:
    name = "planted"


for kind in (CatalogError, TypeError):

    def run_job(job, options, *, listener, send_shard):
        listener(Stage(name="blocks", note=SAID, total=1))
        listener(Notice(text=SAID))
        plan(kind)

    flows.run_job = run_job
    try:
        flows.run_under_prefect(Job(), RunOptions(), listener=silent)
    except (CatalogError, TypeError) as error:
        print("raised", type(error).__name__)
"""
"""Flow runs whose step fails with an error of ours and with one of others."""


@pytest.mark.slow(reason="a Prefect server of its own and two flow runs: half a minute")
def test_prefects_server_keeps_no_secret_of_an_error_a_note_or_a_trace(prefect_home, tmp_path):
    from tests.support.prefect_servers import prefect_server

    with prefect_server(prefect_home, tmp_path / "server") as (api, _):
        env = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", FLOW, WORD]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["raised", "CatalogError", "raised", "TypeError"]
    assert not holds_secret(done.stderr)
    files = [path for path in (*(tmp_path / "server").rglob("*"), *(tmp_path / "home").rglob("*")) if path.is_file()]
    assert [str(path) for path in files if holds_secret(path.read_bytes())] == []
    with sqlite3.connect(Path(tmp_path / "server" / "prefect.db")) as database:
        states = [message for (message,) in database.execute("select message from flow_run_state") if message]
        logs = [message for (message,) in database.execute("select message from log")]
    assert any("no h.org, http://h.org/a" in message for message in states), "what failed is still said"
    assert any("Traceback" in message for message in logs), "and where"


@pytest.fixture
def redirecting(tmp_path):
    """A job whose files a server hands out behind a redirect to a signed URL of its own: (job, files)."""
    world = World(tmp_path / "scenes")
    values = np.random.default_rng(2).random((64, 64), dtype=np.float32)
    world.add(values, "green", scene="first", unit="reflectance")
    names = [Path(entry["href"]).name for entry in world.files]
    card = write_card(
        tmp_path / "card",
        conv_stack(n_in=1),
        inputs=[{"name": "x", "bands": ("green",)}],
        outputs=[{"name": "y", "classes": ("a", "b"), "tw:activation": "softmax", "tw:layers": ["class"]}],
        tile={"step": 32},
    )
    with serve(tmp_path / "scenes") as files:

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802
                self.send_response(302)
                self.send_header("Location", f"{files.url}{self.path.partition('?')[0]}?sig={WORD}&token={WORD}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815

        with running(Handler) as address:
            signed_hrefs = [f"{address.replace('//', f'//user:{WORD}@')}/{name}?x={WORD}" for name in names]
            fields = {
                "name": "redirected",
                "area": area((-2, 66), (-2, 66)),
                "grid": {"crs": "EPSG:32633", "bounds": bounds((0, 64), (0, 64))},
                "period": "2023-06-01/2023-06-30",
                "source": {
                    "files": [{**entry, "href": href} for entry, href in zip(world.files, signed_hrefs, strict=True)]
                },
                "model": str(card),
                "tile": {"block": 32, "step": 32},
            }
            (tmp_path / "job.json").write_text(json.dumps(fields))
            yield tmp_path / "job.json", [tmp_path / "scenes" / name for name in names]


def test_a_run_from_signed_redirects_into_a_bucket_leaves_its_secrets_nowhere(redirecting, moto, tmp_path):
    job, files = redirecting
    keys = {"AWS_ACCESS_KEY_ID": f"AKIA{WORD}", "AWS_SECRET_ACCESS_KEY": WORD * 2, "AWS_SESSION_TOKEN": WORD * 3}
    env = {**keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": moto, "TILEWRIGHT_CACHE": str(tmp_path / "cache")}
    env |= {"TMPDIR": str(tmp_path / "tmp"), "AWS_NO_SIGN_REQUEST": ""}
    (tmp_path / "tmp").mkdir()
    client = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="secrets")
    answers = [tilewright("run", job, "--output", "s3://secrets/out", "--log", "json", env=env)]
    assert answers[0].returncode == 0, answers[0].stderr[-2000:]
    answers.append(tilewright("status", "s3://secrets/out", "--json", env=env))
    for path in files:
        path.unlink()
    answers.append(tilewright("run", job, "--output", tmp_path / "broken", "--debug", env=env))
    answers.append(tilewright("status", "s3://secrets/none", "--debug", env=env))
    assert [answer.returncode for answer in answers[2:]] != [0, 0]
    for answer in answers:
        assert not holds_secret(answer.stdout + answer.stderr), answer.args
    listed = client.list_objects_v2(Bucket="secrets")["Contents"]
    objects = {entry["Key"]: client.get_object(Bucket="secrets", Key=entry["Key"])["Body"].read() for entry in listed}
    assert "out/item.json" in objects
    assert [key for key, content in objects.items() if holds_secret(content)] == []
    tables = [key for key in objects if key.endswith(".parquet")]
    assert len(tables) == 2
    for key in tables:
        assert not holds_secret(str(pq.read_table(io.BytesIO(objects[key])).to_pydict())), key
    for folder in ("cache", "tmp", "broken"):
        left = [path for path in (tmp_path / folder).rglob("*") if path.is_file() and path.name != "secrets.json"]
        assert [str(path) for path in left if holds_secret(path.read_bytes())] == []


REFUSED = [kind for kind, text in KINDS.items() if ("://" in text or "@" in text) and "name" not in kind]


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind not in {"after another mark", "semicolons"}])
def test_prefect_is_given_no_parameter_with_a_key_of_any_kind(kind):
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    from tilewright.flows.prefect_flows.secrets import SecretError, refuse_secrets

    with pytest.raises(SecretError, match=r"job\.source") as refusal:
        refuse_secrets({"source": {"files": [{"href": KINDS[kind].format(WORD)}]}}, "job")
    assert not holds_secret(str(refusal.value))
    refuse_secrets({"source": "https://h.org:8080/stac?collections=a&limit=5"}, "job")
