"""Jobs of strangers with screens, masks by models, alignment, losses, words and sources: refused by field, in words."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from tests.support.embedders import window_encoder, with_text
from tests.support.families import COLS, FLOAT, ROWS, noise
from tests.support.graphs import Draft
from tests.support.worlds import CRS, World, area, bounds, write_card
from tilewright.flows.cli.main import app

pytestmark = pytest.mark.usefixtures("small_pictures")

LONG = "x" * 5000


def card(folder, *, classes=(), dates="composite"):
    """A card of the red band: two scores of classes, or a value for each date."""
    draft, n = Draft(), 1 if dates == "composite" else 2
    if classes:
        over = draft.node("Sub", "x", draft.constant([0.3]))
        made, n_out = draft.node("Concat", draft.node("Neg", over), over, axis=1), 2
    else:
        made, n_out = draft.node("Identity", "x"), n
    told = {"classes": classes, "tw:layers": ["class"]} if classes else {"tw:layers": ["one", "two"][:n]}
    return write_card(
        folder,
        draft.model_many([("x", FLOAT, ["batch", n, "h", "w"])], [(made, "y", FLOAT, ["batch", n_out, "h", "w"])]),
        name=folder.name,
        tile={"step": 16},
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": dates}}],
        outputs=[{"name": "y", **told}],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a world and cards, in which jobs are written."""
    made = tmp_path_factory.mktemp("jobs")
    world = World(made / "world")
    for day in ("2023-06-05", "2023-06-20"):
        for band in ("red", "green", "blue"):
            world.add(noise(1), band, day=day, unit="reflectance")
    card(made / "values")
    card(made / "pairs", dates="pair")
    card(made / "classes", classes=("dark", "bright"))
    with_text(window_encoder(made / "vectors", step=16))
    (made / "world.json").write_text(json.dumps(world.source))
    return made


SCREEN = {"model": "classes", "resolution": 20, "classes": ["bright"]}
MASK = {"kind": "model", "model": "classes", "drop": ["bright"]}
PERIODS = {"before": "2023-06-01/2023-06-10", "after": "2023-06-11/2023-06-30"}


def screen(**changes):
    return {"model": "classes", "screen": {**SCREEN, **changes}}


def mask(**changes):
    return {"mask": {**MASK, **changes}}


def align(**told):
    return {"model": "pairs", "period": PERIODS, "align": told}


def words(*given, **told):
    return {"model": "vectors", "classify": {"words": list(given), **told}}


