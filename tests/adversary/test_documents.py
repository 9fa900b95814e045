"""Documents that were written to make the command fall over, or to act on the terminal that shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.graphs import conv_stack
from tests.support.products import tilewright
from tests.support.worlds import World, area, bounds, write_card
from tilewright.flows.cli.main import app
from tilewright.flows.shown import shown, shown_json
from tilewright.models.errors import CardError
from tilewright.models.spec.expression import parse_expression
from tilewright.tasks.storage.ledger import FAILURES, read_failures
from tilewright.tasks.storage.storage import open_storage

HOSTILE = "a\x1b[2J\n\u202eb\x9b2Kc\u2028d\u200b"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A job that works, as JSON values."""
    folder = tmp_path_factory.mktemp("documents")
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
    return {
        "name": "documents",
        "area": area((-2, 66), (-2, 66)),
        "grid": {"crs": "EPSG:32633", "bounds": bounds((0, 64), (0, 64))},
        "period": "2023-06-01/2023-06-30",
        "source": {"files": world.files},
        "model": str(card),
        "tile": {"block": 32, "step": 32},
    }


ODD_FILES = {
    "a cloud cover of NaN": ({"cloud_cover": float("nan")}, 2),
    "a scene named by escapes": ({"scene": HOSTILE}, 0),
    "a scale of zero": ({"scale": 0}, 2),
    "a huge whole scale": ({"scale": 10**400}, 2),
    "a lone surrogate": ({"href": "/\ud800.tif"}, 2),
    "a band named by escapes": ({"band": HOSTILE}, 2),
    "an href with a newline": ({"href": "/no\n\x1b[2Jsuch.tif"}, 2),
}

ODD_JOBS = {
    "a huge area": {"area": [0, 0, 10**400, 1]},
    "bounds beyond any grid": {"grid": {"crs": "EPSG:32633", "bounds": [0, 0, 1e300, 1e300]}},
    "a CRS of escapes": {"grid": {"crs": HOSTILE}},
    "the year 9999": {"period": "9999-12-01/9999-12-31"},
    "a key of escapes": {HOSTILE: 1},
    "a model of escapes": {"model": HOSTILE},
    "a source of escapes": {"source": HOSTILE},
}


def planned(job):
    """The answer of `tilewright plan`, in this process: a start of Python would take longer than the plan."""
    answer = CliRunner().invoke(app, ["plan", str(job)])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return subprocess.CompletedProcess(["plan"], answer.exit_code, answer.stdout, answer.stderr)


def assert_plain(answer):
    """No trace, no fault, and nothing that acts on a terminal."""
    said = answer.stdout + answer.stderr
    assert "Traceback" not in said
    assert "not foreseen" not in said, said
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\u200b]", said)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_entry_of_a_list_is_used_or_refused_in_words(kind, plain, tmp_path):
    entry, code = ODD_FILES[kind]
    first, other = plain["source"]["files"]
    (tmp_path / "job.json").write_text(json.dumps({**plain, "source": {"files": [{**first, **entry}, other]}}))
    answer = planned(tmp_path / "job.json")
    assert answer.returncode == code, answer.stderr
    assert_plain(answer)


@pytest.mark.parametrize("kind", ODD_JOBS)
def test_an_odd_job_is_refused_in_words(kind, plain, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({**plain, **ODD_JOBS[kind]}))
    answer = planned(tmp_path / "job.json")
    assert answer.returncode == 2, answer.stderr
    assert_plain(answer)


def test_a_scene_of_escapes_and_no_cloud_cover_is_mapped_and_published(plain, tmp_path):
    files = [{**entry, "scene": HOSTILE} for entry in plain["source"]["files"]]
    (tmp_path / "job.json").write_text(json.dumps({**plain, "source": {"files": files}}))
    for words in (
        ("run", "--output", tmp_path / "out", "--log", "json"),
        ("search",),
        ("search", "--json"),
        ("search", "--items"),
    ):
        answer = tilewright(words[0], tmp_path / "job.json", *words[1:])
        assert answer.returncode == 0, answer.stderr
        assert_plain(answer)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["scenes"][0]["cloud_cover"] is None


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b2K", r"\x9b2K"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("Fläche 水 é", "Fläche 水 é"),
    ],
)
def test_what_acts_on_a_terminal_is_seen(text, seen):
    assert shown(text) == seen
    assert json.loads(shown_json([text])) == [text], "in JSON it stays the same value"
    assert shown_json([text]).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "-" * 900 + "nir",
        "nir * " + "9" * 400,
        "nir + 1e999",
        "abs(" * 90 + "nir" + ")" * 90,
        "nir" + " ** 2" * 100,
        "nir + 1j",
    ],
)
def test_expressions_too_deep_or_too_large_are_refused(text):
    with pytest.raises(CardError, match="^bands"):
        parse_expression(text, field="bands[0]")


@pytest.mark.parametrize("cut", [b'{"block": "1_', b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b""])
def test_a_list_of_failures_that_was_cut_keeps_its_whole_lines(cut, tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    storage.write(FAILURES, b'{"block": "0_0", "reason": "gone"}\n' + cut)
    assert read_failures(storage) == ({"block": "0_0", "reason": "gone"},)


UNSEEN = ("\x1b[2J", "\u202e", "\u200b", "\x9b2K", "\u2066", "\ufeff", "\u2028")


def test_a_report_shows_what_turns_or_hides_text_in_names_of_others(plain, tmp_path):
    card = json.loads((Path(plain["model"]) / "card.json").read_text())
    word = "".join(UNSEEN) + "</script><img src=x onerror=alert(1)>"
    for entry in card["properties"]["mlm:output"][0]["classification:classes"]:
        entry.update(title=word, description=word)
    card["properties"]["mlm:output"][0]["description"] = word
    card["properties"]["mlm:architecture"] = word
    model = tmp_path / "card"
    shutil.copytree(plain["model"], model)
    (model / "card.json").write_text(json.dumps(card))
    files = [{**entry, "scene": f"scene{word}", "platform": word} for entry in plain["source"]["files"]]
    (tmp_path / "job.json").write_text(json.dumps({**plain, "model": str(model), "source": {"files": files}}))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    assert not any(each in answer.output for each in UNSEEN)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "onerror" in page, "the names are there"
    assert "<img src=x" not in page
    viewer = json.loads(re.search(r'id="viewer">(.*?)</script>', page, re.DOTALL)[1])
    for each in UNSEEN:
        assert each not in page
        assert each not in json.dumps(viewer, ensure_ascii=False), "nor for the page's script to write"
    for name in ("report.json", "item.json", "collection.json", ".tilewright/plan.json"):
        assert not any(each in (tmp_path / "out" / name).read_text() for each in UNSEEN[:1])
