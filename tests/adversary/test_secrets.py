"""Twenty kinds of secret planted in what a job names, and looked for in everything that is written and printed."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.file_server import serve_elsewhere
from tests.support.graphs import conv_stack
from tests.support.products import tilewright
from tests.support.worlds import World, area, bounds, write_card
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, json_without_secrets, without_secrets
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.tasks.storage.secrets import kept_of

WORD = "hUnTeR2zQ9x"
"""One word that is part of every planted secret, so that one search finds them all."""

KINDS = {
    "Azure SAS": "https://h.org/a.tif?sv=2021&sp=r&sig={0}%3D",
    "S3 V4": "https://h.org/a.tif?X-Amz-Credential={0}%2F2024&X-Amz-Signature={0}",
    "S3 V2": "https://h.org/a.tif?AWSAccessKeyId={0}&Signature={0}&Expires=1",
    "GCS V4": "https://h.org/a.tif?X-Goog-Signature={0}",
    "CloudFront": "https://h.org/a.tif?Policy={0}&Key-Pair-Id={0}",
    "session token": "https://h.org/a.tif?X-Amz-Security-Token={0}",
    "token": "https://h.org/a.tif?token={0}",
    "access_token": "https://h.org/a.tif?access_token={0}#x",
    "api key": "https://h.org/a.tif?apikey={0}",
    "an unknown name": "https://h.org/a.tif?x={0}",
    "no name": "https://h.org/a.tif?{0}",
    "after another mark": "https://h.org/a.tif?a=1?b={0}",
    "semicolons": "https://h.org/a.tif?a=1;b={0}",
    "fragment": "https://h.org/a.tif#access_token={0}",
    "user and password": "https://user:{0}@h.org/a.tif",
    "user alone": "https://{0}@h.org/a.tif",
    "password with @": "https://user:a@{0}@h.org/a.tif",
    "password with /": "https://user:a/{0}@h.org/a.tif",
    "encoded password": "https://user:%40{0}@h.org:8443/a.tif",
    "keys of a bucket": "s3://key:{0}@bucket/a.tif",
    "signed bucket": "s3://bucket/a.tif?X-Amz-Signature={0}",
    "database": "postgresql://user:{0}@h.org/a.tif",
    "GDAL's path": "/vsicurl/https://h.org/a.tif?sig={0}",
    "message of a client": "Max retries exceeded with url: /a.tif?x=1&sig={0} (Caused by X)",
    "nested": "https%3A%2F%2Fh.org%2Fa.tif%3Fsig%3D{0}",
    "header": "sent Authorization: Bearer {0}",
    "basic": "sent Authorization: Basic {0}==",
    "upper case": "HTTPS://U:{0}@H.ORG/a.tif?SIG={0}",
    "backslashes": "https:\\\\user:{0}@h.org\\a.tif",
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_secret_stays_in_a_text(kind):
    text = KINDS[kind].format(WORD)
    for around in ("{}", "cannot open {}: HTTP 403", "'{}'", "({}), then", '{{"href": "{}"}}', "{}\n{}"):
        kept = without_secrets(around.format(text, text))
        assert WORD not in kept
        assert "a.tif" in kept or "header" in kind or "basic" in kind, "what it is about is still said"


@pytest.mark.parametrize(
    "kind", [kind for kind, text in KINDS.items() if text.startswith(("http", "s3:")) and "%3A" not in text]
)
def test_no_kind_of_secret_stays_in_a_displayed_href(kind):
    assert WORD not in display_href(KINDS[kind].format(WORD))


@pytest.mark.parametrize(
    "text",
    [
        "https://h.org:8080/a/@2x.png",
        "https://proj.org/schemas/v0.7/projjson.schema.json#",
        "s3://bucket/year=2020/a?1#2.tif",
        "/data/year=2020/a.tif",
        "Why? Because a = b.",
        "http://[fd00::1]:80/x",
        "0.3 of the area, key features",
        "",
    ],
)
def test_a_text_without_a_secret_is_left_as_it_is(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "unit", ["/", ":", "@", "?", "a=", "/?", "key-", "%3F", "get /", "-a", "a:b@", '"a":', "http://a", " "]
)
def test_a_text_of_one_unit_over_and_over_is_cut_in_time(unit):
    text = unit * (100_000 // len(unit))
    began = time.process_time()
    for tail in ("", "@x", "</", "=x", "?x=1 http", ':"'):
        without_secrets(text + tail)
    assert time.process_time() - began < 20, "it grows with the square"


KEPT = {
    "one of two": ("https://h.org/a.tif?item=5&sig={0}", "https://h.org/a.tif?item=5"),
    "both, in their order": ("https://h.org/a?year=2020&x={0}&item=5", "https://h.org/a?year=2020&item=5"),
    "with a user": ("https://user:{0}@h.org/a?item=5#{0}", "https://h.org/a?item=5"),
    "a name within a name": ("https://h.org/a?my-item={0}&item2={0}", "https://h.org/a"),
    "another case": ("https://h.org/a?ITEM={0}", "https://h.org/a"),
    "an address within": ("https://h.org/a?item=http://b.org?sig={0}", "https://h.org/a"),
    "an encoded address within": ("https://h.org/a?item=b%3Fsig%3D{0}", "https://h.org/a"),
    "encoded twice": ("https://h.org/a?item=b%253Fsig%253D{0}", "https://h.org/a"),
    "a user within": ("https://h.org/a?item=http://me:{0}@b.org", "https://h.org/a"),
    "an encoded user within": ("https://h.org/a?item=me:{0}%40b.org", "https://h.org/a"),
    "semicolons": ("https://h.org/a?item=5;sig={0}", "https://h.org/a"),
    "after another mark": ("https://h.org/a?item=5?sig={0}", "https://h.org/a"),
    "fragment": ("https://h.org/a#item={0}", "https://h.org/a"),
    "a bucket": ("s3://b/a.tif?item={0}", "s3://b/a.tif"),
    "a path": ("https://h.org/a?item=2020/b%20c.tif", "https://h.org/a?item=2020/b%20c.tif"),
}


def test_a_quote_does_not_end_the_cut_of_a_whole_href():
    for href in ("https://h.org/a.tif?token=abc'def{0}", "https://u:p'w{0}@h.org/a.tif", "https://h.org/a.tif?'{0}'"):
        kept = json_without_secrets({"href": href.format(WORD), "in": [href.format(WORD)]})
        assert kept == {"href": "https://h.org/a.tif", "in": ["https://h.org/a.tif"]}


@pytest.mark.parametrize("kind", KEPT)
def test_only_what_a_source_declares_harmless_stays_of_a_query(kind):
    href, expected = (text.format(WORD) for text in KEPT[kind])
    keep = ("item", "year")
    assert display_href(href, keep) == expected
    assert without_secrets(f"see {href}, then", keep) == f"see {expected}, then"
    assert without_secrets(href, keep) == expected
    assert display_href(expected, keep) == expected, "a second cut takes no more"


@pytest.mark.parametrize("name", ["sig", "Signature", "X-Amz-Signature", "access_token", "apikey", "key", "sv", "sp"])
def test_no_source_declares_a_key_harmless(name):
    with pytest.raises(CatalogError, match="keys and signatures"):
        resolve_source({"like": "earth-search", "keep_query": [name]})
    assert kept_of({"keep_query": ["year", name]}) == ("year",)


@pytest.mark.parametrize("names", [5, [5], {"a": 1}, [""], [["a"]]])
def test_parameters_of_other_types_are_refused(names):
    with pytest.raises(CatalogError, match="names of parameters"):
        resolve_source({"like": "earth-search", "keep_query": names})


PLANTED = {
    "nir": "http://user:{0}@{1}?sig={0}%3D&item=5&x={0}",
    "green": "http://{1}?X-Amz-Credential={0}&{0}",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose every href holds secrets: (folder, job, answers)."""
    folder = tmp_path_factory.mktemp("secrets")
    world = World(folder / "scenes")
    values = np.random.default_rng(1).random((64, 64), dtype=np.float32)
    for band in ("green", "nir"):
        world.add(values, band, scene="first", unit="reflectance")
    card = write_card(
        folder / "card",
        conv_stack(n_in=2),
        inputs=[{"name": "x", "bands": ("green", "nir")}],
        outputs=[{"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}],
        tile={"step": 32},
    )
    with serve_elsewhere(folder / "scenes") as address:
        host = address.removeprefix("http://")
        files = [
            {**entry, "href": PLANTED[entry["band"]].format(WORD, f"{host}/{Path(entry['href']).name}")}
            for entry in world.files
        ]
        plain = {
            "name": "secrets",
            "area": area((-2, 66), (-2, 66)),
            "grid": {"crs": "EPSG:32633", "bounds": bounds((0, 64), (0, 64))},
            "period": "2023-06-01/2023-06-30",
            "source": {"files": files, "keep_query": ["item"]},
            "model": str(card),
            "tile": {"block": 32, "step": 32},
        }
        job, out = folder / "job.json", folder / "out"
        job.write_text(json.dumps(plain))
        answers = [
            tilewright("plan", job, "--json"),
            tilewright("search", job, "--json"),
            tilewright("run", job, "--output", out, "--log", "json"),
            tilewright("status", out, "--json"),
            tilewright("rerun", out / "item.json", "--output", folder / "again"),
            tilewright("run", job, "--output", out),
            tilewright("search", job, "--items"),
        ]
        shutil.copytree(out, folder / "half")
        (folder / "half" / "item.json").unlink()
        shutil.rmtree(folder / "half" / ".tilewright" / "ledger")
        answers.append(tilewright("run", job, "--output", folder / "half"))
        shutil.copytree(folder / "half", folder / "broken")
        (folder / "broken" / "item.json").unlink()
        shutil.rmtree(folder / "broken" / ".tilewright" / "ledger")
        (folder / "scenes" / Path(world.files[1]["href"]).name).unlink()
        broken = [
            tilewright("run", job, "--output", folder / "broken", "--log", "json"),
            tilewright("run", job, "--output", folder / "broken", "--debug"),
            tilewright("plan", job, "--debug"),
        ]
    return folder, answers, broken


def holds_secret(content: bytes) -> bool:
    text = content.decode("latin-1")
    return any(form in text for form in (WORD, quote(WORD), base64.b64encode(WORD.encode()).decode()[:10]))


def test_a_run_whose_hrefs_hold_secrets_is_made_resumed_and_rebuilt(run):
    _, answers, _ = run
    assert [answer.returncode for answer in answers] == [0] * len(answers), [answer.stderr[-500:] for answer in answers]
    assert "identical" in answers[4].stdout, "the hrefs with their secrets are at hand"
    assert "complete already" in answers[5].stdout


def test_nothing_printed_or_logged_holds_a_secret(run):
    _, answers, broken = run
    assert [answer.returncode for answer in broken] == [1, 1, 2], [answer.stderr[-500:] for answer in broken]
    for answer in (*answers, *broken):
        assert not holds_secret((answer.stdout + answer.stderr).encode()), answer.args


@pytest.mark.parametrize("name", ["out", "again", "half", "broken"])
def test_no_file_of_a_product_holds_a_secret_but_the_one_that_is_for_its_owner_alone(run, name):
    folder = run[0] / name
    files = [path for path in folder.rglob("*") if path.is_file()]
    holding = {str(path.relative_to(folder)) for path in files if holds_secret(path.read_bytes())}
    assert holding == {".tilewright/secrets.json"}
    assert stat.S_IMODE((folder / ".tilewright" / "secrets.json").stat().st_mode) == 0o600
    assert len(files) > 5


def test_compressed_tables_hold_no_secret_and_the_item_does_not_lead_to_them(run):
    out = run[0] / "out"
    for name in ("manifest.parquet", "items.parquet"):
        assert WORD not in str(pq.read_table(out / name).to_pydict())
    assert "secrets.json" not in (out / "item.json").read_text() + (out / "report.json").read_text()


def test_a_plan_whose_secrets_are_gone_is_refused_and_can_be_begun_anew(run, tmp_path):
    shutil.copytree(run[0] / "broken", tmp_path / "out")
    (tmp_path / "out" / ".tilewright" / "secrets.json").unlink()
    refused = tilewright("run", run[0] / "job.json", "--output", tmp_path / "out")
    assert refused.returncode == 2
    assert "secrets.json that holds them is not there" in refused.stderr


def test_what_the_source_declares_harmless_is_published(run):
    out = run[0] / "out"
    plan = json.loads((out / ".tilewright" / "plan.json").read_text())
    assert plan["source"]["keep_query"] == ["item"]
    assert {entry["href"].partition("?")[2] for entry in plan["source"]["files"]} == {"item=5", ""}
    (scene,) = pq.read_table(out / "manifest.parquet").to_pylist()
    assert sorted(asset["href"].partition("?")[2] for asset in scene["assets"]) == ["", "item=5"]


def test_a_parameter_that_is_no_secret_makes_another_request(run, tmp_path):
    job = json.loads((run[0] / "job.json").read_text())
    files = [{**entry, "href": entry["href"].replace("item=5", "item=6")} for entry in job["source"]["files"]]
    other = tmp_path / "job.json"
    other.write_text(json.dumps({**job, "source": {**job["source"], "files": files}}))
    refused = tilewright("run", other, "--output", run[0] / "out")
    assert refused.returncode == 2
    assert "source" in refused.stderr
    report = json.loads((run[0] / "out" / "report.json").read_text())
    assert "?item=5" in json.dumps(report["job"]), "the job to run again reads what this one read"