WRONG = {
    "a screen of a text": ({"model": "classes", "screen": "water"}, "screen: expected keys with values"),
    "a model that is none": (screen(model={"a": 1}), "screen.model: expected a text"),
    "a model of no letters": (screen(model="a\0b"), "screen.model: model is "),
    "a screen of a long name": (screen(model=LONG), "screen.model: model is "),
    "a screen of values": (screen(model="values"), "screen.model: values gives no layer of classes"),
    "a screen of vectors": (screen(model="vectors"), "screen.model: small gives no layer of classes"),
    "a share of true": (screen(least_share=True), "screen.least_share: expected a number, not true"),
    "a class of true": (screen(classes=[True]), "screen.classes: expected a number, not true"),
    "a class without end": (screen(classes=[2**70]), "screen.classes: classes knows no class 1180591620717411303424"),
    "a hundred thousand classes": (screen(classes=list(range(10**5))), "screen.classes: classes knows no class 2"),
    "another class without end": (screen(otherwise=2**70), "screen.otherwise: 1180591620717411303424 is no class"),
    "another class of values": ({**screen(otherwise="dark"), "model": "values"}, "screen.otherwise: values writes no"),
    "pixels of nothing": (screen(resolution=1e-9), "screen: grid.resolution = 1e-09 makes"),
    "a screen of a job of dates": ({**screen(), "model": "pairs", "period": PERIODS}, "screen: period: classes does"),
    "pixels without end": (screen(resolution=1e9), "screen.resolution: pixels of 1e[+]09 are too coarse"),
    "a mask that drops nothing": (mask(drop=[]), "mask: mask.model and mask.drop"),
    "a mask of a half": (mask(drop=[1.5]), "mask.drop: expected a whole number, or the name"),
    "a class that is none": (mask(drop=["cloud"]), "mask.drop: classes knows no class 'cloud'"),
    "a value that is none": (mask(drop=[7]), "mask.drop: classes knows no class 7"),
    "a mask of values": (mask(model="values"), "mask.model: values gives no layer of classes"),
    "a mask of dates": (mask(model="pairs"), "mask.model: pairs takes dates of the kind pair"),
    "a mask of several inputs": (mask(model="sample-fusion"), "mask.model: sample-fusion takes several inputs"),
    "a mask of a long name": (mask(model=LONG), "mask.model: model is "),
    "a mask with a band": (mask(band="blue"), "mask.band means nothing to mask.kind 'model'"),
    "moved nowhere": (align(), "align.most: the job does not say it"),
    "moved by a negative": (align(most=-1), "align.most: expected a number greater than 0"),
    "moved by nothing": (align(most=0), "align.most: expected a number greater than 0"),
    "moved over the globe": (align(most=1e9), "align.most: expected a number of at most 100000"),
    "moved beyond what is seen": (align(most=5000), "align.most: shifts are looked for over 64 pixels"),
    "moved by true": (align(most=True), "align.most: expected a number, not true"),
    "moved to no step": (align(to="middle", most=30), "align.to: input x has no step 'middle'"),
    "moved by no band": (align(most=30, band="nir"), "align.band: input x does not read 'nir'"),
    "one date moved": ({"align": {"most": 30}}, "align: the model compares no dates"),
    "no loss": ({"loss": {"one": 0}}, "loss.one: expected a number greater than 0"),
    "a loss beyond all": ({"loss": {"one": 1e31}}, "loss.one: expected a number of at most"),
    "a loss of a text": ({"loss": "one"}, "loss: expected names with their values"),
    "a loss of another layer": ({"loss": {"two": 0.1}}, "loss: 'two' is no layer"),
    "a loss of classes": ({"model": "classes", "loss": {"class": 1}}, "loss.class: its numbers are classes"),
    "a loss of vectors": ({"model": "vectors", "loss": {"vectors": 1}}, "loss.vectors: its numbers are stored exactly"),
    "one word": (words("red"), "classify: give 2 to 254 words"),
    "a word of numbers": (words(1, 2), "classify.words.0: expected a text"),
    "too many words": (words(*(f"w{number}" for number in range(255))), "classify: give 2 to 254 words"),
    "a word of other direction": (words("red\u202e", "blue"), "classify: words are a line"),
    "never sure": (words("red", "blue", least=1), "classify.least: expected a number less than 1"),
    "a prompt without words": ({"prompt": "water"}, "prompt: values takes no words"),
    "sources of numbers": ({"sources": {"optics": 1}, "source": None}, "sources.optics: expected a name"),
    "a source of nothing": ({"sources": {"optics": ""}, "source": None}, "sources.optics: source is ''"),
    "a source of no letters": ({"sources": {"optics": "a\0b"}, "source": None}, "sources.optics: source 'a"),
    "a product of a number": (
        {"sources": {"optics": {"kind": "product", "href": 5}}, "source": None}, "sources.optics: source: href is 5",
    ),
    "a product of nothing": ({"sources": {"optics": {"kind": "product"}}, "source": None}, "source needs 'href'"),
    "an output of a long name": ({"output": LONG}, "The output x.* cannot be written: File name too long"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_job_that_cannot_be_is_refused_by_its_field(folder, name):
    changes, said = WRONG[name]
    plain = {
        "area": area((ROWS[0] - 4, ROWS[1] + 4), (COLS[0] - 4, COLS[1] + 4)),
        "period": "2023-06-01/2023-06-30",
        "source": json.loads((folder / "world.json").read_text()),
        "model": "values",
        "grid": {"crs": CRS, "bounds": bounds(ROWS, COLS)},
        "output": str(folder / "out"),
        **changes,
    }
    path = folder / "job.json"
    path.write_text(json.dumps({key: value for key, value in plain.items() if value is not None}))
    answer = CliRunner().invoke(app, ["run", str(path), "--json"])
    assert answer.exit_code == 2, answer.stderr
    (sentence,) = [line for line in answer.stderr.splitlines() if line.startswith("tilewright: ")]
    assert re.search(said, sentence), sentence
    assert "Traceback" not in answer.stderr
    assert not (folder / "out").exists()
